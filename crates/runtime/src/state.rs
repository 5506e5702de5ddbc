//! What has become of a container: `state.json`, and the lock that says whether its monitor lives.

use crate::timestamp;
use coil_sys::file;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not started.
    #[default]
    Created,
    /// Its program runs, if its monitor lives.
    Running,
    /// Its program ended, or did not start.
    Exited,
}

/// A container's state, written by its monitor alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Where it is in its life.
    pub status: Status,
    /// Its first process, 0 when there is none. Believe it only while the monitor lives.
    pub pid: i32,
    /// RFC 3339, empty when it never started.
    pub started_at: String,
    /// RFC 3339, empty while it runs.
    pub finished_at: String,
    /// Exit code, as a shell counts it.
    pub exit_code: i32,
    /// Whether the kernel ended a process of it for want of memory.
    pub oom_killed: bool,
    /// Why it did not start, empty otherwise.
    pub error: String,
    /// Its place on a bridge.
    pub network: Option<crate::network::NetworkState>,
    /// Host ports that were bound.
    pub ports: Vec<crate::ports::PortMapping>,
    /// What the user should know.
    pub notices: Vec<String>,
}

impl State {
    /// Reads a container's state; one that has none was only created.
    pub fn load(container_dir: &Path) -> io::Result<Self> {
        match std::fs::read(container_dir.join("state.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes it whole or not at all; not synced, as a boot ends every container anyway.
    pub fn save(&self, container_dir: &Path) -> io::Result<()> {
        let temporary = container_dir.join("state.json.new");
        std::fs::write(&temporary, serde_json::to_vec(self)?)?;
        std::fs::rename(temporary, container_dir.join("state.json"))
    }

    /// The state as it must be seen when the monitor is gone: what ran has ended, and nobody saw how.
    pub fn orphaned(mut self) -> Self {
        if self.status == Status::Running {
            self.status = Status::Exited;
            self.pid = 0;
            self.exit_code = 137;
            self.error = "the container's monitor was killed, and the container with it".to_owned();
            self.finished_at = timestamp::now();
        }
        self
    }
}

/// Whether a container's monitor lives, by its lock; never by a process number, which another may have by now.
pub fn is_alive(run_dir: &Path) -> bool {
    match file::open(&run_dir.join("lock"), libc::O_RDWR) {
        Ok(lock) => !file::try_lock(&lock).unwrap_or(false),
        Err(_) => false,
    }
}

/// Takes a container's lock; none when a monitor has it.
pub(crate) fn lock(run_dir: &Path) -> io::Result<Option<OwnedFd>> {
    let path = run_dir.join("lock");
    let lock = file::open_at(file::here(), &path, libc::O_RDWR | libc::O_CREAT, 0o600)?;
    // Who asks whether the container lives holds the lock for a moment.
    for _ in 0..100 {
        if file::try_lock(&lock)? {
            return Ok(Some(lock));
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(None)
}

/// Takes a container's lock at once or not at all.
pub(crate) fn try_lock(run_dir: &Path) -> io::Result<Option<OwnedFd>> {
    let lock = file::open_at(
        file::here(),
        &run_dir.join("lock"),
        libc::O_RDWR | libc::O_CREAT,
        0o600,
    )?;
    Ok(file::try_lock(&lock)?.then_some(lock))
}
