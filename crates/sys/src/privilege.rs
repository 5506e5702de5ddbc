//! Capabilities, seccomp filters and the cgroup device program: what a process may still do.

use crate::call::{check, done, owned};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Capability sets of a process as bit masks (bit n is capability number n).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySets {
    /// In force.
    pub effective: u64,
    /// May be brought into force.
    pub permitted: u64,
    /// Kept over exec of a program that asks for them.
    pub inheritable: u64,
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// The capability sets of this thread.
pub fn capabilities() -> io::Result<CapabilitySets> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: version 3 writes two data structures.
    done(unsafe { libc::syscall(libc::SYS_capget, &mut header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(CapabilitySets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// Sets the capability sets of this thread.
pub fn set_capabilities(sets: CapabilitySets) -> io::Result<()> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let part = |shift: u32| CapabilityData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [part(0), part(32)];
    // SAFETY: version 3 reads two data structures.
    done(unsafe { libc::syscall(libc::SYS_capset, &mut header, data.as_ptr()) })
}

/// Whether a capability is in the bounding set; `None` when the kernel doesn't know its number.
pub fn bounded(capability: u32) -> Option<bool> {
    // SAFETY: plain integers.
    match check(unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability as libc::c_ulong, 0, 0, 0) }) {
        Ok(value) => Some(value == 1),
        Err(_) => None,
    }
}

/// Takes a capability out of the bounding set.
pub fn drop_bounded(capability: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) })
}

/// Keeps permitted capabilities when the user changes from root; not kept over exec.
pub fn keep_capabilities() -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) })
}

/// Adds a capability to the ambient set, which an ordinary program gets at exec.
pub fn raise_ambient(capability: u32) -> io::Result<()> {
    let (raise, capability) = (
        libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
        capability as libc::c_ulong,
    );
    // SAFETY: plain integers.
    done(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, capability, 0, 0) })
}

/// Empties the ambient set.
pub fn clear_ambient() -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong,
            0,
            0,
            0,
        )
    })
}

/// One instruction of a classic BPF program.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it doesn't.
    pub jump_false: u8,
    /// Constant.
    pub value: u32,
}

/// Installs a seccomp filter for this thread and what it will start.
///
/// Needs CAP_SYS_ADMIN in the user namespace, or no-new-privileges.
pub fn install_filter(program: &[Instruction]) -> io::Result<()> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `Instruction` has the layout of sock_filter; pointer and length belong together; the kernel only reads.
    done(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &program) })
}

/// One instruction of an extended BPF program (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtendedInstruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source in the high four.
    pub registers: u8,
    /// Jump or memory offset.
    pub offset: i16,
    /// Constant.
    pub value: i32,
}

const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_ATTACH: i32 = 8;
const BPF_LINK_CREATE: i32 = 28;
const PROGRAM_CGROUP_DEVICE: u32 = 15;
const PROGRAM_CGROUP_ADDRESS: u32 = 18;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ATTACH_CONNECT_4: u32 = 10;

#[repr(C, align(8))]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    device: u32,
    attach_kind: u32,
}

#[repr(C)]
#[derive(Default)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

fn load(program: &[ExtendedInstruction], program_type: u32, attach_kind: u32) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let load = LoadAttributes {
        program_type,
        attach_kind,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..LoadAttributes::default()
    };
    // SAFETY: the pointers are valid for the call and the size is the structure's.
    owned(unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &load, size_of::<LoadAttributes>()) })
}

/// Has a program look at each IPv4 connect of the processes in a cgroup v2 directory and below (Linux 5.7), as long as the
/// descriptor that comes back is open. Needs root on the host.
pub fn link_connect_program(cgroup: impl AsFd, program: &[ExtendedInstruction]) -> io::Result<OwnedFd> {
    let loaded = load(program, PROGRAM_CGROUP_ADDRESS, ATTACH_CONNECT_4)?;
    // `link_create`: program, target, kind and flags.
    let link = AttachAttributes {
        target: loaded.as_raw_fd() as u32,
        program: cgroup.as_fd().as_raw_fd() as u32,
        kind: ATTACH_CONNECT_4,
        flags: 0,
    };
    // SAFETY: the pointer is valid for the call and the size is the structure's.
    owned(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_CREATE,
            &link,
            size_of::<AttachAttributes>(),
        )
    })
}

/// Loads a device program and attaches it to a cgroup v2 directory. Needs root on the host.
pub fn attach_device_program(cgroup: impl AsFd, program: &[ExtendedInstruction]) -> io::Result<OwnedFd> {
    let fd = load(program, PROGRAM_CGROUP_DEVICE, 0)?;
    let attach = AttachAttributes {
        target: cgroup.as_fd().as_raw_fd() as u32,
        program: fd.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags: 0,
    };
    // SAFETY: as above.
    done(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            &attach,
            size_of::<AttachAttributes>(),
        )
    })?;
    Ok(fd)
}
