//! Small cache records, and the places of downloads.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::{Store, layout};

/// A use within so short a time of the one before isn't written down.
const SAME_USE: Duration = Duration::from_secs(60);

/// Writes down that a file of the cache was used: its time of modification says when that was last.
pub(crate) fn used(file: &File) -> io::Result<()> {
    let now = SystemTime::now();
    let before = file.metadata()?.modified()?;
    // A clock that was set back is no use either.
    if now.duration_since(before).is_ok_and(|passed| passed < SAME_USE) {
        return Ok(());
    }
    file.set_modified(now)
}

impl Store {
    /// A record that was kept, if it is there; it counts as used now.
    pub fn cache_get(&self, kind: &str, key: &str) -> Option<Vec<u8>> {
        let mut file = File::open(self.root().join(layout::CACHE).join(kind).join(key)).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        // In a store that can only be read nothing is pruned by it.
        let _ = used(&file);
        Some(bytes)
    }

    /// Keeps a record; atomic, not synced. Blobs whose digests stand in it (`sha256:…`) are kept by a collection.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn cache_put(&self, kind: &str, key: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_atomic(&self.root().join(layout::CACHE).join(kind).join(key), bytes)
    }

    /// Where a download of a kind (`wheels`, `debs`, `indices`) is kept; its folder exists afterwards.
    ///
    /// `name` is a relative path made by coil, never one from outside.
    pub fn download_path(&self, kind: &str, name: &str) -> PathBuf {
        let path = self.inner.downloads.join(kind).join(name);
        if let Some(folder) = path.parent() {
            // Whoever writes there meets the error and says it better.
            let _ = layout::make_folder(folder);
        }
        path
    }
}
