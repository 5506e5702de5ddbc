//! Pseudo-terminals: a pair from one devpts, size, raw mode, the controlling terminal.

use crate::call::{check, done, owned};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Opens a pair from a devpts mount (`O_PATH` or directory descriptor): master first.
///
/// The slave is opened from the master (`TIOCGPTPEER`), never by a path that another could replace.
pub fn open_pair(devpts: impl AsFd) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let master = crate::file::open_at(devpts, Path::new("ptmx"), flags, 0)?;
    let unlock: libc::c_int = 0;
    // SAFETY: a pointer to an int, as the request wants.
    done(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &unlock) })?;
    // SAFETY: the request takes open flags as an integer.
    let slave =
        owned(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags | libc::O_CLOEXEC).into() })?;
    Ok((master, slave))
}

/// Sets the size in rows and columns; the foreground job gets SIGWINCH.
pub fn set_size(terminal: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: `size` is valid for the call.
    done(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &size) })
}

/// Rows and columns of a terminal.
pub fn size(terminal: impl AsFd) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: `size` is a valid place for the result.
    done(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &mut size) })?;
    Ok((size.ws_row, size.ws_col))
}

/// Makes a terminal the controlling one of this session, which has none.
pub fn make_controlling(terminal: impl AsFd) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) })
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    // SAFETY: plain integers.
    unsafe { libc::isatty(fd.as_fd().as_raw_fd()) == 1 }
}

/// How a terminal was set before it was made raw.
#[derive(Clone)]
pub struct Settings(libc::termios);

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}

/// Makes a terminal raw; returns how it was set.
pub fn make_raw(terminal: impl AsFd) -> io::Result<Settings> {
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: all-zero is a valid termios.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: `settings` is a valid place for the result.
    check(unsafe { libc::tcgetattr(fd, &mut settings) })?;
    let before = Settings(settings);
    // SAFETY: `settings` is a valid termios.
    unsafe { libc::cfmakeraw(&mut settings) };
    // SAFETY: `settings` is valid for the call.
    done(unsafe { libc::tcsetattr(fd, libc::TCSANOW, &settings) })?;
    Ok(before)
}

/// Gives a terminal its settings back.
pub fn restore(terminal: impl AsFd, settings: &Settings) -> io::Result<()> {
    // SAFETY: the settings came from `tcgetattr`.
    done(unsafe { libc::tcsetattr(terminal.as_fd().as_raw_fd(), libc::TCSANOW, &settings.0) })
}

/// Makes this process a group of its own in front of its terminal, which is its standard input.
pub fn take_foreground() -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::setpgid(0, 0) })?;
    // Who is not in front is stopped for asking, unless it ignores the signal.
    // SAFETY: SIG_IGN is a valid disposition; the old one is put back.
    unsafe {
        let before = libc::signal(libc::SIGTTOU, libc::SIG_IGN);
        let result = done(libc::tcsetpgrp(0, libc::getpgrp()));
        libc::signal(libc::SIGTTOU, before);
        result
    }
}
