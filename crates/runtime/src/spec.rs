//! What a container is to be: one plain record, everything absolute and resolved, that the monitor reads.

use crate::capabilities::{self, Capability, CapabilitySet};
use crate::cgroup::CgroupPlan;
pub use crate::disk_limits::{DeviceLimit, DiskLimits};
use crate::events;
pub use crate::id_map::{IdMap, IdRange};
pub use crate::limits::Limits;
use crate::network::NetworkSpec;
use crate::ports::PortMapping;
use crate::restart::RestartPolicy;
use coil_sys::privilege::Instruction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that a container's monitor needs to know; stored as `spec.json` in the container's directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Identity, 64 hexadecimal digits by custom.
    pub id: String,
    /// Host name inside.
    pub hostname: String,
    /// The container's own directory: spec.json, state.json, log.jsonl, `upper/`, `work/`, hosts, hostname, resolv.conf.
    pub container_dir: PathBuf,
    /// Live state, gone after a boot: `lock`, `control.sock`. Its parent is shared by all containers of a data root.
    pub run_dir: PathBuf,
    /// Unpacked layer directories, lowest first.
    pub layers: Vec<PathBuf>,
    /// The folder that keeps what is written, and overlayfs's own beside it on the same file system; `upper` and `work`
    /// of the container's directory where none is named.
    #[serde(default)]
    pub writable: Option<Writable>,
    /// No writes to the root file system.
    #[serde(default)]
    pub read_only: bool,
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value` pairs, all of them.
    pub env: Vec<String>,
    /// Working directory inside; made when it is missing.
    pub cwd: String,
    /// Who runs the program.
    pub user: User,
    /// Mounts besides those that every container has.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Whether the program gets a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Whether standard input is kept open.
    #[serde(default)]
    pub stdin_open: bool,
    /// Rows and columns of the terminal at the start.
    #[serde(default)]
    pub init_tty_size: Option<(u16, u16)>,
    /// Resource limits.
    #[serde(default)]
    pub limits: Limits,
    /// Capabilities of a program that runs as root inside.
    pub capabilities: Vec<Capability>,
    /// System call filter.
    #[serde(default)]
    pub seccomp: SeccompPolicy,
    /// Whether set-id programs gain nothing.
    #[serde(default)]
    pub no_new_privileges: bool,
    /// Paths that are hidden.
    pub masked_paths: Vec<String>,
    /// Paths that can't be written.
    pub readonly_paths: Vec<String>,
    /// Network mode.
    pub network: NetworkSpec,
    /// Published ports.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// Whose processes it sees.
    #[serde(default)]
    pub pid: Namespace,
    /// Whose shared memory and message queues it has.
    #[serde(default)]
    pub ipc: Namespace,
    /// Whose host name it has.
    #[serde(default)]
    pub uts: Namespace,
    /// Whose control groups it sees.
    #[serde(default)]
    pub cgroup_namespace: Namespace,
    /// The NIS domain name, where it is not empty.
    #[serde(default)]
    pub domainname: String,
    /// Whether a small init is process 1: it passes signals on and reaps what is nobody's child.
    #[serde(default)]
    pub init: bool,
    /// How readily the kernel ends it for want of memory, -1000 to 1000.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
    /// Devices besides those that every container has.
    #[serde(default)]
    pub devices: Devices,
    /// Programs of the host that finish its root.
    #[serde(default)]
    pub hooks: Vec<Hook>,
    /// Whether it may write to sysfs and its control groups.
    #[serde(default)]
    pub writable_system: bool,
    /// Which host ids the ids inside are.
    #[serde(default)]
    pub id_map: IdMap,
    /// Where its control groups are.
    pub cgroup: CgroupPlan,
    /// The signal that asks the program to end.
    pub stop_signal: i32,
    /// When its program is started again.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Its name, for the log of events.
    #[serde(default)]
    pub name: String,
    /// Its image as the user named it, for the log of events.
    #[serde(default)]
    pub image: String,
    /// Whether every signal that somebody sends means that it isn't started again: where no stop signal was chosen.
    #[serde(default)]
    pub any_signal_stops: bool,
    /// How it is seen whether the program is well.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// Whether everything of it is removed when it ends.
    #[serde(default)]
    pub auto_remove: bool,
    /// Folders of volumes without a name, which go with it; those that another container has too stay.
    #[serde(default)]
    pub own_volumes: Vec<PathBuf>,
    /// Files that hold this container's id and nothing else: its names. With `auto_remove` they go before its end is
    /// told, so that the next container may have them.
    #[serde(default)]
    pub release: Vec<PathBuf>,
    /// Whether the program ends with who started it: as soon as the connection over which its output goes is closed.
    #[serde(default)]
    pub ends_with_starter: bool,
    /// Where its output is kept.
    #[serde(default)]
    pub log: LogSpec,
    /// Process limits; what the host doesn't allow is clamped.
    #[serde(default)]
    pub rlimits: Vec<Rlimit>,
    /// Kernel settings of the container's namespaces, such as `net.core.somaxconn`.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// What the user wrote on it; kept, never read here.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// A container with the safe defaults; the caller sets the rest.
    pub fn new(
        id: &str,
        container_dir: PathBuf,
        run_dir: PathBuf,
        layers: Vec<PathBuf>,
        args: Vec<String>,
    ) -> Self {
        let text = |list: &[(&str, &str)]| list.iter().map(|(path, _)| (*path).to_owned()).collect();
        Self {
            id: id.to_owned(),
            hostname: id.chars().take(12).collect(),
            log: LogSpec {
                path: Some(container_dir.join("log.jsonl")),
                ..LogSpec::default()
            },
            container_dir,
            run_dir,
            layers: each_once(layers),
            writable: None,
            read_only: false,
            args,
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            cwd: "/".to_owned(),
            user: User::default(),
            mounts: Vec::new(),
            terminal: false,
            stdin_open: false,
            init_tty_size: None,
            limits: Limits::default(),
            capabilities: capabilities::DEFAULT.to_vec(),
            seccomp: SeccompPolicy::Default,
            no_new_privileges: false,
            masked_paths: text(crate::hidden_paths::MASKED),
            readonly_paths: text(crate::hidden_paths::READ_ONLY),
            network: NetworkSpec::None,
            ports: Vec::new(),
            pid: Namespace::Own,
            ipc: Namespace::Own,
            uts: Namespace::Own,
            cgroup_namespace: Namespace::Own,
            domainname: String::new(),
            init: false,
            oom_score_adj: None,
            devices: Devices::default(),
            hooks: Vec::new(),
            writable_system: false,
            id_map: IdMap::default(),
            cgroup: CgroupPlan::None {
                reason: "not asked for".to_owned(),
            },
            stop_signal: libc::SIGTERM,
            restart: RestartPolicy::No,
            any_signal_stops: false,
            health: None,
            name: String::new(),
            image: String::new(),
            auto_remove: false,
            own_volumes: Vec::new(),
            release: Vec::new(),
            ends_with_starter: false,
            rlimits: Vec::new(),
            sysctls: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    /// The capabilities as a set.
    pub fn capability_set(&self) -> CapabilitySet {
        CapabilitySet::of(&self.capabilities)
    }

    /// The folder that keeps what is written.
    pub fn upper(&self) -> PathBuf {
        match &self.writable {
            Some(own) => own.upper.clone(),
            None => self.container_dir.join("upper"),
        }
    }

    /// Overlayfs's own folder.
    pub fn work(&self) -> PathBuf {
        match &self.writable {
            Some(own) => own.work.clone(),
            None => self.container_dir.join("work"),
        }
    }

    /// The folder of live state that it shares with the others of its data root.
    pub fn run_root(&self) -> &Path {
        self.run_dir.parent().unwrap_or(Path::new("/"))
    }

    /// Writes down what happened to it. Build steps, which have no name, are nobody's news.
    pub fn event(&self, action: &str, more: &[(&str, String)]) {
        if self.name.is_empty() {
            return;
        }
        let subject = events::Subject {
            kind: "container",
            id: &self.id,
            image: &self.image,
            name: &self.name,
            labels: Some(&self.labels),
        };
        // Nobody's start or end fails for want of a log of it.
        let _ = events::append(self.run_root(), &subject, action, more);
    }

    /// The map of the user namespace that its first process makes inside that of its monitor; none where it makes none.
    ///
    /// In a household, whose root is the one user that there is, a program of another number needs one of its own.
    pub fn inner_map(&self) -> Option<IdMap> {
        let household = self.network.household()?;
        (household.map != self.id_map).then(|| IdMap::one(self.user.uid, self.user.gid, 0, 0))
    }

    /// What of this spec the host can't do and will be left out, in words for the user.
    pub fn notices(&self) -> Vec<String> {
        self.limits.check(&self.cgroup)
    }

    /// Its host name with its domain, if it has one.
    pub fn full_name(&self) -> String {
        match self.domainname.as_str() {
            "" => self.hostname.clone(),
            domain => format!("{}.{domain}", self.hostname),
        }
    }
}

/// Where writes go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writable {
    /// Keeps what is written, and stays when the container is removed.
    pub upper: PathBuf,
    /// Overlayfs's own, removed with the container.
    pub work: PathBuf,
}

/// Who runs a program: ids as they are inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    #[serde(default)]
    pub groups: Vec<u32>,
}

/// A mount that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// Absolute path inside.
    pub destination: String,
    /// No writes, in the mounts below it too.
    #[serde(default)]
    pub read_only: bool,
    /// `nosuid`, `nodev`, `noexec`, `exec`, `suid`, `dev`, `noatime`, `bind`, `rbind`, `private`, `rprivate`, `slave`,
    /// `rslave`, `shared`, `rshared`.
    #[serde(default)]
    pub options: Vec<String>,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
    },
    /// What is below a folder of the host whose content a container may have written: no link leads out of it.
    Within {
        /// Absolute path on the host.
        folder: PathBuf,
        /// The path below it; it must be there.
        path: String,
    },
    /// A file system of its own, as `mount -t` makes it.
    FileSystem {
        /// Its type, such as `nfs` or `ext4`.
        kind: String,
        /// The device, or whatever that type takes for one.
        device: String,
        /// Its options, between commas.
        data: String,
    },
    /// A new file system in memory.
    Tmpfs {
        /// Most bytes; half of the memory when none is given.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
    },
}

impl SeccompPolicy {
    /// The program to install for these capabilities, if any.
    pub(crate) fn filter(&self, capabilities: CapabilitySet) -> Option<Vec<Instruction>> {
        match self {
            SeccompPolicy::Default => Some(crate::seccomp::default_filter(capabilities)),
            SeccompPolicy::Unconfined => None,
            SeccompPolicy::Program(code) => {
                let step = |(code, jump_true, jump_false, value): &(u16, u8, u8, u32)| Instruction {
                    code: *code,
                    jump_true: *jump_true,
                    jump_false: *jump_false,
                    value: *value,
                };
                Some(code.iter().map(step).collect())
            }
        }
    }
}

/// How it is seen whether a program is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The command that is run in the container.
    pub args: Vec<String>,
    /// The time between two probes.
    pub interval: Duration,
    /// The time that a probe may take.
    pub timeout: Duration,
    /// The time after the start in which failures don't count, until the first good probe.
    pub start_period: Duration,
    /// The time between two probes while that lasts.
    pub start_interval: Duration,
    /// So many failures in a row mean that it isn't well.
    pub retries: u32,
}

/// Whose namespace of a kind a container is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// One of its own.
    #[default]
    Own,
    /// The host's.
    Host,
    /// That of another container, by its first process as it is at the start.
    Of(i32),
}

/// Devices besides those that every container has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Devices {
    /// Nodes of `/dev`.
    pub nodes: Vec<DeviceNode>,
    /// What may be used besides, whether there is a node for it or not.
    pub rules: Vec<DeviceRule>,
    /// Whether everything may be used.
    pub all: bool,
}

/// Layers without those that come again above: overlayfs takes none twice, and the upper one gives and hides all that the
/// lower one does.
fn each_once(layers: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::with_capacity(layers.len());
    for layer in layers {
        kept.retain(|below| *below != layer);
        kept.push(layer);
    }
    kept
}

/// A program of the host, as a device's vendor names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// Its arguments, its own name first.
    pub args: Vec<String>,
    /// `NAME=value` pairs, all of them.
    pub env: Vec<String>,
    /// Most seconds that it may take.
    pub timeout: Option<u64>,
}

/// A node that is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside.
    pub path: String,
    /// What it is, and how it may be used.
    pub rule: DeviceRule,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
}

/// What may be done with some devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Whether they are block devices.
    pub block: bool,
    /// Major number, any when none is given.
    pub major: Option<u32>,
    /// Minor number, any when none is given.
    pub minor: Option<u32>,
    /// Letters of `rwm`: read, write, make a node.
    pub access: String,
}

/// Which system call filter is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompPolicy {
    /// Docker's default profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A profile of the user's, as a BPF program: code, two jumps and value of each instruction.
    Program(Vec<(u16, u8, u8, u32)>),
}

/// Where the container's output is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// A file of JSON lines; no log when none is given.
    pub path: Option<PathBuf>,
    /// Bytes after which a new file is begun; never when none are given.
    #[serde(default)]
    pub most_bytes: Option<u64>,
    /// How many files are kept then, the newest among them; 0 stands for 1.
    #[serde(default)]
    pub most_files: u32,
    /// Whether older files are compressed.
    #[serde(default)]
    pub compress: bool,
    /// What is written beside each line.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// The host's journal, where it gets the lines too.
    #[serde(default)]
    pub journal: Option<JournalSpec>,
}

/// The host's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalSpec {
    /// Where it takes entries.
    pub socket: PathBuf,
    /// What is written beside each line.
    pub fields: BTreeMap<String, String>,
}

/// A limit of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Docker's name, such as `nofile`.
    pub name: String,
    /// Soft limit; `u64::MAX` for none.
    pub soft: u64,
    /// Hard limit; `u64::MAX` for none.
    pub hard: u64,
}
