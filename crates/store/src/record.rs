//! Small cache records, and the places of downloads.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::{Store, layout};

impl Store {
    /// A record that was kept, if it is there.
    pub fn cache_get(&self, kind: &str, key: &str) -> Option<Vec<u8>> {
        fs::read(self.root().join(layout::CACHE).join(kind).join(key)).ok()
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
