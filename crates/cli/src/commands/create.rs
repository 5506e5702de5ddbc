//! `coil create`: a container from an image, or from a project's folder, that is not started yet.

use clap::{ArgAction, Args};

use crate::attach;
use crate::container_flags::ContainerFlags;
use crate::host_path::project_folder;
use crate::output;
use crate::packing;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil create`.
#[derive(Debug, Args)]
#[command(
    override_usage = "coil create [OPTIONS] IMAGE|DIR [COMMAND] [ARG...]",
    disable_help_flag = true
)]
pub struct Create {
    /// What `inspect` says that it was made to be attached to: stdin, stdout or stderr
    #[arg(short, long, value_name = "STREAM")]
    attach: Vec<String>,
    #[command(flatten)]
    container: ContainerFlags,
    /// Print help; `-h` is the host name, as with Docker
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

impl Create {
    /// Makes it and prints its id.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let usual = [self.container.interactive, true, true];
        let attached = attach::streams(&self.attach)?.unwrap_or(usual);
        let request = self.container.request(settings, attached);
        let mut request = request.map_err(Failure::plain)?;
        let engine = settings.engine()?;
        if let Some(folder) = project_folder(&request.image, &engine, settings) {
            let signals = packing::take_signals()?;
            request.image = packing::pack_to_run(settings, &engine, &signals, folder, &request)?;
        }
        self.container
            .prepare(settings, &engine, &request.image)
            .map_err(Failure::plain)?;
        // As Docker has it: what can't be made is 1 here, and 125 with `run`.
        let created = engine.create(&request).map_err(|error| {
            let code = error.create_code();
            Failure::from(error).code(code)
        })?;
        self.container.write_id(&created.id)?;
        for notice in &created.notices {
            output::error_line(&format!("note: {notice}"));
        }
        output::line(&created.id);
        Ok(0)
    }
}
