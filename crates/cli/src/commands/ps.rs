//! `coil ps`: containers, as Docker lists them.

use std::time::Duration;

use clap::Args;
use coil_engine::container_filter::{ContainerFilters, state_name};
use coil_engine::record::Container;
use coil_engine::{Status, clock};
use serde_json::json;

use crate::list_filters;
use crate::output;
use crate::port_list::{self, Port};
use crate::quantity::human_size;
use crate::report::Failure;
use crate::settings::Settings;
use crate::table::{short_id, shorten};
use crate::template::{Columns, Format, Row};

const SHOWN: [(&str, &str); 8] = [
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
    ("SIZE", "Size"),
];

const MORE: [(&str, &str); 9] = [
    ("CREATED AT", "CreatedAt"),
    ("STATE", "State"),
    ("LABELS", "Labels"),
    ("MOUNTS", "Mounts"),
    ("LOCAL VOLUMES", "LocalVolumes"),
    ("NETWORKS", "Networks"),
    ("PLATFORM", "Platform"),
    ("SIZE", "Size"),
    ("CREATED", "RunningFor"),
];

/// Arguments of `coil ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Show those that have ended too
    #[arg(short, long)]
    all: bool,
    /// Show those alone to which this applies, such as status=exited
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    /// Show the one that was made last, whether it runs or not
    #[arg(short, long)]
    latest: bool,
    /// Show so many that were made last, whether they run or not
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
    last: i64,
    /// Show ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Show what their files take
    #[arg(short, long)]
    size: bool,
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
        let chosen = self.format.clone().or_else(|| settings.chosen("psFormat"));
        let format = Format::parse(chosen.as_deref())?;
        let filters = list_filters::pairs(&self.filters)?;
        let engine = settings.engine()?;
        let filters = ContainerFilters::new(&engine, &filters)?;
        let last = if self.latest { 1 } else { self.last };
        let all = self.all || last > 0 || filters.name_states();
        let mut containers = engine.containers();
        containers.retain(|container| (all || container.is_running()) && filters.pass(&engine, container));
        if let Ok(last @ 1..) = usize::try_from(last) {
            containers.truncate(last);
        }
        if self.quiet {
            if self
                .format
                .as_deref()
                .is_some_and(|format| !["", "table"].contains(&format))
            {
                output::error_line(
                    "WARNING: Ignoring custom format, because both --format and --quiet are set.",
                );
            }
            for container in &containers {
                let id = &container.record.id;
                output::line(if self.no_trunc { id } else { short_id(id) });
            }
            return Ok(0);
        }
        let now = clock::now();
        let with_size = self.size || format.asks_for("Size");
        let columns = Columns {
            of: "*formatter.ContainerContext",
            shown: &SHOWN[..if self.size { 8 } else { 7 }],
            more: &MORE,
        };
        format.list(
            &columns,
            containers
                .iter()
                .map(|container| self.row(container, now, with_size)),
        )?;
        Ok(0)
    }

    fn row(&self, container: &Container, now: Duration, with_size: bool) -> Row {
        let record = &container.record;
        let created = Duration::new(record.created.0, record.created.1);
        let command = command_line(&record.args);
        let short = |text: &str, most: usize| {
            if self.no_trunc {
                text.to_owned()
            } else {
                shorten(text, most)
            }
        };
        let labels: Vec<String> = record
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let networks: Vec<&str> = container.network_names().into_iter().collect();
        let mounts: Vec<String> = record
            .points
            .iter()
            .filter(|point| point.name.is_some() || !point.source.as_os_str().is_empty())
            .map(|point| {
                let source = point.source.to_string_lossy();
                short(point.name.as_deref().unwrap_or(&source), 15)
            })
            .collect();
        let volumes = record.points.iter().filter(|point| point.name.is_some()).count();
        let size = if with_size {
            let own = container.written_bytes();
            let below: u64 = record.blobs.iter().map(|blob| blob.size).sum();
            format!("{} (virtual {})", human_size(own), human_size(own + below))
        } else {
            "0B".to_owned()
        };
        Row::from(json!({
            "Command": coil_template::quoted(&short(&command, 20)),
            "CreatedAt": docker_time(created),
            "ID": if self.no_trunc { &record.id } else { short_id(&record.id) },
            "Image": record.image,
            "Labels": labels.join(","),
            "LocalVolumes": volumes.to_string(),
            "Mounts": mounts.join(","),
            "Names": record.name,
            "Networks": networks.join(","),
            "Platform": null,
            "Ports": ports(container),
            "RunningFor": ago(created, now),
            "Size": size,
            "State": state_name(container.state.status),
            "Status": status(container, now),
        }))
        .labelled(record.labels.clone())
    }
}

/// A program and its arguments; quotes stand around those with blanks.
pub fn command_line(args: &[String]) -> String {
    let mut words = args.iter();
    let mut line = words.next().cloned().unwrap_or_default();
    for word in words {
        line.push(' ');
        if word.contains(' ') {
            line.push_str(&format!("'{word}'"));
        } else {
            line.push_str(word);
        }
    }
    line
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

/// What a container does, and since when.
pub fn status(container: &Container, now: Duration) -> String {
    let state = &container.state;
    let since =
        |text: &str| coil_oci::timestamp::parse(text).map(|time| clock::in_words(now.saturating_sub(time)));
    let ended = || {
        since(&state.finished_at)
            .map(|time| format!(" {time} ago"))
            .unwrap_or_default()
    };
    match state.status {
        Status::Created => "Created".into(),
        Status::Running | Status::Paused => {
            let up = since(&state.started_at).unwrap_or_else(|| "Less than a second".into());
            let more = match (&state.health, state.status) {
                (_, Status::Paused) => " (Paused)".to_owned(),
                (Some(health), _) if health.status.name() == "starting" => " (health: starting)".to_owned(),
                (Some(health), _) => format!(" ({})", health.status.name()),
                (None, _) => String::new(),
            };
            format!("Up {up}{more}")
        }
        Status::Restarting => format!("Restarting ({}){}", state.exit_code, ended()),
        Status::Exited => format!("Exited ({}){}", state.exit_code, ended()),
    }
}

/// Its published and exposed ports in one line.
pub fn ports(container: &Container) -> String {
    if !container.is_running() {
        return String::new();
    }
    let published = coil_engine::inspect::port_table(&container.state.ports);
    let port = |text: &str, ip: &str, outside: u16| {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        number.parse().ok().map(|inside| Port {
            inside,
            ip: ip.to_owned(),
            outside,
            protocol: protocol.to_owned(),
        })
    };
    let mut ports: Vec<Port> = Vec::new();
    for (inside, places) in &published {
        ports.extend(
            places
                .iter()
                .filter_map(|(ip, outside)| port(inside, ip, *outside)),
        );
    }
    let exposed = container.record.exposed.iter();
    ports.extend(
        exposed
            .filter(|port| !published.contains_key(*port))
            .filter_map(|text| port(text, "", 0)),
    );
    port_list::in_words(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_blanks_have_quotes() {
        let args = ["sh", "-c", "echo \"a\nb\""].map(str::to_owned);
        assert_eq!(
            coil_template::quoted(&command_line(&args)),
            "\"sh -c 'echo \\\"a\\nb\\\"'\""
        );
    }
}
