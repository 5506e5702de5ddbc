//! Where coil keeps things: the data root, and the folder of live state that belongs to it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use coil_oci::Digest;

use crate::environment::Environment;
use crate::report::Failure;

/// The machine's own data root.
const MACHINE_ROOT: &str = "/var/lib/coil";

/// The data root: the flag, `COIL_ROOT`, the machine's own for root, the user's own for a user.
///
/// Gives it absolute, and whether it is the one that is used when nothing is said.
///
/// # Errors
/// When nothing says where a user's files are.
pub fn data_root(
    flag: Option<&Path>,
    environment: &Environment,
    uid: u32,
) -> Result<(PathBuf, bool), Failure> {
    let usual = match uid {
        0 => Some(PathBuf::from(MACHINE_ROOT)),
        _ => environment
            .absolute_path("XDG_DATA_HOME")
            .or_else(|| environment.home().map(|home| home.join(".local/share")))
            .map(|data| data.join("coil")),
    };
    let said = flag.map(Path::to_owned).or_else(|| environment.path("COIL_ROOT"));
    let Some(root) = said.or_else(|| usual.clone()) else {
        return Err(
            Failure::new("there is no place for images: HOME is not set").help("give one with `--root DIR`")
        );
    };
    let root = settled(&root);
    let is_usual = usual.is_some_and(|usual| settled(&usual) == root);
    Ok((root, is_usual))
}

/// One spelling of a path, whatever links and dots lead to it; what isn't there yet is taken as it is written.
fn settled(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for parent in path.ancestors() {
        if let Ok(real) = parent.canonicalize() {
            return match path.strip_prefix(parent) {
                Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
                _ => real,
            };
        }
    }
    path
}

/// The folder of live state of a data root; a reboot empties it.
///
/// # Errors
/// When a user has no folder for it that is theirs alone.
pub fn run_root(root: &Path, environment: &Environment, uid: u32) -> Result<PathBuf, Failure> {
    let digest = Digest::of(root.as_os_str().as_encoded_bytes());
    let name = &digest.hex()[..8];
    if uid == 0 {
        return Ok(Path::new("/run/coil").join(name));
    }
    if let Some(runtime) = environment
        .absolute_path("XDG_RUNTIME_DIR")
        .filter(|folder| is_private(folder))
    {
        return Ok(runtime.join("coil").join(name));
    }
    let folder = PathBuf::from(format!("/tmp/coil-{uid}"));
    let refused = |reason: String| {
        Failure::new(format!(
            "{} cannot hold the state of containers\n  caused by: {reason}",
            folder.display()
        ))
        .help("remove it, or set XDG_RUNTIME_DIR to a folder of yours that others can't read")
    };
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(refused(error.to_string())),
        _ => {}
    }
    if !is_private(&folder) {
        return Err(refused(
            "it belongs to another user, or others may enter it".into(),
        ));
    }
    Ok(folder.join(name))
}

/// Whether a folder is the user's own, as this process sees it, no link, and closed to others.
fn is_private(folder: &Path) -> bool {
    let own = coil_sys::process::effective_uid();
    fs::symlink_metadata(folder)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == own && meta.mode() & 0o077 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_variable_over_the_usual_place() {
        let environment = Environment::of(&[("COIL_ROOT", "/nowhere/a"), ("HOME", "/nowhere/home")]);
        let flag = Path::new("/nowhere/b/../c");
        assert_eq!(
            data_root(Some(flag), &environment, 0).expect("a root").0,
            Path::new("/nowhere/b/../c")
        );
        assert_eq!(
            data_root(None, &environment, 0).expect("a root"),
            ("/nowhere/a".into(), false)
        );
        let environment = Environment::of(&[("HOME", "/nowhere/home")]);
        assert!(data_root(None, &environment, 0).expect("a root").1);
        let user = data_root(None, &environment, 7).expect("a root");
        assert_eq!(user, ("/nowhere/home/.local/share/coil".into(), true));
        let environment = Environment::of(&[("HOME", "/h"), ("XDG_DATA_HOME", "/nowhere/data")]);
        assert_eq!(
            data_root(None, &environment, 7).expect("a root").0,
            Path::new("/nowhere/data/coil")
        );
        assert!(data_root(None, &Environment::default(), 7).is_err());
    }
}
