//! System calls, typed and thin: no policy, no paths of our own, and the only `unsafe` in the house.
//!
//! A function here is one kernel call (or the few that belong together) that takes and gives Rust types and
//! returns the kernel's own error.
#![expect(
    unsafe_code,
    reason = "this crate is the border to the kernel; each block says why it is sound"
)]

mod call;
pub mod descriptor_passing;
pub mod event;
pub mod file;
pub mod memory;
pub mod mount;
pub mod namespace_trial;
pub mod netlink;
pub mod netlink_route;
pub mod netlink_sockets;
pub mod nftables;
mod nftables_numbers;
pub mod privilege;
pub mod process;
pub mod socket;
pub mod socket_factory;
pub mod splice;
pub mod terminal;
