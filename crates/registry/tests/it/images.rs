//! Small images to serve, and a store to pull them into.

use std::collections::BTreeMap;
use std::io::Write;

use coil_fetch::{FetchSettings, Fetcher, NoProgress};
use coil_oci::tar::{Entry, TarWriter};
use coil_oci::{Arch, Digest, Platform, Reference};
use coil_registry::{Credentials, PullError, PullRequest, Pulled, Quiet, Registries, RegistrySettings};
use coil_store::{Store, StoreOptions};
use serde_json::json;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Blobs and manifests by digest; the image's own manifest is the last.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub top: String,
}

impl Content {
    /// An image of one platform with a small layer in each of the given forms: `gzip`, `tar`.
    pub fn image(architecture: &str, forms: &[&str], docker: bool) -> Content {
        let mut content = Content::default();
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for (number, form) in forms.iter().enumerate() {
            let mut tar = TarWriter::new(Vec::new());
            let text = format!("{architecture} {number} {}\n", "x".repeat(20_000));
            let entry = Entry::file(format!("file-{number}"), text.len() as u64, 0o644, 0);
            tar.file(&entry, text.as_bytes()).unwrap();
            let plain = tar.finish().unwrap();
            diff_ids.push(Digest::of(&plain).to_string());
            let (bytes, ending) = match *form {
                "gzip" => {
                    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(0));
                    gzip.write_all(&plain).unwrap();
                    (gzip.finish().unwrap(), "+gzip")
                }
                _ => (plain, ""),
            };
            let media_type = match docker {
                true => "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned(),
                false => format!("application/vnd.oci.image.layer.v1.tar{ending}"),
            };
            layers
                .push(json!({ "mediaType": media_type, "size": bytes.len(), "digest": content.blob(bytes) }));
        }
        let config = json!({
            "architecture": architecture, "os": "linux", "config": { "Env": ["A=1"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = serde_json::to_vec(&config).unwrap();
        let media_type = match docker {
            true => "application/vnd.docker.container.image.v1+json",
            false => "application/vnd.oci.image.config.v1+json",
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": if docker { DOCKER_MANIFEST } else { MANIFEST },
            "config": { "mediaType": media_type, "size": config.len(), "digest": content.blob(config) },
            "layers": layers,
        });
        content.manifest(if docker { DOCKER_MANIFEST } else { MANIFEST }, &manifest);
        content
    }

    /// An index of several images: platform, variant, image.
    pub fn index(images: &[(&str, Option<&str>, &Content)], docker: bool) -> Content {
        let mut content = Content::default();
        let mut entries = Vec::new();
        for (architecture, variant, image) in images {
            content.blobs.extend(image.blobs.clone());
            content.manifests.extend(image.manifests.clone());
            let (media_type, bytes) = &image.manifests[&image.top];
            let mut platform = json!({ "architecture": architecture, "os": "linux" });
            if let Some(variant) = variant {
                platform["variant"] = json!(variant);
            }
            entries.push(json!({
                "mediaType": media_type, "digest": image.top, "size": bytes.len(), "platform": platform,
            }));
        }
        // What builders put beside the images, of no platform.
        entries.push(json!({
            "mediaType": MANIFEST, "digest": Digest::of(b"attestation").to_string(), "size": 1,
            "platform": { "architecture": "unknown", "os": "unknown" },
        }));
        let media_type = if docker { DOCKER_INDEX } else { INDEX };
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries });
        content.manifest(media_type, &index);
        content
    }

    fn blob(&mut self, bytes: Vec<u8>) -> String {
        let digest = Digest::of(&bytes).to_string();
        self.blobs.insert(digest.clone(), bytes);
        digest
    }

    pub fn manifest(&mut self, media_type: &str, value: &serde_json::Value) {
        let bytes = serde_json::to_vec(value).unwrap();
        let digest = Digest::of(&bytes).to_string();
        self.manifests.insert(digest.clone(), (media_type.into(), bytes));
        self.top = digest;
    }

    /// The blobs that are layers: all but JSON.
    pub fn layers(&self) -> Vec<String> {
        let layers = self
            .blobs
            .iter()
            .filter(|(_, bytes)| bytes.first() != Some(&b'{'));
        layers.map(|(digest, _)| digest.clone()).collect()
    }
}

/// A store in a folder of its own.
pub struct Scratch {
    pub store: Store,
    _folder: tempfile::TempDir,
}

impl Scratch {
    pub fn new() -> Scratch {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            root: folder.path().join("root"),
            downloads: None,
            boot_id: "boot".into(),
        });
        Scratch {
            store,
            _folder: folder,
        }
    }

    pub fn pull(
        &self,
        image: &str,
        architectures: &[Arch],
        settings: &RegistrySettings,
        credentials: &dyn Credentials,
    ) -> Result<Pulled, PullError> {
        let fetcher = Fetcher::new(FetchSettings {
            retries: 2,
            ..FetchSettings::default()
        })
        .with_first_pause(std::time::Duration::from_millis(1));
        let registries = Registries::new(&fetcher, settings.clone(), credentials);
        let request = PullRequest {
            reference: Reference::parse(image).unwrap(),
            digest: None,
            platforms: architectures.iter().map(|arch| Platform::linux(*arch)).collect(),
            strict: true,
        };
        registries.pull(&self.store, &request, &NoProgress, &Quiet)
    }

    /// Names what was pulled, and reads it as an image.
    pub fn image(&self, image: &str, pulled: &Pulled, arch: Arch) -> coil_store::Image {
        let name = Reference::parse(image).unwrap();
        self.store.set_ref(&name, &pulled.descriptor, 1).unwrap();
        let named = self.store.find(image).unwrap();
        self.store.image(&named, &Platform::linux(arch)).unwrap()
    }
}
