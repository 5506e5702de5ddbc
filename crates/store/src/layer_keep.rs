//! What a build step wrote becomes a layer: its tar a blob, its folder the layer's snapshot.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use coil_oci::Digest;

use crate::layer_tar::{LayerTar, TarEntry, TarKind};
use crate::{Store, StoreError};

/// Extended attributes that a layer keeps.
fn is_kept(name: &str) -> bool {
    name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay."))
}

/// The extended attributes of a file that a layer keeps, by name; none where the file system has none.
pub fn kept_xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 64 * 1024];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0) {
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        let mut value = vec![0; 64 * 1024];
        if is_kept(name)
            && let Ok(length) = rustix::fs::lgetxattr(path, name, &mut value[..])
        {
            found.push((name.to_owned(), value[..length].to_vec()));
        }
    }
    found.sort();
    found
}

/// Whether overlayfs hides what lies below a folder.
fn is_opaque(path: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| {
            let mut value = [0; 2];
            rustix::fs::lgetxattr(path, *name, &mut value[..]).is_ok_and(|length| value[..length] == *b"y")
        })
}

impl Store {
    /// Makes a layer of the folder in which overlayfs kept a step's writes; the folder becomes its snapshot.
    ///
    /// Gives the digest of the tar, which is the diff id, and its size. Times later than `latest` (seconds since 1970)
    /// become that. The folder must be on the store's disk, and is gone afterwards.
    ///
    /// # Errors
    /// What the disk gives, and names that are no UTF-8.
    pub fn keep_writes(&self, upper: &Path, latest: Option<u64>) -> Result<(Digest, u64), StoreError> {
        let failed = || StoreError::io("making a layer of what a step wrote");
        let mut writer = Writer {
            tar: self.layer_tar().map_err(failed())?,
            latest,
            names: HashMap::new(),
            skipped: BTreeSet::new(),
        };
        writer.folder(upper, "").map_err(failed())?;
        let (digest, size) = writer.tar.finish().map_err(failed())?;
        self.adopt_snapshot(upper, &digest)?;
        Ok((digest, size))
    }

    /// Makes a layer of the folder in which overlayfs keeps a container's writes, which stays as it is.
    ///
    /// `skipped` are paths that are left out with all below them: where things are mounted. Gives the digest of the tar, which is
    /// the diff id, and its size.
    ///
    /// # Errors
    /// What the disk gives, and names that are no UTF-8; nothing is left then.
    pub fn layer_of_writes(
        &self,
        upper: &Path,
        skipped: &BTreeSet<String>,
    ) -> Result<(Digest, u64), StoreError> {
        let failed = || StoreError::io("making a layer of what the container wrote");
        let mut writer = Writer {
            tar: self.layer_tar().map_err(failed())?,
            latest: None,
            names: HashMap::new(),
            skipped: skipped.clone(),
        };
        writer.folder(upper, "").map_err(failed())?;
        writer.tar.finish().map_err(failed())
    }
}

struct Writer {
    tar: LayerTar,
    latest: Option<u64>,
    /// The first path of each file that has several names.
    names: HashMap<(u64, u64), String>,
    /// Paths that are left out.
    skipped: BTreeSet<String>,
}

impl Writer {
    fn folder(&mut self, folder: &Path, inside: &str) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?
                .file_name()
                .into_string()
                .map_err(|name| io::Error::other(format!("the name {name:?} in /{inside} is no UTF-8")))?;
            names.push(name);
        }
        names.sort();
        for name in names {
            let path = folder.join(&name);
            let meta = fs::symlink_metadata(&path)?;
            self.one(&path, inside, &name, &meta)?;
        }
        Ok(())
    }

    fn one(&mut self, path: &Path, folder: &str, name: &str, meta: &Metadata) -> io::Result<()> {
        let kind = meta.file_type();
        if kind.is_char_device() && meta.rdev() == 0 {
            return self.tar.whiteout(folder, name);
        }
        if kind.is_socket() {
            return Ok(());
        }
        let inside = match folder {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        };
        if self.skipped.contains(&inside) {
            return Ok(());
        }
        let device = || (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        let tar_kind = if kind.is_dir() {
            TarKind::Folder
        } else if kind.is_symlink() {
            let target = fs::read_link(path)?.into_os_string().into_string();
            TarKind::Link(target.map_err(|_| io::Error::other(format!("/{inside} links to no UTF-8")))?)
        } else if kind.is_char_device() {
            TarKind::Character(device().0, device().1)
        } else if kind.is_block_device() {
            TarKind::Block(device().0, device().1)
        } else if kind.is_fifo() {
            TarKind::Fifo
        } else {
            TarKind::File(meta.len())
        };
        let mtime = u64::try_from(meta.mtime()).unwrap_or(0);
        let mut entry = TarEntry {
            path: inside.clone(),
            kind: tar_kind,
            mode: meta.mode(),
            uid: meta.uid(),
            gid: meta.gid(),
            mtime: self.latest.map_or(mtime, |latest| mtime.min(latest)),
            xattrs: Vec::new(),
        };
        if meta.nlink() > 1 && !kind.is_dir() {
            let first = self
                .names
                .entry((meta.dev(), meta.ino()))
                .or_insert(inside.clone());
            if *first != inside {
                entry.kind = TarKind::HardLink(first.clone());
                return self.tar.entry(&entry, None);
            }
        }
        if !kind.is_symlink() {
            entry.xattrs = kept_xattrs(path);
        }
        if let TarKind::File(_) = entry.kind {
            let mut file = File::options()
                .read(true)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                .open(path)?;
            return self.tar.entry(&entry, Some(&mut file));
        }
        self.tar.entry(&entry, None)?;
        if kind.is_dir() {
            if is_opaque(path) {
                self.tar.whiteout(&inside, ".wh..opq")?;
            }
            self.folder(path, &inside)?;
        }
        Ok(())
    }
}
