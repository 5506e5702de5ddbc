//! Published ports: traffic through the forwarder, as clients and servers see it.

#![expect(clippy::unwrap_used, reason = "a test that meets a surprise stops there")]

use coil_runtime::HostSockets;
use coil_runtime::ports::{BindError, Dialer, Forwarder, ForwarderLimits, PortMapping, Protocol};
use coil_sys::event::{Poll, ready};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A forwarder that a thread serves until the value is dropped.
struct Served {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Vec<String>>>,
    addresses: Vec<SocketAddr>,
}

impl Served {
    fn start(mut forwarder: Forwarder) -> Self {
        let addresses = forwarder
            .bound()
            .iter()
            .flat_map(|bound| bound.addresses.clone())
            .collect();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let poll = Poll::new().unwrap();
            poll.add(&stopped, ready::READ, 0).unwrap();
            poll.add(&forwarder, ready::READ, 1).unwrap();
            loop {
                if poll.wait(-1).unwrap().iter().any(|event| event.token == 0) {
                    return forwarder.take_notices();
                }
                forwarder.dispatch().unwrap();
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
            addresses,
        }
    }

    fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).unwrap()
    }

    fn stop(mut self) -> Vec<String> {
        self.stop = None;
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn local(protocol: Protocol, container_port: u16) -> PortMapping {
    PortMapping {
        host_ip: Some(Ipv4Addr::LOCALHOST.into()),
        host_port: 0,
        host_port_last: None,
        container_port,
        protocol,
    }
}

fn to_loopback(mapping: PortMapping, limits: ForwarderLimits) -> Served {
    let mut forwarder = Forwarder::bind_with(&[mapping], limits, &HostSockets::default()).unwrap();
    let pid = i32::try_from(std::process::id()).unwrap();
    forwarder
        .connect_to(Dialer::Address(Ipv4Addr::LOCALHOST.into()), Some(pid))
        .unwrap();
    Served::start(forwarder)
}

/// A server that hands every connection to a function of its own thread.
fn server(address: &str, serve: fn(TcpStream)) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || serve(stream))
                .unwrap();
        }
    });
    port
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 16384];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Reads all, and answers with the count when the client has said that it is done.
fn count(mut stream: TcpStream) {
    let mut total = 0u64;
    let mut buffer = [0; 16384];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        total += length as u64;
    }
    let _ = stream.write_all(total.to_string().as_bytes());
}

#[test]
fn a_half_closed_connection_is_still_answered() {
    let served = to_loopback(
        local(Protocol::Tcp, server("127.0.0.1", count)),
        ForwarderLimits::default(),
    );
    let mut client = served.connect();
    client.write_all(&[7; 100_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "100000");
}

#[test]
fn a_hundred_megabytes_go_both_ways() {
    let served = to_loopback(
        local(Protocol::Tcp, server("127.0.0.1", echo)),
        ForwarderLimits::default(),
    );
    let client = served.connect();
    let mut writer = client.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let block: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        for _ in 0..100 {
            writer.write_all(&block).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut reader = client;
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0usize;
    loop {
        let length = reader.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        for (index, byte) in buffer[..length].iter().enumerate() {
            assert_eq!(*byte, ((total + index) % 256) as u8);
        }
        total += length;
    }
    assert_eq!(total, 100 << 20);
    sender.join().unwrap();
}

#[test]
fn a_slow_reader_holds_the_sender_back() {
    /// Sends without end until it is stopped.
    fn pour(mut stream: TcpStream) {
        while stream.write_all(&[1; 65536]).is_ok() {}
    }
    let served = to_loopback(
        local(Protocol::Tcp, server("127.0.0.1", pour)),
        ForwarderLimits::default(),
    );
    let mut slow = served.connect();
    let mut byte = [0; 1];
    slow.read_exact(&mut byte).unwrap();
    // Another client is served all the while.
    let mut quick = served.connect();
    let mut buffer = vec![0; 8 << 20];
    quick.read_exact(&mut buffer).unwrap();
    slow.read_exact(&mut buffer).unwrap();
    assert!(buffer.iter().all(|byte| *byte == 1));
}

#[test]
fn a_thousand_connections_at_once() {
    /// Answers one byte, then stays until the client goes; one thread would not do for so many.
    fn serve_all(listener: TcpListener) {
        let mut streams = Vec::new();
        for _ in 0..1000 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"x").unwrap();
            streams.push(stream);
        }
        for stream in &mut streams {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&byte).unwrap();
        }
    }
    coil_sys::socket::raise_descriptor_limit(65536);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let all = std::thread::spawn(move || serve_all(listener));
    let before = memory();
    let served = to_loopback(local(Protocol::Tcp, port), ForwarderLimits::default());
    let mut clients: Vec<TcpStream> = (0..1000).map(|_| served.connect()).collect();
    let mut byte = [0];
    for client in &mut clients {
        client.read_exact(&mut byte).unwrap();
    }
    let grown = memory().saturating_sub(before);
    assert!(grown < 2 << 20, "1000 connections took {grown} bytes of memory");
    for client in &mut clients {
        client.write_all(b"y").unwrap();
    }
    for client in &mut clients {
        client.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"y");
    }
    all.join().unwrap();
}

/// The anonymous memory of this process in bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap();
    line.trim()
        .strip_suffix(" kB")
        .unwrap()
        .trim()
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[test]
fn connections_over_the_cap_wait_for_their_turn() {
    let limits = ForwarderLimits {
        connections: 2,
        ..ForwarderLimits::default()
    };
    let served = to_loopback(local(Protocol::Tcp, server("127.0.0.1", echo)), limits);
    let mut byte = [0];
    let mut clients: Vec<TcpStream> = (0..3).map(|_| served.connect()).collect();
    for client in &mut clients {
        client.write_all(b"a").unwrap();
    }
    for client in &mut clients[..2] {
        client.read_exact(&mut byte).unwrap();
    }
    clients[2].set_nonblocking(true).unwrap();
    assert_eq!(
        clients[2].read(&mut byte).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    clients[2].set_nonblocking(false).unwrap();
    drop(clients.remove(0));
    clients[1].read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"a");
}

#[test]
fn a_reset_travels_through() {
    /// Breaks the connection off.
    fn break_off(mut stream: TcpStream) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        coil_sys::socket::reset_on_close(&stream).unwrap();
    }
    let served = to_loopback(
        local(Protocol::Tcp, server("127.0.0.1", break_off)),
        ForwarderLimits::default(),
    );
    let mut client = served.connect();
    client.write_all(b"x").unwrap();
    let mut byte = [0];
    assert_eq!(
        client.read(&mut byte).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn a_refused_connection_is_reset_and_loopback_listeners_are_told_of() {
    // The app listens on 127.0.0.1 and is dialled at another address of this machine.
    let port = server("127.0.0.1", echo);
    let mut forwarder = Forwarder::bind(&[local(Protocol::Tcp, port)]).unwrap();
    let pid = i32::try_from(std::process::id()).unwrap();
    forwarder
        .connect_to(Dialer::Address(IpAddr::from([127, 0, 0, 2])), Some(pid))
        .unwrap();
    let served = Served::start(forwarder);
    for _ in 0..2 {
        let mut client = served.connect();
        let mut byte = [0];
        assert_eq!(
            client.read(&mut byte).unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    }
    let notices = served.stop();
    assert_eq!(
        notices,
        [format!(
            "port {port} is published, but the app listens on 127.0.0.1 inside the container; \
             make it listen on 0.0.0.0"
        )]
    );
}

#[test]
fn a_port_in_use_names_who_has_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mapping = PortMapping {
        host_port: port,
        ..local(Protocol::Tcp, 80)
    };
    let error = Forwarder::bind(&[mapping]).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }));
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("port {port}/tcp on 127.0.0.1 is already in use by ")),
        "{text}"
    );
    assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
}

#[test]
fn a_range_takes_the_first_free_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mapping = |last| PortMapping {
        host_port: port,
        host_port_last: Some(last),
        ..local(Protocol::Tcp, 80)
    };
    let forwarder = Forwarder::bind(&[mapping(port.saturating_add(20))]).unwrap();
    let bound = &forwarder.bound()[0];
    assert!(bound.mapping.host_port > port);
    assert_eq!(bound.mapping.host_port_last, None);
    let error = Forwarder::bind(&[mapping(port)]).unwrap_err();
    assert!(matches!(error, BindError::RangeInUse { .. }), "{error}");
}

#[test]
fn all_addresses_means_both_families() {
    let port = server("127.0.0.1", echo);
    let mut forwarder = Forwarder::bind(&[PortMapping::tcp(0, port)]).unwrap();
    forwarder
        .connect_to(Dialer::Address(Ipv4Addr::LOCALHOST.into()), None)
        .unwrap();
    let bound = forwarder.bound()[0].clone();
    let served = Served::start(forwarder);
    for address in bound.addresses {
        assert_eq!(address.port(), bound.mapping.host_port);
        let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
        let mut client = TcpStream::connect((loopback, address.port())).unwrap();
        client.write_all(b"z").unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
    }
    drop(served);
}

#[test]
fn connections_made_too_early_wait() {
    let port = server("127.0.0.1", echo);
    let mut forwarder = Forwarder::bind(&[local(Protocol::Tcp, port)]).unwrap();
    let mut client = TcpStream::connect(forwarder.bound()[0].addresses[0]).unwrap();
    client.write_all(b"early").unwrap();
    forwarder
        .connect_to(Dialer::Address(Ipv4Addr::LOCALHOST.into()), None)
        .unwrap();
    let served = Served::start(forwarder);
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"early");
    drop(served);
}

#[test]
fn datagrams_find_their_way_back() {
    let backend = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = backend.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut buffer = [0; 65536];
        for _ in 0..4 {
            let (length, from) = backend.recv_from(&mut buffer).unwrap();
            backend.send_to(&buffer[..length], from).unwrap();
            seen.push(from);
        }
        seen
    });
    let served = to_loopback(local(Protocol::Udp, port), ForwarderLimits::default());
    let clients: Vec<UdpSocket> = (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let mut buffer = [0; 65536];
    for round in 0..2u8 {
        for (index, client) in (0u8..).zip(&clients) {
            let message = vec![round * 16 + index; 60_000];
            client.send_to(&message, served.address()).unwrap();
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(from, served.address());
            assert_eq!(&buffer[..length], message);
        }
    }
    let seen = answering.join().unwrap();
    assert_eq!(
        (seen[0], seen[1]),
        (seen[2], seen[3]),
        "each client keeps its own socket"
    );
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn idle_datagram_clients_are_forgotten() {
    let backend = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = backend.local_addr().unwrap().port();
    let limits = ForwarderLimits {
        session_idle: Duration::from_millis(20),
        ..ForwarderLimits::default()
    };
    let mut forwarder =
        Forwarder::bind_with(&[local(Protocol::Udp, port)], limits, &HostSockets::default()).unwrap();
    forwarder
        .connect_to(Dialer::Address(Ipv4Addr::LOCALHOST.into()), None)
        .unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client
        .send_to(b"once", forwarder.bound()[0].addresses[0])
        .unwrap();
    let poll = Poll::new().unwrap();
    poll.add(&forwarder, ready::READ, 0).unwrap();
    let mut most = 0;
    let begun = Instant::now();
    loop {
        poll.wait(-1).unwrap();
        forwarder.dispatch().unwrap();
        most = most.max(forwarder.active());
        if most == 1 && forwarder.active() == 0 {
            break;
        }
    }
    assert!(begun.elapsed() >= Duration::from_millis(20));
}
