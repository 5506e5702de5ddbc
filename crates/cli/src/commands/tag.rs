//! `coil tag`: one more name for an image.

use clap::Args;

use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil tag`.
#[derive(Debug, Args)]
pub struct Tag {
    /// The image's name or id
    image: String,
    /// The new name
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

impl Tag {
    /// Names it; says nothing, as Docker does.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        settings.engine()?.tag(&self.image, &self.name)?;
        Ok(0)
    }
}
