//! The monitor's dealings with the network: ports and address taken before the start, the rest once the namespace
//! is there.

use crate::failure::{Failure, Stage, error_text};
use crate::network::{self, NetworkSpec, NetworkState};
use crate::ports::{Dialer, Forwarder, PortMapping};
use crate::spec::ContainerSpec;
use crate::state;
use std::path::Path;

const STAGE: &str = "network";

#[derive(Debug)]
pub(super) struct Networking {
    pub forwarder: Option<Forwarder>,
    place: Option<NetworkState>,
}

impl Networking {
    /// Takes the host's ports and an address, and writes the name files.
    pub(super) fn prepare(spec: &ContainerSpec) -> Result<Self, Failure> {
        let forwarder = match &spec.network {
            NetworkSpec::Host(_) | NetworkSpec::None => None,
            _ if spec.ports.is_empty() => None,
            _ => Some(
                Forwarder::bind(&spec.ports).map_err(|error| Failure::refused(STAGE, full_text(&error)))?,
            ),
        };
        let run_root = spec.run_dir.parent().unwrap_or(Path::new("/"));
        // Run directories may be named after the first part of an id: sockets have short paths.
        let part = spec.run_dir.file_name().map_or(spec.id.len(), |name| name.len());
        let is_alive = |id: &str| state::is_alive(&run_root.join(id.get(..part).unwrap_or(id)));
        let place = network::prepare(&spec.network, run_root, &spec.id, &is_alive)
            .map_err(|error| Failure::refused(STAGE, full_text(&error)))?;
        let networking = Self { forwarder, place };
        match networking.write_name_files(spec) {
            Ok(()) => Ok(networking),
            Err(failure) => {
                networking.detach();
                Err(failure)
            }
        }
    }

    fn write_name_files(&self, spec: &ContainerSpec) -> Result<(), Failure> {
        let files = network::files(&spec.network, &spec.hostname, self.place.as_ref());
        for (name, text) in [
            ("hosts", &files.hosts),
            ("hostname", &files.hostname),
            ("resolv.conf", &files.resolv_conf),
        ] {
            let path = spec.container_dir.join(name);
            std::fs::write(&path, text).stage(STAGE, format_args!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// No network at all, when it was never prepared.
    pub(super) fn nothing() -> Self {
        Self {
            forwarder: None,
            place: None,
        }
    }

    /// What `state.json` keeps of it.
    pub(super) fn state(&self) -> Option<NetworkState> {
        self.place.clone()
    }

    /// Wires the namespace of the container's first process.
    pub(super) fn attach(&mut self, pid: i32) -> Result<(), Failure> {
        if let Some(place) = &self.place {
            let path = format!("/proc/{pid}/ns/net");
            let net = std::fs::File::open(&path).stage(STAGE, &path)?;
            network::attach(place, std::os::fd::AsFd::as_fd(&net))
                .map_err(|error| Failure::refused(STAGE, full_text(&error)))?;
        }
        if let Some(forwarder) = &mut self.forwarder {
            let dialer = match &self.place {
                Some(place) => Dialer::Address(place.address.into()),
                // The monitor is in the user namespace already, if there is one.
                None => {
                    Dialer::loopback_of(pid, false).stage(STAGE, "cannot reach the container's network")?
                }
            };
            forwarder
                .connect_to(dialer, Some(pid))
                .stage(STAGE, "cannot publish ports")?;
        }
        Ok(())
    }

    /// The ports with the numbers that the kernel chose.
    pub(super) fn ports(&self, spec: &ContainerSpec) -> Vec<PortMapping> {
        match &self.forwarder {
            Some(forwarder) => forwarder
                .bound()
                .iter()
                .map(|bound| bound.mapping.clone())
                .collect(),
            None => spec.ports.clone(),
        }
    }

    /// What the network side has to tell the user, once.
    pub(super) fn notices(&mut self) -> Vec<String> {
        let place = self
            .place
            .as_mut()
            .map(|place| std::mem::take(&mut place.notices))
            .unwrap_or_default();
        place
            .into_iter()
            .chain(self.forwarder.iter_mut().flat_map(Forwarder::take_notices))
            .collect()
    }

    /// Gives everything back. What fails is taken back by the next container or the next sweep.
    pub(super) fn detach(self) {
        if let Some(place) = &self.place {
            let _ = network::detach(place);
        }
    }
}

/// An error with its sources, as one line.
fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        match error.downcast_ref::<std::io::Error>() {
            Some(error) => text.push_str(&error_text(error)),
            None => text.push_str(&error.to_string()),
        }
        source = error.source();
    }
    text
}
