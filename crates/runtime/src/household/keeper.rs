//! The keeper of a household: makes its namespaces, relays what leaves them, and goes with the last user.

use super::{HERE, LOCK, STAGE, USERS, Word, outside};
use crate::failure::{Failure, Stage};
use crate::host_sockets::HostSockets;
use crate::ports::Relay;
use crate::spec::IdMap;
use crate::{network, user_namespace};
use coil_sys::event::{Poll, ready};
use coil_sys::privilege::{self, CapabilitySets};
use coil_sys::{file, process};
use std::fs::File;
use std::io::Write;
use std::path::Path;

const GONE: u64 = 0;
const RELAY: u64 = 1;

/// `coil internal household FOLDER MAP [--here]`: standard input is the FIFO of the users, standard output takes the first word.
pub fn keeper_main(args: &[String]) -> i32 {
    let [folder, map, rest @ ..] = args else {
        return 125;
    };
    let stood = stand(map, rest.iter().any(|word| word == HERE));
    let word: Word = match &stood {
        Ok(relay) => Ok(relay.port()),
        Err(failure) => Err(failure.clone()),
    };
    let bytes = serde_json::to_vec(&word).unwrap_or_default();
    let told = file::standard(1).map(|output| output.try_clone_to_owned().map(File::from));
    let Some(Ok(mut output)) = told else { return 125 };
    if output.write_all(&bytes).is_err() {
        return 125;
    }
    drop(output);
    // Who started us reads to the end.
    let null = file::open(Path::new("/dev/null"), libc::O_RDWR);
    if null.and_then(|null| file::duplicate_onto(null, 1)).is_err() {
        return 125;
    }
    match stood {
        Ok(relay) => keep(Path::new(folder), relay),
        Err(failure) => failure.exit_code,
    }
}

/// Makes the namespaces; with `here` the user namespace is the one that this process is in.
fn stand(map: &str, here: bool) -> Result<Relay, Failure> {
    let map: IdMap = serde_json::from_str(map).map_err(|error| Failure::refused(STAGE, error))?;
    let _ = process::new_session();
    let _ = process::set_name("coil-household");
    if !here {
        user_namespace::make(&map)?;
    }
    let outside = HostSockets::leave_behind().stage(STAGE, "cannot fork")?;
    process::unshare(libc::CLONE_NEWNET).stage(STAGE, "cannot make a network namespace")?;
    network::raise_loopback().map_err(|error| Failure::new(STAGE, &error, &error.source))?;
    let relay = Relay::start(outside).stage(STAGE, "cannot listen in the network namespace")?;
    // It holds namespaces and needs no rights in them; pasta, which gives most of its own up first, may look into a
    // process with fewer alone.
    privilege::set_capabilities(CapabilitySets::default()).stage(STAGE, "cannot give up privileges")?;
    Ok(relay)
}

/// Relays until the last user is gone.
fn keep(folder: &Path, mut relay: Relay) -> i32 {
    let Some(users) = file::standard(0) else {
        return 125;
    };
    let Ok(poll) = Poll::new() else { return 125 };
    if poll.add(users, 0, GONE).is_err() || poll.add(&relay, ready::READ, RELAY).is_err() {
        return 125;
    }
    loop {
        let Ok(events) = poll.wait(-1) else { return 125 };
        for event in events {
            match event.token {
                GONE if may_go(folder, &poll) => return 0,
                GONE => {}
                _ => {
                    if relay.dispatch().is_err() {
                        return 125;
                    }
                }
            }
        }
    }
}

/// Whether nobody came meanwhile; nobody can any more then.
fn may_go(folder: &Path, poll: &Poll) -> bool {
    let Ok(lock) = File::options().write(true).open(folder.join(LOCK)) else {
        // The folder is gone, and whoever could join with it.
        return true;
    };
    if lock.lock().is_err() {
        return true;
    }
    let gone = poll
        .wait(0)
        .is_ok_and(|events| events.iter().any(|event| event.token == GONE));
    if gone {
        outside::disconnect(folder, i32::try_from(std::process::id()).unwrap_or(0));
        let _ = std::fs::remove_file(folder.join(USERS));
        // Held to the end of this process.
        file::leak(lock.into());
    }
    gone
}
