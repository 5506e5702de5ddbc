//! `coil start`: starts containers that were made, or that have ended.

use clap::Args;
use coil_engine::{Engine, StartRequest};

use crate::attach::{self, Attachment};
use crate::report::Failure;
use crate::settings::Settings;
use crate::signals::{Manner, terminal_size};
use crate::{detach_keys, output, packing};

/// Arguments of `coil start`.
#[derive(Debug, Args)]
pub struct Start {
    /// Stay with it: show its output, pass signals on, end with its exit code
    #[arg(short, long)]
    attach: bool,
    /// Pass input on too
    #[arg(short, long)]
    interactive: bool,
    /// The keys that let go of its terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Refused: coil makes no checkpoints
    #[arg(long, value_name = "NAME", hide = true)]
    checkpoint: Option<String>,
    #[arg(long, value_name = "DIR", hide = true)]
    checkpoint_dir: Option<String>,
    /// The containers' names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Start {
    /// Starts each and prints the name, or stays with the one.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        for (name, value) in [
            ("--checkpoint", &self.checkpoint),
            ("--checkpoint-dir", &self.checkpoint_dir),
        ] {
            if value.is_some() {
                return Err(Failure::new(format!(
                    "\"{name}\" is only supported on a Docker daemon with experimental features enabled"
                ))
                .help("leave it out: coil makes no checkpoints of containers"));
            }
        }
        let engine = settings.engine()?;
        if self.attach || self.interactive {
            let [name] = self.containers.as_slice() else {
                return Err(
                    Failure::new("you cannot start and attach multiple containers at once")
                        .help("start them without -a, then `coil attach` to one"),
                );
            };
            return self.stay(settings, &engine, name);
        }
        Ok(super::each(&self.containers, settings, |name| {
            let started = engine.start(name, &StartRequest::default());
            // As Docker has it: what doesn't start is 1 here, whatever the reason.
            let started = started.map_err(|error| Failure::from(error).code(1))?;
            for notice in &started.notices {
                output::error_line(&format!("note: {notice}"));
            }
            Ok(name.to_owned())
        }))
    }

    fn stay(&self, settings: &Settings, engine: &Engine, name: &str) -> Result<i32, Failure> {
        let record = engine.container(name)?.record;
        let attachment = Attachment {
            interactive: self.interactive && record.stdin_open,
            terminal: record.terminal,
            keys: detach_keys::wanted(self.detach_keys.as_deref(), settings)?,
            keeps_input_open: !record.attached[0],
            ..Attachment::default()
        };
        attach::check_terminal(&attachment)?;
        let signals = packing::take_signals()?;
        let start = StartRequest {
            terminal_size: terminal_size().filter(|_| record.terminal),
            attach: true,
        };
        let started = engine
            .start(name, &start)
            .map_err(|error| Failure::from(error).code(1))?;
        for notice in &started.notices {
            output::error_line(&format!("note: {notice}"));
        }
        let client = match started.client {
            Some(client) => client,
            // It runs already.
            None => engine.attach(name)?,
        };
        let manner = Manner {
            terminal: attachment.terminal,
            proxy: true,
        };
        signals.forward(&client, manner)?;
        attach::stay(engine, &started.id, &client, &attachment, record.auto_remove)
    }
}
