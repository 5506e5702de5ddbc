//! The store: blobs, references, snapshots, small cache records, downloads and leases under one data root.
//!
//! Truth is `blobs/` by digest and `refs-v1/`; all else can be made again from them. Every write goes to a
//! temporary name and is renamed, so a kill at any moment leaves a whole store. What is not synced to disk
//! carries the id of the boot it was written in, and is checked when it is read in another boot.

mod blob;
mod builders;
mod cache;
mod collect;
mod compression;
mod container_name;
mod error;
mod image;
mod image_write;
mod layer_keep;
mod layer_size;
mod layer_tar;
mod layout;
mod lease;
mod names;
mod record;
mod referrers;
mod snapshot;
mod unpack;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use blob::BlobWriter;
pub use cache::{CacheItem, CacheKind, CacheLimits, CacheUsage, PrunedCache};
pub use collect::Collected;
pub use compression::decompressed;
pub use error::StoreError;
pub use image::{Image, NamedImage};
pub use layer_keep::kept_xattrs;
pub use layer_tar::{LayerTar, TarEntry, TarKind};
pub use lease::Lease;
pub use unpack::{Ownership, UnpackError, archive_stream, unpack_archive, unpack_archive_folders};

/// Where a store is and what it must know of the machine.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The data root; made when something is written first.
    pub root: PathBuf,
    /// Where downloads are kept; `ROOT/downloads-v1` when none is given.
    pub downloads: Option<PathBuf>,
    /// The id of this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

/// A store; cheap to clone, and every clone is the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    downloads: PathBuf,
    boot_id: String,
    ids: Option<String>,
    counter: AtomicU64,
}

impl Store {
    /// Names a store; reads and makes nothing yet.
    pub fn open(options: StoreOptions) -> Store {
        Self::open_as(options, None)
    }

    /// The same in a user namespace that has more ids than one: `ids` is a name for them.
    pub fn open_mapped(options: StoreOptions, ids: String) -> Store {
        Self::open_as(options, Some(ids))
    }

    fn open_as(options: StoreOptions, ids: Option<String>) -> Store {
        let downloads = options
            .downloads
            .unwrap_or_else(|| options.root.join(layout::DOWNLOADS));
        Store {
            inner: Arc::new(Inner {
                root: options.root,
                downloads,
                boot_id: options.boot_id,
                ids,
                counter: AtomicU64::new(0),
            }),
        }
    }

    /// The data root.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The id of this boot, as it was given.
    pub fn boot_id(&self) -> &str {
        &self.inner.boot_id
    }

    /// The folder of temporary names; whatever a kill leaves here is removed by the next writer.
    pub fn temp_dir(&self) -> PathBuf {
        self.inner.root.join(layout::TEMP)
    }

    /// A temporary path that nothing else uses; its folder exists.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn temp_path(&self) -> std::io::Result<PathBuf> {
        let folder = self.temp_dir();
        layout::make_folder(&folder)?;
        let number = self.inner.counter.fetch_add(1, Ordering::Relaxed);
        Ok(folder.join(format!("{}-{number}", std::process::id())))
    }

    /// The folder of a container with this id; not made here.
    pub fn container_dir(&self, id: &str) -> PathBuf {
        self.inner.root.join(layout::CONTAINERS).join(id)
    }

    /// The folder that holds all containers' folders.
    pub fn containers_dir(&self) -> PathBuf {
        self.inner.root.join(layout::CONTAINERS)
    }
}
