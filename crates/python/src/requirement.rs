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
            message: format!("Package name must end with an alphanumeric character, not '{end}'"),
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

/// Where a name ends with what no name ends with: the parser takes it for one of its own mistakes.
fn open_end(text: &str) -> Option<(usize, char)> {
    let before = text.len() - text.trim_start().len();
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name = text[before..].split(|c: char| !in_name(c)).next()?;
    let last = name
        .chars()
        .next_back()
        .filter(|last| !last.is_ascii_alphanumeric())?;
    // A path begins with a dot.
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        .then_some((before + name.len() - 1, last))
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
