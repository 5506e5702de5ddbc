//! `coil rmi`: takes names of images away, and images that have none left.

use clap::Args;

use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil rmi`.
#[derive(Debug, Args)]
pub struct Rmi {
    /// Take all names of an id away, and those of images that stopped containers are made from
    #[arg(short, long)]
    force: bool,
    /// The images' names or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Rmi {
    /// Removes each and prints what went.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        Ok(super::each(&self.images, settings, |name| {
            let removed = engine.remove_image(name, self.force)?;
            let untagged = removed.untagged.iter().map(|name| format!("Untagged: {name}"));
            let deleted = removed.deleted.iter().map(|id| format!("Deleted: {id}"));
            Ok(untagged.chain(deleted).collect::<Vec<_>>().join("\n"))
        }))
    }
}
