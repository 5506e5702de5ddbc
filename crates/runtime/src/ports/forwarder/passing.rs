//! Which of the machine's own connections go past the proxy, to the container's address at once.
//!
//! Those to a program that lets many wait: what the kernel tells of its listening socket. One with a short queue loses
//! connections when many come at a time; the proxy asks it for one after the other, so there all go through the proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use coil_sys::event::{Timer, ready};
use coil_sys::netlink_sockets::{ListeningSocket, SocketTable};

use super::super::Protocol;
use super::super::dialer::Dialer;
use super::super::shortcut::{Shortcut, Way};
use super::{Forwarder, LOOK, token};

/// The connections that a program must let wait, to be reached past the proxy.
const LONG_QUEUE: u32 = 64;

/// What one connection carries, in bytes, before the next ones go past the proxy, where the kernel doesn't tell of queues.
const MUCH: usize = 8 << 20;

/// The time from the start to the first look at what listens; each later one comes after twice the time.
const FIRST_LOOK: Duration = Duration::from_millis(25);

/// The last of those times.
const LAST_LOOK: Duration = Duration::from_secs(60);

/// The time between two looks that connections to one port are the reason for.
const PAUSE: Duration = Duration::from_millis(200);

/// What leads connections past the proxy.
#[derive(Debug)]
pub(super) struct Passing {
    container: Ipv4Addr,
    /// The container's listening sockets; none where the kernel doesn't tell.
    table: Option<SocketTable>,
    /// Ports inside that are reached past the proxy.
    ports: BTreeSet<u16>,
    shortcut: Option<Shortcut>,
    timer: Timer,
    wait: Duration,
    /// When a connection to a port was last the reason for a look.
    looked: BTreeMap<u16, Instant>,
}

impl Forwarder {
    /// Leads the machine's own connections past this proxy where the program in `net` can bear it. Call it after
    /// [`Forwarder::connect_to`]; without effect where connections don't go to an IPv4 address of the container's own.
    ///
    /// # Errors
    /// Of the timer; the proxy carries all then.
    pub fn let_pass(&mut self, net: BorrowedFd<'_>) -> io::Result<()> {
        let Some(Dialer::Address(IpAddr::V4(container))) = self.dialer else {
            return Ok(());
        };
        let timer = Timer::new()?;
        self.poll.add(timer.as_fd(), ready::READ, token(LOOK, 0))?;
        timer.set(Some(FIRST_LOOK))?;
        self.passing = Some(Passing {
            container,
            table: SocketTable::open_in(net).ok(),
            ports: BTreeSet::new(),
            shortcut: None,
            timer,
            wait: FIRST_LOOK,
            looked: BTreeMap::new(),
        });
        Ok(())
    }

    /// The timer fired: has the program begun to listen?
    pub(super) fn look_again(&mut self) {
        let wanted = self.wanted();
        if let Some(passing) = &mut self.passing {
            passing.timer.acknowledge();
            passing.wait *= 2;
            // A program that takes longer is looked at when somebody connects.
            if passing.wait <= LAST_LOOK && !wanted.is_subset(&passing.ports) {
                let _ = passing.timer.set(Some(passing.wait));
            }
        }
        self.look(&wanted);
    }

    /// Somebody was connected to a port inside through the proxy.
    pub(super) fn look_now(&mut self, port: u16) {
        let Some(passing) = &mut self.passing else { return };
        let recently = |looked: &Instant| looked.elapsed() < PAUSE;
        if passing.ports.contains(&port) || passing.looked.get(&port).is_some_and(recently) {
            return;
        }
        passing.looked.insert(port, Instant::now());
        let wanted = self.wanted();
        self.look(&wanted);
    }

    /// The TCP ports inside that are published.
    fn wanted(&self) -> BTreeSet<u16> {
        let mappings = self.bound.iter().map(|bound| &bound.mapping);
        mappings
            .filter(|mapping| mapping.protocol == Protocol::Tcp)
            .map(|mapping| mapping.container_port)
            .collect()
    }

    fn look(&mut self, wanted: &BTreeSet<u16>) {
        let Some(passing) = &mut self.passing else { return };
        if wanted.is_subset(&passing.ports) {
            return;
        }
        let Some(table) = &mut passing.table else { return };
        let Ok(sockets) = table.listening() else {
            passing.table = None;
            return;
        };
        let before = passing.ports.len();
        let long = wanted
            .iter()
            .filter(|port| has_long_queue(&sockets, passing.container, **port));
        passing.ports.extend(long);
        if passing.ports.len() > before {
            self.shorten();
        }
    }

    /// A connection has carried so much by now.
    pub(super) fn take_note(&mut self, port: u16, carried: usize) {
        if carried >= MUCH
            && let Some(passing) = &mut self.passing
            && passing.table.is_none()
            && passing.ports.insert(port)
        {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let Some(passing) = &mut self.passing else { return };
        let ways: Vec<Way> = self
            .bound
            .iter()
            .filter(|bound| bound.mapping.protocol == Protocol::Tcp)
            .filter(|bound| passing.ports.contains(&bound.mapping.container_port))
            .filter_map(|bound| {
                let host_ip = match bound.mapping.host_ip {
                    None => None,
                    Some(IpAddr::V4(ip)) if ip.is_unspecified() => None,
                    Some(IpAddr::V4(ip)) => Some(ip),
                    Some(IpAddr::V6(_)) => return None,
                };
                Some(Way {
                    host_ip,
                    host_port: bound.mapping.host_port,
                    container_port: bound.mapping.container_port,
                })
            })
            .collect();
        match Shortcut::open(&ways, passing.container) {
            Ok(shortcut) => passing.shortcut = Some(shortcut),
            // Not here, and not later: no more looks.
            Err(_) => self.passing = None,
        }
    }
}

/// Whether all that take connections to a port at an address let many wait; false when nobody does.
fn has_long_queue(sockets: &[ListeningSocket], address: Ipv4Addr, port: u16) -> bool {
    let reached = sockets.iter().filter(|socket| {
        socket.port == port
            && !socket.six_only
            && (socket.address.is_unspecified() || socket.address == IpAddr::V4(address))
    });
    reached.map(|socket| socket.queue).min() >= Some(LONG_QUEUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_counts_that_a_connection_may_come_to() {
        let container = Ipv4Addr::new(172, 17, 0, 2);
        let socket = |address: &str, queue, six_only| ListeningSocket {
            address: address.parse().expect("an address"),
            port: 80,
            six_only,
            queue,
        };
        for (sockets, expected) in [
            (vec![], false),
            (vec![socket("0.0.0.0", 2048, false)], true),
            (vec![socket("0.0.0.0", 5, false)], false),
            (vec![socket("::", 128, false)], true),
            (vec![socket("::", 128, true)], false),
            (vec![socket("::", 5, true), socket("0.0.0.0", 64, false)], true),
            (vec![socket("172.17.0.2", 64, false)], true),
            (vec![socket("127.0.0.1", 4096, false)], false),
            (
                vec![socket("0.0.0.0", 4096, false), socket("0.0.0.0", 5, false)],
                false,
            ),
        ] {
            assert_eq!(has_long_queue(&sockets, container, 80), expected, "{sockets:?}");
            assert!(!has_long_queue(&sockets, container, 81));
        }
    }
}
