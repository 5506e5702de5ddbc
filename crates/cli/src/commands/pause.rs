//! `coil pause` and `coil unpause`: stop containers' processes where they are, and let them go on.

use clap::Args;

use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil pause` and `coil unpause`.
#[derive(Debug, Args)]
pub struct Pause {
    /// The containers' names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Pause {
    /// Pauses each, or lets it go on, and prints the name.
    pub fn run(self, settings: &Settings, paused: bool) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        Ok(super::each(&self.containers, settings, |name| {
            engine.pause(name, paused)?;
            Ok(name.to_owned())
        }))
    }
}
