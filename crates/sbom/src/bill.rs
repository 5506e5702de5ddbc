//! A bill of materials: an image and what is in it.

use std::fmt;
use std::str::FromStr;

use coil_oci::{Digest, media_type};

use crate::component::Component;
use crate::{cyclonedx, spdx};

/// The image that a bill is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The image's name, without a tag.
    pub name: String,
    /// The manifest's digest.
    pub manifest: Digest,
    /// The architecture, as images call it.
    pub architecture: String,
    /// When it was made, RFC 3339 in UTC with full seconds.
    pub created: String,
    /// The version of coil that made it.
    pub tool_version: String,
}

/// A bill of materials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// The image.
    pub subject: Subject,
    /// What is in it; ids are unique, and [`Component::depends_on`] names ids of this list.
    pub components: Vec<Component>,
}

impl Bill {
    /// The bill as a document; the same bill gives the same bytes.
    pub fn write(&self, format: Format) -> Vec<u8> {
        let value = match format {
            Format::Spdx => spdx::document(self),
            Format::CycloneDx => cyclonedx::document(self),
        };
        // Maps with text keys and plain values always serialize.
        let mut bytes = serde_json::to_vec_pretty(&value).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Every component, those inside others included.
    pub(crate) fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Component)) {
        for component in &self.components {
            component.walk(visit);
        }
    }
}

/// A format of bills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// SPDX 2.3 in JSON.
    Spdx,
    /// CycloneDX 1.6 in JSON.
    CycloneDx,
}

impl Format {
    /// Both.
    pub const ALL: [Format; 2] = [Format::Spdx, Format::CycloneDx];

    /// The media type of a document.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Spdx => media_type::SPDX,
            Format::CycloneDx => media_type::CYCLONEDX,
        }
    }

    /// What files of it are named by: `bill.spdx.json`, `bill.cdx.json`.
    pub fn of_file_name(name: &str) -> Option<Format> {
        let name = name.to_ascii_lowercase();
        if name.ends_with(".spdx.json") || name.ends_with(".spdx") {
            Some(Format::Spdx)
        } else if name.ends_with(".cdx.json") || name == "bom.json" || name.ends_with("/bom.json") {
            Some(Format::CycloneDx)
        } else {
            None
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Spdx => "spdx",
            Format::CycloneDx => "cyclonedx",
        })
    }
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "spdx" | "spdx-json" => Ok(Format::Spdx),
            "cyclonedx" | "cyclonedx-json" | "cdx" => Ok(Format::CycloneDx),
            _ => Err(()),
        }
    }
}
