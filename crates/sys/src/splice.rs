//! Moving bytes between sockets through a pipe, without copying them.

use crate::call::{check, done, owned};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A pipe with the count of the bytes in it, for [`Pipe::fill`] and [`Pipe::drain`].
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
    room: usize,
}

/// What a pipe takes as the kernel makes it, in bytes.
const ROOM: usize = 64 << 10;

/// What a widened one takes: the most that an ordinary user may have.
const WIDE_ROOM: usize = 1 << 20;

impl Pipe {
    /// Makes an empty pipe.
    pub fn new() -> io::Result<Self> {
        let mut pair: [RawFd; 2] = [-1; 2];
        // SAFETY: the pointer is to two integers.
        done(unsafe { libc::pipe2(pair.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
        Ok(Self {
            read: owned(pair[0].into())?,
            write: owned(pair[1].into())?,
            held: 0,
            room: ROOM,
        })
    }

    /// Gives it sixteen times the room: so many bytes are moved by one call.
    ///
    /// # Errors
    /// `EPERM` when the user has as much as users may; the pipe is then as it was.
    pub fn widen(&mut self) -> io::Result<()> {
        // SAFETY: plain integers.
        let room = done(unsafe { libc::fcntl(self.write.as_raw_fd(), libc::F_SETPIPE_SZ, WIDE_ROOM) });
        if room.is_ok() {
            self.room = WIDE_ROOM;
        }
        room
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
        let count = splice(source.as_raw_fd(), self.write.as_raw_fd(), self.room)?;
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
        match check(moved) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|moved| moved as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Poll, ready};
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn a_pipe_carries_bytes_between_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let connect = || TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let mut client = connect();
        let (server, _) = listener.accept().expect("accept");
        let sink = connect();
        let (mut end, _) = listener.accept().expect("accept");
        client.write_all(b"hello").expect("write");
        let poll = Poll::new().expect("poll");
        poll.add(&server, ready::EDGES, 7).expect("add");
        assert_eq!(poll.wait(-1).expect("wait")[0].token, 7);
        let mut pipe = Pipe::new().expect("pipe");
        assert_eq!(pipe.fill(server.as_fd()).expect("fill"), 5);
        assert_eq!(pipe.drain(sink.as_fd()).expect("drain"), 5);
        let mut got = [0; 5];
        end.read_exact(&mut got).expect("read");
        assert_eq!(&got, b"hello");
    }
}
