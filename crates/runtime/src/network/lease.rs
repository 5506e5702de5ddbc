//! Addresses of a network, reserved by one file each, and the subnet that they come from.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{RelayPort, Subnet, Subnet6};
use crate::state;

/// The folder of one network below the run root: `network/NAME/`.
///
/// `network.json` says which bridge and subnets it has; `leases/ADDRESS` says which container has the address and what it
/// is called ([`Lease`]). Changes are made under `network/lock`; each file is written whole, so that readers need none.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

/// What `network.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) bridge: String,
    pub(super) subnet: Subnet,
    pub(super) gateway: Ipv4Addr,
    pub(super) subnet6: Option<Subnet6>,
    pub(super) gateway6: Option<Ipv6Addr>,
    pub(super) internal: bool,
    pub(super) isolated: bool,
    pub(super) no_masquerade: bool,
    /// Whether forwarding was off on this machine before.
    pub(super) enabled_forwarding: bool,
    /// Whether its bridge is being made: one that is left like that is made anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unfinished: bool,
    /// Where what leaves is relayed.
    #[serde(default)]
    pub(super) relay: Option<RelayPort>,
}

/// Who has an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) id: String,
    /// The name of its run directory below the run root.
    pub(super) run: String,
    /// The names by which the others find it.
    #[serde(default)]
    pub(super) names: Vec<String>,
}

/// A container's place in a network as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The container's id.
    pub id: String,
    /// The names by which the others find it.
    pub names: Vec<String>,
    /// An address of its own.
    pub address: IpAddr,
}

/// The folder of all networks.
fn all(run_root: &Path) -> PathBuf {
    run_root.join("network")
}

fn read_leases(network: &Path) -> impl Iterator<Item = (IpAddr, Lease)> {
    fs::read_dir(network.join("leases"))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let address = entry.file_name().to_str()?.parse().ok()?;
            Some((
                address,
                serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()?,
            ))
        })
}

/// The containers of a network, by address; those of a monitor that was killed are left out.
pub fn members(run_root: &Path, network: &str) -> Vec<Member> {
    let mut members: Vec<Member> = read_leases(&all(run_root).join(network))
        .filter(|(_, lease)| is_alive(run_root, lease))
        .map(|(address, lease)| Member {
            id: lease.id,
            names: lease.names,
            address,
        })
        .collect();
    members.sort_by_key(|member| member.address);
    members
}

/// All leases of a network.
pub(super) fn read(run_root: &Path, network: &str) -> Vec<(IpAddr, Lease)> {
    read_leases(&all(run_root).join(network)).collect()
}

/// When the leases of a network last changed.
pub(super) fn changed(run_root: &Path, network: &str) -> Option<SystemTime> {
    fs::metadata(all(run_root).join(network).join("leases"))
        .and_then(|data| data.modified())
        .ok()
}

/// Whether the container that has a lease still has a monitor.
pub(super) fn is_alive(run_root: &Path, lease: &Lease) -> bool {
    state::is_alive(&run_root.join(&lease.run))
}

/// The subnets of a network that has a bridge at the moment.
pub fn live(run_root: &Path, network: &str) -> Option<(Subnet, Option<Subnet6>)> {
    let record = read_record(&all(run_root).join(network))?;
    Some((record.subnet, record.subnet6))
}

fn read_record(network: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(network.join("network.json")).ok()?).ok()
}

/// Writes a file whole or not at all. Names with a leading dot are no address.
fn write_whole(folder: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let part = folder.join(format!(".{name}.part"));
    fs::write(&part, serde_json::to_vec(value)?)?;
    fs::rename(part, folder.join(name))
}

impl Folder {
    /// Opens a network's folder and waits for its lock.
    pub(super) fn lock(run_root: &Path, network: &str) -> io::Result<Self> {
        let all = all(run_root);
        fs::create_dir_all(&all)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(all.join("lock"))?;
        lock.lock()?;
        let path = all.join(network);
        fs::create_dir_all(path.join("leases"))?;
        Ok(Self { path, _lock: lock })
    }

    /// The names of all networks that have a folder.
    pub(super) fn names(run_root: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(all(run_root))
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                entry
                    .file_type()
                    .ok()?
                    .is_dir()
                    .then(|| entry.file_name().into_string().ok())?
            })
            .collect();
        names.sort();
        names
    }

    pub(super) fn record(&self) -> Option<Record> {
        read_record(&self.path)
    }

    pub(super) fn set_record(&self, record: &Record) -> io::Result<()> {
        write_whole(&self.path, "network.json", record)
    }

    /// The reserved addresses and who has them.
    pub(super) fn leases(&self) -> BTreeMap<IpAddr, Lease> {
        read_leases(&self.path).collect()
    }

    /// Reserves an address; one without an owner is overwritten.
    pub(super) fn reserve(&self, address: IpAddr, lease: &Lease) -> io::Result<()> {
        write_whole(&self.path.join("leases"), &address.to_string(), lease)
    }

    /// Frees an address if this container has it.
    pub(super) fn release(&self, address: IpAddr, id: &str) -> io::Result<()> {
        let path = self.path.join("leases").join(address.to_string());
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<Lease>(&bytes) {
                Ok(lease) if lease.id != id => Ok(()),
                _ => fs::remove_file(path),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Frees what belongs to containers that are no more; gives their ids.
    pub(super) fn reclaim(&self, is_alive: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let mut dead = Vec::new();
        for (address, lease) in self.leases() {
            if !is_alive(&lease.id) {
                self.release(address, &lease.id)?;
                dead.push(lease.id);
            }
        }
        Ok(dead)
    }

    /// Forgets the network, when its bridge is gone.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

/// The first address of a range that nobody has; the network's own, the gateway's and the broadcast one are taken.
pub(super) fn first_free(
    range: Subnet,
    taken: &dyn Fn(Ipv4Addr) -> bool,
    leases: &BTreeMap<IpAddr, Lease>,
) -> Option<Ipv4Addr> {
    (0..)
        .map_while(|number| range.nth(number))
        .find(|ip| !taken(*ip) && !leases.contains_key(&IpAddr::V4(*ip)))
}

/// The subnets to choose from, in order: little-used parts of the private ranges.
fn candidates() -> impl Iterator<Item = Subnet> {
    let nets = |first: u8, second: u8, thirds: std::ops::Range<u8>| {
        thirds.filter_map(move |third| Subnet::new(Ipv4Addr::new(first, second, third, 0), 24))
    };
    nets(10, 213, 0..250)
        .chain(nets(172, 29, 0..250))
        .chain(nets(192, 168, 200..250))
        .chain(nets(10, 87, 0..250))
}

/// The first subnet that has nothing in common with the networks that are in use, nor with the addresses.
pub(super) fn choose_subnet(used: &[Subnet], addresses: &[Ipv4Addr]) -> Option<Subnet> {
    candidates().find(|subnet| is_free(*subnet, used, addresses))
}

/// Whether a subnet has nothing in common with the networks that are in use, nor with the addresses.
pub(super) fn is_free(subnet: Subnet, used: &[Subnet], addresses: &[Ipv4Addr]) -> bool {
    !used.iter().any(|other| other.overlaps(subnet)) && !addresses.iter().any(|ip| subnet.contains(*ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_keeps_clear_of_routes_and_servers() {
        let net = |text: &str| text.parse::<Subnet>().unwrap();
        assert_eq!(choose_subnet(&[], &[]), Some(net("10.213.0.0/24")));
        assert_eq!(
            choose_subnet(&[net("10.213.0.0/25")], &[Ipv4Addr::new(10, 213, 1, 53)]),
            Some(net("10.213.2.0/24"))
        );
        assert_eq!(
            choose_subnet(&[net("10.0.0.0/8")], &[]),
            Some(net("172.29.0.0/24"))
        );
        assert_eq!(choose_subnet(&[net("0.0.0.0/1"), net("128.0.0.0/1")], &[]), None);
    }

    #[test]
    fn addresses_run_out() {
        let subnet: Subnet = "10.9.8.0/29".parse().unwrap();
        let taken = |ip: Ipv4Addr| [0, 1, 7].contains(&ip.octets()[3]);
        let mut leases = BTreeMap::new();
        while let Some(address) = first_free(subnet, &taken, &leases) {
            leases.insert(IpAddr::V4(address), Lease::default());
        }
        let taken: Vec<String> = leases.keys().map(ToString::to_string).collect();
        assert_eq!(
            taken,
            ["10.9.8.2", "10.9.8.3", "10.9.8.4", "10.9.8.5", "10.9.8.6"]
        );
    }
}
