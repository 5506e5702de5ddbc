//! `container prune`, `image prune` and `system prune`: what nobody uses goes, after a question.

use clap::Args;
use coil_engine::prune::{PATIENCE, PrunedImages};
use coil_store::CacheLimits;

use super::builder;
use crate::prune_flags::{self as flags, PruneFlags};
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil container prune`.
#[derive(Debug, Args)]
pub struct Containers {
    #[command(flatten)]
    flags: PruneFlags,
}

impl Containers {
    /// Removes the containers that don't run.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let filters = self.flags.filters(true, &[])?;
        if !self
            .flags
            .agreed("WARNING! This will remove all stopped containers.")
        {
            return Ok(0);
        }
        let pruned = settings.engine()?.prune_containers(&filters.common)?;
        flags::show_removed("Deleted Containers:", &pruned.removed);
        flags::show_reclaimed(pruned.bytes);
        Ok(0)
    }
}

/// Arguments of `coil image prune`.
#[derive(Debug, Args)]
pub struct Images {
    /// Remove those with names too that no container is made from
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    flags: PruneFlags,
}

impl Images {
    /// Removes the images that nobody uses, and what only they had on the disk.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let filters = self.flags.filters(true, &["dangling"])?;
        let mut all = self.all;
        for (name, value) in &filters.others {
            all |= !flags::truth(name, value)?;
        }
        let warning = match all {
            true => "WARNING! This will remove all images without at least one container associated to them.",
            false => "WARNING! This will remove all dangling images.",
        };
        if !self.flags.agreed(warning) {
            return Ok(0);
        }
        let pruned = settings.engine()?.prune_images(all, &filters.common)?;
        show_images(&pruned);
        flags::show_reclaimed(pruned.bytes);
        Ok(0)
    }
}

fn show_images(pruned: &PrunedImages) {
    let untagged = |name: &String| format!("untagged: {name}");
    let mut lines: Vec<String> = pruned.untagged.iter().map(untagged).collect();
    for (names, id) in &pruned.removed {
        lines.extend(names.iter().map(untagged));
        lines.push(format!("deleted: {id}"));
    }
    flags::show_removed("Deleted Images:", &lines);
    if pruned.postponed {
        flags::show_postponed();
    }
}

/// Arguments of `coil system prune`.
#[derive(Debug, Args)]
pub struct Everything {
    /// Remove all images without a container, and all of the build cache
    #[arg(short, long)]
    all: bool,
    /// Remove volumes without a name too
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    flags: PruneFlags,
}

impl Everything {
    /// Removes containers, networks, volumes, images and the cache, in this order.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let filters = self.flags.filters(true, &[])?;
        if self.volumes && filters.common.before.is_some() {
            return Err(
                Failure::new("The \"until\" filter is not supported with \"--volumes\"")
                    .help("prune volumes by themselves: `coil volume prune`"),
            );
        }
        if !self.flags.agreed(&self.warning(&filters.texts)) {
            return Ok(0);
        }
        let engine = settings.engine()?;
        let filter = &filters.common;
        let containers = engine.prune_containers(filter)?;
        flags::show_removed("Deleted Containers:", &containers.removed);
        let mut bytes = containers.bytes;
        flags::show_removed("Deleted Networks:", &engine.prune_networks(filter)?);
        if self.volumes {
            let volumes = engine.prune_volumes(false, filter)?;
            flags::show_removed("Deleted Volumes:", &volumes.removed);
            bytes += volumes.bytes;
        }
        let images = engine.prune_images(self.all, filter)?;
        show_images(&images);
        bytes += images.bytes;
        // What lies in the cache has no labels.
        if filter.labels.iter().all(|(wanted, _)| !wanted) {
            let wanted = builder::unused(self.all, filter.before);
            let pruned = engine
                .store()
                .prune_cache(&CacheLimits::default(), &wanted, PATIENCE)?;
            let ids: Vec<String> = builder::rows(pruned.items)
                .into_iter()
                .map(|item| item.id)
                .collect();
            flags::show_removed("Deleted build cache objects:", &ids);
            if pruned.postponed && !images.postponed {
                flags::show_postponed();
            }
            bytes += pruned.bytes;
        }
        flags::show_reclaimed(bytes);
        Ok(0)
    }

    fn warning(&self, filters: &[String]) -> String {
        let mut text = "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one \
                        container\n"
            .to_owned();
        if self.volumes {
            text.push_str("  - all anonymous volumes not used by at least one container\n");
        }
        text.push_str(match self.all {
            true => "  - all images without at least one container associated to them\n  - all build cache\n",
            false => "  - all dangling images\n  - unused build cache\n",
        });
        if !filters.is_empty() {
            text.push_str("\n  Items to be pruned will be filtered with:\n");
            for filter in filters {
                text.push_str(&format!("  - {filter}\n"));
            }
        }
        text
    }
}
