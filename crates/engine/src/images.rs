//! Images by name: listing, naming, removing, looking inside.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use coil_oci::{Arch, Descriptor, Digest, Platform, Reference, ReferenceError, timestamp};
use coil_runtime::events::Subject;
use coil_store::{Collected, Image, NamedImage, StoreError};
use serde::Serialize;
use serde_json::{Value, json};

use crate::image_build::is_unnamed;
use crate::{Engine, clock};

/// Why an operation on images failed.
#[derive(Debug)]
pub enum ImageError {
    /// The image could not be found or read.
    Store(StoreError),
    /// A name is none.
    Name(ReferenceError),
    /// A name with a digest, which nothing else can be given.
    DigestName,
    /// Containers are made from it.
    InUse {
        /// The image as it was named.
        image: String,
        /// The containers' names.
        containers: Vec<String>,
        /// Whether one of them runs.
        running: bool,
    },
    /// An id that has several names.
    SeveralNames {
        /// The id as it was given.
        image: String,
        /// Its names.
        names: Vec<String>,
    },
}

impl ImageError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            ImageError::Store(error) => error.help(),
            ImageError::Name(_) => None,
            ImageError::DigestName => Some("give a name and a tag".into()),
            ImageError::InUse {
                containers, running, ..
            } => Some(if *running {
                format!("stop it first: `coil rm -f {}`", containers.join(" "))
            } else {
                format!(
                    "`coil rm {}` removes it, or `coil rmi -f` takes the name away",
                    containers.join(" ")
                )
            }),
            ImageError::SeveralNames { names, .. } => {
                Some(format!("`coil rmi {}`, or `coil rmi -f`", names.join(" ")))
            }
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::Store(error) => fmt::Display::fmt(error, f),
            ImageError::Name(error) => fmt::Display::fmt(error, f),
            ImageError::DigestName => f.write_str("refusing to create a tag with a digest reference"),
            ImageError::InUse {
                image,
                containers,
                running,
            } => write!(
                f,
                "{image} is in use by {} {}",
                if *running {
                    "the running container"
                } else {
                    "the stopped container"
                },
                containers.join(", ")
            ),
            ImageError::SeveralNames { image, names } => {
                write!(f, "{image} has several names: {}", names.join(", "))
            }
        }
    }
}

impl std::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ImageError::Store(error) => std::error::Error::source(error),
            _ => None,
        }
    }
}

impl From<StoreError> for ImageError {
    fn from(error: StoreError) -> Self {
        ImageError::Store(error)
    }
}

/// A line of `coil images`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageLine {
    /// The name without the tag.
    pub repository: String,
    /// The tag, `<none>` where there is none.
    pub tag: String,
    /// The image's id.
    #[serde(rename = "ID")]
    pub id: Digest,
    /// The manifest's or index's digest.
    pub digest: Digest,
    /// When the name was given, in seconds since 1970.
    #[serde(rename = "CreatedAt")]
    pub tagged: u64,
    /// The bytes of the files in its layers, for this machine's platform.
    pub size: u64,
    /// Its platforms.
    pub platforms: Vec<String>,
    /// Whether it only stands in for the image of that name.
    pub stand_in: bool,
}

/// What was done by `rmi`.
#[derive(Debug, Clone, Default)]
pub struct Removed {
    /// Names that were taken away.
    pub untagged: Vec<String>,
    /// Images that are gone.
    pub deleted: Vec<Digest>,
    /// What the collection freed.
    pub collected: Collected,
}

/// A line of `coil history`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HistoryLine {
    /// The image's id at the last step; `<missing>` before, as Docker says.
    #[serde(rename = "ID")]
    pub id: String,
    /// When, RFC 3339.
    pub created: String,
    /// By what.
    pub created_by: String,
    /// The bytes of the layer's files; none for a step that made no layer.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

impl Engine {
    /// The image of a name for this machine, or the only one that there is.
    ///
    /// # Errors
    /// `NoSuchImage`, `Ambiguous`, `NoPlatform`, `Damaged`.
    pub fn image(&self, text: &str) -> Result<(NamedImage, Image), StoreError> {
        let named = self.store.find(text)?;
        let image = self.store.image(&named, &Platform::linux(Arch::host()));
        match image {
            Err(StoreError::NoPlatform { .. }) => {
                let mut all = self.store.images_of(&named.descriptor)?;
                if all.len() == 1 {
                    Ok((named, all.remove(0)))
                } else {
                    Err(image.err().unwrap_or(StoreError::NoSuchImage(text.into())))
                }
            }
            other => Ok((named, other?)),
        }
    }

    /// Every name and its image, the newest first.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn list_images(&self) -> Result<Vec<ImageLine>, StoreError> {
        let mut lines = Vec::new();
        let all = self.store.images()?;
        let given: BTreeSet<Digest> = all
            .iter()
            .filter(|named| !is_unnamed(&named.reference))
            .map(|named| named.descriptor.digest.clone())
            .collect();
        for named in all {
            let nameless = is_unnamed(&named.reference);
            if nameless && given.contains(&named.descriptor.digest) {
                continue;
            }
            let Ok(images) = self.store.images_of(&named.descriptor) else {
                continue;
            };
            let host = images
                .iter()
                .find(|image| image.config.architecture == Arch::host().name());
            let Some(shown) = host.or(images.first()) else {
                continue;
            };
            lines.push(ImageLine {
                repository: match nameless {
                    true => "<none>".to_owned(),
                    false => named.reference.familiar_name(),
                },
                tag: named.reference.tag().unwrap_or("<none>").to_owned(),
                id: shown.id().clone(),
                digest: named.descriptor.digest.clone(),
                tagged: named.tagged,
                size: self.store.image_size(shown),
                platforms: images
                    .iter()
                    .map(|image| format!("{}/{}", image.config.os, image.config.architecture))
                    .collect(),
                stand_in: named.stand_in,
            });
        }
        lines.sort_by_key(|line| std::cmp::Reverse(line.tagged));
        Ok(lines)
    }

    /// Gives an image one more name.
    ///
    /// # Errors
    /// When there is no such image, or the name is none.
    pub fn tag(&self, image: &str, name: &str) -> Result<(), ImageError> {
        let reference = Reference::parse(name).map_err(ImageError::Name)?;
        if reference.digest().is_some() {
            return Err(ImageError::DigestName);
        }
        let _lease = self.store.lease().map_err(crate::store_io("locking the store"))?;
        let named = self.store.find(image)?;
        self.store
            .set_ref(&reference, &named.descriptor, clock::now().as_secs())?;
        let id = self
            .image(image)
            .map(|(_, image)| image.id().to_string())
            .unwrap_or_default();
        self.image_event(&id, &reference.familiar(), "tag");
        Ok(())
    }

    /// Takes a name away, or with an id all of its names; what nothing leads to any more is removed.
    ///
    /// # Errors
    /// When there is no such image, or a container was made from it and `force` is not given.
    pub fn remove_image(&self, text: &str, force: bool) -> Result<Removed, ImageError> {
        let named = self.store.find(text)?;
        let names = self.names_of(&named.descriptor)?;
        let by_name = Reference::parse(text)
            .ok()
            .filter(|reference| names.contains(reference));
        let going: Vec<Reference> = match by_name {
            // With its last name goes the image, as if it never had been without one.
            Some(reference) if Self::given_names(&names) == [reference.clone()] => names.clone(),
            Some(reference) => vec![reference],
            None if Self::given_names(&names).len() > 1 && !force => {
                let names = Self::given_names(&names)
                    .iter()
                    .map(Reference::familiar)
                    .collect();
                return Err(ImageError::SeveralNames {
                    image: text.into(),
                    names,
                });
            }
            None => names.clone(),
        };
        if going.len() == names.len() {
            self.check_unused(text, &named.descriptor, force)?;
        }
        let mut removed = Removed::default();
        let ids: Vec<Digest> = self
            .store
            .images_of(&named.descriptor)
            .unwrap_or_default()
            .iter()
            .map(|image| image.id().clone())
            .collect();
        for reference in &going {
            let gone = self.store.remove_ref(reference)? || self.store.remove_stand_in(reference)?;
            if gone && !is_unnamed(reference) {
                removed.untagged.push(reference.familiar());
            }
        }
        if let Some(id) = ids.first().map(ToString::to_string) {
            removed
                .untagged
                .iter()
                .for_each(|_| self.image_event(&id, &id, "untag"));
            if going.len() == names.len() {
                self.image_event(&id, &id, "delete");
            }
        }
        if going.len() == names.len() {
            removed.deleted = ids;
            removed.collected = self.store.collect(false)?;
        }
        Ok(removed)
    }

    pub(crate) fn image_event(&self, id: &str, name: &str, action: &str) {
        self.event_of(
            &Subject {
                kind: "image",
                id,
                name,
                ..Subject::default()
            },
            action,
            &[],
        );
    }

    fn check_unused(&self, text: &str, descriptor: &Descriptor, force: bool) -> Result<(), ImageError> {
        let ids: BTreeSet<Digest> = self
            .store
            .images_of(descriptor)
            .unwrap_or_default()
            .iter()
            .map(|image| image.id().clone())
            .collect();
        let (mut names, mut running) = (Vec::new(), false);
        for container in self.containers() {
            // One that removes itself is as good as gone once it has ended, though its monitor still clears up.
            if container.record.auto_remove && !container.is_running() {
                continue;
            }
            if ids.contains(&container.record.image_id) && (!force || container.is_running()) {
                running |= container.is_running();
                names.push(container.record.name.clone());
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        Err(ImageError::InUse {
            image: text.to_owned(),
            containers: names,
            running,
        })
    }

    fn names_of(&self, descriptor: &Descriptor) -> Result<Vec<Reference>, StoreError> {
        let all = self.store.images()?;
        Ok(all
            .into_iter()
            .filter(|image| image.descriptor.digest == descriptor.digest)
            .map(|i| i.reference)
            .collect())
    }

    /// How an image's layers came to be, the last first.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn history(&self, text: &str) -> Result<Vec<HistoryLine>, StoreError> {
        let (_, image) = self.image(text)?;
        let layers = image.config.rootfs.diff_ids.iter().zip(&image.manifest.layers);
        let mut layers = layers.map(|(diff_id, blob)| self.store.layer_size(diff_id, blob));
        let mut lines: Vec<HistoryLine> = image
            .config
            .history
            .iter()
            .map(|step| HistoryLine {
                id: "<missing>".into(),
                created: step
                    .created
                    .clone()
                    .or_else(|| image.config.created.clone())
                    .unwrap_or_default(),
                created_by: step.created_by.clone().unwrap_or_default(),
                size: if step.empty_layer {
                    0
                } else {
                    layers.next().unwrap_or(0)
                },
                comment: step.comment.clone().unwrap_or_default(),
            })
            .collect();
        lines.extend(layers.map(|size| HistoryLine {
            id: "<missing>".into(),
            created: image.config.created.clone().unwrap_or_default(),
            created_by: String::new(),
            size,
            comment: String::new(),
        }));
        lines.reverse();
        if let Some(first) = lines.first_mut() {
            first.id = image.id().to_string();
        }
        Ok(lines)
    }

    /// An image as `docker inspect` shows it.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn inspect_image(&self, text: &str) -> Result<Value, StoreError> {
        let (named, image) = self.image(text)?;
        let names = Self::given_names(&self.names_of(&named.descriptor)?);
        let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
        let digests: BTreeSet<String> = names
            .iter()
            .map(|name| format!("{}@{}", name.familiar_name(), named.descriptor.digest))
            .collect();
        let config = &image.config;
        Ok(json!({
            "Id": image.id(),
            "RepoTags": tags,
            "RepoDigests": digests,
            "Parent": "",
            "Comment": config.history.last().and_then(|step| step.comment.clone()).unwrap_or_default(),
            "Created": config.created.clone().unwrap_or_else(|| timestamp::nanoseconds(Duration::ZERO)),
            "Author": config.author.clone().unwrap_or_default(),
            "DockerVersion": "",
            "Config": config.config,
            "Architecture": config.architecture,
            "Variant": config.variant,
            "Os": config.os,
            "Size": self.store.image_size(&image),
            "GraphDriver": {
                "Data": { "UpperDir": config.rootfs.diff_ids.last().map(|layer| self.store.snapshot_tree(layer)) },
                "Name": "overlay2",
            },
            "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids },
            "Metadata": { "LastTagTime": timestamp::nanoseconds(Duration::from_secs(named.tagged)) },
            "Descriptor": named.descriptor,
        }))
    }
}
