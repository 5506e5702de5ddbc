//! `FROM` and `--from`: an image of the store, of a registry, or one that stands in for it.

use std::time::Duration;

use coil_dockerfile::Span;
use coil_oci::{Arch, Descriptor, Digest, ImageConfig, Platform, Reference, media_type};
use coil_registry::{PullRequest, Quiet};
use coil_store::{Image, NamedImage, StoreError};

use super::solving::BuiltLayer;
use super::{BuildError, Builder, Material};
use crate::base_image::PATIENCE;
use crate::stand_in;

/// Records of registries that couldn't give an image that has a stand-in: when, in seconds since 1970.
const IN_VAIN: &str = "asked-in-vain-v1";
/// How long such a record counts.
const IN_VAIN_SECONDS: u64 = 3600;

/// An image that a stage begins with.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// Its whole name.
    pub(crate) name: String,
    /// Its configuration.
    pub(crate) config: ImageConfig,
    /// Its layers, the lowest first.
    pub(crate) layers: Vec<BuiltLayer>,
    /// What a provenance calls it.
    pub(crate) material: Material,
    /// Whether it only stands in for the image of its name.
    pub(crate) stands_in: bool,
}

impl Builder<'_> {
    /// Finds an image, or pulls it.
    pub(crate) fn base(&self, name: &str, arch: Arch, span: Span, pull: bool) -> Result<Base, BuildError> {
        let reference = Reference::parse(name).map_err(|_| {
            BuildError::from(
                coil_dockerfile::Fault::new(
                    span,
                    format!("failed to parse stage name \"{name}\": invalid reference format"),
                )
                .at(name)
                .help("an image is [REGISTRY/]NAME[:TAG], in small letters"),
            )
        })?;
        let here = if pull { None } else { self.image_here(name, arch)? };
        let stand_in = match here {
            Some((image, false)) => return Ok(base_of(&reference, &image, arch, false)),
            Some((image, true)) => Some(image),
            None => None,
        };
        if let Some(image) = &stand_in
            && (self.registries.is_none() || self.was_asked_in_vain(&reference))
        {
            return Ok(self.standing_in(&reference, image, arch));
        }
        let patience = stand_in.is_some().then_some(PATIENCE);
        match (self.pulled(name, &reference, arch, span, patience), stand_in) {
            (Ok(base), _) => Ok(base),
            (Err(_), Some(image)) => {
                self.asked_in_vain(&reference)?;
                Ok(self.standing_in(&reference, &image, arch))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// An image of the store that has no name.
    pub(super) fn kept(
        &self,
        place: &str,
        descriptor: &Descriptor,
        arch: Arch,
        span: Span,
    ) -> Result<Base, BuildError> {
        let unnamed = Reference::parse(&format!("coil.local/context@{}", descriptor.digest))
            .map_err(|error| BuildError::fault(span, error.to_string()))?;
        let named = NamedImage {
            reference: unnamed,
            descriptor: descriptor.clone(),
            tagged: 0,
            stand_in: false,
        };
        let image = self.store.image(&named, &Platform::linux(arch))?;
        let digest = &image.descriptor.digest;
        let mut base = base_of(&named.reference, &image, arch, false);
        base.name = place.to_owned();
        base.material = Material {
            uri: place.to_owned(),
            algorithm: "sha256",
            digest: digest.hex().to_owned(),
        };
        Ok(base)
    }

    /// A stand-in as a base, and a line that says so.
    fn standing_in(&self, reference: &Reference, image: &Image, arch: Arch) -> Base {
        self.events.note(&stand_in::notice(reference, image));
        base_of(reference, image, arch, true)
    }

    /// Whether the registry couldn't give the image a short while ago: a stand-in is used without asking each time.
    fn was_asked_in_vain(&self, reference: &Reference) -> bool {
        let key = Digest::of(reference.canonical().as_bytes());
        let said = self.store.cache_get(IN_VAIN, key.hex());
        let said = said.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse::<u64>().ok());
        let now = self.now.as_secs();
        said.is_some_and(|then| then <= now && now - then < IN_VAIN_SECONDS)
    }

    fn asked_in_vain(&self, reference: &Reference) -> Result<(), BuildError> {
        let key = Digest::of(reference.canonical().as_bytes());
        let now = self.now.as_secs().to_string();
        self.store
            .cache_put(IN_VAIN, key.hex(), now.as_bytes())
            .map_err(BuildError::io("keeping what a registry said"))
    }

    fn pulled(
        &self,
        name: &str,
        reference: &Reference,
        arch: Arch,
        span: Span,
        patience: Option<Duration>,
    ) -> Result<Base, BuildError> {
        let Some(registries) = self.registries else {
            let text = format!("the image {name} is not here, and no registry may be asked");
            return Err(self.no_image(reference, span, text, None));
        };
        self.events.note(&format!("pulling {}", reference.familiar()));
        let request = PullRequest {
            reference: reference.clone(),
            digest: reference.digest().cloned(),
            platforms: vec![Platform::linux(arch)],
            strict: false,
        };
        let hurried = patience.map(|patience| registries.in_a_hurry(patience));
        let pulled = hurried
            .as_ref()
            .unwrap_or(registries)
            .pull(self.store, &request, self.downloads, &Quiet)
            .map_err(
                |error| match (stand_in::made_of(reference), not_made(reference)) {
                    (None, Some(reason)) => {
                        let text = format!("the image {name} cannot be had: {error}");
                        self.no_image(reference, span, text, Some(reason))
                    }
                    (Some(_), _) => {
                        let text = format!("the image {name} cannot be had: {error}");
                        self.no_image(reference, span, text, None)
                    }
                    (None, None) => BuildError::Pull {
                        span,
                        name: name.to_owned(),
                        source: Box::new(error),
                    },
                },
            )?;
        self.store
            .set_ref(reference, &pulled.descriptor, self.now.as_secs())?;
        let descriptor = pulled
            .images
            .first()
            .map_or(&pulled.descriptor, |(_, descriptor)| descriptor);
        Ok(base_of(reference, &self.store.image_of(descriptor)?, arch, false))
    }

    fn no_image(&self, reference: &Reference, span: Span, text: String, other: Option<String>) -> BuildError {
        let name = reference.familiar();
        let mut fault = coil_dockerfile::Fault::new(span, text).at(name.clone());
        fault.help = match stand_in::made_of(reference) {
            Some(made_of) => Some(format!(
                "`coil base {name}` makes an image that stands in for it, from {made_of}"
            )),
            None => other,
        };
        fault.into()
    }

    /// The image of a name, if the store has it for the platform, and whether it only stands in.
    pub(super) fn image_here(&self, name: &str, arch: Arch) -> Result<Option<(Image, bool)>, BuildError> {
        let named = match self.store.find(name) {
            Ok(named) => named,
            Err(StoreError::NoSuchImage(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match self.store.image(&named, &Platform::linux(arch)) {
            Ok(image) => Ok(Some((image, named.stand_in))),
            Err(StoreError::NoPlatform { .. } | StoreError::MissingBlob(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Why `coil base` has nothing in place of an official image whose other versions it makes, and which it makes.
fn not_made(reference: &Reference) -> Option<String> {
    let repository = reference.repository().strip_prefix("library/")?;
    let is_offered = stand_in::offers().iter().any(|offer| {
        let name = offer.name.split(':').next().unwrap_or_default();
        name == repository
    });
    match stand_in::recipe(reference, false) {
        Err(error) if is_offered => Some(format!("{}; {}", error.message, error.help)),
        _ => None,
    }
}

fn base_of(reference: &Reference, image: &Image, arch: Arch, stands_in: bool) -> Base {
    let layers = image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids);
    Base {
        name: reference.canonical(),
        material: Material::image(reference, arch, &image.descriptor.digest, stands_in),
        stands_in,
        config: image.config.clone(),
        layers: layers
            .map(|(layer, diff_id)| BuiltLayer {
                blob: Descriptor::new(
                    match layer.media_type.as_str() {
                        "application/vnd.docker.image.rootfs.diff.tar" => media_type::LAYER_TAR,
                        "application/vnd.docker.image.rootfs.diff.tar.gzip" => media_type::LAYER_GZIP,
                        other => other,
                    },
                    layer.digest.clone(),
                    layer.size,
                ),
                diff_id: diff_id.clone(),
                created: None,
            })
            .collect(),
    }
}
