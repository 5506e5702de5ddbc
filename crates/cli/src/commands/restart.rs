//! `coil restart`: stops containers and starts them again.

use clap::Args;

use crate::commands::stop::StopFlags;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil restart`.
#[derive(Debug, Args)]
pub struct Restart {
    #[command(flatten)]
    stop: StopFlags,
    /// The containers' names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Restart {
    /// Restarts each and prints the name.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        let request = self.stop.request()?;
        Ok(super::each(&self.containers, settings, |name| {
            let started = engine.restart(name, &request)?;
            for notice in &started.notices {
                output::error_line(&format!("note: {notice}"));
            }
            Ok(name.to_owned())
        }))
    }
}
