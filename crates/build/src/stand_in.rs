//! Base images without a registry: full Debian systems that stand in for the images guides begin with.
//!
//! A stand-in is made of signed packages: what every system has, unpacked and then configured by the packages' own scripts in
//! a container; on top of it, as a second layer, what the image is for. What time and chance leave behind is taken away, so
//! the same packages give the same bytes.

mod contents;
mod error;
mod frozen_site;
mod name;
mod normalise;
mod pins;
mod python_home;
mod python_patch;
mod system_layers;
mod uv;

use std::collections::BTreeMap;

use coil_debian::{Archive, PinnedSystem, SystemRequest, TreeLayer};
use coil_fetch::Progress;
use coil_oci::{
    Arch, ContainerConfig, Descriptor, Digest, History, ImageConfig, Platform, Reference, RootFs, media_type,
    timestamp,
};
use coil_store::{Image, Store};
use serde::{Deserialize, Serialize};

pub use error::StandInError;
pub use name::{Kind, NameError, Offer, Recipe, offers, recipe, suite};
pub use pins::{pin, pinned};
pub use uv::{UvRecipe, UvStandIn, made_of, uv_recipe};

use crate::executor::Executor;
use contents::Contents;

/// Raised when the same packages give other bytes than before.
const FORMAT: u32 = 2;
const IMAGES: &str = "stand-in-v1";
const SYSTEMS: &str = "stand-in-system-v1";

/// Labels of stand-ins.
pub mod label {
    /// The name that it stands in for.
    pub const STANDS_IN_FOR: &str = "coil.stand-in.for";
    /// What it was made of, for people: `Debian bookworm of 2026-07-11`.
    pub const MADE_OF: &str = "coil.stand-in.made-of";
    /// The digest of the suite's signed table of contents.
    pub const RELEASE: &str = "coil.stand-in.release";
    /// The packages of an image of the user's own: `bookworm curl git`.
    pub const RECIPE: &str = "coil.stand-in.recipe";
    /// The version of uv in it.
    pub const UV: &str = "coil.stand-in.uv";
}

/// What is said when a stand-in is used.
pub fn notice(name: &Reference, image: &Image) -> String {
    let made_of = image.config.config.labels.get(label::MADE_OF);
    let made_of = made_of.map_or("Debian's packages", String::as_str);
    let name = name.familiar();
    format!("{name} is a stand-in made by `coil base` from {made_of}, not the registry's image")
}

/// A stand-in that is wanted.
#[derive(Debug, Clone)]
pub struct StandInRequest {
    /// Its name.
    pub name: Reference,
    /// What it is made of.
    pub recipe: Recipe,
    /// Its exact packages, where they are pinned; found out otherwise.
    pub pinned: Option<PinnedSystem>,
}

/// A stand-in in the store, without a name yet.
#[derive(Debug, Clone)]
pub struct StandIn {
    /// Its manifest.
    pub descriptor: Descriptor,
    /// Its packages.
    pub system: PinnedSystem,
    /// What of the layers was made now rather than found.
    pub made: usize,
    /// What was taken in place of what was asked for.
    pub nearest: Vec<String>,
}

/// What making stand-ins works with.
pub struct StandInMaker<'a> {
    /// Where everything is kept.
    pub store: &'a Store,
    /// Debian's archives.
    pub archive: &'a Archive,
    /// Runs the packages' scripts; none where no container can be made.
    pub executor: Option<&'a dyn Executor>,
    /// Whether the scripts may change owners: as root, or where a user has a range of ids.
    pub is_root: bool,
    /// Who is told what happens.
    pub progress: &'a dyn Progress,
    /// How many threads work; changes no byte.
    pub threads: usize,
    /// The time of every file that has no older one, in seconds since 1970; the suite's own when none is given.
    pub epoch: Option<u64>,
    /// The architecture.
    pub arch: Arch,
}

/// How one package differs between two systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The package.
    pub package: String,
    /// Its version before; none where it is new.
    pub before: Option<String>,
    /// Its version afterwards; none where it goes.
    pub after: Option<String>,
}

/// What is kept of an image that was made before.
#[derive(Serialize, Deserialize)]
struct Known {
    manifest: Digest,
    size: u64,
}

impl StandInMaker<'_> {
    /// Finds the exact packages of a stand-in.
    ///
    /// # Errors
    /// When they can't be found, or aren't of the version that was asked for.
    pub fn resolve(&self, recipe: &Recipe) -> Result<PinnedSystem, StandInError> {
        let contents = Contents::of(recipe);
        let request = SystemRequest {
            suite: recipe.suite,
            arch: self.arch,
            packages: &contents.packages,
            relocated: &contents.relocated,
            leave: &contents::is_left_alone,
        };
        let system = self
            .archive
            .resolve_system(&request, self.progress)
            .map_err(|error| StandInError::Resolve(Box::new(error)))?;
        if let Some((package, wanted)) = &recipe.exactly {
            let found = system
                .package(package)
                .map(|found| upstream(&found.version))
                .unwrap_or_default();
            let fits = found == *wanted
                || found
                    .strip_prefix(wanted.as_str())
                    .is_some_and(|rest| rest.starts_with('.'));
            if !fits {
                return Err(StandInError::Name(NameError {
                    message: format!("Debian {} has version {found}, not {wanted}", recipe.suite.name),
                    help: "leave the last number away, or take what there is with --nearest".into(),
                }));
            }
        }
        Ok(system)
    }

    /// Makes a stand-in, or finds the one that was made of the same packages.
    ///
    /// # Errors
    /// See [`StandInError`]; nothing is kept of what was half made.
    pub fn make(&self, request: &StandInRequest) -> Result<StandIn, StandInError> {
        let mut recipe = request.recipe.clone();
        let system = match &request.pinned {
            Some(system) => system.clone(),
            None => self.resolve(&recipe)?,
        };
        let contents = Contents::of(&recipe);
        let key = self.key(request, &system, &contents);
        if let Some(descriptor) = self.known(&key) {
            return Ok(StandIn {
                descriptor,
                system,
                made: 0,
                nearest: recipe.nearest,
            });
        }
        let (layers, made) = self.layers(&recipe, &system, &contents)?;
        let descriptor = self.write_image(request, &system, &contents, &layers)?;
        let record = Known {
            manifest: descriptor.digest.clone(),
            size: descriptor.size,
        };
        // The packages by the image, so that the next update can say what changes.
        let keep = |kind: &str, key: &str, bytes: Result<Vec<u8>, serde_json::Error>| {
            let bytes = bytes.unwrap_or_default();
            let kept = self.store.cache_put(kind, key, &bytes);
            kept.map_err(StandInError::disk("keeping a record of the image"))
        };
        keep(SYSTEMS, descriptor.digest.hex(), serde_json::to_vec(&system))?;
        keep(IMAGES, &key, serde_json::to_vec(&record))?;
        Ok(StandIn {
            descriptor,
            system,
            made,
            nearest: std::mem::take(&mut recipe.nearest),
        })
    }

    /// Whether all of an image is here.
    pub fn is_whole(&self, descriptor: &Descriptor) -> bool {
        let blobs = self.store.blobs_of(descriptor).unwrap_or_default();
        !blobs.is_empty() && blobs.iter().all(|blob| self.store.has_blob(&blob.digest))
    }

    /// The packages of a stand-in that was made before, where they are still known.
    pub fn packages_of(&self, descriptor: &Descriptor) -> Option<PinnedSystem> {
        let bytes = self.store.cache_get(SYSTEMS, descriptor.digest.hex())?;
        serde_json::from_slice(&bytes).ok()
    }

    fn key(&self, request: &StandInRequest, system: &PinnedSystem, contents: &Contents) -> String {
        let mut text = format!(
            "{FORMAT} {} {} {:?}\n{}\n",
            request.name.canonical(),
            self.time(system),
            request.recipe.nearest,
            contents.identity()
        );
        for package in system.packages() {
            text.push_str(&format!("{} {}\n", package.name, package.sha256));
        }
        Digest::of(text.as_bytes()).hex().to_owned()
    }

    fn known(&self, key: &str) -> Option<Descriptor> {
        self.found(serde_json::from_slice(&self.store.cache_get(IMAGES, key)?).ok()?)
    }

    /// An image that was made before, where all of it is still here.
    fn found(&self, known: Known) -> Option<Descriptor> {
        let mut descriptor = Descriptor::new(media_type::MANIFEST, known.manifest, known.size);
        descriptor.platform = Some(Platform::linux(self.arch));
        self.is_whole(&descriptor).then_some(descriptor)
    }

    /// The time of what has no older one.
    fn time(&self, system: &PinnedSystem) -> u64 {
        self.epoch.unwrap_or(system.published)
    }

    fn write_image(
        &self,
        request: &StandInRequest,
        system: &PinnedSystem,
        contents: &Contents,
        layers: &[(TreeLayer, String)],
    ) -> Result<Descriptor, StandInError> {
        let failed = StandInError::disk("writing the image");
        let created = timestamp::seconds(self.time(system));
        let mut labels = BTreeMap::new();
        let date = system.date.get(..8).unwrap_or(&system.date);
        let day = match (date.get(..4), date.get(4..6), date.get(6..8)) {
            (Some(year), Some(month), Some(day)) => format!("{year}-{month}-{day}"),
            _ => date.to_owned(),
        };
        let mut made_of = format!("Debian {} of {day}", system.suite);
        if !request.recipe.nearest.is_empty() {
            made_of = format!("{made_of} ({})", request.recipe.nearest.join(", "));
        }
        labels.insert(label::STANDS_IN_FOR.into(), request.name.familiar());
        labels.insert(label::MADE_OF.into(), made_of);
        labels.insert(label::RELEASE.into(), system.release.to_string());
        if let Kind::Own(packages) = &request.recipe.kind {
            let recipe = format!("{} {}", system.suite, packages.join(" "));
            labels.insert(label::RECIPE.into(), recipe.trim_end().to_owned());
        }
        let config = ImageConfig {
            created: Some(created.clone()),
            author: None,
            architecture: self.arch.name().into(),
            variant: None,
            os: "linux".into(),
            config: ContainerConfig {
                labels,
                ..contents.config(system)
            },
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: layers.iter().map(|(layer, _)| layer.diff_id.clone()).collect(),
            },
            history: layers
                .iter()
                .map(|(_, by)| History {
                    created: Some(created.clone()),
                    created_by: Some(format!("coil base: {by}")),
                    ..History::default()
                })
                .collect(),
            other: BTreeMap::new(),
        };
        let write = || -> std::io::Result<Descriptor> {
            for (layer, _) in layers {
                self.store.note_layer_size(&layer.diff_id, layer.unpacked_size)?;
            }
            let layers = layers
                .iter()
                .map(|(layer, _)| Descriptor::new(media_type::LAYER_GZIP, layer.blob.clone(), layer.size));
            let (descriptor, _) = self.store.put_image(&config, layers.collect(), BTreeMap::new())?;
            Ok(descriptor)
        };
        let mut descriptor = write().map_err(failed)?;
        descriptor.platform = Some(Platform::linux(self.arch));
        Ok(descriptor)
    }
}

/// What changes between two systems, in order of name.
pub fn changes(before: &PinnedSystem, after: &PinnedSystem) -> Vec<Change> {
    let versions = |system: &PinnedSystem| -> BTreeMap<String, String> {
        let packages = system.packages();
        packages
            .map(|package| (package.name.clone(), package.version.clone()))
            .collect()
    };
    let (before, after) = (versions(before), versions(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| Change {
            package: name.clone(),
            before: before.get(name).cloned(),
            after: after.get(name).cloned(),
        })
        .collect()
}

/// The version that the program's own makers gave it: without Debian's epoch and revision.
fn upstream(version: &str) -> String {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(rest, _)| rest);
    let end = version.find(['+', '~']).unwrap_or(version.len());
    version[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_makers() {
        for (version, expected) in [
            ("3.11.2-6+deb12u8", "3.11.2"),
            ("5:7.0.15-1~deb12u5", "7.0.15"),
            ("15.14-0+deb12u1", "15.14"),
            ("3.14.0~rc2-1", "3.14.0"),
        ] {
            assert_eq!(upstream(version), expected);
        }
    }
}
