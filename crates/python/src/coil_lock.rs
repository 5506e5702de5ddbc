//! `coil.lock`: what the world may change under a project, pinned by hash at the first pack.
//!
//! ```toml
//! version = 1
//!
//! [[base]]
//! arch = "amd64"
//! suite = "trixie"
//! …
//! [[base.package]]
//! name = "libc6"
//! …
//!
//! [[image]]
//! reference = "docker.io/library/python:3.11-slim"
//! digest = "sha256:…"
//!
//! [[resolution]]
//! arch = "amd64"
//! python = "3.13"
//! inputs = "sha256:…"
//! [[resolution.package]]
//! name = "flask"
//! version = "3.0"
//! artifacts = [
//!     { filename = "flask-3.0-py3-none-any.whl", kind = "wheel", url = "…", sha256 = "sha256:…", size = 1 },
//! ]
//! ```

use coil_oci::{Arch, Digest};
use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Problem};
use crate::pinned::Pinned;
use crate::system_pins::SystemPins;
use crate::toml_document::Document;

/// The format's version.
pub const VERSION: u32 = 1;

/// The file's name.
pub const FILE: &str = "coil.lock";

/// A `coil.lock` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoilLock {
    /// The format's version: 1.
    pub version: u32,
    /// The base of each architecture, sorted by it and the suite.
    #[serde(default, rename = "base")]
    pub bases: Vec<BasePins>,
    /// Packages of Debian that are added to bases, sorted.
    #[serde(default, rename = "addition")]
    pub additions: Vec<AdditionPins>,
    /// The images from elsewhere that the project stands on, sorted by name.
    #[serde(default, rename = "image")]
    pub images: Vec<ImagePin>,
    /// The packages of base images that were made without a registry, sorted by name.
    #[serde(default, rename = "stand-in")]
    pub stand_ins: Vec<SystemPins>,
    /// The packages of a project without a lock of its own, for each target, sorted.
    #[serde(default, rename = "resolution")]
    pub resolutions: Vec<Resolution>,
}

/// Packages of Debian that are added to what a base has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AdditionPins {
    /// The processor.
    pub arch: Arch,
    /// The suite, `trixie`.
    pub suite: String,
    /// The packages that were asked for, sorted.
    pub names: Vec<String>,
    /// A digest of what they are added to.
    pub over: Digest,
    /// The hash of the InRelease file that the packages were taken from.
    pub release_digest: Digest,
    /// That file's date.
    pub date: String,
    /// The packages, sorted by name.
    #[serde(default, rename = "package")]
    pub packages: Vec<BasePackage>,
}

/// An image from elsewhere, by what its name stood for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImagePin {
    /// The name in full: `docker.io/library/python:3.11-slim`.
    pub reference: String,
    /// The digest of its index, or of its manifest.
    pub digest: Digest,
    /// Whether it only stands in for the image that has this name elsewhere: no registry has the digest.
    #[serde(default)]
    pub stand_in: bool,
}

/// The Debian packages of a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BasePins {
    /// The processor.
    pub arch: Arch,
    /// The suite, `trixie`.
    pub suite: String,
    /// The hash of the InRelease file that the packages were taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_digest: Option<Digest>,
    /// That file's date, as it is written in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The full version of the base's Python, `3.13.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// The packages, sorted by name.
    #[serde(default, rename = "package")]
    pub packages: Vec<BasePackage>,
}

/// One Debian package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BasePackage {
    /// The name.
    pub name: String,
    /// The version, with its epoch.
    pub version: String,
    /// Debian's architecture: `amd64` or `all`.
    pub arch: String,
    /// The SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// The size of the file in bytes.
    pub size: u64,
    /// The path in the archive: `pool/main/g/glibc/libc6_…deb`.
    pub filename: String,
    /// Which of Debian's archives has it, where it is not the main one: `debian-security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
}

/// The packages that were found for one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The processor.
    pub arch: Arch,
    /// The Python's minor version, `3.13`.
    pub python: String,
    /// What was resolved, as one hash (see [`crate::ResolutionInput::digest`]).
    pub inputs: Digest,
    /// The packages, sorted by name.
    #[serde(default, rename = "package")]
    pub packages: Vec<Pinned>,
}

impl Default for CoilLock {
    fn default() -> Self {
        CoilLock {
            version: VERSION,
            bases: Vec::new(),
            additions: Vec::new(),
            images: Vec::new(),
            stand_ins: Vec::new(),
            resolutions: Vec::new(),
        }
    }
}

impl CoilLock {
    /// Reads the file's text; `file` is the path that errors name.
    pub fn parse(file: &str, text: &str) -> Result<CoilLock, Diagnostic> {
        #[derive(Deserialize)]
        struct Header {
            version: u32,
        }
        let document = Document { file, text };
        let again = "remove the file and pack again to pin afresh";
        let header: Header = toml::from_str(text).map_err(|error| document.syntax(&error).help(again))?;
        if header.version != VERSION {
            return Err(Diagnostic::new(
                Problem::Unsupported,
                format!(
                    "{file} is of format version {}, and this coil reads version {VERSION}",
                    header.version
                ),
            )
            .in_file(file)
            .help("use the coil that wrote it, or a newer one"));
        }
        toml::from_str(text).map_err(|error| document.syntax(&error).help(again))
    }

    /// The pinned base for an architecture and suite.
    pub fn base(&self, arch: Arch, suite: &str) -> Option<&BasePins> {
        self.bases
            .iter()
            .find(|base| base.arch == arch && base.suite == suite)
    }

    /// Pins a base, in place of the one for the same architecture.
    pub fn set_base(&mut self, mut base: BasePins) {
        base.packages.sort();
        self.bases.retain(|other| other.arch != base.arch);
        self.bases.push(base);
        self.bases
            .sort_by(|a, b| (a.arch, &a.suite).cmp(&(b.arch, &b.suite)));
    }

    /// The packages that are pinned to be added to a base.
    pub fn addition(
        &self,
        arch: Arch,
        suite: &str,
        names: &[String],
        over: &Digest,
    ) -> Option<&AdditionPins> {
        self.additions.iter().find(|addition| {
            addition.arch == arch
                && addition.suite == suite
                && addition.names == names
                && addition.over == *over
        })
    }

    /// Pins an addition, in place of the one of the same names for the same architecture.
    pub fn set_addition(&mut self, mut addition: AdditionPins) {
        addition.packages.sort();
        self.additions
            .retain(|other| (other.arch, &other.names) != (addition.arch, &addition.names));
        self.additions.push(addition);
        self.additions
            .sort_by(|a, b| (a.arch, &a.names).cmp(&(b.arch, &b.names)));
    }

    /// What an image's name is pinned to.
    pub fn image(&self, reference: &str) -> Option<&ImagePin> {
        self.images.iter().find(|pin| pin.reference == reference)
    }

    /// Pins an image, in place of any other: a project stands on one.
    pub fn set_image(&mut self, pin: ImagePin) {
        self.images = vec![pin];
    }

    /// The packages resolved for a target from these inputs; `None` if they changed since.
    pub fn resolution(&self, arch: Arch, python: &str, inputs: &Digest) -> Option<&Resolution> {
        self.resolutions
            .iter()
            .find(|found| found.arch == arch && found.python == python && found.inputs == *inputs)
    }

    /// Records the packages for a target, in place of the ones for the same architecture.
    pub fn set_resolution(&mut self, mut resolution: Resolution) {
        resolution.packages.sort_by(|a, b| a.name.cmp(&b.name));
        self.resolutions.retain(|other| other.arch != resolution.arch);
        self.resolutions.push(resolution);
        self.resolutions
            .sort_by(|a, b| (a.arch, &a.python).cmp(&(b.arch, &b.python)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pinned::{Artifact, Direct};

    fn full() -> CoilLock {
        let mut lock = CoilLock::default();
        for arch in [Arch::Arm64, Arch::Amd64] {
            lock.set_base(BasePins {
                arch,
                suite: "trixie".to_owned(),
                release_digest: Some(Digest::of(b"release")),
                date: Some("Sat, 15 Nov 2026 10:00:00 UTC".to_owned()),
                python: Some("3.13.5".to_owned()),
                packages: ["zlib1g", "libc6"]
                    .map(|name| BasePackage {
                        name: name.to_owned(),
                        version: "1:2.41-1".to_owned(),
                        arch: arch.name().to_owned(),
                        sha256: "ab".repeat(32),
                        size: 7,
                        filename: format!("pool/{name}.deb"),
                        archive: Some("debian-security".to_owned()),
                    })
                    .to_vec(),
            });
            let mut plain = Pinned::new("flask", "3.0");
            plain.artifacts.push(Artifact {
                url: Some("https://x.org/a \"b\"\\.whl".to_owned()),
                sha256: Some(Digest::of(b"x")),
                size: Some(10),
                ..Artifact::wheel("flask-3.0-py3-none-any.whl")
            });
            plain.artifacts.push(Artifact::named("flask-3.0.tar.gz"));
            plain.index = Some("https://pypi.org/simple".to_owned());
            plain.extras.insert("async".parse().expect("a name"));
            plain.hashes.push(Digest::of(b"y"));
            let direct = |name: &str, direct| Pinned {
                direct: Some(direct),
                version: None,
                ..Pinned::new(name, "1")
            };
            lock.set_resolution(Resolution {
                arch,
                python: "3.13".to_owned(),
                inputs: Digest::of(b"inputs"),
                packages: vec![
                    plain,
                    direct(
                        "a",
                        Direct::Url {
                            url: "https://x.org/a.zip".to_owned(),
                            subdirectory: Some("s".to_owned()),
                        },
                    ),
                    direct(
                        "b",
                        Direct::Path {
                            path: "./b.whl".to_owned(),
                        },
                    ),
                    direct(
                        "c",
                        Direct::Directory {
                            path: "c".to_owned(),
                            editable: true,
                            is_virtual: true,
                        },
                    ),
                    direct(
                        "d",
                        Direct::Git {
                            url: "https://x.org/d".to_owned(),
                            commit: "0123456".to_owned(),
                            requested: Some("v1".to_owned()),
                            subdirectory: None,
                        },
                    ),
                ],
            });
        }
        lock
    }

    #[test]
    fn an_image_is_pinned_by_name() {
        let mut lock = full();
        for tag in ["1", "2"] {
            lock.set_image(ImagePin {
                reference: format!("registry.example/python:{tag}"),
                digest: Digest::of(tag.as_bytes()),
                stand_in: tag == "2",
            });
        }
        lock.set_addition(AdditionPins {
            arch: Arch::Amd64,
            suite: "trixie".to_owned(),
            names: vec!["libgl1".to_owned()],
            over: Digest::of(b"below"),
            release_digest: Digest::of(b"release"),
            date: "20260711T101637Z".to_owned(),
            packages: lock.bases[0].packages.clone(),
        });
        let again = CoilLock::parse(FILE, &lock.to_text()).expect("our own text");
        assert_eq!(again, lock);
        let names = ["libgl1".to_owned()];
        let below = Digest::of(b"below");
        assert!(again.addition(Arch::Amd64, "trixie", &names, &below).is_some());
        assert!(again.addition(Arch::Arm64, "trixie", &names, &below).is_none());
        let pin = again.image("registry.example/python:2").expect("the last one");
        assert_eq!((&pin.digest, pin.stand_in), (&Digest::of(b"2"), true));
        assert_eq!(again.image("registry.example/python:1"), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let lock = full();
        let text = lock.to_text();
        let again = CoilLock::parse(FILE, &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(again, lock);
        assert_eq!(again.to_text(), text);
        assert!(text.find("\"amd64\"") < text.find("\"arm64\""), "sorted");
    }

    #[test]
    fn lookups() {
        let mut lock = full();
        assert!(lock.base(Arch::Amd64, "trixie").is_some());
        assert!(lock.base(Arch::Amd64, "sid").is_none());
        assert!(
            lock.resolution(Arch::Amd64, "3.13", &Digest::of(b"inputs"))
                .is_some()
        );
        assert!(
            lock.resolution(Arch::Amd64, "3.13", &Digest::of(b"other"))
                .is_none()
        );
        assert!(
            lock.resolution(Arch::Amd64, "3.11", &Digest::of(b"inputs"))
                .is_none()
        );
        let new = BasePins {
            suite: "sid".to_owned(),
            ..lock.bases[0].clone()
        };
        lock.set_base(new);
        assert!(
            lock.base(Arch::Amd64, "trixie").is_none(),
            "one base for each architecture"
        );
        assert_eq!(lock.bases.len(), 2);
    }

    #[test]
    fn damaged_and_newer_files() {
        let error = CoilLock::parse(FILE, "version = 2\n")
            .expect_err("newer")
            .to_string();
        assert!(error.contains("format version 2"), "{error}");
        let error = CoilLock::parse(FILE, "version = 1\n[[base]]\n")
            .expect_err("damaged")
            .to_string();
        assert!(
            error.contains("coil.lock:2:1") && error.contains("pack again"),
            "{error}"
        );
    }
}
