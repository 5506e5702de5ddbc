//! Whether a `uv.lock` still says what `pyproject.toml` asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::str::FromStr;

use pep440_rs::{Operator, Version, VersionSpecifiers, release_specifiers_to_ranges};
use pep508_rs::{ExtraName, MarkerTree, PackageName, VersionOrUrl};

use crate::diagnostic::{Diagnostic, Problem};
use crate::pyproject::{Asked, PyProject};
use crate::requirement::{parse_marker, url_of};
use crate::uv_lock::{LockedPackage, UvLock, Wanted};

/// A requirement in a form that compares: the same however it is spelled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Canonical {
    extras: BTreeSet<ExtraName>,
    /// Sorted specifiers; `None` where another source decides.
    specifiers: Option<Vec<String>>,
    marker: MarkerTree,
}

impl UvLock {
    /// Compares the lock with the project that it was made for.
    ///
    /// The dependencies, extras, groups and `requires-python` are compared; dependencies that a build back end makes up
    /// (`dynamic`) can't be. The error names each difference and its line.
    pub fn check(&self, pyproject: &PyProject) -> Result<(), Diagnostic> {
        let Some(project) = &pyproject.project else {
            return Ok(());
        };
        let Some(package) = self.local_packages().find(|package| package.name == project.name) else {
            return Err(self.out_of_date(
                pyproject,
                vec![format!(
                    "`{}` is missing (it is the project itself)",
                    project.name
                )],
            ));
        };
        let mut differences = Vec::new();
        let simplify = self.simplifier();
        if let Some(requires_dist) = &package.requires_dist {
            if !project.dynamic.contains("dependencies") {
                let optional = !project.dynamic.contains("optional-dependencies");
                let asked = project.dependencies.iter().map(|asked| (asked, None)).chain(
                    project
                        .extras
                        .iter()
                        .filter(|_| optional)
                        .flat_map(|(extra, list)| list.iter().map(move |asked| (asked, Some(extra)))),
                );
                let asked: Vec<(&Asked, Option<&ExtraName>)> = asked.collect();
                compare(pyproject, &asked, requires_dist, &simplify, "", &mut differences);
            }
        } else if !project.dependencies.is_empty() && package.dependencies.is_empty() {
            let asked: Vec<(&Asked, Option<&ExtraName>)> =
                project.dependencies.iter().map(|a| (a, None)).collect();
            compare(pyproject, &asked, &[], &simplify, "", &mut differences);
        }
        self.check_groups(pyproject, package, &simplify, &mut differences)?;
        self.check_python(pyproject, &mut differences);
        if differences.is_empty() {
            Ok(())
        } else {
            Err(self.out_of_date(pyproject, differences))
        }
    }

    fn check_groups(
        &self,
        pyproject: &PyProject,
        package: &LockedPackage,
        simplify: &dyn Fn(MarkerTree) -> MarkerTree,
        differences: &mut Vec<String>,
    ) -> Result<(), Diagnostic> {
        for name in pyproject.groups.keys() {
            let asked = pyproject.group(name)?;
            let asked: Vec<(&Asked, Option<&ExtraName>)> = asked.iter().map(|asked| (asked, None)).collect();
            let locked = package
                .requires_dev
                .get(name)
                .map(Vec::as_slice)
                .unwrap_or_default();
            compare(
                pyproject,
                &asked,
                locked,
                simplify,
                &format!(" in group `{name}`"),
                differences,
            );
        }
        for (name, locked) in &package.requires_dev {
            if !pyproject.groups.contains_key(name) && !locked.is_empty() {
                differences.push(format!(
                    "the group `{name}` is locked and no longer in {}",
                    pyproject.file
                ));
            }
        }
        Ok(())
    }

    fn check_python(&self, pyproject: &PyProject, differences: &mut Vec<String>) {
        // A workspace's lock holds what all members have in common, which one member can't tell.
        if self.members.len() > 1 {
            return;
        }
        let asked = pyproject
            .project
            .as_ref()
            .and_then(|project| project.requires_python.as_ref());
        let (Some(asked), Some(locked)) = (asked, &self.requires_python) else {
            return;
        };
        if release_specifiers_to_ranges(asked.specifiers.clone())
            != release_specifiers_to_ranges(locked.clone())
        {
            differences.push(format!(
                "it was made for Python {locked} ({} asks for {})",
                asked.found_in, asked.text
            ));
        }
    }

    /// uv leaves out of markers what `requires-python` already says; this does the same to both sides.
    fn simplifier(&self) -> impl Fn(MarkerTree) -> MarkerTree + use<> {
        let (lower, upper) = self
            .requires_python
            .as_ref()
            .map_or((Bound::Unbounded, Bound::Unbounded), bounds);
        move |marker: MarkerTree| marker.simplify_python_versions(lower.as_ref(), upper.as_ref())
    }

    fn out_of_date(&self, pyproject: &PyProject, mut differences: Vec<String>) -> Diagnostic {
        let first = if differences.is_empty() {
            String::new()
        } else {
            differences.remove(0)
        };
        let mut error = Diagnostic::new(
            Problem::LockOutOfDate,
            format!("the lock file does not match {}", pyproject.file),
        )
        .in_file(&self.file)
        .label(first)
        .help("run `uv lock`, or `coil pack --no-lock` to resolve afresh");
        error.notes = differences;
        error
    }
}

/// The lowest and highest version that specifiers allow.
fn bounds(specifiers: &VersionSpecifiers) -> (Bound<Version>, Bound<Version>) {
    let (mut lower, mut upper) = (Bound::Unbounded, Bound::Unbounded);
    for specifier in specifiers.iter() {
        let version = specifier.version().only_release();
        match specifier.operator() {
            Operator::GreaterThanEqual => lower = Bound::Included(version),
            Operator::GreaterThan => lower = Bound::Excluded(version),
            Operator::LessThan => upper = Bound::Excluded(version),
            Operator::LessThanEqual => upper = Bound::Included(version),
            Operator::Equal => {
                lower = Bound::Included(version.clone());
                upper = Bound::Included(version);
            }
            Operator::EqualStar | Operator::TildeEqual => {
                let release = version.release();
                let keep = if *specifier.operator() == Operator::TildeEqual {
                    release.len().saturating_sub(1)
                } else {
                    release.len()
                };
                let mut next = release[..keep.max(1)].to_vec();
                if let Some(last) = next.last_mut() {
                    *last += 1;
                }
                upper = Bound::Excluded(Version::new(next));
                lower = Bound::Included(version);
            }
            _ => {}
        }
    }
    (lower, upper)
}

fn compare(
    pyproject: &PyProject,
    asked: &[(&Asked, Option<&ExtraName>)],
    locked: &[Wanted],
    simplify: &dyn Fn(MarkerTree) -> MarkerTree,
    place: &str,
    differences: &mut Vec<String>,
) {
    let mut theirs: BTreeMap<&PackageName, Vec<(Option<Canonical>, &Wanted)>> = BTreeMap::new();
    for wanted in locked {
        theirs
            .entry(&wanted.name)
            .or_default()
            .push((canonical_locked(wanted, simplify), wanted));
    }
    let mut seen: BTreeSet<&PackageName> = BTreeSet::new();
    for (asked, extra) in asked {
        let name = &asked.requirement.name;
        let asks = format!(
            "{} line {} asks for {}{}",
            pyproject.file,
            asked.line,
            asked.short(),
            extra
                .map(|extra| format!(" in extra `{extra}`"))
                .unwrap_or_default()
        );
        let sourced = pyproject.uv.sources.contains_key(name);
        let ours = canonical_asked(asked, *extra, sourced, simplify);
        // Never true for any Python of the project: uv leaves it out.
        if ours.marker.is_false() {
            seen.insert(name);
            continue;
        }
        seen.insert(name);
        match theirs.get(name) {
            None => differences.push(format!("`{name}` is missing{place} ({asks})")),
            Some(list) => {
                let fits = list.iter().any(|(canonical, wanted)| match canonical {
                    // What can't be read is left to uv to judge.
                    None => true,
                    Some(theirs) => {
                        theirs.extras == ours.extras
                            && (sourced || theirs.marker == ours.marker)
                            && (wanted.is_direct
                                || ours.specifiers.is_none()
                                || theirs.specifiers == ours.specifiers)
                    }
                });
                if !fits {
                    let locked: Vec<String> = list.iter().map(|(_, wanted)| describe(wanted)).collect();
                    differences.push(format!(
                        "`{name}` is locked{place} as {} ({asks})",
                        locked.join(" and ")
                    ));
                }
            }
        }
    }
    for name in theirs.keys() {
        if !seen.contains(*name) {
            differences.push(format!(
                "`{name}` is locked{place} and {} no longer asks for it",
                pyproject.file
            ));
        }
    }
}

fn describe(wanted: &Wanted) -> String {
    let extras: Vec<&str> = wanted.extras.iter().map(AsRef::as_ref).collect();
    let mut text = wanted.name.to_string();
    if !extras.is_empty() {
        text.push_str(&format!("[{}]", extras.join(",")));
    }
    text.push_str(wanted.specifier.as_deref().unwrap_or_default());
    if let Some(marker) = &wanted.marker {
        text.push_str(&format!(" ; {marker}"));
    }
    text
}

fn sorted(specifiers: &VersionSpecifiers) -> Vec<String> {
    let mut list: Vec<String> = specifiers.iter().map(ToString::to_string).collect();
    list.sort();
    list
}

fn canonical_asked(
    asked: &Asked,
    extra: Option<&ExtraName>,
    sourced: bool,
    simplify: &dyn Fn(MarkerTree) -> MarkerTree,
) -> Canonical {
    let requirement = match extra {
        Some(extra) => asked.requirement.clone().with_extra_marker(extra),
        None => asked.requirement.clone(),
    };
    let specifiers = match &requirement.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => Some(sorted(specifiers)),
        _ if sourced || url_of(&requirement).is_some() => None,
        _ => Some(Vec::new()),
    };
    Canonical {
        extras: requirement.extras.iter().cloned().collect(),
        specifiers,
        marker: simplify(requirement.marker),
    }
}

fn canonical_locked(wanted: &Wanted, simplify: &dyn Fn(MarkerTree) -> MarkerTree) -> Option<Canonical> {
    let specifiers = match wanted.specifier.as_deref() {
        None => Vec::new(),
        Some(text) => sorted(&VersionSpecifiers::from_str(text).ok()?),
    };
    let marker = match wanted.marker.as_deref() {
        None => MarkerTree::TRUE,
        Some(text) => parse_marker(text)?,
    };
    Some(Canonical {
        extras: wanted.extras.clone(),
        specifiers: Some(specifiers),
        marker: simplify(marker),
    })
}
