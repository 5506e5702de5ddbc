//! Control groups, version 2: one group in the one hierarchy.

use super::{CgroupError, Statistics, device_filter, field, make, number, write};
use crate::spec::{Devices, Limits};
use coil_sys::{file, privilege, process};
use std::collections::BTreeSet;
use std::path::Path;

pub(super) fn create(
    group: &Path,
    controllers: &BTreeSet<String>,
    depth: usize,
    limits: &Limits,
    devices: &Devices,
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
    set(group, controllers, limits)?;
    if !devices.all && process::effective_uid() == 0 && process_is_host_root() {
        let failed = |error| CgroupError {
            path: group.to_owned(),
            value: Some("a device filter".to_owned()),
            error,
        };
        let directory = file::open(group, libc::O_RDONLY | libc::O_DIRECTORY).map_err(failed)?;
        privilege::attach_device_program(directory, &device_filter::program(devices)).map_err(failed)?;
    }
    Ok(())
}

/// Sets the limits of a group that exists; what is not asked for stays as it is.
pub(super) fn set(group: &Path, controllers: &BTreeSet<String>, limits: &Limits) -> Result<(), CgroupError> {
    let set = |controller: &str, name: &str, value: String| {
        if controllers.contains(controller) {
            write(&group.join(name), &value)
        } else {
            Ok(())
        }
    };
    if let Some(memory) = limits.memory {
        set("memory", "memory.max", memory.to_string())?;
        let swap = match limits.both() {
            Some(both @ 0..) => u64::try_from(both)
                .unwrap_or(memory)
                .saturating_sub(memory)
                .to_string(),
            _ => "max".to_owned(),
        };
        if group.join("memory.swap.max").exists() {
            set("memory", "memory.swap.max", swap)?;
        }
    }
    if let Some(bytes) = limits.memory_reservation {
        set("memory", "memory.low", bytes.to_string())?;
    }
    if let Some((quota, period)) = limits.quota() {
        let quota = if quota < 0 {
            "max".to_owned()
        } else {
            quota.to_string()
        };
        set("cpu", "cpu.max", format!("{quota} {period}"))?;
    }
    if let Some(shares @ 1..) = limits.cpu_shares {
        // From 2 to 262144 with 1024 as the rule, to 1 to 10000.
        let shares = shares.clamp(2, 262_144);
        set(
            "cpu",
            "cpu.weight",
            (1 + (shares - 2) * 9999 / 262_142).to_string(),
        )?;
    }
    if let Some(pids) = limits.pids {
        let text = if pids > 0 {
            pids.to_string()
        } else {
            "max".to_owned()
        };
        set("pids", "pids.max", text)?;
    }
    if controllers.contains("io") {
        for (file, line) in limits.disk.version2(group)? {
            write(&file, &line)?;
        }
    }
    for (name, asked) in [
        ("cpuset.cpus", &limits.cpuset_cpus),
        ("cpuset.mems", &limits.cpuset_mems),
    ] {
        if !asked.is_empty() {
            set("cpuset", name, asked.clone())?;
        }
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
