//! Sockets of the host's own network, for a monitor that may have left it.

use coil_sys::socket::{self, Transport};
use coil_sys::socket_factory::SocketFactory;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Makes sockets of the host's network: here, or through a helper that stayed there when this process left.
#[derive(Clone, Debug, Default)]
pub struct HostSockets {
    behind: Option<Arc<SocketFactory>>,
}

impl HostSockets {
    /// Leaves a helper behind; to be called before this process joins another network namespace.
    ///
    /// # Errors
    /// The fork's own failure.
    pub fn leave_behind() -> io::Result<Self> {
        let behind = Some(Arc::new(SocketFactory::spawn_here()?));
        Ok(Self { behind })
    }

    /// Whether this process is in the host's network itself.
    pub(crate) fn are_own(&self) -> bool {
        self.behind.is_none()
    }

    /// Makes a non-blocking socket.
    pub(crate) fn open(&self, ipv6: bool, transport: Transport) -> io::Result<OwnedFd> {
        match &self.behind {
            None => socket::open(ipv6, transport),
            Some(helper) => helper.make(ipv6, transport),
        }
    }

    /// Listens on an address of the host.
    pub(crate) fn listen_tcp(&self, address: SocketAddr) -> io::Result<TcpListener> {
        socket::listen_tcp_by(self.open(address.is_ipv6(), Transport::Tcp)?, address)
    }

    /// Takes datagrams at an address of the host.
    pub(crate) fn bind_udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        socket::bind_udp_by(self.open(address.is_ipv6(), Transport::Udp)?, address)
    }
}
