//! Bills that packages bring themselves (PEP 770, `.dist-info/sboms`): CycloneDX or SPDX in JSON, read into components.

mod cyclonedx;
mod spdx;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::component::{Component, Hash};

/// The most components that one document may bring.
const MOST: usize = 20_000;

/// Why a document can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbeddedError {
    /// It is no JSON.
    NotJson(String),
    /// It is neither CycloneDX nor SPDX 2.
    UnknownFormat,
    /// It lists more components than any package has.
    TooMany(usize),
}

impl fmt::Display for EmbeddedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EmbeddedError::NotJson(reason) => write!(f, "it is no JSON ({reason})"),
            EmbeddedError::UnknownFormat => f.write_str("it is neither CycloneDX nor SPDX 2 in JSON"),
            EmbeddedError::TooMany(count) => write!(f, "it lists {count} components"),
        }
    }
}

impl std::error::Error for EmbeddedError {}

/// The components of a document that the component `owner` brings.
///
/// Their ids begin with the owner's, so that documents of several packages never clash. What stands for the owner itself is
/// left out: its dependencies are told of the owner by `owner.depends_on`.
///
/// # Errors
/// When it is none of the known formats.
pub fn embedded_components(
    owner: &mut Component,
    file: &str,
    bytes: &[u8],
) -> Result<Vec<Component>, EmbeddedError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let document: Value =
        serde_json::from_slice(bytes).map_err(|error| EmbeddedError::NotJson(error.to_string()))?;
    let found = if document["bomFormat"] == "CycloneDX" {
        cyclonedx::read(&document)
    } else if document["spdxVersion"]
        .as_str()
        .is_some_and(|version| version.starts_with("SPDX-2"))
    {
        spdx::read(&document)
    } else {
        return Err(EmbeddedError::UnknownFormat);
    };
    if found.components.len() > MOST {
        return Err(EmbeddedError::TooMany(found.components.len()));
    }
    Ok(found.below(owner, file))
}

/// What a document lists, under its own references.
#[derive(Default)]
struct Found {
    /// The references of what the document is about.
    roots: Vec<String>,
    components: Vec<(String, Component)>,
    /// Who needs or contains whom.
    needs: Vec<(String, String)>,
}

impl Found {
    fn below(self, owner: &mut Component, file: &str) -> Vec<Component> {
        let same = |component: &Component| {
            normal(&component.name) == normal(&owner.name)
                && (component.version.is_none() || component.version == owner.version)
        };
        let mut ids: BTreeMap<String, String> = BTreeMap::new();
        let mut kept: Vec<Component> = Vec::new();
        for (number, (reference, mut component)) in self.components.into_iter().enumerate() {
            if self.roots.contains(&reference) || same(&component) {
                ids.insert(reference, owner.id.clone());
                continue;
            }
            // A reference that stands twice is the document's fault; the first keeps it.
            component.id = format!("{}#{file}/{number}", owner.id);
            ids.entry(reference).or_insert_with(|| component.id.clone());
            component
                .properties
                .insert("coil:told-by".into(), file.to_owned());
            kept.push(component);
        }
        for root in self.roots {
            ids.entry(root).or_insert_with(|| owner.id.clone());
        }
        for (from, to) in self.needs {
            let (Some(from), Some(to)) = (ids.get(&from), ids.get(&to)) else {
                continue;
            };
            if from == to {
                continue;
            }
            let holder = match kept.iter_mut().find(|component| component.id == *from) {
                Some(component) => component,
                None => &mut *owner,
            };
            if !holder.depends_on.contains(to) {
                holder.depends_on.push(to.clone());
            }
        }
        kept
    }
}

/// A project's name as indices compare it (PEP 503).
fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A digest, if it is one: hexadecimal of the algorithm's length.
fn hash(algorithm: &str, value: Option<&str>) -> Option<Hash> {
    let value = value?;
    let length = match algorithm {
        "MD5" => 32,
        "SHA-1" => 40,
        "SHA-256" | "SHA3-256" | "BLAKE2b-256" | "BLAKE3" => 64,
        "SHA-384" | "SHA3-384" | "BLAKE2b-384" => 96,
        "SHA-512" | "SHA3-512" | "BLAKE2b-512" => 128,
        _ => return None,
    };
    let fits = value.len() == length && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| Hash {
        algorithm: algorithm.to_owned(),
        value: value.to_ascii_lowercase(),
    })
}
