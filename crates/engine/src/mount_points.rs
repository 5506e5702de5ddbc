//! What a container's mounts leave in the folder of its writes: the empty files and folders that they were put on.
//!
//! A step's writes become a layer, in which `/etc/resolv.conf` or a bound cache's folder has no place unless the step
//! itself made it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use coil_build::executor::Step;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

/// Where every container has something mounted.
pub(crate) const ALWAYS: [&str; 7] = [
    ".dockerenv",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "proc",
    "sys",
    "dev",
];

/// Paths that weren't in the root file system before the mounts.
pub(crate) struct MountPoints {
    /// Deepest first.
    missing: Vec<PathBuf>,
    /// Folders that were below and untouched, with what they looked like there; deepest first.
    untouched: Vec<(PathBuf, PathBuf)>,
}

impl MountPoints {
    /// Looks at the file system before a step.
    pub(crate) fn before(step: &Step) -> MountPoints {
        let mut missing = Vec::new();
        let mut untouched = Vec::new();
        let targets = ALWAYS.iter().map(PathBuf::from);
        let binds = step.binds.iter().map(|bind| plain(&bind.target));
        let in_memory = step.memory_folders.iter().map(|(target, _)| plain(target));
        for target in targets.chain(binds).chain(in_memory) {
            let mut path = PathBuf::new();
            for part in target.components() {
                path.push(part);
                let in_upper = step.upper.join(&path).symlink_metadata().is_ok();
                let below = step
                    .lower
                    .iter()
                    .rev()
                    .map(|layer| layer.join(&path))
                    .find(|place| place.symlink_metadata().is_ok());
                match below {
                    _ if in_upper => {}
                    None => missing.push(path.clone()),
                    Some(place) => untouched.push((path.clone(), place)),
                }
            }
        }
        missing.sort();
        missing.dedup();
        missing.reverse();
        untouched.sort();
        untouched.dedup();
        untouched.reverse();
        MountPoints { missing, untouched }
    }

    /// Removes what the mounts left in the folder of the step's writes.
    ///
    /// The step may have put links where its mount points were: no link is followed, or the host's own files would go.
    pub(crate) fn clear(&self, upper: &Path) {
        for path in &self.missing {
            let Some((folder, name)) = inside(upper, path) else {
                continue;
            };
            let Ok(data) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let kind = FileType::from_raw_mode(data.st_mode);
            if kind == FileType::Directory {
                // Not empty when the step wrote into it: then it stays.
                let _ = rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR);
            } else if kind == FileType::RegularFile && data.st_size == 0 {
                let _ = rustix::fs::unlinkat(&folder, name, AtFlags::empty());
            }
        }
        for (path, below) in &self.untouched {
            if let Some((folder, name)) = inside(upper, path)
                && same(&folder, name, below).unwrap_or(false)
            {
                let _ = rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR);
            }
        }
    }
}

/// The folder that a path's last name stands in, reached without any link, and that name.
fn inside<'a>(upper: &Path, path: &'a Path) -> Option<(OwnedFd, &'a OsStr)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(upper, flags, Mode::empty()).ok()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = match parent {
        None => root,
        Some(parent) => {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            rustix::fs::openat2(&root, parent, flags, Mode::empty(), resolve).ok()?
        }
    };
    Some((folder, path.file_name()?))
}

/// Whether a folder was only copied up, and says nothing that the one below doesn't.
fn same(folder: &OwnedFd, name: &OsStr, below: &Path) -> io::Result<bool> {
    let copy = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let below = below.symlink_metadata()?;
    let is_folder = FileType::from_raw_mode(copy.st_mode) == FileType::Directory;
    Ok(is_folder && (copy.st_mode, copy.st_uid, copy.st_gid) == (below.mode(), below.uid(), below.gid()))
}

fn plain(target: &str) -> PathBuf {
    Path::new(target)
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use coil_build::executor::StepBind;
    use coil_oci::Arch;

    #[test]
    fn what_mounts_were_put_on_goes_and_what_the_step_wrote_stays() {
        let root = std::env::temp_dir().join(format!("coil-points-{}", std::process::id()));
        let (lower, upper) = (root.join("lower"), root.join("upper"));
        fs::create_dir_all(lower.join("etc")).unwrap();
        fs::create_dir_all(&upper).unwrap();
        let mut step = Step::new(Arch::host(), vec![lower], upper.clone(), Vec::new());
        step.binds = ["/src/a", "/kept/b"]
            .map(|target| StepBind {
                source: "/".into(),
                target: target.into(),
                read_only: true,
            })
            .to_vec();
        let points = MountPoints::before(&step);
        for folder in ["etc", "proc", "dev", "src/a", "kept/b"] {
            fs::create_dir_all(upper.join(folder)).unwrap();
        }
        fs::write(upper.join("etc/hosts"), "").unwrap();
        fs::write(upper.join("kept/own"), "text").unwrap();
        points.clear(&upper);
        let left: Vec<_> = fs::read_dir(&upper)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["kept"]);
        assert!(upper.join("kept/own").exists() && !upper.join("kept/b").exists());
        // A link where a mount point was leads nowhere.
        let outside = root.join("outside");
        fs::create_dir_all(outside.join("a")).unwrap();
        std::os::unix::fs::symlink(&outside, upper.join("src")).unwrap();
        points.clear(&upper);
        assert!(outside.join("a").exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
