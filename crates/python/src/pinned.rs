//! One locked package, whichever lock it came from.

use std::collections::BTreeSet;
use std::str::FromStr;

use coil_oci::Digest;
use pep440_rs::Version;
use pep508_rs::{ExtraName, PackageName};
use serde::{Deserialize, Serialize};

/// A package with its exact version and the files it may be installed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The name, normalised (PEP 503).
    pub name: PackageName,
    /// The exact version; `None` only for a source tree whose version is not written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The wheels and the source distribution that the lock names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
    /// The hashes of which one must fit, where the lock names no files but hashes (a requirements.txt).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Digest>,
    /// The index it comes from: an address without credentials, or a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// The extras that are wanted of it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub extras: BTreeSet<ExtraName>,
    /// Where it comes from, if not from an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<Direct>,
}

impl Pinned {
    /// Makes a package with no files yet.
    ///
    /// # Panics
    /// If the name or the version is not valid; meant for literals.
    pub fn new(name: &str, version: &str) -> Self {
        Pinned {
            name: PackageName::from_str(name).expect("a literal name"),
            version: Some(Version::from_str(version).expect("a literal version")),
            artifacts: Vec::new(),
            hashes: Vec::new(),
            index: None,
            extras: BTreeSet::new(),
            direct: None,
        }
    }

    /// Name and version, as shown to people.
    pub fn title(&self) -> String {
        match &self.version {
            Some(version) => format!("{} {version}", self.name),
            None => self.name.to_string(),
        }
    }
}

/// One file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The file's name, which carries a wheel's tags.
    pub filename: String,
    /// Whether it is a wheel or a source distribution.
    pub kind: ArtifactKind,
    /// Where to download it; `None` if only a path, or nothing but the index, is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The path, relative to the lock's directory or absolute, of a file on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its SHA-256; `None` where the index gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Its size in bytes; `None` where the index gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its hash by another algorithm, `sha512:…`, where there is no SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_hash: Option<String>,
}

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// Ready to install.
    Wheel,
    /// To be built first.
    Sdist,
}

impl Artifact {
    /// A wheel of which only the name is known yet.
    pub fn wheel(filename: &str) -> Self {
        Artifact {
            filename: filename.to_owned(),
            kind: ArtifactKind::Wheel,
            url: None,
            path: None,
            sha256: None,
            size: None,
            other_hash: None,
        }
    }

    /// The same with a hash as locks write it: `sha256:…`, or another algorithm's.
    #[must_use]
    pub fn with_hash(mut self, hash: Option<String>) -> Self {
        self.sha256 = hash.as_deref().and_then(|hash| Digest::parse(hash).ok());
        self.other_hash = hash.filter(|hash| !hash.starts_with("sha256:"));
        self
    }

    /// A file of which only the name is known yet; its kind follows from the name.
    pub fn named(filename: &str) -> Self {
        let kind = if filename.ends_with(".whl") {
            ArtifactKind::Wheel
        } else {
            ArtifactKind::Sdist
        };
        Artifact {
            kind,
            ..Artifact::wheel(filename)
        }
    }
}

/// Where a package comes from that is not from an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Direct {
    /// An archive at an address.
    Url {
        /// The address, without credentials where the lock has none.
        url: String,
        /// The project's directory inside the archive.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subdirectory: Option<String>,
    },
    /// A Git repository.
    Git {
        /// The repository.
        url: String,
        /// The full commit hash.
        commit: String,
        /// The branch, tag or revision that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requested: Option<String>,
        /// The project's directory inside the repository.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subdirectory: Option<String>,
    },
    /// A wheel or source archive on disk.
    Path {
        /// Its path, relative to the lock's directory or absolute.
        path: String,
    },
    /// A source tree on disk.
    Directory {
        /// Its path, relative to the lock's directory or absolute.
        path: String,
        /// Whether it is to be installed as editable.
        editable: bool,
        /// Whether it is no package at all: only its dependencies count.
        #[serde(default, skip_serializing_if = "std::ops::Not::not", rename = "virtual")]
        is_virtual: bool,
    },
}

/// The last component of an address or path, percent-decoded, without query and fragment.
pub fn filename_of(location: &str) -> String {
    let bare = location.split(['#', '?']).next().unwrap_or(location);
    let last = bare.rsplit('/').next().unwrap_or(bare);
    let bytes = last.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match (bytes[at], hex.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_of_addresses() {
        for (location, expected) in [
            (
                "https://x/y/a-1%2Bcpu-py3-none-any.whl#sha256=0",
                "a-1+cpu-py3-none-any.whl",
            ),
            ("./wheels/a.whl", "a.whl"),
            ("https://x/a.tar.gz?y=1", "a.tar.gz"),
            ("%zz", "%zz"),
        ] {
            assert_eq!(filename_of(location), expected);
        }
    }
}
