//! What all prune commands take, and how each tells what went.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use coil_engine::clock;
use coil_engine::prune::PruneFilter;

use crate::confirmation::agreed;
use crate::quantity::exact_size;
use crate::report::Failure;
use crate::{list_filters, moment, output};

/// `--force` and `--filter`.
#[derive(Debug, Args)]
pub struct PruneFlags {
    /// Don't ask
    #[arg(short, long)]
    force: bool,
    /// Remove those alone: label=KEY[=VALUE], label!=…, until=TIME
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
}

/// Filters that were read: those that all prune commands know, and the others.
#[derive(Debug, Default)]
pub struct Filters {
    /// By age and labels.
    pub common: PruneFilter,
    /// Name and value of each other one.
    pub others: Vec<(String, String)>,
    /// As they were given, sorted.
    pub texts: Vec<String>,
}

impl PruneFlags {
    /// Whether it goes on: by force, or since somebody said yes.
    pub fn agreed(&self, warning: &str) -> bool {
        self.force || agreed(warning)
    }

    /// Reads the filters; `more` names those that this command knows besides, and `aged` says whether `until` is known.
    ///
    /// # Errors
    /// When one has no value (125), isn't known or its time is none (1).
    pub fn filters(&self, aged: bool, more: &[&str]) -> Result<Filters, Failure> {
        let mut read = Filters::default();
        for (name, value) in list_filters::pairs_of("--filter", &self.filters)? {
            read.texts.push(format!("{name}={value}"));
            match name.as_str() {
                "label" => read.common.labels.push((true, value)),
                "label!" => read.common.labels.push((false, value)),
                "until" if aged => read.common.before = Some(time(&value)?),
                known if more.contains(&known) => read.others.push((name, value)),
                _ => {
                    let mut known = vec!["label=", "label!="];
                    known.extend(aged.then_some("until="));
                    known.extend(more);
                    return Err(Failure::new(format!("invalid filter '{name}'"))
                        .help(format!("the filters are {}", known.join(", "))));
                }
            }
        }
        read.texts.sort();
        Ok(read)
    }
}

fn time(text: &str) -> Result<Duration, Failure> {
    moment::point(text, clock::now()).ok_or_else(|| {
        Failure::new(format!("failed to parse value as time or duration: \"{text}\""))
            .help("give how long ago, such as 24h, or a time such as 2026-01-31T08:00:00Z")
    })
}

/// A filter's word for yes or no.
///
/// # Errors
/// When it is neither.
pub fn truth(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Failure::new(format!("invalid filter '{name}={value}'")).help("give true or false")),
    }
}

/// The labels of a list's row, as Docker writes them.
pub fn labels_in_words(labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels.join(",")
}

/// What went, under a title and with an empty line behind; nothing where nothing did.
pub fn show_removed(title: &str, removed: &[String]) {
    if !removed.is_empty() {
        output::line(title);
        removed.iter().for_each(|name| output::line(name));
        output::line("");
    }
}

/// How much room that gave.
pub fn show_reclaimed(bytes: u64) {
    output::line(&format!("Total reclaimed space: {}", exact_size(bytes)));
}

/// Says that files stay for now.
pub fn show_postponed() {
    output::error_line(
        "note: other commands are at work in the store: what nobody uses is freed when they have ended",
    );
}
