//! One platform's layers below the app: base, bytecode, environment and packages, made by running the plan's graph.

use std::path::Path;

use coil_debian::{Archive, BaseLayer, PinnedBase};
use coil_oci::Digest;
use coil_plan::{LayerKind, PackOp, PackPlan, lower};
use coil_python::{Artifact, Choice, Diagnostic, Pinned, Problem, Target, choose, no_wheel};
use coil_wheel::download::{DownloadOptions, FetchedWheel, WheelRequest, download};
use coil_wheel::environment::Environment;
use coil_wheel::grouping;
use coil_wheel::index::IndexClient;
use coil_wheel::layer::{LayerBlob, LayerOptions, WheelFile, build_layers};

use crate::base::{self, Base};
use crate::error::PackError;
use crate::layer_writer::Layer;
use crate::lock_file::LockFile;
use crate::planning::{Compiler, PlannedLayer, PlannedPlatform, unknown_base};
use crate::request::{PackRequest, Packer};
use crate::solver::solve;

const CONNECTIONS: usize = 8;

impl Packer<'_> {
    #[expect(
        clippy::too_many_arguments,
        reason = "one platform's facts, gathered by the only caller"
    )]
    pub(crate) fn platform(
        &self,
        request: &PackRequest,
        archive: &Archive,
        pinned: &PinnedBase,
        for_host: &PinnedBase,
        target: &Target,
        selected: &[Pinned],
        lock_dir: &Path,
        lock: &mut LockFile,
        notes: &mut Vec<String>,
    ) -> Result<PlannedPlatform, PackError> {
        let wanted = wheels_of(&self.with_files(selected)?, target, lock_dir)?;
        let plan = PackPlan {
            arch: target.arch,
            base: format!("debian {}", pinned.suite),
            python: pinned.python.clone(),
            bytecode: true,
            packages: selected.to_vec(),
        };
        let graph = lower(&plan);
        let options = self.assemble_options(request);
        let environment = Environment::standard(&pinned.python);
        let results = solve(&graph, self.threads.max(2), |vertex, inputs: &[Made]| {
            let base = || match inputs.first() {
                Some(Made::Base(base)) => Ok(base.clone()),
                _ => Err(PackError::Setting {
                    message: "the base is missing from the plan".into(),
                    help: None,
                }),
            };
            let made = match &vertex.op {
                PackOp::Base => {
                    let made = base::prepare(archive, self.store, pinned, for_host, &options, self.progress)?;
                    Made::Base(Box::new(made))
                }
                PackOp::Fetch => Made::Wheels(self.fetch(&wanted)?),
                PackOp::Bytecode => Made::Layer(base::library_bytecode(
                    self.store,
                    &*base()?,
                    request.epoch,
                    self.threads,
                    self.progress,
                )?),
                PackOp::Environment => {
                    Made::Layer(base::environment_layer(self.store, &environment, request.epoch)?)
                }
                PackOp::Packages => {
                    let fetched = match inputs.get(1) {
                        Some(Made::Wheels(fetched)) => fetched.as_slice(),
                        _ => &[],
                    };
                    Made::Packages(self.package_layers(fetched, &*base()?, &environment, request.epoch)?)
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
                Made::Wheels(wheels) => lock.found_wheels(target, &wheels),
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

    /// The packages with their files: those of which a lock knows hashes alone are looked up.
    fn with_files(&self, selected: &[Pinned]) -> Result<Vec<Pinned>, PackError> {
        let client = IndexClient::new(self.store, self.fetcher, self.index);
        let mut filled = selected.to_vec();
        for package in filled
            .iter_mut()
            .filter(|p| p.artifacts.is_empty() && p.direct.is_none())
        {
            let version = package
                .version
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let found = client
                .version(package.name.as_ref(), &version)
                .map_err(|error| PackError::Index(Box::new(error)))?;
            let allowed = |digest: &Option<Digest>| {
                package.hashes.is_empty()
                    || digest
                        .as_ref()
                        .is_none_or(|digest| package.hashes.contains(digest))
            };
            let files = found.files.into_iter().filter(|file| allowed(&file.sha256));
            package.artifacts = files
                .map(|file| Artifact {
                    url: Some(file.url),
                    sha256: file.sha256,
                    size: file.size,
                    ..Artifact::named(&file.filename)
                })
                .collect();
            if package.artifacts.is_empty() && !package.hashes.is_empty() {
                let hashes: Vec<String> = package.hashes.iter().map(ToString::to_string).collect();
                let message = format!(
                    "no file of {} on the index has a hash that the lock allows",
                    package.title()
                );
                let error = Diagnostic::new(Problem::LockOutOfDate, message)
                    .note(format!("the lock allows {}", hashes.join(", ")))
                    .help("lock again, if the change was meant");
                return Err(error.into());
            }
        }
        Ok(filled)
    }

    fn fetch(&self, wanted: &[WheelRequest]) -> Result<Vec<FetchedWheel>, PackError> {
        let client = IndexClient::new(self.store, self.fetcher, self.index);
        let options = DownloadOptions {
            threads: CONNECTIONS,
            verify: false,
        };
        download(self.store, self.fetcher, &client, wanted, options, self.progress)
            .map_err(|error| PackError::Download(Box::new(error)))
    }

    fn package_layers(
        &self,
        fetched: &[FetchedWheel],
        base: &Base,
        environment: &Environment,
        epoch: u64,
    ) -> Result<Vec<LayerBlob>, PackError> {
        let sizes: Vec<(String, u64)> = fetched
            .iter()
            .map(|wheel| {
                (
                    wheel
                        .filename
                        .split('-')
                        .next()
                        .unwrap_or_default()
                        .to_ascii_lowercase(),
                    wheel.size,
                )
            })
            .collect();
        let groups: Vec<Vec<WheelFile>> = grouping::group(&sizes)
            .into_iter()
            .map(|group| group.into_iter().map(|at| wheel_file(&fetched[at])).collect())
            .collect();
        let options = LayerOptions {
            environment: environment.clone(),
            interpreter: Some(base.interpreter.clone()),
            epoch,
            threads: self.threads,
        };
        build_layers(self.store, &groups, &options, self.progress)
            .map_err(|error| PackError::Layer(Box::new(error)))
    }
}

/// What a vertex makes.
#[derive(Clone)]
enum Made {
    Base(Box<Base>),
    Layer(Layer),
    Wheels(Vec<FetchedWheel>),
    Packages(Vec<LayerBlob>),
}

fn wheel_file(fetched: &FetchedWheel) -> WheelFile {
    WheelFile {
        path: fetched.path.clone(),
        filename: fetched.filename.clone(),
        sha256: fetched.sha256.clone(),
        direct_url: None,
    }
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

fn package_layer(made: LayerBlob) -> PlannedLayer {
    let packages: Vec<String> = made
        .packages
        .iter()
        .map(|package| format!("{} {}", package.name, package.version))
        .collect();
    PlannedLayer {
        kind: LayerKind::Packages.to_string(),
        layer: Layer {
            digest: made.digest,
            size: made.size,
            diff_id: made.diff_id,
            unpacked: made.uncompressed_size,
        },
        created_by: format!("packages {}", packages.join(", ")),
        packages,
    }
}

/// The wheel of each package; what would have to be built is refused.
fn wheels_of(selected: &[Pinned], target: &Target, lock_dir: &Path) -> Result<Vec<WheelRequest>, PackError> {
    let ranks = target.tag_ranks();
    let mut wanted = Vec::new();
    for package in selected {
        let artifact = match choose(package, target, &ranks)? {
            Choice::Wheel(artifact) => artifact,
            Choice::Sdist(_) => return Err(no_wheel(package, target).into()),
            Choice::Source => {
                let message = format!("{} comes from a source tree or a repository", package.title());
                let error = Diagnostic::new(Problem::Unsupported, message)
                    .help("build it into a wheel and depend on that: coil installs wheels, and builds no sources yet");
                return Err(error.into());
            }
        };
        let local = artifact
            .path
            .as_ref()
            .map(|path| lock_dir.join(path).display().to_string());
        wanted.push(WheelRequest {
            name: package.name.to_string(),
            version: package
                .version
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            filename: artifact.filename.clone(),
            url: artifact.url.clone().or(local),
            sha256: artifact.sha256.clone(),
            size: artifact.size,
        });
    }
    Ok(wanted)
}
