//! The runtime against the real kernel.

mod network;
mod ports;
