//! What two images share: whole layers, and among the rest the packages that differ.

use std::collections::{BTreeMap, BTreeSet};

use coil_oci::{Digest, Reference};
use coil_sbom::Format;
use coil_store::{Image, NamedImage, Store, StoreError};
use serde::Serialize;
use serde_json::Value;

use crate::bill_of_materials::bill_of;
use crate::request::{LayerReport, PackedImage};

/// What an image shares with another one of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sharing {
    /// The other image's name.
    pub with: String,
    /// Whether both are the very same image.
    pub same: bool,
    /// How many of this image's layers the other has too.
    pub layers: usize,
    /// The size of these layers' blobs in bytes.
    pub bytes: u64,
    /// How many layers this image has.
    pub of_layers: usize,
    /// The size of all its layers' blobs in bytes.
    pub of_bytes: u64,
    /// The layers that only this image has, the lowest first.
    pub new: Vec<NewLayer>,
    /// Packages that only the other image has, `name version`.
    pub gone: Vec<String>,
}

/// A layer that only one of two images has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewLayer {
    /// What it holds.
    pub kind: String,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// Packages that are not the same in the other image; empty where nothing is known of its packages.
    pub changes: Vec<Change>,
    /// How many of its packages are the same in the other image, and only moved with their layer.
    pub carried: usize,
}

/// A package that is not the same in two images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// The version in the other image; none where it has none.
    pub before: Option<String>,
    /// The version in this one.
    pub now: String,
}

/// Compares a packed image with one that is named, or with the one of the store that it shares most with.
///
/// None where there is nothing to compare with.
///
/// # Errors
/// When the named image is not there, has no such platform, or cannot be read.
pub fn sharing(
    store: &Store,
    packed: &PackedImage,
    against: Option<&str>,
) -> Result<Option<Sharing>, StoreError> {
    let others = match against {
        Some(name) => vec![named(store, packed, name)?],
        None => all(store, packed)?,
    };
    let own: BTreeMap<&Digest, u64> = packed
        .layers
        .iter()
        .map(|layer| (&layer.digest, layer.size))
        .collect();
    let shared = |image: &Image| {
        let digests: BTreeSet<&Digest> = image.manifest.layers.iter().map(|layer| &layer.digest).collect();
        let both = digests.into_iter().filter_map(|digest| own.get(digest));
        both.sum::<u64>()
    };
    // Of images that share as much, the one that has least besides, and then the first by name.
    let best = others.into_iter().min_by_key(|(name, image)| {
        let bytes = shared(image);
        (
            std::cmp::Reverse(bytes),
            image.blob_size() - bytes.min(image.blob_size()),
            name.clone(),
        )
    });
    Ok(best.map(|(name, image)| compare(store, packed, &name, &image)))
}

fn named(store: &Store, packed: &PackedImage, name: &str) -> Result<(String, Image), StoreError> {
    let found = store.find(name)?;
    let platform = packed
        .platform
        .parse()
        .map_err(|_| StoreError::NoSuchImage(name.to_owned()))?;
    let image = store.image(&found, &platform)?;
    Ok((found.reference.familiar(), image))
}

/// Every image of the platform; what cannot be read is no candidate.
fn all(store: &Store, packed: &PackedImage) -> Result<Vec<(String, Image)>, StoreError> {
    let of_platform = |named: NamedImage| {
        let images = store.images_of(&named.descriptor).ok()?;
        let fits =
            |image: &Image| format!("{}/{}", image.config.os, image.config.architecture) == packed.platform;
        let image = images.into_iter().find(fits)?;
        Some((Reference::familiar(&named.reference), image))
    };
    Ok(store.images()?.into_iter().filter_map(of_platform).collect())
}

fn compare(store: &Store, packed: &PackedImage, name: &str, other: &Image) -> Sharing {
    let theirs: BTreeSet<&Digest> = other.manifest.layers.iter().map(|layer| &layer.digest).collect();
    let (shared, new): (Vec<&LayerReport>, Vec<&LayerReport>) = packed
        .layers
        .iter()
        .partition(|layer| theirs.contains(&layer.digest));
    let known = packages_of(store, &other.descriptor.digest);
    let own: BTreeSet<&str> = packed
        .layers
        .iter()
        .flat_map(|layer| &layer.packages)
        .filter_map(|package| Some(package.split_once(' ')?.0))
        .collect();
    let new = new.into_iter().map(|layer| {
        let mut changes = Vec::new();
        let mut carried = 0;
        for package in known.iter().flat_map(|_| &layer.packages) {
            let (name, now) = package.split_once(' ').unwrap_or((package, ""));
            let before = known.as_ref().and_then(|known| known.get(name));
            if before.is_some_and(|before| before == now) {
                carried += 1;
            } else {
                changes.push(Change {
                    name: name.to_owned(),
                    before: before.cloned(),
                    now: now.to_owned(),
                });
            }
        }
        NewLayer {
            kind: layer.kind.to_string(),
            digest: layer.digest.clone(),
            size: layer.size,
            changes,
            carried,
        }
    });
    let size = |layers: &[&LayerReport]| layers.iter().map(|layer| layer.size).sum::<u64>();
    Sharing {
        with: name.to_owned(),
        same: packed.manifest == other.descriptor.digest,
        layers: shared.len(),
        bytes: size(&shared),
        of_layers: packed.layers.len(),
        of_bytes: packed.layers.iter().map(|layer| layer.size).sum(),
        new: new.collect(),
        gone: known
            .iter()
            .flatten()
            .filter(|(name, _)| !own.contains(name.as_str()))
            .map(|(name, version)| format!("{name} {version}"))
            .collect(),
    }
}

/// The packages of an image that coil packed, by name: what its bill of materials says of its layers.
fn packages_of(store: &Store, manifest: &Digest) -> Option<BTreeMap<String, String>> {
    let bytes = bill_of(store, manifest, Format::CycloneDx).ok()??;
    let document: Value = serde_json::from_slice(&bytes).ok()?;
    let list = document["components"].as_array()?;
    let package = |component: &Value| {
        let is_package = component["type"] == "library";
        let name = component["name"].as_str().filter(|_| is_package)?;
        Some((name.to_owned(), component["version"].as_str()?.to_owned()))
    };
    Some(list.iter().filter_map(package).collect())
}
