//! Which of a project's files its packages are taken from.

use std::collections::BTreeMap;

use pep508_rs::PackageName;

use crate::diagnostic::{Diagnostic, Problem};
use crate::pdm_lock::PdmLock;
use crate::pipfile_lock::PipfileLock;
use crate::poetry_lock::PoetryLock;
use crate::project::{ProjectLock, ProjectWishes};
use crate::project_files::{ProjectFiles, join, parent};
use crate::pylock::Pylock;
use crate::pyproject::PyProject;
use crate::requirements_file::RequirementsFile;
use crate::uv_lock::UvLock;

/// How far up a workspace's lock is looked for.
const HIGHEST: usize = 5;

/// The locks that stand alone in a project's directory, in the order in which they are preferred.
const LOCKS: [&str; 5] = [
    "uv.lock",
    "pylock.toml",
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
];
const REQUIREMENTS: &str = "requirements.txt";

/// A project's files as far as they have been read.
pub(crate) struct Search<'a> {
    pub files: &'a dyn ProjectFiles,
    pub pyproject: Option<&'a PyProject>,
    /// The text of `pyproject.toml`.
    pub text: Option<&'a str>,
    /// Whether `[tool.poetry]` asks for packages.
    pub poetry: bool,
    pub variables: &'a BTreeMap<String, String>,
    pub wishes: &'a ProjectWishes,
}

impl Search<'_> {
    /// Finds the lock, and its directory relative to the project.
    pub(crate) fn find(&self, notes: &mut Vec<String>) -> Result<(ProjectLock, String), Diagnostic> {
        let wished = self.wishes.lock.as_deref();
        let set = self.pyproject.and_then(|file| file.coil.lock.as_deref());
        if let Some(path) = wished.or(set.filter(|_| !self.wishes.no_lock)) {
            let path = match path.starts_with('/') {
                true => path.to_owned(),
                false => join("", path),
            };
            return Ok((self.named(&path)?, parent(&path).to_owned()));
        }
        let mut candidates = self.present()?;
        if !self.wishes.no_lock {
            if let Some(found) = self.workspace()? {
                self.note_others(&candidates, notes);
                return Ok(found);
            }
            if !candidates.is_empty() {
                let chosen = candidates.remove(0);
                if self.files.is_file(REQUIREMENTS) {
                    candidates.push(REQUIREMENTS.to_owned());
                }
                if !candidates.is_empty() {
                    notes.push(format!(
                        "the packages are those of {chosen}; passed over: {}",
                        candidates.join(", ")
                    ));
                }
                return Ok((self.named(&chosen)?, String::new()));
            }
        }
        Ok((self.open(notes)?, String::new()))
    }

    fn note_others(&self, others: &[String], notes: &mut Vec<String>) {
        if !others.is_empty() {
            notes.push(format!(
                "the packages are those of the workspace's uv.lock; passed over: {}",
                others.join(", ")
            ));
        }
    }

    /// The locks that are there, the preferred one first.
    fn present(&self) -> Result<Vec<String>, Diagnostic> {
        let mut found: Vec<String> = LOCKS
            .into_iter()
            .filter(|name| self.files.is_file(name))
            .map(str::to_owned)
            .collect();
        // PEP 751: `pylock.NAME.toml` is one of several, for a purpose that only its name tells.
        let entries = self.files.list_dir("")?;
        let named = entries.into_iter().filter(|entry| {
            let middle = entry
                .name
                .strip_prefix("pylock.")
                .and_then(|rest| rest.strip_suffix(".toml"));
            !entry.is_dir && middle.is_some_and(|middle| !middle.is_empty() && !middle.contains('.'))
        });
        let named: Vec<String> = named.map(|entry| entry.name).collect();
        if named.len() > 1 && found.is_empty() && !self.wishes.no_lock {
            return Err(Diagnostic::new(
                Problem::Unknown,
                format!("there are several locks: {}", named.join(", ")),
            )
            .help(format!("choose one: `coil pack --lock {}`", named[0])));
        }
        let place = found
            .iter()
            .position(|name| !matches!(name.as_str(), "uv.lock" | "pylock.toml"))
            .unwrap_or(found.len());
        found.splice(place..place, named);
        Ok(found)
    }

    /// Reads the lock of this path; what kind it is, its name tells.
    fn named(&self, path: &str) -> Result<ProjectLock, Diagnostic> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let is_pylock = name.starts_with("pylock.") && name.ends_with(".toml");
        if !is_pylock && !LOCKS.contains(&name) {
            if name.ends_with(".txt") || name.ends_with(".in") {
                let found = RequirementsFile::read(self.files, path, self.variables)?;
                return Ok(ProjectLock::Requirements(Box::new(found)));
            }
            return Err(Diagnostic::new(
                Problem::Unknown,
                format!("{path} is no lock that coil knows"),
            )
            .help("name a uv.lock, pylock.toml, pylock.NAME.toml, poetry.lock, pdm.lock, Pipfile.lock or a requirements file (.txt)"));
        }
        let Some(text) = self.files.read_text(path)? else {
            return Err(
                Diagnostic::new(Problem::Unreadable, format!("there is no file {path}"))
                    .help("name a lock that exists, or none"),
            );
        };
        Ok(match name {
            "uv.lock" => ProjectLock::Uv(Box::new(UvLock::parse(path, &text)?)),
            "poetry.lock" => {
                let lock = PoetryLock::parse(path, &text, self.text)?;
                self.text.map_or(Ok(()), |pyproject| lock.check(pyproject))?;
                ProjectLock::Poetry(Box::new(lock))
            }
            "pdm.lock" => {
                let lock = PdmLock::parse(path, &text)?;
                self.text.map_or(Ok(()), |pyproject| lock.check(pyproject))?;
                ProjectLock::Pdm(Box::new(lock))
            }
            "Pipfile.lock" => {
                let lock = PipfileLock::parse(path, &text)?;
                if let Some(pipfile) = self.files.read_text(&join(parent(path), "Pipfile"))? {
                    lock.check(&pipfile)?;
                }
                ProjectLock::Pipfile(Box::new(lock))
            }
            _ => ProjectLock::Pylock(Box::new(Pylock::parse(path, &text)?)),
        })
    }

    /// What there is besides locks: requirements, or the project's own dependencies.
    fn open(&self, notes: &mut Vec<String>) -> Result<ProjectLock, Diagnostic> {
        let wishes = self.wishes;
        let asked_for = !wishes.extras.is_empty()
            || !wishes.groups.is_empty()
            || !wishes.only_groups.is_empty()
            || wishes.all_extras
            || wishes.all_groups;
        let has_dependencies = self.poetry
            || self.pyproject.is_some_and(|file| {
                let own = file
                    .project
                    .as_ref()
                    .is_some_and(|project| !project.dependencies.is_empty());
                own || asked_for || !file.coil.extras.is_empty() || !file.coil.groups.is_empty()
            });
        if self.files.is_file(REQUIREMENTS) {
            let found = RequirementsFile::read(self.files, REQUIREMENTS, self.variables)?;
            // Beside a pyproject.toml that says the same, requirements.txt counts only if it is the exacter of the two.
            let is_lock = !found.entries.is_empty() && !found.needs_resolution();
            if !has_dependencies || (is_lock && !wishes.no_lock && !asked_for) {
                if found.entries.is_empty() && !has_dependencies {
                    return Ok(ProjectLock::NoPackages);
                }
                return Ok(ProjectLock::Requirements(Box::new(found)));
            }
            notes.push(format!(
                "{REQUIREMENTS} is passed over: pyproject.toml has the dependencies"
            ));
        }
        if has_dependencies {
            return Ok(ProjectLock::Unlocked);
        }
        if self.files.is_file("Pipfile") {
            return Err(Diagnostic::new(
                Problem::Unsupported,
                "the dependencies are written for pipenv alone, and there is no Pipfile.lock",
            )
            .in_file("Pipfile")
            .help("run `pipenv lock`"));
        }
        if self
            .pyproject
            .and_then(|file| file.project.as_ref())
            .is_some_and(|project| project.dynamic.contains("dependencies"))
        {
            notes.push(
                "the dependencies are made by the build back end and are not known without a lock".to_owned(),
            );
        }
        Ok(ProjectLock::NoPackages)
    }

    /// The lock of the workspace that the project is a member of, where it has none of its own.
    fn workspace(&self) -> Result<Option<(ProjectLock, String)>, Diagnostic> {
        if self.files.is_file("uv.lock") {
            return Ok(None);
        }
        let Some(name) = self.pyproject.and_then(|file| file.name()) else {
            return Ok(None);
        };
        Ok(lock_above(self.files, &|lock| lock.members.contains(name))?
            .map(|(lock, directory)| (ProjectLock::Uv(Box::new(lock)), directory)))
    }
}

/// The nearest `uv.lock` above the project, if it is one that is meant.
fn lock_above(
    files: &dyn ProjectFiles,
    is_meant: &dyn Fn(&UvLock) -> bool,
) -> Result<Option<(UvLock, String)>, Diagnostic> {
    let mut directory = String::new();
    for _ in 0..HIGHEST {
        directory = join(&directory, "..");
        let path = join(&directory, "uv.lock");
        let Ok(Some(text)) = files.read_text(&path) else {
            continue;
        };
        // Any lock may lie above; only one that lists this project as a member is meant.
        let lock = UvLock::parse(&path, &text)?;
        return Ok(is_meant(&lock).then(|| (lock, parent(&path).to_owned())));
    }
    Ok(None)
}

/// The directory of the workspace's member `name`, relative to the project's: `packages/api`, or `../api` for a sister.
///
/// # Errors
/// When there is no lock that tells of members, or none of that name.
pub(crate) fn member_directory(files: &dyn ProjectFiles, name: &PackageName) -> Result<String, Diagnostic> {
    let found = match files.read_text("uv.lock")? {
        Some(text) => Some((UvLock::parse("uv.lock", &text)?, String::new())),
        None => lock_above(files, &|lock| !lock.members.is_empty())?,
    };
    let Some((lock, directory)) = found else {
        return Err(Diagnostic::new(
            Problem::Unknown,
            format!("there is no workspace to take `{name}` from: no uv.lock is here or above"),
        )
        .help("run `uv lock` in the workspace, or name the member's directory: `coil pack DIR`"));
    };
    Ok(join(&directory, &lock.member_directory(name)?))
}
