//! Becoming root of a user namespace of one's own: the first step of a container without root.

use crate::failure::{Failure, Stage, error_text};
use crate::own_binary;
use crate::spec::{IdMap, IdRange};
use coil_sys::file;
use coil_sys::privilege::{self, CapabilitySets};
use coil_sys::process::{self, Cloned, ExecStrings};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const STAGE: &str = "user namespace";

/// Enters a mount namespace in which mounts can be made, as root of a user namespace with this map.
///
/// One id may be had by everybody. With more, this process is in the household's user namespace already.
pub(crate) fn enter(map: &IdMap) -> Result<(), Failure> {
    if map.is_one() {
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
        return write_one(map);
    }
    let now = IdMap::of_process(Path::new("/proc/self")).stage(STAGE, "/proc/self/uid_map")?;
    if now != *map {
        return Err(Failure::refused(
            STAGE,
            "this user's ids are others than when the container was started; start it again",
        ));
    }
    unshare(libc::CLONE_NEWNS)
}

fn unshare(namespaces: i32) -> Result<(), Failure> {
    process::unshare(namespaces).map_err(|error| {
        let failure = Failure::new(STAGE, "cannot make a user namespace", &error);
        Failure {
            message: format!("{} (see `coil doctor`)", failure.message),
            ..failure
        }
    })
}

/// Whether this process is in the user namespace that a file of `/proc` stands for.
pub(crate) fn is_own(namespace: &Path) -> std::io::Result<bool> {
    let number = |path: &Path| std::fs::metadata(path).map(|data| (data.dev(), data.ino()));
    Ok(number(Path::new("/proc/self/ns/user"))? == number(namespace)?)
}

/// Becomes root of a new user namespace with this map, in the same mounts as before.
///
/// More than one id may be had only through `newuidmap` and `newgidmap`, which a process outside runs for us.
pub(crate) fn make(map: &IdMap) -> Result<(), Failure> {
    if map.is_one() {
        unshare(libc::CLONE_NEWUSER)?;
        return write_one(map);
    }
    let pipe = || file::pipe(0).stage(STAGE, "pipe");
    let ((go, guard), (reports, report)) = (pipe()?, pipe()?);
    let namesake = std::process::id();
    match process::clone(0).stage(STAGE, "cannot fork")? {
        Cloned::Child => {
            drop((guard, reports));
            if !file::read(&go, &mut [0]).is_ok_and(|read| read == 1) {
                process::exit_now(1);
            }
            let set = [("newuidmap", &map.uids), ("newgidmap", &map.gids)];
            let refused = set
                .iter()
                .find_map(|(program, ranges)| set_map(program, namesake, ranges).err());
            let _ = File::from(report).write_all(refused.as_deref().unwrap_or_default().as_bytes());
            process::exit_now(i32::from(refused.is_some()))
        }
        Cloned::Parent { pid, .. } => {
            drop((go, report));
            let unshared = unshare(libc::CLONE_NEWUSER);
            if unshared.is_ok() {
                let _ = file::write(&guard, b"g");
            }
            drop(guard);
            let mut said = String::new();
            // Without its words it is no less clear that it failed.
            let _ = File::from(reports).read_to_string(&mut said);
            let ended = process::wait(pid).stage(STAGE, "wait")?;
            unshared?;
            if ended.code() != 0 {
                return Err(Failure::refused(STAGE, said));
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

/// Has a program set a map; the error is what it said.
fn set_map(program: &str, process: u32, ranges: &[IdRange]) -> Result<(), String> {
    let path = mapper(program).ok_or_else(|| format!("{program} is not there"))?;
    let numbers = ranges
        .iter()
        .flat_map(|range| [range.inside, range.host, range.count])
        .map(|number| number.to_string());
    let ended = Command::new(&path)
        .arg(process.to_string())
        .args(numbers)
        .env_clear()
        .stdin(Stdio::null())
        .output();
    match ended {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("it ended without a word").trim();
            let said = said.strip_prefix(&format!("{program}: ")).unwrap_or(said);
            let mode = std::fs::metadata(&path).map_or(0, |data| data.mode());
            let why = match mode & 0o4000 {
                0 => " (it is not set-user-id root)",
                _ => "",
            };
            Err(format!("{} refuses: {said}{why}", path.display()))
        }
        Err(error) => Err(format!("{}: {}", path.display(), error_text(&error))),
    }
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
