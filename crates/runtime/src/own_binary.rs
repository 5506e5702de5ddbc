//! Our own program, so that nothing in a container can write to it.
//!
//! A process that becomes a container's first shows our binary as `/proc/PID/exe` to whoever it runs next
//! (CVE-2019-5736). What it runs from is therefore a detached, read-only mount of the binary, or a copy in memory.

use coil_sys::file;
use coil_sys::mount::{self, attribute};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A descriptor to execute our binary by.
pub(crate) fn sealed(exe: &Path) -> io::Result<OwnedFd> {
    let bind = || -> io::Result<OwnedFd> {
        let tree = mount::clone_tree(exe, false)?;
        mount::set_attributes(&tree, attribute::READ_ONLY | attribute::NO_SUID, false)?;
        Ok(tree)
    };
    bind()
        .or_else(|_| copy(exe))
        // Its file may have been replaced since it was started.
        .or_else(|_| copy(Path::new("/proc/self/exe")))
}

/// For kernels before 5.12, and for who may not mount.
fn copy(exe: &Path) -> io::Result<OwnedFd> {
    let mut copy = std::fs::File::from(file::memory_file("coil")?);
    io::copy(&mut std::fs::File::open(exe)?, &mut copy)?;
    Ok(copy.into())
}
