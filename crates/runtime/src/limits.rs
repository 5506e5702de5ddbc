//! What a container may use: memory, processors, processes.

use crate::cgroup::CgroupPlan;
use crate::disk_limits::DiskLimits;
use serde::{Deserialize, Serialize};

/// Resource limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together, -1 for no limit; twice the memory when none is given.
    pub memory_swap: Option<i64>,
    /// Bytes of memory below which nothing is taken back while others want some.
    pub memory_reservation: Option<u64>,
    /// How readily memory is swapped out, 0 to 100.
    pub memory_swappiness: Option<u64>,
    /// Whether processes wait for memory instead of being ended.
    pub oom_kill_disable: bool,
    /// Thousandths of a processor.
    pub cpus_milli: Option<u64>,
    /// The share of the processors when they are wanted by more than there are; 1024 is the rule.
    pub cpu_shares: Option<u64>,
    /// Microseconds of a scheduling period.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in each period, -1 for no limit.
    pub cpu_quota: Option<i64>,
    /// Microseconds of a period in which processes of a real-time class may run.
    pub cpu_rt_period: Option<u64>,
    /// Microseconds in each such period that they get.
    pub cpu_rt_runtime: Option<u64>,
    /// Processors, such as `0-2,5`; all when empty.
    pub cpuset_cpus: String,
    /// Memory nodes; all when empty.
    pub cpuset_mems: String,
    /// Processes and threads; 0 or -1 for no limit.
    pub pids: Option<i64>,
    /// Disks.
    pub disk: DiskLimits,
    /// Bytes of `/dev/shm`.
    pub shm_size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            memory_swap: None,
            memory_reservation: None,
            memory_swappiness: None,
            oom_kill_disable: false,
            cpus_milli: None,
            cpu_shares: None,
            cpu_period: None,
            cpu_quota: None,
            cpu_rt_period: None,
            cpu_rt_runtime: None,
            cpuset_cpus: String::new(),
            cpuset_mems: String::new(),
            pids: None,
            disk: DiskLimits::default(),
            shm_size: 64 << 20,
        }
    }
}

/// One scheduling period in microseconds.
const PERIOD: u64 = 100_000;

impl Limits {
    /// Quota and period of processor time in microseconds, quota -1 for none; nothing when nothing was asked for.
    pub fn quota(&self) -> Option<(i64, u64)> {
        let period = self.cpu_period.filter(|period| *period > 0).unwrap_or(PERIOD);
        match (self.cpus_milli, self.cpu_quota) {
            (Some(milli @ 1..), _) => {
                let quota = (milli * PERIOD / 1000).max(1000);
                Some((i64::try_from(quota).unwrap_or(-1), PERIOD))
            }
            (_, Some(quota)) if quota != 0 => Some((quota, period)),
            _ => self.cpu_period.map(|_| (-1, period)),
        }
    }

    /// Bytes of memory and swap together, where memory is limited; -1 for no limit.
    pub fn both(&self) -> Option<i64> {
        let memory = self.memory?;
        match self.memory_swap {
            Some(both) if both != 0 => Some(both),
            _ => Some(i64::try_from(memory.saturating_mul(2)).unwrap_or(-1)),
        }
    }

    /// Whether processors or memory nodes are chosen.
    pub fn has_cpuset(&self) -> bool {
        !self.cpuset_cpus.is_empty() || !self.cpuset_mems.is_empty()
    }

    /// Whether time for processes of a real-time class is asked for.
    pub fn has_real_time(&self) -> bool {
        self.cpu_rt_period.is_some_and(|period| period > 0)
            || self.cpu_rt_runtime.is_some_and(|runtime| runtime > 0)
    }

    /// The limits that can't be kept under a plan, each in words for the user.
    pub fn check(&self, plan: &CgroupPlan) -> Vec<String> {
        let asked = [
            ("memory", "--memory", self.memory.is_some()),
            (
                "memory",
                "--memory-reservation",
                self.memory_reservation.is_some(),
            ),
            (
                "cpu",
                "--cpus",
                self.cpus_milli.is_some() || self.cpu_quota.is_some(),
            ),
            ("cpu", "--cpu-shares", self.cpu_shares.is_some()),
            ("cpuset", "--cpuset-cpus", self.has_cpuset()),
            ("pids", "--pids-limit", self.pids.is_some_and(|p| p > 0)),
            (plan.disk_controller(), "a limit of disks", !self.disk.is_empty()),
        ];
        let mut notices: Vec<String> = asked
            .into_iter()
            .filter(|(_, _, asked)| *asked)
            .filter_map(|(controller, flag, _)| {
                let reason = plan.lacks(controller)?;
                Some(format!("{flag} has no effect: {reason}"))
            })
            .collect();
        if plan
            .disk_group()
            .is_some_and(|group| self.disk.lacks_weight(group))
        {
            notices.push(
                "--blkio-weight has no effect: the scheduler of the host's disks knows no shares".to_owned(),
            );
        }
        if matches!(plan, CgroupPlan::V2 { .. }) {
            for (flag, asked) in [
                ("--oom-kill-disable", self.oom_kill_disable),
                ("--memory-swappiness", self.memory_swappiness.is_some()),
            ] {
                if asked {
                    notices.push(format!(
                        "{flag} has no effect: version 2 of control groups has no such setting"
                    ));
                }
            }
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_asked_for_in_two_ways() {
        let limits = |milli, quota, period| Limits {
            cpus_milli: milli,
            cpu_quota: quota,
            cpu_period: period,
            ..Limits::default()
        };
        assert_eq!(limits(Some(1500), None, None).quota(), Some((150_000, 100_000)));
        assert_eq!(
            limits(None, Some(25_000), Some(50_000)).quota(),
            Some((25_000, 50_000))
        );
        assert_eq!(limits(None, None, None).quota(), None);
        let memory = Limits {
            memory: Some(64 << 20),
            ..Limits::default()
        };
        assert_eq!(memory.both(), Some(128 << 20));
    }
}
