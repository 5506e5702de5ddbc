//! Remembers what was read of a project, so that an unchanged project needs no planning.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use coil_oci::{Digest, Hasher};
use coil_python::{DirEntry, FileError, ProjectFiles};
use serde::{Deserialize, Serialize};

/// What was asked of a project's folder, and a digest of each answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    files: BTreeMap<String, Option<Digest>>,
    folders: BTreeMap<String, Digest>,
    exists: BTreeMap<String, bool>,
}

impl Reads {
    /// Whether the same questions still get the same answers.
    pub fn still_hold(&self, files: &dyn ProjectFiles) -> bool {
        let file = |(path, digest): (&String, &Option<Digest>)| {
            files
                .read(path)
                .is_ok_and(|bytes| bytes.map(|bytes| Digest::of(&bytes)) == *digest)
        };
        let folder = |(path, digest): (&String, &Digest)| {
            files
                .list_dir(path)
                .is_ok_and(|entries| listing_digest(&entries) == *digest)
        };
        self.exists
            .iter()
            .all(|(path, there)| files.is_file(path) == *there)
            && self.files.iter().all(file)
            && self.folders.iter().all(folder)
    }

    /// Sets what a file will be found to hold, after it was written.
    pub fn set_file(&mut self, path: &str, bytes: &[u8]) {
        self.files.insert(path.to_owned(), Some(Digest::of(bytes)));
        self.exists
            .entry(path.to_owned())
            .and_modify(|there| *there = true);
    }
}

fn listing_digest(entries: &[DirEntry]) -> Digest {
    let mut hasher = Hasher::new();
    for entry in entries {
        hasher.update(entry.name.as_bytes());
        hasher.update(if entry.is_dir { b"/\0" } else { b"\0" });
    }
    hasher.finish()
}

/// Passes questions on and remembers the answers.
pub struct Recorder<'a> {
    inner: &'a dyn ProjectFiles,
    reads: Mutex<Reads>,
}

impl<'a> Recorder<'a> {
    /// Records what is asked of `inner`.
    pub fn new(inner: &'a dyn ProjectFiles) -> Recorder<'a> {
        Recorder {
            inner,
            reads: Mutex::new(Reads::default()),
        }
    }

    /// What was asked so far.
    pub fn finish(self) -> Reads {
        self.reads.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Reads)) {
        change(&mut self.reads.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ProjectFiles for Recorder<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        let bytes = self.inner.read(path)?;
        let digest = bytes.as_deref().map(Digest::of);
        self.note(|reads| {
            reads.files.insert(path.to_owned(), digest);
        });
        Ok(bytes)
    }

    fn list_dir(&self, path: &str) -> Result<Vec<DirEntry>, FileError> {
        let entries = self.inner.list_dir(path)?;
        let digest = listing_digest(&entries);
        self.note(|reads| {
            reads.folders.insert(path.to_owned(), digest);
        });
        Ok(entries)
    }

    fn is_file(&self, path: &str) -> bool {
        let there = self.inner.is_file(path);
        self.note(|reads| {
            reads.exists.insert(path.to_owned(), there);
        });
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coil_python::MemoryFiles;

    #[test]
    fn a_change_of_what_was_read_is_seen_and_no_other() {
        let files = MemoryFiles::new().with("a", "1").with("d/b", "2");
        let recorder = Recorder::new(&files);
        recorder.read("a").unwrap();
        recorder.read("missing").unwrap();
        recorder.list_dir("d").unwrap();
        let reads = recorder.finish();
        assert!(reads.still_hold(&files));
        assert!(reads.still_hold(&files.clone().with("other", "x").with("d/b", "3")));
        assert!(!reads.still_hold(&files.clone().with("a", "2")));
        assert!(!reads.still_hold(&files.clone().with("missing", "")));
        assert!(!reads.still_hold(&files.clone().with("d/c", "")));
    }
}
