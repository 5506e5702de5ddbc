//! The seam between a build and the containers that its steps run in.
//!
//! Whatever builds (a source distribution, an instruction of a Dockerfile, a Debian package's maintainer script) says what
//! is to be run in a [`Step`]; an [`Executor`] runs it. The build itself knows no container, so all of it compiles where
//! there are none.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Mutex;

use coil_oci::Arch;

/// Runs one step of a build in a container.
///
/// A step sees its own root file system and what is bound into it, nothing else of the host. When the call returns, by
/// whatever way, no process and no mount of the step is left; when the caller is killed, the same is true a moment later.
pub trait Executor: Sync {
    /// Why a step for this architecture can't run here; `None` if it can.
    fn refusal(&self, arch: Arch) -> Option<String>;

    /// Runs a step to its end; `output` gets what it prints on both streams, as it comes.
    ///
    /// Not atomic: what a step that failed has written stays in [`Step::upper`], for the caller to remove.
    ///
    /// # Errors
    /// See [`StepError`]. A program that ends with a code other than 0 is no error.
    fn run(&self, step: &Step, output: &mut (dyn FnMut(&[u8]) + Send)) -> Result<StepEnd, StepError>;
}

/// What runs, in which file system.
#[derive(Debug, Clone)]
pub struct Step {
    /// The architecture of the programs inside.
    pub arch: Arch,
    /// Unpacked snapshots, the lowest first; never written to.
    pub lower: Vec<PathBuf>,
    /// A folder that keeps all that the step writes, as overlayfs does: empty, or used by a step before. It must be made
    /// by the caller, below the data root.
    pub upper: PathBuf,
    /// The program and its arguments. A name without a slash is looked for in `PATH` of the step's environment.
    pub argv: Vec<String>,
    /// The environment, whole but for `HOME`, which the user's entry in `/etc/passwd` gives where it isn't set.
    pub env: BTreeMap<String, String>,
    /// The folder to start in, absolute; made if it isn't there.
    pub workdir: String,
    /// User and group, as an image's configuration has them: `0:0`, `1000`, `nobody`.
    pub user: String,
    /// What of the host is seen inside.
    pub binds: Vec<StepBind>,
    /// The network.
    pub network: StepNetwork,
    /// What it may use.
    pub limits: StepLimits,
    /// What it may do as root.
    pub privileges: StepPrivileges,
    /// Folders in memory: where, and the most bytes where that is limited.
    pub memory_folders: Vec<(String, Option<u64>)>,
    /// Its host name, where it is not the one of all steps.
    pub hostname: Option<String>,
    /// More lines of its hosts file.
    pub hosts: Vec<(String, IpAddr)>,
    /// Limits of its processes: Docker's name, the soft and the hard one.
    pub process_limits: Vec<(String, u64, u64)>,
    /// Where its control group is, and what it runs on.
    pub group: StepGroup,
    /// Devices that vendors describe in files (CDI).
    pub devices: Vec<StepDevice>,
}

impl Step {
    /// A step as root in `/`, with an ordinary `PATH`, no network and no binds.
    pub fn new(arch: Arch, lower: Vec<PathBuf>, upper: PathBuf, argv: Vec<String>) -> Step {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Step {
            arch,
            lower,
            upper,
            argv,
            env: BTreeMap::from([("PATH".to_owned(), path.to_owned())]),
            workdir: "/".into(),
            user: "0:0".into(),
            binds: Vec::new(),
            network: StepNetwork::None,
            limits: StepLimits::default(),
            privileges: StepPrivileges::Docker,
            memory_folders: Vec::new(),
            hostname: None,
            hosts: Vec::new(),
            process_limits: Vec::new(),
            group: StepGroup::default(),
            devices: Vec::new(),
        }
    }
}

/// A device by the name that its vendor gives it: `vendor.com/class=name`, all of a class with `*`, its first without a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepDevice {
    /// The name.
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
}

/// Where the control group of a step is, and the processors and memory that it uses; all where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepGroup {
    /// The group that it is made in; coil's own when empty.
    pub parent: String,
    /// Processors, such as `0-2,5`.
    pub processors: String,
    /// Memory nodes.
    pub memory_nodes: String,
}

/// A file or folder of the host inside a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepBind {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where it is inside; made if it isn't there.
    pub target: String,
    /// Whether it can't be written to.
    pub read_only: bool,
}

/// What a step reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StepNetwork {
    /// Nothing but itself.
    #[default]
    None,
    /// What the host reaches, with the host's own resolver and names.
    Host,
}

/// What a step may use; nothing is limited by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepLimits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together, -1 for no limit.
    pub memory_swap: Option<i64>,
    /// Thousandths of a processor.
    pub cpus_milli: Option<u64>,
    /// The share of the processors where several want them; 1024 is the rule.
    pub cpu_shares: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes of `/dev/shm`; the usual when none is given.
    pub shared_memory: Option<u64>,
}

/// What root may do inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StepPrivileges {
    /// The capabilities that a Docker build gives, `MKNOD` and `AUDIT_WRITE` among them.
    #[default]
    Docker,
    /// None at all: for programs that are run for what they print.
    Nothing,
    /// All that the host's root may, with its devices, and no filter of system calls.
    Everything,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepEnd {
    /// The exit code; 128 and the signal's number for a step that a signal ended.
    pub code: i32,
    /// Whether the kernel ended it for its use of memory.
    pub out_of_memory: bool,
}

impl StepEnd {
    /// Whether the program says that all went well.
    pub fn is_success(self) -> bool {
        self.code == 0
    }
}

/// Why a step could not be run to its end.
#[derive(Debug)]
pub enum StepError {
    /// Containers can't be made here, or not for this architecture.
    Refused(String),
    /// The step's folders could not be made or cleared.
    Prepare {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The container did not start: no such program, no such user, a mount that failed.
    Start {
        /// What failed, for people.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// The container went away without a word.
    Lost,
}

impl StepError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            StepError::Refused(_) => Some("`coil doctor` says what this machine lacks".into()),
            StepError::Start { help, .. } => help.clone(),
            StepError::Prepare { .. } | StepError::Lost => None,
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepError::Refused(reason) => write!(f, "no container can run here: {reason}"),
            StepError::Prepare { path, .. } => write!(f, "cannot prepare {}", path.display()),
            StepError::Start { message, .. } => f.write_str(message),
            StepError::Lost => f.write_str("the build step's container ended without a word"),
        }
    }
}

impl std::error::Error for StepError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StepError::Prepare { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Runs nothing: where containers can't be made, and in tests of what needs none.
#[derive(Debug)]
pub struct NoExecutor(
    /// Why.
    pub String,
);

impl Executor for NoExecutor {
    fn refusal(&self, _arch: Arch) -> Option<String> {
        Some(self.0.clone())
    }

    fn run(&self, _step: &Step, _output: &mut (dyn FnMut(&[u8]) + Send)) -> Result<StepEnd, StepError> {
        Err(StepError::Refused(self.0.clone()))
    }
}

/// The last lines of an output, kept while it streams.
#[derive(Debug, Default)]
pub struct Tail {
    bytes: Mutex<Vec<u8>>,
}

impl Tail {
    /// Bytes that are kept at least.
    const KEPT: usize = 64 * 1024;

    /// Takes what was printed.
    pub fn push(&self, printed: &[u8]) {
        let mut bytes = self
            .bytes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        bytes.extend_from_slice(printed);
        if bytes.len() > 2 * Self::KEPT {
            let cut = bytes.len() - Self::KEPT;
            bytes.drain(..cut);
        }
    }

    /// The last lines, at most so many.
    pub fn lines(&self, count: usize) -> Vec<String> {
        let bytes = self
            .bytes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(count);
        lines[from..].iter().map(|line| (*line).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_last_lines() {
        let tail = Tail::default();
        for number in 0..50_000 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        assert_eq!(tail.lines(2), ["line 49998", "line 49999"]);
        assert!(tail.bytes.lock().unwrap().len() <= 2 * Tail::KEPT);
    }

    #[test]
    fn no_executor_says_why() {
        let none = NoExecutor("macOS has no containers".into());
        let step = Step::new(Arch::Amd64, Vec::new(), PathBuf::new(), vec!["true".into()]);
        let error = none.run(&step, &mut |_| {}).unwrap_err();
        assert_eq!(
            none.refusal(Arch::Arm64).as_deref(),
            Some("macOS has no containers")
        );
        assert!(error.to_string().contains("macOS has no containers"));
    }
}
