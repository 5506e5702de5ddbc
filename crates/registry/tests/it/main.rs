//! Pulls from real registries and from servers that answer as told.

#![expect(clippy::unwrap_used, reason = "a test that meets a surprise must stop")]

mod answers;
mod images;
mod real;
mod server;
