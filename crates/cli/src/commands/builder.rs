//! `coil builder`: building by the names that Docker groups it under.

use clap::{Args, Subcommand};

use super::build;
use crate::arguments::Command;

/// Arguments of `coil builder`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Group {
    #[command(subcommand)]
    verb: Verb,
}

/// The commands of the group.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Make an image from a Dockerfile
    Build(Box<build::Build>),
}

impl Group {
    /// The command that is meant.
    pub fn command(self) -> Command {
        match self.verb {
            Verb::Build(build) => Command::Build(build),
        }
    }
}
