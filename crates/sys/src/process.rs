//! Processes: clone, wait, signals, namespaces, identity, limits and exec.

use crate::call::{c_bytes, c_path, check, done, owned};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// What a process knows after it cloned itself.
#[derive(Debug)]
pub enum Cloned {
    /// This is the new process.
    Child,
    /// This is the old process; the child's id and its pidfd.
    Parent {
        /// Process id in the caller's namespace.
        pid: i32,
        /// Descriptor that names the child for good, close-on-exec.
        pidfd: OwnedFd,
    },
}

/// Clones this process, as `fork` with namespace flags (`CLONE_NEW*`).
///
/// Fails with `EBUSY` when the caller has more than one thread: a copy of one thread of many
/// may hold locks that nobody will ever release.
pub fn clone(namespaces: i32) -> io::Result<Cloned> {
    if threads()? != 1 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let mut pidfd: libc::c_int = -1;
    let flags = namespaces | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: without CLONE_VM the child has its own copy of memory and goes on with this stack;
    // the process is single-threaded, so no lock is held by a thread that is not copied.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags as libc::c_ulong,
            0usize,
            &mut pidfd,
            0usize,
            0usize,
        )
    })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    Ok(Cloned::Parent {
        pid: pid as i32,
        pidfd: owned(pidfd.into())?,
    })
}

/// The same, into a control group of version 2, by its directory. `ENOSYS` before Linux 5.7.
pub fn clone_into(namespaces: i32, group: impl AsFd) -> io::Result<Cloned> {
    const INTO_GROUP: u64 = 0x2_0000_0000;
    if threads()? != 1 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all-zero asks for nothing.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = namespaces as u32 as u64 | libc::CLONE_PIDFD as u64 | INTO_GROUP;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.pidfd = (&raw mut pidfd) as u64;
    arguments.cgroup = group.as_fd().as_raw_fd() as u64;
    // SAFETY: as above; `arguments` and `pidfd` outlive the call.
    let pid = check(unsafe {
        let size = size_of::<libc::clone_args>();
        libc::syscall(libc::SYS_clone3, &raw mut arguments, size)
    })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    Ok(Cloned::Parent {
        pid: pid as i32,
        pidfd: owned(pidfd.into())?,
    })
}

/// How many threads this process has.
pub fn threads() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata("/proc/self/task")?.nlink().saturating_sub(2))
}

/// A descriptor that names a process.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Sends a signal to the process that a pidfd names.
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: a null siginfo is allowed.
    done(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
}

/// Sends a signal to a process by its number.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::kill(pid, signal) })
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It left with this code.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
}

impl Ended {
    /// The shell's number for it: the code, or 128 and the signal.
    pub fn code(self) -> i32 {
        match self {
            Ended::Exited(code) => code,
            Ended::Signaled(signal) => 128 + signal,
        }
    }
}

/// Reaps one ended child, any of them; `None` when no child has ended. `ECHILD` when there is none.
pub fn reap_any() -> io::Result<Option<(i32, Ended)>> {
    wait_options(-1, libc::WNOHANG)
}

/// Waits for one child.
pub fn wait(pid: i32) -> io::Result<Ended> {
    loop {
        match wait_options(pid, 0) {
            Ok(Some((_, ended))) => return Ok(ended),
            Ok(None) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn wait_options(pid: i32, options: i32) -> io::Result<Option<(i32, Ended)>> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    let pid = check(unsafe { libc::waitpid(pid, &mut status, options) })?;
    if pid == 0 {
        return Ok(None);
    }
    let ended = if libc::WIFSIGNALED(status) {
        Ended::Signaled(libc::WTERMSIG(status))
    } else {
        Ended::Exited(libc::WEXITSTATUS(status))
    };
    Ok(Some((pid, ended)))
}

/// Ends this process at once, with no destructors and no exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(code) }
}

/// This process's parent, 0 when it is outside this process namespace.
pub fn parent_id() -> i32 {
    // SAFETY: cannot fail.
    unsafe { libc::getppid() }
}

/// Effective user id.
pub fn effective_uid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() }
}

/// Effective group id.
pub fn effective_gid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::getegid() }
}

/// Moves into new namespaces (`CLONE_NEW*`).
pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::unshare(flags) })
}

/// Joins namespaces: `flags` of the process that a pidfd names, or the one a namespace file names.
pub fn setns(fd: impl AsFd, flags: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::setns(fd.as_fd().as_raw_fd(), flags) })
}

/// Starts a session of its own.
pub fn new_session() -> io::Result<()> {
    // SAFETY: no arguments.
    done(unsafe { libc::setsid() })
}

/// Sets the supplementary groups.
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length belong together.
    done(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })
}

/// Sets real, effective and saved group.
pub fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::setresgid(gid, gid, gid) })
}

/// Sets real, effective and saved user.
pub fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::setresuid(uid, uid, uid) })
}

/// Sets the file mode mask; returns the old one.
pub fn set_umask(mask: u32) -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::umask(mask) }
}

/// Sets the host name of this UTS namespace.
pub fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length belong together.
    done(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })
}

/// Sets the NIS domain name of this UTS namespace.
pub fn set_domainname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length belong together.
    done(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) })
}

fn prctl(option: i32, a: u64, b: u64) -> io::Result<i32> {
    // SAFETY: only options with integer arguments are used in this file.
    check(unsafe { libc::prctl(option, a as libc::c_ulong, b as libc::c_ulong, 0, 0) })
}

/// Asks for a signal when the parent dies. Cleared when identity changes or a set-id program is run.
pub fn set_parent_death_signal(signal: i32) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal as u64, 0).map(|_| ())
}

/// Says whether other processes may look into this one.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into(), 0).map(|_| ())
}

/// Forbids gaining privileges through exec from now on.
pub fn set_no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(|_| ())
}

/// Makes this process the one that orphans below it fall to.
pub fn set_child_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(|_| ())
}

/// Sets the name that `ps` shows for this thread (15 bytes).
pub fn set_name(name: &str) -> io::Result<()> {
    let name = c_bytes(name.as_bytes())?;
    // SAFETY: a NUL-terminated string that outlives the call.
    done(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) })
}

/// A resource whose use is limited, by the kernel's number (`RLIMIT_*`).
pub type Resource = u32;

/// Soft and hard limit of a resource.
pub fn limit(resource: Resource) -> io::Result<(u64, u64)> {
    let mut value = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `value` is a valid place for the result.
    done(unsafe { libc::prlimit64(0, resource, std::ptr::null(), &mut value) })?;
    Ok((value.rlim_cur, value.rlim_max))
}

/// Sets soft and hard limit of a resource.
pub fn set_limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let value = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `value` is valid for the call.
    done(unsafe { libc::prlimit64(0, resource, &value, std::ptr::null_mut()) })
}

/// Joins a new, empty session keyring.
pub fn join_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    done(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) })
}

/// Strings as `execve` wants them, made before anything can go wrong.
#[derive(Debug)]
pub struct ExecStrings {
    strings: Vec<CString>,
}

impl ExecStrings {
    /// Takes arguments or `NAME=value` pairs; a NUL byte inside is an invalid argument.
    pub fn new<S: AsRef<str>>(values: &[S]) -> io::Result<Self> {
        let strings = values
            .iter()
            .map(|v| c_bytes(v.as_ref().as_bytes()))
            .collect::<io::Result<_>>()?;
        Ok(Self { strings })
    }

    fn pointers(&self) -> Vec<*const libc::c_char> {
        self.strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    }
}

/// Replaces this process by a program. Returns only the error.
pub fn exec(path: &Path, args: &ExecStrings, env: &ExecStrings) -> io::Error {
    let path = match c_path(path) {
        Ok(path) => path,
        Err(error) => return error,
    };
    let (argv, envp) = (args.pointers(), env.pointers());
    // SAFETY: both arrays end with a null pointer and their strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces this process by the program that a descriptor names. Returns only the error.
pub fn exec_fd(fd: impl AsFd, args: &ExecStrings, env: &ExecStrings) -> io::Error {
    let (argv, envp) = (args.pointers(), env.pointers());
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the empty path is NUL-terminated; both arrays end with a null pointer.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd,
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}
