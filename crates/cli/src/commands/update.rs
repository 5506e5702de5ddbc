//! `coil update`: other limits and another restart policy for containers, while they run too.

use clap::Args;
use coil_engine::{RestartPolicy, UpdateRequest};

use crate::limit_flags::LimitFlags;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil update`.
#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    limits: LimitFlags,
    /// Start it again when it ends: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// The containers' names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Update {
    /// Changes each and prints the name.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let restart = match self.restart.as_deref() {
            None => None,
            Some(text) => Some(RestartPolicy::parse(text).map_err(|text| {
                Failure::new(text).help("give no, on-failure[:N], always or unless-stopped")
            })?),
        };
        let request = UpdateRequest {
            restart,
            ..self.limits.change().map_err(Failure::plain)?
        };
        if request == UpdateRequest::default() && !self.limits.names_kernel_memory() {
            return Err(
                Failure::new("you must provide one or more flags when using this command")
                    .help("`coil update --help` lists them"),
            );
        }
        let engine = settings.engine()?;
        Ok(super::each(&self.containers, settings, |name| {
            let notices = engine
                .update(name, &request)
                .map_err(|error| Failure::from(error).code(1))?;
            for notice in &notices {
                output::error_line(&format!("note: {notice}"));
            }
            Ok(name.to_owned())
        }))
    }
}
