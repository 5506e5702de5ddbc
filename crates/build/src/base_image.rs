//! Which image a base's name means: the pinned one, the store's, the registry's, and only then one that stands in for it.

use std::time::Duration;

use coil_fetch::FetchError;
use coil_oci::{Arch, Descriptor, Digest, Index, Manifest, Platform, Reference, media_type};
use coil_python::coil_lock::ImagePin;
use coil_registry::{PullError, PullRequest, Quiet, Registries};
use coil_store::{Image, NamedImage, StoreError};

use crate::base::BaseImage;
use crate::error::PackError;
use crate::foreign_base::ForeignWish;
use crate::lock_file::LockFile;
use crate::request::Packer;
use crate::stand_in;

/// How long a registry may take to answer where a stand-in is here: behind a firewall that drops what is sent, it never does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// An image that is in the store, whole.
pub(crate) struct Located {
    /// What the name stands for.
    pub(crate) descriptor: Descriptor,
    pub(crate) image: Image,
    /// Whether it only stands in for the image of that name.
    pub(crate) stand_in: bool,
}

impl Packer<'_> {
    /// The image of a wish.
    ///
    /// A digest, in the name or in the lock, means just that image. A stand-in is taken where the registry doesn't have the image or
    /// can't be asked, or where it is the one that the lock names; what was pulled or packed under the name comes first.
    pub(crate) fn located(
        &self,
        wish: &ForeignWish<'_>,
        arch: Arch,
        lock: &mut LockFile,
        notes: &mut Vec<String>,
    ) -> Result<Located, PackError> {
        let name = wish.reference.canonical();
        if let Some(digest) = wish.reference.digest() {
            return self.pinned(wish, digest, arch);
        }
        let pin = lock.image(&name);
        if let Some(pin) = pin.as_ref().filter(|pin| !pin.stand_in) {
            return self.pinned(wish, &pin.digest, arch);
        }
        let is_pinned = |found: &Located| {
            pin.as_ref()
                .is_some_and(|pin| pin.digest == found.descriptor.digest)
        };
        let located = match self.in_store(wish, arch)? {
            Some(found) if !found.stand_in || is_pinned(&found) => found,
            Some(stand_in) => {
                let hurried = self.registries.map(|all| all.in_a_hurry(PATIENCE));
                self.pulled_from(hurried.as_ref(), wish, None, arch)
                    .unwrap_or(stand_in)
            }
            None => self.pulled(wish, None, arch)?,
        };
        if located.stand_in {
            notes.push(stand_in::notice(wish.reference, &located.image));
        }
        let pin = ImagePin {
            reference: name,
            digest: located.descriptor.digest.clone(),
            stand_in: located.stand_in,
        };
        lock.set_image(wish.text, pin)?;
        Ok(located)
    }

    /// Whether a name still means the stand-in that it meant; true for an image that is none.
    pub(crate) fn still_stands_in(&self, image: &BaseImage) -> bool {
        let is_the_same = |named: NamedImage| named.stand_in && named.descriptor.digest == image.digest;
        !image.stand_in || self.store.find(&image.reference).is_ok_and(is_the_same)
    }

    /// The image of a name, if the store has it for the platform.
    fn in_store(&self, wish: &ForeignWish<'_>, arch: Arch) -> Result<Option<Located>, PackError> {
        let named = match self.store.find(wish.text) {
            Ok(named) => named,
            Err(StoreError::NoSuchImage(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match self.store.image(&named, &Platform::linux(arch)) {
            Ok(image) if named.descriptor.is_index() || image.config.architecture == arch.name() => {
                Ok(Some(Located {
                    descriptor: named.descriptor,
                    image,
                    stand_in: named.stand_in,
                }))
            }
            // It is there for another platform: a registry may have this one.
            Ok(image) if self.registries.is_none() => Ok(Some(Located {
                descriptor: named.descriptor,
                image,
                stand_in: named.stand_in,
            })),
            Ok(_) | Err(StoreError::NoPlatform { .. } | StoreError::MissingBlob(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The image of a digest: from the store if it is whole there, else from the registry.
    pub(crate) fn pinned(
        &self,
        wish: &ForeignWish<'_>,
        digest: &Digest,
        arch: Arch,
    ) -> Result<Located, PackError> {
        if let Some(located) = self.by_digest(digest, arch) {
            return Ok(located);
        }
        self.pulled(wish, Some(digest.clone()), arch)
    }

    fn by_digest(&self, digest: &Digest, arch: Arch) -> Option<Located> {
        let bytes = self.store.read_blob(digest).ok()?;
        let index: Option<Index> = serde_json::from_slice(&bytes).ok();
        let manifest: Option<Manifest> = serde_json::from_slice(&bytes).ok();
        let kind = match (&index, &manifest) {
            (Some(_), _) => media_type::INDEX,
            (None, Some(_)) => media_type::MANIFEST,
            _ => return None,
        };
        let descriptor = Descriptor::new(kind, digest.clone(), bytes.len() as u64);
        let chosen = match &index {
            Some(index) => index.find(&Platform::linux(arch))?.clone(),
            None => descriptor.clone(),
        };
        let blobs = self.store.blobs_of(&chosen).ok()?;
        if !blobs.iter().all(|blob| self.store.has_blob(&blob.digest)) {
            return None;
        }
        let image = self.store.images_of(&chosen).ok()?.pop()?;
        Some(Located {
            descriptor,
            image,
            stand_in: false,
        })
    }

    fn pulled(
        &self,
        wish: &ForeignWish<'_>,
        digest: Option<Digest>,
        arch: Arch,
    ) -> Result<Located, PackError> {
        self.pulled_from(self.registries, wish, digest, arch)
    }

    /// Pulls the image, and names it as `coil pull` does.
    fn pulled_from(
        &self,
        registries: Option<&Registries<'_>>,
        wish: &ForeignWish<'_>,
        digest: Option<Digest>,
        arch: Arch,
    ) -> Result<Located, PackError> {
        let missing = |reason: String, help: Option<String>| PackError::Setting {
            message: format!("the base {} cannot be had: {reason}", wish.text),
            help,
        };
        let Some(registries) = registries else {
            let text = "the store does not have it, and no registry may be asked";
            return Err(missing(text.into(), None));
        };
        self.progress.note(&format!("pulling {}", wish.text));
        let request = PullRequest {
            reference: wish.reference.clone(),
            digest: digest.clone(),
            platforms: vec![Platform::linux(arch)],
            strict: true,
        };
        let pulled = registries
            .pull(self.store, &request, self.progress, &Quiet)
            .map_err(|error| match error {
                PullError::NoPlatform { wanted, found, .. } => PackError::Setting {
                    message: format!(
                        "the base {} is not there for {wanted}; it has {}",
                        wish.text,
                        found.join(", ")
                    ),
                    help: Some("choose a platform that it has with --platform, or another base".into()),
                },
                PullError::Fetch(FetchError::Offline { .. }) => missing(
                    "the store does not have it, and the network is switched off".into(),
                    Some(format!(
                        "`coil pull {}` gets it when the network is on",
                        wish.text
                    )),
                ),
                other => {
                    let registry = wish.reference.registry();
                    let mut help = other.help().unwrap_or_default();
                    if digest.is_none()
                        && let Some(made_of) = stand_in::made_of(wish.reference)
                    {
                        let command = format!("`coil base {}` makes one of {made_of}", wish.text);
                        help = match help.is_empty() {
                            true => command,
                            false => format!("{help}; {command}, with no registry"),
                        };
                    }
                    missing(
                        format!("the store does not have it, and {registry} says: {other}"),
                        Some(help).filter(|help| !help.is_empty()),
                    )
                }
            })?;
        // By its digest, so that a tag never stands for what it doesn't stand for any more.
        let name = match digest {
            Some(digest) => format!("{}@{digest}", wish.reference.familiar_name()),
            None => wish.reference.familiar(),
        };
        if let Ok(name) = Reference::parse(&name) {
            self.store.set_ref(&name, &pulled.descriptor, self.now)?;
        }
        self.by_digest(&pulled.descriptor.digest, arch)
            .ok_or_else(|| missing("what was pulled is not whole".into(), None))
    }
}
