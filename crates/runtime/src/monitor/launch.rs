//! From a spec to a program that runs: control groups, namespaces, standard descriptors, network.

use super::networking::{self, Home, Networking};
use crate::cgroup::Entrance;
use crate::failure::{Failure, Stage};
use crate::init::{self, Prepared, file_systems};
use crate::program::Standard;
use crate::spec::ContainerSpec;
use coil_sys::process::Cloned;
use coil_sys::{file, process, terminal};
use std::io::Read;
use std::os::fd::OwnedFd;

/// The descriptors of the program that the monitor holds.
#[derive(Debug, Default)]
pub(super) struct Streams {
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
pub(super) struct Running {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub streams: Streams,
    /// Its mounts, kept: else the kernel takes them down before it tells of the program's end, which takes a while.
    pub mounts: Option<OwnedFd>,
    /// Closed when this process ends, whatever ends it: the program's first process looks.
    _guard: OwnedFd,
}

/// From a spec to a program that runs.
pub(super) fn start(
    spec: &ContainerSpec,
    home: &Home,
    kept: &mut Option<Networking>,
) -> Result<Running, Failure> {
    let networking = kept.insert(Networking::prepare(spec, home)?);
    let entrance = spec.cgroup.create(&spec.limits, &spec.devices).map_err(|error| {
        let source = &error.error;
        Failure::new("control groups", &error, source)
    })?;
    let filter = spec.seccomp.filter(spec.capability_set());
    clone(spec, entrance, filter, networking)
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
    let network = networking::shared_namespace(spec)?;
    let shared = init::Shared::open(spec)?;
    // Whose processes a child sees is settled before it is cloned.
    let own = shared.enter_pid()?;
    let cloned = entrance.clone_process(init::namespaces(spec));
    if let (Some(own), Ok((Cloned::Parent { .. }, _)) | Err(_)) = (&own, &cloned) {
        process::setns(own, libc::CLONE_NEWPID).stage("namespaces", "cannot leave the other's processes")?;
    }
    let (cloned, outside) = cloned.stage("namespaces", "cannot make namespaces")?;
    match cloned {
        Cloned::Child => {
            drop((streams, guard, reports));
            init::run(Prepared {
                spec,
                entrance: outside.then_some(entrance),
                network,
                shared,
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
            let started = networking.attach(spec, pid).and_then(|()| {
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
