//! Digests of a context's files: kept from build to build, and taken again only where a file's stamp is another one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use coil_oci::{Digest, Hasher};
use coil_store::Store;

use super::tree::Item;

/// Records of files' digests, one for each context.
const FILES: &str = "dockerfile-files-v1";
/// A file that changed so many nanoseconds ago is not trusted by its stamp.
const FRESH: i128 = 1_000_000_000;

/// Size, modification, change (nanoseconds) and inode of a file, and its digest.
type Stamp = (u64, i128, i128, u64, Digest);

/// The digests of one context's files.
pub(super) struct FileDigests<'a> {
    store: &'a Store,
    /// The key of the record; none for a build without a context.
    key: Option<String>,
    now: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    stamps: BTreeMap<PathBuf, Stamp>,
    changed: bool,
}

impl<'a> FileDigests<'a> {
    /// What earlier builds have kept of a context.
    pub(super) fn read(store: &'a Store, context: Option<&Path>, now: Duration) -> FileDigests<'a> {
        let key = context.map(|root| Digest::of(root.as_os_str().as_encoded_bytes()).hex().to_owned());
        let bytes = key.as_ref().and_then(|key| store.cache_get(FILES, key));
        let stamps = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        FileDigests {
            store,
            key,
            now,
            known: Mutex::new(Known {
                stamps: stamps.unwrap_or_default(),
                changed: false,
            }),
        }
    }

    /// Keeps what is known now for the next build.
    pub(super) fn keep(&self) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(key), true) = (&self.key, known.changed)
            && let Ok(bytes) = serde_json::to_vec(&known.stamps)
        {
            // Without them files are read again.
            let _ = self.store.cache_put(FILES, key, &bytes);
        }
    }

    /// A file's digest: by its stamp where that is known and old enough.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(super) fn of(&self, item: &Item) -> io::Result<Digest> {
        let meta = &item.meta;
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let modified = nanoseconds(meta.mtime(), meta.mtime_nsec());
        let changed = nanoseconds(meta.ctime(), meta.ctime_nsec());
        let facts = (meta.len(), modified, changed, meta.ino());
        let known = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.stamps.get(&item.place).cloned()
        };
        if let Some((size, mtime, ctime, inode, digest)) = known
            && (size, mtime, ctime, inode) == facts
        {
            return Ok(digest);
        }
        let mut hasher = Hasher::new();
        io::copy(&mut fs::File::open(&item.place)?, &mut hasher)?;
        let digest = hasher.finish();
        let now = i128::try_from(self.now.as_nanos()).unwrap_or(0);
        if now - modified > FRESH && now - changed > FRESH {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let stamp = (facts.0, facts.1, facts.2, facts.3, digest.clone());
            known.stamps.insert(item.place.clone(), stamp);
            known.changed = true;
        }
        Ok(digest)
    }
}
