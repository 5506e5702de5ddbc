//! A small init as process 1 of a container: the program is its child, signals are passed on to it, and what is nobody's
//! child is reaped.

use crate::failure::{Failure, Stage};
use coil_sys::event::{self, Poll, Signals, ready};
use coil_sys::process::{self, Cloned, Ended};
use coil_sys::{file, terminal};
use std::os::fd::{AsFd, AsRawFd};

/// Clones this process: the child comes back to become the program, this one stays as init and never does.
pub(crate) fn stay() -> Result<(), Failure> {
    const STAGE: &str = "init";
    let input_is_terminal = file::standard(0).is_some_and(terminal::is_terminal);
    // From before the clone, so that no signal is missed.
    let signals =
        Signals::new(&(1..=64).filter(|s| passes(*s)).collect::<Vec<_>>()).stage(STAGE, "signals")?;
    match process::clone(0).stage(STAGE, "cannot fork")? {
        Cloned::Child => {
            process::set_parent_death_signal(libc::SIGKILL).stage(STAGE, "death signal")?;
            if input_is_terminal {
                // A group of its own in front of the terminal: keys reach the program once, not through init again.
                terminal::take_foreground().stage(STAGE, "terminal")?;
            }
            event::reset_signals().stage(STAGE, "signals")
        }
        Cloned::Parent { pid, .. } => {
            let _ = process::set_name("docker-init");
            // The pipe ends when the program runs: who starts us waits for that.
            let _ = file::close_others(&[0, 1, 2, signals.as_fd().as_raw_fd()]);
            process::exit_now(serve(pid, &signals))
        }
    }
}

/// Signals that can be held back and passed on.
fn passes(signal: i32) -> bool {
    ![
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGABRT,
        libc::SIGTRAP,
        libc::SIGSYS,
        libc::SIGTTIN,
        libc::SIGTTOU,
        // The C library's own.
        32,
        33,
    ]
    .contains(&signal)
}

fn serve(child: i32, signals: &Signals) -> i32 {
    let Ok(poll) = Poll::new() else { return 125 };
    if poll.add(signals, ready::READ, 0).is_err() {
        return 125;
    }
    loop {
        while let Ok(Some((pid, ended))) = process::reap_any() {
            if pid == child {
                return match ended {
                    Ended::Exited(code) => code,
                    Ended::Signaled(signal) => 128 + signal,
                };
            }
        }
        let _ = poll.wait(-1);
        while let Ok(Some(signal)) = signals.next() {
            if signal != libc::SIGCHLD {
                let _ = process::kill(child, signal);
            }
        }
    }
}
