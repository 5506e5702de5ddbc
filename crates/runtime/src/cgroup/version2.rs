//! Control groups, version 2: one group in the one hierarchy.

use super::{CgroupError, Statistics, device_filter, field, make, number, write};
use crate::spec::Limits;
use coil_sys::{file, privilege, process};
use std::collections::BTreeSet;
use std::path::Path;

/// One scheduling period in microseconds.
const PERIOD: u64 = 100_000;

pub(super) fn create(
    group: &Path,
    controllers: &BTreeSet<String>,
    depth: usize,
    limits: &Limits,
) -> Result<(), CgroupError> {
    make(group)?;
    // A controller must be switched on in each group above; the topmost first.
    let mut above: Vec<&Path> = group.ancestors().skip(1).take(depth).collect();
    above.reverse();
    for directory in above {
        let control = directory.join("cgroup.subtree_control");
        let on = std::fs::read_to_string(&control).unwrap_or_default();
        let on: BTreeSet<&str> = on.split_ascii_whitespace().collect();
        for controller in controllers.iter().filter(|c| !on.contains(c.as_str())) {
            // One that can't be switched on is missed below, where a limit needs it.
            let _ = write(&control, &format!("+{controller}"));
        }
    }
    let set = |controller: &str, name: &str, value: String| {
        if controllers.contains(controller) {
            write(&group.join(name), &value)
        } else {
            Ok(())
        }
    };
    if let Some(memory) = limits.memory {
        set("memory", "memory.max", memory.to_string())?;
        let swap = match limits.memory_swap {
            Some(..0) => "max".to_owned(),
            Some(both) => u64::try_from(both)
                .unwrap_or(memory)
                .saturating_sub(memory)
                .to_string(),
            None => memory.to_string(),
        };
        if group.join("memory.swap.max").exists() {
            set("memory", "memory.swap.max", swap)?;
        }
    }
    if let Some(milli) = limits.cpus_milli {
        set(
            "cpu",
            "cpu.max",
            format!("{} {PERIOD}", (milli * PERIOD / 1000).max(1000)),
        )?;
    }
    if let Some(pids @ 1..) = limits.pids {
        set("pids", "pids.max", pids.to_string())?;
    }
    if process::effective_uid() == 0 && process_is_host_root() {
        let failed = |error| CgroupError {
            path: group.to_owned(),
            value: Some("a device filter".to_owned()),
            error,
        };
        let directory = file::open(group, libc::O_RDONLY | libc::O_DIRECTORY).map_err(failed)?;
        privilege::attach_device_program(directory, &device_filter::program()).map_err(failed)?;
    }
    Ok(())
}

/// Root of a user namespace may load no device program, and needs none: it can make no device nodes.
fn process_is_host_root() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

pub(super) fn statistics(group: &Path) -> Statistics {
    let cache = field(&group.join("memory.stat"), "inactive_file").unwrap_or_default();
    Statistics {
        memory: number(&group.join("memory.current"))
            .unwrap_or_default()
            .saturating_sub(cache),
        memory_limit: number(&group.join("memory.max")),
        cpu: field(&group.join("cpu.stat"), "usage_usec")
            .unwrap_or_default()
            .saturating_mul(1000),
        pids: number(&group.join("pids.current")).unwrap_or_default(),
    }
}
