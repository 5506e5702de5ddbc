//! What a container must not leave behind: mounts, processes, cgroups, links, listeners, packet rules, run directories.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::waiting::PATIENCE;

/// What of coil's making stands on the machine at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traces {
    found: BTreeSet<String>,
}

impl Traces {
    /// Looks for mounts and processes that mention one of `paths`, and for all control groups, links and packet rules of coil's.
    ///
    /// `paths` are a context's own directory and its data root.
    pub fn of(paths: &[&Path]) -> Self {
        let words: Vec<String> = paths
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        let mut found = BTreeSet::new();
        mounts(&words, &mut found);
        processes(&words, &mut found);
        control_groups(Path::new("/sys/fs/cgroup"), 0, &mut found);
        links(&mut found);
        packet_rules(&mut found);
        run_directories(&mut found);
        Self { found }
    }

    /// Waits until nothing is there that was not there `before`.
    ///
    /// # Panics
    /// When something stays, naming it.
    pub fn none_since(before: &Self, paths: &[&Path]) {
        let deadline = std::time::Instant::now() + PATIENCE / 8;
        loop {
            let now = Self::of(paths);
            let left: Vec<_> = now.found.difference(&before.found).collect();
            if left.is_empty() {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "left behind: {left:#?}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn mounts(words: &[String], found: &mut BTreeSet<String>) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let ours = table
        .lines()
        .filter(|line| words.iter().any(|word| line.contains(word.as_str())));
    found.extend(ours.map(|line| format!("mount {line}")));
}

fn processes(words: &[String], found: &mut BTreeSet<String>) {
    let own = std::process::id().to_string();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid == own || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // A process that ends while we look gives empty strings.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let (command, environment) = (
            String::from_utf8_lossy(&command),
            String::from_utf8_lossy(&environment),
        );
        if words
            .iter()
            .any(|word| command.contains(word.as_str()) || environment.contains(word.as_str()))
        {
            found.insert(format!("process {pid} {}", command.replace('\0', " ")));
        }
    }
}

/// Control groups with `coil` in their path, in every hierarchy.
fn control_groups(folder: &Path, depth: u32, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        // The folder that holds the containers' groups may stay; a group in it may not.
        let parent = folder.to_string_lossy();
        if parent.contains("coil") {
            found.insert(format!("control group {}", path.display()));
        }
        if depth < 6 {
            control_groups(&path, depth + 1, found);
        }
    }
}

fn links(found: &mut BTreeSet<String>) {
    for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains("coil") || name.starts_with("veth") {
            found.insert(format!("link {name}"));
        }
    }
}

fn packet_rules(found: &mut BTreeSet<String>) {
    let program = ["/usr/sbin/nft", "/sbin/nft"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(program) = program else { return };
    // Only root may list; an ordinary user has no rules to leave.
    if let Ok(output) = Command::new(program).args(["list", "tables"]).output() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        found.extend(
            text.lines()
                .filter(|line| line.contains("coil"))
                .map(|line| format!("nft {line}")),
        );
    }
}

/// `/run/coil/ROOT/CONTAINER` folders: live state, gone with the container.
fn run_directories(found: &mut BTreeSet<String>) {
    for root in fs::read_dir("/run/coil").into_iter().flatten().flatten() {
        for entry in fs::read_dir(root.path()).into_iter().flatten().flatten() {
            if entry.path().join("control.sock").exists() {
                found.insert(format!("run directory {}", entry.path().display()));
            }
        }
    }
}
