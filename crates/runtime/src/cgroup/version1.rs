//! Control groups, version 1: a group in each controller's hierarchy.

use super::{CgroupError, Statistics, field, make, number, write};
use crate::spec::{Devices, Limits};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What may be used of devices: any node may be made (CAP_MKNOD decides), these may be opened.
const DEVICES: [&str; 10] = [
    "c *:* m",
    "b *:* m", // nodes
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm", // null zero full random urandom
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm", // tty ptmx pts
];

pub(super) fn create(
    directories: &[&Path],
    controllers: &BTreeMap<String, PathBuf>,
    limits: &Limits,
    devices: &Devices,
) -> Result<(), CgroupError> {
    for directory in directories {
        make(directory)?;
    }
    set(controllers, limits, None)?;
    if let Some(group) = controllers.get("devices").filter(|_| !devices.all) {
        write(&group.join("devices.deny"), "a")?;
        for device in DEVICES {
            write(&group.join("devices.allow"), device)?;
        }
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        for rule in devices.nodes.iter().map(|node| &node.rule).chain(&devices.rules) {
            let kind = if rule.block { "b" } else { "c" };
            let (major, minor) = (number(rule.major), number(rule.minor));
            let text = format!("{kind} {major}:{minor} {}", rule.access);
            write(&group.join("devices.allow"), &text)?;
        }
    }
    Ok(())
}

/// Sets the limits of groups that exist; what is not asked for stays as it is.
pub(super) fn set(
    controllers: &BTreeMap<String, PathBuf>,
    limits: &Limits,
    before: Option<&Limits>,
) -> Result<(), CgroupError> {
    if let Some(group) = controllers.get("memory") {
        set_memory(group, limits, before)?;
    }
    if let Some(group) = controllers.get("cpu") {
        if let Some((quota, period)) = limits.quota() {
            write(&group.join("cpu.cfs_period_us"), &period.to_string())?;
            write(&group.join("cpu.cfs_quota_us"), &quota.to_string())?;
        }
        if let Some(shares @ 1..) = limits.cpu_shares {
            write(&group.join("cpu.shares"), &shares.to_string())?;
        }
        set_real_time(group, limits)?;
    }
    if let Some(group) = controllers.get("blkio") {
        for (file, line) in limits.disk.version1(group)? {
            write(&file, &line)?;
        }
    }
    if let (Some(pids), Some(group)) = (limits.pids, controllers.get("pids"))
        && (pids > 0 || before.is_some())
    {
        let text = if pids > 0 {
            pids.to_string()
        } else {
            "max".to_owned()
        };
        write(&group.join("pids.max"), &text)?;
    }
    if let Some(group) = controllers.get("cpuset").filter(|_| limits.has_cpuset()) {
        for (name, asked) in [
            ("cpuset.cpus", &limits.cpuset_cpus),
            ("cpuset.mems", &limits.cpuset_mems),
        ] {
            if asked.is_empty() {
                inherit(group, name)?;
            } else {
                inherit_above(group, name)?;
                write(&group.join(name), asked)?;
            }
        }
    }
    Ok(())
}

/// A new group has no processors and no memory nodes, and takes no process before it has.
fn inherit(group: &Path, name: &str) -> Result<(), CgroupError> {
    inherit_above(group, name)?;
    let read = |path: &Path| std::fs::read_to_string(path.join(name)).unwrap_or_default();
    if !read(group).trim().is_empty() {
        return Ok(());
    }
    let above = group.parent().map(read).unwrap_or_default();
    write(&group.join(name), above.trim())
}

fn inherit_above(group: &Path, name: &str) -> Result<(), CgroupError> {
    match group.parent().filter(|parent| parent.join(name).exists()) {
        Some(parent) if std::fs::read_to_string(parent.join(name)).is_ok_and(|t| t.trim().is_empty()) => {
            inherit(parent, name)
        }
        _ => Ok(()),
    }
}

/// Time for processes of a real-time class: a group has none unless the one above it has as much to give.
fn set_real_time(group: &Path, limits: &Limits) -> Result<(), CgroupError> {
    const RUNTIME: &str = "cpu.rt_runtime_us";
    if let Some(period @ 1..) = limits.cpu_rt_period {
        write(&group.join("cpu.rt_period_us"), &period.to_string())?;
    }
    let Some(runtime @ 1..) = limits.cpu_rt_runtime else {
        return Ok(());
    };
    if let Some(above) = group.parent() {
        let beside = std::fs::read_dir(above).into_iter().flatten().flatten();
        let given: u64 = beside
            .filter(|entry| entry.path() != group)
            .filter_map(|entry| number(&entry.path().join(RUNTIME)))
            .sum();
        let wanted = given.saturating_add(runtime);
        if number(&above.join(RUNTIME)).is_some_and(|has| has < wanted) {
            write(&above.join(RUNTIME), &wanted.to_string())?;
        }
    }
    // Groups that are gone count for a moment longer.
    for _ in 0..16 {
        match write(&group.join(RUNTIME), &runtime.to_string()) {
            Err(error) if error.error.raw_os_error() == Some(libc::EINVAL) => {
                let Some(above) = group.parent().map(|above| above.join(RUNTIME)) else {
                    return Err(error);
                };
                let has = number(&above).unwrap_or_default();
                write(&above, &has.saturating_add(runtime).to_string()).map_err(|_| error)?;
            }
            other => return other,
        }
    }
    write(&group.join(RUNTIME), &runtime.to_string())
}

fn set_memory(group: &Path, limits: &Limits, before: Option<&Limits>) -> Result<(), CgroupError> {
    if let Some(memory) = limits.memory {
        let most = ("memory.limit_in_bytes", memory.to_string());
        let both = limits
            .both()
            .map(|both| ("memory.memsw.limit_in_bytes", both.to_string()));
        let both = both.filter(|(name, _)| group.join(name).exists());
        // Neither may be on the wrong side of the other on the way.
        let grows = before.is_some_and(|before| before.memory.is_some_and(|old| old < memory));
        let mut settings = vec![most];
        settings.extend(both);
        if grows {
            settings.reverse();
        }
        for (name, value) in settings {
            write(&group.join(name), &value)?;
        }
    }
    if let Some(bytes) = limits.memory_reservation {
        write(&group.join("memory.soft_limit_in_bytes"), &bytes.to_string())?;
    }
    if let Some(number) = limits.memory_swappiness {
        write(&group.join("memory.swappiness"), &number.to_string())?;
    }
    if limits.oom_kill_disable {
        write(&group.join("memory.oom_control"), "1")?;
    }
    Ok(())
}

pub(super) fn statistics(controllers: &BTreeMap<String, PathBuf>) -> Statistics {
    let read = |controller: &str, name: &str| number(&controllers.get(controller)?.join(name));
    let cache = controllers
        .get("memory")
        .and_then(|group| field(&group.join("memory.stat"), "total_inactive_file"))
        .unwrap_or_default();
    Statistics {
        memory: read("memory", "memory.usage_in_bytes")
            .unwrap_or_default()
            .saturating_sub(cache),
        // "No limit" is a number near the largest.
        memory_limit: read("memory", "memory.limit_in_bytes").filter(|limit| *limit < 1 << 60),
        cpu: read("cpuacct", "cpuacct.usage").unwrap_or_default(),
        pids: read("pids", "pids.current").unwrap_or_default(),
    }
}
