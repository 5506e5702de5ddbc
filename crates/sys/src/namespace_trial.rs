//! Trying what containers need, in a forked child that changes nothing outside of itself.
#![expect(
    unsafe_code,
    reason = "the child of a process with threads may only make plain system calls"
)]

use crate::socket::{check, own};
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The outcome of each step; a step after a failed one is not tried.
#[derive(Debug, Default)]
pub struct Trial {
    /// Making the namespaces: user (when asked for) and mount.
    pub namespaces: Option<io::Result<()>>,
    /// Setting the user namespace's maps.
    pub maps: Option<io::Result<()>>,
    /// Mounting a tmpfs.
    pub tmpfs: Option<io::Result<()>>,
    /// Mounting an overlay on it, as a container's root is.
    pub overlay: Option<io::Result<()>>,
    /// Making network, process, name and message namespaces.
    pub others: Option<io::Result<()>>,
}

const STEPS: usize = 5;
const NOT_TRIED: i32 = -1;

fn text(parts: &[&[u8]]) -> io::Result<CString> {
    CString::new(parts.concat()).map_err(io::Error::other)
}

/// Tries namespaces and mounts, as root or as the root of a new user namespace.
///
/// `scratch` is an empty directory that the child mounts on, in a mount namespace of its own.
pub fn try_namespaces(user: bool, scratch: &Path) -> io::Result<Trial> {
    let path = scratch.as_os_str().as_bytes();
    // SAFETY: no pointers are passed.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let plan = Plan {
        user,
        uid_map: text(&[format!("0 {uid} 1").as_bytes()])?,
        gid_map: text(&[format!("0 {gid} 1").as_bytes()])?,
        scratch: text(&[path])?,
        directories: [
            text(&[path, b"/l"])?,
            text(&[path, b"/u"])?,
            text(&[path, b"/w"])?,
            text(&[path, b"/m"])?,
        ],
        options: text(&[
            b"lowerdir=",
            path,
            b"/l,upperdir=",
            path,
            b"/u,workdir=",
            path,
            if user { b"/w,userxattr" } else { b"/w" },
        ])?,
    };
    let mut pair: [RawFd; 2] = [-1; 2];
    // SAFETY: the pointer is to two integers.
    check(unsafe { libc::pipe2(pair.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let (reader, writer) = (own(pair[0])?, own(pair[1])?);
    // SAFETY: the child makes plain system calls on memory that was prepared, and leaves by `_exit`.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        // SAFETY: this is the forked child.
        unsafe {
            let outcome = plan.run();
            libc::write(writer.as_raw_fd(), outcome.as_ptr().cast(), size_of_val(&outcome));
            libc::_exit(0);
        }
    }
    drop(writer);
    let mut outcome = [NOT_TRIED; STEPS];
    // SAFETY: pointer and length describe the local array; the child writes it whole or ends.
    let read = unsafe {
        libc::read(
            reader.as_raw_fd(),
            outcome.as_mut_ptr().cast(),
            size_of_val(&outcome),
        )
    };
    // SAFETY: our own child, which ends at once.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    if read != size_of_val(&outcome) as isize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let step = |index: usize| match outcome[index] {
        NOT_TRIED => None,
        0 => Some(Ok(())),
        errno => Some(Err(io::Error::from_raw_os_error(errno))),
    };
    Ok(Trial {
        namespaces: step(0),
        maps: step(1),
        tmpfs: step(2),
        overlay: step(3),
        others: step(4),
    })
}

/// Everything that the child needs, made before the fork.
struct Plan {
    user: bool,
    uid_map: CString,
    gid_map: CString,
    scratch: CString,
    directories: [CString; 4],
    options: CString,
}

impl Plan {
    /// The steps; stops at the first failure but for the overlay's.
    ///
    /// # Safety
    /// For a forked child alone: it changes the process's namespaces.
    unsafe fn run(&self) -> [i32; STEPS] {
        let mut outcome = [NOT_TRIED; STEPS];
        // SAFETY: plain system calls; every pointer is to a NUL-terminated string of `self` or a literal.
        unsafe {
            let result = |value: libc::c_int| if value < 0 { *libc::__errno_location() } else { 0 };
            let user = if self.user { libc::CLONE_NEWUSER } else { 0 };
            outcome[0] = result(libc::unshare(user | libc::CLONE_NEWNS));
            if outcome[0] != 0 {
                return outcome;
            }
            if self.user {
                outcome[1] = write_file(c"/proc/self/setgroups", c"deny");
                if outcome[1] == 0 {
                    outcome[1] = write_file(c"/proc/self/uid_map", &self.uid_map);
                }
                if outcome[1] == 0 {
                    outcome[1] = write_file(c"/proc/self/gid_map", &self.gid_map);
                }
                if outcome[1] != 0 {
                    return outcome;
                }
            }
            let nothing = std::ptr::null();
            let private = libc::MS_REC | libc::MS_PRIVATE;
            outcome[2] = result(libc::mount(
                nothing,
                c"/".as_ptr(),
                nothing,
                private,
                nothing.cast(),
            ));
            if outcome[2] == 0 {
                let kind = c"tmpfs".as_ptr();
                outcome[2] = result(libc::mount(kind, self.scratch.as_ptr(), kind, 0, nothing.cast()));
            }
            if outcome[2] != 0 {
                return outcome;
            }
            for directory in &self.directories {
                libc::mkdir(directory.as_ptr(), 0o700);
            }
            let kind = c"overlay".as_ptr();
            let (target, options) = (self.directories[3].as_ptr(), self.options.as_ptr());
            outcome[3] = result(libc::mount(kind, target, kind, 0, options.cast()));
            outcome[4] = result(libc::unshare(
                libc::CLONE_NEWNET | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC,
            ));
        }
        outcome
    }
}

/// Writes a short file; the error number, or 0.
unsafe fn write_file(path: &std::ffi::CStr, value: &std::ffi::CStr) -> i32 {
    // SAFETY: NUL-terminated strings; the length is the value's own.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return *libc::__errno_location();
        }
        let written = libc::write(fd, value.as_ptr().cast(), value.count_bytes());
        let errno = if written < 0 { *libc::__errno_location() } else { 0 };
        libc::close(fd);
        errno
    }
}

/// The bytes of a file system that this user may still fill, and its whole size.
pub fn disk_space(path: &Path) -> io::Result<(u64, u64)> {
    let path = text(&[path.as_os_str().as_bytes()])?;
    let mut result = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: a NUL-terminated path, and room for the answer.
    check(unsafe { libc::statvfs(path.as_ptr(), result.as_mut_ptr()) })?;
    // SAFETY: the call above has filled it in.
    let result = unsafe { result.assume_init() };
    Ok((
        result.f_bavail * result.f_frsize,
        result.f_blocks * result.f_frsize,
    ))
}
