//! `poetry.lock`, of the formats 1.0 to 2.x.
//!
//! Since 2.1 each package says for which groups and markers it is. Before that the lock is a heap of packages, and what is
//! needed of it is found by walking from `[tool.poetry]`.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraName, MarkerTree, PackageName};
use serde::Deserialize;
use toml::{Table, Value};

use crate::content_hash;
use crate::diagnostic::{Diagnostic, Problem};
use crate::pinned::{Artifact, Direct, Pinned, filename_of};
use crate::poetry_constraint::Constraint;
use crate::poetry_dependency::{PoetryDependency, PoetryProject, extra_packages};
use crate::poetry_selection;
use crate::requirement::{GroupName, parse_marker};
use crate::requirements_file::without_credentials;
use crate::selection::{Selection, damaged, outside, stale, two_versions};
use crate::target::Target;
use crate::toml_document::Document;

pub(crate) const RENEW: &str = "poetry lock";
/// The group of what the project itself needs.
const MAIN: &str = "main";

/// A `poetry.lock` file, with what its project says.
#[derive(Debug, Clone)]
pub struct PoetryLock {
    /// The file's path, as errors name it.
    pub file: String,
    /// The Python versions that it is good for, where PEP 440 can say it.
    pub requires_python: Option<VersionSpecifiers>,
    /// The same as written, in Poetry's words.
    pub(crate) python: Option<(String, Constraint)>,
    pub(crate) packages: Vec<PoetryPackage>,
    pub(crate) extras: BTreeMap<ExtraName, BTreeSet<PackageName>>,
    pub(crate) project: PoetryProject,
    /// All groups that the project has.
    groups: BTreeSet<GroupName>,
    content_hash: Option<String>,
    /// Whether each package says its groups (format 2.1).
    is_marked: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct PoetryPackage {
    pub pinned: Pinned,
    /// The Python that its own metadata asks for.
    pub python: Option<Constraint>,
    /// The groups that it is in, each with the marker for it.
    groups: BTreeMap<GroupName, MarkerTree>,
    pub dependencies: Vec<PoetryDependency>,
    /// For each of its extras, the dependencies that it brings in.
    pub extras: BTreeMap<ExtraName, BTreeSet<PackageName>>,
}

impl PoetryLock {
    /// Reads the file's text and that of the `pyproject.toml` beside it; `file` is the path that errors name.
    pub fn parse(file: &str, text: &str, pyproject: Option<&str>) -> Result<PoetryLock, Diagnostic> {
        let document = Document { file, text };
        let raw: RawLock = toml::from_str(text).map_err(|error| document.syntax(&error))?;
        let version = raw.metadata.lock_version.as_deref().unwrap_or("1.0");
        let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
        let mut parts = version.split('.');
        let (major, minor) = (number(parts.next()), number(parts.next()));
        if !matches!(major, 1 | 2) {
            return Err(Diagnostic::new(
                Problem::Unsupported,
                format!("{file} is of format version {version}, and coil reads versions 1 and 2"),
            )
            .in_file(file)
            .help("use a newer coil, or lock again with a Poetry that writes version 2"));
        }
        let table: Table = match pyproject {
            // What is wrong in it is told by its own reader.
            Some(text) => toml::from_str(text).unwrap_or_default(),
            None => Table::new(),
        };
        let project = PoetryProject::read(&table)
            .map_err(|what| Diagnostic::new(Problem::Syntax, what).in_file("pyproject.toml"))?
            .unwrap_or_default();
        let bad = |what: String| damaged(file, what, RENEW);
        let mut groups: BTreeSet<GroupName> = project.groups.keys().cloned().collect();
        let standard = table.get("dependency-groups").and_then(Value::as_table);
        let names = standard.into_iter().flat_map(|groups| groups.keys());
        groups.extend(names.filter_map(|name| GroupName::from_str(name).ok()));
        let mut files = raw.metadata.files;
        let mut packages = Vec::with_capacity(raw.packages.len());
        for package in raw.packages {
            let listed = files.remove(&package.name);
            let package = package.read(listed.unwrap_or_default()).map_err(bad)?;
            groups.extend(
                package
                    .groups
                    .keys()
                    .filter(|name| name.as_ref() != MAIN)
                    .cloned(),
            );
            packages.push(package);
        }
        let mut extras = BTreeMap::new();
        for (name, list) in &raw.extras {
            let name = ExtraName::from_str(name).map_err(|_| bad(format!("`{name}` is not a valid name")))?;
            extras.insert(name, extra_packages(list));
        }
        let python = match raw.metadata.python_versions.filter(|text| text != "*") {
            None => None,
            Some(text) => match Constraint::parse_python(&text) {
                Some(constraint) => Some((text, constraint)),
                None => return Err(bad(format!("`{text}` is not a constraint on the Python"))),
            },
        };
        Ok(PoetryLock {
            file: file.to_owned(),
            requires_python: python
                .as_ref()
                .and_then(|(_, constraint)| constraint.specifiers()),
            python,
            packages,
            extras,
            project,
            groups,
            content_hash: raw.metadata.content_hash,
            is_marked: (major, minor) >= (2, 1),
        })
    }

    /// Compares the lock with the text of the `pyproject.toml` that it was made of.
    pub fn check(&self, pyproject: &str) -> Result<(), Diagnostic> {
        let (Some(locked), Ok(table)) = (&self.content_hash, toml::from_str::<Table>(pyproject)) else {
            return Ok(());
        };
        let hashes = content_hash::poetry(&table);
        if hashes.is_empty() || hashes.contains(locked) {
            return Ok(());
        }
        Err(stale(&self.file, "pyproject.toml", RENEW))
    }

    /// The packages to install for a target, sorted by name.
    pub fn select(&self, selection: &Selection, target: &Target) -> Result<Vec<Pinned>, Diagnostic> {
        if let Some((text, constraint)) = &self.python
            && !constraint.contains(&target.python.to_pep440())
        {
            return Err(outside(&self.file, text, target, RENEW));
        }
        let known = self
            .extras
            .keys()
            .chain(self.project.extras.keys())
            .cloned()
            .collect();
        let extras = selection.extras_of(&self.file, &known, RENEW)?;
        let groups = selection.groups_of(&self.file, &self.groups, RENEW)?;
        if !self.is_marked {
            return poetry_selection::walk(self, &extras, &groups, !selection.only_groups, target);
        }
        let environment = target.marker_environment();
        let active: Vec<ExtraName> = extras.into_iter().collect();
        let wanted =
            |group: &GroupName| groups.contains(group) || (group.as_ref() == MAIN && !selection.only_groups);
        let mut pinned: BTreeMap<PackageName, Pinned> = BTreeMap::new();
        for package in &self.packages {
            let holds = package
                .groups
                .iter()
                .any(|(group, marker)| wanted(group) && marker.evaluate(&environment, &active));
            if !holds {
                continue;
            }
            let new = package.pinned.clone();
            if let Some(other) = pinned.get(&new.name) {
                return Err(two_versions(&self.file, &other.title(), &new.title(), RENEW));
            }
            pinned.insert(new.name.clone(), new);
        }
        Ok(pinned.into_values().collect())
    }
}

#[derive(Deserialize)]
struct RawLock {
    #[serde(default, rename = "package")]
    packages: Vec<RawPackage>,
    #[serde(default)]
    extras: BTreeMap<String, Value>,
    metadata: RawMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawMetadata {
    lock_version: Option<String>,
    python_versions: Option<String>,
    content_hash: Option<String>,
    /// Where the formats before 2.0 keep the files.
    #[serde(default)]
    files: BTreeMap<String, Vec<RawFile>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawPackage {
    name: String,
    version: String,
    python_versions: Option<String>,
    #[serde(default)]
    develop: bool,
    #[serde(default)]
    groups: Vec<String>,
    markers: Option<RawMarkers>,
    #[serde(default)]
    files: Vec<RawFile>,
    #[serde(default)]
    dependencies: Table,
    #[serde(default)]
    extras: BTreeMap<String, Value>,
    source: Option<RawSource>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawMarkers {
    One(String),
    Each(BTreeMap<String, String>),
}

#[derive(Deserialize)]
struct RawFile {
    file: String,
    hash: Option<String>,
    url: Option<String>,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct RawSource {
    r#type: String,
    url: String,
    reference: Option<String>,
    resolved_reference: Option<String>,
    subdirectory: Option<String>,
}

impl RawPackage {
    fn read(self, listed: Vec<RawFile>) -> Result<PoetryPackage, String> {
        let name = PackageName::from_str(&self.name)
            .map_err(|_| format!("`{}` is not a package's name", self.name))?;
        let version = Version::from_str(&self.version)
            .map_err(|_| format!("`{}` is not a version (of `{name}`)", self.version))?;
        let mut pinned = Pinned {
            name: name.clone(),
            version: Some(version),
            artifacts: self.files.into_iter().chain(listed).map(RawFile::read).collect(),
            hashes: Vec::new(),
            index: None,
            extras: BTreeSet::new(),
            direct: None,
        };
        if let Some(source) = self.source {
            source.put(&mut pinned, self.develop)?;
        }
        let mut groups = BTreeMap::new();
        for group in self.groups {
            let marker = match &self.markers {
                None => MarkerTree::TRUE,
                Some(RawMarkers::One(text)) => marker(text)?,
                Some(RawMarkers::Each(each)) => match each.get(&group) {
                    Some(text) => marker(text)?,
                    None => MarkerTree::TRUE,
                },
            };
            let group =
                GroupName::from_str(&group).map_err(|_| format!("`{group}` is not a group's name"))?;
            groups.insert(group, marker);
        }
        let mut extras = BTreeMap::new();
        for (extra, list) in &self.extras {
            // Old packages have extras with names that PEP 685 forbids (`:python_version < "3"`): nobody can ask for them.
            if let Ok(extra) = ExtraName::from_str(extra) {
                extras.insert(extra, extra_packages(list));
            }
        }
        Ok(PoetryPackage {
            pinned,
            python: self.python_versions.as_deref().and_then(Constraint::parse_python),
            groups,
            dependencies: PoetryDependency::read_all(&self.dependencies)?,
            extras,
        })
    }
}

fn marker(text: &str) -> Result<MarkerTree, String> {
    match text {
        "" | "*" => Ok(MarkerTree::TRUE),
        text => parse_marker(text).ok_or_else(|| format!("`{text}` is not an environment marker")),
    }
}

impl RawFile {
    fn read(self) -> Artifact {
        Artifact {
            url: self.url,
            size: self.size,
            ..Artifact::named(&filename_of(&self.file)).with_hash(self.hash)
        }
    }
}

impl RawSource {
    fn put(self, pinned: &mut Pinned, develop: bool) -> Result<(), String> {
        let url = without_credentials(&self.url);
        pinned.direct = Some(match self.r#type.as_str() {
            "legacy" | "pypi" => {
                pinned.index = Some(url);
                return Ok(());
            }
            "git" => Direct::Git {
                commit: self
                    .resolved_reference
                    .ok_or_else(|| format!("the Git source of `{}` names no commit", pinned.name))?,
                url,
                requested: self.reference,
                subdirectory: self.subdirectory,
            },
            "url" => {
                for artifact in &mut pinned.artifacts {
                    artifact.url = Some(url.clone());
                }
                Direct::Url {
                    url,
                    subdirectory: self.subdirectory,
                }
            }
            "file" => {
                for artifact in &mut pinned.artifacts {
                    artifact.path = Some(url.clone());
                }
                Direct::Path { path: url }
            }
            "directory" => Direct::Directory {
                path: url,
                editable: develop,
                is_virtual: false,
            },
            other => {
                return Err(format!(
                    "the source of `{}` is of a kind that coil does not know: {other}",
                    pinned.name
                ));
            }
        });
        Ok(())
    }
}
