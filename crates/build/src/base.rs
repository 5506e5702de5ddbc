//! The base of a packed image: Debian's layer, the standard library's bytecode, and the interpreter that compiles.

use std::fs;
use std::io;
use std::path::Path;

use coil_debian::{Archive, AssembleOptions, BaseLayer, PinnedBase};
use coil_fetch::Progress;
use coil_oci::tar::Entry;
use coil_oci::{Descriptor, Digest, media_type};
use coil_store::{Ownership, Store};
use coil_wheel::bytecode::{Interpreter, PycMode, SourceFile, compile_files};
use coil_wheel::environment::Environment;

use crate::error::PackError;
use crate::layer_writer::{Layer, LayerWriter};

const LIBRARY: &str = "standard-library-v1";
/// Folders of the standard library that no application imports.
const LEFT_OUT: [&str; 6] = ["test", "tests", "idle_test", "lib2to3", "idlelib", "turtledemo"];

/// A base that is in the store.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// Debian's layer.
    pub(crate) layer: BaseLayer,
    /// What compiles bytecode for this base.
    pub(crate) interpreter: Interpreter,
}

/// Who unpacks: root keeps owners, others own all.
pub(crate) fn ownership() -> Ownership {
    if rustix::process::geteuid().is_root() {
        Ownership::Layer
    } else {
        Ownership::Unpacker
    }
}

/// What tells one build of the interpreter from another: the versions of its packages.
///
/// The same for all architectures, whose bytecode does not differ, and for all else in a base.
pub(crate) fn interpreter_identity(pinned: &PinnedBase) -> String {
    let minor = pinned.python_minor();
    let version = |name: String| {
        pinned
            .package(&name)
            .map_or("", |package| package.version.as_str())
            .to_owned()
    };
    let parts = [
        format!("python{minor}-minimal"),
        format!("libpython{minor}-minimal"),
        format!("libpython{minor}-stdlib"),
    ];
    let versions = parts.map(version).join(" ");
    // A rebuild of the same source (`+b1`) is the same interpreter.
    let same_source = versions
        .split(' ')
        .map(|version| version.split("+b").next().unwrap_or(version));
    same_source.collect::<Vec<_>>().join(" ")
}

/// Puts a base into the store, and unpacks the one that compiles for it.
pub(crate) fn prepare(
    archive: &Archive,
    store: &Store,
    pinned: &PinnedBase,
    for_host: &PinnedBase,
    options: &AssembleOptions,
    progress: &dyn Progress,
) -> Result<Base, PackError> {
    let assemble = |pinned| {
        archive
            .assemble(pinned, options, progress)
            .map_err(|error| PackError::Assemble(Box::new(error)))
    };
    let layer = assemble(pinned)?;
    let host = if for_host.arch == pinned.arch {
        layer.clone()
    } else {
        assemble(for_host)?
    };
    let tree = store.ensure_snapshot(&host.diff_id, &descriptor(&host), ownership())?;
    let identity = interpreter_identity(for_host);
    let interpreter = Interpreter::in_tree(&tree, &host.python, &identity).map_err(PackError::from)?;
    Ok(Base { layer, interpreter })
}

pub(crate) fn descriptor(layer: &BaseLayer) -> Descriptor {
    Descriptor::new(media_type::LAYER_GZIP, layer.blob.clone(), layer.size)
}

/// The bytecode of the base's standard library, as a layer of its own; made once for each interpreter.
pub(crate) fn library_bytecode(
    store: &Store,
    base: &Base,
    epoch: u64,
    threads: usize,
    progress: &dyn Progress,
) -> Result<Layer, PackError> {
    let sources_of = base.layer.diff_id.hex();
    let key = Digest::of(format!("1 {sources_of} {} {epoch}", base.interpreter.identity).as_bytes());
    if let Some(layer) = known_layer(store, LIBRARY, key.hex()) {
        return Ok(layer);
    }
    let tree = store.ensure_snapshot(&base.layer.diff_id, &descriptor(&base.layer), ownership())?;
    let environment = Environment::standard(&base.layer.python);
    let mut files = Vec::new();
    let mut folders = Vec::new();
    let minor = environment.minor();
    for library in [
        format!("usr/lib/python{minor}"),
        "usr/lib/python3/dist-packages".to_owned(),
    ] {
        collect_sources(&tree, &library, &mut files, &mut folders)
            .map_err(PackError::disk("reading the standard library"))?;
    }
    files.sort_by(|a: &SourceFile, b| a.path.cmp(&b.path));
    progress.note("compiling the standard library");
    let compiled =
        compile_files(&base.interpreter, &files, PycMode::UncheckedHash, threads).map_err(PackError::from)?;
    let mut entries: Vec<(String, Option<Vec<u8>>)> = folders
        .iter()
        .map(|folder| (format!("{folder}/__pycache__"), None))
        .collect();
    for (file, bytes) in files.iter().zip(compiled) {
        let source = file.path.trim_start_matches('/');
        if let (Some(bytes), Some(path)) = (bytes, environment.bytecode_path(source)) {
            entries.push((path, Some(bytes)));
        }
    }
    entries.sort();
    let write = || -> io::Result<Layer> {
        let mut writer = LayerWriter::new(store)?;
        for (path, bytes) in entries {
            match bytes {
                None => writer.entry(&Entry::directory(path, epoch))?,
                Some(bytes) => writer.file(&Entry::file(path, bytes.len() as u64, 0o644, epoch), &bytes)?,
            }
        }
        writer.finish()
    };
    let layer = write().map_err(PackError::disk("writing the standard library's bytecode"))?;
    keep_layer(store, LIBRARY, key.hex(), &layer)?;
    Ok(layer)
}

fn collect_sources(
    tree: &Path,
    folder: &str,
    files: &mut Vec<SourceFile>,
    folders: &mut Vec<String>,
) -> io::Result<()> {
    let entries = match fs::read_dir(tree.join(folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let before = files.len();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}/{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && name != "__pycache__" && !LEFT_OUT.contains(&name.as_str()) {
            collect_sources(tree, &path, files, folders)?;
        } else if kind.is_file() && name.ends_with(".py") {
            files.push(SourceFile {
                path: format!("/{path}"),
                source: fs::read(entry.path())?,
            });
        }
    }
    let own = files[before..].iter().any(|file| {
        file.path[1..]
            .rsplit_once('/')
            .is_some_and(|(at, _)| at == folder)
    });
    if own {
        folders.push(folder.to_owned());
    }
    Ok(())
}

/// A layer that was made before, if its blob is still there.
pub(crate) fn known_layer(store: &Store, kind: &str, key: &str) -> Option<Layer> {
    let layer: Layer = serde_json::from_slice(&store.cache_get(kind, key)?).ok()?;
    store.has_blob(&layer.digest).then_some(layer)
}

pub(crate) fn keep_layer(store: &Store, kind: &str, key: &str, layer: &Layer) -> Result<(), PackError> {
    let bytes = serde_json::to_vec(layer).unwrap_or_default();
    store
        .cache_put(kind, key, &bytes)
        .map_err(PackError::disk("keeping a record of a layer"))
}

/// The empty virtual environment as a layer.
pub(crate) fn environment_layer(
    store: &Store,
    environment: &Environment,
    epoch: u64,
) -> Result<Layer, PackError> {
    use coil_wheel::environment::SkeletonKind;
    const KIND: &str = "environment-v1";
    let key = Digest::of(format!("1 {environment:?} {epoch}").as_bytes());
    if let Some(layer) = known_layer(store, KIND, key.hex()) {
        return Ok(layer);
    }
    let write = || -> io::Result<Layer> {
        let mut writer = LayerWriter::new(store)?;
        for part in environment.skeleton() {
            match part.kind {
                SkeletonKind::Directory => {
                    writer.entry(&Entry {
                        mode: part.mode,
                        ..Entry::directory(part.path, epoch)
                    })?;
                }
                SkeletonKind::Symlink(target) => writer.entry(&Entry::symlink(part.path, target, epoch))?,
                SkeletonKind::File(bytes) => {
                    writer.file(
                        &Entry::file(part.path, bytes.len() as u64, part.mode, epoch),
                        &bytes,
                    )?;
                }
            }
        }
        writer.finish()
    };
    let layer = write().map_err(PackError::disk("writing the environment's layer"))?;
    keep_layer(store, KIND, key.hex(), &layer)?;
    Ok(layer)
}
