//! `coil volume`: makes volumes, lists, shows and removes them.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use coil_engine::Engine;
use coil_engine::prune::has_label;
use coil_engine::volumes::{DRIVER, VolumeError, VolumeRecord, VolumeRequest};
use serde_json::json;

use crate::output;
use crate::prune_flags::{PruneFlags, labels_in_words, show_reclaimed, show_removed, truth};
use crate::report::Failure;
use crate::settings::Settings;
use crate::template::{Columns, Format, Row};
use crate::{environment_flags as flags, list_filters};

/// Arguments of `coil volume`.
#[derive(Debug, Args)]
pub struct Volume {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a volume
    Create(Create),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show all that is known of volumes
    Inspect(Inspect),
    /// Remove volumes that no container has
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove every volume without a name that no container has
    Prune(Prune),
}

#[derive(Debug, Args)]
struct Create {
    /// The driver: local
    #[arg(short, long, default_value = DRIVER, value_name = "DRIVER")]
    driver: String,
    /// Set a label
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Set an option of the driver: type, device or o
    #[arg(short, long = "opt", value_name = "NAME=VALUE")]
    options: Vec<String>,
    /// The volume's name, as it was given before it had a place of its own
    #[arg(long = "name", value_name = "VOLUME", hide = true)]
    older_name: Option<String>,
    /// The volume's name; one is made up when none is given
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

#[derive(Debug, Args)]
struct Ls {
    /// Show names alone
    #[arg(short, long)]
    quiet: bool,
    /// Show those alone: dangling=true|false, driver=, label=, name=
    #[arg(short, long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// table, json, or a template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

#[derive(Debug, Args)]
struct Inspect {
    /// json, or a template such as '{{.Mountpoint}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// The volumes' names
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct Rm {
    /// Don't mind those that aren't there
    #[arg(short, long)]
    force: bool,
    /// The volumes' names
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct Prune {
    /// Remove those with names too
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    flags: PruneFlags,
}

impl Volume {
    /// Does what the verb says.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        match self.verb {
            Verb::Create(create) => create.run(&engine),
            Verb::Ls(ls) => ls.run(&engine, settings),
            Verb::Inspect(inspect) => inspect.run(&engine, settings),
            Verb::Rm(rm) => Ok(super::each(&rm.names, settings, |name| {
                engine.remove_volume(name, rm.force)?;
                Ok(name.to_owned())
            })),
            Verb::Prune(prune) => prune.run(&engine),
        }
    }
}

impl From<VolumeError> for Failure {
    fn from(error: VolumeError) -> Self {
        Failure::of(&error).maybe_help(error.help())
    }
}

fn pairs(texts: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    texts.iter().map(pair).collect()
}

impl Create {
    fn run(self, engine: &Engine) -> Result<i32, Failure> {
        if self.name.is_some() && self.older_name.is_some() {
            return Err(Failure::new(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
            )
            .help("leave --name out"));
        }
        let made = engine.create_volume(&VolumeRequest {
            name: self.name.or(self.older_name),
            driver: Some(self.driver),
            labels: flags::label_flags("--label", &self.labels)?,
            options: pairs(&self.options),
        })?;
        output::line(&made.name);
        Ok(0)
    }
}

fn unknown_filter(name: &str, known: &str) -> Failure {
    Failure::new(format!("invalid filter '{name}'")).help(format!("the filters are {known}"))
}

const COLUMNS: Columns<'static> = Columns {
    of: "*formatter.volumeContext",
    shown: &[("DRIVER", "Driver"), ("VOLUME NAME", "Name")],
    more: &[
        ("SCOPE", "Scope"),
        ("MOUNTPOINT", "Mountpoint"),
        ("LABELS", "Labels"),
        ("LINKS", "Links"),
        ("SIZE", "Size"),
        ("STATUS", "Status"),
        ("GROUP", "Group"),
        ("AVAILABILITY", "Availability"),
    ],
};

impl Ls {
    fn run(self, engine: &Engine, settings: &Settings) -> Result<i32, Failure> {
        let chosen = self.format.clone().or_else(|| settings.chosen("volumesFormat"));
        let format = Format::parse(chosen.as_deref())?;
        // Filters of one kind are alternatives, but for labels; those of different kinds must all hold.
        let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in list_filters::pairs(&self.filters)? {
            kinds.entry(name).or_default().push(value);
        }
        let mut volumes = engine.volumes();
        for (kind, values) in &kinds {
            match kind.as_str() {
                "driver" => volumes.retain(|_| values.iter().any(|value| value == DRIVER)),
                "name" => volumes.retain(|v| values.iter().any(|value| v.name.contains(value.as_str()))),
                "label" => volumes.retain(|v| values.iter().all(|value| has_label(&v.labels, value))),
                "dangling" => {
                    for value in values {
                        let wanted = truth("dangling", value)?;
                        volumes.retain(|v| engine.volume_users(&v.name).is_empty() == wanted);
                    }
                }
                other => {
                    return Err(unknown_filter(
                        other,
                        "dangling=true|false, driver=, label= and name=",
                    ));
                }
            }
        }
        if self.quiet {
            volumes.iter().for_each(|volume| output::line(&volume.name));
            return Ok(0);
        }
        let row = |volume: &VolumeRecord| -> Row {
            let row = json!({
                "Availability": "N/A",
                "Driver": DRIVER,
                "Group": "N/A",
                "Labels": labels_in_words(&volume.labels),
                "Links": "N/A",
                "Mountpoint": engine.volume_data(&volume.name),
                "Name": volume.name,
                "Scope": "local",
                "Size": "N/A",
                "Status": "N/A",
            });
            Row::from(row).labelled(volume.labels.clone())
        };
        format.list(&COLUMNS, volumes.iter().map(row))?;
        Ok(0)
    }
}

impl Inspect {
    fn run(self, engine: &Engine, settings: &Settings) -> Result<i32, Failure> {
        super::inspect_each(self.format.as_deref(), &self.names, settings, |name| {
            Ok(engine.inspect_volume(&engine.volume(name)?))
        })
    }
}

impl Prune {
    fn run(self, engine: &Engine) -> Result<i32, Failure> {
        let filters = self.flags.filters(false, &["all"])?;
        let mut all = self.all;
        for (name, value) in &filters.others {
            all |= truth(name, value)?;
        }
        let warning = match all {
            true => "WARNING! This will remove all local volumes not used by at least one container.",
            false => "WARNING! This will remove anonymous local volumes not used by at least one container.",
        };
        if self.flags.agreed(warning) {
            let pruned = engine.prune_volumes(all, &filters.common)?;
            show_removed("Deleted Volumes:", &pruned.removed);
            show_reclaimed(pruned.bytes);
        }
        Ok(0)
    }
}
