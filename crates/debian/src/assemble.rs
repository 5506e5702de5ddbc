//! From pinned packages to one layer.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use coil_fetch::{Download, FetchError, Progress, redact_url};
use coil_oci::tar::{Entry, Kind, TarWriter};
use coil_oci::{Arch, Digest};
use serde::{Deserialize, Serialize};

use crate::Archive;
use crate::archive::is_plain_path;
use crate::error::AssembleError;
use crate::gzip_members::compress;
use crate::package_file::{Content, PackageFault, PackageFile};
use crate::pinned::{PinnedBase, PinnedPackage};
use crate::release::{compact_date, parse_compact_date};
use crate::spill::Spill;
use crate::tree::Tree;

/// Raised when the same packages give other bytes than before.
const FORMAT: u32 = 2;
const RECORDS: &str = "debian-base-v1";
/// Debian's archive of all packages that ever were.
const SNAPSHOT: &str = "http://snapshot.debian.org/archive";
/// More would be impolite to a mirror, and no quicker.
pub(crate) const CONNECTIONS: usize = 8;
/// An unpacker holds the window of its compression, 8 MiB as a rule, and the allocator keeps as much again.
const MOST_UNPACKERS: usize = 3;

/// How to make the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembleOptions {
    /// The time of every file, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub epoch: u64,
    /// How many threads unpack and compress at most; changes no byte.
    pub threads: usize,
}

/// A base layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseLayer {
    /// The compressed layer.
    pub blob: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of the layer's tar.
    pub diff_id: Digest,
    /// The size of the layer's tar in bytes.
    pub unpacked_size: u64,
    /// The full version of Python, such as `3.11.2`.
    pub python: String,
    /// The version of glibc.
    pub glibc: (u32, u32),
    /// The suite's codename.
    pub suite: String,
    /// The architecture.
    pub arch: Arch,
    /// The packages in it.
    pub packages: Vec<PinnedPackage>,
}

impl Archive {
    /// Makes the layer of a pinned base, or finds the one that was made before.
    ///
    /// Looks at no index: packages come from the cache, the mirror, or Debian's archive of old packages, and are checked by digest.
    ///
    /// # Errors
    /// When a package can't be had or read, or the store can't be written.
    pub fn assemble(
        &self,
        pinned: &PinnedBase,
        options: &AssembleOptions,
        progress: &dyn Progress,
    ) -> Result<BaseLayer, AssembleError> {
        let arch = pinned.architecture().ok_or_else(|| AssembleError::UnknownArch {
            arch: pinned.arch.clone(),
        })?;
        let key = record_key(pinned, options);
        if let Some(layer) = self.known(&key) {
            return Ok(layer);
        }
        let incomplete = |what: &str| AssembleError::Incomplete {
            what: what.to_string(),
        };
        let glibc = pinned.glibc().ok_or_else(|| incomplete("libc6"))?;
        let store = |source| AssembleError::Store { source };
        let files = self.unpack_all(pinned, options.threads, progress)?;

        let mut tree = Tree::new(arch);
        let mut records = Vec::with_capacity(files.len());
        // The first package that brings a folder says its mode; base-files knows best.
        let mut order: Vec<usize> = (0..files.len()).collect();
        order.sort_by_key(|&at| pinned.packages[at].name != "base-files");
        for at in order {
            records.push((&files[at], tree.add(&files[at])));
        }
        records.sort_by(|a, b| a.0.control.cmp(&b.0.control));
        tree.finish(arch, &pinned.python_minor(), options.epoch / 86_400)?;
        tree.dpkg_status(&records);
        tree.complete();

        drop(records);
        drop(files);

        let mut blob = self.store.blob_writer().map_err(store)?;
        let written = compress(options.threads, &mut blob, |tar| {
            write_tar(&tree, options.epoch, tar)
        });
        let (diff_id, unpacked_size) = written.map_err(store)?;
        let (digest, size) = blob.finish().map_err(store)?;
        let layer = BaseLayer {
            blob: digest,
            size,
            diff_id,
            unpacked_size,
            python: pinned.python.clone(),
            glibc,
            suite: pinned.suite.clone(),
            arch,
            packages: pinned.packages.clone(),
        };
        if let Ok(record) = serde_json::to_vec(&layer) {
            self.store.cache_put(RECORDS, &key, &record).map_err(store)?;
        }
        Ok(layer)
    }

    /// The layer as it was made before, if it is still there.
    fn known(&self, key: &str) -> Option<BaseLayer> {
        let layer: BaseLayer = serde_json::from_slice(&self.store.cache_get(RECORDS, key)?).ok()?;
        self.store.has_blob(&layer.blob).then_some(layer)
    }

    pub(crate) fn deb_path(&self, package: &PinnedPackage) -> PathBuf {
        self.store
            .download_path("debs", &format!("{}.deb", package.sha256.hex()))
    }

    /// Brings all packages into the cache.
    pub(crate) fn fetch_all(
        &self,
        pinned: &PinnedBase,
        progress: &dyn Progress,
    ) -> Result<(), AssembleError> {
        let missing: Vec<&PinnedPackage> = pinned
            .packages
            .iter()
            .filter(|package| {
                !std::fs::metadata(self.deb_path(package)).is_ok_and(|found| found.len() == package.size)
            })
            .collect();
        in_parallel(&missing, CONNECTIONS, |package| {
            self.fetch(pinned, package, progress)
        })
        .map(|_| ())
    }

    pub(crate) fn fetch(
        &self,
        pinned: &PinnedBase,
        package: &PinnedPackage,
        progress: &dyn Progress,
    ) -> Result<(), AssembleError> {
        let name = format!("{} {}", package.name, package.version);
        if !is_plain_path(&package.filename)
            || !["debian", "debian-security"].contains(&package.archive.as_str())
        {
            return Err(AssembleError::Malformed {
                package: name,
                reason: "its pinned address is no path".into(),
            });
        }
        let mirror = self.mirror(&package.archive);
        let mut addresses = vec![format!("{}/{}", mirror.uri, package.filename)];
        // What a security archive no longer has went into the suite itself with a point release.
        if let Some(below) = package.filename.strip_prefix("pool/updates/") {
            addresses.push(format!("{}/pool/{below}", self.mirror("debian").uri));
        }
        addresses.push(format!(
            "{SNAPSHOT}/{}/{}/{}",
            package.archive,
            snapshot_time(&pinned.date),
            package.filename
        ));
        let snapshot = addresses.len() - 1;
        let mut failure = None;
        for (number, url) in addresses.iter().enumerate() {
            let request = Download {
                url: url.clone(),
                dest: self.deb_path(package),
                id: name.clone(),
                size: Some(package.size),
                sha256: Some(package.sha256.clone()),
            };
            match self.fetcher.download(&request, progress) {
                Ok(_) => return Ok(()),
                Err(FetchError::NotFound { .. }) => {}
                // The archive of old packages is the last resort; what the mirror says is what the user must know.
                Err(_) if number == snapshot => {}
                Err(source) if number == 0 => {
                    return Err(AssembleError::Fetch {
                        package: name,
                        source,
                    });
                }
                Err(source) => failure = Some(source),
            }
        }
        if let Some(source) = failure {
            return Err(AssembleError::Fetch {
                package: name,
                source,
            });
        }
        Err(AssembleError::Gone {
            package: name,
            tried: addresses.iter().map(|url| redact_url(url)).collect(),
        })
    }

    /// Fetches, checks and unpacks all packages, in the order of the list.
    pub(crate) fn unpack_all(
        &self,
        pinned: &PinnedBase,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<Vec<PackageFile>, AssembleError> {
        let disk = |source| AssembleError::Store { source };
        let spill = self.store.temp_path().and_then(|path| Spill::create(&path));
        let spill = Arc::new(spill.map_err(disk)?);
        let numbered: Vec<(usize, &PinnedPackage)> = pinned.packages.iter().enumerate().collect();
        self.while_fetching(pinned.clone(), progress, |arrivals| {
            in_parallel(&numbered, threads.min(MOST_UNPACKERS), |(number, package)| {
                let deb = File::open(arrivals.wait(package)?).map_err(disk)?;
                PackageFile::parse(deb, *number as u64, &spill).map_err(|fault| match fault {
                    PackageFault::Disk(source) => AssembleError::Store { source },
                    PackageFault::Malformed(reason) => AssembleError::Malformed {
                        package: format!("{} {}", package.name, package.version),
                        reason,
                    },
                })
            })
        })
    }
}

/// The name of the record: a digest of all that decides about the bytes.
fn record_key(pinned: &PinnedBase, options: &AssembleOptions) -> String {
    let mut text = format!("{FORMAT} {} {} {}\n", pinned.arch, pinned.python, options.epoch);
    for package in &pinned.packages {
        text.push_str(&format!("{} {}\n", package.name, package.sha256));
    }
    Digest::of(text.as_bytes()).hex().to_string()
}

/// Two days after the suite's, when the snapshot of all that it lists had been taken.
fn snapshot_time(date: &str) -> String {
    compact_date(parse_compact_date(date).unwrap_or(0) / 86_400 * 86_400 + 2 * 86_400)
}

/// Runs a job for each item on some threads; results come in the items' order, and the first error in that order wins.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    job: impl Fn(&T) -> Result<R, AssembleError> + Sync,
) -> Result<Vec<R>, AssembleError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let done: Mutex<Vec<(usize, Result<R, AssembleError>)>> = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else { break };
                    let result = job(item);
                    if result.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Writes the tree: first the links into `/usr`, then all else by path.
pub(crate) fn write_tar(tree: &Tree, epoch: u64, out: &mut dyn Write) -> io::Result<()> {
    let mut writer = TarWriter::new(out);
    for (name, target) in &tree.links {
        writer.entry(&Entry::symlink(name, target, epoch))?;
    }
    let mut first_names: HashMap<u64, &str> = HashMap::new();
    for (path, node) in &tree.nodes {
        let mut body = None;
        let kind = match &node.content {
            Content::Directory => Kind::Directory,
            Content::Symlink(target) => Kind::Symlink {
                target: target.clone(),
            },
            Content::File(file) => match first_names.get(&file.link_group) {
                Some(first) => Kind::Hardlink {
                    target: (*first).to_string(),
                },
                None => {
                    if file.link_group != 0 {
                        first_names.insert(file.link_group, path);
                    }
                    body = Some(file);
                    Kind::File { size: file.size() }
                }
            },
        };
        let (path, mode, uid, gid) = (path.clone(), node.mode, node.uid, node.gid);
        writer.entry(&Entry {
            path,
            kind,
            mode,
            uid,
            gid,
            mtime: epoch,
        })?;
        if let Some(body) = body {
            body.copy(&mut |piece| writer.data(piece))?;
        }
    }
    writer.finish().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_is_after_the_suite() {
        assert_eq!(snapshot_time("20260711T101637Z"), "20260713T000000Z");
        assert_eq!(snapshot_time("20261231T235959Z"), "20270102T000000Z");
    }

    #[test]
    fn the_first_error_in_order_wins() {
        let items: Vec<usize> = (0..50).collect();
        let error = in_parallel(&items, 4, |item| match item {
            3 => Err(AssembleError::Incomplete { what: "three".into() }),
            item => Ok(*item),
        });
        assert_eq!(error.unwrap_err().to_string(), "the pinned base has no three");
        let fine = in_parallel(&items, 4, |item| Ok(item * 2)).unwrap();
        assert_eq!(fine, items.iter().map(|item| item * 2).collect::<Vec<_>>());
    }
}
