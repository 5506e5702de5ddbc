//! Containers that join networks and leave them, running or not.

use std::collections::BTreeSet;
use std::io;

use coil_runtime::network;

use super::{NetworkRecord, NetworkWish, NetworksError};
use crate::record::{Container, ContainerRecord};
use crate::{Client, Engine, Status};

const FROM_HOST: &str = "container cannot be disconnected from host network or connected to host network";
const PRIVATE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";
const SHARED: &str = "container sharing network namespace with another container or host cannot be connected to any other network";

impl Engine {
    /// Puts a container into one more network, at once when it runs.
    ///
    /// # Errors
    /// When one of the two isn't there, it is in the network already, or it can't be in one.
    pub fn connect_network(&self, wish: &NetworkWish, container: &str) -> Result<(), NetworksError> {
        let network = self.network(&wish.network)?;
        let (container, _guard) = self.held(container)?;
        may_change(&container.record, &network)?;
        let wish = NetworkWish {
            network: network.name.clone(),
            ..wish.clone()
        };
        wish.check().map_err(NetworksError::Wish)?;
        let joined = |other: &NetworkWish| other.network == network.name;
        if container.record.networks.iter().any(joined) {
            return Err(NetworksError::Joined {
                container: container.record.name,
                network: network.name,
            });
        }
        let place = self.place(&container.record, &wish)?;
        if container.is_running() {
            self.monitor(&container, |client| client.connect_network(&place))?;
        }
        let mut record = container.record;
        record.networks.push(wish);
        self.keep(&record, &container.dir)
    }

    /// Takes a container out of a network, at once when it runs.
    ///
    /// # Errors
    /// When one of the two isn't there, or it isn't in the network.
    pub fn disconnect_network(&self, network: &str, container: &str) -> Result<(), NetworksError> {
        let network = self.network(network)?;
        let (container, _guard) = self.held(container)?;
        if network.name == "host" || container.record.network == "host" {
            return Err(NetworksError::Mode(FROM_HOST));
        }
        let mut record = container.record.clone();
        record.networks.retain(|wish| wish.network != network.name);
        if record.networks.len() == container.record.networks.len() {
            return Err(NetworksError::NotJoined {
                id: record.id,
                network: network.name,
            });
        }
        if container.is_running() {
            self.monitor(&container, |client| client.disconnect_network(&network.name))?;
        }
        self.keep(&record, &container.dir)
    }

    /// A container that nobody else changes or starts meanwhile.
    fn held(&self, text: &str) -> Result<(Container, crate::start::Guard), NetworksError> {
        let id = self.container(text).map_err(NetworksError::Container)?.record.id;
        let guard = self.guard(&id).map_err(|_| NetworksError::Io {
            path: self.store.container_dir(&id),
            source: io::ErrorKind::WouldBlock.into(),
        })?;
        let container = self.container(&id).map_err(NetworksError::Container)?;
        Ok((container, guard))
    }

    /// Has a container's monitor do something; one that has just ended is left alone.
    fn monitor(
        &self,
        container: &Container,
        act: impl FnOnce(&Client) -> io::Result<()>,
    ) -> Result<(), NetworksError> {
        let gone = |error: &io::Error| {
            let ended = [
                io::ErrorKind::NotFound,
                io::ErrorKind::ConnectionRefused,
                io::ErrorKind::UnexpectedEof,
            ];
            ended.contains(&error.kind())
        };
        match Client::connect(&container.run_dir).and_then(|client| act(&client)) {
            Err(error) if gone(&error) || container.state.status == Status::Restarting => Ok(()),
            other => other.map_err(NetworksError::Monitor),
        }
    }

    fn keep(&self, record: &ContainerRecord, dir: &std::path::Path) -> Result<(), NetworksError> {
        record.save(dir).map_err(|source| NetworksError::Io {
            path: dir.to_owned(),
            source,
        })
    }

    /// Gives a container that runs its new name in its networks.
    pub(crate) fn rename_in_networks(&self, id: &str, old: &str, new: &str) -> Result<(), NetworksError> {
        Ok(network::rename(&self.run_root, id, old, new)?)
    }

    /// The ids of the containers that are in a network now.
    pub(super) fn member_ids(&self, network: &str) -> BTreeSet<String> {
        let members = network::members(&self.run_root, network);
        members.into_iter().map(|member| member.id).collect()
    }
}

/// Whether a container may join and leave networks.
fn may_change(record: &ContainerRecord, network: &NetworkRecord) -> Result<(), NetworksError> {
    let refused = if network.name == "host" || record.network == "host" {
        FROM_HOST
    } else if network.name == "none" || record.network == "none" {
        PRIVATE
    } else if record.network.starts_with("container:") {
        SHARED
    } else {
        return Ok(());
    };
    Err(NetworksError::Mode(refused))
}
