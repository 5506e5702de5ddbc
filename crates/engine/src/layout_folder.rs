//! Images of an OCI layout in a folder, into the store: named contexts of builds (`oci-layout://PATH`).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use coil_oci::{Descriptor, Digest, Index, Manifest};

use crate::Engine;
use crate::load::LoadError;

/// Documents are small.
const LARGEST: u64 = 16 << 20;
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Which image of a layout is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayoutChoice {
    /// The one of a tag.
    Tag(String),
    /// The one of a digest.
    Digest(Digest),
}

fn wrong(what: String) -> LoadError {
    LoadError::Archive(what)
}

impl Engine {
    /// Takes an image of a layout into the store; it has no name, and the caller holds a lease as long as it is used.
    ///
    /// # Errors
    /// A folder that is no layout, an image that isn't in it, blobs that are not what their names say.
    pub fn keep_layout_image(&self, folder: &Path, choice: &LayoutChoice) -> Result<Descriptor, LoadError> {
        let place = folder.join("index.json");
        let text = read(&place).map_err(|error| wrong(format!("{}: {error}", place.display())))?;
        let index: Index = serde_json::from_slice(&text)
            .map_err(|error| wrong(format!("{} cannot be read: {error}", place.display())))?;
        let tag_of = |entry: &Descriptor| entry.annotations.get(REF_NAME).cloned();
        let images: Vec<&Descriptor> = index
            .manifests
            .iter()
            .filter(|entry| entry.artifact_type.is_none() && !entry.is_attestation())
            .collect();
        let found = match choice {
            LayoutChoice::Digest(digest) => {
                let known = images.iter().find(|entry| entry.digest == *digest);
                known.map(|entry| (*entry).clone())
            }
            LayoutChoice::Tag(tag) => {
                let mut named = images.iter().filter(|entry| tag_of(entry).as_ref() == Some(tag));
                match (named.next(), images.as_slice()) {
                    (Some(entry), _) => Some((*entry).clone()),
                    // One without a name is meant where nothing else can be.
                    (None, [only]) if tag == "latest" && tag_of(only).is_none() => Some((*only).clone()),
                    _ => None,
                }
            }
        };
        let Some(entry) = found else {
            let known: Vec<String> = images
                .iter()
                .map(|entry| tag_of(entry).unwrap_or_else(|| entry.digest.to_string()))
                .collect();
            return Err(wrong(format!(
                "{} has no image {}; it has {}",
                folder.display(),
                match choice {
                    LayoutChoice::Tag(tag) => format!(":{tag}"),
                    LayoutChoice::Digest(digest) => format!("@{digest}"),
                },
                known.join(", ")
            )));
        };
        self.keep_entry(folder, &entry, true, &mut BTreeSet::new())?;
        Ok(Descriptor::new(&entry.media_type, entry.digest, entry.size))
    }

    fn keep_entry(
        &self,
        folder: &Path,
        entry: &Descriptor,
        required: bool,
        seen: &mut BTreeSet<Digest>,
    ) -> Result<(), LoadError> {
        if !seen.insert(entry.digest.clone()) || !self.keep_blob(folder, entry, required)? {
            return Ok(());
        }
        let bytes = self.store.read_blob(&entry.digest).map_err(LoadError::Read)?;
        let unreadable = |error| wrong(format!("{} cannot be read: {error}", entry.digest));
        if entry.is_index() {
            let index: Index = serde_json::from_slice(&bytes).map_err(unreadable)?;
            // An index may name platforms that were left out.
            return index
                .manifests
                .iter()
                .try_for_each(|inner| self.keep_entry(folder, inner, false, seen));
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(unreadable)?;
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            self.keep_blob(folder, blob, true)?;
        }
        Ok(())
    }

    /// Takes a blob, if the layout has it; its bytes are what its name says.
    fn keep_blob(&self, folder: &Path, blob: &Descriptor, required: bool) -> Result<bool, LoadError> {
        if self.store.has_blob(&blob.digest) {
            return Ok(true);
        }
        let place = folder.join("blobs/sha256").join(blob.digest.hex());
        let mut file = match File::open(&place) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => return Ok(false),
            Err(error) => return Err(wrong(format!("{}: {error}", place.display()))),
        };
        let mut writer = self
            .store
            .blob_writer()
            .map_err(crate::store_io("keeping a blob"))?;
        let copied = io::copy(&mut file, &mut writer).and_then(|_| writer.finish_as(&blob.digest).map(drop));
        copied.map_err(|error| wrong(format!("{}: {error}", place.display())))?;
        Ok(true)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if fs::metadata(path)?.is_file() {
        File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
