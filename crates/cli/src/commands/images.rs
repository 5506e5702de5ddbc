//! `coil images`: images by name, as Docker lists them.

use std::time::Duration;

use clap::Args;
use coil_engine::clock;
use coil_engine::images::ImageLine;
use serde_json::json;

use super::ps::{ago, docker_time};
use crate::list_filters;
use crate::moment;
use crate::output;
use crate::quantity::{exact_size, human_size};
use crate::report::Failure;
use crate::settings::Settings;
use crate::table::{self, short_id};
use crate::template::{Columns, Format};

const MORE: [(&str, &str); 9] = [
    ("DIGEST", "Digest"),
    ("CREATED AT", "CreatedAt"),
    ("CONTAINERS", "Containers"),
    ("SHARED SIZE", "SharedSize"),
    ("UNIQUE SIZE", "UniqueSize"),
    ("SIZE", "VirtualSize"),
    ("PLATFORMS", "Platforms"),
    ("STAND-IN", "StandIn"),
    ("NOTE", "Note"),
];

/// Arguments of `coil images`.
#[derive(Debug, Args)]
pub struct Images {
    /// Show ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Shorten nothing
    #[arg(long)]
    no_trunc: bool,
    /// Show digests too
    #[arg(long)]
    digests: bool,
    /// Show all; there are no others
    #[arg(short, long, hide = true)]
    all: bool,
    /// Show each image with its platforms below it
    #[arg(long)]
    tree: bool,
    /// Show those alone to which this applies, such as reference=python:*
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
    /// table, json, or a template such as '{{.Repository}}:{{.Tag}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show those of this name alone
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

impl Images {
    /// Lists them, the newest first.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let chosen = || settings.chosen("imagesFormat").filter(|_| !self.quiet);
        let chosen = self.format.clone().or_else(chosen);
        let format = Format::parse(chosen.as_deref())?;
        let mut filters = list_filters::pairs(&self.filters)?;
        filters.extend(
            self.name
                .iter()
                .map(|name| ("reference".to_owned(), name.clone())),
        );
        let engine = settings.engine()?;
        let mut lines = engine.list_images()?;
        let time = |text: &str| moment::point(text, clock::now()).map(|time| time.as_secs());
        engine.filter_images(&mut lines, &filters, &time)?;
        let id = |line: &ImageLine| {
            let id = line.id.to_string();
            if self.no_trunc {
                id
            } else {
                short_id(&id).to_owned()
            }
        };
        if self.tree {
            if self.quiet || self.no_trunc || self.digests || self.format.is_some() {
                return Err(Failure::new(
                    "--quiet, --no-trunc, --digests and --format are not supported with --tree",
                )
                .help("leave them out, or --tree"));
            }
            output::print(&tree(&lines));
            return Ok(0);
        }
        if self.quiet && self.format.is_none() {
            lines.iter().for_each(|line| output::line(&id(line)));
            return Ok(0);
        }
        let now = clock::now();
        let row = |line: &ImageLine| {
            let tagged = Duration::from_secs(line.tagged);
            json!({
                "Containers": "N/A",
                "CreatedAt": docker_time(tagged),
                "CreatedSince": ago(tagged, now),
                "Digest": line.digest,
                "ID": id(line),
                "Repository": line.repository,
                "SharedSize": "N/A",
                "Size": human_size(line.size),
                "Tag": line.tag,
                "UniqueSize": "N/A",
                "VirtualSize": exact_size(line.size),
                "Platforms": line.platforms.join(","),
                "StandIn": line.stand_in,
                "Note": if line.stand_in { "stand-in" } else { "" },
            })
        };
        let mut columns = vec![("REPOSITORY", "Repository"), ("TAG", "Tag")];
        columns.extend(self.digests.then_some(("DIGEST", "Digest")));
        columns.extend([("IMAGE ID", "ID"), ("CREATED", "CreatedSince"), ("SIZE", "Size")]);
        // Docker's columns alone, where there is nothing that Docker hasn't.
        let any = lines.iter().any(|line| line.stand_in);
        columns.extend(any.then_some(("NOTE", "Note")));
        let columns = Columns {
            of: "*formatter.imageContext",
            shown: &columns,
            more: &MORE,
        };
        format.list(&columns, lines.iter().map(row))?;
        Ok(0)
    }
}

/// Images, each with its platforms below it where it has several.
fn tree(lines: &[ImageLine]) -> String {
    let mut rows = Vec::new();
    for line in lines {
        let size = human_size(line.size);
        let id = line.id.to_string();
        rows.push(vec![
            format!("{}:{}", line.repository, line.tag),
            short_id(&id).to_owned(),
            size,
            "0B".to_owned(),
            String::new(),
        ]);
        let platforms = line.platforms.iter().filter(|_| line.platforms.len() > 1);
        rows.extend(platforms.map(|platform| {
            let nothing = String::new;
            vec![
                format!("  {platform}"),
                nothing(),
                nothing(),
                nothing(),
                nothing(),
            ]
        }));
    }
    table::render(&["IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"], &rows)
}
