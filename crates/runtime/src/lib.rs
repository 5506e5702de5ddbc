//! From a spec to a process: namespaces, control groups, system call filter, network, and the container's monitor.

pub mod capabilities;
pub mod cgroup;
mod child_init;
pub mod control;
pub mod events;
mod exec;
pub mod failure;
mod frame;
pub mod hidden_paths;
mod init;
mod limits;
mod monitor;
pub mod network;
mod own_binary;
pub mod ports;
pub mod probe;
mod program;
mod relay;
pub mod restart;
pub mod seccomp;
pub mod spec;
mod start;
pub mod state;
mod sweep;
mod timestamp;
pub mod user;
mod user_namespace;
mod view;

pub use exec::{ExecSpec, Stdio3, exec, exec_main};
pub use failure::Failure;
pub use monitor::monitor_main;
pub use start::{StartError, Started, prepare, start};
pub use sweep::sweep;
pub use view::{View, view_main};
