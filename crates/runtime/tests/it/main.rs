//! The runtime against the real kernel.

mod network;
mod ports;
mod commands;
mod container;
mod run;
