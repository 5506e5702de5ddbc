//! One component of an image, in no format's words.

use std::collections::BTreeMap;

use coil_oci::Digest;
use serde::{Deserialize, Serialize};

/// What a component is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A program that is an end in itself.
    Application,
    /// What programs are made of.
    #[default]
    Library,
    /// The distribution that the base comes from.
    OperatingSystem,
    /// What runs other components, such as an interpreter.
    Platform,
    /// One file.
    File,
}

/// A digest of what a component came as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hash {
    /// The algorithm as CycloneDX writes it: `SHA-256`.
    pub algorithm: String,
    /// The digest in hexadecimal.
    pub value: String,
}

impl Hash {
    /// A SHA-256.
    pub fn sha256(digest: &Digest) -> Hash {
        Hash {
            algorithm: "SHA-256".into(),
            value: digest.hex().into(),
        }
    }
}

/// A licence that a component is under; where there are several, all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Licence {
    /// A valid SPDX licence expression.
    Expression(String),
    /// A name that no SPDX identifier certainly stands for, and the text if it is told.
    Named {
        /// The name as the component gives it.
        name: String,
        /// The licence's own text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
}

impl Licence {
    /// A licence by a name that says nothing certain.
    pub fn named(name: impl Into<String>) -> Licence {
        Licence::Named {
            name: name.into(),
            text: None,
        }
    }
}

/// Something that is in an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Component {
    /// What other components name it by; unique in its bill.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its package URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// The name of the file that it came as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// Digests of that file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Hash>,
    /// Its licences, all of which hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub licences: Vec<Licence>,
    /// The organisation that it was got from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// One line about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Where it was got from, without a login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download: Option<String>,
    /// Its page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// Where its source is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The diff id of the layer that brings it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
    /// Whatever else is known, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
    /// The ids of components that it needs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// What is inside it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Component>,
}

impl Component {
    /// Itself and all that is inside it.
    pub(crate) fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Component)) {
        visit(self);
        for part in &self.parts {
            part.walk(visit);
        }
    }
}
