//! Standing between our own standard descriptors and a terminal in a container.

use crate::detach_keys::Watch;
use coil_sys::event::{Poll, Signals, ready};
use coil_sys::process::{self, Cloned, Ended};
use coil_sys::{file, terminal};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const SIGNALS: u64 = 1;
const INPUT: u64 = 2;
const MASTER: u64 = 3;

/// Copies between standard input and output and a terminal's master until a process ends, or the keys that let go of it
/// are typed: none then.
pub(crate) fn terminal(master: &OwnedFd, pid: i32, keys: &[u8]) -> io::Result<Option<Ended>> {
    let standard = |number| file::standard(number).ok_or(io::Error::from(io::ErrorKind::NotFound));
    let (input, output) = (standard(0)?, standard(1)?);
    let settings = terminal::is_terminal(input)
        .then(|| terminal::make_raw(input))
        .transpose()?;
    let ended = copy(master, pid, input, output, Watch::new(keys.to_vec()));
    if let Some(settings) = &settings {
        terminal::restore(input, settings)?;
    }
    ended
}

/// Reads on from a terminal that nobody looks at any more, in a process of its own, so that the program behind it goes on.
///
/// `home` is the namespace in which that process is born: not the container's, as far as we may choose.
pub(crate) fn let_go(master: &OwnedFd, home: Option<&OwnedFd>) -> io::Result<()> {
    if let Some(home) = home {
        let _ = process::setns(home, libc::CLONE_NEWPID);
    }
    let (apart, tells) = file::pipe(0)?;
    if let Cloned::Child = process::clone(0)? {
        // When the caller's terminal goes, its session goes: told once this is no part of it.
        let _ = process::new_session();
        let _ = file::write(&tells, b"a");
        let _ = file::set_nonblocking(master, false);
        let _ = file::close_others(&[master.as_raw_fd()]);
        let mut buffer = [0; 4 << 10];
        while matches!(file::read(master, &mut buffer), Ok(1..)) {}
        process::exit_now(0);
    }
    drop(tells);
    file::read(&apart, &mut [0]).map(|_| ())
}

fn copy(
    master: &OwnedFd,
    pid: i32,
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    mut watch: Watch,
) -> io::Result<Option<Ended>> {
    let signals = Signals::new(&[libc::SIGCHLD, libc::SIGWINCH])?;
    let poll = Poll::new()?;
    poll.add(&signals, ready::READ, SIGNALS)?;
    poll.add(master, ready::READ, MASTER)?;
    // A plain file can't be waited for: it is always ready.
    let mut plain_input = poll.add(input, ready::READ, INPUT).is_err();
    let mut open = true;
    resize(master, input);
    let mut buffer = [0; 16 << 10];
    loop {
        // The process may have ended before its signal was asked for.
        while let Ok(Some((ended_pid, ended))) = process::reap_any() {
            if ended_pid == pid {
                file::set_nonblocking(master, true)?;
                while let Ok(read @ 1..) = file::read(master, &mut buffer) {
                    write_all(output, &buffer[..read])?;
                }
                return Ok(Some(ended));
            }
        }
        if plain_input {
            match file::read(input, &mut buffer) {
                Ok(read @ 1..) => {
                    let (passed, found) = watch.pass(&buffer[..read]);
                    write_all(master.as_fd(), &passed)?;
                    if found {
                        return Ok(None);
                    }
                }
                _ => plain_input = false,
            }
        }
        for event in poll.wait(if plain_input { 0 } else { -1 })? {
            match event.token {
                SIGNALS => {
                    while let Some(signal) = signals.next()? {
                        if signal == libc::SIGWINCH {
                            resize(master, input);
                        }
                    }
                }
                INPUT => match file::read(input, &mut buffer) {
                    Ok(read @ 1..) => {
                        let (passed, found) = watch.pass(&buffer[..read]);
                        write_all(master.as_fd(), &passed)?;
                        if found {
                            return Ok(None);
                        }
                    }
                    _ => poll.remove(input)?,
                },
                MASTER if open => match file::read(master, &mut buffer) {
                    Ok(read @ 1..) => write_all(output, &buffer[..read])?,
                    _ => {
                        open = false;
                        poll.remove(master)?;
                    }
                },
                _ => {}
            }
        }
    }
}

fn resize(master: &OwnedFd, input: BorrowedFd<'_>) {
    if let Ok((rows, columns)) = terminal::size(input) {
        let _ = terminal::set_size(master, rows, columns);
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
