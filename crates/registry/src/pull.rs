//! Pulling: a reference becomes manifests, configurations and layers in the store.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use coil_fetch::{Download, FetchError, Progress};
use coil_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type};
use coil_store::Store;
use serde::Deserialize;

use crate::client::{Registries, said};
use crate::endpoint::Endpoint;
use crate::error::PullError;

/// How many layers are fetched at the same moment.
const CONNECTIONS: usize = 4;
const SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The image.
    pub reference: Reference,
    /// The digest that counts in place of the tag, where one is pinned.
    pub digest: Option<Digest>,
    /// The platforms; at least one.
    pub platforms: Vec<Platform>,
    /// Whether an image without an index must be of the platform, or is taken as it is.
    pub strict: bool,
}

/// What was pulled.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// What the name stands for: an index's descriptor, or a manifest's.
    pub descriptor: Descriptor,
    /// The platforms and their manifests, in the order asked for.
    pub images: Vec<(Platform, Descriptor)>,
    /// Whether anything was fetched that the store had not.
    pub is_new: bool,
}

/// What became of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    /// It was in the store.
    Exists,
    /// It was fetched.
    Complete,
}

/// Who is told of layers.
pub trait PullEvents: Sync {
    /// A layer is in the store now.
    fn layer(&self, digest: &Digest, state: LayerState);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl PullEvents for Quiet {
    fn layer(&self, _digest: &Digest, _state: LayerState) {}
}

/// One pull in progress.
struct Pull<'a> {
    registries: &'a Registries<'a>,
    store: &'a Store,
    endpoint: &'a Endpoint,
    request: &'a PullRequest,
    progress: &'a dyn Progress,
    events: &'a dyn PullEvents,
    is_new: AtomicBool,
}

/// A layer as a manifest lists it; foreign ones have addresses of their own.
#[derive(Deserialize)]
struct Listed {
    digest: Digest,
    #[serde(default)]
    urls: Vec<String>,
}

#[derive(Deserialize)]
struct Layers {
    layers: Vec<Listed>,
}

impl Registries<'_> {
    /// Brings an image into the store, and gives what its name stands for; the name itself is not set.
    ///
    /// The caller holds a lease until the name is set. What the store has is not fetched again; a layer that was cut off is
    /// resumed, also by a later pull. Nothing of it can be seen in the store before all of its digests are checked.
    ///
    /// # Errors
    /// See [`PullError`]; blobs that came before the error stay until the next collection.
    pub fn pull(
        &self,
        store: &Store,
        request: &PullRequest,
        progress: &dyn Progress,
        events: &dyn PullEvents,
    ) -> Result<Pulled, PullError> {
        let endpoints = self.settings.endpoints(&request.reference);
        let mut last = None;
        for endpoint in &endpoints {
            let pull = Pull {
                registries: self,
                store,
                endpoint,
                request,
                progress,
                events,
                is_new: AtomicBool::new(false),
            };
            match pull.run() {
                Ok(pulled) => return Ok(pulled),
                // A mirror that hasn't got it, or is down, is no reason to give up.
                Err(error) if endpoint.is_mirror && !matches!(error, PullError::Store { .. }) => {
                    progress.note(&format!("the mirror {} is passed over: {error}", endpoint.name));
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or(PullError::NotFound {
            image: request.reference.familiar(),
            said: "no registry to ask".into(),
        }))
    }
}

impl Pull<'_> {
    fn image(&self) -> String {
        self.request.reference.familiar()
    }

    fn run(&self) -> Result<Pulled, PullError> {
        let reference = &self.request.reference;
        let digest = self.request.digest.as_ref().or(reference.digest());
        let (descriptor, bytes) = match digest {
            Some(digest) => self.manifest(&digest.to_string(), Some(digest))?,
            None => self.manifest(reference.tag().unwrap_or("latest"), None)?,
        };
        let mut images = Vec::new();
        if descriptor.is_index() {
            let index: Index = self.parse("index", &bytes)?;
            // All are chosen before any is fetched: a platform that is missing costs no download.
            let chosen: Vec<&Descriptor> = self
                .request
                .platforms
                .iter()
                .map(|platform| self.choose(&index, platform))
                .collect::<Result<_, _>>()?;
            for (platform, entry) in self.request.platforms.iter().zip(chosen) {
                let (found, bytes) = self.manifest(&entry.digest.to_string(), Some(&entry.digest))?;
                self.whole(&found, &bytes)?;
                images.push((platform.clone(), found));
            }
        } else {
            let config = self.whole(&descriptor, &bytes)?;
            for platform in &self.request.platforms {
                let same = config.os == platform.os && config.architecture == platform.architecture;
                if self.request.strict && !same {
                    return Err(PullError::NoPlatform {
                        image: self.image(),
                        wanted: platform.to_string(),
                        found: vec![format!("{}/{}", config.os, config.architecture)],
                    });
                }
                images.push((platform.clone(), descriptor.clone()));
            }
        }
        Ok(Pulled {
            descriptor,
            images,
            is_new: self.is_new.load(Ordering::Relaxed),
        })
    }

    fn choose<'i>(&self, index: &'i Index, platform: &Platform) -> Result<&'i Descriptor, PullError> {
        index.find(platform).ok_or_else(|| PullError::NoPlatform {
            image: self.image(),
            wanted: platform.to_string(),
            found: index
                .manifests
                .iter()
                .filter_map(|entry| entry.platform.as_ref())
                // What an index says about itself is no platform.
                .filter(|platform| platform.os != "unknown")
                .map(ToString::to_string)
                .collect(),
        })
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, what: &str, bytes: &[u8]) -> Result<T, PullError> {
        serde_json::from_slice(bytes).map_err(|source| PullError::Malformed {
            image: self.image(),
            what: what.to_owned(),
            source,
        })
    }

    /// Whether only `coil base` made what has this digest: no registry knows of it, and pinned to it, it would pass for an image.
    fn is_of_a_stand_in(&self, digest: &Digest) -> bool {
        let all = self.store.images().unwrap_or_default();
        all.iter()
            .any(|image| image.stand_in && image.descriptor.digest == *digest)
    }

    /// A manifest or index, from the store where it has it, and kept there.
    fn manifest(&self, name: &str, digest: Option<&Digest>) -> Result<(Descriptor, Vec<u8>), PullError> {
        if let Some(digest) = digest
            && !self.is_of_a_stand_in(digest)
            && let Ok(bytes) = self.store.read_blob(digest)
        {
            let descriptor = self.descriptor(&bytes, None)?;
            return Ok((descriptor, bytes));
        }
        let accept = [
            media_type::MANIFEST,
            media_type::INDEX,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_INDEX,
        ]
        .join(", ");
        let path = format!("manifests/{name}");
        let answer = self.registries.get(self.endpoint, &path, Some(&accept))?;
        let reference = &self.request.reference;
        match answer.status {
            200 => {}
            404 if self.names_no_repository(&answer.body) => return Err(self.denied(&answer)),
            404 => {
                return Err(PullError::NotFound {
                    image: match digest {
                        Some(digest) => format!("{}@{digest}", reference.familiar_name()),
                        None => reference.familiar(),
                    },
                    said: said(&answer, "manifest unknown"),
                });
            }
            401 | 403 => return Err(self.denied(&answer)),
            _ => return Err(self.registries.failure(self.endpoint, &answer)),
        }
        let found = Digest::of(&answer.body);
        let told = answer
            .header("docker-content-digest")
            .and_then(|text| Digest::parse(text).ok());
        if let Some(expected) = digest.or(told.as_ref())
            && *expected != found
        {
            return Err(PullError::Digest {
                what: format!("the manifest {name} of {}", reference.familiar_name()),
                expected: expected.clone(),
                found,
            });
        }
        let content_type = answer.header("content-type").map(str::to_owned);
        let descriptor = self.descriptor(&answer.body, content_type.as_deref())?;
        if !self.store.has_blob(&found) {
            self.keep(&answer.body)?;
            self.is_new.store(true, Ordering::Relaxed);
        }
        Ok((descriptor, answer.body))
    }

    /// A repository that isn't there and one that may not be seen look the same to Docker's users.
    fn names_no_repository(&self, body: &[u8]) -> bool {
        String::from_utf8_lossy(body).contains("NAME_UNKNOWN")
    }

    fn denied(&self, answer: &coil_fetch::Answer) -> PullError {
        PullError::Denied {
            name: self.request.reference.familiar_name(),
            registry: self.endpoint.name.clone(),
            said: said(answer, "denied: requested access to the resource is denied"),
            logged_in: self.registries.is_logged_in(self.endpoint),
        }
    }

    /// What a manifest's bytes are: by their own word, then by the server's.
    fn descriptor(&self, bytes: &[u8], content_type: Option<&str>) -> Result<Descriptor, PullError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            media_type: Option<String>,
            schema_version: Option<u32>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let kind: Kind = self.parse("manifest", bytes)?;
        let told = content_type
            .and_then(|text| text.split(';').next())
            .map(str::trim);
        let refuse = |media_type: &str| PullError::Kind {
            image: self.image(),
            media_type: media_type.to_owned(),
        };
        if kind.schema_version == Some(1) || told.is_some_and(|told| SCHEMA_1.contains(&told)) {
            return Err(refuse(SCHEMA_1[1]));
        }
        let own = kind.media_type.as_deref().filter(|own| !own.is_empty());
        let media_type = own.or(told).unwrap_or(match kind.manifests {
            Some(_) => media_type::INDEX,
            None => media_type::MANIFEST,
        });
        let known = [
            media_type::MANIFEST,
            media_type::INDEX,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_INDEX,
        ];
        let media_type = match known.contains(&media_type) {
            true => media_type,
            // A server of plain files says `application/json`; the content tells.
            false if own.is_none() && kind.manifests.is_some() => media_type::INDEX,
            false if own.is_none() => media_type::MANIFEST,
            false => return Err(refuse(media_type)),
        };
        Ok(Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64))
    }

    fn keep(&self, bytes: &[u8]) -> Result<(), PullError> {
        let kept = self.store.put_blob(bytes).map_err(store("keeping a manifest"));
        kept.map(|_| ())
    }

    /// Fetches what a manifest names: the configuration, then the layers.
    fn whole(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<ImageConfig, PullError> {
        let manifest: Manifest = self.parse("manifest", bytes)?;
        let listed: Layers = self.parse("manifest", bytes)?;
        let kind = manifest.config.media_type.as_str();
        // Docker's own type of old, and nothing at all, are images too.
        if !matches!(
            kind,
            media_type::CONFIG | DOCKER_CONFIG | "application/octet-stream" | ""
        ) {
            return Err(PullError::Kind {
                image: self.image(),
                media_type: kind.to_owned(),
            });
        }
        let config_bytes = self.config(&manifest.config)?;
        let config: ImageConfig = self.parse("configuration", &config_bytes)?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            let text = format!(
                "it has {} layers, and {} diff ids",
                manifest.layers.len(),
                config.rootfs.diff_ids.len()
            );
            return Err(PullError::Malformed {
                image: format!("{} ({})", self.image(), descriptor.digest),
                what: "configuration".into(),
                source: serde::de::Error::custom(text),
            });
        }
        self.layers(&manifest, &listed.layers)?;
        Ok(config)
    }

    fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, PullError> {
        if let Ok(bytes) = self.store.read_blob(&descriptor.digest) {
            return Ok(bytes);
        }
        let path = format!("blobs/{}", descriptor.digest);
        let answer = self.registries.get(self.endpoint, &path, None)?;
        match answer.status {
            200 => {}
            404 => {
                return Err(PullError::MissingBlob {
                    image: self.image(),
                    digest: descriptor.digest.clone(),
                });
            }
            401 | 403 => return Err(self.denied(&answer)),
            _ => return Err(self.registries.failure(self.endpoint, &answer)),
        }
        let found = Digest::of(&answer.body);
        if found != descriptor.digest {
            return Err(PullError::Digest {
                what: format!("the configuration of {}", self.image()),
                expected: descriptor.digest.clone(),
                found,
            });
        }
        self.keep(&answer.body)?;
        self.is_new.store(true, Ordering::Relaxed);
        Ok(answer.body)
    }

    /// All layers, several at a time; the first error ends it.
    fn layers(&self, manifest: &Manifest, listed: &[Listed]) -> Result<(), PullError> {
        let mut seen = BTreeSet::new();
        let wanted: Vec<&Descriptor> = manifest
            .layers
            .iter()
            .filter(|layer| seen.insert(&layer.digest))
            .collect();
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<PullError>> = Mutex::new(None);
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let over = failed.lock().map_or(true, |failed| failed.is_some());
                let Some(layer) = wanted.get(at).filter(|_| !over) else {
                    return;
                };
                let urls = listed
                    .iter()
                    .find(|listed| listed.digest == layer.digest)
                    .map_or(&[][..], |listed| listed.urls.as_slice());
                if let Err(error) = self.layer(layer, urls)
                    && let Ok(mut failed) = failed.lock()
                {
                    failed.get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..CONNECTIONS.min(wanted.len()) {
                scope.spawn(work);
            }
            work();
        });
        match failed.into_inner() {
            Ok(Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn layer(&self, layer: &Descriptor, urls: &[String]) -> Result<(), PullError> {
        let path = self.store.blob_path(&layer.digest);
        if std::fs::metadata(path).is_ok_and(|meta| meta.len() == layer.size) {
            self.events.layer(&layer.digest, LayerState::Exists);
            return Ok(());
        }
        let url = self.endpoint.url(&format!("blobs/{}", layer.digest));
        let mut fetched = self.fetch(&self.registries.blob_fetcher(self.endpoint), &url, layer);
        if matches!(fetched, Err(FetchError::Unauthorized { .. })) && self.registries.renew(self.endpoint)? {
            fetched = self.fetch(&self.registries.blob_fetcher(self.endpoint), &url, layer);
        }
        // A layer that may not be distributed stands where its maker has it; the digest says that it is the one.
        for foreign in urls {
            if fetched.is_err() {
                fetched = self.fetch(&self.registries.fetcher, foreign, layer).or(fetched);
            }
        }
        fetched.map_err(|error| match error {
            FetchError::NotFound { .. } => PullError::MissingBlob {
                image: self.image(),
                digest: layer.digest.clone(),
            },
            FetchError::Status { status: 429, .. } => PullError::RateLimit {
                registry: self.endpoint.name.clone(),
                said: "too many requests".into(),
            },
            other => PullError::Fetch(other),
        })?;
        self.is_new.store(true, Ordering::Relaxed);
        let from = self.download_path(layer);
        self.store
            .adopt_blob(&from, &layer.digest)
            .map_err(store("keeping a layer"))?;
        self.events.layer(&layer.digest, LayerState::Complete);
        Ok(())
    }

    fn download_path(&self, layer: &Descriptor) -> std::path::PathBuf {
        self.store.download_path("layers", layer.digest.hex())
    }

    fn fetch(&self, fetcher: &coil_fetch::Fetcher, url: &str, layer: &Descriptor) -> Result<(), FetchError> {
        let download = Download {
            url: url.to_owned(),
            dest: self.download_path(layer),
            id: layer.digest.short().to_owned(),
            size: Some(layer.size),
            sha256: Some(layer.digest.clone()),
        };
        fetcher.download(&download, self.progress).map(|_| ())
    }
}

fn store(doing: &str) -> impl FnOnce(std::io::Error) -> PullError {
    let doing = doing.to_owned();
    move |source| PullError::Store { doing, source }
}
