//! One platform's layers below the app: base, libraries, bytecode, environment and packages, made by running the plan's graph.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use coil_debian::{Archive, PinnedBase};
use coil_oci::Digest;
use coil_plan::{PackOp, PackPlan, Vertex, lower};
use coil_python::{Pinned, Target};
use coil_wheel::download::FetchedWheel;
use coil_wheel::environment::Environment;
use coil_wheel::layer::LayerBlob;

use crate::base::{self, Base};
use crate::bill_of_materials::InstalledWheel;
use crate::debian_base;
use crate::error::PackError;
use crate::import_check::Importable;
use crate::layer_writer::Layer;
use crate::library_layers::Libraries;
use crate::lock_file::LockFile;
use crate::package_layers::{direct_urls, package_layer, sources_of};
use crate::planning::{PlannedLayer, PlannedPlatform};
use crate::request::{PackRequest, Packer};
use crate::solver::solve;
use crate::source_build::BuildSettings;
use crate::wheel_binaries::BinaryReader;

/// What a platform's layers are made of, known before any is made.
pub(crate) struct PlatformParts<'a> {
    /// Where Debian's packages come from.
    pub(crate) archive: &'a Archive,
    /// The base of the image.
    pub(crate) base: &'a BaseSource,
    /// What wheels must fit.
    pub(crate) target: &'a Target,
    /// The packages.
    pub(crate) selected: &'a [Pinned],
    /// The folder that paths in the lock start from.
    pub(crate) lock_dir: &'a Path,
    /// How what has no wheel is built.
    pub(crate) build: &'a BuildSettings,
    /// Whether bytecode is shipped.
    pub(crate) bytecode: bool,
}

/// Where a base comes from.
#[derive(Debug, Clone)]
pub(crate) enum BaseSource {
    /// Debian's packages, for the image's processor and for this machine's, whose interpreter compiles.
    Debian(Box<PinnedBase>, Box<PinnedBase>),
    /// An image from elsewhere, which is in the store.
    Image(Box<Base>),
}

impl BaseSource {
    /// For people: `debian trixie`.
    pub(crate) fn name(&self) -> String {
        match self {
            BaseSource::Debian(pinned, _) => format!("debian {}", pinned.suite),
            BaseSource::Image(base) => base.name.clone(),
        }
    }

    /// The full version of the interpreter.
    fn python(&self) -> &str {
        match self {
            BaseSource::Debian(pinned, _) => &pinned.python,
            BaseSource::Image(base) => &base.python.version,
        }
    }
}

impl Packer<'_> {
    /// Puts a base into the store.
    pub(crate) fn base(
        &self,
        request: &PackRequest,
        archive: &Archive,
        source: &BaseSource,
    ) -> Result<Base, PackError> {
        match source {
            BaseSource::Debian(pinned, for_host) => {
                let options = self.assemble_options(request);
                debian_base::prepare(archive, pinned, for_host, &options, self.progress)
            }
            BaseSource::Image(base) => Ok(Base::clone(base)),
        }
    }

    /// Makes everything below the app for one platform.
    pub(crate) fn platform(
        &self,
        request: &PackRequest,
        parts: &PlatformParts<'_>,
        lock: &mut LockFile,
        notes: &mut Vec<String>,
    ) -> Result<PlannedPlatform, PackError> {
        let PlatformParts {
            archive,
            base,
            target,
            selected,
            lock_dir,
            build,
            bytecode,
        } = *parts;
        let sources = sources_of(
            &self.with_files(selected, &build.formats, notes)?,
            target,
            lock_dir,
            &build.formats,
        )?;
        let plan = PackPlan {
            arch: target.arch,
            base: base.name(),
            python: base.python().to_owned(),
            bytecode,
            packages: selected.to_vec(),
            builds: sources
                .builds
                .iter()
                .map(|(package, _)| package.title())
                .collect(),
        };
        let graph = lower(&plan);
        let urls = direct_urls(selected);
        let (environment, hides) = match base {
            BaseSource::Debian(pinned, _) => (Environment::standard(&pinned.python), false),
            BaseSource::Image(base) => (base.environment(), base.has_environment),
        };
        let shared = Mutex::new(&mut *lock);
        let reader = BinaryReader::new(self.store);
        let results = solve(&graph, self.threads.max(2), |vertex, inputs: &[Made]| {
            let made = match &vertex.op {
                PackOp::Base => {
                    let mut base = self.base(request, archive, base)?;
                    if !bytecode {
                        base.compiler = None;
                    }
                    Made::Base(Box::new(base))
                }
                PackOp::Fetch => Made::Wheels(self.fetch(&sources)?),
                PackOp::Build => {
                    Made::Wheels(self.built_wheels(request, parts, base_of(inputs)?, &sources)?)
                }
                PackOp::Libraries => {
                    let wheels = wheels_of(inputs);
                    let wheels = (&wheels[..], &reader);
                    Made::Libraries(self.libraries(request, archive, base_of(inputs)?, wheels, &shared)?)
                }
                PackOp::Bytecode => match self.library_bytecode(base_of(inputs)?, request.epoch)? {
                    Some(layer) => Made::Layer(layer),
                    None => Made::Layers(Vec::new()),
                },
                PackOp::Environment => {
                    let layer = base::environment_layer(self.store, &environment, hides, request.epoch)?;
                    Made::Layer(layer)
                }
                PackOp::Packages => {
                    let fetched = wheels_of(inputs);
                    Made::Packages(self.package_layers(
                        &fetched,
                        base_of(inputs)?,
                        &environment,
                        (request.epoch, &urls),
                        &reader,
                    )?)
                }
            };
            Ok::<_, PackError>(made)
        })?;
        let mut gathered = Gathered::default();
        for (vertex, made) in graph.vertices().iter().zip(results) {
            // What was built is no file of an index, whose hash could be pinned.
            if let (PackOp::Fetch, Made::Wheels(wheels)) = (&vertex.op, &made) {
                lock.found_wheels(target, wheels);
            }
            gathered.take(vertex, made);
        }
        gathered.finish();
        notes.append(&mut gathered.notes);
        let found = gathered.base.ok_or_else(no_base)?;
        let pinned = match base {
            BaseSource::Debian(pinned, _) => Some(&**pinned),
            BaseSource::Image(_) => None,
        };
        let (layers, installed) = (gathered.layers, gathered.installed);
        let components = self.keep_components(&found, pinned, &layers, target, &installed)?;
        Ok(PlannedPlatform {
            arch: target.arch,
            base: found,
            layers,
            components,
            // What an image from elsewhere has installed itself isn't known.
            importable: pinned.is_some().then(|| Importable {
                modules: gathered.modules,
                minor: target.python.minor,
                ..Importable::default()
            }),
        })
    }
}

/// What the vertices of a graph have made, put together.
#[derive(Default)]
struct Gathered {
    base: Option<Base>,
    layers: Vec<PlannedLayer>,
    installed: Vec<InstalledWheel>,
    /// The layer that each wheel went into.
    places: BTreeMap<Digest, Digest>,
    modules: BTreeSet<String>,
    notes: Vec<String>,
}

impl Gathered {
    /// Adds what one vertex made.
    fn take(&mut self, vertex: &Vertex<PackOp>, made: Made) {
        match made {
            Made::Base(base) => {
                self.layers.extend(base.layers.iter().cloned());
                self.base = Some(*base);
            }
            Made::Layer(layer) => self.layers.push(PlannedLayer {
                kind: vertex.op.kind().to_string(),
                layer,
                created_by: vertex.name.clone(),
                packages: Vec::new(),
            }),
            Made::Layers(made) => self.layers.extend(made),
            Made::Libraries(made) => {
                self.layers.extend(made.layers);
                self.notes.extend(made.notes);
                self.modules = made.modules;
            }
            Made::Wheels(wheels) => {
                let built = matches!(vertex.op, PackOp::Build);
                self.installed
                    .extend(wheels.into_iter().map(|wheel| InstalledWheel {
                        wheel,
                        layer: None,
                        built,
                    }));
            }
            Made::Packages(made) => {
                for layer in made {
                    let inside = layer.packages.iter().map(|package| package.sha256.clone());
                    self.places
                        .extend(inside.map(|wheel| (wheel, layer.diff_id.clone())));
                    self.notes.extend(layer.conflicts.iter().cloned());
                    self.layers.push(package_layer(layer));
                }
            }
        }
    }

    /// Puts the layers in order of their kind, whatever order they were made in, and each wheel to its layer.
    fn finish(&mut self) {
        self.layers.sort_by_key(PlannedLayer::kind);
        for wheel in &mut self.installed {
            wheel.layer = self.places.get(&wheel.wheel.sha256).cloned();
        }
    }
}

/// What a vertex makes.
#[derive(Clone)]
enum Made {
    Base(Box<Base>),
    Layer(Layer),
    Layers(Vec<PlannedLayer>),
    Libraries(Libraries),
    Wheels(Vec<FetchedWheel>),
    Packages(Vec<LayerBlob>),
}

/// The base, which is the first input of whatever needs it.
fn base_of(inputs: &[Made]) -> Result<&Base, PackError> {
    match inputs.first() {
        Some(Made::Base(base)) => Ok(base),
        _ => Err(no_base()),
    }
}

fn no_base() -> PackError {
    PackError::Setting {
        message: "the base is missing from the plan".into(),
        help: None,
    }
}

/// The wheels among the inputs: fetched, then built.
fn wheels_of(inputs: &[Made]) -> Vec<FetchedWheel> {
    let wheels = inputs.iter().filter_map(|made| match made {
        Made::Wheels(wheels) => Some(wheels.iter().cloned()),
        _ => None,
    });
    wheels.flatten().collect()
}
