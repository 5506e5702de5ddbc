//! CycloneDX documents of any version in JSON.

use serde_json::Value;

use super::{Found, hash, text};
use crate::component::{Component, Kind, Licence};
use crate::expression::canonical_expression;

/// How deep components may be nested.
const DEEPEST: usize = 32;

pub(super) fn read(document: &Value) -> Found {
    let mut found = Found::default();
    let root = &document["metadata"]["component"];
    if let Some(reference) = text(&root["bom-ref"]) {
        found.roots.push(reference);
    }
    list(&root["components"], None, 0, &mut found);
    list(&document["components"], None, 0, &mut found);
    for dependency in document["dependencies"].as_array().into_iter().flatten() {
        let Some(from) = text(&dependency["ref"]) else {
            continue;
        };
        let needed = dependency["dependsOn"].as_array().into_iter().flatten();
        found
            .needs
            .extend(needed.filter_map(|to| Some((from.clone(), text(to)?))));
    }
    found
}

fn list(components: &Value, parent: Option<&str>, depth: usize, found: &mut Found) {
    if depth > DEEPEST {
        return;
    }
    for value in components.as_array().into_iter().flatten() {
        let Some(name) = text(&value["name"]) else {
            continue;
        };
        let number = found.components.len();
        let reference = text(&value["bom-ref"]).unwrap_or_else(|| format!("\u{0}{number}"));
        found.components.push((reference.clone(), component(value, name)));
        if let Some(parent) = parent {
            found.needs.push((parent.to_owned(), reference.clone()));
        }
        list(&value["components"], Some(&reference), depth + 1, found);
    }
}

fn component(value: &Value, name: String) -> Component {
    let kind = match value["type"].as_str() {
        Some("application") => Kind::Application,
        Some("operating-system") => Kind::OperatingSystem,
        Some("platform") => Kind::Platform,
        Some("file") => Kind::File,
        _ => Kind::Library,
    };
    // A group is the part of a name that others write before a slash.
    let name = match text(&value["group"]) {
        Some(group) => format!("{group}/{name}"),
        None => name,
    };
    let reference = |kind: &str| {
        let all = value["externalReferences"].as_array().into_iter().flatten();
        let mut of_kind = all.filter(|reference| reference["type"] == kind);
        of_kind.find_map(|reference| text(&reference["url"]))
    };
    Component {
        kind,
        name,
        version: text(&value["version"]),
        purl: text(&value["purl"]).filter(|purl| purl.starts_with("pkg:")),
        hashes: value["hashes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| hash(one["alg"].as_str()?, one["content"].as_str()))
            .collect(),
        licences: licences(&value["licenses"]),
        supplier: text(&value["supplier"]["name"]),
        summary: text(&value["description"]),
        download: reference("distribution"),
        homepage: reference("website"),
        source: reference("vcs"),
        ..Component::default()
    }
}

fn licences(list: &Value) -> Vec<Licence> {
    let one = |value: &Value| {
        let told = text(&value["expression"]).or_else(|| text(&value["license"]["id"]));
        if let Some(told) = told {
            return Some(match canonical_expression(&told) {
                Some(valid) => Licence::Expression(valid),
                None => Licence::named(told),
            });
        }
        Some(Licence::Named {
            name: text(&value["license"]["name"])?,
            text: text(&value["license"]["text"]["content"]),
        })
    };
    list.as_array().into_iter().flatten().filter_map(one).collect()
}
