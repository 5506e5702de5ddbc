//! The packages of a suite, from one or more Packages files.

use std::io::{self, BufRead, BufReader, Read};

use coil_oci::Digest;

use crate::control::{Paragraph, paragraphs};
use crate::relation::{self, Possibility};
use crate::version::compare;

/// All packages that can be chosen from; of each only the fields that matter for a choice, about a half of the text.
#[derive(Default)]
pub struct PackageIndex {
    texts: Vec<Text>,
    /// In order of name, and of addition where names are the same.
    places: Vec<Place>,
}

struct Text {
    archive: &'static str,
    text: String,
}

/// Where a package's paragraph is; there are many of these, so they are small.
#[derive(Clone, Copy)]
struct Place {
    text: u32,
    start: u32,
    end: u32,
    name_start: u32,
    name_end: u32,
    provides: bool,
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
    /// Adds a Packages file of an archive, as it is read.
    ///
    /// # Errors
    /// Those of the source, and `InvalidData` when it isn't UTF-8 or larger than 4 GiB.
    pub fn add(&mut self, archive: &'static str, source: impl Read) -> io::Result<()> {
        let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_string());
        let number = u32::try_from(self.texts.len()).map_err(|_| invalid("too many files"))?;
        let mut source = BufReader::with_capacity(1 << 16, source);
        let mut kept: Vec<u8> = Vec::new();
        let mut line = Vec::new();
        let mut place = Place::new(number, 0);
        let mut wanted = false;
        loop {
            line.clear();
            let ended = source.read_until(b'\n', &mut line)? == 0;
            let content = line.strip_suffix(b"\n").unwrap_or(&line);
            let at = u32::try_from(kept.len()).map_err(|_| invalid("too large"))?;
            if content.is_empty() {
                if place.name_end > place.name_start {
                    place.end = at;
                    self.places.push(place);
                } else {
                    kept.truncate(place.start as usize);
                }
                place = Place::new(number, u32::try_from(kept.len()).unwrap_or(at));
                if ended {
                    break;
                }
                continue;
            }
            if !content.starts_with(b" ") && !content.starts_with(b"\t") {
                let start = &content[..content.len().min(LONGEST + 1)];
                let colon = start.iter().position(|byte| *byte == b':');
                let name = &content[..colon.unwrap_or(0)];
                wanted = is_wanted(name);
                if wanted && name.eq_ignore_ascii_case(b"Package") {
                    let value = &content[name.len() + 1..];
                    let blanks = value.len() - value.trim_ascii_start().len();
                    place.name_start = at + (name.len() + 1 + blanks) as u32;
                    place.name_end = place.name_start + value.trim_ascii().len() as u32;
                }
                place.provides |= wanted && name.eq_ignore_ascii_case(b"Provides");
            }
            if wanted {
                kept.extend_from_slice(content);
                kept.push(b'\n');
            }
        }
        let text = String::from_utf8(kept).map_err(|_| invalid("it is not UTF-8"))?;
        self.texts.push(Text { archive, text });
        let texts = &self.texts;
        self.places.sort_by(|a, b| a.name(texts).cmp(b.name(texts)));
        Ok(())
    }

    /// The package of a name with the highest version that is accepted.
    pub fn best(&self, name: &str, accepts: impl Fn(&str) -> bool) -> Option<Package<'_>> {
        let first = self
            .places
            .partition_point(|place| place.name(&self.texts) < name);
        self.places[first..]
            .iter()
            .take_while(|place| place.name(&self.texts) == name)
            .filter_map(|place| self.package(*place))
            .filter(|package| accepts(package.version))
            .max_by(|a, b| compare(a.version, b.version))
    }

    /// Every name once, each with its highest version, in order of name.
    pub fn newest(&self) -> impl Iterator<Item = Package<'_>> {
        let names = self
            .places
            .chunk_by(|a, b| a.name(&self.texts) == b.name(&self.texts));
        names.filter_map(|same| {
            let packages = same.iter().filter_map(|place| self.package(*place));
            packages.max_by(|a, b| compare(a.version, b.version))
        })
    }

    /// Packages that provide a virtual name as it is wanted, the highest priority first.
    pub fn providers(&self, wanted: &Possibility) -> Vec<Package<'_>> {
        let mut found: Vec<Package<'_>> = self
            .places
            .iter()
            .filter(|place| place.provides && place.text(&self.texts).contains(wanted.name.as_str()))
            .filter_map(|place| self.package(*place))
            .filter(|package| package.provides(wanted))
            .collect();
        found.sort_by(|a, b| {
            a.rank()
                .cmp(&b.rank())
                .then(a.name.cmp(b.name))
                .then(compare(b.version, a.version))
        });
        found
    }

    /// Every name, in order; one that stands there several times comes several times.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.name(&self.texts))
    }

    fn package(&self, place: Place) -> Option<Package<'_>> {
        let paragraph = paragraphs(place.text(&self.texts)).next()?;
        Some(Package {
            name: place.name(&self.texts),
            version: paragraph.get("Version")?,
            archive: self.texts[place.text as usize].archive,
            paragraph,
        })
    }
}

impl Place {
    fn new(text: u32, start: u32) -> Place {
        Place {
            text,
            start,
            end: start,
            name_start: 0,
            name_end: 0,
            provides: false,
        }
    }

    fn name(self, texts: &[Text]) -> &str {
        &texts[self.text as usize].text[self.name_start as usize..self.name_end as usize]
    }

    fn text(self, texts: &[Text]) -> &str {
        &texts[self.text as usize].text[self.start as usize..self.end as usize]
    }
}

/// The length of the longest name below.
const LONGEST: usize = 12;

/// Whether a field is one that [`Package`] is asked for; told by its length first, as nearly all aren't.
fn is_wanted(name: &[u8]) -> bool {
    let candidates: &[&[u8]] = match name.len() {
        4 => &[b"Size"],
        6 => &[b"SHA256", b"Breaks"],
        7 => &[b"Package", b"Version", b"Depends"],
        8 => &[b"Filename", b"Priority", b"Provides"],
        9 => &[b"Conflicts", b"Essential"],
        11 => &[b"Pre-Depends"],
        12 => &[b"Architecture"],
        _ => &[],
    };
    candidates
        .iter()
        .any(|candidate| name.eq_ignore_ascii_case(candidate))
}

impl<'a> Package<'a> {
    /// A package of which a paragraph is known, in no archive.
    pub fn of(paragraph: Paragraph<'a>) -> Option<Package<'a>> {
        Some(Package {
            name: paragraph.get("Package")?,
            version: paragraph.get("Version")?,
            archive: "debian",
            paragraph,
        })
    }

    /// A field of the package.
    pub fn field(&self, name: &str) -> &'a str {
        self.paragraph.get(name).unwrap_or_default()
    }

    /// Whether every system has it: essential, or of the priority `required`.
    pub fn is_required(&self) -> bool {
        self.field("Essential") == "yes" || self.field("Priority") == "required"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_is_kept() {
        let text = "Package: b\nDescription: x\n Depends: no\nDepends: a,\n c\nVersion: 1\nTag: t\n\n\n\n\
                    Version: 9\n\npackage:  a \nVersion: 2\nProvides: d\n\nPackage: b\nVersion: 1\nPriority: low";
        let mut index = PackageIndex::default();
        index.add("debian", text.as_bytes()).unwrap();
        index
            .add("debian-security", b"Package: b\nVersion: 0.9\n".as_slice())
            .unwrap();
        assert_eq!(
            index.texts[0].text,
            "Package: b\nDepends: a,\n c\nVersion: 1\npackage:  a \nVersion: 2\nProvides: d\n\
             Package: b\nVersion: 1\nPriority: low\n"
        );
        let best = index.best("b", |version| version != "1").unwrap();
        assert_eq!((best.version, best.archive), ("0.9", "debian-security"));
        // Of the same version the one that was added last.
        let best = index.best("b", |_| true).unwrap();
        assert_eq!((best.field("Priority"), best.needs("amd64").len()), ("low", 0));
        assert_eq!(index.best("a", |_| true).unwrap().field("Provides"), "d");
        let wanted = relation::parse("d", "amd64").remove(0).remove(0);
        assert_eq!(index.providers(&wanted).len(), 1);
        assert!(index.best("c", |_| true).is_none());
        assert!(index.add("debian", b"Package: \xff\n".as_slice()).is_err());
    }
}
