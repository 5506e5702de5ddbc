//! Where steps read files: a context's folder without what is ignored, or the layers of a stage.
//!
//! Links are followed inside the tree alone: a path of a Dockerfile is never one of this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use coil_dockerfile::ignore::{Above, Matcher};

use crate::image_tree::{Node, child};

/// How many symbolic links one path may hold.
const MOST_LINKS: usize = 40;

/// An entry of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Where it is on this machine.
    pub(crate) place: PathBuf,
    /// Its data; a link's own.
    pub(crate) meta: fs::Metadata,
}

impl Item {
    fn at(place: PathBuf) -> io::Result<Option<Item>> {
        match fs::symlink_metadata(&place) {
            Ok(meta) => Ok(Some(Item { place, meta })),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// An entry of a folder.
pub(crate) struct Child {
    pub(crate) name: String,
    pub(crate) item: Item,
    /// Whether a pattern takes it away; something below may stay all the same.
    pub(crate) taken: bool,
    /// What the patterns say to its own entries.
    pub(crate) above: Above,
}

/// A tree of files.
pub(crate) enum Tree {
    /// A folder of this machine.
    Folder { root: PathBuf, ignored: Matcher },
    /// Unpacked layers, the uppermost first.
    Layers(Vec<PathBuf>),
}

impl Tree {
    /// The layers of a stage, the lowest first.
    pub(crate) fn layers(mut lower: Vec<PathBuf>) -> Tree {
        lower.reverse();
        Tree::Layers(lower)
    }

    /// Whether it is of no layer at all.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Tree::Layers(layers) if layers.is_empty())
    }

    /// Whether it comes from outside: then owners don't count.
    pub(crate) fn is_context(&self) -> bool {
        matches!(self, Tree::Folder { .. })
    }

    /// The entry of a clean relative path whose folders are real; a link is not followed.
    fn entry(&self, path: &str) -> io::Result<Option<Item>> {
        match self {
            Tree::Folder { root, ignored } => {
                if !path.is_empty() && ignored.taken_by(path).is_some() {
                    // A folder stays for the sake of what is kept in it.
                    let item = Item::at(root.join(path))?;
                    return Ok(item.filter(|item| item.meta.is_dir() && ignored.has_exceptions()));
                }
                Item::at(root.join(path))
            }
            Tree::Layers(layers) => {
                let mut here = layers.clone();
                let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
                if parts.peek().is_none() {
                    return layers.first().map_or(Ok(None), |top| Item::at(top.clone()));
                }
                while let Some(part) = parts.next() {
                    match child(&here, part) {
                        None => return Ok(None),
                        Some(Node::Folder(folders)) if parts.peek().is_some() => here = folders,
                        Some(_) if parts.peek().is_some() => return Ok(None),
                        Some(Node::Folder(folders)) => return Item::at(folders[0].clone()),
                        Some(_) => {
                            let place = here
                                .iter()
                                .map(|folder| folder.join(part))
                                .find(|place| place.symlink_metadata().is_ok());
                            return place.map_or(Ok(None), Item::at);
                        }
                    }
                }
                Ok(None)
            }
        }
    }

    /// The entries of a folder, sorted by name, those that patterns take away marked.
    pub(crate) fn children(&self, path: &str, above: Option<&Above>) -> io::Result<Vec<Child>> {
        let none = Matcher::default();
        let (names, ignored) = match self {
            Tree::Folder { root, ignored } => (names(&root.join(path))?, ignored),
            Tree::Layers(layers) => {
                let mut here = layers.clone();
                for part in path.split('/').filter(|part| !part.is_empty()) {
                    match child(&here, part) {
                        Some(Node::Folder(folders)) => here = folders,
                        _ => return Ok(Vec::new()),
                    }
                }
                let mut all = Vec::new();
                for folder in &here {
                    all.extend(names(folder)?);
                }
                all.sort();
                all.dedup();
                all.retain(|name| child(&here, name).is_some());
                (all, &none)
            }
        };
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let whole = join(path, &name);
            let (taken, above) = ignored.check(&whole, above);
            let item = match self {
                Tree::Folder { root, .. } => Item::at(root.join(&whole))?,
                Tree::Layers(_) => self.entry(&whole)?,
            };
            if let Some(item) = item {
                found.push(Child {
                    name,
                    item,
                    taken,
                    above,
                });
            }
        }
        Ok(found)
    }

    /// What the patterns say to the entries of a folder.
    pub(crate) fn above(&self, path: &str) -> Option<Above> {
        let Tree::Folder { ignored, .. } = self else {
            return None;
        };
        let mut above = None;
        let mut whole = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            whole = join(&whole, part);
            above = Some(ignored.check(&whole, above.as_ref()).1);
        }
        above
    }

    /// Whether something below a folder that is taken away may be kept.
    pub(crate) fn has_exceptions(&self) -> bool {
        match self {
            Tree::Folder { ignored, .. } => ignored.has_exceptions(),
            Tree::Layers(_) => false,
        }
    }

    /// The pattern that takes a path away.
    pub(crate) fn taken_by(&self, path: &str) -> Option<&str> {
        match self {
            Tree::Folder { ignored, .. } => ignored.taken_by(path),
            Tree::Layers(_) => None,
        }
    }

    /// Follows a path and its links; the last one only where `follow` says so. Gives the real path and what is there.
    ///
    /// The part that isn't there is taken as it is written.
    pub(crate) fn resolve(&self, path: &str, follow: bool) -> io::Result<(String, Option<Item>)> {
        let mut todo: Vec<String> = parts(path);
        let mut here: Vec<String> = Vec::new();
        let mut links = 0;
        let mut item = self.entry("")?;
        while let Some(name) = todo.pop() {
            if name == ".." {
                here.pop();
                item = self.entry(&here.join("/"))?;
                continue;
            }
            let next = join(&here.join("/"), &name);
            let found = self.entry(&next)?;
            match found {
                Some(found) if found.meta.is_symlink() && (follow || !todo.is_empty()) => {
                    links += 1;
                    if links > MOST_LINKS {
                        let text = format!("too many links in /{path}");
                        return Err(io::Error::new(io::ErrorKind::NotADirectory, text));
                    }
                    let target = fs::read_link(&found.place)?;
                    let target = target
                        .to_str()
                        .ok_or_else(|| io::Error::other("a link to no UTF-8"))?;
                    if target.starts_with('/') {
                        here.clear();
                    }
                    todo.extend(parts(target));
                    item = self.entry(&here.join("/"))?;
                }
                Some(found) if found.meta.is_dir() || todo.is_empty() => {
                    here.push(name);
                    item = Some(found);
                }
                Some(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::NotADirectory,
                        format!("/{next} is no folder"),
                    ));
                }
                None => {
                    here.push(name);
                    for rest in todo.into_iter().rev() {
                        match rest.as_str() {
                            ".." => {
                                here.pop();
                            }
                            _ => here.push(rest),
                        }
                    }
                    return Ok((here.join("/"), None));
                }
            }
        }
        Ok((here.join("/"), item))
    }

    /// A file's bytes, links followed; none where there is none, or it is larger than `limit`.
    pub(crate) fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        match self.resolve(path, true)? {
            (_, Some(item)) if item.meta.is_file() && item.meta.len() <= limit => {
                fs::read(&item.place).map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().into_string();
        names.push(name.map_err(|name| {
            io::Error::other(format!("the name {name:?} in {} is no UTF-8", folder.display()))
        })?);
    }
    names.sort();
    Ok(names)
}

/// A path's names, the last first.
fn parts(path: &str) -> Vec<String> {
    path.split('/')
        .rev()
        .filter(|part| !matches!(*part, "" | "."))
        .map(str::to_owned)
        .collect()
}

/// Two relative paths, one below the other.
pub(crate) fn join(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("", name) => name.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}
