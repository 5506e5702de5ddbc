//! Names of archive entries: only those that stay inside any folder they are unpacked in.

use std::collections::HashSet;

use super::{ArchiveEntry, ArchiveError};

/// Checks one name; gives it without a directory's last slash, and whether it is a directory.
pub(super) fn check(raw: &[u8]) -> Result<(String, bool), ArchiveError> {
    let refuse = |what| ArchiveError::Name {
        name: String::from_utf8_lossy(raw).into_owned(),
        what,
    };
    let name = std::str::from_utf8(raw).map_err(|_| refuse("it is not UTF-8"))?;
    if let Some(what) = fault(name.strip_suffix('/').unwrap_or(name)) {
        return Err(refuse(what));
    }
    match name.strip_suffix('/') {
        Some(directory) => Ok((directory.to_owned(), true)),
        None => Ok((name.to_owned(), false)),
    }
}

/// What makes a relative path unfit to be unpacked, if anything.
pub(crate) fn fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.starts_with('/') {
        return Some("it is absolute");
    }
    if path.len() > 3000 {
        return Some("it is too long");
    }
    for byte in path.bytes() {
        match byte {
            b'\\' => return Some("it has a backslash"),
            0 => return Some("it has a NUL byte"),
            1..=31 | 127 => return Some("it has a control character"),
            _ => {}
        }
    }
    if path.as_bytes().get(1) == Some(&b':') {
        return Some("it begins with a drive letter");
    }
    for part in path.split('/') {
        match part {
            "" => return Some("it has an empty part"),
            "." | ".." => return Some("it has a '.' or '..' part"),
            _ if part.len() > 255 => return Some("a part of it is longer than 255 bytes"),
            _ => {}
        }
    }
    None
}

/// Refuses names that come twice, and files that are also used as directories.
pub(super) fn check_together(entries: &[ArchiveEntry]) -> Result<(), ArchiveError> {
    let mut seen = HashSet::with_capacity(entries.len());
    let mut files = HashSet::with_capacity(entries.len());
    for entry in entries {
        if !seen.insert(entry.name.as_str()) {
            return Err(ArchiveError::Name {
                name: entry.name.clone(),
                what: "it comes twice, with different content",
            });
        }
        if !entry.is_dir {
            files.insert(entry.name.as_str());
        }
    }
    for entry in entries {
        let mut path = entry.name.as_str();
        while let Some(cut) = path.rfind('/') {
            path = &path[..cut];
            if files.contains(path) {
                return Err(ArchiveError::Name {
                    name: entry.name.clone(),
                    what: "a part of it is a file",
                });
            }
        }
    }
    Ok(())
}
