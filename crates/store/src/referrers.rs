//! Referrers: artifacts about an image, such as its bills of materials, kept beside it and as long as it lives.
//!
//! One file a subject, `referrers-v1/HEX`, named by the digest of the manifest that they are about. The subject's own bytes
//! say nothing of them (OCI image specification 1.1, "Referrers").

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use coil_oci::{Descriptor, Digest, Manifest};
use serde::{Deserialize, Serialize};

use crate::{Store, StoreError, layout};

/// What stands in a subject's file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Record {
    /// Manifests of artifacts, one for each kind.
    referrers: Vec<Descriptor>,
    /// What such artifacts are made from when somebody asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipe: Option<Recipe>,
}

/// What artifacts about a manifest are made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Recipe {
    /// The maker's own words.
    text: String,
    /// Blobs that it takes, which are kept as long as the subject.
    needs: Vec<Digest>,
}

impl Store {
    fn referrers_path(&self, subject: &Digest) -> PathBuf {
        self.root().join(layout::REFERRERS).join(subject.hex())
    }

    /// The artifacts about a manifest, by their kind; those whose blobs are gone are left out.
    pub fn referrers(&self, subject: &Digest) -> Vec<Descriptor> {
        let mut found = self.read_referrers(subject).referrers;
        found.retain(|descriptor| self.has_blob(&descriptor.digest));
        found
    }

    fn read_referrers(&self, subject: &Digest) -> Record {
        fs::read(self.referrers_path(subject))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Keeps documents about a manifest, each as an artifact of its own: `(media type, bytes)`.
    ///
    /// An older artifact of the same kind gives way. Idempotent and atomic, not synced: what is lost can be made again.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn put_referrers(&self, subject: &Descriptor, documents: &[(&str, &[u8])]) -> io::Result<()> {
        let mut made = Vec::new();
        self.put_blob(Manifest::EMPTY_CONFIG)?;
        for (kind, bytes) in documents {
            let document = Descriptor::new(kind, self.put_blob(bytes)?, bytes.len() as u64);
            let manifest = Manifest::artifact(document, subject);
            let mut descriptor = self.put_document(&manifest.media_type, &manifest)?;
            descriptor.artifact_type = manifest.artifact_type;
            made.push(descriptor);
        }
        let kinds: BTreeSet<_> = made.iter().map(|one| one.artifact_type.clone()).collect();
        let older = self.read_referrers(&subject.digest);
        made.extend(
            older
                .referrers
                .into_iter()
                .filter(|old| !kinds.contains(&old.artifact_type)),
        );
        made.sort_by(|a, b| a.artifact_type.cmp(&b.artifact_type));
        let record = serde_json::to_vec(&Record {
            referrers: made,
            recipe: older.recipe,
        })?;
        self.write_atomic(&self.referrers_path(&subject.digest), &record)
    }

    /// Keeps what artifacts about a manifest can be made from: a small text, and blobs that it takes.
    ///
    /// Most images are never asked for theirs, and one small file is written where documents would be large. Atomic, not
    /// synced.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn put_recipe(&self, subject: &Digest, text: &str, needs: &[Digest]) -> io::Result<()> {
        let mut record = self.read_referrers(subject);
        record.recipe = Some(Recipe {
            text: text.to_owned(),
            needs: needs.to_vec(),
        });
        self.write_atomic(&self.referrers_path(subject), &serde_json::to_vec(&record)?)
    }

    /// What was kept by [`Store::put_recipe`], if all that it takes is there.
    pub fn recipe(&self, subject: &Digest) -> Option<String> {
        let recipe = self.read_referrers(subject).recipe?;
        let whole = recipe.needs.iter().all(|blob| self.has_blob(blob));
        whole.then_some(recipe.text)
    }

    /// The document of one kind about a manifest, checked against its digest; none where there is none.
    ///
    /// # Errors
    /// `Damaged`, `Malformed`, and what the disk gives.
    pub fn referrer_document(&self, subject: &Digest, kind: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let of_kind = |descriptor: &Descriptor| descriptor.artifact_type.as_deref() == Some(kind);
        let Some(descriptor) = self.referrers(subject).into_iter().find(of_kind) else {
            return Ok(None);
        };
        let manifest = self.read_manifest(&descriptor)?;
        let Some(document) = manifest.layers.first() else {
            return Ok(None);
        };
        match self.read_blob(&document.digest) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(StoreError::Damaged {
                what: format!("the blob {}", document.digest),
            }),
            Err(source) => Err(StoreError::Io {
                doing: format!("reading the blob {}", document.digest),
                source,
            }),
        }
    }

    /// Keeps what is about live manifests, and where `forget` is given forgets what is about others.
    pub(crate) fn keep_referrers(&self, live: &mut BTreeSet<String>, forget: bool) {
        let Ok(entries) = fs::read_dir(self.root().join(layout::REFERRERS)) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let subject = Digest::from_hex(&name).ok().filter(|_| live.contains(&name));
            let Some(subject) = subject else {
                if forget {
                    let _ = fs::remove_file(entry.path());
                }
                continue;
            };
            if let Some(recipe) = self.read_referrers(&subject).recipe {
                live.extend(recipe.needs.iter().map(|blob| blob.hex().to_owned()));
            }
            for referrer in self.referrers(&subject) {
                if let Ok(blobs) = self.blobs_of(&referrer) {
                    live.extend(blobs.into_iter().map(|blob| blob.digest.hex().to_owned()));
                }
            }
        }
    }
}
