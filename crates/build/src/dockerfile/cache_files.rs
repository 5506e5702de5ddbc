//! The cache of a build as a folder that other machines read: `--cache-to` and `--cache-from`, `type=local`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use coil_store::Store;
use serde::{Deserialize, Serialize};

use super::solving::{BuiltLayer, STEPS};
use super::{BuildError, BuildEvents, Builder, Built};

/// The file with the records; its name changes with its form.
const RECORDS: &str = "coil-cache-v1.json";
/// The folder with the layers.
const BLOBS: &str = "blobs/sha256";

/// What steps made, by their keys.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Records {
    steps: BTreeMap<String, BuiltLayer>,
}

/// Records from elsewhere; a layer is taken over when a step asks for it.
#[derive(Debug, Default)]
pub(crate) struct ImportedCache {
    found: BTreeMap<String, (BuiltLayer, PathBuf)>,
}

impl ImportedCache {
    /// Reads what is there; what isn't is told, and missed by nobody.
    pub(crate) fn read(folders: &[PathBuf], events: &dyn BuildEvents) -> ImportedCache {
        let mut found = BTreeMap::new();
        for folder in folders {
            let text = fs::read(folder.join(RECORDS));
            let records = text.and_then(|text| Ok(serde_json::from_slice::<Records>(&text)?));
            match records {
                Ok(records) => found.extend(
                    records
                        .steps
                        .into_iter()
                        .map(|(key, layer)| (key, (layer, folder.clone()))),
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
