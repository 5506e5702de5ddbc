//! `FROM` and `--from`: an image of the store, of a registry, or one that stands in for it.

use coil_dockerfile::Span;
use coil_oci::{Arch, Descriptor, ImageConfig, Platform, Reference, media_type};
use coil_registry::{PullRequest, Quiet};
use coil_store::{Image, StoreError};

use super::solving::BuiltLayer;
use super::{BuildError, Builder};
use crate::stand_in;

/// An image that a stage begins with.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// Its whole name.
    pub(crate) name: String,
    /// Its configuration.
    pub(crate) config: ImageConfig,
    /// Its layers, the lowest first.
    pub(crate) layers: Vec<BuiltLayer>,
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
        if !pull && let Some(image) = self.image_here(name, arch)? {
            return Ok(self.base_of(&reference, &image));
        }
        let Some(registries) = self.registries else {
            let text = format!("the image {name} is not here, and no registry may be asked");
            return Err(self.no_image(&reference, span, text, None));
        };
        self.events.note(&format!("pulling {}", reference.familiar()));
        let request = PullRequest {
            reference: reference.clone(),
            digest: reference.digest().cloned(),
            platforms: vec![Platform::linux(arch)],
            strict: false,
        };
        let pulled = registries
            .pull(self.store, &request, self.downloads, &Quiet)
            .map_err(|error| match stand_in::recipe(&reference, false).is_ok() {
                true => {
                    let text = format!("the image {name} cannot be had: {error}");
                    self.no_image(&reference, span, text, None)
                }
                false => BuildError::Pull {
                    span,
                    name: name.to_owned(),
                    source: Box::new(error),
                },
            })?;
        self.store
            .set_ref(&reference, &pulled.descriptor, self.now.as_secs())?;
        let descriptor = pulled
            .images
            .first()
            .map_or(&pulled.descriptor, |(_, descriptor)| descriptor);
        Ok(self.base_of(&reference, &self.store.image_of(descriptor)?))
    }

    fn no_image(&self, reference: &Reference, span: Span, text: String, other: Option<String>) -> BuildError {
        let name = reference.familiar();
        let mut fault = coil_dockerfile::Fault::new(span, text).at(name.clone());
        fault.help = match stand_in::recipe(reference, false).is_ok() {
            true => Some(format!(
                "`coil base {name}` makes an image that stands in for it, from Debian's packages"
            )),
            false => other,
        };
        fault.into()
    }

    fn image_here(&self, name: &str, arch: Arch) -> Result<Option<Image>, BuildError> {
        let named = match self.store.find(name) {
            Ok(named) => named,
            Err(StoreError::NoSuchImage(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match self.store.image(&named, &Platform::linux(arch)) {
            Ok(image) => {
                if named.stand_in {
                    let labels = &image.config.config.labels;
                    let made_of = labels
                        .get(stand_in::label::MADE_OF)
                        .map_or("Debian's packages", String::as_str);
                    self.events.note(&format!(
                        "{name} is a stand-in made by `coil base` from {made_of}, not the registry's image"
                    ));
                }
                Ok(Some(image))
            }
            Err(StoreError::NoPlatform { .. } | StoreError::MissingBlob(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn base_of(&self, reference: &Reference, image: &Image) -> Base {
        let layers = image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids);
        Base {
            name: reference.canonical(),
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
}
