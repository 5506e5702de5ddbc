//! `save`: images as one archive that both `docker load` and readers of OCI layouts take.

use std::collections::BTreeMap;
use std::io::{self, Write};

use coil_oci::tar::{Entry, TarWriter};
use coil_oci::{Descriptor, Digest, Index, Reference};
use coil_store::StoreError;
use serde_json::json;

use crate::Engine;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";

impl Engine {
    /// What the words mean: each image with the names under which it is saved. A name without a tag and with several here
    /// stands for all of them, as with Docker.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn images_to_save(&self, words: &[String]) -> Result<Vec<(Descriptor, Vec<Reference>)>, StoreError> {
        let mut found: Vec<(Descriptor, Vec<Reference>)> = Vec::new();
        let mut add = |descriptor: Descriptor, name: Option<Reference>| match found
            .iter_mut()
            .find(|(known, _)| *known == descriptor)
        {
            Some((_, names)) => {
                if let Some(name) = name.filter(|name| !names.contains(name)) {
                    names.push(name);
                }
            }
            None => found.push((descriptor, name.into_iter().collect())),
        };
        for word in words {
            let reference = Reference::parse(word).ok();
            let untagged = !word.contains('@') && !word.rsplit('/').next().unwrap_or_default().contains(':');
            let same: Vec<_> = match (&reference, untagged) {
                (Some(wanted), true) => self
                    .store
                    .images()?
                    .into_iter()
                    .filter(|image| {
                        !image.stand_in
                            && image.reference.registry() == wanted.registry()
                            && image.reference.repository() == wanted.repository()
                    })
                    .collect(),
                _ => Vec::new(),
            };
            if !same.is_empty() {
                for image in same {
                    add(image.descriptor, Some(image.reference));
                }
                continue;
            }
            let named = self.store.find(word)?;
            // By an id it has no name, but its own.
            let name =
                reference.filter(|reference| reference.tag().is_some() && named.reference == *reference);
            add(named.descriptor, name);
        }
        Ok(found)
    }

    /// Writes images as an archive, with what both forms of it want.
    ///
    /// # Errors
    /// When an image can't be read, or the archive not be written.
    pub fn save_images(
        &self,
        images: &[(Descriptor, Vec<Reference>)],
        out: &mut dyn Write,
    ) -> Result<(), StoreError> {
        let _lease = self.store.lease().map_err(crate::store_io("locking the store"))?;
        let writing = || crate::store_io("writing the archive");
        let mut blobs: BTreeMap<Digest, u64> = BTreeMap::new();
        let (mut entries, mut list) = (Vec::new(), Vec::new());
        for (descriptor, names) in images {
            for blob in self.store.blobs_of(descriptor)? {
                blobs.insert(blob.digest, blob.size);
            }
            let plain = Descriptor::new(&descriptor.media_type, descriptor.digest.clone(), descriptor.size);
            for name in names {
                let mut entry = plain.clone();
                entry
                    .annotations
                    .insert(REF_NAME.into(), name.tag().unwrap_or("latest").into());
                entry.annotations.insert(FULL_NAME.into(), name.canonical());
                entries.push(entry);
            }
            if names.is_empty() {
                entries.push(plain);
            }
            let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
            // Docker's own form has room for one platform: this machine's, or the only one.
            let images = self.store.images_of(descriptor)?;
            let host = images
                .iter()
                .find(|image| image.config.architecture == coil_oci::Arch::host().name());
            if let Some(image) = host.or(images.first()) {
                let path = |blob: &Descriptor| format!("blobs/sha256/{}", blob.digest.hex());
                let layers: Vec<String> = image.manifest.layers.iter().map(path).collect();
                list.push(json!({
                    "Config": path(&image.manifest.config),
                    "RepoTags": crate::inspect::or_null(&tags),
                    "Layers": layers,
                }));
            }
        }
        let mut tar = TarWriter::new(out);
        for folder in ["blobs", "blobs/sha256"] {
            tar.entry(&Entry::directory(folder, 0)).map_err(writing())?;
        }
        for (digest, size) in &blobs {
            let path = format!("blobs/sha256/{}", digest.hex());
            tar.entry(&Entry::file(path, *size, 0o644, 0))
                .map_err(writing())?;
            let mut file = self
                .store
                .open_blob(digest)
                .map_err(|source| match source.kind() {
                    io::ErrorKind::NotFound => StoreError::MissingBlob(digest.clone()),
                    _ => writing()(source),
                })?;
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let read = io::Read::read(&mut file, &mut buffer).map_err(writing())?;
                if read == 0 {
                    break;
                }
                tar.data(&buffer[..read]).map_err(writing())?;
            }
        }
        let json = |error: serde_json::Error| writing()(error.into());
        let index = serde_json::to_vec(&Index::new(entries)).map_err(json)?;
        let list = serde_json::to_vec(&list).map_err(json)?;
        let layout: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
        for (name, bytes) in [
            ("index.json", &*index),
            ("manifest.json", &*list),
            ("oci-layout", layout),
        ] {
            tar.file(&Entry::file(name, bytes.len() as u64, 0o644, 0), bytes)
                .map_err(writing())?;
        }
        tar.finish().map(drop).map_err(writing())
    }
}
