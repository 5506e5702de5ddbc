//! A container's own name server: other containers' names from the networks' live state, all else from the host's servers.
//!
//! It answers at 127.0.0.11 inside the container's network namespace, and is served by the container's monitor: no process
//! and no port of the host's is needed for it.

mod exchange;
mod message;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use coil_sys::event::{Event, Poll, Timer, ready};
use coil_sys::netlink::within_network;
use coil_sys::nftables::{Batch, Family, Hook, Nftables, Rule};
use coil_sys::socket;

use super::lease::{self, Lease};
use super::names::{Upstream, upstreams};
use super::{NAME_SERVER, NameSettings, NetworkState};
use crate::host_sockets::HostSockets;
use exchange::{Conversation, Forwarded, Round};
use message::{Question, Record, code, kind};

/// Where names are asked for.
const PORT: u16 = 53;
/// The table in the container's own namespace that leads to the server's real ports.
const TABLE: &str = "coil-names";
/// Questions that wait for another server's answer; more are refused.
const MOST_FORWARDED: usize = 256;
/// Connections; more wait in the kernel's queue.
const MOST_CONVERSATIONS: usize = 32;
/// How often it is looked whether an answer is overdue, while one is awaited.
const TICK: Duration = Duration::from_millis(500);
/// A folder that changed so short a time ago may change again without another time stamp.
const SETTLED: Duration = Duration::from_millis(100);

/// What a watched descriptor stands for; the upper bits of its token.
const DATAGRAMS: u64 = 0;
const LISTENER: u64 = 1;
const TIMER: u64 = 2;
const FORWARDED: u64 = 3;
const CLIENT: u64 = 4;
const SERVER: u64 = 5;

fn token(kind: u64, slot: u64) -> u64 {
    kind << 48 | slot & 0xffff_ffff_ffff
}

/// The leases of a network as they were at a time.
type Leases = (SystemTime, Vec<(IpAddr, Lease)>);

/// Where other servers are asked from.
#[derive(Debug)]
pub(super) struct Way {
    /// The container's network.
    net: OwnedFd,
    /// The host's.
    host: HostSockets,
}

/// Answers for the names of one container's networks.
///
/// Belongs into the caller's poll loop: when [`NameServer::as_fd`] is readable, [`NameServer::dispatch`] does some work
/// and returns.
#[derive(Debug)]
pub struct NameServer {
    poll: Poll,
    timer: Timer,
    ticking: bool,
    datagrams: UdpSocket,
    listener: TcpListener,
    way: Way,
    run_root: PathBuf,
    networks: Vec<String>,
    /// Whether other servers may be asked: who may not speak to the outside may not do so in questions either.
    outside: bool,
    upstreams: Vec<Upstream>,
    known: BTreeMap<String, Leases>,
    forwarded: BTreeMap<u64, Forwarded>,
    conversations: BTreeMap<u64, Conversation>,
    next: u64,
}

impl AsFd for NameServer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

/// What is done about a question.
enum Reply {
    Now(Vec<u8>),
    Forward(Question),
    Never,
}

impl NameServer {
    /// Starts to answer inside a network namespace whose loopback is on.
    ///
    /// # Errors
    /// When the sockets can't be had: with no packet filter, a program of the container's may have the port.
    pub fn start(
        net: BorrowedFd<'_>,
        run_root: &Path,
        names: &NameSettings,
        places: &[NetworkState],
        host: HostSockets,
    ) -> io::Result<Self> {
        let (datagrams, listener) = within_network(net, sockets)??;
        let (poll, timer) = (Poll::new()?, Timer::new()?);
        poll.add(&datagrams, ready::READ, token(DATAGRAMS, 0))?;
        poll.add(&listener, ready::READ, token(LISTENER, 0))?;
        poll.add(&timer, ready::READ, token(TIMER, 0))?;
        let mut server = Self {
            poll,
            timer,
            ticking: false,
            datagrams,
            listener,
            way: Way {
                net: net.try_clone_to_owned()?,
                host,
            },
            run_root: run_root.to_owned(),
            networks: Vec::new(),
            outside: false,
            upstreams: upstreams(names),
            known: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            conversations: BTreeMap::new(),
            next: 0,
        };
        server.set_networks(places);
        Ok(server)
    }

    /// Says which networks the container is in by now.
    pub fn set_networks(&mut self, places: &[NetworkState]) {
        self.networks = places
            .iter()
            .filter(|place| !place.names.is_empty())
            .map(|place| place.network.clone())
            .collect();
        self.outside = places.iter().any(|place| !place.internal);
        // Datagrams don't leave a household by its relay.
        let relayed = |place: &NetworkState| place.relay.is_some_and(|relay| relay.everything);
        if places.iter().any(relayed) {
            self.upstreams
                .iter_mut()
                .for_each(|upstream| upstream.inside = false);
        }
        self.known.clear();
    }

    /// Does what can be done without waiting.
    ///
    /// # Errors
    /// Only of the poll itself; a question's failure is told to who asked.
    pub fn dispatch(&mut self) -> io::Result<()> {
        for Event { token, .. } in self.poll.wait(0)? {
            let slot = token & 0xffff_ffff_ffff;
            match token >> 48 {
                DATAGRAMS => self.take_questions(),
                LISTENER => self.accept(),
                TIMER => self.tick(),
                FORWARDED => self.take_answer(slot),
                CLIENT | SERVER => self.converse(slot),
                _ => {}
            }
        }
        let waiting = !self.forwarded.is_empty() || !self.conversations.is_empty();
        if waiting && !self.ticking {
            self.ticking = true;
            self.timer.set(Some(TICK))?;
        }
        Ok(())
    }

    fn tick(&mut self) {
        self.timer.acknowledge();
        self.ticking = false;
        let now = Instant::now();
        let late: Vec<u64> = self
            .forwarded
            .iter()
            .filter(|(_, forwarded)| forwarded.round.until <= now)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in late {
            self.ask_next(slot);
        }
        let late: Vec<u64> = self
            .conversations
            .iter()
            .filter(|(_, conversation)| conversation.until <= now)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in late {
            self.conversations.remove(&slot);
            self.listen(true);
        }
    }

    fn take_questions(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..64 {
            let (length, client) = match self.datagrams.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The refusal of an earlier answer.
                Err(_) => continue,
            };
            let query = &buffer[..length];
            match self.reply(query, false) {
                Reply::Now(answer) => self.send(&answer, client),
                Reply::Never => {}
                Reply::Forward(question) => {
                    if self.forwarded.len() >= MOST_FORWARDED {
                        self.send(&message::refusal(query, code::REFUSED), client);
                        continue;
                    }
                    self.next += 1;
                    let slot = self.next;
                    self.forwarded
                        .insert(slot, Forwarded::new(query.to_vec(), question, client));
                    self.ask_next(slot);
                }
            }
        }
    }

    fn send(&self, answer: &[u8], client: SocketAddr) {
        // A lost answer is asked for again.
        let _ = self.datagrams.send_to(answer, client);
    }

    /// Asks the next server for an answer; after the last, the failure is told.
    fn ask_next(&mut self, slot: u64) {
        let Some(forwarded) = self.forwarded.get_mut(&slot) else {
            return;
        };
        while let Some(upstream) = forwarded.round.next(&self.upstreams) {
            if forwarded
                .ask(upstream, &self.way, &self.poll, token(FORWARDED, slot))
                .is_ok()
            {
                return;
            }
        }
        if let Some(forwarded) = self.forwarded.remove(&slot) {
            self.send(&forwarded.failure(), forwarded.client);
        }
    }

    fn take_answer(&mut self, slot: u64) {
        let Some(forwarded) = self.forwarded.get_mut(&slot) else {
            return;
        };
        match forwarded.receive() {
            Round::Waiting => {}
            Round::Failed => self.ask_next(slot),
            Round::Answered(answer) => {
                let client = forwarded.client;
                self.forwarded.remove(&slot);
                self.send(&answer, client);
            }
        }
    }

    fn accept(&mut self) {
        while self.conversations.len() < MOST_CONVERSATIONS {
            let Ok((stream, _)) = self.listener.accept() else {
                return;
            };
            self.next += 1;
            let slot = self.next;
            if stream.set_nonblocking(true).is_ok()
                && self.poll.add(&stream, ready::EDGES, token(CLIENT, slot)).is_ok()
            {
                self.conversations.insert(slot, Conversation::new(stream));
                self.converse(slot);
            }
        }
        self.listen(false);
    }

    fn listen(&self, wanted: bool) {
        let interest = if wanted { ready::READ } else { 0 };
        let _ = self.poll.change(&self.listener, interest, token(LISTENER, 0));
    }

    fn converse(&mut self, slot: u64) {
        let Some(mut conversation) = self.conversations.remove(&slot) else {
            return;
        };
        loop {
            if !conversation.move_bytes() {
                return self.listen(true);
            }
            if let Some((query, question)) = conversation.wants_upstream() {
                let Some(upstream) = conversation.round.next(&self.upstreams) else {
                    let answer = message::answer(&query, &question, code::FAILED, &[], usize::MAX);
                    conversation.answer(&answer);
                    continue;
                };
                // One that can't be reached is followed by the next.
                conversation.ask(upstream, &self.way, &self.poll, token(SERVER, slot));
                continue;
            }
            let Some(query) = conversation.next_query() else {
                break;
            };
            match self.reply(&query, true) {
                Reply::Now(answer) => conversation.answer(&answer),
                Reply::Forward(question) => conversation.forward(query, question),
                Reply::Never => return self.listen(true),
            }
        }
        self.conversations.insert(slot, conversation);
    }

    /// What this server itself knows, or that another is to be asked.
    fn reply(&mut self, query: &[u8], stream: bool) -> Reply {
        let question = match message::question(query) {
            Ok(question) => question,
            Err(Some(refusal)) => return Reply::Now(refusal),
            Err(None) => return Reply::Never,
        };
        let limit = if stream {
            usize::from(u16::MAX)
        } else {
            question.limit
        };
        let answer = |code: u8, records: &[Record]| message::answer(query, &question, code, records, limit);
        let found = match question.internet {
            true => self.records(&question),
            false => None,
        };
        match found {
            Some(records) => Reply::Now(answer(code::FINE, &records)),
            None if !self.outside => Reply::Now(answer(code::NO_SUCH_NAME, &[])),
            None => Reply::Forward(question),
        }
    }

    /// The records of a name that stands for a container; none when it doesn't, an empty list for another kind of record.
    fn records(&mut self, question: &Question) -> Option<Vec<Record>> {
        let networks = self.networks.clone();
        if let Some(address) = message::reversed(&question.name) {
            let (name, network) = networks.iter().find_map(|network| {
                let leases = self.leases(network);
                let (_, lease) = leases.iter().find(|(ip, _)| *ip == address)?;
                Some((lease.names.first()?.clone(), network))
            })?;
            return Some(match question.kind {
                kind::PTR | kind::ANY => vec![Record::Name(format!("{name}.{network}"))],
                _ => Vec::new(),
            });
        }
        let run_root = self.run_root.clone();
        let mut addresses: Vec<IpAddr> = Vec::new();
        for network in &networks {
            let own = format!(".{}", network.to_ascii_lowercase());
            let plain = question.name.strip_suffix(&own);
            let is_it = |name: &String| {
                name.eq_ignore_ascii_case(&question.name)
                    || plain.is_some_and(|plain| name.eq_ignore_ascii_case(plain))
            };
            for (address, lease) in self.leases(network) {
                if lease.names.iter().any(is_it) && lease::is_alive(&run_root, lease) {
                    addresses.push(*address);
                }
            }
        }
        if addresses.is_empty() {
            return None;
        }
        addresses.sort();
        addresses.dedup();
        addresses.retain(|ip| match question.kind {
            kind::A => ip.is_ipv4(),
            kind::AAAA => ip.is_ipv6(),
            kind => kind == kind::ANY,
        });
        if !addresses.is_empty() {
            // One name of several containers: each is the first in its turn.
            self.next += 1;
            let turn = self.next as usize % addresses.len();
            addresses.rotate_left(turn);
        }
        Some(addresses.into_iter().map(Record::Address).collect())
    }

    /// Who is in a network; read again when it has changed.
    fn leases(&mut self, network: &str) -> &[(IpAddr, Lease)] {
        let changed = lease::changed(&self.run_root, network);
        let fresh = self
            .known
            .get(network)
            .is_some_and(|(time, _)| Some(*time) == changed);
        if !fresh {
            let settled = changed.filter(|time| time.elapsed().is_ok_and(|age| age > SETTLED));
            let leases = lease::read(&self.run_root, network);
            self.known.insert(
                network.to_owned(),
                (settled.unwrap_or(SystemTime::UNIX_EPOCH), leases),
            );
        }
        self.known.get(network).map_or(&[], |(_, leases)| leases)
    }
}

/// The sockets, made in the container's namespace: at ports of the kernel's choice, to which its packet filter leads, so
/// that a name server of the container's own finds its port free; at the port itself where there is no packet filter.
fn sockets() -> io::Result<(UdpSocket, TcpListener)> {
    let at = |port: u16| -> io::Result<(UdpSocket, TcpListener)> {
        let address = SocketAddr::new(NAME_SERVER.into(), port);
        Ok((socket::bind_udp(address)?, socket::listen_tcp(address)?))
    };
    let (datagrams, listener) = at(0)?;
    let (udp, tcp) = (datagrams.local_addr()?.port(), listener.local_addr()?.port());
    let mut batch = Batch::new();
    batch.add_table(Family::Ip, TABLE).delete_table(Family::Ip, TABLE);
    batch
        .add_table(Family::Ip, TABLE)
        .add_chain(Family::Ip, TABLE, "output", Hook::LocalNat);
    for (protocol, port) in [(libc::IPPROTO_UDP, udp), (libc::IPPROTO_TCP, tcp)] {
        let rule = Rule::new()
            .to_network(NAME_SERVER, 32)
            .to_port(protocol as u8, PORT)
            .destination(NAME_SERVER, port);
        batch.add_rule(Family::Ip, TABLE, "output", rule);
    }
    let led = Nftables::open().is_ok_and(|mut nftables| {
        nftables
            .commit(batch, "lead questions to the name server")
            .is_ok()
    });
    if led { Ok((datagrams, listener)) } else { at(PORT) }
}
