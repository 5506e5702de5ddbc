//! `coil run`: a container from an image, or from a project's folder, which is packed first.

use clap::{ArgAction, Args};
use coil_engine::{RunError, StartRequest};

use crate::attach::{self, Attachment};
use crate::container_flags::ContainerFlags;
use crate::host_path::project_folder;
use crate::output;
use crate::packing;
use crate::report::Failure;
use crate::settings::Settings;
use crate::signals::terminal_size;
use crate::{detach_keys, signals};

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
    /// Stay with these alone of stdin, stdout and stderr
    #[arg(short, long, value_name = "STREAM")]
    attach: Vec<String>,
    /// The keys that let go of its terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass signals on; --sig-proxy=false doesn't
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = ArgAction::Set)]
    sig_proxy: bool,
    #[command(flatten)]
    pub container: ContainerFlags,
    /// Print help; `-h` is the host name, as with Docker
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

impl Run {
    fn attachment(&self, settings: &Settings) -> Result<Attachment, Failure> {
        let mut attachment = Attachment {
            interactive: self.container.interactive,
            terminal: self.container.tty,
            keys: detach_keys::wanted(self.detach_keys.as_deref(), settings)?,
            ..Attachment::default()
        };
        let Some(wanted) = attach::streams(&self.attach)? else {
            return Ok(attachment);
        };
        if self.detach {
            return Err(
                Failure::new("conflicting options: cannot specify both --attach and --detach")
                    .help("leave one of them out"),
            );
        }
        attachment.interactive |= wanted[0];
        (attachment.output, attachment.errors) = (wanted[1], wanted[2]);
        Ok(attachment)
    }

    /// Starts it, and stays with it unless it is detached.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let attachment = self.attachment(settings)?;
        if !self.detach {
            attach::check_terminal(&attachment)?;
        }
        let attached = match self.detach {
            true => [false; 3],
            false => [attachment.interactive, attachment.output, attachment.errors],
        };
        let mut request = self.container.request(settings, attached)?;
        let engine = settings.engine()?;
        let folder = project_folder(&request.image, &engine, settings);
        if folder.is_none() {
            self.container.prepare(settings, &engine, &request.image)?;
        }
        let signals = match folder.is_some() || !self.detach && (self.sig_proxy || self.container.tty) {
            true => Some(packing::take_signals()?),
            false => None,
        };
        if let (Some(folder), Some(signals)) = (folder, &signals) {
            request.image = packing::pack_to_run(settings, &engine, signals, folder, &request)?;
            self.container.prepare(settings, &engine, &request.image)?;
        }
        let start = StartRequest {
            terminal_size: terminal_size().filter(|_| self.container.tty),
            attach: !self.detach,
        };
        let started = engine.run(&request, &start).map_err(|failure| {
            // It was made: who asked for its id may look at it.
            if let Some(id) = &failure.id {
                let _ = self.container.write_id(id);
                if self.detach {
                    output::line(id);
                }
            }
            match *failure.error {
                error @ RunError::Container(_) => Failure::from(error).code(125),
                error => Failure::from(error),
            }
        })?;
        self.container.write_id(&started.id)?;
        for notice in &started.notices {
            output::error_line(&format!("note: {notice}"));
        }
        let Some(client) = started.client.filter(|_| !self.detach) else {
            output::line(&started.id);
            return Ok(0);
        };
        if let Some(signals) = &signals {
            let manner = signals::Manner {
                terminal: attachment.terminal,
                proxy: self.sig_proxy,
            };
            signals.forward(&client, manner)?;
        }
        attach::stay(&engine, &started.id, &client, &attachment, self.container.rm)
    }
}
