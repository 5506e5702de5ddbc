//! What a container wishes of networks: read from flags, and kept with the container.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use coil_runtime::network::DEFAULT_NETWORK;
use serde::{Deserialize, Serialize};

/// The flags of `coil run` that are about networks and names, as they were written.
#[derive(Debug, Clone, Default)]
pub struct NetworkRequest {
    /// `--network`: `bridge`, `host`, `none`, `container:NAME`, a network, or `name=NETWORK,alias=…,ip=…`.
    pub networks: Vec<String>,
    /// `--network-alias`.
    pub aliases: Vec<String>,
    /// `--ip`.
    pub ip: Option<String>,
    /// `--ip6`.
    pub ip6: Option<String>,
    /// `--mac-address`.
    pub mac: Option<String>,
    /// `--dns`.
    pub dns: Vec<String>,
    /// `--dns-search`.
    pub search: Vec<String>,
    /// `--dns-option`.
    pub options: Vec<String>,
    /// `--add-host NAME:ADDRESS`.
    pub hosts: Vec<String>,
    /// `--link CONTAINER[:ALIAS]`.
    pub links: Vec<String>,
}

/// A place in a network that a container wishes for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkWish {
    /// The network's name.
    pub network: String,
    /// More names in it.
    pub aliases: Vec<String>,
    /// The address asked for.
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address asked for.
    pub ip6: Option<Ipv6Addr>,
    /// The hardware address asked for.
    pub mac: Option<[u8; 6]>,
}

/// A line of the hosts file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostName {
    /// The name.
    pub name: String,
    /// Its address; none for the host as the container sees it.
    pub address: Option<IpAddr>,
}

/// How names are resolved in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NameWishes {
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub search: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
    /// Lines of the hosts file.
    pub hosts: Vec<HostName>,
    /// Other containers by names of this one's own: container and alias.
    pub links: Vec<(String, String)>,
}

/// All that a container wishes of networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkWishes {
    /// `default`, `host`, `none`, `container:NAME`, or the first network's name.
    pub mode: String,
    /// The networks behind bridges.
    pub networks: Vec<NetworkWish>,
    /// How names are resolved.
    pub names: NameWishes,
}

/// A flag that can't be used; the words are Docker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WishError {
    /// Not what the flag takes.
    Value {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        why: String,
    },
    /// Two flags that don't go together.
    Conflict(&'static str),
    /// A network twice.
    Twice(String),
    /// What the default network doesn't have.
    Endpoint {
        /// The network.
        network: String,
        /// What isn't there.
        why: &'static str,
    },
}

impl fmt::Display for WishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { flag, value, why } => {
                write!(f, "invalid argument \"{value}\" for \"{flag}\" flag: {why}")
            }
            Self::Conflict(what) => write!(f, "conflicting options: {what}"),
            Self::Twice(name) => write!(f, "network \"{name}\" is specified multiple times"),
            Self::Endpoint { network, why } => write!(
                f,
                "invalid config for network {network}: invalid endpoint settings: {why}"
            ),
        }
    }
}

impl std::error::Error for WishError {}

fn bad(flag: &'static str, value: &str, why: impl Into<String>) -> WishError {
    WishError::Value {
        flag,
        value: value.to_owned(),
        why: why.into(),
    }
}

/// Reads six pairs of hexadecimal digits; a group address is none of a container's.
pub fn hardware(text: &str) -> Option<[u8; 6]> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let mut address = [0; 6];
    if parts.len() != 6 {
        return None;
    }
    for (byte, part) in address.iter_mut().zip(parts) {
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2)?;
    }
    (address[0] & 1 == 0 && address != [0; 6]).then_some(address)
}

fn parse<T: std::str::FromStr>(flag: &'static str, text: &str) -> Result<T, WishError> {
    text.parse()
        .map_err(|_| bad(flag, text, format!("{text} is not an ip address")))
}

/// One `--network`, short or long.
fn network(text: &str) -> Result<NetworkWish, WishError> {
    let mut wish = NetworkWish::default();
    if !text.contains('=') {
        text.clone_into(&mut wish.network);
    } else {
        for part in text.split(',') {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key.trim().to_ascii_lowercase().as_str() {
                "name" => value.clone_into(&mut wish.network),
                "alias" => wish.aliases.push(value.to_owned()),
                "ip" => wish.ip = Some(parse("--network", value)?),
                "ip6" => wish.ip6 = Some(parse("--network", value)?),
                "mac-address" => {
                    let address = hardware(value);
                    wish.mac =
                        Some(address.ok_or_else(|| {
                            bad("--network", text, format!("{value} is not a MAC address"))
                        })?);
                }
                "gw-priority" if value == "0" => {}
                "gw-priority" | "driver-opt" | "link-local-ip" => {
                    let why = format!("coil has no {key} for a place in a network");
                    return Err(bad("--network", text, why));
                }
                _ => {
                    let why = format!("invalid field key {key}: invalid key/value pair '{part}'");
                    return Err(bad("--network", text, why));
                }
            }
        }
    }
    if wish.network.is_empty() {
        return Err(bad("--network", text, "network name/id is not specified"));
    }
    Ok(wish)
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`, where the address may stand in brackets or be `host-gateway`.
fn host(text: &str) -> Result<HostName, WishError> {
    let flag = "--add-host";
    let at = text.find(['=', ':']).filter(|at| *at > 0);
    let at = at.ok_or_else(|| bad(flag, text, format!("bad format for add-host: \"{text}\"")))?;
    let (name, address) = (&text[..at], &text[at + 1..]);
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    let address = match bare {
        "host-gateway" => None,
        _ => {
            let parsed = bare.parse();
            Some(parsed.map_err(|_| {
                bad(
                    flag,
                    text,
                    format!("invalid IP address in add-host: \"{address}\""),
                )
            })?)
        }
    };
    if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(bad(flag, text, format!("bad format for add-host: \"{text}\"")));
    }
    Ok(HostName {
        name: name.to_owned(),
        address,
    })
}

/// A word of `resolv.conf` that stays one word.
fn word(flag: &'static str, text: &str) -> Result<String, WishError> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(bad(flag, text, "it is not one word"));
    }
    Ok(text.to_owned())
}

impl NetworkRequest {
    /// Reads the flags; `hostname` and `ports` say whether those were asked for.
    ///
    /// # Errors
    /// In Docker's words.
    pub fn read(&self, hostname: bool, ports: bool) -> Result<NetworkWishes, WishError> {
        let mut networks = self
            .networks
            .iter()
            .map(|text| network(text))
            .collect::<Result<Vec<_>, _>>()?;
        let mode = networks
            .first()
            .map_or_else(|| "default".to_owned(), |first| first.network.clone());
        let special = |name: &str| matches!(name, "host" | "none") || name.starts_with("container:");
        if networks.len() > 1 && networks.iter().any(|wish| special(&wish.network)) {
            return Err(WishError::Conflict(
                "cannot attach both user-defined and non-user-defined network-modes",
            ));
        }
        for (at, wish) in networks.iter_mut().enumerate() {
            if wish.network == "default" {
                DEFAULT_NETWORK.clone_into(&mut wish.network);
            }
            if at == 0 {
                wish.aliases.extend(self.aliases.iter().cloned());
                if let Some(ip) = &self.ip {
                    wish.ip = Some(parse("--ip", ip)?);
                }
                if let Some(ip6) = &self.ip6 {
                    wish.ip6 = Some(parse("--ip6", ip6)?);
                }
            }
        }
        let mac = match &self.mac {
            None => None,
            Some(text) => {
                let why = || {
                    bad(
                        "--mac-address",
                        text,
                        format!("{text} is not a valid mac address"),
                    )
                };
                Some(hardware(text).ok_or_else(why)?)
            }
        };
        let names = self.names()?;
        if special(&mode) {
            let container = mode.starts_with("container:");
            self.check_special(&mode, container, hostname, ports, &names)?;
            networks.clear();
        } else {
            if networks.is_empty() {
                networks.push(NetworkWish {
                    network: DEFAULT_NETWORK.to_owned(),
                    aliases: self.aliases.clone(),
                    ip: self.ip.as_deref().map(|ip| parse("--ip", ip)).transpose()?,
                    ip6: self.ip6.as_deref().map(|ip| parse("--ip6", ip)).transpose()?,
                    mac: None,
                });
            }
            networks[0].mac = networks[0].mac.or(mac);
            for (at, wish) in networks.iter().enumerate() {
                wish.check()?;
                if networks[..at].iter().any(|other| other.network == wish.network) {
                    return Err(WishError::Twice(wish.network.clone()));
                }
            }
        }
        Ok(NetworkWishes {
            mode,
            networks,
            names,
        })
    }

    /// What can't be asked for without a network of one's own.
    fn check_special(
        &self,
        mode: &str,
        container: bool,
        hostname: bool,
        ports: bool,
        names: &NameWishes,
    ) -> Result<(), WishError> {
        let conflicts = [
            (container && hostname, "hostname and the network mode"),
            (
                mode == "host" && !names.links.is_empty(),
                "host type networking can't be used with links",
            ),
            (
                container && !names.links.is_empty(),
                "container type network can't be used with links",
            ),
            (
                container && !(names.dns.is_empty() && names.search.is_empty() && names.options.is_empty()),
                "dns and the network mode",
            ),
            (
                container && !names.hosts.is_empty(),
                "custom host-to-IP mapping and the network mode",
            ),
            (
                (container || mode == "host") && self.mac.is_some(),
                "mac-address and the network mode",
            ),
            (
                container && ports,
                "port publishing and the container type network mode",
            ),
        ];
        if let Some((_, what)) = conflicts.into_iter().find(|(conflict, _)| *conflict) {
            return Err(WishError::Conflict(what));
        }
        let endpoint = |why| WishError::Endpoint {
            network: mode.to_owned(),
            why,
        };
        if !self.aliases.is_empty() {
            return Err(endpoint(ALIAS));
        }
        if self.ip.is_some() || self.ip6.is_some() {
            return Err(endpoint(ADDRESS));
        }
        Ok(())
    }

    fn names(&self) -> Result<NameWishes, WishError> {
        let words = |flag, list: &[String]| {
            list.iter()
                .map(|text| word(flag, text))
                .collect::<Result<Vec<_>, _>>()
        };
        let link = |text: &String| match text.split_once(':') {
            Some((container, alias)) => (container.to_owned(), alias.to_owned()),
            None => (text.clone(), text.clone()),
        };
        Ok(NameWishes {
            dns: self
                .dns
                .iter()
                .map(|text| parse("--dns", text))
                .collect::<Result<_, _>>()?,
            search: words("--dns-search", &self.search)?,
            options: words("--dns-option", &self.options)?,
            hosts: self
                .hosts
                .iter()
                .map(|text| host(text))
                .collect::<Result<_, _>>()?,
            links: self.links.iter().map(link).collect(),
        })
    }
}

const ALIAS: &str = "network-scoped alias is supported only for containers in user defined networks";
const ADDRESS: &str = "user specified IP address is supported on user defined networks only";

impl NetworkWish {
    /// What the default network doesn't have.
    pub(super) fn check(&self) -> Result<(), WishError> {
        let endpoint = |why| WishError::Endpoint {
            network: self.network.clone(),
            why,
        };
        if self.network == DEFAULT_NETWORK {
            if !self.aliases.is_empty() {
                return Err(endpoint(ALIAS));
            }
            if self.ip.is_some() || self.ip6.is_some() {
                return Err(endpoint(ADDRESS));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn refused(request: NetworkRequest, hostname: bool, ports: bool) -> String {
        request
            .read(hostname, ports)
            .expect_err("it must be refused")
            .to_string()
    }

    #[test]
    fn nothing_said_is_the_default_network() {
        let wishes = NetworkRequest::default().read(false, false).expect("it is right");
        assert_eq!(
            (wishes.mode.as_str(), wishes.networks[0].network.as_str()),
            ("default", "bridge")
        );
    }

    #[test]
    fn several_networks_have_settings_of_their_own() {
        let request = NetworkRequest {
            networks: list(&[
                "front",
                "name=back,alias=db,ip=10.9.0.5,mac-address=02:00:00:00:00:07",
            ]),
            aliases: list(&["web"]),
            ..NetworkRequest::default()
        };
        let wishes = request.read(true, true).expect("they are right");
        assert_eq!(wishes.mode, "front");
        assert_eq!(wishes.networks[0].aliases, ["web"]);
        assert_eq!(wishes.networks[1].aliases, ["db"]);
        assert_eq!(wishes.networks[1].ip, Some(Ipv4Addr::new(10, 9, 0, 5)));
        assert_eq!(wishes.networks[1].mac, Some([2, 0, 0, 0, 0, 7]));
    }

    #[test]
    fn what_does_not_go_together_is_said_in_dockers_words() {
        let on = |network: &str| NetworkRequest {
            networks: list(&[network]),
            ..NetworkRequest::default()
        };
        let shared = on("container:web");
        assert_eq!(
            refused(shared.clone(), true, false),
            "conflicting options: hostname and the network mode"
        );
        assert_eq!(
            refused(shared.clone(), false, true),
            "conflicting options: port publishing and the container type network mode"
        );
        let dns = NetworkRequest {
            dns: list(&["9.9.9.9"]),
            ..shared
        };
        assert_eq!(
            refused(dns, false, false),
            "conflicting options: dns and the network mode"
        );
        let alias = NetworkRequest {
            aliases: list(&["x"]),
            ..NetworkRequest::default()
        };
        assert!(refused(alias, false, false).contains("network-scoped alias"));
        let ip = NetworkRequest {
            ip: Some("10.0.0.5".into()),
            ..on("bridge")
        };
        assert!(refused(ip, false, false).contains("user defined networks only"));
        let both = NetworkRequest {
            networks: list(&["host", "web"]),
            ..NetworkRequest::default()
        };
        assert!(refused(both, false, false).contains("cannot attach both"));
        let twice = NetworkRequest {
            networks: list(&["web", "web"]),
            ..NetworkRequest::default()
        };
        assert!(refused(twice, false, false).contains("multiple times"));
        assert!(refused(on("name=web,color=red"), false, false).contains("color=red"));
    }

    #[test]
    fn hosts_are_read() {
        for (text, name, address) in [
            ("db:10.0.0.5", "db", Some("10.0.0.5")),
            ("db=::1", "db", Some("::1")),
            ("db:[fd00::5]", "db", Some("fd00::5")),
            ("me:host-gateway", "me", None),
        ] {
            let read = host(text).expect(text);
            let address: Option<IpAddr> = address.map(|ip| ip.parse().expect("an address"));
            assert_eq!((read.name.as_str(), read.address), (name, address));
        }
        for text in ["db", ":10.0.0.5", "db:x", "a\nb:10.0.0.5", ""] {
            assert!(host(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn hardware_addresses_are_of_one_device() {
        assert_eq!(hardware("02:42:ac:11:00:02"), Some([2, 0x42, 0xac, 0x11, 0, 2]));
        for text in [
            "",
            "02:42",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "2:4:a:1:0:2",
        ] {
            assert_eq!(hardware(text), None, "{text}");
        }
    }
}
