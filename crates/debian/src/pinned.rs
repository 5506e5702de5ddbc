//! A base by its exact packages: what `coil.lock` holds of it.

use coil_oci::{Arch, Digest};
use serde::{Deserialize, Serialize};

/// One package, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedPackage {
    /// Its name.
    pub name: String,
    /// Its version, as Debian writes it.
    pub version: String,
    /// `amd64`, `arm64` or `all`.
    pub arch: String,
    /// The digest of the .deb file.
    pub sha256: Digest,
    /// The size of the .deb file in bytes.
    pub size: u64,
    /// Its path below the archive's address.
    pub filename: String,
    /// The archive that has it: `debian` or `debian-security`.
    pub archive: String,
}

/// All packages of a base for one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedBase {
    /// The suite's codename.
    pub suite: String,
    /// The architecture's Debian name.
    pub arch: String,
    /// The full version of Python, such as `3.11.2`.
    pub python: String,
    /// When the suite was published (`20260711T101637Z`), the latest of its parts.
    pub date: String,
    /// The digest of the suite's main InRelease file.
    pub release: Digest,
    /// The packages, in order of name.
    pub packages: Vec<PinnedPackage>,
}

impl PinnedBase {
    /// The architecture, if it is one that coil knows.
    pub fn architecture(&self) -> Option<Arch> {
        [Arch::Amd64, Arch::Arm64]
            .into_iter()
            .find(|arch| arch.debian() == self.arch)
    }

    /// A package by name.
    pub fn package(&self, name: &str) -> Option<&PinnedPackage> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The bytes to download at most.
    pub fn download_size(&self) -> u64 {
        self.packages.iter().map(|package| package.size).sum()
    }

    /// Python's major and minor number, such as `3.11`.
    pub fn python_minor(&self) -> String {
        self.python.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
    }

    /// The version of glibc, by which wheels are chosen.
    pub fn glibc(&self) -> Option<(u32, u32)> {
        let version = crate::version::upstream(&self.package("libc6")?.version);
        let mut numbers = version.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}
