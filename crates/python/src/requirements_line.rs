//! The lines of a requirements file: joined, cleared of comments, and told apart.

use std::str::FromStr;

use pep508_rs::{ExtraName, MarkerTree, PackageName};

use crate::project_files::{join, parent};
use crate::requirement::{parse_marker, parse_requirement};
use crate::requirements_file::Wanted;

/// One logical line and where it began.
pub(crate) struct Logical {
    pub text: String,
    /// The line's number, from 1.
    pub number: usize,
}

/// Joins continued lines and drops comments; a comment between continued lines doesn't end them.
pub(crate) fn logical_lines(text: &str) -> Vec<Logical> {
    let mut lines: Vec<Logical> = Vec::new();
    let mut open: Option<Logical> = None;
    for (number, line) in text.lines().enumerate() {
        let is_comment = line.trim_start().starts_with('#');
        let line = if is_comment && open.is_some() { "" } else { line };
        let continued = line.ends_with('\\') && !is_comment;
        let part = if continued {
            line.trim_end_matches('\\')
        } else {
            line
        };
        match &mut open {
            Some(logical) => logical.text.push_str(part),
            None => {
                open = Some(Logical {
                    text: part.to_owned(),
                    number: number + 1,
                })
            }
        }
        let goes_on =
            continued || (is_comment && open.as_ref().is_some_and(|logical| logical.number != number + 1));
        if !goes_on {
            lines.extend(open.take());
        }
    }
    lines.extend(open);
    for line in &mut lines {
        if let Some(at) = comment_start(&line.text) {
            line.text.truncate(at);
        }
    }
    lines.retain(|line| !line.text.trim().is_empty());
    lines
}

/// Where a comment begins: a `#` at the start or after white space.
fn comment_start(text: &str) -> Option<usize> {
    text.char_indices()
        .find(|(at, c)| *c == '#' && text[..*at].chars().next_back().is_none_or(char::is_whitespace))
        .map(|(at, _)| at)
}

/// Takes `--name=value`, `--name value` or `-rvalue` apart.
pub(crate) fn option_of(text: &str) -> (&str, Option<&str>) {
    let (first, rest) = match text.split_once(char::is_whitespace) {
        Some((first, rest)) => (first, Some(rest.trim()).filter(|rest| !rest.is_empty())),
        None => (text, None),
    };
    if let Some((name, value)) = first.split_once('=')
        && name.starts_with("--")
    {
        return (name, Some(value));
    }
    if !first.starts_with("--") && first.len() > 2 && first.is_char_boundary(2) {
        // Nothing follows a glued value but a path with blanks in it, which nobody writes.
        return (&first[..2], Some(first[2..].trim_start_matches('=')));
    }
    (first, rest.map(|rest| rest.trim_matches(['"', '\''])))
}

/// Parts a requirement from the options behind it.
pub(crate) fn split_options(text: &str) -> (&str, &str) {
    let at = text
        .match_indices("--")
        .find(|(at, _)| text[..*at].ends_with(char::is_whitespace))
        .map_or(text.len(), |(at, _)| at);
    (text[..at].trim(), text[at..].trim())
}

/// Whether it is an address or a path, and not a requirement with a name.
pub(crate) fn is_location(text: &str) -> bool {
    let bare = text.split(" ;").next().unwrap_or(text).trim();
    if bare.contains(" @ ")
        || bare
            .split_once('@')
            .is_some_and(|(name, _)| PackageName::from_str(name.trim()).is_ok() && !name.contains('/'))
    {
        return false;
    }
    let word = bare.split_whitespace().next().unwrap_or(bare);
    let scheme = word.split_once(':').is_some_and(|(scheme, rest)| {
        rest.starts_with("//") || scheme.starts_with("git+") || scheme == "file"
    });
    let archive = [".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz"]
        .iter()
        .any(|end| word.split(['#', '[']).next().unwrap_or(word).ends_with(end));
    scheme
        || archive
        || word.starts_with(['.', '/'])
        || word.split('[').next().is_some_and(|path| path.contains('/'))
}

pub(crate) fn unnamed(file: &str, text: &str, editable: bool) -> Result<Wanted, String> {
    let (location, marker) = match text.split_once(" ;").or_else(|| text.split_once("; ")) {
        Some((location, marker)) => (
            location.trim(),
            parse_marker(marker.trim())
                .ok_or_else(|| format!("`{}` is not an environment marker", marker.trim()))?,
        ),
        None => (text.trim(), MarkerTree::TRUE),
    };
    // `#egg=name` names it, as old tools write it.
    let egg = location
        .split_once('#')
        .and_then(|(_, fragment)| fragment.split('&').find_map(|pair| pair.strip_prefix("egg=")));
    if let (Some(egg), false) = (egg, editable) {
        let address = location.split_once('#').map_or(location, |(address, _)| address);
        if let Ok(mut requirement) = parse_requirement(&format!("{egg} @ {address}")) {
            requirement.marker = marker;
            return Ok(Wanted::Named(requirement));
        }
    }
    let (location, extras) = match location
        .strip_suffix(']')
        .and_then(|inner| inner.rsplit_once('['))
    {
        Some((location, extras)) if !location.is_empty() => (
            location.trim(),
            extras
                .split(',')
                .map(|extra| {
                    ExtraName::from_str(extra.trim()).map_err(|_| format!("`{extra}` is not a valid extra"))
                })
                .collect::<Result<Vec<_>, _>>()?,
        ),
        _ => (location, Vec::new()),
    };
    let is_path = !location.contains("://") && !location.starts_with('/') && !location.starts_with("git+");
    let location = if is_path {
        let path = join(parent(file), location);
        if path.is_empty() {
            ".".to_owned()
        } else {
            format!("./{path}")
        }
    } else {
        location.to_owned()
    };
    Ok(Wanted::Unnamed {
        location,
        extras,
        marker,
        editable,
    })
}
