//! What a container's mounts leave in the folder of its writes: the empty files and folders that they were put on.
//!
//! A step's writes become a layer, in which `/etc/resolv.conf` or a bound cache's folder has no place unless the step
//! itself made it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use coil_build::executor::Step;

/// Where every container has something mounted.
const ALWAYS: [&str; 7] = [
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
    pub(crate) fn clear(&self, upper: &Path) {
        for path in &self.missing {
            let path = upper.join(path);
            let Ok(data) = path.symlink_metadata() else {
                continue;
            };
            if data.is_dir() {
                // Not empty when the step wrote into it: then it stays.
                let _ = fs::remove_dir(&path);
            } else if data.is_file() && data.len() == 0 {
                let _ = fs::remove_file(&path);
            }
        }
        for (path, below) in &self.untouched {
            let path = upper.join(path);
            if same(&path, below).unwrap_or(false) {
                let _ = fs::remove_dir(&path);
            }
        }
    }
}

/// Whether a folder was only copied up, and says nothing that the one below doesn't.
fn same(copy: &Path, below: &Path) -> io::Result<bool> {
    let (copy, below) = (copy.symlink_metadata()?, below.symlink_metadata()?);
    let facts = |data: &fs::Metadata| (data.mode(), data.uid(), data.gid());
    Ok(copy.is_dir() && facts(&copy) == facts(&below))
}

fn plain(target: &str) -> PathBuf {
    Path::new(target)
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

#[cfg(test)]
mod tests {
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
        fs::remove_dir_all(&root).unwrap();
    }
}
