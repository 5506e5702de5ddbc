//! The monitor's side of its connections: what each asked for, and what waits to be sent.

use crate::control::Exit;
use crate::frame::{self, Kind};
use crate::network::BridgeSpec;
use coil_sys::event::{Poll, ready};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Above this much unsent output to one client, the program has to wait, as on a slow terminal.
const MOST_UNSENT: usize = 128 << 10;

/// How long a client that doesn't read is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first token of a client; smaller ones are the monitor's own.
pub(super) const FIRST_TOKEN: u64 = 100;

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    attached: bool,
    waiting: bool,
    /// The one that the container was started with: the program's input ends when it goes.
    starter: bool,
    /// It was told of the end: once that is sent, nothing more comes.
    told: bool,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Clients {
    clients: BTreeMap<u64, Client>,
    next: u64,
}

/// What a client asks of the monitor.
#[derive(Debug)]
pub(super) enum Request {
    Input(Vec<u8>),
    InputEnd,
    Signal { client: u64, signal: i32, stop: bool },
    Update { client: u64 },
    Connect { client: u64, place: Box<BridgeSpec> },
    Disconnect { client: u64, network: String },
    Freeze { client: u64, frozen: bool },
    Resize { rows: u16, columns: u16 },
}

impl Clients {
    pub(super) fn add(&mut self, poll: &Poll, stream: UnixStream, starter: bool) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let token = FIRST_TOKEN + self.next;
        self.next += 1;
        poll.add(&stream, ready::READ, token)?;
        let client = Client {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            attached: starter,
            waiting: starter,
            starter,
            told: false,
        };
        self.clients.insert(token, client);
        Ok(())
    }

    /// Reads and writes what can be; returns what is asked of the monitor.
    pub(super) fn dispatch(&mut self, poll: &Poll, token: u64, readiness: u32) -> Vec<Request> {
        let Some(client) = self.clients.get_mut(&token) else {
            return Vec::new();
        };
        let mut requests = Vec::new();
        let mut open = true;
        if readiness & ready::WRITE != 0 {
            open = client.send(poll, token).is_ok();
        }
        if open && readiness & (ready::READ | ready::HANG_UP | ready::ERROR) != 0 {
            open = client.receive(token, &mut requests).unwrap_or(false);
            open = open && client.send(poll, token).is_ok();
        }
        if !open || client.told && client.output.is_empty() {
            requests.extend(client.starter.then_some(Request::InputEnd));
            self.remove(poll, token);
        }
        requests
    }

    fn remove(&mut self, poll: &Poll, token: u64) {
        if let Some(client) = self.clients.remove(&token) {
            let _ = poll.remove(&client.stream);
        }
    }

    /// Sends output to all who are attached.
    pub(super) fn output(&mut self, poll: &Poll, kind: Kind, bytes: &[u8]) {
        let mut gone = Vec::new();
        for (token, client) in self.clients.iter_mut().filter(|(_, c)| c.attached) {
            frame::append(&mut client.output, kind, bytes);
            if client.send(poll, *token).is_err() {
                gone.push(*token);
            }
        }
        gone.into_iter().for_each(|token| self.remove(poll, token));
    }

    /// Answers one client.
    pub(super) fn answer(&mut self, poll: &Poll, token: u64, result: Result<(), String>) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        // On an attached connection nobody waits for an answer.
        if !client.attached {
            match result {
                Ok(()) => frame::append(&mut client.output, Kind::Done, &[]),
                Err(reason) => frame::append(&mut client.output, Kind::Refused, reason.as_bytes()),
            }
            if client.send(poll, token).is_err() {
                self.remove(poll, token);
            }
        }
    }

    /// Whether the one that the container was started with is still there.
    pub(super) fn have_starter(&self) -> bool {
        self.clients.values().any(|client| client.starter)
    }

    /// Whether somebody who is attached can't keep up.
    pub(super) fn are_behind(&self) -> bool {
        self.clients
            .values()
            .any(|c| c.attached && c.output.len() > MOST_UNSENT)
    }

    /// Stops (or goes on) reading from clients, while the program doesn't take its input.
    pub(super) fn pause(&self, poll: &Poll, paused: bool) {
        for (token, client) in &self.clients {
            let interest = if client.output.is_empty() { 0 } else { ready::WRITE };
            let interest = interest | if paused { 0 } else { ready::READ };
            let _ = poll.change(&client.stream, interest, *token);
        }
    }

    /// The tokens of all connections.
    pub(super) fn tokens(&self) -> Vec<u64> {
        self.clients.keys().copied().collect()
    }

    /// Tells the end to who waits for it. Only those are kept who could not take it at once.
    pub(super) fn tell_end(&mut self, poll: &Poll, exit: &Exit) {
        let exit = serde_json::to_vec(exit).unwrap_or_default();
        self.clients.retain(|token, client| {
            if client.waiting || client.attached {
                frame::append(&mut client.output, Kind::Exited, &exit);
            }
            (client.attached, client.waiting, client.told) = (false, false, true);
            client.send(poll, *token).is_ok() && !client.output.is_empty()
        });
    }

    /// Waits till everybody has what was sent.
    pub(super) fn finish(self) {
        for mut client in self.clients.into_values() {
            let mut send = || -> io::Result<()> {
                client.stream.set_nonblocking(false)?;
                client.stream.set_write_timeout(Some(PATIENCE))?;
                client.stream.write_all(&client.output)
            };
            // Who has gone in the meantime needs no answer.
            let _ = send();
        }
    }
}

impl Client {
    fn send(&mut self, poll: &Poll, token: u64) -> io::Result<()> {
        let before = self.output.len();
        let mut sent = 0;
        while sent < self.output.len() {
            match self.stream.write(&self.output[sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.drain(..sent);
        if before > 0 || sent > 0 {
            let interest = if self.output.is_empty() {
                ready::READ
            } else {
                ready::READ | ready::WRITE
            };
            poll.change(&self.stream, interest, token)?;
        }
        self.output.shrink_to(frame::MOST);
        Ok(())
    }

    /// False at the end of the stream.
    fn receive(&mut self, token: u64, requests: &mut Vec<Request>) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let read = match self.stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error),
        };
        self.input.extend(&buffer[..read]);
        while let Some((kind, body)) = frame::take(&mut self.input)? {
            match (kind, body.as_slice()) {
                (Kind::Input, _) => requests.push(Request::Input(body)),
                (Kind::InputEnd, _) => requests.push(Request::InputEnd),
                (Kind::Signal | Kind::Stop, &[a, b, c, d]) => {
                    requests.push(Request::Signal {
                        client: token,
                        signal: i32::from_be_bytes([a, b, c, d]),
                        stop: kind == Kind::Stop,
                    });
                }
                (Kind::Connect, place) => requests.push(Request::Connect {
                    client: token,
                    place: serde_json::from_slice(place)?,
                }),
                (Kind::Disconnect, name) => requests.push(Request::Disconnect {
                    client: token,
                    network: String::from_utf8_lossy(name).into_owned(),
                }),
                (Kind::Update, _) => requests.push(Request::Update { client: token }),
                (Kind::Freeze, &[frozen]) => requests.push(Request::Freeze {
                    client: token,
                    frozen: frozen != 0,
                }),
                (Kind::Resize, &[a, b, c, d]) => requests.push(Request::Resize {
                    rows: u16::from_be_bytes([a, b]),
                    columns: u16::from_be_bytes([c, d]),
                }),
                (Kind::Wait, _) => self.waiting = true,
                (Kind::Attach, _) => (self.attached, self.waiting) = (true, true),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(true)
    }
}
