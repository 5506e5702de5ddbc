//! Requirements as PEP 508 writes them, with addresses kept as they are written.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use pep508_rs::{ExtraName, MarkerTree, Pep508Url, VersionOrUrl};

/// The name of a dependency group; normalised as extras are (PEP 735).
pub type GroupName = ExtraName;

/// A requirement (PEP 508) whose address, if it has one, is kept verbatim.
pub type Requirement = pep508_rs::Requirement<RequirementUrl>;

/// The address of a direct reference, as written: nothing is expanded or resolved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequirementUrl(String);

impl RequirementUrl {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequirementUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pep508Url for RequirementUrl {
    type Err = Infallible;

    fn parse_url(url: &str, _working_dir: Option<&Path>) -> Result<Self, Self::Err> {
        Ok(RequirementUrl(url.to_owned()))
    }
}

/// A text that is no requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequirementError {
    /// What is wrong, in one line.
    pub message: String,
    /// The byte in the text where it is.
    pub start: usize,
    /// How many bytes it concerns.
    pub len: usize,
}

impl fmt::Display for RequirementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RequirementError {}

/// The deepest nesting of parentheses that is read: the parser of markers calls itself for each.
const DEEPEST: usize = 60;

/// Whether brackets are nested deeper than anyone writes.
fn is_too_deep(text: &str) -> bool {
    let mut depth = 0usize;
    text.bytes().any(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEEPEST
    })
}

/// Reads an environment marker (PEP 508); `None` if it is none.
pub fn parse_marker(text: &str) -> Option<MarkerTree> {
    match is_too_deep(text) {
        true => None,
        false => MarkerTree::from_str(text).ok(),
    }
}

/// Reads one requirement.
pub fn parse_requirement(text: &str) -> Result<Requirement, RequirementError> {
    if is_too_deep(text) {
        return Err(RequirementError {
            message: "its parentheses are nested too deeply".to_owned(),
            start: 0,
            len: text.len().max(1),
        });
    }
    if let Some((start, end)) = open_end(text) {
        return Err(RequirementError {
            message: format!("a name must end with a letter or a digit, not '{end}'"),
            start,
            len: 1,
        });
    }
    Requirement::from_str(text).map_err(|error| {
        // Only the first line: the rest repeats the input with a caret, and the caller has a better one.
        let message = error.message.to_string();
        RequirementError {
            message: message
                .lines()
                .next()
                .unwrap_or("not a requirement")
                .trim_end_matches(':')
                .to_owned(),
            start: error.start.min(text.len()),
            len: error.len.max(1),
        }
    })
}

/// Where a name, or one of the extras behind it, ends with what no name ends with: the parser takes that for a mistake of its own.
fn open_end(text: &str) -> Option<(usize, char)> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let end_of = |from: usize| {
        let rest = &text[from..];
        from + rest.find(|c: char| !in_name(c)).unwrap_or(rest.len())
    };
    let last_of = |from: usize, end: usize| {
        let last = text[from..end].chars().next_back();
        let open = last.filter(|last| !last.is_ascii_alphanumeric());
        open.map(|last| (end - 1, last))
    };
    let start = text.len() - text.trim_start().len();
    // A path begins with a dot.
    if !text[start..].starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let end = end_of(start);
    if let Some(found) = last_of(start, end) {
        return Some(found);
    }
    let rest = text[end..].trim_start();
    let extras = rest.strip_prefix('[')?.split(']').next()?;
    let mut at = text.len() - rest.len() + 1;
    let until = at + extras.len();
    while at < until {
        let end = end_of(at);
        if let Some(found) = last_of(at, end) {
            return Some(found);
        }
        at = end + text[end..].chars().next().map_or(1, char::len_utf8);
    }
    None
}

/// The address of a direct reference.
pub fn url_of(requirement: &Requirement) -> Option<&str> {
    match &requirement.version_or_url {
        Some(VersionOrUrl::Url(url)) => Some(url.as_str()),
        _ => None,
    }
}

/// A requirement as people write it: `httpx[http2]>=0.27`, without its marker.
pub fn short(requirement: &Requirement) -> String {
    let mut text = requirement.name.to_string();
    if !requirement.extras.is_empty() {
        let extras: Vec<&str> = requirement.extras.iter().map(AsRef::as_ref).collect();
        text.push_str(&format!("[{}]", extras.join(",")));
    }
    match &requirement.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => {
            let specifiers: Vec<String> = specifiers.iter().map(ToString::to_string).collect();
            text.push_str(&specifiers.join(","));
        }
        Some(VersionOrUrl::Url(url)) => text.push_str(&format!(" @ {url}")),
        None => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_an_open_end_are_errors() {
        for (text, start) in [
            ("st. >=1", 2),
            (" a-[x]", 2),
            ("z[m2.", 4),
            ("z [a, m2_ ]>1", 8),
            ("z[a,é.]", 6),
        ] {
            let error = parse_requirement(text).expect_err(text);
            assert_eq!(error.start, start, "{text}: {error}");
        }
        for text in ["a.b-c[x.y,z]>=1.0", "a", "a[ x ] ; extra == 'y'"] {
            assert!(parse_requirement(text).is_ok(), "{text}");
        }
    }
}
