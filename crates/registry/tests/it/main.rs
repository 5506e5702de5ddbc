//! Pulls from real registries and from servers that answer as told.

mod answers;
mod images;
mod real;
mod server;
