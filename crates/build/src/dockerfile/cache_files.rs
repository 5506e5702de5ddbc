//! The cache of a build as other machines read it: a folder, or a field of the image that was built (`--cache-to` and
//! `--cache-from`, `type=local` and `type=inline`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use coil_oci::{Arch, Descriptor, ImageConfig};
use coil_store::Store;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::solving::{BuiltLayer, STEPS};
use super::{BuildError, BuildRequest, Builder, Built};

/// The file with the records; its name changes with its form.
const RECORDS: &str = "coil-cache-v1.json";
/// The folder with the layers.
const BLOBS: &str = "blobs/sha256";

/// What steps made, by their keys.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Records {
    steps: BTreeMap<String, BuiltLayer>,
}

/// The field of an image's configuration with what its steps made.
const INSIDE: &str = "coil.cache.v1";

/// The same in an image, whose layers may have other bytes after a push: each step's is named by its place.
#[derive(Debug, Default, Serialize, Deserialize)]
struct InsideRecords {
    steps: BTreeMap<String, InsideLayer>,
}

/// A step's layer in its image.
#[derive(Debug, Serialize, Deserialize)]
struct InsideLayer {
    /// Counted from 0, the lowest first.
    layer: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
}

/// Records from elsewhere; a layer is taken over when a step asks for it.
#[derive(Debug, Default)]
pub(crate) struct ImportedCache {
    /// The folder with the layer's bytes; none where the store has them with an image.
    found: BTreeMap<String, (BuiltLayer, Option<PathBuf>)>,
}

impl ImportedCache {
    /// Reads what is there; what isn't is told, and missed by nobody.
    pub(crate) fn read(builder: &Builder<'_>, request: &BuildRequest) -> ImportedCache {
        let events = builder.events;
        let mut found = BTreeMap::new();
        for name in &request.cache_images {
            match builder.kept_inside(name, request.arch) {
                Ok(records) => found.extend(records.into_iter().map(|(key, layer)| (key, (layer, None)))),
                Err(why) => events.note(&format!("no cache is read from {name}: {why}")),
            }
        }
        for folder in &request.cache_from {
            let text = fs::read(folder.join(RECORDS));
            let records = text.and_then(|text| Ok(serde_json::from_slice::<Records>(&text)?));
            match records {
                Ok(records) => found.extend(
                    records
                        .steps
                        .into_iter()
                        .map(|(key, layer)| (key, (layer, Some(folder.clone())))),
                ),
                Err(error) => {
                    events.note(&format!("no cache is read from {}: {error}", folder.display()));
                }
            }
        }
        ImportedCache { found }
    }

    /// A step's layer, its bytes checked and in the store.
    pub(crate) fn get(&self, store: &Store, key: &str) -> Option<BuiltLayer> {
        let (layer, folder) = self.found.get(key)?;
        let digest = &layer.blob.digest;
        if !store.has_blob(digest) {
            let folder = folder.as_ref()?;
            let take = || -> io::Result<()> {
                let mut file = File::open(folder.join(BLOBS).join(digest.hex()))?;
                let mut writer = store.blob_writer()?;
                io::copy(&mut file, &mut writer)?;
                writer.finish_as(digest).map(|_| ())
            };
            // Without it the step is made anew.
            take().ok()?;
        }
        Some(layer.clone())
    }
}

impl Builder<'_> {
    /// Puts into an image's configuration which of its layers each step made.
    pub(super) fn keep_inside(&self, config: &mut ImageConfig, keys: &[String]) {
        let mut records = InsideRecords::default();
        for key in keys {
            let bytes = self.store.cache_get(STEPS, key).unwrap_or_default();
            let record: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            // By content a layer is known only where it was made: the image would differ from build to build.
            if matches!(record["step"].as_str(), Some("copied" | "mount")) {
                continue;
            }
            let Ok(made) = serde_json::from_value::<BuiltLayer>(record) else {
                continue;
            };
            let place = config.rootfs.diff_ids.iter().rposition(|id| *id == made.diff_id);
            if let Some(layer) = place {
                let created = made.created;
                records.steps.insert(key.clone(), InsideLayer { layer, created });
            }
        }
        if let Ok(value) = serde_json::to_value(&records) {
            config.other.insert(INSIDE.into(), value);
        }
    }

    /// What an image of the store holds of its own build.
    fn kept_inside(&self, name: &str, arch: Arch) -> Result<Vec<(String, BuiltLayer)>, String> {
        let missing = || format!("it is not here: `coil pull {name}` before the build gets it");
        let Some((image, _)) = self.image_here(name, arch).map_err(|error| error.to_string())? else {
            return Err(missing());
        };
        let Some(value) = image.config.other.get(INSIDE) else {
            return Err("it holds none of coil's: build it with --cache-to type=inline".into());
        };
        let records: InsideRecords =
            serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
        let layers = image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids);
        let layers: Vec<_> = layers.collect();
        let found = records.steps.into_iter().filter_map(|(key, kept)| {
            let (blob, diff_id) = layers.get(kept.layer)?;
            let layer = BuiltLayer {
                blob: Descriptor::new(&blob.media_type, blob.digest.clone(), blob.size),
                diff_id: (*diff_id).clone(),
                created: kept.created,
            };
            Some((key, layer))
        });
        Ok(found.collect())
    }

    /// Writes what builds rest on into a folder; what was there before and isn't needed goes.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn write_cache(&self, built: &[Built], folder: &Path) -> Result<(), BuildError> {
        let doing = || BuildError::io(format!("writing the cache {}", folder.display()));
        let mut records = Records::default();
        for key in built.iter().flat_map(|built| &built.records) {
            let layer = self.store.cache_get(STEPS, key);
            if let Some(layer) = layer.and_then(|bytes| serde_json::from_slice::<BuiltLayer>(&bytes).ok()) {
                records.steps.insert(key.clone(), layer);
            }
        }
        let blobs = folder.join(BLOBS);
        fs::create_dir_all(&blobs).map_err(doing())?;
        let place = |name: &str| folder.join(format!(".{name}.{}.part", std::process::id()));
        let mut wanted = BTreeSet::new();
        for layer in records.steps.values() {
            let digest = &layer.blob.digest;
            let to = blobs.join(digest.hex());
            wanted.insert(digest.hex().to_owned());
            if fs::metadata(&to).is_ok_and(|meta| meta.len() == layer.blob.size) {
                continue;
            }
            let part = place("blob");
            let copied = self
                .store
                .open_blob(digest)
                .and_then(|mut from| io::copy(&mut from, &mut File::create(&part)?))
                .and_then(|_| fs::rename(&part, &to));
            if let Err(error) = copied {
                let _ = fs::remove_file(&part);
                return Err(doing()(error));
            }
        }
        let part = place("records");
        let text = serde_json::to_vec(&records).map_err(|error| doing()(error.into()))?;
        fs::write(&part, text)
            .and_then(|()| fs::rename(&part, folder.join(RECORDS)))
            .map_err(doing())?;
        for entry in fs::read_dir(&blobs).map_err(doing())?.flatten() {
            if !wanted.contains(&entry.file_name().to_string_lossy().into_owned()) {
                // Another time will do.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}
