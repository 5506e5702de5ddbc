//! Snapshots: layers unpacked into folders, one for each diff id, that overlayfs stacks.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use coil_oci::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use crate::unpack::{Ownership, UnpackError, count_tree, unpack_layer};
use crate::{Store, StoreError, layout};

/// What is known of a snapshot; `mark` beside its `tree`.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    boot: String,
    entries: u64,
    bytes: u64,
}

/// The bytes of a snapshot's files, as its mark says.
pub(crate) fn size(folder: &Path) -> u64 {
    let mark: Option<Mark> = fs::read(folder.join("mark"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    mark.map_or(0, |mark| mark.bytes)
}

impl Store {
    /// Where a layer's unpacked tree is, whether it is there or not.
    pub fn snapshot_tree(&self, diff_id: &Digest) -> PathBuf {
        self.snapshot_folder(diff_id).join("tree")
    }

    fn snapshot_folder(&self, diff_id: &Digest) -> PathBuf {
        self.snapshots().join(diff_id.hex())
    }

    /// The folder of the snapshots whose files have the owners that this process sees.
    fn snapshots(&self) -> PathBuf {
        match &self.inner.ids {
            None => self.root().join(layout::SNAPSHOTS),
            Some(ids) => self.root().join(layout::MAPPED_SNAPSHOTS).join(ids),
        }
    }

    /// The folders of snapshots that this process may remove: its own, and those of one id, which any process of the user
    /// may remove.
    pub(crate) fn removable_snapshots(&self) -> Vec<PathBuf> {
        let plain = self.root().join(layout::SNAPSHOTS);
        let mut folders = vec![self.snapshots()];
        if folders[0] != plain {
            folders.push(plain);
        }
        folders
    }

    /// A layer's unpacked tree, if it is there and whole.
    pub fn whole_snapshot(&self, diff_id: &Digest) -> Option<PathBuf> {
        let folder = self.snapshot_folder(diff_id);
        (folder.exists() && self.snapshot_is_whole(&folder)).then(|| folder.join("tree"))
    }

    /// Unpacks a layer if it isn't yet, and gives its folder. Idempotent, atomic, safe beside others doing the same.
    ///
    /// A snapshot of an earlier boot is compared with its count of entries and bytes first, and made again when
    /// they differ.
    ///
    /// # Errors
    /// `MissingBlob`, `Unpack` (among them a digest that does not fit), and what the disk gives; nothing is left then.
    pub fn ensure_snapshot(
        &self,
        diff_id: &Digest,
        blob: &Descriptor,
        ownership: Ownership,
    ) -> Result<PathBuf, StoreError> {
        let ownership = match ownership {
            Ownership::Layer if self.inner.ids.is_some() => Ownership::Mapped,
            other => other,
        };
        let folder = self.snapshot_folder(diff_id);
        let tree = folder.join("tree");
        if self.snapshot_is_whole(&folder) {
            return Ok(tree);
        }
        let source = self
            .open_blob(&blob.digest)
            .map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => StoreError::MissingBlob(blob.digest.clone()),
                _ => StoreError::Io {
                    doing: format!("reading the blob {}", blob.digest),
                    source,
                },
            })?;
        self.unpack_into(&folder, diff_id, source, &blob.media_type, ownership)?;
        Ok(tree)
    }

    fn unpack_into(
        &self,
        folder: &Path,
        diff_id: &Digest,
        source: File,
        media_type: &str,
        ownership: Ownership,
    ) -> Result<(), StoreError> {
        let temporary = self
            .temp_path()
            .map_err(StoreError::io("making a temporary folder"))?;
        let made = (|| {
            let tree = temporary.join("tree");
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&tree)
                .map_err(StoreError::io("making a snapshot's folder"))?;
            let unpacked = unpack_layer(source, media_type, &tree, ownership);
            let (count, found) = unpacked.map_err(|source| StoreError::Unpack {
                diff_id: diff_id.clone(),
                source,
            })?;
            if found != *diff_id {
                let source = UnpackError::WrongDigest { found };
                return Err(StoreError::Unpack {
                    diff_id: diff_id.clone(),
                    source,
                });
            }
            let mark = Mark {
                boot: self.boot_id().to_owned(),
                entries: count.entries,
                bytes: count.bytes,
            };
            let bytes = serde_json::to_vec(&mark).unwrap_or_default();
            fs::write(temporary.join("mark"), bytes).map_err(StoreError::io("writing a snapshot's mark"))?;
            match self.rename_into(&temporary, folder) {
                Ok(()) => Ok(()),
                // Somebody else was first; theirs is as good.
                Err(_) if self.snapshot_is_whole(folder) => Ok(()),
                Err(source) => Err(StoreError::Io {
                    doing: format!("naming {}", folder.display()),
                    source,
                }),
            }
        })();
        if temporary.exists() {
            let _ = crate::collect::remove_tree(&temporary);
        }
        made
    }

    /// Makes a folder the snapshot of a layer whose content it is; the folder is gone afterwards.
    ///
    /// # Errors
    /// What the disk gives.
    pub(crate) fn adopt_snapshot(&self, tree: &Path, diff_id: &Digest) -> Result<(), StoreError> {
        let folder = self.snapshot_folder(diff_id);
        if self.snapshot_is_whole(&folder) {
            return crate::collect::remove_tree(tree).map_err(StoreError::io("removing a step's folder"));
        }
        let temporary = self
            .temp_path()
            .map_err(StoreError::io("making a temporary folder"))?;
        let adopt = || -> io::Result<()> {
            layout::make_folder(&temporary)?;
            let (entries, bytes) = count_tree(tree)?;
            let mark = Mark {
                boot: self.boot_id().to_owned(),
                entries,
                bytes,
            };
            fs::write(
                temporary.join("mark"),
                serde_json::to_vec(&mark).unwrap_or_default(),
            )?;
            fs::rename(tree, temporary.join("tree"))?;
            match self.rename_into(&temporary, &folder) {
                Err(_) if self.snapshot_is_whole(&folder) => Ok(()),
                other => other,
            }
        };
        let adopted = adopt().map_err(StoreError::io("keeping a step's folder"));
        if temporary.exists() {
            let _ = crate::collect::remove_tree(&temporary);
        }
        adopted
    }

    fn snapshot_is_whole(&self, folder: &Path) -> bool {
        let Ok(bytes) = fs::read(folder.join("mark")) else {
            return false;
        };
        let mark: Option<Mark> = serde_json::from_slice(&bytes).ok();
        if let Some(mark) = &mark {
            if mark.boot == self.boot_id() {
                return true;
            }
            let found = count_tree(&folder.join("tree"));
            if found.is_ok_and(|(entries, bytes)| entries == mark.entries && bytes == mark.bytes) {
                let renewed = Mark {
                    boot: self.boot_id().to_owned(),
                    ..*mark
                };
                let bytes = serde_json::to_vec(&renewed).unwrap_or_default();
                return self.write_atomic(&folder.join("mark"), &bytes).is_ok();
            }
        }
        // Not whole after a power loss: out of the way, so that it is made again.
        if let Ok(temporary) = self.temp_path()
            && fs::rename(folder, &temporary).is_ok()
        {
            let _ = crate::collect::remove_tree(&temporary);
        }
        false
    }
}
