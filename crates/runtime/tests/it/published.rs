//! Published ports of whole containers: the monitor, the network and the forwarder together.

#![expect(clippy::unwrap_used, reason = "a test that meets a surprise stops there")]

use crate::container::Container;
use crate::rootless::{as_user, make_rootless};
use coil_runtime::HouseholdSpec;
use coil_runtime::network::{NameSettings, NetworkSpec};
use coil_runtime::ports::{PortMapping, Protocol};
use coil_runtime::spec::IdMap;
use coil_runtime::state::Status;
use coil_sys::netlink_route::Route;
use coil_sys::process::unshare;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Greets every client on port 8080, with so many bytes more; so many may wait.
const SERVER: &str = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
static char block[1 << 20];
int main(int count, char **words) {
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(8080) };
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), client;
    inet_pton(AF_INET, words[1], &at.sin_addr);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, count > 3 ? atoi(words[3]) : 9)) return 1;
    while ((client = accept(listener, 0, 0)) >= 0) {
        long left = count > 2 ? atol(words[2]) : 0;
        write(client, "hello", 5);
        while (left > 0) {
            long done = write(client, block, left < sizeof block ? left : sizeof block);
            if (done <= 0) break;
            left -= done;
        }
        close(client);
    }
}
"#;

/// Runs a test on a thread whose network namespace is a new one, with loopback: the "host" of the test.
fn on_a_host(test: impl FnOnce() + Send + 'static) {
    unsharing(test);
}

fn serving(listen: &str, network: NetworkSpec) -> Container {
    let mut container = Container::new(&[]);
    let source = container.home.join("server.c");
    let program = container.home.join("layer/bin/server");
    std::fs::write(&source, SERVER).unwrap();
    let status = Command::new("cc")
        .args(["-static", "-w", "-o"])
        .args([&program, &source])
        .status()
        .unwrap();
    assert!(status.success(), "a C compiler with libc.a is needed");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    container.spec.args = vec!["server".to_owned(), listen.to_owned()];
    container.spec.network = network;
    container.spec.ports = vec![PortMapping {
        host_ip: Some(Ipv4Addr::LOCALHOST.into()),
        host_port: 0,
        host_port_last: None,
        container_port: 8080,
        protocol: Protocol::Tcp,
    }];
    container
}

/// What a client of the published port reads; until the program listens, connections are reset.
fn greeting(container: &Container) -> String {
    let port = container.state().ports[0].host_port;
    loop {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut text = String::new();
        match client.read_to_string(&mut text) {
            Ok(_) => return text,
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

fn bridge() -> NetworkSpec {
    NetworkSpec::bridge(true, NameSettings::default())
}

#[test]
fn a_container_on_a_bridge_is_reached_and_leaves_nothing() {
    on_a_host(|| {
        let container = serving("0.0.0.0", bridge());
        let _started = container.started();
        assert_eq!(greeting(&container), "hello");
        let place = container.state().networks.remove(0);
        let mut direct = TcpStream::connect((place.address, 8080)).unwrap();
        let mut text = String::new();
        direct.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        drop(container);
        assert!(Route::open().unwrap().link("coil0").unwrap().is_none());
    });
}

#[test]
fn an_isolated_container_is_reached_on_its_loopback() {
    on_a_host(|| {
        let container = serving("127.0.0.1", NetworkSpec::Isolated(NameSettings::default()));
        let _started = container.started();
        assert_eq!(greeting(&container), "hello");
    });
}

/// A published container of an ordinary user, from its start till the test has looked.
fn of_a_user(listen: &str, look: impl FnOnce(&Container)) {
    let mut container = serving(listen, NetworkSpec::Isolated(NameSettings::default()));
    make_rootless(&mut container, 0);
    let mut command = as_user(&container, "run", &[]).spawn().unwrap();
    while container
        .try_state()
        .is_none_or(|state| state.status != Status::Running)
    {
        std::thread::yield_now();
    }
    look(&container);
    container.client().signal(libc::SIGKILL).unwrap();
    assert_eq!(command.wait().unwrap().code(), Some(137));
}

#[test]
fn a_users_container_is_reached() {
    on_a_host(|| {
        for listen in ["0.0.0.0", "127.0.0.1"] {
            of_a_user(listen, |container| assert_eq!(greeting(container), "hello"));
        }
    });
}

/// The bytes that a container's monitor and its helper have for themselves alone.
fn private_memory(container: &Container) -> u64 {
    let init = container.state().pid;
    let status = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap();
    let monitor = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap();
    let monitor = monitor.trim();
    let children = std::fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).unwrap();
    let of = |pid: &str| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Private_Dirty:"))
            .unwrap();
        line.trim()
            .strip_suffix(" kB")
            .unwrap()
            .trim()
            .parse::<u64>()
            .unwrap()
            << 10
    };
    let helpers = children.split_whitespace().filter(|pid| pid.parse() != Ok(init));
    helpers.chain([monitor]).map(of).sum()
}

#[test]
fn a_monitor_that_serves_a_port_is_small() {
    const MOST: u64 = 2 << 20;
    on_a_host(|| {
        for network in [bridge(), NetworkSpec::Isolated(NameSettings::default())] {
            let container = serving("0.0.0.0", network);
            let _started = container.started();
            assert_eq!(greeting(&container), "hello");
            let bytes = private_memory(&container);
            assert!(bytes < MOST, "{bytes}");
        }
        of_a_user("0.0.0.0", |container| {
            assert_eq!(greeting(container), "hello");
            let bytes = private_memory(container);
            assert!(bytes < MOST, "{bytes}");
        });
    });
}

#[test]
fn an_app_on_loopback_behind_a_bridge_is_told_of() {
    on_a_host(|| {
        let container = serving("127.0.0.1", bridge());
        let _started = container.started();
        let port = container.state().ports[0].host_port;
        // Each try is reset; the notice comes with the first one after the program listens.
        loop {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            assert_eq!(
                client.read(&mut [0; 8]).unwrap_err().kind(),
                ErrorKind::ConnectionReset
            );
            if container
                .state()
                .notices
                .iter()
                .any(|notice| notice.contains("make it listen on 0.0.0.0"))
            {
                break;
            }
        }
    });
}

/// A household without pasta, in which a user's bridge stands.
fn household(inside: u32) -> Container {
    let mut container = serving("0.0.0.0", bridge());
    if let NetworkSpec::Bridge(bridged) = &mut container.spec.network {
        bridged.places[0].default_root = false;
        bridged.household = Some(HouseholdSpec {
            map: IdMap::one(0, 0, crate::rootless::USER, crate::rootless::USER),
            ..HouseholdSpec::default()
        });
    }
    make_rootless(&mut container, inside);
    container
}

#[test]
fn an_ordinary_users_container_stands_on_a_bridge_of_the_users_own() {
    for inside in [0, 1000] {
        let container = household(inside);
        let mut child = as_user(&container, "run", &[]).spawn().unwrap();
        while container
            .try_state()
            .is_none_or(|state| state.status != Status::Running)
        {
            assert!(child.try_wait().unwrap().is_none(), "it did not start");
            std::thread::yield_now();
        }
        let state = container.state();
        assert_eq!(greeting(&container), "hello");
        assert_eq!(state.networks.len(), 1);
        assert!(
            state.notices.iter().any(|notice| notice.contains("pasta")),
            "{:?}",
            state.notices
        );
        drop(container);
        child.wait().unwrap();
    }
}

/// Where a connection of this machine's leads, by its other end's address.
fn peer(host: Ipv4Addr, port: u16) -> SocketAddr {
    let mut client = TcpStream::connect((host, port)).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    client.peer_addr().unwrap()
}

#[test]
fn the_machines_own_connections_go_past_the_proxy_where_many_may_wait() {
    on_a_host(|| {
        let mut container = serving("0.0.0.0", bridge());
        container.spec.ports[0].host_ip = None;
        container.spec.args.extend(["0", "64"].map(str::to_owned));
        let _started = container.started();
        // Whoever came first may have been the proxy's; the next is not.
        assert_eq!(greeting(&container), "hello");
        let state = container.state();
        let place = (state.networks[0].address, 8080).into();
        let port = state.ports[0].host_port;
        assert_eq!(peer(Ipv4Addr::LOCALHOST, port), place);
        assert_eq!(peer(Ipv4Addr::new(127, 9, 9, 9), port), place);
        assert_eq!(peer(state.networks[0].gateway, port), place);
        // Another port of this machine, and other machines' ports of this number, stay what they are.
        let other = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = other.local_addr().unwrap();
        assert_eq!(TcpStream::connect(address).unwrap().peer_addr().unwrap(), address);
        let elsewhere = unsharing(move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop));
        assert_eq!(elsewhere.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        drop(container);
        let gone = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_program_that_lets_few_wait_is_reached_through_the_proxy() {
    on_a_host(|| {
        let mut container = serving("0.0.0.0", bridge());
        container.spec.args.extend(["0", "5"].map(str::to_owned));
        let _started = container.started();
        assert_eq!(greeting(&container), "hello");
        let port = container.state().ports[0].host_port;
        let own = (Ipv4Addr::LOCALHOST, port).into();
        assert_eq!(peer(Ipv4Addr::LOCALHOST, port), own);
        // More than it lets wait, all at once: the proxy has them wait.
        let clients: Vec<_> = (0..32)
            .map(|_| std::thread::spawn(move || peer(Ipv4Addr::LOCALHOST, port)))
            .collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), own);
        }
    });
}

/// Does something in a network namespace of its own, with loopback.
fn unsharing<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(|| {
        unshare(libc::CLONE_NEWNET).unwrap();
        let mut route = Route::open().unwrap();
        let loopback = route.link("lo").unwrap().unwrap();
        route.set_up(loopback.index, true).unwrap();
        act()
    })
    .join()
    .unwrap()
}
