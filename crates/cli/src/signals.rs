//! Signals that reach coil: passed on to a container, or the reason to clean up and end.
//!
//! They are blocked in every thread and taken by one, which knows what they mean at the moment.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coil_engine::Client;
use coil_sys::event::{Poll, Signals, ready};
use coil_sys::{file, terminal};

use crate::attach::unreachable_monitor;
use crate::output;
use crate::report::Failure;
use crate::sweep::Sweep;

const HUP: i32 = 1;
const INT: i32 = 2;
const QUIT: i32 = 3;
const KILL: i32 = 9;
const TERM: i32 = 15;
const WINCH: i32 = 28;
/// HUP, INT, QUIT, USR1, USR2, ALRM, TERM, WINCH.
const TAKEN: [i32; 8] = [HUP, INT, QUIT, 10, 12, 14, TERM, WINCH];
/// Signals that ask a program to end.
const ENDING: [i32; 4] = [HUP, INT, QUIT, TERM];
/// After so many requests to end, the container is killed.
const PATIENCE: u32 = 3;

/// What a signal means now.
enum Duty {
    /// A container is being started: kept until there is one.
    Keep(Vec<i32>),
    /// Something is being made: the work ends and is cleaned up.
    Clean(Sweep),
    /// A container runs in the foreground.
    Forward {
        client: Client,
        manner: Manner,
        asked: u32,
    },
}

/// What is passed on to a container.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Whether it has a terminal, whose size follows ours.
    pub terminal: bool,
    /// Whether signals are passed on; else they end coil, and the container goes on.
    pub proxy: bool,
}

/// The thread that takes signals.
pub struct SignalThread {
    duty: Arc<Mutex<Duty>>,
}

impl SignalThread {
    /// Blocks the signals and starts the thread; to be called before any other thread is started.
    ///
    /// # Errors
    /// When the system gives no descriptor or thread.
    pub fn start() -> io::Result<Self> {
        let signals = Signals::new(&TAKEN)?;
        let poll = Poll::new()?;
        poll.add(&signals, ready::READ, 0)?;
        let duty = Arc::new(Mutex::new(Duty::Keep(Vec::new())));
        let shared = Arc::clone(&duty);
        std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
            loop {
                if poll.wait(-1).is_err() {
                    return;
                }
                while let Ok(Some(signal)) = signals.next() {
                    take(&mut shared.lock().unwrap_or_else(PoisonError::into_inner), signal);
                }
            }
        })?;
        Ok(Self { duty })
    }

    fn duty(&self) -> MutexGuard<'_, Duty> {
        self.duty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a signal ends the work and removes what was half made.
    pub fn clean_up(&self, sweep: Sweep) {
        let mut duty = self.duty();
        let kept = kept(&mut duty);
        *duty = Duty::Clean(sweep);
        kept.into_iter().for_each(|signal| take(&mut duty, signal));
    }

    /// From now on signals are kept for the container that is being started.
    pub fn keep(&self) {
        *self.duty() = Duty::Keep(Vec::new());
    }

    /// From now on signals go to the container, and first those that were kept.
    ///
    /// # Errors
    /// When the connection can't be shared.
    pub fn forward(&self, client: &Client, manner: Manner) -> Result<(), Failure> {
        let client = client.try_clone().map_err(unreachable_monitor)?;
        let mut duty = self.duty();
        let kept = kept(&mut duty);
        // Its program can't have asked for signals yet, and the first process of a container is deaf until it does.
        if kept.iter().any(|signal| ENDING.contains(signal)) {
            let _ = client.forward_signal(KILL);
        }
        *duty = Duty::Forward {
            client,
            manner,
            asked: 0,
        };
        Ok(())
    }
}

/// Signals that came while there was nothing to do with them.
fn kept(duty: &mut Duty) -> Vec<i32> {
    match duty {
        Duty::Keep(kept) => std::mem::take(kept),
        _ => Vec::new(),
    }
}

fn take(duty: &mut Duty, signal: i32) {
    match duty {
        Duty::Keep(kept) => kept.push(signal),
        Duty::Clean(sweep) => {
            if ENDING.contains(&signal) {
                let error = sweep.begin(128 + signal);
                output::error_line(&format!(
                    "error: what was half made could not be removed\n  caused by: {error}"
                ));
                std::process::exit(128 + signal);
            }
        }
        Duty::Forward {
            client,
            manner: Manner { terminal: true, .. },
            ..
        } if signal == WINCH => resize(client),
        Duty::Forward { .. } if signal == WINCH => {}
        Duty::Forward {
            manner: Manner { proxy: false, .. },
            ..
        } => {
            if ENDING.contains(&signal) {
                std::process::exit(128 + signal);
            }
        }
        Duty::Forward { client, asked, .. } => {
            *asked += u32::from(signal == INT || signal == TERM);
            if *asked >= PATIENCE {
                output::error_line("got 3 SIGTERM/SIGINTs, forcefully exiting");
                let _ = client.forward_signal(KILL);
            } else {
                // A container that has just ended hears nothing any more.
                let _ = client.forward_signal(signal);
            }
        }
    }
}

fn resize(client: &Client) {
    if let Some((rows, columns)) = terminal_size() {
        let _ = client.resize(columns, rows);
    }
}

/// Rows and columns of the terminal that coil prints to, or reads from.
pub fn terminal_size() -> Option<(u16, u16)> {
    [1, 0]
        .iter()
        .filter_map(|number| file::standard(*number))
        .find_map(|fd| terminal::size(fd).ok())
}
