//! From a spec to a process: namespaces, control groups, system call filter, network, and the container's monitor.

pub mod capabilities;
pub mod cgroup;
pub mod control;
pub mod failure;
mod frame;
pub mod hidden_paths;
mod init;
mod monitor;
pub mod network;
mod own_binary;
pub mod ports;
mod program;
pub mod seccomp;
pub mod spec;
mod start;
pub mod state;
mod timestamp;
mod user_namespace;

pub use failure::Failure;
pub use monitor::monitor_main;
pub use start::{StartError, Started, prepare, start};
