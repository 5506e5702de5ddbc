//! `coil.lock` in a pack: read before, asked and filled on the way, written at the end if something was added.

use std::io::Write;

use coil_debian::{Installed, PinnedAddition, PinnedBase, PinnedPackage};
use coil_oci::{Arch, Digest};
use coil_python::coil_lock::{AdditionPins, BasePackage, BasePins, CoilLock, ImagePin, Resolution};
use coil_python::{Diagnostic, Pinned, ProjectFiles, Target};
use coil_wheel::download::FetchedWheel;

use crate::disk_files::DiskFiles;
use crate::error::PackError;

/// The file's name.
pub(crate) const NAME: &str = coil_python::coil_lock::FILE;
const SECURITY: &str = "debian-security";

/// The lock of one pack.
pub(crate) struct LockFile {
    lock: CoilLock,
    before: Option<String>,
    locked: bool,
}

impl LockFile {
    /// Reads the project's lock; with `upgrade` nothing that it pins holds any longer.
    ///
    /// # Errors
    /// When it cannot be read, or `locked` is given and there is none.
    pub(crate) fn read(files: &dyn ProjectFiles, locked: bool, upgrade: bool) -> Result<LockFile, PackError> {
        let before = files.read_text(NAME).map_err(Diagnostic::from)?;
        let lock = match &before {
            Some(_) if upgrade => CoilLock::default(),
            Some(text) => CoilLock::parse(NAME, text)?,
            None if locked => {
                return Err(PackError::Locked {
                    reason: format!("there is no {NAME}"),
                });
            }
            None => CoilLock::default(),
        };
        Ok(LockFile { lock, before, locked })
    }

    /// The base that is pinned, or the one that `find` finds, pinned from now on.
    pub(crate) fn base(
        &mut self,
        suite: &str,
        arch: Arch,
        find: impl FnOnce() -> Result<PinnedBase, PackError>,
    ) -> Result<PinnedBase, PackError> {
        if let Some(base) = self.lock.base(arch, suite).and_then(from_pins) {
            return Ok(base);
        }
        self.may_add(&format!("{NAME} pins no Debian {suite} for {arch}"))?;
        let found = find()?;
        self.lock.set_base(to_pins(&found, arch));
        Ok(found)
    }

    /// The packages that are pinned for these inputs, or those that `resolve` finds, pinned from now on.
    pub(crate) fn packages(
        &mut self,
        target: &Target,
        inputs: &Digest,
        found_in: &str,
        resolve: impl FnOnce() -> Result<Vec<Pinned>, PackError>,
    ) -> Result<Vec<Pinned>, PackError> {
        let python = target.python.minor_text();
        if let Some(known) = self.lock.resolution(target.arch, &python, inputs) {
            return Ok(known.packages.clone());
        }
        self.may_add(&format!("{NAME} does not hold what {found_in} asks for"))?;
        let packages = resolve()?;
        self.lock.set_resolution(Resolution {
            arch: target.arch,
            python,
            inputs: inputs.clone(),
            packages: packages.clone(),
        });
        Ok(packages)
    }

    /// The packages that are pinned to be added to what is installed, or those that `find` finds, pinned from now on.
    pub(crate) fn addition(
        &mut self,
        installed: &Installed,
        names: &[String],
        find: impl FnOnce() -> Result<PinnedAddition, PackError>,
    ) -> Result<PinnedAddition, PackError> {
        let (arch, suite) = (installed.arch, installed.suite.as_str());
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        let over = installed.digest();
        if let Some(known) = self.lock.addition(arch, suite, &names, &over)
            && let Some(addition) = from_addition_pins(known)
        {
            return Ok(addition);
        }
        self.may_add(&format!(
            "{NAME} does not pin {} of Debian {suite} for {arch}",
            names.join(", ")
        ))?;
        let found = find()?;
        self.lock.set_addition(AdditionPins {
            arch,
            suite: found.suite.clone(),
            names,
            over,
            release_digest: found.release.clone(),
            date: found.date.clone(),
            packages: found.packages.iter().map(to_pin).collect(),
        });
        Ok(found)
    }

    /// What an image's name is pinned to.
    pub(crate) fn image(&self, reference: &str) -> Option<ImagePin> {
        self.lock.image(reference).cloned()
    }

    /// Pins an image from now on.
    ///
    /// # Errors
    /// With `--locked`, when that changes the file.
    pub(crate) fn set_image(&mut self, name: &str, pin: ImagePin) -> Result<(), PackError> {
        match self.lock.image(&pin.reference) {
            Some(before) if *before == pin => return Ok(()),
            Some(_) => self.may_add(&format!("{NAME} pins another image for the base {name}"))?,
            None => self.may_add(&format!("{NAME} pins no digest of the base {name}"))?,
        }
        self.lock.set_image(pin);
        Ok(())
    }

    fn may_add(&self, reason: &str) -> Result<(), PackError> {
        if self.locked {
            Err(PackError::Locked {
                reason: reason.to_owned(),
            })
        } else {
            Ok(())
        }
    }

    /// Records the hashes that downloads told, where neither lock nor index had them.
    pub(crate) fn found_wheels(&mut self, target: &Target, wheels: &[FetchedWheel]) {
        for resolution in &mut self.lock.resolutions {
            if resolution.arch != target.arch {
                continue;
            }
            for artifact in resolution
                .packages
                .iter_mut()
                .flat_map(|package| &mut package.artifacts)
            {
                if let Some(wheel) = wheels.iter().find(|wheel| wheel.filename == artifact.filename) {
                    artifact.sha256.get_or_insert_with(|| wheel.sha256.clone());
                    artifact.size.get_or_insert(wheel.size);
                }
            }
        }
    }

    /// Whether something was added since it was read.
    pub(crate) fn changed(&self) -> bool {
        !self.locked && self.before.as_deref() != Some(self.text().as_str())
    }

    /// The lock as it is written.
    pub(crate) fn text(&self) -> String {
        self.lock.to_text()
    }

    /// Writes the lock into the project; what comes back is said to the user.
    ///
    /// A project that cannot be written is packed all the same, with a note that nothing is pinned.
    pub(crate) fn write(&self, disk: &DiskFiles) -> Option<String> {
        let path = disk.root().join(NAME);
        let temporary = disk.root().join(format!(".{NAME}.{}", std::process::id()));
        let written = std::fs::File::create(&temporary)
            .and_then(|mut file| file.write_all(self.text().as_bytes()))
            .and_then(|()| std::fs::rename(&temporary, &path));
        let error = written.err()?;
        let _ = std::fs::remove_file(&temporary);
        Some(format!(
            "{NAME} could not be written ({error}): the next pack may find newer packages"
        ))
    }
}

pub(crate) fn to_pin(package: &PinnedPackage) -> BasePackage {
    BasePackage {
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch.clone(),
        sha256: package.sha256.hex().to_owned(),
        size: package.size,
        filename: package.filename.clone(),
        // Which of Debian's two archives has it; no address, since each machine has its own mirror.
        archive: (package.archive == SECURITY).then(|| SECURITY.to_owned()),
    }
}

fn to_pins(base: &PinnedBase, arch: Arch) -> BasePins {
    BasePins {
        arch,
        suite: base.suite.clone(),
        release_digest: Some(base.release.clone()),
        date: Some(base.date.clone()),
        python: Some(base.python.clone()),
        packages: base.packages.iter().map(to_pin).collect(),
    }
}

pub(crate) fn from_pin(package: &BasePackage) -> Option<PinnedPackage> {
    Some(PinnedPackage {
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch.clone(),
        sha256: Digest::from_hex(&package.sha256).ok()?,
        size: package.size,
        filename: package.filename.clone(),
        archive: package.archive.clone().unwrap_or_else(|| "debian".to_owned()),
    })
}

fn from_addition_pins(pins: &AdditionPins) -> Option<PinnedAddition> {
    Some(PinnedAddition {
        suite: pins.suite.clone(),
        arch: pins.arch.debian().to_owned(),
        names: pins.names.clone(),
        over: pins.over.clone(),
        date: pins.date.clone(),
        release: pins.release_digest.clone(),
        packages: pins.packages.iter().map(from_pin).collect::<Option<_>>()?,
    })
}

fn from_pins(pins: &BasePins) -> Option<PinnedBase> {
    Some(PinnedBase {
        suite: pins.suite.clone(),
        arch: pins.arch.debian().to_owned(),
        python: pins.python.clone()?,
        date: pins.date.clone()?,
        release: pins.release_digest.clone()?,
        packages: pins.packages.iter().map(from_pin).collect::<Option<_>>()?,
    })
}
