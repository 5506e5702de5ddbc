//! A project directory: what it is, where its packages are locked, and what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use pep508_rs::ExtraName;

use crate::diagnostic::{Diagnostic, Problem};
use crate::pinned::Pinned;
use crate::project_files::{ProjectFiles, join, parent};
use crate::pylock::Pylock;
use crate::pyproject::{Asked, PyProject};
use crate::python_choice::{PythonWish, python_version_file};
use crate::requirement::GroupName;
use crate::requirements_file::{RequirementsFile, ResolutionInput};
use crate::target::Target;
use crate::uv_lock::UvLock;
use crate::uv_selection::Selection;

/// How far up a workspace's lock is looked for.
const HIGHEST: usize = 5;

/// A project, read.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its `pyproject.toml`.
    pub pyproject: Option<PyProject>,
    /// Where its packages are written down.
    pub lock: ProjectLock,
    /// The directory of the lock, relative to the project: `""`, or `../..` in a workspace.
    pub lock_dir: String,
    /// The `.python-version` file's wish.
    pub python_version: Option<PythonWish>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Where a project's packages are written down.
#[derive(Debug, Clone)]
pub enum ProjectLock {
    /// `uv.lock`.
    Uv(Box<UvLock>),
    /// `pylock.toml`.
    Pylock(Box<Pylock>),
    /// `requirements.txt`: a lock, or to be resolved.
    Requirements(Box<RequirementsFile>),
    /// Nowhere: the dependencies of `pyproject.toml` are to be resolved.
    Unlocked,
    /// The project needs no packages at all.
    NoPackages,
}

/// What was asked for on top of the project itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectWishes {
    /// The project's own extras.
    pub extras: BTreeSet<ExtraName>,
    /// Dependency groups.
    pub groups: BTreeSet<GroupName>,
    /// Whether a lock of the project is passed over (`--no-lock`).
    pub no_lock: bool,
}

/// The packages of a project for a target, or what a resolver must be given first.
#[derive(Debug, Clone)]
pub enum Packages {
    /// These, sorted by name.
    Locked(Vec<Pinned>),
    /// Not known yet.
    Unresolved(ResolutionInput),
}

impl Project {
    /// Reads a project's files; `name` is the directory as errors name it.
    ///
    /// `variables` are for `${NAME}` in requirements files.
    pub fn load(
        files: &dyn ProjectFiles,
        name: &str,
        variables: &BTreeMap<String, String>,
        wishes: &ProjectWishes,
    ) -> Result<Project, Diagnostic> {
        let mut notes = Vec::new();
        let pyproject = match files.read_text("pyproject.toml")? {
            None => None,
            Some(text) => Some(PyProject::parse("pyproject.toml", &text)?),
        };
        let python_version = files
            .read_text(".python-version")?
            .as_deref()
            .and_then(python_version_file);
        let (lock, lock_dir) = find_lock(files, pyproject.as_ref(), variables, wishes, &mut notes)?;
        if pyproject.is_none() && matches!(lock, ProjectLock::NoPackages) && !has_code(files)? {
            return Err(no_project(files, name)?);
        }
        Ok(Project {
            pyproject,
            lock,
            lock_dir,
            python_version,
            notes,
        })
    }

    /// What has a say in the choice of the Python, after `explicit` (`--python`, with where it was said).
    pub fn python_wishes(&self, explicit: Option<(&str, &str)>) -> Vec<PythonWish> {
        let mut wishes = Vec::new();
        let say = |text: &str, found_in: &str| PythonWish::Explicit {
            text: text.to_owned(),
            found_in: found_in.to_owned(),
        };
        wishes.extend(explicit.map(|(text, found_in)| say(text, found_in)));
        if let Some(pyproject) = &self.pyproject
            && let Some(text) = &pyproject.coil.python
        {
            wishes.push(say(
                text,
                pyproject
                    .coil
                    .python_found_in
                    .as_deref()
                    .unwrap_or(&pyproject.file),
            ));
        }
        wishes.extend(self.python_version.clone());
        if let Some(requires) = self
            .pyproject
            .as_ref()
            .and_then(|file| file.project.as_ref())
            .and_then(|p| p.requires_python.as_ref())
        {
            wishes.push(PythonWish::Requires {
                specifiers: requires.specifiers.clone(),
                found_in: requires.found_in.clone(),
            });
        }
        let locked = match &self.lock {
            ProjectLock::Uv(lock) => lock
                .requires_python
                .as_ref()
                .map(|specifiers| (specifiers, &lock.file)),
            ProjectLock::Pylock(lock) => lock
                .requires_python
                .as_ref()
                .map(|specifiers| (specifiers, &lock.file)),
            _ => None,
        };
        wishes.extend(locked.map(|(specifiers, file)| PythonWish::Requires {
            specifiers: specifiers.clone(),
            found_in: file.clone(),
        }));
        wishes
    }

    /// The extras and groups: those wished for, and those of `[tool.coil]`.
    fn effective(&self, wishes: &ProjectWishes) -> (BTreeSet<ExtraName>, BTreeSet<GroupName>) {
        let (mut extras, mut groups) = (wishes.extras.clone(), wishes.groups.clone());
        if let Some(pyproject) = &self.pyproject {
            extras.extend(pyproject.coil.extras.iter().cloned());
            groups.extend(pyproject.coil.groups.iter().cloned());
        }
        (extras, groups)
    }

    /// The packages for a target; a lock that doesn't match the project is an error.
    pub fn packages(&self, target: &Target, wishes: &ProjectWishes) -> Result<Packages, Diagnostic> {
        let (extras, groups) = self.effective(wishes);
        match &self.lock {
            ProjectLock::Uv(lock) => {
                if let Some(pyproject) = &self.pyproject {
                    lock.check(pyproject)?;
                }
                let package = self.pyproject.as_ref().and_then(|file| file.name()).cloned();
                lock.select(
                    &Selection {
                        package,
                        extras,
                        groups,
                    },
                    target,
                )
                .map(Packages::Locked)
            }
            ProjectLock::Pylock(lock) => lock.select(target, &extras, &groups).map(Packages::Locked),
            ProjectLock::Requirements(file) if !file.needs_resolution() => {
                file.select(target).map(Packages::Locked)
            }
            ProjectLock::Requirements(file) => Ok(Packages::Unresolved(file.resolution_input())),
            ProjectLock::Unlocked => self.input(&extras, &groups).map(Packages::Unresolved),
            ProjectLock::NoPackages => Ok(Packages::Locked(Vec::new())),
        }
    }

    /// The dependencies of `pyproject.toml` as text for a resolver.
    fn input(
        &self,
        extras: &BTreeSet<ExtraName>,
        groups: &BTreeSet<GroupName>,
    ) -> Result<ResolutionInput, Diagnostic> {
        let Some(pyproject) = &self.pyproject else {
            return Ok(ResolutionInput::default());
        };
        let mut asked: Vec<Asked> = Vec::new();
        if let Some(project) = &pyproject.project {
            asked.extend(project.dependencies.iter().cloned());
            let mut open: Vec<ExtraName> = extras.iter().rev().cloned().collect();
            let mut seen = BTreeSet::new();
            while let Some(extra) = open.pop() {
                if !seen.insert(extra.clone()) {
                    continue;
                }
                let Some(list) = project.extras.get(&extra) else {
                    return Err(pyproject.unknown("extra", &extra, project.extras.keys()));
                };
                for item in list {
                    // `web[all]` inside of `web`: more of its own extras.
                    if item.requirement.name == project.name {
                        open.extend(item.requirement.extras.iter().cloned());
                    } else {
                        asked.push(item.clone());
                    }
                }
            }
        }
        for group in groups {
            asked.extend(pyproject.group(group)?);
        }
        if let Some((name, asked)) = asked.iter().find_map(|asked| {
            let sources = pyproject.uv.sources.get(&asked.requirement.name)?;
            sources
                .iter()
                .any(|source| source.index.is_none())
                .then_some((&asked.requirement.name, asked))
        }) {
            return Err(Diagnostic::new(
                Problem::Unsupported,
                format!(
                    "`{name}` has a source of its own in [tool.uv.sources], which only a lock can follow"
                ),
            )
            .in_file(&format!("{}:{}", pyproject.file, asked.line))
            .help("run `uv lock`"));
        }
        Ok(ResolutionInput {
            requirements: asked
                .iter()
                .map(|asked| format!("{}\n", asked.requirement))
                .collect(),
            uv: pyproject.uv.for_resolution(extras, groups),
            ..ResolutionInput::default()
        })
    }
}

fn find_lock(
    files: &dyn ProjectFiles,
    pyproject: Option<&PyProject>,
    variables: &BTreeMap<String, String>,
    wishes: &ProjectWishes,
    notes: &mut Vec<String>,
) -> Result<(ProjectLock, String), Diagnostic> {
    let has_dependencies = pyproject.is_some_and(|file| {
        let own = file
            .project
            .as_ref()
            .is_some_and(|project| !project.dependencies.is_empty());
        own || !wishes.extras.is_empty()
            || !wishes.groups.is_empty()
            || !file.coil.extras.is_empty()
            || !file.coil.groups.is_empty()
    });
    if !wishes.no_lock {
        if let Some(found) = uv_lock(files, pyproject)? {
            return Ok(found);
        }
        if let Some(text) = files.read_text("pylock.toml")? {
            let lock = Pylock::parse("pylock.toml", &text)?;
            return Ok((ProjectLock::Pylock(Box::new(lock)), String::new()));
        }
    }
    if files.is_file("requirements.txt") {
        let found = RequirementsFile::read(files, "requirements.txt", variables)?;
        // Beside a pyproject.toml that says the same, requirements.txt counts only if it is the exacter of the two.
        let is_lock = !found.entries.is_empty() && !found.needs_resolution();
        if !has_dependencies || (is_lock && !wishes.no_lock) {
            if found.entries.is_empty() && !has_dependencies {
                return Ok((ProjectLock::NoPackages, String::new()));
            }
            return Ok((ProjectLock::Requirements(Box::new(found)), String::new()));
        }
        notes.push("requirements.txt is passed over: pyproject.toml has the dependencies".to_owned());
    }
    if has_dependencies {
        for other in ["poetry.lock", "pdm.lock", "Pipfile.lock"] {
            if files.is_file(other) {
                notes.push(format!(
                    "{other} is passed over: coil reads uv.lock, pylock.toml and requirements.txt"
                ));
            }
        }
        return Ok((ProjectLock::Unlocked, String::new()));
    }
    if pyproject.is_some_and(|file| file.project.is_none() && file.tools.contains("poetry"))
        || files.is_file("Pipfile")
    {
        let (file, tool) = if files.is_file("Pipfile") {
            ("Pipfile", "pipenv")
        } else {
            ("pyproject.toml", "poetry")
        };
        return Err(Diagnostic::new(
            Problem::Unsupported,
            format!("the dependencies are written for {tool} alone"),
        )
        .in_file(file)
        .help(format!(
            "write a requirements.txt with `{}`",
            if tool == "pipenv" {
                "pipenv requirements --hash > requirements.txt"
            } else {
                "poetry export -o requirements.txt"
            }
        )));
    }
    if pyproject
        .and_then(|file| file.project.as_ref())
        .is_some_and(|project| project.dynamic.contains("dependencies"))
    {
        notes.push(
            "the dependencies are made by the build back end and are not known without a lock".to_owned(),
        );
    }
    Ok((ProjectLock::NoPackages, String::new()))
}

/// The project's `uv.lock`, or that of the workspace it is a member of.
fn uv_lock(
    files: &dyn ProjectFiles,
    pyproject: Option<&PyProject>,
) -> Result<Option<(ProjectLock, String)>, Diagnostic> {
    if let Some(text) = files.read_text("uv.lock")? {
        let lock = UvLock::parse("uv.lock", &text)?;
        return Ok(Some((ProjectLock::Uv(Box::new(lock)), String::new())));
    }
    let Some(name) = pyproject.and_then(|file| file.name()) else {
        return Ok(None);
    };
    let mut directory = String::new();
    for _ in 0..HIGHEST {
        directory = join(&directory, "..");
        let path = join(&directory, "uv.lock");
        let Ok(Some(text)) = files.read_text(&path) else {
            continue;
        };
        // Any lock may lie above; only one that lists this project as a member is meant.
        let lock = UvLock::parse(&path, &text)?;
        if lock.members.contains(name) {
            return Ok(Some((ProjectLock::Uv(Box::new(lock)), parent(&path).to_owned())));
        }
        break;
    }
    Ok(None)
}

fn has_code(files: &dyn ProjectFiles) -> Result<bool, Diagnostic> {
    for directory in ["", "src"] {
        for entry in files.list_dir(directory)? {
            let package = |name: &str| files.is_file(&join(directory, &format!("{}/{name}", entry.name)));
            let is_code = if entry.is_dir {
                package("__init__.py") || package("__main__.py") || package("main.py")
            } else {
                entry.name.ends_with(".py")
            };
            if is_code {
                return Ok(true);
            }
        }
    }
    Ok(files.is_file("requirements.txt") || files.is_file("Procfile"))
}

fn no_project(files: &dyn ProjectFiles, name: &str) -> Result<Diagnostic, Diagnostic> {
    let error = Diagnostic::new(
        Problem::NoProject,
        format!("there is no Python project in {name}"),
    )
    .note("looked for pyproject.toml, uv.lock, pylock.toml, requirements.txt and Python files");
    for entry in files.list_dir("")? {
        if entry.is_dir && files.is_file(&format!("{}/pyproject.toml", entry.name)) {
            return Ok(error.help(format!(
                "did you mean {}/{}?",
                name.trim_end_matches('/'),
                entry.name
            )));
        }
    }
    if files.is_file("Dockerfile") {
        return Ok(error.help("it has a Dockerfile: `coil build` builds it"));
    }
    Ok(error.help("name the project's directory: `coil pack DIR`"))
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
