//! File contents on their way from packages to a layer, kept on disk so that memory doesn't grow with the base.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A nameless temporary file that several threads write to, each where it has reserved room.
#[derive(Debug)]
pub struct Spill {
    file: File,
    end: AtomicU64,
}

impl Spill {
    /// Makes the file and takes its name away at once: however coil ends, nothing is left.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn create(path: &Path) -> io::Result<Spill> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        fs::remove_file(path)?;
        Ok(Spill {
            file,
            end: AtomicU64::new(0),
        })
    }

    /// Takes room for a content and tells where it is.
    pub fn reserve(&self, size: u64) -> u64 {
        self.end.fetch_add(size, Ordering::Relaxed)
    }

    /// Writes all bytes at a place.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Fills the buffer from a place.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }
}
