//! Bases from elsewhere: an image of the store or a registry, whose Python, libraries and settings are read from its files.

use std::collections::BTreeMap;

use coil_debian::{Archive, Installed, Suite};
use coil_oci::{Arch, Descriptor, Digest, History, Reference, timestamp};
use coil_plan::LayerKind;
use coil_python::python_choice::{PythonWish, unfulfilled_wish};
use coil_python::{Libc, PythonVersion};
use coil_store::Image;

use crate::base::{Base, BaseImage, BasePython, Compiler, CompilerPlace, layer_type, ownership};
use crate::contained_compiler::Asked;
use crate::error::PackError;
use crate::image_python::{ImagePython, Search, find_pythons};
use crate::image_system::{OsRelease, any_libc, packages, user_numbers};
use crate::image_tree::{ImageTree, Node};
use crate::layer_writer::Layer;
use crate::lock_file::LockFile;
use crate::planning::PlannedLayer;
use crate::request::{PackRequest, Packer};

/// What `--base` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BaseWish {
    /// A suite of Debian, of which coil assembles a base of its own.
    Suite(String),
    /// An image from elsewhere.
    Image(Reference),
}

impl BaseWish {
    /// Reads it: `bookworm` and `debian:bookworm` are coil's own, anything else with a slash, a colon or an `@` is an image.
    ///
    /// # Errors
    /// When it is neither.
    pub(crate) fn parse(text: &str) -> Result<BaseWish, PackError> {
        let name = text.strip_prefix("debian:").unwrap_or(text);
        if Suite::named(name).is_some() {
            return Ok(BaseWish::Suite(name.to_owned()));
        }
        let own = "coil's own bases are bookworm (Python 3.11), trixie (3.13) and sid (3.14)";
        if !text.contains(['/', ':', '@']) {
            return Err(PackError::Setting {
                message: format!("there is no base `{text}`"),
                help: Some(format!(
                    "{own}; an image is given with its tag, such as {text}:latest"
                )),
            });
        }
        match Reference::parse(text) {
            Ok(reference) => Ok(BaseWish::Image(reference)),
            Err(error) => Err(PackError::Setting {
                message: format!("`{text}` is no base: {error}"),
                help: Some(format!("{own}; an image is given as [REGISTRY/]NAME:TAG")),
            }),
        }
    }
}

/// What was asked of a base.
pub(crate) struct ForeignWish<'a> {
    /// As the user gave it.
    pub(crate) text: &'a str,
    /// The image.
    pub(crate) reference: &'a Reference,
    /// What the Python must be.
    pub(crate) wishes: &'a [PythonWish],
    /// Who the program runs as, where the user says so.
    pub(crate) user: Option<&'a str>,
}

impl Packer<'_> {
    /// The base that an image from elsewhere is, in the store and read.
    pub(crate) fn foreign_base(
        &self,
        request: &PackRequest,
        wish: &ForeignWish<'_>,
        arch: Arch,
        archive: &Archive,
        lock: &mut LockFile,
        notes: &mut Vec<String>,
    ) -> Result<Base, PackError> {
        let located = self.located(wish, arch, lock, notes)?;
        let image = &located.image;
        let refuse = |message: String, help: &str| PackError::Setting {
            message,
            help: Some(help.to_owned()),
        };
        if image.config.os != "linux" || image.config.architecture != arch.name() {
            return Err(refuse(
                format!(
                    "the base {} is for {}/{}, and the image is to be for linux/{arch}",
                    wish.text, image.config.os, image.config.architecture
                ),
                "choose its platform with --platform, or another base",
            ));
        }
        self.progress.note(&format!("reading the base {}", wish.text));
        let layers = self.layers(wish, image)?;
        let mut base = Base {
            name: wish.reference.familiar(),
            image: Some(BaseImage {
                reference: wish.reference.canonical(),
                digest: located.descriptor.digest.clone(),
                manifest: image.descriptor.digest.clone(),
                stand_in: located.stand_in,
            }),
            arch,
            python: BasePython {
                version: String::new(),
                program: String::new(),
                libraries: Vec::new(),
            },
            libc: Libc::Glibc(0, 0),
            system: String::new(),
            suite: None,
            packages: Vec::new(),
            config: image.config.config.clone(),
            history: image.config.history.clone(),
            layers,
            compiler: None,
            has_environment: false,
            owner: None,
        };
        let tree = ImageTree::new(base.snapshots(self.store)?);
        let os = OsRelease::read(&tree);
        let (found, installed) = packages(&tree, &os, arch);
        let path = variable(&base, "PATH").map(str::to_owned);
        let mut search = find_pythons(&tree, path.as_deref(), arch);
        let mut tree = tree;
        if search.pythons.is_empty() {
            let added = self.with_debians_python(
                request,
                wish,
                &mut base,
                (&os, installed.as_ref()),
                (&tree, &search),
                archive,
                lock,
            )?;
            notes.push(added);
            tree = ImageTree::new(base.snapshots(self.store)?);
            search = find_pythons(&tree, path.as_deref(), arch);
        }
        base.packages = match base.layers.len() == image.manifest.layers.len() {
            true => found,
            // With those that were added.
            false => packages(&tree, &os, arch).0,
        };
        let (python, version) = self.choose(wish, &base, &search)?;
        base.python = BasePython {
            version: version.to_string(),
            program: python.program.clone(),
            libraries: python.libraries.clone(),
        };
        base.libc = python.libc;
        base.suite = os
            .suite()
            .and_then(Suite::named)
            .map(|suite| suite.name.to_owned());
        base.system = os.name.clone();
        base.has_environment = matches!(
            tree.find("/opt/venv").map(|found| found.node),
            Some(Node::Folder(_))
        );
        self.take_user(wish, &mut base, &tree, &python)?;
        if let Some(first) = base.layers.first_mut() {
            first.packages = base
                .packages
                .iter()
                .map(|package| format!("{} {}", package.name, package.version))
                .collect();
        }
        self.take_compiler(wish, &mut base, &python, &located.descriptor, notes)?;
        Ok(base)
    }

    /// Who the program runs as: the image's own user where that is no root, else the one of all packed images.
    fn take_user(
        &self,
        wish: &ForeignWish<'_>,
        base: &mut Base,
        tree: &ImageTree,
        python: &ImagePython,
    ) -> Result<(), PackError> {
        let own = std::mem::take(&mut base.config.user);
        let numbers = user_numbers(tree, &own);
        if own.is_empty() || numbers.is_some_and(|(uid, _)| uid == 0) || own == "root" {
            base.config.user = String::new();
        } else {
            base.owner = numbers;
            base.config.user = own;
        }
        let user = wish.user.unwrap_or(&base.config.user);
        let is_root = matches!(user.split(':').next(), Some("0" | "root"));
        if !python.is_open && !is_root {
            return Err(PackError::Setting {
                message: format!(
                    "{} of the base {} is in a folder that only root may enter, and the program does not run as root",
                    python.program, wish.text
                ),
                help: Some(
                    "take a base that has its Python in a folder for all, or run as root with --user 0"
                        .into(),
                ),
            });
        }
        Ok(())
    }

    /// The first Python that fulfils all wishes, and its exact version.
    fn choose(
        &self,
        wish: &ForeignWish<'_>,
        base: &Base,
        search: &Search,
    ) -> Result<(ImagePython, PythonVersion), PackError> {
        let mut unfit = Vec::new();
        for python in &search.pythons {
            let version = match python.version {
                Some(version) => version,
                None => match self.ask_version(wish, base, python)? {
                    Some(version) => version,
                    None => {
                        unfit.push(format!("{} does not tell its exact version", python.program));
                        continue;
                    }
                },
            };
            let reason = match unfulfilled_wish(version, wish.wishes) {
                None => return Ok((python.clone(), version)),
                Some(PythonWish::Explicit { text, found_in }) => format!("{found_in} asks for {text}"),
                Some(PythonWish::Requires { specifiers, found_in }) => {
                    format!("{found_in} allows only {specifiers}")
                }
            };
            unfit.push(format!("{} is Python {version}, and {reason}", python.program));
        }
        unfit.extend(search.refused.iter().cloned());
        Err(PackError::Setting {
            message: format!(
                "no Python of the base {} can be used: {}",
                wish.text,
                unfit.join("; ")
            ),
            help: Some("take a base with another Python, or change what the project asks for".into()),
        })
    }

    /// Asks an interpreter whose files don't tell it for its version, in a container.
    fn ask_version(
        &self,
        wish: &ForeignWish<'_>,
        base: &Base,
        python: &ImagePython,
    ) -> Result<Option<PythonVersion>, PackError> {
        if base.arch != Arch::host() {
            return Ok(None);
        }
        let asked = self.ask_python(&Asked {
            program: python.program.clone(),
            env: interpreter_environment(base),
            lower: base.snapshots(self.store)?,
            code: "import sys; print('%d.%d.%d' % sys.version_info[:3])",
        });
        match asked {
            Ok(text) => Ok(text.and_then(|text| text.trim().parse().ok())),
            Err(error) => Err(PackError::Setting {
                message: format!(
                    "{} of the base {} does not run: {error}",
                    python.program, wish.text
                ),
                help: error.help(),
            }),
        }
    }

    /// Puts Debian's own Python on an image of Debian that has none; gives what the user is told of it.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is known of the image, gathered by the only caller"
    )]
    fn with_debians_python(
        &self,
        request: &PackRequest,
        wish: &ForeignWish<'_>,
        base: &mut Base,
        (os, installed): (&OsRelease, Option<&Installed>),
        (tree, search): (&ImageTree, &Search),
        archive: &Archive,
        lock: &mut LockFile,
    ) -> Result<String, PackError> {
        let refuse = |message: String, help: &str| PackError::Setting {
            message,
            help: Some(help.to_owned()),
        };
        let reasons = match search.refused.as_slice() {
            [] => String::new(),
            refused => format!(" ({})", refused.join("; ")),
        };
        let Some(libc) = any_libc(tree, base.arch) else {
            return Err(refuse(
                format!(
                    "the base {} has neither a Python nor a C library to put one on{reasons}",
                    wish.text
                ),
                "take a base with Python, or one of Debian; an image from scratch can hold no Python",
            ));
        };
        let what = match os.name.as_str() {
            "" => format!("an unknown system with {libc}"),
            name => format!("{name} with {libc}"),
        };
        let suite = os.suite().and_then(Suite::named);
        let (Some(suite), Some(installed), Libc::Glibc(..)) = (suite, installed, libc) else {
            return Err(refuse(
                format!(
                    "the base {} has no Python{reasons}, and it is {what}, for which coil has none",
                    wish.text
                ),
                "take a variant of it that has Python, or a base of Debian bookworm, trixie or sid",
            ));
        };
        let minor = suite.python;
        let names = vec![format!("python{minor}")];
        let pinned = lock.addition(installed, &names, || {
            self.progress
                .note(&format!("looking up Python {minor} of Debian {}", suite.name));
            archive
                .resolve_addition(installed, &names, self.progress)
                .map_err(|error| PackError::Resolve(Box::new(error)))
        })?;
        let below: Vec<Digest> = base
            .layers
            .iter()
            .map(|layer| layer.layer.digest.clone())
            .collect();
        let added = archive
            .assemble_addition(&below, &pinned, &self.assemble_options(request), self.progress)
            .map_err(|error| PackError::Assemble(Box::new(error)))?;
        let told = base.history.iter().filter(|step| !step.empty_layer).count();
        if told == base.layers.len() {
            base.history.push(History {
                created: Some(timestamp::seconds(request.epoch)),
                created_by: Some(format!("coil pack: debian {} Python {minor}", suite.name)),
                ..History::default()
            });
        }
        base.layers.push(PlannedLayer {
            kind: LayerKind::Base.to_string(),
            layer: Layer {
                digest: added.blob,
                size: added.size,
                diff_id: added.diff_id,
                unpacked: added.unpacked_size,
            },
            created_by: format!("debian {} Python {minor}", suite.name),
            packages: added
                .packages
                .iter()
                .map(|package| format!("{} {}", package.name, package.version))
                .collect(),
        });
        Ok(format!(
            "the base {} has no Python: Debian {}'s own {minor} is put on it",
            wish.text, suite.name
        ))
    }

    /// Says what compiles for the base: its own interpreter in a container, of this machine's architecture.
    fn take_compiler(
        &self,
        wish: &ForeignWish<'_>,
        base: &mut Base,
        python: &ImagePython,
        descriptor: &Descriptor,
        notes: &mut Vec<String>,
    ) -> Result<(), PackError> {
        let host = Arch::host();
        let mut layers = base.layers.clone();
        let mut program = (python.program.clone(), python.identity.clone());
        let mut missing = None;
        if base.arch != host {
            match self.host_twin(wish, base, descriptor, host)? {
                Some((twins, twin)) => {
                    layers = twins;
                    program = (twin.program, twin.identity);
                }
                None => {
                    missing = Some(format!(
                        "it has no image for linux/{host} with the same Python {}",
                        base.python.version
                    ));
                }
            }
        }
        let compiler = Compiler {
            version: base.python.version.clone(),
            identity: program.1,
            place: CompilerPlace::Container {
                program: program.0,
                env: interpreter_environment(base),
            },
            layers: layers
                .iter()
                .map(|planned| {
                    let layer = &planned.layer;
                    let kind = layer_type(self.store, &layer.digest);
                    let blob = Descriptor::new(kind, layer.digest.clone(), layer.size);
                    (layer.diff_id.clone(), blob)
                })
                .collect(),
        };
        let missing = missing.or_else(|| self.compiler_refusal(&compiler));
        if let Some(reason) = missing {
            notes.push(format!(
                "the image for linux/{} has no bytecode, so it starts slower: the Python of {} runs only in a container, and {reason}",
                base.arch, wish.text
            ));
            return Ok(());
        }
        base.compiler = Some(compiler);
        Ok(())
    }

    /// The same base for this machine, if its Python is of the same version.
    fn host_twin(
        &self,
        wish: &ForeignWish<'_>,
        base: &Base,
        descriptor: &Descriptor,
        host: Arch,
    ) -> Result<Option<(Vec<PlannedLayer>, ImagePython)>, PackError> {
        let Ok(located) = self.pinned(wish, &descriptor.digest, host) else {
            return Ok(None);
        };
        if located.image.config.architecture != host.name() {
            return Ok(None);
        }
        let layers = self.layers(wish, &located.image)?;
        let twin = Base {
            layers: layers.clone(),
            ..base.clone()
        };
        let tree = ImageTree::new(twin.snapshots(self.store)?);
        let search = find_pythons(&tree, variable(base, "PATH"), host);
        let same = search.pythons.into_iter().find(|python| {
            python
                .version
                .is_some_and(|version| version.to_string() == base.python.version)
        });
        Ok(same.map(|python| (layers, python)))
    }

    /// The image's layers, as they came.
    fn layers(&self, wish: &ForeignWish<'_>, image: &Image) -> Result<Vec<PlannedLayer>, PackError> {
        let mut steps = image.config.history.iter().filter(|step| !step.empty_layer);
        let told = image
            .config
            .history
            .iter()
            .filter(|step| !step.empty_layer)
            .count();
        let fits = told == image.manifest.layers.len();
        image
            .manifest
            .layers
            .iter()
            .zip(&image.config.rootfs.diff_ids)
            .map(|(layer, diff_id)| {
                let step = steps.next().filter(|_| fits);
                let created_by = step.and_then(|step| step.created_by.clone());
                let kind = layer_type(self.store, &layer.digest);
                let blob = Descriptor::new(kind, layer.digest.clone(), layer.size);
                self.store.ensure_snapshot(diff_id, &blob, ownership())?;
                Ok(PlannedLayer {
                    kind: LayerKind::Base.to_string(),
                    layer: Layer {
                        digest: layer.digest.clone(),
                        size: layer.size,
                        diff_id: diff_id.clone(),
                        unpacked: self.unpacked_size(&layer.digest, kind)?,
                    },
                    created_by: created_by.unwrap_or_else(|| format!("base {}", wish.text)),
                    packages: Vec::new(),
                })
            })
            .collect()
    }

    /// The size of a layer's tar stream in bytes; measured once.
    fn unpacked_size(&self, blob: &Digest, kind: &str) -> Result<u64, PackError> {
        const SIZES: &str = "layer-size-v1";
        let known = self.store.cache_get(SIZES, blob.hex());
        if let Some(size) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(size);
        }
        let size = self
            .store
            .unpacked_size(blob, kind)
            .map_err(PackError::disk("measuring a layer"))?;
        self.store
            .cache_put(SIZES, blob.hex(), size.to_string().as_bytes())
            .map_err(PackError::disk("keeping a layer's size"))?;
        Ok(size)
    }
}

/// A variable of the base's environment.
fn variable<'b>(base: &'b Base, name: &str) -> Option<&'b str> {
    base.config
        .env
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// The environment that the interpreter finds its libraries with; what changes Python itself is left out.
fn interpreter_environment(base: &Base) -> BTreeMap<String, String> {
    let entries = base.config.env.iter().filter_map(|entry| entry.split_once('='));
    entries
        .filter(|(name, _)| !name.starts_with("PYTHON"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_our_own_and_names_are_images() {
        for text in ["bookworm", "debian:bookworm", "sid"] {
            assert!(matches!(BaseWish::parse(text), Ok(BaseWish::Suite(_))), "{text}");
        }
        for (text, name) in [
            ("python:3.11", "docker.io/library/python:3.11"),
            ("debian:bookworm-slim", "docker.io/library/debian:bookworm-slim"),
            (
                "docker.io/library/debian:bookworm",
                "docker.io/library/debian:bookworm",
            ),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ] {
            let Ok(BaseWish::Image(reference)) = BaseWish::parse(text) else {
                panic!("{text}");
            };
            assert_eq!(reference.canonical(), name);
        }
        for (text, part) in [
            ("alpine", "alpine:latest"),
            ("buster", "trixie (3.13)"),
            ("A:b", "lowercase"),
        ] {
            let error = BaseWish::parse(text).unwrap_err();
            let whole = format!("{error} {}", error.help().unwrap_or_default());
            assert!(whole.contains(part), "{whole}");
        }
    }
}
