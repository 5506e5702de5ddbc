//! Edge-triggered readiness (epoll) with one timer, and splicing between sockets through pipes.
#![expect(unsafe_code, reason = "epoll, timerfd and splice calls of libc")]

use crate::socket::{check, check_size, own};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// What a registered descriptor is watched for, and what it has become ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Data, a connection or an end of file can be read.
    pub readable: bool,
    /// Data can be written.
    pub writable: bool,
    /// The descriptor failed or both directions are shut (always watched).
    pub closed: bool,
}

/// How a descriptor is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Reported while data can be read.
    Readable,
    /// Both directions, reported once at each change; [`Poll::rearm`] reports again what is ready.
    Edges,
    /// Kept, but not reported.
    Paused,
}

impl Watch {
    fn bits(self) -> u32 {
        let bits = match self {
            Watch::Readable => libc::EPOLLIN,
            Watch::Edges => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET,
            Watch::Paused => 0,
        };
        bits as u32
    }
}

/// A set of watched descriptors, itself readable when one of them is ready.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
}

impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Poll {
    /// Makes an empty set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        Ok(Self {
            epoll: own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?,
        })
    }

    fn control(&self, operation: i32, fd: RawFd, bits: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: bits,
            u64: token,
        };
        // SAFETY: the pointer is to a local struct.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &raw mut event) })?;
        Ok(())
    }

    /// Watches a descriptor until it is closed; events carry the token.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, watch: Watch) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), watch.bits(), token)
    }

    /// Changes the watch, or makes the present readiness be reported again.
    pub fn rearm(&self, fd: BorrowedFd<'_>, token: u64, watch: Watch) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_raw_fd(), watch.bits(), token)
    }

    /// Stops watching a descriptor that stays open.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd.as_raw_fd(), 0, 0)
    }

    /// Fills `out` with what is ready; waits at most `timeout` (none: for ever), zero means not at all.
    pub fn wait(&self, out: &mut Vec<(u64, Readiness)>, timeout: Option<Duration>) -> io::Result<()> {
        out.clear();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        let milliseconds = timeout.map_or(-1, |t| i32::try_from(t.as_millis()).unwrap_or(i32::MAX));
        // SAFETY: pointer and length describe the local array.
        let count = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as i32,
                milliseconds,
            )
        };
        let count = match check(count) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        for event in events.iter().take(count as usize) {
            let bits = event.events as i32;
            out.push((
                event.u64,
                Readiness {
                    readable: bits & (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR)
                        != 0,
                    writable: bits & (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) != 0,
                    closed: bits & (libc::EPOLLHUP | libc::EPOLLERR) != 0,
                },
            ));
        }
        Ok(())
    }
}

/// A timer that a [`Poll`] can watch.
#[derive(Debug)]
pub struct Timer {
    timer: OwnedFd,
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl Timer {
    /// Makes a timer that isn't running.
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: no pointers are passed.
        Ok(Self {
            timer: own(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?,
        })
    }

    /// Runs it once after `delay`; none stops it.
    pub fn set(&self, delay: Option<Duration>) -> io::Result<()> {
        let delay = delay.map_or(Duration::ZERO, |d| d.max(Duration::from_nanos(1)));
        let zero = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = libc::timespec {
            tv_sec: delay.as_secs() as libc::time_t,
            tv_nsec: delay.subsec_nanos() as libc::c_long,
        };
        let setting = libc::itimerspec {
            it_interval: zero,
            it_value: value,
        };
        // SAFETY: the pointer is to a local struct; the old value isn't asked for.
        check(unsafe {
            libc::timerfd_settime(
                self.timer.as_raw_fd(),
                0,
                &raw const setting,
                std::ptr::null_mut(),
            )
        })?;
        Ok(())
    }

    /// Takes note of an expiry, so that the timer is no longer readable.
    pub fn acknowledge(&self) {
        let mut count = 0u64;
        // SAFETY: the pointer is to a local of the eight bytes that are asked for. A failure means no expiry: fine.
        unsafe { libc::read(self.timer.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

/// A pipe with the count of the bytes in it, for [`Pipe::fill`] and [`Pipe::drain`].
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

/// The most bytes that one splice moves: a pipe's usual size.
const PIPE_SIZE: usize = 65536;

impl Pipe {
    /// Makes an empty pipe.
    pub fn new() -> io::Result<Self> {
        let mut pair: [RawFd; 2] = [-1; 2];
        // SAFETY: the pointer is to two integers.
        check(unsafe { libc::pipe2(pair.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
        Ok(Self {
            read: own(pair[0])?,
            write: own(pair[1])?,
            held: 0,
        })
    }

    /// The bytes that were filled in and not drained yet.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves bytes from a socket into the pipe without copying; 0 is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when the socket has nothing or the pipe is full.
    pub fn fill(&mut self, source: BorrowedFd<'_>) -> io::Result<usize> {
        let count = splice(source.as_raw_fd(), self.write.as_raw_fd(), PIPE_SIZE)?;
        self.held += count;
        Ok(count)
    }

    /// Moves the held bytes on to a socket.
    ///
    /// # Errors
    /// `WouldBlock` when the socket's buffer is full.
    pub fn drain(&mut self, sink: BorrowedFd<'_>) -> io::Result<usize> {
        let count = splice(self.read.as_raw_fd(), sink.as_raw_fd(), self.held)?;
        self.held -= count;
        Ok(count)
    }
}

fn splice(from: RawFd, to: RawFd, length: usize) -> io::Result<usize> {
    loop {
        // SAFETY: null offsets are what sockets and pipes ask for.
        let moved = unsafe {
            libc::splice(
                from,
                std::ptr::null_mut(),
                to,
                std::ptr::null_mut(),
                length,
                libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK,
            )
        };
        match check_size(moved) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_pipe_carries_bytes_between_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let sink = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut end, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        let poll = Poll::new().unwrap();
        poll.add(server.as_fd(), 7, Watch::Edges).unwrap();
        let mut events = Vec::new();
        poll.wait(&mut events, None).unwrap();
        assert_eq!(events[0].0, 7);
        let mut pipe = Pipe::new().unwrap();
        assert_eq!(pipe.fill(server.as_fd()).unwrap(), 5);
        assert_eq!(pipe.drain(sink.as_fd()).unwrap(), 5);
        let mut got = [0; 5];
        end.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
    }

    #[test]
    fn a_timer_wakes_the_poll() {
        let poll = Poll::new().unwrap();
        let timer = Timer::new().unwrap();
        poll.add(timer.as_fd(), 1, Watch::Readable).unwrap();
        timer.set(Some(Duration::from_millis(1))).unwrap();
        let mut events = Vec::new();
        poll.wait(&mut events, None).unwrap();
        assert_eq!(events.len(), 1);
        timer.acknowledge();
        poll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }
}
