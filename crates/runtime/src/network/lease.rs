//! Addresses of a network, reserved by one file each, and the subnet that they come from.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Subnet;

/// The folder of one network below the run root: `network/NAME/`.
///
/// `network.json` says which bridge and subnet it has; `leases/ADDRESS` holds the id of the container that has the
/// address. Everything is done under `network/lock`.
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
    pub(super) internal: bool,
    /// Whether forwarding was off on this machine before.
    pub(super) enabled_forwarding: bool,
}

impl Folder {
    /// Opens a network's folder and waits for its lock.
    pub(super) fn lock(run_root: &Path, network: &str) -> io::Result<Self> {
        let all = run_root.join("network");
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
        let mut names: Vec<String> = fs::read_dir(run_root.join("network"))
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
        serde_json::from_slice(&fs::read(self.path.join("network.json")).ok()?).ok()
    }

    pub(super) fn set_record(&self, record: &Record) -> io::Result<()> {
        let part = self.path.join("network.json.part");
        fs::write(&part, serde_json::to_vec(record)?)?;
        fs::rename(part, self.path.join("network.json"))
    }

    /// The reserved addresses and who has them.
    pub(super) fn leases(&self) -> BTreeMap<Ipv4Addr, String> {
        fs::read_dir(self.path.join("leases"))
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let address = entry.file_name().to_str()?.parse().ok()?;
                Some((address, fs::read_to_string(entry.path()).ok()?))
            })
            .collect()
    }

    /// Reserves an address; one without an owner is overwritten.
    pub(super) fn reserve(&self, address: Ipv4Addr, id: &str) -> io::Result<()> {
        fs::write(self.path.join("leases").join(address.to_string()), id)
    }

    /// Frees an address if this container has it.
    pub(super) fn release(&self, address: Ipv4Addr, id: &str) -> io::Result<()> {
        let path = self.path.join("leases").join(address.to_string());
        match fs::read_to_string(&path) {
            Ok(owner) if owner == id => fs::remove_file(path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Frees what belongs to containers that are no more.
    pub(super) fn reclaim(&self, is_alive: &dyn Fn(&str) -> bool) -> io::Result<()> {
        for (address, owner) in self.leases() {
            if !is_alive(&owner) {
                self.release(address, &owner)?;
            }
        }
        Ok(())
    }

    /// Forgets the network, when its bridge is gone.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

/// The first address of a subnet that nobody has; the network's own, the gateway's and the broadcast one are taken.
pub(super) fn first_free(subnet: Subnet, leases: &BTreeMap<Ipv4Addr, String>) -> Option<Ipv4Addr> {
    (2..)
        .map_while(|number| subnet.nth(number))
        .find(|ip| *ip != subnet.last() && !leases.contains_key(ip))
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
        let subnet = "10.9.8.0/29".parse().unwrap();
        let mut leases = BTreeMap::new();
        while let Some(address) = first_free(subnet, &leases) {
            leases.insert(address, String::new());
        }
        let taken: Vec<String> = leases.keys().map(ToString::to_string).collect();
        assert_eq!(
            taken,
            ["10.9.8.2", "10.9.8.3", "10.9.8.4", "10.9.8.5", "10.9.8.6"]
        );
    }
}
