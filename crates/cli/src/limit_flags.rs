//! Flags of memory, processors and processes, as `run`, `create` and `update` take them.

use coil_engine::quantity::bytes;
use std::path::Path;

use clap::Args;
use coil_engine::{DiskLimits, Limits, UpdateRequest};

use crate::output;
use crate::quantity;
use crate::report::Failure;

/// What a container may use.
#[derive(Debug, Args)]
pub struct LimitFlags {
    /// The most memory it gets, such as 512m
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// The most memory and swap together; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Memory that it keeps when others want some
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// The most processors it gets, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Its share of the processors when they are short; 1024 is the rule
    #[arg(short, long, value_name = "NUMBER")]
    cpu_shares: Option<u64>,
    /// Microseconds of a scheduling period
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    /// Microseconds of processor time in each period
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Microseconds of a period in which processes of a real-time class may run
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<u64>,
    /// Microseconds in each such period that they get
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_runtime: Option<u64>,
    /// Its share of the disks, 10 to 1000
    #[arg(long, value_name = "NUMBER")]
    blkio_weight: Option<u16>,
    /// Docker's old limit of the kernel's memory, which kernels no longer have
    #[arg(long, value_name = "SIZE", hide = true)]
    kernel_memory: Option<String>,
    /// The processors it runs on, such as 0-2,5
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// The memory nodes it uses
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// The most processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
}

impl LimitFlags {
    /// Whether the limit is named that kernels no longer have.
    pub fn names_kernel_memory(&self) -> bool {
        self.kernel_memory.is_some()
    }

    /// What a new container gets.
    ///
    /// # Errors
    /// When a value is no number, or two contradict each other.
    pub fn limits(&self) -> Result<Limits, Failure> {
        let change = self.change()?;
        Ok(Limits {
            memory: change.memory,
            memory_swap: change.memory_swap,
            memory_reservation: change.memory_reservation,
            cpus_milli: change.cpus_milli,
            cpu_shares: change.cpu_shares,
            cpu_period: change.cpu_period,
            cpu_quota: change.cpu_quota,
            cpuset_cpus: change.cpuset_cpus.unwrap_or_default(),
            cpuset_mems: change.cpuset_mems.unwrap_or_default(),
            pids: change.pids,
            cpu_rt_period: change.cpu_rt_period,
            cpu_rt_runtime: change.cpu_rt_runtime,
            disk: DiskLimits {
                weight: change.disk_weight.unwrap_or(0),
                ..DiskLimits::default()
            },
            ..Limits::default()
        })
    }

    /// What a container's limits become.
    ///
    /// # Errors
    /// When a value is no number, or two contradict each other.
    pub fn change(&self) -> Result<UpdateRequest, Failure> {
        let wrong = |text: String, help: &str| Failure::new(text).help(help).code(125);
        let told = |text: String, help: &str| wrong(text, help).of_daemon();
        // Nothing of a thing is no limit, as with Docker.
        let memory = self.memory.as_deref().map(quantity::memory_flag).transpose()?;
        let memory = memory.filter(|bytes| *bytes > 0);
        let memory_swap = match self.memory_swap.as_deref() {
            None | Some("0") => None,
            Some("-1") => Some(-1),
            Some(text) => {
                let bytes = bytes(text).and_then(|bytes| i64::try_from(bytes).ok());
                Some(bytes.ok_or_else(|| {
                    wrong(format!("invalid size: '{text}'"), "give a size such as 1g, or -1")
                })?)
            }
        };
        let reservation = match self.memory_reservation.as_deref() {
            None => None,
            Some(text) => Some(
                bytes(text)
                    .ok_or_else(|| wrong(format!("invalid size: '{text}'"), "give a size such as 256m"))?,
            ),
        };
        if reservation.is_some_and(|bytes| bytes > 0 && bytes < 6 << 20) {
            return Err(told(
                "Minimum memory reservation allowed is 6MB".into(),
                "give a size such as 64m",
            ));
        }
        if let (Some(both @ 1..), Some(memory)) = (memory_swap, memory)
            && i64::try_from(memory).is_ok_and(|memory| both < memory)
        {
            return Err(told(
                "Minimum memoryswap limit should be larger than memory limit, see usage".into(),
                "--memory-swap is memory and swap together: give at least as much as --memory",
            ));
        }
        if let (Some(1..), None) = (memory_swap, memory) {
            return Err(told(
                "You should always set the Memory limit when using Memoryswap limit, see usage".into(),
                "give --memory too",
            ));
        }
        if let (Some(reservation), Some(memory)) = (reservation, memory)
            && memory < reservation
        {
            return Err(told(
                "Minimum memory limit can not be less than memory reservation limit, see usage".into(),
                "give less to --memory-reservation",
            ));
        }
        let cpus_milli = self.cpus.as_deref().map(quantity::cpus_flag).transpose()?;
        let cpus_milli = cpus_milli.filter(|milli| *milli > 0);
        if cpus_milli.is_some() && (self.cpu_quota.is_some() || self.cpu_period.is_some()) {
            return Err(told(
                "Conflicting options: Nano CPUs and CPU Period cannot both be set".into(),
                "give --cpus alone, or --cpu-quota with --cpu-period",
            ));
        }
        if self
            .cpu_period
            .is_some_and(|period| period != 0 && !(1000..=1_000_000).contains(&period))
        {
            return Err(told(
                "CPU cfs period cannot be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".into(),
                "give microseconds, such as --cpu-period 100000",
            ));
        }
        if self.cpu_quota.is_some_and(|quota| quota > 0 && quota < 1000) {
            return Err(told(
                "CPU cfs quota cannot be less than 1ms (i.e. 1000)".into(),
                "give microseconds, such as --cpu-quota 50000",
            ));
        }
        self.check_others()?;
        for (flag, what, list, most) in [
            (
                "--cpuset-cpus",
                "CPUs",
                &self.cpuset_cpus,
                most_of("/sys/devices/system/cpu/online"),
            ),
            (
                "--cpuset-mems",
                "memory nodes",
                &self.cpuset_mems,
                most_of("/sys/devices/system/node/online"),
            ),
        ] {
            let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else {
                continue;
            };
            let Some(numbers) = numbers(list) else {
                return Err(told(
                    format!("Invalid value {list} for {flag}"),
                    "give numbers and ranges, such as 0-2,5",
                ));
            };
            if most.is_some_and(|most| numbers.iter().any(|number| *number > most)) {
                let available = most.map_or(String::new(), |most| format!(", available: 0-{most}"));
                return Err(told(
                    format!("Requested {what} are not available - requested {list}{available}"),
                    "give those that are there",
                ));
            }
        }
        Ok(UpdateRequest {
            memory,
            memory_swap,
            memory_reservation: reservation,
            cpus_milli,
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: self.pids_limit,
            disk_weight: self.blkio_weight,
            cpu_rt_period: self.cpu_rt_period,
            cpu_rt_runtime: self.cpu_rt_runtime,
            restart: None,
        })
    }
}

impl LimitFlags {
    /// Shares of disks, and time for processes of a real-time class.
    fn check_others(&self) -> Result<(), Failure> {
        let wrong = |text: &str, help: &str| Err(Failure::new(text).help(help).code(125).of_daemon());
        if self
            .blkio_weight
            .is_some_and(|weight| weight != 0 && !(10..=1000).contains(&weight))
        {
            return wrong(
                "Range of blkio weight is from 10 to 1000",
                "give --blkio-weight a number from 10 to 1000",
            );
        }
        let real_time = self.cpu_rt_period.unwrap_or(0) > 0 || self.cpu_rt_runtime.unwrap_or(0) > 0;
        if real_time && !Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
            return wrong(
                "--cpu-rt-period and --cpu-rt-runtime: this kernel shares out no time of the real-time class by group",
                "leave them out; version 2 of control groups has no such setting",
            );
        }
        if let (Some(period @ 1..), Some(runtime)) = (self.cpu_rt_period, self.cpu_rt_runtime)
            && runtime > period
        {
            return wrong(
                "cpu real-time runtime cannot be higher than cpu real-time period",
                "give less to --cpu-rt-runtime",
            );
        }
        if let Some(size) = &self.kernel_memory {
            if bytes(size).is_none() {
                return wrong(&format!("invalid size: '{size}'"), "leave --kernel-memory out");
            }
            output::error_line("note: --kernel-memory has no effect: kernels no longer have such a limit");
        }
        Ok(())
    }
}

/// The numbers of a list such as `0-2,5`.
fn numbers(list: &str) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        found.extend([first, last]);
        if first > last {
            return None;
        }
    }
    Some(found)
}

fn most_of(path: &str) -> Option<u32> {
    let text = std::fs::read_to_string(path).ok()?;
    numbers(text.trim())?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        assert_eq!(numbers("0-2,5"), Some(vec![0, 2, 5, 5]));
        for wrong in ["", "a", "3-1", "1,,2"] {
            assert_eq!(numbers(wrong), None, "{wrong}");
        }
    }
}
