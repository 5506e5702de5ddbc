//! `coil ps`: containers, as Docker lists them.

use std::time::Duration;

use clap::Args;
use coil_engine::record::Container;
use coil_engine::{Status, clock};
use serde_json::{Value, json};

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;
use crate::table::{short_id, shorten};
use crate::template::{Format, field};

const HEAD: [&str; 7] = [
    "CONTAINER ID",
    "IMAGE",
    "COMMAND",
    "CREATED",
    "STATUS",
    "PORTS",
    "NAMES",
];
const FIELDS: [&str; 7] = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];

/// Arguments of `coil ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Show those that have ended too
    #[arg(short, long)]
    all: bool,
    /// Show ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Shorten nothing
    #[arg(long)]
    no_trunc: bool,
    /// table, json, or a template such as '{{.Names}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Ps {
    /// Lists them, the newest first.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let format = Format::parse(self.format.as_deref())?;
        let engine = settings.engine()?;
        let mut containers = engine.containers();
        containers.retain(|container| self.all || container.is_running());
        if self.quiet {
            for container in &containers {
                let id = &container.record.id;
                output::line(if self.no_trunc { id } else { short_id(id) });
            }
            return Ok(0);
        }
        let now = clock::now();
        let rows: Vec<Value> = containers
            .iter()
            .map(|container| self.row(container, now))
            .collect();
        format.show(&HEAD, &rows, |row| {
            FIELDS.iter().map(|name| field(row, name)).collect()
        });
        Ok(0)
    }

    fn row(&self, container: &Container, now: Duration) -> Value {
        let record = &container.record;
        let created = Duration::new(record.created.0, record.created.1);
        let command = record.args.join(" ");
        let command = if self.no_trunc {
            command
        } else {
            shorten(&command, 20)
        };
        let labels: Vec<String> = record
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        json!({
            "Command": format!("\"{}\"", command.escape_debug()),
            "CreatedAt": docker_time(created),
            "ID": if self.no_trunc { &record.id } else { short_id(&record.id) },
            "Image": record.image,
            "Labels": labels.join(","),
            "Names": record.name,
            "Networks": if record.network == "default" { "bridge" } else { &record.network },
            "Ports": ports(container),
            "RunningFor": ago(created, now),
            "State": container.state.status,
            "Status": status(container, now),
        })
    }
}

/// How long ago a time was: `5 minutes ago`.
pub fn ago(time: Duration, now: Duration) -> String {
    format!("{} ago", clock::in_words(now.saturating_sub(time)))
}

/// A time as Docker's lists have it in JSON: `2026-01-02 03:04:05 +0000 UTC`.
pub fn docker_time(time: Duration) -> String {
    let text = coil_oci::timestamp::nanoseconds(time);
    format!("{} {} +0000 UTC", &text[..10], &text[11..19])
}

fn status(container: &Container, now: Duration) -> String {
    let state = &container.state;
    let since =
        |text: &str| coil_oci::timestamp::parse(text).map(|time| clock::in_words(now.saturating_sub(time)));
    match state.status {
        Status::Created => "Created".into(),
        Status::Running | Status::Paused => format!(
            "Up {}{}",
            since(&state.started_at).unwrap_or_else(|| "Less than a second".into()),
            if state.status == Status::Paused {
                " (Paused)"
            } else {
                ""
            }
        ),
        Status::Restarting => {
            let ended = since(&state.finished_at)
                .map(|time| format!(" {time} ago"))
                .unwrap_or_default();
            format!("Restarting ({}){ended}", state.exit_code)
        }
        Status::Exited => {
            let ended = since(&state.finished_at)
                .map(|time| format!(" {time} ago"))
                .unwrap_or_default();
            format!("Exited ({}){ended}", state.exit_code)
        }
    }
}

/// `0.0.0.0:8000->8000/tcp, [::]:8000->8000/tcp, 9000/tcp`.
fn ports(container: &Container) -> String {
    if !container.is_running() {
        return String::new();
    }
    let mut texts = Vec::new();
    let published = coil_engine::inspect::port_table(&container.state.ports);
    for (inside, places) in &published {
        for (ip, port) in places {
            let ip = if ip.contains(':') {
                format!("[{ip}]")
            } else {
                ip.clone()
            };
            texts.push(format!("{ip}:{port}->{inside}"));
        }
    }
    texts.extend(
        container
            .record
            .exposed
            .iter()
            .filter(|port| !published.contains_key(*port))
            .cloned(),
    );
    texts.join(", ")
}
