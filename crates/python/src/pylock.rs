//! pylock.toml (PEP 751): read for one target.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraName, MarkerEnvironment, PackageName};
use serde::Deserialize;

use crate::diagnostic::{Diagnostic, Problem};
use crate::pinned::{Artifact, ArtifactKind, Direct, Pinned, filename_of};
use crate::requirement::{GroupName, parse_marker};
use crate::requirements_file::without_credentials;
use crate::selection::Selection;
use crate::target::Target;
use crate::toml_document::Document;

/// A `pylock.toml` file.
#[derive(Debug, Clone)]
pub struct Pylock {
    /// The file's path, as errors name it.
    pub file: String,
    /// The Python versions that it is good for.
    pub requires_python: Option<VersionSpecifiers>,
    /// The tool that wrote it.
    pub created_by: String,
    /// The extras that may be asked for.
    pub extras: BTreeSet<ExtraName>,
    /// The groups that may be asked for.
    pub groups: BTreeSet<GroupName>,
    /// The groups that are installed when none is named.
    pub default_groups: Vec<GroupName>,
    environments: Vec<String>,
    packages: Vec<Package>,
}

#[derive(Debug, Clone)]
struct Package {
    pinned: Pinned,
    marker: Option<String>,
    requires_python: Option<VersionSpecifiers>,
}

impl Pylock {
    /// Reads the file's text; `file` is the path that errors name.
    pub fn parse(file: &str, text: &str) -> Result<Pylock, Diagnostic> {
        let document = Document { file, text };
        let raw: RawLock = toml::from_str(text).map_err(|error| document.syntax(&error))?;
        // PEP 751: another major version must be refused, another minor one may be read.
        if raw.lock_version != "1" && !raw.lock_version.starts_with("1.") {
            return Err(Diagnostic::new(
                Problem::Unsupported,
                format!(
                    "{file} is of format version {}, and coil reads version 1",
                    raw.lock_version
                ),
            )
            .in_file(file));
        }
        let specifiers = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => VersionSpecifiers::from_str(text)
                .map(Some)
                .map_err(|_| broken(file, format!("`{text}` is not a version specifier"))),
        };
        let mut packages = Vec::with_capacity(raw.packages.len());
        for package in raw.packages {
            packages.push(Package {
                requires_python: specifiers(&package.requires_python)?,
                marker: package.marker.clone(),
                pinned: package.read(file)?,
            });
        }
        Ok(Pylock {
            file: file.to_owned(),
            requires_python: specifiers(&raw.requires_python)?,
            created_by: raw.created_by,
            extras: raw.extras,
            groups: raw.dependency_groups,
            default_groups: raw.default_groups,
            environments: raw.environments,
            packages,
        })
    }

    /// The packages to install for a target, sorted by name (PEP 751, "Installation").
    pub fn select(
        &self,
        target: &Target,
        extras: &BTreeSet<ExtraName>,
        groups: &BTreeSet<GroupName>,
    ) -> Result<Vec<Pinned>, Diagnostic> {
        let python = target.python.to_pep440();
        if let Some(requires) = self
            .requires_python
            .as_ref()
            .filter(|requires| !requires.contains(&python))
        {
            return Err(Diagnostic::new(
                Problem::NoPython,
                format!("Python {python} is outside of what the lock is good for: {requires}"),
            )
            .in_file(&self.file)
            .help("choose another Python with --python, or lock again"));
        }
        let named = self.groups.iter().chain(&self.default_groups).cloned().collect();
        for (what, asked, known) in [
            ("extra", extras, &self.extras),
            ("dependency group", groups, &named),
        ] {
            if let Some(name) = asked.iter().find(|name| !known.contains(*name)) {
                let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
                return Err(
                    Diagnostic::new(Problem::Unknown, format!("the lock has no {what} `{name}`"))
                        .in_file(&self.file)
                        .help(if known.is_empty() {
                            "it has none".to_owned()
                        } else {
                            format!("there are {}", known.join(", "))
                        }),
                );
            }
        }
        let environment = target.marker_environment();
        let active = active(extras, groups);
        let holds = |marker: &str| self.holds(marker, &environment, &active);
        if !self.environments.is_empty() {
            let mut covered = false;
            for marker in &self.environments {
                covered |= holds(marker)?;
            }
            if !covered {
                return Err(Diagnostic::new(
                    Problem::Unsupported,
                    format!("the lock does not cover {target}"),
                )
                .in_file(&self.file)
                .label(format!("it covers {}", self.environments.join(" or "))));
            }
        }
        let mut pinned: BTreeMap<PackageName, Pinned> = BTreeMap::new();
        for package in &self.packages {
            if let Some(marker) = &package.marker
                && !holds(marker)?
            {
                continue;
            }
            if package
                .requires_python
                .as_ref()
                .is_some_and(|requires| !requires.contains(&python))
            {
                return Err(Diagnostic::new(
                    Problem::NoPython,
                    format!("{} does not support Python {python}", package.pinned.title()),
                )
                .in_file(&self.file));
            }
            let name = package.pinned.name.clone();
            if let Some(other) = pinned.insert(name, package.pinned.clone()) {
                return Err(Diagnostic::new(
                    Problem::Conflict,
                    format!(
                        "the lock selects two entries of one package: {} and {}",
                        other.title(),
                        package.pinned.title()
                    ),
                )
                .in_file(&self.file));
            }
        }
        Ok(pinned.into_values().collect())
    }

    /// The packages to install for a target, as a pack asks for them.
    ///
    /// The lock's own default groups are in, since tools that write them put there what the project itself needs; all but `dev`.
    pub fn select_wished(&self, selection: &Selection, target: &Target) -> Result<Vec<Pinned>, Diagnostic> {
        let renew = match self.created_by.as_str() {
            "uv" => "uv export -o pylock.toml",
            "pdm" => "pdm lock",
            "poetry" | "poetry-plugin-export" => "poetry export -f pylock.toml -o pylock.toml",
            _ => "pip lock",
        };
        let extras = selection.extras_of(&self.file, &self.extras, renew)?;
        let known = self.groups.iter().chain(&self.default_groups).cloned().collect();
        let mut groups = selection.groups_of(&self.file, &known, renew)?;
        if !selection.only_groups && !selection.no_default_groups {
            let default = self.default_groups.iter().filter(|name| name.as_ref() != "dev");
            groups.extend(
                default
                    .filter(|name| !selection.no_groups.contains(*name))
                    .cloned(),
            );
        }
        self.select(target, &extras, &groups)
    }

    fn holds(
        &self,
        marker: &str,
        environment: &MarkerEnvironment,
        active: &[ExtraName],
    ) -> Result<bool, Diagnostic> {
        let tree = parse_marker(&as_extras(marker))
            .ok_or_else(|| broken(&self.file, format!("`{marker}` is not an environment marker")))?;
        Ok(tree.evaluate(environment, active))
    }
}

fn broken(file: &str, what: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Problem::Syntax, format!("{file} is damaged"))
        .in_file(file)
        .label(what)
        .help("lock again")
}

fn active(extras: &BTreeSet<ExtraName>, groups: &BTreeSet<GroupName>) -> Vec<ExtraName> {
    let coded = |kind: &str, name: &ExtraName| ExtraName::from_str(&format!("{kind}-{name}")).ok();
    let extras = extras.iter().filter_map(|name| coded("in-extras", name));
    extras
        .chain(groups.iter().filter_map(|name| coded("in-groups", name)))
        .collect()
}

/// Writes `'x' in extras` as a plain extra marker: PEP 751 has two sets that PEP 508 markers don't know.
fn as_extras(marker: &str) -> String {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = marker;
    while let Some(first) = rest.chars().next() {
        let end = if first == '\'' || first == '"' {
            rest[1..].find(first).map_or(rest.len(), |at| at + 2)
        } else if first.is_whitespace() || first == '(' || first == ')' {
            first.len_utf8()
        } else {
            rest.find(|c: char| c.is_whitespace() || "()'\"".contains(c))
                .unwrap_or(rest.len())
        };
        let (token, tail) = rest.split_at(end);
        if !token.trim().is_empty() {
            tokens.push(token.to_owned());
        }
        rest = tail;
    }
    let mut written: Vec<String> = Vec::new();
    for token in tokens {
        let kind = match token.as_str() {
            "extras" => "in-extras",
            "dependency_groups" => "in-groups",
            _ => {
                written.push(token);
                continue;
            }
        };
        let operator = if written.last().is_some_and(|last| last == "in") {
            written.pop()
        } else {
            None
        };
        let negated = operator.is_some() && written.last().is_some_and(|last| last == "not");
        if negated {
            written.pop();
        }
        match (operator, written.pop()) {
            (Some(_), Some(name)) => {
                let name = name.trim_matches(['\'', '"']).to_lowercase();
                let sign = if negated { "!=" } else { "==" };
                written.push(format!("extra {sign} '{kind}-{name}'"));
            }
            (_, last) => {
                written.extend(last);
                written.push(token);
            }
        }
    }
    written.join(" ")
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawLock {
    lock_version: String,
    #[serde(default)]
    environments: Vec<String>,
    requires_python: Option<String>,
    #[serde(default)]
    extras: BTreeSet<ExtraName>,
    #[serde(default)]
    dependency_groups: BTreeSet<GroupName>,
    #[serde(default)]
    default_groups: Vec<GroupName>,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    packages: Vec<RawPackage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawPackage {
    name: PackageName,
    version: Option<Version>,
    marker: Option<String>,
    requires_python: Option<String>,
    index: Option<String>,
    vcs: Option<RawVcs>,
    directory: Option<RawDirectory>,
    archive: Option<RawFile>,
    sdist: Option<RawFile>,
    #[serde(default)]
    wheels: Vec<RawFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawVcs {
    r#type: String,
    url: Option<String>,
    path: Option<String>,
    requested_revision: Option<String>,
    commit_id: String,
    subdirectory: Option<String>,
}

#[derive(Deserialize)]
struct RawDirectory {
    path: String,
    #[serde(default)]
    editable: bool,
}

#[derive(Deserialize)]
struct RawFile {
    name: Option<String>,
    url: Option<String>,
    path: Option<String>,
    size: Option<u64>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    subdirectory: Option<String>,
}

impl RawFile {
    /// The SHA-256, or the strongest of the others.
    fn best_hash(&self) -> Option<String> {
        let known = ["sha256", "sha512", "blake2b", "sha384", "md5"];
        known
            .iter()
            .find_map(|name| Some(format!("{name}:{}", self.hashes.get(*name)?)))
    }

    fn read(&self, kind: Option<ArtifactKind>) -> Option<Artifact> {
        let location = self.name.as_ref().or(self.url.as_ref()).or(self.path.as_ref())?;
        let named = Artifact::named(&filename_of(location));
        Some(Artifact {
            kind: kind.unwrap_or(named.kind),
            url: self.url.clone(),
            path: self.path.clone(),
            size: self.size,
            ..named.with_hash(self.best_hash())
        })
    }
}

impl RawPackage {
    fn read(self, file: &str) -> Result<Pinned, Diagnostic> {
        let mut artifacts: Vec<Artifact> = self
            .wheels
            .iter()
            .filter_map(|raw| raw.read(Some(ArtifactKind::Wheel)))
            .collect();
        artifacts.extend(self.sdist.and_then(|raw| raw.read(Some(ArtifactKind::Sdist))));
        let mut direct = None;
        if let Some(vcs) = self.vcs {
            if vcs.r#type != "git" {
                return Err(Diagnostic::new(
                    Problem::Unsupported,
                    format!(
                        "{} comes from a {} repository, and coil reads Git only",
                        self.name, vcs.r#type
                    ),
                )
                .in_file(file));
            }
            let url = vcs
                .url
                .or(vcs.path)
                .ok_or_else(|| broken(file, format!("`{}` has no address", self.name)))?;
            direct = Some(Direct::Git {
                url,
                commit: vcs.commit_id,
                requested: vcs.requested_revision,
                subdirectory: vcs.subdirectory,
            });
        } else if let Some(directory) = self.directory {
            direct = Some(Direct::Directory {
                path: directory.path,
                editable: directory.editable,
                is_virtual: false,
            });
        } else if let Some(archive) = self.archive {
            artifacts.extend(archive.read(None));
            direct = match (archive.url, archive.path) {
                (Some(url), _) => Some(Direct::Url {
                    url,
                    subdirectory: archive.subdirectory,
                }),
                (None, Some(path)) => Some(Direct::Path { path }),
                (None, None) => {
                    return Err(broken(
                        file,
                        format!("the archive of `{}` has no address", self.name),
                    ));
                }
            };
        }
        Ok(Pinned {
            name: self.name,
            version: self.version,
            artifacts,
            hashes: Vec::new(),
            index: self.index.as_deref().map(without_credentials),
            extras: BTreeSet::new(),
            direct,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coil_oci::Arch;

    const LOCK: &str = r#"
lock-version = "1.0"
created-by = "test"
requires-python = ">=3.11"
extras = ["cli"]
dependency-groups = ["dev"]
default-groups = ["dev"]
[[packages]]
name = "A"
version = "1.0"
index = "https://u:p@pypi.org/simple"
wheels = [{ url = "https://x.org/a-1.0-py3-none-any.whl", size = 10, hashes = { sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" } }]
[[packages]]
name = "b"
version = "2.0"
marker = "'cli' in extras and (\"dev\" not in dependency_groups)"
[[packages]]
name = "c"
marker = "sys_platform == 'win32' or 'dev' in dependency_groups"
vcs = { type = "git", url = "https://x.org/r", commit-id = "0123456789" }
"#;

    fn names(extras: &[&str], groups: &[&str]) -> Vec<String> {
        let lock = Pylock::parse("pylock.toml", LOCK).expect("valid");
        let target = Target {
            python: "3.13.5".parse().expect("version"),
            arch: Arch::Arm64,
            libc: crate::Libc::Glibc(2, 41),
            free_threaded: false,
        };
        let set = |names: &[&str]| names.iter().map(|name| name.parse().expect("a name")).collect();
        let pinned = lock
            .select(&target, &set(extras), &set(groups))
            .expect("selectable");
        pinned.iter().map(|package| package.name.to_string()).collect()
    }

    #[test]
    fn extras_and_groups_are_sets() {
        assert_eq!(names(&[], &[]), ["a"]);
        assert_eq!(names(&["cli"], &[]), ["a", "b"]);
        assert_eq!(names(&["cli"], &["dev"]), ["a", "c"]);
    }

    #[test]
    fn files_and_refusals() {
        let lock = Pylock::parse("pylock.toml", LOCK).expect("valid");
        let first = &lock.packages[0].pinned;
        assert_eq!(first.index.as_deref(), Some("https://pypi.org/simple"));
        assert_eq!(
            (first.artifacts[0].size, first.artifacts[0].sha256.is_some()),
            (Some(10), true)
        );
        let old = Target {
            python: "3.9.2".parse().expect("version"),
            arch: Arch::Arm64,
            libc: crate::Libc::Glibc(2, 31),
            free_threaded: false,
        };
        assert!(lock.select(&old, &BTreeSet::new(), &BTreeSet::new()).is_err());
        let wish = BTreeSet::from(["nope".parse().expect("a name")]);
        let target = Target {
            python: "3.13.5".parse().expect("version"),
            ..old
        };
        let error = lock
            .select(&target, &wish, &BTreeSet::new())
            .expect_err("unknown")
            .to_string();
        assert!(error.contains("there are cli"), "{error}");
        assert!(Pylock::parse("pylock.toml", "lock-version = \"2.0\"\n").is_err());
    }
}
