//! What has become of a container: `state.json`, and the lock that says whether its monitor lives.

use crate::spec::ContainerSpec;
use crate::timestamp;
use coil_sys::file;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// The lock's name in the run directory.
const LOCK: &str = "lock";

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not started.
    #[default]
    Created,
    /// Its program runs, if its monitor lives.
    Running,
    /// Its program is stopped where it is, if its monitor lives.
    Paused,
    /// Its program ended and is about to be started again, if its monitor lives.
    Restarting,
    /// Its program ended, or did not start.
    Exited,
}

impl Status {
    /// Whether there is a monitor, as long as nobody killed it.
    pub fn is_live(self) -> bool {
        matches!(self, Status::Running | Status::Paused | Status::Restarting)
    }
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
    /// How often its policy started it again since it was last started by hand.
    pub restarts: u32,
    /// Whether somebody asked it to end since it was last started.
    pub stopped: bool,
    /// Whether its program ran at least once.
    pub started_before: bool,
    /// Its places on bridges.
    pub networks: Vec<crate::network::NetworkState>,
    /// Its health, where it is looked after.
    pub health: Option<HealthState>,
    /// Host ports that were bound.
    pub ports: Vec<crate::ports::PortMapping>,
    /// What the user should know.
    pub notices: Vec<String>,
}

/// The file of the last results of a container's health check, in its directory.
pub const HEALTH_LOG: &str = "health-log.json";

/// What is known of a program's health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthState {
    /// How it is.
    pub status: HealthStatus,
    /// How many probes failed since the last good one.
    pub failing_streak: u32,
}

/// How a program is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Not known yet.
    #[default]
    Starting,
    /// Well.
    Healthy,
    /// Not well.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn name(self) -> &'static str {
        match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        }
    }
}

/// What one probe came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthResult {
    /// When it began, RFC 3339.
    pub start: String,
    /// When it ended.
    pub end: String,
    /// Its exit code, -1 when it took too long.
    pub exit_code: i32,
    /// What it printed, at most 4096 bytes.
    pub output: String,
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
        if self.status.is_live() {
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
    match file::open(&run_dir.join(LOCK), libc::O_RDWR) {
        Ok(lock) => !file::try_lock(&lock).unwrap_or(false),
        Err(_) => false,
    }
}

/// A container's state as it is now: what says that it runs is believed while its monitor lives, and no longer.
pub fn observe(container_dir: &Path, run_dir: &Path) -> io::Result<State> {
    let state = State::load(container_dir)?;
    if !state.status.is_live() || is_alive(run_dir) {
        return Ok(state);
    }
    // The monitor may have written the end and gone between the two looks.
    State::load(container_dir).map(State::orphaned)
}

/// Whether a container's program runs. A monitor lives on for a while after its program's end, to clear up.
pub fn is_running(container_dir: &Path, run_dir: &Path) -> bool {
    observe(container_dir, run_dir).is_ok_and(|state| state.status.is_live())
}

/// A container's place among those that run, held so that no monitor takes it.
#[derive(Debug)]
pub struct Hold {
    run_dir: std::path::PathBuf,
    _lock: OwnedFd,
}

impl Hold {
    /// Takes it at once; none when a monitor has it, or somebody else who holds it.
    ///
    /// A monitor that was started and hasn't come to its lock yet finds its container as it is by then: gone, if who held the
    /// place removed it.
    ///
    /// # Errors
    /// When the lock can't be opened.
    pub fn take(run_dir: &Path) -> io::Result<Option<Self>> {
        let lock = try_lock(run_dir)?;
        Ok(lock.map(|lock| Self {
            run_dir: run_dir.to_owned(),
            _lock: lock,
        }))
    }

    /// Gives it up together with the run directory, when the container is gone.
    pub fn end(self) {
        remove_run_dir(&self.run_dir);
    }
}

/// Takes a container's lock; none when a monitor has it.
///
/// A monitor that has told of its program's end clears up yet: that is waited for.
pub(crate) fn lock(run_dir: &Path, container_dir: &Path) -> io::Result<Option<OwnedFd>> {
    for attempt in 0..10_000 {
        if let Some(lock) = try_lock(run_dir)? {
            return Ok(Some(lock));
        }
        // Who asks whether the container lives holds the lock for a moment, too.
        if attempt >= 100 && State::load(container_dir).is_ok_and(|s| s.status.is_live()) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(None)
}

/// Takes a container's lock at once or not at all. The directory is made where it is missing.
pub(crate) fn try_lock(run_dir: &Path) -> io::Result<Option<OwnedFd>> {
    let path = run_dir.join(LOCK);
    let open = || file::open_at(file::here(), &path, libc::O_RDWR | libc::O_CREAT, 0o600);
    let lock = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(run_dir)?;
            open()?
        }
        other => other?,
    };
    if !file::try_lock(&lock)? {
        return Ok(None);
    }
    // The monitor that had it may have removed it: then it is no longer the one that others look at.
    let lock = std::fs::File::from(lock);
    let number = |data: &std::fs::Metadata| (data.dev(), data.ino());
    let same =
        std::fs::metadata(&path).is_ok_and(|now| lock.metadata().is_ok_and(|m| number(&m) == number(&now)));
    Ok(same.then(|| lock.into()))
}

/// Removes a run directory by who holds its lock; the lock goes last.
pub(crate) fn remove_run_dir(run_dir: &Path) {
    for entry in std::fs::read_dir(run_dir).into_iter().flatten().flatten() {
        if entry.file_name() != LOCK {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let _ = std::fs::remove_file(run_dir.join(LOCK));
    // Not empty when another monitor has come: it is that one's now.
    let _ = std::fs::remove_dir(run_dir);
}

/// Removes all of a container but its run directory; a listing never shows it in another state than its last.
pub(crate) fn remove_container(spec: &ContainerSpec) -> io::Result<()> {
    let directory = &spec.container_dir;
    release(spec);
    let own = ["upper", "work", "rootfs"].map(|name| directory.join(name));
    for large in own.iter().chain(spec.writable.iter().map(|own| &own.work)) {
        match std::fs::remove_dir_all(large) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for volume in &spec.own_volumes {
        remove_volume(volume, directory)?;
    }
    for entry in std::fs::read_dir(directory)?.flatten() {
        if entry.file_name() != "state.json" && entry.file_type().is_ok_and(|t| !t.is_dir()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_dir_all(directory)
}

/// Removes a volume without a name, unless another container has it too.
///
/// Its name is 64 random digits, and stands in the record of each container that has it.
fn remove_volume(volume: &Path, directory: &Path) -> io::Result<()> {
    let (Some(name), Some(volumes)) = (volume.file_name().and_then(|name| name.to_str()), volume.parent())
    else {
        return Ok(());
    };
    // Whoever gives a volume to a container holds this too.
    let lock = match std::fs::File::open(volumes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    lock.lock()?;
    let others = directory.parent().into_iter().flat_map(std::fs::read_dir);
    for other in others
        .flatten()
        .flatten()
        .filter(|other| other.path() != *directory)
    {
        let record = std::fs::read_to_string(other.path().join("config.json"));
        if record.is_ok_and(|text| text.contains(name)) {
            return Ok(());
        }
    }
    match std::fs::remove_dir_all(volume) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gives up a container's names.
pub(crate) fn release(spec: &ContainerSpec) {
    for path in &spec.release {
        // By now another container may have it.
        if std::fs::read(path).is_ok_and(|owner| owner == spec.id.as_bytes()) {
            let _ = std::fs::remove_file(path);
        }
    }
}
