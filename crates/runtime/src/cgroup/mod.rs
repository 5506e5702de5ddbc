//! Control groups: where a container's are, its limits, its numbers, and its end.

mod device_filter;
mod facts;
mod version1;
mod version2;

use crate::spec::{Devices, Limits};
use coil_sys::process::Cloned;
use coil_sys::{file, process};
pub use facts::Facts;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a container's control groups are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupPlan {
    /// There are none, for a reason that the user may want to know.
    None {
        /// Why.
        reason: String,
    },
    /// One group for each controller's hierarchy.
    V1 {
        /// Directory of the group, by controller.
        controllers: BTreeMap<String, PathBuf>,
    },
    /// One group in the one hierarchy.
    V2 {
        /// Its directory.
        group: PathBuf,
        /// The controllers that it will have.
        controllers: BTreeSet<String>,
        /// How many directories above it are ours to switch controllers on in.
        depth: usize,
    },
}

/// The plan for a container on this host that needs no group for chosen processors.
pub fn plan(facts: &Facts, id: &str) -> CgroupPlan {
    facts.plan(id).only_for(&Limits::default())
}

/// The plan for a container with these limits, below a group of the user's where one is named.
pub fn plan_for(facts: &Facts, parent: &str, id: &str, limits: &Limits) -> CgroupPlan {
    let plan = match parent.trim_matches('/') {
        "" => facts.plan(id),
        _ => plan_below(facts, parent, id),
    };
    plan.only_for(limits)
}

/// The plan for a container below a group of the user's.
pub fn plan_below(facts: &Facts, parent: &str, id: &str) -> CgroupPlan {
    let parent = Path::new(parent.trim_matches('/'));
    let moved = |group: &Path| match group.parent().and_then(Path::parent) {
        Some(top) => top.join(parent).join(id),
        None => group.to_owned(),
    };
    match facts.plan(id) {
        CgroupPlan::None { reason } => CgroupPlan::None { reason },
        CgroupPlan::V1 { controllers } => CgroupPlan::V1 {
            controllers: controllers
                .into_iter()
                .map(|(controller, group)| (controller, moved(&group)))
                .collect(),
        },
        CgroupPlan::V2 {
            group, controllers, ..
        } => CgroupPlan::V2 {
            group: moved(&group),
            controllers,
            depth: parent.components().count() + 1,
        },
    }
}

/// Why a control group could not be made.
#[derive(Debug)]
pub struct CgroupError {
    /// The file or directory.
    pub path: PathBuf,
    /// What was written there, if anything.
    pub value: Option<String>,
    /// The kernel's answer.
    pub error: io::Error,
}

impl fmt::Display for CgroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "cannot write \"{value}\" to {}", self.path.display()),
            None => write!(f, "cannot make the control group {}", self.path.display()),
        }
    }
}

impl std::error::Error for CgroupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Open doors of a container's groups.
///
/// To move another process, or a thread group of many, the kernel waits for a moment when nobody forks: some 10 ms.
/// What a container's first process does instead costs nothing: it is cloned into its group (version 2), or moves
/// itself, one thread alone (version 1).
#[derive(Debug)]
pub struct Entrance {
    doors: Vec<OwnedFd>,
    group: Option<OwnedFd>,
}

impl Entrance {
    /// Moves this process, which has one thread, into the groups.
    pub fn enter(&self) -> io::Result<()> {
        self.doors
            .iter()
            .try_for_each(|door| file::write(door, b"0").map(|_| ()))
    }

    /// Clones this process into the groups, or leaves it to the child to [`Entrance::enter`]: true then.
    pub(crate) fn clone_process(&self, namespaces: i32) -> io::Result<(Cloned, bool)> {
        if let Some(group) = &self.group
            // A kernel or a filter around us may not have the call; what else is wrong shows when the child enters.
            && let Ok(cloned) = process::clone_into(namespaces, group)
        {
            return Ok((cloned, false));
        }
        Ok((process::clone(namespaces)?, !self.doors.is_empty()))
    }
}

/// What a container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Bytes of memory in use, without the file cache that can be dropped.
    pub memory: u64,
    /// Bytes that it may use, when there is a limit.
    pub memory_limit: Option<u64>,
    /// Nanoseconds of processor time.
    pub cpu: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl CgroupPlan {
    /// Leaves out what these limits don't need: a group for chosen processors, or for disks, costs time, and few ask
    /// for it.
    #[must_use]
    pub fn only_for(mut self, limits: &Limits) -> Self {
        if let CgroupPlan::V1 { controllers } = &mut self {
            if !limits.has_cpuset() {
                controllers.remove("cpuset");
            }
            if limits.disk.is_empty() {
                controllers.remove("blkio");
            }
        }
        self
    }

    /// The controller of disks, as this version calls it.
    pub(crate) fn disk_controller(&self) -> &'static str {
        match self {
            CgroupPlan::V2 { .. } => "io",
            _ => "blkio",
        }
    }

    /// The group in which disks are limited.
    pub(crate) fn disk_group(&self) -> Option<&Path> {
        match self {
            CgroupPlan::None { .. } => None,
            CgroupPlan::V1 { controllers } => controllers.get("blkio").map(PathBuf::as_path),
            CgroupPlan::V2 { group, .. } => Some(group),
        }
    }

    /// Why a controller's limits have no effect; none when they have.
    pub fn lacks(&self, controller: &str) -> Option<String> {
        match self {
            CgroupPlan::None { reason } => Some(reason.clone()),
            CgroupPlan::V1 { controllers } => (!controllers.contains_key(controller))
                .then(|| format!("the host has no `{controller}` control group")),
            CgroupPlan::V2 { controllers, .. } => (!controllers.contains(controller))
                .then(|| format!("the `{controller}` controller is not delegated to this user")),
        }
    }

    /// The groups' directories.
    pub fn directories(&self) -> Vec<&Path> {
        match self {
            CgroupPlan::None { .. } => Vec::new(),
            CgroupPlan::V1 { controllers } => {
                // Controllers that are mounted together share a directory.
                controllers
                    .values()
                    .map(PathBuf::as_path)
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect()
            }
            CgroupPlan::V2 { group, .. } => vec![group],
        }
    }

    /// Makes the groups and sets the limits. What [`Limits::check`] complains of is left out.
    pub fn create(&self, limits: &Limits, devices: &Devices) -> Result<Entrance, CgroupError> {
        match self {
            CgroupPlan::None { .. } => self.entrance(),
            CgroupPlan::V1 { controllers } => {
                version1::create(&self.directories(), controllers, limits, devices)?;
                self.entrance()
            }
            CgroupPlan::V2 {
                group,
                controllers,
                depth,
            } => {
                version2::create(group, controllers, *depth, limits, devices)?;
                self.entrance()
            }
        }
    }

    /// Sets the limits of groups that exist; `before` are those that they have.
    pub fn set(&self, limits: &Limits, before: Option<&Limits>) -> Result<(), CgroupError> {
        match self {
            CgroupPlan::None { .. } => Ok(()),
            CgroupPlan::V1 { controllers } => version1::set(controllers, limits, before),
            CgroupPlan::V2 {
                group, controllers, ..
            } => version2::set(group, controllers, limits),
        }
    }

    /// Opens the doors of groups that exist.
    pub fn entrance(&self) -> Result<Entrance, CgroupError> {
        let open = |path: PathBuf, flags| {
            file::open(&path, flags).map_err(|error| CgroupError {
                path,
                value: None,
                error,
            })
        };
        let (door, group) = match self {
            CgroupPlan::V2 { group, .. } => {
                let flags = libc::O_RDONLY | libc::O_DIRECTORY;
                ("cgroup.procs", Some(open(group.clone(), flags)?))
            }
            // The one file whose writer may move itself without the wait.
            _ => ("tasks", None),
        };
        let doors = self
            .directories()
            .into_iter()
            .map(|directory| open(directory.join(door), libc::O_WRONLY))
            .collect::<Result<_, _>>()?;
        Ok(Entrance { doors, group })
    }

    /// Whether the kernel ended a process of it for want of memory.
    pub fn out_of_memory(&self) -> bool {
        let count = match self {
            CgroupPlan::None { .. } => None,
            CgroupPlan::V1 { controllers } => controllers
                .get("memory")
                .and_then(|d| field(&d.join("memory.oom_control"), "oom_kill")),
            CgroupPlan::V2 { group, .. } => field(&group.join("memory.events"), "oom_kill"),
        };
        count.is_some_and(|count| count > 0)
    }

    /// What it uses now.
    pub fn statistics(&self) -> Statistics {
        match self {
            CgroupPlan::None { .. } => Statistics::default(),
            CgroupPlan::V1 { controllers } => version1::statistics(controllers),
            CgroupPlan::V2 { group, .. } => version2::statistics(group),
        }
    }

    /// Stops all of its processes where they are, or lets them go on.
    pub fn freeze(&self, frozen: bool) -> Result<(), CgroupError> {
        match self {
            CgroupPlan::None { reason } => Err(CgroupError {
                path: PathBuf::from("/sys/fs/cgroup"),
                value: None,
                error: io::Error::other(reason.clone()),
            }),
            CgroupPlan::V1 { controllers } => {
                let missing = || CgroupError {
                    path: PathBuf::from("freezer"),
                    value: None,
                    error: io::Error::from_raw_os_error(libc::ENOENT),
                };
                let group = controllers.get("freezer").ok_or_else(missing)?;
                write(
                    &group.join("freezer.state"),
                    if frozen { "FROZEN" } else { "THAWED" },
                )
            }
            CgroupPlan::V2 { group, .. } => {
                write(&group.join("cgroup.freeze"), if frozen { "1" } else { "0" })
            }
        }
    }

    /// The processes in the groups, by number in this process namespace.
    pub fn processes(&self) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        for directory in self.directories() {
            let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(
                text.lines()
                    .filter_map(|line| line.parse::<i32>().ok())
                    .filter(|pid| *pid > 0),
            );
        }
        found
    }

    /// Ends what is left in the groups and removes them; groups that are gone already are no error.
    pub fn remove(&self) -> io::Result<()> {
        let mut last = Ok(());
        for directory in self.directories() {
            last = remove_group(self, directory).and(last);
        }
        last
    }
}

fn remove_group(plan: &CgroupPlan, directory: &Path) -> io::Result<()> {
    // A process that was killed leaves its group a moment later; two seconds are for a machine under load.
    for attempt in 0..200 {
        match std::fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                for pid in plan.processes() {
                    // It may be gone by now.
                    let _ = process::kill(pid, libc::SIGKILL);
                }
                // A container may have made groups of its own below.
                if let Ok(entries) = std::fs::read_dir(directory) {
                    for entry in entries
                        .flatten()
                        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
                    {
                        let _ = std::fs::remove_dir(entry.path());
                    }
                }
                std::thread::sleep(Duration::from_millis(if attempt < 20 { 1 } else { 10 }));
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

/// Writes a setting.
fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    let result = file::open(path, libc::O_WRONLY).and_then(|fd| file::write(fd, value.as_bytes()));
    result.map(|_| ()).map_err(|error| CgroupError {
        path: path.to_owned(),
        value: Some(value.to_owned()),
        error,
    })
}

/// Makes a group's directory and those above it. One that exists is no error.
fn make(path: &Path) -> Result<(), CgroupError> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(path),
        other => other,
    }
    .map_err(|error| CgroupError {
        path: path.to_owned(),
        value: None,
        error,
    })
}

/// A number from a file that holds one.
fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A number from a file of `name number` lines.
fn field(path: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
