//! A folder made a layer: the same bytes for the same files, whenever and wherever it was filled.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use coil_oci::Digest;
use coil_oci::tar::{Entry, Kind, TarWriter};
use coil_store::Store;
use serde::{Deserialize, Serialize};

use crate::gzip_members::compress;

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeLayer {
    /// The compressed layer.
    pub blob: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of the layer's tar.
    pub diff_id: Digest,
    /// The size of the layer's tar in bytes.
    pub unpacked_size: u64,
}

/// Makes a layer of all that is in a folder, sorted by path.
///
/// Files that are older than `epoch`, in seconds since 1970, keep their time; all else gets it. What overlayfs left to say that
/// something is gone becomes a whiteout. Sockets are left out.
///
/// # Errors
/// When a file can't be read, or the store can't be written.
pub fn keep_tree(store: &Store, folder: &Path, epoch: u64, threads: usize) -> io::Result<TreeLayer> {
    let mut blob = store.blob_writer()?;
    let written = compress(threads, &mut blob, |out| {
        let mut writer = TreeWriter {
            tar: TarWriter::new(out),
            epoch,
            first_names: HashMap::new(),
            buffer: vec![0; 1 << 17],
        };
        writer.folder(folder, "")?;
        writer.tar.finish().map(|_| ())
    });
    let (diff_id, unpacked_size) = written?;
    let (blob, size) = blob.finish()?;
    Ok(TreeLayer {
        blob,
        size,
        diff_id,
        unpacked_size,
    })
}

struct TreeWriter<W> {
    tar: TarWriter<W>,
    epoch: u64,
    /// The first path of each file that has several.
    first_names: HashMap<u64, String>,
    buffer: Vec<u8>,
}

impl<W: Write> TreeWriter<W> {
    fn folder(&mut self, folder: &Path, path: &str) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let name = name
                .into_string()
                .map_err(|name| io::Error::other(format!("the name {name:?} is not UTF-8")))?;
            names.push(name);
        }
        names.sort();
        if is_opaque(folder) {
            self.tar
                .entry(&Entry::file(join(path, ".wh..wh..opq"), 0, 0o644, self.epoch))?;
        }
        for name in names {
            let from = folder.join(&name);
            self.one(&from, path, &name)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", from.display())))?;
        }
        Ok(())
    }

    fn one(&mut self, from: &Path, above: &str, name: &str) -> io::Result<()> {
        let meta = fs::symlink_metadata(from)?;
        let kind = meta.file_type();
        let path = join(above, name);
        let entry = |kind, mtime| Entry {
            path: path.clone(),
            kind,
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            mtime,
        };
        if kind.is_dir() {
            self.tar.entry(&entry(Kind::Directory, self.epoch))?;
            return self.folder(from, &path);
        }
        if kind.is_symlink() {
            let target = fs::read_link(from)?.into_os_string().into_string();
            let target = target.map_err(|_| io::Error::other("the link's target is not UTF-8"))?;
            let entry = Entry {
                mode: 0o777,
                ..entry(Kind::Symlink { target }, self.epoch)
            };
            return self.tar.entry(&entry);
        }
        if kind.is_char_device() && meta.rdev() == 0 {
            let gone = join(above, &format!(".wh.{name}"));
            return self.tar.entry(&Entry::file(gone, 0, 0o644, self.epoch));
        }
        if !kind.is_file() {
            return Ok(());
        }
        if meta.nlink() > 1 {
            if let Some(first) = self.first_names.get(&meta.ino()) {
                let target = first.clone();
                return self.tar.entry(&entry(Kind::Hardlink { target }, self.epoch));
            }
            self.first_names.insert(meta.ino(), path.clone());
        }
        let size = meta.len();
        self.tar
            .entry(&entry(Kind::File { size }, time(&meta).min(self.epoch)))?;
        let mut file = File::open(from)?;
        loop {
            match file.read(&mut self.buffer)? {
                0 => return Ok(()),
                read => self.tar.data(&self.buffer[..read])?,
            }
        }
    }
}

fn join(above: &str, name: &str) -> String {
    if above.is_empty() {
        name.to_string()
    } else {
        format!("{above}/{name}")
    }
}

fn time(meta: &Metadata) -> u64 {
    u64::try_from(meta.mtime()).unwrap_or(0)
}

/// Whether overlayfs hides what lies below this folder.
fn is_opaque(folder: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| {
            let mut value = [0; 1];
            rustix::fs::lgetxattr(folder, *name, &mut value)
                .is_ok_and(|length| length == 1 && value[0] == b'y')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use coil_store::StoreOptions;

    #[test]
    fn times_of_making_leave_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            root: folder.path().join("root"),
            downloads: None,
            boot_id: "boot".into(),
        });
        let layer = |name: &str| {
            let tree = folder.path().join(name);
            fs::create_dir_all(tree.join("b/c")).unwrap();
            fs::write(tree.join("b/old"), "x").unwrap();
            fs::write(tree.join("a"), name.len().to_string()).unwrap();
            fs::hard_link(tree.join("a"), tree.join("z")).unwrap();
            std::os::unix::fs::symlink("a", tree.join("link")).unwrap();
            let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(50);
            let file = File::options().write(true).open(tree.join("b/old")).unwrap();
            file.set_modified(old).unwrap();
            keep_tree(&store, &tree, 100, 2).unwrap()
        };
        let (one, two) = (layer("1"), layer("2"));
        assert_eq!(one, two);
        let bytes = store.read_blob(&one.blob).unwrap();
        let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(bytes.as_slice()));
        let entries: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let path = entry.path().unwrap().display().to_string();
                format!("{path} {}", entry.header().mtime().unwrap())
            })
            .collect();
        assert_eq!(
            entries,
            ["a 100", "b/ 100", "b/c/ 100", "b/old 50", "link 100", "z 100"]
        );
    }
}
