//! Writing images: configurations, manifests and indices as the blobs that name each other.

use std::collections::BTreeMap;
use std::io;

use coil_oci::{Descriptor, ImageConfig, Index, Manifest, Platform, media_type};
use serde::Serialize;

use crate::Store;

impl Store {
    /// Keeps a value as a blob of JSON; gives what names it.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn put_document(&self, media_type: &str, document: &impl Serialize) -> io::Result<Descriptor> {
        let bytes = serde_json::to_vec(document)?;
        let digest = self.put_blob(&bytes)?;
        Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
    }

    /// Keeps an image whose layers are there; gives the manifest and what names it, with its platform.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn put_image(
        &self,
        config: &ImageConfig,
        layers: Vec<Descriptor>,
        annotations: BTreeMap<String, String>,
    ) -> io::Result<(Descriptor, Manifest)> {
        let mut manifest = Manifest::image(self.put_document(media_type::CONFIG, config)?, layers);
        manifest.annotations = annotations;
        let mut descriptor = self.put_document(media_type::MANIFEST, &manifest)?;
        descriptor.platform = Some(Platform {
            os: config.os.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
        });
        Ok((descriptor, manifest))
    }

    /// Keeps an index of images that are there.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn put_index(&self, index: &Index) -> io::Result<Descriptor> {
        self.put_document(media_type::INDEX, index)
    }
}
