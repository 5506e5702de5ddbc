//! The monitor's dealings with the network: ports and addresses taken before the start, the rest once the namespace
//! is there, and changes while the container runs.

use super::service::NAMES;
use crate::failure::{Failure, Stage, error_text};
use crate::host_sockets::HostSockets;
use crate::household::{self, Membership};
use crate::network::{
    self, BridgeSpec, Bridged, NameServer, NameSettings, NetworkSpec, NetworkState, RelayPort,
};
use crate::ports::{Dialer, Forwarder, ForwarderLimits, PortMapping};
use crate::spec::ContainerSpec;
use crate::state::{self, State, Status};
use coil_sys::event::{Poll, ready};
use coil_sys::process;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

const STAGE: &str = "network";

/// Where a monitor stands: in the host's network, or in that of a household, with a way back.
#[derive(Debug, Default)]
pub(super) struct Home {
    host: HostSockets,
    /// The household stands while this is held.
    membership: Option<Membership>,
    /// What the user should know of it.
    notices: Vec<String>,
}

impl Home {
    /// Joins the network of the household that the arguments name, if they do.
    pub(super) fn settle(args: &[String]) -> Result<Self, Failure> {
        let Some(membership) = args.iter().find_map(|word| Membership::from_argument(word)) else {
            return Ok(Self::default());
        };
        let mut host = HostSockets::default();
        if let Some(network) = membership.network() {
            host = HostSockets::leave_behind().stage(STAGE, "cannot fork")?;
            process::setns(network, libc::CLONE_NEWNET)
                .stage(STAGE, "cannot join the network of this user's containers")?;
        }
        let notices = args.iter().filter_map(|word| word.strip_prefix("--notice="));
        Ok(Self {
            host,
            membership: Some(membership),
            notices: notices.map(str::to_owned).collect(),
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Networking {
    pub forwarder: Option<Forwarder>,
    /// Answers for the names of the container's networks.
    pub name_server: Option<NameServer>,
    places: Vec<NetworkState>,
    host: HostSockets,
    /// The relay of the household, for places to come.
    relay: Option<RelayPort>,
    /// The container's network namespace, once it is there.
    net: Option<OwnedFd>,
    pid: i32,
    notices: Vec<String>,
}

impl Networking {
    /// Takes the host's ports and the addresses, and writes the name files.
    pub(super) fn prepare(spec: &ContainerSpec, home: &Home) -> Result<Self, Failure> {
        let forwarder = match &spec.network {
            NetworkSpec::Host(_) | NetworkSpec::None | NetworkSpec::Container(_) => None,
            _ if spec.ports.is_empty() => None,
            _ => Some(
                Forwarder::bind_with(&spec.ports, ForwarderLimits::default(), &home.host)
                    .map_err(|error| Failure::refused(STAGE, full_text(&error)))?,
            ),
        };
        let mut networking = Self {
            forwarder,
            host: home.host.clone(),
            relay: home
                .membership
                .as_ref()
                .and_then(Membership::network)
                .and_then(|_| relay(spec)),
            notices: home.notices.clone(),
            ..Self::default()
        };
        match networking.take_places(spec) {
            Ok(()) => Ok(networking),
            Err(failure) => {
                networking.detach();
                Err(failure)
            }
        }
    }

    fn take_places(&mut self, spec: &ContainerSpec) -> Result<(), Failure> {
        if let NetworkSpec::Bridge(bridged) = &spec.network {
            for (number, wish) in bridged.places.iter().enumerate() {
                let mut place = prepare(spec, wish, self.relay)?;
                place.interface = format!("eth{number}");
                self.places.push(place);
            }
            self.choose_way_out();
        }
        self.write_name_files(spec)
    }

    /// One network is the way out: the first by name that isn't internal, as with Docker. Gives its number when it has
    /// not been that before.
    fn choose_way_out(&mut self) -> Option<usize> {
        let out = (0..self.places.len())
            .filter(|at| !self.places[*at].internal)
            .min_by_key(|at| &self.places[*at].network)?;
        let before = self.places[out].way_out;
        for (at, place) in self.places.iter_mut().enumerate() {
            place.way_out = at == out;
        }
        (!before).then_some(out)
    }

    fn write_name_files(&self, spec: &ContainerSpec) -> Result<(), Failure> {
        if matches!(spec.network, NetworkSpec::Container(_)) {
            // The other container's are shown.
            return Ok(());
        }
        let mut files = network::files(&spec.network, &spec.full_name(), &self.places);
        files.hostname = format!("{}\n", spec.hostname);
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
        Self::default()
    }

    /// What `state.json` keeps of it.
    pub(super) fn state(&self) -> Vec<NetworkState> {
        self.places.clone()
    }

    /// Wires the namespace of the container's first process.
    pub(super) fn attach(&mut self, spec: &ContainerSpec, pid: i32) -> Result<(), Failure> {
        if let NetworkSpec::Bridge(bridged) = &spec.network {
            let path = format!("/proc/{pid}/ns/net");
            let net = OwnedFd::from(File::open(&path).stage(STAGE, &path)?);
            for place in &self.places {
                network::attach(place, net.as_fd())
                    .map_err(|error| Failure::refused(STAGE, full_text(&error)))?;
            }
            self.net = Some(net);
            self.serve_names(spec, &bridged.names);
        }
        self.pid = pid;
        self.dial().stage(STAGE, "cannot publish ports")
    }

    /// Starts the container's name server when a network has names, or tells it what networks there are by now.
    fn serve_names(&mut self, spec: &ContainerSpec, names: &NameSettings) {
        let (Some(net), true) = (&self.net, network::has_names(&self.places)) else {
            return;
        };
        if let Some(server) = &mut self.name_server {
            server.set_networks(&self.places);
            return;
        }
        let run_root = spec.run_dir.parent().unwrap_or(Path::new("/"));
        match NameServer::start(net.as_fd(), run_root, names, &self.places, self.host.clone()) {
            Ok(server) => self.name_server = Some(server),
            Err(error) => self.notices.push(format!(
                "other containers' names can't be resolved: the name server at {} doesn't start: {}",
                network::NAME_SERVER,
                error_text(&error)
            )),
        }
    }

    /// Has the poll loop look at the name server, where there is one.
    pub(super) fn listen(&self, poll: &Poll) {
        self.listen_for_names(poll);
    }

    fn listen_for_names(&self, poll: &Poll) {
        if let Some(server) = &self.name_server {
            // Without it names aren't found; the program goes on.
            let _ = poll.add(server, ready::READ, NAMES);
        }
    }

    /// Answers the questions that wait.
    pub(super) fn answer_names(&mut self) {
        if let Some(server) = &mut self.name_server
            && server.dispatch().is_err()
        {
            self.name_server = None;
        }
    }

    /// Sends published ports to the container's address: that of its way out, where it has one.
    fn dial(&mut self) -> std::io::Result<()> {
        let Some(forwarder) = &mut self.forwarder else {
            return Ok(());
        };
        let place = self.places.iter().find(|place| place.way_out);
        let place = place.or(self.places.first());
        let dialer = match place {
            Some(place) => Dialer::Address(place.address.into()),
            // The monitor is in the user namespace already, if there is one.
            None => Dialer::loopback_of(self.pid, false)?,
        };
        forwarder.connect_to(dialer, Some(self.pid))?;
        // An ordinary user's proxy carries all.
        if let Some(net) = self.net.as_ref().filter(|_| self.host.are_own()) {
            forwarder.let_pass(net.as_fd())?;
        }
        Ok(())
    }

    /// Carries what waits at published ports.
    pub(super) fn forward(&mut self) {
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        // A failure of the poll itself ends forwarding, not the program.
        if forwarder.dispatch().is_err() {
            self.forwarder = None;
        }
    }

    /// Puts the running container into one more network; the error is for the user.
    pub(super) fn connect(
        &mut self,
        spec: &mut ContainerSpec,
        wish: BridgeSpec,
        poll: &Poll,
    ) -> Result<(), String> {
        self.join(spec, &wish, poll)?;
        if let NetworkSpec::Bridge(bridged) = &mut spec.network {
            bridged.places.push(wish);
        }
        Ok(())
    }

    fn join(&mut self, spec: &ContainerSpec, wish: &BridgeSpec, poll: &Poll) -> Result<(), String> {
        let (NetworkSpec::Bridge(Bridged { names, .. }), Some(net)) = (&spec.network, &self.net) else {
            return Err("the container has no network namespace of its own".to_owned());
        };
        if self.places.iter().any(|place| place.network == wish.network) {
            return Err(format!(
                "the container is in the network {} already",
                wish.network
            ));
        }
        let mut place = prepare(spec, wish, self.relay).map_err(|failure| failure.message)?;
        let taken = |name: &str| self.places.iter().any(|place| place.interface == name);
        if let Some(free) = (0..)
            .map(|number| format!("eth{number}"))
            .find(|name| !taken(name))
        {
            place.interface = free;
        }
        // Who has a way out keeps it: connections would break.
        place.way_out &= !self.places.iter().any(|place| place.way_out);
        if let Err(error) = network::attach(&place, net.as_fd()) {
            let _ = network::detach(&place);
            return Err(full_text(&error));
        }
        let redial = place.way_out || self.places.is_empty();
        self.notices.append(&mut place.notices);
        self.places.push(place);
        self.rewrite_name_files(spec, names, self.places.last(), None);
        let served = self.name_server.is_some();
        self.serve_names(spec, names);
        if !served {
            self.listen_for_names(poll);
        }
        if redial {
            self.dial().map_err(|error| error_text(&error))?;
        }
        Ok(())
    }

    /// Takes the running container out of a network; the error is for the user.
    pub(super) fn disconnect(&mut self, spec: &mut ContainerSpec, name: &str) -> Result<(), String> {
        self.leave(spec, name)?;
        if let NetworkSpec::Bridge(bridged) = &mut spec.network {
            bridged.places.retain(|place| place.network != name);
        }
        Ok(())
    }

    fn leave(&mut self, spec: &ContainerSpec, name: &str) -> Result<(), String> {
        let at = self.places.iter().position(|place| place.network == name);
        let (NetworkSpec::Bridge(Bridged { names, .. }), Some(net), Some(at)) =
            (&spec.network, &self.net, at)
        else {
            return Err(format!("the container is not in the network {name}"));
        };
        let net = net.try_clone().map_err(|error| error_text(&error))?;
        let place = self.places.remove(at);
        // What fails is taken back by the next container or the next sweep.
        let gone = network::detach(&place);
        self.rewrite_name_files(spec, names, None, Some(&place));
        if let Some(server) = &mut self.name_server {
            server.set_networks(&self.places);
        }
        if place.way_out
            && let Some(out) = self.choose_way_out()
            && let Err(error) = network::lead_out(&self.places[out], net.as_fd())
        {
            self.notices.push(full_text(&error));
        }
        self.dial().map_err(|error| error_text(&error))?;
        gone.map_err(|error| full_text(&error))
    }

    /// Brings the files up to date in place, as they are mounted in the container.
    fn rewrite_name_files(
        &self,
        spec: &ContainerSpec,
        names: &NameSettings,
        joined: Option<&NetworkState>,
        left: Option<&NetworkState>,
    ) {
        let rewrite = |name: &str, change: &dyn Fn(&str) -> String| {
            let path = spec.container_dir.join(name);
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            // A container that made them its own keeps them.
            let _ = std::fs::write(path, change(&text));
        };
        rewrite("hosts", &|text| {
            network::hosts_after(text, &spec.full_name(), &names.aliases, joined, left)
        });
        rewrite("resolv.conf", &|_| {
            network::resolv_conf(names, false, network::has_names(&self.places))
        });
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
        let mut notices = std::mem::take(&mut self.notices);
        for place in &mut self.places {
            notices.append(&mut place.notices);
        }
        notices.extend(self.forwarder.iter_mut().flat_map(Forwarder::take_notices));
        notices.dedup();
        notices
    }

    /// Gives everything back. What fails is taken back by the next container or the next sweep.
    pub(super) fn detach(self) {
        for place in &self.places {
            let _ = network::detach(place);
        }
    }
}

/// The relay of the household that this monitor is in.
fn relay(spec: &ContainerSpec) -> Option<RelayPort> {
    let facts = household::facts(spec.run_root())?;
    Some(RelayPort {
        port: facts.relay,
        everything: facts.connected != Some(true),
    })
}

fn prepare(
    spec: &ContainerSpec,
    wish: &BridgeSpec,
    relay: Option<RelayPort>,
) -> Result<NetworkState, Failure> {
    let wish = &BridgeSpec {
        relay,
        ..wish.clone()
    };
    let run_root = spec.run_dir.parent().unwrap_or(Path::new("/"));
    // Run directories may be named after the first part of an id: sockets have short paths.
    let part = spec.run_dir.file_name().map_or(spec.id.len(), |name| name.len());
    let is_alive = |id: &str| state::is_alive(&run_root.join(id.get(..part).unwrap_or(id)));
    network::prepare(wish, &spec.run_dir, &spec.id, &is_alive)
        .map_err(|error| Failure::refused(STAGE, full_text(&error)))
}

/// The network namespace of the container whose network is shared.
pub(super) fn shared_namespace(spec: &ContainerSpec) -> Result<Option<OwnedFd>, Failure> {
    let NetworkSpec::Container(other) = &spec.network else {
        return Ok(None);
    };
    let ended = || {
        let message = format!("cannot join network of a non running container: {}", other.id);
        Failure::refused(STAGE, message)
    };
    let state = State::load(&other.container_dir).stage(STAGE, other.container_dir.display())?;
    if state.status != Status::Running {
        return Err(ended());
    }
    let path = format!("/proc/{}/ns/net", state.pid);
    let net = File::open(&path).map_err(|_| ended())?;
    // While its monitor lives, so does its first process, whose number is then its own.
    if !state::is_alive(&other.run_dir) {
        return Err(ended());
    }
    Ok(Some(net.into()))
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
