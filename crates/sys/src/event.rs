//! Waiting: epoll, signals as a descriptor, timers as a descriptor.

use crate::call::{check, done, owned};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Readiness bits.
pub mod ready {
    /// There is something to read, or the end.
    pub const READ: u32 = libc::EPOLLIN as u32;
    /// There is room to write.
    pub const WRITE: u32 = libc::EPOLLOUT as u32;
    /// The other end is gone.
    pub const HANG_UP: u32 = libc::EPOLLHUP as u32;
    /// An error waits.
    pub const ERROR: u32 = libc::EPOLLERR as u32;
    /// Both directions, each change told once; a change of interest tells again what is ready.
    pub const EDGES: u32 = READ | WRITE | (libc::EPOLLRDHUP | libc::EPOLLET) as u32;
}

/// A set of descriptors to wait for.
#[derive(Debug)]
pub struct Poll {
    fd: OwnedFd,
}

/// One descriptor that became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The token that it was added with.
    pub token: u64,
    /// Readiness bits.
    pub ready: u32,
}

impl Poll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: plain integers.
        let fd = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC).into() })?;
        Ok(Self { fd })
    }

    /// Adds a descriptor.
    pub fn add(&self, fd: impl AsFd, interest: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest, token)
    }

    /// Changes what is waited for.
    pub fn change(&self, fd: impl AsFd, interest: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest, token)
    }

    /// Removes a descriptor.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, operation: i32, fd: impl AsFd, interest: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest,
            u64: token,
        };
        // SAFETY: `event` is valid for the call.
        done(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd.as_fd().as_raw_fd(), &mut event) })
    }

    /// Waits until something is ready, or for `timeout` milliseconds (-1: for ever). An interruption is an empty list.
    pub fn wait(&self, timeout: i32) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        self.wait_into(&mut events, timeout)?;
        Ok(events)
    }

    /// The same into a list that is used again; what was in it goes.
    pub fn wait_into(&self, out: &mut Vec<Event>, timeout: i32) -> io::Result<()> {
        const MOST: usize = 64;
        out.clear();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        // SAFETY: room for MOST events.
        let found = check(unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), MOST as i32, timeout)
        });
        match found {
            Ok(count) => out.extend(events[..count as usize].iter().map(|e| Event {
                token: e.u64,
                ready: e.events,
            })),
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: an all-zero set is made empty before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        set
    }
}

/// Blocks these signals and hands them out through a descriptor.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks the signals in this thread and opens the descriptor (non-blocking, close-on-exec).
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        let set = signal_set(signals);
        // SAFETY: `set` is valid for the calls.
        let fd = unsafe {
            done(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()))?;
            owned(libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC).into())?
        };
        Ok(Self { fd })
    }

    /// The next signal that came, if any.
    pub fn next(&self) -> io::Result<Option<i32>> {
        // SAFETY: all-zero is a valid signalfd_siginfo.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the pointer and the size belong together.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), size) };
        match check(read) {
            Ok(_) => Ok(Some(info.ssi_signo as i32)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Gives a program that is about to be run the signals of a fresh process: none blocked, none ignored.
pub fn reset_signals() -> io::Result<()> {
    for signal in 1..=64 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // By the kernel's own call: the C library refuses 32 and 33, which it uses itself and which may come
            // to us ignored.
            let default = [0u64; 4];
            // SAFETY: all-zero is the kernel's sigaction for the default action, smaller than this on every machine.
            unsafe {
                libc::syscall(
                    libc::SYS_rt_sigaction,
                    signal,
                    &default,
                    std::ptr::null::<u8>(),
                    8,
                )
            };
        }
    }
    let none = signal_set(&[]);
    // SAFETY: `none` is valid for the call.
    done(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) })
}

/// A timer that becomes readable.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
}

impl Timer {
    /// A timer that is not running.
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: plain integers.
        let fd = owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags).into() })?;
        Ok(Self { fd })
    }

    /// Fires once after a time; none stops it.
    pub fn set(&self, delay: Option<Duration>) -> io::Result<()> {
        let delay = delay.map_or(Duration::ZERO, |d| d.max(Duration::from_nanos(1)));
        // SAFETY: all-zero is a valid itimerspec.
        let mut value: libc::itimerspec = unsafe { std::mem::zeroed() };
        value.it_value.tv_sec = delay.as_secs() as libc::time_t;
        value.it_value.tv_nsec = delay.subsec_nanos() as libc::c_long;
        // SAFETY: `value` is valid for the call.
        done(unsafe { libc::timerfd_settime(self.fd.as_raw_fd(), 0, &value, std::ptr::null_mut()) })
    }

    /// Takes note that it fired, if it has.
    pub fn acknowledge(&self) {
        // A failure means that it hasn't.
        let _ = crate::file::read(&self.fd, &mut [0; 8]);
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_wakes_the_poll() {
        let poll = Poll::new().expect("poll");
        let timer = Timer::new().expect("timer");
        poll.add(&timer, ready::READ, 1).expect("add");
        timer.set(Some(Duration::from_millis(1))).expect("set");
        assert_eq!(poll.wait(-1).expect("wait").len(), 1);
        timer.acknowledge();
        assert!(poll.wait(0).expect("wait").is_empty());
    }
}
