//! Becoming root of a user namespace of one's own: the first step of a container without root.

use crate::failure::{Failure, Stage};
use crate::own_binary;
use crate::spec::{IdMap, IdRange};
use coil_sys::file;
use coil_sys::privilege::{self, CapabilitySets};
use coil_sys::process::{self, Cloned, ExecStrings};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const STAGE: &str = "user namespace";

/// Enters a new user namespace with this map, and a mount namespace in which mounts can be made.
pub(crate) fn enter(map: &IdMap) -> Result<(), Failure> {
    if !map.is_one() {
        return enter_with_help(map);
    }
    unshare()?;
    write_one(map)
}

fn unshare() -> Result<(), Failure> {
    process::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).map_err(|error| {
        let failure = Failure::new(STAGE, "cannot make a user namespace", &error);
        Failure {
            message: format!("{} (see `coil doctor`)", failure.message),
            ..failure
        }
    })
}

/// More than one id may be had only through `newuidmap` and `newgidmap`, which a process outside runs for us.
fn enter_with_help(map: &IdMap) -> Result<(), Failure> {
    let (go, guard) = file::pipe(0).stage(STAGE, "pipe")?;
    let namesake = std::process::id();
    match process::clone(0).stage(STAGE, "cannot fork")? {
        Cloned::Child => {
            drop(guard);
            let told = file::read(&go, &mut [0]).is_ok_and(|read| read == 1);
            let done = told
                && [("newuidmap", &map.uids), ("newgidmap", &map.gids)]
                    .iter()
                    .all(|(program, ranges)| set_map(program, namesake, ranges));
            process::exit_now(i32::from(!done))
        }
        Cloned::Parent { pid, .. } => {
            drop(go);
            let unshared = unshare();
            if unshared.is_ok() {
                let _ = file::write(&guard, b"g");
            }
            drop(guard);
            let ended = process::wait(pid).stage(STAGE, "wait")?;
            unshared?;
            if ended.code() != 0 {
                return Err(Failure::refused(
                    STAGE,
                    "newuidmap and newgidmap refuse the ids of /etc/subuid and /etc/subgid (see `coil doctor`)",
                ));
            }
            Ok(())
        }
    }
}

/// Where the programs that map ids may be: set-id programs come from the system alone.
const PROGRAMS: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"];

/// Finds a program that maps ids.
pub(crate) fn mapper(name: &str) -> Option<PathBuf> {
    PROGRAMS
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| file::may_execute(path).is_ok())
}

fn set_map(program: &str, process: u32, ranges: &[IdRange]) -> bool {
    let Some(path) = mapper(program) else { return false };
    let numbers = ranges
        .iter()
        .flat_map(|range| [range.inside, range.host, range.count])
        .map(|number| number.to_string());
    Command::new(path)
        .arg(process.to_string())
        .args(numbers)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Writes a map of one user and one group for a user namespace that this process has just come into.
pub(crate) fn write_one(map: &IdMap) -> Result<(), Failure> {
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
