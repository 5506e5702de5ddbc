//! The file that `coil base --lock` names: read before, written when it says more than it did.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use coil_build::stand_in;
use coil_debian::PinnedSystem;
use coil_oci::{Arch, Reference};
use coil_python::CoilLock;

use crate::report::Failure;

/// A `coil.lock` with what it pins.
pub struct PinFile {
    path: PathBuf,
    before: Option<String>,
    /// What it says now.
    pub lock: CoilLock,
}

impl PinFile {
    /// Reads it; one that isn't there pins nothing.
    pub fn read(path: &Path) -> Result<PinFile, Failure> {
        let before = match fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::new(format!("cannot read {}: {error}", path.display()))),
        };
        let lock = match &before {
            Some(text) => {
                CoilLock::parse(&path.display().to_string(), text).map_err(|error| Failure::of(&error))?
            }
            None => CoilLock::default(),
        };
        Ok(PinFile {
            path: path.to_owned(),
            before,
            lock,
        })
    }

    /// Pins an image, and writes the file when it says more by that.
    pub fn pin(&mut self, name: &Reference, arch: Arch, system: &PinnedSystem) -> Result<(), Failure> {
        stand_in::pin(&mut self.lock, name, arch, system);
        let text = self.lock.to_text();
        if self.before.as_ref() == Some(&text) {
            return Ok(());
        }
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".new");
        let written = fs::write(&temporary, &text).and_then(|()| fs::rename(&temporary, &self.path));
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            Failure::new(format!("cannot write {}: {error}", self.path.display()))
        })?;
        self.before = Some(text);
        Ok(())
    }
}
