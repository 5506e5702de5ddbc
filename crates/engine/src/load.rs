//! `load`: images of an archive, as `docker save` writes it or as an OCI layout, into the store.
//!
//! The archive is read once, from its beginning to its end. Files of it never become paths of this machine: what a name
//! like `blobs/sha256/HEX` or `layer.tar` holds becomes a blob by what its bytes are, and is found again by the archive's name
//! for it. What a manifest says is compared with that before anything has a name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};

use coil_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Reference, media_type};
use coil_store::StoreError;
use serde::Deserialize;

use crate::Engine;

/// Manifests and configurations are small; what claims to be one and isn't is an attack.
const LARGEST_DOCUMENT: u64 = 16 << 20;
const MOST_ENTRIES: usize = 100_000;
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";

/// Why an archive was not loaded.
#[derive(Debug)]
pub enum LoadError {
    /// It could not be read.
    Read(io::Error),
    /// It is no archive of images, or says what isn't so.
    Archive(String),
    /// The store can't keep it.
    Store(Box<StoreError>),
}

impl LoadError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            LoadError::Read(_) | LoadError::Archive(_) => {
                Some("give what `coil save` or `docker save` wrote, or a tar of an OCI layout; `coil import` takes a file system".into())
            }
            LoadError::Store(error) => error.help(),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Read(_) => f.write_str("the archive cannot be read"),
            LoadError::Archive(what) => write!(f, "the archive is not loaded: {what}"),
            LoadError::Store(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Read(error) => Some(error),
            LoadError::Store(error) => error.source(),
            LoadError::Archive(_) => None,
        }
    }
}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> Self {
        LoadError::Store(Box::new(error))
    }
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// Under a name.
    Name(Reference),
    /// By its id alone.
    Id(Digest),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// What the archive's names stand for.
#[derive(Default)]
struct Contents {
    blobs: BTreeMap<String, (Digest, u64)>,
    /// The few documents that are no blobs.
    documents: BTreeMap<String, Vec<u8>>,
    links: BTreeMap<String, String>,
}

impl Contents {
    /// The blob of a name; a link leads to another name of the archive.
    fn blob(&self, name: &str) -> Option<&(Digest, u64)> {
        let mut name = name.to_owned();
        for _ in 0..8 {
            if let Some(found) = self.blobs.get(&name) {
                return Some(found);
            }
            name = self.links.get(&name)?.clone();
        }
        None
    }

    fn has(&self, descriptor: &Descriptor) -> bool {
        let name = format!("blobs/sha256/{}", descriptor.digest.hex());
        self.blob(&name).is_some_and(|(_, size)| *size == descriptor.size)
    }
}

fn wrong(what: impl Into<String>) -> LoadError {
    LoadError::Archive(what.into())
}

/// A name in an archive without `./`; none when it leads out.
fn plain(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => parts.push(part),
        }
    }
    (!name.starts_with('/')).then(|| parts.join("/"))
}

/// What a link in a folder leads to.
fn target(name: &str, link: &str, hard: bool) -> Option<String> {
    let mut parts: Vec<&str> = match (hard, name.rsplit_once('/')) {
        (false, Some((folder, _))) => folder.split('/').collect(),
        _ => Vec::new(),
    };
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!link.starts_with('/')).then(|| parts.join("/"))
}

impl Engine {
    /// Loads every image of an archive, compressed or not; gives their names, or their ids where they have none.
    ///
    /// # Errors
    /// See [`LoadError`]; no name stands for anything new then, and nothing of the archive is kept.
    pub fn load_images(&self, stream: impl Read + Send + 'static) -> Result<Vec<Loaded>, LoadError> {
        let lease = self.store.lease().map_err(crate::store_io("locking the store"))?;
        let loaded = self.load_all(Box::new(stream));
        drop(lease);
        if loaded.is_err() {
            // What was read till then belongs to nobody.
            let _ = self.store.collect(false);
        }
        loaded
    }

    fn load_all(&self, stream: Box<dyn Read + Send>) -> Result<Vec<Loaded>, LoadError> {
        let stream = coil_store::decompressed(stream).map_err(LoadError::Read)?;
        let contents = self.read_archive(stream)?;
        let images = match contents.documents.get("index.json") {
            Some(index) => self.layout_images(&contents, index)?,
            None => match contents.documents.get("manifest.json") {
                Some(list) => self.docker_images(&contents, list)?,
                None => return Err(wrong("it has neither a manifest.json nor an index.json")),
            },
        };
        // All is known to be whole by now: names come last.
        let mut loaded = Vec::new();
        for (descriptor, id, names) in images {
            for name in &names {
                self.name_image(&descriptor, Some(name))?;
                loaded.push(Loaded::Name(name.clone()));
            }
            if names.is_empty() {
                self.name_image(&descriptor, None)?;
                loaded.push(Loaded::Id(id));
            }
        }
        Ok(loaded)
    }

    fn read_archive(&self, stream: Box<dyn Read + Send>) -> Result<Contents, LoadError> {
        let mut contents = Contents::default();
        let mut archive = tar::Archive::new(stream);
        for (number, entry) in archive.entries().map_err(LoadError::Read)?.enumerate() {
            let mut entry = entry.map_err(LoadError::Read)?;
            if number > MOST_ENTRIES {
                return Err(wrong("it has too many entries"));
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let Some(inside) = plain(&name) else {
                return Err(wrong(format!("`{}` leads out of it", name.escape_debug())));
            };
            let kind = entry.header().entry_type();
            if kind.is_dir() || kind.is_pax_global_extensions() {
                continue;
            }
            if kind.is_symlink() || kind.is_hard_link() {
                let link = String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned();
                let Some(leads) = target(&inside, &link, kind.is_hard_link()) else {
                    return Err(wrong(format!("`{}` links out of it", name.escape_debug())));
                };
                contents.links.insert(inside, leads);
                continue;
            }
            if !(kind.is_file() || kind.is_contiguous()) {
                return Err(wrong(format!("`{}` is no file", name.escape_debug())));
            }
            let size = entry.size();
            if ["index.json", "manifest.json"].contains(&inside.as_str()) {
                let mut bytes = Vec::new();
                (&mut entry)
                    .take(LARGEST_DOCUMENT)
                    .read_to_end(&mut bytes)
                    .map_err(LoadError::Read)?;
                contents.documents.insert(inside, bytes);
                continue;
            }
            let keep = crate::store_io("keeping a blob");
            let mut blob = self.store.blob_writer().map_err(keep)?;
            let copied = io::copy(&mut entry, &mut blob).map_err(crate::store_io("keeping a blob"))?;
            if copied != size {
                return Err(wrong(format!(
                    "it ends in the middle of `{}`",
                    name.escape_debug()
                )));
            }
            let (digest, size) = blob.finish().map_err(crate::store_io("keeping a blob"))?;
            // A blob of a layout says what it is: a lie is told before anything reads it.
            if let Some(hex) = inside.strip_prefix("blobs/sha256/")
                && hex != digest.hex()
            {
                return Err(wrong(format!(
                    "`{}` has the digest {digest}",
                    name.escape_debug()
                )));
            }
            contents.blobs.insert(inside, (digest, size));
        }
        Ok(contents)
    }

    fn document<T: for<'a> Deserialize<'a>>(
        &self,
        digest: &Digest,
        size: u64,
        what: &str,
    ) -> Result<T, LoadError> {
        if size > LARGEST_DOCUMENT {
            return Err(wrong(format!("{what} {digest} is too large for one")));
        }
        let bytes = self.store.read_blob(digest).map_err(LoadError::Read)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| wrong(format!("{what} {digest} cannot be read: {error}")))
    }

    /// Checks an image's configuration against its layers, by unpacking them: the diff ids must be right.
    fn check_image(&self, config: &ImageConfig, layers: &[Descriptor], id: &Digest) -> Result<(), LoadError> {
        if config.rootfs.diff_ids.len() != layers.len() {
            return Err(wrong(format!(
                "the image {id} names {} layers and has {}",
                config.rootfs.diff_ids.len(),
                layers.len()
            )));
        }
        for (diff_id, blob) in config.rootfs.diff_ids.iter().zip(layers) {
            self.store.ensure_snapshot(diff_id, blob, self.ownership())?;
        }
        Ok(())
    }

    fn layout_images(
        &self,
        contents: &Contents,
        index: &[u8],
    ) -> Result<Vec<(Descriptor, Digest, Vec<Reference>)>, LoadError> {
        let index: Index = serde_json::from_slice(index)
            .map_err(|error| wrong(format!("index.json cannot be read: {error}")))?;
        let mut found: Vec<(Descriptor, Digest, Vec<Reference>)> = Vec::new();
        for entry in &index.manifests {
            if entry.artifact_type.is_some() {
                continue;
            }
            let id = self.check_entry(contents, entry, &mut BTreeSet::new())?;
            let Some(id) = id else { continue };
            let note = |key: &str| entry.annotations.get(key);
            let name = note(FULL_NAME).or_else(|| note(REF_NAME).filter(|name| name.contains(['/', ':'])));
            let name = match name.map(|name| Reference::parse(name)) {
                Some(Ok(name)) if name.digest().is_none() => Some(name),
                Some(Err(error)) => return Err(wrong(error.to_string())),
                _ => None,
            };
            let plain = Descriptor::new(&entry.media_type, entry.digest.clone(), entry.size);
            match found.iter_mut().find(|(known, ..)| *known == plain) {
                Some((_, _, names)) => names.extend(name),
                None => found.push((plain, id, name.into_iter().collect())),
            }
        }
        if found.is_empty() {
            return Err(wrong("it holds no image"));
        }
        Ok(found)
    }

    /// Checks what a descriptor names and all below it; gives an image's id, of an index the first one's.
    fn check_entry(
        &self,
        contents: &Contents,
        entry: &Descriptor,
        seen: &mut BTreeSet<Digest>,
    ) -> Result<Option<Digest>, LoadError> {
        let missing =
            |blob: &Descriptor| wrong(format!("the blob {} is missing, or of another size", blob.digest));
        if !contents.has(entry) {
            return Err(missing(entry));
        }
        if !seen.insert(entry.digest.clone()) {
            return Ok(None);
        }
        if entry.is_index() {
            let index: Index = self.document(&entry.digest, entry.size, "the index")?;
            let mut first = None;
            for manifest in &index.manifests {
                // An index may name platforms that were left out; what is told of an image is no image.
                if manifest.is_attestation() && contents.has(manifest) {
                    self.check_attestation(contents, manifest)?;
                } else if contents.has(manifest) {
                    let id = self.check_entry(contents, manifest, seen)?;
                    first = first.or(id);
                }
            }
            return Ok(first);
        }
        let manifest: Manifest = self.document(&entry.digest, entry.size, "the manifest")?;
        if manifest.artifact_type.is_some() || manifest.subject.is_some() {
            return Ok(None);
        }
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if !contents.has(blob) {
                return Err(missing(blob));
            }
        }
        let id = manifest.config.digest;
        let config: ImageConfig = self.document(&id, manifest.config.size, "the configuration")?;
        self.check_image(&config, &manifest.layers, &id)?;
        Ok(Some(id))
    }

    /// Statements about an image: they are all there, and are read by nobody here.
    fn check_attestation(&self, contents: &Contents, entry: &Descriptor) -> Result<(), LoadError> {
        let manifest: Manifest = self.document(&entry.digest, entry.size, "the manifest")?;
        let mut all = manifest.layers.iter().chain([&manifest.config]);
        match all.find(|blob| !contents.has(blob)) {
            Some(blob) => Err(wrong(format!(
                "the blob {} is missing, or of another size",
                blob.digest
            ))),
            None => Ok(()),
        }
    }

    fn docker_images(
        &self,
        contents: &Contents,
        list: &[u8],
    ) -> Result<Vec<(Descriptor, Digest, Vec<Reference>)>, LoadError> {
        let entries: Vec<DockerEntry> = serde_json::from_slice(list)
            .map_err(|error| wrong(format!("manifest.json cannot be read: {error}")))?;
        let mut found = Vec::new();
        for entry in entries {
            let blob = |name: &str| -> Result<(Digest, u64), LoadError> {
                let missing = || wrong(format!("`{}` is missing", name.escape_debug()));
                let inside = plain(name).ok_or_else(missing)?;
                contents.blob(&inside).cloned().ok_or_else(missing)
            };
            let (id, size) = blob(&entry.config)?;
            let config: ImageConfig = self.document(&id, size, "the configuration")?;
            let layers: Vec<Descriptor> = entry
                .layers
                .iter()
                .map(|name| {
                    let (digest, size) = blob(name)?;
                    Ok(Descriptor::new(self.layer_type(&digest)?, digest, size))
                })
                .collect::<Result<_, LoadError>>()?;
            self.check_image(&config, &layers, &id)?;
            // The configuration stays the bytes that it came as.
            let manifest = Manifest::image(Descriptor::new(media_type::CONFIG, id.clone(), size), layers);
            let descriptor = self
                .store
                .put_document(media_type::MANIFEST, &manifest)
                .map_err(crate::store_io("keeping a manifest"))?;
            let names: Vec<Reference> = entry
                .repo_tags
                .unwrap_or_default()
                .iter()
                .map(|name| Reference::parse(name).map_err(|error| wrong(error.to_string())))
                .collect::<Result<_, _>>()?;
            found.push((descriptor, id, names));
        }
        if found.is_empty() {
            return Err(wrong("it holds no image"));
        }
        Ok(found)
    }

    /// What a layer's blob is compressed with, by its first bytes.
    fn layer_type(&self, digest: &Digest) -> Result<&'static str, LoadError> {
        let mut start = [0; 4];
        let mut file = self.store.open_blob(digest).map_err(LoadError::Read)?;
        let read = file.read(&mut start).map_err(LoadError::Read)?;
        Ok(match &start[..read] {
            [0x1f, 0x8b, ..] => media_type::LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] => media_type::LAYER_ZSTD,
            _ => media_type::LAYER_TAR,
        })
    }
}
