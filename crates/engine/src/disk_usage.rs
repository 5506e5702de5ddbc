//! What lies on the disk: images, containers, volumes and the cache, and what of it nobody uses.

use std::collections::{BTreeMap, BTreeSet};

use coil_oci::Digest;
use coil_store::{CacheUsage, StoreError};

use crate::Engine;
use crate::images::ImageLine;
use crate::record::Container;
use crate::volumes::VolumeRecord;

/// An image and its room.
#[derive(Debug, Clone)]
pub struct ImageUsage {
    /// The image as `images` lists it.
    pub line: ImageLine,
    /// Bytes of layers that other images have too.
    pub shared: u64,
    /// How many containers are made from it.
    pub containers: usize,
}

/// A volume and its room.
#[derive(Debug, Clone)]
pub struct VolumeUsage {
    /// The volume.
    pub volume: VolumeRecord,
    /// How many containers have it.
    pub links: usize,
    /// Bytes.
    pub bytes: u64,
}

/// What lies on the disk.
#[derive(Debug, Clone)]
pub struct DiskUsage {
    /// Every name of an image.
    pub images: Vec<ImageUsage>,
    /// Bytes of all images' blobs and unpacked layers, and of those that `image prune -a` would free.
    pub image_bytes: (u64, u64),
    /// Every container and the bytes that it wrote.
    pub containers: Vec<(Container, u64)>,
    /// Every volume.
    pub volumes: Vec<VolumeUsage>,
    /// The cache of builds and packs.
    pub cache: CacheUsage,
}

impl DiskUsage {
    /// How many images there are, and how many of them containers are made from.
    pub fn image_count(&self) -> (usize, usize) {
        let ids = |used: bool| {
            let wanted = self.images.iter().filter(|image| !used || image.containers > 0);
            wanted.map(|image| &image.line.id).collect::<BTreeSet<_>>().len()
        };
        (ids(false), ids(true))
    }
}

impl Engine {
    /// What lies on the disk.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn disk_usage(&self) -> Result<DiskUsage, StoreError> {
        let containers = self.containers();
        let cache = self.store.cache_usage()?;
        let lines = self.list_images()?;
        // Whose layers: the ids of the images that have each.
        let mut owners: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
        let mut layers: BTreeMap<Digest, BTreeMap<Digest, u64>> = BTreeMap::new();
        for named in self.store.images()? {
            for image in self.store.images_of(&named.descriptor).unwrap_or_default() {
                let blobs = image.manifest.layers.iter();
                for (layer, blob) in image.config.rootfs.diff_ids.iter().zip(blobs) {
                    let (id, size) = (image.id().clone(), self.store.layer_size(layer, blob));
                    owners.entry(layer.clone()).or_default().insert(id.clone());
                    layers.entry(id).or_default().insert(layer.clone(), size);
                }
            }
        }
        let shared = |id: &Digest| -> u64 {
            let own = layers.get(id).into_iter().flatten();
            own.filter(|(digest, _)| owners[*digest].len() > 1)
                .map(|(_, size)| size)
                .sum()
        };
        let images = lines
            .into_iter()
            .map(|line| ImageUsage {
                shared: shared(&line.id),
                containers: containers
                    .iter()
                    .filter(|container| container.record.image_id == line.id)
                    .count(),
                line,
            })
            .collect();
        let kept: u64 = self
            .digests_of(&containers)?
            .iter()
            .map(|digest| cache.size_of(digest))
            .sum();
        let all = cache.of_images() + cache.of_nobody();
        let volumes = self.volumes().into_iter().map(|volume| VolumeUsage {
            links: self.volume_users(&volume.name).len(),
            bytes: self.volume_size(&volume),
            volume,
        });
        Ok(DiskUsage {
            images,
            image_bytes: (all, all.saturating_sub(kept)),
            volumes: volumes.collect(),
            containers: containers
                .into_iter()
                .map(|container| {
                    let bytes = container.written_bytes();
                    (container, bytes)
                })
                .collect(),
            cache,
        })
    }

    /// The blobs and layers that containers and their images have.
    fn digests_of(&self, containers: &[Container]) -> Result<BTreeSet<Digest>, StoreError> {
        let ids: BTreeSet<&Digest> = containers
            .iter()
            .map(|container| &container.record.image_id)
            .collect();
        let mut found = BTreeSet::new();
        for container in containers {
            found.extend(container.record.diff_ids.iter().cloned());
            found.extend(container.record.blobs.iter().map(|blob| blob.digest.clone()));
        }
        for named in self.store.images()? {
            let images = self.store.images_of(&named.descriptor).unwrap_or_default();
            if !images.iter().any(|image| ids.contains(image.id())) {
                continue;
            }
            let blobs = self.store.blobs_of(&named.descriptor).unwrap_or_default();
            found.extend(blobs.into_iter().map(|blob| blob.digest));
            for image in images {
                found.extend(image.config.rootfs.diff_ids);
            }
        }
        Ok(found)
    }
}
