//! Facts of the kernel, the control groups and the disk.

use super::{Answer, Fact, ProbeSettings};
use crate::cgroup::{self, CgroupPlan, Facts};
use coil_sys::mount::NewFileSystem;
use coil_sys::namespace_trial::disk_space;
use coil_sys::{file, process};
use std::fs;
use std::io;
use std::path::Path;

/// The oldest kernel that coil is made for.
const OLDEST: (u32, u32) = (5, 10);
/// With less room than this a build of usual size fails, in bytes.
const LITTLE_ROOM: u64 = 2 << 30;

pub(super) fn facts(settings: &ProbeSettings) -> Vec<Fact> {
    let mut facts = vec![
        kernel(),
        control_groups(),
        seccomp(),
        process_descriptors(),
        paths(),
        mounts(),
    ];
    facts.push(erofs());
    facts.push(disk(&settings.data_root));
    facts.push(inotify());
    facts
}

pub(super) fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

fn kernel() -> Fact {
    let name = "kernel";
    let text = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    match version(&text) {
        Some(found) if found >= OLDEST => Fact::yes(name, text),
        _ => Fact::no(
            name,
            text,
            "mounts and system calls that containers are made with may be missing",
            "use Linux 5.10 or later",
        ),
    }
}

fn control_groups() -> Fact {
    let name = "control groups";
    let facts = match Facts::read() {
        Ok(facts) => facts,
        Err(error) => {
            return Fact::no(
                name,
                error.to_string(),
                "no limits on memory, CPU and processes",
                "mount /proc",
            );
        }
    };
    let mode = match (facts.version1.is_empty(), &facts.version2) {
        (true, Some(_)) => "v2",
        (true, None) => "none",
        (false, Some(_)) => "v1 and v2 (hybrid)",
        (false, None) => "v1",
    };
    let plan = cgroup::plan(&facts, "doctor");
    let lacking: Vec<&str> = ["memory", "cpu", "pids"]
        .into_iter()
        .filter(|controller| plan.lacks(controller).is_some())
        .collect();
    if lacking.is_empty() {
        return Fact::yes(name, format!("{mode}: memory, cpu and pids"));
    }
    let detail = match &plan {
        CgroupPlan::None { reason } => format!("{mode}: {reason}"),
        _ => format!("{mode}: no {}", lacking.join(", ")),
    };
    let consequence = format!("limits have no effect: {}", lacking.join(", "));
    let remedy = if mode == "v2" {
        "run as root, or log in through systemd with the controllers delegated to users (Delegate=cpu memory pids)"
    } else {
        "run as root; control groups v1 can't be delegated to users"
    };
    let fact = Fact::no(name, detail, &consequence, remedy);
    if lacking.len() < 3 {
        Fact {
            ok: Answer::Partly,
            ..fact
        }
    } else {
        fact
    }
}

fn seccomp() -> Fact {
    let name = "system call filter";
    match read("/proc/sys/kernel/seccomp/actions_avail") {
        Some(actions) if actions.contains("errno") => Fact::yes(name, "seccomp filters"),
        _ => Fact::no(
            name,
            "the kernel has no seccomp filters",
            "containers could use every system call, so coil doesn't start them",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

fn process_descriptors() -> Fact {
    let name = "process descriptors";
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    match process::pidfd_open(own) {
        Ok(_) => Fact::yes(name, "pidfd"),
        Err(error) => Fact::no(
            name,
            error.to_string(),
            "containers can't be started",
            "use Linux 5.10 or later",
        ),
    }
}

fn paths() -> Fact {
    let name = "safe paths";
    match file::open_below(
        file::here(),
        Path::new("/"),
        libc::O_PATH,
        0,
        file::resolve::IN_ROOT,
    ) {
        Ok(_) => Fact::yes(name, "openat2"),
        Err(error) => Fact::no(
            name,
            error.to_string(),
            "mounts can't be placed safely, so containers aren't started",
            "use Linux 5.10 or later; a sandbox around coil may hide openat2",
        ),
    }
}

fn mounts() -> Fact {
    let name = "mounts by descriptor";
    let new = NewFileSystem::open("tmpfs");
    // Without rights the call itself is there: EPERM comes from the check of them.
    let there = |error: &io::Error| error.raw_os_error() != Some(libc::ENOSYS);
    let attributes = read("/proc/sys/kernel/osrelease").and_then(|text| version(&text)) >= Some((5, 12));
    match (new.as_ref().map_or_else(there, |_| true), attributes) {
        (true, true) => Fact::yes(name, "fsopen, open_tree, move_mount, mount_setattr"),
        (true, false) => Fact::partly(
            name,
            "fsopen, open_tree, move_mount; no mount_setattr",
            "read-only mounts take the classic way",
            "nothing needs to be done; Linux 5.12 has it",
        ),
        (false, _) => Fact::partly(
            name,
            "fsopen is missing",
            "images of very many layers can't be mounted",
            "use Linux 5.10 or later; a sandbox around coil may hide fsopen",
        ),
    }
}

fn erofs() -> Fact {
    let name = "EROFS images";
    let known = read("/proc/filesystems").unwrap_or_default();
    if known.split_ascii_whitespace().any(|word| word == "erofs") {
        Fact::yes(name, "the kernel mounts them")
    } else {
        Fact::partly(
            name,
            "not in this kernel, or not loaded",
            "layers are kept as directories",
            "",
        )
    }
}

/// A size in the unit that people read.
fn size(bytes: u64) -> String {
    if bytes >= 1 << 30 {
        format!("{} GiB", bytes >> 30)
    } else {
        format!("{} MiB", bytes >> 20)
    }
}

fn disk(root: &Path) -> Fact {
    let name = "disk space";
    let Some(there) = root.ancestors().find(|path| path.exists()) else {
        return Fact::no(
            name,
            format!("{} is nowhere", root.display()),
            "nothing can be stored",
            "choose another --root",
        );
    };
    match disk_space(there) {
        Ok((free, whole)) => {
            let detail = format!("{} free of {} at {}", size(free), size(whole), there.display());
            if free >= LITTLE_ROOM {
                Fact::yes(name, detail)
            } else {
                Fact::partly(
                    name,
                    detail,
                    "builds and pulls may run out of room",
                    "run `coil system prune`",
                )
            }
        }
        Err(error) => Fact::no(
            name,
            format!("{}: {error}", there.display()),
            "nothing can be stored",
            "choose another --root",
        ),
    }
}

fn inotify() -> Fact {
    let name = "file watching";
    let number =
        |key: &str| read(&format!("/proc/sys/fs/inotify/{key}")).and_then(|text| text.parse::<u64>().ok());
    match (number("max_user_watches"), number("max_user_instances")) {
        (Some(watches), Some(instances)) if watches >= 8192 && instances >= 16 => {
            Fact::yes(name, format!("inotify: {watches} watches, {instances} instances"))
        }
        (Some(watches), Some(instances)) => Fact::partly(
            name,
            format!("inotify: {watches} watches, {instances} instances"),
            "large projects can't be watched whole",
            "raise the sysctls fs.inotify.max_user_watches and fs.inotify.max_user_instances",
        ),
        _ => Fact::no(
            name,
            "no inotify",
            "`coil watch` sees no changes",
            "use a kernel with CONFIG_INOTIFY_USER",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions() {
        assert_eq!(version("6.18.44-x86"), Some((6, 18)));
        assert_eq!(version("5.10"), Some((5, 10)));
        assert_eq!(version("generic"), None);
        assert!(version("5.4.0-150-generic").unwrap() < OLDEST);
    }

    #[test]
    fn sizes() {
        assert_eq!(size(5 << 30), "5 GiB");
        assert_eq!(size(700 << 20), "700 MiB");
    }
}
