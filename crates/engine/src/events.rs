//! What happened: the log that `coil events` reads, one line of JSON for each event in Docker's shape.
//!
//! Monitors write the ends and all that happens by itself, the engine what it is asked for.

pub use coil_runtime::events::{FILE, OLD, Subject, append, path};
