//! The proxy of published ports: one epoll set, no threads, no copies.

mod passing;
mod sessions;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use coil_sys::event::{Event, Poll, Timer, ready};
use coil_sys::socket::{self, Connecting, Transport};
use coil_sys::socket_factory::SocketFactory;

use super::datagram::Sessions;
use super::dialer::{Dialer, ForwarderLimits};
use super::listener::{BindError, BoundPort, HostSocket, Listener, bind_all};
use super::pipes::PipePool;
use super::stream::{Stage, Stream, Streams, Turn};
use super::{PortMapping, Protocol, holder};
use crate::host_sockets::HostSockets;
use passing::Passing;

/// A request to the helper that isn't answered yet.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Stream { slot: usize, id: u64 },
    Session { slot: usize, id: u64 },
}

/// What a watched descriptor stands for; the upper bits of its token.
const TIMER: u64 = 0;
const HELPER: u64 = 1;
const LISTENER: u64 = 2;
const STREAM: u64 = 3;
const SESSION: u64 = 4;
const LOOK: u64 = 5;

fn token(kind: u64, index: usize) -> u64 {
    kind << 48 | index as u64
}

/// Carries the traffic of a container's published ports.
///
/// Belongs into the caller's poll loop: when [`Forwarder::as_fd`] is readable, [`Forwarder::dispatch`] does some work
/// and returns. Connections that come before [`Forwarder::connect_to`] wait.
#[derive(Debug)]
pub struct Forwarder {
    poll: Poll,
    timer: Timer,
    limits: ForwarderLimits,
    events: Vec<Event>,
    listeners: Vec<Listener>,
    bound: Vec<BoundPort>,
    accepting: bool,
    dialer: Option<Dialer>,
    helper: Option<SocketFactory>,
    asked: VecDeque<Asked>,
    streams: Streams,
    next_id: u64,
    pool: PipePool,
    sessions: Sessions,
    datagram: Vec<u8>,
    init_pid: Option<i32>,
    refused: BTreeSet<(u16, Protocol)>,
    /// What leads the machine's own connections past this proxy.
    passing: Option<Passing>,
    notices: Vec<String>,
}

impl AsFd for Forwarder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

impl Forwarder {
    /// Takes every host port, or none; done before the container starts.
    ///
    /// # Errors
    /// Which port can't be had, and who has it.
    pub fn bind(mappings: &[PortMapping]) -> Result<Self, BindError> {
        Self::bind_with(mappings, ForwarderLimits::default(), &HostSockets::default())
    }

    /// As [`Forwarder::bind`], with other limits, by sockets of the host's network.
    pub fn bind_with(
        mappings: &[PortMapping],
        limits: ForwarderLimits,
        host: &HostSockets,
    ) -> Result<Self, BindError> {
        let (listeners, bound) = bind_all(mappings, host)?;
        let broken = |source| BindError::Io {
            address: (Ipv4Addr::UNSPECIFIED, 0).into(),
            source,
        };
        let poll = Poll::new().map_err(broken)?;
        let timer = Timer::new().map_err(broken)?;
        poll.add(timer.as_fd(), ready::READ, token(TIMER, 0))
            .map_err(broken)?;
        for (index, listener) in listeners.iter().enumerate() {
            let fd = match &listener.socket {
                HostSocket::Tcp(tcp) => tcp.as_fd(),
                HostSocket::Udp(udp) => udp.as_fd(),
            };
            poll.add(fd, 0, token(LISTENER, index)).map_err(broken)?;
        }
        Ok(Self {
            poll,
            timer,
            limits,
            events: Vec::new(),
            listeners,
            bound,
            accepting: false,
            dialer: None,
            helper: None,
            asked: VecDeque::new(),
            streams: Streams::default(),
            next_id: 0,
            pool: PipePool::default(),
            sessions: Sessions::default(),
            datagram: Vec::new(),
            init_pid: None,
            refused: BTreeSet::new(),
            passing: None,
            notices: Vec::new(),
        })
    }

    /// The ports that were bound, with the numbers that the kernel chose.
    pub fn bound(&self) -> &[BoundPort] {
        &self.bound
    }

    /// Starts to serve; `init_pid` is the container's first process, looked at when it refuses a connection.
    ///
    /// A helper is forked here when the dialer needs one: the caller has one thread. The process's limit of open
    /// descriptors is raised as far as it goes (what it starts later inherits that), and `SIGPIPE` is ignored.
    pub fn connect_to(&mut self, dialer: Dialer, init_pid: Option<i32>) -> io::Result<()> {
        self.disconnect()?;
        socket::ignore_broken_pipe();
        let descriptors = socket::raise_descriptor_limit(65536);
        // Two sockets a connection, and some for pipes and for the rest of the process.
        let room = usize::try_from(descriptors.saturating_sub(192) / 2).unwrap_or(usize::MAX);
        self.limits.connections = self.limits.connections.clamp(1, room.max(16));
        self.dialer = Some(dialer);
        self.init_pid = init_pid;
        self.start_helper()?;
        self.accept_more(true)
    }

    /// Ends all connections; new ones wait until [`Forwarder::connect_to`] is called again.
    pub fn disconnect(&mut self) -> io::Result<()> {
        self.dialer = None;
        self.helper = None;
        self.passing = None;
        self.accepting = true;
        self.accept_more(false)?;
        self.asked.clear();
        self.streams = Streams::default();
        self.sessions.clear();
        Ok(())
    }

    /// The open connections and UDP sessions.
    pub fn active(&self) -> usize {
        self.streams.len() + self.sessions.len()
    }

    /// What the user should be told once, since the last call.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// The helper's process id, so that the caller's reaping can tell it from the container's.
    pub fn helper_pid(&self) -> Option<i32> {
        self.helper.as_ref().map(SocketFactory::pid)
    }

    /// Does what can be done without waiting, a share at a time.
    ///
    /// # Errors
    /// Only of the poll itself; a connection's failure ends that connection alone.
    pub fn dispatch(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        let outcome = self.poll.wait_into(&mut events, 0);
        for Event { token, .. } in &events {
            let index = (token & 0xffff_ffff_ffff) as usize;
            match token >> 48 {
                TIMER => self.on_timer()?,
                HELPER => self.on_helper(),
                LOOK => self.look_again(),
                LISTENER => self.on_listener(index)?,
                STREAM => self.on_stream(index),
                _ => self.on_session(index),
            }
        }
        self.streams.settle();
        self.events = events;
        if !self.accepting && self.dialer.is_some() && self.has_room() {
            self.accept_more(true)?;
        }
        outcome
    }

    fn has_room(&self) -> bool {
        self.streams.len() < self.limits.connections
    }

    /// Opens or pauses the intake of connections; datagrams need no room and follow the dialer alone.
    fn accept_more(&mut self, accepting: bool) -> io::Result<()> {
        if self.accepting == accepting {
            return Ok(());
        }
        self.accepting = accepting;
        for (index, listener) in self.listeners.iter().enumerate() {
            let (fd, wanted) = match &listener.socket {
                HostSocket::Tcp(tcp) => (tcp.as_fd(), accepting),
                HostSocket::Udp(udp) => (udp.as_fd(), self.dialer.is_some()),
            };
            let interest = if wanted { ready::READ } else { 0 };
            self.poll.change(fd, interest, token(LISTENER, index))?;
        }
        Ok(())
    }

    fn timer_needed(&self) -> bool {
        self.sessions.len() > 0
    }

    fn on_timer(&mut self) -> io::Result<()> {
        self.timer.acknowledge();
        self.sessions.expire(Instant::now(), self.limits.session_idle);
        if self.timer_needed() {
            self.timer.set(Some(self.limits.session_idle / 4))?;
        }
        Ok(())
    }

    fn start_helper(&mut self) -> io::Result<()> {
        if let Some(Dialer::Namespace { user, net, .. }) = &self.dialer {
            let helper = SocketFactory::spawn(user.as_ref().map(AsFd::as_fd), net.as_fd())?;
            self.poll.add(helper.as_fd(), ready::READ, token(HELPER, 0))?;
            self.helper = Some(helper);
        }
        Ok(())
    }

    fn on_listener(&mut self, index: usize) -> io::Result<()> {
        match self.listeners.get(index).map(|listener| &listener.socket) {
            Some(HostSocket::Tcp(_)) => self.accept(index),
            Some(HostSocket::Udp(_)) => self.take_datagrams(index),
            None => Ok(()),
        }
    }

    fn accept(&mut self, index: usize) -> io::Result<()> {
        for _ in 0..64 {
            if !self.has_room() {
                return self.accept_more(false);
            }
            let Some(Listener {
                socket: HostSocket::Tcp(listener),
                container_port,
            }) = self.listeners.get(index)
            else {
                return Ok(());
            };
            let (client, port) = match listener.accept() {
                Ok((client, _)) => (client, *container_port),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // A client that left again, or no descriptors: the queue waits for one that ends.
                Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => continue,
                Err(_) if self.streams.len() > 0 => return self.accept_more(false),
                Err(_) => return Ok(()),
            };
            if client.set_nonblocking(true).is_err() {
                continue;
            }
            let _ = client.set_nodelay(true);
            self.next_id += 1;
            let slot = self.streams.add(Stream::new(self.next_id, client, port));
            self.dial(slot);
        }
        Ok(())
    }

    /// Asks for the container's side at the address whose turn it is; without one left, the client is reset.
    fn dial(&mut self, slot: usize) {
        let Some(stream) = self.streams.get(slot) else {
            return;
        };
        let (id, attempt) = (stream.id, stream.attempt);
        let Some(address) = self
            .dialer
            .as_ref()
            .and_then(|d| d.addresses().get(attempt))
            .copied()
        else {
            return self.finish(slot, true);
        };
        match self.socket_for(address, Transport::Tcp, Asked::Stream { slot, id }) {
            Ok(None) => {}
            Ok(Some(socket)) => self.connect(slot, socket),
            Err(_) => self.finish(slot, true),
        }
    }

    /// Makes a socket here, or asks the helper (none: the answer comes later).
    fn socket_for(
        &mut self,
        address: IpAddr,
        transport: Transport,
        asked: Asked,
    ) -> io::Result<Option<OwnedFd>> {
        if let Some(Dialer::Address(_)) = self.dialer {
            return socket::open(address.is_ipv6(), transport).map(Some);
        }
        if self.helper.is_none() {
            self.start_helper()?;
        }
        let helper = self.helper.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        helper.request(address.is_ipv6(), transport)?;
        self.asked.push_back(asked);
        Ok(None)
    }

    fn on_helper(&mut self) {
        loop {
            let answer = match self.helper.as_ref().map(SocketFactory::receive) {
                None => return,
                Some(Ok(answer)) => answer,
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                Some(Err(_)) => {
                    // The helper is gone; what waited for it fails, the next connection starts another.
                    self.helper = None;
                    for asked in std::mem::take(&mut self.asked) {
                        match asked {
                            Asked::Stream { slot, id } if self.is_stream(slot, id) => self.finish(slot, true),
                            Asked::Session { slot, id } if self.is_session(slot, id) => {
                                self.sessions.remove(slot)
                            }
                            _ => {}
                        }
                    }
                    return;
                }
            };
            match (self.asked.pop_front(), answer) {
                (Some(Asked::Stream { slot, id }), answer) if self.is_stream(slot, id) => match answer {
                    Ok(socket) => self.connect(slot, socket),
                    Err(_) => self.next_address(slot),
                },
                (Some(Asked::Session { slot, id }), answer) if self.is_session(slot, id) => match answer {
                    Ok(socket) => self.open_session(slot, socket),
                    Err(_) => self.sessions.remove(slot),
                },
                _ => {}
            }
        }
    }

    fn is_stream(&self, slot: usize, id: u64) -> bool {
        self.streams.get(slot).is_some_and(|stream| stream.id == id)
    }

    fn is_session(&mut self, slot: usize, id: u64) -> bool {
        self.sessions.get(slot).is_some_and(|session| session.id == id)
    }

    fn connect(&mut self, slot: usize, socket: OwnedFd) {
        let Some(stream) = self.streams.get_mut(slot) else {
            return;
        };
        let address = self
            .dialer
            .as_ref()
            .and_then(|d| d.addresses().get(stream.attempt))
            .copied();
        let Some(address) = address else {
            return self.finish(slot, true);
        };
        match socket::connect(socket.as_fd(), SocketAddr::new(address, stream.port)) {
            Err(error) => {
                self.note_refusal(slot, &error);
                self.next_address(slot);
            }
            Ok(progress) => {
                let server = TcpStream::from(socket);
                let _ = server.set_nodelay(true);
                stream.stage = Stage::Connecting;
                let watched = self.poll.add(server.as_fd(), ready::EDGES, token(STREAM, slot));
                stream.server = Some(server);
                if watched.is_err() {
                    self.finish(slot, true);
                } else if progress == Connecting::Done {
                    self.open(slot);
                }
            }
        }
    }

    fn next_address(&mut self, slot: usize) {
        if let Some(stream) = self.streams.get_mut(slot) {
            stream.server = None;
            stream.stage = Stage::Waiting;
            stream.attempt += 1;
            self.dial(slot);
        }
    }

    fn open(&mut self, slot: usize) {
        let Some(stream) = self.streams.get_mut(slot) else {
            return;
        };
        stream.stage = Stage::Open;
        // Before its first byte: what the client does next may be a second connection.
        let port = stream.port;
        self.look_now(port);
        let Some(stream) = self.streams.get(slot) else {
            return;
        };
        if self
            .poll
            .add(stream.client.as_fd(), ready::EDGES, token(STREAM, slot))
            .is_err()
        {
            return self.finish(slot, true);
        }
        self.pump(slot);
    }

    fn on_stream(&mut self, slot: usize) {
        let Some(stream) = self.streams.get_mut(slot) else {
            return;
        };
        match (stream.stage, &stream.server) {
            (Stage::Open, _) => self.pump(slot),
            (Stage::Connecting, Some(server)) => match server.take_error() {
                Ok(None) if server.peer_addr().is_ok() => self.open(slot),
                // Not decided yet: a report of the time before the connect began.
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => {
                    self.note_refusal(slot, &error);
                    self.next_address(slot);
                }
            },
            _ => {}
        }
    }

    fn pump(&mut self, slot: usize) {
        let Some(stream) = self.streams.get_mut(slot) else {
            return;
        };
        let turn = stream.pump(&mut self.pool);
        let (port, carried) = (stream.port, stream.carried());
        self.take_note(port, carried);
        match turn {
            Turn::Idle => {}
            Turn::More => {
                let Some(stream) = self.streams.get(slot) else {
                    return;
                };
                // Edges are reported once: asking again brings this connection back after the others.
                let again = [Some(&stream.client), stream.server.as_ref()]
                    .into_iter()
                    .flatten()
                    .try_for_each(|socket| {
                        self.poll
                            .change(socket.as_fd(), ready::EDGES, token(STREAM, slot))
                    });
                if again.is_err() {
                    self.finish(slot, true);
                }
            }
            Turn::Over => self.finish(slot, false),
            Turn::Broken => self.finish(slot, true),
        }
    }

    fn finish(&mut self, slot: usize, reset: bool) {
        if let Some(stream) = self.streams.remove(slot).filter(|_| reset) {
            stream.reset();
        }
    }

    /// Looks once for each port whether the app listens on loopback alone, which no published port can reach.
    fn note_refusal(&mut self, slot: usize, error: &io::Error) {
        let Some(stream) = self.streams.get(slot) else {
            return;
        };
        let port = stream.port;
        let Some(pid) = self
            .init_pid
            .filter(|_| matches!(self.dialer, Some(Dialer::Address(_))))
        else {
            return;
        };
        if error.kind() != io::ErrorKind::ConnectionRefused || self.refused.contains(&(port, Protocol::Tcp)) {
            return;
        }
        if let Some(address) = holder::loopback_only(pid, port) {
            self.refused.insert((port, Protocol::Tcp));
            self.notices.push(format!(
                "port {port} is published, but the app listens on {address} inside the container; \
                 make it listen on 0.0.0.0"
            ));
        }
    }
}
