//! What a wheel tells of itself, read once and kept: licences, requirements, what it can import, what it ships.
//!
//! Bills of materials, the check of libraries and the check of imports ask for it.

use std::collections::BTreeSet;

use coil_oci::Hasher;
use coil_store::Store;
use serde::{Deserialize, Serialize};

use crate::archive::{Archive, ArchiveEntry};
use crate::environment::Environment;
use crate::install::{self, InstallError};
use crate::layer::{LayerError, LayerFault, WheelFile};

/// The folder of records in the store's cache.
const KIND: &str = "wheel-facts-v1";
/// Endings of files that are certainly no ELF files, so that they needn't be looked at.
const TEXT_ENDINGS: [&str; 24] = [
    ".py", ".pyi", ".pyc", ".txt", ".md", ".rst", ".json", ".h", ".hpp", ".c", ".cpp", ".pyx", ".pxd",
    ".html", ".js", ".css", ".yaml", ".yml", ".toml", ".po", ".mo", ".csv", ".png", ".svg",
];

/// What a wheel tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its name as METADATA writes it.
    pub name: String,
    /// Its version as METADATA writes it.
    pub version: String,
    /// The one-line summary.
    pub summary: Option<String>,
    /// The SPDX expression of its licence (PEP 639).
    pub license_expression: Option<String>,
    /// The older free text about its licence: a name, or all of the licence.
    pub license: Option<String>,
    /// Paths of licence files as METADATA lists them.
    pub license_files: Vec<String>,
    /// Trove classifiers.
    pub classifiers: Vec<String>,
    /// Requirement lines.
    pub requires_dist: Vec<String>,
    /// The Python versions that it asks for.
    pub requires_python: Option<String>,
    /// Its author, by name or else by address.
    pub author: Option<String>,
    /// Its page.
    pub home_page: Option<String>,
    /// Labelled addresses, `Source, https://…`.
    pub project_urls: Vec<String>,
    /// The `.dist-info` folder in the archive.
    pub dist_info: String,
    /// What can be imported: top modules, and below namespace packages the first one that is whole (`google.cloud.storage`).
    pub modules: Vec<String>,
    /// The archive's entries in `.dist-info/sboms` (PEP 770), sorted.
    pub sboms: Vec<String>,
    /// The archive's entries that are ELF files, sorted.
    pub elf: Vec<String>,
}

impl Facts {
    /// Where an entry of the archive is installed, as an absolute path in the image.
    ///
    /// None for what isn't installed under its name: RECORD, and files of unknown data folders.
    pub fn installed_path(&self, environment: &Environment, entry: &str) -> Option<String> {
        install::destination(environment, &self.dist_info, &self.name, entry)
            .ok()
            .flatten()
            .map(|path| format!("/{path}"))
    }
}

/// Reads the facts of a wheel, or takes them from the cache.
///
/// The archive's structure is checked whole; RECORD and hashes are not looked at.
pub fn facts(store: &Store, wheel: &WheelFile) -> Result<Facts, LayerError> {
    if let Some(known) = known(store, wheel) {
        return Ok(known);
    }
    let archive = Archive::open(&wheel.path).map_err(|source| LayerError {
        wheel: Some(wheel.filename.clone()),
        fault: LayerFault::Archive(source),
    })?;
    of_opened(store, wheel, &archive)
}

/// The facts of a wheel whose archive is open.
pub(crate) fn of_opened(store: &Store, wheel: &WheelFile, archive: &Archive) -> Result<Facts, LayerError> {
    if let Some(known) = known(store, wheel) {
        return Ok(known);
    }
    let facts = read(archive, &wheel.filename).map_err(|source| LayerError {
        wheel: Some(wheel.filename.clone()),
        fault: LayerFault::Install(source),
    })?;
    if let Ok(record) = serde_json::to_vec(&facts) {
        // Without the record the facts are only read again.
        let _ = store.cache_put(KIND, &key(wheel), &record);
    }
    Ok(facts)
}

fn key(wheel: &WheelFile) -> String {
    let mut hasher = Hasher::new();
    hasher.update(wheel.sha256.hex().as_bytes());
    hasher.update(b"\n");
    hasher.update(wheel.filename.as_bytes());
    hasher.finish().hex().to_owned()
}

fn known(store: &Store, wheel: &WheelFile) -> Option<Facts> {
    let record = store.cache_get(KIND, &key(wheel))?;
    serde_json::from_slice(&record).ok()
}

/// The content of one entry, such as one of [`Facts::sboms`] or [`Facts::elf`].
pub fn content(wheel: &WheelFile, entry: &str) -> Result<Vec<u8>, LayerError> {
    let fail = |fault| LayerError {
        wheel: Some(wheel.filename.clone()),
        fault,
    };
    let archive = Archive::open(&wheel.path).map_err(|source| fail(LayerFault::Archive(source)))?;
    let Some(found) = archive.find(entry) else {
        return Err(fail(LayerFault::Install(InstallError::Record {
            file: entry.to_owned(),
            what: "is not in the wheel",
        })));
    };
    archive
        .read(found, found.size)
        .map_err(|source| fail(LayerFault::Archive(source)))
}

fn read(archive: &Archive, filename: &str) -> Result<Facts, InstallError> {
    let (dist_info, fields) = install::identify(archive, filename)?;
    let one = |name: &str| fields.first(name).map(str::to_owned);
    let all = |name: &str| fields.all(name).map(str::to_owned).collect::<Vec<_>>();
    let sboms_folder = format!("{dist_info}/sboms/");
    let mut sboms = Vec::new();
    let mut elf = Vec::new();
    for entry in archive.entries().iter().filter(|entry| !entry.is_dir) {
        if entry.name.starts_with(&sboms_folder) {
            sboms.push(entry.name.clone());
        }
        if may_be_elf(entry) && archive.peek(entry, 4)? == b"\x7fELF" {
            elf.push(entry.name.clone());
        }
    }
    sboms.sort();
    elf.sort();
    let modules = modules(archive, &dist_info);
    Ok(Facts {
        name: one("Name").unwrap_or_default(),
        version: one("Version").unwrap_or_default(),
        summary: one("Summary"),
        license_expression: one("License-Expression"),
        license: one("License"),
        license_files: all("License-File"),
        classifiers: all("Classifier"),
        requires_dist: all("Requires-Dist"),
        requires_python: one("Requires-Python"),
        author: one("Author").or_else(|| one("Author-email")),
        home_page: one("Home-page"),
        project_urls: all("Project-URL"),
        modules,
        sboms,
        elf,
        dist_info,
    })
}

fn may_be_elf(entry: &ArchiveEntry) -> bool {
    // The smallest header has 52 bytes.
    entry.size >= 52 && !TEXT_ENDINGS.iter().any(|ending| entry.name.ends_with(ending))
}

/// What the wheel's files make importable.
fn modules(archive: &Archive, dist_info: &str) -> Vec<String> {
    let data = format!("{}.data", dist_info.trim_end_matches(".dist-info"));
    let mut files: Vec<Vec<&str>> = Vec::new();
    for entry in archive.entries().iter().filter(|entry| !entry.is_dir) {
        let mut parts: Vec<&str> = entry.name.split('/').collect();
        if parts[0] == dist_info {
            continue;
        }
        if parts[0] == data {
            if parts.len() < 3 || !matches!(parts[1], "purelib" | "platlib") {
                continue;
            }
            parts.drain(..2);
        }
        if let Some(stem) = parts.last().and_then(|name| module_stem(name)) {
            if let Some(last) = parts.last_mut() {
                *last = stem;
            }
            files.push(parts);
        }
    }
    let packages: BTreeSet<String> = files
        .iter()
        .filter(|parts| parts.last() == Some(&"__init__"))
        .map(|parts| parts[..parts.len() - 1].join("."))
        .collect();
    let mut found = BTreeSet::new();
    for parts in &files {
        // The first package with an __init__ is whole; a module of a namespace package stands for itself.
        let mut name = String::new();
        for part in parts.iter().filter(|part| **part != "__init__") {
            if !is_identifier(part) {
                name.clear();
                break;
            }
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(part);
            if packages.contains(&name) {
                break;
            }
        }
        if !name.is_empty() {
            found.insert(name);
        }
    }
    found.into_iter().collect()
}

/// The module that a file name stands for: `a.py`, `a.so`, `a.abi3.so`, `a.cpython-311-x86_64-linux-gnu.so`.
fn module_stem(name: &str) -> Option<&str> {
    let stem = match name.strip_suffix(".py").or_else(|| name.strip_suffix(".pyc")) {
        Some(stem) => stem,
        None => {
            let stem = name.strip_suffix(".so")?;
            match stem.split_once('.') {
                Some((module, tag)) if tag == "abi3" || tag.starts_with("cpython-") => module,
                Some(_) => return None,
                None => stem,
            }
        }
    };
    is_identifier(stem).then_some(stem)
}

fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters
        .next()
        .is_some_and(|first| first == '_' || first.is_alphabetic())
        && characters.all(|character| character == '_' || character.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_modules() {
        for (name, stem) in [
            ("a.py", Some("a")),
            ("__init__.py", Some("__init__")),
            ("_speed.cpython-311-x86_64-linux-gnu.so", Some("_speed")),
            ("_rust.abi3.so", Some("_rust")),
            ("libfoo.so.1", None),
            ("libfoo-3ab.so", None),
            ("plain.so", Some("plain")),
            ("a.pyi", None),
            ("2to3.py", None),
        ] {
            assert_eq!(module_stem(name), stem, "{name}");
        }
    }
}
