//! The part of the proxy that carries datagrams.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

use coil_sys::event::ready;
use coil_sys::socket::{self, Transport};

use super::super::datagram::DATAGRAM;
use super::super::listener::{HostSocket, Listener};
use super::{Asked, Forwarder, SESSION, token};

impl Forwarder {
    pub(super) fn take_datagrams(&mut self, index: usize) -> io::Result<()> {
        let now = Instant::now();
        let mut buffer = std::mem::take(&mut self.datagram);
        buffer.resize(DATAGRAM, 0);
        for _ in 0..64 {
            let Some(Listener {
                socket: HostSocket::Udp(socket),
                container_port,
            }) = self.listeners.get(index)
            else {
                break;
            };
            let (length, client) = match socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => continue,
            };
            let port = *container_port;
            let slot = match self.sessions.find(index, client) {
                Some(slot) => slot,
                None => self.new_session(index, client, port, now)?,
            };
            if let Some(session) = self.sessions.get(slot) {
                session.send(&buffer[..length], now);
            }
        }
        self.datagram = buffer;
        Ok(())
    }

    fn new_session(
        &mut self,
        listener: usize,
        client: SocketAddr,
        port: u16,
        now: Instant,
    ) -> io::Result<usize> {
        if !self.timer_needed() {
            self.timer.set(Some(self.limits.session_idle / 4))?;
        }
        self.next_id += 1;
        let id = self.next_id;
        let slot = self
            .sessions
            .add(id, (listener, client), port, self.limits.sessions, now);
        let address = self.dialer.as_ref().and_then(|d| d.addresses().first()).copied();
        let made = match address {
            Some(address) => self.socket_for(address, Transport::Udp, Asked::Session { slot, id }),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match made {
            Ok(None) => {}
            Ok(Some(socket)) => self.open_session(slot, socket),
            Err(_) => self.sessions.remove(slot),
        }
        Ok(slot)
    }

    pub(super) fn open_session(&mut self, slot: usize, socket: OwnedFd) {
        let address = self.dialer.as_ref().and_then(|d| d.addresses().first()).copied();
        let Some(session) = self.sessions.get(slot) else {
            return;
        };
        let opened = address
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
            .and_then(|ip| socket::connect(socket.as_fd(), SocketAddr::new(ip, session.port)))
            .and_then(|_| self.poll.add(socket.as_fd(), ready::READ, token(SESSION, slot)));
        match opened {
            Ok(()) => session.open(socket),
            Err(_) => self.sessions.remove(slot),
        }
    }

    pub(super) fn on_session(&mut self, slot: usize) {
        let mut buffer = std::mem::take(&mut self.datagram);
        buffer.resize(DATAGRAM, 0);
        let now = Instant::now();
        if let Some(session) = self.sessions.get(slot)
            && let Some(socket) = &session.socket
            && let Some(Listener {
                socket: HostSocket::Udp(host),
                ..
            }) = self.listeners.get(session.listener)
        {
            let mut answered = false;
            for _ in 0..64 {
                match socket.recv(&mut buffer) {
                    Ok(length) => {
                        // A lost datagram is no error in UDP.
                        let _ = host.send_to(&buffer[..length], session.client);
                        answered = true;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The refusal of an earlier datagram.
                    Err(_) => {}
                }
            }
            if answered {
                session.touch(now);
            }
        }
        self.datagram = buffer;
    }
}
