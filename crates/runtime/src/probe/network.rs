//! Facts of the network: tried in a network namespace that is thrown away.

use super::Fact;
use super::system::read;
use coil_sys::netlink::NetlinkError;
use coil_sys::netlink_route::Route;
use coil_sys::nftables::{Batch, Family, Hook, Nftables, Rule};
use coil_sys::{process, socket};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

pub(super) fn facts(root: bool) -> Vec<Fact> {
    let mut facts = Vec::new();
    if root {
        // A thread of its own, for its namespace ends with it.
        let tried = std::thread::spawn(|| {
            process::unshare(libc::CLONE_NEWNET).map_err(|error| error.to_string())?;
            Ok::<_, String>((bridges(), translation()))
        });
        match tried.join() {
            Ok(Ok((bridges, translation))) => facts.extend([bridges, translation]),
            Ok(Err(error)) => facts.push(no_bridges(error)),
            Err(_) => facts.push(no_bridges("the trial broke off".to_owned())),
        }
        facts.push(forwarding());
        facts.push(firewall());
    }
    facts.push(ipv6());
    facts.push(tunnel());
    facts
}

fn full(error: &NetlinkError) -> String {
    format!("{error}: {}", error.source)
}

fn no_bridges(detail: String) -> Fact {
    Fact::no(
        "bridges",
        detail,
        "containers have no network but the host's (`--network host`) or none",
        "use a kernel with bridge and veth (the modules `bridge` and `veth`)",
    )
}

fn bridges() -> Fact {
    let attempt = || -> Result<(), String> {
        let mut route = Route::open().map_err(|error| error.to_string())?;
        route
            .add_bridge("coiltest", [2, 0, 0, 0, 0, 1])
            .map_err(|error| full(&error))?;
        route
            .add_veth("coiltest0", "coiltest1", None, None, None)
            .map_err(|error| full(&error))?;
        let find = |route: &mut Route, name: &str| {
            let link = route.link(name).map_err(|error| full(&error))?;
            link.map(|link| link.index)
                .ok_or_else(|| format!("{name} isn't there"))
        };
        let (bridge, port) = (find(&mut route, "coiltest")?, find(&mut route, "coiltest0")?);
        route.join_bridge(port, bridge).map_err(|error| full(&error))
    };
    match attempt() {
        Ok(()) => Fact::yes("bridges", "tried: bridge and veth"),
        Err(detail) => no_bridges(detail),
    }
}

fn translation() -> Fact {
    let name = "address translation";
    let attempt = || -> Result<(), String> {
        let mut batch = Batch::new();
        let rule = Rule::new()
            .from_network(Ipv4Addr::new(10, 0, 0, 0), 8)
            .not_to_device("coiltest")
            .masquerade();
        batch
            .add_table(Family::Ip, "coiltest")
            .add_chain(Family::Ip, "coiltest", "postrouting", Hook::SourceNat)
            .add_rule(Family::Ip, "coiltest", "postrouting", rule)
            .add_chain(Family::Ip, "coiltest", "forward", Hook::Forward)
            .add_rule(
                Family::Ip,
                "coiltest",
                "forward",
                Rule::new().to_device("coiltest").established().accept(),
            );
        let mut nftables = Nftables::open().map_err(|error| error.to_string())?;
        nftables
            .commit(batch, "set packet filter rules")
            .map_err(|error| full(&error))
    };
    match attempt() {
        Ok(()) => Fact::yes(name, "tried: nf_tables with masquerade and connection tracking"),
        Err(detail) => Fact::no(
            name,
            detail,
            "containers on a bridge can't reach other machines",
            "use a kernel with nf_tables, nft_masq and nf_conntrack, or `--network host`",
        ),
    }
}

fn forwarding() -> Fact {
    let name = "IP forwarding";
    match read("/proc/sys/net/ipv4/ip_forward").as_deref() {
        Some("1") => Fact::yes(name, "on"),
        Some(_) => Fact::yes(name, "off; coil switches it on with the first bridge"),
        None => Fact::no(
            name,
            "/proc/sys/net/ipv4/ip_forward can't be read",
            "containers on a bridge can't reach other machines",
            "mount /proc with its sys directory",
        ),
    }
}

/// Whether another program's rules drop what is forwarded (ufw, firewalld, Docker beside us).
fn firewall() -> Fact {
    let name = "firewall";
    let chains = match Nftables::open().map(|mut nftables| nftables.chains()) {
        Ok(Ok(chains)) => chains,
        // Said above: there is no packet filter.
        _ => return Fact::yes(name, "no rules of nf_tables can be read"),
    };
    let dropping = chains
        .into_iter()
        .find(|chain| chain.is_forward() && chain.drops && matches!(chain.family, Family::Ip | Family::Inet));
    match dropping {
        None => Fact::yes(name, "forwarded packets are not dropped by default"),
        Some(chain) => Fact::partly(
            name,
            format!(
                "the chain {} of the table {} drops forwarded packets that no rule of its own accepts",
                chain.name, chain.table
            ),
            "containers on a bridge may not reach other machines; published ports and names work all the same",
            "accept what comes from and goes to coil's bridges: `iptables -I FORWARD -i coil+ -j ACCEPT` and \
             `iptables -I FORWARD -o coil+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`",
        ),
    }
}

fn ipv6() -> Fact {
    let name = "IPv6";
    if socket::can_bind(Ipv6Addr::LOCALHOST.into()) {
        Fact::yes(name, "ports are published on IPv4 and IPv6")
    } else {
        Fact::partly(
            name,
            "this machine has none",
            "ports are published on IPv4 alone",
            "",
        )
    }
}

fn tunnel() -> Fact {
    let name = "tunnel device";
    match std::fs::File::options()
        .read(true)
        .write(true)
        .open(Path::new("/dev/net/tun"))
    {
        Ok(_) => Fact::yes(name, "/dev/net/tun"),
        Err(error) => Fact::partly(
            name,
            format!("/dev/net/tun: {error}"),
            "programs that need a tunnel of their own (VPNs) don't run in containers",
            "",
        ),
    }
}
