//! Links, addresses and routes of a network namespace (rtnetlink).

use crate::netlink::{
    Answer, CREATE, EXCLUSIVE, Message, Netlink, NetlinkError, attributes, text_of, within_network,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// The peer inside the data of a veth link (linux/veth.h).
const VETH_INFO_PEER: u16 = 1;

/// The state of a bridge's port, and its value for one that passes packets on (linux/if_link.h, linux/if_bridge.h).
const PORT_STATE: u16 = 1;
const PORT_FORWARDING: u8 = 3;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its driver, such as `bridge` or `veth`; none for real devices.
    pub kind: Option<String>,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether packets can pass: it is on, has a carrier, and the kernel has taken note of both.
    pub running: bool,
    /// Whether its bridge passes its packets on; none when it is no port of one.
    pub forwarding: Option<bool>,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// The bridge that it belongs to.
    pub master: Option<u32>,
    /// Its hardware address.
    pub hardware: Vec<u8>,
}

/// An address of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The device's number.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// The length of the network's prefix in bits.
    pub prefix: u8,
}

/// A line of a routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// The destination network; the unspecified address with prefix 0 is the default route.
    pub destination: IpAddr,
    /// The length of its prefix in bits.
    pub prefix: u8,
    /// The next router.
    pub gateway: Option<IpAddr>,
    /// The device.
    pub device: Option<u32>,
    /// The table's number: 254 is main, 255 local.
    pub table: u32,
}

/// A socket for the links, addresses and routes of one network namespace.
#[derive(Debug)]
pub struct Route {
    netlink: Netlink,
}

fn link_part(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut part = [0; 16];
    part[4..8].copy_from_slice(&index.to_ne_bytes());
    part[8..12].copy_from_slice(&flags.to_ne_bytes());
    part[12..16].copy_from_slice(&change.to_ne_bytes());
    part
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn ip_of(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value)
            .ok()
            .map(|bytes| Ipv4Addr::from(bytes).into()),
        16 => <[u8; 16]>::try_from(value)
            .ok()
            .map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

fn word(value: &[u8]) -> Option<u32> {
    value.get(..4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() {
        libc::AF_INET as u8
    } else {
        libc::AF_INET6 as u8
    }
}

impl Route {
    /// Opens a socket in this thread's network namespace.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            netlink: Netlink::open(libc::NETLINK_ROUTE)?,
        })
    }

    /// Opens a socket in another network namespace: what it does, it does there.
    pub fn open_in(net: BorrowedFd<'_>) -> io::Result<Self> {
        within_network(net, Self::open)?
    }

    /// All devices, by number.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let message = Message::new(libc::RTM_GETLINK, 0, &link_part(0, 0, 0));
        let answers = self
            .netlink
            .dump(message, || "list the network devices".to_owned())?;
        Ok(answers.iter().filter_map(parse_link).collect())
    }

    /// A device by its name.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut message = Message::new(libc::RTM_GETLINK, 0, &link_part(0, 0, 0));
        message.text(libc::IFLA_IFNAME, name);
        match self
            .netlink
            .get(message, || format!("look up the network device {name}"))
        {
            Ok(answers) => Ok(answers.iter().find_map(parse_link)),
            Err(error) if error.errno() == libc::ENODEV => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a bridge with a hardware address of its own, which then doesn't change with its ports.
    ///
    /// # Errors
    /// `EEXIST` when there is a device of the name.
    pub fn add_bridge(&mut self, name: &str, hardware: [u8; 6]) -> Result<(), NetlinkError> {
        let mut message = Message::new(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, &link_part(0, 0, 0));
        message
            .text(libc::IFLA_IFNAME, name)
            .attribute(libc::IFLA_ADDRESS, &hardware);
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "bridge");
        });
        self.netlink.request(message, || format!("add the bridge {name}"))
    }

    /// Makes a pair of connected devices, the peer in another network namespace and with its hardware address from the start.
    ///
    /// # Errors
    /// `EEXIST` when one of the names is taken.
    pub fn add_veth(
        &mut self,
        name: &str,
        peer: &str,
        peer_net: Option<BorrowedFd<'_>>,
        mtu: Option<u32>,
        peer_hardware: Option<[u8; 6]>,
    ) -> Result<(), NetlinkError> {
        let mut message = Message::new(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, &link_part(0, 0, 0));
        message.text(libc::IFLA_IFNAME, name);
        if let Some(mtu) = mtu {
            message.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
        }
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth")
                .nest(libc::IFLA_INFO_DATA, |data| {
                    data.nest(VETH_INFO_PEER, |other| {
                        other.raw(&link_part(0, 0, 0)).text(libc::IFLA_IFNAME, peer);
                        if let Some(mtu) = mtu {
                            other.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
                        }
                        if let Some(hardware) = peer_hardware {
                            other.attribute(libc::IFLA_ADDRESS, &hardware);
                        }
                        if let Some(net) = peer_net {
                            other.attribute(libc::IFLA_NET_NS_FD, &net.as_raw_fd().to_ne_bytes());
                        }
                    });
                });
        });
        self.netlink
            .request(message, || format!("add the device pair {name} and {peer}"))
    }

    /// Removes a device (and, of a pair, the other too).
    pub fn delete_link(&mut self, index: u32) -> Result<(), NetlinkError> {
        let message = Message::new(libc::RTM_DELLINK, 0, &link_part(index, 0, 0));
        self.netlink
            .request(message, || format!("remove the network device {index}"))
    }

    /// Switches a device on or off.
    pub fn set_up(&mut self, index: u32, up: bool) -> Result<(), NetlinkError> {
        let bit = libc::IFF_UP as u32;
        let message = Message::new(
            libc::RTM_NEWLINK,
            0,
            &link_part(index, if up { bit } else { 0 }, bit),
        );
        let state = if up { "on" } else { "off" };
        self.netlink
            .request(message, || format!("switch the network device {index} {state}"))
    }

    /// Makes a device a port of a bridge and switches it on.
    pub fn join_bridge(&mut self, index: u32, bridge: u32) -> Result<(), NetlinkError> {
        let bit = libc::IFF_UP as u32;
        let mut message = Message::new(libc::RTM_NEWLINK, 0, &link_part(index, bit, bit));
        message.attribute(libc::IFLA_MASTER, &bridge.to_ne_bytes());
        self.netlink.request(message, || {
            format!("add the network device {index} to the bridge {bridge}")
        })
    }

    /// Sets the largest packet of a device, in bytes.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<(), NetlinkError> {
        let mut message = Message::new(libc::RTM_NEWLINK, 0, &link_part(index, 0, 0));
        message.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
        self.netlink.request(message, || {
            format!("set the packet size of the network device {index}")
        })
    }

    /// All addresses of all devices.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let message = Message::new(libc::RTM_GETADDR, 0, &[0; 8]);
        let answers = self
            .netlink
            .dump(message, || "list the network addresses".to_owned())?;
        Ok(answers.iter().filter_map(parse_address).collect())
    }

    /// Gives a device an address.
    ///
    /// # Errors
    /// `EEXIST` when it has it.
    pub fn add_address(&mut self, address: Address) -> Result<(), NetlinkError> {
        let mut part = [0; 8];
        part[0] = family(address.ip);
        part[1] = address.prefix;
        if address.ip.is_ipv6() {
            // Usable at once: nobody else has an address that was given out here.
            part[2] = libc::IFA_F_NODAD as u8;
        }
        part[4..8].copy_from_slice(&address.index.to_ne_bytes());
        let mut message = Message::new(libc::RTM_NEWADDR, CREATE | EXCLUSIVE, &part);
        let bytes = octets(address.ip);
        message
            .attribute(libc::IFA_LOCAL, &bytes)
            .attribute(libc::IFA_ADDRESS, &bytes);
        if let IpAddr::V4(ip) = address.ip
            && address.prefix < 31
        {
            let host_part = u32::MAX.checked_shr(address.prefix.into()).unwrap_or(0);
            message.attribute(libc::IFA_BROADCAST, &(u32::from(ip) | host_part).to_be_bytes());
        }
        self.netlink.request(message, || {
            format!(
                "add the address {}/{} to the network device {}",
                address.ip, address.prefix, address.index
            )
        })
    }

    /// All routes of all tables.
    pub fn routes(&mut self) -> Result<Vec<RouteEntry>, NetlinkError> {
        let message = Message::new(libc::RTM_GETROUTE, 0, &[0; 12]);
        let answers = self.netlink.dump(message, || "list the routes".to_owned())?;
        Ok(answers.iter().filter_map(parse_route).collect())
    }

    /// Sends what has no other route through a router.
    ///
    /// # Errors
    /// `ENETUNREACH` when the router can't be reached, `EEXIST` when there is a default route.
    pub fn add_default_route(&mut self, gateway: IpAddr, device: u32) -> Result<(), NetlinkError> {
        let part = [
            family(gateway),
            0,
            0,
            0,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_STATIC,
            libc::RT_SCOPE_UNIVERSE,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        let mut message = Message::new(libc::RTM_NEWROUTE, CREATE | EXCLUSIVE, &part);
        message
            .attribute(libc::RTA_GATEWAY, &octets(gateway))
            .attribute(libc::RTA_OIF, &device.to_ne_bytes());
        self.netlink
            .request(message, || format!("add the default route through {gateway}"))
    }
}

fn parse_link(answer: &Answer) -> Option<Link> {
    let fixed = answer
        .body
        .get(..16)
        .filter(|_| answer.kind == libc::RTM_NEWLINK)?;
    let mut link = Link {
        index: word(&fixed[4..])?,
        name: String::new(),
        kind: None,
        up: word(&fixed[8..])? & libc::IFF_UP as u32 != 0,
        running: word(&fixed[8..])? & libc::IFF_RUNNING as u32 != 0,
        forwarding: None,
        mtu: 0,
        master: None,
        hardware: Vec::new(),
    };
    for (kind, value) in attributes(&answer.body[16..]) {
        match kind {
            libc::IFLA_IFNAME => link.name = text_of(value),
            libc::IFLA_MTU => link.mtu = word(value)?,
            libc::IFLA_MASTER => link.master = word(value),
            libc::IFLA_ADDRESS => link.hardware = value.to_vec(),
            libc::IFLA_LINKINFO => {
                for (kind, value) in attributes(value) {
                    match kind {
                        libc::IFLA_INFO_KIND => link.kind = Some(text_of(value)),
                        libc::IFLA_INFO_SLAVE_DATA => {
                            link.forwarding = attributes(value)
                                .find(|(kind, _)| *kind == PORT_STATE)
                                .map(|(_, value)| value.first() == Some(&PORT_FORWARDING));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(link)
}

fn parse_address(answer: &Answer) -> Option<Address> {
    let fixed = answer
        .body
        .get(..8)
        .filter(|_| answer.kind == libc::RTM_NEWADDR)?;
    let (mut local, mut any) = (None, None);
    for (kind, value) in attributes(&answer.body[8..]) {
        match kind {
            libc::IFA_LOCAL => local = ip_of(value),
            libc::IFA_ADDRESS => any = ip_of(value),
            _ => {}
        }
    }
    Some(Address {
        index: word(&fixed[4..])?,
        ip: local.or(any)?,
        prefix: fixed[1],
    })
}

fn parse_route(answer: &Answer) -> Option<RouteEntry> {
    let fixed = answer
        .body
        .get(..12)
        .filter(|_| answer.kind == libc::RTM_NEWROUTE)?;
    let unspecified = match i32::from(fixed[0]) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut route = RouteEntry {
        destination: unspecified,
        prefix: fixed[1],
        gateway: None,
        device: None,
        table: u32::from(fixed[4]),
    };
    for (kind, value) in attributes(&answer.body[12..]) {
        match kind {
            libc::RTA_DST => route.destination = ip_of(value)?,
            libc::RTA_GATEWAY => route.gateway = ip_of(value),
            libc::RTA_OIF => route.device = word(value),
            libc::RTA_TABLE => route.table = word(value)?,
            _ => {}
        }
    }
    Some(route)
}
