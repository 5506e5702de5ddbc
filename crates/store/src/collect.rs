//! Garbage collection: what neither a name, a container nor a cache record leads to is removed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use coil_oci::Digest;

use crate::{Store, StoreError, layout};

/// What a collection removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// Blobs.
    pub blobs: u64,
    /// Unpacked layers.
    pub snapshots: u64,
    /// Bytes of blobs.
    pub bytes: u64,
    /// True when others were at work and nothing was looked at.
    pub postponed: bool,
}

/// Removes a tree whatever its folders' modes are; symbolic links are removed, not followed.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_folders(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn open_folders(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

impl Store {
    /// Removes blobs and snapshots that nothing leads to any more.
    ///
    /// Postponed, without an error, while others hold leases. `with_cache` drops the cache records first,
    /// so that what only they kept goes too.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn collect(&self, with_cache: bool) -> Result<Collected, StoreError> {
        let Some(_lease) = self.lease_alone().map_err(StoreError::io("locking the store"))? else {
            return Ok(Collected {
                postponed: true,
                ..Collected::default()
            });
        };
        self.clear_temporary();
        if with_cache {
            let _ = remove_tree(&self.root().join(layout::CACHE));
        }
        let mut live = BTreeSet::new();
        for image in self.images()? {
            // What cannot be read keeps what can; `rmi` of the name frees the rest.
            if let Ok(blobs) = self.blobs_of(&image.descriptor) {
                live.extend(blobs.into_iter().map(|blob| blob.digest.hex().to_owned()));
            }
            self.keep_diff_ids(&image.descriptor, &mut live);
        }
        keep_mentioned(&self.root().join(layout::CACHE), 2, &mut live);
        keep_mentioned(&self.containers_dir(), 2, &mut live);
        self.keep_referrers(&mut live);
        let mut done = Collected::default();
        for entry in read_folder(&self.root().join(layout::BLOBS)) {
            if !live.contains(&entry.file_name().to_string_lossy().into_owned()) {
                done.bytes += entry.metadata().map(|meta| meta.len()).unwrap_or(0);
                done.blobs += u64::from(fs::remove_file(entry.path()).is_ok());
            }
        }
        for entry in read_folder(&self.root().join(layout::SNAPSHOTS)) {
            if !live.contains(&entry.file_name().to_string_lossy().into_owned()) {
                let Ok(temporary) = self.temp_path() else { continue };
                if fs::rename(entry.path(), &temporary).is_ok() {
                    done.snapshots += u64::from(remove_tree(&temporary).is_ok());
                }
            }
        }
        Ok(done)
    }

    fn keep_diff_ids(&self, descriptor: &coil_oci::Descriptor, live: &mut BTreeSet<String>) {
        for image in self.images_of(descriptor).unwrap_or_default() {
            live.extend(image.config.rootfs.diff_ids.iter().map(|id| id.hex().to_owned()));
        }
    }

    /// Removes a folder of the store that is no longer wanted, such as a container's.
    ///
    /// # Errors
    /// What the disk gives; a folder that is not there is no error.
    pub fn remove_folder(&self, path: &Path) -> io::Result<()> {
        match remove_tree(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

fn read_folder(path: &Path) -> Vec<fs::DirEntry> {
    fs::read_dir(path)
        .map(|entries| entries.flatten().collect())
        .unwrap_or_default()
}

/// Keeps every digest that stands as text in the small files of a folder, down to a depth.
fn keep_mentioned(folder: &Path, depth: usize, live: &mut BTreeSet<String>) {
    for entry in read_folder(folder) {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 1 {
            keep_mentioned(&entry.path(), depth - 1, live);
        } else if kind.is_file() && entry.path().extension().is_none_or(|ending| ending == "json") {
            let Ok(bytes) = fs::read(entry.path()) else {
                continue;
            };
            let text = String::from_utf8_lossy(&bytes);
            for (at, _) in text.match_indices("sha256:") {
                let hex = text.get(at + 7..at + 71).unwrap_or_default();
                if let Ok(digest) = Digest::from_hex(hex) {
                    live.insert(digest.hex().to_owned());
                }
            }
        }
    }
}
