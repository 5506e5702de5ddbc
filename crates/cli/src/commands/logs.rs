//! `coil logs`: what a container printed.

use std::io::{self, Write};

use clap::Args;
use coil_engine::logs::{self, LogLine, LogRequest};

use crate::moment;
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
    /// Show what was printed since: a time, or how long ago, such as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show what was printed until: a time, or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show when each line was printed
    #[arg(short, long)]
    timestamps: bool,
    /// Show the labels, variables and tag that --log-opt writes beside each line
    #[arg(long)]
    details: bool,
    /// The container's name or id
    container: String,
}

impl Logs {
    /// Prints each line to the stream that it was printed to.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let point = |name: &str, text: &Option<String>| {
            text.as_deref()
                .filter(|text| !text.is_empty())
                .map(|text| moment::point_flag(name, text))
                .transpose()
        };
        let request = LogRequest {
            follow: self.follow,
            // Docker takes a negative number, or a word, for all.
            tail: self.tail.parse().ok(),
            since: point("since", &self.since)?,
            until: point("until", &self.until)?,
        };
        let engine = settings.engine()?;
        let container = engine.container(&self.container)?;
        if container.record.options.log.driver() == "none" {
            return Err(Failure::new("configured logging driver does not support reading")
                .help("the container was made with --log-driver none, so nothing of its output is kept"));
        }
        let ended = || !engine.is_live(&container);
        let mut out = io::stdout().lock();
        let mut block: Vec<u8> = Vec::with_capacity(64 << 10);
        let mut show = |line: &LogLine<'_>| -> io::Result<()> {
            if line.is_error {
                // In their order, as far as there is one.
                flush(&mut out, &mut block)?;
                let head = self.head(line);
                return io::stderr()
                    .lock()
                    .write_all(format!("{head}{}", line.log).as_bytes());
            }
            if self.timestamps || self.details {
                block.extend(self.head(line).as_bytes());
            }
            block.extend(line.log.as_bytes());
            if self.follow || block.len() > 60 << 10 {
                flush(&mut out, &mut block)?;
            }
            Ok(())
        };
        let read = logs::read(&container.dir.join("log.jsonl"), &request, &ended, &mut show);
        let read = read.and_then(|()| flush(&mut out, &mut block));
        match read {
            Ok(()) => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(output::NOBODY_READS),
            Err(error) => Err(Failure::new(format!(
                "the log of {} cannot be read\n  caused by: {error}",
                self.container
            ))),
        }
    }
}

impl Logs {
    /// What stands before a line.
    fn head(&self, line: &LogLine<'_>) -> String {
        let mut head = String::new();
        if self.timestamps {
            head = format!("{} ", line.time);
        }
        if self.details {
            let pairs: Vec<String> = line
                .details
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            head.push_str(&pairs.join(","));
            head.push(' ');
        }
        head
    }
}

fn flush(out: &mut impl Write, block: &mut Vec<u8>) -> io::Result<()> {
    out.write_all(block)?;
    block.clear();
    out.flush()
}
