//! Containers' names: one file a name, so that two containers can never have the same.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::{Store, layout};

impl Store {
    /// The file of a container's name, whether it is there or not.
    pub fn name_path(&self, name: &str) -> PathBuf {
        self.root().join(layout::NAMES).join(name)
    }

    /// Gives a name to a container's id; false when another has it. Atomic.
    ///
    /// The caller has checked that the name is letters, digits, `_`, `.` and `-`.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn claim_name(&self, name: &str, id: &str) -> io::Result<bool> {
        let temporary = self.temp_path()?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(id.as_bytes())?;
        let path = self.name_path(name);
        let linked = match fs::hard_link(&temporary, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                layout::make_folder(&self.root().join(layout::NAMES))?;
                fs::hard_link(&temporary, &path)
            }
            other => other,
        };
        fs::remove_file(&temporary)?;
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A name whose container is gone was left by a kill.
                let stale = self
                    .name_owner(name)
                    .is_some_and(|owner| !self.container_dir(&owner).is_dir());
                if !stale {
                    return Ok(false);
                }
                fs::remove_file(&path)?;
                self.claim_name(name, id)
            }
            Err(error) => Err(error),
        }
    }

    /// The id of the container that has a name.
    pub fn name_owner(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.name_path(name)).ok()
    }

    /// Takes a name back from a container; nothing happens when another has it.
    pub fn release_name(&self, name: &str, id: &str) {
        if self.name_owner(name).as_deref() == Some(id) {
            let _ = fs::remove_file(self.name_path(name));
        }
    }
}
