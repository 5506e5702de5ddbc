//! Packet filter tables: rules sent in one atomic batch, and what other tables hold (nf_tables over netlink).

use crate::netlink::{
    ACK, APPEND, Answer, CREATE, Message, Netlink, NetlinkError, attributes, outcome, put_attribute,
    put_nest, put_text, text_of,
};
use crate::nftables_numbers as numbers;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

const SUBSYSTEM: u16 = libc::NFNL_SUBSYS_NFTABLES as u16;
const FIRST_REGISTER: u32 = libc::NFT_REG_1 as u32;

/// The packets that a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// Bridges, ARP, devices.
    Other(u8),
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Family::Ip => libc::NFPROTO_IPV4 as u8,
            Family::Ip6 => libc::NFPROTO_IPV6 as u8,
            Family::Inet => libc::NFPROTO_INET as u8,
            Family::Other(number) => number,
        }
    }

    fn from_number(number: u8) -> Self {
        match i32::from(number) {
            libc::NFPROTO_IPV4 => Family::Ip,
            libc::NFPROTO_IPV6 => Family::Ip6,
            libc::NFPROTO_INET => Family::Inet,
            _ => Family::Other(number),
        }
    }
}

/// Where a chain of rules is asked, and in what order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `filter` rules for what is routed through, at priority 0.
    Forward,
    /// `nat` rules for what leaves, at priority 100.
    SourceNat,
    /// `nat` rules for what arrives, at priority -100.
    DestinationNat,
    /// `nat` rules for what this machine itself sends, at priority -100.
    LocalNat,
    /// `filter` rules for what arrives, before connections are looked up: at priority -300.
    Arrival,
}

impl Hook {
    fn parts(self) -> (u32, i32, &'static str) {
        match self {
            Hook::Forward => (libc::NF_INET_FORWARD as u32, 0, "filter"),
            Hook::SourceNat => (libc::NF_INET_POST_ROUTING as u32, 100, "nat"),
            Hook::DestinationNat => (libc::NF_INET_PRE_ROUTING as u32, -100, "nat"),
            Hook::LocalNat => (libc::NF_INET_LOCAL_OUT as u32, -100, "nat"),
            Hook::Arrival => (libc::NF_INET_PRE_ROUTING as u32, -300, "filter"),
        }
    }
}

/// The conditions and the verdict of a rule, in order.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    expressions: Vec<u8>,
}

impl Rule {
    /// A rule that holds for every packet.
    pub fn new() -> Self {
        Self::default()
    }

    fn expression(mut self, name: &str, fill: impl FnOnce(&mut Vec<u8>)) -> Self {
        put_nest(&mut self.expressions, numbers::NFTA_LIST_ELEM as u16, |element| {
            put_text(element, numbers::NFTA_EXPR_NAME as u16, name);
            put_nest(element, numbers::NFTA_EXPR_DATA as u16, fill);
        });
        self
    }

    fn compare(self, operator: i32, value: &[u8]) -> Self {
        self.expression("cmp", |data| {
            number(data, numbers::NFTA_CMP_SREG, FIRST_REGISTER);
            number(data, numbers::NFTA_CMP_OP, operator as u32);
            put_nest(data, numbers::NFTA_CMP_DATA as u16, |inner| {
                put_attribute(inner, numbers::NFTA_DATA_VALUE as u16, value);
            });
        })
    }

    fn mask(self, mask: &[u8]) -> Self {
        self.expression("bitwise", |data| {
            number(data, numbers::NFTA_BITWISE_SREG, FIRST_REGISTER);
            number(data, numbers::NFTA_BITWISE_DREG, FIRST_REGISTER);
            number(data, numbers::NFTA_BITWISE_LEN, mask.len() as u32);
            put_nest(data, numbers::NFTA_BITWISE_MASK as u16, |inner| {
                put_attribute(inner, numbers::NFTA_DATA_VALUE as u16, mask);
            });
            put_nest(data, numbers::NFTA_BITWISE_XOR as u16, |inner| {
                put_attribute(inner, numbers::NFTA_DATA_VALUE as u16, &vec![0; mask.len()]);
            });
        })
    }

    fn meta(self, key: i32) -> Self {
        self.expression("meta", |data| {
            number(data, numbers::NFTA_META_KEY, key as u32);
            number(data, numbers::NFTA_META_DREG, FIRST_REGISTER);
        })
    }

    fn payload(self, base: i32, offset: u32, length: u32) -> Self {
        self.expression("payload", |data| {
            number(data, numbers::NFTA_PAYLOAD_DREG, FIRST_REGISTER);
            number(data, numbers::NFTA_PAYLOAD_BASE, base as u32);
            number(data, numbers::NFTA_PAYLOAD_OFFSET, offset);
            number(data, numbers::NFTA_PAYLOAD_LEN, length);
        })
    }

    /// Holds for packets that came in by a device.
    pub fn from_device(self, name: &str) -> Self {
        self.meta(libc::NFT_META_IIFNAME)
            .compare(libc::NFT_CMP_EQ, &device(name))
    }

    /// Holds for packets that leave by a device.
    pub fn to_device(self, name: &str) -> Self {
        self.meta(libc::NFT_META_OIFNAME)
            .compare(libc::NFT_CMP_EQ, &device(name))
    }

    /// Holds for packets that leave by any other device.
    pub fn not_to_device(self, name: &str) -> Self {
        self.meta(libc::NFT_META_OIFNAME)
            .compare(libc::NFT_CMP_NEQ, &device(name))
    }

    /// Holds for IPv4 packets from a network.
    pub fn from_network(self, base: Ipv4Addr, prefix: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, 12, 4)
            .mask(&mask.to_be_bytes())
            .compare(libc::NFT_CMP_EQ, &base.octets())
    }

    /// Holds for IPv6 packets from a network.
    pub fn from_network6(self, base: Ipv6Addr, prefix: u8) -> Self {
        let mask = u128::MAX
            .checked_shl(128 - u32::from(prefix.min(128)))
            .unwrap_or(0);
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, 8, 16)
            .mask(&mask.to_be_bytes())
            .compare(libc::NFT_CMP_EQ, &base.octets())
    }

    /// Holds for IPv4 packets to a network.
    pub fn to_network(self, base: Ipv4Addr, prefix: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, 16, 4)
            .mask(&mask.to_be_bytes())
            .compare(libc::NFT_CMP_EQ, &base.octets())
    }

    /// Holds for IPv4 packets to anywhere but a network.
    pub fn not_to_network(self, base: Ipv4Addr, prefix: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, 16, 4)
            .mask(&mask.to_be_bytes())
            .compare(libc::NFT_CMP_NEQ, &base.octets())
    }

    /// Holds for packets of a transport protocol.
    pub fn of_protocol(self, protocol: u8) -> Self {
        self.meta(libc::NFT_META_L4PROTO)
            .compare(libc::NFT_CMP_EQ, &[protocol])
    }

    /// Holds for IPv4 packets from anywhere but a network.
    pub fn not_from_network(self, base: Ipv4Addr, prefix: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, 12, 4)
            .mask(&mask.to_be_bytes())
            .compare(libc::NFT_CMP_NEQ, &base.octets())
    }

    /// Holds when a property of the packet's connection has one of these bits.
    fn connection(self, key: i32, bits: u32) -> Self {
        self.expression("ct", |data| {
            number(data, numbers::NFTA_CT_KEY, key as u32);
            number(data, numbers::NFTA_CT_DREG, FIRST_REGISTER);
        })
        .mask(&bits.to_ne_bytes())
        .compare(libc::NFT_CMP_NEQ, &[0; 4])
    }

    /// Holds for packets of connections that are known already, and for what belongs to them.
    pub fn established(self) -> Self {
        // The kernel's bits for `established` and `related` (NF_CT_STATE_BIT).
        self.connection(libc::NFT_CT_STATE, 1 << 1 | 1 << 2)
    }

    /// Holds for packets of connections whose destination was translated.
    pub fn translated(self) -> Self {
        // The kernel's IPS_DST_NAT.
        self.connection(libc::NFT_CT_STATUS, 1 << 5)
    }

    /// Holds for packets of a transport protocol to a port.
    pub fn to_port(self, protocol: u8, port: u16) -> Self {
        self.of_protocol(protocol)
            .payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2)
            .compare(libc::NFT_CMP_EQ, &port.to_be_bytes())
    }

    /// Holds for packets of a transport protocol to a port of any address of this machine's own.
    pub fn to_local_port(self, protocol: u8, port: u16) -> Self {
        self.expression("fib", |data| {
            number(data, numbers::NFTA_FIB_DREG, FIRST_REGISTER);
            number(
                data,
                numbers::NFTA_FIB_RESULT,
                numbers::NFT_FIB_RESULT_ADDRTYPE as u32,
            );
            number(data, numbers::NFTA_FIB_FLAGS, numbers::NFTA_FIB_F_DADDR as u32);
        })
        .compare(libc::NFT_CMP_EQ, &u32::from(libc::RTN_LOCAL).to_ne_bytes())
        .to_port(protocol, port)
    }

    fn verdict(self, code: i32) -> Self {
        self.expression("immediate", |data| {
            number(data, numbers::NFTA_IMMEDIATE_DREG, libc::NFT_REG_VERDICT as u32);
            put_nest(data, numbers::NFTA_IMMEDIATE_DATA as u16, |inner| {
                put_nest(inner, numbers::NFTA_DATA_VERDICT as u16, |verdict| {
                    number(verdict, numbers::NFTA_VERDICT_CODE, code as u32);
                });
            });
        })
    }

    /// Lets the packet through (other tables may still drop it).
    pub fn accept(self) -> Self {
        self.verdict(libc::NF_ACCEPT)
    }

    /// Drops the packet.
    pub fn drop_packet(self) -> Self {
        self.verdict(libc::NF_DROP)
    }

    /// Gives the packet this machine's address as its source.
    pub fn masquerade(self) -> Self {
        self.expression("masq", |_| {})
    }

    /// Sends the packet on to another IPv4 address and port.
    pub fn destination(self, address: Ipv4Addr, port: u16) -> Self {
        let load = |register: u32, value: Vec<u8>| {
            move |data: &mut Vec<u8>| {
                number(data, numbers::NFTA_IMMEDIATE_DREG, register);
                put_nest(data, numbers::NFTA_IMMEDIATE_DATA as u16, |inner| {
                    put_attribute(inner, numbers::NFTA_DATA_VALUE as u16, &value);
                });
            }
        };
        self.expression("immediate", load(FIRST_REGISTER, address.octets().to_vec()))
            .expression("immediate", load(FIRST_REGISTER + 1, port.to_be_bytes().to_vec()))
            .expression("nat", |data| {
                number(data, numbers::NFTA_NAT_TYPE, libc::NFT_NAT_DNAT as u32);
                number(data, numbers::NFTA_NAT_FAMILY, libc::NFPROTO_IPV4 as u32);
                number(data, numbers::NFTA_NAT_REG_ADDR_MIN, FIRST_REGISTER);
                number(data, numbers::NFTA_NAT_REG_PROTO_MIN, FIRST_REGISTER + 1);
            })
    }
}

/// An attribute with a number: they are big-endian here.
fn number(bytes: &mut Vec<u8>, kind: i32, value: u32) {
    put_attribute(bytes, kind as u16, &value.to_be_bytes());
}

/// A device's name as the kernel compares it: sixteen bytes.
fn device(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    bytes
}

fn message(kind: i32, flags: u16, family: Family) -> Message {
    Message::new(SUBSYSTEM << 8 | kind as u16, flags, &[family.number(), 0, 0, 0])
}

/// Changes that take effect together, or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    messages: Vec<Message>,
}

impl Batch {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a table, or leaves it as it is.
    pub fn add_table(&mut self, family: Family, table: &str) -> &mut Self {
        let mut add = message(libc::NFT_MSG_NEWTABLE, CREATE, family);
        add.text(numbers::NFTA_TABLE_NAME as u16, table);
        self.messages.push(add);
        self
    }

    /// Removes a table with all that is in it.
    pub fn delete_table(&mut self, family: Family, table: &str) -> &mut Self {
        let mut delete = message(libc::NFT_MSG_DELTABLE, 0, family);
        delete.text(numbers::NFTA_TABLE_NAME as u16, table);
        self.messages.push(delete);
        self
    }

    /// Makes a chain that lets through what no rule decides.
    pub fn add_chain(&mut self, family: Family, table: &str, chain: &str, hook: Hook) -> &mut Self {
        self.add_chain_with_policy(family, table, chain, hook, true)
    }

    /// Makes a chain with the verdict for what no rule decides.
    pub fn add_chain_with_policy(
        &mut self,
        family: Family,
        table: &str,
        chain: &str,
        hook: Hook,
        accept: bool,
    ) -> &mut Self {
        let (place, priority, kind) = hook.parts();
        let policy = if accept { libc::NF_ACCEPT } else { libc::NF_DROP } as u32;
        let mut add = message(libc::NFT_MSG_NEWCHAIN, CREATE, family);
        add.text(numbers::NFTA_CHAIN_TABLE as u16, table)
            .text(numbers::NFTA_CHAIN_NAME as u16, chain);
        add.nest(numbers::NFTA_CHAIN_HOOK as u16, |hook| {
            hook.attribute(numbers::NFTA_HOOK_HOOKNUM as u16, &place.to_be_bytes())
                .attribute(numbers::NFTA_HOOK_PRIORITY as u16, &priority.to_be_bytes());
        });
        add.attribute(numbers::NFTA_CHAIN_POLICY as u16, &policy.to_be_bytes())
            .text(numbers::NFTA_CHAIN_TYPE as u16, kind);
        self.messages.push(add);
        self
    }

    /// Adds a rule at the end of a chain.
    pub fn add_rule(&mut self, family: Family, table: &str, chain: &str, rule: Rule) -> &mut Self {
        let mut add = message(libc::NFT_MSG_NEWRULE, CREATE | APPEND, family);
        add.text(numbers::NFTA_RULE_TABLE as u16, table)
            .text(numbers::NFTA_RULE_CHAIN as u16, chain);
        add.nest(numbers::NFTA_RULE_EXPRESSIONS as u16, |list| {
            list.raw(&rule.expressions);
        });
        self.messages.push(add);
        self
    }
}

/// A chain of any table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The packets that its table sees.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The number of the hook that asks it; none for a chain that others jump to.
    pub hook: Option<u32>,
    /// Whether it drops what no rule decides.
    pub drops: bool,
}

impl Chain {
    /// Whether it decides about routed packets.
    pub fn is_forward(&self) -> bool {
        self.hook == Some(libc::NF_INET_FORWARD as u32)
    }
}

/// A socket for the packet filter of this thread's network namespace.
#[derive(Debug)]
pub struct Nftables {
    netlink: Netlink,
}

impl Nftables {
    /// Opens the socket.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` where the kernel has no netfilter.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            netlink: Netlink::open(libc::NETLINK_NETFILTER)?,
        })
    }

    /// Whether a table exists.
    pub fn has_table(&mut self, family: Family, table: &str) -> Result<bool, NetlinkError> {
        let mut get = message(libc::NFT_MSG_GETTABLE, 0, family);
        get.text(numbers::NFTA_TABLE_NAME as u16, table);
        match self
            .netlink
            .get(get, || format!("look up the packet filter table {table}"))
        {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == libc::ENOENT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All chains of all tables.
    pub fn chains(&mut self) -> Result<Vec<Chain>, NetlinkError> {
        let list = message(libc::NFT_MSG_GETCHAIN, 0, Family::Other(0));
        let answers = self
            .netlink
            .dump(list, || "list the packet filter chains".to_owned())?;
        Ok(answers.iter().filter_map(parse_chain).collect())
    }

    /// Makes the changes of a batch, all or none.
    ///
    /// # Errors
    /// The first one that was refused, by the operation's name; `EINVAL` or `EOPNOTSUPP` where the kernel lacks
    /// nf_tables.
    pub fn commit(&mut self, batch: Batch, operation: &str) -> Result<(), NetlinkError> {
        let failure = |(source, detail)| NetlinkError {
            operation: operation.to_owned(),
            detail,
            source,
        };
        let border =
            |kind: i32| Message::new(kind as u16, 0, &[0, 0, (SUBSYSTEM >> 8) as u8, SUBSYSTEM as u8]);
        let begin = self.netlink.next_sequence();
        let mut bytes = border(libc::NFNL_MSG_BATCH_BEGIN).finish(begin);
        let mut last = begin;
        for message in batch.messages {
            last = self.netlink.next_sequence();
            let mut part = message.finish(last);
            // Each is confirmed: an error of an earlier one comes before the last confirmation.
            let flags = u16::from_ne_bytes([part[6], part[7]]) | ACK;
            part[6..8].copy_from_slice(&flags.to_ne_bytes());
            bytes.extend_from_slice(&part);
        }
        let end = self.netlink.next_sequence();
        bytes.extend_from_slice(&border(libc::NFNL_MSG_BATCH_END).finish(end));
        self.netlink
            .send(&bytes)
            .map_err(|error| failure((error, None)))?;
        let mut first = None;
        loop {
            for answer in self.netlink.receive().map_err(|error| failure((error, None)))? {
                if answer.sequence < begin || answer.sequence > end {
                    continue;
                }
                let refused = outcome(&answer.body);
                let over = answer.sequence == last || (answer.sequence == begin && refused.is_some());
                if first.is_none() {
                    first = refused;
                }
                if over {
                    return first.map_or(Ok(()), |error| Err(failure(error)));
                }
            }
        }
    }
}

fn parse_chain(answer: &Answer) -> Option<Chain> {
    if answer.kind != SUBSYSTEM << 8 | libc::NFT_MSG_NEWCHAIN as u16 {
        return None;
    }
    let word = |value: &[u8]| value.get(..4)?.try_into().ok().map(u32::from_be_bytes);
    let mut chain = Chain {
        family: Family::from_number(*answer.body.first()?),
        table: String::new(),
        name: String::new(),
        hook: None,
        drops: false,
    };
    for (kind, value) in attributes(answer.body.get(4..)?) {
        match i32::from(kind) {
            numbers::NFTA_CHAIN_TABLE => chain.table = text_of(value),
            numbers::NFTA_CHAIN_NAME => chain.name = text_of(value),
            numbers::NFTA_CHAIN_POLICY => chain.drops = word(value) == Some(libc::NF_DROP as u32),
            numbers::NFTA_CHAIN_HOOK => {
                chain.hook = attributes(value)
                    .find(|(kind, _)| i32::from(*kind) == numbers::NFTA_HOOK_HOOKNUM)
                    .and_then(|(_, value)| word(value));
            }
            _ => {}
        }
    }
    Some(chain)
}
