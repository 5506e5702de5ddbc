//! From a running container to none: signals, stopping, waiting, removing.

use std::fmt;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use coil_runtime::StartError;
use coil_runtime::control::Client;
use coil_runtime::state::Hold;

use crate::Engine;
use crate::find::FindError;
use crate::record::Container;
use crate::request::{StartRequest, Started};
use crate::run_error::RunError;

/// Why an operation on a container failed.
#[derive(Debug)]
pub enum ContainerError {
    /// There is none.
    Find(FindError),
    /// It does not run.
    NotRunning {
        /// Its id.
        id: String,
        /// What was wanted: `kill`, `exec in`.
        doing: &'static str,
    },
    /// It can't be sent a signal.
    Kill {
        /// The container as it was named.
        name: String,
        /// Why.
        error: Box<ContainerError>,
    },
    /// It runs, and may not for this.
    Running(String),
    /// It is paused, and may not be for this.
    PausedStill(String),
    /// It is paused, and may not be for a start.
    Paused(String),
    /// It is paused already.
    AlreadyPaused(String),
    /// It is not paused.
    NotPaused(String),
    /// The signal is unknown.
    Signal(String),
    /// Its monitor did not answer, or its folder could not be changed.
    Io {
        /// What was being done.
        doing: String,
        /// The system's error.
        source: io::Error,
    },
}

impl ContainerError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            ContainerError::Find(error) => Some(error.help().to_owned()),
            ContainerError::Kill { error, .. } => error.help(),
            ContainerError::NotRunning { .. } => Some("`coil ps -a` shows how it ended".into()),
            ContainerError::AlreadyPaused(_) => Some("`coil unpause` lets it go on".into()),
            ContainerError::NotPaused(_) => Some("`coil ps -a` shows what it does".into()),
            ContainerError::Running(_) => Some("stop it first, or remove it with `coil rm -f`".into()),
            ContainerError::Paused(_) | ContainerError::PausedStill(_) => {
                Some("`coil unpause` lets it go on".into())
            }
            ContainerError::Signal(_) => Some("give a name such as TERM, or a number from 1 to 64".into()),
            ContainerError::Io { .. } => None,
        }
    }
}

impl fmt::Display for ContainerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContainerError::Find(error) => fmt::Display::fmt(error, f),
            ContainerError::NotRunning { id, doing } => match *doing {
                "attach to" => f.write_str("You cannot attach to a stopped container, start it first"),
                _ => write!(f, "container {id} is not running"),
            },
            ContainerError::Kill { name, error } => write!(f, "cannot kill container: {name}: {error}"),
            ContainerError::Running(name) => {
                write!(
                    f,
                    "cannot remove container \"{name}\": container is running: stop the container before \
                     removing or force remove"
                )
            }
            ContainerError::AlreadyPaused(id) => write!(f, "Container {id} is already paused"),
            ContainerError::NotPaused(id) => write!(f, "Container {id} is not paused"),
            ContainerError::PausedStill(name) => write!(
                f,
                "cannot remove container \"{name}\": container is paused and must be unpaused first"
            ),
            ContainerError::Paused(_) => f.write_str("cannot start a paused container, try unpause instead"),
            ContainerError::Signal(text) => write!(f, "invalid signal: {text}"),
            ContainerError::Io { doing, .. } => write!(f, "{doing} failed"),
        }
    }
}

impl std::error::Error for ContainerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ContainerError::Io { source, .. } => Some(source),
            ContainerError::Kill { error, .. } => error.source(),
            _ => None,
        }
    }
}

impl From<FindError> for ContainerError {
    fn from(error: FindError) -> Self {
        ContainerError::Find(error)
    }
}

/// What the user can do when a container did not start.
pub(crate) fn start_help(error: &StartError) -> Option<String> {
    let StartError::Failed(failure) = error else {
        return None;
    };
    let text = failure.to_string();
    if text.contains("exec format error") {
        return Some(
            "it may be for another processor: `coil inspect` names the image's, and `coil pack --platform` makes one for \
             this machine"
                .into(),
        );
    }
    if text.contains("non running container") {
        return Some("start that container first: `coil start` does".into());
    }
    let address = ["Address already in use", "no configured subnet contains"];
    if address.iter().any(|words| text.contains(words)) {
        return Some(
            "give a free --ip of the network's subnet, or none; `coil network inspect` shows it".into(),
        );
    }
    if text.contains("overlaps a route") || text.contains("every subnet") {
        return Some("`coil network create --subnet` makes a network with addresses that are free".into());
    }
    if text.contains("in use") || text.contains("already allocated") {
        return Some("stop what listens there, or publish another port: -p PORT:CONTAINER_PORT".into());
    }
    None
}

/// Whether the other side went away.
fn hung_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    )
}

/// Signals by name, as `kill -l` lists them for x86-64 and arm64.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of a signal: `TERM`, `SIGTERM`, `15`, `RTMIN+3`.
pub fn signal_number(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    if let Some(at) = SIGNALS.iter().position(|known| *known == name) {
        return i32::try_from(at + 1).ok();
    }
    // glibc keeps the first two real-time signals for itself.
    let real_time = |rest: &str, from: i32, sign: i32| -> Option<i32> {
        let offset = if rest.is_empty() {
            0
        } else {
            rest[1..].parse::<i32>().ok()?
        };
        let number = from + sign * offset;
        (34..=64).contains(&number).then_some(number)
    };
    match name {
        "POLL" => Some(29),
        "IOT" => Some(6),
        _ => match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => real_time(rest, 34, 1),
            (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => real_time(rest, 64, -1),
            _ => None,
        },
    }
}

/// How a container is asked to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StopRequest {
    /// Seconds until it is killed, negative for never; what the container was made with when none are given.
    pub seconds: Option<i64>,
    /// The signal that asks it; the container's own when none is given.
    pub signal: Option<i32>,
}

impl Engine {
    pub(crate) fn client(
        &self,
        container: &Container,
        doing: &'static str,
    ) -> Result<Client, ContainerError> {
        let not_running = || ContainerError::NotRunning {
            id: container.record.id.clone(),
            doing,
        };
        if !container.is_running() {
            return Err(not_running());
        }
        Client::connect(&container.run_dir).map_err(|error| match error.kind() {
            // It ended between the look and the call.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => not_running(),
            _ => ContainerError::Io {
                doing: "reaching the container's monitor".into(),
                source: error,
            },
        })
    }

    /// Whether a container still runs, is paused, or is about to run again; a quick look.
    pub fn is_live(&self, container: &Container) -> bool {
        coil_runtime::state::is_running(&container.dir, &container.run_dir)
    }

    /// Sends a signal to a container's program.
    ///
    /// # Errors
    /// When there is no such container, or it does not run.
    pub fn kill(&self, text: &str, signal: &str) -> Result<(), ContainerError> {
        let kill = || {
            let number = signal_number(signal).ok_or_else(|| ContainerError::Signal(signal.to_owned()))?;
            let container = self.container(text)?;
            self.signal(&container, number, "kill")?;
            self.event(&container.record, "kill", &[("signal", number.to_string())]);
            Ok(())
        };
        kill().map_err(|error| ContainerError::Kill {
            name: text.to_owned(),
            error: Box::new(error),
        })
    }

    fn signal(&self, container: &Container, signal: i32, doing: &'static str) -> Result<(), ContainerError> {
        let sent = self.client(container, doing)?.signal(signal);
        sent.map_err(|source| ContainerError::Io {
            doing: format!("sending signal {signal}"),
            source,
        })
    }

    /// Waits until a container has ended, for so long; gives its exit code, or none when it still runs.
    ///
    /// # Errors
    /// When its state cannot be read.
    pub fn wait(&self, container: &Container, most: Option<Duration>) -> Result<Option<i32>, ContainerError> {
        let Ok(client) = Client::connect(&container.run_dir) else {
            return Ok(Some(self.exit_code(container)));
        };
        let Some(most) = most else {
            let code = client.wait().map(|exit| exit.code);
            return Ok(Some(code.unwrap_or_else(|_| self.exit_code(container))));
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || drop(sender.send(client.wait().map(|exit| exit.code))));
        match receiver.recv_timeout(most) {
            Ok(Ok(code)) => Ok(Some(code)),
            Ok(Err(_)) => Ok(Some(self.exit_code(container))),
            Err(_) => Ok(None),
        }
    }

    fn exit_code(&self, container: &Container) -> i32 {
        self.container(&container.record.id)
            .map_or(container.state.exit_code, |now| now.state.exit_code)
    }

    /// Asks a container to stop, and kills it after the time that it is given. One that has ended is left alone.
    ///
    /// # Errors
    /// When there is no such container, or its monitor does not answer.
    pub fn stop(&self, text: &str, request: &StopRequest) -> Result<(), ContainerError> {
        let container = self.container(text)?;
        if !container.is_running() {
            return Ok(());
        }
        let ended = |error: &ContainerError| matches!(error, ContainerError::NotRunning { .. });
        let client = match self.client(&container, "stop") {
            Err(error) if ended(&error) => return Ok(()),
            other => other?,
        };
        let signal = request.signal.unwrap_or(container.record.stop_signal);
        let sent = client.stop(signal);
        sent.map_err(|source| ContainerError::Io {
            doing: format!("sending signal {signal}"),
            source,
        })?;
        let most = match request.seconds {
            Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
            None => u64::try_from(container.record.stop_timeout)
                .ok()
                .map(Duration::from_secs),
        };
        if self.wait(&container, most)?.is_none() {
            match self.signal(&container, 9, "kill") {
                Err(error) if !ended(&error) => return Err(error),
                _ => {}
            }
            self.wait(&container, None)?;
        }
        self.settle(&container);
        self.event(&container.record, "stop", &[]);
        Ok(())
    }

    /// Stops a container if it runs, and starts it.
    ///
    /// # Errors
    /// When there is no such container, or it does not stop or start.
    pub fn restart(&self, text: &str, request: &StopRequest) -> Result<Started, RunError> {
        let id = self.container(text).map_err(ContainerError::Find)?.record.id;
        self.stop(&id, request)?;
        let started = self.start(&id, &StartRequest::default())?;
        if let Ok(container) = self.container(&id) {
            self.event(&container.record, "restart", &[]);
        }
        Ok(started)
    }

    /// A connection to a container's output from now on, and to its input.
    ///
    /// # Errors
    /// When there is no such container, or it does not run.
    pub fn attach(&self, text: &str) -> Result<Client, ContainerError> {
        let container = self.container(text)?;
        let client = self.client(&container, "attach to")?;
        client.attach().map_err(|source| ContainerError::Io {
            doing: "attaching to the container".into(),
            source,
        })?;
        self.event(&container.record, "attach", &[]);
        Ok(client)
    }

    /// Waits until the monitor is gone, so that what follows finds nothing of it.
    fn settle(&self, container: &Container) {
        let until = Instant::now() + Duration::from_secs(10);
        while coil_runtime::state::is_alive(&container.run_dir) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Removes a container; with `force` one that runs is killed first.
    ///
    /// # Errors
    /// When there is no such container, or it runs and `force` is not given.
    pub fn remove(&self, text: &str, force: bool) -> Result<(), ContainerError> {
        // Nothing is left of one that was to be removed at its end, which has come.
        let Some((container, hold)) = self.still(text, force)? else {
            return Ok(());
        };
        let failed = |source| ContainerError::Io {
            doing: "removing the container's folder".into(),
            source,
        };
        // At once or not at all, should this be killed: what is left among the temporary files is cleared away by others,
        // and a name without its container is free.
        let gone = self.store.temp_path().and_then(|gone| {
            fs::rename(&container.dir, &gone)?;
            Ok(gone)
        });
        self.store
            .release_name(&container.record.name, &container.record.id);
        let folder = gone.as_ref().unwrap_or(&container.dir);
        let removed = self.store.remove_folder(folder);
        hold.end();
        removed.map_err(failed)?;
        self.event(&container.record, "destroy", &[]);
        Ok(())
    }

    /// A container that doesn't run, held so that it doesn't begin to; with `force` one that runs is killed first.
    /// None when its end removed it.
    fn still(&self, text: &str, force: bool) -> Result<Option<(Container, Hold)>, ContainerError> {
        let until = Instant::now() + Duration::from_secs(60);
        let broken = |source| ContainerError::Io {
            doing: "clearing up after the container".into(),
            source,
        };
        let mut container = self.container(text)?;
        loop {
            if container.is_running() {
                if !force {
                    return Err(match container.state.status {
                        coil_runtime::state::Status::Paused => ContainerError::PausedStill(text.to_owned()),
                        _ => ContainerError::Running(text.to_owned()),
                    });
                }
                match self.signal(&container, 9, "kill") {
                    Err(ContainerError::NotRunning { .. }) => {}
                    // Its monitor ended in the middle of the word.
                    Err(ContainerError::Io { source, .. }) if hung_up(&source) => {}
                    other => other?,
                }
                self.wait(&container, None)?;
            }
            coil_runtime::sweep(&container.dir, &container.run_dir).map_err(broken)?;
            match Hold::take(&container.run_dir) {
                Ok(Some(hold)) => return Ok(Some((container, hold))),
                // A monitor clears up yet, or is about to start what another command asked for.
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
                Ok(None) => return Err(broken(io::ErrorKind::TimedOut.into())),
                Err(source) => return Err(broken(source)),
            }
            container = match self.container(&container.record.id) {
                Err(FindError::Missing(_)) if force && container.record.auto_remove => return Ok(None),
                found => found?,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_many_spellings() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigint", 2),
            ("9", 9),
            ("RTMIN+1", 35),
            ("RTMAX", 64),
            ("SYS", 31),
        ] {
            assert_eq!(signal_number(text), Some(number), "{text}");
        }
        for text in ["", "0", "65", "NONE", "RTMIN+99", "SIG"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }
}
