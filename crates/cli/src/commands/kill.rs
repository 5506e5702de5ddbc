//! `coil kill`: sends a signal to containers.

use clap::Args;

use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// The signal, by name or number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// The containers' names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Kill {
    /// Sends it to each and prints the name.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        Ok(super::each(&self.containers, settings, |name| {
            let signal = match self.signal.as_str() {
                "" => "KILL",
                signal => signal,
            };
            engine.kill(name, signal)?;
            Ok(name.to_owned())
        }))
    }
}
