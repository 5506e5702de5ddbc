//! What a container uses: memory, processors, network, disks, processes, and the files that it wrote.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use coil_runtime::cgroup::{self, CgroupPlan, Facts};

use crate::Engine;
use crate::record::Container;

/// Numbers at one moment; those of processors, network and disks grow while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// When it was looked.
    pub at: Instant,
    /// Nanoseconds of processor time.
    pub cpu: u64,
    /// Bytes of memory, without the file cache that can be dropped.
    pub memory: u64,
    /// Bytes that it may use.
    pub memory_limit: u64,
    /// Bytes that came in by the network, and went out.
    pub network: (u64, u64),
    /// Bytes that were read from disks, and written.
    pub disk: (u64, u64),
    /// Processes and threads.
    pub pids: u64,
}

impl Usage {
    /// Percent of one processor since an earlier look.
    pub fn cpu_percent(&self, before: &Usage) -> f64 {
        let passed = self.at.duration_since(before.at).as_nanos();
        if passed == 0 {
            return 0.0;
        }
        self.cpu.saturating_sub(before.cpu) as f64 / passed as f64 * 100.0
    }

    /// Percent of the memory that it may use.
    pub fn memory_percent(&self) -> f64 {
        if self.memory_limit == 0 {
            return 0.0;
        }
        self.memory as f64 / self.memory_limit as f64 * 100.0
    }
}

impl Engine {
    /// What a container uses now; nothing when it doesn't run.
    pub fn usage(&self, container: &Container) -> Option<Usage> {
        if !container.is_running() {
            return None;
        }
        let plan = groups(container);
        let mut statistics = plan.statistics();
        let processes = self.processes(container);
        if matches!(plan, CgroupPlan::None { .. }) {
            // No group counts for an ordinary user: its processes do, as they are now.
            statistics.pids = processes.len() as u64;
            for pid in &processes {
                statistics.memory += resident(*pid);
                statistics.cpu += processor_time(*pid);
            }
        }
        let host = total_memory();
        Some(Usage {
            at: Instant::now(),
            cpu: statistics.cpu,
            memory: statistics.memory,
            memory_limit: statistics
                .memory_limit
                .filter(|limit| *limit < host)
                .unwrap_or(host),
            network: network(container.state.pid),
            disk: disk(&plan, &processes),
            pids: statistics.pids.max(processes.len() as u64),
        })
    }

    /// The numbers of a container's processes, as the host counts them.
    pub fn processes(&self, container: &Container) -> BTreeSet<i32> {
        if !container.is_running() {
            return BTreeSet::new();
        }
        let mut found = match groups(container) {
            CgroupPlan::None { .. } => descendants(container.state.pid),
            plan => plan.processes(),
        };
        if container.state.pid > 0 {
            found.insert(container.state.pid);
        }
        found
    }
}

impl Container {
    /// The bytes that were written in it.
    pub fn written_bytes(&self) -> u64 {
        bytes_below(&self.dir.join("upper"))
    }
}

fn groups(container: &Container) -> CgroupPlan {
    let facts = Facts::read().unwrap_or_default();
    let record = &container.record;
    cgroup::plan_for(&facts, &record.options.cgroup_parent, &record.id, &record.limits)
}

/// A process and all that came of it.
fn descendants(first: i32) -> BTreeSet<i32> {
    let parents: Vec<(i32, i32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, stat(pid)?.first()?.parse().ok()?))
        })
        .collect();
    let mut found = BTreeSet::from([first]);
    loop {
        let before = found.len();
        let children = parents.iter().filter(|(_, parent)| found.contains(parent));
        let children: Vec<i32> = children.map(|(pid, _)| *pid).collect();
        found.extend(children);
        if found.len() == before {
            return found;
        }
    }
}

/// The fields of `/proc/PID/stat` from the parent's number on (proc(5): field 4).
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let (_, behind) = text.rsplit_once(')')?;
    Some(behind.split_whitespace().skip(1).map(str::to_owned).collect())
}

/// Nanoseconds: the kernel counts in hundredths of a second here.
fn processor_time(pid: i32) -> u64 {
    let ticks = |fields: &[String], at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    stat(pid)
        .and_then(|fields| Some(ticks(&fields, 10)? + ticks(&fields, 11)?))
        .map_or(0, |ticks| ticks * 10_000_000)
}

fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    kilobytes(&status, "RssAnon:") + kilobytes(&status, "RssShmem:")
}

/// The bytes of a `Name: 12 kB` line.
fn kilobytes(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(0, |number| number * 1024)
}

/// The machine's memory in bytes.
pub fn total_memory() -> u64 {
    kilobytes(
        &fs::read_to_string("/proc/meminfo").unwrap_or_default(),
        "MemTotal:",
    )
}

/// All interfaces but the loopback one.
fn network(pid: i32) -> (u64, u64) {
    traffic(&fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

fn traffic(text: &str) -> (u64, u64) {
    let mut total = (0, 0);
    for line in text.lines().skip(2) {
        let Some((name, numbers)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map(|number| number.parse().unwrap_or(0))
            .collect();
        total.0 += numbers.first().unwrap_or(&0);
        total.1 += numbers.get(8).unwrap_or(&0);
    }
    total
}

/// By the group where it counts, else by the processes that live.
fn disk(plan: &CgroupPlan, processes: &BTreeSet<i32>) -> (u64, u64) {
    if let CgroupPlan::V2 { group, .. } = plan
        && let Ok(text) = fs::read_to_string(group.join("io.stat"))
    {
        return group_disk(&text);
    }
    let mut total = (0, 0);
    for pid in processes {
        let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        total.0 += number("read_bytes:");
        total.1 += number("write_bytes:");
    }
    total
}

/// `8:0 rbytes=1 wbytes=2 …` for each device.
fn group_disk(text: &str) -> (u64, u64) {
    let sum = |name: &str| {
        text.split_whitespace()
            .filter_map(|word| word.strip_prefix(name))
            .filter_map(|number| number.parse::<u64>().ok())
            .sum()
    };
    (sum("rbytes="), sum("wbytes="))
}

/// The bytes of the files below a folder; a file with several names counts once for each.
fn bytes_below(folder: &Path) -> u64 {
    let mut total = 0;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() {
                open.push(entry.path());
            } else if data.is_file() || data.is_symlink() {
                total += data.size();
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_of_all_interfaces_but_the_loopback() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  \
                    eth0: 100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n  eth1:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(traffic(text), (101, 22));
        assert_eq!(
            group_disk("8:0 rbytes=5 wbytes=7 rios=1\n8:16 rbytes=1 wbytes=0\n"),
            (6, 7)
        );
        assert_eq!(kilobytes("A: 1 kB\nMemTotal:     12 kB\n", "MemTotal:"), 12_288);
    }

    #[test]
    fn the_processor_share_is_of_one() {
        let start = Instant::now();
        let usage = |milliseconds: u64, cpu: u64| Usage {
            at: start + std::time::Duration::from_millis(milliseconds),
            cpu,
            memory: 1,
            memory_limit: 4,
            network: (0, 0),
            disk: (0, 0),
            pids: 1,
        };
        let later = usage(100, 150_000_000);
        assert!((later.cpu_percent(&usage(0, 0)) - 150.0).abs() < 1e-9);
        assert!((later.memory_percent() - 25.0).abs() < 1e-9);
        assert!(usage(0, 5).cpu_percent(&usage(0, 0)).abs() < 1e-9);
    }

    #[test]
    fn this_process_has_descendants() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(descendants(own).contains(&own));
        assert!(resident(own) > 0);
    }
}
