//! Where the forwarder sends connections, and how many.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How the container's side is reached.
#[derive(Debug)]
pub enum Dialer {
    /// By an address that the host's own network namespace can reach.
    Address(IpAddr),
    /// By sockets made inside the container's namespaces, through a forked helper.
    Namespace {
        /// The user namespace to join first, when the caller isn't privileged over the network namespace.
        user: Option<OwnedFd>,
        /// The network namespace.
        net: OwnedFd,
        /// The addresses to try in turn: the container's own, or loopback.
        addresses: Vec<IpAddr>,
    },
}

impl Dialer {
    /// Reaches loopback inside the namespaces of a process; `user` says whether its user namespace is to be joined.
    pub fn loopback_of(pid: i32, user: bool) -> io::Result<Self> {
        let open = |kind: &str| std::fs::File::open(format!("/proc/{pid}/ns/{kind}")).map(OwnedFd::from);
        Ok(Self::Namespace {
            user: user.then(|| open("user")).transpose()?,
            net: open("net")?,
            addresses: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        })
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        match self {
            Dialer::Address(address) => std::slice::from_ref(address),
            Dialer::Namespace { addresses, .. } => addresses,
        }
    }
}

/// What a forwarder may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwarderLimits {
    /// Open TCP connections; more wait in the kernel's queue.
    pub connections: usize,
    /// UDP clients at a time; the longest idle is forgotten for a new one.
    pub sessions: usize,
    /// How long a UDP client is remembered after its last datagram.
    pub session_idle: Duration,
}

impl Default for ForwarderLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            sessions: 1024,
            session_idle: Duration::from_secs(90),
        }
    }
}
