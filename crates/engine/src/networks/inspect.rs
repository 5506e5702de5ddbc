//! Networks, and a container's places in them, as Docker's JSON shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use coil_oci::{Digest, timestamp};
use coil_runtime::network::{self, DEFAULT_NETWORK};
use serde_json::{Map, Value, json};

use super::NetworkRecord;
use crate::Engine;
use crate::record::Container;

/// A stable id of a container's end of a network.
fn endpoint(container: &str, network: &str) -> String {
    Digest::of(&[container.as_bytes(), network.as_bytes()].join(&0))
        .hex()
        .to_owned()
}

impl Engine {
    /// A network as `docker network inspect` shows it.
    pub fn inspect_network(&self, record: &NetworkRecord) -> Value {
        let live = network::live(&self.run_root, &record.name);
        let subnet = live.map(|(subnet, _)| subnet).or(record.subnet);
        let mut pools = Vec::new();
        if let Some(subnet) = subnet {
            let gateway = record.gateway.filter(|gateway| subnet.contains(*gateway));
            let mut pool = json!({ "Subnet": subnet.to_string() });
            if let Some(range) = record.range {
                pool["IPRange"] = json!(range.to_string());
            }
            // What is only said when it was asked for.
            let chosen = subnet
                .nth(1)
                .filter(|_| !record.subnet_asked && !record.config_only);
            if let Some(gateway) = gateway.or(chosen) {
                pool["Gateway"] = json!(gateway.to_string());
            }
            if !record.taken.is_empty() {
                pool["AuxiliaryAddresses"] = json!(record.taken);
            }
            pools.push(pool);
        }
        if let Some(subnet6) = record.subnet6 {
            let gateway6 = record.gateway6.or(subnet6.nth(1));
            pools.push(json!({
                "Subnet": subnet6.to_string(),
                "Gateway": gateway6.map(|ip| ip.to_string()),
            }));
        }
        let created = timestamp::nanoseconds(Duration::new(record.created.0, record.created.1));
        let asked = !["bridge", "host", "none"].contains(&record.name.as_str());
        let mut options = record.options.clone();
        if record.name == DEFAULT_NETWORK {
            let device = network::bridge_name(&self.bridge(record), &self.run_root);
            options.insert("com.docker.network.bridge.default_bridge".into(), "true".into());
            options.insert(super::BRIDGE_NAME.into(), device);
        }
        json!({
            "Name": record.name,
            "Id": record.id,
            "Created": created,
            "Scope": "local",
            "Driver": record.driver(),
            "EnableIPv4": true,
            "EnableIPv6": record.subnet6.is_some(),
            "IPAM": { "Driver": "default", "Options": if asked { json!(record.address_options) } else { Value::Null }, "Config": pools },
            "Internal": record.internal,
            "Attachable": record.attachable,
            "Ingress": false,
            "ConfigFrom": { "Network": record.config_from },
            "ConfigOnly": record.config_only,
            "Containers": self.members(record),
            "Options": options,
            "Labels": record.labels,
        })
    }

    /// The running containers of a network, by id.
    fn members(&self, record: &NetworkRecord) -> Map<String, Value> {
        let mut members = Map::new();
        let places: Vec<Container> = match record.name.as_str() {
            // Who has no bridge leaves no trace in the run root.
            "host" | "none" => self
                .containers()
                .into_iter()
                .filter(|container| container.is_running() && container.record.network == record.name)
                .collect(),
            name => self
                .member_ids(name)
                .into_iter()
                .filter_map(|id| self.container(&id).ok())
                .collect(),
        };
        for container in places {
            let place = container
                .state
                .networks
                .iter()
                .find(|place| place.network == record.name);
            let with_prefix = |address: Option<String>, prefix: u8| {
                address.map(|ip| format!("{ip}/{prefix}")).unwrap_or_default()
            };
            let value = json!({
                "Name": container.record.name,
                "EndpointID": endpoint(&container.record.id, &record.id),
                "MacAddress": place.map(|place| place.hardware_text()).unwrap_or_default(),
                "IPv4Address": place
                    .map(|place| with_prefix(Some(place.address.to_string()), place.subnet.prefix()))
                    .unwrap_or_default(),
                "IPv6Address": place
                    .and_then(|place| Some((place.address6?, place.subnet6?)))
                    .map(|(ip, subnet6)| with_prefix(Some(ip.to_string()), subnet6.prefix()))
                    .unwrap_or_default(),
            });
            members.insert(container.record.id, value);
        }
        members
    }

    /// A container's places in networks, as `docker inspect` shows them below `NetworkSettings`.
    pub fn network_places(&self, container: &Container) -> Value {
        let ids: BTreeMap<String, String> = self
            .networks()
            .into_iter()
            .map(|network| (network.name, network.id))
            .collect();
        let record = &container.record;
        let mut places = Map::new();
        let running = container.is_running();
        if matches!(record.network.as_str(), "host" | "none") {
            let mut place = self.empty_place(&record.id, &record.network, &ids, running);
            place["Aliases"] = Value::Null;
            places.insert(record.network.clone(), place);
        }
        for wish in &record.networks {
            let mut value = self.empty_place(&record.id, &wish.network, &ids, false);
            if wish.network != DEFAULT_NETWORK {
                let short: String = record.id.chars().take(12).collect();
                let mut names = vec![record.name.clone()];
                names.extend(wish.aliases.iter().cloned());
                names.push(short);
                value["Aliases"] = json!(wish.aliases);
                value["DNSNames"] = json!(names);
            }
            if wish.ip.is_some() || wish.ip6.is_some() {
                let mut asked = json!({});
                if let Some(ip) = wish.ip {
                    asked["IPv4Address"] = json!(ip.to_string());
                }
                if let Some(ip6) = wish.ip6 {
                    asked["IPv6Address"] = json!(ip6.to_string());
                }
                value["IPAMConfig"] = asked;
            }
            let state = container
                .state
                .networks
                .iter()
                .find(|place| running && place.network == wish.network);
            if let Some(place) = state {
                value["EndpointID"] = json!(endpoint(&record.id, &wish.network));
                value["MacAddress"] = json!(place.hardware_text());
                value["Gateway"] = json!(if place.internal {
                    String::new()
                } else {
                    place.gateway.to_string()
                });
                value["IPAddress"] = json!(place.address.to_string());
                value["IPPrefixLen"] = json!(place.subnet.prefix());
                if let (Some(address6), Some(subnet6)) = (place.address6, place.subnet6) {
                    value["IPv6Gateway"] = json!(place.gateway6.map(|ip| ip.to_string()).unwrap_or_default());
                    value["GlobalIPv6Address"] = json!(address6.to_string());
                    value["GlobalIPv6PrefixLen"] = json!(subnet6.prefix());
                }
            }
            places.insert(wish.network.clone(), value);
        }
        Value::Object(places)
    }

    fn empty_place(
        &self,
        container: &str,
        network: &str,
        ids: &BTreeMap<String, String>,
        joined: bool,
    ) -> Value {
        json!({
            "IPAMConfig": null,
            "Links": null,
            "Aliases": null,
            "MacAddress": "",
            "DriverOpts": null,
            "GwPriority": 0,
            "NetworkID": ids.get(network).cloned().unwrap_or_default(),
            "EndpointID": if joined { endpoint(container, network) } else { String::new() },
            "Gateway": "",
            "IPAddress": "",
            "IPPrefixLen": 0,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "DNSNames": null,
        })
    }
}
