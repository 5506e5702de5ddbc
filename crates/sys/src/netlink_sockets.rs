//! What listens in a network namespace, and how many connections wait there: `inet_diag`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use crate::netlink::{Answer, Message, Netlink, NetlinkError, attributes, within_network};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// The states to list (`TCP_LISTEN` is 10).
const LISTENING: u32 = 1 << 10;
/// `INET_DIAG_SKV6ONLY`.
const SIX_ONLY: u16 = 11;
/// Length of `struct inet_diag_msg`.
const FIXED: usize = 72;

/// A TCP socket that takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListeningSocket {
    /// Where it listens; unspecified is everywhere.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether it is IPv6 and takes nothing else.
    pub six_only: bool,
    /// The connections that may wait for it to take them.
    pub queue: u32,
}

/// A socket that asks about the sockets of one network namespace.
#[derive(Debug)]
pub struct SocketTable {
    netlink: Netlink,
}

impl SocketTable {
    /// Opens it in a network namespace.
    ///
    /// # Errors
    /// Also where the kernel was built without it.
    pub fn open_in(net: BorrowedFd<'_>) -> io::Result<Self> {
        let netlink = within_network(net, || Netlink::open(libc::NETLINK_SOCK_DIAG))??;
        Ok(Self { netlink })
    }

    /// All TCP sockets that take connections.
    ///
    /// # Errors
    /// `ENOENT` where the kernel has no `tcp_diag`.
    pub fn listening(&mut self) -> Result<Vec<ListeningSocket>, NetlinkError> {
        let mut found = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            // `struct inet_diag_req_v2`: family, protocol, extensions, padding, states, and an empty id.
            let mut request = [0; 56];
            request[0] = family as u8;
            request[1] = libc::IPPROTO_TCP as u8;
            request[4..8].copy_from_slice(&LISTENING.to_ne_bytes());
            let message = Message::new(BY_FAMILY, 0, &request);
            let answers = self
                .netlink
                .dump(message, || "list the sockets that listen".to_owned())?;
            found.extend(answers.iter().filter_map(parse));
        }
        Ok(found)
    }
}

fn parse(answer: &Answer) -> Option<ListeningSocket> {
    let body = answer.body.get(..FIXED)?;
    let address = &body[8..24];
    let address = match i32::from(body[0]) {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(&address[..4]).ok()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).to_canonical(),
        _ => return None,
    };
    let six_only = attributes(&answer.body[FIXED..]).any(|(kind, value)| kind == SIX_ONLY && value == [1]);
    Some(ListeningSocket {
        address,
        port: u16::from_be_bytes([body[4], body[5]]),
        six_only,
        // `idiag_wqueue`, which for one that listens is the most that it keeps waiting.
        queue: u32::from_ne_bytes([body[60], body[61], body[62], body[63]]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{self, Transport};
    use std::net::TcpListener;
    use std::os::fd::{AsFd as _, AsRawFd as _};

    #[test]
    fn sockets_are_listed_with_their_queues() {
        let net = std::fs::File::open("/proc/thread-self/ns/net").expect("our namespace");
        let four = TcpListener::bind("127.0.0.1:0").expect("bind");
        // SAFETY: a plain descriptor and number; a second `listen` sets the queue anew.
        assert_eq!(unsafe { libc::listen(four.as_raw_fd(), 7) }, 0);
        let mut table = SocketTable::open_in(net.as_fd()).expect("a socket");
        let port = four.local_addr().expect("address").port();
        let listed = table.listening().expect("a list");
        let own: Vec<_> = listed.iter().filter(|listening| listening.port == port).collect();
        assert_eq!(own.len(), 1, "{listed:?}");
        assert_eq!(own[0].address, IpAddr::from([127, 0, 0, 1]));
        assert_eq!((own[0].queue, own[0].six_only), (7, false));
        drop(four);
        let listed = table.listening().expect("a list");
        assert!(!listed.iter().any(|listening| listening.port == port));
        if !socket::can_bind(Ipv6Addr::LOCALHOST.into()) {
            return;
        }
        let six = socket::open(true, Transport::Tcp).expect("a socket");
        socket::set_option(six.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1).expect("an option");
        let six = socket::listen_tcp_by(six, "[::1]:0".parse().expect("an address")).expect("listen");
        let port = six.local_addr().expect("address").port();
        let listed = table.listening().expect("a list");
        let own = listed.iter().find(|listening| listening.port == port);
        assert!(own.is_some_and(|own| own.six_only && own.address.is_ipv6()));
    }
}
