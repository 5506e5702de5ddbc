//! A container's network: none, the host's, bridges of our own, another container's, or a namespace with loopback alone.

mod attachment;
mod bridge;
mod error;
mod lease;
mod name_server;
mod names;
mod rules;
mod subnet;

pub use attachment::{attach, detach, lead_out, raise_loopback};
pub use bridge::{NetworkState, bridge_name, plan_subnet, plan_subnet6, prepare, rename, routed, sweep};
pub use error::NetworkError;
pub use lease::{Member, live, members};
pub use name_server::NameServer;
pub use names::{NAME_SERVER, NameFiles, files};
pub(crate) use names::{has_names, hosts_after, resolv_conf};
pub use subnet::{Subnet, Subnet6};

use crate::household::HouseholdSpec;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

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
    /// A network namespace behind bridges, with an address on each and a way out. Needs root, or a household.
    Bridge(Bridged),
    /// A network namespace with loopback alone, into which published ports are forwarded. Needs no privilege.
    Isolated(NameSettings),
    /// The network namespace of another container, with its name files. Needs root.
    Container(SharedNetwork),
}

impl NetworkSpec {
    /// The default network.
    pub fn bridge(default_root: bool, names: NameSettings) -> Self {
        Self::Bridge(Bridged {
            places: vec![BridgeSpec::default_network(default_root)],
            names,
            household: None,
        })
    }

    /// The household whose bridges the container is on.
    pub fn household(&self) -> Option<&HouseholdSpec> {
        match self {
            NetworkSpec::Bridge(bridged) => bridged.household.as_ref(),
            _ => None,
        }
    }

    /// Whether the container's network namespace is another than the host's.
    pub fn has_namespace(&self) -> bool {
        !matches!(self, NetworkSpec::Host(_))
    }

    /// Whether the container gets a network namespace that is new.
    pub fn makes_namespace(&self) -> bool {
        !matches!(self, NetworkSpec::Host(_) | NetworkSpec::Container(_))
    }

    /// The names settings, where the mode has any.
    pub fn names(&self) -> Option<&NameSettings> {
        match self {
            NetworkSpec::None | NetworkSpec::Container(_) => None,
            NetworkSpec::Host(names) | NetworkSpec::Isolated(names) => Some(names),
            NetworkSpec::Bridge(bridged) => Some(&bridged.names),
        }
    }
}

/// Places on bridges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridged {
    /// One for each network, in the order of the devices `eth0`, `eth1`, …; there may be none.
    pub places: Vec<BridgeSpec>,
    /// How names are resolved.
    #[serde(default)]
    pub names: NameSettings,
    /// The household whose bridges they are, for an ordinary user's container.
    #[serde(default)]
    pub household: Option<HouseholdSpec>,
}

/// Another container's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedNetwork {
    /// The other container's id.
    pub id: String,
    /// Its directory.
    pub container_dir: PathBuf,
    /// Its live state.
    pub run_dir: PathBuf,
}

/// A place on a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeSpec {
    /// The network's name: each has a bridge and a subnet of its own.
    pub network: String,
    /// Whether this is the default data root, whose default network has the bridge `coil0`.
    pub default_root: bool,
    /// The bridge's name, where one was asked for.
    pub bridge: Option<String>,
    /// The subnet asked for, such as 10.9.0.0/24; a free one is chosen otherwise.
    pub subnet: Option<Subnet>,
    /// The subnet that the network has when nothing speaks against it.
    pub usual: Option<Subnet>,
    /// The bridge's own address; the first of the subnet otherwise.
    pub gateway: Option<Ipv4Addr>,
    /// The part of the subnet that addresses are chosen from.
    pub range: Option<Subnet>,
    /// Addresses of the subnet that are somebody else's, and no container's.
    #[serde(default)]
    pub taken: Vec<Ipv4Addr>,
    /// The address asked for; the first free one otherwise.
    pub address: Option<Ipv4Addr>,
    /// The IPv6 network, where there is one.
    pub subnet6: Option<Subnet6>,
    /// The bridge's own address in it; the first otherwise.
    pub gateway6: Option<Ipv6Addr>,
    /// The IPv6 address asked for; the one that goes with the IPv4 address otherwise.
    pub address6: Option<Ipv6Addr>,
    /// The hardware address asked for.
    pub hardware: Option<[u8; 6]>,
    /// No way out of the network.
    pub internal: bool,
    /// No way from one container to another.
    pub isolated: bool,
    /// What leaves keeps its source address.
    pub no_masquerade: bool,
    /// The largest packet in bytes; that of the way out otherwise.
    pub mtu: Option<u32>,
    /// What the container is called in this network; none where names aren't resolved.
    pub names: Vec<String>,
    /// Addresses that a chosen subnet must not cover: name servers.
    pub avoid: Vec<Ipv4Addr>,
    /// Subnets of networks that have no bridge at the moment: a chosen one must not cover them either.
    pub reserved: Vec<Subnet>,
    /// Where the household's relay listens, in which the bridge stands.
    pub relay: Option<RelayPort>,
}

/// A relay in the network namespace of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayPort {
    /// Its port, on every address of the namespace.
    pub port: u16,
    /// Whether all that leaves the network goes there, and not only what is meant for this machine.
    pub everything: bool,
}

impl BridgeSpec {
    /// A place on the default network.
    pub fn default_network(default_root: bool) -> Self {
        Self {
            network: DEFAULT_NETWORK.to_owned(),
            default_root,
            ..Self::default()
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

impl NameSettings {
    /// The IPv4 name servers that a container is told of or asks through the host; no subnet of ours may cover them.
    pub fn servers(&self) -> Vec<Ipv4Addr> {
        names::ipv4_servers(self)
    }
}
