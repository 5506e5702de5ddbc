//! Binding the host's side of published ports, before the container starts.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use super::{Holder, PortMapping, Protocol, holder};
use crate::host_sockets::HostSockets;

/// A published port with what the kernel gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundPort {
    /// The mapping, with the host's port filled in.
    pub mapping: PortMapping,
    /// The addresses that are listened on.
    pub addresses: Vec<SocketAddr>,
}

/// Why a published port can't be had.
#[derive(Debug)]
pub enum BindError {
    /// Somebody else listens there.
    InUse {
        /// The address asked for.
        address: SocketAddr,
        /// The protocol.
        protocol: Protocol,
        /// Who it is, when that could be read.
        holder: Option<Holder>,
    },
    /// Every port of a range is in use.
    RangeInUse {
        /// The first port.
        first: u16,
        /// The last port.
        last: u16,
    },
    /// The port needs a privilege.
    Denied {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The host doesn't have the address.
    AddressAbsent {
        /// The address asked for.
        address: IpAddr,
    },
    /// Another failure.
    Io {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse {
                address,
                protocol,
                holder: Some(Holder::Container(name)),
            } => write!(
                f,
                "port is already allocated: {}/{protocol} on {} is published by the container {name}",
                address.port(),
                address.ip()
            ),
            Self::InUse {
                address,
                protocol,
                holder,
            } => {
                write!(
                    f,
                    "port {}/{protocol} on {} is already in use",
                    address.port(),
                    address.ip()
                )?;
                match holder {
                    Some(Holder::Process(name) | Holder::Container(name)) => write!(f, " by {name}"),
                    None => Ok(()),
                }
            }
            Self::RangeInUse { first, last } => {
                write!(
                    f,
                    "all ports from {first} to {last} are already in use; publish another range"
                )
            }
            Self::Denied { address } => write!(
                f,
                "port {} may not be bound by this user; publish a port from 1024 up, \
                 or lower the sysctl net.ipv4.ip_unprivileged_port_start",
                address.port()
            ),
            Self::AddressAbsent { address } => {
                write!(f, "this machine has no address {address} to publish a port on")
            }
            Self::Io { address, .. } => write!(f, "can't listen on {address}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A bound socket of the host's side.
#[derive(Debug)]
pub(super) enum HostSocket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// A bound socket and the container's port that it stands for.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: HostSocket,
    pub(super) container_port: u16,
}

fn open(
    address: SocketAddr,
    protocol: Protocol,
    sockets: &HostSockets,
) -> io::Result<(HostSocket, SocketAddr)> {
    match protocol {
        Protocol::Tcp => {
            let listener = sockets.listen_tcp(address)?;
            let bound = listener.local_addr()?;
            Ok((HostSocket::Tcp(listener), bound))
        }
        Protocol::Udp => {
            let udp = sockets.bind_udp(address)?;
            let bound = udp.local_addr()?;
            Ok((HostSocket::Udp(udp), bound))
        }
    }
}

fn failure(address: SocketAddr, protocol: Protocol, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse {
            address,
            protocol,
            holder: holder::holder(address, protocol),
        },
        io::ErrorKind::PermissionDenied => BindError::Denied { address },
        io::ErrorKind::AddrNotAvailable => BindError::AddressAbsent {
            address: address.ip(),
        },
        _ => BindError::Io { address, source },
    }
}

/// Listens for one mapping: on its address, or on all of IPv4 and (where there is any) IPv6.
fn bind_port(
    mapping: &PortMapping,
    port: u16,
    sockets: &HostSockets,
) -> Result<(Vec<Listener>, Vec<SocketAddr>), BindError> {
    let protocol = mapping.protocol;
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    let mut keep = |(socket, bound): (HostSocket, SocketAddr)| {
        listeners.push(Listener {
            socket,
            container_port: mapping.container_port,
        });
        addresses.push(bound);
        bound.port()
    };
    if let Some(ip) = mapping.host_ip {
        let address = SocketAddr::new(ip, port);
        keep(open(address, protocol, sockets).map_err(|source| failure(address, protocol, source))?);
        return Ok((listeners, addresses));
    }
    let four = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let port = keep(open(four, protocol, sockets).map_err(|source| failure(four, protocol, source))?);
    let six = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    match open(six, protocol, sockets) {
        Ok(bound) => {
            keep(bound);
        }
        // A host without IPv6 is served on IPv4 alone.
        Err(error) if !in_use(&error) => {}
        Err(error) => return Err(failure(six, protocol, error)),
    }
    Ok((listeners, addresses))
}

fn in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// Binds every mapping, or nothing.
pub(super) fn bind_all(
    mappings: &[PortMapping],
    host: &HostSockets,
) -> Result<(Vec<Listener>, Vec<BoundPort>), BindError> {
    let mut listeners = Vec::new();
    let mut bound = Vec::new();
    for mapping in mappings {
        let (sockets, addresses) = bind_mapping(mapping, host)?;
        let host_port = addresses.first().map_or(mapping.host_port, SocketAddr::port);
        let mapping = PortMapping {
            host_port,
            host_port_last: None,
            ..mapping.clone()
        };
        bound.push(BoundPort { mapping, addresses });
        listeners.extend(sockets);
    }
    Ok((listeners, bound))
}

fn bind_mapping(
    mapping: &PortMapping,
    host: &HostSockets,
) -> Result<(Vec<Listener>, Vec<SocketAddr>), BindError> {
    match mapping.host_port_last {
        // A port that the kernel chose for IPv4 may be taken on IPv6: it chooses again.
        None if mapping.host_port == 0 => {
            let mut outcome = bind_port(mapping, 0, host);
            for _ in 0..16 {
                if !matches!(outcome, Err(BindError::InUse { .. })) {
                    break;
                }
                outcome = bind_port(mapping, 0, host);
            }
            outcome
        }
        None => bind_port(mapping, mapping.host_port, host),
        Some(last) => {
            for port in mapping.host_port..=last {
                match bind_port(mapping, port, host) {
                    Err(BindError::InUse { .. }) => {}
                    other => return other,
                }
            }
            Err(BindError::RangeInUse {
                first: mapping.host_port,
                last,
            })
        }
    }
}
