//! `coil builder` and `coil buildx`: building, and what builds keep, by the names that Docker groups them under.

mod absent_verbs;
mod instances;

use coil_engine::quantity::bytes;
use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use coil_engine::clock;
use coil_engine::prune::PATIENCE;
use coil_store::{CacheItem, CacheKind, CacheLimits};
use serde_json::json;

use super::build;
use super::ps::{ago, docker_time};
use crate::arguments::Command;
use crate::quantity::exact_size;
use crate::report::Failure;
use crate::settings::Settings;
use crate::template::{Columns, Format, Row};
use crate::{confirmation, moment, output, prune_flags};

/// Arguments of `coil builder`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Group {
    /// A builder's name: each is coil on this machine
    #[arg(long, value_name = "NAME", hide = true)]
    builder: Option<String>,
    /// Say more
    #[arg(short = 'D', long, hide = true)]
    debug: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// The commands of the group.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Make an image from a Dockerfile
    #[command(visible_alias = "b")]
    Build(Box<build::Build>),
    /// Show what builds and packs keep for the next ones
    Du(Du),
    /// Remove what builds and packs keep for the next ones
    Prune(Prune),
    #[command(flatten)]
    Instances(instances::Instances),
    #[command(flatten)]
    Absent(absent_verbs::AbsentVerbs),
}

impl Group {
    /// Does what is meant.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let named = self.builder;
        let named = named.as_deref();
        let checked = |own: &Option<String>| match (own, named) {
            (None, Some(_)) => check_builder(named, settings),
            _ => Ok(()),
        };
        match self.verb {
            Verb::Build(build) => {
                checked(&None)?;
                super::run(Command::Build(build), settings)
            }
            Verb::Du(du) => {
                checked(&du.builder)?;
                du.run(settings)
            }
            Verb::Prune(prune) => {
                checked(&prune.builder)?;
                prune.run(settings)
            }
            Verb::Instances(instances) => instances.run(named, settings),
            Verb::Absent(absent) => Err(absent.refusal()),
        }
    }
}

/// Whether something may go that nobody uses: with `all` also what images have too, downloads and small records.
pub fn unused(all: bool, before: Option<Duration>) -> impl Fn(&CacheItem) -> bool {
    move |item| {
        let kept = matches!(item.kind, CacheKind::Download | CacheKind::Record) || item.shared;
        (all || !kept) && before.is_none_or(|before| item.used < before)
    }
}

/// The word for a kind that Docker has, where it has one.
pub fn kind(item: &CacheItem) -> &'static str {
    match item.kind {
        CacheKind::Layer => "regular",
        CacheKind::Folder => "exec.cachemount",
        CacheKind::Download => "source.download",
        CacheKind::Record => "internal",
    }
}

/// Things as they are listed: small records of one sort are one, as there may be thousands.
pub fn rows(items: Vec<CacheItem>) -> Vec<CacheItem> {
    let mut rows: Vec<CacheItem> = Vec::new();
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for item in items {
        if item.kind == CacheKind::Record {
            if let Some(at) = groups.get(&item.group) {
                let row = &mut rows[*at];
                row.bytes += item.bytes;
                row.created = row.created.min(item.created);
                row.used = row.used.max(item.used);
                continue;
            }
            groups.insert(item.group.clone(), rows.len());
        }
        rows.push(item);
    }
    rows
}

/// `--filter` of the cache.
#[derive(Debug, Default)]
struct CacheFilters {
    before: Option<Duration>,
    /// Name, how it is compared, value.
    fields: Vec<(String, char, String)>,
}

impl CacheFilters {
    /// Reads `until=24h`, `type=regular`, `description~=pip`, `shared`, `!inuse`.
    fn read(texts: &[String]) -> Result<Self, Failure> {
        let mut filters = Self::default();
        for text in texts {
            let (name, how, value) = match text.find(['=', '!', '~']).filter(|at| *at > 0) {
                Some(at) => {
                    let (name, rest) = text.split_at(at);
                    let how = rest.chars().next().unwrap_or('=');
                    let value = rest[1..].trim_start_matches('=');
                    (name.to_lowercase(), how, value.to_owned())
                }
                None => match text.strip_prefix('!') {
                    Some(name) => (name.to_lowercase(), '=', "false".to_owned()),
                    None => (text.to_lowercase(), '=', "true".to_owned()),
                },
            };
            if ["until", "unused-for"].contains(&name.as_str()) {
                let span = moment::span(&value).ok_or_else(|| {
                    Failure::new(format!(
                        "\"{name}\" filter expects a duration (e.g., '24h'): time: invalid duration \"{value}\""
                    ))
                    .help("give a time such as 24h, 90m or 168h")
                })?;
                filters.before = Some(clock::now().saturating_sub(span));
                continue;
            }
            const KNOWN: [&str; 8] = [
                "id",
                "type",
                "description",
                "inuse",
                "shared",
                "private",
                "mutable",
                "immutable",
            ];
            if !KNOWN.contains(&name.as_str()) {
                output::error_line(&format!(
                    "note: nothing passes the filter '{name}': the filters are until, unused-for, {}",
                    KNOWN.join(", ")
                ));
            }
            filters.fields.push((name, how, value));
        }
        Ok(filters)
    }

    fn pass(&self, item: &CacheItem) -> bool {
        let truth = |value: bool| value.to_string();
        let mutable = item.kind == CacheKind::Folder;
        let aged = self.before.is_none_or(|before| item.used < before);
        aged && self.fields.iter().all(|(name, how, wanted)| {
            let found = match name.as_str() {
                "id" => item.id.clone(),
                "type" => kind(item).to_owned(),
                "description" => item.about.clone(),
                "shared" => truth(item.shared),
                "private" => truth(!item.shared),
                "mutable" => truth(mutable),
                "immutable" => truth(!mutable),
                "inuse" => truth(false),
                _ => return false,
            };
            match how {
                '!' => found != *wanted,
                '~' => found.contains(wanted.as_str()),
                _ => {
                    found == *wanted || wanted == "1" && found == "true" || wanted == "0" && found == "false"
                }
            }
        })
    }
}

/// Arguments of `coil builder du`.
#[derive(Debug, Args)]
pub struct Du {
    /// Show those alone to which this applies: until=24h, type=regular, id=, description~=TEXT, shared, private
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// table, json, or a template such as '{{.ID}} {{.Size}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show all that is known of each
    #[arg(long)]
    verbose: bool,
    /// `default`: coil builds on this machine
    #[arg(long, value_name = "NAME", hide = true)]
    builder: Option<String>,
}

const COLUMNS: Columns<'static> = Columns {
    of: "*commands.duContext",
    shown: &[
        ("ID", "ID"),
        ("RECLAIMABLE", "Reclaimable"),
        ("SIZE", "Size"),
        ("LAST ACCESSED", "LastUsedAt"),
    ],
    more: &[
        ("CREATED AT", "CreatedAt"),
        ("DESCRIPTION", "Description"),
        ("MUTABLE", "Mutable"),
        ("PARENTS", "Parents"),
        ("SHARED", "Shared"),
        ("TYPE", "Type"),
    ],
};

/// A thing as a row; in a table stars stand for mutable and shared.
fn row(item: &CacheItem, now: Duration, stars: bool) -> Row {
    let star = |is: bool| if is && stars { "*" } else { "" };
    let mutable = item.kind == CacheKind::Folder;
    Row::from(json!({
        "CreatedAt": docker_time(item.created),
        "Description": item.about,
        "ID": format!("{}{}", item.id, star(mutable)),
        "LastUsedAt": ago(item.used, now),
        "Mutable": mutable,
        "Parents": null,
        "Reclaimable": if stars { json!("true") } else { json!(true) },
        "Shared": item.shared,
        "Size": format!("{}{}", exact_size(item.bytes), star(item.shared)),
        "Type": kind(item),
    }))
}

/// All that is known of a thing, a line for each.
fn show_at_length(item: &CacheItem, now: Duration) {
    let mutable = item.kind == CacheKind::Folder;
    for (name, value) in [
        ("ID:", item.id.clone()),
        ("Created at:", docker_time(item.created)),
        ("Mutable:", mutable.to_string()),
        ("Reclaimable:", true.to_string()),
        ("Shared:", item.shared.to_string()),
        ("Size:", exact_size(item.bytes)),
        ("Description:", item.about.clone()),
        ("Last used:", ago(item.used, now)),
        ("Type:", kind(item).to_owned()),
    ] {
        output::line(&format!("{name:<14}{value}"));
    }
    output::line("");
}

/// A builder that nobody has named is refused: all that have a name are coil itself.
///
/// # Errors
/// With Docker's words.
pub fn check_builder(name: Option<&str>, settings: &Settings) -> Result<(), Failure> {
    instances::chosen(name, settings, settings.engine()?.store()).map(drop)
}

impl Du {
    /// Lists it and adds it up.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        check_builder(self.builder.as_deref(), settings)?;
        let format = Format::parse(self.format.as_deref())?;
        let filters = CacheFilters::read(&self.filters)?;
        let usage = settings.engine()?.store().cache_usage()?;
        let (shared, private) = (usage.shared, usage.private);
        let all = usage.items.len();
        let items: Vec<CacheItem> = usage
            .items
            .into_iter()
            .filter(|item| filters.pass(item))
            .collect();
        let is_all = items.len() == all;
        let sum = |shared: bool| -> u64 {
            let wanted = items.iter().filter(|item| item.shared == shared);
            wanted.map(|item| item.bytes).sum()
        };
        // A blob that several records keep is there once: only all of them can be added up so.
        let (shared, private) = match is_all {
            true => (shared, private),
            false => (sum(true), sum(false)),
        };
        let rows = rows(items);
        let now = clock::now();
        if self.verbose {
            rows.iter().for_each(|item| show_at_length(item, now));
        } else {
            let stars = matches!(format, Format::Table);
            format.list(&COLUMNS, rows.iter().map(|item| row(item, now, stars)))?;
        }
        if self.format.is_none() {
            if shared > 0 {
                output::line(&format!("Shared:\t\t{}", exact_size(shared)));
                output::line(&format!("Private:\t{}", exact_size(private)));
            }
            output::line(&format!("Reclaimable:\t{}", exact_size(shared + private)));
            output::line(&format!("Total:\t\t{}", exact_size(shared + private)));
        }
        Ok(0)
    }
}

/// Arguments of `coil builder prune`.
#[derive(Debug, Args)]
pub struct Prune {
    /// Remove what images have too, downloads and small records as well
    #[arg(short, long)]
    all: bool,
    /// Don't ask
    #[arg(short, long)]
    force: bool,
    /// Remove those alone: until=24h, type=regular, id=, description~=TEXT, shared, private
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// Keep so much in any case, such as 10GB
    #[arg(long, value_name = "SIZE", alias = "keep-storage")]
    reserved_space: Option<String>,
    /// Remove until no more than so much is left
    #[arg(long, value_name = "SIZE")]
    max_used_space: Option<String>,
    /// Remove until the disk has so much room
    #[arg(long, value_name = "SIZE")]
    min_free_space: Option<String>,
    /// Show all that is known of each
    #[arg(long)]
    verbose: bool,
    /// `default`: coil builds on this machine
    #[arg(long, value_name = "NAME", hide = true)]
    builder: Option<String>,
}

fn size(flag: &str, text: Option<&String>) -> Result<Option<u64>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let bytes = bytes(text).ok_or_else(|| {
        Failure::new(format!(
            "invalid argument \"{text}\" for \"--{flag}\" flag: invalid size: '{text}'"
        ))
        .help("give a size such as 512mb or 10gb")
        .code(125)
    })?;
    Ok(Some(bytes))
}

impl Prune {
    /// Removes it, what was used longest ago first.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        check_builder(self.builder.as_deref(), settings)?;
        let filters = CacheFilters::read(&self.filters)?;
        let limits = CacheLimits {
            reserved: size("reserved-space", self.reserved_space.as_ref())?.unwrap_or(0),
            most: size("max-used-space", self.max_used_space.as_ref())?,
            least_free: size("min-free-space", self.min_free_space.as_ref())?,
        };
        let warning = match self.all {
            true => "WARNING! This will remove all build cache.",
            false => "WARNING! This will remove all dangling build cache.",
        };
        if !self.force && !confirmation::agreed_on_one_line(warning) {
            return Ok(0);
        }
        let unused = unused(self.all, None);
        let pruned = settings.engine()?.store().prune_cache(
            &limits,
            &|item| unused(item) && filters.pass(item),
            PATIENCE,
        )?;
        if pruned.postponed {
            prune_flags::show_postponed();
        }
        let now = clock::now();
        let rows = rows(pruned.items);
        if self.verbose {
            rows.iter().for_each(|item| show_at_length(item, now));
        } else if !rows.is_empty() {
            Format::Table.list(&COLUMNS, rows.iter().map(|item| row(item, now, true)))?;
        }
        output::line(&format!("Total:\t{}", exact_size(pruned.bytes)));
        Ok(0)
    }
}
