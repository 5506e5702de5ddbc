//! Mounts: the descriptor-based mount API (Linux 5.2, attributes 5.12) with classic fall-backs.

use crate::call::{c_bytes, c_path, done, owned};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Attributes of a mount, the kernel's `MOUNT_ATTR_*` bits.
pub mod attribute {
    /// No writes.
    pub const READ_ONLY: u64 = 0x1;
    /// Set-id bits have no effect.
    pub const NO_SUID: u64 = 0x2;
    /// Device nodes have no effect.
    pub const NO_DEV: u64 = 0x4;
    /// Programs can't be run.
    pub const NO_EXEC: u64 = 0x8;
    /// Access times are never written.
    pub const NO_ACCESS_TIME: u64 = 0x10;
}

/// Propagation of a mount.
pub mod propagation {
    /// Nothing comes in or goes out.
    pub const PRIVATE: u64 = libc::MS_PRIVATE;
    /// The host's mounts come in, ours don't go out.
    pub const SLAVE: u64 = libc::MS_SLAVE;
    /// Both ways.
    pub const SHARED: u64 = libc::MS_SHARED;
}

#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const AT_EMPTY_PATH: i32 = libc::AT_EMPTY_PATH;
const AT_RECURSIVE: i32 = 0x8000;
const MOVE_FROM_EMPTY: u32 = 0x4;
const MOVE_TO_EMPTY: u32 = 0x40;

/// A detached copy of the mount at a path, as `mount --bind` (`--rbind` when recursive) before it is placed.
pub fn clone_tree(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    clone_tree_at(crate::file::here(), path, recursive)
}

/// The same for an open file or directory (`O_PATH` will do).
pub fn clone_tree_fd(fd: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    clone_tree_at(fd, Path::new(""), recursive)
}

/// The same relative to a directory.
pub fn clone_tree_at(dir: impl AsFd, path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::O_CLOEXEC as u32;
    if recursive {
        flags |= AT_RECURSIVE as u32;
    }
    if path.as_os_str().is_empty() {
        flags |= AT_EMPTY_PATH as u32;
    }
    let path = c_path(path)?;
    // SAFETY: a NUL-terminated path.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_fd().as_raw_fd(), path.as_ptr(), flags) })
}

/// Places a detached mount on an open file or directory.
pub fn place(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    // SAFETY: empty NUL-terminated paths.
    done(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            target.as_fd().as_raw_fd(),
            c"".as_ptr(),
            MOVE_FROM_EMPTY | MOVE_TO_EMPTY,
        )
    })
}

/// Sets attributes of a mount; falls back to a classic remount through `/proc/self/fd` before Linux 5.12.
pub fn set_attributes(mount: impl AsFd, set: u64, recursive: bool) -> io::Result<()> {
    let value = MountAttributes {
        set,
        ..MountAttributes::default()
    };
    change(mount, &value, recursive)
}

/// Sets the propagation of a mount.
pub fn set_propagation(mount: impl AsFd, propagation: u64, recursive: bool) -> io::Result<()> {
    let value = MountAttributes {
        propagation,
        ..MountAttributes::default()
    };
    change(mount, &value, recursive)
}

fn change(mount: impl AsFd, value: &MountAttributes, recursive: bool) -> io::Result<()> {
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the structure is valid for the call and the size is its own.
    let result = done(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            value,
            size_of::<MountAttributes>(),
        )
    });
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => classic(mount, value, recursive),
        other => other,
    }
}

/// Only for mounts that are placed already: a detached one has no path for `mount(2)`.
fn classic(mount: impl AsFd, value: &MountAttributes, recursive: bool) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", mount.as_fd().as_raw_fd());
    let recursive = if recursive { libc::MS_REC } else { 0 };
    if value.propagation != 0 {
        return classic_mount(Path::new(&path), value.propagation | recursive);
    }
    let mut flags = libc::MS_BIND | libc::MS_REMOUNT;
    for (bit, flag) in [
        (attribute::READ_ONLY, libc::MS_RDONLY),
        (attribute::NO_SUID, libc::MS_NOSUID),
        (attribute::NO_DEV, libc::MS_NODEV),
        (attribute::NO_EXEC, libc::MS_NOEXEC),
    ] {
        if value.set & bit != 0 {
            flags |= flag;
        }
    }
    classic_mount(Path::new(&path), flags)
}

fn classic_mount(target: &Path, flags: libc::c_ulong) -> io::Result<()> {
    let target = c_path(target)?;
    // SAFETY: null source, type and data are allowed with these flags.
    done(unsafe {
        libc::mount(
            std::ptr::null(),
            target.as_ptr(),
            std::ptr::null(),
            flags,
            std::ptr::null(),
        )
    })
}

/// Changes the propagation of every mount of this namespace below a path.
pub fn set_propagation_below(path: &Path, propagation: u64) -> io::Result<()> {
    classic_mount(path, propagation | libc::MS_REC)
}

/// A new file system that is being configured.
#[derive(Debug)]
pub struct NewFileSystem {
    fd: OwnedFd,
}

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;

impl NewFileSystem {
    /// Begins a file system of a type.
    pub fn open(kind: &str) -> io::Result<Self> {
        let kind = c_bytes(kind.as_bytes())?;
        // SAFETY: a NUL-terminated name.
        let fd = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1) })?;
        Ok(Self { fd })
    }

    /// Sets an option with a value.
    pub fn set(&self, key: &str, value: &str) -> io::Result<()> {
        self.set_bytes(key, value.as_bytes())
    }

    /// Sets an option whose value is a path.
    pub fn set_path(&self, key: &str, value: &Path) -> io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        self.set_bytes(key, value.as_os_str().as_bytes())
    }

    fn set_bytes(&self, key: &str, value: &[u8]) -> io::Result<()> {
        let value = c_bytes(value)?;
        self.configure(FSCONFIG_SET_STRING, Some(key), Some(&value))
    }

    /// Sets an option that has no value.
    pub fn flag(&self, key: &str) -> io::Result<()> {
        self.configure(FSCONFIG_SET_FLAG, Some(key), None)
    }

    fn configure(&self, command: u32, key: Option<&str>, value: Option<&CString>) -> io::Result<()> {
        let key = key.map(|k| c_bytes(k.as_bytes())).transpose()?;
        let key_pointer = key.as_ref().map_or(std::ptr::null(), |k| k.as_ptr());
        let value_pointer = value.map_or(std::ptr::null(), |v| v.as_ptr());
        // SAFETY: both strings are NUL-terminated or null, and outlive the call.
        done(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.fd.as_raw_fd(),
                command,
                key_pointer,
                value_pointer,
                0,
            )
        })
    }

    /// Creates the file system and a detached mount of it with these attributes.
    pub fn mount(&self, attributes: u64) -> io::Result<OwnedFd> {
        self.configure(FSCONFIG_CMD_CREATE, None, None)?;
        // SAFETY: plain integers.
        owned(unsafe { libc::syscall(libc::SYS_fsmount, self.fd.as_raw_fd(), 1, attributes) })
    }

    /// What the kernel said about the last failure, if it said anything.
    pub fn complaint(&self) -> Option<String> {
        let mut buffer = [0u8; 512];
        let length = crate::file::read(&self.fd, &mut buffer).ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        Some(text.trim().trim_start_matches("e ").to_owned()).filter(|t| !t.is_empty())
    }
}

/// Mounts in the classic way: type, options and target by path.
pub fn mount_classic(kind: &str, target: &Path, options: &str) -> io::Result<()> {
    let (kind, target, options) = (
        c_bytes(kind.as_bytes())?,
        c_path(target)?,
        c_bytes(options.as_bytes())?,
    );
    // SAFETY: all strings are NUL-terminated and outlive the call.
    done(unsafe {
        libc::mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    })
}

/// Makes the current directory the root, and lets go of the old root with all that is mounted there.
pub fn pivot_to_current_directory() -> io::Result<()> {
    // SAFETY: NUL-terminated constant paths.
    unsafe {
        done(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))?;
        done(libc::umount2(c".".as_ptr(), libc::MNT_DETACH))?;
        done(libc::chdir(c"/".as_ptr()))
    }
}

/// Takes a mount off a path, at once, even when it is in use.
pub fn detach(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: a NUL-terminated path.
    done(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) })
}
