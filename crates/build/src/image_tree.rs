//! An image's files, looked up in its unpacked layers as overlayfs would show them, without mounting anything.
//!
//! Links are followed inside the image alone: what an image says is a path of its own, never one of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How many symbolic links one path may hold.
const MOST_LINKS: usize = 40;

/// The layers of an image, unpacked.
#[derive(Debug, Clone)]
pub(crate) struct ImageTree {
    /// The uppermost first.
    layers: Vec<PathBuf>,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A folder: those of all layers that have it, the uppermost first.
    Folder(Vec<PathBuf>),
    /// A file, and where it is on this machine.
    File(PathBuf),
    /// A symbolic link.
    Link(String),
    /// A device, a socket or a pipe.
    Other,
}

/// A path that exists, with all links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The real path in the image, absolute.
    pub(crate) path: String,
    /// What is there; never a link.
    pub(crate) node: Node,
}

impl ImageTree {
    /// A tree of unpacked layers, the lowest first.
    pub(crate) fn new(mut layers: Vec<PathBuf>) -> ImageTree {
        layers.reverse();
        ImageTree { layers }
    }

    /// Follows a path and every link in it.
    pub(crate) fn find(&self, path: &str) -> Option<Found> {
        let mut todo: Vec<String> = parts(path);
        // The folders passed so far, so that `..` can go back.
        let mut passed: Vec<(String, Vec<PathBuf>)> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                passed.pop();
                continue;
            }
            let here = passed.last().map_or(&self.layers, |(_, folders)| folders);
            match child(here, &name)? {
                Node::Folder(folders) => passed.push((name, folders)),
                Node::Link(target) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return None;
                    }
                    if target.starts_with('/') {
                        passed.clear();
                    }
                    todo.extend(parts(&target));
                }
                node if todo.is_empty() => {
                    let mut path = join(&passed);
                    path.push('/');
                    path.push_str(&name);
                    return Some(Found { path, node });
                }
                _ => return None,
            }
        }
        let folders = passed.last().map_or(&self.layers, |(_, folders)| folders);
        Some(Found {
            path: join(&passed),
            node: Node::Folder(folders.clone()),
        })
    }

    /// A file by its path: its real path, and where it is on this machine.
    pub(crate) fn file(&self, path: &str) -> Option<(String, PathBuf)> {
        match self.find(path)? {
            Found {
                path,
                node: Node::File(place),
            } => Some((path, place)),
            _ => None,
        }
    }

    /// A file's bytes; none when it isn't there or is larger than `limit`.
    pub(crate) fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        let (_, place) = self.file(path)?;
        let mut bytes = Vec::new();
        let mut file = fs::File::open(place).ok()?.take(limit + 1);
        file.read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= limit).then_some(bytes)
    }

    /// A file's text.
    pub(crate) fn text(&self, path: &str, limit: u64) -> Option<String> {
        Some(String::from_utf8_lossy(&self.read(path, limit)?).into_owned())
    }

    /// What a folder holds, by name; empty when it is none.
    pub(crate) fn list(&self, path: &str) -> io::Result<BTreeMap<String, Node>> {
        match self.find(path) {
            Some(Found {
                node: Node::Folder(folders),
                ..
            }) => list(&folders),
            _ => Ok(BTreeMap::new()),
        }
    }

    /// Whether everyone in a container may enter all folders of a path and read what it leads to.
    pub(crate) fn is_open_to_all(&self, path: &str) -> bool {
        let Some(found) = self.find(path) else {
            return false;
        };
        let mode = |node: &Node| match node {
            Node::Folder(folders) => folders
                .first()
                .and_then(|folder| fs::symlink_metadata(folder).ok()),
            Node::File(place) => fs::symlink_metadata(place).ok(),
            _ => None,
        };
        let mut upward = found.path.as_str();
        while let Some((parent, _)) = upward.rsplit_once('/') {
            let open = match self.find(upward) {
                Some(found) => {
                    let wanted = if matches!(found.node, Node::Folder(_)) {
                        0o001
                    } else {
                        0o004
                    };
                    mode(&found.node).is_some_and(|meta| meta.mode() & wanted == wanted)
                }
                None => false,
            };
            if !open {
                return false;
            }
            upward = parent;
        }
        true
    }
}

/// A path's names, the last first, so that they can be popped.
fn parts(path: &str) -> Vec<String> {
    path.split('/')
        .rev()
        .filter(|part| !matches!(*part, "" | "."))
        .map(str::to_owned)
        .collect()
}

fn join(passed: &[(String, Vec<PathBuf>)]) -> String {
    passed.iter().map(|(name, _)| format!("/{name}")).collect()
}

/// What a name in a stack of folders stands for; none where it isn't there or is hidden.
pub(crate) fn child(folders: &[PathBuf], name: &str) -> Option<Node> {
    let mut merged = Vec::new();
    for folder in folders {
        let place = folder.join(name);
        let Ok(meta) = fs::symlink_metadata(&place) else {
            continue;
        };
        let kind = meta.file_type();
        if kind.is_dir() {
            let opaque = is_opaque(&place);
            merged.push(place);
            if opaque {
                break;
            }
            continue;
        }
        if !merged.is_empty() || (kind.is_char_device() && meta.rdev() == 0) {
            // Hidden by a folder above, or the mark that the name is gone.
            break;
        }
        return Some(if kind.is_symlink() {
            Node::Link(fs::read_link(&place).ok()?.to_str()?.to_owned())
        } else if kind.is_file() {
            Node::File(place)
        } else {
            Node::Other
        });
    }
    (!merged.is_empty()).then_some(Node::Folder(merged))
}

/// Whether a folder hides those of its name below it.
fn is_opaque(folder: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| {
            let mut value = [0; 1];
            rustix::fs::lgetxattr(folder, *name, &mut value[..]).is_ok_and(|length| value[..length] == *b"y")
        })
}

fn list(folders: &[PathBuf]) -> io::Result<BTreeMap<String, Node>> {
    let mut names = BTreeSet::new();
    for folder in folders {
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
    }
    Ok(names
        .into_iter()
        .filter_map(|name| {
            let node = child(folders, &name)?;
            Some((name, node))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(root: &Path) -> ImageTree {
        let (low, high) = (root.join("low"), root.join("high"));
        for folder in ["low/usr/bin", "low/etc/old", "high/usr/bin", "high/etc"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(low.join("usr/bin/python3.11"), "low").unwrap();
        fs::write(low.join("usr/bin/other"), "low").unwrap();
        fs::write(low.join("etc/old/file"), "old").unwrap();
        symlink("/usr/bin/python3.11", low.join("usr/bin/python3")).unwrap();
        symlink("usr/bin", low.join("bin")).unwrap();
        symlink("../../../../../../etc/passwd", high.join("usr/bin/evil")).unwrap();
        symlink("loop", high.join("usr/bin/loop")).unwrap();
        fs::write(high.join("usr/bin/other"), "high").unwrap();
        let device = rustix::fs::makedev(0, 0);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            high.join("etc/old"),
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::empty(),
            device,
        )
        .unwrap();
        ImageTree::new(vec![low, high])
    }

    #[test]
    fn layers_are_merged_and_links_stay_inside() {
        let root = tempfile::tempdir().unwrap();
        let tree = tree(root.path());
        assert_eq!(tree.file("/bin/python3").unwrap().0, "/usr/bin/python3.11");
        assert_eq!(tree.text("usr/bin/other", 10).as_deref(), Some("high"));
        assert_eq!(tree.text("usr/bin/other", 3), None, "over the limit");
        assert_eq!(
            tree.find("/usr/bin/evil"),
            None,
            "the machine has one, the image none"
        );
        assert_eq!(tree.find("/usr/bin/loop"), None);
        assert_eq!(tree.find("/etc/old/file"), None, "taken away by the upper layer");
        let names: Vec<String> = tree.list("/usr/bin").unwrap().into_keys().collect();
        assert_eq!(names, ["evil", "loop", "other", "python3", "python3.11"]);
        assert_eq!(tree.find("/").unwrap().path, "");
        assert!(tree.is_open_to_all("/bin/python3"));
    }
}
