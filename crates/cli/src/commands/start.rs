//! `coil start`: starts containers that were made, or that have ended.

use clap::Args;
use coil_engine::StartRequest;

use crate::attach::{self, Attachment};
use crate::output;
use crate::packing;
use crate::report::Failure;
use crate::settings::Settings;
use crate::signals::terminal_size;

/// Arguments of `coil start`.
#[derive(Debug, Args)]
pub struct Start {
    /// Stay with it: show its output, pass signals on, end with its exit code
    #[arg(short, long)]
    attach: bool,
    /// Pass input on too
    #[arg(short, long)]
    interactive: bool,
    /// The containers' names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Start {
    /// Starts each and prints the name, or stays with the one.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
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
            let started = engine.start(name, &StartRequest::default())?;
            for notice in &started.notices {
                output::error_line(&format!("note: {notice}"));
            }
            Ok(name.to_owned())
        }))
    }

    fn stay(&self, settings: &Settings, engine: &coil_engine::Engine, name: &str) -> Result<i32, Failure> {
        let record = engine.container(name)?.record;
        let attachment = Attachment {
            interactive: self.interactive && record.stdin_open,
            terminal: record.terminal,
        };
        attach::check_terminal(attachment)?;
        let signals = packing::take_signals()?;
        let start = StartRequest {
            terminal_size: terminal_size().filter(|_| record.terminal),
            attach: true,
        };
        let started = engine.start(name, &start)?;
        for notice in &started.notices {
            output::error_line(&format!("note: {notice}"));
        }
        let client = match started.client {
            Some(client) => client,
            None => engine.attach(name)?,
        };
        signals.forward(&client, attachment.terminal)?;
        let _ = settings;
        attach::stay(engine, &started.id, &client, attachment, false)
    }
}
