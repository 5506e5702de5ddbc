//! From a project's files to everything below the app: Python, base, packages, and their layers.
//!
//! The result is kept with a note of every file that was read for it, so an unchanged project skips all of this.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use coil_debian::{Archive, AssembleOptions, BaseLayer, PinnedBase, Suite};
use coil_oci::{Arch, Digest};
use coil_plan::{LayerKind, PackOp, PackPlan, lower};
use coil_python::{
    Artifact, Choice, Diagnostic, IgnoreRules, Packages, Pinned, Problem, Project, ProjectFiles,
    ProjectInstall, ProjectLock, ProjectWishes, PyProject, Pylock, PythonChoice, PythonVersion,
    ResolutionInput, Target, choose, choose_python, debian_pythons, no_wheel,
};
use coil_wheel::download::{DownloadOptions, FetchedWheel, WheelRequest, download};
use coil_wheel::environment::Environment;
use coil_wheel::grouping;
use coil_wheel::index::{IndexClient, IndexSettings};
use coil_wheel::layer::{LayerBlob, LayerOptions, WheelFile, build_layers};
use coil_wheel::resolve::{ResolveRequest, find_uv, resolve};
use serde::{Deserialize, Serialize};

use crate::app_layer::InstalledFile;
use crate::base::{self, Base};
use crate::disk_files::DiskFiles;
use crate::error::PackError;
use crate::layer_writer::Layer;
use crate::lock_file::LockFile;
use crate::recorder::{Reads, Recorder};
use crate::request::{Chosen, PackRequest, Packer};
use crate::solver::solve;

/// Records of plans. The number changes whenever the same project would be planned otherwise.
const PLANS: &str = "pack-plan-v1";
const FORMAT: u32 = 1;
const CONNECTIONS: usize = 8;

/// Everything of an image but the app itself, for each platform.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Planned {
    /// The project's name, as an image may be called.
    pub(crate) name: String,
    pub(crate) python: Chosen,
    pub(crate) base: Chosen,
    pub(crate) packages_from: String,
    pub(crate) platforms: Vec<PlannedPlatform>,
    pub(crate) installed: Vec<InstalledFile>,
    pub(crate) settings: Settings,
    /// The names of all packages, by which a server is chosen.
    pub(crate) packages: Vec<Pinned>,
    pub(crate) notes: Vec<String>,
}

/// What `[tool.coil]` sets for the image.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) user: Option<String>,
    pub(crate) ports: Vec<String>,
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
}

/// One platform's layers below the app.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlannedPlatform {
    pub(crate) arch: Arch,
    /// The base's layer.
    pub(crate) base: BaseLayer,
    /// The base that holds the compiling interpreter: this machine's.
    pub(crate) compiler: Compiler,
    pub(crate) layers: Vec<PlannedLayer>,
}

/// Which interpreter compiles, and where its base is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Compiler {
    pub(crate) version: String,
    pub(crate) identity: String,
    pub(crate) diff_id: Digest,
    pub(crate) blob: Digest,
    pub(crate) blob_size: u64,
}

/// A layer that is in the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlannedLayer {
    pub(crate) kind: String,
    pub(crate) layer: Layer,
    pub(crate) created_by: String,
    pub(crate) packages: Vec<String>,
}

impl PlannedLayer {
    pub(crate) fn kind(&self) -> LayerKind {
        [
            LayerKind::Base,
            LayerKind::Bytecode,
            LayerKind::Environment,
            LayerKind::Packages,
        ]
        .into_iter()
        .find(|kind| kind.to_string() == self.kind)
        .unwrap_or(LayerKind::App)
    }
}

#[derive(Serialize, Deserialize)]
struct Record {
    reads: Reads,
    planned: Planned,
}

impl Planned {
    fn is_whole(&self, packer: &Packer<'_>) -> bool {
        self.platforms.iter().all(|platform| {
            platform
                .layers
                .iter()
                .all(|layer| packer.store.has_blob(&layer.layer.digest))
                && packer.store.has_blob(&platform.compiler.blob)
        })
    }

    /// The rules by which files are shipped.
    pub(crate) fn ignore_rules(&self, files: &dyn ProjectFiles) -> Result<IgnoreRules, PackError> {
        let text = files.read_text(".dockerignore").map_err(Diagnostic::from)?;
        let rules = text.map_or_else(IgnoreRules::default, |text| IgnoreRules::from_text(&text));
        Ok(rules.with_settings(&self.settings.exclude, &self.settings.include))
    }
}

impl Packer<'_> {
    /// Plans a project, or takes the plan that was made of the same files before.
    pub(crate) fn planned(&self, request: &PackRequest, files: &DiskFiles) -> Result<Planned, PackError> {
        let key = self.plan_key(request);
        if let Some(bytes) = self.store.cache_get(PLANS, key.hex())
            && let Ok(record) = serde_json::from_slice::<Record>(&bytes)
            && record.reads.still_hold(files)
            && record.planned.is_whole(self)
        {
            return Ok(record.planned);
        }
        let recorder = Recorder::new(files);
        let (planned, lock) = self.plan(request, &recorder, files)?;
        let mut reads = recorder.finish();
        if let Some(written) = lock {
            reads.set_file(crate::lock_file::NAME, &written);
        }
        let record = Record { reads, planned };
        if let Ok(bytes) = serde_json::to_vec(&record) {
            self.store
                .cache_put(PLANS, key.hex(), &bytes)
                .map_err(PackError::disk("keeping a plan"))?;
        }
        Ok(record.planned)
    }

    fn plan_key(&self, request: &PackRequest) -> Digest {
        // The image's own settings don't change what is below the app; a command given changes nothing here either.
        let settings = (
            &request.dir,
            &request.platforms,
            &request.base,
            &request.python,
            request.locked,
            request.epoch,
        );
        let text = format!(
            "{FORMAT} {} {settings:?} {:?}",
            env!("CARGO_PKG_VERSION"),
            self.index.indices()
        );
        Digest::of(text.as_bytes())
    }

    /// Plans afresh; gives the bytes of the lock when it was written.
    fn plan(
        &self,
        request: &PackRequest,
        files: &dyn ProjectFiles,
        disk: &DiskFiles,
    ) -> Result<(Planned, Option<Vec<u8>>), PackError> {
        let name = disk.root().display().to_string();
        let wishes = ProjectWishes::default();
        let project = Project::load(files, &name, &BTreeMap::new(), &wishes)?;
        let pyproject = project.pyproject.clone();
        let packages_from = found_in(&project);
        let python = choose_for(request, &project)?;
        let suite = Suite::named(&python.suite).ok_or_else(|| unknown_base(&python.suite))?;
        let archs = platforms(request, pyproject.as_ref())?;
        let mut lock = LockFile::read(files, request.locked)?;
        let archive = Archive::new(self.fetcher.clone(), self.store.clone(), (self.sources)())
            .allow_expired(self.allow_expired);
        let mut platforms = Vec::new();
        let mut packages = Vec::new();
        let mut notes = project.notes.clone();
        for arch in archs {
            let pinned = self.pinned_base(&archive, &mut lock, suite, arch)?;
            let for_host = self.pinned_base(&archive, &mut lock, suite, Arch::host())?;
            let target = target_of(&pinned, arch)?;
            let selected = match project.packages(&target, &wishes)? {
                Packages::Locked(packages) => packages,
                Packages::Unresolved(input) => {
                    lock.packages(&target, &input.digest(), &packages_from, || {
                        let options = self.assemble_options(request);
                        let base = base::prepare(
                            &archive,
                            self.store,
                            &for_host,
                            &for_host,
                            &options,
                            self.progress,
                        )?;
                        self.resolve(&input, &packages_from, &target, &base, disk)
                    })?
                }
            };
            let lock_dir = disk.root().join(&project.lock_dir);
            let made = self.platform(
                request, &archive, &pinned, &for_host, &target, &selected, &lock_dir, &mut lock, &mut notes,
            )?;
            platforms.push(made);
            packages.extend(selected);
        }
        let installed = match &pyproject {
            Some(pyproject) => install_files(pyproject, files, &platforms, &mut notes)?,
            None => Vec::new(),
        };
        let written = lock.write(disk, &mut notes);
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        packages.dedup_by(|a, b| a.name == b.name);
        for package in &mut packages {
            // Only the names are looked at again.
            package.artifacts.clear();
        }
        let planned = Planned {
            name: image_name(pyproject.as_ref(), disk),
            python: Chosen {
                value: platforms
                    .first()
                    .map(|platform| platform.base.python.clone())
                    .unwrap_or_default(),
                reason: python.reason.clone(),
            },
            base: Chosen {
                value: format!("debian {}", python.suite),
                reason: match request.base.is_some() {
                    true => "asked for".into(),
                    false => format!("has Python {}", python.minor),
                },
            },
            packages_from,
            platforms,
            installed,
            settings: pyproject.as_ref().map(settings_of).unwrap_or_default(),
            packages,
            notes,
        };
        Ok((planned, written))
    }

    fn assemble_options(&self, request: &PackRequest) -> AssembleOptions {
        AssembleOptions {
            epoch: request.epoch,
            threads: self.threads,
        }
    }

    fn pinned_base(
        &self,
        archive: &Archive,
        lock: &mut LockFile,
        suite: Suite,
        arch: Arch,
    ) -> Result<PinnedBase, PackError> {
        lock.base(suite.name, arch, || {
            self.progress
                .note(&format!("looking up Debian {} for {arch}", suite.name));
            archive
                .resolve(suite, arch, &[], self.progress)
                .map_err(|error| PackError::Resolve(Box::new(error)))
        })
    }

    fn resolve(
        &self,
        input: &ResolutionInput,
        found_in: &str,
        target: &Target,
        base: &Base,
        disk: &DiskFiles,
    ) -> Result<Vec<Pinned>, PackError> {
        let settings = self.index_for(input);
        let client = IndexClient::new(self.store, self.fetcher, &settings);
        self.progress.note(&format!("resolving {found_in} for {target}"));
        let uv = |error| PackError::Uv(Box::new(error));
        let program = find_uv(self.store, self.fetcher, &client, self.uv, self.progress).map_err(uv)?;
        let python = target.python.to_string();
        let options: Vec<String> = if input.index.pre {
            vec!["--prerelease=allow".into()]
        } else {
            Vec::new()
        };
        let request = ResolveRequest {
            requirements: &input.requirements,
            constraints: &input.constraints,
            python: &python,
            arch: target.arch,
            glibc: target.glibc,
            index: &settings,
            options: &options,
            environment: self.uv_environment,
            directory: disk.root(),
            offline: self.fetcher.is_offline(),
        };
        let text = resolve(self.store, &program, &base.interpreter, &request).map_err(uv)?;
        let none = (Default::default(), Default::default());
        Ok(Pylock::parse("uv's answer", &text)?.select(target, &none.0, &none.1)?)
    }

    /// The user's indices, with those that the project itself names before them.
    fn index_for(&self, input: &ResolutionInput) -> IndexSettings {
        let mut settings = self.index.clone();
        let own = &input.index;
        if own.index_url.is_some() {
            settings.index_url.clone_from(&own.index_url);
        }
        settings.extra.extend(own.extra_index_urls.iter().cloned());
        settings.find_links.extend(own.find_links.iter().cloned());
        settings.no_index |= own.no_index;
        settings
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one platform's facts, gathered by the only caller"
    )]
    fn platform(
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

fn unknown_base(name: &str) -> PackError {
    PackError::Setting {
        message: format!("there is no base `{name}`"),
        help: Some("give bookworm (Python 3.11), trixie (3.13) or sid (3.14)".into()),
    }
}

/// Where the list of packages comes from, for people.
fn found_in(project: &Project) -> String {
    match &project.lock {
        ProjectLock::Uv(lock) => lock.file.clone(),
        ProjectLock::Pylock(lock) => lock.file.clone(),
        ProjectLock::Requirements(file) => file.file.clone(),
        ProjectLock::Unlocked => "pyproject.toml".into(),
        ProjectLock::NoPackages => "no dependencies".into(),
    }
}

fn choose_for(request: &PackRequest, project: &Project) -> Result<PythonChoice, PackError> {
    let wishes = project.python_wishes(request.python.as_deref().map(|text| (text, "--python")));
    let in_project = project
        .pyproject
        .as_ref()
        .and_then(|file| file.coil.base.as_deref());
    let mut available = debian_pythons();
    if let Some(base) = request.base.as_deref().or(in_project) {
        let name = base.strip_prefix("debian:").unwrap_or(base);
        available.retain(|python| python.suite == name);
        if available.is_empty() {
            return Err(unknown_base(base));
        }
    }
    Ok(choose_python(&available, &wishes)?)
}

fn platforms(request: &PackRequest, pyproject: Option<&PyProject>) -> Result<Vec<Arch>, PackError> {
    if !request.platforms.is_empty() {
        return Ok(request.platforms.clone());
    }
    let mut archs = Vec::new();
    for text in pyproject.map_or(&[][..], |file| &file.coil.platforms) {
        let platform = coil_oci::Platform::from_str(text).map_err(|error| PackError::Setting {
            message: error.to_string(),
            help: None,
        })?;
        archs.extend(platform.arch().filter(|arch| !archs.contains(arch)));
    }
    if archs.is_empty() {
        archs.push(Arch::host());
    }
    Ok(archs)
}

fn target_of(pinned: &PinnedBase, arch: Arch) -> Result<Target, PackError> {
    let broken = || PackError::Setting {
        message: format!(
            "the base in {} names no Python or no libc",
            crate::lock_file::NAME
        ),
        help: Some("remove that file and pack again".into()),
    };
    let python = PythonVersion::from_str(&pinned.python).map_err(|_| broken())?;
    Ok(Target {
        python,
        arch,
        glibc: pinned.glibc().ok_or_else(broken)?,
    })
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

fn settings_of(pyproject: &PyProject) -> Settings {
    let coil = &pyproject.coil;
    Settings {
        env: coil.env.clone(),
        labels: coil.labels.clone(),
        user: coil.user.clone(),
        ports: coil.ports.iter().map(ToString::to_string).collect(),
        include: coil.include.clone(),
        exclude: coil.exclude.clone(),
    }
}

/// The files that make the project itself an installed package.
fn install_files(
    pyproject: &PyProject,
    files: &dyn ProjectFiles,
    platforms: &[PlannedPlatform],
    notes: &mut Vec<String>,
) -> Result<Vec<InstalledFile>, PackError> {
    let (Some(install), Some(first)) = (ProjectInstall::find(pyproject, files)?, platforms.first()) else {
        return Ok(Vec::new());
    };
    notes.extend(install.notes.iter().cloned());
    let environment = Environment::standard(&first.base.python);
    let site = environment.site_packages();
    let info = format!("{site}/{}", install.dist_info());
    let plain = |path: String, text: String| InstalledFile {
        path,
        bytes: text.into_bytes(),
        executable: false,
    };
    let pth = format!("{site}/{}", install.pth_name());
    let mut out = vec![
        plain(
            pth.clone(),
            install.pth(&format!("/{}", crate::app_layer::APP_FOLDER)),
        ),
        plain(format!("{info}/METADATA"), install.metadata()),
        plain(format!("{info}/INSTALLER"), "coil\n".into()),
    ];
    if !install.entry_points.is_empty() {
        out.push(plain(
            format!("{info}/entry_points.txt"),
            install.entry_points.clone(),
        ));
    }
    for entry in &install.scripts {
        let value = format!("{}:{}", entry.module, entry.attribute);
        let script = coil_wheel::entry_points::script(&entry.name, &value).map_err(|reason| {
            let message = format!("[project.scripts] {}: {reason}", entry.name);
            PackError::from(Diagnostic::new(Problem::Syntax, message).in_file("pyproject.toml"))
        })?;
        let bytes = coil_wheel::entry_points::body(&script, &environment.interpreter());
        out.push(InstalledFile {
            path: format!("{}/{}", environment.scripts(), entry.name),
            bytes,
            executable: true,
        });
    }
    let mut record: Vec<String> = out
        .iter()
        .map(|file| format!("{},,\n", relative_to_site(&file.path, &environment)))
        .collect();
    record.push(format!("{}/RECORD,,\n", install.dist_info()));
    out.push(plain(format!("{info}/RECORD"), record.concat()));
    Ok(out)
}

/// A path of the environment as RECORD writes it: relative to the folder of packages.
fn relative_to_site(path: &str, environment: &Environment) -> String {
    let site = environment.site_packages();
    match path.strip_prefix(&format!("{site}/")) {
        Some(below) => below.to_owned(),
        None => format!(
            "../../../{}",
            path.strip_prefix(&format!("{}/", environment.prefix))
                .unwrap_or(path)
        ),
    }
}

/// The project's name in the letters that an image's name may have.
fn image_name(pyproject: Option<&PyProject>, disk: &DiskFiles) -> String {
    let folder = || {
        disk.root()
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let name = pyproject
        .and_then(PyProject::name)
        .map(ToString::to_string)
        .or_else(folder)
        .unwrap_or_default();
    let mut out = String::new();
    for letter in name.to_ascii_lowercase().chars() {
        if letter.is_ascii_alphanumeric() {
            out.push(letter);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() {
        "app".into()
    } else {
        out.to_owned()
    }
}
