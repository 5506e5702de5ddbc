//! Who listens on a port: socket tables in `/proc`, as far as the caller may read them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::Protocol;

/// A line of `/proc/PID/net/{tcp,udp}{,6}` for a socket that takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listening {
    address: SocketAddr,
    inode: u64,
}

/// The sockets that listen in the network namespace of a process (`self` or a number).
fn listening(process: &str, protocol: Protocol) -> Vec<Listening> {
    ["", "6"]
        .iter()
        .filter_map(|suffix| fs::read_to_string(format!("/proc/{process}/net/{protocol}{suffix}")).ok())
        .flat_map(|table| parse_table(&table, protocol))
        .collect()
}

fn parse_table(table: &str, protocol: Protocol) -> Vec<Listening> {
    // TCP_LISTEN is 0A; an unconnected datagram socket is in state 07.
    let wanted = if protocol == Protocol::Tcp { "0A" } else { "07" };
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let address = parse_address(fields.nth(1)?)?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?.parse().ok()?;
            (state == wanted).then_some(Listening { address, inode })
        })
        .collect()
}

/// Reads `0100007F:1F90`: words of four bytes in the machine's order, the port in plain hexadecimal.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| {
        address
            .get(index * 8..index * 8 + 8)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .map(u32::to_ne_bytes)
    };
    let ip = if address.len() == 8 {
        IpAddr::V4(Ipv4Addr::from(word(0)?))
    } else {
        let mut bytes = [0; 16];
        for index in 0..4 {
            bytes[index * 4..index * 4 + 4].copy_from_slice(&word(index)?);
        }
        IpAddr::V6(Ipv6Addr::from(bytes))
    };
    Some(SocketAddr::new(ip, port))
}

/// The loopback address that a container's app listens on, when it listens on no other: published ports can't reach it.
pub(super) fn loopback_only(pid: i32, port: u16) -> Option<IpAddr> {
    let found: Vec<IpAddr> = listening(&pid.to_string(), Protocol::Tcp)
        .into_iter()
        .filter(|found| found.address.port() == port)
        .map(|found| found.address.ip())
        .collect();
    found
        .first()
        .copied()
        .filter(|_| found.iter().all(IpAddr::is_loopback))
}

/// Who holds a port of the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A container of ours, by its name.
    Container(String),
    /// Another process, such as `python3 (pid 123)`.
    Process(String),
}

/// The container that a monitor serves.
fn container_of(pid: u32) -> Option<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split('\0').skip_while(|word| *word != "internal");
    let (_, verb, folder) = (words.next()?, words.next()?, words.next()?);
    let record = fs::read(Path::new(folder).join("config.json")).ok()?;
    let record: serde_json::Value = serde_json::from_slice(&record).ok()?;
    let name = record.get("name").filter(|_| verb == "monitor")?;
    name.as_str().map(str::to_owned)
}

/// Names who holds an address.
pub(super) fn holder(address: SocketAddr, protocol: Protocol) -> Option<Holder> {
    let inodes: Vec<u64> = listening("self", protocol)
        .into_iter()
        .filter(|found| {
            found.address.port() == address.port()
                && (found.address.ip() == address.ip()
                    || found.address.ip().is_unspecified()
                    || address.ip().is_unspecified())
        })
        .map(|found| found.inode)
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.into_iter().find(|pid| holds(*pid, &inodes)).map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let process = format!("{} (pid {pid})", name.trim());
        container_of(pid).map_or(Holder::Process(process), Holder::Container)
    })
}

fn holds(pid: u32, inodes: &[u64]) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| socket_inode(&link).is_some_and(|inode| inodes.contains(&inode)))
}

fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn socket_tables_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n\
            \x20  1: 0100007F:1F91 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 x\n\
            \x20  2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 4713 1\n";
        let found = parse_table(table, Protocol::Tcp);
        assert_eq!(
            found,
            [
                Listening {
                    address: "127.0.0.1:8080".parse().unwrap(),
                    inode: 4711
                },
                Listening {
                    address: "[::1]:80".parse().unwrap(),
                    inode: 4713
                },
            ]
        );
    }

    #[test]
    fn our_own_listener_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let Holder::Process(name) = holder(listener.local_addr().unwrap(), Protocol::Tcp).unwrap() else {
            panic!("it is no container's");
        };
        assert!(name.ends_with(&format!("(pid {})", std::process::id())), "{name}");
    }
}
