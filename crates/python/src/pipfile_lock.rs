//! `Pipfile.lock` (Pipenv's, "pipfile-spec" 6).

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use coil_oci::Digest;
use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraName, MarkerTree, PackageName};
use serde::Deserialize;

use crate::content_hash;
use crate::diagnostic::{Diagnostic, Problem};
use crate::pinned::{Artifact, Direct, Pinned, filename_of};
use crate::requirement::{GroupName, parse_marker};
use crate::requirements_file::without_credentials;
use crate::selection::{Selection, check_python, damaged, stale, two_versions, unknown};
use crate::target::Target;

pub(crate) const RENEW: &str = "pipenv lock";

/// A `Pipfile.lock` file.
#[derive(Debug, Clone)]
pub struct PipfileLock {
    /// The file's path, as errors name it.
    pub file: String,
    /// The Python that it was made for.
    pub requires_python: Option<VersionSpecifiers>,
    /// The addresses of its indices, without credentials, in order.
    pub sources: Vec<String>,
    hash: Option<String>,
    /// Each section's packages; `develop` is called `dev`.
    default: Vec<Package>,
    groups: BTreeMap<GroupName, Vec<Package>>,
}

#[derive(Debug, Clone)]
struct Package {
    pinned: Pinned,
    marker: Option<MarkerTree>,
    /// Whether it is one that Pipenv did not resolve, since the machine that locked needs none.
    is_open: bool,
}

impl PipfileLock {
    /// Reads the file's text; `file` is the path that errors name.
    pub fn parse(file: &str, text: &str) -> Result<PipfileLock, Diagnostic> {
        let syntax = |error: serde_json::Error| {
            Diagnostic::new(Problem::Syntax, format!("cannot parse {file}"))
                .in_file(&format!("{file}:{}", error.line()))
                .label(error.to_string())
                .help(format!("run `{RENEW}`"))
        };
        let raw: RawLock = serde_json::from_str(text).map_err(syntax)?;
        let bad = |what: String| damaged(file, what, RENEW);
        let requires_python = match (
            raw.meta.requires.python_full_version,
            raw.meta.requires.python_version,
        ) {
            (Some(full), _) => Some(format!("=={full}")),
            // `3` and `3.11` are prefixes; what has three numbers is exact.
            (None, Some(text)) if text.split('.').count() < 3 => Some(format!("=={text}.*")),
            (None, Some(text)) => Some(format!("=={text}")),
            (None, None) => None,
        };
        let requires_python = match requires_python {
            None => None,
            Some(text) => Some(
                VersionSpecifiers::from_str(&text)
                    .map_err(|_| bad(format!("`{text}` is not a version specifier")))?,
            ),
        };
        let named: BTreeMap<&str, String> = raw
            .meta
            .sources
            .iter()
            .map(|source| (source.name.as_str(), without_credentials(&source.url)))
            .collect();
        let mut default = Vec::new();
        let mut groups = BTreeMap::new();
        for (section, packages) in raw.sections {
            let list: Vec<Package> = packages
                .into_iter()
                .map(|(name, raw)| raw.read(&name, &named))
                .collect::<Result<_, _>>()
                .map_err(bad)?;
            if section == "default" {
                default = list;
                continue;
            }
            let name = match section.as_str() {
                "develop" => "dev",
                other => other,
            };
            let name =
                GroupName::from_str(name).map_err(|_| bad(format!("`{name}` is not a category's name")))?;
            groups.insert(name, list);
        }
        Ok(PipfileLock {
            file: file.to_owned(),
            requires_python,
            sources: raw
                .meta
                .sources
                .iter()
                .map(|source| without_credentials(&source.url))
                .collect(),
            hash: raw.meta.hash.and_then(|hash| hash.sha256),
            default,
            groups,
        })
    }

    /// Compares the lock with the text of the `Pipfile` that it was made of.
    pub fn check(&self, pipfile: &str) -> Result<(), Diagnostic> {
        let (Some(locked), Ok(table)) = (&self.hash, toml::from_str::<toml::Table>(pipfile)) else {
            return Ok(());
        };
        match content_hash::pipenv(&table) {
            Some(hash) if hash != *locked => Err(stale(&self.file, "Pipfile", RENEW)),
            _ => Ok(()),
        }
    }

    /// The packages to install for a target, sorted by name.
    ///
    /// They have hashes and no files: the index knows those.
    pub fn select(&self, selection: &Selection, target: &Target) -> Result<Vec<Pinned>, Diagnostic> {
        if let Some(requires) = &self.requires_python {
            check_python(&self.file, requires, target, RENEW)?;
        }
        if let Some(extra) = selection.extras.first() {
            return Err(unknown(&self.file, "extra", extra, &BTreeSet::new(), RENEW));
        }
        let known = self.groups.keys().cloned().collect();
        let groups = selection.groups_of(&self.file, &known, RENEW)?;
        let sections = groups.iter().filter_map(|group| self.groups.get(group)).flatten();
        let default = self.default.iter().filter(|_| !selection.only_groups);
        let environment = target.marker_environment();
        let mut pinned: BTreeMap<PackageName, Pinned> = BTreeMap::new();
        for package in default.chain(sections) {
            let marker = &package.marker;
            if !marker
                .as_ref()
                .is_none_or(|marker| marker.evaluate(&environment, &[]))
            {
                continue;
            }
            let new = &package.pinned;
            if package.is_open {
                return Err(Diagnostic::new(
                    Problem::LockOutOfDate,
                    format!("the lock has no version of `{}` for {target}", new.name),
                )
                .in_file(&self.file)
                .label("Pipenv locks for the machine that it runs on")
                .help("run `pipenv lock` on a machine like the target, or `coil pack --no-lock` to resolve afresh"));
            }
            match pinned.get_mut(&new.name) {
                None => {
                    pinned.insert(new.name.clone(), new.clone());
                }
                Some(other) if other.version == new.version => {
                    other.extras.extend(new.extras.iter().cloned());
                    other.hashes.extend(new.hashes.iter().cloned());
                    other.hashes.sort();
                    other.hashes.dedup();
                }
                Some(other) => {
                    return Err(two_versions(&self.file, &other.title(), &new.title(), RENEW));
                }
            }
        }
        Ok(pinned.into_values().collect())
    }
}

#[derive(Deserialize)]
struct RawLock {
    #[serde(rename = "_meta")]
    meta: RawMeta,
    #[serde(flatten)]
    sections: BTreeMap<String, BTreeMap<String, RawPackage>>,
}

#[derive(Deserialize)]
struct RawMeta {
    hash: Option<RawHash>,
    #[serde(default)]
    requires: RawRequires,
    #[serde(default)]
    sources: Vec<RawSource>,
}

#[derive(Deserialize)]
struct RawHash {
    sha256: Option<String>,
}

#[derive(Deserialize, Default)]
struct RawRequires {
    python_version: Option<String>,
    python_full_version: Option<String>,
}

#[derive(Deserialize)]
struct RawSource {
    #[serde(default)]
    name: String,
    url: String,
}

#[derive(Deserialize)]
struct RawPackage {
    version: Option<String>,
    #[serde(default)]
    hashes: Vec<String>,
    markers: Option<String>,
    index: Option<String>,
    #[serde(default)]
    extras: BTreeSet<ExtraName>,
    git: Option<String>,
    r#ref: Option<String>,
    subdirectory: Option<String>,
    path: Option<String>,
    file: Option<String>,
    #[serde(default)]
    editable: bool,
}

impl RawPackage {
    fn read(self, name: &str, sources: &BTreeMap<&str, String>) -> Result<Package, String> {
        let name = PackageName::from_str(name).map_err(|_| format!("`{name}` is not a package's name"))?;
        let marker = match self.markers.as_deref().filter(|text| !text.trim().is_empty()) {
            None => None,
            Some(text) => Some(
                parse_marker(text)
                    .ok_or_else(|| format!("`{text}` is not an environment marker (of `{name}`)"))?,
            ),
        };
        let mut artifacts = Vec::new();
        let direct = if let Some(url) = self.git {
            Some(Direct::Git {
                url: without_credentials(&url),
                commit: self
                    .r#ref
                    .ok_or_else(|| format!("the Git source of `{name}` names no commit"))?,
                requested: None,
                subdirectory: self.subdirectory,
            })
        } else if let Some(location) = self.file.or(self.path) {
            let location = location.strip_prefix("file://").unwrap_or(&location).to_owned();
            let hash = self.hashes.first().and_then(|hash| Digest::parse(hash).ok());
            let named = Artifact {
                sha256: hash.filter(|_| self.hashes.len() == 1),
                ..Artifact::named(&filename_of(&location))
            };
            let is_file = [".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz"]
                .iter()
                .any(|end| named.filename.ends_with(end));
            if location.contains("://") {
                let url = without_credentials(location.split('#').next().unwrap_or(&location));
                artifacts.push(Artifact {
                    url: Some(url.clone()),
                    ..named
                });
                Some(Direct::Url {
                    url,
                    subdirectory: self.subdirectory,
                })
            } else if is_file {
                artifacts.push(Artifact {
                    path: Some(location.clone()),
                    ..named
                });
                Some(Direct::Path { path: location })
            } else {
                Some(Direct::Directory {
                    path: location,
                    editable: self.editable,
                    is_virtual: false,
                })
            }
        } else {
            None
        };
        let text = self
            .version
            .as_deref()
            .map(|text| text.trim_start_matches('=').trim());
        let version = text.and_then(|text| Version::from_str(text).ok());
        let mut hashes: Vec<Digest> = self
            .hashes
            .iter()
            .filter_map(|hash| Digest::parse(hash).ok())
            .collect();
        hashes.sort();
        hashes.dedup();
        Ok(Package {
            is_open: version.is_none() && direct.is_none(),
            pinned: Pinned {
                name,
                version,
                artifacts,
                hashes: if direct.is_some() { Vec::new() } else { hashes },
                index: self.index.and_then(|index| sources.get(index.as_str()).cloned()),
                extras: self.extras,
                direct,
            },
            marker,
        })
    }
}
