//! The monitor's dealings with the network: ports taken before the start, the rest once the namespace is there.

use crate::failure::{Failure, Stage, error_text};
use crate::network::{self, NetworkError, NetworkSpec, NetworkState};
use crate::ports::{Dialer, Forwarder, PortMapping};
use crate::spec::ContainerSpec;
use crate::state;
use coil_sys::netlink::within_network;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

const STAGE: &str = "network";

#[derive(Debug)]
pub(super) struct Networking {
    pub forwarder: Option<Forwarder>,
    place: Option<NetworkState>,
    notices: Vec<String>,
}

impl Networking {
    /// Takes the host's ports and an address, and writes the name files.
    pub(super) fn prepare(spec: &ContainerSpec) -> Result<Self, Failure> {
        let forwarder = match &spec.network {
            NetworkSpec::Host(_) | NetworkSpec::None => None,
            _ if spec.ports.is_empty() => None,
            _ => Some(Forwarder::bind(&spec.ports).map_err(|error| Failure::refused(STAGE, full_text(&error)))?),
        };
        // The run root is shared by all containers of a data root; each has its folder there.
        let run_root = spec.run_dir.parent().unwrap_or(Path::new("/run/coil"));
        let is_alive = |id: &str| id == spec.id || state::is_alive(&run_root.join(id));
        let mut place = network::prepare(&spec.network, run_root, &spec.id, &is_alive).map_err(refused)?;
        let notices = place.as_mut().map(|place| std::mem::take(&mut place.notices)).unwrap_or_default();
        let networking = Self { forwarder, place, notices };
        let files = network::files(&spec.network, &spec.hostname, networking.place.as_ref());
        for (name, text) in
            [("hosts", &files.hosts), ("hostname", &files.hostname), ("resolv.conf", &files.resolv_conf)]
        {
            let path = spec.container_dir.join(name);
            std::fs::write(&path, text).stage(STAGE, format_args!("cannot write {}", path.display()))?;
        }
        Ok(networking)
    }

    /// No network at all, when it was never prepared.
    pub(super) fn nothing() -> Self {
        Self { forwarder: None, place: None, notices: Vec::new() }
    }

    /// What `state.json` keeps of it.
    pub(super) fn state(&self) -> serde_json::Value {
        self.place.as_ref().and_then(|place| serde_json::to_value(place).ok()).unwrap_or_default()
    }

    /// Wires the namespace of the container's first process.
    pub(super) fn attach(&mut self, spec: &ContainerSpec, pid: i32) -> Result<(), Failure> {
        if !spec.network.has_namespace() {
            return Ok(());
        }
        let net = File::open(format!("/proc/{pid}/ns/net")).stage(STAGE, "cannot open the container's network")?;
        match &self.place {
            Some(place) => network::attach(place, net.as_fd()).map_err(refused)?,
            None => within_network(net.as_fd(), network::configure_namespace)
                .stage(STAGE, "cannot join the container's network")?
                .map_err(|error| refused(NetworkError::Kernel(error)))?,
        }
        if let Some(forwarder) = &mut self.forwarder {
            let dialer = match &self.place {
                Some(place) => Dialer::Address(place.address.into()),
                // The monitor is in the user namespace already, if there is one.
                None => Dialer::loopback_of(pid, false).stage(STAGE, "cannot reach the container's network")?,
            };
            forwarder.connect_to(dialer, Some(pid)).stage(STAGE, "cannot publish ports")?;
        }
        Ok(())
    }

    /// The ports with the numbers that the kernel chose.
    pub(super) fn ports(&self, spec: &ContainerSpec) -> Vec<PortMapping> {
        match &self.forwarder {
            Some(forwarder) => forwarder.bound().iter().map(|bound| bound.mapping.clone()).collect(),
            None => spec.ports.clone(),
        }
    }

    /// What the network side has to tell the user, once.
    pub(super) fn notices(&mut self) -> Vec<String> {
        let mut notices = std::mem::take(&mut self.notices);
        notices.extend(self.forwarder.as_mut().map(Forwarder::take_notices).unwrap_or_default());
        notices
    }

    /// Gives everything back.
    pub(super) fn detach(self) {
        if let Some(place) = &self.place {
            // What stays is taken back by the next container or sweep.
            let _ = network::detach(place);
        }
    }
}

fn refused(error: NetworkError) -> Failure {
    Failure::refused(STAGE, full_text(&error))
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
