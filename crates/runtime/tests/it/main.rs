//! The runtime against the real kernel.

mod network;
mod ports;
mod probe;
mod commands;
mod container;
mod run;
mod rootless;
