//! `coil image`: the commands about images by the names that Docker groups them under.

use clap::{Args, Subcommand};

use super::inspect::Kind;
use super::{build, history, images, import, inspect, load, prune, pull, rmi, save, tag};
use crate::arguments::Command;

/// Arguments of `coil image`.
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
    /// Show how an image was made
    History(history::History),
    /// Make an image of a tar archive
    Import(import::Import),
    /// Show all that is known of images
    Inspect(inspect::Inspect),
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::Images),
    /// Load images of an archive
    Load(load::Load),
    /// Write images as an archive
    Save(save::Save),
    /// Remove images that nobody uses
    Prune(prune::Images),
    /// Get an image from a registry
    Pull(pull::Pull),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(rmi::Rmi),
    /// Give an image one more name
    Tag(tag::Tag),
}

impl Group {
    /// The command that is meant.
    pub fn command(self) -> Command {
        match self.verb {
            Verb::Build(build) => Command::Build(build),
            Verb::History(history) => Command::History(history),
            Verb::Import(import) => Command::Import(import),
            Verb::Load(load) => Command::Load(load),
            Verb::Save(save) => Command::Save(save),
            Verb::Inspect(inspect) => Command::Inspect(inspect.only(Kind::Image)),
            Verb::Ls(images) => Command::Images(images),
            Verb::Prune(prune) => Command::ImagePrune(prune),
            Verb::Pull(pull) => Command::Pull(pull),
            Verb::Rm(rmi) => Command::Rmi(rmi),
            Verb::Tag(tag) => Command::Tag(tag),
        }
    }
}
