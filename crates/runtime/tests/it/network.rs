//! Networks behind a bridge, in network namespaces that the tests make: the host's own isn't touched.

#![expect(clippy::unwrap_used, reason = "a test that meets a surprise stops there")]

use coil_runtime::network::{
    BridgeSpec, DEFAULT_NETWORK, NetworkError, NetworkState, attach, detach, prepare, sweep,
};
use coil_runtime::ports::{Dialer, Forwarder, PortMapping, Protocol};
use coil_sys::netlink::within_network;
use coil_sys::netlink_route::{Address, Route};
use coil_sys::nftables::{Batch, Family, Hook, Nftables};
use coil_sys::process::unshare;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Runs a test on a thread whose network namespace is a new one: the "host" of the test.
fn on_a_host(test: impl FnOnce() + Send + 'static) {
    std::thread::spawn(|| {
        unshare(libc::CLONE_NEWNET).expect("the tests run as root");
        test();
    })
    .join()
    .unwrap();
}

/// A network namespace that lives as long as the file is open.
fn new_namespace() -> File {
    std::thread::spawn(|| {
        unshare(libc::CLONE_NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    })
    .join()
    .unwrap()
}

fn inside<T>(net: &File, act: impl FnOnce() -> T) -> T {
    within_network(net.as_fd(), act).unwrap()
}

fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; install the packages iproute2 and nftables"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn default_network() -> BridgeSpec {
    BridgeSpec::default_network(true)
}

fn named(network: &str) -> BridgeSpec {
    BridgeSpec {
        network: network.to_owned(),
        ..BridgeSpec::default_network(true)
    }
}

fn all_alive(_: &str) -> bool {
    true
}

fn place(spec: &BridgeSpec, root: &Path, id: &str) -> NetworkState {
    prepare(spec, &root.join(id), id, &all_alive).unwrap()
}

/// A container: a namespace on the default network.
fn container(root: &Path, id: &str) -> (NetworkState, File) {
    let state = place(&default_network(), root, id);
    let net = new_namespace();
    attach(&state, net.as_fd()).unwrap();
    (state, net)
}

fn run_root() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    (directory, root)
}

/// Connects with a limit, so that a dropped packet ends the wait.
fn try_connect(address: SocketAddr) -> Result<TcpStream, ErrorKind> {
    TcpStream::connect_timeout(&address, Duration::from_millis(300)).map_err(|error| error.kind())
}

/// Another machine at 192.0.2.9, reached by a device of 1400 bytes; the host is 192.0.2.2.
fn other_machine() -> File {
    let net = new_namespace();
    let mut route = Route::open().unwrap();
    route
        .add_veth("out0", "in0", Some(net.as_fd()), Some(1400), None)
        .unwrap();
    let set = |route: &mut Route, name: &str, last: u8| {
        let index = route.link(name).unwrap().unwrap().index;
        let ip = Ipv4Addr::new(192, 0, 2, last).into();
        route
            .add_address(Address {
                index,
                ip,
                prefix: 24,
            })
            .unwrap();
        route.set_up(index, true).unwrap();
        index
    };
    set(&mut Route::open_in(net.as_fd()).unwrap(), "in0", 9);
    let out = set(&mut route, "out0", 2);
    route
        .add_default_route(Ipv4Addr::new(192, 0, 2, 9).into(), out)
        .unwrap();
    net
}

#[test]
fn a_container_reaches_other_machines_and_they_see_the_host() {
    on_a_host(|| {
        let (_directory, root) = run_root();
        let far = other_machine();
        let (state, net) = container(&root, "one");
        assert_eq!(
            (state.bridge.as_str(), state.mtu, &state.notices),
            ("coil0", Some(1400), &Vec::new())
        );
        let listener = inside(&far, || TcpListener::bind("192.0.2.9:0").unwrap());
        let address = listener.local_addr().unwrap();
        let mut client = inside(&net, || try_connect(address)).unwrap();
        let (mut server, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), Ipv4Addr::new(192, 0, 2, 2), "the source is translated");
        client.write_all(&[3; 100_000]).unwrap();
        drop(client);
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), 100_000);
        // Datagrams too.
        let far_udp = inside(&far, || UdpSocket::bind("192.0.2.9:0").unwrap());
        let udp = inside(&net, || UdpSocket::bind("0.0.0.0:0").unwrap());
        udp.send_to(b"ask", far_udp.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 8];
        let (length, from) = far_udp.recv_from(&mut buffer).unwrap();
        far_udp.send_to(&buffer[..length], from).unwrap();
        assert_eq!(udp.recv_from(&mut buffer).unwrap().0, 3);
        // From outside nobody gets in by routing to the container.
        let inner = inside(&net, || TcpListener::bind("0.0.0.0:0").unwrap());
        let port = inner.local_addr().unwrap().port();
        let mut routes = Route::open_in(far.as_fd()).unwrap();
        let device = routes.link("in0").unwrap().unwrap().index;
        routes
            .add_default_route(Ipv4Addr::new(192, 0, 2, 2).into(), device)
            .unwrap();
        let direct = inside(&far, || try_connect((state.address, port).into()));
        assert_eq!(direct.unwrap_err(), ErrorKind::TimedOut);
        // The host itself does.
        try_connect((state.address, port).into()).unwrap();
        detach(&state).unwrap();
    });
}

#[test]
fn containers_of_a_network_reach_each_other_and_no_other_network() {
    on_a_host(|| {
        let (_directory, root) = run_root();
        let (first, first_net) = container(&root, "one");
        let (second, second_net) = container(&root, "two");
        assert_ne!(first.address, second.address);
        let listener = inside(&first_net, || TcpListener::bind((first.address, 0)).unwrap());
        let address = listener.local_addr().unwrap();
        inside(&second_net, || try_connect(address)).unwrap();
        let (_, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), second.address, "no translation inside a network");

        let other = place(&named("other"), &root, "three");
        assert_ne!(other.bridge, first.bridge);
        assert!(!other.subnet.overlaps(first.subnet));
        let other_net = new_namespace();
        attach(&other, other_net.as_fd()).unwrap();
        assert_eq!(
            inside(&other_net, || try_connect(address)).unwrap_err(),
            ErrorKind::TimedOut
        );
        for state in [first, second, other] {
            detach(&state).unwrap();
        }
    });
}

#[test]
fn an_internal_network_has_no_way_out() {
    on_a_host(|| {
        let (_directory, root) = run_root();
        let far = other_machine();
        let listener = inside(&far, || TcpListener::bind("192.0.2.9:0").unwrap());
        let address = listener.local_addr().unwrap();
        let spec = BridgeSpec {
            internal: true,
            ..named("quiet")
        };
        let state = place(&spec, &root, "one");
        let net = new_namespace();
        attach(&state, net.as_fd()).unwrap();
        assert_eq!(
            inside(&net, || try_connect(address)).unwrap_err(),
            ErrorKind::NetworkUnreachable
        );
        detach(&state).unwrap();
    });
}

#[test]
fn the_last_one_out_leaves_nothing() {
    on_a_host(|| {
        let (_directory, root) = run_root();
        let before = (tool("ip", &["-j", "link"]), tool("nft", &["list", "ruleset"]));
        let (first, _first_net) = container(&root, "one");
        let (second, _second_net) = container(&root, "two");
        assert!(tool("ip", &["link", "show", "type", "bridge"]).contains("coil0"));
        assert!(tool("nft", &["list", "tables"]).contains("table ip coil0"));
        detach(&first).unwrap();
        assert!(tool("ip", &["link", "show", "type", "bridge"]).contains("coil0"));
        detach(&second).unwrap();
        assert_eq!(
            (tool("ip", &["-j", "link"]), tool("nft", &["list", "ruleset"])),
            before
        );
        assert!(!root.join("network").join(DEFAULT_NETWORK).exists());
        detach(&second).expect("a second time does no harm");
    });
}

#[test]
fn addresses_of_the_dead_are_taken_back() {
    on_a_host(|| {
        let (_directory, root) = run_root();
        let first = place(&default_network(), &root, "one");
        let second = place(&default_network(), &root, "two");
        let alive = |id: &str| id != "one";
        let third = prepare(&default_network(), &root.join("three"), "three", &alive).unwrap();
        assert_eq!(third.address, first.address);
        // The dead one's clean-up comes late: it may not take what is another's now.
        detach(&first).unwrap();
        let fourth = place(&default_network(), &root, "four");
        assert!(![first.address, second.address].contains(&fourth.address));
        assert_eq!(
            place(&default_network(), &root, "two").address,
            second.address,
            "the same again after a crash"
        );
        sweep(&root, &|_| false).unwrap();
        assert!(Route::open().unwrap().link("coil0").unwrap().is_none());
    });
}

#[test]
fn many_at_once_get_an_address_each() {
    on_a_host(|| {
        let (_directory, root) = run_root();
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let root = root.clone();
                std::thread::spawn(move || {
                    (0..8)
                        .map(|n| place(&default_network(), &root, &format!("{thread}-{n}")))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let states: Vec<NetworkState> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        let addresses: BTreeSet<Ipv4Addr> = states.iter().map(|state| state.address).collect();
        assert_eq!(addresses.len(), 64);
        let leaving: Vec<_> = states
            .into_iter()
            .map(|state| std::thread::spawn(move || detach(&state).unwrap()))
            .collect();
        for thread in leaving {
            thread.join().unwrap();
        }
        assert!(Route::open().unwrap().link("coil0").unwrap().is_none());
    });
}

#[test]
fn the_subnet_keeps_clear_of_the_hosts_networks() {
    on_a_host(|| {
        let (_directory, root) = run_root();
        let mut route = Route::open().unwrap();
        route.add_bridge("office", [2, 0, 0, 0, 0, 1]).unwrap();
        let index = route.link("office").unwrap().unwrap().index;
        route
            .add_address(Address {
                index,
                ip: Ipv4Addr::new(10, 213, 7, 1).into(),
                prefix: 16,
            })
            .unwrap();
        route.set_up(index, true).unwrap();
        let state = place(&default_network(), &root, "one");
        assert_eq!(state.subnet.to_string(), "172.29.0.0/24");
        let wanted = BridgeSpec {
            subnet: Some("10.213.9.0/24".parse().unwrap()),
            ..named("mine")
        };
        let error = prepare(&wanted, &root.join("two"), "two", &all_alive).unwrap_err();
        assert!(matches!(error, NetworkError::Overlap { .. }), "{error}");
        let wanted = BridgeSpec {
            subnet: Some("10.4.0.0/28".parse().unwrap()),
            address: Some(Ipv4Addr::new(10, 4, 0, 9)),
            ..named("mine")
        };
        assert_eq!(place(&wanted, &root, "two").address, Ipv4Addr::new(10, 4, 0, 9));
        let error = prepare(&wanted, &root.join("three"), "three", &all_alive).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Address already in use: 10.4.0.9 belongs to the container two"
        );
    });
}

#[test]
fn two_data_roots_have_two_bridges() {
    on_a_host(|| {
        let (_directory, root) = run_root();
        let other_root = root.with_file_name("other");
        std::fs::create_dir(&other_root).unwrap();
        let spec = BridgeSpec::default_network(false);
        let first = place(&default_network(), &root, "one");
        let second = place(&spec, &other_root, "one");
        assert_ne!(first.bridge, second.bridge);
        assert!(!first.subnet.overlaps(second.subnet));
        let error = prepare(&default_network(), &other_root.join("two"), "two", &all_alive);
        assert!(error.is_ok() || matches!(error, Err(NetworkError::Foreign { .. })));
    });
}

#[test]
fn a_flushed_rule_set_comes_back() {
    on_a_host(|| {
        let (_directory, root) = run_root();
        place(&default_network(), &root, "one");
        tool("nft", &["flush", "ruleset"]);
        place(&default_network(), &root, "two");
        assert!(tool("nft", &["list", "ruleset"]).contains("masquerade"));
    });
}

#[test]
fn a_firewall_that_drops_forwarded_packets_is_named() {
    on_a_host(|| {
        let (_directory, root) = run_root();
        let mut batch = Batch::new();
        batch.add_table(Family::Ip, "filter").add_chain_with_policy(
            Family::Ip,
            "filter",
            "FORWARD",
            Hook::Forward,
            false,
        );
        Nftables::open()
            .unwrap()
            .commit(batch, "set up the test's rules")
            .unwrap();
        let state = place(&default_network(), &root, "one");
        assert_eq!(state.notices.len(), 1);
        assert!(
            state.notices[0].contains("FORWARD of the table filter"),
            "{}",
            state.notices[0]
        );
    });
}

#[test]
fn names_of_networks_are_checked() {
    for name in ["", "..", "a/b", ".x", "a b", &"x".repeat(129)] {
        let error = prepare(&named(name), Path::new("/nonexistent/one"), "one", &all_alive).unwrap_err();
        assert!(matches!(error, NetworkError::Name(_)), "{name:?}");
    }
}

#[test]
fn ports_reach_an_app_that_listens_on_loopback_in_its_namespace() {
    on_a_host(|| {
        let lo = |route: &mut Route| {
            let index = route.link("lo").unwrap().unwrap().index;
            route.set_up(index, true).unwrap();
        };
        lo(&mut Route::open().unwrap());
        let net = new_namespace();
        lo(&mut Route::open_in(net.as_fd()).unwrap());
        let (app, udp_app) = inside(&net, || {
            (
                TcpListener::bind("127.0.0.1:0").unwrap(),
                UdpSocket::bind("127.0.0.1:0").unwrap(),
            )
        });
        let app_port = app.local_addr().unwrap().port();
        let udp_port = udp_app.local_addr().unwrap().port();
        let local = |container_port, protocol| PortMapping {
            host_ip: Some(Ipv4Addr::LOCALHOST.into()),
            host_port: 0,
            host_port_last: None,
            container_port,
            protocol,
        };
        let ports = [
            local(app_port, Protocol::Tcp),
            local(udp_port, Protocol::Udp),
            local(1, Protocol::Tcp),
        ];
        let mut forwarder = Forwarder::bind(&ports).unwrap();
        let dialer = Dialer::Namespace {
            user: None,
            net: net.into(),
            addresses: vec![Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()],
        };
        forwarder.connect_to(dialer, None).unwrap();
        let helper = forwarder.helper_pid().unwrap();
        let address: Vec<SocketAddr> = forwarder.bound().iter().map(|bound| bound.addresses[0]).collect();
        let (stop, stopped) = std::os::unix::net::UnixStream::pair().unwrap();
        let serving = std::thread::spawn(move || {
            use coil_sys::event::{Poll, ready};
            let poll = Poll::new().unwrap();
            poll.add(&stopped, ready::READ, 0).unwrap();
            poll.add(&forwarder, ready::READ, 1).unwrap();
            loop {
                if poll.wait(-1).unwrap().iter().any(|event| event.token == 0) {
                    return;
                }
                forwarder.dispatch().unwrap();
            }
        });
        let mut clients: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address[0]).unwrap()).collect();
        for client in &mut clients {
            client.write_all(b"hi").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let (mut server, _) = app.accept().unwrap();
            let mut text = String::new();
            server.read_to_string(&mut text).unwrap();
            server.write_all(text.as_bytes()).unwrap();
        }
        for client in &mut clients {
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hi");
        }
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.send_to(b"datagram", address[1]).unwrap();
        let mut buffer = [0; 16];
        let (length, from) = udp_app.recv_from(&mut buffer).unwrap();
        udp_app.send_to(&buffer[..length], from).unwrap();
        assert_eq!(udp.recv_from(&mut buffer).unwrap(), (8, address[1]));
        // Nobody listens: the client is told so by a reset, after both loopback addresses were tried.
        let mut refused = TcpStream::connect(address[2]).unwrap();
        assert_eq!(
            refused.read(&mut buffer).unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );

        // The helper holds its own channel and nothing else, can't be traced, and ends with the forwarder.
        let held = std::fs::read_dir(format!("/proc/{helper}/fd")).unwrap().count();
        assert_eq!(held, 1);
        drop(stop);
        serving.join().unwrap();
        assert!(!Path::new(&format!("/proc/{helper}")).exists());
    });
}
