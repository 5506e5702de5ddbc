//! `uv.lock`, version 1, of any revision: what it holds, read strictly enough to trust.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraName, PackageName};
use serde::Deserialize;

use crate::diagnostic::{Diagnostic, Problem};
use crate::pinned::{Artifact, ArtifactKind, Direct, filename_of};
use crate::requirement::GroupName;
use crate::selection::damaged;
use crate::toml_document::Document;
use crate::uv_selection::RENEW;

/// A `uv.lock` file.
#[derive(Debug, Clone)]
pub struct UvLock {
    /// The file's path, as errors name it.
    pub file: String,
    /// The format's revision; 0 where it isn't written.
    pub revision: u32,
    /// The Python versions that the lock is good for.
    pub requires_python: Option<VersionSpecifiers>,
    /// The packages, in the order of the file.
    pub packages: Vec<LockedPackage>,
    /// The names of the workspace's members; empty for a project alone.
    pub members: BTreeSet<PackageName>,
    /// The groups of a workspace root that is no project itself.
    pub(crate) manifest_groups: BTreeMap<GroupName, Vec<Wanted>>,
    pub(crate) conflicts: Vec<Vec<ConflictItem>>,
    pub(crate) supported_markers: Vec<String>,
    pub(crate) by_name: BTreeMap<PackageName, Vec<usize>>,
}

/// One `[[package]]`.
#[derive(Debug, Clone)]
pub struct LockedPackage {
    /// The name, normalised.
    pub name: PackageName,
    /// The version; source trees with a dynamic one have none.
    pub version: Option<Version>,
    /// Where it comes from.
    pub source: LockedSource,
    /// The wheels and the source distribution.
    pub artifacts: Vec<Artifact>,
    /// What it needs.
    pub dependencies: Vec<LockedDependency>,
    /// What its extras need besides.
    pub extras: BTreeMap<ExtraName, Vec<LockedDependency>>,
    /// What its dependency groups hold.
    pub groups: BTreeMap<GroupName, Vec<LockedDependency>>,
    /// All its extras, the empty ones too; `None` in locks that don't say.
    pub provides_extras: Option<BTreeSet<ExtraName>>,
    /// The forks of the resolution that it belongs to; empty for all.
    pub(crate) fork_markers: Vec<String>,
    /// What its metadata asked for when the lock was made; for source trees only.
    pub(crate) requires_dist: Option<Vec<Wanted>>,
    /// The same for its groups.
    pub(crate) requires_dev: BTreeMap<GroupName, Vec<Wanted>>,
}

/// Where a locked package comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockedSource {
    /// An index: an address, or a path of files.
    Registry(String),
    /// A Git repository at a commit.
    Git {
        /// The repository.
        url: String,
        /// The full commit hash.
        commit: String,
        /// What was asked for.
        requested: Option<String>,
        /// The directory inside.
        subdirectory: Option<String>,
    },
    /// An archive's address.
    Url {
        /// The address.
        url: String,
        /// The directory inside.
        subdirectory: Option<String>,
    },
    /// An archive on disk.
    Path(String),
    /// A source tree, installed as it is built.
    Directory(String),
    /// A source tree, installed as editable.
    Editable(String),
    /// A source tree that is no package.
    Virtual(String),
}

impl LockedSource {
    /// The directory of a source tree: `.` for the lock's own.
    pub fn directory(&self) -> Option<&str> {
        match self {
            LockedSource::Directory(path) | LockedSource::Editable(path) | LockedSource::Virtual(path) => {
                Some(path)
            }
            _ => None,
        }
    }

    /// The same as a pinned package says it; `None` for an index.
    pub fn direct(&self) -> Option<Direct> {
        Some(match self {
            LockedSource::Registry(_) => return None,
            LockedSource::Git {
                url,
                commit,
                requested,
                subdirectory,
            } => Direct::Git {
                url: url.clone(),
                commit: commit.clone(),
                requested: requested.clone(),
                subdirectory: subdirectory.clone(),
            },
            LockedSource::Url { url, subdirectory } => Direct::Url {
                url: url.clone(),
                subdirectory: subdirectory.clone(),
            },
            LockedSource::Path(path) => Direct::Path { path: path.clone() },
            LockedSource::Directory(path) => Direct::Directory {
                path: path.clone(),
                editable: false,
                is_virtual: false,
            },
            LockedSource::Editable(path) => Direct::Directory {
                path: path.clone(),
                editable: true,
                is_virtual: false,
            },
            LockedSource::Virtual(path) => Direct::Directory {
                path: path.clone(),
                editable: false,
                is_virtual: true,
            },
        })
    }
}

/// One entry of a package's `dependencies`.
#[derive(Debug, Clone)]
pub struct LockedDependency {
    /// The package's name.
    pub name: PackageName,
    /// Its version, where the name alone is ambiguous.
    pub version: Option<Version>,
    /// Its source, where the name alone is ambiguous.
    pub source: Option<LockedSource>,
    /// The extras wanted of it.
    pub extras: Vec<ExtraName>,
    /// When it is needed.
    pub marker: Option<String>,
}

/// A requirement as the lock remembers it, to compare with the project.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub name: PackageName,
    pub extras: BTreeSet<ExtraName>,
    pub specifier: Option<String>,
    pub marker: Option<String>,
    /// Whether it names a source of its own (an address, a path, a repository).
    pub is_direct: bool,
}

/// One side of a conflict between extras or groups.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub(crate) struct ConflictItem {
    pub package: PackageName,
    #[serde(default)]
    pub extra: Option<ExtraName>,
    #[serde(default)]
    pub group: Option<GroupName>,
}

impl UvLock {
    /// Reads the file's text; `file` is the path that errors name.
    pub fn parse(file: &str, text: &str) -> Result<UvLock, Diagnostic> {
        let document = Document { file, text };
        let raw = toml::from_str::<RawLock>(text);
        // A file of another version may have another shape, so its version is what the user must hear of first.
        let version = match &raw {
            Ok(raw) => raw.version,
            Err(_) => toml::from_str::<RawHeader>(text).map_or(1, |header| header.version),
        };
        if version != 1 {
            return Err(Diagnostic::new(
                Problem::Unsupported,
                format!("{file} is of format version {version}, and coil reads version 1"),
            )
            .in_file(file)
            .help("use a newer coil, or lock again with a uv that writes version 1"));
        }
        let raw = raw.map_err(|error| document.syntax(&error))?;
        let requires_python = match &raw.requires_python {
            None => None,
            Some(text) => Some(VersionSpecifiers::from_str(text).map_err(|_| {
                broken(
                    file,
                    format!("`requires-python = \"{text}\"` is not a version specifier"),
                )
            })?),
        };
        let mut packages = Vec::with_capacity(raw.packages.len());
        let mut by_name: BTreeMap<PackageName, Vec<usize>> = BTreeMap::new();
        for package in raw.packages {
            by_name
                .entry(package.name.clone())
                .or_default()
                .push(packages.len());
            packages.push(package.read(file)?);
        }
        let manifest = raw.manifest.unwrap_or_default();
        Ok(UvLock {
            file: file.to_owned(),
            revision: raw.revision,
            requires_python,
            packages,
            members: manifest.members,
            manifest_groups: wanted_map(manifest.dependency_groups),
            conflicts: raw.conflicts,
            supported_markers: raw.supported_markers,
            by_name,
        })
    }

    /// The packages that are source trees of this workspace.
    pub fn local_packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.packages
            .iter()
            .filter(|package| package.source.directory().is_some())
    }
}

fn broken(file: &str, what: impl Into<String>) -> Diagnostic {
    damaged(file, what, RENEW)
}

#[derive(Deserialize)]
struct RawHeader {
    version: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawLock {
    version: u32,
    #[serde(default)]
    revision: u32,
    requires_python: Option<String>,
    #[serde(default)]
    conflicts: Vec<Vec<ConflictItem>>,
    #[serde(default)]
    supported_markers: Vec<String>,
    #[serde(default)]
    manifest: Option<RawManifest>,
    #[serde(default, rename = "package")]
    packages: Vec<RawPackage>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct RawManifest {
    #[serde(default)]
    members: BTreeSet<PackageName>,
    #[serde(default)]
    dependency_groups: BTreeMap<GroupName, Vec<RawWanted>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawPackage {
    name: PackageName,
    version: Option<Version>,
    source: RawSource,
    #[serde(default)]
    resolution_markers: Vec<String>,
    #[serde(default)]
    dependencies: Vec<RawDependency>,
    #[serde(default)]
    optional_dependencies: BTreeMap<ExtraName, Vec<RawDependency>>,
    #[serde(default)]
    dev_dependencies: BTreeMap<GroupName, Vec<RawDependency>>,
    sdist: Option<RawFile>,
    #[serde(default)]
    wheels: Vec<RawFile>,
    metadata: Option<RawMetadata>,
}

#[derive(Deserialize, Clone)]
struct RawSource {
    registry: Option<String>,
    git: Option<String>,
    url: Option<String>,
    subdirectory: Option<String>,
    path: Option<String>,
    directory: Option<String>,
    editable: Option<String>,
    r#virtual: Option<String>,
}

#[derive(Deserialize)]
struct RawDependency {
    name: PackageName,
    version: Option<Version>,
    source: Option<RawSource>,
    #[serde(default)]
    extra: Vec<ExtraName>,
    marker: Option<String>,
}

#[derive(Deserialize)]
struct RawFile {
    url: Option<String>,
    path: Option<String>,
    filename: Option<String>,
    hash: Option<String>,
    size: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawMetadata {
    #[serde(default)]
    requires_dist: Vec<RawWanted>,
    provides_extras: Option<BTreeSet<ExtraName>>,
    #[serde(default)]
    requires_dev: BTreeMap<GroupName, Vec<RawWanted>>,
}

#[derive(Deserialize)]
struct RawWanted {
    name: PackageName,
    #[serde(default)]
    extras: BTreeSet<ExtraName>,
    specifier: Option<String>,
    marker: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, toml::Value>,
}

fn wanted(raw: RawWanted) -> Wanted {
    let is_direct = ["url", "git", "path", "directory", "editable", "virtual"]
        .iter()
        .any(|key| raw.rest.contains_key(*key));
    Wanted {
        name: raw.name,
        extras: raw.extras,
        specifier: raw.specifier,
        marker: raw.marker,
        is_direct,
    }
}

fn wanted_map(raw: BTreeMap<GroupName, Vec<RawWanted>>) -> BTreeMap<GroupName, Vec<Wanted>> {
    raw.into_iter()
        .map(|(name, list)| (name, list.into_iter().map(wanted).collect()))
        .collect()
}

impl RawSource {
    fn read(self, file: &str, name: &PackageName) -> Result<LockedSource, Diagnostic> {
        Ok(if let Some(registry) = self.registry {
            LockedSource::Registry(registry)
        } else if let Some(git) = self.git {
            git_source(&git)
                .ok_or_else(|| broken(file, format!("the Git source of `{name}` names no commit")))?
        } else if let Some(url) = self.url {
            LockedSource::Url {
                url,
                subdirectory: self.subdirectory,
            }
        } else if let Some(path) = self.path {
            LockedSource::Path(path)
        } else if let Some(path) = self.directory {
            LockedSource::Directory(path)
        } else if let Some(path) = self.editable {
            LockedSource::Editable(path)
        } else if let Some(path) = self.r#virtual {
            LockedSource::Virtual(path)
        } else {
            return Err(broken(
                file,
                format!("the source of `{name}` is of a kind that coil does not know"),
            ));
        })
    }
}

/// Takes `https://host/repo?subdirectory=x&tag=v1#commit` apart.
fn git_source(text: &str) -> Option<LockedSource> {
    let (rest, commit) = text.split_once('#')?;
    if commit.len() < 7 || !commit.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let (url, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut requested = None;
    let mut subdirectory = None;
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("rev" | "tag" | "branch", value)) => requested = Some(decode(value)),
            Some(("subdirectory", value)) => subdirectory = Some(decode(value)),
            _ => {}
        }
    }
    Some(LockedSource::Git {
        url: url.to_owned(),
        commit: commit.to_owned(),
        requested,
        subdirectory,
    })
}

/// Percent-decodes a query's value, which may hold `/`.
fn decode(value: &str) -> String {
    value.split('/').map(filename_of).collect::<Vec<_>>().join("/")
}

impl RawFile {
    fn read(self, kind: ArtifactKind, source: &LockedSource) -> Option<Artifact> {
        // A file of a direct source is named by the source itself.
        let (mut url, mut path) = (self.url, self.path);
        if url.is_none() && path.is_none() {
            match source {
                LockedSource::Url { url: address, .. } => url = Some(address.clone()),
                LockedSource::Path(file) => path = Some(file.clone()),
                _ => {}
            }
        }
        if let (Some(relative), LockedSource::Registry(base)) = (&path, source)
            && !relative.starts_with('/')
            && !base.contains("://")
        {
            path = Some(format!("{}/{relative}", base.trim_end_matches('/')));
        }
        let location = self.filename.or_else(|| url.clone()).or_else(|| path.clone())?;
        Some(Artifact {
            filename: filename_of(&location),
            kind,
            url,
            path,
            size: self.size,
            ..Artifact::named("").with_hash(self.hash)
        })
    }
}

impl RawPackage {
    fn read(self, file: &str) -> Result<LockedPackage, Diagnostic> {
        let source = self.source.read(file, &self.name)?;
        let mut artifacts: Vec<Artifact> = self
            .wheels
            .into_iter()
            .filter_map(|raw| raw.read(ArtifactKind::Wheel, &source))
            .collect();
        artifacts.extend(self.sdist.and_then(|raw| raw.read(ArtifactKind::Sdist, &source)));
        let read = |list: Vec<RawDependency>| -> Result<Vec<LockedDependency>, Diagnostic> {
            list.into_iter()
                .map(|raw| {
                    Ok(LockedDependency {
                        source: raw
                            .source
                            .map(|source| source.read(file, &raw.name))
                            .transpose()?,
                        name: raw.name,
                        version: raw.version,
                        extras: raw.extra,
                        marker: raw.marker,
                    })
                })
                .collect()
        };
        let read_map = |map: BTreeMap<ExtraName, Vec<RawDependency>>| {
            map.into_iter()
                .map(|(name, list)| Ok((name, read(list)?)))
                .collect::<Result<BTreeMap<_, _>, Diagnostic>>()
        };
        let (requires_dist, provides_extras, requires_dev) = match self.metadata {
            None => (None, None, BTreeMap::new()),
            Some(raw) => (
                Some(raw.requires_dist.into_iter().map(wanted).collect()),
                raw.provides_extras,
                wanted_map(raw.requires_dev),
            ),
        };
        Ok(LockedPackage {
            name: self.name,
            version: self.version,
            artifacts,
            dependencies: read(self.dependencies)?,
            extras: read_map(self.optional_dependencies)?,
            groups: read_map(self.dev_dependencies)?,
            provides_extras,
            fork_markers: self.resolution_markers,
            requires_dist,
            requires_dev,
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_sources() {
        let commit = "0123456789012345678901234567890123456789";
        assert_eq!(
            git_source(&format!("https://h/r.git?subdirectory=a%2Fb&tag=v1#{commit}")),
            Some(LockedSource::Git {
                url: "https://h/r.git".to_owned(),
                commit: commit.to_owned(),
                requested: Some("v1".to_owned()),
                subdirectory: Some("a/b".to_owned()),
            })
        );
        assert_eq!(git_source("https://h/r.git"), None);
    }

    #[test]
    fn bad_locks_are_refused() {
        for (text, part) in [
            ("version = 2\n", "format version 2"),
            (
                "version = 1\n[[package]]\nname = \"a\"\nversion = \"1\"\nsource = { spooky = \"x\" }\n",
                "does not know",
            ),
            ("version = 1\n[[package]]\nname = \"a\"\n", "uv.lock:2:1"),
            ("version = \n", "cannot parse uv.lock"),
            ("version = 1\nrequires-python = \"x\"\n", "damaged"),
        ] {
            let error = UvLock::parse("uv.lock", text).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
