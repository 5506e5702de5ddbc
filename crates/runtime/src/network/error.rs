//! Why a container can't have its network, in words for the user.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use coil_sys::netlink::NetlinkError;

use super::Subnet;

/// Why a container can't have its network.
#[derive(Debug)]
pub enum NetworkError {
    /// A name that can't be a folder's.
    Name(String),
    /// The folder of the network can't be used.
    Folder {
        /// The folder of all networks.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A device of the bridge's name that isn't ours.
    Foreign {
        /// The device's name.
        device: String,
    },
    /// The subnet asked for is in use on this machine.
    Overlap {
        /// The subnet asked for, of IPv4 or IPv6.
        subnet: String,
    },
    /// The gateway asked for is outside the subnet.
    Gateway {
        /// The gateway asked for.
        gateway: IpAddr,
        /// The network's subnet.
        subnet: String,
    },
    /// Every subnet that coil would choose is in use.
    NoSubnet,
    /// The address asked for is outside the subnet, or taken.
    Address {
        /// The address asked for.
        address: IpAddr,
        /// The network's subnet.
        subnet: String,
        /// Who has it.
        owner: Option<String>,
    },
    /// All addresses of the subnet are taken.
    Full {
        /// The network's subnet.
        subnet: Subnet,
    },
    /// The kernel refused a step.
    Kernel(NetlinkError),
    /// A netlink socket can't be had, or the container's namespace can't be joined.
    Socket(io::Error),
    /// Several steps of the removal failed; the others were done.
    Removal(Vec<NetworkError>),
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                write!(f, "`{name}` can't name a network: letters, digits, `_`, `.` and `-` can, up to 128")
            }
            Self::Folder { path, .. } => write!(f, "can't keep the networks' state in {}", path.display()),
            Self::Foreign { device } => write!(
                f,
                "there is a network device {device} that this data root knows nothing of; \
                 remove it (`ip link delete {device}`) if no container uses it"
            ),
            Self::Overlap { subnet } => {
                write!(f, "the subnet {subnet} overlaps a route or a name server of this machine; choose another")
            }
            Self::Gateway { gateway, subnet } => {
                write!(f, "the gateway {gateway} is not in the network's subnet {subnet}")
            }
            Self::NoSubnet => f.write_str(
                "every subnet that coil would choose overlaps a route of this machine; give the network a subnet",
            ),
            Self::Address {
                address,
                subnet,
                owner: None,
            } => {
                write!(
                    f,
                    "no configured subnet contains IP address {address}: the network's is {subnet}, of which the first, \
                     the last and the gateway's address are no container's"
                )
            }
            Self::Address {
                address,
                owner: Some(owner),
                ..
            } => {
                write!(f, "Address already in use: {address} belongs to the container {owner}")
            }
            Self::Full { subnet } => write!(f, "all addresses of the network's subnet {subnet} are taken"),
            Self::Kernel(error) if error.errno() == libc::EPERM => {
                f.write_str("a network behind a bridge needs root (CAP_NET_ADMIN)")
            }
            Self::Kernel(_) => f.write_str("the container's network can't be set up"),
            Self::Socket(_) => f.write_str("can't speak to the kernel about the container's network"),
            Self::Removal(errors) => {
                f.write_str("the network wasn't removed completely: ")?;
                for (index, error) in errors.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{error}")?;
                    if let Some(source) = std::error::Error::source(error) {
                        write!(f, ": {source}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for NetworkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Folder { source, .. } | Self::Socket(source) => Some(source),
            Self::Kernel(error) => Some(error),
            _ => None,
        }
    }
}

impl From<NetlinkError> for NetworkError {
    fn from(error: NetlinkError) -> Self {
        Self::Kernel(error)
    }
}

/// What is said when the folder of all networks can't be used.
pub(super) fn folder_error(run_root: &Path) -> impl Fn(io::Error) -> NetworkError {
    let path = run_root.join("network");
    move |source| NetworkError::Folder {
        path: path.clone(),
        source,
    }
}
