//! Files by descriptor: openat2, directories, nodes, locks, pipes, splice.

use crate::call::{c_bytes, c_path, check, done, owned};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

/// `openat2` flags that keep a path inside a directory.
pub mod resolve {
    /// The directory is the root: `/` and `..` never lead out of it.
    pub const IN_ROOT: u64 = libc::RESOLVE_IN_ROOT;
    /// `/proc/PID/fd/N` and the like are refused.
    pub const NO_MAGIC_LINKS: u64 = libc::RESOLVE_NO_MAGICLINKS;
    /// Any symbolic link is refused.
    pub const NO_SYMLINKS: u64 = libc::RESOLVE_NO_SYMLINKS;
    /// Mount points are not crossed.
    pub const NO_CROSSING: u64 = libc::RESOLVE_NO_XDEV;
}

/// Opens a path below a directory, with the resolution rules of `openat2` (Linux 5.6).
///
/// The descriptor is close-on-exec. `EAGAIN` (a rename raced with it) is tried again.
pub fn open_below(dir: impl AsFd, path: &Path, flags: i32, mode: u32, resolve: u64) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: all-zero is a valid open_how.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = mode.into();
    how.resolve = resolve;
    let dir = dir.as_fd().as_raw_fd();
    for _ in 0..64 {
        // SAFETY: path and how are valid for the call and the size is the structure's.
        let fd = owned(unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir,
                path.as_ptr(),
                &how,
                size_of::<libc::open_how>(),
            )
        });
        match fd {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            other => return other,
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

/// Opens a path relative to a directory, close-on-exec.
pub fn open_at(dir: impl AsFd, path: &Path, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: a NUL-terminated path.
    owned(unsafe {
        libc::openat(
            dir.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags | libc::O_CLOEXEC,
            mode,
        )
        .into()
    })
}

/// Opens a path, close-on-exec.
pub fn open(path: &Path, flags: i32) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: a NUL-terminated path.
    owned(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC).into() })
}

/// Makes a directory.
pub fn mkdir_at(dir: impl AsFd, name: &Path, mode: u32) -> io::Result<()> {
    let name = c_path(name)?;
    // SAFETY: a NUL-terminated path.
    done(unsafe { libc::mkdirat(dir.as_fd().as_raw_fd(), name.as_ptr(), mode) })
}

/// Makes a device node (`S_IFCHR` and permission bits in `mode`).
pub fn mknod_at(dir: impl AsFd, name: &Path, mode: u32, major: u32, minor: u32) -> io::Result<()> {
    let name = c_path(name)?;
    let device = libc::makedev(major, minor);
    // SAFETY: a NUL-terminated path.
    done(unsafe { libc::mknodat(dir.as_fd().as_raw_fd(), name.as_ptr(), mode, device) })
}

/// Swaps two names in one step.
pub fn exchange(first: &Path, second: &Path) -> io::Result<()> {
    let (first, second) = (c_path(first)?, c_path(second)?);
    let here = libc::AT_FDCWD;
    // SAFETY: both are NUL-terminated strings that outlive the call.
    done(unsafe { libc::renameat2(here, first.as_ptr(), here, second.as_ptr(), libc::RENAME_EXCHANGE) })
}

/// Makes a symbolic link.
pub fn symlink_at(target: &Path, dir: impl AsFd, name: &Path) -> io::Result<()> {
    let (target, name) = (c_path(target)?, c_path(name)?);
    // SAFETY: NUL-terminated paths.
    done(unsafe { libc::symlinkat(target.as_ptr(), dir.as_fd().as_raw_fd(), name.as_ptr()) })
}

/// Reads a symbolic link; with an empty name, the link that an `O_PATH` descriptor names.
pub fn read_link_at(dir: impl AsFd, name: &Path) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let name = c_path(name)?;
    let mut buffer = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: pointer and length belong together.
    let length = check(unsafe {
        libc::readlinkat(
            dir.as_fd().as_raw_fd(),
            name.as_ptr(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
        )
    })?;
    buffer.truncate(length as usize);
    Ok(PathBuf::from(std::ffi::OsString::from_vec(buffer)))
}

/// What `fstat` tells that this house needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// File type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// For a device node: major and minor.
    pub device: (u32, u32),
}

impl Status {
    /// The file type bits alone (`S_IFDIR` …).
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }
}

/// The status of an open file (`O_PATH` too).
pub fn status(fd: impl AsFd) -> io::Result<Status> {
    // SAFETY: all-zero is a valid stat.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is a valid place for the result.
    done(unsafe { libc::fstat(fd.as_fd().as_raw_fd(), &mut stat) })?;
    Ok(Status {
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size as u64,
        device: (libc::major(stat.st_rdev), libc::minor(stat.st_rdev)),
    })
}

/// Magic numbers of file systems, as `statfs` tells them.
pub mod magic {
    /// proc
    pub const PROC: i64 = 0x9fa0;
    /// sysfs
    pub const SYSFS: i64 = 0x6265_6572;
    /// cgroup v1
    pub const CGROUP: i64 = 0x27_e0eb;
    /// cgroup v2
    pub const CGROUP2: i64 = 0x6367_7270;
    /// tmpfs
    pub const TMPFS: i64 = 0x0102_1994;
    /// overlayfs
    pub const OVERLAY: i64 = 0x794c_7630;
}

/// The magic number of the file system that an open file lies on.
pub fn file_system(fd: impl AsFd) -> io::Result<i64> {
    // SAFETY: all-zero is a valid statfs.
    let mut statfs: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `statfs` is a valid place for the result.
    done(unsafe { libc::fstatfs(fd.as_fd().as_raw_fd(), &mut statfs) })?;
    Ok(statfs.f_type as i64)
}

/// Changes owner and group of a name in a directory, of a link itself.
pub fn change_owner_at(dir: impl AsFd, name: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let name = c_path(name)?;
    let dir = dir.as_fd().as_raw_fd();
    // SAFETY: a NUL-terminated string that outlives the call.
    done(unsafe { libc::fchownat(dir, name.as_ptr(), uid, gid, libc::AT_SYMLINK_NOFOLLOW) })
}

/// Changes the owner of an open file.
pub fn change_owner(fd: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::fchown(fd.as_fd().as_raw_fd(), uid, gid) })
}

/// Changes the mode of an open file.
pub fn change_mode(fd: impl AsFd, mode: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::fchmod(fd.as_fd().as_raw_fd(), mode) })
}

/// Makes the open directory the current one.
pub fn change_directory(fd: impl AsFd) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::fchdir(fd.as_fd().as_raw_fd()) })
}

/// Whether this process may execute a path, by its effective identity.
pub fn may_execute(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: a NUL-terminated path.
    done(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) })
}

/// Whether this process may write a path, by its effective identity.
pub fn may_write(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: a NUL-terminated path.
    done(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK, libc::AT_EACCESS) })
}

/// A pipe, both ends close-on-exec; reading end first.
pub fn pipe(flags: i32) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors.
    done(unsafe { libc::pipe2(ends.as_mut_ptr(), flags | libc::O_CLOEXEC) })?;
    Ok((owned(ends[0].into())?, owned(ends[1].into())?))
}

/// Makes descriptor `target` a copy of `fd` that survives exec.
pub fn duplicate_onto(fd: impl AsFd, target: RawFd) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    if fd == target {
        return set_close_on_exec(fd, false);
    }
    // SAFETY: plain integers; the caller says that `target` is free to be replaced.
    done(unsafe { libc::dup3(fd, target, 0) })
}

/// Says whether a descriptor is closed by exec.
pub fn set_close_on_exec(fd: RawFd, close: bool) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::fcntl(fd, libc::F_SETFD, if close { libc::FD_CLOEXEC } else { 0 }) })
}

/// Says whether reads and writes wait.
pub fn set_nonblocking(fd: impl AsFd, nonblocking: bool) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: plain integers.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    let flags = if nonblocking {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    // SAFETY: plain integers.
    done(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) })
}

/// Takes over a descriptor that was inherited by number, and marks it close-on-exec.
///
/// Fails with `EBADF` when no such descriptor is open.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    set_close_on_exec(fd, true)?;
    owned(fd.into())
}

/// Marks every descriptor from `first` on close-on-exec (Linux 5.11), one by one on older kernels.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    let result =
        done(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) });
    let Err(error) = result else { return Ok(()) };
    if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) {
        return Err(error);
    }
    for entry in std::fs::read_dir("/proc/self/fd")? {
        if let Some(fd) = entry?.file_name().to_str().and_then(|n| n.parse::<i32>().ok())
            && fd as u32 >= first
        {
            set_close_on_exec(fd, true)?;
        }
    }
    Ok(())
}

/// Closes every descriptor but these.
pub fn close_others(keep: &[RawFd]) -> io::Result<()> {
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| !keep.contains(fd)) {
        // SAFETY: the caller never uses what it holds of them again; one that is closed already is no harm.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Closes every descriptor from `first` on, whoever thinks to own it.
///
/// Only for a process just forked that is about to go its own way: owners in it must not be dropped later.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })
}

/// Takes an exclusive lock on an open file; false when another holds it.
pub fn try_lock(fd: impl AsFd) -> io::Result<bool> {
    // SAFETY: plain integers.
    match done(unsafe { libc::flock(fd.as_fd().as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EWOULDBLOCK) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file in memory with a name for `/proc`, close-on-exec.
pub fn memory_file(name: &str) -> io::Result<OwnedFd> {
    let name = c_bytes(name.as_bytes())?;
    // SAFETY: a NUL-terminated name.
    owned(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC).into() })
}

/// Moves up to `length` bytes between two descriptors, one of them a pipe, without copying; 0 at the end.
pub fn splice(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: null offsets mean the descriptors' own positions.
    let moved = check(unsafe {
        libc::splice(
            from.as_fd().as_raw_fd(),
            std::ptr::null_mut(),
            to.as_fd().as_raw_fd(),
            std::ptr::null_mut(),
            length,
            flags,
        )
    })?;
    Ok(moved as usize)
}

/// Reads into a buffer; 0 at the end.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length belong together.
    let read =
        check(unsafe { libc::read(fd.as_fd().as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })?;
    Ok(read as usize)
}

/// Writes some of a buffer.
pub fn write(fd: impl AsFd, buffer: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length belong together.
    let written =
        check(unsafe { libc::write(fd.as_fd().as_raw_fd(), buffer.as_ptr().cast(), buffer.len()) })?;
    Ok(written as usize)
}

/// The current directory, as a place for the `*_at` calls.
pub fn here() -> BorrowedFd<'static> {
    // SAFETY: AT_FDCWD is a number that the kernel understands in every `*at` call and never closes.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
}

/// One of the three standard descriptors, borrowed.
pub fn standard(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: 0 to 2 stay open for the life of the process; only they are handed out.
    (0..=2)
        .contains(&number)
        .then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

/// Lets a descriptor outlive its owner, to be inherited by number.
pub fn leak(fd: OwnedFd) -> RawFd {
    fd.into_raw_fd()
}
