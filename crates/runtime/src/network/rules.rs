//! The packet filter rules of a network: a way out by address translation, and no way in.

use std::fs;
use std::net::Ipv4Addr;

use coil_sys::netlink::NetlinkError;
use coil_sys::nftables::{Batch, Family, Hook, Nftables, Rule};

use super::RelayPort;
use super::lease::Record;

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Switches forwarding on and sets the rules; what fails is a notice. True when forwarding was off before.
pub(super) fn ensure_outbound(record: &Record, fresh: bool, notices: &mut Vec<String>) -> bool {
    let mut enabled = false;
    if fs::read_to_string(FORWARDING).is_ok_and(|text| text.trim() == "0") {
        match fs::write(FORWARDING, "1") {
            Ok(()) => enabled = true,
            Err(error) => notices.push(format!(
                "containers can't reach other machines: IP forwarding is off and can't be switched on ({error}); \
                 run `sysctl -w net.ipv4.ip_forward=1`"
            )),
        }
    }
    match ensure_rules(record, fresh) {
        Err(error) => notices.push(format!(
            "containers can't reach other machines: address translation is not available ({error})"
        )),
        Ok(dropping) => notices.extend(dropping.map(|chain| {
            format!(
                "containers may not reach other machines: the firewall's chain {chain} drops forwarded packets; run \
                 `iptables -I FORWARD -i {0} -j ACCEPT` and \
                 `iptables -I FORWARD -o {0} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`",
                record.bridge
            )
        })),
    }
    if record.subnet6.is_some() {
        enable_ipv6_forwarding(notices);
    }
    enabled
}

const FORWARDING6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// A machine that forwards IPv6 no longer takes its own routes from its router, unless it is told to.
fn enable_ipv6_forwarding(notices: &mut Vec<String>) {
    if !fs::read_to_string(FORWARDING6).is_ok_and(|text| text.trim() == "0") {
        return;
    }
    for entry in fs::read_dir("/proc/sys/net/ipv6/conf")
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path().join("accept_ra");
        if fs::read_to_string(&path).is_ok_and(|text| text.trim() == "1") {
            // The worst is that this device keeps its routes till they run out.
            let _ = fs::write(&path, "2");
        }
    }
    if let Err(error) = fs::write(FORWARDING6, "1") {
        notices.push(format!(
            "containers can't reach other machines by IPv6: forwarding is off and can't be switched on ({error}); \
             run `sysctl -w net.ipv6.conf.all.forwarding=1`"
        ));
    }
}

/// An internal network has a rule too: nothing is routed to or from it.
pub(super) fn ensure_internal(record: &Record, notices: &mut Vec<String>) {
    if let Err(error) = set_rules(record) {
        notices.push(format!(
            "the network {} may not be closed to the outside ({error})",
            record.bridge
        ));
    }
}

/// Sets the rules when they are missing; gives the chain of another table that drops forwarded packets.
fn ensure_rules(record: &Record, fresh: bool) -> Result<Option<String>, String> {
    let text = |error: NetlinkError| format!("{error}: {}", error.source);
    let mut nftables = Nftables::open().map_err(|error| error.to_string())?;
    if fresh || !nftables.has_table(Family::Ip, &record.bridge).map_err(text)? {
        set_rules(record)?;
    }
    let chains = nftables.chains().map_err(text)?;
    Ok(chains
        .into_iter()
        .find(|chain| chain.is_forward() && chain.drops && matches!(chain.family, Family::Ip | Family::Inet))
        .map(|chain| format!("{} of the table {}", chain.name, chain.table)))
}

pub(super) fn set_rules(record: &Record) -> Result<(), String> {
    let table = record.bridge.as_str();
    let mut batch = Batch::new();
    let subnet = record.subnet;
    let source = Rule::new().from_network(subnet.base(), subnet.prefix());
    add_rules(&mut batch, Family::Ip, record, source);
    if let Some(subnet6) = record.subnet6 {
        let source = Rule::new().from_network6(subnet6.base(), subnet6.prefix());
        add_rules(&mut batch, Family::Ip6, record, source);
    }
    let mut nftables = Nftables::open().map_err(|error| error.to_string())?;
    nftables
        .commit(batch, &format!("set the packet filter table {table}"))
        .map_err(|error| format!("{error}: {}", error.source))
}

/// The rules of one family; `source` holds for packets from the network.
fn add_rules(batch: &mut Batch, family: Family, record: &Record, source: Rule) {
    let (table, device) = (record.bridge.as_str(), record.bridge.as_str());
    // Made, removed and made again: so it holds these rules alone, whatever was there.
    batch
        .add_table(family, table)
        .delete_table(family, table)
        .add_table(family, table);
    if family == Family::Ip {
        // Whatever published ports need: no container speaks to this machine's loopback.
        let loopback = Rule::new()
            .from_device(device)
            .to_network(Ipv4Addr::new(127, 0, 0, 0), 8);
        batch.add_chain(family, table, "arrival", Hook::Arrival).add_rule(
            family,
            table,
            "arrival",
            loopback.drop_packet(),
        );
    }
    if let (Some(relay), Family::Ip) = (record.relay, family) {
        add_relay(batch, record, relay);
    }
    batch.add_chain(family, table, "forward", Hook::Forward);
    let mut forward = |rule: Rule| {
        batch.add_rule(family, table, "forward", rule);
    };
    // Between containers; then answers and what a published port lets in; nothing else comes in.
    let between = Rule::new().from_device(device).to_device(device);
    if record.isolated {
        forward(between.clone().translated().accept());
        forward(between.drop_packet());
    } else {
        forward(between.accept());
    }
    if record.internal {
        forward(Rule::new().from_device(device).drop_packet());
    } else {
        forward(Rule::new().from_device(device).accept());
        forward(Rule::new().to_device(device).established().accept());
        forward(Rule::new().to_device(device).translated().accept());
    }
    forward(Rule::new().to_device(device).drop_packet());
    if !record.internal && !record.no_masquerade {
        batch.add_chain(family, table, "postrouting", Hook::SourceNat);
        batch.add_rule(
            family,
            table,
            "postrouting",
            source.not_to_device(device).masquerade(),
        );
    }
}

/// Leads connections to the relay: those to the bridge's own address, and where there is no other way those that leave.
fn add_relay(batch: &mut Batch, record: &Record, relay: RelayPort) {
    let (table, chain) = (record.bridge.as_str(), "relay");
    let tcp = || {
        Rule::new()
            .from_device(&record.bridge)
            .of_protocol(libc::IPPROTO_TCP as u8)
    };
    batch.add_chain(Family::Ip, table, chain, Hook::DestinationNat);
    let mut lead = |rule: Rule| {
        let led = rule.destination(record.gateway, relay.port);
        batch.add_rule(Family::Ip, table, chain, led);
    };
    if record.internal {
        return;
    }
    lead(tcp().to_network(record.gateway, 32));
    if relay.everything {
        lead(tcp().not_to_network(record.subnet.base(), record.subnet.prefix()));
    }
}

/// Removes the tables, if there are any.
pub(super) fn remove_rules(record: &Record) -> Result<(), NetlinkError> {
    // Without netfilter there is no table.
    let Ok(mut nftables) = Nftables::open() else {
        return Ok(());
    };
    for family in [Family::Ip, Family::Ip6] {
        if nftables.has_table(family, &record.bridge).unwrap_or(false) {
            let mut batch = Batch::new();
            batch.delete_table(family, &record.bridge);
            nftables.commit(
                batch,
                &format!("remove the packet filter table {}", record.bridge),
            )?;
        }
    }
    Ok(())
}
