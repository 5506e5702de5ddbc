//! What an image stands on: a base assembled from Debian's packages, or an image from elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use coil_oci::tar::Entry;
use coil_oci::{Arch, ContainerConfig, Descriptor, Digest, History};
use coil_python::{Libc, PythonVersion, Target};
use coil_store::{Ownership, Store};
use coil_wheel::environment::Environment;
use serde::{Deserialize, Serialize};

use crate::error::PackError;
use crate::layer_writer::{Layer, LayerWriter};
use crate::planning::PlannedLayer;

/// A base that is in the store: its layers, and all that planning must know of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Base {
    /// For people: `debian trixie`, `registry.example/python:3.11`.
    pub name: String,
    /// The image that it is, where it is one from elsewhere: name and digest.
    pub image: Option<BaseImage>,
    /// The processor.
    pub arch: Arch,
    /// The interpreter.
    pub python: BasePython,
    /// The C library that the interpreter is linked against.
    pub libc: Libc,
    /// The operating system by its own name: `Debian GNU/Linux 12 (bookworm)`.
    pub system: String,
    /// Debian's suite, where it is one that coil knows.
    pub suite: Option<String>,
    /// The installed packages of the operating system, sorted by name; empty where no list of them can be read.
    pub packages: Vec<BasePackage>,
    /// What an image inherits from it; empty for a base of our own.
    pub config: ContainerConfig,
    /// How its layers came to be; empty for a base of our own, whose layers say it themselves.
    pub history: Vec<History>,
    /// Its layers, the lowest first.
    pub layers: Vec<PlannedLayer>,
    /// What compiles bytecode for it; none where nothing here can.
    pub compiler: Option<Compiler>,
    /// Whether it has a `/opt/venv` of its own, which ours hides.
    pub has_environment: bool,
    /// The numbers of its own user and group, where the program runs as that user.
    pub owner: Option<(u32, u32)>,
}

/// An image from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseImage {
    /// Its name, in full.
    pub reference: String,
    /// The digest that the name stood for: an index's, or a manifest's.
    pub digest: Digest,
    /// The digest of this platform's manifest.
    pub manifest: Digest,
    /// Whether it stood in for the image that has this name elsewhere.
    #[serde(default)]
    pub stand_in: bool,
}

/// The interpreter of a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasePython {
    /// The full version, `3.11.2`.
    pub version: String,
    /// The program in the image, `/usr/bin/python3.11`.
    pub program: String,
    /// The folders of its standard library in the image, whose bytecode is shipped.
    pub libraries: Vec<String>,
}

impl BasePython {
    /// The folder of the program: `/usr/bin`.
    pub fn home(&self) -> &str {
        match self.program.rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((home, _)) => home,
        }
    }
}

/// A package of the operating system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BasePackage {
    /// Its name.
    pub name: String,
    /// Its version, as the distribution writes it.
    pub version: String,
    /// The distribution's name of the architecture.
    pub arch: String,
    /// The source package, where it is another name.
    pub source: Option<String>,
}

/// What compiles bytecode, and where its file system is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiler {
    /// The full version of the interpreter.
    pub version: String,
    /// What tells it from another one of the same version; part of every cache key.
    pub identity: String,
    /// How it is run.
    pub place: CompilerPlace,
    /// The layers of its file system by diff id, the lowest first.
    pub layers: Vec<(Digest, Descriptor)>,
}

/// How an interpreter that compiles is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompilerPlace {
    /// From the unpacked layer, by its own loader: a base that we assembled.
    OwnTree,
    /// In a container: a base from elsewhere.
    Container {
        /// The program in the image.
        program: String,
        /// The image's own environment, without what would change the bytecode.
        env: BTreeMap<String, String>,
    },
}

impl Base {
    /// What wheels must fit.
    ///
    /// # Errors
    /// When its Python's version is none.
    pub fn target(&self) -> Result<Target, PackError> {
        let python = self
            .python
            .version
            .parse::<PythonVersion>()
            .map_err(|error| PackError::Setting {
                message: format!("the Python of {} has no usable version: {error}", self.name),
                help: None,
            })?;
        Ok(Target {
            python,
            arch: self.arch,
            libc: self.libc,
            free_threaded: false,
        })
    }

    /// The environment that packages are installed into.
    pub fn environment(&self) -> Environment {
        Environment {
            home: self.python.home().to_owned(),
            ..Environment::standard(&self.python.version)
        }
    }

    /// Its layers unpacked, the lowest first, for overlayfs.
    ///
    /// # Errors
    /// When a layer is missing or cannot be unpacked.
    pub fn snapshots(&self, store: &Store) -> Result<Vec<PathBuf>, PackError> {
        let descriptor = |layer: &Layer| {
            Descriptor::new(layer_type(store, &layer.digest), layer.digest.clone(), layer.size)
        };
        self.layers
            .iter()
            .map(|layer| {
                let layer = &layer.layer;
                Ok(store.ensure_snapshot(&layer.diff_id, &descriptor(layer), ownership())?)
            })
            .collect()
    }

    /// A package of the operating system.
    pub fn package(&self, name: &str) -> Option<&BasePackage> {
        self.packages.iter().find(|package| package.name == name)
    }
}

impl Compiler {
    /// The layers of its file system, unpacked.
    pub(crate) fn trees(&self, store: &Store) -> Result<Vec<PathBuf>, PackError> {
        self.layers
            .iter()
            .map(|(diff_id, blob)| Ok(store.ensure_snapshot(diff_id, blob, ownership())?))
            .collect()
    }
}

/// The media type of a layer's blob, by its first bytes: a base's layers are kept as they came.
pub(crate) fn layer_type(store: &Store, digest: &Digest) -> &'static str {
    use std::io::Read;
    let mut start = [0; 4];
    let read = store
        .open_blob(digest)
        .and_then(|mut file| file.read_exact(&mut start));
    match start {
        _ if read.is_err() => coil_oci::media_type::LAYER_GZIP,
        [0x1f, 0x8b, ..] => coil_oci::media_type::LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => coil_oci::media_type::LAYER_ZSTD,
        _ => coil_oci::media_type::LAYER_TAR,
    }
}

/// Who unpacks: root keeps owners, others own all.
pub(crate) fn ownership() -> Ownership {
    if rustix::process::geteuid().is_root() {
        Ownership::Layer
    } else {
        Ownership::Unpacker
    }
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

/// The empty virtual environment as a layer; it may hide one that the base has.
pub(crate) fn environment_layer(
    store: &Store,
    environment: &Environment,
    hides: bool,
    epoch: u64,
) -> Result<Layer, PackError> {
    use coil_wheel::environment::SkeletonKind;
    const KIND: &str = "environment-v1";
    let hidden = if hides { " alone" } else { "" };
    let key = Digest::of(format!("1 {environment:?} {epoch}{hidden}").as_bytes());
    if let Some(layer) = known_layer(store, KIND, key.hex()) {
        return Ok(layer);
    }
    let write = || -> io::Result<Layer> {
        let mut writer = LayerWriter::new(store)?;
        for part in environment.skeleton() {
            match part.kind {
                SkeletonKind::Directory => {
                    let own = hides && part.path == environment.prefix;
                    let mark = format!("{}/.wh..wh..opq", part.path);
                    writer.entry(&Entry {
                        mode: part.mode,
                        ..Entry::directory(part.path, epoch)
                    })?;
                    if own {
                        writer.file(&Entry::file(mark, 0, 0o644, epoch), b"")?;
                    }
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
