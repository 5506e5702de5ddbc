//! `pyproject.toml` (PEP 517, 518, 621, 735): read with the place of every value.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraName, PackageName};

use crate::coil_settings::{self, CoilSettings};
use crate::diagnostic::{Diagnostic, Problem, by_nearness, line_of, near_miss};
use crate::requirement::{GroupName, Requirement, parse_requirement, short};
use crate::toml_document::{Document, Item, Table};
use crate::uv_settings::{self, DefaultGroups, UvSettings};

/// A project's `pyproject.toml`.
#[derive(Debug, Clone, Default)]
pub struct PyProject {
    /// The file's path, as errors name it.
    pub file: String,
    /// `[project]`; `None` where the file has no such table.
    pub project: Option<ProjectTable>,
    /// `[build-system]`.
    pub build_system: Option<BuildSystem>,
    /// `[dependency-groups]`, as written.
    pub groups: BTreeMap<GroupName, Vec<GroupEntry>>,
    /// `[tool.uv]`.
    pub uv: UvSettings,
    /// `[tool.coil]`.
    pub coil: CoilSettings,
    /// The names of the tables in `[tool]`: tells poetry's and pdm's projects.
    pub tools: BTreeSet<String>,
}

/// `[project]` (the "pyproject.toml specification" of PyPA).
#[derive(Debug, Clone)]
pub struct ProjectTable {
    /// The name, normalised.
    pub name: PackageName,
    /// The name as written.
    pub display_name: String,
    /// The version; `None` if it is dynamic or not given.
    pub version: Option<Version>,
    /// The fields that the build back end fills in.
    pub dynamic: BTreeSet<String>,
    /// `requires-python`.
    pub requires_python: Option<RequiresPython>,
    /// `dependencies`.
    pub dependencies: Vec<Asked>,
    /// `optional-dependencies`.
    pub extras: BTreeMap<ExtraName, Vec<Asked>>,
    /// `scripts`, by name.
    pub scripts: Vec<ScriptEntry>,
    /// `gui-scripts`, by name.
    pub gui_scripts: Vec<ScriptEntry>,
    /// `entry-points`: group, name, object.
    pub entry_points: BTreeMap<String, BTreeMap<String, String>>,
}

/// A requirement and where it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What is asked for.
    pub requirement: Requirement,
    /// The same as written.
    pub text: String,
    /// The line, from 1.
    pub line: usize,
}

impl Asked {
    /// The requirement in short, without its marker: `httpx>=0.27`.
    pub fn short(&self) -> String {
        short(&self.requirement)
    }
}

/// `requires-python` and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiresPython {
    /// The specifiers.
    pub specifiers: VersionSpecifiers,
    /// The text as written.
    pub text: String,
    /// The file and line: `pyproject.toml line 5`.
    pub found_in: String,
}

/// One script of `[project.scripts]` (PyPA's "entry points specification").
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ScriptEntry {
    /// The program's name.
    pub name: String,
    /// The module to import.
    pub module: String,
    /// The object in it, dotted.
    pub attribute: String,
    /// The extras it needs (an obsolete part of the format).
    pub extras: Vec<String>,
    /// The line, from 1.
    pub line: usize,
}

/// `[build-system]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildSystem {
    /// `requires`, as written.
    pub requires: Vec<String>,
    /// `build-backend`.
    pub backend: Option<String>,
    /// `backend-path`.
    pub backend_path: Vec<String>,
}

/// One entry of a dependency group (PEP 735).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupEntry {
    /// A requirement.
    Asked(Asked),
    /// All of another group, and the line that says so.
    Include(GroupName, usize),
}

impl PyProject {
    /// Reads the file's text; `file` is the path that errors name.
    pub fn parse(file: &str, text: &str) -> Result<PyProject, Diagnostic> {
        let document = Document { file, text };
        let root = document.parse()?;
        let top = Table {
            document,
            path: String::new(),
            table: root.get_ref(),
        };
        let mut pyproject = PyProject {
            file: file.to_owned(),
            ..PyProject::default()
        };
        if let Some(table) = top.table("project")? {
            pyproject.project = Some(project(&table)?);
        }
        if let Some(table) = top.table("build-system")? {
            pyproject.build_system = Some(BuildSystem {
                requires: table.strings("requires")?,
                backend: table.string("build-backend")?,
                backend_path: table.strings("backend-path")?,
            });
        }
        if let Some(table) = top.table("dependency-groups")? {
            for (key, span, item) in table.entries() {
                let name = extra_name(document, key, span)?;
                let entries = item.items()?.iter().map(group_entry).collect::<Result<_, _>>()?;
                pyproject.groups.insert(name, entries);
            }
        }
        if let Some(tools) = top.table("tool")? {
            pyproject.tools = tools.entries().map(|(key, ..)| key.to_owned()).collect();
            if let Some(table) = tools.table("uv")? {
                pyproject.uv = uv_settings::read(&table)?;
                // uv's older way to write the `dev` group; both may be there.
                if let Some(item) = table.get("dev-dependencies") {
                    let dev = extra_name(document, "dev", 0..0)?;
                    let entries = pyproject.groups.entry(dev).or_default();
                    for item in item.items()? {
                        entries.push(GroupEntry::Asked(asked(&item)?));
                    }
                }
            }
            if let Some(table) = tools.table("coil")? {
                pyproject.coil = coil_settings::read(&table)?;
            }
        }
        Ok(pyproject)
    }

    /// The project's name, if it has one.
    pub fn name(&self) -> Option<&PackageName> {
        self.project.as_ref().map(|project| &project.name)
    }

    /// Whether the project itself is a package that is installed, as uv decides it.
    pub fn is_package(&self) -> bool {
        self.project.is_some() && self.uv.package.unwrap_or(self.build_system.is_some())
    }

    /// The groups that uv installs when none is named.
    pub fn default_groups(&self) -> Vec<GroupName> {
        match &self.uv.default_groups {
            Some(DefaultGroups::These(groups)) => groups.clone(),
            Some(DefaultGroups::All) => self.groups.keys().cloned().collect(),
            None => self
                .groups
                .keys()
                .filter(|name| name.as_ref() == "dev")
                .cloned()
                .collect(),
        }
    }

    /// The requirements of a group, with the groups that it includes.
    pub fn group(&self, name: &GroupName) -> Result<Vec<Asked>, Diagnostic> {
        let mut found = Vec::new();
        let mut trail = Vec::new();
        self.expand(name, &mut trail, &mut found)?;
        Ok(found)
    }

    /// All that is asked for: by the project itself if `with_main`, its extras (and those that they name), and its groups.
    pub(crate) fn asked(
        &self,
        extras: &BTreeSet<ExtraName>,
        groups: &BTreeSet<GroupName>,
        with_main: bool,
    ) -> Result<Vec<Asked>, Diagnostic> {
        let mut asked: Vec<Asked> = Vec::new();
        if let Some(project) = &self.project {
            if with_main {
                asked.extend(project.dependencies.iter().cloned());
            }
            let mut open: Vec<ExtraName> = extras.iter().rev().cloned().collect();
            let mut seen = BTreeSet::new();
            while let Some(extra) = open.pop() {
                if !seen.insert(extra.clone()) {
                    continue;
                }
                let Some(list) = project.extras.get(&extra) else {
                    return Err(self.unknown("extra", &extra, project.extras.keys()));
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
        } else if let Some(extra) = extras.first() {
            return Err(self.unknown("extra", extra, std::iter::empty()));
        }
        for group in groups {
            asked.extend(self.group(group)?);
        }
        Ok(asked)
    }

    fn expand(
        &self,
        name: &GroupName,
        trail: &mut Vec<GroupName>,
        found: &mut Vec<Asked>,
    ) -> Result<(), Diagnostic> {
        if trail.contains(name) {
            let names: Vec<&str> = trail.iter().chain([name]).map(AsRef::as_ref).collect();
            return Err(Diagnostic::new(
                Problem::Syntax,
                format!(
                    "the dependency group `{name}` includes itself: {}",
                    names.join(" → ")
                ),
            )
            .in_file(&self.file));
        }
        let Some(entries) = self.groups.get(name) else {
            return Err(self.unknown("dependency group", name, self.groups.keys()));
        };
        trail.push(name.clone());
        for entry in entries {
            match entry {
                GroupEntry::Asked(asked) => found.push(asked.clone()),
                GroupEntry::Include(other, _) => self.expand(other, trail, found)?,
            }
        }
        trail.pop();
        Ok(())
    }

    /// The error for an extra or group that the project doesn't have.
    pub(crate) fn unknown<'a>(
        &self,
        what: &str,
        name: &ExtraName,
        known: impl Iterator<Item = &'a ExtraName> + Clone,
    ) -> Diagnostic {
        let error = Diagnostic::new(Problem::Unknown, format!("the project has no {what} `{name}`"))
            .in_file(&self.file);
        let names: Vec<&str> = known.map(AsRef::as_ref).collect();
        if names.is_empty() {
            return error.help(format!("{} defines none", self.file));
        }
        let list = by_nearness(name.as_ref(), &names).join(", ");
        match near_miss(name.as_ref(), names.iter().copied()) {
            Some(near) if names.len() == 1 => error.help(format!("did you mean `{near}`?")),
            Some(near) => error.help(format!("did you mean `{near}`? there are {list}")),
            None => error.help(format!("there are {list}")),
        }
    }
}

fn project(table: &Table<'_, '_>) -> Result<ProjectTable, Diagnostic> {
    let document = table.document;
    let Some(name_item) = table.get("name") else {
        let at = document.text.find("[project]").unwrap_or(0);
        return Err(document
            .error(at..at + "[project]".len(), "[project] has no `name`")
            .help("add `name = \"…\"`"));
    };
    let display_name = name_item.string()?;
    let name = PackageName::from_str(&display_name)
        .map_err(|_| name_item.error(format!("`{display_name}` is not a valid project name")))?;
    let version = match table.get("version") {
        None => None,
        Some(item) => {
            let text = item.string()?;
            Some(
                Version::from_str(&text)
                    .map_err(|_| item.error(format!("`{text}` is not a valid version (PEP 440)")))?,
            )
        }
    };
    let requires_python = match table.get("requires-python") {
        None => None,
        Some(item) => {
            let text = item.string()?;
            Some(RequiresPython {
                specifiers: VersionSpecifiers::from_str(&text).map_err(|_| {
                    item.error(format!("`{text}` is not a valid version specifier (PEP 440)"))
                        .help("write it like `requires-python = \">=3.11\"`")
                })?,
                text,
                found_in: format!(
                    "{} line {}",
                    document.file,
                    line_of(document.text, item.span().start)
                ),
            })
        }
    };
    let mut extras = BTreeMap::new();
    if let Some(optional) = table.table("optional-dependencies")? {
        for (key, span, item) in optional.entries() {
            extras.insert(extra_name(document, key, span)?, requirements(&item)?);
        }
    }
    let mut entry_points = BTreeMap::new();
    if let Some(groups) = table.table("entry-points")? {
        for (key, _, item) in groups.entries() {
            entry_points.insert(key.to_owned(), item.table()?.string_map()?);
        }
    }
    Ok(ProjectTable {
        name,
        display_name,
        version,
        dynamic: table.strings("dynamic")?.into_iter().collect(),
        requires_python,
        dependencies: table
            .get("dependencies")
            .map(|item| requirements(&item))
            .transpose()?
            .unwrap_or_default(),
        extras,
        scripts: scripts(table, "scripts")?,
        gui_scripts: scripts(table, "gui-scripts")?,
        entry_points,
    })
}

fn requirements(item: &Item<'_, '_>) -> Result<Vec<Asked>, Diagnostic> {
    item.items()?.iter().map(asked).collect()
}

fn asked(item: &Item<'_, '_>) -> Result<Asked, Diagnostic> {
    let text = item.string()?;
    let span = item.span();
    let document = item.document;
    match parse_requirement(&text) {
        Ok(requirement) => Ok(Asked {
            requirement,
            text,
            line: line_of(document.text, span.start),
        }),
        Err(error) => {
            // Inside a plain one-line string the error's place is known exactly; else point at the whole.
            let raw = &document.text[span.clone()];
            let exact = raw.len() == text.len() + 2 && raw[1..].starts_with(&text);
            let place = if exact {
                span.start + 1 + error.start..span.start + 1 + error.start + error.len
            } else {
                span
            };
            Err(document
                .error(place, format!("`{text}` is not a valid requirement (PEP 508)"))
                .label(error.message))
        }
    }
}

fn group_entry(item: &Item<'_, '_>) -> Result<GroupEntry, Diagnostic> {
    if item.as_str().is_some() {
        return Ok(GroupEntry::Asked(asked(item)?));
    }
    let table = item
        .table()
        .map_err(|_| item.error("a group's entry must be a requirement or `{include-group = \"…\"}`"))?;
    table.only(&["include-group"])?;
    let Some(include) = table.get("include-group") else {
        return Err(item.error("a group's entry must be a requirement or `{include-group = \"…\"}`"));
    };
    let name = include.string()?;
    let line = line_of(item.document.text, item.span().start);
    Ok(GroupEntry::Include(
        extra_name(item.document, &name, include.span())?,
        line,
    ))
}

fn extra_name(
    document: Document<'_>,
    name: &str,
    span: std::ops::Range<usize>,
) -> Result<ExtraName, Diagnostic> {
    ExtraName::from_str(name).map_err(|_| document.error(span, format!("`{name}` is not a valid name")))
}

fn scripts(table: &Table<'_, '_>, key: &str) -> Result<Vec<ScriptEntry>, Diagnostic> {
    let Some(scripts) = table.table(key)? else {
        return Ok(Vec::new());
    };
    let mut found = scripts
        .entries()
        .map(|(name, span, item)| {
            let text = item.string()?;
            let fail = || item.error(format!("`{text}` is not a script: it must be \"module:object\""));
            // A name becomes a file in /opt/venv/bin, so it may not lead out of it.
            if name.is_empty() || name.contains(['/', '\0', '\\']) || name == "." || name == ".." {
                return Err(item
                    .document
                    .error(span.clone(), format!("`{name}` cannot be a program's name")));
            }
            let (object, extras) = match text.split_once('[') {
                None => (text.as_str(), Vec::new()),
                Some((object, rest)) => {
                    let list = rest.trim_end().strip_suffix(']').ok_or_else(fail)?;
                    (
                        object,
                        list.split(',').map(|extra| extra.trim().to_owned()).collect(),
                    )
                }
            };
            let (module, attribute) = object.split_once(':').ok_or_else(fail)?;
            let (module, attribute) = (module.trim(), attribute.trim());
            if !is_dotted(module) || !is_dotted(attribute) {
                return Err(fail());
            }
            Ok(ScriptEntry {
                name: name.to_owned(),
                module: module.to_owned(),
                attribute: attribute.to_owned(),
                extras,
                line: line_of(item.document.text, span.start),
            })
        })
        .collect::<Result<Vec<_>, Diagnostic>>()?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| {
        part.chars().next().is_some_and(|c| c == '_' || c.is_alphabetic())
            && part.chars().all(|c| c == '_' || c.is_alphanumeric())
    })
}

#[cfg(test)]
#[path = "pyproject_tests.rs"]
mod tests;
