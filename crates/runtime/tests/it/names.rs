//! A container's own name server: other containers' names, and the host's servers for all else.

#![expect(clippy::unwrap_used, reason = "a test that meets a surprise stops there")]

use coil_runtime::HostSockets;
use coil_runtime::network::{
    BridgeSpec, NameServer, NameSettings, NetworkState, attach, detach, prepare, rename,
};
use coil_sys::event::{Poll, ready};
use coil_sys::netlink::within_network;
use coil_sys::netlink_route::Route;
use coil_sys::process::unshare;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const A: u16 = 1;
const PTR: u16 = 12;
const AAAA: u16 = 28;

/// Runs a test on a thread whose network namespace is a new one, with loopback: the "host" of the test.
fn on_a_host(test: impl FnOnce(&Path) + Send + 'static) {
    std::thread::spawn(|| {
        unshare(libc::CLONE_NEWNET).unwrap();
        let mut route = Route::open().unwrap();
        let loopback = route.link("lo").unwrap().unwrap();
        route.set_up(loopback.index, true).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir(&root).unwrap();
        test(&root);
    })
    .join()
    .unwrap();
}

/// A container of a test: a place, a namespace, and the lock of a monitor that lives.
struct Container {
    place: NetworkState,
    net: File,
    _monitor: File,
}

fn container(root: &Path, id: &str, spec: BridgeSpec) -> Container {
    let net = std::thread::spawn(|| {
        unshare(libc::CLONE_NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    })
    .join()
    .unwrap();
    std::fs::create_dir(root.join(id)).unwrap();
    let monitor = File::create(root.join(id).join("lock")).unwrap();
    monitor.lock().unwrap();
    let place = prepare(&spec, &root.join(id), id, &|_| true).unwrap();
    attach(&place, net.as_fd()).unwrap();
    Container {
        place,
        net,
        _monitor: monitor,
    }
}

fn named(network: &str, names: &[&str]) -> BridgeSpec {
    BridgeSpec {
        network: network.to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..BridgeSpec::default()
    }
}

/// A name server that answers while this lives.
struct Serving {
    stop: Option<UnixStream>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn serve(root: &Path, container: &Container, settings: &NameSettings) -> Serving {
    let places = [container.place.clone()];
    let mut server = NameServer::start(
        container.net.as_fd(),
        root,
        settings,
        &places,
        HostSockets::default(),
    )
    .unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || {
        let poll = Poll::new().unwrap();
        poll.add(&stopped, ready::READ, 0).unwrap();
        poll.add(&server, ready::READ, 1).unwrap();
        while !poll.wait(-1).unwrap().iter().any(|event| event.token == 0) {
            server.dispatch().unwrap();
        }
    });
    Serving {
        stop: Some(stop),
        thread: Some(thread),
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x47, 0x11, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

fn ask_bytes(container: &Container, query: &[u8]) -> Vec<u8> {
    let socket = within_network(container.net.as_fd(), || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // The answer must come from where it was asked.
        socket.connect("127.0.0.11:53").unwrap();
        socket
    })
    .unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.send(query).unwrap();
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

/// The code of an answer and the data of its records, all of which are of the kind asked for.
fn read_answer(query: &[u8], reply: &[u8]) -> (u8, Vec<Vec<u8>>) {
    assert_eq!(reply[..2], query[..2]);
    assert_eq!(reply[12..query.len()], query[12..]);
    let mut records = Vec::new();
    let mut at = query.len();
    for _ in 0..u16::from_be_bytes([reply[6], reply[7]]) {
        let length = usize::from(u16::from_be_bytes([reply[at + 10], reply[at + 11]]));
        records.push(reply[at + 12..at + 12 + length].to_vec());
        at += 12 + length;
    }
    records.sort();
    (reply[3] & 0xf, records)
}

fn ask(container: &Container, name: &str, kind: u16) -> (u8, Vec<Vec<u8>>) {
    let query = question(name, kind);
    read_answer(&query, &ask_bytes(container, &query))
}

fn found(addresses: &[Ipv4Addr]) -> (u8, Vec<Vec<u8>>) {
    let mut records: Vec<Vec<u8>> = addresses.iter().map(|ip| ip.octets().to_vec()).collect();
    records.sort();
    (0, records)
}

#[test]
fn containers_find_each_other_by_name() {
    on_a_host(|root| {
        let web = container(
            root,
            "one",
            BridgeSpec {
                subnet6: Some("fd00:77::/64".parse().unwrap()),
                ..named("app", &["web", "Site"])
            },
        );
        let db = container(root, "two", named("app", &["db", "site"]));
        let stranger = container(root, "three", named("other", &["db2"]));
        let serving = serve(root, &web, &NameSettings::default());
        assert_eq!(ask(&web, "db", A), found(&[db.place.address]));
        assert_eq!(ask(&web, "DB.app", A), found(&[db.place.address]));
        assert_eq!(ask(&web, "web", A), found(&[web.place.address]), "itself too");
        assert_eq!(
            ask(&web, "site", A),
            found(&[web.place.address, db.place.address])
        );
        assert_eq!(
            ask(&web, "db", AAAA),
            (0, vec![db.place.address6.unwrap().octets().to_vec()])
        );
        assert_eq!(
            ask(&web, "db", 15),
            (0, vec![]),
            "no mail server, but the name is there"
        );
        let octets = db.place.address.octets();
        let reverse = format!(
            "{}.{}.{}.{}.in-addr.arpa",
            octets[3], octets[2], octets[1], octets[0]
        );
        assert_eq!(ask(&web, &reverse, PTR), (0, vec![b"\x02db\x03app\0".to_vec()]));
        rename(root, "two", "db", "database").unwrap();
        assert_eq!(ask(&web, "database", A), found(&[db.place.address]));
        // A container whose monitor was killed has no names any more, before anybody cleared up.
        let Container {
            place,
            net: _net,
            _monitor,
        } = db;
        drop(_monitor);
        assert_eq!(ask(&web, "site", A), found(&[web.place.address]));
        drop(serving);
        for place in [web.place, place, stranger.place] {
            detach(&place).unwrap();
        }
    });
}

#[test]
fn a_program_of_the_containers_may_have_the_port_of_names() {
    on_a_host(|root| {
        let web = container(root, "one", named("app", &["web"]));
        let serving = serve(root, &web, &NameSettings::default());
        let own = within_network(web.net.as_fd(), || UdpSocket::bind("0.0.0.0:53")).unwrap();
        own.expect("the port is free for a name server of the container's own");
        assert_eq!(ask(&web, "web", A), found(&[web.place.address]));
        drop(serving);
        detach(&web.place).unwrap();
    });
}

/// The host's name server of a test: knows `x.example`; says `big.example` over connections alone; nothing else is there.
fn outside() {
    fn reply(query: &[u8], stream: bool) -> Vec<u8> {
        let mut reply = query.to_vec();
        reply[2] |= 0x80;
        let name = &query[12..query.len() - 4];
        let known = name == b"\x01x\x07example\0" || name == b"\x03big\x07example\0" && stream;
        if known {
            reply[7] = 1;
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 77]);
        } else if name == b"\x03big\x07example\0" {
            reply[2] |= 2;
        } else {
            reply[3] |= 3;
        }
        reply
    }
    let udp = UdpSocket::bind("127.0.0.1:53").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:53").unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            // Somebody else's answer comes first, and must not be believed.
            let mut forged = reply(&buffer[..length], false);
            forged[0] ^= 1;
            udp.send_to(&forged, from).unwrap();
            udp.send_to(&reply(&buffer[..length], false), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 2];
            stream.read_exact(&mut head).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(head))];
            stream.read_exact(&mut query).unwrap();
            let answer = reply(&query, true);
            stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
}

fn host_at(server: &str) -> NameSettings {
    NameSettings {
        host_resolv_conf: format!("nameserver {server}\nnameserver 127.0.0.1\n"),
        ..NameSettings::default()
    }
}

#[test]
fn names_outside_are_asked_of_the_hosts_servers() {
    on_a_host(|root| {
        outside();
        let web = container(root, "one", named("app", &["web"]));
        // Nobody listens at the first: the second is asked at once.
        let serving = serve(root, &web, &host_at("127.0.0.9"));
        assert_eq!(ask(&web, "x.example", A), found(&[Ipv4Addr::new(192, 0, 2, 77)]));
        assert_eq!(ask(&web, "gone.example", A), (3, vec![]));
        let query = question("big.example", A);
        let cut = ask_bytes(&web, &query);
        assert_eq!(
            (cut[2] & 2, cut[7]),
            (2, 0),
            "the answer is too large for a datagram"
        );
        let mut stream = within_network(web.net.as_fd(), || TcpStream::connect("127.0.0.11:53"))
            .unwrap()
            .unwrap();
        // Two questions on one connection: one for another server, one that is answered here.
        for (name, address) in [
            ("big.example", Ipv4Addr::new(192, 0, 2, 77)),
            ("web", web.place.address),
        ] {
            let query = question(name, A);
            stream.write_all(&(query.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&query).unwrap();
            let mut head = [0; 2];
            stream.read_exact(&mut head).unwrap();
            let mut reply = vec![0; usize::from(u16::from_be_bytes(head))];
            stream.read_exact(&mut reply).unwrap();
            assert_eq!(read_answer(&query, &reply), found(&[address]));
        }
        drop(serving);
        detach(&web.place).unwrap();
    });
}

#[test]
fn who_may_not_speak_to_the_outside_may_not_do_so_in_questions() {
    on_a_host(|root| {
        outside();
        let quiet = BridgeSpec {
            internal: true,
            ..named("quiet", &["web"])
        };
        let web = container(root, "one", quiet);
        let serving = serve(root, &web, &host_at("127.0.0.1"));
        assert_eq!(ask(&web, "x.example", A), (3, vec![]));
        assert_eq!(ask(&web, "web", A), found(&[web.place.address]));
        drop(serving);
        detach(&web.place).unwrap();
    });
}

#[test]
fn servers_that_do_not_answer_are_a_failure() {
    on_a_host(|root| {
        let web = container(root, "one", named("app", &["web"]));
        let settings = NameSettings {
            host_resolv_conf: "nameserver 127.0.0.9\n".to_owned(),
            ..NameSettings::default()
        };
        let serving = serve(root, &web, &settings);
        assert_eq!(ask(&web, "x.example", A), (2, vec![]));
        // Nonsense is refused or ignored, and the server goes on.
        assert_eq!(ask_bytes(&web, &[9; 12])[3] & 0xf, 4);
        assert_eq!(ask(&web, "web", A), found(&[web.place.address]));
        drop(serving);
        detach(&web.place).unwrap();
    });
}
