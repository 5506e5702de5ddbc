//! The container's monitor: one process with one thread that starts the program, keeps its output, serves its
//! control socket and its ports, sees its end and clears up. It outlives the command that started it.
//!
//! Should it be killed itself, the container's first process gets SIGKILL from the kernel: a container without a
//! monitor has no log, no ports and nobody to see its end. [`crate::sweep`] clears up after it.

mod clients;
mod log;
mod networking;
mod service;

use crate::cgroup::Entrance;
use crate::failure::{Failure, Stage};
use crate::frame::{self, Kind};
use crate::init::{self, Prepared, file_systems};
use crate::program::Standard;
use crate::seccomp;
use crate::spec::{ContainerSpec, SeccompPolicy};
use crate::state::{self, State, Status};
use crate::{timestamp, user_namespace};
use coil_sys::event::Signals;
use coil_sys::process::Cloned;
use coil_sys::{file, process, terminal};
use networking::Networking;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The descriptors of the program that the monitor holds.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Writing end of the program's input.
    pub input: Option<OwnedFd>,
    /// Reading end of its output, or its terminal.
    pub output: Option<OwnedFd>,
    /// Reading end of its errors.
    pub errors: Option<OwnedFd>,
    /// Whether output is a terminal, for input too.
    pub terminal: bool,
}

/// A program that runs, with all that belongs to it.
struct Running {
    pid: i32,
    pidfd: OwnedFd,
    streams: Streams,
    /// Its mounts, kept: else the kernel takes them down before it tells of the program's end, which takes a while.
    mounts: Option<OwnedFd>,
    /// Closed when this process ends, whatever ends it: the program's first process looks.
    _guard: OwnedFd,
}

/// `coil internal monitor DIRECTORY [--attach]`: standard input is the socket of who started it.
pub fn monitor_main(args: &[String]) -> i32 {
    let Some(directory) = args.first() else { return 125 };
    let has = |flag: &str| args[1..].iter().any(|a| a == flag);
    let Ok(starter) = take_starter() else { return 125 };
    match supervise(
        Path::new(directory),
        starter,
        has("--attach"),
        has("--inside"),
        args,
    ) {
        Ok(()) => 0,
        Err((starter, failure)) => tell(&starter, &failure),
    }
}

/// Takes the socket off standard input, and puts `/dev/null` there.
fn take_starter() -> std::io::Result<UnixStream> {
    let input = file::standard(0).ok_or(std::io::ErrorKind::NotFound)?;
    let starter = input.try_clone_to_owned()?;
    file::duplicate_onto(file::open(Path::new("/dev/null"), libc::O_RDWR)?, 0)?;
    Ok(UnixStream::from(starter))
}

fn tell(starter: &UnixStream, failure: &Failure) -> i32 {
    let mut bytes = Vec::new();
    frame::append(
        &mut bytes,
        Kind::Failed,
        &serde_json::to_vec(failure).unwrap_or_default(),
    );
    // Nobody else is there to be told.
    let mut starter = starter;
    let _ = starter.write_all(&bytes);
    failure.exit_code
}

fn supervise(
    directory: &Path,
    starter: UnixStream,
    attach: bool,
    inside: bool,
    args: &[String],
) -> Result<(), (UnixStream, Failure)> {
    let spec = match load(directory) {
        Ok(spec) => spec,
        Err(failure) => return Err((starter, failure)),
    };
    if !inside {
        let _ = process::new_session();
        if !spec.id_map.is_identity() {
            return Err(enter_user_namespace(&spec, starter, args));
        }
    }
    let _ = process::set_dumpable(false);
    let _ = process::set_name("coil-monitor");
    let lock = match state::lock(&spec.run_dir, &spec.container_dir) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Err((starter, Failure::refused("monitor", "the container runs already"))),
        Err(error) => {
            return Err((
                starter,
                Failure::new("monitor", "cannot lock the container", &error),
            ));
        }
    };
    let mut networking = None;
    match start(&spec, &mut networking) {
        Ok((running, signals)) => {
            let networking = networking.unwrap_or_else(Networking::nothing);
            service::serve(&spec, running, signals, networking, lock, starter, attach);
            Ok(())
        }
        Err(failure) => {
            let _ = spec.cgroup.remove();
            if let Some(networking) = networking {
                networking.detach();
            }
            let state = State {
                status: Status::Exited,
                exit_code: failure.exit_code,
                error: failure.message.clone(),
                finished_at: timestamp::now(),
                ..State::default()
            };
            let _ = state.save(&spec.container_dir);
            service::leave(&spec);
            drop(lock);
            Err((starter, failure))
        }
    }
}

fn load(directory: &Path) -> Result<ContainerSpec, Failure> {
    let path = directory.join("spec.json");
    let bytes = std::fs::read(&path).stage("monitor", path.display())?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::refused("monitor", format_args!("{}: {error}", path.display())))
}

/// Runs this monitor again inside a user namespace; returns only when that fails.
fn enter_user_namespace(spec: &ContainerSpec, starter: UnixStream, args: &[String]) -> (UnixStream, Failure) {
    if let Err(failure) = user_namespace::enter(&spec.id_map) {
        return (starter, failure);
    }
    if let Err(error) = file::duplicate_onto(&starter, 0) {
        return (starter, Failure::new("monitor", "socket", &error));
    }
    let mut again = vec!["coil".to_owned(), "internal".to_owned(), "monitor".to_owned()];
    again.extend(args.iter().cloned());
    again.push("--inside".to_owned());
    let failure = user_namespace::run_again(&again);
    (starter, failure)
}

/// From a spec to a program that runs.
fn start(spec: &ContainerSpec, kept: &mut Option<Networking>) -> Result<(Running, Signals), Failure> {
    let networking = kept.insert(Networking::prepare(spec)?);
    let entrance = spec.cgroup.create(&spec.limits).map_err(|error| {
        let source = &error.error;
        Failure::new("control groups", &error, source)
    })?;
    let filter = match spec.seccomp {
        SeccompPolicy::Default => Some(seccomp::default_filter(spec.capability_set())),
        SeccompPolicy::Unconfined => None,
    };
    // Before the clone, so that no end of a child is missed.
    let signals = Signals::new(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .stage("monitor", "signals")?;
    clone(spec, entrance, filter, networking).map(|running| (running, signals))
}

fn clone(
    spec: &ContainerSpec,
    entrance: Entrance,
    filter: Option<Vec<coil_sys::privilege::Instruction>>,
    networking: &mut Networking,
) -> Result<Running, Failure> {
    let pipe = || file::pipe(0).stage("monitor", "pipe");
    let terminals =
        file_systems::terminals(spec.id_map.has_gid(5)).stage("file systems", "cannot make terminals")?;
    let (go, guard) = pipe()?;
    let (reports, report) = pipe()?;
    let (streams, standard) = streams(spec, &terminals)?;
    let (cloned, outside) = entrance
        .clone_process(init::namespaces(spec))
        .stage("namespaces", "cannot make namespaces")?;
    match cloned {
        Cloned::Child => {
            drop((streams, guard, reports));
            init::run(Prepared {
                spec,
                entrance: outside.then_some(entrance),
                filter,
                terminals,
                standard,
                go,
                report,
            })
        }
        Cloned::Parent { pid, pidfd } => {
            drop((standard, go, report, terminals));
            let mounts = std::fs::File::open(format!("/proc/{pid}/ns/mnt"))
                .ok()
                .map(OwnedFd::from);
            let started = networking.attach(pid).and_then(|()| {
                // When the first process is gone already, it has reported why.
                let _ = file::write(&guard, b"g");
                let mut bytes = Vec::new();
                std::fs::File::from(reports)
                    .read_to_end(&mut bytes)
                    .stage("monitor", "report")?;
                if bytes.is_empty() {
                    return Ok(());
                }
                Err(serde_json::from_slice(&bytes)
                    .unwrap_or_else(|_| Failure::refused("init", "the container's first process broke off")))
            });
            match started {
                Ok(()) => Ok(Running {
                    pid,
                    pidfd,
                    streams,
                    mounts,
                    _guard: guard,
                }),
                Err(failure) => {
                    let _ = process::pidfd_send_signal(&pidfd, libc::SIGKILL);
                    let _ = process::wait(pid);
                    Err(failure)
                }
            }
        }
    }
}

/// Pipes or a terminal: the monitor's ends and the program's.
fn streams(spec: &ContainerSpec, terminals: &OwnedFd) -> Result<(Streams, Standard), Failure> {
    let stage = "standard input and output";
    if spec.terminal {
        let (master, slave) = terminal::open_pair(terminals).stage(stage, "cannot open a terminal")?;
        if let Some((rows, columns)) = spec.init_tty_size {
            terminal::set_size(&master, rows, columns).stage(stage, "cannot size the terminal")?;
        }
        file::set_nonblocking(&master, true).stage(stage, "terminal")?;
        let streams = Streams {
            output: Some(master),
            terminal: true,
            ..Streams::default()
        };
        return Ok((streams, Standard::Terminal(slave)));
    }
    let pipe = || file::pipe(0).stage(stage, "pipe");
    let wait_never = |fd: &OwnedFd| file::set_nonblocking(fd, true).stage(stage, "pipe");
    let (output, to_output) = pipe()?;
    let (errors, to_errors) = pipe()?;
    wait_never(&output)?;
    wait_never(&errors)?;
    let (from_input, input) = match spec.stdin_open {
        true => {
            let (from, to) = pipe()?;
            wait_never(&to)?;
            (Some(from), Some(to))
        }
        false => (None, None),
    };
    let streams = Streams {
        input,
        output: Some(output),
        errors: Some(errors),
        terminal: false,
    };
    Ok((
        streams,
        Standard::Pipes {
            input: from_input,
            output: to_output,
            errors: to_errors,
        },
    ))
}
