//! The packages of a suite, from one or more Packages files.

use std::collections::HashMap;
use std::ops::Range;

use coil_oci::Digest;

use crate::control::Paragraph;
use crate::relation::{self, Possibility};
use crate::version::compare;

/// All packages that can be chosen from.
#[derive(Default)]
pub struct PackageIndex {
    texts: Vec<Text>,
    by_name: HashMap<String, Vec<(usize, Range<usize>)>>,
}

struct Text {
    archive: &'static str,
    text: String,
}

/// A package that could be chosen.
#[derive(Debug, Clone)]
pub struct Package<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The archive it is in.
    pub archive: &'static str,
    paragraph: Paragraph<'a>,
}

impl PackageIndex {
    /// Adds a Packages file of an archive.
    pub fn add(&mut self, archive: &'static str, text: String) {
        let number = self.texts.len();
        let mut start = 0;
        while start < text.len() {
            let end = text[start..]
                .find("\n\n")
                .map_or(text.len(), |length| start + length);
            let name = text[start..end]
                .trim_start_matches('\n')
                .strip_prefix("Package: ");
            if let Some(name) = name.and_then(|rest| rest.lines().next()) {
                self.by_name
                    .entry(name.trim().to_string())
                    .or_default()
                    .push((number, start..end));
            }
            start = end + 2;
        }
        self.texts.push(Text { archive, text });
    }

    /// The package of a name with the highest version that is accepted.
    pub fn best(&self, name: &str, accepts: impl Fn(&str) -> bool) -> Option<Package<'_>> {
        let candidates = self
            .by_name
            .get(name)?
            .iter()
            .filter_map(|place| self.package(place));
        candidates
            .filter(|package| accepts(package.version))
            .max_by(|a, b| compare(a.version, b.version))
    }

    /// Packages that provide a virtual name as it is wanted, the highest priority first.
    pub fn providers(&self, wanted: &Possibility) -> Vec<Package<'_>> {
        let mut found: Vec<Package<'_>> = Vec::new();
        for places in self.by_name.values() {
            for place in places {
                let text = &self.texts[place.0].text[place.1.clone()];
                if !text.contains("\nProvides:") || !text.contains(wanted.name.as_str()) {
                    continue;
                }
                if let Some(package) = self.package(place).filter(|package| package.provides(wanted)) {
                    found.push(package);
                }
            }
        }
        found.sort_by(|a, b| {
            a.rank()
                .cmp(&b.rank())
                .then(a.name.cmp(b.name))
                .then(compare(b.version, a.version))
        });
        found
    }

    fn package(&self, (number, range): &(usize, Range<usize>)) -> Option<Package<'_>> {
        let source = &self.texts[*number];
        let paragraph = crate::control::paragraphs(&source.text[range.clone()]).next()?;
        let (name, version) = (paragraph.get("Package")?, paragraph.get("Version")?);
        Some(Package {
            name,
            version,
            archive: source.archive,
            paragraph,
        })
    }
}

impl<'a> Package<'a> {
    /// A field of the package.
    pub fn field(&self, name: &str) -> &'a str {
        self.paragraph.get(name).unwrap_or_default()
    }

    /// The digest of the .deb file.
    pub fn sha256(&self) -> Option<Digest> {
        Digest::from_hex(self.field("SHA256")).ok()
    }

    /// What it needs to work.
    pub fn needs(&self, arch: &str) -> Vec<Vec<Possibility>> {
        let mut all = relation::parse(self.field("Pre-Depends"), arch);
        all.extend(relation::parse(self.field("Depends"), arch));
        all
    }

    /// What may not be there beside it.
    pub fn excludes(&self, arch: &str) -> Vec<Possibility> {
        let mut all = relation::parse(self.field("Conflicts"), arch);
        all.extend(relation::parse(self.field("Breaks"), arch));
        all.into_iter().flatten().collect()
    }

    /// Whether it provides a virtual package as it is wanted.
    pub fn provides(&self, wanted: &Possibility) -> bool {
        relation::parse(self.field("Provides"), "")
            .into_iter()
            .flatten()
            .any(|provided| {
                provided.name == wanted.name
                    && wanted.accepts_provided(provided.version.as_ref().map(|(_, version)| version.as_str()))
            })
    }

    /// Whether it meets a possibility, by its own name or by what it provides.
    pub fn meets(&self, wanted: &Possibility) -> bool {
        (self.name == wanted.name && wanted.accepts(self.version)) || self.provides(wanted)
    }

    /// The place of its Priority (Debian Policy, section 2.5).
    fn rank(&self) -> usize {
        let order = ["required", "important", "standard", "optional"];
        order
            .iter()
            .position(|name| *name == self.field("Priority"))
            .unwrap_or(order.len())
    }
}
