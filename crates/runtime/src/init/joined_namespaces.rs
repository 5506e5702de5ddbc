//! Namespaces that a container shares with the host or another container: processes, shared memory, host name.

use crate::failure::{Failure, Stage};
use crate::spec::{ContainerSpec, Namespace};
use coil_sys::{mount, process};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

const STAGE: &str = "namespaces";

/// Doors of the namespaces of other containers.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pid: Option<OwnedFd>,
    ipc: Option<OwnedFd>,
    uts: Option<OwnedFd>,
    /// The mounts of whose shared memory is shared.
    mounts: Option<OwnedFd>,
}

fn door(of: Namespace, name: &str) -> Result<Option<OwnedFd>, Failure> {
    let Namespace::Of(pid) = of else { return Ok(None) };
    let path = format!("/proc/{pid}/ns/{name}");
    let file = File::open(&path).stage(STAGE, "the other container does not run")?;
    Ok(Some(file.into()))
}

impl Shared {
    pub(crate) fn open(spec: &ContainerSpec) -> Result<Self, Failure> {
        Ok(Self {
            pid: door(spec.pid, "pid")?,
            ipc: door(spec.ipc, "ipc")?,
            uts: door(spec.uts, "uts")?,
            mounts: door(spec.ipc, "mnt")?,
        })
    }

    /// From now on children of this process are born among the other's processes; gives the way back.
    pub(crate) fn enter_pid(&self) -> Result<Option<OwnedFd>, Failure> {
        let Some(pid) = &self.pid else { return Ok(None) };
        let own = File::open("/proc/self/ns/pid").stage(STAGE, "/proc/self/ns/pid")?;
        process::setns(pid, libc::CLONE_NEWPID).stage(STAGE, "cannot join the other's processes")?;
        Ok(Some(own.into()))
    }

    /// Joins what a first process joins itself; gives the shared memory to use in place of its own.
    pub(super) fn enter(&self, spec: &ContainerSpec) -> Result<Option<OwnedFd>, Failure> {
        for (door, flag) in [(&self.ipc, libc::CLONE_NEWIPC), (&self.uts, libc::CLONE_NEWUTS)] {
            if let Some(door) = door {
                process::setns(door, flag).stage(STAGE, "cannot join the other container")?;
            }
        }
        let memory = Path::new("/dev/shm");
        let what = "cannot share /dev/shm";
        if let Some(mounts) = &self.mounts {
            // A mount can be copied only where it is.
            let own = File::open("/proc/self/ns/mnt").stage(STAGE, what)?;
            process::setns(mounts, libc::CLONE_NEWNS).stage(STAGE, what)?;
            let tree = mount::clone_tree(memory, false);
            process::setns(own, libc::CLONE_NEWNS).stage(STAGE, what)?;
            return tree.map(Some).stage(STAGE, what);
        }
        match spec.ipc {
            Namespace::Host if memory.is_dir() => {
                mount::clone_tree(memory, false).map(Some).stage(STAGE, what)
            }
            _ => Ok(None),
        }
    }
}
