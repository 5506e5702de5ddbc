//! Flags of what a container may do on the host: privileges, namespaces, devices, limits of processes, health.

use coil_engine::quantity::bytes;
use std::collections::BTreeMap;

use clap::Args;
use coil_engine::Rlimit;
use coil_engine::device_interface::{self, GpuRequest};
use coil_engine::health::HealthRequest;
use coil_engine::log_options::LogOptions;
use coil_engine::options::{Options, profile_path};

use crate::environment_flags as flags;
use crate::moment;
use crate::report::Failure;

/// Docker's names of limits of processes.
const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// What a container may do on the host.
#[derive(Debug, Args)]
pub struct HostFlags {
    /// Add a capability, or ALL
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// All capabilities and devices, nothing hidden
    #[arg(long)]
    privileged: bool,
    /// no-new-privileges, seccomp=FILE, seccomp=unconfined, systempaths=unconfined
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Let it use a device: HOST_PATH[:PATH][:rwm], or a name such as vendor.com/class=name
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// Let it use devices by number, such as 'c 10:200 rwm'
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
    /// Whose processes it sees: host or container:NAME
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,
    /// Whose shared memory it has: private, host or container:NAME
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,
    /// Whose host name it has: host
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,
    /// Whose users it has: host
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
    /// Whose control groups it sees: private or host
    #[arg(long, value_name = "MODE")]
    cgroupns: Option<String>,
    /// The control group to put its own into
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// One more group of its user, by name or number
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// A limit of its processes: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// A kernel setting of its own: NAME=VALUE
    #[arg(long, value_name = "SETTING")]
    sysctl: Vec<String>,
    /// The size of /dev/shm, such as 64m
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Let its processes wait for memory instead of ending them
    #[arg(long)]
    oom_kill_disable: bool,
    /// How readily it is ended for want of memory, -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,
    /// How readily its memory is swapped out, 0 to 100
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    memory_swappiness: Option<i64>,
    /// Its NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Run a small init that reaps processes and passes signals on
    #[arg(long)]
    init: bool,
    /// The signal that asks it to stop
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds it is given to stop; a negative number for ever
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub stop_timeout: Option<i64>,
    /// Where its output is kept: json-file, local, journald or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// How it is kept, such as max-size=10m or max-file=3
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,
    /// Let it use graphics processors: all, a number, or device=NAME
    #[arg(long, value_name = "WHICH")]
    gpus: Option<String>,
    /// runc, which stands for coil's own way; there is no other
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,
    /// `default`; Windows alone has others
    #[arg(long, value_name = "NAME")]
    isolation: Option<String>,
    /// Refused: coil can't limit the size of a container's files
    #[arg(long, value_name = "OPTION", hide = true)]
    storage_opt: Vec<String>,
    #[arg(long, hide = true, value_name = "ADDRESS")]
    link_local_ip: Vec<String>,
    /// Refused: coil runs no daemon whose socket it could pass on
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    use_api_socket: Option<bool>,
    #[arg(long, hide = true, value_name = "NUMBER")]
    cpu_count: Option<String>,
    #[arg(long, hide = true, value_name = "NUMBER")]
    cpu_percent: Option<String>,
    #[arg(long, hide = true, value_name = "SIZE")]
    io_maxbandwidth: Option<String>,
    #[arg(long, hide = true, value_name = "NUMBER")]
    io_maxiops: Option<String>,
    /// A note for others: KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// The command that says whether it is well
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// The time between two checks, such as 30s
    #[arg(long, value_name = "TIME")]
    health_interval: Option<String>,
    /// The time that a check may take
    #[arg(long, value_name = "TIME")]
    health_timeout: Option<String>,
    /// The time after the start in which failures don't count
    #[arg(long, value_name = "TIME")]
    health_start_period: Option<String>,
    /// The time between two checks while that lasts
    #[arg(long, value_name = "TIME")]
    health_start_interval: Option<String>,
    /// So many failures in a row mean that it isn't well
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// Leave the image's health check out
    #[arg(long)]
    no_healthcheck: bool,
}

impl HostFlags {
    /// Whether it has this machine's own host name.
    pub fn shares_host_name(&self) -> bool {
        self.uts.as_deref() == Some("host")
    }

    /// What of the limits stands here.
    ///
    /// # Errors
    /// When a size can't be understood.
    pub fn limit(&self, limits: &mut coil_engine::Limits) -> Result<(), Failure> {
        if let Some(text) = &self.shm_size {
            let size = bytes(text).ok_or_else(|| {
                Failure::new(format!(
                    "invalid argument \"{text}\" for \"--shm-size\" flag: invalid size: '{text}'"
                ))
                .help("give a size such as 64m")
                .code(125)
            })?;
            // Nothing is what every container has.
            if size > 0 {
                limits.shm_size = size;
            }
        }
        limits.oom_kill_disable = self.oom_kill_disable;
        limits.memory_swappiness = match self.memory_swappiness {
            None | Some(-1) => None,
            Some(number @ 0..=100) => u64::try_from(number).ok(),
            Some(number) => {
                return Err(Failure::new(format!(
                    "Invalid value: {number}, valid memory swappiness range is 0-100"
                ))
                .help("give a number from 0 to 100")
                .code(125)
                .of_daemon());
            }
        };
        Ok(())
    }

    /// The options.
    ///
    /// # Errors
    /// When a value can't be understood, or a profile can't be read.
    pub fn options(&self) -> Result<Options, Failure> {
        self.check_platform()?;
        let words = |text: &Option<String>| text.clone().unwrap_or_default();
        let seccomp_profile = match profile_path(&self.security_opt) {
            None => None,
            Some(path) => Some(std::fs::read_to_string(&path).map_err(|error| {
                Failure::new(format!(
                    "opening seccomp profile ({}) failed\n  caused by: {error}",
                    path.display()
                ))
                .help("give --security-opt seccomp=FILE with a profile in Docker's JSON format")
                .code(125)
            })?),
        };
        Ok(Options {
            domainname: words(&self.domainname),
            init: self.init,
            privileged: self.privileged,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            security: self.security_opt.clone(),
            seccomp_profile,
            devices: self.device.clone(),
            device_rules: self.device_cgroup_rule.clone(),
            pid: words(&self.pid),
            ipc: words(&self.ipc),
            uts: words(&self.uts),
            userns: words(&self.userns),
            cgroupns: words(&self.cgroupns),
            group_add: self.group_add.clone(),
            ulimits: self
                .ulimit
                .iter()
                .map(|text| ulimit(text))
                .collect::<Result<_, _>>()?,
            sysctls: sysctls(&self.sysctl)?,
            oom_score_adj: self.oom_score_adj,
            cgroup_parent: words(&self.cgroup_parent),
            stop_signal: words(&self.stop_signal),
            log: LogOptions {
                driver: words(&self.log_driver),
                options: flags::labels(&self.log_opt),
            },
            gpus: self.gpus.as_deref().map(gpus).transpose()?,
            runtime: words(&self.runtime),
            isolation: words(&self.isolation),
            storage: self.storage_opt.clone(),
            annotations: flags::labels(&self.annotation),
        })
    }

    /// What other systems, or a daemon, alone can do.
    fn check_platform(&self) -> Result<(), Failure> {
        for (name, value) in [
            ("--cpu-count", &self.cpu_count),
            ("--cpu-percent", &self.cpu_percent),
            ("--io-maxbandwidth", &self.io_maxbandwidth),
            ("--io-maxiops", &self.io_maxiops),
        ] {
            if value.is_some() {
                // Docker's client has it so, and ends with 1.
                return Err(Failure::new(format!("\"{name}\" is only supported on windows"))
                    .help("leave it out: --cpus and --device-write-bps limit processors and disks here")
                    .code(1));
            }
        }
        if let Some(address) = self.link_local_ip.first() {
            return Err(Failure::new(format!(
                "--link-local-ip {address}: coil gives out no link-local addresses"
            ))
            .help("give --ip with an address of the network's subnet")
            .code(125));
        }
        if self.use_api_socket == Some(true) {
            return Err(
                Failure::new("--use-api-socket: coil runs no daemon whose socket it could pass on")
                    .help("leave it out")
                    .code(125),
            );
        }
        Ok(())
    }

    /// The health check.
    ///
    /// # Errors
    /// When a time can't be understood.
    pub fn health(&self) -> Result<HealthRequest, Failure> {
        let span = |name: &str, text: &Option<String>| {
            text.as_deref()
                .map(|text| moment::span_flag(name, text))
                .transpose()
        };
        Ok(HealthRequest {
            command: self.health_cmd.clone(),
            interval: span("--health-interval", &self.health_interval)?,
            timeout: span("--health-timeout", &self.health_timeout)?,
            start_period: span("--health-start-period", &self.health_start_period)?,
            start_interval: span("--health-start-interval", &self.health_start_interval)?,
            retries: self.health_retries,
            none: self.no_healthcheck,
        })
    }
}

fn gpus(text: &str) -> Result<GpuRequest, Failure> {
    device_interface::parse_gpus(text).map_err(|reason| {
        Failure::new(format!(
            "invalid argument \"{text}\" for \"--gpus\" flag: {reason}"
        ))
        .help("give --gpus all, --gpus 2 or --gpus device=0")
        .code(125)
    })
}

/// Reads `nofile=1024:2048`; -1 is no limit.
fn ulimit(text: &str) -> Result<Rlimit, Failure> {
    let wrong = |reason: String| {
        Failure::new(format!(
            "invalid argument \"{text}\" for \"--ulimit\" flag: {reason}"
        ))
        .help("give NAME=SOFT[:HARD], such as --ulimit nofile=1024:2048")
        .code(125)
    };
    let (name, values) = text
        .split_once('=')
        .ok_or_else(|| wrong(format!("invalid ulimit argument: {text}")))?;
    if !LIMITS.contains(&name) {
        return Err(wrong(format!("invalid ulimit type: {name}")));
    }
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        text => text
            .parse::<u64>()
            .map_err(|_| wrong(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    if hard.contains(':') {
        return Err(wrong(format!(
            "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
        )));
    }
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(wrong(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    Ok(Rlimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

fn sysctls(words: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    const OF_IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let may_be = |key: &str| {
        let key = key.trim();
        OF_IPC.contains(&key) || key.starts_with("net.") || key.starts_with("fs.mqueue.")
    };
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) if may_be(key) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(Failure::new(format!(
            "invalid argument \"{word}\" for \"--sysctl\" flag: sysctl '{word}' is not allowed"
        ))
        .help("give a setting of the container's own as NAME=VALUE, such as --sysctl net.core.somaxconn=1024")
        .code(125)),
    };
    words.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_processes() {
        let limit = ulimit("nofile=10:20").expect("a limit");
        assert_eq!((limit.soft, limit.hard), (10, 20));
        assert_eq!(ulimit("core=-1").expect("a limit").hard, u64::MAX);
        for wrong in ["nofile", "foo=1", "nofile=x", "nofile=20:10", "nofile="] {
            assert!(ulimit(wrong).is_err(), "{wrong}");
        }
    }
}
