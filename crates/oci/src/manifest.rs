//! Descriptors, manifests and indices (OCI image specification 1.1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Platform};

/// The media types that coil writes and reads.
pub mod media_type {
    /// An image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An image configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// An uncompressed layer.
    pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A gzip layer.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A zstd layer.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// The configuration of an artifact that has none: the two bytes `{}`.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// An SPDX document in JSON.
    pub const SPDX: &str = "application/spdx+json";
    /// A CycloneDX document in JSON.
    pub const CYCLONEDX: &str = "application/vnd.cyclonedx+json";
}

/// What names a blob: its type, digest and size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The blob's media type.
    pub media_type: String,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// Free notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What kind of artifact a manifest is, if it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor with neither annotations nor platform.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Whether this entry of an index tells of another one and is no image (BuildKit's "Attestation storage").
    pub fn is_attestation(&self) -> bool {
        let kind = self.annotations.get("vnd.docker.reference.type");
        kind.is_some_and(|kind| kind == "attestation-manifest")
    }

    /// Whether this names an index of several images.
    pub fn is_index(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            media_type::INDEX | media_type::DOCKER_INDEX
        )
    }
}

/// One image: its configuration and its layers, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own media type.
    #[serde(default)]
    pub media_type: String,
    /// What kind of artifact this is, if it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image's configuration.
    pub config: Descriptor,
    /// The layers' blobs, the lowest first.
    pub layers: Vec<Descriptor>,
    /// The manifest that this artifact is about: it is that one's referrer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Several images under one name, one for each platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The index's own media type.
    #[serde(default)]
    pub media_type: String,
    /// The images.
    pub manifests: Vec<Descriptor>,
    /// Free notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// An image of a configuration and its layers, the lowest first.
    pub fn image(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: media_type::MANIFEST.into(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// An artifact of one document about another manifest, with the empty configuration.
    pub fn artifact(document: Descriptor, subject: &Descriptor) -> Manifest {
        // A subject is a plain descriptor: where it runs, and what an index notes of it, is not its own.
        let subject = Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size);
        let config = Descriptor::new(media_type::EMPTY, Digest::of(Manifest::EMPTY_CONFIG), 2);
        Manifest {
            artifact_type: Some(document.media_type.clone()),
            subject: Some(subject),
            ..Manifest::image(config, vec![document])
        }
    }

    /// The bytes of the empty configuration.
    pub const EMPTY_CONFIG: &'static [u8] = b"{}";
}

impl Index {
    /// An OCI index of these images.
    pub fn new(manifests: Vec<Descriptor>) -> Index {
        Index {
            schema_version: 2,
            media_type: media_type::INDEX.into(),
            manifests,
            annotations: BTreeMap::new(),
        }
    }

    /// The image for a platform.
    ///
    /// A variant that was asked for comes first, then the processor's first one, which every machine runs, then any other.
    pub fn find(&self, wanted: &Platform) -> Option<&Descriptor> {
        let rank = |descriptor: &Descriptor| {
            let platform = descriptor.platform.as_ref()?;
            if platform.os != wanted.os || platform.architecture != wanted.architecture {
                return None;
            }
            let first = match wanted.architecture.as_str() {
                "arm64" => "v8",
                _ => "v1",
            };
            let variant = platform.variant.as_deref().unwrap_or(first);
            let asked = wanted.variant.as_deref().unwrap_or(first);
            Some(match variant {
                _ if variant == asked => 0,
                _ if variant == first => 1,
                _ => 2,
            })
        };
        let ranked = self
            .manifests
            .iter()
            .filter_map(|entry| Some((rank(entry)?, entry)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
    }
}
