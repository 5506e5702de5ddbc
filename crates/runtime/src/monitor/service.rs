//! The monitor's loop: what comes from the program, from its clients, from the kernel and from the clock.

use super::clients::{Clients, FIRST_TOKEN, Request};
use super::health::Health;
use super::launch::Running;
use super::log::{Log, Stream};
use super::networking::Networking;
use crate::control;
use crate::failure::{Failure, error_text};
use crate::frame::{self, Kind};
use crate::spec::{ContainerSpec, LogSpec};
use crate::state::{State, Status};
use coil_sys::event::{Poll, Signals, Timer, ready};
use coil_sys::process::Ended;
use coil_sys::{process, terminal};
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

pub(super) const SIGNALS: u64 = 1;
pub(super) const LISTENER: u64 = 2;
pub(super) const OUTPUT: u64 = 3;
pub(super) const ERRORS: u64 = 4;
pub(super) const INPUT: u64 = 5;
pub(super) const PORTS: u64 = 6;
pub(super) const TIMER: u64 = 7;
pub(super) const HEALTH: u64 = 8;
pub(super) const PROBE: u64 = 9;
pub(super) const NAMES: u64 = 10;

/// How long the program may take to end when the monitor itself is asked to.
const GRACE: Duration = Duration::from_secs(10);

/// Milliseconds without an event after which a monitor counts as at rest.
const FIRST_REST: i32 = 200;

/// All that the monitor holds while it lives.
pub(super) struct Service {
    pub(super) spec: ContainerSpec,
    pub(super) state: State,
    /// The program, none between its end and its next start.
    pub(super) running: Option<Running>,
    pub(super) poll: Poll,
    signals: Signals,
    /// While the program runs, the time till it is killed; else the time till it is started again.
    pub(super) timer: Timer,
    pub(super) clients: Clients,
    listener: UnixListener,
    pub(super) log: Log,
    pub(super) health: Option<Health>,
    /// Input that the program hasn't taken yet.
    pub(super) input: Vec<u8>,
    /// Whether the input ends once that is taken.
    pub(super) input_ends: bool,
    /// Whether output is left in its pipes, because a client can't keep up.
    pub(super) held: bool,
    /// Whether clients are left unread, because the program doesn't take its input.
    pub(super) paused: bool,
    /// Whether the program is not started again, whatever its policy says.
    pub(super) last: bool,
}

/// What the loop came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The program ended.
    Ended(Ended),
    /// The wait before the next start is over.
    Again,
    /// There will be no next start.
    Over,
}

impl Service {
    pub(super) fn new(spec: ContainerSpec, signals: Signals) -> io::Result<Self> {
        // A log that can't be opened costs the log, not the program.
        let log = Log::open(&spec.log).or_else(|_| Log::open(&LogSpec::default()))?;
        let service = Self {
            state: State::default(),
            running: None,
            poll: Poll::new()?,
            signals,
            timer: Timer::new()?,
            clients: Clients::default(),
            listener: control::listen(&spec.run_dir)?,
            log,
            health: None,
            input: Vec::new(),
            input_ends: false,
            held: false,
            paused: false,
            last: false,
            spec,
        };
        service.poll.add(&service.signals, ready::READ, SIGNALS)?;
        service.poll.add(&service.listener, ready::READ, LISTENER)?;
        service.poll.add(&service.timer, ready::READ, TIMER)?;
        Ok(service)
    }

    pub(super) fn spec(&self) -> &ContainerSpec {
        &self.spec
    }

    /// A state that can't be written is no reason to end the program.
    pub(super) fn save(&self) {
        let _ = self.state.save(&self.spec.container_dir);
    }

    /// Tells who started us that the program runs, and keeps the connection when it was asked for.
    pub(super) fn greet(&mut self, starter: UnixStream, attach: bool) -> io::Result<()> {
        let mut bytes = Vec::new();
        for notice in &self.state.notices {
            frame::append(&mut bytes, Kind::Notice, notice.as_bytes());
        }
        frame::append(&mut bytes, Kind::Ready, &self.state.pid.to_be_bytes());
        // Who started us may be gone already; the program goes on all the same.
        let _ = (&starter).write_all(&bytes);
        match attach {
            true => self.clients.add(&self.poll, starter, true),
            false => Ok(()),
        }
    }

    /// Serves until the program ends; without a program, until it is to be started again.
    pub(super) fn turn(&mut self, networking: &mut Networking) -> io::Result<Turn> {
        let mut buffer = vec![0; 64 << 10].into_boxed_slice();
        // At the first rest, the code that only a start needs goes out of memory.
        let mut rest = FIRST_REST;
        loop {
            let events = self.poll.wait(rest)?;
            if events.is_empty() && rest >= 0 {
                rest = -1;
                let _ = coil_sys::memory::release_code();
            }
            for event in events {
                match event.token {
                    SIGNALS => {
                        if let Some(ended) = self.on_signals()? {
                            self.drain(&mut buffer);
                            return Ok(Turn::Ended(ended));
                        }
                    }
                    LISTENER => self.accept(),
                    OUTPUT => self.copy(Stream::Output, &mut buffer),
                    ERRORS => self.copy(Stream::Errors, &mut buffer),
                    INPUT => self.feed(),
                    PORTS => self.forward(networking),
                    NAMES => networking.answer_names(),
                    TIMER => {
                        self.timer.acknowledge();
                        match &self.running {
                            Some(running) => {
                                let _ = process::pidfd_send_signal(&running.pidfd, libc::SIGKILL);
                                self.thaw();
                            }
                            None => return Ok(Turn::Again),
                        }
                    }
                    HEALTH => self.health_timer(),
                    PROBE => self.probe_output(),
                    token if token >= FIRST_TOKEN => {
                        for request in self.clients.dispatch(&self.poll, token, event.ready) {
                            self.on_any_request(request, networking);
                        }
                        self.let_output_go_on();
                    }
                    _ => {}
                }
            }
            match &self.running {
                None if self.last => return Ok(Turn::Over),
                Some(running) if self.spec.ends_with_starter && !self.clients.have_starter() => {
                    let _ = process::pidfd_send_signal(&running.pidfd, libc::SIGKILL);
                }
                _ => {}
            }
        }
    }

    fn forward(&mut self, networking: &mut Networking) {
        networking.forward();
        let notices = networking.notices();
        if !notices.is_empty() {
            for notice in &notices {
                self.clients.output(&self.poll, Kind::Notice, notice.as_bytes());
            }
            self.state.notices.extend(notices);
            self.save();
        }
    }

    pub(super) fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let _ = self.clients.add(&self.poll, stream, false);
        }
    }

    /// How the program ended, if it has.
    fn on_signals(&mut self) -> io::Result<Option<Ended>> {
        while let Some(signal) = self.signals.next()? {
            if signal != libc::SIGCHLD {
                // The monitor is asked to end: so is the program, and it has a while for it. It is not stopped for good:
                // a machine that goes down does this, and after its boot the program runs again.
                self.last = true;
                if let Some(running) = &self.running {
                    let _ = process::pidfd_send_signal(&running.pidfd, self.spec.stop_signal);
                    self.thaw();
                    self.timer.set(Some(GRACE))?;
                }
            }
        }
        let mut end = None;
        while let Ok(Some((pid, ended))) = process::reap_any() {
            if self.running.as_ref().is_some_and(|running| running.pid == pid) {
                end = Some(ended);
            } else {
                self.log.reaped(pid);
                self.probe_ended(pid, ended);
            }
        }
        Ok(end)
    }

    /// With the requests that are about the network.
    fn on_any_request(&mut self, request: Request, networking: &mut Networking) {
        let (client, result) = match request {
            Request::Connect { client, place } => {
                (client, networking.connect(&mut self.spec, *place, &self.poll))
            }
            Request::Disconnect { client, network } => {
                (client, networking.disconnect(&mut self.spec, &network))
            }
            other => return self.on_request(other),
        };
        self.state.networks = networking.state();
        self.save();
        self.answer(client, result);
    }

    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            Request::Connect { client, .. } | Request::Disconnect { client, .. } => {
                self.answer(client, Err("the container has ended".to_owned()));
            }
            Request::Input(bytes) => {
                let takes = |running: &Running| running.streams.terminal || running.streams.input.is_some();
                if self.running.as_ref().is_some_and(takes) {
                    self.input.extend(bytes);
                    self.feed();
                }
            }
            Request::InputEnd => {
                // A terminal has no end of input: there it is a key.
                if !self.spec.terminal {
                    self.input_ends = true;
                    self.feed();
                }
            }
            Request::Signal { client, signal, stop } => {
                let result = self.signal(signal, stop);
                self.answer(client, result.map_err(|error| error_text(&error)));
            }
            Request::Freeze { client, frozen } => {
                let result = self.freeze(frozen);
                self.answer(client, result);
            }
            Request::Update { client } => {
                let result = self.update().map_err(|failure| failure.message);
                self.answer(client, result);
            }
            Request::Resize { rows, columns } => {
                if let Some(running) = &self.running
                    && let (true, Some(master)) = (running.streams.terminal, &running.streams.output)
                {
                    let _ = terminal::set_size(master, rows, columns);
                }
            }
        }
    }

    fn answer(&mut self, client: u64, result: Result<(), String>) {
        self.clients.answer(&self.poll, client, result);
    }

    /// Sends a signal to the program; one that asks it to end means that it isn't started again.
    fn signal(&mut self, signal: i32, stop: bool) -> io::Result<()> {
        let ends =
            stop || self.spec.any_signal_stops || [libc::SIGKILL, self.spec.stop_signal].contains(&signal);
        self.last |= ends;
        if !self.state.stopped {
            self.state.stopped = true;
            self.save();
        }
        let Some(running) = &self.running else {
            return Ok(());
        };
        process::pidfd_send_signal(&running.pidfd, signal)?;
        if !stop {
            self.spec.event("kill", &[("signal", signal.to_string())]);
        }
        if ends {
            self.thaw();
        }
        Ok(())
    }

    /// Lets a paused program go on, so that it can die.
    fn thaw(&mut self) {
        if self.state.status == Status::Paused {
            let _ = self.freeze(false);
        }
    }

    fn freeze(&mut self, frozen: bool) -> Result<(), String> {
        let wanted = if frozen { Status::Paused } else { Status::Running };
        if self.running.is_none() || self.state.status == wanted {
            return Err(if frozen { "already paused" } else { "not paused" }.to_owned());
        }
        self.spec
            .cgroup
            .freeze(frozen)
            .map_err(|e| format!("{e}: {}", error_text(&e.error)))?;
        self.state.status = wanted;
        self.save();
        self.spec.event(if frozen { "pause" } else { "unpause" }, &[]);
        Ok(())
    }

    /// Takes the limits, the policy and the names of a spec that was written anew.
    pub(super) fn update(&mut self) -> Result<(), Failure> {
        let spec = super::load(&self.spec.container_dir)?;
        self.spec.name = spec.name;
        self.spec.release = spec.release;
        self.spec.restart = spec.restart;
        if spec.limits != self.spec.limits {
            let set = spec.cgroup.set(&spec.limits, Some(&self.spec.limits));
            set.map_err(|error| Failure::new("limits", &error, &error.error))?;
            self.spec.limits = spec.limits;
        }
        Ok(())
    }
}
