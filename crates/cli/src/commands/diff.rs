//! `coil diff`: what a container changed of its image's files.

use clap::Args;

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The container's name or id
    container: String,
}

impl Diff {
    /// Prints a line for each path: `A` for added, `C` for changed, `D` for deleted.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        for (change, path) in settings.engine()?.differences(&self.container)? {
            output::line(&format!("{} {path}", change.letter()));
        }
        Ok(0)
    }
}
