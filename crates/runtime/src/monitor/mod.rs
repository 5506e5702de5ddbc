//! The container's monitor: one process with one thread that starts the program, keeps its output, serves its
//! control socket and its ports, sees its end and clears up. It outlives the command that started it.
//!
//! Should it be killed itself, the container's first process gets SIGKILL from the kernel: a container without a
//! monitor has no log, no ports and nobody to see its end. [`crate::sweep`] clears up after it.

mod clients;
mod health;
mod journal;
mod launch;
mod life;
mod log;
mod networking;
mod service;
mod streams;

use crate::failure::{Failure, Stage};
use crate::frame::{self, Kind};
use crate::spec::ContainerSpec;
use crate::{HouseholdSpec, household, state, user_namespace};
use coil_sys::event::Signals;
use coil_sys::{file, process};
use networking::{Home, Networking};
use service::Service;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;

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
    let home = match Home::settle(args) {
        Ok(home) => home,
        Err(failure) => return Err((starter, failure)),
    };
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
    // Who started us may have been killed, and the container removed before we came to its lock.
    let spec = match load(directory) {
        Ok(spec) => spec,
        Err(failure) => {
            state::remove_run_dir(&spec.run_dir);
            return Err((starter, failure));
        }
    };
    let run_dir = spec.run_dir.clone();
    // Blocked before the first clone, so that no end of a child is missed.
    let service = Signals::new(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .and_then(|signals| Service::new(spec, signals));
    let service = match service {
        Ok(service) => service,
        Err(error) => {
            state::remove_run_dir(&run_dir);
            return Err((
                starter,
                Failure::new("monitor", "cannot serve the container", &error),
            ));
        }
    };
    let mut networking = None;
    match launch::start(service.spec(), &home, &mut networking) {
        Ok(running) => {
            let networking = networking.unwrap_or_else(Networking::nothing);
            life::live(service, running, networking, &home, lock, starter, attach);
            Ok(())
        }
        Err(failure) => {
            if let Some(networking) = networking {
                networking.detach();
            }
            service.did_not_start(&failure);
            drop(lock);
            Err((starter, failure))
        }
    }
}

pub(super) fn load(directory: &Path) -> Result<ContainerSpec, Failure> {
    let path = directory.join("spec.json");
    let bytes = std::fs::read(&path).stage("monitor", path.display())?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::refused("monitor", format_args!("{}: {error}", path.display())))
}

/// Runs this monitor again inside a user namespace; returns only when that fails.
fn enter_user_namespace(spec: &ContainerSpec, starter: UnixStream, args: &[String]) -> (UnixStream, Failure) {
    let entered = match spec.network.household() {
        Some(household) => household::enter(spec.run_root(), household, true).map(Some),
        // Who has the household's ids keeps it. A build step's builder does that for it.
        None if !spec.id_map.is_one() && !spec.ends_with_starter => {
            let household = HouseholdSpec {
                map: spec.id_map.clone(),
                ..HouseholdSpec::default()
            };
            household::enter(spec.run_root(), &household, false).map(Some)
        }
        None => user_namespace::enter(&spec.id_map).map(|()| None),
    };
    let member = match entered {
        Ok(member) => member,
        Err(failure) => return (starter, failure),
    };
    if let Err(error) = file::duplicate_onto(&starter, 0) {
        return (starter, Failure::new("monitor", "socket", &error));
    }
    let mut again = vec!["coil".to_owned(), "internal".to_owned(), "monitor".to_owned()];
    again.extend(args.iter().cloned());
    again.push("--inside".to_owned());
    if let Some((membership, notices)) = &member {
        again.extend(notices.iter().map(|notice| format!("--notice={notice}")));
        match membership.to_argument() {
            Ok(argument) => again.push(argument),
            Err(error) => return (starter, Failure::new("monitor", "descriptors", &error)),
        }
    }
    let failure = user_namespace::run_again(&again);
    (starter, failure)
}
