//! `coil stats`: what containers use, live or once.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use coil_engine::record::Container;
use coil_engine::usage::Usage;
use coil_engine::{Engine, Status};
use serde_json::json;

use crate::output;
use crate::quantity::{binary_size, human_size};
use crate::report::Failure;
use crate::settings::Settings;
use crate::table::short_id;
use crate::template::{Columns, Format, Row};

const COLUMNS: Columns<'static> = Columns {
    of: "*container.statsContext",
    shown: &[
        ("CONTAINER ID", "ID"),
        ("NAME", "Name"),
        ("CPU %", "CPUPerc"),
        ("MEM USAGE / LIMIT", "MemUsage"),
        ("MEM %", "MemPerc"),
        ("NET I/O", "NetIO"),
        ("BLOCK I/O", "BlockIO"),
        ("PIDS", "PIDs"),
    ],
    more: &[("CONTAINER", "Container")],
};

/// The time over which the share of the processors is taken.
const SAMPLE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_secs(1);

/// Arguments of `coil stats`.
#[derive(Debug, Args)]
pub struct Stats {
    /// Show those that don't run too
    #[arg(short, long)]
    all: bool,
    /// Print the numbers once
    #[arg(long)]
    no_stream: bool,
    /// Shorten nothing
    #[arg(long)]
    no_trunc: bool,
    /// table, json, or a template such as '{{.Name}} {{.CPUPerc}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names or ids of containers; all that run when none is given
    #[arg(value_name = "CONTAINER")]
    names: Vec<String>,
}

impl Stats {
    /// Prints the numbers, again and again unless they are wanted once.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let chosen = self.format.clone().or_else(|| settings.chosen("statsFormat"));
        let format = Format::parse(chosen.as_deref())?;
        let engine = settings.engine()?;
        let mut before = look(&engine, &self.wanted(&engine)?);
        std::thread::sleep(SAMPLE);
        loop {
            let containers = self.wanted(&engine)?;
            let now = look(&engine, &containers);
            let rows = containers.iter().map(|(asked, container)| {
                let id = &container.record.id;
                let id_shown = if self.no_trunc { id } else { short_id(id) };
                row(asked, id_shown, container, now.get(id), before.get(id))
            });
            if !self.no_stream {
                // Up to the corner, and the rest of the screen away.
                output::print("\u{1b}[H\u{1b}[J");
            }
            format.list(&COLUMNS, rows)?;
            output::flush();
            if self.no_stream {
                return Ok(0);
            }
            before = now;
            std::thread::sleep(PAUSE);
        }
    }

    /// The containers, with the names by which they were asked for.
    fn wanted(&self, engine: &Engine) -> Result<Vec<(String, Container)>, Failure> {
        if self.names.is_empty() {
            let mut containers = engine.containers();
            containers.retain(|container| self.all || container.is_running());
            return Ok(containers
                .into_iter()
                .map(|container| (container.record.id.clone(), container))
                .collect());
        }
        self.names
            .iter()
            .map(|name| Ok((name.clone(), engine.container(name)?)))
            .collect()
    }
}

fn look(engine: &Engine, containers: &[(String, Container)]) -> BTreeMap<String, Usage> {
    containers
        .iter()
        .filter_map(|(_, container)| Some((container.record.id.clone(), engine.usage(container)?)))
        .collect()
}

fn row(asked: &str, id: &str, container: &Container, now: Option<&Usage>, before: Option<&Usage>) -> Row {
    let name = &container.record.name;
    let Some(now) = now.filter(|_| container.state.status != Status::Restarting) else {
        return Row::from(json!({
            "BlockIO": "0B / 0B", "CPUPerc": "0.00%", "Container": asked, "ID": id, "MemPerc": "0.00%",
            "MemUsage": "0B / 0B", "Name": name, "NetIO": "0B / 0B", "PIDs": "0",
        }));
    };
    let pair = |(first, second): (u64, u64)| format!("{} / {}", human_size(first), human_size(second));
    Row::from(json!({
        "BlockIO": pair(now.disk),
        "CPUPerc": format!("{:.2}%", before.map_or(0.0, |before| now.cpu_percent(before))),
        "Container": asked,
        "ID": id,
        "MemPerc": format!("{:.2}%", now.memory_percent()),
        "MemUsage": format!("{} / {}", binary_size(now.memory), binary_size(now.memory_limit)),
        "Name": name,
        "NetIO": pair(now.network),
        "PIDs": now.pids.to_string(),
    }))
}
