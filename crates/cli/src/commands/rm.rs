//! `coil rm`: removes containers.

use clap::Args;

use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Kill those that run
    #[arg(short, long)]
    force: bool,
    /// Remove volumes without a name too; there are none
    #[arg(short, long, hide = true)]
    volumes: bool,
    /// The containers' names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Rm {
    /// Removes each and prints the name.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        Ok(super::each(&self.containers, settings, |name| {
            engine.remove(name, self.force)?;
            Ok(name.to_owned())
        }))
    }
}
