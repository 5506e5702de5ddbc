//! Networks that the user makes: their definitions in the data root, and who is in them.
//!
//! `networks-v1/NAME.json` in the data root says what a network is. It has a bridge only while a container of it runs: that
//! is the runtime's affair, and stands in the run root.

mod addresses;
mod error;
mod inspect;
mod membership;
mod places;
mod wish;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coil_oci::Digest;
use coil_runtime::events::Subject;
use coil_runtime::network::{self, DEFAULT_NETWORK, Subnet, Subnet6};
use serde::{Deserialize, Serialize};

use crate::{Engine, Status, clock, words};

use addresses::Addresses;
pub use error::NetworksError;
pub use wish::{HostName, NameWishes, NetworkRequest, NetworkWish, NetworkWishes, WishError, hardware};

/// The folder of the definitions in the data root.
const FOLDER: &str = "networks-v1";
/// The networks that are always there.
const PREDEFINED: [&str; 3] = [DEFAULT_NETWORK, "host", "none"];

/// How long a container that has ended may take to leave.
const PATIENCE: Duration = Duration::from_secs(5);

/// Driver options that are honoured.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
const BETWEEN: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const MTU: &str = "com.docker.network.driver.mtu";

/// What a network is; a file in the data root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name.
    pub name: String,
    /// When it was made: seconds and nanoseconds since 1970.
    pub created: (u64, u32),
    /// Its addresses; none where it has no bridge.
    pub subnet: Option<Subnet>,
    /// Whether the user asked for that subnet: else another may take its place when this machine routes it one day.
    pub subnet_asked: bool,
    /// The bridge's own address, where one was asked for.
    pub gateway: Option<Ipv4Addr>,
    /// The part of the subnet that addresses are chosen from.
    pub range: Option<Subnet>,
    /// Its IPv6 addresses.
    pub subnet6: Option<Subnet6>,
    /// The bridge's own IPv6 address, where one was asked for.
    pub gateway6: Option<Ipv6Addr>,
    /// No way out.
    pub internal: bool,
    /// Accepted and shown, as Docker does.
    pub attachable: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Addresses of the subnet that are somebody else's, by what they are called.
    #[serde(default)]
    pub taken: BTreeMap<String, Ipv4Addr>,
    /// Options of who gives out addresses: accepted and shown, as Docker does.
    #[serde(default)]
    pub address_options: BTreeMap<String, String>,
    /// Whether it is a definition for others, and no network itself.
    #[serde(default)]
    pub config_only: bool,
    /// The network whose definition it has; empty where it has its own.
    #[serde(default)]
    pub config_from: String,
}

/// What `coil network create` was asked for.
#[derive(Debug, Clone, Default)]
pub struct CreateNetwork {
    /// The name.
    pub name: String,
    /// `bridge`, or what is refused.
    pub driver: String,
    /// `--subnet`, of IPv4 and IPv6.
    pub subnets: Vec<String>,
    /// `--gateway`.
    pub gateways: Vec<String>,
    /// `--ip-range`.
    pub ranges: Vec<String>,
    /// `--ipv6`.
    pub ipv6: bool,
    /// No way out.
    pub internal: bool,
    /// Accepted and shown.
    pub attachable: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `-o`.
    pub options: BTreeMap<String, String>,
    /// `--aux-address NAME=ADDRESS`.
    pub taken: BTreeMap<String, String>,
    /// `--ipam-opt`.
    pub address_options: BTreeMap<String, String>,
    /// A definition for others, and no network itself.
    pub config_only: bool,
    /// The network whose definition it has; empty for its own.
    pub config_from: String,
}

impl NetworkRecord {
    /// Whether it is always there.
    pub fn is_predefined(&self) -> bool {
        PREDEFINED.contains(&self.name.as_str())
    }

    /// Its driver, as Docker names it.
    pub fn driver(&self) -> &'static str {
        match self.name.as_str() {
            "host" => "host",
            "none" => "null",
            _ if self.config_only => "null",
            _ => "bridge",
        }
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Whether a driver option that is on when nothing is said was switched off.
    fn is_off(&self, name: &str) -> bool {
        self.option(name).is_some_and(|value| value == "false")
    }
}

/// Whether a text may name a network: as a container's name.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    name.len() <= 128
        && name.bytes().all(plain)
        && name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
}

impl Engine {
    fn networks_folder(&self) -> PathBuf {
        self.store.root().join(FOLDER)
    }

    /// The networks that are always there.
    fn predefined(&self) -> Vec<NetworkRecord> {
        let root = self.store.root().as_os_str().as_encoded_bytes();
        let network = |name: &str| NetworkRecord {
            id: Digest::of(&[root, name.as_bytes()].join(&0)).hex().to_owned(),
            name: name.to_owned(),
            created: (0, 0),
            subnet: None,
            subnet_asked: false,
            gateway: None,
            range: None,
            subnet6: None,
            gateway6: None,
            internal: false,
            attachable: false,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            taken: BTreeMap::new(),
            address_options: BTreeMap::new(),
            config_only: false,
            config_from: String::new(),
        };
        PREDEFINED.iter().map(|name| network(name)).collect()
    }

    /// Every network, by name.
    pub fn networks(&self) -> Vec<NetworkRecord> {
        let mut networks = self.predefined();
        networks.extend(self.own_networks());
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        networks
    }

    /// The networks that the user made.
    fn own_networks(&self) -> Vec<NetworkRecord> {
        let entries = fs::read_dir(self.networks_folder())
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "json"))
            .filter_map(|entry| serde_json::from_slice(&fs::read(entry.path()).ok()?).ok())
            .collect()
    }

    /// Finds a network by name, id, or the beginning of an id.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn network(&self, text: &str) -> Result<NetworkRecord, NetworksError> {
        let networks = self.networks();
        if let Some(found) = networks.iter().find(|n| n.name == text || n.id == text) {
            return Ok(found.clone());
        }
        let mut matching = networks.into_iter().filter(|n| n.id.starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(network), None) if !text.is_empty() => Ok(network),
            (Some(_), Some(_)) if !text.is_empty() => Err(NetworksError::Ambiguous(text.to_owned())),
            _ => Err(NetworksError::Missing(text.to_owned())),
        }
    }

    /// Makes a network; gives its id.
    ///
    /// # Errors
    /// See [`NetworksError`]; nothing is made then.
    pub fn create_network(&self, request: &CreateNetwork) -> Result<String, NetworksError> {
        if PREDEFINED.contains(&request.name.as_str()) {
            return Err(NetworksError::Predefined(request.name.clone()));
        }
        if !is_name(&request.name) {
            return Err(NetworksError::Name(request.name.clone()));
        }
        match request.driver.as_str() {
            "bridge" => {}
            "host" | "null" => return Err(NetworksError::OnlyOne(request.driver.clone())),
            _ => return Err(NetworksError::Driver(request.driver.clone())),
        }
        check_options(&request.options)?;
        let folder = self.networks_folder();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| NetworksError::Io { path, source }
        };
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        // Two who make networks at the same moment choose different subnets.
        let lock = File::open(&folder).map_err(failed(&folder))?;
        lock.lock().map_err(failed(&folder))?;
        let others = self.own_networks();
        if others.iter().any(|other| other.name == request.name) {
            return Err(NetworksError::Exists(request.name.clone()));
        }
        let record = match request.config_from.as_str() {
            "" => self.define_network(request, &others)?,
            name => self.define_by_another(request, name, &others)?,
        };
        let path = folder.join(format!("{}.json", record.name));
        let part = folder.join(format!(".{}.part", record.name));
        let written = serde_json::to_vec(&record)
            .map_err(io::Error::from)
            .and_then(|bytes| fs::write(&part, bytes))
            .and_then(|()| File::open(&part)?.sync_all())
            .and_then(|()| fs::rename(&part, &path));
        written.map_err(failed(&path))?;
        self.network_event(&record, "create");
        Ok(record.id)
    }

    fn define_network(
        &self,
        request: &CreateNetwork,
        others: &[NetworkRecord],
    ) -> Result<NetworkRecord, NetworksError> {
        let addresses = Addresses::read(request)?;
        // A definition alone takes no addresses from anybody.
        let real = || others.iter().filter(|other| !other.config_only);
        let reserved: Vec<Subnet> = real().filter_map(|other| other.subnet).collect();
        let reserved6: Vec<Subnet6> = real().filter_map(|other| other.subnet6).collect();
        let subnet = network::plan_subnet(addresses.subnet, &reserved, &self.name_settings().servers())?;
        let id = words::new_id().map_err(|source| NetworksError::Io {
            path: self.networks_folder(),
            source,
        })?;
        let subnet6 = match (addresses.subnet6, request.ipv6) {
            (Some(subnet6), _) => Some(subnet6),
            (None, true) => unique_local(&id),
            (None, false) => None,
        };
        if let Some(subnet6) = subnet6 {
            network::plan_subnet6(subnet6, &reserved6)?;
        }
        let within = |inside: bool, what: String| match inside {
            true => Ok(()),
            false => Err(NetworksError::Outside {
                what,
                subnet: subnet.to_string(),
            }),
        };
        if let Some(gateway) = addresses.gateway {
            within(subnet.contains(gateway), format!("the gateway {gateway}"))?;
        }
        if let Some(range) = addresses.range {
            let inside = subnet.contains(range.base()) && subnet.contains(range.last());
            within(inside, format!("the range {range}"))?;
        }
        if let (Some(gateway6), Some(subnet6)) = (addresses.gateway6, subnet6)
            && !subnet6.contains(gateway6)
        {
            return Err(NetworksError::Outside {
                what: format!("the gateway {gateway6}"),
                subnet: subnet6.to_string(),
            });
        }
        let created = clock::now();
        Ok(NetworkRecord {
            id,
            name: request.name.clone(),
            created: (created.as_secs(), created.subsec_nanos()),
            // A definition alone has what was asked for, and nothing chosen.
            subnet: Some(subnet).filter(|_| !request.config_only || addresses.subnet.is_some()),
            subnet_asked: addresses.subnet.is_some(),
            gateway: addresses.gateway,
            range: addresses.range,
            subnet6,
            gateway6: addresses.gateway6.filter(|_| subnet6.is_some()),
            internal: request.internal,
            attachable: request.attachable,
            labels: request.labels.clone(),
            options: request.options.clone(),
            taken: addresses.taken,
            address_options: request.address_options.clone(),
            config_only: request.config_only,
            config_from: String::new(),
        })
    }

    /// A network with the definition of another, which was made for that.
    fn define_by_another(
        &self,
        request: &CreateNetwork,
        name: &str,
        others: &[NetworkRecord],
    ) -> Result<NetworkRecord, NetworksError> {
        let definition = others
            .iter()
            .find(|other| other.name == name && other.config_only);
        let definition = definition.ok_or_else(|| NetworksError::NoDefinition(name.to_owned()))?;
        let own = !request.subnets.is_empty()
            || !request.options.is_empty()
            || !request.address_options.is_empty()
            || request.internal
            || request.ipv6
            || request.config_only;
        if own {
            return Err(NetworksError::TwoDefinitions);
        }
        let list = |text: Option<String>| text.into_iter().collect::<Vec<_>>();
        let asked = definition.subnet.filter(|_| definition.subnet_asked);
        let mut subnets = list(asked.map(|subnet| subnet.to_string()));
        subnets.extend(definition.subnet6.map(|subnet| subnet.to_string()));
        let mut gateways = list(definition.gateway.map(|ip| ip.to_string()));
        gateways.extend(definition.gateway6.map(|ip| ip.to_string()));
        let taken = definition.taken.iter();
        let record = self.define_network(
            &CreateNetwork {
                subnets,
                gateways,
                ranges: list(definition.range.map(|range| range.to_string())),
                internal: definition.internal,
                options: definition.options.clone(),
                taken: taken.map(|(name, ip)| (name.clone(), ip.to_string())).collect(),
                address_options: definition.address_options.clone(),
                ..request.clone()
            },
            others,
        )?;
        Ok(NetworkRecord {
            config_from: name.to_owned(),
            ..record
        })
    }

    fn network_event(&self, record: &NetworkRecord, action: &str) {
        let subject = Subject {
            kind: "network",
            id: &record.id,
            name: &record.name,
            ..Subject::default()
        };
        self.event_of(&subject, action, &[("type", record.driver().to_owned())]);
    }

    /// Removes a network that no running container is in; gives its name.
    ///
    /// # Errors
    /// When there is none, it is always there, or it is in use.
    pub fn remove_network(&self, text: &str) -> Result<String, NetworksError> {
        let record = self.network(text)?;
        if record.is_predefined() {
            return Err(NetworksError::Kept(record.name));
        }
        if record.config_only
            && self
                .own_networks()
                .iter()
                .any(|other| other.config_from == record.name)
        {
            return Err(NetworksError::DefinitionInUse(record.name));
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let users = self.users(&record.name);
            // Who has told of its end is about to leave.
            if users.iter().any(|(_, _, stays)| *stays) || !users.is_empty() && Instant::now() > until {
                return Err(NetworksError::InUse {
                    name: record.name,
                    id: record.id,
                    users: users.into_iter().map(|(name, id, _)| (name, id)).collect(),
                });
            }
            if users.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let path = self.networks_folder().join(format!("{}.json", record.name));
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(NetworksError::Missing(text.to_owned()))
            }
            Err(source) => Err(NetworksError::Io { path, source }),
            Ok(()) => {
                self.network_event(&record, "destroy");
                Ok(record.name)
            }
        }
    }

    /// The names and ids of the containers that are in a network now, and whether they stay: not those that have ended.
    fn users(&self, network: &str) -> Vec<(String, String, bool)> {
        let name_of = |id: String| match self.container(&id) {
            Ok(container) => {
                let stays = container.state.status != Status::Exited;
                (container.record.name, id, stays)
            }
            Err(_) => (id.chars().take(12).collect(), id, false),
        };
        self.member_ids(network).into_iter().map(name_of).collect()
    }

    /// Whether a network that the user made is in no use.
    pub fn is_dangling(&self, record: &NetworkRecord) -> bool {
        !record.is_predefined() && self.users(&record.name).is_empty()
    }
}

/// A network of one's own behind no router: fd00::/8 with the rest by chance (RFC 4193).
fn unique_local(id: &str) -> Option<Subnet6> {
    let chance = u64::from_str_radix(id.get(..14)?, 16).ok()?;
    let base = u128::from(0xfd00_0000_0000_0000 | chance) << 64;
    Subnet6::new(Ipv6Addr::from(base), 64)
}

fn check_options(options: &BTreeMap<String, String>) -> Result<(), NetworksError> {
    for (name, value) in options {
        let refused = |why: &'static str| {
            Err(NetworksError::Option {
                name: name.clone(),
                value: value.clone(),
                why,
            })
        };
        match name.as_str() {
            BETWEEN | MASQUERADE if !["true", "false"].contains(&value.as_str()) => {
                return refused("it is true or false");
            }
            BETWEEN | MASQUERADE => {}
            MTU if value.parse::<u32>().is_ok_and(|mtu| (68..=65535).contains(&mtu)) => {}
            MTU => return refused("it is a number of bytes from 68 to 65535"),
            BRIDGE_NAME => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
                if value.is_empty() || value.len() > 15 || !value.bytes().all(plain) || value.starts_with('.')
                {
                    return refused("a device's name has up to 15 letters, digits, `_`, `.` and `-`");
                }
            }
            _ => return refused("coil doesn't know this option"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_containers_names() {
        for (name, good) in [
            ("web", true),
            ("a.b_c-1", true),
            ("", false),
            (".x", false),
            ("a/b", false),
            ("a b", false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }

    #[test]
    fn own_ipv6_networks_differ() {
        let ids = ["00112233445566778899", "ffeeddccbbaa99887766"];
        let nets: Vec<String> = ids
            .iter()
            .filter_map(|id| unique_local(id))
            .map(|net| net.to_string())
            .collect();
        assert_eq!(nets, ["fd00:1122:3344:5566::/64", "fdff:eedd:ccbb:aa99::/64"]);
    }
}
