//! A project's folder on disk, as `python` reads it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use coil_python::{DirEntry, FileError, ProjectFiles};

/// The largest project file that is read whole; locks of thousands of packages are a few megabytes.
const LARGEST: u64 = 256 * 1024 * 1024;

/// Reads below a folder; `..` may lead out of it, as a workspace's sources do.
#[derive(Debug, Clone)]
pub struct DiskFiles {
    root: PathBuf,
}

impl DiskFiles {
    /// The files of a folder.
    pub fn new(root: impl Into<PathBuf>) -> DiskFiles {
        DiskFiles { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn failed(path: &str, error: &io::Error) -> FileError {
    FileError {
        path: path.to_owned(),
        reason: format!("cannot be read: {error}"),
    }
}

impl ProjectFiles for DiskFiles {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        let full = self.root.join(path);
        match fs::metadata(&full) {
            Ok(meta) if !meta.is_file() => return Ok(None),
            Ok(meta) if meta.len() > LARGEST => {
                return Err(FileError {
                    path: path.to_owned(),
                    reason: "is larger than 256 MB".into(),
                });
            }
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(path, &error)),
        }
        fs::read(&full).map(Some).map_err(|error| failed(path, &error))
    }

    fn list_dir(&self, path: &str) -> Result<Vec<DirEntry>, FileError> {
        let entries = match fs::read_dir(self.root.join(path)) {
            Ok(entries) => entries,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(failed(path, &error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed(path, &error))?;
            // A name that is not UTF-8 is no Python file.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            names.push(DirEntry {
                name,
                is_dir: entry.file_type().is_ok_and(|kind| kind.is_dir()),
            });
        }
        names.sort();
        Ok(names)
    }

    fn is_file(&self, path: &str) -> bool {
        self.root.join(path).is_file()
    }
}
