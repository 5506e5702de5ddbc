//! Pruning: what nobody uses any more goes, of each kind by Docker's rules and filters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coil_oci::{Digest, Reference};
use coil_store::{CacheLimits, NamedImage, PrunedCache, StoreError};

use crate::image_build::is_unnamed;
use crate::networks::NetworksError;
use crate::volumes::VolumeError;
use crate::{ContainerError, Engine, FindError};

/// How long a pruning waits for other commands that work in the store.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// What the cache of builds and packs may take in bytes, where a tenth of the disk isn't less.
pub const CACHE_LIMIT: u64 = 20 << 30;
/// How long the cache's size isn't looked at again by itself.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Which things may go; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneFilter {
    /// Those alone that were made before, since 1970.
    pub before: Option<Duration>,
    /// Labels that must be there, or must not; `KEY` or `KEY=VALUE`.
    pub labels: Vec<(bool, String)>,
}

impl PruneFilter {
    /// Whether something of this age and with these labels may go.
    pub fn fits(&self, created: Duration, labels: &BTreeMap<String, String>) -> bool {
        self.before.is_none_or(|before| created < before) && self.fits_labels(labels)
    }

    /// Whether something with these labels may go.
    pub fn fits_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels
            .iter()
            .all(|(wanted, label)| has_label(labels, label) == *wanted)
    }
}

/// Whether a label is there, with its value where one is named.
pub fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|label| label == value),
        None => labels.contains_key(wanted),
    }
}

/// What went, and how many bytes that gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids or names.
    pub removed: Vec<String>,
    /// Bytes.
    pub bytes: u64,
}

/// Images that went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunedImages {
    /// Each image that is gone with the names that it had.
    pub removed: Vec<(Vec<String>, Digest)>,
    /// Names that were taken from images that have others.
    pub untagged: Vec<String>,
    /// Bytes that are free now.
    pub bytes: u64,
    /// True when others were at work in the store, so that files stay until the next collection.
    pub postponed: bool,
}

impl Engine {
    /// Removes the containers that don't run.
    ///
    /// # Errors
    /// When one can't be removed; the others before it are gone.
    pub fn prune_containers(&self, filter: &PruneFilter) -> Result<Pruned, ContainerError> {
        let mut done = Pruned::default();
        for container in self.containers() {
            let record = &container.record;
            let created = Duration::new(record.created.0, record.created.1);
            if container.is_running() || !filter.fits(created, &record.labels) {
                continue;
            }
            let bytes = container.written_bytes();
            match self.remove(&record.id, false) {
                Ok(()) => {
                    done.bytes += bytes;
                    done.removed.push(record.id.clone());
                }
                // Somebody was quicker, one way or the other.
                Err(ContainerError::Find(FindError::Missing(_)) | ContainerError::Running(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Removes the networks of the user's own that no container is in; gives their names.
    ///
    /// # Errors
    /// When one can't be removed; the others before it are gone.
    pub fn prune_networks(&self, filter: &PruneFilter) -> Result<Vec<String>, NetworksError> {
        let mut removed = Vec::new();
        for network in self.networks() {
            let created = Duration::new(network.created.0, network.created.1);
            if !self.is_dangling(&network) || !filter.fits(created, &network.labels) {
                continue;
            }
            match self.remove_network(&network.id) {
                Ok(name) => removed.push(name),
                Err(
                    NetworksError::InUse { .. }
                    | NetworksError::DefinitionInUse(_)
                    | NetworksError::Missing(_),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// Removes the volumes that no container has; those with names only with `all`.
    ///
    /// # Errors
    /// What the disk gives; the others before it are gone.
    pub fn prune_volumes(&self, all: bool, filter: &PruneFilter) -> Result<Pruned, VolumeError> {
        let mut done = Pruned::default();
        for volume in self.volumes() {
            if !(all || volume.anonymous) || !filter.fits_labels(&volume.labels) {
                continue;
            }
            let bytes = self.volume_size(&volume);
            match self.remove_volume(&volume.name, false) {
                Ok(()) => {
                    done.bytes += bytes;
                    done.removed.push(volume.name);
                }
                Err(VolumeError::InUse { .. } | VolumeError::Missing(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Removes the images without a name, with `all` those without a container, and what only they had on the disk.
    ///
    /// An image's age is that of its name: one that was pulled a minute ago is a minute old, whenever it was made.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn prune_images(&self, all: bool, filter: &PruneFilter) -> Result<PrunedImages, StoreError> {
        let used = self.used_images();
        let mut groups: BTreeMap<Digest, Vec<NamedImage>> = BTreeMap::new();
        for named in self.store.images()? {
            groups
                .entry(named.descriptor.digest.clone())
                .or_default()
                .push(named);
        }
        let mut done = PrunedImages::default();
        for names in groups.into_values() {
            // One that can't be read is nobody's: its name is all that there is of it.
            let images = self.store.images_of(&names[0].descriptor).unwrap_or_default();
            if images.iter().any(|image| used.contains(image.id())) {
                continue;
            }
            let has_name = names.iter().any(|named| !is_unnamed(&named.reference));
            if has_name && !all {
                continue;
            }
            let labels = images.first().map(|image| &image.config.config.labels);
            let none = BTreeMap::new();
            let going: Vec<&NamedImage> = names
                .iter()
                .filter(|named| filter.fits(Duration::from_secs(named.tagged), labels.unwrap_or(&none)))
                .collect();
            let mut taken = Vec::new();
            for named in &going {
                let removed = match named.stand_in {
                    true => self.store.remove_stand_in(&named.reference)?,
                    false => self.store.remove_ref(&named.reference)?,
                };
                if removed && !is_unnamed(&named.reference) {
                    taken.push(named.reference.familiar());
                }
            }
            match images.first() {
                Some(image) if !going.is_empty() && going.len() == names.len() => {
                    done.removed.push((taken, image.id().clone()));
                }
                _ => done.untagged.extend(taken),
            }
        }
        let collected = self.store.collect_patiently(PATIENCE)?;
        let known: BTreeSet<Digest> = done.removed.iter().map(|(_, id)| id.clone()).collect();
        let others = collected.images.into_iter().filter(|id| !known.contains(id));
        done.removed.extend(others.map(|id| (Vec::new(), id)));
        done.bytes = collected.bytes;
        done.postponed = collected.postponed;
        Ok(done)
    }

    /// Makes the cache smaller where it has grown over a limit, the least used first, and does a collection that is due.
    ///
    /// What was used since `since` (since 1970) stays: it is the last build's. With no limit of the user's own the size is
    /// looked at once in ten minutes, or at once where the disk is nearly full. Never waits: with others at work it is put off.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn tidy_cache(&self, limit: Option<u64>, since: Duration) -> Result<PrunedCache, StoreError> {
        let (free, disk) = self.store.free_bytes();
        let is_full = free < disk / 20;
        let due = self.store.is_collection_due();
        if limit.is_none() && !is_full && !due && self.store.cache_was_looked_at(LOOK_AGAIN) {
            return Ok(PrunedCache::default());
        }
        let most = limit.unwrap_or_else(|| CACHE_LIMIT.min(disk / 10));
        if self.store.cache_usage()?.private <= most {
            if due {
                self.store.collect(false)?;
            }
            return Ok(PrunedCache::default());
        }
        let limits = CacheLimits {
            most: Some(most),
            ..CacheLimits::default()
        };
        // A second use within a minute isn't written down.
        let since = since.saturating_sub(Duration::from_secs(60));
        self.store
            .prune_cache(&limits, &|item| item.used < since, Duration::ZERO)
    }

    /// The ids of images that containers are made from.
    pub(crate) fn used_images(&self) -> BTreeSet<Digest> {
        let containers = self.containers().into_iter();
        // One that removes itself is as good as gone once it has ended, though its monitor still clears up.
        let stays = containers.filter(|one| one.is_running() || !one.record.auto_remove);
        stays.map(|container| container.record.image_id).collect()
    }

    /// The names that people gave among these.
    pub(crate) fn given_names(names: &[Reference]) -> Vec<Reference> {
        let given = names.iter().filter(|name| !is_unnamed(name));
        given.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_know_labels_and_ages() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        for (wanted, there) in [("a", true), ("a=1", true), ("a=2", false), ("b", false)] {
            assert_eq!(has_label(&labels, wanted), there, "{wanted}");
        }
        let filter = PruneFilter {
            before: Some(Duration::from_secs(10)),
            labels: vec![(true, "a".to_owned()), (false, "b".to_owned())],
        };
        assert!(filter.fits(Duration::from_secs(9), &labels));
        assert!(!filter.fits(Duration::from_secs(10), &labels));
        assert!(!filter.fits(Duration::from_secs(9), &BTreeMap::new()));
        assert!(PruneFilter::default().fits(Duration::MAX, &BTreeMap::new()));
    }
}
