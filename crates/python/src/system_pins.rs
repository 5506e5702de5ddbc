//! Stand-ins in `coil.lock`: the Debian packages that a base image without a registry was made of.
//!
//! ```toml
//! [[stand-in]]
//! reference = "docker.io/library/python:3.11-slim"
//! arch = "amd64"
//! …
//! [[stand-in.base]]
//! name = "libc6"
//! …
//! ```

use coil_oci::{Arch, Digest};
use serde::{Deserialize, Serialize};

use crate::coil_lock::{BasePackage, CoilLock};
use crate::coil_lock_text::{put, write_debian_package};

/// The Debian packages of a stand-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SystemPins {
    /// The image's name in full: `docker.io/library/python:3.11-slim`.
    pub reference: String,
    /// The processor.
    pub arch: Arch,
    /// The suite, `bookworm`.
    pub suite: String,
    /// The hash of the InRelease file that the packages were taken from.
    pub release_digest: Digest,
    /// That file's date.
    pub date: String,
    /// What every system of the suite has, sorted by name.
    #[serde(default)]
    pub base: Vec<BasePackage>,
    /// What is installed on top, sorted by name.
    #[serde(default)]
    pub added: Vec<BasePackage>,
    /// Packages whose files go elsewhere, sorted by name.
    #[serde(default)]
    pub relocated: Vec<BasePackage>,
}

impl CoilLock {
    /// What a stand-in is to be made of.
    pub fn stand_in(&self, reference: &str, arch: Arch) -> Option<&SystemPins> {
        let mut all = self.stand_ins.iter();
        all.find(|pins| pins.reference == reference && pins.arch == arch)
    }

    /// Pins a stand-in, in place of what was pinned for the same name and architecture.
    pub fn set_stand_in(&mut self, mut pins: SystemPins) {
        for packages in [&mut pins.base, &mut pins.added, &mut pins.relocated] {
            packages.sort();
        }
        self.stand_ins
            .retain(|other| (&other.reference, other.arch) != (&pins.reference, pins.arch));
        self.stand_ins.push(pins);
        self.stand_ins
            .sort_by(|a, b| (&a.reference, a.arch).cmp(&(&b.reference, b.arch)));
    }
}

/// Writes them as they stand in the file.
pub(crate) fn write(text: &mut String, all: &[SystemPins]) {
    for pins in all {
        text.push_str("\n[[stand-in]]\n");
        put(text, "reference", &pins.reference);
        put(text, "arch", pins.arch.name());
        put(text, "suite", &pins.suite);
        put(text, "release-digest", &pins.release_digest.to_string());
        put(text, "date", &pins.date);
        let parts = [
            ("base", &pins.base),
            ("added", &pins.added),
            ("relocated", &pins.relocated),
        ];
        for (part, packages) in parts {
            for package in packages {
                text.push_str(&format!("\n[[stand-in.{part}]]\n"));
                write_debian_package(text, package);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let package = |name: &str| BasePackage {
            name: name.into(),
            version: "1:2-3".into(),
            arch: "all".into(),
            sha256: "ab".repeat(32),
            size: 5,
            filename: format!("pool/{name}.deb"),
            archive: (name == "b").then(|| "debian-security".into()),
        };
        let pins = |reference: &str| SystemPins {
            reference: reference.into(),
            arch: Arch::Amd64,
            suite: "bookworm".into(),
            release_digest: Digest::of(b"x"),
            date: "20260711T101637Z".into(),
            base: vec![package("b"), package("a")],
            added: Vec::new(),
            relocated: vec![package("c")],
        };
        let mut lock = CoilLock::default();
        for reference in [
            "docker.io/library/redis:7",
            "docker.io/library/python:3",
            "docker.io/library/redis:7",
        ] {
            lock.set_stand_in(pins(reference));
        }
        let text = lock.to_text();
        let read = CoilLock::parse("coil.lock", &text).unwrap();
        assert_eq!(read, lock);
        assert_eq!(read.to_text(), text);
        assert_eq!(read.stand_ins.len(), 2);
        let found = read.stand_in("docker.io/library/redis:7", Arch::Amd64).unwrap();
        assert_eq!((found.base[0].name.as_str(), found.relocated.len()), ("a", 1));
        assert!(read.stand_in("docker.io/library/redis:7", Arch::Arm64).is_none());
    }
}
