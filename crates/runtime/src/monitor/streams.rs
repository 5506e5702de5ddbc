//! The program's input and output, on their way between pipes or a terminal, the log, and who is attached.

use super::log::Stream;
use super::service::{ERRORS, INPUT, OUTPUT, Service};
use crate::frame::Kind;
use coil_sys::event::ready;
use coil_sys::file;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Above this much input that the program doesn't take, its clients have to wait.
const MOST_INPUT: usize = 128 << 10;

impl Service {
    /// The program's outputs that are open, with their tokens.
    pub(super) fn outputs(&self) -> Vec<(BorrowedFd<'_>, u64)> {
        let Some(running) = &self.running else {
            return Vec::new();
        };
        let streams = &running.streams;
        [(&streams.output, OUTPUT), (&streams.errors, ERRORS)]
            .into_iter()
            .filter_map(|(fd, token)| fd.as_ref().map(|fd| (fd.as_fd(), token)))
            .collect()
    }

    /// Gives the program as much input as it takes.
    pub(super) fn feed(&mut self) {
        let Some(running) = &mut self.running else {
            self.input.clear();
            return;
        };
        let streams = &mut running.streams;
        let target = if streams.terminal {
            &streams.output
        } else {
            &streams.input
        };
        let Some(target) = target else {
            self.input.clear();
            return;
        };
        let mut taken = 0;
        let mut broken = false;
        while taken < self.input.len() {
            match file::write(target, &self.input[taken..]) {
                Ok(written) => taken += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    broken = error.kind() != io::ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        self.input.drain(..taken);
        let waiting = !self.input.is_empty() && !broken;
        if streams.terminal {
            let interest = ready::READ | if waiting { ready::WRITE } else { 0 };
            if !self.held {
                let _ = self.poll.change(target, interest, OUTPUT);
            }
        } else if broken || self.input_ends && !waiting {
            let _ = self.poll.remove(target);
            streams.input = None;
            self.input = Vec::new();
        } else if waiting {
            if self.poll.change(target, ready::WRITE, INPUT).is_err() {
                let _ = self.poll.add(target, ready::WRITE, INPUT);
            }
        } else {
            let _ = self.poll.remove(target);
        }
        let paused = self.input.len() > MOST_INPUT;
        if paused != self.paused {
            self.paused = paused;
            self.clients.pause(&self.poll, paused);
        }
    }

    /// Copies what the program wrote to the log and to who is attached.
    pub(super) fn copy(&mut self, stream: Stream, buffer: &mut [u8]) {
        if !self.input.is_empty() && self.running.as_ref().is_some_and(|r| r.streams.terminal) {
            self.feed();
        }
        self.copy_once(stream, buffer);
        if self.clients.are_behind() && !self.held {
            self.held = true;
            for (fd, _) in self.outputs() {
                let _ = self.poll.remove(fd);
            }
        }
    }

    pub(super) fn let_output_go_on(&mut self) {
        if self.held && !self.clients.are_behind() {
            self.held = false;
            for (fd, token) in self.outputs() {
                let _ = self.poll.add(fd, ready::READ, token);
            }
        }
    }

    /// False when there is nothing more for now.
    fn copy_once(&mut self, stream: Stream, buffer: &mut [u8]) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        let streams = &mut running.streams;
        let (slot, kind) = match stream {
            Stream::Output => (&mut streams.output, Kind::Output),
            Stream::Errors => (&mut streams.errors, Kind::Errors),
        };
        let Some(fd) = slot else { return false };
        match file::read(fd.as_fd(), buffer) {
            Ok(read) if read > 0 => {
                self.log.take(stream, &buffer[..read]);
                self.clients.output(&self.poll, kind, &buffer[..read]);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            // The end of a pipe, or of a terminal that nobody has open any more (EIO).
            _ => {
                let _ = self.poll.remove(fd.as_fd());
                *slot = None;
                false
            }
        }
    }

    /// Takes what is left in the pipes once the program is gone.
    pub(super) fn drain(&mut self, buffer: &mut [u8]) {
        for stream in [Stream::Output, Stream::Errors] {
            while self.copy_once(stream, buffer) {}
        }
        self.log.finish();
    }
}
