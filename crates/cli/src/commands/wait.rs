//! `coil wait`: waits for containers to end.

use clap::Args;

use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// The containers' names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Wait {
    /// Waits for each and prints its exit code.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        Ok(super::each(&self.containers, settings, |name| {
            let container = engine.container(name)?;
            let code = engine.wait(&container, None)?.unwrap_or_default();
            Ok(code.to_string())
        }))
    }
}
