//! How this crate reads a project: through a trait, so that it stays free of I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a project directory holds, read by relative path.
///
/// Paths use `/`, have no leading `/` and no `.` component; `""` is the project's directory itself.
/// `..` may lead out of it (`../shared`), and the reader decides whether to follow. Reads have no side effects,
/// and two reads of one path in one session should agree.
pub trait ProjectFiles {
    /// Reads a file: `None` where nothing (or no regular file) is there.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError>;

    /// Lists the names in a directory, sorted; empty where there is no such directory.
    fn list_dir(&self, path: &str) -> Result<Vec<DirEntry>, FileError>;

    /// Says whether a regular file is there.
    fn is_file(&self, path: &str) -> bool;

    /// Reads a file as UTF-8 text; a byte-order mark is dropped.
    fn read_text(&self, path: &str) -> Result<Option<String>, FileError> {
        let Some(bytes) = self.read(path)? else {
            return Ok(None);
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(match text.strip_prefix('\u{feff}') {
                Some(rest) => rest.to_owned(),
                None => text,
            })),
            Err(error) => Err(FileError {
                path: path.to_owned(),
                reason: format!(
                    "is not UTF-8 text (byte {} is the first that is not)",
                    error.utf8_error().valid_up_to()
                ),
            }),
        }
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without its directory.
    pub name: String,
    /// Whether it is a directory (a link to one counts as a file).
    pub is_dir: bool,
}

/// A file that exists and can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// The path as it was asked for.
    pub path: String,
    /// Why it can't be read, as words that follow the path.
    pub reason: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.reason)
    }
}

impl std::error::Error for FileError {}

/// A project held in memory, for tests and for callers that have no directory.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    files: BTreeMap<String, Vec<u8>>,
}

impl MemoryFiles {
    /// Makes an empty project.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a file.
    #[must_use]
    pub fn with(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), content.into());
        self
    }
}

impl ProjectFiles for MemoryFiles {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        Ok(self.files.get(path).cloned())
    }

    fn list_dir(&self, path: &str) -> Result<Vec<DirEntry>, FileError> {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let mut entries = BTreeSet::new();
        for file in self.files.keys() {
            if let Some(rest) = file.strip_prefix(&prefix) {
                let (name, is_dir) = match rest.split_once('/') {
                    Some((dir, _)) => (dir, true),
                    None => (rest, false),
                };
                entries.insert(DirEntry {
                    name: name.to_owned(),
                    is_dir,
                });
            }
        }
        Ok(entries.into_iter().collect())
    }

    fn is_file(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }
}

/// Joins two relative paths and cleans `.` and `..`.
///
/// `join("a/b", "../c")` is `a/c`; a `..` that leads out of the project stays in front.
pub fn join(base: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                None | Some(&"..") => parts.push(".."),
                Some(_) => {
                    parts.pop();
                }
            },
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// The directory of a relative path: `""` for a file at the top.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_cleaned() {
        for (base, path, expected) in [
            ("", "a", "a"),
            ("a/b", "../c", "a/c"),
            ("a", "./b/./c", "a/b/c"),
            ("", "../x", "../x"),
            ("a", "../../x", "../x"),
            (".", ".", ""),
        ] {
            assert_eq!(join(base, path), expected, "{base} + {path}");
        }
    }

    #[test]
    fn memory_lists_directories() {
        let files = MemoryFiles::new()
            .with("a.py", "")
            .with("src/pkg/__init__.py", "")
            .with("src/x.py", "");
        let names = |path| {
            files
                .list_dir(path)
                .expect("memory never fails")
                .into_iter()
                .map(|e| (e.name, e.is_dir))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(""), [("a.py".to_owned(), false), ("src".to_owned(), true)]);
        assert_eq!(
            names("src"),
            [("pkg".to_owned(), true), ("x.py".to_owned(), false)]
        );
        assert!(names("nothing").is_empty());
    }
}
