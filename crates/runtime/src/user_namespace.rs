//! Becoming root of a user namespace of one's own: the first step of a container without root.

use crate::failure::{Failure, Stage};
use crate::own_binary;
use crate::spec::{IdMap, IdRange};
use coil_sys::privilege::{self, CapabilitySets};
use coil_sys::process::{self, ExecStrings};
use std::path::Path;

const STAGE: &str = "user namespace";

/// Enters a new user namespace with this map, and a mount namespace in which mounts can be made.
pub(crate) fn enter(map: &IdMap) -> Result<(), Failure> {
    if map.uids.len() != 1 || map.gids.len() != 1 || map.uids[0].count != 1 || map.gids[0].count != 1 {
        return Err(Failure::refused(
            STAGE,
            "a map of more than one id needs newuidmap, which is not supported yet",
        ));
    }
    process::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).map_err(|error| {
        let failure = Failure::new(STAGE, "cannot make a user namespace", &error);
        Failure {
            message: format!("{} (see `coil doctor`)", failure.message),
            ..failure
        }
    })?;
    let write = |name: &str, text: &str| {
        let path = Path::new("/proc/self").join(name);
        std::fs::write(&path, text).stage(STAGE, format_args!("cannot write {}", path.display()))
    };
    let line = |range: &IdRange| format!("{} {} {}", range.inside, range.host, range.count);
    write("setgroups", "deny")?;
    write("uid_map", &line(&map.uids[0]))?;
    write("gid_map", &line(&map.gids[0]))
}

/// Runs our binary again, sealed, with every right that this process has in its namespace. Returns only a failure.
pub(crate) fn run_again(args: &[String]) -> Failure {
    let attempt = || -> std::io::Result<std::io::Error> {
        // The link leads through a mount of the old namespace; its text is the path in the new one.
        let exe = own_binary::sealed(&std::fs::read_link("/proc/self/exe")?)?;
        // Whoever isn't number 0 inside keeps rights over exec only as ambient ones.
        let now = privilege::capabilities()?;
        privilege::set_capabilities(CapabilitySets {
            inheritable: now.permitted,
            ..now
        })?;
        for capability in 0..64 {
            if now.permitted & 1 << capability != 0 {
                privilege::raise_ambient(capability)?;
            }
        }
        Ok(process::exec_fd(
            exe,
            &ExecStrings::new(args)?,
            &ExecStrings::new::<&str>(&[])?,
        ))
    };
    let error = attempt().unwrap_or_else(|error| error);
    Failure::new(STAGE, "cannot run coil again inside", &error)
}
