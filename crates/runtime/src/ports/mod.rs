//! Published ports: what `-p` says, and the proxy that carries the traffic.

mod datagram;
mod dialer;
mod forwarder;
mod holder;
mod listener;
mod pipes;
mod relay;
mod shortcut;
mod stream;

pub use dialer::{Dialer, ForwarderLimits};
pub use forwarder::Forwarder;
pub use holder::Holder;
pub use listener::{BindError, BoundPort};
pub use relay::Relay;

use coil_sys::socket::Transport;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// The transport protocol of a published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A stream.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// The socket type of the protocol.
    pub fn transport(self) -> Transport {
        match self {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// One container port that is reachable on the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// The host's address; none means all, IPv4 and IPv6.
    pub host_ip: Option<IpAddr>,
    /// The host's port; 0 lets the kernel choose.
    pub host_port: u16,
    /// The last port to try, when the host's side is a range (`-p 8000-8010:80`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port_last: Option<u16>,
    /// The port inside the container.
    pub container_port: u16,
    /// TCP unless said otherwise.
    #[serde(default)]
    pub protocol: Protocol,
}

impl PortMapping {
    /// Maps one TCP port on all addresses.
    pub fn tcp(host_port: u16, container_port: u16) -> Self {
        Self {
            host_ip: None,
            host_port,
            host_port_last: None,
            container_port,
            protocol: Protocol::Tcp,
        }
    }
}

/// A `-p` value that can't be understood; the texts are Docker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The container's side is missing.
    NoPort(String),
    /// The container's side isn't a port or a range from 1 to 65535.
    ContainerPort(String),
    /// The host's side isn't a port or a range.
    HostPort(String),
    /// The part before the host's port isn't an address.
    Address(String),
    /// A protocol that doesn't exist, or that coil doesn't forward (sctp).
    Protocol(String),
    /// Two ranges of different lengths.
    Ranges {
        /// The container's side as written.
        container: String,
        /// The host's side as written.
        host: String,
    },
    /// An `--expose` with a host's side.
    Expose(String),
    /// The long form (`target=80,published=8080`) has a part that it doesn't know.
    Option(String),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort(text) => write!(f, "no port specified: {text}<empty>"),
            Self::ContainerPort(text) => write!(f, "invalid containerPort: {text}"),
            Self::HostPort(text) => write!(f, "invalid hostPort: {text}"),
            Self::Address(text) => write!(f, "invalid IP address: {text}"),
            Self::Protocol(text) => write!(f, "invalid proto: {text} (tcp and udp are forwarded)"),
            Self::Ranges { container, host } => {
                write!(
                    f,
                    "invalid ranges specified for container and host Ports: {container} and {host}"
                )
            }
            Self::Expose(text) => write!(f, "invalid port format for --expose: {text}"),
            Self::Option(text) => {
                write!(
                    f,
                    "invalid publish opts format (should be name=value but got '{text}')"
                )
            }
        }
    }
}

impl std::error::Error for PublishError {}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let number = |part: &str| {
        (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse().ok())
            .flatten()
    };
    match text.split_once('-') {
        None => number(text).map(|port| (port, port)),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some((first, last))
        }
    }
}

/// Reads a `-p` value: `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`, with ranges, or the long form `target=…,published=…`.
///
/// # Errors
/// In Docker's words: they reach the user as they are.
pub fn parse_publish(text: &str) -> Result<Vec<PortMapping>, PublishError> {
    if text.contains('=') {
        return parse_publish(&short_form(text)?);
    }
    let (ports, protocol) = match text.rsplit_once('/') {
        Some((ports, protocol)) => (ports, protocol),
        None => (text, "tcp"),
    };
    let (rest, container) = match ports.rsplit_once(':') {
        Some((rest, container)) => (Some(rest), container),
        None => (None, ports),
    };
    let (address, host) = match rest.map(|rest| (rest, rest.rsplit_once(':'))) {
        None => ("", ""),
        Some((host, None)) => ("", host),
        Some((_, Some((address, host)))) => (address, host),
    };
    if container.is_empty() {
        return Err(PublishError::NoPort(ports.to_owned()));
    }
    let host_ip = match address
        .strip_prefix('[')
        .and_then(|a| a.strip_suffix(']'))
        .unwrap_or(address)
    {
        "" => None,
        address => Some(
            address
                .parse::<IpAddr>()
                .map_err(|_| PublishError::Address(address.to_owned()))?,
        ),
    };
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(PublishError::Protocol(protocol.to_owned())),
    };
    let inside = parse_range(container)
        .filter(|range| range.0 > 0)
        .ok_or_else(|| PublishError::ContainerPort(container.to_owned()))?;
    let outside = match host {
        "" => None,
        host => Some(parse_range(host).ok_or_else(|| PublishError::HostPort(host.to_owned()))?),
    };
    let mapping = |host_port, host_port_last, container_port| PortMapping {
        host_ip,
        host_port,
        host_port_last,
        container_port,
        protocol,
    };
    match outside {
        None => Ok((inside.0..=inside.1).map(|port| mapping(0, None, port)).collect()),
        Some((first, last)) if last - first == inside.1 - inside.0 => Ok((first..=last)
            .zip(inside.0..=inside.1)
            .map(|(host, port)| mapping(host, None, port))
            .collect()),
        Some((first, last)) if inside.0 == inside.1 => Ok(vec![mapping(first, Some(last), inside.0)]),
        Some(_) => Err(PublishError::Ranges {
            container: container.to_owned(),
            host: host.to_owned(),
        }),
    }
}

/// Reads an `--expose` value: a port or a range, `80`, `80-82/udp`; each to be published on a port of the kernel's choice.
///
/// # Errors
/// In Docker's words.
pub fn parse_expose(text: &str) -> Result<Vec<PortMapping>, PublishError> {
    match text.contains([':', '=']) {
        true => Err(PublishError::Expose(text.to_owned())),
        false => parse_publish(text),
    }
}

/// The long form in the short one's words.
fn short_form(text: &str) -> Result<String, PublishError> {
    let (mut target, mut published, mut protocol, mut address) = ("", "", "tcp", "");
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("target", value)) => target = value,
            Some(("published", value)) => published = value,
            Some(("protocol", value)) => protocol = value,
            Some(("host_ip", value)) => address = value,
            Some(("mode" | "name" | "app_protocol", _)) => {}
            _ => return Err(PublishError::Option(part.to_owned())),
        }
    }
    if address.contains(':') && !address.starts_with('[') {
        return Ok(format!("[{address}]:{published}:{target}/{protocol}"));
    }
    Ok(format!("{address}:{published}:{target}/{protocol}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        match parse_publish(text) {
            Err(error) => error.to_string(),
            Ok(list) => list
                .iter()
                .map(|m| {
                    let ip = m.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
                    let last = m.host_port_last.map_or(String::new(), |last| format!("-{last}"));
                    format!("{ip} {}{last} {}/{}", m.host_port, m.container_port, m.protocol)
                })
                .collect::<Vec<_>>()
                .join("; "),
        }
    }

    #[test]
    fn publish_values() {
        for (text, expected) in [
            ("80", "* 0 80/tcp"),
            ("8000:80", "* 8000 80/tcp"),
            ("127.0.0.1:8000:80/udp", "127.0.0.1 8000 80/udp"),
            ("127.0.0.1::80", "127.0.0.1 0 80/tcp"),
            (":80", "* 0 80/tcp"),
            ("[::1]:8000:80", "::1 8000 80/tcp"),
            ("::1:8000:80", "::1 8000 80/tcp"),
            ("8000-8002:80-82", "* 8000 80/tcp; * 8001 81/tcp; * 8002 82/tcp"),
            ("8000-8002:80", "* 8000-8002 80/tcp"),
            ("80-81/UDP", "* 0 80/udp; * 0 81/udp"),
            ("target=80,published=8080,protocol=udp", "* 8080 80/udp"),
            ("target=80,published=8080,host_ip=::1", "::1 8080 80/tcp"),
            ("", "no port specified: <empty>"),
            ("8000:", "no port specified: 8000:<empty>"),
            ("a:80", "invalid hostPort: a"),
            ("80:b", "invalid containerPort: b"),
            ("80:0", "invalid containerPort: 0"),
            ("70000:80", "invalid hostPort: 70000"),
            ("+80:80", "invalid hostPort: +80"),
            ("8:9-7", "invalid containerPort: 9-7"),
            ("1.2.3:8000:80", "invalid IP address: 1.2.3"),
            ("80/sctp", "invalid proto: sctp (tcp and udp are forwarded)"),
            (
                "8000-8001:80-82",
                "invalid ranges specified for container and host Ports: 80-82 and 8000-8001",
            ),
            (
                "target=80,x",
                "invalid publish opts format (should be name=value but got 'x')",
            ),
        ] {
            assert_eq!(show(text), expected, "{text:?}");
        }
    }

    #[test]
    fn mappings_travel_as_json() {
        let mapping = PortMapping::tcp(8000, 80);
        let text = serde_json::to_string(&mapping).unwrap();
        assert_eq!(
            text,
            r#"{"host_ip":null,"host_port":8000,"container_port":80,"protocol":"tcp"}"#
        );
        assert_eq!(serde_json::from_str::<PortMapping>(&text).unwrap(), mapping);
    }
}
