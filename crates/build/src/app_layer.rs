//! The last layer: the project's own files in `/app`, their bytecode, and the project as an installed package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use coil_oci::Digest;
use coil_oci::tar::Entry;
use coil_store::Store;
use coil_wheel::bytecode::{Interpreter, PycMode, SourceFile, compile_files};
use coil_wheel::environment::Environment;

use crate::app_tree::{AppKind, AppTree};
use crate::base::{keep_layer, known_layer};
use crate::error::PackError;
use crate::layer_writer::{Layer, LayerWriter};

/// Where the project is in an image.
pub const APP_FOLDER: &str = "app";
const LAYERS: &str = "app-layer-v1";
const BYTECODE: &str = "app-bytecode-v1";
const FORMAT: u32 = 1;

/// A file that makes the project importable, or a start script of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InstalledFile {
    /// Its path in the image, without a leading slash.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Whether it can be executed.
    pub executable: bool,
}

/// An interpreter's version, its identity, and how to get it.
pub(crate) type AppCompiler<'a> = (
    &'a str,
    &'a str,
    &'a (dyn Fn() -> Result<Interpreter, PackError> + Sync),
);

/// How the layer is made.
pub(crate) struct AppOptions<'a> {
    /// Where packages are.
    pub(crate) environment: &'a Environment,
    /// What compiles: its version, its identity, and how to get it; it is unpacked only when something must be compiled.
    pub(crate) compiler: Option<AppCompiler<'a>>,
    /// The project as a package.
    pub(crate) installed: &'a [InstalledFile],
    /// Whom the files belong to.
    pub(crate) owner: (u32, u32),
    /// The time of every file.
    pub(crate) epoch: u64,
    /// How many interpreters may run.
    pub(crate) threads: usize,
}

/// A file changed between being listed and being packed.
enum WriteError {
    Changed(std::path::PathBuf),
    Disk(io::Error),
    Read(std::path::PathBuf, io::Error),
}

/// What came of an attempt: a layer, or word that the tree is no longer what was listed.
pub(crate) enum Attempt {
    Done(Layer),
    Changed(std::path::PathBuf),
}

/// Makes the layer, or finds the one that was made of the same files before.
pub(crate) fn app_layer(
    store: &Store,
    tree: &AppTree,
    options: &AppOptions<'_>,
) -> Result<Attempt, PackError> {
    let key = key(tree, options);
    if let Some(layer) = known_layer(store, LAYERS, key.hex()) {
        return Ok(Attempt::Done(layer));
    }
    let bytecode = bytecode(store, tree, options)?;
    match write(store, tree, &bytecode, options) {
        Ok(layer) => {
            keep_layer(store, LAYERS, key.hex(), &layer)?;
            Ok(Attempt::Done(layer))
        }
        Err(WriteError::Changed(path)) => Ok(Attempt::Changed(path)),
        Err(WriteError::Read(path, source)) => Err(PackError::Read { path, source }),
        Err(WriteError::Disk(source)) => Err(PackError::disk("writing the app's layer")(source)),
    }
}

fn key(tree: &AppTree, options: &AppOptions<'_>) -> Digest {
    let (version, identity) = options
        .compiler
        .map_or(("", ""), |(version, identity, _)| (version, identity));
    let text = format!(
        "{FORMAT} {} {:?} {version} {identity} {:?} {:?} {}",
        tree.digest, options.environment, options.installed, options.owner, options.epoch
    );
    Digest::of(text.as_bytes())
}

/// The bytecode of every source file by its path in the image; what was compiled before is not compiled again.
///
/// It is checked against its source at each import (PEP 552), unlike the packages': an app's own files are what a
/// mount or a sync replaces.
fn bytecode(
    store: &Store,
    tree: &AppTree,
    options: &AppOptions<'_>,
) -> Result<BTreeMap<String, Vec<u8>>, PackError> {
    let Some((version, identity, interpreter)) = options.compiler else {
        return Ok(BTreeMap::new());
    };
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    for entry in &tree.entries {
        let AppKind::File { digest, .. } = &entry.kind else {
            continue;
        };
        let path = format!("{APP_FOLDER}/{}", entry.path);
        let Some(target) = options.environment.bytecode_path(&path) else {
            continue;
        };
        let what = format!("{version} {identity} {path} {digest}");
        let key = Digest::of(what.as_bytes()).hex().to_owned();
        match store.cache_get(BYTECODE, &key) {
            // An empty record stands for a file that is no valid Python.
            Some(bytes) if bytes.is_empty() => {}
            Some(bytes) => drop(found.insert(target, bytes)),
            None => {
                let full = tree.root.join(&entry.path);
                let source = fs::read(&full).map_err(|source| PackError::Read { path: full, source })?;
                // A file that changed meanwhile is noticed when it is written.
                missing.push((
                    target,
                    key,
                    SourceFile {
                        path: format!("/{path}"),
                        source,
                    },
                ));
            }
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let sources: Vec<SourceFile> = missing.iter().map(|(.., source)| source.clone()).collect();
    let compiled = compile_files(&interpreter()?, &sources, PycMode::CheckedHash, options.threads)
        .map_err(PackError::from)?;
    for ((target, key, _), bytes) in missing.into_iter().zip(compiled) {
        store
            .cache_put(BYTECODE, &key, bytes.as_deref().unwrap_or_default())
            .map_err(PackError::disk("keeping bytecode"))?;
        if let Some(bytes) = bytes {
            found.insert(target, bytes);
        }
    }
    Ok(found)
}

fn write(
    store: &Store,
    tree: &AppTree,
    bytecode: &BTreeMap<String, Vec<u8>>,
    options: &AppOptions<'_>,
) -> Result<Layer, WriteError> {
    enum Content<'a> {
        None,
        Bytes(&'a [u8]),
        Source(std::path::PathBuf, &'a Digest),
    }
    let (uid, gid) = options.owner;
    let mut entries: BTreeMap<String, (Entry, Content<'_>)> = BTreeMap::new();
    let mut folders: BTreeSet<String> = BTreeSet::new();
    let root = Entry::directory(APP_FOLDER, options.epoch).owned_by(uid, gid);
    entries.insert(APP_FOLDER.into(), (root, Content::None));
    for item in &tree.entries {
        let path = format!("{APP_FOLDER}/{}", item.path);
        let entry = match &item.kind {
            AppKind::Directory => (Entry::directory(&path, options.epoch), Content::None),
            AppKind::Symlink(target) => (Entry::symlink(&path, target, options.epoch), Content::None),
            AppKind::File {
                size,
                executable,
                digest,
            } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                (
                    Entry::file(&path, *size, mode, options.epoch),
                    Content::Source(tree.root.join(&item.path), digest),
                )
            }
        };
        entries.insert(path, (entry.0.owned_by(uid, gid), entry.1));
    }
    for (path, bytes) in bytecode {
        if let Some((folder, _)) = path.rsplit_once('/') {
            folders.insert(folder.to_owned());
        }
        let entry = Entry::file(path, bytes.len() as u64, 0o644, options.epoch).owned_by(uid, gid);
        entries.insert(path.clone(), (entry, Content::Bytes(bytes)));
    }
    for folder in folders {
        let entry = Entry::directory(&folder, options.epoch).owned_by(uid, gid);
        entries.entry(folder).or_insert((entry, Content::None));
    }
    for file in options.installed {
        let mode = if file.executable { 0o755 } else { 0o644 };
        let entry = Entry::file(&file.path, file.bytes.len() as u64, mode, options.epoch);
        entries.insert(file.path.clone(), (entry, Content::Bytes(&file.bytes)));
    }
    let mut writer = LayerWriter::new(store).map_err(WriteError::Disk)?;
    for (entry, content) in entries.values() {
        match content {
            Content::None => writer.entry(entry).map_err(WriteError::Disk)?,
            Content::Bytes(bytes) => writer.file(entry, bytes).map_err(WriteError::Disk)?,
            Content::Source(path, digest) => {
                let bytes = fs::read(path).map_err(|error| WriteError::Read(path.clone(), error))?;
                if Digest::of(&bytes) != **digest {
                    return Err(WriteError::Changed(path.clone()));
                }
                writer.file(entry, &bytes).map_err(WriteError::Disk)?;
            }
        }
    }
    writer.finish().map_err(WriteError::Disk)
}
