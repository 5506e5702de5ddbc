//! Names of builders that the user has asked for: each of them is coil itself on this machine, and scripts go on calling it so.
//!
//! One empty file a name, `builders-v1/NAME`, and `builders-v1/.current` with the one that is used where none is named.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::{Store, layout};

/// The file with the name of the current one; no name begins so.
const CURRENT: &str = ".current";
/// Longer than any name that people give.
const LONGEST: usize = 128;

impl Store {
    fn builder_path(&self, name: &str) -> PathBuf {
        self.root().join(layout::BUILDERS).join(name)
    }

    /// Whether a text can be a builder's name: letters, digits, `.`, `_` and `-` after a letter or digit.
    pub fn is_builder_name(text: &str) -> bool {
        text.len() <= LONGEST
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter))
    }

    /// The names, sorted.
    pub fn builders(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root().join(layout::BUILDERS));
        let entries = entries.into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| Store::is_builder_name(name))
            .collect();
        names.sort();
        names
    }

    /// Whether there is one of a name.
    pub fn has_builder(&self, name: &str) -> bool {
        Store::is_builder_name(name) && self.builder_path(name).is_file()
    }

    /// Keeps a name; idempotent.
    ///
    /// # Errors
    /// A name that can be none, and what the disk gives.
    pub fn put_builder(&self, name: &str) -> io::Result<()> {
        if !Store::is_builder_name(name) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.write_atomic(&self.builder_path(name), b"")
    }

    /// Forgets a name; false where it wasn't known.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn remove_builder(&self, name: &str) -> io::Result<bool> {
        if !self.has_builder(name) {
            return Ok(false);
        }
        if self.current_builder().as_deref() == Some(name) {
            self.set_current_builder(None)?;
        }
        fs::remove_file(self.builder_path(name)).map(|()| true)
    }

    /// The builder that is used where none is named, if the user chose one.
    pub fn current_builder(&self) -> Option<String> {
        let name = fs::read_to_string(self.builder_path(CURRENT)).ok()?;
        self.has_builder(&name).then_some(name)
    }

    /// Chooses it, or none of them.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn set_current_builder(&self, name: Option<&str>) -> io::Result<()> {
        match name {
            Some(name) => self.write_atomic(&self.builder_path(CURRENT), name.as_bytes()),
            None => match fs::remove_file(self.builder_path(CURRENT)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreOptions;

    #[test]
    fn names_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            root: folder.path().join("root"),
            downloads: None,
            boot_id: "1".into(),
        });
        assert!(store.builders().is_empty() && store.current_builder().is_none());
        store.put_builder("ci").unwrap();
        store.put_builder("ci").unwrap();
        store.set_current_builder(Some("ci")).unwrap();
        assert_eq!(store.builders(), ["ci"]);
        assert_eq!(store.current_builder().as_deref(), Some("ci"));
        assert!(store.remove_builder("ci").unwrap() && !store.remove_builder("ci").unwrap());
        assert_eq!(store.current_builder(), None);
        for wrong in ["", ".current", "../x", "a/b", "-x"] {
            assert!(store.put_builder(wrong).is_err(), "{wrong}");
        }
    }
}
