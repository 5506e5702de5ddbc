//! One forwarded TCP connection: two sockets, and pipes only while bytes wait in them.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;

use coil_sys::socket;

use super::pipes::{HeldPipe, PipePool};

/// What one direction may move before others get their turn, in bytes.
const TURN: usize = 4 << 20;

/// What a direction has carried, in bytes, when it gets a wide pipe.
const MANY: usize = 1 << 20;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The socket to the container is being made elsewhere.
    Waiting,
    /// The connect is under way.
    Connecting,
    /// Bytes flow.
    Open,
}

/// What is left to do after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing until the sockets change.
    Idle,
    /// The turn's share was used up; there may be more.
    More,
    /// Both directions have ended.
    Over,
    /// A side broke: the other is to be reset.
    Broken,
}

#[derive(Debug, Default)]
struct Direction {
    pipe: Option<HeldPipe>,
    ended: bool,
    done: bool,
    /// Bytes so far.
    carried: usize,
}

/// A client, the container's side, and the state of both directions.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u64,
    pub(super) client: TcpStream,
    pub(super) server: Option<TcpStream>,
    pub(super) stage: Stage,
    pub(super) port: u16,
    /// Which of the dialer's addresses is being tried.
    pub(super) attempt: usize,
    up: Direction,
    down: Direction,
}

impl Stream {
    pub(super) fn new(id: u64, client: TcpStream, port: u16) -> Self {
        Self {
            id,
            client,
            server: None,
            stage: Stage::Waiting,
            port,
            attempt: 0,
            up: Direction::default(),
            down: Direction::default(),
        }
    }

    /// Moves what can be moved, both ways.
    pub(super) fn pump(&mut self, pool: &mut PipePool) -> Turn {
        let Some(server) = &self.server else {
            return Turn::Idle;
        };
        let up = pump_direction(&self.client, server, &mut self.up, pool);
        let down = pump_direction(server, &self.client, &mut self.down, pool);
        match (up, down) {
            (Err(_), _) | (_, Err(_)) => Turn::Broken,
            _ if self.up.done && self.down.done => Turn::Over,
            (Ok(true), _) | (_, Ok(true)) => Turn::More,
            _ => Turn::Idle,
        }
    }

    /// The bytes that it has carried, both ways.
    pub(super) fn carried(&self) -> usize {
        self.up.carried + self.down.carried
    }

    /// Makes the close visible as a reset to both peers.
    pub(super) fn reset(&self) {
        // A socket that is gone already needs no reset.
        let _ = socket::reset_on_close(&self.client);
        if let Some(server) = &self.server {
            let _ = socket::reset_on_close(server);
        }
    }
}

/// The open connections, by slot.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Vec<Option<Stream>>,
    free: Vec<usize>,
    /// Slots that events of the present round may still speak of.
    closed: Vec<usize>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len() - self.closed.len()
    }

    pub(super) fn get(&self, slot: usize) -> Option<&Stream> {
        self.slots.get(slot).and_then(Option::as_ref)
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Stream> {
        self.slots.get_mut(slot).and_then(Option::as_mut)
    }

    pub(super) fn add(&mut self, stream: Stream) -> usize {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(stream);
                slot
            }
            None => {
                self.slots.push(Some(stream));
                self.slots.len() - 1
            }
        }
    }

    pub(super) fn remove(&mut self, slot: usize) -> Option<Stream> {
        let stream = self.slots.get_mut(slot)?.take()?;
        self.closed.push(slot);
        Some(stream)
    }

    /// The round is over: the slots of what ended may be used again.
    pub(super) fn settle(&mut self) {
        self.free.append(&mut self.closed);
    }
}

/// Pumps one direction; true when its share was used up before the bytes were.
fn pump_direction(
    source: &TcpStream,
    sink: &TcpStream,
    direction: &mut Direction,
    pool: &mut PipePool,
) -> io::Result<bool> {
    let mut moved = 0;
    while !direction.done {
        if moved >= TURN {
            return Ok(true);
        }
        let mut held = match direction.pipe.take() {
            Some(held) => held,
            None if direction.ended => {
                // The end of the stream travels on alone: the other direction stays open.
                if let Err(error) = sink.shutdown(Shutdown::Write)
                    && error.kind() != io::ErrorKind::NotConnected
                {
                    return Err(error);
                }
                direction.done = true;
                break;
            }
            None => pool.take(direction.carried >= MANY)?,
        };
        let pipe = &mut held.pipe;
        if pipe.held() == 0 {
            match pipe.fill(source.as_fd()) {
                Ok(0) => direction.ended = true,
                Ok(_) => {}
                Err(error) => {
                    pool.give(held);
                    return if error.kind() == io::ErrorKind::WouldBlock {
                        Ok(false)
                    } else {
                        Err(error)
                    };
                }
            }
        }
        while pipe.held() > 0 {
            match pipe.drain(sink.as_fd()) {
                Ok(count) => {
                    moved += count;
                    direction.carried += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    direction.pipe = Some(held);
                    return Ok(false);
                }
                // The sink takes no more, though it may still speak: only this direction is over.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    direction.done = true;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        pool.give(held);
    }
    Ok(false)
}
