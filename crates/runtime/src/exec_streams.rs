//! Input and output of a command that has no terminal: what a command in a container gets of the host is a pipe, never more.
//!
//! A descriptor of the host's terminal would let it read what the user types later, or put words into the user's mouth
//! (TIOCSTI); one of a file would let it change the file's owner and mode; even the host's `/dev/null` is a node whose mode
//! can be changed. What is no pipe already is therefore copied by the helper.

use crate::failure::{Failure, Stage};
use crate::program::Standard;
use coil_sys::event::{Poll, Signals, ready};
use coil_sys::file;
use coil_sys::process::{self, Ended};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const SIGNALS: u64 = 0;
const INPUT: u64 = 1;
const TAKER: u64 = 2;
const OUTPUT: u64 = 3;
const ERRORS: u64 = 4;

/// Signals that are passed on to the command: it has a session of its own, so a terminal's keys reach the helper alone.
const PASSED: [i32; 6] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// The helper's ends of what it copies.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    errors: Option<OwnedFd>,
}

/// The command's descriptors, and the helper's ends.
pub(crate) fn split() -> Result<(Standard, Copied), Failure> {
    let (name, what) = ("exec", "standard input and output");
    let mut copied = Copied::default();
    let input = match file::standard(0) {
        Some(fd) if is_pipe(fd) => Some(fd.try_clone_to_owned().stage(name, what)?),
        // The container has an empty device of its own.
        Some(fd) if !is_null(fd) => {
            let (from, to) = file::pipe(0).stage(name, what)?;
            file::set_nonblocking(&to, true).stage(name, what)?;
            copied.input = Some(to);
            Some(from)
        }
        _ => None,
    };
    let side = |number, kept: &mut Option<OwnedFd>| -> Result<OwnedFd, Failure> {
        match file::standard(number) {
            Some(fd) if is_pipe(fd) => fd.try_clone_to_owned().stage(name, what),
            _ => {
                let (from, to) = file::pipe(0).stage(name, what)?;
                file::set_nonblocking(&from, true).stage(name, what)?;
                *kept = Some(from);
                Ok(to)
            }
        }
    };
    let output = side(1, &mut copied.output)?;
    let errors = side(2, &mut copied.errors)?;
    let standard = Standard::Pipes {
        input,
        output,
        errors,
    };
    Ok((standard, copied))
}

fn is_pipe(fd: BorrowedFd<'_>) -> bool {
    file::status(fd).is_ok_and(|status| status.kind() == libc::S_IFIFO)
}

fn is_null(fd: BorrowedFd<'_>) -> bool {
    file::status(fd).is_ok_and(|status| status.kind() == libc::S_IFCHR && status.device == (1, 3))
}

impl Copied {
    /// Copies until the command ends, and passes signals on to it.
    pub(crate) fn serve(mut self, pid: i32) -> io::Result<Ended> {
        let mut wanted = vec![libc::SIGCHLD];
        wanted.extend(PASSED);
        let signals = Signals::new(&wanted)?;
        let poll = Poll::new()?;
        poll.add(&signals, ready::READ, SIGNALS)?;
        for (fd, token) in [(&self.output, OUTPUT), (&self.errors, ERRORS)] {
            if let Some(fd) = fd {
                poll.add(fd, ready::READ, token)?;
            }
        }
        let source = file::standard(0).filter(|_| self.input.is_some());
        // A plain file can't be waited for: it is always ready.
        let mut plain = source.is_some_and(|source| poll.add(source, ready::READ, INPUT).is_err());
        let mut pending: Vec<u8> = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            // It may have ended before its signal was asked for.
            while let Ok(Some((ended_pid, ended))) = process::reap_any() {
                if ended_pid == pid {
                    while copy(&mut self.output, 1, &mut buffer) {}
                    while copy(&mut self.errors, 2, &mut buffer) {}
                    return Ok(ended);
                }
            }
            if plain && pending.is_empty() {
                plain = self.take_input(source, &mut pending, &mut buffer);
            }
            self.give_input(&poll, source.filter(|_| !plain), &mut pending);
            for event in poll.wait(if plain && pending.is_empty() { 0 } else { -1 })? {
                match event.token {
                    SIGNALS => {
                        while let Some(signal) = signals.next()? {
                            if signal != libc::SIGCHLD {
                                // It may be gone by now.
                                let _ = process::kill(pid, signal);
                            }
                        }
                    }
                    INPUT if pending.is_empty() => {
                        if !self.take_input(source, &mut pending, &mut buffer)
                            && let Some(source) = source
                        {
                            poll.remove(source)?;
                        }
                    }
                    OUTPUT => {
                        copy(&mut self.output, 1, &mut buffer);
                    }
                    ERRORS => {
                        copy(&mut self.errors, 2, &mut buffer);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Reads input; false at its end, which the command is told.
    fn take_input(
        &mut self,
        source: Option<BorrowedFd<'_>>,
        pending: &mut Vec<u8>,
        buffer: &mut [u8],
    ) -> bool {
        let Some(source) = source.filter(|_| self.input.is_some()) else {
            return false;
        };
        match file::read(source, buffer) {
            Ok(read @ 1..) => {
                pending.extend(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            _ => {
                self.input = None;
                false
            }
        }
    }

    /// Gives the command as much input as it takes; while it takes none, no more is read.
    fn give_input(&mut self, poll: &Poll, source: Option<BorrowedFd<'_>>, pending: &mut Vec<u8>) {
        if pending.is_empty() {
            return;
        }
        let Some(to) = &self.input else {
            pending.clear();
            return;
        };
        let was_waiting = pending.len();
        while !pending.is_empty() {
            match file::write(to, pending) {
                Ok(written) => {
                    pending.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    // It reads no more.
                    self.input = None;
                    pending.clear();
                    if let Some(source) = source {
                        let _ = poll.remove(source);
                    }
                    return;
                }
            }
        }
        let waits = !pending.is_empty();
        if waits && poll.change(to, ready::WRITE, TAKER).is_err() {
            let _ = poll.add(to, ready::WRITE, TAKER);
        } else if !waits && was_waiting > 0 {
            let _ = poll.remove(to);
        }
        if let Some(source) = source {
            let interest = if waits { 0 } else { ready::READ };
            let _ = poll.change(source, interest, INPUT);
        }
    }
}

/// Copies what there is; false when there is nothing more for now. Who doesn't listen any more is told by a closed pipe.
fn copy(from: &mut Option<OwnedFd>, to: i32, buffer: &mut [u8]) -> bool {
    let Some(fd) = from else { return false };
    match file::read(fd.as_fd(), buffer) {
        Ok(read @ 1..) => {
            let written = file::standard(to).is_some_and(|to| write_all(to, &buffer[..read]).is_ok());
            if !written {
                *from = None;
            }
            written
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        _ => {
            *from = None;
            false
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Somebody made our output one that doesn't wait.
                let poll = Poll::new()?;
                poll.add(to, ready::WRITE, 0)?;
                poll.wait(-1)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
