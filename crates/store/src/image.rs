//! Images: a manifest, its configuration, and how they are found by name or id.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use coil_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference};

use crate::names::RefRecord;
use crate::{Store, StoreError};

/// One platform's image, read from the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
}

impl Image {
    /// The image's id as Docker counts it: the digest of its configuration.
    pub fn id(&self) -> &Digest {
        &self.manifest.config.digest
    }

    /// The sum of the layers' blobs in bytes.
    pub fn blob_size(&self) -> u64 {
        self.manifest.layers.iter().map(|layer| layer.size).sum()
    }
}

/// A name and what it stands for.
#[derive(Debug, Clone)]
pub struct NamedImage {
    /// The name; none for an image that is known by its digest only.
    pub reference: Reference,
    /// A manifest's or an index's descriptor.
    pub descriptor: Descriptor,
    /// Seconds since 1970 when the name was given.
    pub tagged: u64,
    /// Whether it only stands in for the image that has this name elsewhere.
    pub stand_in: bool,
}

impl NamedImage {
    fn new(reference: Reference, record: RefRecord, stand_in: bool) -> NamedImage {
        NamedImage {
            reference,
            descriptor: record.descriptor,
            tagged: record.tagged,
            stand_in,
        }
    }
}

impl Store {
    /// Every name and what it stands for, sorted by name; then the stand-ins, sorted likewise.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn images(&self) -> Result<Vec<NamedImage>, StoreError> {
        let own = self.all_refs()?.into_iter().map(|found| (found, false));
        let stand_ins = self.all_stand_ins()?.into_iter().map(|found| (found, true));
        let all = own.chain(stand_ins);
        Ok(all
            .map(|((reference, record), stand_in)| NamedImage::new(reference, record, stand_in))
            .collect())
    }

    /// Finds an image by name, or by an id (of its configuration or its manifest) or the beginning of one.
    ///
    /// A stand-in is found by its plain name alone, where no image has that name; never by a name with a digest.
    ///
    /// # Errors
    /// `NoSuchImage`, `Ambiguous`, `Damaged` when an image of an earlier boot is not whole any more.
    pub fn find(&self, text: &str) -> Result<NamedImage, StoreError> {
        let missing = || StoreError::NoSuchImage(text.to_owned());
        if let Ok(reference) = Reference::parse(text) {
            let by_name = match self.read_ref(&reference)? {
                Some(found) => Some(found),
                None if reference.digest().is_some() => self.find_pinned(&reference)?,
                None => None,
            };
            let found = match by_name {
                Some(found) => Some((found, false)),
                None if reference.digest().is_none() => {
                    self.read_stand_in(&reference)?.map(|found| (found, true))
                }
                None => None,
            };
            if let Some(((path, record), stand_in)) = found {
                self.check_boot(&path, &record, text)?;
                return Ok(NamedImage::new(reference, record, stand_in));
            }
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        if prefix.len() < 2 || !prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(missing());
        }
        let mut found: Option<(Digest, NamedImage)> = None;
        for image in self.images()? {
            let ids = self.ids_of(&image.descriptor);
            let Some(id) = ids.iter().find(|id| id.hex().starts_with(prefix)) else {
                continue;
            };
            match &found {
                Some((other, _)) if other != id => return Err(StoreError::Ambiguous(text.to_owned())),
                Some(_) => {}
                None => found = Some((id.clone(), image)),
            }
        }
        found.map(|(_, image)| image).ok_or_else(missing)
    }

    /// `name@sha256:…` matches any tag of the name whose manifest has that digest.
    fn find_pinned(&self, wanted: &Reference) -> Result<Option<(std::path::PathBuf, RefRecord)>, StoreError> {
        for (reference, record) in self.all_refs()? {
            let same_name =
                reference.registry() == wanted.registry() && reference.repository() == wanted.repository();
            if same_name && Some(&record.descriptor.digest) == wanted.digest() {
                return self.read_ref(&reference);
            }
        }
        Ok(None)
    }

    /// The digests that an image can be called by: its manifests' and their configurations'.
    fn ids_of(&self, descriptor: &Descriptor) -> Vec<Digest> {
        let mut ids = vec![descriptor.digest.clone()];
        if descriptor.is_index() {
            if let Ok(index) = self.read_index(descriptor) {
                for manifest in &index.manifests {
                    ids.extend(self.ids_of(manifest));
                }
            }
        } else if let Ok(manifest) = self.read_manifest(descriptor) {
            ids.push(manifest.config.digest);
        }
        ids
    }

    /// An index's entries.
    ///
    /// # Errors
    /// `MissingBlob`, `Malformed`, `Damaged`.
    pub fn read_index(&self, descriptor: &Descriptor) -> Result<Index, StoreError> {
        self.read_json(&descriptor.digest)
    }

    /// A manifest.
    ///
    /// # Errors
    /// `MissingBlob`, `Malformed`, `Damaged`.
    pub fn read_manifest(&self, descriptor: &Descriptor) -> Result<Manifest, StoreError> {
        self.read_json(&descriptor.digest)
    }

    fn read_json<T: serde::de::DeserializeOwned>(&self, digest: &Digest) -> Result<T, StoreError> {
        let bytes = self.read_blob(digest).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::MissingBlob(digest.clone()),
            io::ErrorKind::InvalidData => StoreError::Damaged {
                what: format!("the blob {digest}"),
            },
            _ => StoreError::Io {
                doing: format!("reading the blob {digest}"),
                source,
            },
        })?;
        serde_json::from_slice(&bytes).map_err(|source| StoreError::Malformed {
            digest: digest.clone(),
            source,
        })
    }

    /// One platform's image of what a name stands for.
    ///
    /// # Errors
    /// `NoPlatform` when an index lacks it; `MissingBlob`, `Malformed`, `Damaged`.
    pub fn image(&self, named: &NamedImage, platform: &Platform) -> Result<Image, StoreError> {
        let descriptor = if named.descriptor.is_index() {
            let index = self.read_index(&named.descriptor)?;
            index
                .find(platform)
                .filter(|found| self.has_blob(&found.digest))
                .cloned()
                .ok_or_else(|| StoreError::NoPlatform {
                    name: named.reference.familiar(),
                    wanted: platform.clone(),
                    found: index
                        .manifests
                        .iter()
                        .filter(|m| !m.is_attestation() && self.has_blob(&m.digest))
                        .filter_map(|m| Some(m.platform.as_ref()?.to_string()))
                        .collect(),
                })?
        } else {
            named.descriptor.clone()
        };
        self.image_of(&descriptor)
    }

    /// Every platform's image of what a name stands for; of an index that was pulled in part, those that are here.
    ///
    /// # Errors
    /// `MissingBlob`, `Malformed`, `Damaged`.
    pub fn images_of(&self, descriptor: &Descriptor) -> Result<Vec<Image>, StoreError> {
        if !descriptor.is_index() {
            return Ok(vec![self.image_of(descriptor)?]);
        }
        let index = self.read_index(descriptor)?;
        let here = index
            .manifests
            .iter()
            .filter(|entry| !entry.is_attestation() && self.has_blob(&entry.digest));
        here.map(|manifest| self.image_of(manifest)).collect()
    }

    /// The image that a manifest's descriptor names.
    ///
    /// # Errors
    /// `MissingBlob`, `Malformed`, `Damaged`.
    pub fn image_of(&self, descriptor: &Descriptor) -> Result<Image, StoreError> {
        let manifest = self.read_manifest(descriptor)?;
        let config = self.read_json(&manifest.config.digest)?;
        Ok(Image {
            descriptor: descriptor.clone(),
            manifest,
            config,
        })
    }

    /// Every blob that what a descriptor names needs, itself included, the leaves first.
    ///
    /// # Errors
    /// `MissingBlob`, `Malformed`, `Damaged` of a manifest.
    pub fn blobs_of(&self, descriptor: &Descriptor) -> Result<Vec<Descriptor>, StoreError> {
        let mut seen = BTreeSet::new();
        let mut out = Vec::new();
        self.add_blobs(descriptor, &mut seen, &mut out)?;
        Ok(out)
    }

    fn add_blobs(
        &self,
        descriptor: &Descriptor,
        seen: &mut BTreeSet<Digest>,
        out: &mut Vec<Descriptor>,
    ) -> Result<(), StoreError> {
        if !seen.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        if descriptor.is_index() {
            for manifest in self.read_index(descriptor)?.manifests {
                // Pulled in part: a platform that nobody wanted is not here.
                if !self.has_blob(&manifest.digest) {
                    continue;
                }
                self.add_blobs(&manifest, seen, out)?;
            }
        } else {
            let manifest = self.read_manifest(descriptor)?;
            for blob in manifest.layers.into_iter().chain([manifest.config]) {
                if seen.insert(blob.digest.clone()) {
                    out.push(blob);
                }
            }
        }
        out.push(descriptor.clone());
        Ok(())
    }

    /// Checks an image that was written without a sync in an earlier boot, once, and then syncs it.
    fn check_boot(&self, path: &std::path::Path, record: &RefRecord, name: &str) -> Result<(), StoreError> {
        match &record.boot {
            None => return Ok(()),
            Some(boot) if boot == self.boot_id() => return Ok(()),
            Some(_) => {}
        }
        let damaged = || StoreError::Damaged {
            what: format!("the image {name}"),
        };
        for blob in self.blobs_of(&record.descriptor)? {
            if !self.verify_blob(&blob.digest).unwrap_or(false) {
                return Err(damaged());
            }
            if let Ok(file) = File::open(self.blob_path(&blob.digest)) {
                file.sync_data().map_err(StoreError::io("syncing a blob"))?;
            }
        }
        self.write_ref(
            path,
            &RefRecord {
                boot: None,
                ..record.clone()
            },
        )
    }
}
