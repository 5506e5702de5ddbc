//! A container's network: none, the host's, a bridge of our own, or a namespace with loopback alone.

mod bridge;
mod lease;
mod names;
mod rules;

pub use bridge::{NetworkError, NetworkState, attach, detach, prepare, raise_loopback, sweep};
pub use names::{NameFiles, files};

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// The name of the network that a container joins when none is named.
pub const DEFAULT_NETWORK: &str = "bridge";

/// What network a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkSpec {
    /// A network namespace with loopback alone; nothing goes in or out.
    #[default]
    None,
    /// The host's own network namespace.
    Host(NameSettings),
    /// A network namespace behind a bridge, with an address and a way out. Needs root.
    Bridge(BridgeSpec),
    /// A network namespace with loopback alone, into which published ports are forwarded. Needs no privilege.
    Isolated(NameSettings),
}

impl NetworkSpec {
    /// Whether the container gets a network namespace of its own.
    pub fn has_namespace(&self) -> bool {
        !matches!(self, NetworkSpec::Host(_))
    }

    /// The names settings, where the mode has any.
    pub fn names(&self) -> Option<&NameSettings> {
        match self {
            NetworkSpec::None => None,
            NetworkSpec::Host(names) | NetworkSpec::Isolated(names) => Some(names),
            NetworkSpec::Bridge(bridge) => Some(&bridge.names),
        }
    }
}

/// A place on a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeSpec {
    /// The network's name: each has a bridge and a subnet of its own.
    pub network: String,
    /// Whether this is the default data root, whose default network has the bridge `coil0`.
    #[serde(default)]
    pub default_root: bool,
    /// The subnet asked for, such as 10.9.0.0/24; a free one is chosen otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Subnet>,
    /// The address asked for; the first free one otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// No way out of the network.
    #[serde(default)]
    pub internal: bool,
    /// How names are resolved.
    #[serde(default)]
    pub names: NameSettings,
}

impl BridgeSpec {
    /// A place on the default network.
    pub fn default_network(default_root: bool, names: NameSettings) -> Self {
        Self {
            network: DEFAULT_NETWORK.to_owned(),
            default_root,
            subnet: None,
            address: None,
            internal: false,
            names,
        }
    }
}

/// How names are resolved inside a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NameSettings {
    /// Name servers asked for (`--dns`); the host's otherwise.
    pub dns: Vec<IpAddr>,
    /// Search domains asked for (`--dns-search`); the host's otherwise, `.` means none.
    pub search: Vec<String>,
    /// Resolver options asked for (`--dns-option`); the host's otherwise.
    pub options: Vec<String>,
    /// More lines of the hosts file (`--add-host`), in the order given.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Names for the host as the container sees it (`--add-host NAME:host-gateway`).
    pub gateway_names: Vec<String>,
    /// Other names of this container, for its own hosts file.
    pub aliases: Vec<String>,
    /// The text of the host's `/etc/resolv.conf`.
    pub host_resolv_conf: String,
    /// The text of `/run/systemd/resolve/resolv.conf`, which names the real servers behind a local stub.
    pub host_resolv_conf_upstream: Option<String>,
    /// The text of the host's `/etc/hosts`, for the host's network alone.
    pub host_hosts: String,
}

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

impl Subnet {
    /// The network of a prefix length that an address is in; none when the prefix is above 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= 32).then(|| Self {
            base: u32::from(address) & mask(prefix),
            prefix,
        })
    }

    /// The network's first address.
    pub fn base(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base)
    }

    /// The length of the network's prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The network's address of a number; none when there are not so many.
    pub fn nth(self, number: u32) -> Option<Ipv4Addr> {
        let size = 1u64 << (32 - u32::from(self.prefix));
        (u64::from(number) < size).then(|| Ipv4Addr::from(self.base + number))
    }

    /// The last address: the one for broadcasts.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base | !mask(self.prefix))
    }

    /// Whether an address is in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.base
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Subnet) -> bool {
        self.contains(other.base()) || other.contains(self.base())
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base(), self.prefix)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl std::str::FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an IPv4 network such as 10.9.0.0/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address = address.parse().map_err(|_| wrong())?;
        let prefix = prefix.parse().map_err(|_| wrong())?;
        Self::new(address, prefix).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        let net: Subnet = "10.9.8.7/24".parse().unwrap();
        assert_eq!(net.to_string(), "10.9.8.0/24");
        assert_eq!(net.nth(1), Some(Ipv4Addr::new(10, 9, 8, 1)));
        assert_eq!(net.nth(256), None);
        assert_eq!(net.last(), Ipv4Addr::new(10, 9, 8, 255));
        assert!(net.overlaps("10.0.0.0/8".parse().unwrap()));
        assert!(!net.overlaps("10.9.9.0/24".parse().unwrap()));
        assert!(
            "0.0.0.0/0"
                .parse::<Subnet>()
                .unwrap()
                .contains(Ipv4Addr::LOCALHOST)
        );
        assert!("10.9.8.0/33".parse::<Subnet>().is_err());
    }
}
