//! Directory trees: written, copied, compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use coil_oci::Digest;

/// Writes files below `root`. A path that ends in `/` is an empty directory; a content that begins with `-> ` a symbolic link.
pub fn write(root: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    for (name, content) in files {
        let path = root.join(name);
        let folder = if name.ends_with('/') {
            path.as_path()
        } else {
            path.parent().expect("it is below the root")
        };
        fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        if let Some(target) = content.strip_prefix("-> ") {
            symlink(target, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        } else if !name.ends_with('/') {
            fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

/// All paths below `root`, relative and sorted; directories too.
pub fn paths(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        // What goes away while we look was not there.
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path.clone());
            }
            found.push(path.strip_prefix(root).expect("it is below the root").to_owned());
        }
    }
    found.sort();
    found
}

/// Copies a tree with modes, symbolic links and modification times.
///
/// # Panics
/// When something can't be read or written.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    for path in paths(from) {
        let (source, target) = (from.join(&path), to.join(&path));
        let facts =
            fs::symlink_metadata(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        let result = if facts.is_dir() {
            fs::create_dir_all(&target)
        } else if facts.is_symlink() {
            fs::read_link(&source).and_then(|link| symlink(link, &target))
        } else {
            fs::copy(&source, &target).map(drop)
        };
        result.unwrap_or_else(|error| panic!("{}: {error}", target.display()));
        if facts.is_file() {
            let file = fs::File::options().append(true).open(&target);
            // A read-only copy keeps the time of copying: nothing depends on it.
            if let (Ok(file), Ok(modified)) = (file, facts.modified()) {
                file.set_modified(modified).expect("the copy is ours");
            }
        }
    }
}

/// Makes the same tree of hard links: files are shared and stay their owner's, directories are new.
///
/// Copies what can't be linked, or what others may not read.
///
/// # Panics
/// When something can't be read or written.
pub fn link(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    for path in paths(from) {
        let (source, target) = (from.join(&path), to.join(&path));
        // What another test replaces at this moment is not there for us.
        let Ok(facts) = fs::symlink_metadata(&source) else {
            continue;
        };
        if facts.is_dir() {
            fs::create_dir_all(&target).unwrap_or_else(|error| panic!("{}: {error}", target.display()));
        } else if facts.mode() & 0o004 == 0 || fs::hard_link(&source, &target).is_err() {
            let bytes = fs::read(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
            fs::write(&target, bytes).unwrap_or_else(|error| panic!("{}: {error}", target.display()));
        }
    }
}

/// Gives a whole tree to a user and group; files with several links stay whose they are.
///
/// # Panics
/// When that is not allowed: only root may.
pub fn give(root: &Path, uid: u32, gid: u32) {
    for path in paths(root)
        .iter()
        .map(|path| root.join(path))
        .chain([root.to_owned()])
    {
        let facts = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if facts.is_file() && facts.nlink() > 1 {
            continue;
        }
        lchown(&path, Some(uid), Some(gid)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// What a tree holds: for each path its kind, mode and content (a digest, or a link's target). Times and owners don't count.
pub fn contents(root: &Path) -> BTreeMap<PathBuf, String> {
    let describe = |path: &PathBuf| {
        let full = root.join(path);
        let facts = fs::symlink_metadata(&full).ok()?;
        let mode = facts.permissions().mode() & 0o7777;
        let text = if facts.is_dir() {
            format!("dir {mode:o}")
        } else if facts.is_symlink() {
            format!("link {}", fs::read_link(&full).ok()?.display())
        } else {
            format!("file {mode:o} {}", Digest::of(&fs::read(&full).ok()?))
        };
        Some((path.clone(), text))
    };
    paths(root).iter().filter_map(describe).collect()
}

/// One digest for a whole tree, as [`contents`] sees it.
pub fn digest(root: &Path) -> Digest {
    let text: Vec<String> = contents(root)
        .iter()
        .map(|(path, what)| format!("{} {what}\n", path.display()))
        .collect();
    Digest::of(text.concat().as_bytes())
}

/// The bytes of disk that a tree takes.
pub fn disk_usage(root: &Path) -> u64 {
    paths(root)
        .iter()
        .filter_map(|path| fs::symlink_metadata(root.join(path)).ok())
        .map(|facts| facts.blocks() * 512)
        .sum()
}
