//! Garbage collection: what neither a name, a container nor a cache record leads to is removed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use coil_oci::{Digest, Manifest};

use crate::{Lease, Store, StoreError, layout};

/// How often a collection tries to have the store for itself.
const TURN: Duration = Duration::from_millis(20);

/// What a collection removed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Collected {
    /// Blobs.
    pub blobs: u64,
    /// Unpacked layers.
    pub snapshots: u64,
    /// Bytes of blobs and of unpacked files.
    pub bytes: u64,
    /// The ids of images that went, whose names had gone before.
    pub images: Vec<Digest>,
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
        let Some(lease) = self.patient_lease(Duration::ZERO)? else {
            return Ok(Collected {
                postponed: true,
                ..Collected::default()
            });
        };
        if with_cache {
            let _ = remove_tree(&self.root().join(layout::CACHE));
        }
        self.sweep(&lease)
    }

    /// The same without the cache's records; waits so long for others to end.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn collect_patiently(&self, most: Duration) -> Result<Collected, StoreError> {
        match self.patient_lease(most)? {
            Some(lease) => self.sweep(&lease),
            None => Ok(Collected {
                postponed: true,
                ..Collected::default()
            }),
        }
    }

    /// Whether a collection still waits for its turn.
    pub fn is_collection_due(&self) -> bool {
        self.root().join(layout::COLLECT).exists()
    }

    /// The store for oneself; none when others don't end in so long a time: then a collection stays due.
    pub(crate) fn patient_lease(&self, most: Duration) -> Result<Option<Lease>, StoreError> {
        let until = Instant::now() + most;
        loop {
            let lease = self.lease_alone().map_err(StoreError::io("locking the store"))?;
            if let Some(lease) = lease {
                self.clear_temporary();
                return Ok(Some(lease));
            }
            if Instant::now() >= until {
                // Without the mark the next command that removes something collects it.
                let _ = fs::write(self.root().join(layout::COLLECT), []);
                return Ok(None);
            }
            std::thread::sleep(TURN);
        }
    }

    /// Removes what nothing leads to; the lease is one that is held alone.
    pub(crate) fn sweep(&self, _alone: &Lease) -> Result<Collected, StoreError> {
        let mut live = self.live_of_images()?;
        keep_mentioned(&self.root().join(layout::CACHE), 2, &mut live);
        self.keep_referrers(&mut live, true);
        let mut done = Collected::default();
        for entry in read_folder(&self.root().join(layout::BLOBS)) {
            if live.contains(&entry.file_name().to_string_lossy().into_owned()) {
                continue;
            }
            let size = entry.metadata().map(|meta| meta.len()).unwrap_or(0);
            let image = image_of_manifest(&entry.path(), size);
            if fs::remove_file(entry.path()).is_ok() {
                done.bytes += size;
                done.blobs += 1;
                done.images.extend(image);
            }
        }
        let snapshots = self.removable_snapshots();
        for entry in snapshots.iter().flat_map(|folder| read_folder(folder)) {
            if !live.contains(&entry.file_name().to_string_lossy().into_owned()) {
                let Ok(temporary) = self.temp_path() else { continue };
                let size = crate::snapshot::size(&entry.path());
                if fs::rename(entry.path(), &temporary).is_ok() && remove_tree(&temporary).is_ok() {
                    done.snapshots += 1;
                    done.bytes += size;
                }
            }
        }
        done.images.sort();
        done.images.dedup();
        let _ = fs::remove_file(self.root().join(layout::COLLECT));
        Ok(done)
    }

    /// The digests that names and containers lead to, but for what is about images.
    pub(crate) fn live_of_images(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut live = BTreeSet::new();
        for image in self.images()? {
            // What cannot be read keeps what can; `rmi` of the name frees the rest.
            if let Ok(blobs) = self.blobs_of(&image.descriptor) {
                live.extend(blobs.into_iter().map(|blob| blob.digest.hex().to_owned()));
            }
            self.keep_diff_ids(&image.descriptor, &mut live);
        }
        keep_mentioned(&self.containers_dir(), 2, &mut live);
        Ok(live)
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

pub(crate) fn read_folder(path: &Path) -> Vec<fs::DirEntry> {
    fs::read_dir(path)
        .map(|entries| entries.flatten().collect())
        .unwrap_or_default()
}

/// The id of the image whose manifest a blob is, if it is one and no artifact's.
fn image_of_manifest(path: &Path, size: u64) -> Option<Digest> {
    const LARGEST: u64 = 4 << 20;
    if size > LARGEST {
        return None;
    }
    let mut start = [0];
    File::open(path).ok()?.read_exact(&mut start).ok()?;
    let bytes = (start == *b"{").then(|| fs::read(path).ok())??;
    let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
    let is_image = manifest.artifact_type.is_none() && manifest.subject.is_none();
    is_image.then_some(manifest.config.digest)
}

/// Keeps every digest that stands as text in the small files of a folder, down to a depth.
fn keep_mentioned(folder: &Path, depth: usize, live: &mut BTreeSet<String>) {
    for entry in read_folder(folder) {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 1 {
            keep_mentioned(&entry.path(), depth - 1, live);
        } else if kind.is_file() && entry.path().extension().is_none_or(|ending| ending == "json") {
            live.extend(mentioned(&entry.path()));
        }
    }
}

/// The digests that stand as text in a file.
pub(crate) fn mentioned(path: &Path) -> BTreeSet<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.match_indices("sha256:")
        .filter_map(|(at, _)| Digest::from_hex(text.get(at + 7..at + 71)?).ok())
        .map(|digest| digest.hex().to_owned())
        .collect()
}
