//! A dependency as Poetry writes it, in `[tool.poetry]` and in its lock alike.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{ExtraName, MarkerEnvironment, MarkerTree, PackageName};
use toml::{Table, Value};

use crate::diagnostic::{Diagnostic, Problem};
use crate::poetry_constraint::Constraint;
use crate::requirement::{GroupName, parse_marker};
use crate::selection::Selection;

/// One way in which a package is needed; several stand for one name where markers decide.
#[derive(Debug, Clone)]
pub(crate) struct PoetryDependency {
    pub name: PackageName,
    /// `None` where another source than an index decides the version.
    pub constraint: Option<Constraint>,
    pub marker: Option<MarkerTree>,
    pub python: Option<Constraint>,
    /// `platform = "win32"`: the older way to write `sys_platform`.
    pub platform: Option<String>,
    pub extras: BTreeSet<ExtraName>,
    /// Whether it comes with an extra alone.
    pub optional: bool,
    /// Whether it is a path, an address or a repository.
    pub is_direct: bool,
}

/// What `[tool.poetry]` says of dependencies.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoetryProject {
    pub main: Vec<PoetryDependency>,
    pub groups: BTreeMap<GroupName, Vec<PoetryDependency>>,
    pub extras: BTreeMap<ExtraName, BTreeSet<PackageName>>,
    /// The constraint on the Python.
    pub python: Option<String>,
}

impl PoetryDependency {
    /// Whether it counts for a target, with these extras of the package that needs it.
    pub fn holds(&self, environment: &MarkerEnvironment, python: &Version, extras: &[ExtraName]) -> bool {
        self.marker
            .as_ref()
            .is_none_or(|marker| marker.evaluate(environment, extras))
            && self
                .python
                .as_ref()
                .is_none_or(|constraint| constraint.contains(python))
            && self.platform.as_deref().is_none_or(|platform| {
                platform.split('|').any(|one| match one.trim().strip_prefix('!') {
                    Some(other) => other.trim_start_matches('=').trim() != "linux",
                    None => one.trim() == "linux",
                })
            })
    }

    /// Reads the value of one name: a constraint, a table, or a list of them.
    pub fn read(name: &str, value: &Value) -> Result<Vec<PoetryDependency>, String> {
        let package = PackageName::from_str(name).map_err(|_| format!("`{name}` is not a package's name"))?;
        match value {
            Value::Array(list) => {
                let each = list.iter().map(|value| one(&package, value));
                each.collect()
            }
            value => Ok(vec![one(&package, value)?]),
        }
    }

    /// All dependencies of a table.
    pub fn read_all(table: &Table) -> Result<Vec<PoetryDependency>, String> {
        let mut found = Vec::new();
        for (name, value) in table {
            // The Python is no package.
            if name != "python" {
                found.extend(PoetryDependency::read(name, value)?);
            }
        }
        Ok(found)
    }
}

fn one(name: &PackageName, value: &Value) -> Result<PoetryDependency, String> {
    let parse = |text: &str| {
        Constraint::parse(text).ok_or_else(|| format!("`{text}` is not a version constraint (for `{name}`)"))
    };
    let mut found = PoetryDependency {
        name: name.clone(),
        constraint: None,
        marker: None,
        python: None,
        platform: None,
        extras: BTreeSet::new(),
        optional: false,
        is_direct: false,
    };
    let table = match value {
        Value::String(text) => {
            found.constraint = Some(parse(text)?);
            return Ok(found);
        }
        Value::Table(table) => table,
        other => {
            return Err(format!(
                "`{name}` must be a constraint or a table, and is of type {}",
                other.type_str()
            ));
        }
    };
    let text = |key: &str| table.get(key).and_then(Value::as_str);
    found.constraint = text("version").map(parse).transpose()?;
    if let Some(marker) = text("markers").filter(|marker| !marker.trim().is_empty()) {
        let tree = parse_marker(marker).ok_or_else(|| format!("`{marker}` is not an environment marker"))?;
        found.marker = Some(tree);
    }
    found.python = text("python")
        .map(|text| Constraint::parse_python(text).ok_or_else(|| format!("`{text}` is not a constraint")))
        .transpose()?;
    found.platform = text("platform").map(str::to_owned);
    found.optional = table.get("optional").and_then(Value::as_bool).unwrap_or(false);
    found.is_direct = ["git", "path", "file", "url"]
        .iter()
        .any(|key| table.contains_key(*key));
    for extra in table
        .get("extras")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = extra.as_str().and_then(|name| ExtraName::from_str(name).ok());
        found
            .extras
            .insert(name.ok_or_else(|| format!("`{extra}` is not an extra's name"))?);
    }
    Ok(found)
}

impl PoetryProject {
    /// Reads `[tool.poetry]`; `None` where the file has none.
    pub fn read(pyproject: &Table) -> Result<Option<PoetryProject>, String> {
        let Some(poetry) = pyproject
            .get("tool")
            .and_then(|tool| tool.get("poetry"))
            .and_then(Value::as_table)
        else {
            return Ok(None);
        };
        let table = |key: &str| poetry.get(key).and_then(Value::as_table);
        let mut project = PoetryProject::default();
        if let Some(dependencies) = table("dependencies") {
            project.python = dependencies
                .get("python")
                .and_then(Value::as_str)
                .map(str::to_owned);
            project.main = PoetryDependency::read_all(dependencies)?;
        }
        let name =
            |text: &str| ExtraName::from_str(text).map_err(|_| format!("`{text}` is not a valid name"));
        if let Some(dev) = table("dev-dependencies") {
            project
                .groups
                .insert(name("dev")?, PoetryDependency::read_all(dev)?);
        }
        for (group, value) in table("group").into_iter().flatten() {
            let list = match value.get("dependencies").and_then(Value::as_table) {
                Some(dependencies) => PoetryDependency::read_all(dependencies)?,
                None => Vec::new(),
            };
            project.groups.entry(name(group)?).or_default().extend(list);
        }
        for (extra, names) in table("extras").into_iter().flatten() {
            project.extras.insert(name(extra)?, extra_packages(names));
        }
        Ok(Some(project))
    }
}

impl PoetryProject {
    /// The Python that it asks for, where PEP 440 can say it.
    pub fn specifiers(&self) -> Option<VersionSpecifiers> {
        Constraint::parse_python(self.python.as_deref()?)?.specifiers()
    }

    /// The dependencies as text for a resolver.
    pub fn requirements(&self, selection: &Selection) -> Result<String, Diagnostic> {
        let renew = "poetry lock";
        let file = "pyproject.toml";
        let extras = selection.extras_of(file, &self.extras.keys().cloned().collect(), renew)?;
        let groups = selection.groups_of(file, &self.groups.keys().cloned().collect(), renew)?;
        let listed: BTreeSet<&PackageName> = extras
            .iter()
            .filter_map(|extra| self.extras.get(extra))
            .flatten()
            .collect();
        let main = self.main.iter().filter(|dependency| {
            !selection.only_groups && (!dependency.optional || listed.contains(&dependency.name))
        });
        let grouped = groups.iter().filter_map(|group| self.groups.get(group)).flatten();
        let mut text = String::new();
        for dependency in main.chain(grouped) {
            let line = dependency.requirement().ok_or_else(|| {
                Diagnostic::new(
                    Problem::Unsupported,
                    format!(
                        "`{}` is asked for in a way that only Poetry's own lock can follow",
                        dependency.name
                    ),
                )
                .in_file(file)
                .help(format!("run `{renew}`"))
            })?;
            text.push_str(&line);
            text.push('\n');
        }
        Ok(text)
    }
}

impl PoetryDependency {
    /// The same as PEP 508 writes it; `None` where it can't.
    fn requirement(&self) -> Option<String> {
        if self.is_direct {
            return None;
        }
        let mut text = self.name.to_string();
        if !self.extras.is_empty() {
            let extras: Vec<&str> = self.extras.iter().map(AsRef::as_ref).collect();
            text.push_str(&format!("[{}]", extras.join(",")));
        }
        if let Some(constraint) = &self.constraint {
            let specifiers: Vec<String> = constraint.specifiers()?.iter().map(ToString::to_string).collect();
            text.push_str(&specifiers.join(","));
        }
        let mut markers: Vec<String> = Vec::new();
        if let Some(marker) = self.marker.as_ref().and_then(|marker| marker.contents()) {
            markers.push(format!("({marker})"));
        }
        if let Some(python) = &self.python {
            for specifier in python.specifiers()?.iter() {
                markers.push(format!(
                    "python_full_version {} '{}'",
                    specifier.operator(),
                    specifier
                        .to_string()
                        .trim_start_matches(['<', '>', '=', '!', '~'])
                ));
            }
        }
        if let Some(platform) = &self.platform {
            let plain = platform.bytes().all(|byte| byte.is_ascii_alphanumeric());
            markers.push(plain.then(|| format!("sys_platform == '{platform}'"))?);
        }
        if !markers.is_empty() {
            text.push_str(&format!(" ; {}", markers.join(" and ")));
        }
        Some(text)
    }
}

/// The packages that an extra's list names: `["h2 (>=3,<5)", "rich"]`.
pub(crate) fn extra_packages(list: &Value) -> BTreeSet<PackageName> {
    let names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    names
        .filter_map(|text| {
            let end = text
                .find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
                .unwrap_or(text.len());
            PackageName::from_str(&text[..end]).ok()
        })
        .collect()
}
