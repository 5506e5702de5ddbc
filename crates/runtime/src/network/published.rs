//! Published ports without a proxy for this machine's own programs: their connections are led straight to the container.
//!
//! The kernel translates what the machine itself sends to a published TCP port; all that comes from elsewhere, and every
//! datagram, goes through the monitor's proxy, which needs nothing of the firewall. The translation of connections to
//! 127.0.0.1 needs `route_localnet` on the bridge, which would let containers speak to the machine's own loopback: the
//! network's own table forbids that before anything else is asked. Should another program flush the rules, the setting
//! goes off till they are back.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};

use coil_oci::Digest;
use coil_sys::nftables::{Batch, Family, Hook, Nftables, Rule, Watch};

use super::NetworkState;
use super::bridge::restore_rules;
use super::lease::Folder;
use crate::ports::{BoundPort, Protocol};

const TCP: u8 = libc::IPPROTO_TCP as u8;

/// The rules of one container's published ports.
#[derive(Debug)]
pub(crate) struct Published {
    watch: Watch,
    place: NetworkState,
    ports: Vec<(Option<Ipv4Addr>, u16, u16)>,
}

impl AsFd for Published {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

/// The table of a container.
fn table(id: &str) -> String {
    let hash = Digest::of(id.as_bytes());
    format!("coil-p{}", hash.hex().chars().take(16).collect::<String>())
}

pub(super) fn local_routes(bridge: &str, on: bool) -> io::Result<()> {
    let path = format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet");
    fs::write(path, if on { "1" } else { "0" })
}

impl Published {
    /// Sets the rules for the ports at which the program took a connection already: till then the proxy sees what is wrong
    /// with those who don't. None where the ports are such that the proxy has to carry them.
    ///
    /// # Errors
    /// When there is no packet filter: the proxy carries them too.
    pub(crate) fn begin(
        place: &NetworkState,
        bound: &[BoundPort],
        reached: &BTreeSet<u16>,
    ) -> io::Result<Option<Self>> {
        let ports: Vec<_> = bound
            .iter()
            .map(|bound| &bound.mapping)
            .filter(|mapping| mapping.protocol == Protocol::Tcp && reached.contains(&mapping.container_port))
            .filter_map(|mapping| match mapping.host_ip {
                None => Some((None, mapping.host_port, mapping.container_port)),
                Some(IpAddr::V4(ip)) => Some((
                    Some(ip).filter(|ip| !ip.is_unspecified()),
                    mapping.host_port,
                    mapping.container_port,
                )),
                Some(IpAddr::V6(_)) => None,
            })
            .collect();
        if ports.is_empty() {
            return Ok(None);
        }
        let published = Self {
            // Before the rules are set, so that no loss of them is missed.
            watch: Watch::open()?,
            place: place.clone(),
            ports,
        };
        published.set()?;
        Ok(Some(published))
    }

    fn set(&self) -> io::Result<()> {
        let (name, ip) = (table(&self.place.id), Family::Ip);
        let mut batch = Batch::new();
        batch
            .add_table(ip, &name)
            .delete_table(ip, &name)
            .add_table(ip, &name)
            .add_chain(ip, &name, "output", Hook::LocalNat)
            .add_chain(ip, &name, "postrouting", Hook::SourceNat);
        for (host, port, inside) in &self.ports {
            let rule = match host {
                None => Rule::new().to_local_port(TCP, *port),
                Some(host) => Rule::new().to_network(*host, 32).to_port(TCP, *port),
            };
            batch.add_rule(ip, &name, "output", rule.destination(self.place.address, *inside));
        }
        // The container couldn't answer to 127.0.0.1, which is its own.
        let rule = Rule::new()
            .from_network(Ipv4Addr::new(127, 0, 0, 0), 8)
            .to_network(self.place.address, 32)
            .translated()
            .masquerade();
        batch.add_rule(ip, &name, "postrouting", rule);
        let mut nftables = Nftables::open()?;
        // The guard first; without it nothing may lead from the bridge to loopback.
        if !nftables
            .has_table(ip, &self.place.bridge)
            .map_err(|error| error.source)?
        {
            restore_rules(&self.place)?;
        }
        let folder = Folder::lock(&self.place.run_root, &self.place.network)?;
        folder.set_published(self.place.address.into(), &self.place.id, true)?;
        local_routes(&self.place.bridge, true)?;
        nftables
            .commit(batch, "lead connections to published ports")
            .map_err(|error| error.source)
    }

    /// Looks whether the rules were taken away, and sets them anew.
    pub(crate) fn dispatch(&self) {
        if !self.watch.lost_tables() {
            return;
        }
        let there = |name: &str| {
            Nftables::open().is_ok_and(|mut nftables| nftables.has_table(Family::Ip, name).unwrap_or(false))
        };
        if there(&self.place.bridge) && there(&table(&self.place.id)) {
            return;
        }
        // A container must not reach loopback for a moment longer than it takes to see this.
        let _ = local_routes(&self.place.bridge, false);
        // Where it can't be done the proxy carries the connections.
        let _ = self.set();
    }

    /// Takes the rules away.
    pub(crate) fn end(self) {
        // What fails is taken back by the next sweep.
        let _ = unpublish(&self.place.id);
        let needed = Folder::lock(&self.place.run_root, &self.place.network)
            .and_then(|folder| folder.set_published(self.place.address.into(), &self.place.id, false));
        if matches!(needed, Ok(false)) {
            let _ = local_routes(&self.place.bridge, false);
        }
    }
}

/// Takes away what a container's published ports may have left behind.
///
/// # Errors
/// The kernel's.
pub(crate) fn unpublish(id: &str) -> io::Result<()> {
    let mut nftables = Nftables::open()?;
    let name = table(id);
    if nftables
        .has_table(Family::Ip, &name)
        .map_err(|error| error.source)?
    {
        let mut batch = Batch::new();
        batch.delete_table(Family::Ip, &name);
        nftables
            .commit(batch, "take away the rules of published ports")
            .map_err(|error| error.source)?;
    }
    Ok(())
}
