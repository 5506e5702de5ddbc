//! The data root's folders, and the two ways of writing in them.
//!
//! | folder | holds |
//! |---|---|
//! | `blobs/sha256/HEX` | manifests, configurations and layers as they came or were made |
//! | `refs-v1/NAME` | one file a name: which manifest or index it stands for |
//! | `referrers-v1/HEX` | the artifacts about a manifest, by its digest |
//! | `stand-ins-v1/NAME` | the same for images that stand in for others of that name |
//! | `snapshots-v1/HEX` | a layer unpacked, by diff id |
//! | `mapped-snapshots-v1/IDS/HEX` | the same for a user whose containers have these ids: only there may its files be removed |
//! | `step-caches-v1/ID` | folders that build steps keep from one build to the next |
//! | `cache-v1/KIND/KEY` | small records of work done; the blobs that they name are kept |
//! | `downloads-v1/KIND/…` | wheels, packages and indices as they were fetched |
//! | `volumes-v1/NAME` | a volume: what is known of it, and its files in `_data` |
//! | `containers-v1/ID` | a container's settings, state, log and writable layer |
//! | `names-v1/NAME` | which container has a name |
//! | `builders-v1/NAME` | a name that the user gave to a builder, which coil is itself |
//! | `temp-v1` | what is being written |
//! | `lease-v1` | the file that readers and writers lock together, and a collection alone |
//! | `collect-v1` | there while a collection waits for its turn |
//! | `looked-v1` | when the cache's size was last looked at |

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::Store;

pub(crate) const BLOBS: &str = "blobs/sha256";
pub(crate) const REFS: &str = "refs-v1";
pub(crate) const STAND_INS: &str = "stand-ins-v1";
pub(crate) const REFERRERS: &str = "referrers-v1";
pub(crate) const SNAPSHOTS: &str = "snapshots-v1";
pub(crate) const MAPPED_SNAPSHOTS: &str = "mapped-snapshots-v1";
pub(crate) const CACHE: &str = "cache-v1";
pub(crate) const STEP_CACHES: &str = "step-caches-v1";
pub(crate) const DOWNLOADS: &str = "downloads-v1";
pub(crate) const CONTAINERS: &str = "containers-v1";
pub(crate) const NAMES: &str = "names-v1";
pub(crate) const BUILDERS: &str = "builders-v1";
pub(crate) const TEMP: &str = "temp-v1";
pub(crate) const LEASE: &str = "lease-v1";
pub(crate) const COLLECT: &str = "collect-v1";
pub(crate) const LOOKED: &str = "looked-v1";

/// Makes a folder and those above it, for the owner alone to write, whatever the umask is.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o711).create(path)
}

impl Store {
    /// Writes a small file under a temporary name and renames it to `path`; not synced.
    pub(crate) fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.temp_path()?;
        let written = (|| {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(bytes)?;
            self.rename_into(&temporary, path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Renames to a path whose folder may not be there yet.
    pub(crate) fn rename_into(&self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = to.parent() {
                    make_folder(folder)?;
                }
                fs::rename(from, to)
            }
            other => other,
        }
    }
}
