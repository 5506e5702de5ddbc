//! Passing descriptors over a Unix socket (`SCM_RIGHTS`).

use crate::call::{check, owned};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Room for the control message of a few descriptors, aligned as the kernel wants it.
#[repr(align(8))]
struct Control([u8; 128]);

/// Most descriptors in one message.
pub const MOST: usize = 8;

/// Sends one byte and these descriptors (at most [`MOST`]).
pub fn send(socket: impl AsFd, byte: u8, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > MOST {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let raw: Vec<RawFd> = descriptors.iter().map(|d| d.as_raw_fd()).collect();
    let bytes = size_of_val(raw.as_slice()) as u32;
    let mut control = Control([0; 128]);
    let mut data = [byte];
    let mut part = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: all-zero is a valid msghdr; every pointer set in it outlives the call, and the control
    // buffer has room for MOST descriptors.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        if !raw.is_empty() {
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(bytes) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(bytes) as _;
            std::ptr::copy_nonoverlapping(raw.as_ptr().cast(), libc::CMSG_DATA(header), bytes as usize);
        }
        check(libc::sendmsg(
            socket.as_fd().as_raw_fd(),
            &message,
            libc::MSG_NOSIGNAL,
        ))?;
    }
    Ok(())
}

/// Receives one byte and the descriptors that came with it, close-on-exec. `None` at the end.
pub fn receive(socket: impl AsFd) -> io::Result<Option<(u8, Vec<OwnedFd>)>> {
    let mut control = Control([0; 128]);
    let mut data = [0u8];
    let mut part = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let mut descriptors = Vec::new();
    // SAFETY: as in `send`; the kernel bounds what it writes by msg_controllen, and each descriptor
    // that it hands over belongs to us alone.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        if check(libc::recvmsg(
            socket.as_fd().as_raw_fd(),
            &mut message,
            libc::MSG_CMSG_CLOEXEC,
        ))? == 0
        {
            return Ok(None);
        }
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let count = ((*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
                for index in 0..count {
                    let fd = libc::CMSG_DATA(header)
                        .cast::<RawFd>()
                        .add(index)
                        .read_unaligned();
                    descriptors.push(owned(fd.into())?);
                }
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
    }
    Ok(Some((data[0], descriptors)))
}
