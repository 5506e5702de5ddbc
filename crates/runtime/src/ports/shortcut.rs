//! A short cut for this machine's own connections to published ports: they are made to the container's address at once, past
//! the proxy and without address translation.
//!
//! The kernel calls a program of ours for each `connect` (`struct bpf_sock_addr`), which puts the container's address in the
//! place of a published one. It is asked at that moment alone: connections that stand are never touched. It goes with the
//! descriptor, so with the monitor, however that ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use coil_sys::file;
use coil_sys::mount::NewFileSystem;
use coil_sys::netlink_route::Route;
use coil_sys::privilege::{ExtendedInstruction, link_connect_program};
use coil_sys::socket::{self, Transport};

/// A published port that leads to a container's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    /// The address that was published; none for all.
    pub(super) host_ip: Option<Ipv4Addr>,
    pub(super) host_port: u16,
    pub(super) container_port: u16,
}

/// Leads connections while it is held.
#[derive(Debug)]
pub(super) struct Shortcut {
    _link: OwnedFd,
}

impl Shortcut {
    /// Leads connections of this thread's network namespace to a container.
    ///
    /// # Errors
    /// Where the kernel is older than 5.14, or this process may not: the proxy carries them then.
    pub(super) fn open(ways: &[Way], container: Ipv4Addr) -> io::Result<Self> {
        let probe = socket::open(false, Transport::Udp)?;
        let namespace = socket::network_number(probe.as_fd())?;
        let own = Route::open()?.addresses().map_err(|error| error.source)?;
        let own: Vec<Ipv4Addr> = own
            .into_iter()
            .filter_map(|address| match address.ip {
                IpAddr::V4(ip) if !ip.is_loopback() => Some(ip),
                _ => None,
            })
            .collect();
        let program = program(namespace, ways, &own, container);
        let link = link_connect_program(all_processes()?, &program)?;
        Ok(Self { _link: link })
    }
}

/// The root of the control groups of version 2, which hold every process, also where version 1 is in use.
fn all_processes() -> io::Result<OwnedFd> {
    let root = NewFileSystem::open("cgroup2")?.mount(0)?;
    file::open_at(&root, Path::new("."), libc::O_RDONLY | libc::O_DIRECTORY, 0)
}

const LOAD: u8 = 0x61;
const STORE: u8 = 0x63;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE: u8 = 0xb7;
const MOVE_HALF: u8 = 0xb4;
const MOVE_HALF_REGISTER: u8 = 0xbc;
const AND_HALF: u8 = 0x54;
const LOAD_LONG: u8 = 0x18;
const CALL: u8 = 0x85;
const JUMP: u8 = 0x05;
const JUMP_EQUAL_HALF: u8 = 0x16;
const JUMP_NOT_EQUAL_HALF: u8 = 0x56;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
const EXIT: u8 = 0x95;
/// `bpf_get_netns_cookie`.
const NAMESPACE_NUMBER: i32 = 122;

/// Places in `struct bpf_sock_addr`.
const ADDRESS: i16 = 4;
const PORT: i16 = 24;
const PROTOCOL: i16 = 36;

fn step(code: u8, destination: u8, source: u8, offset: i16, value: i32) -> ExtendedInstruction {
    ExtendedInstruction {
        code,
        registers: destination | source << 4,
        offset,
        value,
    }
}

/// As the kernel keeps them: in the order of the network, read as a number of this machine.
fn address(ip: Ipv4Addr) -> i32 {
    i32::from_ne_bytes(ip.octets())
}

fn port(number: u16) -> i32 {
    i32::from(number.to_be())
}

/// Puts the container's address in the place of what was published; `own` are this machine's addresses but loopback.
fn program(namespace: u64, ways: &[Way], own: &[Ipv4Addr], container: Ipv4Addr) -> Vec<ExtendedInstruction> {
    let (result, context, asked, at, scratch) = (0, 6, 7, 8, 9);
    let fine = [step(MOVE, result, 0, 0, 1), step(EXIT, 0, 0, 0, 0)];
    let mut body = Vec::new();
    for way in ways {
        let ips: Vec<Ipv4Addr> = match way.host_ip {
            Some(ip) => vec![ip],
            None => own.to_vec(),
        };
        // Behind the tests: five steps that lead, or past them to the next way.
        let mut tests = Vec::new();
        if way.host_ip.is_none() {
            tests.push((127, i32::from_ne_bytes([255, 0, 0, 0])));
        }
        let mut block = vec![step(JUMP_NOT_EQUAL_HALF, at, 0, 0, port(way.host_port))];
        let count = ips.len() + tests.len();
        for (number, ip) in ips.iter().enumerate() {
            // Over the other tests and the jump past.
            let rest = (ips.len() - number - 1) + 3 * tests.len() + 1;
            block.push(step(JUMP_EQUAL_HALF, asked, 0, rest as i16, address(*ip)));
        }
        for (first, mask) in &tests {
            block.push(step(MOVE_HALF_REGISTER, scratch, asked, 0, 0));
            block.push(step(AND_HALF, scratch, 0, 0, *mask));
            block.push(step(
                JUMP_EQUAL_HALF,
                scratch,
                0,
                1,
                i32::from_ne_bytes([*first, 0, 0, 0]),
            ));
        }
        let lead = [
            step(MOVE_HALF, scratch, 0, 0, address(container)),
            step(STORE, context, scratch, ADDRESS, 0),
            step(MOVE_HALF, scratch, 0, 0, port(way.container_port)),
            step(STORE, context, scratch, PORT, 0),
        ];
        debug_assert!(count < 1000, "jumps reach");
        block.push(step(JUMP, 0, 0, (lead.len() + fine.len()) as i16, 0));
        block.extend(lead);
        block.extend(fine);
        block[0].offset = (block.len() - 1) as i16;
        body.extend(block);
    }
    body.extend(fine);
    let halves = [namespace as u32 as i32, (namespace >> 32) as u32 as i32];
    let mut program = vec![
        step(MOVE_REGISTER, context, 1, 0, 0),
        step(LOAD, asked, context, PROTOCOL, 0),
        step(JUMP_EQUAL_HALF, asked, 0, 2, libc::IPPROTO_TCP),
    ];
    program.extend(fine);
    program.extend([
        step(CALL, 0, 0, 0, NAMESPACE_NUMBER),
        step(LOAD_LONG, scratch, 0, 0, halves[0]),
        step(0, 0, 0, 0, halves[1]),
        step(
            JUMP_NOT_EQUAL_REGISTER,
            result,
            scratch,
            (body.len() - fine.len() + 2) as i16,
            0,
        ),
        step(LOAD, asked, context, ADDRESS, 0),
        step(LOAD, at, context, PORT, 0),
    ]);
    program.extend(body);
    program
}
