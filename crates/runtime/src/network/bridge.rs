//! Networks behind a bridge: made when the first container needs one, and removed with the last one.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use coil_oci::Digest;
use coil_sys::netlink_route::{Address, Link, Route};
use serde::{Deserialize, Serialize};

use super::error::{NetworkError, folder_error};
use super::lease::{Folder, Lease, Record, choose_subnet, first_free, is_free};
use super::rules::{ensure_internal, ensure_outbound, remove_rules};
use super::{BridgeSpec, DEFAULT_NETWORK, RelayPort, Subnet, Subnet6};

/// A container's place on a bridge, reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkState {
    /// The container's id.
    pub id: String,
    /// The run root that the reservation stands in.
    pub run_root: PathBuf,
    /// The network's name.
    pub network: String,
    /// The bridge device.
    pub bridge: String,
    /// The host's end of the container's device pair.
    pub device: String,
    /// The container's end.
    pub interface: String,
    /// Its hardware address.
    pub hardware: [u8; 6],
    /// The network's addresses.
    pub subnet: Subnet,
    /// The bridge's own address: the way out, and the host as the container sees it.
    pub gateway: Ipv4Addr,
    /// The container's address.
    pub address: Ipv4Addr,
    /// The network's IPv6 addresses, where it has any.
    pub subnet6: Option<Subnet6>,
    /// The bridge's own IPv6 address.
    pub gateway6: Option<Ipv6Addr>,
    /// The container's IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// Whether the container's default route goes here.
    pub way_out: bool,
    /// No way out.
    pub internal: bool,
    /// The largest packet in bytes, when the way out takes less than usual.
    pub mtu: Option<u32>,
    /// What the container is called in this network; none where names aren't resolved.
    pub names: Vec<String>,
    /// What doesn't work and why, for the user.
    pub notices: Vec<String>,
    /// The relay of the household in which the bridge stands.
    #[serde(default)]
    pub relay: Option<RelayPort>,
}

impl NetworkState {
    /// The hardware address as it is written.
    pub fn hardware_text(&self) -> String {
        self.hardware.map(|byte| format!("{byte:02x}")).join(":")
    }
}

/// Names that are safe as a folder's name.
fn check_name(name: &str) -> Result<(), NetworkError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let good = !name.is_empty() && name.len() <= 128 && name.bytes().all(plain) && !name.starts_with('.');
    if good {
        Ok(())
    } else {
        Err(NetworkError::Name(name.to_owned()))
    }
}

fn short_hash(parts: &[&[u8]], length: usize) -> String {
    let digest = Digest::of(&parts.join(&0));
    digest.hex().chars().take(length).collect()
}

/// A locally administered hardware address that is always the same for the same things.
fn hardware_of(first: [u8; 2], parts: &[&[u8]]) -> [u8; 6] {
    let mut hardware = [first[0], first[1], 0, 0, 0, 0];
    let hash = short_hash(parts, 8);
    for (byte, pair) in hardware[2..].iter_mut().zip(hash.as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(pair)
            .ok()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .unwrap_or(0);
    }
    hardware
}

/// The bridge device of a network.
pub fn bridge_name(spec: &BridgeSpec, run_root: &Path) -> String {
    if let Some(name) = &spec.bridge {
        return name.clone();
    }
    if spec.default_root && spec.network == DEFAULT_NETWORK {
        return "coil0".to_owned();
    }
    let root = run_root.as_os_str().as_encoded_bytes();
    format!("coil-{}", short_hash(&[root, spec.network.as_bytes()], 8))
}

/// Reserves an address and makes sure that the bridge and its rules are there; called before the container starts.
///
/// `run_dir` is the container's, below the run root; `is_alive` tells whether the container of an id still runs: addresses
/// of those that don't are taken back. Several callers may do this at the same moment.
///
/// # Errors
/// Nothing stays reserved then.
pub fn prepare(
    spec: &BridgeSpec,
    run_dir: &Path,
    id: &str,
    is_alive: &dyn Fn(&str) -> bool,
) -> Result<NetworkState, NetworkError> {
    check_name(&spec.network)?;
    let run_root = run_dir.parent().unwrap_or(Path::new("/"));
    let failed = folder_error(run_root);
    let folder = Folder::lock(run_root, &spec.network).map_err(&failed)?;
    reclaim(&folder, is_alive).map_err(&failed)?;
    let mut route = Route::open().map_err(NetworkError::Socket)?;
    let mut notices = Vec::new();
    let reserved = ensure_bridge(spec, run_root, &folder, &mut route, &mut notices).and_then(|record| {
        let (address, address6) = choose_addresses(spec, &record, &folder, id)?;
        let lease = Lease {
            id: id.to_owned(),
            run: run_dir
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            names: spec.names.clone(),
        };
        for ip in [Some(IpAddr::V4(address)), address6.map(IpAddr::V6)]
            .into_iter()
            .flatten()
        {
            folder.reserve(ip, &lease).map_err(&failed)?;
        }
        Ok((record, address, address6))
    });
    let (record, address, address6) = match reserved {
        Ok(reserved) => reserved,
        Err(error) => {
            // A bridge that was made for nobody goes; the first failure is the one to tell.
            let _ = remove_if_unused(folder, run_root, &mut route);
            return Err(error);
        }
    };
    let parts = [id.as_bytes(), spec.network.as_bytes()];
    Ok(NetworkState {
        id: id.to_owned(),
        run_root: run_root.to_owned(),
        network: spec.network.clone(),
        device: format!("cv{}", short_hash(&parts, 12)),
        interface: "eth0".to_owned(),
        hardware: spec.hardware.unwrap_or_else(|| hardware_of([0x02, 0x42], &parts)),
        subnet: record.subnet,
        gateway: record.gateway,
        address,
        subnet6: record.subnet6,
        gateway6: record.gateway6,
        address6,
        way_out: !spec.internal,
        internal: spec.internal,
        mtu: match spec.mtu {
            None => outside_mtu(&mut route)?,
            some => some,
        },
        names: spec.names.clone(),
        bridge: record.bridge,
        notices,
        relay: spec.relay,
    })
}

/// Frees what belongs to containers that are no more.
fn reclaim(folder: &Folder, is_alive: &dyn Fn(&str) -> bool) -> io::Result<()> {
    folder.reclaim(is_alive)?;
    Ok(())
}

/// The addresses of a container: those asked for, those that it had, or the first free ones.
fn choose_addresses(
    spec: &BridgeSpec,
    record: &Record,
    folder: &Folder,
    id: &str,
) -> Result<(Ipv4Addr, Option<Ipv6Addr>), NetworkError> {
    let leases = folder.leases();
    let subnet = record.subnet;
    let special = |ip: Ipv4Addr| {
        ip == subnet.base() || ip == subnet.last() || ip == record.gateway || spec.taken.contains(&ip)
    };
    let owner_of = |ip: IpAddr| {
        let other = leases.get(&ip).filter(|lease| lease.id != id);
        other.map(|lease| lease.names.first().unwrap_or(&lease.id).clone())
    };
    let address = match spec.address {
        // A container that starts again after a crash gets what it had.
        None => leases
            .iter()
            .find_map(|(address, lease)| match address {
                IpAddr::V4(ip) if lease.id == id && subnet.contains(*ip) => Some(*ip),
                _ => None,
            })
            .or_else(|| first_free(spec.range.unwrap_or(subnet), &special, &leases))
            .ok_or(NetworkError::Full { subnet })?,
        Some(address) => {
            let owner = owner_of(address.into());
            if owner.is_some() || special(address) || !subnet.contains(address) {
                return Err(NetworkError::Address {
                    address: address.into(),
                    subnet: subnet.to_string(),
                    owner,
                });
            }
            address
        }
    };
    let Some(subnet6) = record.subnet6 else {
        return Ok((address, None));
    };
    // The two addresses of a container go together, so that the second is free when the first is.
    let number = u32::from(address) - u32::from(subnet.base());
    let address6 = spec.address6.or_else(|| {
        (number..)
            .step_by(257)
            .map_while(|number| subnet6.nth(number))
            .find(|ip| record.gateway6 != Some(*ip) && owner_of((*ip).into()).is_none())
    });
    match address6 {
        Some(address6)
            if subnet6.contains(address6)
                && record.gateway6 != Some(address6)
                && owner_of(address6.into()).is_none() =>
        {
            Ok((address, Some(address6)))
        }
        Some(address6) => Err(NetworkError::Address {
            address: address6.into(),
            subnet: subnet6.to_string(),
            owner: owner_of(address6.into()),
        }),
        None => Ok((address, None)),
    }
}

/// Whether nothing is connected to a bridge, after a wait for containers that have just been killed: the kernel takes
/// the devices of a network namespace down some time after its last process has gone.
fn falls_free(bridge: u32, route: &mut Route) -> Result<bool, NetworkError> {
    let patience = Instant::now() + Duration::from_secs(5);
    while route.links()?.iter().any(|other| other.master == Some(bridge)) {
        if Instant::now() > patience {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(true)
}

/// The bridge of a network, made if it isn't there, with its addresses, forwarding and rules.
fn ensure_bridge(
    spec: &BridgeSpec,
    run_root: &Path,
    folder: &Folder,
    route: &mut Route,
    notices: &mut Vec<String>,
) -> Result<Record, NetworkError> {
    let name = bridge_name(spec, run_root);
    let present = route.link(&name)?;
    let known = folder.record().filter(|record| record.bridge == name);
    // A relay at another port is that of a new household, whose bridge this can't be.
    let known_here = known
        .as_ref()
        .filter(|record| record.relay == spec.relay && !record.unfinished);
    if let (Some(record), Some(_)) = (known_here, &present) {
        if !spec.internal {
            ensure_outbound(record, false, notices);
        }
        return Ok(record.clone());
    }
    if let Some(link) = present {
        // Left behind by a crash: it may go when nothing is connected to it.
        if link.kind.as_deref() != Some("bridge") || !falls_free(link.index, route)? {
            return Err(NetworkError::Foreign { device: name });
        }
        route.delete_link(link.index)?;
    }
    // Another data root may choose a subnet at the same moment: the folder of all run roots is the common lock.
    let _common = run_root
        .parent()
        .and_then(|parent| File::open(parent).ok())
        .inspect(|file| {
            // Where locks don't work, the choice is only a little less certain.
            let _ = file.lock();
        });
    let before = known.map(|record| record.subnet).or(spec.usual);
    let used = used_subnets(route)?;
    let subnet = pick_subnet(spec.subnet, before, &used.0, &spec.reserved, &spec.avoid)?;
    if let Some(subnet6) = spec.subnet6
        && used.1.iter().any(|other| other.overlaps(subnet6))
    {
        return Err(NetworkError::Overlap {
            subnet: subnet6.to_string(),
        });
    }
    let gateway = match spec.gateway {
        Some(gateway) if subnet.contains(gateway) => gateway,
        // It went with a subnet that is another's by now.
        Some(_) | None => subnet.nth(1).unwrap_or(subnet.base()),
    };
    let mut record = Record {
        bridge: name.clone(),
        subnet,
        gateway,
        subnet6: spec.subnet6,
        gateway6: spec
            .subnet6
            .and_then(|subnet6| spec.gateway6.or_else(|| subnet6.nth(1))),
        internal: spec.internal,
        isolated: spec.isolated,
        no_masquerade: spec.no_masquerade,
        enabled_forwarding: false,
        unfinished: true,
        relay: spec.relay,
    };
    // Before there is anything, so that what a kill leaves is found by who clears up.
    folder.set_record(&record).map_err(folder_error(run_root))?;
    let root = run_root.as_os_str().as_encoded_bytes();
    route.add_bridge(&name, hardware_of([0x02, 0x63], &[root, name.as_bytes()]))?;
    if let Err(error) = build_bridge(&record, spec.mtu, route) {
        if let Ok(Some(link)) = route.link(&name) {
            // The first failure is the one to tell.
            let _ = route.delete_link(link.index);
        }
        return Err(error);
    }
    if spec.internal {
        ensure_internal(&record, notices);
    } else {
        record.enabled_forwarding = ensure_outbound(&record, true, notices);
    }
    record.unfinished = false;
    folder.set_record(&record).map_err(folder_error(run_root))?;
    Ok(record)
}

fn build_bridge(record: &Record, mtu: Option<u32>, route: &mut Route) -> Result<(), NetworkError> {
    let name = &record.bridge;
    let Some(Link { index, .. }) = route.link(name)? else {
        return Err(NetworkError::Foreign { device: name.clone() });
    };
    if record.subnet6.is_none() {
        // A bridge answers with IPv6 addresses of its own otherwise, which no rule here covers.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    }
    route.add_address(Address {
        index,
        ip: record.gateway.into(),
        prefix: record.subnet.prefix(),
    })?;
    if let (Some(subnet6), Some(gateway6)) = (record.subnet6, record.gateway6) {
        route.add_address(Address {
            index,
            ip: gateway6.into(),
            prefix: subnet6.prefix(),
        })?;
    }
    if let Some(mtu) = mtu {
        route.set_mtu(index, mtu)?;
    }
    route.set_up(index, true)?;
    Ok(())
}

/// The networks that this machine routes, but for the default routes.
fn used_subnets(route: &mut Route) -> Result<(Vec<Subnet>, Vec<Subnet6>), NetworkError> {
    let (mut four, mut six) = (Vec::new(), Vec::new());
    for entry in route.routes()?.into_iter().filter(|entry| entry.prefix > 0) {
        match entry.destination {
            IpAddr::V4(ip) => four.extend(Subnet::new(ip, entry.prefix)),
            // Each device has a route for its neighbours and one for multicast.
            IpAddr::V6(ip) if ip.is_multicast() || ip.is_unicast_link_local() => {}
            IpAddr::V6(ip) => six.extend(Subnet6::new(ip, entry.prefix)),
        }
    }
    Ok((four, six))
}

fn pick_subnet(
    asked: Option<Subnet>,
    before: Option<Subnet>,
    routed: &[Subnet],
    reserved: &[Subnet],
    servers: &[Ipv4Addr],
) -> Result<Subnet, NetworkError> {
    match asked {
        Some(subnet) if is_free(subnet, routed, &[]) => Ok(subnet),
        Some(subnet) => Err(NetworkError::Overlap {
            subnet: subnet.to_string(),
        }),
        None => before
            .filter(|subnet| is_free(*subnet, routed, servers))
            .or_else(|| choose_subnet(&[routed, reserved].concat(), servers))
            .ok_or(NetworkError::NoSubnet),
    }
}

/// The IPv4 networks that this machine routes, but for the default routes.
///
/// # Errors
/// When the kernel doesn't tell.
pub fn routed() -> Result<Vec<Subnet>, NetworkError> {
    let mut route = Route::open().map_err(NetworkError::Socket)?;
    Ok(used_subnets(&mut route)?.0)
}

/// Chooses the subnet of a network that has no bridge yet, or sees whether the one asked for can be had.
///
/// `reserved` are the subnets of the other networks, `servers` addresses that it must not cover.
///
/// # Errors
/// When it overlaps what this machine routes, or one of the reserved.
pub fn plan_subnet(
    asked: Option<Subnet>,
    reserved: &[Subnet],
    servers: &[Ipv4Addr],
) -> Result<Subnet, NetworkError> {
    let mut route = Route::open().map_err(NetworkError::Socket)?;
    let used = [used_subnets(&mut route)?.0.as_slice(), reserved].concat();
    pick_subnet(asked, None, &used, &[], servers)
}

/// The same for IPv6, where a subnet is always asked for.
///
/// # Errors
/// When it overlaps what this machine routes, or one of the reserved.
pub fn plan_subnet6(asked: Subnet6, reserved: &[Subnet6]) -> Result<(), NetworkError> {
    let mut route = Route::open().map_err(NetworkError::Socket)?;
    let used = used_subnets(&mut route)?.1;
    if used.iter().chain(reserved).any(|other| other.overlaps(asked)) {
        return Err(NetworkError::Overlap {
            subnet: asked.to_string(),
        });
    }
    Ok(())
}

/// The packet size of the way out, when it differs from a device pair's 1500.
fn outside_mtu(route: &mut Route) -> Result<Option<u32>, NetworkError> {
    let Some(device) = route
        .routes()?
        .into_iter()
        .filter(|entry| entry.prefix == 0 && entry.destination.is_ipv4() && entry.table == 254)
        .find_map(|entry| entry.device)
    else {
        return Ok(None);
    };
    let mtu = route
        .links()?
        .into_iter()
        .find(|link| link.index == device)
        .map(|link| link.mtu);
    Ok(mtu.filter(|mtu| (576..1500).contains(mtu)))
}

/// Gives a container another name in its networks.
///
/// # Errors
/// When the networks' state can't be written.
pub fn rename(run_root: &Path, id: &str, old: &str, new: &str) -> Result<(), NetworkError> {
    let failed = folder_error(run_root);
    for network in Folder::names(run_root) {
        let folder = Folder::lock(run_root, &network).map_err(&failed)?;
        for (address, mut lease) in folder.leases() {
            if lease.id == id && lease.names.iter().any(|name| name == old) {
                let names = lease.names.iter_mut().filter(|name| *name == old);
                names.for_each(|name| new.clone_into(name));
                folder.reserve(address, &lease).map_err(&failed)?;
            }
        }
    }
    Ok(())
}

/// Takes back the addresses of containers that are no more, and removes the bridges that nobody uses.
pub fn sweep(run_root: &Path, is_alive: &dyn Fn(&str) -> bool) -> Result<(), NetworkError> {
    let names = Folder::names(run_root);
    if names.is_empty() {
        return Ok(());
    }
    let failed = folder_error(run_root);
    let mut errors = Vec::new();
    let mut route = Route::open().map_err(NetworkError::Socket)?;
    for name in names {
        match Folder::lock(run_root, &name) {
            Err(error) => errors.push(failed(error)),
            Ok(folder) => {
                if let Err(error) = reclaim(&folder, is_alive) {
                    errors.push(failed(error));
                }
                errors.extend(remove_if_unused(folder, run_root, &mut route));
            }
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(NetworkError::Removal(errors))
    }
}

/// Removes a network's bridge and rules when no address of it is reserved.
pub(super) fn remove_if_unused(folder: Folder, run_root: &Path, route: &mut Route) -> Vec<NetworkError> {
    let mut errors = Vec::new();
    if !folder.leases().is_empty() {
        return errors;
    }
    if let Some(record) = folder.record() {
        match route.link(&record.bridge) {
            Ok(Some(link)) => errors.extend(route.delete_link(link.index).err().map(NetworkError::from)),
            Ok(None) => {}
            Err(error) => errors.push(error.into()),
        }
        errors.extend(remove_rules(&record).err().map(NetworkError::from));
    }
    errors.extend(folder.remove().err().map(folder_error(run_root)));
    errors
}
