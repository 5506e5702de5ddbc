//! What is below an addition: the paths of the layers beneath, and the few files of theirs that a layer above continues.
//!
//! It is read from the layers' blobs, not from unpacked folders, so that owners and modes are the layers' own whoever unpacked
//! them, and for architectures that never run here.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use coil_oci::Digest;
use coil_store::Store;

use crate::addition_layer::{LINKER_FOLDERS, Linked};
use crate::alternatives;

const STATUS: &str = "var/lib/dpkg/status";
const STATUS_FOLDER: &str = "var/lib/dpkg/status.d/";
const LISTS: &str = "var/lib/dpkg/info/";
const LINKER: &str = "etc/ld.so.conf.d/";
const CACHE: &str = "etc/ld.so.cache";
/// More than any of those files has.
const LONGEST: u64 = 64 << 20;
/// How many links a path leads through at most, as Linux has it.
const MOST_LINKS: usize = 40;

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A folder: mode, user, group.
    Folder(u32, u32, u32),
    /// A symbolic link.
    Link(String),
    /// Anything else.
    File,
}

/// The paths below, and the texts of some.
#[derive(Debug, Default)]
pub struct BaseView {
    paths: BTreeMap<String, Found>,
    texts: BTreeMap<String, Vec<u8>>,
}

impl BaseView {
    /// Reads layers, the lowest first.
    ///
    /// # Errors
    /// What the disk gives, and `InvalidData` for what is no layer.
    pub fn read(store: &Store, blobs: &[Digest]) -> io::Result<BaseView> {
        let mut view = BaseView::default();
        for blob in blobs {
            let mut file = BufReader::with_capacity(1 << 16, store.open_blob(blob)?);
            let start = io::BufRead::fill_buf(&mut file)?;
            let name = match start {
                [0x1f, 0x8b, ..] => "layer.gz",
                [0x28, 0xb5, 0x2f, 0xfd, ..] => "layer.zst",
                _ => "layer.tar",
            };
            view.add(&mut crate::compression::unpack(name, file)?)?;
        }
        Ok(view)
    }

    fn add(&mut self, tar: &mut dyn Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(tar);
        // What a layer takes away is of the layers below it, whatever the order of its entries.
        let mut own: BTreeMap<String, Found> = BTreeMap::new();
        let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = path.trim_start_matches("./").trim_matches('/').to_string();
            if path.is_empty() {
                continue;
            }
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            if let Some(gone) = name.strip_prefix(".wh.") {
                if gone == ".wh..opq" {
                    self.remove_below(folder);
                } else {
                    let gone = if folder.is_empty() {
                        gone.to_string()
                    } else {
                        format!("{folder}/{gone}")
                    };
                    self.remove_below(&gone);
                    self.paths.remove(&gone);
                    self.texts.remove(&gone);
                }
                continue;
            }
            let header = entry.header();
            let kind = header.entry_type();
            let found = if kind.is_dir() {
                let number = |value: io::Result<u64>| {
                    value
                        .ok()
                        .and_then(|value| u32::try_from(value).ok())
                        .unwrap_or(0)
                };
                Found::Folder(
                    header.mode().unwrap_or(0o755) & 0o7777,
                    number(header.uid()),
                    number(header.gid()),
                )
            } else if kind.is_symlink() {
                let target = entry.link_name_bytes().unwrap_or_default();
                Found::Link(String::from_utf8_lossy(&target).into_owned())
            } else {
                Found::File
            };
            if kind.is_file() && is_wanted(&path) {
                let mut bytes = Vec::new();
                (&mut entry).take(LONGEST).read_to_end(&mut bytes)?;
                texts.insert(path.clone(), bytes);
            }
            own.insert(path, found);
        }
        for (path, found) in own {
            let is_folder = matches!(found, Found::Folder(..));
            if !is_folder && matches!(self.paths.get(&path), Some(Found::Folder(..))) {
                self.remove_below(&path);
            }
            self.texts.remove(&path);
            self.paths.insert(path, found);
        }
        self.texts.extend(texts);
        Ok(())
    }

    fn remove_below(&mut self, folder: &str) {
        if folder.is_empty() {
            self.paths.clear();
            self.texts.clear();
            return;
        }
        let below = format!("{folder}/");
        self.paths.retain(|path, _| !path.starts_with(&below));
        self.texts.retain(|path, _| !path.starts_with(&below));
    }

    /// What a path is, links not followed.
    pub fn get(&self, path: &str) -> Option<&Found> {
        self.paths.get(path)
    }

    /// A text file.
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = self.texts.get(path)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// dpkg's list of what is installed; empty where there is none.
    pub fn status(&self) -> String {
        self.text(STATUS).unwrap_or_default()
    }

    /// Whether each package has a record of its own instead of the list, as in images that have no dpkg.
    pub fn has_status_folder(&self) -> bool {
        !self.paths.contains_key(STATUS)
            && self
                .paths
                .range(STATUS_FOLDER.to_string()..)
                .next()
                .is_some_and(|(path, _)| path.starts_with(STATUS_FOLDER))
    }

    /// The linker's cache.
    pub fn linker_cache(&self) -> Option<&[u8]> {
        self.texts.get(CACHE).map(Vec::as_slice)
    }

    /// The files that name folders for the linker, in order of name.
    pub fn linker_folders(&self) -> BTreeMap<String, String> {
        let files = self.texts.iter().filter(|(path, _)| path.starts_with(LINKER));
        files
            .map(|(path, bytes)| (path.clone(), String::from_utf8_lossy(bytes).into_owned()))
            .collect()
    }

    /// What the linker has: its cache, and the libraries in its own folders, whatever the cache says.
    pub fn linked(&self) -> Linked {
        let library = |(path, found): (&String, &Found)| {
            let (folder, name) = path.rsplit_once('/')?;
            let folder = folder.strip_prefix("usr/").unwrap_or(folder);
            let folder = folder.strip_prefix("local/").unwrap_or(folder);
            let fits = LINKER_FOLDERS.contains(&folder);
            (fits && name.contains(".so") && !matches!(found, Found::Folder(..))).then(|| name.to_string())
        };
        Linked {
            files: self.paths.iter().filter_map(library).collect(),
            cache: self.linker_cache().map(<[u8]>::to_vec),
        }
    }

    /// The record of a group of alternatives.
    pub fn alternative(&self, name: &str) -> Option<String> {
        self.text(&format!("{}{name}", alternatives::RECORDS))
    }

    /// The paths that a package brought, without a leading slash.
    pub fn owned(&self, package: &str, arch: &str) -> Vec<String> {
        let text = self
            .text(&format!("{LISTS}{package}.list"))
            .or_else(|| self.text(&format!("{LISTS}{package}:{arch}.list")))
            .unwrap_or_default();
        let paths = text.lines().map(|line| line.trim_matches('/').to_string());
        paths.filter(|path| !path.is_empty() && path != ".").collect()
    }
}

fn is_wanted(path: &str) -> bool {
    path == STATUS
        || path == CACHE
        || (path.starts_with(LINKER) && path.ends_with(".conf"))
        || path.starts_with(alternatives::RECORDS)
        || (path.starts_with(LISTS) && path.ends_with(".list"))
}

/// Follows a path's links, the last one too where `last` says so; `link` gives a link's target by its path.
///
/// `None` where it leads round in a circle.
pub fn resolve(path: &str, last: bool, link: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut left: Vec<String> = path.split('/').rev().map(str::to_string).collect();
    let mut done: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(part) = left.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                done.pop();
                continue;
            }
            _ => {}
        }
        done.push(part);
        let is_last = left.iter().all(|part| part.is_empty() || part == ".");
        if is_last && !last {
            continue;
        }
        if let Some(target) = link(&done.join("/")) {
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            done.pop();
            if target.starts_with('/') {
                done.clear();
            }
            left.extend(target.split('/').rev().map(str::to_string));
        }
    }
    Some(done.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coil_oci::tar::{Entry, TarWriter};

    #[test]
    fn links_are_followed() {
        let link = |path: &str| {
            Some(match path {
                "lib" => "usr/lib".to_string(),
                "usr/lib/a" => "../b/c".into(),
                "var/run" => "/run".into(),
                "round" => "round".into(),
                _ => return None,
            })
        };
        let resolve = |path, last| resolve(path, last, &link);
        assert_eq!(resolve("lib/x.so", false).unwrap(), "usr/lib/x.so");
        assert_eq!(resolve("lib/a", false).unwrap(), "usr/lib/a");
        assert_eq!(resolve("lib/a", true).unwrap(), "usr/b/c");
        assert_eq!(resolve("/var/run/../x/./y", false).unwrap(), "x/y");
        assert_eq!(resolve("lib/", false).unwrap(), "lib");
        assert_eq!(resolve("round/x", false), None);
    }

    #[test]
    fn layers_lie_above_each_other() {
        let mut view = BaseView::default();
        let mut layer = |entries: &[Entry]| {
            let mut writer = TarWriter::new(Vec::new());
            for entry in entries {
                writer.entry(entry).unwrap();
            }
            let bytes = writer.finish().unwrap();
            view.add(&mut bytes.as_slice()).unwrap();
        };
        layer(&[
            Entry::directory("a", 0),
            Entry::file("a/b", 0, 0o644, 0),
            Entry::directory("c", 0),
            Entry::file("c/d", 0, 0o644, 0),
            Entry::file("e", 0, 0o644, 0),
        ]);
        layer(&[
            Entry::file(".wh.e", 0, 0o644, 0),
            Entry::symlink("a", "c", 0),
            Entry::file("c/x", 0, 0o644, 0),
            Entry::file("c/.wh..wh..opq", 0, 0o644, 0),
        ]);
        assert_eq!(view.get("a"), Some(&Found::Link("c".into())));
        assert_eq!(view.get("a/b"), None);
        assert_eq!(view.get("c/d"), None);
        assert_eq!(view.get("c/x"), Some(&Found::File));
        assert_eq!(view.get("e"), None);
    }
}
