//! Starting a container from the command: its directory, its monitor, and the monitor's first word.

use crate::control::Client;
use crate::failure::Failure;
use crate::frame::{self, Kind};
use crate::own_binary;
use crate::spec::ContainerSpec;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// A container that runs.
#[derive(Debug)]
pub struct Started {
    /// Its first process, as the host counts.
    pub init_pid: i32,
    /// What the user should know.
    pub notices: Vec<String>,
    /// The connection over which output comes and input goes, when it was asked for.
    pub client: Option<Client>,
}

/// Why a container did not start.
#[derive(Debug)]
pub enum StartError {
    /// Its directories or spec could not be written.
    Prepare {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
    /// Its monitor could not be run.
    Monitor(io::Error),
    /// A step failed on the way; the message is for the user.
    Failed(Failure),
    /// The monitor ended without a word.
    Lost,
}

impl StartError {
    /// Exit code of `coil run`, as Docker's: 125, 126 or 127.
    pub fn exit_code(&self) -> i32 {
        match self {
            StartError::Failed(failure) => failure.exit_code,
            _ => 125,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Prepare { path, .. } => write!(f, "cannot prepare {}", path.display()),
            StartError::Monitor(_) => f.write_str("cannot run the container's monitor"),
            StartError::Failed(failure) => write!(f, "{failure}"),
            StartError::Lost => f.write_str("the container's monitor ended without a word"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Prepare { error, .. } | StartError::Monitor(error) => Some(error),
            StartError::Failed(_) | StartError::Lost => None,
        }
    }
}

/// Makes the directories of a container and writes its spec.
pub fn prepare(spec: &ContainerSpec) -> Result<(), StartError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| StartError::Prepare { path, error }
    };
    let mut private = std::fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(&spec.run_dir).map_err(at(&spec.run_dir))?;
    // The upper directory is the container's root: whoever runs inside must be able to pass it.
    let rootfs = spec.container_dir.join("rootfs");
    for (path, mode) in [(spec.upper(), 0o755), (spec.work(), 0o700), (rootfs, 0o755)] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(&path)
            .map_err(at(&path))?;
    }
    let path = spec.container_dir.join("spec.json");
    let bytes = serde_json::to_vec(spec).map_err(|e| StartError::Prepare {
        path: path.clone(),
        error: e.into(),
    })?;
    let temporary = spec.container_dir.join("spec.json.new");
    std::fs::write(&temporary, bytes)
        .and_then(|()| std::fs::rename(&temporary, &path))
        .map_err(at(&path))
}

/// Starts a container: `exe` is our own binary (`/proc/self/exe`), run as `exe internal monitor DIRECTORY`.
///
/// Returns when the program runs, or the failure. With `attach`, the connection that comes back gets all of the
/// output from its first byte. The monitor outlives the caller.
pub fn start(exe: &Path, spec: &ContainerSpec, attach: bool) -> Result<Started, StartError> {
    prepare(spec)?;
    let (ours, theirs) = UnixStream::pair().map_err(StartError::Monitor)?;
    // In a user namespace the monitor seals itself: an ordinary user can't mount yet.
    let sealed = match spec.id_map.is_identity() {
        true => Some(own_binary::sealed(exe).map_err(StartError::Monitor)?),
        false => None,
    };
    let program = match &sealed {
        Some(fd) => PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
        None => exe.to_owned(),
    };
    let mut command = Command::new(program);
    command
        .arg0("coil")
        .args(["internal", "monitor"])
        .arg(&spec.container_dir);
    if attach {
        command.arg("--attach");
    }
    command
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let monitor = command.spawn().map_err(StartError::Monitor)?;
    drop(command);
    drop(sealed);
    let word = first_word(ours, attach);
    reap_later(monitor);
    word
}

/// Keeps a monitor that is our child, and reaps those that have ended since.
///
/// A fork between us and the monitor would make it nobody's zombie, at the price of half a millisecond.
fn reap_later(monitor: Child) {
    static MONITORS: Mutex<Vec<Child>> = Mutex::new(Vec::new());
    let mut monitors = MONITORS.lock().unwrap_or_else(PoisonError::into_inner);
    monitors.push(monitor);
    monitors.retain_mut(|monitor| matches!(monitor.try_wait(), Ok(None)));
}

fn first_word(stream: UnixStream, attach: bool) -> Result<Started, StartError> {
    let mut notices = Vec::new();
    loop {
        match frame::read(&mut &stream).map_err(|_| StartError::Lost)? {
            Some((Kind::Notice, body)) => notices.push(String::from_utf8_lossy(&body).into_owned()),
            Some((Kind::Ready, body)) => {
                let init_pid = body
                    .try_into()
                    .map(i32::from_be_bytes)
                    .map_err(|_| StartError::Lost)?;
                let client = attach.then(|| Client::new(stream));
                return Ok(Started {
                    init_pid,
                    notices,
                    client,
                });
            }
            Some((Kind::Failed, body)) => {
                return Err(serde_json::from_slice(&body).map_or(StartError::Lost, StartError::Failed));
            }
            Some(_) => {}
            None => return Err(StartError::Lost),
        }
    }
}
