//! Files that wheels of different layers bring alike: told by name where their content differs.

use std::collections::{BTreeMap, BTreeSet};

use coil_oci::Hasher;
use coil_store::Store;
use serde::{Deserialize, Serialize};

use super::{LayerBlob, LayerError, LayerFault, LayerOptions, Opened, WheelFile, open};
use crate::environment::Environment;
use crate::install::InstallPlan;

/// The folder of records in the store's cache.
const KIND: &str = "wheel-conflicts-v1";

/// The beginnings of a wheel's paths: the top of what is below the folder of packages, two parts of any other path.
pub(super) fn claims(plan: &InstallPlan, environment: &Environment) -> Vec<String> {
    let site = format!("{}/", environment.site_packages());
    let prefix = format!("{}/", environment.prefix);
    let claims: BTreeSet<String> = plan
        .files
        .keys()
        .map(|path| match path.strip_prefix(&site) {
            Some(below) => below.split('/').next().unwrap_or(below).to_owned(),
            None => {
                let below = path.strip_prefix(&prefix).unwrap_or(path);
                let end = below
                    .match_indices('/')
                    .nth(1)
                    .map_or(below.len(), |(cut, _)| cut);
                // The slash tells it from a name below the folder of packages.
                format!("/{}", &below[..end])
            }
        })
        .collect();
    claims.into_iter().collect()
}

/// How a conflict is told; the later one's file is in the image.
pub(super) fn sentence(earlier: &str, later: &str, path: &str) -> String {
    format!("{earlier} and {later} both bring /{path}, with different content: that of {later} is taken")
}

/// A conflict between two layers.
#[derive(Debug, Serialize, Deserialize)]
struct Conflict {
    /// The later layer's place.
    layer: usize,
    sentence: String,
}

/// Adds to each layer's conflicts those with the layers before it.
///
/// Only wheels that claim the same top are opened, and the answer is kept for the same set of layers.
pub(super) fn between(
    store: &Store,
    groups: &[Vec<WheelFile>],
    keys: &[String],
    layers: &mut [LayerBlob],
    options: &LayerOptions,
) -> Result<(), LayerError> {
    let mut claimed: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for (place, layer) in layers.iter().enumerate() {
        for (number, package) in layer.packages.iter().enumerate() {
            for claim in &package.claims {
                claimed.entry(claim).or_default().push((place, number));
            }
        }
    }
    claimed.retain(|_, owners| owners.iter().any(|(place, _)| *place != owners[0].0));
    if claimed.is_empty() {
        return Ok(());
    }
    let mut hasher = Hasher::new();
    for key in keys {
        hasher.update(key.as_bytes());
        hasher.update(b"\n");
    }
    let key = hasher.finish().hex().to_owned();
    let known = store
        .cache_get(KIND, &key)
        .and_then(|bytes| serde_json::from_slice::<Vec<Conflict>>(&bytes).ok());
    let conflicts = match known {
        Some(conflicts) => conflicts,
        None => {
            let owners: BTreeSet<(usize, usize)> = claimed.into_values().flatten().collect();
            let conflicts = compare(store, groups, &owners, options)?;
            if let Ok(record) = serde_json::to_vec(&conflicts) {
                // Without the record they are only compared again.
                let _ = store.cache_put(KIND, &key, &record);
            }
            conflicts
        }
    };
    for Conflict { layer, sentence } in conflicts {
        if let Some(layer) = layers.get_mut(layer) {
            layer.conflicts.push(sentence);
        }
    }
    Ok(())
}

/// Opens the wheels at these places, in the order of the layers, and compares their files.
fn compare(
    store: &Store,
    groups: &[Vec<WheelFile>],
    owners: &BTreeSet<(usize, usize)>,
    options: &LayerOptions,
) -> Result<Vec<Conflict>, LayerError> {
    let mut opened: Vec<(usize, Opened<'_>)> = Vec::with_capacity(owners.len());
    for (place, number) in owners {
        opened.push((*place, open(store, &groups[*place][*number], options)?));
    }
    let mut found = Vec::new();
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, (place, wheel)) in opened.iter().enumerate() {
        for (path, file) in &wheel.plan.files {
            let Some(earlier) = taken.insert(path, number) else {
                continue;
            };
            let (before, old) = &opened[earlier];
            // Those of one layer were told when it was made.
            if before != place && old.plan.files[path].line != file.line {
                found.push(Conflict {
                    layer: *place,
                    sentence: sentence(&old.plan.name, &wheel.plan.name, path),
                });
            }
        }
    }
    for path in taken.keys() {
        let mut folder = *path;
        while let Some(cut) = folder.rfind('/') {
            folder = &folder[..cut];
            if taken.contains_key(folder) {
                let fault = LayerFault::FileAndFolder {
                    path: format!("/{folder}"),
                };
                return Err(LayerError { wheel: None, fault });
            }
        }
    }
    Ok(found)
}
