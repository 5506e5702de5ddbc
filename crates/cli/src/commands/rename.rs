//! `coil rename`: gives a container another name.

use clap::Args;

use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil rename`.
#[derive(Debug, Args)]
pub struct Rename {
    /// The container's name or id
    container: String,
    /// Its new name
    name: String,
}

impl Rename {
    /// Renames it.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        engine
            .rename(&self.container, &self.name)
            .map_err(|error| Failure::from(error).code(1))?;
        Ok(0)
    }
}
