//! Wheels: found on an index, downloaded, checked, and made into image layers with their bytecode.

pub mod archive;
pub mod bytecode;
pub mod download;
pub mod entry_points;
pub mod environment;
pub mod facts;
pub mod filename;
pub mod grouping;
pub mod index;
pub mod install;
pub mod layer;
pub mod metadata;
mod pyc_set;
pub mod record;
pub mod resolve;
pub mod splice;
