//! A project directory: what it is, where its packages are locked, and what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use pep440_rs::VersionSpecifiers;
use pep508_rs::{ExtraName, PackageName};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, Problem};
use crate::lock_choice::{Search, member_directory};
use crate::pdm_lock::PdmLock;
use crate::pinned::Pinned;
use crate::pipfile_lock::PipfileLock;
use crate::poetry_dependency::PoetryProject;
use crate::poetry_lock::PoetryLock;
use crate::project_files::{ProjectFiles, join};
use crate::pylock::Pylock;
use crate::pyproject::PyProject;
use crate::python_choice::{PythonWish, python_version_file};
use crate::requirement::GroupName;
use crate::requirements_file::{RequirementsFile, ResolutionInput};
use crate::selection::Selection;
use crate::target::Target;
use crate::uv_lock::UvLock;

/// A project, read.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its `pyproject.toml`.
    pub pyproject: Option<PyProject>,
    /// `[tool.poetry]`, where the dependencies stand there and nowhere else.
    poetry: Option<PoetryProject>,
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
    /// `poetry.lock`.
    Poetry(Box<PoetryLock>),
    /// `pdm.lock`.
    Pdm(Box<PdmLock>),
    /// `Pipfile.lock`.
    Pipfile(Box<PipfileLock>),
    /// `requirements.txt`: a lock, or to be resolved.
    Requirements(Box<RequirementsFile>),
    /// Nowhere: the dependencies of `pyproject.toml` are to be resolved.
    Unlocked,
    /// The project needs no packages at all.
    NoPackages,
}

impl ProjectLock {
    /// Where the list of packages comes from, for people.
    pub fn found_in(&self) -> &str {
        match self {
            ProjectLock::Uv(lock) => &lock.file,
            ProjectLock::Pylock(lock) => &lock.file,
            ProjectLock::Poetry(lock) => &lock.file,
            ProjectLock::Pdm(lock) => &lock.file,
            ProjectLock::Pipfile(lock) => &lock.file,
            ProjectLock::Requirements(file) => &file.file,
            ProjectLock::Unlocked => "pyproject.toml",
            ProjectLock::NoPackages => "no dependencies",
        }
    }

    /// The Python versions that the lock is good for.
    pub fn requires_python(&self) -> Option<&VersionSpecifiers> {
        match self {
            ProjectLock::Uv(lock) => lock.requires_python.as_ref(),
            ProjectLock::Pylock(lock) => lock.requires_python.as_ref(),
            ProjectLock::Poetry(lock) => lock.requires_python.as_ref(),
            ProjectLock::Pdm(lock) => lock.requires_python.as_ref(),
            ProjectLock::Pipfile(lock) => lock.requires_python.as_ref(),
            ProjectLock::Requirements(_) | ProjectLock::Unlocked | ProjectLock::NoPackages => None,
        }
    }
}

/// What was asked for on top of the project itself; added to what `[tool.coil]` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProjectWishes {
    /// The project's own extras.
    pub extras: BTreeSet<ExtraName>,
    /// Whether all of them.
    pub all_extras: bool,
    /// Dependency groups.
    pub groups: BTreeSet<GroupName>,
    /// Whether all of them.
    pub all_groups: bool,
    /// Groups that stay out, whatever else says that they are in.
    pub no_groups: BTreeSet<GroupName>,
    /// Groups that are all there is: neither the project nor what it needs.
    pub only_groups: BTreeSet<GroupName>,
    /// Whether the groups of `[tool.coil]` and those that a lock calls its default ones stay out.
    pub no_default_groups: bool,
    /// The member of a workspace that is packed.
    pub package: Option<PackageName>,
    /// The lock's path, relative to the project, where it isn't to be looked for.
    pub lock: Option<String>,
    /// Whether a lock of the project is passed over (`--no-lock`).
    pub no_lock: bool,
}

/// The packages of a project for a target, or what a resolver must be given first.
#[derive(Debug, Clone)]
pub enum Packages {
    /// These, sorted by name.
    Locked(Vec<Pinned>),
    /// Not known yet.
    Unresolved(Box<ResolutionInput>),
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
        let text = files.read_text("pyproject.toml")?;
        let pyproject = match &text {
            None => None,
            Some(text) => Some(PyProject::parse("pyproject.toml", text)?),
        };
        let poetry = match (&pyproject, &text) {
            (Some(file), Some(text)) if file.tools.contains("poetry") => poetry_of(file, text)?,
            _ => None,
        };
        let python_version = files
            .read_text(".python-version")?
            .as_deref()
            .and_then(python_version_file);
        let search = Search {
            files,
            pyproject: pyproject.as_ref(),
            text: text.as_deref(),
            poetry: poetry.is_some(),
            variables,
            wishes,
        };
        let (lock, lock_dir) = search.find(&mut notes)?;
        if pyproject.is_none() && matches!(lock, ProjectLock::NoPackages) && !has_code(files)? {
            return Err(no_project(files, name)?);
        }
        Ok(Project {
            pyproject,
            poetry,
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
        if let Some(python) = self.poetry.as_ref().and_then(|poetry| poetry.specifiers()) {
            wishes.push(PythonWish::Requires {
                specifiers: python,
                found_in: "pyproject.toml".to_owned(),
            });
        }
        let locked = self.lock.requires_python();
        wishes.extend(locked.map(|specifiers| PythonWish::Requires {
            specifiers: specifiers.clone(),
            found_in: self.lock.found_in().to_owned(),
        }));
        wishes
    }

    /// The directory of the member that is to be packed, relative to `files`: `packages/api`.
    ///
    /// It is `None` where the project itself is meant: no member is asked for, by `wishes` or `[tool.coil]`.
    pub fn member(files: &dyn ProjectFiles, wishes: &ProjectWishes) -> Result<Option<String>, Diagnostic> {
        let text = files.read_text("pyproject.toml")?;
        let pyproject = match (&wishes.package, &text) {
            // Only `[tool.coil]` could name one, and most projects have no such key.
            (None, Some(text)) if !text.contains("package") => return Ok(None),
            (_, Some(text)) => Some(PyProject::parse("pyproject.toml", text)?),
            (_, None) => None,
        };
        let set = pyproject.as_ref().and_then(|file| file.coil.package.as_ref());
        let Some(name) = wishes.package.as_ref().or(set) else {
            return Ok(None);
        };
        if pyproject.as_ref().and_then(PyProject::name) == Some(name) {
            return Ok(None);
        }
        let directory = member_directory(files, name)?;
        Ok(Some(directory).filter(|directory| !directory.is_empty()))
    }

    /// What is wanted out of the lock: what was wished for, and what `[tool.coil]` says.
    fn selection(&self, wishes: &ProjectWishes) -> Selection {
        let coil = self.pyproject.as_ref().map(|file| &file.coil);
        let mut selection = Selection {
            package: self.pyproject.as_ref().and_then(PyProject::name).cloned(),
            extras: wishes.extras.clone(),
            all_extras: wishes.all_extras,
            groups: wishes.groups.clone(),
            all_groups: wishes.all_groups,
            no_groups: wishes.no_groups.clone(),
            only_groups: !wishes.only_groups.is_empty(),
            no_default_groups: wishes.no_default_groups,
        };
        if selection.only_groups {
            selection.groups.extend(wishes.only_groups.iter().cloned());
            return selection;
        }
        if let Some(coil) = coil {
            selection.extras.extend(coil.extras.iter().cloned());
            if !wishes.no_default_groups {
                selection.groups.extend(coil.groups.iter().cloned());
            }
        }
        selection
    }

    /// The packages for a target; a lock that doesn't match the project is an error.
    pub fn packages(&self, target: &Target, wishes: &ProjectWishes) -> Result<Packages, Diagnostic> {
        let selection = self.selection(wishes);
        match &self.lock {
            ProjectLock::Uv(lock) => {
                if let Some(pyproject) = &self.pyproject {
                    lock.check(pyproject)?;
                }
                lock.select(&selection, target).map(Packages::Locked)
            }
            ProjectLock::Pylock(lock) => lock.select_wished(&selection, target).map(Packages::Locked),
            ProjectLock::Poetry(lock) => lock.select(&selection, target).map(Packages::Locked),
            ProjectLock::Pdm(lock) => lock
                .select(&selection, target, self.pyproject.as_ref())
                .map(Packages::Locked),
            ProjectLock::Pipfile(lock) => lock.select(&selection, target).map(Packages::Locked),
            ProjectLock::Requirements(file) => {
                for (what, asked) in [
                    ("extra", &wishes.extras),
                    ("dependency group", &wishes.groups),
                    ("dependency group", &wishes.only_groups),
                ] {
                    if let Some(name) = asked.first() {
                        return Err(Diagnostic::new(
                            Problem::Unknown,
                            format!("a requirements file has no {what} `{name}`"),
                        )
                        .in_file(&file.file)
                        .help("name another file with --lock, or remove the flag"));
                    }
                }
                match file.needs_resolution() {
                    true => Ok(Packages::Unresolved(Box::new(file.resolution_input()))),
                    false => file.select(target).map(Packages::Locked),
                }
            }
            ProjectLock::Unlocked => Ok(Packages::Unresolved(Box::new(self.input(&selection)?))),
            ProjectLock::NoPackages => Ok(Packages::Locked(Vec::new())),
        }
    }

    /// The dependencies of `pyproject.toml` as text for a resolver.
    fn input(&self, selection: &Selection) -> Result<ResolutionInput, Diagnostic> {
        let Some(pyproject) = &self.pyproject else {
            return Ok(ResolutionInput::default());
        };
        let known = match &pyproject.project {
            Some(project) => project.extras.keys().cloned().collect(),
            None => BTreeSet::new(),
        };
        let mut extras = selection.extras.clone();
        if selection.all_extras {
            extras.extend(known);
        }
        let mut groups = selection.groups.clone();
        if selection.all_groups {
            groups.extend(pyproject.groups.keys().cloned());
        }
        groups.retain(|name| !selection.no_groups.contains(name));
        if let Some(poetry) = &self.poetry {
            return Ok(ResolutionInput {
                requirements: poetry.requirements(selection)?,
                ..ResolutionInput::default()
            });
        }
        let asked = pyproject.asked(&extras, &groups, !selection.only_groups)?;
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
            uv: pyproject.uv.for_resolution(&extras, &groups),
            ..ResolutionInput::default()
        })
    }
}

/// `[tool.poetry]`, if `[project]` doesn't say the dependencies.
fn poetry_of(pyproject: &PyProject, text: &str) -> Result<Option<PoetryProject>, Diagnostic> {
    let standard = pyproject
        .project
        .as_ref()
        .is_some_and(|project| !project.dependencies.is_empty());
    if standard {
        return Ok(None);
    }
    let poetry = PoetryProject::read(&toml::from_str(text).unwrap_or_default())
        .map_err(|what| Diagnostic::new(Problem::Syntax, what).in_file(&pyproject.file))?;
    Ok(poetry.filter(|poetry| !poetry.main.is_empty()))
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
    .note("looked for pyproject.toml, a lock, requirements.txt and Python files");
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
