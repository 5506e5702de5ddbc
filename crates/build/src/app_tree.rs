//! The project's own files: which there are, and what is in them, without reading again what did not change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use coil_oci::{Digest, Hasher};
use coil_store::Store;

/// A file that changed so shortly before it was looked at could change again within the same time stamp.
const SETTLED: Duration = Duration::from_millis(50);
const INDEX: &str = "app-index-v1";

/// What is shipped of a project, sorted by path.
#[derive(Debug, Clone)]
pub struct AppTree {
    /// The folder it was read from.
    pub root: PathBuf,
    /// Files, folders and links, parents first.
    pub entries: Vec<AppEntry>,
    /// A digest over paths, kinds, modes and contents.
    pub digest: Digest,
    /// What could not be shipped, one line each.
    pub notes: Vec<String>,
}

/// One thing that is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppEntry {
    /// Its path below the project's folder, with `/`.
    pub path: String,
    /// What it is.
    pub kind: AppKind,
}

/// What a shipped thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppKind {
    /// A folder.
    Directory,
    /// A symbolic link, kept as it is.
    Symlink(String),
    /// A file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
        /// The digest of its content.
        digest: Digest,
    },
}

/// Which paths are wanted; both are asked with paths below the project's folder.
pub trait Selection {
    /// Whether a folder and all below it can be passed over.
    fn skips_folder(&self, path: &str) -> bool;
    /// Whether a file or link is shipped.
    fn ships(&self, path: &str) -> bool;
}

/// The part of a file's metadata that tells whether it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: i128,
    ctime: i128,
    inode: u64,
}

impl Stamp {
    fn of(meta: &Metadata) -> Stamp {
        let nanoseconds = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Stamp {
            size: meta.size(),
            mtime: nanoseconds(meta.mtime(), meta.mtime_nsec()),
            ctime: nanoseconds(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        }
    }

    /// Whether a later change would show in the time stamps.
    fn settled(&self, now: i128) -> bool {
        let margin = i128::try_from(SETTLED.as_nanos()).unwrap_or(0);
        self.mtime.max(self.ctime) + margin < now
    }
}

type Index = BTreeMap<String, (Stamp, Digest)>;

fn read_index(text: &str) -> Index {
    let mut index = Index::new();
    for line in text.lines() {
        let mut fields = line.splitn(6, ' ');
        let mut number = || fields.next()?.parse::<i128>().ok();
        let (Some(size), Some(mtime), Some(ctime), Some(inode)) = (number(), number(), number(), number())
        else {
            continue;
        };
        let (Some(hex), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (Ok(size), Ok(inode)) = (u64::try_from(size), u64::try_from(inode)) else {
            continue;
        };
        let Ok(digest) = Digest::from_hex(hex) else {
            continue;
        };
        index.insert(
            path.to_owned(),
            (
                Stamp {
                    size,
                    mtime,
                    ctime,
                    inode,
                },
                digest,
            ),
        );
    }
    index
}

fn write_index(index: &Index) -> String {
    let mut text = String::new();
    for (path, (stamp, digest)) in index {
        let Stamp {
            size,
            mtime,
            ctime,
            inode,
        } = stamp;
        let _ = writeln!(text, "{size} {mtime} {ctime} {inode} {} {path}", digest.hex());
    }
    text
}

struct Scan<'a> {
    root: &'a Path,
    selection: &'a dyn Selection,
    old: Index,
    new: Index,
    changed: bool,
    now: i128,
    entries: Vec<AppEntry>,
    notes: Vec<String>,
}

/// Reads a project's folder; contents come from the store's index where size, times and inode are the same.
///
/// # Errors
/// With the path that could not be read.
pub fn scan(store: &Store, root: &Path, selection: &dyn Selection) -> Result<AppTree, (PathBuf, io::Error)> {
    let key = Digest::of(root.as_os_str().as_encoded_bytes());
    let old = store
        .cache_get(INDEX, key.hex())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut scan = Scan {
        root,
        selection,
        old: old.as_deref().map(read_index).unwrap_or_default(),
        new: Index::new(),
        changed: false,
        now: i128::try_from(since.as_nanos()).unwrap_or(0),
        entries: Vec::new(),
        notes: Vec::new(),
    };
    scan.folder("")?;
    if scan.changed || scan.new.len() != scan.old.len() {
        // Only a help: without it the next pack reads the files again.
        let _ = store.cache_put(INDEX, key.hex(), write_index(&scan.new).as_bytes());
    }
    let mut entries = scan.entries;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let digest = digest_of(&entries);
    Ok(AppTree {
        root: root.to_owned(),
        entries,
        digest,
        notes: scan.notes,
    })
}

impl Scan<'_> {
    fn folder(&mut self, folder: &str) -> Result<(), (PathBuf, io::Error)> {
        let full = self.root.join(folder);
        let failed = |error| (full.clone(), error);
        for entry in fs::read_dir(&full).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else {
                self.notes.push(format!(
                    "left out {}: its name is not UTF-8",
                    entry.path().display()
                ));
                continue;
            };
            let path = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            let kind = entry.file_type().map_err(|error| (entry.path(), error))?;
            if kind.is_dir() {
                if self.selection.skips_folder(&path) {
                    continue;
                }
                let before = self.entries.len();
                self.folder(&path)?;
                // An empty folder is shipped when it is wanted itself; one that only ignored files were in is not.
                if self.entries.len() > before || self.selection.ships(&path) {
                    self.entries.push(AppEntry {
                        path,
                        kind: AppKind::Directory,
                    });
                }
            } else if self.selection.ships(&path) {
                self.thing(path, &entry)?;
            }
        }
        Ok(())
    }

    fn thing(&mut self, path: String, entry: &fs::DirEntry) -> Result<(), (PathBuf, io::Error)> {
        let full = entry.path();
        let failed = |error| (full.clone(), error);
        let meta = entry.metadata().map_err(failed)?;
        if meta.is_symlink() {
            let target = fs::read_link(&full).map_err(failed)?;
            match target.into_os_string().into_string() {
                Ok(target) => self.entries.push(AppEntry {
                    path,
                    kind: AppKind::Symlink(target),
                }),
                Err(_) => self
                    .notes
                    .push(format!("left out {path}: its target is not UTF-8")),
            }
            return Ok(());
        }
        if !meta.is_file() {
            self.notes
                .push(format!("left out {path}: it is neither file, folder nor link"));
            return Ok(());
        }
        let stamp = Stamp::of(&meta);
        let known = self
            .old
            .get(&path)
            .filter(|(old, _)| *old == stamp)
            .map(|(_, digest)| digest.clone());
        let (digest, size) = match known {
            Some(digest) => (digest, stamp.size),
            None => {
                self.changed = true;
                hash_file(&full).map_err(failed)?
            }
        };
        if stamp.settled(self.now) {
            self.new.insert(path.clone(), (stamp, digest.clone()));
        }
        let executable = meta.mode() & 0o100 != 0;
        self.entries.push(AppEntry {
            path,
            kind: AppKind::File {
                size,
                executable,
                digest,
            },
        });
        Ok(())
    }
}

fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let size = io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok((hasher.finish(), size))
}

fn digest_of(entries: &[AppEntry]) -> Digest {
    let mut text = String::new();
    for entry in entries {
        let path = &entry.path;
        let _ = match &entry.kind {
            AppKind::Directory => writeln!(text, "d {path}\0"),
            AppKind::Symlink(target) => writeln!(text, "l {path}\0{target}\0"),
            AppKind::File {
                executable, digest, ..
            } => writeln!(text, "f {path}\0{executable} {digest}\0"),
        };
    }
    Digest::of(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use coil_store::StoreOptions;

    struct All;
    impl Selection for All {
        fn skips_folder(&self, _: &str) -> bool {
            false
        }
        fn ships(&self, _: &str) -> bool {
            true
        }
    }

    #[test]
    fn a_change_of_the_same_size_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            root: data.path().into(),
            downloads: None,
            boot_id: "one".into(),
        });
        fs::write(folder.path().join("a.py"), "one").unwrap();
        let first = scan(&store, folder.path(), &All).unwrap();
        fs::write(folder.path().join("a.py"), "two").unwrap();
        let second = scan(&store, folder.path(), &All).unwrap();
        assert_ne!(first.digest, second.digest);
        fs::write(folder.path().join("a.py"), "one").unwrap();
        assert_eq!(scan(&store, folder.path(), &All).unwrap().digest, first.digest);
    }

    #[test]
    fn the_index_survives_its_own_text() {
        let stamp = Stamp {
            size: 1,
            mtime: -5,
            ctime: 7,
            inode: 9,
        };
        let index = Index::from([("a b/c.py".to_owned(), (stamp, Digest::of(b"x")))]);
        assert_eq!(read_index(&write_index(&index)), index);
    }
}
