//! Why something can't be done with a network; the words are Docker's where it has any.

use std::fmt;
use std::io;
use std::path::PathBuf;

use coil_runtime::network::NetworkError;

use super::WishError;
use crate::find::FindError;

/// Why something can't be done with a network.
#[derive(Debug)]
pub enum NetworksError {
    /// There is none of this name or id.
    Missing(String),
    /// Several ids begin so.
    Ambiguous(String),
    /// The name is taken.
    Exists(String),
    /// The name has characters that may not be there.
    Name(String),
    /// It is always there, and can't be made.
    Predefined(String),
    /// It is always there, and can't be removed.
    Kept(String),
    /// A driver that coil doesn't have.
    Driver(String),
    /// A driver of which there is one network, always there.
    OnlyOne(String),
    /// A subnet with an address in it in the place of its own.
    NotItsBase {
        /// As it was given.
        given: String,
        /// The network.
        subnet: String,
    },
    /// There is no definition of this name.
    NoDefinition(String),
    /// A definition of another network, and one of its own.
    TwoDefinitions,
    /// Other networks have this definition.
    DefinitionInUse(String),
    /// A definition is no network.
    Definition,
    /// An option of the driver that can't be honoured.
    Option {
        /// The option.
        name: String,
        /// Its value.
        value: String,
        /// What speaks against it.
        why: &'static str,
    },
    /// Not a network in the notation of addresses and prefix lengths.
    Subnet(String),
    /// A network with too few addresses.
    Small(String),
    /// Not an address.
    Address(String),
    /// More than one where there can be one.
    Twice(&'static str),
    /// An address without the subnet that it belongs to.
    Alone {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
    },
    /// An address outside the subnet.
    Outside {
        /// What is outside.
        what: String,
        /// The network's subnet.
        subnet: String,
    },
    /// Running containers are in it.
    InUse {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
        /// The containers' names and ids.
        users: Vec<(String, String)>,
    },
    /// The container is in it already.
    Joined {
        /// The container's name.
        container: String,
        /// The network's name.
        network: String,
    },
    /// The container isn't in it.
    NotJoined {
        /// The container's id.
        id: String,
        /// The network's name.
        network: String,
    },
    /// The container's network mode, or the network's own, allows no joining and leaving.
    Mode(&'static str),
    /// A wish that the network can't fulfil.
    Endpoint {
        /// The network's name.
        network: String,
        /// Why.
        why: &'static str,
    },
    /// A wish that can't be.
    Wish(WishError),
    /// An ordinary user with one id can't have it.
    NeedsRoot,
    /// The container isn't there.
    Container(FindError),
    /// The container's monitor can't do it.
    Monitor(io::Error),
    /// The kernel or the networks' live state.
    Network(NetworkError),
    /// A definition can't be read or written.
    Io {
        /// Where.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl NetworksError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Missing(name) if !name.is_empty() => {
                format!("`coil network ls` lists the networks, `coil network create {name}` makes one")
            }
            Self::Missing(_) => "`coil network ls` lists the networks".to_owned(),
            Self::Ambiguous(_) => "give more of the id".to_owned(),
            Self::Exists(name) => format!("use it as it is, or remove it with `coil network rm {name}`"),
            Self::Name(_) => "give a name such as `backend`".to_owned(),
            Self::Predefined(_) => "give the network another name".to_owned(),
            Self::Driver(_) => {
                "use the driver bridge; `--network host` gives a container the host's network".to_owned()
            }
            Self::Option { .. } => format!(
                "the options are {}, {}, {} and {}",
                super::BRIDGE_NAME,
                super::BETWEEN,
                super::MASQUERADE,
                super::MTU
            ),
            Self::Subnet(_) => "give an address and a prefix length, such as 10.9.0.0/24".to_owned(),
            Self::Small(_) => "give a network of at least four addresses, such as 10.9.0.0/24".to_owned(),
            Self::Alone { .. } => "give --subnet too".to_owned(),
            Self::InUse { name, users, .. } => format!(
                "remove those containers, or take them out with `coil network disconnect {name} {}`",
                users.first().map_or("CONTAINER", |(name, _)| name.as_str())
            ),
            Self::OnlyOne(_) => "give a container `--network host` or `--network none`".to_owned(),
            Self::NotItsBase { subnet, .. } => format!("give {subnet}"),
            Self::NoDefinition(name) => format!("`coil network create --config-only {name}` makes one"),
            Self::TwoDefinitions => {
                "leave out what the definition says already, or --config-from".to_owned()
            }
            Self::DefinitionInUse(_) => "remove the networks first that have it".to_owned(),
            Self::Definition => "make a network of it: `coil network create --config-from`".to_owned(),
            Self::NeedsRoot => {
                "put both into a network of yours (`coil network create`), or see what `coil doctor` says of subordinate ids"
                    .to_owned()
            }
            Self::Network(NetworkError::Overlap { .. }) => {
                "give another subnet, or none and coil chooses one".to_owned()
            }
            Self::Container(error) => error.help().to_owned(),
            Self::Endpoint { .. } | Self::Wish(_) => {
                "make a network with `coil network create --subnet`, and join it with --network".to_owned()
            }
            Self::Joined { .. } => "it is there already: nothing needs to be done".to_owned(),
            Self::NotJoined { .. } => "`coil network inspect` shows who is in a network".to_owned(),
            Self::Kept(_) => "it is always there, and costs nothing".to_owned(),
            Self::Mode(_) => "make the container anew with `--network`".to_owned(),
            Self::Outside { .. } => "give one of the subnet's own addresses".to_owned(),
            Self::Address(_) => "give an address such as 10.9.0.1".to_owned(),
            Self::Twice(_) => "give one, or make a second network".to_owned(),
            Self::Monitor(_) | Self::Network(_) => {
                "`coil doctor` says what this machine's network can do".to_owned()
            }
            Self::Io { .. } => return None,
        })
    }
}

impl fmt::Display for NetworksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "network {name} not found"),
            Self::Ambiguous(text) => write!(f, "multiple IDs found with provided prefix: {text}"),
            Self::Exists(name) => write!(f, "network with name {name} already exists"),
            Self::Name(name) => write!(
                f,
                "invalid network name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ),
            Self::Predefined(name) => {
                write!(f, "operation is not permitted on predefined {name} network")
            }
            Self::Kept(name) => write!(f, "{name} is a pre-defined network and cannot be removed"),
            Self::Driver(driver) => write!(f, "the network driver {driver} is not supported: plugin \"{driver}\" not found"),
            Self::Option { name, value, why } => {
                write!(f, "the network option {name}={value} can't be used: {why}")
            }
            Self::Subnet(text) => write!(f, "invalid subnet {text} : invalid CIDR block notation"),
            Self::Small(text) => write!(f, "the subnet {text} has no room for containers"),
            Self::Address(text) => write!(f, "invalid address {text}"),
            Self::Twice(what) => write!(f, "a network has one {what}, and several were given"),
            Self::Alone { flag, value } => write!(
                f,
                "no matching subnet for {} {value}",
                flag.trim_start_matches("--")
            ),
            Self::Outside { what, subnet } => write!(f, "{what} is not in the network's subnet {subnet}"),
            Self::InUse { name, users, .. } => {
                let told = |(user, id): &(String, String)| {
                    format!("name:\"{user}\" id:\"{}\"", &id[..12.min(id.len())])
                };
                let users: Vec<String> = users.iter().map(told).collect();
                write!(
                    f,
                    "error while removing network: network {name} has active endpoints ({})",
                    users.join(", ")
                )
            }
            Self::OnlyOne(driver) => write!(f, "only one instance of \"{driver}\" network is allowed"),
            Self::NotItsBase { given, subnet } => {
                write!(f, "invalid network config: invalid subnet {given}: it should be {subnet}")
            }
            Self::NoDefinition(name) => write!(f, "configuration network \"{name}\" does not exist"),
            Self::TwoDefinitions => f.write_str(
                "user supplied IPAM and network specific configurations are not allowed with a configuration network",
            ),
            Self::DefinitionInUse(name) => write!(
                f,
                "error while removing network: configuration network \"{name}\" is in use"
            ),
            Self::Definition => f.write_str("cannot create endpoint on configuration-only network"),
            Self::Joined { container, network } => {
                write!(
                    f,
                    "endpoint with name {container} already exists in network {network}"
                )
            }
            Self::NotJoined { id, network } => {
                write!(f, "container {id} is not connected to network {network}")
            }
            Self::Mode(text) => f.write_str(text),
            Self::Endpoint { network, why } => write!(
                f,
                "invalid config for network {network}: invalid endpoint settings: {why}"
            ),
            Self::Wish(error) => fmt::Display::fmt(error, f),
            Self::NeedsRoot => f.write_str(
                "another container's network needs a range of ids in /etc/subuid and /etc/subgid, or root",
            ),
            Self::Container(error) => fmt::Display::fmt(error, f),
            Self::Monitor(error) if error.kind() == io::ErrorKind::Other => fmt::Display::fmt(error, f),
            Self::Monitor(_) => f.write_str("the container's monitor does not answer"),
            Self::Network(NetworkError::Overlap { subnet }) => write!(
                f,
                "invalid pool request: Pool overlaps with other one on this address space: {subnet} is routed by this \
                 machine, or belongs to another network"
            ),
            Self::Network(error) => fmt::Display::fmt(error, f),
            Self::Io { path, .. } => write!(f, "cannot use {}", path.display()),
        }
    }
}

impl std::error::Error for NetworksError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Monitor(source) if source.kind() != io::ErrorKind::Other => Some(source),
            Self::Network(error) => error.source(),
            Self::Container(error) => error.source(),
            _ => None,
        }
    }
}

impl From<NetworkError> for NetworksError {
    fn from(error: NetworkError) -> Self {
        Self::Network(error)
    }
}
