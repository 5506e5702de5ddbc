//! The runtime against the real kernel.

mod attacks;
mod commands;
mod container;
mod names;
mod network;
mod ports;
mod probe;
mod published;
mod rootless;
mod run;
