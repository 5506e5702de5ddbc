//! `coil volume`: makes volumes, lists, shows and removes them.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use coil_engine::Engine;
use coil_engine::volumes::{DRIVER, VolumeError, VolumeRecord, VolumeRequest};
use serde_json::{Value, json};

use crate::confirmation::agreed;
use crate::output;
use crate::quantity::human_size;
use crate::report::Failure;
use crate::settings::Settings;
use crate::template::{Columns, Format};
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
    /// Don't ask
    #[arg(short, long)]
    force: bool,
    /// Remove those alone: label=, label!=, all=true
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
}

impl Volume {
    /// Does what the verb says.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        match self.verb {
            Verb::Create(create) => create.run(&engine),
            Verb::Ls(ls) => ls.run(&engine),
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
        let made = engine.create_volume(&VolumeRequest {
            name: self.name,
            driver: Some(self.driver),
            labels: flags::labels(&self.labels),
            options: pairs(&self.options),
        })?;
        output::line(&made.name);
        Ok(0)
    }
}

/// Whether a label is there, with its value where one is named.
pub fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|label| label == value),
        None => labels.contains_key(wanted),
    }
}

/// A filter's word for yes or no.
fn truth(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Failure::new(format!("invalid filter '{name}={value}'")).help("give true or false")),
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
    fn run(self, engine: &Engine) -> Result<i32, Failure> {
        let format = Format::parse(self.format.as_deref())?;
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
        let row = |volume: &VolumeRecord| -> Value {
            let labels: Vec<String> = volume
                .labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            json!({
                "Availability": "N/A",
                "Driver": DRIVER,
                "Group": "N/A",
                "Labels": labels.join(","),
                "Links": "N/A",
                "Mountpoint": engine.volume_data(&volume.name),
                "Name": volume.name,
                "Scope": "local",
                "Size": "N/A",
                "Status": "N/A",
            })
        };
        format.list(&COLUMNS, volumes.iter().map(row))?;
        Ok(0)
    }
}

impl Inspect {
    fn run(self, engine: &Engine, settings: &Settings) -> Result<i32, Failure> {
        let format = Format::of_objects(self.format.as_deref(), "")?;
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in &self.names {
            match engine.volume(name) {
                Ok(record) => found.push(engine.inspect_volume(&record)),
                Err(error) => failures.push(Failure::from(error)),
            }
        }
        format.objects(&found)?;
        for failure in &failures {
            failure.show(Some(settings.root()));
        }
        Ok(i32::from(!failures.is_empty()))
    }
}

impl Prune {
    fn run(self, engine: &Engine) -> Result<i32, Failure> {
        let mut all = self.all;
        let mut wanted: Vec<(bool, String)> = Vec::new();
        for (name, value) in list_filters::pairs(&self.filters)? {
            match name.as_str() {
                "label" => wanted.push((true, value)),
                "label!" => wanted.push((false, value)),
                "all" => all |= truth("all", &value)?,
                other => return Err(unknown_filter(other, "label=, label!= and all=true")),
            }
        }
        let warning = match all {
            true => "WARNING! This will remove all local volumes not used by at least one container.",
            false => "WARNING! This will remove anonymous local volumes not used by at least one container.",
        };
        if !self.force && !agreed(warning) {
            return Ok(0);
        }
        let (removed, bytes) = prune(engine, all, &|volume| {
            wanted
                .iter()
                .all(|(has, label)| has_label(&volume.labels, label) == *has)
        })?;
        show("Deleted Volumes:", &removed, bytes);
        Ok(0)
    }
}

/// Removes the volumes that no container has; gives their names and sizes.
///
/// # Errors
/// What the disk gives.
pub fn prune(
    engine: &Engine,
    all: bool,
    wanted: &dyn Fn(&VolumeRecord) -> bool,
) -> Result<(Vec<String>, u64), VolumeError> {
    let (mut removed, mut bytes) = (Vec::new(), 0);
    for volume in engine.volumes() {
        if !(all || volume.anonymous) || !wanted(&volume) {
            continue;
        }
        let size = engine.volume_size(&volume);
        match engine.remove_volume(&volume.name, false) {
            Ok(()) => {
                removed.push(volume.name);
                bytes += size;
            }
            // Somebody has it, or was quicker.
            Err(VolumeError::InUse { .. } | VolumeError::Missing(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((removed, bytes))
}

/// What went, and how much room that gave.
pub fn show(title: &str, removed: &[String], bytes: u64) {
    if !removed.is_empty() {
        output::line(title);
        removed.iter().for_each(|name| output::line(name));
        output::line("");
    }
    output::line(&format!("Total reclaimed space: {}", human_size(bytes)));
}
