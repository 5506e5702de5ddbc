//! A container's end of a network: the pair of devices between its namespace and the bridge.

use std::fs;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use coil_sys::netlink::{NetlinkError, within_network};
use coil_sys::netlink_route::{Address, Route};

use super::NetworkState;
use super::bridge::remove_if_unused;
use super::error::{NetworkError, folder_error};
use super::lease::Folder;

/// Connects a container's network namespace to its bridge.
///
/// # Errors
/// No device stays behind then; the address stays reserved until [`detach`].
pub fn attach(state: &NetworkState, net: BorrowedFd<'_>) -> Result<(), NetworkError> {
    let mut route = Route::open().map_err(NetworkError::Socket)?;
    let bridge = route.link(&state.bridge)?.ok_or_else(|| NetworkError::Foreign {
        device: state.bridge.clone(),
    })?;
    if let Some(stale) = route.link(&state.device)? {
        route.delete_link(stale.index)?;
    }
    route.add_veth(
        &state.device,
        &state.interface,
        Some(net),
        state.mtu,
        Some(state.hardware),
    )?;
    let outcome = connect(state, net, &mut route, bridge.index);
    if outcome.is_err()
        && let Ok(Some(link)) = route.link(&state.device)
    {
        // The first failure is the one to tell.
        let _ = route.delete_link(link.index);
    }
    outcome
}

fn connect(
    state: &NetworkState,
    net: BorrowedFd<'_>,
    route: &mut Route,
    bridge: u32,
) -> Result<(), NetworkError> {
    let missing = |device: &str| NetworkError::Foreign {
        device: device.to_owned(),
    };
    let outer = route.link(&state.device)?.ok_or_else(|| missing(&state.device))?;
    // The host's end needs no IPv6 address of its own making.
    let _ = fs::write(
        format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", state.device),
        "1",
    );
    route.join_bridge(outer.index, bridge)?;
    let interface = &state.interface;
    let mut inside = within_network(net, || -> Result<Route, NetworkError> {
        let set = |name: &str, value: &str| {
            // A kernel without IPv6 has none of these.
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/{name}"), value);
        };
        match state.address6 {
            // Nobody on the bridge tells of routes but a container that means harm.
            Some(_) => set("accept_ra", "0"),
            None => set("disable_ipv6", "1"),
        }
        raise_loopback()?;
        let mut inside = Route::open().map_err(NetworkError::Socket)?;
        let index = inside.link(interface)?.ok_or_else(|| missing(interface))?.index;
        let mut addresses = vec![(IpAddr::V4(state.address), state.subnet.prefix())];
        if let (Some(address6), Some(subnet6)) = (state.address6, state.subnet6) {
            addresses.push((address6.into(), subnet6.prefix()));
        }
        for (ip, prefix) in addresses {
            inside.add_address(Address { index, ip, prefix })?;
        }
        inside.set_up(index, true)?;
        if state.way_out {
            route_out(state, &mut inside, index)?;
        }
        Ok(inside)
    })
    .map_err(NetworkError::Socket)??;
    // The kernel notes a new carrier a moment later and drops what is sent before: a second's delay for the first
    // connection. Where it never comes, the container starts all the same.
    for _ in 0..200 {
        let inner = inside.link(interface)?.is_some_and(|link| link.running);
        let outer = route
            .link(&state.device)?
            .is_some_and(|link| link.running && link.forwarding != Some(false));
        if inner && outer && route.link(&state.bridge)?.is_some_and(|link| link.running) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn route_out(state: &NetworkState, inside: &mut Route, index: u32) -> Result<(), NetlinkError> {
    inside.add_default_route(state.gateway.into(), index)?;
    if let (Some(gateway6), Some(_)) = (state.gateway6, state.address6) {
        inside.add_default_route(gateway6.into(), index)?;
    }
    Ok(())
}

/// Sends what a container has for elsewhere over this network, after the one that did so is gone.
///
/// # Errors
/// When its device isn't there, or there is another way out.
pub fn lead_out(state: &NetworkState, net: BorrowedFd<'_>) -> Result<(), NetworkError> {
    let mut inside = Route::open_in(net).map_err(NetworkError::Socket)?;
    let Some(link) = inside.link(&state.interface)? else {
        return Err(NetworkError::Foreign {
            device: state.interface.clone(),
        });
    };
    Ok(route_out(state, &mut inside, link.index)?)
}

/// Switches loopback on in this thread's network namespace.
///
/// For a container's own namespace, entered by [`within_network`]; [`attach`] does it too.
pub fn raise_loopback() -> Result<(), NetlinkError> {
    let failed = |source| NetlinkError {
        operation: "open a netlink socket".to_owned(),
        detail: None,
        source,
    };
    let mut route = Route::open().map_err(failed)?;
    if let Some(loopback) = route.link("lo")? {
        route.set_up(loopback.index, true)?;
    }
    Ok(())
}

/// Takes a container off its bridge; the last one out removes the bridge and its rules.
///
/// May be repeated, and is the way to clean up after a container that is no more.
///
/// # Errors
/// All that failed; the rest was done.
pub fn detach(state: &NetworkState) -> Result<(), NetworkError> {
    let mut errors = Vec::new();
    match Route::open().map_err(NetworkError::Socket) {
        Err(error) => errors.push(error),
        Ok(mut route) => {
            match route.link(&state.device) {
                Ok(Some(link)) => {
                    if let Err(error) = route.delete_link(link.index)
                        && error.errno() != libc::ENODEV
                    {
                        errors.push(error.into());
                    }
                }
                Ok(None) => {}
                Err(error) => errors.push(error.into()),
            }
            let failed = folder_error(&state.run_root);
            match Folder::lock(&state.run_root, &state.network) {
                Err(error) => errors.push(failed(error)),
                Ok(folder) => {
                    let addresses = [Some(IpAddr::V4(state.address)), state.address6.map(IpAddr::V6)];
                    for address in addresses.into_iter().flatten() {
                        if let Err(error) = folder.release(address, &state.id) {
                            errors.push(failed(error));
                        }
                    }
                    errors.extend(remove_if_unused(folder, &state.run_root, &mut route));
                }
            }
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(NetworkError::Removal(errors))
    }
}
