//! Turning a C return value and `errno` into a Rust result.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The value, or the last error when it is negative.
pub(crate) fn check<T: PartialOrd + Default>(value: T) -> io::Result<T> {
    if value < T::default() {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

/// The same for calls whose value is of no interest.
pub(crate) fn done<T: PartialOrd + Default>(value: T) -> io::Result<()> {
    check(value).map(|_| ())
}

/// Takes ownership of a descriptor that a call just returned.
pub(crate) fn owned(value: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(value)?;
    // SAFETY: the kernel just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A path as C wants it; a path with a NUL byte is an invalid argument.
pub(crate) fn c_path(path: &Path) -> io::Result<CString> {
    c_bytes(path.as_os_str().as_bytes())
}

/// Bytes as C wants them.
pub(crate) fn c_bytes(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
