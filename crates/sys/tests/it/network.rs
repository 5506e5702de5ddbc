//! Links, addresses, routes and packet filter rules, compared with what `ip` and `nft` see.

use coil_sys::netlink_route::{Address, Route};
use coil_sys::nftables::{Batch, Family, Hook, Nftables, Rule};
use coil_sys::process::unshare;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::process::Command;

/// Runs a test on a thread with a network namespace of its own.
fn in_new_namespace(test: impl FnOnce() + Send + 'static) {
    std::thread::spawn(|| {
        unshare(libc::CLONE_NEWNET).expect("the tests run as root");
        test();
    })
    .join()
    .unwrap();
}

/// What a tool prints, run in this thread's namespace (a child inherits its parent thread's).
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

fn network() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

#[test]
fn a_bridge_and_a_pair_into_another_namespace() {
    in_new_namespace(|| {
        let here = network();
        unshare(libc::CLONE_NEWNET).unwrap();
        let mut there = Route::open().unwrap();
        let mut route = Route::open_in(here.as_fd()).unwrap();
        route.add_bridge("coil7", [2, 0, 0, 0, 0, 7]).unwrap();
        let bridge = route.link("coil7").unwrap().unwrap();
        assert_eq!((bridge.kind.as_deref(), bridge.up), (Some("bridge"), false));
        assert_eq!(bridge.hardware, [2, 0, 0, 0, 0, 7]);
        let address = |index, last| Address {
            index,
            ip: Ipv4Addr::new(10, 9, 8, last).into(),
            prefix: 24,
        };
        route.add_address(address(bridge.index, 1)).unwrap();
        route.set_up(bridge.index, true).unwrap();
        route
            .add_veth("outside", "eth0", Some(network().as_fd()), Some(1400), None)
            .unwrap();
        let outside = route.link("outside").unwrap().unwrap();
        route.join_bridge(outside.index, bridge.index).unwrap();
        let inside = there.link("eth0").unwrap().unwrap();
        assert_eq!(inside.mtu, 1400);
        there.add_address(address(inside.index, 2)).unwrap();
        there.set_up(inside.index, true).unwrap();
        let gateway = IpAddr::from([10, 9, 8, 1]);
        there.add_default_route(gateway, inside.index).unwrap();

        // This thread is inside; the tools see what was made here.
        let addresses = tool("ip", &["-j", "addr", "show", "eth0"]);
        assert!(
            addresses.contains(r#""local":"10.9.8.2","prefixlen":24,"broadcast":"10.9.8.255""#),
            "{addresses}"
        );
        let routes = tool("ip", &["-j", "route"]);
        assert!(
            routes.contains(r#""dst":"default","gateway":"10.9.8.1","dev":"eth0""#),
            "{routes}"
        );
        let listed = there.routes().unwrap();
        assert!(
            listed
                .iter()
                .any(|r| r.prefix == 0 && r.gateway == Some(gateway) && r.table == 254)
        );
        assert!(there.addresses().unwrap().contains(&address(inside.index, 2)));
        // And they can speak to each other.
        let listener = coil_sys::netlink::within_network(here.as_fd(), || {
            std::net::TcpListener::bind("10.9.8.1:0").unwrap()
        })
        .unwrap();
        std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();

        let links = route.links().unwrap();
        let port = links.iter().find(|link| link.name == "outside").unwrap();
        assert_eq!(
            (port.master, port.up, port.kind.as_deref()),
            (Some(bridge.index), true, Some("veth"))
        );
        route.delete_link(outside.index).unwrap();
        assert_eq!(there.link("eth0").unwrap(), None);
        route.delete_link(bridge.index).unwrap();
        assert_eq!(route.link("coil7").unwrap(), None);
    });
}

#[test]
fn refusals_name_what_was_asked() {
    in_new_namespace(|| {
        let mut route = Route::open().unwrap();
        route.add_bridge("coil7", [2, 0, 0, 0, 0, 7]).unwrap();
        let error = route.add_bridge("coil7", [2, 0, 0, 0, 0, 7]).unwrap_err();
        assert_eq!(error.errno(), libc::EEXIST);
        assert_eq!(error.to_string(), "the kernel refused to add the bridge coil7");
        assert_eq!(route.link("nothing").unwrap(), None);
    });
}

fn rules(batch: &mut Batch) {
    let net = Ipv4Addr::new(10, 9, 8, 0);
    batch
        .add_table(Family::Ip, "coil7")
        .add_chain(Family::Ip, "coil7", "postrouting", Hook::SourceNat)
        .add_rule(
            Family::Ip,
            "coil7",
            "postrouting",
            Rule::new()
                .from_network(net, 24)
                .not_to_device("coil7")
                .masquerade(),
        )
        .add_chain(Family::Ip, "coil7", "forward", Hook::Forward)
        .add_rule(
            Family::Ip,
            "coil7",
            "forward",
            Rule::new().from_device("coil7").accept(),
        )
        .add_rule(
            Family::Ip,
            "coil7",
            "forward",
            Rule::new().to_device("coil7").established().accept(),
        )
        .add_rule(
            Family::Ip,
            "coil7",
            "forward",
            Rule::new().to_device("coil7").drop_packet(),
        )
        .add_chain(Family::Ip, "coil7", "prerouting", Hook::DestinationNat)
        .add_rule(
            Family::Ip,
            "coil7",
            "prerouting",
            Rule::new()
                .to_local_port(6, 8080)
                .destination(Ipv4Addr::new(10, 9, 8, 2), 80),
        );
}

#[test]
fn rules_read_as_meant() {
    in_new_namespace(|| {
        let mut nftables = Nftables::open().unwrap();
        assert!(!nftables.has_table(Family::Ip, "coil7").unwrap());
        let mut batch = Batch::new();
        rules(&mut batch);
        nftables.commit(batch, "set up the test's rules").unwrap();
        assert!(nftables.has_table(Family::Ip, "coil7").unwrap());
        let listed = tool("nft", &["list", "table", "ip", "coil7"]);
        for line in [
            "type nat hook postrouting priority srcnat; policy accept;",
            "ip saddr 10.9.8.0/24 oifname != \"coil7\" masquerade",
            "type filter hook forward priority filter; policy accept;",
            "iifname \"coil7\" accept",
            "oifname \"coil7\" ct state established,related accept",
            "oifname \"coil7\" drop",
            "type nat hook prerouting priority dstnat; policy accept;",
            "fib daddr type local tcp dport 8080 dnat to 10.9.8.2:80",
        ] {
            assert!(listed.contains(line), "{line} is not in\n{listed}");
        }
        let chains = nftables.chains().unwrap();
        let forward: Vec<_> = chains.iter().filter(|chain| chain.is_forward()).collect();
        assert_eq!(forward.len(), 1);
        assert_eq!((forward[0].name.as_str(), forward[0].drops), ("forward", false));

        // Replacing all in one batch leaves each rule once.
        let mut batch = Batch::new();
        batch
            .add_table(Family::Ip, "coil7")
            .delete_table(Family::Ip, "coil7");
        rules(&mut batch);
        nftables.commit(batch, "replace the test's rules").unwrap();
        assert_eq!(tool("nft", &["list", "table", "ip", "coil7"]), listed);

        let mut batch = Batch::new();
        batch.delete_table(Family::Ip, "coil7");
        nftables.commit(batch, "remove the test's rules").unwrap();
        assert_eq!(tool("nft", &["list", "tables"]), "");
    });
}

#[test]
fn a_batch_is_all_or_nothing() {
    in_new_namespace(|| {
        let mut nftables = Nftables::open().unwrap();
        let mut batch = Batch::new();
        batch
            .add_table(Family::Ip, "first")
            .delete_table(Family::Ip, "missing")
            .add_table(Family::Ip, "last");
        let error = nftables.commit(batch, "change the rules").unwrap_err();
        assert_eq!(error.errno(), libc::ENOENT);
        assert_eq!(tool("nft", &["list", "tables"]), "");
        // The socket is still good, and old answers don't confuse it.
        assert!(!nftables.has_table(Family::Ip, "first").unwrap());
    });
}

#[test]
fn a_dropping_forward_chain_is_seen() {
    in_new_namespace(|| {
        let mut nftables = Nftables::open().unwrap();
        let mut batch = Batch::new();
        batch.add_table(Family::Ip, "filter").add_chain_with_policy(
            Family::Ip,
            "filter",
            "FORWARD",
            Hook::Forward,
            false,
        );
        nftables.commit(batch, "set up the test's rules").unwrap();
        let chains = nftables.chains().unwrap();
        assert!(
            chains
                .iter()
                .any(|chain| chain.is_forward() && chain.drops && chain.table == "filter")
        );
    });
}
