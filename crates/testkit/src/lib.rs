//! What tests share: a throwaway environment for the coil binary, servers that misbehave, checks for leftovers.

pub mod context;
pub mod image;
pub mod index;
pub mod leftovers;
pub mod network;
pub mod process;
pub mod registry;
pub mod tree;
pub mod waiting;
pub mod wheel;

pub use context::Context;
pub use process::{Finished, Invocation, Running};
pub use waiting::wait_until;
