//! Which images a list shows: Docker's filters of `images`.

use std::collections::BTreeMap;
use std::fmt;

use coil_store::StoreError;

use crate::Engine;
use crate::images::ImageLine;

/// The filters that there are.
const FILTERS: &str = "before, dangling, label, reference, since, until";

/// A filter that can't be used; the words are Docker's.
#[derive(Debug)]
pub enum ImageFilterError {
    /// There is no filter of this name.
    Unknown(String),
    /// Its value is none.
    Value(String, String),
    /// It names an image that isn't there, or the images can't be read.
    Store(StoreError),
}

impl fmt::Display for ImageFilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageFilterError::Unknown(name) => write!(f, "invalid filter '{name}'"),
            ImageFilterError::Value(name, value) => write!(f, "invalid filter '{name}=[{value}]'"),
            ImageFilterError::Store(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for ImageFilterError {}

impl ImageFilterError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            ImageFilterError::Unknown(_) => Some(format!("the filters are {FILTERS}")),
            ImageFilterError::Value(name, _) if name == "dangling" => {
                Some("give dangling=true or dangling=false".to_owned())
            }
            ImageFilterError::Value(..) => {
                Some("give a time such as 2026-01-31T10:00:00, or how long ago, such as 24h".to_owned())
            }
            ImageFilterError::Store(error) => error.help(),
        }
    }
}

impl Engine {
    /// Keeps the images that pass all filters, by any one of each one's values (of labels by all).
    ///
    /// # Errors
    /// When there is no such filter, its value is none, or it names an image that isn't there.
    pub fn filter_images(
        &self,
        lines: &mut Vec<ImageLine>,
        pairs: &[(String, String)],
        time: &dyn Fn(&str) -> Option<u64>,
    ) -> Result<(), ImageFilterError> {
        let mut references: Vec<&str> = Vec::new();
        for (name, value) in pairs {
            let bad = || ImageFilterError::Value(name.clone(), value.clone());
            match name.as_str() {
                "reference" => references.push(value),
                "dangling" => {
                    let wanted = match value.as_str() {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        _ => return Err(bad()),
                    };
                    lines.retain(|line| (line.repository == "<none>") == wanted);
                }
                "label" => {
                    let mut labels: BTreeMap<String, bool> = BTreeMap::new();
                    lines.retain(|line| {
                        let id = line.id.to_string();
                        *labels
                            .entry(id)
                            .or_insert_with_key(|id| self.has_label(id, value))
                    });
                }
                "before" | "since" => {
                    let (named, _) = self.image(value).map_err(ImageFilterError::Store)?;
                    let (tagged, digest) = (named.tagged, named.descriptor.digest);
                    lines.retain(|line| {
                        line.digest != digest
                            && if name == "before" {
                                line.tagged < tagged
                            } else {
                                line.tagged > tagged
                            }
                    });
                }
                "until" => {
                    let end = time(value).ok_or_else(bad)?;
                    lines.retain(|line| line.tagged < end);
                }
                other => return Err(ImageFilterError::Unknown(other.to_owned())),
            }
        }
        if !references.is_empty() {
            lines.retain(|line| {
                references
                    .iter()
                    .any(|pattern| refers(pattern, &line.repository, &line.tag))
            });
        }
        Ok(())
    }

    fn has_label(&self, image: &str, wanted: &str) -> bool {
        let Ok((_, image)) = self.image(image) else {
            return false;
        };
        let labels = &image.config.config.labels;
        match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        }
    }
}

/// Whether `NAME` or `NAME:TAG`, with `*`, `?` and `[…]`, is this name; `*` goes over no slash.
pub fn refers(pattern: &str, repository: &str, tag: &str) -> bool {
    let whole = format!("{repository}:{tag}");
    glob(pattern, repository) || glob(pattern, &whole)
}

fn glob(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    let Some(first) = rest.next() else {
        return text.is_empty();
    };
    let behind = rest.as_str();
    let mut characters = text.chars();
    match first {
        '*' => {
            let mut left = text;
            loop {
                if glob(behind, left) {
                    return true;
                }
                let mut characters = left.chars();
                match characters.next() {
                    Some(character) if character != '/' => left = characters.as_str(),
                    _ => return false,
                }
            }
        }
        '?' => characters.next().is_some_and(|c| c != '/') && glob(behind, characters.as_str()),
        '[' => {
            let Some((class, behind)) = behind.split_once(']') else {
                return false;
            };
            characters.next().is_some_and(|c| c != '/' && in_class(class, c))
                && glob(behind, characters.as_str())
        }
        '\\' => {
            let mut rest = behind.chars();
            rest.next()
                .is_some_and(|literal| characters.next() == Some(literal))
                && glob(rest.as_str(), characters.as_str())
        }
        literal => characters.next() == Some(literal) && glob(behind, characters.as_str()),
    }
}

fn in_class(class: &str, character: char) -> bool {
    let (negated, class) = match class.strip_prefix('^') {
        Some(class) => (true, class),
        None => (false, class),
    };
    let members: Vec<char> = class.chars().collect();
    let mut at = 0;
    let mut found = false;
    while at < members.len() {
        if members.get(at + 1) == Some(&'-') && at + 2 < members.len() {
            found |= (members[at]..=members[at + 2]).contains(&character);
            at += 3;
        } else {
            found |= members[at] == character;
            at += 1;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_as_paths_are() {
        for (pattern, fits) in [
            ("debian", true),
            ("debian:bookworm-slim", true),
            ("deb*", true),
            ("debian:*slim", true),
            ("d?bian:*", true),
            ("[a-d]ebian", true),
            ("[^a-d]ebian", false),
            ("debian:none", false),
            ("*/debian", false),
        ] {
            assert_eq!(refers(pattern, "debian", "bookworm-slim"), fits, "{pattern}");
        }
        assert!(refers("*/python", "test/python", "latest") && !refers("*", "test/python", "latest"));
    }
}
