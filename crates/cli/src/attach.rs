//! A container in the foreground: its output, its input, its terminal and its end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coil_engine::detach_keys::Watch;
use coil_engine::{Client, Engine, Message};
use coil_sys::{file, terminal};

use crate::output;
use crate::report::Failure;

/// What of the user's side is connected.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Whether input is passed on.
    pub interactive: bool,
    /// Whether the container has a terminal.
    pub terminal: bool,
    /// Whether its output is shown.
    pub output: bool,
    /// Whether its errors are shown.
    pub errors: bool,
    /// The keys that let go of it.
    pub keys: Vec<u8>,
    /// Whether it is told, and no success, that they were typed.
    pub letting_go_fails: bool,
    /// Whether the end of what is passed on leaves the container's input open, for who comes later.
    pub keeps_input_open: bool,
}

impl Default for Attachment {
    fn default() -> Self {
        Self {
            interactive: false,
            terminal: false,
            output: true,
            errors: true,
            keys: Vec::new(),
            letting_go_fails: false,
            keeps_input_open: false,
        }
    }
}

/// Which of input, output and errors `-a` means; none where it isn't given.
///
/// # Errors
/// When one is no stream: 125.
pub fn streams(words: &[String]) -> Result<Option<[bool; 3]>, Failure> {
    let mut wanted = [false; 3];
    for word in words {
        let at = ["stdin", "stdout", "stderr"]
            .iter()
            .position(|name| word.eq_ignore_ascii_case(name));
        let Some(at) = at else {
            return Err(Failure::new(format!(
                "invalid argument \"{word}\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR"
            ))
            .help("give -a stdout, for example")
            .code(125));
        };
        wanted[at] = true;
    }
    Ok((!words.is_empty()).then_some(wanted))
}

/// How it ended, as far as this side saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ending {
    /// With the container's exit code.
    Exited(i32),
    /// The keys were typed; it goes on.
    Detached,
    /// Nobody reads the output any more.
    NobodyReads,
    /// The monitor is gone.
    Lost,
}

/// Fails as Docker does when a terminal is asked for and input is none.
///
/// # Errors
/// With exit code 1.
pub fn check_terminal(attachment: &Attachment) -> Result<(), Failure> {
    let is_terminal = file::standard(0).is_some_and(terminal::is_terminal);
    if attachment.interactive && attachment.terminal && !is_terminal {
        return Err(
            Failure::new("the input device is not a TTY").help("leave out -t where input is no terminal")
        );
    }
    Ok(())
}

/// A terminal in raw mode; it gets its settings back whatever happens.
struct RawTerminal {
    input: BorrowedFd<'static>,
    before: terminal::Settings,
}

impl RawTerminal {
    fn new() -> Option<Self> {
        let input = file::standard(0).filter(|input| terminal::is_terminal(input))?;
        let before = terminal::make_raw(input).ok()?;
        Some(Self { input, before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = terminal::restore(self.input, &self.before);
    }
}

/// Stays with a container until it ends; gives the exit code.
///
/// # Errors
/// When its monitor is gone, or can't be talked to.
pub fn stay(
    engine: &Engine,
    id: &str,
    client: &Client,
    attachment: &Attachment,
    remove: bool,
) -> Result<i32, Failure> {
    match follow(client, attachment).map_err(unreachable_monitor)? {
        Ending::Exited(code) => Ok(code),
        // As Docker has it, for who came later.
        Ending::Detached if attachment.letting_go_fails => Err(Failure::new("read escape sequence")
            .help("the container goes on; `coil attach` comes back to it")
            .code(1)),
        Ending::Detached => Ok(0),
        Ending::NobodyReads => {
            // Nobody would ever end or see it again. Its monitor waits for a reader, so what comes is read.
            if remove {
                if let Ok(rest) = client.try_clone() {
                    std::thread::spawn(move || while let Ok(Some(_)) = rest.next() {});
                }
                let _ = engine.remove(id, true);
            }
            Ok(output::NOBODY_READS)
        }
        Ending::Lost => Err(
            Failure::new("the container's monitor was killed, and the container with it")
                .help("`coil ps -a` shows what is left of it")
                .code(137),
        ),
    }
}

/// What is told when a container's monitor doesn't answer.
pub fn unreachable_monitor(error: io::Error) -> Failure {
    Failure::new(format!(
        "the container's monitor cannot be reached\n  caused by: {error}"
    ))
    .code(125)
}

/// Copies output and input until the container ends.
///
/// # Errors
/// When the connection to the monitor cannot be used.
fn follow(client: &Client, attachment: &Attachment) -> io::Result<Ending> {
    let detached = Arc::new(AtomicBool::new(false));
    let _raw = if attachment.interactive && attachment.terminal {
        RawTerminal::new()
    } else {
        None
    };
    if attachment.interactive {
        let input = client.try_clone()?;
        let keys = if attachment.terminal {
            attachment.keys.clone()
        } else {
            Vec::new()
        };
        let detached = Arc::clone(&detached);
        let keeps_open = attachment.keeps_input_open;
        // It waits in a read when the container ends; the end of the process ends it.
        std::thread::Builder::new().spawn(move || {
            if matches!(feed(&input, Watch::new(keys), keeps_open), Ok(true)) {
                detached.store(true, Ordering::Release);
                let _ = input.close();
            }
        })?;
    }
    let mut out = unbuffered(io::stdout().as_fd())?;
    let mut errors = unbuffered(io::stderr().as_fd())?;
    loop {
        let written = match client.next() {
            Ok(Some(Message::Output(_))) if !attachment.output => Ok(()),
            Ok(Some(Message::Errors(_))) if !attachment.errors => Ok(()),
            Ok(Some(Message::Output(bytes))) => out.write_all(&bytes),
            Ok(Some(Message::Errors(bytes))) => {
                // Without a place for errors the output still counts.
                let _ = errors.write_all(&bytes);
                Ok(())
            }
            Ok(Some(Message::Notice(text))) => {
                output::error_line(&format!("note: {text}"));
                Ok(())
            }
            Ok(Some(Message::Exited(exit))) => return Ok(Ending::Exited(exit.code)),
            _ if detached.load(Ordering::Acquire) => return Ok(Ending::Detached),
            Ok(None) => return Ok(Ending::Lost),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error)
                if [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset].contains(&error.kind()) =>
            {
                return Ok(Ending::Lost);
            }
            Err(error) => return Err(error),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Ending::NobodyReads),
            other => other?,
        }
    }
}

/// Passes input on to its end; true when the keys that let go were typed.
fn feed(client: &Client, mut watch: Watch, keeps_open: bool) -> io::Result<bool> {
    let mut input = io::stdin().lock();
    let mut buffer = [0; 16 << 10];
    loop {
        match input.read(&mut buffer) {
            Ok(0) if keeps_open => return Ok(false),
            Ok(0) => return client.end_input().map(|()| false),
            Ok(read) => {
                let (passed, found) = watch.pass(&buffer[..read]);
                if !passed.is_empty() {
                    client.input(&passed)?;
                }
                if found {
                    return Ok(true);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn unbuffered(fd: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(fd.try_clone_to_owned()?))
}
