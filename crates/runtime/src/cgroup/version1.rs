//! Control groups, version 1: a group in each controller's hierarchy.

use super::{CgroupError, Statistics, field, make, number, write};
use crate::spec::Limits;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One scheduling period in microseconds.
const PERIOD: u64 = 100_000;

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
) -> Result<(), CgroupError> {
    for directory in directories {
        make(directory)?;
    }
    if let (Some(memory), Some(group)) = (limits.memory, controllers.get("memory")) {
        write(&group.join("memory.limit_in_bytes"), &memory.to_string())?;
        let both = group.join("memory.memsw.limit_in_bytes");
        if both.exists() {
            let swap = limits
                .memory_swap
                .unwrap_or_else(|| i64::try_from(memory.saturating_mul(2)).unwrap_or(-1));
            write(&both, &swap.to_string())?;
        }
    }
    if let (Some(milli), Some(group)) = (limits.cpus_milli, controllers.get("cpu")) {
        write(&group.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
        write(
            &group.join("cpu.cfs_quota_us"),
            &(milli * PERIOD / 1000).max(1000).to_string(),
        )?;
    }
    if let (Some(pids @ 1..), Some(group)) = (limits.pids, controllers.get("pids")) {
        write(&group.join("pids.max"), &pids.to_string())?;
    }
    if let Some(group) = controllers.get("devices") {
        write(&group.join("devices.deny"), "a")?;
        for device in DEVICES {
            write(&group.join("devices.allow"), device)?;
        }
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
