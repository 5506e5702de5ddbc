//! `coil system df`: what lies on the disk, and what of it nobody uses.

use clap::Args;
use coil_engine::clock;
use coil_engine::container_filter::state_name;
use coil_engine::disk_usage::DiskUsage;
use coil_store::CacheItem;
use serde_json::{Value, json};

use super::ps::{ago, command_line, docker_time, status};
use super::{builder, ps};
use crate::output;
use crate::prune_flags::labels_in_words;
use crate::quantity::{exact_size, human_size};
use crate::report::Failure;
use crate::settings::Settings;
use crate::table::{self, short_id, shorten};
use crate::template::{Columns, Format};

/// Arguments of `coil system df`.
#[derive(Debug, Args)]
pub struct Df {
    /// Show each image, container, volume and thing in the cache
    #[arg(short, long)]
    verbose: bool,
    /// table, json, or a template such as '{{.Type}}: {{.Size}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

const COLUMNS: Columns<'static> = Columns {
    of: "*formatter.diskUsageContext",
    shown: &[
        ("TYPE", "Type"),
        ("TOTAL", "TotalCount"),
        ("ACTIVE", "Active"),
        ("SIZE", "Size"),
        ("RECLAIMABLE", "Reclaimable"),
    ],
    more: &[],
};

/// Bytes that would be free, with their share of all.
fn reclaimable(free: u64, all: u64) -> String {
    match (free * 100).checked_div(all) {
        Some(percent) => format!("{} ({percent}%)", exact_size(free)),
        None => exact_size(free),
    }
}

impl Df {
    /// Shows it.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let format = Format::parse(self.format.as_deref())?;
        let usage = settings.engine()?.disk_usage()?;
        let cache = builder::rows(usage.cache.items.clone());
        if self.verbose {
            let sections = Sections::new(&usage, &cache);
            match &format {
                Format::Table => sections.print(usage.cache.private),
                Format::Json => output::line(&sections.json().to_string()),
                Format::Template(shape) => {
                    output::line(&shape.one("*formatter.diskUsageContext", &sections.json())?);
                }
            }
            return Ok(0);
        }
        format.list(&COLUMNS, summary(&usage, cache.len()))?;
        Ok(0)
    }
}

fn summary(usage: &DiskUsage, cached: usize) -> [Value; 4] {
    let row = |kind: &str, total: usize, active: usize, size: u64, free: String| {
        json!({
            "Active": active.to_string(),
            "Reclaimable": free,
            "Size": exact_size(size),
            "TotalCount": total.to_string(),
            "Type": kind,
        })
    };
    let (images, used) = usage.image_count();
    let (bytes, free) = usage.image_bytes;
    let live = usage
        .containers
        .iter()
        .filter(|(one, _)| one.is_running())
        .count();
    let written: u64 = usage.containers.iter().map(|(_, bytes)| bytes).sum();
    let stopped: u64 = usage
        .containers
        .iter()
        .filter(|(one, _)| !one.is_running())
        .map(|(_, bytes)| bytes)
        .sum();
    let linked = usage.volumes.iter().filter(|one| one.links > 0).count();
    let in_volumes: u64 = usage.volumes.iter().map(|one| one.bytes).sum();
    let unlinked: u64 = usage
        .volumes
        .iter()
        .filter(|one| one.links == 0)
        .map(|one| one.bytes)
        .sum();
    let cache = usage.cache.private;
    [
        row("Images", images, used, bytes, reclaimable(free, bytes)),
        row(
            "Containers",
            usage.containers.len(),
            live,
            written,
            reclaimable(stopped, written),
        ),
        row(
            "Local Volumes",
            usage.volumes.len(),
            linked,
            in_volumes,
            reclaimable(unlinked, in_volumes),
        ),
        row("Build Cache", cached, 0, cache, exact_size(cache)),
    ]
}

/// The lists of `-v`, each a list of objects.
struct Sections {
    images: Vec<Value>,
    containers: Vec<Value>,
    volumes: Vec<Value>,
    cache: Vec<Value>,
}

type Shown = [(&'static str, &'static str)];

const IMAGES: &Shown = &[
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
    ("SHARED SIZE", "SharedSize"),
    ("UNIQUE SIZE", "UniqueSize"),
    ("CONTAINERS", "Containers"),
];
const CONTAINERS: &Shown = &[
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("LOCAL VOLUMES", "LocalVolumes"),
    ("SIZE", "Size"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("NAMES", "Names"),
];
const VOLUMES: &Shown = &[("VOLUME NAME", "Name"), ("LINKS", "Links"), ("SIZE", "Size")];
const CACHE: &Shown = &[
    ("CACHE ID", "ID"),
    ("CACHE TYPE", "CacheType"),
    ("SIZE", "Size"),
    ("CREATED", "CreatedSince"),
    ("LAST USED", "LastUsedSince"),
    ("USAGE", "UsageCount"),
    ("SHARED", "Shared"),
];

impl Sections {
    fn new(usage: &DiskUsage, cache: &[CacheItem]) -> Self {
        let now = clock::now();
        let images = usage.images.iter().map(|image| {
            let line = &image.line;
            let tagged = std::time::Duration::from_secs(line.tagged);
            json!({
                "Containers": image.containers.to_string(),
                "CreatedAt": docker_time(tagged),
                "CreatedSince": ago(tagged, now),
                "Digest": "",
                "ID": line.id,
                "Repository": line.repository,
                "SharedSize": exact_size(image.shared),
                "Size": human_size(line.size),
                "Tag": line.tag,
                "UniqueSize": exact_size(line.size.saturating_sub(image.shared)),
                "VirtualSize": human_size(line.size),
            })
        });
        let containers = usage.containers.iter().map(|(container, bytes)| {
            let record = &container.record;
            let created = std::time::Duration::new(record.created.0, record.created.1);
            json!({
                "Command": coil_template::quoted(&shorten(&command_line(&record.args), 20)),
                "CreatedAt": docker_time(created),
                "ID": record.id,
                "Image": record.image,
                "Labels": labels_in_words(&record.labels),
                "LocalVolumes": record.points.iter().filter(|point| point.name.is_some()).count().to_string(),
                "Names": record.name,
                "Ports": ps::ports(container),
                "RunningFor": ago(created, now),
                "Size": exact_size(*bytes),
                "State": state_name(container.state.status),
                "Status": status(container, now),
            })
        });
        let volumes = usage.volumes.iter().map(|one| {
            json!({
                "Driver": "local",
                "Labels": labels_in_words(&one.volume.labels),
                "Links": one.links.to_string(),
                "Name": one.volume.name,
                "Scope": "local",
                "Size": exact_size(one.bytes),
            })
        });
        let cache = cache.iter().map(|item| {
            json!({
                "CacheType": builder::kind(item),
                "CreatedAt": docker_time(item.created),
                "CreatedSince": ago(item.created, now),
                "Description": item.about,
                "ID": item.id,
                "InUse": "false",
                "LastUsedAt": docker_time(item.used),
                "LastUsedSince": ago(item.used, now),
                "Shared": item.shared.to_string(),
                "Size": exact_size(item.bytes),
                "UsageCount": "N/A",
            })
        });
        Self {
            images: images.collect(),
            containers: containers.collect(),
            volumes: volumes.collect(),
            cache: cache.collect(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "Images": self.images,
            "Containers": self.containers,
            "Volumes": self.volumes,
            "BuildCache": self.cache,
        })
    }

    fn print(&self, cached: u64) {
        let table = |shown: &Shown, rows: &[Value]| {
            let head: Vec<&str> = shown.iter().map(|(title, _)| *title).collect();
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|row| {
                    let cell = |name: &str| match (name, row[name].as_str().unwrap_or_default()) {
                        ("ID", id) => short_id(id).to_owned(),
                        (_, text) => text.to_owned(),
                    };
                    shown.iter().map(|(_, name)| cell(name)).collect()
                })
                .collect();
            output::print(&table::render(&head, &cells));
        };
        output::line("Images space usage:\n");
        table(IMAGES, &self.images);
        output::line("\nContainers space usage:\n");
        table(CONTAINERS, &self.containers);
        output::line("\nLocal Volumes space usage:\n");
        table(VOLUMES, &self.volumes);
        output::line(&format!("\nBuild cache usage: {}\n", exact_size(cached)));
        table(CACHE, &self.cache);
    }
}
