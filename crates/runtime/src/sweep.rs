//! Clearing up after a monitor that was killed: its container is dead, or is killed now.

use crate::network;
use crate::spec::ContainerSpec;
use crate::state::{self, State};
use coil_sys::process;
use std::io;
use std::path::Path;

/// Clears up what a container left behind, if its monitor is gone; true when there was something to clear up.
///
/// Ends every process in its control groups, removes the groups, gives its address back and writes its state. May be
/// called at any time by anybody; a container whose monitor lives is left alone.
pub fn sweep(container_dir: &Path, run_dir: &Path) -> io::Result<bool> {
    if !run_dir.exists() {
        // Read after the look: a monitor removes the directory when it has written how its program ended.
        let state = State::load(container_dir)?;
        if !state.status.is_live() {
            return Ok(false);
        }
        // After a boot: nothing of it runs.
        state.orphaned().save(container_dir)?;
        return Ok(true);
    }
    // Held while we clear up, so that nobody starts it meanwhile.
    let Some(lock) = state::try_lock(run_dir)? else {
        return Ok(false);
    };
    let state = State::load(container_dir)?;
    let bytes = match std::fs::read(container_dir.join("spec.json")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Its monitor had removed the rest.
            state::remove_run_dir(run_dir);
            return Ok(true);
        }
        other => other?,
    };
    let spec: ContainerSpec = serde_json::from_slice(&bytes)?;
    for pid in spec.cgroup.processes() {
        // It may be gone by now.
        let _ = process::kill(pid, libc::SIGKILL);
    }
    let removed = spec.cgroup.remove();
    for place in &state.networks {
        let _ = network::detach(place);
    }
    if spec.auto_remove {
        state::remove_container(&spec)?;
    } else {
        state.orphaned().save(container_dir)?;
    }
    state::remove_run_dir(run_dir);
    drop(lock);
    removed.map(|()| true)
}
