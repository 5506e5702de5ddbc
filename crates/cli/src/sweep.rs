//! Ctrl-C in the middle of a pack: coil becomes a sweeper that removes what was half made.
//!
//! A signal finds other threads writing. To run `coil internal sweep` in coil's own place ends them all at one
//! moment, keeps the process number by which temporary files are known, and lets go of every lock.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use coil_sys::process;

/// How long a step's monitor may take to clear up.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be swept.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// This program.
    pub program: PathBuf,
    /// The store's folder of temporary files.
    pub temporary: PathBuf,
    /// Folders outside of the store that files are written to: the project, and those of outputs.
    pub folders: Vec<PathBuf>,
}

impl Sweep {
    /// Becomes the sweeper, which ends with this code; comes back only where that fails.
    pub fn begin(&self, code: i32) -> io::Error {
        let mut command = Command::new(&self.program);
        command
            .args(["internal", "sweep"])
            .arg(code.to_string())
            .arg(&self.temporary)
            .args(&self.folders);
        command.exec()
    }
}

/// `coil internal sweep CODE TEMPORARY FOLDER…`; gives the code back.
pub fn sweep_main(arguments: &[String]) -> i32 {
    let [code, temporary, folders @ ..] = arguments else {
        return 125;
    };
    let own = std::process::id();
    end_children(own);
    let prefix = format!("{own}-");
    for path in entries(Path::new(temporary), |name| name.starts_with(&prefix)) {
        remove(&path);
    }
    let endings = [format!(".{own}.part"), format!(".coil.lock.{own}")];
    for folder in folders {
        let ours = |name: &str| {
            name.starts_with('.') && endings.iter().any(|ending| name.ends_with(ending.as_str()))
        };
        for path in entries(Path::new(folder), ours) {
            remove(&path);
        }
    }
    code.parse().unwrap_or(125)
}

/// Ends what coil started (an interpreter that compiles, uv), so that nothing is written behind the sweeper.
fn end_children(own: u32) {
    for child in children(own) {
        // A monitor of a build step ends with the connection to us, which is closed by now, and clears up after its step.
        let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        if name.trim_end() == "coil-monitor" && ends_soon(child) {
            continue;
        }
        // A program's own helpers would go on: git's have the connections.
        let helpers = descendants(child);
        // Not waited for yet, so the number is still its own.
        if process::kill(child, 9).is_ok() {
            let _ = process::wait(child);
        }
        for helper in helpers {
            let _ = process::kill(helper, 9);
        }
    }
}

fn children(of: impl fmt::Display) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    let words = text.split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

/// The processes that a process has started, and those that they have.
fn descendants(of: i32) -> Vec<i32> {
    let mut all = children(of);
    let mut at = 0;
    while let Some(process) = all.get(at) {
        all.extend(children(*process));
        at += 1;
    }
    all
}

/// Waits for a child that is about to end; false when it takes too long.
fn ends_soon(child: i32) -> bool {
    let until = Instant::now() + PATIENCE;
    let state = || {
        let text = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
    };
    while Instant::now() < until {
        // Zombies are nobody's harm: they go with us.
        if matches!(state(), None | Some('Z' | 'X')) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

fn entries(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let ours = entries
        .flatten()
        .filter(|entry| wanted(&entry.file_name().to_string_lossy()));
    ours.map(|entry| entry.path()).collect()
}

fn remove(path: &Path) {
    if fs::remove_file(path).is_ok() || fs::remove_dir_all(path).is_ok() {
        return;
    }
    // A folder of an unpacked package may be closed for its owner.
    open_folders(path);
    let _ = fs::remove_dir_all(path);
}

fn open_folders(path: &Path) {
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_folders(&entry.path());
        }
    }
}
