//! Writes an image where other tools read it: an OCI layout, an archive of one, or Docker's archive.
//!
//! Each is written beside its place under a temporary name and renamed when it is whole.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use coil_oci::tar::{Entry, TarWriter};
use coil_oci::{Descriptor, Digest, Index, Manifest, Reference};
use coil_store::{Store, StoreError};
use serde_json::json;

use crate::bill_of_materials::attach_bills;

/// Where an image goes besides the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A folder in the OCI image layout.
    Oci(PathBuf),
    /// A tar file of an OCI image layout.
    OciArchive(PathBuf),
    /// A tar file that `docker load` reads.
    DockerArchive(PathBuf),
}

/// An `--output` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputError {
    text: String,
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no output: give oci:DIR, oci-archive:FILE or docker-archive:FILE",
            self.text
        )
    }
}

impl std::error::Error for OutputError {}

impl FromStr for Output {
    type Err = OutputError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((_, "")) | None => Err(OutputError { text: text.into() }),
            Some(("oci", path)) => Ok(Output::Oci(path.into())),
            Some(("oci-archive", path)) => Ok(Output::OciArchive(path.into())),
            Some(("docker-archive", path)) => Ok(Output::DockerArchive(path.into())),
            Some(_) => Err(OutputError { text: text.into() }),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Oci(path) => write!(f, "oci:{}", path.display()),
            Output::OciArchive(path) => write!(f, "oci-archive:{}", path.display()),
            Output::DockerArchive(path) => write!(f, "docker-archive:{}", path.display()),
        }
    }
}

/// Why an image could not be written out.
#[derive(Debug)]
pub enum ExportError {
    /// The image could not be read.
    Store(StoreError),
    /// The place is there and is something else.
    Occupied(PathBuf),
    /// Docker's archive holds one platform.
    SeveralPlatforms(PathBuf),
    /// The disk said no.
    Io {
        /// Where.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl ExportError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            ExportError::Store(error) => error.help(),
            ExportError::Occupied(_) => Some("choose another folder, or remove this one".into()),
            ExportError::SeveralPlatforms(_) => {
                Some("give one `--platform`, or write `oci-archive:FILE`, which holds several".into())
            }
            ExportError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or write to another disk".into())
            }
            ExportError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(Path::new("."));
                Some(format!("make the folder first: `mkdir -p {}`", folder.display()))
            }
            ExportError::Io { .. } => None,
        }
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportError::Store(_) => f.write_str("the image cannot be read from the store"),
            ExportError::Occupied(path) => {
                write!(f, "{} is there already and is no OCI layout", path.display())
            }
            ExportError::SeveralPlatforms(path) => {
                write!(
                    f,
                    "{} cannot hold several platforms: Docker's archive has room for one",
                    path.display()
                )
            }
            ExportError::Io { path, .. } => write!(f, "writing {} failed", path.display()),
        }
    }
}

impl std::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ExportError::Store(source) => Some(source),
            ExportError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Writes what a descriptor names, under its references, to a place.
///
/// # Errors
/// See [`ExportError`]; nothing half-written stays.
pub fn export(
    store: &Store,
    descriptor: &Descriptor,
    names: &[Reference],
    output: &Output,
) -> Result<(), ExportError> {
    match output {
        Output::Oci(path) => layout_folder(store, descriptor, names, path),
        Output::OciArchive(path) => {
            archive(path, |tar| write_layout(store, descriptor, names, tar, Form::Oci))
        }
        Output::DockerArchive(path) => {
            if descriptor.is_index() {
                let index = store.read_index(descriptor).map_err(ExportError::Store)?;
                let [only] = index.manifests.as_slice() else {
                    return Err(ExportError::SeveralPlatforms(path.clone()));
                };
                return archive(path, |tar| write_layout(store, only, names, tar, Form::Docker));
            }
            archive(path, |tar| {
                write_layout(store, descriptor, names, tar, Form::Docker)
            })
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Oci,
    /// The same layout, with Docker's `manifest.json` beside it.
    Docker,
}

/// One index entry for each name, or one without a name.
fn layout_index(descriptor: &Descriptor, names: &[Reference]) -> Index {
    let named = |name: &Reference| {
        let mut entry = descriptor.clone();
        // umoci, skopeo and podman look for the tag; containerd and Docker for the whole name.
        entry
            .annotations
            .insert(REF_NAME.into(), name.tag().unwrap_or("latest").into());
        entry.annotations.insert(FULL_NAME.into(), name.canonical());
        entry
    };
    let entries = match names {
        [] => vec![descriptor.clone()],
        names => names.iter().map(named).collect(),
    };
    Index::new(entries)
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    // Maps with text keys and plain values always serialize.
    serde_json::to_vec(value).unwrap_or_default()
}

fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

fn archive(
    path: &Path,
    write: impl FnOnce(&mut TarWriter<BufWriter<File>>) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let temporary = temporary_beside(path);
    let failed = |source| ExportError::Io {
        path: path.to_owned(),
        source,
    };
    let written = (|| {
        let file = File::create(&temporary).map_err(failed)?;
        let mut tar = TarWriter::new(BufWriter::with_capacity(256 * 1024, file));
        write(&mut tar).map_err(|error| match error {
            ExportError::Io { source, .. } => failed(source),
            other => other,
        })?;
        tar.finish().and_then(|mut out| out.flush()).map_err(failed)?;
        fs::rename(&temporary, path).map_err(failed)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_layout(
    store: &Store,
    descriptor: &Descriptor,
    names: &[Reference],
    tar: &mut TarWriter<BufWriter<File>>,
    form: Form,
) -> Result<(), ExportError> {
    let failed = |source| ExportError::Io {
        path: PathBuf::new(),
        source,
    };
    for folder in ["blobs", "blobs/sha256"] {
        tar.entry(&Entry::directory(folder, 0)).map_err(failed)?;
    }
    let mut blobs = store.blobs_of(descriptor).map_err(ExportError::Store)?;
    blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    let mut buffer = vec![0; 256 * 1024];
    for blob in &blobs {
        let path = format!("blobs/sha256/{}", blob.digest.hex());
        tar.entry(&Entry::file(path, blob.size, 0o644, 0))
            .map_err(failed)?;
        let mut file = store.open_blob(&blob.digest).map_err(failed)?;
        loop {
            let read = file.read(&mut buffer).map_err(failed)?;
            if read == 0 {
                break;
            }
            tar.data(&buffer[..read]).map_err(failed)?;
        }
    }
    let index = to_json(&layout_index(descriptor, names));
    tar.file(&Entry::file("index.json", index.len() as u64, 0o644, 0), &index)
        .map_err(failed)?;
    if form == Form::Docker {
        let manifest = docker_manifest(store, descriptor, names)?;
        let entry = Entry::file("manifest.json", manifest.len() as u64, 0o644, 0);
        tar.file(&entry, &manifest).map_err(failed)?;
    }
    let entry = Entry::file("oci-layout", LAYOUT.len() as u64, 0o644, 0);
    tar.file(&entry, LAYOUT).map_err(failed)
}

/// Docker's list of images in an archive, pointing at the layout's own blobs.
fn docker_manifest(
    store: &Store,
    descriptor: &Descriptor,
    names: &[Reference],
) -> Result<Vec<u8>, ExportError> {
    let manifest = store.read_manifest(descriptor).map_err(ExportError::Store)?;
    let path = |blob: &Descriptor| format!("blobs/sha256/{}", blob.digest.hex());
    let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
    let layers: Vec<String> = manifest.layers.iter().map(path).collect();
    Ok(to_json(
        &json!([{ "Config": path(&manifest.config), "RepoTags": tags, "Layers": layers }]),
    ))
}

/// What is about the images of a descriptor and goes into a layout with them.
///
/// Only beside images with names: from a layout with several entries a reader takes one by its name, and tools such as
/// skopeo take an image without a name only where it is alone. An archive is always read so, and has none.
fn referrers(
    store: &Store,
    descriptor: &Descriptor,
    names: &[Reference],
) -> Result<Vec<Descriptor>, StoreError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let images = if descriptor.is_index() {
        store.read_index(descriptor)?.manifests
    } else {
        vec![descriptor.clone()]
    };
    let mut found = Vec::new();
    for image in &images {
        attach_bills(store, image)?;
        found.extend(store.referrers(&image.digest));
    }
    Ok(found)
}

fn read_manifest(blobs: &Path, entry: &Descriptor) -> Option<Manifest> {
    serde_json::from_slice(&fs::read(blobs.join(entry.digest.hex())).ok()?).ok()
}

/// The manifests that an entry of a layout stands for.
fn subjects_in(blobs: &Path, entry: &Descriptor) -> Vec<Digest> {
    let mut found = vec![entry.digest.clone()];
    if entry.is_index()
        && let Ok(bytes) = fs::read(blobs.join(entry.digest.hex()))
        && let Ok(index) = serde_json::from_slice::<Index>(&bytes)
    {
        found.extend(index.manifests.into_iter().map(|manifest| manifest.digest));
    }
    found
}

/// A layout in a folder: a new one, or one more image in a layout that is there.
fn layout_folder(
    store: &Store,
    descriptor: &Descriptor,
    names: &[Reference],
    path: &Path,
) -> Result<(), ExportError> {
    let failed = |source| ExportError::Io {
        path: path.to_owned(),
        source,
    };
    let old: Option<Index> = match fs::read(path.join("index.json")) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|_| ExportError::Occupied(path.into()))?),
        Err(_) => None,
    };
    if old.is_none() && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ExportError::Occupied(path.to_owned()));
    }
    let blobs_folder = path.join("blobs/sha256");
    fs::create_dir_all(&blobs_folder).map_err(failed)?;
    let referrers = referrers(store, descriptor, names).map_err(ExportError::Store)?;
    let mut blobs = store.blobs_of(descriptor).map_err(ExportError::Store)?;
    for referrer in &referrers {
        blobs.extend(store.blobs_of(referrer).map_err(ExportError::Store)?);
    }
    for blob in blobs {
        let to = blobs_folder.join(blob.digest.hex());
        if fs::metadata(&to).is_ok_and(|meta| meta.len() == blob.size) {
            continue;
        }
        let temporary = temporary_beside(&to);
        let copied = store
            .open_blob(&blob.digest)
            .and_then(|mut from| io::copy(&mut from, &mut File::create(&temporary)?))
            .and_then(|_| fs::rename(&temporary, &to));
        if let Err(source) = copied {
            let _ = fs::remove_file(&temporary);
            return Err(failed(source));
        }
    }
    let mut index = layout_index(descriptor, names);
    let taken: BTreeSet<Option<String>> = index
        .manifests
        .iter()
        .map(|entry| entry.annotations.get(REF_NAME).cloned())
        .collect();
    let kept = old.into_iter().flat_map(|old| old.manifests).filter(|entry| {
        let same = entry.digest == descriptor.digest && !entry.annotations.contains_key(REF_NAME);
        !same && !taken.contains(&entry.annotations.get(REF_NAME).cloned())
    });
    let (mut about, mut entries): (Vec<Descriptor>, Vec<Descriptor>) =
        kept.partition(|entry| entry.artifact_type.is_some());
    entries.append(&mut index.manifests);
    // What is about an image goes when the image's name has gone to another one.
    let subjects: BTreeSet<Digest> = entries
        .iter()
        .flat_map(|entry| subjects_in(&blobs_folder, entry))
        .collect();
    about.retain(|entry| {
        let subject = read_manifest(&blobs_folder, entry).and_then(|manifest| manifest.subject);
        let fresh = referrers.iter().any(|new| new.digest == entry.digest);
        !fresh && subject.is_none_or(|subject| subjects.contains(&subject.digest))
    });
    entries.append(&mut about);
    entries.extend(referrers);
    index.manifests = entries;
    for (name, bytes) in [("oci-layout", LAYOUT.to_vec()), ("index.json", to_json(&index))] {
        let to = path.join(name);
        let temporary = temporary_beside(&to);
        fs::write(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, &to))
            .map_err(failed)?;
    }
    Ok(())
}
