//! What time, chance and the machine left in a new system, taken away.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Folders that are emptied: what is in them is made again when it is wanted.
const EMPTIED: [&str; 10] = [
    "dev",
    "tmp",
    "var/cache/apt/archives/partial",
    "var/lib/apt/lists",
    "var/lib/apt/lists/partial",
    "var/lib/apt/periodic",
    "var/lib/dpkg/updates",
    "var/lib/systemd/deb-systemd-helper-enabled/.cache",
    "var/lib/systemd/deb-systemd-user-helper-enabled/.cache",
    "var/tmp",
];

/// Files that tell of this machine or of the moment, or that are the state before the last one.
const REMOVED: [&str; 20] = [
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/hostname",
    "etc/passwd-",
    "etc/resolv.conf",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/passwords.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/available-old",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/statoverride-old",
    "var/lib/dpkg/status-old",
];

/// Takes it away; `epoch` is the time that takes the place of all others, in seconds since 1970.
///
/// # Errors
/// What the disk gives.
pub(super) fn normalise(folder: &Path, epoch: u64, is_base: bool) -> io::Result<()> {
    for name in EMPTIED {
        empty(&folder.join(name))?;
    }
    for name in REMOVED {
        remove(&folder.join(name))?;
    }
    remove(&folder.join(".coil"))?;
    let machine_id = folder.join("etc/machine-id");
    if is_file(&machine_id) {
        fs::write(machine_id, "")?;
    }
    for name in ["etc/shadow", "etc/gshadow"] {
        let path = folder.join(name);
        if is_file(&path) && name == "etc/shadow" {
            let text = fs::read_to_string(&path)?;
            // Into the same file, which keeps its owner and mode.
            fs::write(path, with_day(&text, epoch / 86_400))?;
        }
    }
    logs(&folder.join("var/log"))?;
    run_folder(&folder.join("run"), is_base)
}

/// A shadow file whose passwords were all last changed on one day.
fn with_day(text: &str, day: u64) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        if let Some(changed) = fields.get_mut(2)
            && !changed.is_empty()
        {
            *changed = day.to_string();
        }
        out.push_str(&fields.join(":"));
        out.push('\n');
    }
    out
}

/// Logs of the installation go; those that programs expect to find are empty.
fn logs(folder: &Path) -> io::Result<()> {
    for path in entries(folder)? {
        let meta = fs::symlink_metadata(&path)?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if meta.is_dir() {
            logs(&path)?;
        } else if meta.is_file() {
            if ["btmp", "faillog", "lastlog", "wtmp"].contains(&name.as_str()) {
                fs::OpenOptions::new().write(true).truncate(true).open(&path)?;
            } else {
                fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

/// Of `/run` folders stay, where an image has them for its own program.
fn run_folder(folder: &Path, is_base: bool) -> io::Result<()> {
    for path in entries(folder)? {
        let meta = fs::symlink_metadata(&path)?;
        let is_gone = meta.file_type().is_char_device() && meta.rdev() == 0;
        if meta.is_dir() {
            let is_lock = path.file_name().is_some_and(|name| name == "lock");
            if is_base && !is_lock {
                fs::remove_dir_all(&path)?;
            } else {
                run_folder(&path, is_base)?;
            }
        } else if !is_gone {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

fn entries(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    match fs::symlink_metadata(folder) {
        Ok(meta) if meta.is_dir() => fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect(),
        _ => Ok(Vec::new()),
    }
}

fn empty(folder: &Path) -> io::Result<()> {
    for path in entries(folder)? {
        // A folder of apt's package, which is emptied by itself.
        if path.ends_with("var/lib/apt/lists/partial") {
            continue;
        }
        remove(&path)?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_have_no_day_of_their_own() {
        assert_eq!(
            with_day("root:*:20414:0:99999:7:::\nx:!:::::::\n", 3),
            "root:*:3:0:99999:7:::\nx:!:::::::\n"
        );
    }

    #[test]
    fn traces_are_gone_and_what_programs_expect_stays() {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for path in [
            "etc/machine-id",
            "var/log/lastlog",
            "var/log/dpkg.log",
            "var/log/apt/term.log",
            "run/lock/x",
            "run/other/x",
            "tmp/x",
            ".coil/run",
            "etc/passwd-",
        ] {
            put(path, "something");
        }
        put("etc/shadow", "root:*:20000:0:99999:7:::\n");
        normalise(folder.path(), 86_400 * 9, true).unwrap();
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).ok();
        assert_eq!(read("etc/machine-id").as_deref(), Some(""));
        assert_eq!(read("var/log/lastlog").as_deref(), Some(""));
        assert_eq!(read("etc/shadow").as_deref(), Some("root:*:9:0:99999:7:::\n"));
        for gone in [
            "var/log/dpkg.log",
            "var/log/apt/term.log",
            "run/lock/x",
            "tmp/x",
            "etc/passwd-",
        ] {
            assert!(read(gone).is_none(), "{gone}");
        }
        assert!(folder.path().join("run/lock").is_dir() && folder.path().join("var/log/apt").is_dir());
        assert!(!folder.path().join("run/other").exists() && !folder.path().join(".coil").exists());
    }
}
