//! Flags about networks, names and ports that `run` and `create` share.

use clap::Args;
use coil_engine::networks::NetworkRequest;

/// What a container's network is to be.
#[derive(Debug, Clone, Default, Args)]
pub struct NetworkFlags {
    /// Publish a port or a range: [HOST_IP:][HOST_PORT:]PORT[/udp]
    #[arg(short, long, value_name = "PORTS")]
    pub publish: Vec<String>,
    /// Publish every port that the image or --expose names, on ports of the machine's choice
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Name a port or a range that the program listens on: PORT[/udp]
    #[arg(long, value_name = "PORTS")]
    pub expose: Vec<String>,
    /// Its network: bridge, host, none, container:NAME or one of `coil network ls`; several make it join several
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub network: Vec<String>,
    /// One more name in the network
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    pub network_alias: Vec<String>,
    /// Its IPv4 address, in a network with a subnet of its own
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// Its IPv6 address, in a network with a subnet of its own
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,
    /// Its hardware address
    #[arg(long, value_name = "ADDRESS")]
    pub mac_address: Option<String>,
    /// Ask this name server
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<String>,
    /// Try this domain behind short names; `.` for none
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Set an option of the resolver
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Add a name to its hosts file: NAME:ADDRESS, or NAME:host-gateway for this machine
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub add_host: Vec<String>,
    /// Give another container's address a name: CONTAINER[:NAME]
    #[arg(long, value_name = "CONTAINER")]
    pub link: Vec<String>,
}

impl NetworkFlags {
    /// What the engine is asked for.
    pub fn request(&self) -> NetworkRequest {
        NetworkRequest {
            networks: self.network.clone(),
            aliases: self.network_alias.clone(),
            ip: self.ip.clone(),
            ip6: self.ip6.clone(),
            mac: self.mac_address.clone(),
            dns: self.dns.clone(),
            search: self.dns_search.clone(),
            options: self.dns_option.clone(),
            hosts: self.add_host.clone(),
            links: self.link.clone(),
        }
    }
}
