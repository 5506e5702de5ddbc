//! The runtime against the real kernel.

mod ports;
