//! Internet sockets as the standard library can't make them: non-blocking connects, IPv6-only listeners, descriptors passed.
#![expect(unsafe_code, reason = "socket calls of libc")]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Turns libc's -1 into an [`io::Error`].
pub(crate) fn check(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

/// Turns libc's -1 into an [`io::Error`], for calls that count bytes.
pub(crate) fn check_size(value: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(value).map_err(|_| io::Error::last_os_error())
}

/// Takes ownership of a descriptor that the kernel has just given.
pub(crate) fn own(value: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(value)?;
    // SAFETY: the kernel has just returned this descriptor to us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The transport of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// A byte stream.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Makes a non-blocking, close-on-exec socket for an address family.
pub fn open(ipv6: bool, transport: Transport) -> io::Result<OwnedFd> {
    let family = if ipv6 { libc::AF_INET6 } else { libc::AF_INET };
    let kind = match transport {
        Transport::Tcp => libc::SOCK_STREAM,
        Transport::Udp => libc::SOCK_DGRAM,
    };
    // SAFETY: no pointers are passed.
    own(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) })
}

/// Sets an integer socket option.
pub fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and the length describe the local integer.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// An address in the kernel's form.
struct RawAddress {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl RawAddress {
    fn new(address: SocketAddr) -> Self {
        // SAFETY: all zeroes is a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
        let length = match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(v4.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is larger than, and aligned for, every address type.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(raw) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(raw) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        Self {
            storage,
            length: length as libc::socklen_t,
        }
    }

    fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }
}

fn bind(socket: OwnedFd, address: SocketAddr, transport: Transport) -> io::Result<OwnedFd> {
    use std::os::fd::AsFd as _;
    if address.is_ipv6() {
        set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    if transport == Transport::Tcp {
        set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    }
    let raw = RawAddress::new(address);
    // SAFETY: pointer and length describe `raw`, which lives through the call.
    check(unsafe { libc::bind(socket.as_raw_fd(), raw.pointer(), raw.length) })?;
    Ok(socket)
}

/// Listens on an address, non-blocking; `[::]` means IPv6 alone, unlike the standard library's.
pub fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    listen_tcp_by(open(address.is_ipv6(), Transport::Tcp)?, address)
}

/// As [`listen_tcp`], by a socket that was made before, maybe in another network namespace.
pub fn listen_tcp_by(socket: OwnedFd, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind(socket, address, Transport::Tcp)?;
    // SAFETY: no pointers are passed.
    check(unsafe { libc::listen(socket.as_raw_fd(), 4096) })?;
    Ok(TcpListener::from(socket))
}

/// Binds a non-blocking datagram socket; `[::]` means IPv6 alone.
pub fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    bind_udp_by(open(address.is_ipv6(), Transport::Udp)?, address)
}

/// As [`bind_udp`], by a socket that was made before, maybe in another network namespace.
pub fn bind_udp_by(socket: OwnedFd, address: SocketAddr) -> io::Result<UdpSocket> {
    bind(socket, address, Transport::Udp).map(UdpSocket::from)
}

/// Where a connection was meant to go before a packet filter led it here; IPv4.
///
/// # Errors
/// `ENOENT` for one that came by itself.
pub fn original_destination(stream: &TcpStream) -> io::Result<SocketAddrV4> {
    // SAFETY: all zeroes is a valid sockaddr_in.
    let mut raw: libc::sockaddr_in = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: pointer and length describe `raw`.
    check(unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::SO_ORIGINAL_DST,
            (&raw mut raw).cast(),
            &raw mut length,
        )
    })?;
    let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
    Ok(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)))
}

/// The process at the other end of a local connection: the one that listened, where this end connected.
pub fn peer_process(socket: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: all zeroes is a valid ucred.
    let mut peer: libc::ucred = unsafe { zeroed() };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: pointer and length describe `peer`.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    })?;
    Ok(peer.pid)
}

/// The kernel's number of the network namespace that a socket is in (Linux 5.14).
pub fn network_number(socket: BorrowedFd<'_>) -> io::Result<u64> {
    const NETNS_COOKIE: libc::c_int = 71;
    let mut number = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: pointer and length describe the local number.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            NETNS_COOKIE,
            (&raw mut number).cast(),
            &raw mut length,
        )
    })?;
    Ok(number)
}

/// How a non-blocking connect began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connecting {
    /// The socket is connected.
    Done,
    /// The socket becomes writable when the outcome is known (`take_error`).
    InProgress,
}

/// Starts to connect a non-blocking socket.
///
/// # Errors
/// What the kernel knows at once, such as `ECONNREFUSED` for a local address or `ENETUNREACH`.
pub fn connect(socket: BorrowedFd<'_>, address: SocketAddr) -> io::Result<Connecting> {
    let raw = RawAddress::new(address);
    // SAFETY: pointer and length describe `raw`, which lives through the call.
    match check(unsafe { libc::connect(socket.as_raw_fd(), raw.pointer(), raw.length) }) {
        Ok(_) => Ok(Connecting::Done),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(Connecting::InProgress),
        Err(error) => Err(error),
    }
}

/// Makes the coming close of a stream a reset, so that the peer sees an error and no end of file.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    let value = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: pointer and length describe the local struct.
    check(unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const value).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// Whether an address can be bound here, with any port: false where the family or the address is absent.
pub fn can_bind(address: IpAddr) -> bool {
    bind_udp(SocketAddr::new(address, 0)).is_ok()
}

/// Makes writes to a closed connection fail with `EPIPE` in place of a fatal signal, for the whole process.
pub fn ignore_broken_pipe() {
    // SAFETY: SIG_IGN is a valid disposition for SIGPIPE.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Raises the soft limit of open descriptors to the hard one, at most to `most`; returns the limit in force.
pub fn raise_descriptor_limit(most: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a local struct.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 1024;
    }
    let wanted = limit.rlim_max.min(most);
    if wanted > limit.rlim_cur {
        let raised = libc::rlimit {
            rlim_cur: wanted,
            rlim_max: limit.rlim_max,
        };
        // SAFETY: the pointer is to a local struct.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
            return wanted;
        }
    }
    limit.rlim_cur
}

/// A connected pair of local sockets that keep message borders (`SOCK_SEQPACKET`), both non-blocking.
pub fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair: [RawFd; 2] = [-1; 2];
    // SAFETY: the pointer is to two integers.
    check(unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            0,
            pair.as_mut_ptr(),
        )
    })?;
    Ok((own(pair[0])?, own(pair[1])?))
}

/// Sends one message, with a descriptor if given; never raises a signal.
pub fn send_message(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    passed: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut control = ControlBuffer::new();
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Some(fd) = passed {
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: plain arithmetic; the buffer is larger than one descriptor's control message.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as _;
        // SAFETY: msg_control points to an aligned buffer that is long enough for one header and one descriptor.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            libc::CMSG_DATA(header)
                .cast::<RawFd>()
                .write_unaligned(fd.as_raw_fd());
        }
    }
    // SAFETY: every pointer in the header is to a local that lives through the call.
    check_size(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) })
}

/// Receives one message and the first descriptor that came with it.
pub fn receive_message(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut control = ControlBuffer::new();
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = size_of::<ControlBuffer>() as _;
    // SAFETY: every pointer in the header is to a local that lives through the call.
    let length =
        check_size(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) })?;
    let mut received = None;
    // SAFETY: the kernel has filled in the control buffer and its length; CMSG_* walk within them.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for index in 0..bytes / size_of::<RawFd>() {
                    let fd = libc::CMSG_DATA(header)
                        .cast::<RawFd>()
                        .add(index)
                        .read_unaligned();
                    let fd = OwnedFd::from_raw_fd(fd);
                    received.get_or_insert(fd);
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok((length, received))
}

/// Room for the control message of a few descriptors, aligned as its header asks.
#[repr(align(8))]
struct ControlBuffer([u8; 64]);

impl ControlBuffer {
    fn new() -> Self {
        Self([0; 64])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn ipv6_listener_leaves_ipv4_free() {
        let Ok(six) = listen_tcp("[::]:0".parse().unwrap()) else {
            return;
        };
        let port = six.local_addr().unwrap().port();
        listen_tcp(SocketAddr::new("0.0.0.0".parse().unwrap(), port)).unwrap();
    }

    #[test]
    fn connect_refused_is_an_error() {
        let closed = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let socket = open(false, Transport::Tcp).unwrap();
        let outcome = connect(socket.as_fd(), address);
        let refused = match outcome {
            Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
            Ok(_) => TcpStream::from(socket).take_error().unwrap().is_some(),
        };
        assert!(refused);
    }

    #[test]
    fn a_descriptor_travels() {
        let (left, right) = message_pair().unwrap();
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        send_message(left.as_fd(), b"x", Some(listener.as_fd())).unwrap();
        let mut bytes = [0; 8];
        let (length, fd) = receive_message(right.as_fd(), &mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"x");
        let copy = TcpListener::from(fd.unwrap());
        assert_eq!(copy.local_addr().unwrap(), listener.local_addr().unwrap());
        send_message(left.as_fd(), b"yz", None).unwrap();
        let (length, fd) = receive_message(right.as_fd(), &mut bytes).unwrap();
        assert_eq!((length, fd.is_none()), (2, true));
    }
}
