//! A directory on disk, as far as these tests need it.

use std::path::PathBuf;

use coil_python::{DirEntry, FileError, ProjectFiles};

pub struct Folder(pub PathBuf);

impl ProjectFiles for Folder {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        Ok(std::fs::read(self.0.join(path)).ok())
    }

    fn list_dir(&self, path: &str) -> Result<Vec<DirEntry>, FileError> {
        let Ok(entries) = std::fs::read_dir(self.0.join(path)) else {
            return Ok(Vec::new());
        };
        let mut found: Vec<DirEntry> = entries
            .map(|entry| entry.expect("an entry"))
            .map(|entry| DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_dir: entry.path().is_dir(),
            })
            .collect();
        found.sort();
        Ok(found)
    }

    fn is_file(&self, path: &str) -> bool {
        self.0.join(path).is_file()
    }
}
