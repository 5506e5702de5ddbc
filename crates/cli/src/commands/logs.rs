//! `coil logs`: what a container printed.

use std::io::{self, Write};

use clap::Args;
use coil_engine::logs::{self, LogLine, LogRequest};

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Show so many last lines, or all
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value = "all",
        allow_hyphen_values = true
    )]
    tail: String,
    /// Show when each line was printed
    #[arg(short, long)]
    timestamps: bool,
    /// The container's name or id
    container: String,
}

impl Logs {
    /// Prints each line to the stream that it was printed to.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        // Docker takes a negative number, or a word, for all.
        let request = LogRequest {
            follow: self.follow,
            tail: self.tail.parse().ok(),
        };
        let engine = settings.engine()?;
        let container = engine.container(&self.container)?;
        let id = &container.record.id;
        let ended =
            || engine.container(id).is_ok_and(|now| !now.is_running()) || engine.container(id).is_err();
        let mut show = |line: &LogLine| -> io::Result<()> {
            let stamp = if self.timestamps {
                format!("{} ", line.time)
            } else {
                String::new()
            };
            let text = format!("{stamp}{}", line.log);
            if line.stream == "stderr" {
                return io::stderr().lock().write_all(text.as_bytes());
            }
            output::print(&text);
            // A piece without its line feed is an answer too.
            if self.follow {
                io::stdout().lock().flush()
            } else {
                Ok(())
            }
        };
        let read = logs::read(&container.dir.join("log.jsonl"), &request, &ended, &mut show);
        read.map_err(|error| {
            Failure::new(format!(
                "the log of {} cannot be read\n  caused by: {error}",
                self.container
            ))
        })?;
        Ok(0)
    }
}
