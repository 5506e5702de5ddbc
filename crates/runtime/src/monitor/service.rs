//! The monitor's loop, from the program's first breath to its last, and the clearing up.

use super::clients::{Clients, FIRST_TOKEN, Request};
use super::log::{Log, Stream};
use super::networking::Networking;
use super::{Running, Streams};
use crate::control::{self, Exit};
use crate::frame::{self, Kind};
use crate::spec::ContainerSpec;
use crate::state::{self, State, Status};
use crate::timestamp;
use coil_sys::event::{Poll, Signals, Timer, ready};
use coil_sys::process::Ended;
use coil_sys::{file, process, terminal};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

const SIGNALS: u64 = 1;
const LISTENER: u64 = 2;
const OUTPUT: u64 = 3;
const ERRORS: u64 = 4;
const INPUT: u64 = 5;
const PORTS: u64 = 6;
const TIMER: u64 = 7;

/// How long the program may take to end when the monitor itself is asked to.
const GRACE: Duration = Duration::from_secs(10);

/// Above this much input that the program doesn't take, its clients have to wait.
const MOST_INPUT: usize = 128 << 10;

struct Service<'a> {
    spec: &'a ContainerSpec,
    running: Running,
    poll: Poll,
    timer: Timer,
    clients: Clients,
    listener: UnixListener,
    log: Log,
    /// Input that the program hasn't taken yet.
    input: Vec<u8>,
    /// Whether the input ends once that is taken.
    input_ends: bool,
    /// Whether output is left in its pipes, because a client can't keep up.
    held: bool,
    /// Whether clients are left unread, because the program doesn't take its input.
    paused: bool,
}

/// Milliseconds without an event after which a monitor counts as at rest.
const FIRST_REST: i32 = 200;

/// Serves a program that runs until its end, and clears up.
pub(super) fn serve(
    spec: &ContainerSpec,
    mut running: Running,
    signals: Signals,
    mut networking: Networking,
    lock: OwnedFd,
    starter: UnixStream,
    attach: bool,
) {
    let notices: Vec<String> = spec.notices().into_iter().chain(networking.notices()).collect();
    let mut state = State {
        status: Status::Running,
        pid: running.pid,
        started_at: timestamp::now(),
        ports: networking.ports(spec),
        network: networking.state(),
        notices,
        ..State::default()
    };
    // A state that can't be written is no reason to end the program.
    let _ = state.save(&spec.container_dir);
    let (pid, pidfd) = (running.pid, running.pidfd.try_clone());
    let mounts = running.mounts.take();
    let served = Service::new(spec, running).and_then(|mut service| {
        let ended = service.run(&signals, &mut networking, &mut state, starter, attach)?;
        Ok((ended, service))
    });
    let (ended, service) = match served {
        Ok((ended, service)) => (ended, Some(service)),
        Err(_) => {
            // Without a poll loop nothing can be served: end the program rather than leave it alone.
            if let Ok(pidfd) = pidfd {
                let _ = process::pidfd_send_signal(pidfd, libc::SIGKILL);
            }
            (process::wait(pid).unwrap_or(Ended::Signaled(libc::SIGKILL)), None)
        }
    };
    let exit = Exit {
        code: ended.code(),
        oom_killed: spec.cgroup.out_of_memory(),
    };
    state.notices.extend(networking.notices());
    state.status = Status::Exited;
    state.pid = 0;
    state.exit_code = exit.code;
    state.oom_killed = exit.oom_killed;
    state.finished_at = timestamp::now();
    // The end is told before the clearing up, which takes a while: by now nobody may take the container for one that
    // runs, and its ports and names are free for the next. The lock stays until everything is gone.
    let _ = state.save(&spec.container_dir);
    networking.forwarder = None;
    if spec.auto_remove {
        state::release(spec);
    }
    let clients = service.map(|service| service.tell_end(&exit));
    drop(mounts);
    let _ = spec.cgroup.remove();
    networking.detach();
    leave(spec);
    drop(lock);
    if let Some(clients) = clients {
        clients.finish();
    }
}

/// Removes what the container had while it ran, and all of it when it was asked for.
pub(super) fn leave(spec: &ContainerSpec) {
    if spec.auto_remove {
        let _ = state::remove_container(spec);
    }
    state::remove_run_dir(&spec.run_dir);
}

impl<'a> Service<'a> {
    fn new(spec: &'a ContainerSpec, running: Running) -> io::Result<Self> {
        // A log that can't be opened costs the log, not the program.
        let log = Log::open(spec.log.path.as_deref()).or_else(|_| Log::open(None))?;
        Ok(Self {
            spec,
            running,
            poll: Poll::new()?,
            timer: Timer::new()?,
            clients: Clients::default(),
            listener: control::listen(&spec.run_dir)?,
            log,
            input: Vec::new(),
            input_ends: false,
            held: false,
            paused: false,
        })
    }

    fn run(
        &mut self,
        signals: &Signals,
        networking: &mut Networking,
        state: &mut State,
        starter: UnixStream,
        attach: bool,
    ) -> io::Result<Ended> {
        self.poll.add(signals, ready::READ, SIGNALS)?;
        self.poll.add(&self.listener, ready::READ, LISTENER)?;
        self.poll.add(&self.timer, ready::READ, TIMER)?;
        let Streams { output, errors, .. } = &self.running.streams;
        for (fd, token) in [(output, OUTPUT), (errors, ERRORS)] {
            if let Some(fd) = fd {
                self.poll.add(fd, ready::READ, token)?;
            }
        }
        if let Some(forwarder) = &networking.forwarder {
            self.poll.add(forwarder, ready::READ, PORTS)?;
        }
        self.greet(&starter, &state.notices);
        if attach {
            self.clients.add(&self.poll, starter, true)?;
        } else {
            drop(starter);
        }
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
                        if let Some(ended) = self.on_signals(signals)? {
                            self.drain(&mut buffer);
                            return Ok(ended);
                        }
                    }
                    LISTENER => self.accept(),
                    OUTPUT => self.copy(Stream::Output, &mut buffer),
                    ERRORS => self.copy(Stream::Errors, &mut buffer),
                    INPUT => self.feed(),
                    PORTS => {
                        if let Some(forwarder) = &mut networking.forwarder {
                            // A failure of the poll itself ends forwarding, not the program.
                            if forwarder.dispatch().is_err() {
                                networking.forwarder = None;
                            }
                        }
                        let notices = networking.notices();
                        if !notices.is_empty() {
                            for notice in &notices {
                                self.clients.output(&self.poll, Kind::Notice, notice.as_bytes());
                            }
                            state.notices.extend(notices);
                            let _ = state.save(&self.spec.container_dir);
                        }
                    }
                    TIMER => {
                        self.timer.acknowledge();
                        let _ = process::pidfd_send_signal(&self.running.pidfd, libc::SIGKILL);
                    }
                    token if token >= FIRST_TOKEN => {
                        for request in self.clients.dispatch(&self.poll, token, event.ready) {
                            self.on_request(request);
                        }
                        self.let_output_go_on();
                    }
                    _ => {}
                }
            }
            if self.spec.ends_with_starter && !self.clients.have_starter() {
                let _ = process::pidfd_send_signal(&self.running.pidfd, libc::SIGKILL);
            }
        }
    }

    fn greet(&self, mut starter: &UnixStream, notices: &[String]) {
        let mut bytes = Vec::new();
        for notice in notices {
            frame::append(&mut bytes, Kind::Notice, notice.as_bytes());
        }
        frame::append(&mut bytes, Kind::Ready, &self.running.pid.to_be_bytes());
        // Who started us may be gone already; the program goes on all the same.
        let _ = starter.write_all(&bytes);
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let _ = self.clients.add(&self.poll, stream, false);
        }
    }

    /// How the program ended, if it has.
    fn on_signals(&mut self, signals: &Signals) -> io::Result<Option<Ended>> {
        while let Some(signal) = signals.next()? {
            if signal != libc::SIGCHLD {
                // The monitor is asked to end: so is the program, and it has a while for it.
                let _ = process::pidfd_send_signal(&self.running.pidfd, self.spec.stop_signal);
                self.timer.set(Some(GRACE))?;
            }
        }
        while let Ok(Some((pid, ended))) = process::reap_any() {
            if pid == self.running.pid {
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Input(bytes) => {
                if self.running.streams.terminal || self.running.streams.input.is_some() {
                    self.input.extend(bytes);
                    self.feed();
                }
            }
            Request::InputEnd => {
                // A terminal has no end of input: there it is a key.
                if !self.running.streams.terminal {
                    self.input_ends = true;
                    self.feed();
                }
            }
            Request::Signal { client, signal } => {
                let result = process::pidfd_send_signal(&self.running.pidfd, signal);
                self.clients.answer(
                    &self.poll,
                    client,
                    result.map_err(|e| crate::failure::error_text(&e)),
                );
            }
            Request::Freeze { client, frozen } => {
                let result = self.spec.cgroup.freeze(frozen);
                let text =
                    |e: crate::cgroup::CgroupError| format!("{e}: {}", crate::failure::error_text(&e.error));
                self.clients.answer(&self.poll, client, result.map_err(text));
            }
            Request::Resize { rows, columns } => {
                if let (true, Some(master)) = (self.running.streams.terminal, &self.running.streams.output) {
                    let _ = terminal::set_size(master, rows, columns);
                }
            }
        }
    }

    /// Gives the program as much input as it takes.
    fn feed(&mut self) {
        let streams = &mut self.running.streams;
        let target = if streams.terminal {
            &streams.output
        } else {
            &streams.input
        };
        let Some(target) = target else {
            self.input.clear();
            return;
        };
        let mut taken = 0;
        let mut broken = false;
        while taken < self.input.len() {
            match file::write(target, &self.input[taken..]) {
                Ok(written) => taken += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    broken = error.kind() != io::ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        self.input.drain(..taken);
        let waiting = !self.input.is_empty() && !broken;
        if streams.terminal {
            let interest = ready::READ | if waiting { ready::WRITE } else { 0 };
            if !self.held {
                let _ = self.poll.change(target, interest, OUTPUT);
            }
        } else if broken || self.input_ends && !waiting {
            let _ = self.poll.remove(target);
            streams.input = None;
            self.input = Vec::new();
        } else if waiting {
            if self.poll.change(target, ready::WRITE, INPUT).is_err() {
                let _ = self.poll.add(target, ready::WRITE, INPUT);
            }
        } else {
            let _ = self.poll.remove(target);
        }
        let paused = self.input.len() > MOST_INPUT;
        if paused != self.paused {
            self.paused = paused;
            self.clients.pause(&self.poll, paused);
        }
    }

    /// Copies what the program wrote to the log and to who is attached.
    fn copy(&mut self, stream: Stream, buffer: &mut [u8]) {
        if self.running.streams.terminal && !self.input.is_empty() {
            self.feed();
        }
        self.copy_once(stream, buffer);
        if self.clients.are_behind() && !self.held {
            self.held = true;
            let Streams { output, errors, .. } = &self.running.streams;
            for fd in [output, errors].into_iter().flatten() {
                let _ = self.poll.remove(fd);
            }
        }
    }

    fn let_output_go_on(&mut self) {
        if self.held && !self.clients.are_behind() {
            self.held = false;
            let Streams { output, errors, .. } = &self.running.streams;
            for (fd, token) in [(output, OUTPUT), (errors, ERRORS)] {
                if let Some(fd) = fd {
                    let _ = self.poll.add(fd, ready::READ, token);
                }
            }
        }
    }

    /// False when there is nothing more for now.
    fn copy_once(&mut self, stream: Stream, buffer: &mut [u8]) -> bool {
        let streams = &mut self.running.streams;
        let (slot, kind) = match stream {
            Stream::Output => (&mut streams.output, Kind::Output),
            Stream::Errors => (&mut streams.errors, Kind::Errors),
        };
        let Some(fd) = slot else { return false };
        match file::read(fd.as_fd(), buffer) {
            Ok(read) if read > 0 => {
                self.log.take(stream, &buffer[..read]);
                self.clients.output(&self.poll, kind, &buffer[..read]);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            // The end of a pipe, or of a terminal that nobody has open any more (EIO).
            _ => {
                let _ = self.poll.remove(fd.as_fd());
                *slot = None;
                false
            }
        }
    }

    /// Takes what is left in the pipes once the program is gone.
    fn drain(&mut self, buffer: &mut [u8]) {
        for stream in [Stream::Output, Stream::Errors] {
            while self.copy_once(stream, buffer) {}
        }
        self.log.finish();
    }

    /// Tells everybody who waits, with those who came at the last moment; who can't take it at once is kept.
    fn tell_end(mut self, exit: &Exit) -> Clients {
        self.accept();
        for token in self.clients.tokens() {
            for request in self.clients.dispatch(&self.poll, token, ready::READ) {
                self.on_request(request);
            }
        }
        self.clients.tell_end(&self.poll, exit);
        self.clients
    }
}
