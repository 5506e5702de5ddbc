//! Builds at the same time: a step that two of them need is made once.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use super::solving::Solver;

/// The right to make a step; others wait for its end.
pub(super) struct Turn {
    place: PathBuf,
    _lock: File,
    /// Whether somebody else had it before: then the step may be there by now.
    pub(super) waited: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Who waits has it open and goes on; the kernel lets go of the lock with the file.
        let _ = fs::remove_file(&self.place);
    }
}

impl Solver<'_> {
    /// Waits until nobody else makes this step.
    pub(super) fn turn(&self, key: &str) -> io::Result<Turn> {
        let folder = self.builder.private.join("turns");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let place = folder.join(key);
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&place)?;
        let waited = lock.try_lock().is_err();
        if waited {
            lock.lock()?;
        }
        Ok(Turn {
            place,
            _lock: lock,
            waited,
        })
    }
}
