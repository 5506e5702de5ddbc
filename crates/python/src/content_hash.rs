//! Whether a lock was made of the project file as it is now: the hashes that Poetry, PDM and Pipenv keep in their locks.
//!
//! Each of them hashes the JSON that Python's `json.dumps` makes of parts of the file, with sorted keys.

use std::collections::BTreeMap;
use std::str::FromStr;

use coil_oci::Digest;
use toml::Value;

use crate::requirement::GroupName;

/// JSON as Python writes it, with sorted keys; `None` where Python would refuse (a date).
///
/// `None` entries of an object are nulls.
fn dumps(value: &Value, tight: bool, out: &mut String) -> Option<()> {
    match value {
        Value::String(text) => string(text, out),
        Value::Integer(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&format!("{number:?}")),
        Value::Boolean(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Datetime(_) => return None,
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push_str(if tight { "," } else { ", " });
                }
                dumps(item, tight, out)?;
            }
            out.push(']');
        }
        Value::Table(table) => {
            let sorted: BTreeMap<&str, Option<Value>> = table
                .iter()
                .map(|(key, value)| (key.as_str(), Some(value.clone())))
                .collect();
            object(&sorted, tight, out)?;
        }
    }
    Some(())
}

fn object(entries: &BTreeMap<&str, Option<Value>>, tight: bool, out: &mut String) -> Option<()> {
    out.push('{');
    for (place, (key, value)) in entries.iter().enumerate() {
        if place > 0 {
            out.push_str(if tight { "," } else { ", " });
        }
        string(key, out);
        out.push_str(if tight { ":" } else { ": " });
        match value {
            Some(value) => dumps(value, tight, out)?,
            None => out.push_str("null"),
        }
    }
    out.push('}');
    Some(())
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for unit in text.chars() {
        match unit {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(unit),
            _ => {
                let mut buffer = [0u16; 2];
                for half in unit.encode_utf16(&mut buffer) {
                    out.push_str(&format!("\\u{half:04x}"));
                }
            }
        }
    }
    out.push('"');
}

fn hash(entries: &BTreeMap<&str, Option<Value>>, tight: bool) -> Option<String> {
    let mut text = String::new();
    object(entries, tight, &mut text)?;
    Some(Digest::of(text.as_bytes()).hex().to_owned())
}

fn table<'a>(value: Option<&'a Value>, key: &str) -> Option<&'a toml::Table> {
    value.and_then(|value| value.get(key)).and_then(Value::as_table)
}

/// The hashes that Poetry's versions give to a `pyproject.toml`; empty where none can be told.
pub(crate) fn poetry(pyproject: &toml::Table) -> Vec<String> {
    const OLD: [&str; 4] = ["dependencies", "source", "extras", "dev-dependencies"];
    let poetry = table(pyproject.get("tool"), "poetry")
        .cloned()
        .unwrap_or_default();
    let project: toml::Table = pyproject
        .get("project")
        .and_then(Value::as_table)
        .into_iter()
        .flatten()
        .filter(|(key, _)| {
            matches!(
                key.as_str(),
                "requires-python" | "dependencies" | "optional-dependencies"
            )
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let groups = pyproject
        .get("dependency-groups")
        .and_then(Value::as_table)
        .filter(|groups| !groups.is_empty());
    // What `[tool.poetry]` alone says; older versions write missing keys too.
    let own = |with_missing: bool| {
        let mut own: BTreeMap<&str, Option<Value>> = BTreeMap::new();
        for key in OLD.into_iter().chain(["group"]) {
            let value = poetry.get(key).cloned();
            if value.is_some() || (with_missing && key != "group") {
                own.insert(key, value);
            }
        }
        own
    };
    let mut hashes = vec![hash(&own(true), false)];
    for groups in [groups, None] {
        if project.is_empty() && groups.is_none() {
            continue;
        }
        let tool: toml::Table = own(false)
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect();
        let tool = toml::Table::from_iter([("poetry".to_owned(), Value::Table(tool))]);
        let mut all = BTreeMap::from([("tool", Some(Value::Table(tool)))]);
        if !project.is_empty() {
            all.insert("project", Some(Value::Table(project.clone())));
        }
        if let Some(groups) = groups {
            all.insert("dependency-groups", Some(Value::Table(groups.clone())));
        }
        hashes.push(hash(&all, false));
    }
    hashes.into_iter().flatten().collect()
}

/// The hashes that PDM's versions give to a `pyproject.toml`; empty where none can be told.
pub(crate) fn pdm(pyproject: &toml::Table) -> Vec<String> {
    let settings = table(pyproject.get("tool"), "pdm").cloned().unwrap_or_default();
    let project = pyproject
        .get("project")
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default();
    let empty = || Value::Table(toml::Table::new());
    let resolution = settings.get("resolution").cloned().unwrap_or_else(empty);
    let own = settings.get("dev-dependencies").and_then(Value::as_table);
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let standard = pyproject.get("dependency-groups").and_then(Value::as_table);
    for (name, list) in standard.into_iter().flatten().chain(own.into_iter().flatten()) {
        let name = GroupName::from_str(name).map_or_else(|_| name.clone(), |name| name.to_string());
        let list = list.as_array().cloned().unwrap_or_default();
        groups.entry(name).or_default().extend(list);
    }
    let groups: toml::Table = groups
        .into_iter()
        .map(|(name, list)| (name, Value::Array(list)))
        .collect();
    let alone = own.cloned().unwrap_or_default();
    let overrides = resolution.get("overrides").cloned().unwrap_or_else(empty);
    let mut hashes = Vec::new();
    for groups in [groups, alone] {
        for (key, value) in [("resolution", &resolution), ("overrides", &overrides)] {
            let list = || Value::Array(Vec::new());
            let entries = BTreeMap::from([
                (
                    "sources",
                    Some(settings.get("source").cloned().unwrap_or_else(list)),
                ),
                (
                    "dependencies",
                    Some(project.get("dependencies").cloned().unwrap_or_else(list)),
                ),
                ("dev-dependencies", Some(Value::Table(groups.clone()))),
                (
                    "optional-dependencies",
                    Some(
                        project
                            .get("optional-dependencies")
                            .cloned()
                            .unwrap_or_else(empty),
                    ),
                ),
                (
                    "requires-python",
                    Some(
                        project
                            .get("requires-python")
                            .cloned()
                            .unwrap_or_else(|| Value::String(String::new())),
                    ),
                ),
                (key, Some(value.clone())),
            ]);
            hashes.extend(hash(&entries, false));
        }
    }
    hashes
}

/// The hash that Pipenv gives to a `Pipfile`; `None` where it can't be told.
pub(crate) fn pipenv(pipfile: &toml::Table) -> Option<String> {
    let empty = || Value::Table(toml::Table::new());
    let part = |key: &str| pipfile.get(key).cloned().unwrap_or_else(empty);
    let sources = pipfile.get("source").cloned().unwrap_or_else(|| {
        let pypi = toml::Table::from_iter([
            ("name".to_owned(), Value::String("pypi".to_owned())),
            (
                "url".to_owned(),
                Value::String("https://pypi.org/simple".to_owned()),
            ),
            ("verify_ssl".to_owned(), Value::Boolean(true)),
        ]);
        Value::Array(vec![Value::Table(pypi)])
    });
    let meta = toml::Table::from_iter([
        ("sources".to_owned(), sources),
        ("requires".to_owned(), part("requires")),
    ]);
    let mut all = BTreeMap::from([
        ("_meta", Some(Value::Table(meta))),
        ("default", Some(part("packages"))),
        ("develop", Some(part("dev-packages"))),
    ]);
    for (key, value) in pipfile {
        let known = [
            "source",
            "packages",
            "dev-packages",
            "requires",
            "scripts",
            "pipfile",
            "pipenv",
            "default",
            "develop",
        ];
        if !known.contains(&key.as_str()) {
            all.insert(key, Some(value.clone()));
        }
    }
    hash(&all, true)
}
