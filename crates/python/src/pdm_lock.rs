//! `pdm.lock`, of the formats 4.x.
//!
//! With the strategy `inherit_metadata`, the usual one, each package says for which groups and markers it is. Without it, what is
//! needed is found by walking from `pyproject.toml` along the dependencies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraName, MarkerEnvironment, MarkerTree, PackageName};
use serde::Deserialize;

use crate::content_hash;
use crate::diagnostic::{Diagnostic, Problem};
use crate::pinned::{Artifact, Direct, Pinned, filename_of};
use crate::pyproject::PyProject;
use crate::requirement::{GroupName, Requirement, parse_marker, parse_requirement};
use crate::requirements_file::without_credentials;
use crate::selection::{Selection, damaged, outside, stale, two_versions};
use crate::target::Target;
use crate::toml_document::Document;

pub(crate) const RENEW: &str = "pdm lock";
/// The group of what the project itself needs.
const DEFAULT: &str = "default";

/// A `pdm.lock` file.
#[derive(Debug, Clone)]
pub struct PdmLock {
    /// The file's path, as errors name it.
    pub file: String,
    /// The Python versions that it is good for, where it is made for one set alone.
    pub requires_python: Option<VersionSpecifiers>,
    targets: Vec<LockTarget>,
    /// The groups and extras that were locked, `default` among them.
    locked: BTreeSet<GroupName>,
    packages: Vec<Package>,
    content_hash: Option<String>,
    /// Whether each package says its groups and markers.
    is_marked: bool,
}

#[derive(Debug, Clone)]
struct LockTarget {
    requires_python: Option<VersionSpecifiers>,
    platform: Option<String>,
}

#[derive(Debug, Clone)]
struct Package {
    pinned: Pinned,
    groups: BTreeSet<GroupName>,
    marker: Option<MarkerTree>,
    dependencies: Vec<Requirement>,
}

impl PdmLock {
    /// Reads the file's text; `file` is the path that errors name.
    pub fn parse(file: &str, text: &str) -> Result<PdmLock, Diagnostic> {
        let document = Document { file, text };
        let raw: RawLock = toml::from_str(text).map_err(|error| document.syntax(&error))?;
        let metadata = raw.metadata;
        let version = metadata.lock_version.unwrap_or_default();
        if version.split('.').next() != Some("4") {
            return Err(Diagnostic::new(
                Problem::Unsupported,
                format!("{file} is of format version {version}, and coil reads version 4"),
            )
            .in_file(file)
            .help("run `pdm lock` with a PDM of version 2"));
        }
        let bad = |what: String| damaged(file, what, RENEW);
        let specifiers = |text: Option<String>| match text.filter(|text| !text.trim().is_empty()) {
            None => Ok(None),
            Some(text) => VersionSpecifiers::from_str(&text)
                .map(Some)
                .map_err(|_| bad(format!("`{text}` is not a version specifier"))),
        };
        let mut targets = Vec::new();
        for target in metadata.targets {
            targets.push(LockTarget {
                requires_python: specifiers(target.requires_python)?,
                platform: target.platform,
            });
        }
        let flag = |name: &str| metadata.strategy.iter().any(|flag| flag == name);
        let packages = raw.packages.into_iter().map(|raw| raw.read().map_err(bad));
        Ok(PdmLock {
            file: file.to_owned(),
            requires_python: match &targets[..] {
                [only] => only.requires_python.clone(),
                _ => None,
            },
            targets,
            locked: metadata.groups.into_iter().collect(),
            packages: packages.collect::<Result<_, _>>()?,
            content_hash: metadata.content_hash,
            is_marked: flag("inherit_metadata"),
        })
    }

    /// Compares the lock with the text of the `pyproject.toml` that it was made of.
    pub fn check(&self, pyproject: &str) -> Result<(), Diagnostic> {
        let (Some(locked), Ok(table)) = (&self.content_hash, toml::from_str::<toml::Table>(pyproject)) else {
            return Ok(());
        };
        let Some(locked) = locked.strip_prefix("sha256:") else {
            return Ok(());
        };
        let hashes = content_hash::pdm(&table);
        if hashes.is_empty() || hashes.iter().any(|hash| hash == locked) {
            return Ok(());
        }
        Err(stale(&self.file, "pyproject.toml", RENEW))
    }

    /// The packages to install for a target, sorted by name.
    pub fn select(
        &self,
        selection: &Selection,
        target: &Target,
        pyproject: Option<&PyProject>,
    ) -> Result<Vec<Pinned>, Diagnostic> {
        self.check_target(target)?;
        let project = pyproject.and_then(|file| file.project.as_ref());
        let extras: BTreeSet<ExtraName> = project
            .map(|project| project.extras.keys().cloned().collect())
            .unwrap_or_default();
        // What is locked and no extra is a group; a group that isn't locked can't be had.
        let mut groups: BTreeSet<GroupName> = self.locked.difference(&extras).cloned().collect();
        groups.retain(|name| name.as_ref() != DEFAULT);
        let known: BTreeSet<ExtraName> = extras.intersection(&self.locked).cloned().collect();
        let extras = selection.extras_of(&self.file, &known, RENEW)?;
        let groups = selection.groups_of(&self.file, &groups, RENEW)?;
        let reached = match self.is_marked {
            true => self.marked(&extras, &groups, !selection.only_groups, target),
            false => self.walked(&extras, &groups, !selection.only_groups, target, pyproject)?,
        };
        let mut pinned: BTreeMap<PackageName, Pinned> = BTreeMap::new();
        for place in reached {
            let new = &self.packages[place].pinned;
            match pinned.get_mut(&new.name) {
                None => {
                    pinned.insert(new.name.clone(), new.clone());
                }
                // An entry for a package with extras repeats the package.
                Some(other) if other.version == new.version && other.direct == new.direct => {
                    other.extras.extend(new.extras.iter().cloned());
                    if other.artifacts.is_empty() {
                        other.artifacts.clone_from(&new.artifacts);
                    }
                }
                Some(other) => {
                    return Err(two_versions(&self.file, &other.title(), &new.title(), RENEW));
                }
            }
        }
        Ok(pinned.into_values().collect())
    }

    fn check_target(&self, target: &Target) -> Result<(), Diagnostic> {
        if self.targets.is_empty() {
            return Ok(());
        }
        let python = target.python.to_pep440();
        let machine = target.arch.machine();
        let on_platform = |lock: &&LockTarget| {
            lock.platform.as_deref().is_none_or(|platform| {
                // `linux` alone means x86_64.
                (platform == "linux" && machine == "x86_64")
                    || ((platform.starts_with("manylinux") || platform.starts_with("linux_"))
                        && platform.ends_with(machine))
            })
        };
        let here: Vec<&LockTarget> = self.targets.iter().filter(on_platform).collect();
        if here.is_empty() {
            let covered: Vec<&str> = self
                .targets
                .iter()
                .filter_map(|lock| lock.platform.as_deref())
                .collect();
            return Err(
                Diagnostic::new(Problem::Unsupported, format!("the lock does not cover {target}"))
                    .in_file(&self.file)
                    .label(format!("it covers {}", covered.join(" and ")))
                    .help(format!(
                        "run `pdm lock --platform manylinux_2_36_{machine} --append`"
                    )),
            );
        }
        let asks: Vec<&VersionSpecifiers> = here
            .iter()
            .filter_map(|lock| lock.requires_python.as_ref())
            .collect();
        if asks.len() < here.len() || asks.iter().any(|asked| asked.contains(&python)) {
            return Ok(());
        }
        let asks: Vec<String> = asks.iter().map(ToString::to_string).collect();
        Err(outside(&self.file, &asks.join(" or "), target, RENEW))
    }

    fn marked(
        &self,
        extras: &BTreeSet<ExtraName>,
        groups: &BTreeSet<GroupName>,
        with_default: bool,
        target: &Target,
    ) -> Vec<usize> {
        let environment = target.marker_environment();
        let wanted = |group: &GroupName| {
            extras.contains(group) || groups.contains(group) || (with_default && group.as_ref() == DEFAULT)
        };
        let places = self.packages.iter().enumerate().filter(|(_, package)| {
            package.groups.iter().any(wanted)
                && package
                    .marker
                    .as_ref()
                    .is_none_or(|marker| marker.evaluate(&environment, &[]))
        });
        places.map(|(place, _)| place).collect()
    }

    fn walked(
        &self,
        extras: &BTreeSet<ExtraName>,
        groups: &BTreeSet<GroupName>,
        with_default: bool,
        target: &Target,
        pyproject: Option<&PyProject>,
    ) -> Result<Vec<usize>, Diagnostic> {
        let Some(pyproject) = pyproject else {
            return Err(Diagnostic::new(
                Problem::Unsupported,
                "the lock doesn't say which of its packages are needed, and there is no pyproject.toml",
            )
            .in_file(&self.file)
            .help("run `pdm lock --strategy inherit_metadata`"));
        };
        let asked = pyproject.asked(extras, groups, with_default)?;
        let environment = target.marker_environment();
        let mut walk = Walk {
            lock: self,
            environment: &environment,
            queue: VecDeque::new(),
            reached: BTreeSet::new(),
        };
        for asked in &asked {
            walk.follow(&asked.requirement)?;
        }
        while let Some(place) = walk.queue.pop_front() {
            for requirement in &self.packages[place].dependencies {
                walk.follow(requirement)?;
            }
        }
        Ok(walk.reached.into_iter().collect())
    }
}

struct Walk<'a> {
    lock: &'a PdmLock,
    environment: &'a MarkerEnvironment,
    queue: VecDeque<usize>,
    reached: BTreeSet<usize>,
}

impl Walk<'_> {
    /// Goes to the package, and to the entry for it with these extras.
    fn follow(&mut self, requirement: &Requirement) -> Result<(), Diagnostic> {
        if !requirement.evaluate_markers(self.environment, &[]) {
            return Ok(());
        }
        let wanted: BTreeSet<ExtraName> = requirement.extras.iter().cloned().collect();
        let fits = |version: &Version| match &requirement.version_or_url {
            Some(pep508_rs::VersionOrUrl::VersionSpecifier(specifiers)) => specifiers.contains(version),
            _ => true,
        };
        let mut found = false;
        let mut exact = false;
        let mut partial = Vec::new();
        for (place, package) in self.lock.packages.iter().enumerate() {
            let pinned = &package.pinned;
            let is_it = pinned.name == requirement.name
                && (pinned.direct.is_some() || pinned.version.as_ref().is_none_or(fits))
                && package
                    .marker
                    .as_ref()
                    .is_none_or(|marker| marker.evaluate(self.environment, &[]));
            if !is_it {
                continue;
            }
            found = true;
            if pinned.extras.is_empty() || pinned.extras == wanted {
                exact |= pinned.extras == wanted;
                self.reach(place);
            } else if !pinned.extras.is_disjoint(&wanted) {
                partial.push(place);
            }
        }
        if !exact {
            partial.into_iter().for_each(|place| self.reach(place));
        }
        if found {
            return Ok(());
        }
        Err(damaged(
            &self.lock.file,
            format!("`{}` is needed and not in it", requirement.name),
            RENEW,
        ))
    }

    fn reach(&mut self, place: usize) {
        if self.reached.insert(place) {
            self.queue.push_back(place);
        }
    }
}

#[derive(Deserialize)]
struct RawLock {
    metadata: RawMetadata,
    #[serde(default, rename = "package")]
    packages: Vec<RawPackage>,
}

#[derive(Deserialize)]
struct RawMetadata {
    lock_version: Option<String>,
    content_hash: Option<String>,
    #[serde(default)]
    groups: Vec<GroupName>,
    #[serde(default)]
    strategy: Vec<String>,
    #[serde(default)]
    targets: Vec<RawTarget>,
}

#[derive(Deserialize)]
struct RawTarget {
    requires_python: Option<String>,
    platform: Option<String>,
}

#[derive(Deserialize)]
struct RawPackage {
    name: PackageName,
    version: Option<Version>,
    #[serde(default)]
    extras: BTreeSet<ExtraName>,
    #[serde(default)]
    groups: BTreeSet<GroupName>,
    marker: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    files: Vec<RawFile>,
    git: Option<String>,
    r#ref: Option<String>,
    revision: Option<String>,
    subdirectory: Option<String>,
    url: Option<String>,
    path: Option<String>,
    #[serde(default)]
    editable: bool,
}

#[derive(Deserialize)]
struct RawFile {
    file: Option<String>,
    url: Option<String>,
    hash: Option<String>,
}

impl RawPackage {
    fn read(self) -> Result<Package, String> {
        let marker = match self.marker {
            None => None,
            Some(text) => Some(
                parse_marker(&text)
                    .ok_or_else(|| format!("`{text}` is not an environment marker (of `{}`)", self.name))?,
            ),
        };
        let mut artifacts: Vec<Artifact> = self.files.into_iter().filter_map(RawFile::read).collect();
        let mut direct = None;
        if let Some(url) = self.git {
            direct = Some(Direct::Git {
                url: without_credentials(&url),
                commit: self
                    .revision
                    .ok_or_else(|| format!("the Git source of `{}` names no commit", self.name))?,
                requested: self.r#ref,
                subdirectory: self.subdirectory,
            });
        } else if let Some(url) = self.url {
            let url = without_credentials(&url);
            for artifact in &mut artifacts {
                artifact.url = Some(url.clone());
            }
            direct = Some(Direct::Url {
                url,
                subdirectory: self.subdirectory,
            });
        } else if let Some(path) = self.path {
            let is_file = [".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz"]
                .iter()
                .any(|end| path.ends_with(end));
            direct = Some(match is_file {
                true => {
                    for artifact in &mut artifacts {
                        artifact.path = Some(path.clone());
                    }
                    if artifacts.is_empty() {
                        artifacts.push(Artifact {
                            path: Some(path.clone()),
                            ..Artifact::named(&filename_of(&path))
                        });
                    }
                    Direct::Path { path }
                }
                false => Direct::Directory {
                    path,
                    editable: self.editable,
                    is_virtual: false,
                },
            });
        }
        let mut dependencies = Vec::with_capacity(self.dependencies.len());
        for text in &self.dependencies {
            // `-e ./path` and the like name local things that have entries of their own.
            if let Ok(requirement) = parse_requirement(text) {
                dependencies.push(requirement);
            }
        }
        Ok(Package {
            pinned: Pinned {
                name: self.name,
                version: self.version,
                artifacts,
                hashes: Vec::new(),
                index: None,
                extras: self.extras,
                direct,
            },
            groups: self.groups,
            marker,
            dependencies,
        })
    }
}

impl RawFile {
    fn read(self) -> Option<Artifact> {
        let location = self.file.as_ref().or(self.url.as_ref())?;
        Some(Artifact {
            url: self.url.as_deref().map(without_fragment),
            ..Artifact::named(&filename_of(location)).with_hash(self.hash)
        })
    }
}

fn without_fragment(url: &str) -> String {
    without_credentials(url.split('#').next().unwrap_or(url))
}
