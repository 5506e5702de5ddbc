//! Questions that are passed on to other servers: one datagram, or one connection at a time.

use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use coil_sys::event::{Poll, ready};
use coil_sys::netlink::within_network;
use coil_sys::socket::{self, Transport};

use super::message::{self, Question, code};
use super::{PORT, Upstream, Way};

/// How long one server is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often all servers are asked in turn.
const ROUNDS: usize = 2;
/// How long a connection may rest.
const REST: Duration = Duration::from_secs(10);

/// Which server is asked, and till when it is waited for.
#[derive(Debug)]
pub(super) struct Turns {
    asked: usize,
    pub(super) until: Instant,
}

impl Turns {
    fn new() -> Self {
        Self {
            asked: 0,
            until: Instant::now(),
        }
    }

    /// The server whose turn it is; none when all had theirs.
    pub(super) fn next(&mut self, upstreams: &[Upstream]) -> Option<Upstream> {
        if self.asked >= upstreams.len() * ROUNDS {
            return None;
        }
        let upstream = upstreams[self.asked % upstreams.len()];
        self.asked += 1;
        self.until = Instant::now() + PATIENCE;
        Some(upstream)
    }
}

/// A number that a stranger can't guess.
fn secret() -> u16 {
    let state = std::collections::hash_map::RandomState::new();
    state.build_hasher().finish() as u16
}

/// A socket on the way to a server: in the container's namespace for one that the user named, else in the host's.
fn reach(upstream: Upstream, way: &Way, transport: Transport) -> io::Result<OwnedFd> {
    let ipv6 = matches!(upstream.server, IpAddr::V6(_));
    let made = if upstream.inside {
        within_network(way.net.as_fd(), || socket::open(ipv6, transport))??
    } else {
        way.host.open(ipv6, transport)?
    };
    socket::connect(made.as_fd(), SocketAddr::new(upstream.server, PORT))?;
    Ok(made)
}

/// What came of waiting.
pub(super) enum Round {
    Waiting,
    Failed,
    Answered(Vec<u8>),
}

/// A question that came as a datagram and was passed on as one.
#[derive(Debug)]
pub(super) struct Forwarded {
    query: Vec<u8>,
    question: Question,
    /// The number that it was passed on with.
    id: u16,
    pub(super) client: SocketAddr,
    pub(super) round: Turns,
    socket: Option<UdpSocket>,
}

impl Forwarded {
    pub(super) fn new(query: Vec<u8>, question: Question, client: SocketAddr) -> Self {
        Self {
            query,
            question,
            id: 0,
            client,
            round: Turns::new(),
            socket: None,
        }
    }

    pub(super) fn ask(&mut self, upstream: Upstream, way: &Way, poll: &Poll, token: u64) -> io::Result<()> {
        // A new socket each time: another port, and no late answer of the one before.
        self.socket = None;
        let socket = UdpSocket::from(reach(upstream, way, Transport::Udp)?);
        self.id = secret();
        let mut query = self.query.clone();
        query[..2].copy_from_slice(&self.id.to_be_bytes());
        socket.send(&query)?;
        poll.add(&socket, ready::READ, token)?;
        self.socket = Some(socket);
        Ok(())
    }

    pub(super) fn receive(&mut self) -> Round {
        let Some(socket) = &self.socket else {
            return Round::Waiting;
        };
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    let reply = &buffer[..length];
                    if !message::is_answer(reply, self.id, &self.query, &self.question) {
                        continue;
                    }
                    if message::is_failure(reply) {
                        return Round::Failed;
                    }
                    let mut answer = reply.to_vec();
                    answer[..2].copy_from_slice(&self.query[..2]);
                    return Round::Answered(answer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Round::Waiting,
                // Nobody listens there.
                Err(_) => return Round::Failed,
            }
        }
        Round::Waiting
    }

    pub(super) fn failure(&self) -> Vec<u8> {
        message::answer(
            &self.query,
            &self.question,
            code::FAILED,
            &[],
            self.question.limit,
        )
    }
}

/// A connection from the container, and one to a server while a question waits for it.
#[derive(Debug)]
pub(super) struct Conversation {
    client: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    waiting: Option<(Vec<u8>, Question)>,
    server: Option<Server>,
    pub(super) round: Turns,
    pub(super) until: Instant,
}

#[derive(Debug)]
struct Server {
    stream: TcpStream,
    output: Vec<u8>,
    input: Vec<u8>,
}

/// The first whole message of a stream: each has its length before it.
fn take_message(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*input.first()?, *input.get(1)?]));
    let message = input.get(2..2 + length)?.to_vec();
    input.drain(..2 + length);
    Some(message)
}

fn put_message(output: &mut Vec<u8>, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    output.extend(length.to_be_bytes());
    output.extend(&message[..usize::from(length)]);
}

/// Reads what there is; false at the end of the stream.
fn read_all(mut stream: &TcpStream, input: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    // Two messages at most are kept.
    while input.len() <= 2 * usize::from(u16::MAX) {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(read) => input.extend(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Not connected yet.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return true,
            Err(_) => return false,
        }
    }
    true
}

/// Writes what can be; false when the stream is broken.
fn write_all(mut stream: &TcpStream, output: &mut Vec<u8>) -> bool {
    while !output.is_empty() {
        match stream.write(output) {
            Ok(written) => drop(output.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return true,
            Err(_) => return false,
        }
    }
    true
}

impl Conversation {
    pub(super) fn new(client: TcpStream) -> Self {
        Self {
            client,
            input: Vec::new(),
            output: Vec::new(),
            waiting: None,
            server: None,
            round: Turns::new(),
            until: Instant::now() + REST,
        }
    }

    /// Reads and writes on both sides; false when the container is gone.
    pub(super) fn move_bytes(&mut self) -> bool {
        let open = read_all(&self.client, &mut self.input);
        if let (Some(server), Some((query, question))) = (&mut self.server, &self.waiting) {
            let written = write_all(&server.stream, &mut server.output);
            let there = read_all(&server.stream, &mut server.input) && written;
            match take_message(&mut server.input) {
                Some(mut reply) if message::is_answer(&reply, secret_of(query), query, question) => {
                    if message::is_failure(&reply) {
                        self.server = None;
                    } else {
                        reply[..2].copy_from_slice(&query[..2]);
                        self.answer(&reply);
                    }
                }
                Some(_) => self.server = None,
                None if !there => self.server = None,
                None => {}
            }
        }
        let written = write_all(&self.client, &mut self.output);
        written && (open || self.waiting.is_some() || !self.output.is_empty())
    }

    /// The next question, when the one before is answered.
    pub(super) fn next_query(&mut self) -> Option<Vec<u8>> {
        if self.waiting.is_some() {
            return None;
        }
        let query = take_message(&mut self.input)?;
        self.until = Instant::now() + REST;
        Some(query)
    }

    /// Keeps a question that another server is to answer.
    pub(super) fn forward(&mut self, query: Vec<u8>, question: Question) {
        self.round = Turns::new();
        self.waiting = Some((query, question));
    }

    /// The question that no server is asked at the moment.
    pub(super) fn wants_upstream(&self) -> Option<(Vec<u8>, Question)> {
        self.waiting.clone().filter(|_| self.server.is_none())
    }

    pub(super) fn ask(&mut self, upstream: Upstream, way: &Way, poll: &Poll, token: u64) {
        let Some((query, _)) = &self.waiting else { return };
        let attempt = || -> io::Result<Server> {
            let stream = TcpStream::from(reach(upstream, way, Transport::Tcp)?);
            poll.add(&stream, ready::EDGES, token)?;
            let mut output = Vec::new();
            put_message(&mut output, query);
            Ok(Server {
                stream,
                output,
                input: Vec::new(),
            })
        };
        self.server = attempt().ok();
    }

    pub(super) fn answer(&mut self, answer: &[u8]) {
        put_message(&mut self.output, answer);
        self.waiting = None;
        self.server = None;
    }
}

/// A connection needs no other number than the asker's: nobody else can write into it.
fn secret_of(query: &[u8]) -> u16 {
    u16::from_be_bytes([query[0], query[1]])
}
