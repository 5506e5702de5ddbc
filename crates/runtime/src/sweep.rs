//! Clearing up after a monitor that was killed: its container is dead, or is killed now.

use crate::network::{self, NetworkSpec};
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
    clear(container_dir, run_dir)
}

/// Removes a container that was to be removed at its end, when that came without its monitor, or its monitor was killed while
/// it did so; true when it is gone. One whose monitor lives is left alone.
pub fn sweep_removed(container_dir: &Path, run_dir: &Path) -> io::Result<bool> {
    clear(container_dir, run_dir)
}

fn clear(container_dir: &Path, run_dir: &Path) -> io::Result<bool> {
    // Held while we clear up, so that nobody starts it meanwhile.
    let Some(lock) = state::try_lock(run_dir)? else {
        return Ok(false);
    };
    let state = State::load(container_dir)?;
    let bytes = match std::fs::read(container_dir.join("spec.json")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Its monitor had removed the rest.
            if state.started_before {
                std::fs::remove_dir_all(container_dir)?;
            }
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
    // A monitor that was killed before it told of its networks had its addresses all the same.
    if matches!(spec.network, NetworkSpec::Bridge(_)) && spec.network.household().is_none() {
        let part = spec.run_dir.file_name().map_or(spec.id.len(), |name| name.len());
        let place = |id: &str| spec.run_root().join(id.get(..part).unwrap_or(id));
        let is_alive = |id: &str| id != spec.id && state::is_alive(&place(id));
        let _ = network::sweep(spec.run_root(), &is_alive);
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
