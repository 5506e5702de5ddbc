//! The cache: what builds and packs leave for the next ones, each thing with its size and its last use, and how it shrinks.
//!
//! A record's last use is its file's time of modification ([`Store::cache_get`] renews it), a folder's that of its lock.
//! Things are removed under a lease that is held alone, so never while a build or a pack is at work: what those found is
//! there until they end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use coil_oci::Digest;

use crate::collect::{mentioned, read_folder, remove_tree};
use crate::unpack::count_tree;
use crate::{Store, StoreError, layout};

/// What sort of thing lies in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheKind {
    /// A record that keeps blobs: a step's layer, a wheel's, a plan.
    Layer,
    /// A folder that steps of builds write to.
    Folder,
    /// A download: a wheel, a package, an index.
    Download,
    /// A record that keeps nothing else.
    Record,
}

/// A thing in the cache.
#[derive(Debug, Clone)]
pub struct CacheItem {
    /// 25 hexadecimal digits, the same as long as it is there.
    pub id: String,
    /// What it is.
    pub kind: CacheKind,
    /// The sort of record or download, such as `wheel-layer-v2`.
    pub group: String,
    /// What is known of it besides.
    pub about: String,
    /// Bytes on the disk, those that others have too among them.
    pub bytes: u64,
    /// Whether all that it keeps belongs to images or containers too: without it nothing is freed but itself.
    pub shared: bool,
    /// When it was made, since 1970.
    pub created: Duration,
    /// When it was used last, since 1970.
    pub used: Duration,
    place: PathBuf,
    blobs: BTreeSet<String>,
    own: u64,
}

/// What lies in the cache.
#[derive(Debug, Clone, Default)]
pub struct CacheUsage {
    /// Each thing, the one that was used last first.
    pub items: Vec<CacheItem>,
    /// Bytes that images or containers have too.
    pub shared: u64,
    /// Bytes that only the cache has.
    pub private: u64,
    /// Bytes of blobs and unpacked layers by digest.
    sizes: BTreeMap<String, u64>,
    /// Digests that images and containers lead to.
    live: BTreeSet<String>,
}

impl CacheUsage {
    /// Bytes of the blobs and unpacked layers that images and containers have.
    pub fn of_images(&self) -> u64 {
        self.sizes
            .iter()
            .filter(|(digest, _)| self.live.contains(*digest))
            .map(|(_, size)| size)
            .sum()
    }

    /// Bytes of what neither an image, nor a container, nor the cache has: the next collection takes it.
    pub fn of_nobody(&self) -> u64 {
        let cached: BTreeSet<&String> = self.items.iter().flat_map(|item| &item.blobs).collect();
        self.sizes
            .iter()
            .filter(|(digest, _)| !self.live.contains(*digest) && !cached.contains(digest))
            .map(|(_, size)| size)
            .sum()
    }

    /// Bytes of one blob with its unpacked layer; 0 where it isn't here.
    pub fn size_of(&self, digest: &Digest) -> u64 {
        self.sizes.get(digest.hex()).copied().unwrap_or(0)
    }
}

/// How far a cache is pruned; nothing set is all the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes that it may keep in any case.
    pub reserved: u64,
    /// Bytes that it may have afterwards.
    pub most: Option<u64>,
    /// Bytes that the disk is to have free afterwards.
    pub least_free: Option<u64>,
}

/// What a pruning of the cache removed.
#[derive(Debug, Clone, Default)]
pub struct PrunedCache {
    /// The things, the one that was used longest ago first; of each the bytes that went with it.
    pub items: Vec<CacheItem>,
    /// All bytes that are free now.
    pub bytes: u64,
    /// True when others were at work and nothing was touched.
    pub postponed: bool,
}

fn since_1970(time: io::Result<SystemTime>) -> Duration {
    time.ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .unwrap_or_default()
}

fn id(place: &Path) -> String {
    Digest::of(place.as_os_str().as_encoded_bytes()).hex()[..25].to_owned()
}

/// The bytes below a path, and when a file there was read or written last.
fn downloaded(path: &Path) -> (u64, Duration) {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return (0, Duration::ZERO);
    };
    if !meta.is_dir() {
        // Whoever mounts its disk without times of access has those of writing.
        return (
            meta.len(),
            since_1970(meta.modified()).max(since_1970(meta.accessed())),
        );
    }
    let mut total = (0, since_1970(meta.modified()));
    for entry in read_folder(path) {
        let below = downloaded(&entry.path());
        total = (total.0 + below.0, total.1.max(below.1));
    }
    total
}

impl Store {
    /// What lies in the cache, and how much of it. Nothing is locked: others may be at work.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn cache_usage(&self) -> Result<CacheUsage, StoreError> {
        let mut live = self.live_of_images()?;
        self.keep_referrers(&mut live, false);
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        for entry in read_folder(&self.root().join(layout::BLOBS)) {
            let name = entry.file_name().to_string_lossy().into_owned();
            *sizes.entry(name).or_default() += entry.metadata().map_or(0, |meta| meta.len());
        }
        let snapshots = self.removable_snapshots();
        for entry in snapshots.iter().flat_map(|folder| read_folder(folder)) {
            let name = entry.file_name().to_string_lossy().into_owned();
            *sizes.entry(name).or_default() += crate::snapshot::size(&entry.path());
        }
        let mut usage = CacheUsage {
            sizes,
            live,
            ..CacheUsage::default()
        };
        self.add_records(&mut usage);
        self.add_folders(&mut usage);
        self.add_downloads(&mut usage);
        let mut counted = BTreeSet::new();
        for item in &usage.items {
            usage.private += item.own;
            for digest in &item.blobs {
                if counted.insert(digest) {
                    let size = usage.sizes.get(digest).copied().unwrap_or(0);
                    match usage.live.contains(digest) {
                        true => usage.shared += size,
                        false => usage.private += size,
                    }
                }
            }
        }
        usage
            .items
            .sort_by(|a, b| b.used.cmp(&a.used).then(a.id.cmp(&b.id)));
        Ok(usage)
    }

    fn add_records(&self, usage: &mut CacheUsage) {
        for group in read_folder(&self.root().join(layout::CACHE)) {
            let name = group.file_name().to_string_lossy().into_owned();
            for entry in read_folder(&group.path()) {
                let Ok(meta) = entry.metadata() else { continue };
                if !meta.is_file() {
                    continue;
                }
                let place = entry.path();
                // What a record names and the store hasn't is no blob.
                let mut blobs = mentioned(&place);
                blobs.retain(|digest| usage.sizes.contains_key(digest));
                let of_blobs: u64 = blobs.iter().map(|digest| usage.sizes[digest]).sum();
                usage.items.push(CacheItem {
                    id: id(&place),
                    kind: match blobs.is_empty() {
                        true => CacheKind::Record,
                        false => CacheKind::Layer,
                    },
                    group: name.clone(),
                    about: step_of(&place, !blobs.is_empty()).unwrap_or_else(|| name.clone()),
                    bytes: meta.len() + of_blobs,
                    shared: !blobs.is_empty() && blobs.iter().all(|digest| usage.live.contains(digest)),
                    created: since_1970(meta.created().or_else(|_| meta.modified())),
                    used: since_1970(meta.modified()),
                    own: meta.len(),
                    place,
                    blobs,
                });
            }
        }
    }

    fn add_folders(&self, usage: &mut CacheUsage) {
        let all = self.root().join(layout::STEP_CACHES);
        for entry in read_folder(&all) {
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_dir() {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let key = name.split('-').next().unwrap_or_default();
            let about = fs::read_to_string(all.join(format!("{key}.id"))).unwrap_or_default();
            let lock = fs::metadata(all.join(format!("{name}.lock")));
            let bytes = count_tree(&entry.path()).map_or(0, |(_, bytes)| bytes);
            usage.items.push(CacheItem {
                id: id(&entry.path()),
                kind: CacheKind::Folder,
                group: "cache-mount".to_owned(),
                about: format!("cached mount {about}"),
                bytes,
                shared: false,
                created: since_1970(meta.created().or_else(|_| meta.modified())),
                used: since_1970(lock.and_then(|lock| lock.modified())).max(since_1970(meta.modified())),
                place: entry.path(),
                blobs: BTreeSet::new(),
                own: bytes,
            });
        }
    }

    fn add_downloads(&self, usage: &mut CacheUsage) {
        // A folder of downloads elsewhere may serve several stores, and is its owner's.
        if !self.inner.downloads.starts_with(self.root()) {
            return;
        }
        for group in read_folder(&self.inner.downloads) {
            let name = group.file_name().to_string_lossy().into_owned();
            for entry in read_folder(&group.path()) {
                let Ok(meta) = entry.metadata() else { continue };
                let (bytes, used) = downloaded(&entry.path());
                let file = match meta.is_dir() {
                    true => read_folder(&entry.path()).first().map(fs::DirEntry::file_name),
                    false => None,
                };
                let file = file.unwrap_or_else(|| entry.file_name());
                usage.items.push(CacheItem {
                    id: id(&entry.path()),
                    kind: CacheKind::Download,
                    group: name.clone(),
                    about: format!("download {name}/{}", file.to_string_lossy()),
                    bytes,
                    shared: false,
                    created: since_1970(meta.created().or_else(|_| meta.modified())),
                    used,
                    place: entry.path(),
                    blobs: BTreeSet::new(),
                    own: bytes,
                });
            }
        }
    }

    /// Removes things from the cache, the one that was used longest ago first, until the limits hold.
    ///
    /// `wanted` says which may go. Waits so long for others to end; postponed, without an error, when they don't.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn prune_cache(
        &self,
        limits: &CacheLimits,
        wanted: &dyn Fn(&CacheItem) -> bool,
        patience: Duration,
    ) -> Result<PrunedCache, StoreError> {
        let Some(lease) = self.patient_lease(patience)? else {
            return Ok(PrunedCache {
                postponed: true,
                ..PrunedCache::default()
            });
        };
        let usage = self.cache_usage()?;
        let target = self.target(&usage, limits);
        let mut keepers: BTreeMap<&String, usize> = BTreeMap::new();
        for digest in usage.items.iter().flat_map(|item| &item.blobs) {
            *keepers.entry(digest).or_default() += 1;
        }
        let mut left = usage.private;
        let mut done = PrunedCache::default();
        for item in usage.items.iter().rev() {
            if target.is_some_and(|target| left <= target) {
                break;
            }
            if !wanted(item) || !self.remove_item(item) {
                continue;
            }
            let mut freed = item.own;
            for digest in &item.blobs {
                let others = keepers.entry(digest).or_insert(1);
                *others -= 1;
                if *others == 0 && !usage.live.contains(digest) {
                    freed += usage.sizes.get(digest).copied().unwrap_or(0);
                }
            }
            left = left.saturating_sub(freed);
            done.bytes += item.own;
            done.items.push(CacheItem {
                bytes: freed,
                ..item.clone()
            });
        }
        done.bytes += self.sweep(&lease)?.bytes;
        Ok(done)
    }

    /// How many bytes the cache may keep; none for no limit at all.
    fn target(&self, usage: &CacheUsage, limits: &CacheLimits) -> Option<u64> {
        if *limits == CacheLimits::default() {
            return None;
        }
        let mut target = limits.most.unwrap_or(match limits.least_free {
            Some(_) => usage.private,
            None => 0,
        });
        if let Some(least) = limits.least_free {
            let missing = least.saturating_sub(self.free_bytes().0);
            target = target.min(usage.private.saturating_sub(missing));
        }
        Some(target.max(limits.reserved))
    }

    /// The bytes of the store's disk: what is free for anybody, and all. Unknown, they are without end.
    pub fn free_bytes(&self) -> (u64, u64) {
        rustix::fs::statvfs(self.root()).map_or((u64::MAX, u64::MAX), |disk| {
            (
                disk.f_bavail.saturating_mul(disk.f_frsize),
                disk.f_blocks.saturating_mul(disk.f_frsize),
            )
        })
    }

    fn remove_item(&self, item: &CacheItem) -> bool {
        if matches!(item.kind, CacheKind::Layer | CacheKind::Record) {
            return fs::remove_file(&item.place).is_ok();
        }
        // Away at once: a kill in the middle leaves no half of it under its name.
        let Ok(temporary) = self.temp_path() else {
            return false;
        };
        if fs::rename(&item.place, &temporary).is_err() {
            return false;
        }
        if item.kind == CacheKind::Folder {
            let _ = fs::remove_file(item.place.with_extension("lock"));
            let _ = fs::remove_file(item.place.with_extension("id"));
        }
        match fs::symlink_metadata(&temporary) {
            Ok(meta) if meta.is_dir() => remove_tree(&temporary).is_ok(),
            _ => fs::remove_file(&temporary).is_ok(),
        }
    }

    /// Whether the cache's size was looked at within so long a time; if not, it counts as looked at now.
    pub fn cache_was_looked_at(&self, within: Duration) -> bool {
        let path = self.root().join(layout::LOOKED);
        let age = fs::metadata(&path)
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age < within) {
            return true;
        }
        let _ = fs::write(&path, []);
        false
    }
}

/// The step's name in a record that has one.
fn step_of(place: &Path, is_layer: bool) -> Option<String> {
    let small = fs::metadata(place).is_ok_and(|meta| meta.size() < 64 * 1024);
    let bytes = (is_layer && small).then(|| fs::read(place).ok())??;
    let record: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    record.get("step")?.as_str().map(str::to_owned)
}
