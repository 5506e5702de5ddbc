//! Forwarded UDP: one connected socket for each client, forgotten when it has been idle.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The datagrams that wait while a session's socket is being made.
const WAITING: usize = 8;

/// The largest datagram, in bytes.
pub(super) const DATAGRAM: usize = 65536;

/// One client's path to the container.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) listener: usize,
    pub(super) client: SocketAddr,
    pub(super) port: u16,
    pub(super) socket: Option<UdpSocket>,
    waiting: Vec<Vec<u8>>,
    used: Instant,
}

impl Session {
    /// Sends a datagram on, or keeps it until the socket is there. A lost datagram is no error in UDP.
    pub(super) fn send(&mut self, bytes: &[u8], now: Instant) {
        self.used = now;
        match &self.socket {
            // A refusal that is reported for the datagram before is taken away by the first try.
            Some(socket) => drop(socket.send(bytes).or_else(|_| socket.send(bytes))),
            None if self.waiting.len() < WAITING => self.waiting.push(bytes.to_vec()),
            None => {}
        }
    }

    /// Takes a connected socket and sends what waited for it.
    pub(super) fn open(&mut self, socket: OwnedFd) {
        let socket = UdpSocket::from(socket);
        for bytes in std::mem::take(&mut self.waiting) {
            let _ = socket.send(&bytes);
        }
        self.socket = Some(socket);
    }

    pub(super) fn touch(&mut self, now: Instant) {
        self.used = now;
    }
}

/// All sessions, found by client or by slot.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    slots: Vec<Option<Session>>,
    free: Vec<usize>,
    by_client: BTreeMap<(usize, SocketAddr), usize>,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.by_client.len()
    }

    pub(super) fn find(&self, listener: usize, client: SocketAddr) -> Option<usize> {
        self.by_client.get(&(listener, client)).copied()
    }

    pub(super) fn get(&mut self, slot: usize) -> Option<&mut Session> {
        self.slots.get_mut(slot).and_then(Option::as_mut)
    }

    /// Adds a session; when there are `most`, the one that was idle longest goes.
    pub(super) fn add(
        &mut self,
        id: u64,
        (listener, client): (usize, SocketAddr),
        port: u16,
        most: usize,
        now: Instant,
    ) -> usize {
        if self.by_client.len() >= most.max(1) {
            let oldest = self
                .slots
                .iter()
                .flatten()
                .min_by_key(|s| s.used)
                .map(|s| (s.listener, s.client));
            if let Some(slot) = oldest.and_then(|(listener, client)| self.find(listener, client)) {
                self.remove(slot);
            }
        }
        let session = Session {
            id,
            listener,
            client,
            port,
            socket: None,
            waiting: Vec::new(),
            used: now,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(session);
                slot
            }
            None => {
                self.slots.push(Some(session));
                self.slots.len() - 1
            }
        };
        self.by_client.insert((listener, client), slot);
        slot
    }

    pub(super) fn remove(&mut self, slot: usize) {
        if let Some(session) = self.slots.get_mut(slot).and_then(Option::take) {
            self.by_client.remove(&(session.listener, session.client));
            self.free.push(slot);
        }
    }

    /// Forgets what has been idle for longer than `idle`.
    pub(super) fn expire(&mut self, now: Instant, idle: Duration) {
        let old: Vec<usize> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(slot, session)| {
                let session = session.as_ref()?;
                (now.duration_since(session.used) >= idle).then_some(slot)
            })
            .collect();
        for slot in old {
            self.remove(slot);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> SocketAddr {
        SocketAddr::new([127, 0, 0, 1].into(), port)
    }

    #[test]
    fn the_longest_idle_session_makes_room() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        for port in 1..=3 {
            sessions.add(
                port.into(),
                (0, client(port)),
                53,
                2,
                start + Duration::from_secs(port.into()),
            );
        }
        assert_eq!(sessions.len(), 2);
        assert!(sessions.find(0, client(1)).is_none());
        assert!(sessions.find(0, client(3)).is_some());
    }

    #[test]
    fn idle_sessions_expire() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        sessions.add(1, (0, client(1)), 53, 9, start);
        let slot = sessions.add(2, (0, client(2)), 53, 9, start);
        sessions.get(slot).unwrap().touch(start + Duration::from_secs(60));
        sessions.expire(start + Duration::from_secs(91), Duration::from_secs(90));
        assert_eq!(sessions.len(), 1);
        assert_eq!(sessions.find(0, client(2)), Some(slot));
    }
}
