//! One platform's layers below the app: base, libraries, bytecode, environment and packages, made by running the plan's graph.

use std::path::Path;

use coil_debian::{Archive, BaseLayer, PinnedBase};
use coil_plan::{LayerKind, PackOp, PackPlan, lower};
use coil_python::{Diagnostic, Pinned, Problem, Target, no_wheel};
use coil_wheel::download::FetchedWheel;
use coil_wheel::environment::Environment;
use coil_wheel::layer::LayerBlob;

use crate::base::{self, Base};
use crate::error::PackError;
use crate::layer_writer::Layer;
use crate::lock_file::LockFile;
use crate::package_layers::{BuildSource, PackageSources, package_layer, sources_of};
use crate::planning::{Compiler, PlannedLayer, PlannedPlatform, unknown_base};
use crate::request::{PackRequest, Packer};
use crate::solver::solve;

/// What a platform's layers are made of, known before any is made.
pub(crate) struct PlatformParts<'a> {
    /// Where Debian's packages come from.
    pub(crate) archive: &'a Archive,
    /// The base of the image.
    pub(crate) pinned: &'a PinnedBase,
    /// The same base for this machine's processor, whose interpreter compiles.
    pub(crate) for_host: &'a PinnedBase,
    /// What wheels must fit.
    pub(crate) target: &'a Target,
    /// The packages.
    pub(crate) selected: &'a [Pinned],
    /// The folder that paths in the lock start from.
    pub(crate) lock_dir: &'a Path,
}

impl Packer<'_> {
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
            pinned,
            for_host,
            target,
            selected,
            lock_dir,
        } = *parts;
        let sources = sources_of(&self.with_files(selected)?, target, lock_dir)?;
        let plan = PackPlan {
            arch: target.arch,
            base: format!("debian {}", pinned.suite),
            python: pinned.python.clone(),
            bytecode: true,
            packages: selected.to_vec(),
            builds: sources
                .builds
                .iter()
                .map(|(package, _)| package.title())
                .collect(),
        };
        let graph = lower(&plan);
        let options = self.assemble_options(request);
        let environment = Environment::standard(&pinned.python);
        let results = solve(&graph, self.threads.max(2), |vertex, inputs: &[Made]| {
            let made = match &vertex.op {
                PackOp::Base => {
                    let made = base::prepare(archive, self.store, pinned, for_host, &options, self.progress)?;
                    Made::Base(Box::new(made))
                }
                PackOp::Fetch => Made::Wheels(self.fetch(&sources.wheels)?),
                PackOp::Build => Made::Wheels(self.built_wheels(parts, base_of(inputs)?, &sources)?),
                PackOp::Libraries => {
                    Made::Layers(self.library_layers(parts, base_of(inputs)?, &wheels_of(inputs))?)
                }
                PackOp::Bytecode => Made::Layer(base::library_bytecode(
                    self.store,
                    base_of(inputs)?,
                    request.epoch,
                    self.threads,
                    self.progress,
                )?),
                PackOp::Environment => {
                    Made::Layer(base::environment_layer(self.store, &environment, request.epoch)?)
                }
                PackOp::Packages => {
                    let fetched = wheels_of(inputs);
                    Made::Packages(self.package_layers(
                        &fetched,
                        base_of(inputs)?,
                        &environment,
                        request.epoch,
                    )?)
                }
            };
            Ok::<_, PackError>(made)
        })?;
        let mut layers = Vec::new();
        let mut found: Option<Base> = None;
        for (vertex, made) in graph.vertices().iter().zip(results) {
            match made {
                Made::Base(base) => {
                    layers.push(base_layer(&base.layer));
                    found = Some(*base);
                }
                Made::Layer(layer) => layers.push(PlannedLayer {
                    kind: vertex.op.kind().to_string(),
                    layer,
                    created_by: vertex.name.clone(),
                    packages: Vec::new(),
                }),
                Made::Layers(made) => layers.extend(made),
                Made::Wheels(wheels) => {
                    // What was built is no file of an index, whose hash could be pinned.
                    if matches!(vertex.op, PackOp::Fetch) {
                        lock.found_wheels(target, &wheels);
                    }
                }
                Made::Packages(made) => layers.extend(made.into_iter().map(|layer| {
                    notes.extend(layer.conflicts.iter().cloned());
                    package_layer(layer)
                })),
            }
        }
        // Layers go by kind, whatever order they were made in.
        layers.sort_by_key(PlannedLayer::kind);
        let base = found.ok_or_else(|| unknown_base(&pinned.suite))?;
        let host = if for_host.arch == pinned.arch {
            base.layer.clone()
        } else {
            archive
                .assemble(for_host, &options, self.progress)
                .map_err(|error| PackError::Assemble(Box::new(error)))?
        };
        Ok(PlannedPlatform {
            arch: target.arch,
            compiler: Compiler {
                version: base.interpreter.version.clone(),
                identity: base.interpreter.identity.clone(),
                diff_id: host.diff_id.clone(),
                blob: host.blob.clone(),
                blob_size: host.size,
            },
            base: base.layer,
            layers,
        })
    }

    /// The wheels of the packages that have none.
    fn built_wheels(
        &self,
        parts: &PlatformParts<'_>,
        _base: &Base,
        sources: &PackageSources,
    ) -> Result<Vec<FetchedWheel>, PackError> {
        match sources.builds.first() {
            None => Ok(Vec::new()),
            Some((package, BuildSource::Archive(_))) => Err(no_wheel(package, parts.target).into()),
            Some((package, BuildSource::Tree)) => {
                let message = format!("{} comes from a source tree or a repository", package.title());
                let error = Diagnostic::new(Problem::Unsupported, message)
                    .help("build it into a wheel and depend on that: coil installs wheels, and builds no sources yet");
                Err(error.into())
            }
        }
    }

    /// Layers of libraries that the wheels need and the base has not.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "libraries may be missing from the archive"
    )]
    fn library_layers(
        &self,
        _parts: &PlatformParts<'_>,
        _base: &Base,
        _wheels: &[FetchedWheel],
    ) -> Result<Vec<PlannedLayer>, PackError> {
        Ok(Vec::new())
    }
}

/// What a vertex makes.
#[derive(Clone)]
enum Made {
    Base(Box<Base>),
    Layer(Layer),
    Layers(Vec<PlannedLayer>),
    Wheels(Vec<FetchedWheel>),
    Packages(Vec<LayerBlob>),
}

/// The base, which is the first input of whatever needs it.
fn base_of(inputs: &[Made]) -> Result<&Base, PackError> {
    match inputs.first() {
        Some(Made::Base(base)) => Ok(base),
        _ => Err(PackError::Setting {
            message: "the base is missing from the plan".into(),
            help: None,
        }),
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

fn base_layer(base: &BaseLayer) -> PlannedLayer {
    PlannedLayer {
        kind: LayerKind::Base.to_string(),
        layer: Layer {
            digest: base.blob.clone(),
            size: base.size,
            diff_id: base.diff_id.clone(),
            unpacked: base.unpacked_size,
        },
        created_by: format!("debian {} with Python {}", base.suite, base.python),
        packages: base
            .packages
            .iter()
            .map(|package| format!("{} {}", package.name, package.version))
            .collect(),
    }
}
