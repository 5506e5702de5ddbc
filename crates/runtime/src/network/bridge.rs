//! Networks behind a bridge: prepared before a container starts, attached to it, and removed with the last one.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coil_oci::Digest;
use coil_sys::netlink::{NetlinkError, within_network};
use coil_sys::netlink_route::{Address, Link, Route};
use serde::{Deserialize, Serialize};

use super::lease::{Folder, Record, choose_subnet, first_free, is_free};
use super::rules::{ensure_internal, ensure_outbound, remove_rules};
use super::{BridgeSpec, DEFAULT_NETWORK, NetworkSpec, Subnet, names};

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
    /// The network's addresses.
    pub subnet: Subnet,
    /// The bridge's own address: the way out, and the host as the container sees it.
    pub gateway: Ipv4Addr,
    /// The container's address.
    pub address: Ipv4Addr,
    /// No way out.
    pub internal: bool,
    /// The largest packet in bytes, when the way out takes less than usual.
    pub mtu: Option<u32>,
    /// What doesn't work and why, for the user.
    pub notices: Vec<String>,
}

/// Why a container can't have its network.
#[derive(Debug)]
pub enum NetworkError {
    /// A name that can't be a folder's.
    Name(String),
    /// The folder of the network can't be used.
    Folder {
        /// The folder of all networks.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A device of the bridge's name that isn't ours.
    Foreign {
        /// The device's name.
        device: String,
    },
    /// The subnet asked for is in use on this machine.
    Overlap {
        /// The subnet asked for.
        subnet: Subnet,
    },
    /// Every subnet that coil would choose is in use.
    NoSubnet,
    /// The address asked for is outside the subnet, or taken.
    Address {
        /// The address asked for.
        address: Ipv4Addr,
        /// The network's subnet.
        subnet: Subnet,
        /// Who has it.
        owner: Option<String>,
    },
    /// All addresses of the subnet are taken.
    Full {
        /// The network's subnet.
        subnet: Subnet,
    },
    /// The kernel refused a step.
    Kernel(NetlinkError),
    /// A netlink socket can't be had, or the container's namespace can't be joined.
    Socket(io::Error),
    /// Several steps of the removal failed; the others were done.
    Removal(Vec<NetworkError>),
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                write!(f, "`{name}` can't name a network: letters, digits, `_`, `.` and `-` can, up to 64")
            }
            Self::Folder { path, .. } => write!(f, "can't keep the networks' state in {}", path.display()),
            Self::Foreign { device } => write!(
                f,
                "there is a network device {device} that this data root knows nothing of; \
                 remove it (`ip link delete {device}`) if no container uses it"
            ),
            Self::Overlap { subnet } => {
                write!(f, "the subnet {subnet} overlaps a route or a name server of this machine; choose another")
            }
            Self::NoSubnet => f.write_str(
                "every subnet that coil would choose overlaps a route of this machine; give the network a subnet",
            ),
            Self::Address { address, subnet, owner: None } => {
                write!(f, "the address {address} is not a container's in the network's subnet {subnet}")
            }
            Self::Address { address, owner: Some(owner), .. } => {
                write!(f, "the address {address} belongs to the container {owner}")
            }
            Self::Full { subnet } => write!(f, "all addresses of the network's subnet {subnet} are taken"),
            Self::Kernel(error) if error.errno() == libc::EPERM => {
                f.write_str("a network behind a bridge needs root (CAP_NET_ADMIN)")
            }
            Self::Kernel(_) => f.write_str("the container's network can't be set up"),
            Self::Socket(_) => f.write_str("can't speak to the kernel about the container's network"),
            Self::Removal(errors) => {
                f.write_str("the network wasn't removed completely: ")?;
                for (index, error) in errors.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{error}")?;
                    if let Some(source) = std::error::Error::source(error) {
                        write!(f, ": {source}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for NetworkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Folder { source, .. } | Self::Socket(source) => Some(source),
            Self::Kernel(error) => Some(error),
            _ => None,
        }
    }
}

impl From<NetlinkError> for NetworkError {
    fn from(error: NetlinkError) -> Self {
        Self::Kernel(error)
    }
}

fn folder_error(run_root: &Path) -> impl Fn(io::Error) -> NetworkError {
    let path = run_root.join("network");
    move |source| NetworkError::Folder {
        path: path.clone(),
        source,
    }
}

/// Names that are safe as a folder's name.
fn check_name(name: &str) -> Result<(), NetworkError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let good = !name.is_empty() && name.len() <= 64 && name.bytes().all(plain) && !name.starts_with('.');
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

fn bridge_name(spec: &BridgeSpec, run_root: &Path) -> String {
    if spec.default_root && spec.network == DEFAULT_NETWORK {
        return "coil0".to_owned();
    }
    let root = run_root.as_os_str().as_encoded_bytes();
    format!("coil-{}", short_hash(&[root, spec.network.as_bytes()], 8))
}

/// Reserves an address and makes sure that the bridge and its rules are there; called before the container starts.
///
/// Gives none for specs that have no bridge. `is_alive` tells whether the container of an id still runs: addresses of
/// those that don't are taken back. Several callers may do this at the same moment.
///
/// # Errors
/// Nothing stays reserved then.
pub fn prepare(
    spec: &NetworkSpec,
    run_root: &Path,
    id: &str,
    is_alive: &dyn Fn(&str) -> bool,
) -> Result<Option<NetworkState>, NetworkError> {
    let NetworkSpec::Bridge(spec) = spec else {
        return Ok(None);
    };
    check_name(&spec.network)?;
    let failed = folder_error(run_root);
    let folder = Folder::lock(run_root, &spec.network).map_err(&failed)?;
    folder.reclaim(is_alive).map_err(&failed)?;
    let mut route = Route::open().map_err(NetworkError::Socket)?;
    let mut notices = Vec::new();
    let record = ensure_bridge(spec, run_root, &folder, &mut route, &mut notices)?;
    let leases = folder.leases();
    let address = match spec.address {
        // A container that starts again after a crash gets what it had.
        None => leases
            .iter()
            .find(|(address, owner)| *owner == id && record.subnet.contains(**address))
            .map(|(address, _)| *address)
            .or_else(|| first_free(record.subnet, &leases))
            .ok_or(NetworkError::Full {
                subnet: record.subnet,
            })?,
        Some(address) => {
            let owner = leases.get(&address).filter(|owner| *owner != id).cloned();
            let subnet = record.subnet;
            let usable = subnet.contains(address)
                && ![Some(subnet.base()), subnet.nth(1), Some(subnet.last())].contains(&Some(address));
            if owner.is_some() || !usable {
                return Err(NetworkError::Address {
                    address,
                    subnet,
                    owner,
                });
            }
            address
        }
    };
    folder.reserve(address, id).map_err(&failed)?;
    Ok(Some(NetworkState {
        id: id.to_owned(),
        run_root: run_root.to_owned(),
        network: spec.network.clone(),
        device: format!("cv{}", short_hash(&[id.as_bytes()], 12)),
        subnet: record.subnet,
        gateway: record.subnet.nth(1).unwrap_or(record.subnet.base()),
        address,
        internal: spec.internal,
        mtu: outside_mtu(&mut route)?,
        bridge: record.bridge,
        notices,
    }))
}

/// The bridge of a network, made if it isn't there, with its address, forwarding and rules.
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
    if let (Some(record), Some(_)) = (&known, &present) {
        if !spec.internal {
            ensure_outbound(record, false, notices);
        }
        return Ok(record.clone());
    }
    if let Some(link) = present {
        // Left behind by a crash: it may go when nothing is connected to it.
        let used = route
            .links()?
            .iter()
            .any(|other| other.master == Some(link.index));
        if used || link.kind.as_deref() != Some("bridge") {
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
    let subnet = pick_subnet(spec, known.map(|record| record.subnet), route)?;
    let hash = Digest::of(&[run_root.as_os_str().as_encoded_bytes(), name.as_bytes()].join(&0));
    let mut hardware = [0x02, 0x63, 0, 0, 0, 0];
    for (byte, pair) in hardware[2..].iter_mut().zip(hash.hex().as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(pair)
            .ok()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .unwrap_or(0);
    }
    route.add_bridge(&name, hardware)?;
    let mut record = Record {
        bridge: name.clone(),
        subnet,
        internal: spec.internal,
        enabled_forwarding: false,
    };
    let built = build_bridge(&name, subnet, route);
    if let Err(error) = built {
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
    folder.set_record(&record).map_err(folder_error(run_root))?;
    Ok(record)
}

fn build_bridge(name: &str, subnet: Subnet, route: &mut Route) -> Result<(), NetworkError> {
    let Some(Link { index, .. }) = route.link(name)? else {
        return Err(NetworkError::Foreign {
            device: name.to_owned(),
        });
    };
    // A bridge answers with IPv6 addresses of its own otherwise, which no rule here covers.
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    let gateway = subnet.nth(1).unwrap_or(subnet.base());
    route.add_address(Address {
        index,
        ip: gateway.into(),
        prefix: subnet.prefix(),
    })?;
    route.set_up(index, true)?;
    Ok(())
}

fn pick_subnet(spec: &BridgeSpec, before: Option<Subnet>, route: &mut Route) -> Result<Subnet, NetworkError> {
    let used: Vec<Subnet> = route
        .routes()?
        .into_iter()
        .filter(|entry| entry.prefix > 0)
        .filter_map(|entry| match entry.destination {
            IpAddr::V4(ip) => Subnet::new(ip, entry.prefix),
            IpAddr::V6(_) => None,
        })
        .collect();
    let servers = names::ipv4_servers(&spec.names);
    match spec.subnet {
        Some(subnet) if is_free(subnet, &used, &servers) => Ok(subnet),
        Some(subnet) => Err(NetworkError::Overlap { subnet }),
        None => before
            .filter(|subnet| is_free(*subnet, &used, &servers))
            .or_else(|| choose_subnet(&used, &servers))
            .ok_or(NetworkError::NoSubnet),
    }
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

/// Connects a container's network namespace to its bridge.
///
/// # Errors
/// No device stays behind then; the address stays reserved until [`detach`].
pub fn attach(state: &NetworkState, net: BorrowedFd<'_>) -> Result<(), NetworkError> {
    let mut route = Route::open().map_err(NetworkError::Socket)?;
    let bridge = route.link(&state.bridge)?.ok_or_else(|| NetworkError::Foreign {
        device: state.bridge.clone(),
    })?;
    if let Some(stale) = route.link(&state.device)? {
        route.delete_link(stale.index)?;
    }
    route.add_veth(&state.device, "eth0", Some(net), state.mtu)?;
    let outcome = connect(state, net, &mut route, bridge.index);
    if outcome.is_err()
        && let Ok(Some(link)) = route.link(&state.device)
    {
        // The first failure is the one to tell.
        let _ = route.delete_link(link.index);
    }
    outcome
}

fn connect(
    state: &NetworkState,
    net: BorrowedFd<'_>,
    route: &mut Route,
    bridge: u32,
) -> Result<(), NetworkError> {
    let missing = |device: &str| NetworkError::Foreign {
        device: device.to_owned(),
    };
    let outer = route.link(&state.device)?.ok_or_else(|| missing(&state.device))?;
    // Neither end needs IPv6 addresses of its own making.
    let _ = fs::write(
        format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", state.device),
        "1",
    );
    route.join_bridge(outer.index, bridge)?;
    let mut inside = within_network(net, || -> Result<Route, NetworkError> {
        let _ = fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1");
        raise_loopback()?;
        let mut inside = Route::open().map_err(NetworkError::Socket)?;
        let eth0 = inside.link("eth0")?.ok_or_else(|| missing("eth0"))?;
        let prefix = state.subnet.prefix();
        inside.add_address(Address {
            index: eth0.index,
            ip: state.address.into(),
            prefix,
        })?;
        inside.set_up(eth0.index, true)?;
        if !state.internal {
            inside.add_default_route(state.gateway.into(), eth0.index)?;
        }
        Ok(inside)
    })
    .map_err(NetworkError::Socket)??;
    // The kernel notes a new carrier a moment later and drops what is sent before: a second's delay for the first
    // connection. Where it never comes, the container starts all the same.
    for _ in 0..200 {
        let inner = inside.link("eth0")?.is_some_and(|link| link.running);
        let outer = route
            .link(&state.device)?
            .is_some_and(|link| link.running && link.forwarding != Some(false));
        if inner && outer && route.link(&state.bridge)?.is_some_and(|link| link.running) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Switches loopback on in this thread's network namespace.
///
/// For a container's own namespace, entered by [`within_network`]; [`attach`] does it too.
pub fn raise_loopback() -> Result<(), NetlinkError> {
    let failed = |source| NetlinkError {
        operation: "open a netlink socket".to_owned(),
        detail: None,
        source,
    };
    let mut route = Route::open().map_err(failed)?;
    if let Some(loopback) = route.link("lo")? {
        route.set_up(loopback.index, true)?;
    }
    Ok(())
}

/// Takes a container off its bridge; the last one out removes the bridge and its rules.
///
/// May be repeated, and is the way to clean up after a container that is no more.
///
/// # Errors
/// All that failed; the rest was done.
pub fn detach(state: &NetworkState) -> Result<(), NetworkError> {
    let mut errors = Vec::new();
    match Route::open().map_err(NetworkError::Socket) {
        Err(error) => errors.push(error),
        Ok(mut route) => {
            match route.link(&state.device) {
                Ok(Some(link)) => {
                    if let Err(error) = route.delete_link(link.index)
                        && error.errno() != libc::ENODEV
                    {
                        errors.push(error.into());
                    }
                }
                Ok(None) => {}
                Err(error) => errors.push(error.into()),
            }
            let failed = folder_error(&state.run_root);
            match Folder::lock(&state.run_root, &state.network) {
                Err(error) => errors.push(failed(error)),
                Ok(folder) => {
                    if let Err(error) = folder.release(state.address, &state.id) {
                        errors.push(failed(error));
                    }
                    errors.extend(remove_if_unused(folder, &state.run_root, &mut route));
                }
            }
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(NetworkError::Removal(errors))
    }
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
                if let Err(error) = folder.reclaim(is_alive) {
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

fn remove_if_unused(folder: Folder, run_root: &Path, route: &mut Route) -> Vec<NetworkError> {
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
