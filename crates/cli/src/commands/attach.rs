//! `coil attach`: the output and input of a container that runs.

use clap::{ArgAction, Args};
use coil_engine::Status;

use crate::attach::{self, Attachment};
use crate::report::Failure;
use crate::settings::Settings;
use crate::signals::{Manner, terminal_size};
use crate::{detach_keys, packing};

/// Arguments of `coil attach`.
#[derive(Debug, Args)]
pub struct Attach {
    /// The keys that let go of its terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass no input on
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on; --sig-proxy=false doesn't
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = ArgAction::Set)]
    sig_proxy: bool,
    /// The container's name or id
    container: String,
}

impl Attach {
    /// Stays with it until it ends, or the keys are typed.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        let container = engine.container(&self.container)?;
        let stopped = match container.state.status {
            Status::Paused => Some(("paused", "unpause it first")),
            Status::Restarting => Some(("restarting", "wait until it is running")),
            Status::Created | Status::Exited => Some(("stopped", "start it first")),
            Status::Running => None,
        };
        if let Some((state, what)) = stopped {
            return Err(
                Failure::new(format!("You cannot attach to a {state} container, {what}"))
                    .help("`coil logs` shows what it printed"),
            );
        }
        let record = container.record;
        let attachment = Attachment {
            interactive: record.stdin_open && !self.no_stdin,
            terminal: record.terminal,
            keys: detach_keys::wanted(self.detach_keys.as_deref(), settings)?,
            letting_go_fails: true,
            keeps_input_open: !record.attached[0],
            ..Attachment::default()
        };
        attach::check_terminal(&attachment)?;
        let signals = match self.sig_proxy || record.terminal {
            true => Some(packing::take_signals()?),
            false => None,
        };
        let client = engine.attach(&record.id)?;
        if let Some((rows, columns)) = terminal_size().filter(|_| record.terminal) {
            // A program redraws when its terminal changes: what is on the screen is made new.
            let _ = client.resize(columns.saturating_sub(1), rows);
            let _ = client.resize(columns, rows);
        }
        if let Some(signals) = &signals {
            let manner = Manner {
                terminal: record.terminal,
                proxy: self.sig_proxy,
            };
            signals.forward(&client, manner)?;
        }
        attach::stay(&engine, &record.id, &client, &attachment, false)
    }
}
