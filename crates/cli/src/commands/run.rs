//! `coil run`: a container from an image, or from a project's folder, which is packed first.

use clap::{ArgAction, Args};
use coil_engine::StartRequest;

use crate::attach::{self, Attachment};
use crate::container_flags::ContainerFlags;
use crate::host_path::project_folder;
use crate::output;
use crate::packing;
use crate::report::Failure;
use crate::settings::Settings;
use crate::signals::terminal_size;

/// Arguments of `coil run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "coil run [OPTIONS] IMAGE|DIR [COMMAND] [ARG...]",
    disable_help_flag = true
)]
pub struct Run {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    pub container: ContainerFlags,
    /// Print help; `-h` is the host name, as with Docker
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

impl Run {
    /// Starts it, and stays with it unless it is detached.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let attachment = Attachment {
            interactive: self.container.interactive,
            terminal: self.container.tty,
        };
        if !self.detach {
            attach::check_terminal(attachment)?;
        }
        let mut request = self.container.request(settings)?;
        let engine = settings.engine()?;
        let folder = project_folder(&request.image, &engine, settings);
        let signals = match folder.is_some() || !self.detach {
            true => Some(packing::take_signals()?),
            false => None,
        };
        if let (Some(folder), Some(signals)) = (folder, &signals) {
            request.image = packing::pack_to_run(settings, &engine, signals, folder, &request)?;
        }
        let start = StartRequest {
            terminal_size: terminal_size().filter(|_| self.container.tty),
            attach: !self.detach,
        };
        let started = engine.run(&request, &start)?;
        for notice in &started.notices {
            output::error_line(&format!("note: {notice}"));
        }
        match (&signals, &started.client) {
            (Some(signals), Some(client)) => {
                signals.forward(client, attachment.terminal)?;
                attach::stay(&engine, &started.id, client, attachment, self.container.rm)
            }
            _ => {
                output::line(&started.id);
                Ok(0)
            }
        }
    }
}
