//! Running a command in a container that runs.
//!
//! A helper, our own binary with one thread (`coil internal exec`), joins the container's control groups and
//! namespaces, clones the command into them and waits. It passes its standard descriptors on, or stands between
//! them and a terminal of the container's.

use crate::capabilities::{Capability, CapabilitySet};
use crate::cgroup::{CgroupPlan, Entrance};
use crate::failure::{Failure, Stage};
use crate::init::root::Root;
use crate::program::{Confinement, Standard};
use crate::spec::{ContainerSpec, Namespace, User};
use crate::start::StartError;
use crate::state::{self, State, Status};
use crate::{exec_streams, own_binary, relay, user_namespace};
use coil_sys::file::{self, resolve};
use coil_sys::process::{self, Cloned};
use coil_sys::terminal;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// A command to run in a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value` pairs, all of them.
    pub env: Vec<String>,
    /// Working directory inside.
    pub cwd: String,
    /// Who runs it.
    pub user: User,
    /// Whether it gets a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Rows and columns at the start.
    #[serde(default)]
    pub tty_size: Option<(u16, u16)>,
    /// The keys that let go of its terminal; none when empty.
    #[serde(default)]
    pub detach_keys: Vec<u8>,
    /// Its capabilities, the container's own when none are given.
    #[serde(default)]
    pub capabilities: Option<Vec<Capability>>,
    /// Whether it may do all that we may, with no filter of system calls.
    #[serde(default)]
    pub privileged: bool,
    /// Whether it is killed when the helper that runs it is.
    #[serde(default)]
    pub ends_with_parent: bool,
    /// A file that is made when it has begun, for who doesn't wait for its end.
    #[serde(default)]
    pub begun: Option<PathBuf>,
}

/// The three descriptors that a command in a container gets.
#[derive(Debug)]
pub struct Stdio3 {
    /// Its input.
    pub input: Stdio,
    /// Its output.
    pub output: Stdio,
    /// Its errors.
    pub errors: Stdio,
}

/// Runs a command in a container and waits for its end; its exit code, as a shell counts it.
pub fn exec(
    exe: &Path,
    container_dir: &Path,
    run_dir: &Path,
    spec: &ExecSpec,
    stdio: Stdio3,
) -> Result<i32, StartError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!(
        "exec-{}-{}.json",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let path = run_dir.join(name);
    let prepare = |error: std::io::Error| StartError::Prepare {
        path: path.clone(),
        error,
    };
    if !state::is_running(container_dir, run_dir) {
        return Err(StartError::Failed(Failure::refused(
            "exec",
            "the container is not running",
        )));
    }
    // Not in the arguments, which everybody on the host may read.
    let mut options = std::fs::OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(prepare)?;
    serde_json::to_writer(&file, spec).map_err(|error| prepare(error.into()))?;
    let container: ContainerSpec = std::fs::read(container_dir.join("spec.json"))
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(Into::into))
        .map_err(prepare)?;
    let sealed = match container.id_map.is_identity() {
        true => Some(own_binary::sealed(exe).map_err(StartError::Monitor)?),
        false => None,
    };
    let program = match &sealed {
        Some(fd) => PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
        None => exe.to_owned(),
    };
    let mut command = Command::new(program);
    command
        .arg0("coil")
        .args(["internal", "exec"])
        .args([container_dir, &path]);
    command
        .env_clear()
        .current_dir("/")
        .stdin(stdio.input)
        .stdout(stdio.output)
        .stderr(stdio.errors);
    let status = command.status().map_err(StartError::Monitor);
    let failed = path.with_extension("failed");
    let failure = std::fs::read(&failed)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_file(&failed);
    match failure {
        Some(failure) => Err(StartError::Failed(failure)),
        None => {
            use std::os::unix::process::ExitStatusExt;
            let status = status?;
            Ok(status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
        }
    }
}

/// `coil internal exec DIRECTORY FILE`.
pub fn exec_main(args: &[String]) -> i32 {
    let [directory, file, ..] = args else { return 125 };
    let inside = args.iter().any(|a| a == "--inside");
    match run(Path::new(directory), Path::new(file), inside, args) {
        Ok(code) => code,
        Err(failure) => {
            let path = Path::new(file).with_extension("failed");
            let bytes = serde_json::to_vec(&failure).unwrap_or_default();
            let _ = std::fs::write(path, bytes);
            failure.exit_code
        }
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let bytes = std::fs::read(path).stage("exec", path.display())?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Failure::refused("exec", format_args!("{}: {e}", path.display())))
}

fn run(directory: &Path, path: &Path, inside: bool, args: &[String]) -> Result<i32, Failure> {
    let container: ContainerSpec = read_json(&directory.join("spec.json"))?;
    let spec: ExecSpec = read_json(path)?;
    let state = State::load(directory).stage("exec", directory.display())?;
    let gone = || Failure::refused("exec", "the container is not running");
    if state.status == Status::Paused {
        return Err(Failure::refused("exec", "the container is paused"));
    }
    if state.status != Status::Running {
        return Err(gone());
    }
    let pidfd = process::pidfd_open(state.pid).stage("exec", "the container is not running")?;
    // While its monitor lives, the number can't have become another's.
    if !state::is_alive(&container.run_dir) {
        return Err(gone());
    }
    if !container.id_map.is_identity() && !inside {
        let ids = format!("/proc/{}/ns/user", state.pid);
        if !user_namespace::is_own(Path::new(&ids)).stage("exec", "the container is not running")? {
            process::setns(&pidfd, libc::CLONE_NEWUSER).stage(
                "exec",
                "cannot join the user namespace (restart a container that was started when this user had other ids)",
            )?;
        }
        process::unshare(libc::CLONE_NEWNS).stage("exec", "cannot make a mount namespace")?;
        let mut again = vec!["coil".to_owned(), "internal".to_owned(), "exec".to_owned()];
        again.extend(args.iter().cloned());
        again.push("--inside".to_owned());
        return Err(user_namespace::run_again(&again));
    }
    process::set_dumpable(false).stage("exec", "dumpable")?;
    let terminal = match spec.terminal {
        true => Some(open_terminal(state.pid, spec.tty_size)?),
        false => None,
    };
    let home = std::fs::File::open("/proc/self/ns/pid").ok().map(OwnedFd::from);
    let entrance = container
        .cgroup
        .entrance()
        .map_err(|e| Failure::new("exec", &e, &e.error))?;
    let network = if container.network.has_namespace() {
        libc::CLONE_NEWNET
    } else {
        0
    };
    let groups = if matches!(container.cgroup, CgroupPlan::None { .. })
        || container.cgroup_namespace == Namespace::Host
    {
        0
    } else {
        libc::CLONE_NEWCGROUP
    };
    let own = |namespace: Namespace, flag: i32| if namespace == Namespace::Host { 0 } else { flag };
    let namespaces = own(container.pid, libc::CLONE_NEWPID)
        | own(container.ipc, libc::CLONE_NEWIPC)
        | own(container.uts, libc::CLONE_NEWUTS)
        | network
        | groups;
    process::setns(&pidfd, namespaces).stage("exec", "cannot join the container")?;
    let (reports, report) = file::pipe(0).stage("exec", "pipe")?;
    let streams = match &terminal {
        None => Some(exec_streams::split()?),
        Some(_) => None,
    };
    let (standard, copied) = streams.unzip();
    // The parent keeps the host's file system, and its own process number.
    let (cloned, outside) = entrance.clone_process(0).stage("exec", "cannot fork")?;
    match cloned {
        Cloned::Child => {
            let entrance = outside.then_some(entrance);
            let (master, slave) = terminal.unzip();
            drop((master, reports, copied));
            let standard = standard.or_else(|| slave.map(Standard::Terminal));
            let standard = standard.unwrap_or(Standard::Inherited);
            let failure = match become_command(&container, &spec, &pidfd, entrance, &standard) {
                Err(failure) => failure,
                Ok(never) => match never {},
            };
            let _ = std::fs::File::from(report).write_all(&serde_json::to_vec(&failure).unwrap_or_default());
            process::exit_now(failure.exit_code)
        }
        Cloned::Parent { pid, .. } => {
            drop((report, standard));
            let mut bytes = Vec::new();
            std::fs::File::from(reports)
                .read_to_end(&mut bytes)
                .stage("exec", "report")?;
            if !bytes.is_empty() {
                let _ = process::wait(pid);
                return Err(serde_json::from_slice(&bytes).unwrap_or_else(|_| gone()));
            }
            if let Some(begun) = &spec.begun {
                let _ = std::fs::File::create(begun);
            }
            match terminal {
                Some((master, slave)) => {
                    drop(slave);
                    match relay::terminal(&master, pid, &spec.detach_keys).stage("exec", "terminal")? {
                        Some(ended) => Ok(ended.code()),
                        None => {
                            relay::let_go(&master, home.as_ref()).stage("exec", "terminal")?;
                            Err(Failure::refused("exec", "read escape sequence").with_exit_code(1))
                        }
                    }
                }
                None => copied
                    .unwrap_or_default()
                    .serve(pid)
                    .stage("exec", "wait")
                    .map(process::Ended::code),
            }
        }
    }
}

/// A terminal from the container's own devpts, found with no link followed.
fn open_terminal(pid: i32, size: Option<(u16, u16)>) -> Result<(OwnedFd, OwnedFd), Failure> {
    const DEVPTS: i64 = 0x1cd1;
    let what = "cannot open a terminal of the container";
    let root = file::open(
        Path::new(&format!("/proc/{pid}/root")),
        libc::O_PATH | libc::O_DIRECTORY,
    )
    .stage("exec", what)?;
    let rules = resolve::IN_ROOT | resolve::NO_SYMLINKS;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let devpts = file::open_below(&root, Path::new("dev/pts"), flags, 0, rules).stage("exec", what)?;
    if file::file_system(&devpts).stage("exec", what)? != DEVPTS {
        return Err(Failure::refused(
            "exec",
            "/dev/pts of the container holds no terminals",
        ));
    }
    let (master, slave) = terminal::open_pair(&devpts).stage("exec", what)?;
    if let Some((rows, columns)) = size {
        terminal::set_size(&master, rows, columns).stage("exec", what)?;
    }
    Ok((master, slave))
}

fn become_command(
    container: &ContainerSpec,
    spec: &ExecSpec,
    pidfd: &OwnedFd,
    entrance: Option<Entrance>,
    standard: &Standard,
) -> Result<std::convert::Infallible, Failure> {
    if let Some(entrance) = entrance {
        entrance.enter().stage("exec", "cannot enter the control group")?;
    }
    // The host's terminal is none of its own any more, whatever it holds of it.
    process::new_session().stage("exec", "session")?;
    process::setns(pidfd, libc::CLONE_NEWNS).stage("exec", "cannot join the container's mounts")?;
    let _ = process::join_session_keyring();
    process::set_umask(0o022);
    let root = Root::new(
        file::open(Path::new("/"), libc::O_PATH | libc::O_DIRECTORY).stage("exec", "cannot open the root")?,
    );
    // Nobody makes a folder for a command; only a container's own is made.
    let directory = root.name(Path::new(&spec.cwd)).map_err(|error| {
        let what = format_args!("chdir to cwd (\"{}\") set in config.json failed", spec.cwd);
        Failure::new("exec", what, &error).with_exit_code(127)
    })?;
    file::change_directory(&directory).map_err(|error| {
        let what = format_args!("chdir to cwd (\"{}\") set in config.json failed", spec.cwd);
        Failure::new("exec", what, &error).with_exit_code(127)
    })?;
    let null = file::open(Path::new("/dev/null"), libc::O_RDWR).stage("exec", "/dev/null")?;
    standard.install(&null, &spec.user)?;
    let capabilities = match &spec.capabilities {
        _ if spec.privileged => CapabilitySet::everything(),
        Some(capabilities) => CapabilitySet::of(capabilities),
        None => container.capability_set(),
    };
    let filter = match spec.privileged {
        true => None,
        false => container.seccomp.filter(capabilities),
    };
    Confinement {
        user: &spec.user,
        may_set_groups: container.id_map.may_set_groups(),
        capabilities,
        filter: filter.as_deref(),
        no_new_privileges: container.no_new_privileges && !spec.privileged,
        rlimits: &container.rlimits,
        guard: None,
        ends_with_parent: spec.ends_with_parent,
        init: false,
    }
    .run(&spec.args, &spec.env)
}
