//! Stand-ins and `coil.lock`: the packages of one, pinned by hash and made again from that.

use coil_debian::PinnedSystem;
use coil_oci::{Arch, Reference};
use coil_python::{CoilLock, SystemPins};

use super::contents::Contents;
use super::name::{NameError, Recipe};
use crate::lock_file::{from_pin, to_pin};

/// What a lock pins a stand-in to; none where it says nothing of it.
///
/// # Errors
/// When what is pinned isn't what is asked for.
pub fn pinned(
    lock: &CoilLock,
    name: &Reference,
    arch: Arch,
    recipe: &Recipe,
) -> Result<Option<PinnedSystem>, NameError> {
    let Some(pins) = lock.stand_in(&name.canonical(), arch) else {
        return Ok(None);
    };
    let unfit = |reason: String| NameError {
        message: format!("what is pinned for {} {reason}", name.familiar()),
        help: "--update pins it afresh".into(),
    };
    if pins.suite != recipe.suite.name {
        return Err(unfit(format!(
            "is of Debian {}, not of {}",
            pins.suite, recipe.suite.name
        )));
    }
    let read =
        |packages: &[coil_python::BasePackage]| packages.iter().map(from_pin).collect::<Option<Vec<_>>>();
    let system = || {
        Some(PinnedSystem {
            suite: pins.suite.clone(),
            arch: pins.arch.debian().to_owned(),
            date: pins.date.clone(),
            published: coil_debian::parse_compact_date(&pins.date)?,
            release: pins.release_digest.clone(),
            base: read(&pins.base)?,
            added: read(&pins.added)?,
            relocated: read(&pins.relocated)?,
        })
    };
    let system = system().ok_or_else(|| unfit("can't be read".into()))?;
    let contents = Contents::of(recipe);
    let has = |name: &String| system.packages().any(|package| package.name == *name);
    let mut wanted = contents.packages.iter().chain(&contents.relocated);
    if let Some(missing) = wanted.find(|name| !has(name)) {
        return Err(unfit(format!("has no package {missing}")));
    }
    Ok(Some(system))
}

/// Pins a stand-in to its packages.
pub fn pin(lock: &mut CoilLock, name: &Reference, arch: Arch, system: &PinnedSystem) {
    let written = |packages: &[coil_debian::PinnedPackage]| packages.iter().map(to_pin).collect();
    lock.set_stand_in(SystemPins {
        reference: name.canonical(),
        arch,
        suite: system.suite.clone(),
        release_digest: system.release.clone(),
        date: system.date.clone(),
        base: written(&system.base),
        added: written(&system.added),
        relocated: written(&system.relocated),
    });
}
