//! The other way round: connections that a packet filter leads here are carried to where they were meant to go, by
//! sockets of the host's network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use coil_sys::event::{Event, Poll, ready};
use coil_sys::socket::{self, Transport};

use super::pipes::PipePool;
use super::stream::{Stage, Stream, Streams, Turn};
use crate::host_sockets::HostSockets;

const LISTENER: u64 = u64::MAX;
/// Open connections; more wait in the kernel's queue.
const MOST: u64 = 4096;

/// Carries connections out of a network namespace that has no way out.
///
/// Belongs into the caller's poll loop: when [`Relay::as_fd`] is readable, [`Relay::dispatch`] does some work and returns.
#[derive(Debug)]
pub struct Relay {
    poll: Poll,
    listener: TcpListener,
    port: u16,
    outside: HostSockets,
    streams: Streams,
    pool: PipePool,
    events: Vec<Event>,
    most: usize,
    accepting: bool,
    next_id: u64,
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

impl Relay {
    /// Listens in this process's network namespace, at a port of the kernel's choice.
    ///
    /// # Errors
    /// When the sockets can't be had.
    pub fn start(outside: HostSockets) -> io::Result<Self> {
        socket::ignore_broken_pipe();
        let descriptors = socket::raise_descriptor_limit(2 * MOST + 256);
        let listener = socket::listen_tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))?;
        let poll = Poll::new()?;
        poll.add(&listener, ready::READ, LISTENER)?;
        Ok(Self {
            port: listener.local_addr()?.port(),
            poll,
            listener,
            outside,
            streams: Streams::default(),
            pool: PipePool::default(),
            events: Vec::new(),
            most: usize::try_from(descriptors.saturating_sub(64) / 2)
                .unwrap_or(16)
                .max(16),
            accepting: true,
            next_id: 0,
        })
    }

    /// Where it listens, on every address of its namespace.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Does what can be done without waiting.
    ///
    /// # Errors
    /// Only of the poll itself; a connection's failure ends that connection alone.
    pub fn dispatch(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        let outcome = self.poll.wait_into(&mut events, 0);
        for Event { token, .. } in &events {
            match *token {
                LISTENER => self.accept()?,
                slot => self.on_stream(slot as usize),
            }
        }
        self.streams.settle();
        self.events = events;
        if !self.accepting && self.streams.len() < self.most {
            self.listen(true)?;
        }
        outcome
    }

    fn listen(&mut self, accepting: bool) -> io::Result<()> {
        self.accepting = accepting;
        let interest = if accepting { ready::READ } else { 0 };
        self.poll.change(&self.listener, interest, LISTENER)
    }

    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..64 {
            if self.streams.len() >= self.most {
                return self.listen(false);
            }
            match self.listener.accept() {
                Ok((client, _)) => self.take(client),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => {}
                // No descriptors: the queue waits for a connection that ends.
                Err(_) if self.streams.len() > 0 => return self.listen(false),
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn take(&mut self, client: TcpStream) {
        let _ = client.set_nonblocking(true);
        let _ = client.set_nodelay(true);
        let Some(target) = self.target(&client) else {
            let _ = socket::reset_on_close(&client);
            return;
        };
        self.next_id += 1;
        let slot = self.streams.add(Stream::new(self.next_id, client, target.port()));
        if self.dial(slot, target).is_err() {
            self.finish(slot, true);
        }
    }

    /// Where a connection was meant to go; the bridge's own address stands for this machine.
    fn target(&self, client: &TcpStream) -> Option<SocketAddrV4> {
        let target = socket::original_destination(client).ok()?;
        let here = client.local_addr().ok()?.ip();
        if here != IpAddr::V4(*target.ip()) {
            return Some(target);
        }
        Some(SocketAddrV4::new(self.own_address()?, target.port()))
    }

    /// The address by which others know this machine: never loopback, where programs trust who comes.
    fn own_address(&self) -> Option<Ipv4Addr> {
        // Nothing is sent: the kernel chooses the source address when it is told the destination.
        let probe = self.outside.open(false, Transport::Udp).ok()?;
        let elsewhere = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 254).into(), 9);
        socket::connect(probe.as_fd(), elsewhere).ok()?;
        match std::net::UdpSocket::from(probe).local_addr().ok()?.ip() {
            IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_unspecified() => Some(ip),
            _ => None,
        }
    }

    fn dial(&mut self, slot: usize, target: SocketAddrV4) -> io::Result<()> {
        let made = self.outside.open(false, Transport::Tcp)?;
        socket::connect(made.as_fd(), target.into())?;
        let server = TcpStream::from(made);
        let _ = server.set_nodelay(true);
        let stream = self.streams.get_mut(slot).ok_or(io::ErrorKind::NotConnected)?;
        stream.stage = Stage::Connecting;
        self.poll.add(&server, ready::EDGES, slot as u64)?;
        stream.server = Some(server);
        Ok(())
    }

    fn on_stream(&mut self, slot: usize) {
        let Some(stream) = self.streams.get_mut(slot) else {
            return;
        };
        if stream.stage == Stage::Connecting {
            let Some(server) = &stream.server else { return };
            match server.take_error() {
                Ok(None) if server.peer_addr().is_ok() => {}
                Ok(None) => return,
                _ => return self.finish(slot, true),
            }
            stream.stage = Stage::Open;
            if self.poll.add(&stream.client, ready::EDGES, slot as u64).is_err() {
                return self.finish(slot, true);
            }
        }
        match stream.pump(&mut self.pool) {
            Turn::Idle => {}
            Turn::More => {
                let again = [Some(&stream.client), stream.server.as_ref()]
                    .into_iter()
                    .flatten()
                    .try_for_each(|socket| self.poll.change(socket, ready::EDGES, slot as u64));
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
}
