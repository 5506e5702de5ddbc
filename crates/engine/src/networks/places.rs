//! From what a container wishes of networks to what its monitor is told, as this machine is when it starts.

use std::net::IpAddr;

use coil_runtime::HouseholdSpec;
use coil_runtime::network::{self, BridgeSpec, Bridged, NameSettings, NetworkSpec, SharedNetwork};

use super::{BETWEEN, BRIDGE_NAME, MASQUERADE, MTU, NetworkRecord, NetworkWish, NetworksError};
use crate::record::ContainerRecord;
use crate::{Engine, UserIds};

const CONFIGURED: &str =
    "user specified IP address is supported only when connecting to networks with user configured subnets";

impl Engine {
    /// How this machine resolves names.
    pub(crate) fn name_settings(&self) -> NameSettings {
        NameSettings {
            host_resolv_conf: self.options.resolv_conf.clone(),
            host_resolv_conf_upstream: self.options.resolved_conf.clone(),
            host_hosts: self.options.hosts.clone(),
            ..NameSettings::default()
        }
    }

    /// Puts names in the place of ids, and an id in the place of the other container's name, which may change.
    ///
    /// # Errors
    /// When the other container isn't there. A network may yet be made.
    pub(crate) fn settle_networks(&self, record: &mut ContainerRecord) -> Result<(), NetworksError> {
        if let Some(other) = record.network.strip_prefix("container:") {
            let other = self.container(other).map_err(NetworksError::Container)?.record;
            record.network = format!("container:{}", other.id);
            record.hostname = other.hostname;
            return Ok(());
        }
        for wish in &mut record.networks {
            if let Ok(network) = self.network(&wish.network) {
                if record.network == wish.network {
                    record.network.clone_from(&network.name);
                }
                wish.network = network.name;
            }
        }
        Ok(())
    }

    /// The network that a container wishes for, as this machine has it now.
    ///
    /// # Errors
    /// When a network or the other container isn't there.
    pub(crate) fn network_spec(&self, record: &ContainerRecord) -> Result<NetworkSpec, NetworksError> {
        let wishes = &record.names;
        let mut names = NameSettings {
            dns: wishes.dns.clone(),
            search: wishes.search.clone(),
            options: wishes.options.clone(),
            ..self.name_settings()
        };
        for host in &wishes.hosts {
            match host.address {
                Some(address) => names.extra_hosts.push((host.name.clone(), address)),
                None => names.gateway_names.push(host.name.clone()),
            }
        }
        if let Some(other) = record.network.strip_prefix("container:") {
            if !self.owns_ids() {
                return Err(NetworksError::NeedsRoot);
            }
            let other = self.container(other).map_err(NetworksError::Container)?;
            return Ok(NetworkSpec::Container(SharedNetwork {
                id: other.record.id,
                container_dir: other.dir,
                run_dir: other.run_dir,
            }));
        }
        match record.network.as_str() {
            "none" => return Ok(NetworkSpec::None),
            "host" => return Ok(NetworkSpec::Host(names)),
            _ => {}
        }
        for (container, alias) in &wishes.links {
            names.extra_hosts.extend(self.link(container, alias)?);
        }
        let places = record
            .networks
            .iter()
            .map(|wish| self.place(record, wish))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(NetworkSpec::Bridge(Bridged {
            places,
            names,
            household: self.household(),
        }))
    }

    /// Where an ordinary user's bridges stand.
    fn household(&self) -> Option<HouseholdSpec> {
        (!self.is_root()).then(|| HouseholdSpec {
            map: self.id_map(0, 0),
            connectors: self.options.connectors.clone(),
            notice: match &self.options.user_ids {
                UserIds::One(notice) => notice.clone(),
                _ => None,
            },
        })
    }

    /// The lines of the hosts file for another container.
    fn link(&self, container: &str, alias: &str) -> Result<Vec<(String, IpAddr)>, NetworksError> {
        let other = self.container(container).map_err(NetworksError::Container)?;
        let Some(place) = other.state.networks.first().filter(|_| other.is_running()) else {
            return Err(NetworksError::Mode(
                "cannot link to a container that isn't running",
            ));
        };
        let mut names = vec![alias.to_owned(), other.record.name.clone()];
        names.dedup();
        Ok(names
            .into_iter()
            .map(|name| (name, place.address.into()))
            .collect())
    }

    /// A container's place in one network.
    pub(super) fn place(
        &self,
        record: &ContainerRecord,
        wish: &NetworkWish,
    ) -> Result<BridgeSpec, NetworksError> {
        let network = self.network(&wish.network)?;
        if network.config_only {
            return Err(NetworksError::Definition);
        }
        let endpoint = |why| NetworksError::Endpoint {
            network: network.name.clone(),
            why,
        };
        if wish.ip.is_some() && !network.subnet_asked {
            return Err(endpoint(CONFIGURED));
        }
        if wish.ip6.is_some() && network.subnet6.is_none() {
            return Err(endpoint(CONFIGURED));
        }
        let mut place = self.bridge(&network);
        place.address = wish.ip;
        place.address6 = wish.ip6;
        place.hardware = wish.mac;
        if !network.is_predefined() {
            place.names = vec![record.name.clone()];
            place.names.extend(wish.aliases.iter().cloned());
            place.names.push(record.id.chars().take(12).collect());
        }
        Ok(place)
    }

    /// A network's bridge, with nobody on it.
    pub(super) fn bridge(&self, network: &NetworkRecord) -> BridgeSpec {
        let own = self.own_networks();
        let mut reserved: Vec<_> = own
            .iter()
            .filter(|other| other.name != network.name && !other.config_only)
            .filter_map(|other| other.subnet)
            .collect();
        if !self.is_root() {
            // The bridge stands where this machine's routes aren't seen. Without them a subnet is chosen all the same.
            reserved.extend(network::routed().unwrap_or_default());
        }
        BridgeSpec {
            network: network.name.clone(),
            // An ordinary user's bridge never has the name of root's.
            default_root: self.options.default_root && self.is_root(),
            bridge: network.option(BRIDGE_NAME).map(str::to_owned),
            subnet: network.subnet.filter(|_| network.subnet_asked),
            usual: network.subnet.filter(|_| !network.subnet_asked),
            gateway: network.gateway,
            range: network.range,
            taken: network.taken.values().copied().collect(),
            subnet6: network.subnet6,
            gateway6: network.gateway6,
            internal: network.internal,
            isolated: network.is_off(BETWEEN),
            no_masquerade: network.is_off(MASQUERADE),
            mtu: network.option(MTU).and_then(|mtu| mtu.parse().ok()),
            avoid: self.name_settings().servers(),
            reserved,
            ..BridgeSpec::default()
        }
    }
}
