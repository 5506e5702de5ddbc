//! From pinned packages to a layer above a base.
//!
//! The packages are only unpacked, as a base's are. What scripts would have made and a program needs is made here: dpkg's list
//! with what was there before, the linker's cache of both, and the links of alternatives, without which there is no `cc` and
//! no `libblas.so.3`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use coil_elf::Source;
use coil_fetch::Progress;
use coil_oci::{Arch, Digest};
use serde::{Deserialize, Serialize};

use crate::Archive;
use crate::addition::PinnedAddition;
use crate::alternatives::{Group, LINKS, RECORDS};
use crate::assemble::{AssembleOptions, write_tar};
use crate::base_view::{BaseView, Found, resolve};
use crate::control::paragraphs;
use crate::error::AssembleError;
use crate::gzip_members::compress;
use crate::linker_cache::{self, Library};
use crate::maintainer_script::{self, Install};
use crate::package_file::{Body, Content, Node, PackageFile};
use crate::pinned::PinnedPackage;
use crate::tree::{Tree, dpkg_record, is_kept};

/// Raised when the same packages give other bytes than before.
const FORMAT: u32 = 1;
const LAYERS: &str = "debian-addition-v1";

/// A layer of packages above a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdditionLayer {
    /// The compressed layer.
    pub blob: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of the layer's tar.
    pub diff_id: Digest,
    /// The size of the layer's tar in bytes.
    pub unpacked_size: u64,
    /// The architecture.
    pub arch: Arch,
    /// The packages that were asked for.
    pub names: Vec<String>,
    /// The packages in it.
    pub packages: Vec<PinnedPackage>,
    /// The libraries that it brings to the linker's folders, by the name under which they are needed.
    pub libraries: Vec<String>,
}

/// What the linker has in a stack of layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Linked {
    /// The names of the libraries in its own folders.
    pub files: BTreeSet<String>,
    /// Its cache.
    pub cache: Option<Vec<u8>>,
}

/// The linker's own folders, those of every architecture.
pub const LINKER_FOLDERS: [&str; 4] = ["lib", "lib64", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"];

impl Archive {
    /// Makes the layer of pinned packages above the layers of a base, or finds the one that was made before.
    ///
    /// `below` are the blobs of the base's layers, the lowest first. Looks at no index.
    ///
    /// # Errors
    /// When a package can't be had or read, or the store can't be written.
    pub fn assemble_addition(
        &self,
        below: &[Digest],
        pinned: &PinnedAddition,
        options: &AssembleOptions,
        progress: &dyn Progress,
    ) -> Result<AdditionLayer, AssembleError> {
        let arch = pinned.architecture().ok_or_else(|| AssembleError::UnknownArch {
            arch: pinned.arch.clone(),
        })?;
        let store = |source| AssembleError::Store { source };
        let key = record_key(below, pinned, options);
        let known = self.store.cache_get(LAYERS, &key);
        let known = known.and_then(|bytes| serde_json::from_slice::<AdditionLayer>(&bytes).ok());
        if let Some(layer) = known
            && self.store.has_blob(&layer.blob)
        {
            return Ok(layer);
        }
        let list = pinned.as_list();
        let files = self.unpack_all(&list, options.threads, progress)?;
        let base = BaseView::read(&self.store, below).map_err(store)?;
        let mut addition = Addition::new(arch, base);
        let mut records = Vec::with_capacity(files.len());
        let mut installs = Vec::new();
        for (package, file) in pinned.packages.iter().zip(&files) {
            let owned = addition.add(file);
            addition.remove_old(package, &owned);
            records.push((file, owned));
            // The whole package was read and found good before.
            let (script, _) = self.script_and_paths(package).unwrap_or_default();
            installs.extend(maintainer_script::alternatives(&script, arch));
        }
        addition.alternatives(&installs);
        addition.dpkg(&records);
        let libraries = addition.linker_cache().map_err(store)?;
        drop(records);
        drop(files);
        addition.complete();

        let mut blob = self.store.blob_writer().map_err(store)?;
        let written = compress(options.threads, &mut blob, |tar| {
            write_tar(&addition.tree, options.epoch, tar)
        });
        let (diff_id, unpacked_size) = written.map_err(store)?;
        let (digest, size) = blob.finish().map_err(store)?;
        let layer = AdditionLayer {
            blob: digest,
            size,
            diff_id,
            unpacked_size,
            arch,
            names: pinned.names.clone(),
            packages: pinned.packages.clone(),
            libraries,
        };
        if let Ok(record) = serde_json::to_vec(&layer) {
            self.store.cache_put(LAYERS, &key, &record).map_err(store)?;
        }
        Ok(layer)
    }

    /// The libraries that the linker finds in layers, the lowest first: names of its cache, and of files in its own folders.
    ///
    /// `unpacked` tells both where the layers are unpacked; else the blobs are read, which takes much longer.
    ///
    /// # Errors
    /// When a layer can't be read.
    pub fn libraries_below(
        &self,
        below: &[Digest],
        unpacked: impl FnOnce() -> Option<Linked>,
    ) -> std::io::Result<BTreeSet<String>> {
        const NAMES: &str = "linker-names-v1";
        let key = below.iter().fold(String::new(), |all, layer| all + layer.hex());
        let key = Digest::of(key.as_bytes());
        let known = self.store.cache_get(NAMES, key.hex());
        if let Some(names) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(names);
        }
        let linked = match unpacked() {
            Some(linked) => linked,
            None => BaseView::read(&self.store, below)?.linked(),
        };
        let mut names = linked.files;
        let cache = linked
            .cache
            .as_deref()
            .map(linker_cache::parse)
            .unwrap_or_default();
        names.extend(cache.into_iter().map(|library| library.name));
        if let Ok(record) = serde_json::to_vec(&names) {
            // Without the record the next time is slower, and nothing else.
            let _ = self.store.cache_put(NAMES, key.hex(), &record);
        }
        Ok(names)
    }
}

/// The name of the record: a digest of all that decides about the bytes.
fn record_key(below: &[Digest], pinned: &PinnedAddition, options: &AssembleOptions) -> String {
    let mut text = format!("{FORMAT} {} {} {:?}\n", pinned.arch, options.epoch, pinned.names);
    for layer in below {
        text.push_str(&format!("{layer}\n"));
    }
    for package in &pinned.packages {
        text.push_str(&format!("{} {}\n", package.name, package.sha256));
    }
    Digest::of(text.as_bytes()).hex().to_string()
}

/// The layer while it is put together.
struct Addition {
    arch: Arch,
    base: BaseView,
    tree: Tree,
}

impl Addition {
    fn new(arch: Arch, base: BaseView) -> Addition {
        Addition {
            arch,
            base,
            tree: Tree {
                links: Vec::new(),
                nodes: BTreeMap::new(),
            },
        }
    }

    fn link(&self, path: &str) -> Option<String> {
        match self.tree.nodes.get(path).map(|node| &node.content) {
            Some(Content::Symlink(target)) => return Some(target.clone()),
            Some(_) => return None,
            None => {}
        }
        match self.base.get(path) {
            Some(Found::Link(target)) => Some(target.clone()),
            _ => None,
        }
    }

    /// Where a path really is; the last link is followed where `last` says so.
    fn place(&self, path: &str, last: bool) -> Option<String> {
        resolve(path, last, &|path| self.link(path)).filter(|path| !path.is_empty())
    }

    /// Whether something is at the end of a path's links.
    fn exists(&self, path: &str) -> bool {
        self.place(path, true)
            .is_some_and(|path| self.tree.nodes.contains_key(&path) || self.base.get(&path).is_some())
    }

    /// Adds a package's files; gives the paths that it owns, as they are in the layer.
    fn add(&mut self, package: &PackageFile) -> Vec<String> {
        let mut owned = Vec::new();
        for (path, node) in &package.nodes {
            let is_folder = matches!(node.content, Content::Directory);
            // A folder that is a link to one stays a link.
            let Some(place) = self.place(path, is_folder) else {
                continue;
            };
            if !is_kept(&place, node) {
                continue;
            }
            owned.push(place.clone());
            let there = self.tree.nodes.contains_key(&place)
                || matches!(self.base.get(&place), Some(Found::Folder(..)));
            if is_folder && there {
                continue;
            }
            self.tree.nodes.insert(place, node.clone());
        }
        owned
    }

    /// Takes away what an older version of the package brought and this one doesn't.
    fn remove_old(&mut self, package: &PinnedPackage, owned: &[String]) {
        let owned: HashSet<&str> = owned.iter().map(String::as_str).collect();
        for path in self.base.owned(&package.name, &package.arch) {
            let Some(place) = self.place(&path, false) else {
                continue;
            };
            let gone = !owned.contains(place.as_str()) && !self.tree.nodes.contains_key(&place);
            // Configuration stays, as dpkg leaves it.
            if gone
                && !place.starts_with("etc/")
                && matches!(self.base.get(&place), Some(Found::File | Found::Link(_)))
            {
                let (folder, name) = place.rsplit_once('/').unwrap_or(("", &place));
                let mark = format!("{folder}/.wh.{name}");
                self.tree.file(mark.trim_start_matches('/'), Vec::new(), 0o644);
            }
        }
    }

    fn alternatives(&mut self, installs: &[Install]) {
        let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
        for install in installs {
            if !self.exists(&install.path) {
                continue;
            }
            let group = groups.entry(&install.name).or_insert_with(|| {
                let known = self.base.alternative(&install.name);
                let known = known.and_then(|text| Group::parse(&text));
                known.unwrap_or_else(|| Group::new(&install.link))
            });
            let mut install = install.clone();
            install.slaves.retain(|(_, _, path)| self.exists(path));
            group.add(&install);
        }
        for (name, group) in groups {
            for (slave, link, path) in group.links().unwrap_or_default() {
                let name = if slave.is_empty() { name } else { slave };
                // What a package itself put there is not a link of ours.
                let Some(place) = self.place(link, false) else {
                    continue;
                };
                let taken = match self.tree.nodes.get(&place).map(|node| &node.content) {
                    Some(Content::Symlink(target)) => !target.starts_with("/etc/alternatives/"),
                    Some(_) => true,
                    None => matches!(self.base.get(&place), Some(Found::File | Found::Folder(..))),
                };
                if !taken {
                    self.tree.link(&place, &format!("/{LINKS}{name}"));
                    self.tree.link(&format!("{LINKS}{name}"), path);
                }
            }
            self.tree.file(&format!("{RECORDS}{name}"), group.text(), 0o644);
        }
    }

    /// Writes dpkg's records: of what was there before, and of what is added.
    fn dpkg(&mut self, packages: &[(&PackageFile, Vec<String>)]) {
        let apart = self.base.has_status_folder();
        let before = self.base.status();
        let mut records = BTreeMap::new();
        for (package, owned) in packages {
            let merged = |path: &str| self.place(path, false);
            if let Some(record) = dpkg_record(package, owned, &merged) {
                records.insert(record.name.clone(), record);
            }
        }
        let mut status = String::new();
        for text in before.split("\n\n").map(|text| text.trim_matches('\n')) {
            let name = paragraphs(text)
                .next()
                .and_then(|paragraph| paragraph.get("Package"));
            if name.is_some_and(|name| !records.contains_key(name)) {
                status.push_str(text);
                status.push_str("\n\n");
            }
        }
        for (name, record) in records {
            if apart {
                let folder = "var/lib/dpkg/status.d";
                self.tree.file(&format!("{folder}/{name}"), record.status, 0o644);
                self.tree
                    .file(&format!("{folder}/{name}.md5sums"), record.md5sums, 0o644);
                continue;
            }
            status.push_str(&record.status);
            self.tree
                .file(&format!("{}.list", record.base), record.list, 0o644);
            self.tree
                .file(&format!("{}.md5sums", record.base), record.md5sums, 0o644);
        }
        if !apart {
            self.tree.file("var/lib/dpkg/status", status, 0o644);
        }
    }

    /// Writes the linker's cache of what is below and what is added; gives the names that are new.
    fn linker_cache(&mut self) -> std::io::Result<Vec<String>> {
        let mut texts = self.base.linker_folders();
        for (path, node) in self.tree.nodes.range("etc/ld.so.conf.d/".to_string()..) {
            if !path.starts_with("etc/ld.so.conf.d/") {
                break;
            }
            if let (Content::File(body), true) = (&node.content, path.ends_with(".conf")) {
                texts.insert(path.clone(), String::from_utf8_lossy(&body.bytes()?).into_owned());
            }
        }
        let folders = linker_cache::folders(texts.values().map(String::as_str), self.arch);
        let mut libraries = self
            .base
            .linker_cache()
            .map(linker_cache::parse)
            .unwrap_or_default();
        let known: HashSet<String> = libraries.iter().map(|library| library.name.clone()).collect();
        let rank = |path: &str| {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            folders.iter().position(|one| one == folder).unwrap_or(usize::MAX)
        };
        let mut seen = HashSet::new();
        for folder in &folders {
            let Some(real) = self.place(folder, true) else {
                continue;
            };
            if !seen.insert(real.clone()) {
                continue;
            }
            for (name, is_named) in self.libraries_in(&real, &libraries)? {
                if !is_named && !self.exists(&format!("{real}/{name}")) {
                    continue;
                }
                let path = format!("{}/{name}", folder.trim_end_matches('/'));
                match libraries.iter_mut().find(|library| library.name == name) {
                    Some(there) if rank(&path) < rank(&there.path) => there.path = path,
                    Some(_) => {}
                    None => libraries.push(Library::new(self.arch, name, path)),
                }
            }
        }
        let mut new: Vec<String> = libraries
            .iter()
            .map(|library| library.name.clone())
            .filter(|name| !known.contains(name))
            .collect();
        new.sort();
        new.dedup();
        self.tree
            .file("etc/ld.so.cache", linker_cache::write_all(libraries), 0o644);
        Ok(new)
    }

    /// The names that the linker gets of a folder's new files, and whether the file has that very name.
    fn libraries_in(&self, folder: &str, known: &[Library]) -> std::io::Result<BTreeMap<String, bool>> {
        let mut found = BTreeMap::new();
        let below = format!("{folder}/");
        for (path, node) in self.tree.nodes.range(below.clone()..) {
            let Some(name) = path.strip_prefix(&below) else {
                break;
            };
            let library = !name.contains('/')
                && name.contains(".so")
                && (name.starts_with("lib") || name.starts_with("ld-"));
            if !library || matches!(node.content, Content::Directory) {
                continue;
            }
            let Some(real) = self.place(path, true) else {
                continue;
            };
            let soname = match self.tree.nodes.get(&real) {
                Some(Node {
                    content: Content::File(body),
                    ..
                }) => match soname(body)? {
                    // Without a name of its own it is known by its file's.
                    Some(soname) => soname.unwrap_or_else(|| name.to_string()),
                    None => continue,
                },
                // A link to a library below: the cache there knows its name.
                _ => {
                    let there = known.iter().find(|library| {
                        library.name.starts_with(name)
                            && self.place(&library.path, true).as_ref() == Some(&real)
                    });
                    match there {
                        Some(library) => library.name.clone(),
                        None => continue,
                    }
                }
            };
            if soname.contains('/') {
                continue;
            }
            // A link for compilers, `libx.so` to `libx.so.1`, counts under its own name, as ldconfig has it.
            let is_link = matches!(node.content, Content::Symlink(_))
                && name.ends_with(".so")
                && soname.starts_with(name);
            let entry = if is_link { name.to_string() } else { soname };
            let named = entry == name;
            *found.entry(entry).or_insert(false) |= named;
        }
        Ok(found)
    }

    /// Adds the folders that paths stand in: those below as they are there, so that nothing of theirs changes.
    fn complete(&mut self) {
        let mut missing = BTreeMap::new();
        for path in self.tree.nodes.keys() {
            let mut parent = path.as_str();
            while let Some((above, _)) = parent.rsplit_once('/') {
                if !self.tree.nodes.contains_key(above) {
                    let owner = match self.base.get(above) {
                        Some(Found::Folder(mode, uid, gid)) => (*mode, *uid, *gid),
                        _ => (0o755, 0, 0),
                    };
                    missing.insert(above.to_string(), owner);
                }
                parent = above;
            }
        }
        for (path, (mode, uid, gid)) in missing {
            self.tree.nodes.insert(
                path,
                Node {
                    content: Content::Directory,
                    mode,
                    uid,
                    gid,
                },
            );
        }
    }
}

/// A library's own name: `None` where it is no library, `Some(None)` where it has none.
fn soname(body: &Body) -> std::io::Result<Option<Option<String>>> {
    struct Parts<'a>(&'a Body);
    impl Source for Parts<'_> {
        fn length(&self) -> u64 {
            self.0.size()
        }

        fn part(&mut self, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
            self.0.part(offset, length)
        }
    }
    match coil_elf::read(&mut Parts(body)) {
        Ok(elf) if elf.bits == 64 && elf.dynamic => Ok(Some(elf.soname)),
        Ok(_) | Err(coil_elf::ElfError::NotElf | coil_elf::ElfError::Damaged(_)) => Ok(None),
        Err(coil_elf::ElfError::Disk(error)) => Err(error),
    }
}
