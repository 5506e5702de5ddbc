//! `coil history`: the steps that an image was made in.

use clap::{ArgAction, Args};
use coil_engine::clock;
use coil_engine::images::HistoryLine;
use serde_json::json;

use super::ps::ago;
use crate::output;
use crate::platform_flag;
use crate::quantity::human_size;
use crate::report::Failure;
use crate::settings::Settings;
use crate::table::{short_id, shorten};
use crate::template::{Columns, Format};

const COLUMNS: Columns<'static> = Columns {
    of: "*formatter.historyContext",
    shown: &[
        ("IMAGE", "ID"),
        ("CREATED", "CreatedSince"),
        ("CREATED BY", "CreatedBy"),
        ("SIZE", "Size"),
        ("COMMENT", "Comment"),
    ],
    more: &[("CREATED AT", "CreatedAt")],
};

/// Arguments of `coil history`.
#[derive(Debug, Args)]
pub struct History {
    /// Show ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Shorten nothing
    #[arg(long)]
    no_trunc: bool,
    /// Sizes and times for people; `--human=false` gives bytes and dates
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = ArgAction::Set)]
    human: bool,
    /// table, json, or a template such as '{{.CreatedBy}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only an image for this platform, such as linux/amd64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// The image's name or id
    image: String,
}

impl History {
    /// Lists them, the last first.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let format = Format::parse(self.format.as_deref())?;
        let engine = settings.engine()?;
        platform_flag::check(&engine, &self.image, self.platform.as_deref())?;
        let lines = engine.history(&self.image)?;
        let id = |line: &HistoryLine| match self.no_trunc {
            true => line.id.clone(),
            false => short_id(&line.id).to_owned(),
        };
        if self.quiet {
            lines.iter().for_each(|line| output::line(&id(line)));
            return Ok(0);
        }
        let now = clock::now();
        let row = |line: &HistoryLine| {
            let created = coil_oci::timestamp::parse(&line.created);
            json!({
                "Comment": line.comment,
                "CreatedAt": line.created,
                "CreatedBy": if self.no_trunc { line.created_by.clone() } else { shorten(&line.created_by, 45) },
                "CreatedSince": match created {
                    Some(time) if self.human => ago(time, now),
                    Some(_) => line.created.clone(),
                    None => "N/A".to_owned(),
                },
                "ID": id(line),
                "Size": if self.human { human_size(line.size) } else { line.size.to_string() },
            })
        };
        format.list(&COLUMNS, lines.iter().map(row))?;
        Ok(0)
    }
}
