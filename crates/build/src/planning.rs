//! From a project's files to everything below the app: Python, base, packages, and their layers.
//!
//! The result is kept with a note of every file that was read for it, so an unchanged project skips all of this.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use coil_debian::{Archive, AssembleOptions, Suite};
use coil_oci::{Arch, Digest};
use coil_plan::LayerKind;
use coil_python::{
    Diagnostic, IgnoreRules, Packages, Pinned, Project, ProjectFiles, ProjectWishes, PyProject, Pylock,
    ResolutionInput, Target,
};
use coil_wheel::bytecode::Interpreter;
use coil_wheel::index::IndexClient;
use coil_wheel::resolve::{ResolveRequest, find_uv, resolve};
use serde::{Deserialize, Serialize};

use crate::app_layer::InstalledFile;
use crate::base::Base;
use crate::base_choice::{BaseChoice, unknown_base};
use crate::disk_files::DiskFiles;
use crate::error::PackError;
use crate::hash_pins::HashPins;
use crate::import_check::{self, Importable};
use crate::layer_writer::Layer;
use crate::lock_file::LockFile;
use crate::platform_layers::{BaseSource, PlatformParts};
use crate::project_index::{formats, login_notes, take_logins};
use crate::project_package::{image_name, install_files};
use crate::recorder::{Reads, Recorder};
use crate::request::{Chosen, PackRequest, Packer};
use crate::source_build::{BuildSettings, build_settings};

/// Records of plans. The number changes whenever the same project would be planned otherwise.
const PLANS: &str = "pack-plan-v1";
const FORMAT: u32 = 4;

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
    /// Folders and files of this machine that packages were built from.
    #[serde(default)]
    pub(crate) local_sources: BTreeMap<PathBuf, Digest>,
    pub(crate) notes: Vec<String>,
    /// The variables that requirements files name, each with its value's digest.
    #[serde(default)]
    pub(crate) variables: BTreeMap<String, Digest>,
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
    pub(crate) base: Base,
    /// All layers but the app's, the base's among them, the lowest first.
    pub(crate) layers: Vec<PlannedLayer>,
    /// The blob that lists the components below the app.
    pub(crate) components: Digest,
    /// What the app can import; none where that isn't known.
    #[serde(default)]
    pub(crate) importable: Option<Importable>,
}

/// A layer that is in the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlannedLayer {
    /// What it holds, as [`LayerKind`] is shown.
    pub kind: String,
    /// The blob.
    pub layer: Layer,
    /// How it came to be.
    pub created_by: String,
    /// The packages in it, `name version`.
    pub packages: Vec<String>,
}

impl PlannedLayer {
    pub(crate) fn kind(&self) -> LayerKind {
        [
            LayerKind::Base,
            LayerKind::Libraries,
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
        let unchanged =
            |(path, digest): (&PathBuf, &Digest)| packer.local_source(path).is_ok_and(|now| now == *digest);
        let same = |(name, digest): (&String, &Digest)| {
            let now = packer.variables.get(name);
            now.is_some_and(|value| Digest::of(value.as_bytes()) == *digest)
        };
        if !self.local_sources.iter().all(unchanged) || !self.variables.iter().all(same) {
            return false;
        }
        self.platforms.iter().all(|platform| {
            platform
                .layers
                .iter()
                .all(|layer| packer.store.has_blob(&layer.layer.digest))
                && packer.store.has_blob(&platform.components)
                && platform.base.image.as_ref().is_none_or(|image| packer.still_stands_in(image))
                // It was planned where no container could compile; now one can.
                && (platform.base.compiler.is_some() || !packer.could_compile(platform.arch))
                && platform.base.compiler.as_ref().is_none_or(|compiler| {
                    let mut blobs = compiler.layers.iter().map(|(_, blob)| &blob.digest);
                    blobs.all(|blob| packer.store.has_blob(blob))
                })
        })
    }

    /// The rules by which files are shipped.
    pub(crate) fn ignore_rules(&self, files: &dyn ProjectFiles) -> Result<IgnoreRules, PackError> {
        let text = files.read_text(".dockerignore").map_err(Diagnostic::from)?;
        let rules = text.map_or_else(IgnoreRules::default, |text| IgnoreRules::from_text(&text));
        Ok(rules.with_settings(&self.settings.exclude, &self.settings.include))
    }
}

/// What planning takes that is the same for all platforms of a project.
struct Planning<'a> {
    request: &'a PackRequest,
    project: &'a Project,
    wishes: &'a ProjectWishes,
    files: &'a dyn ProjectFiles,
    disk: &'a DiskFiles,
    packages_from: String,
    choice: BaseChoice,
    archive: Archive,
    build: BuildSettings,
    bytecode: bool,
}

impl Planning<'_> {
    /// The folder that paths in the lock start from.
    fn lock_dir(&self) -> PathBuf {
        self.disk.root().join(&self.project.lock_dir)
    }

    fn parts<'a>(
        &'a self,
        base: &'a BaseSource,
        target: &'a Target,
        selected: &'a [Pinned],
        lock_dir: &'a Path,
    ) -> PlatformParts<'a> {
        PlatformParts {
            archive: &self.archive,
            base,
            target,
            selected,
            lock_dir,
            build: &self.build,
            bytecode: self.bytecode,
        }
    }
}

impl Packer<'_> {
    /// Plans a project, or takes the plan that was made of the same files before.
    ///
    /// The lock comes back when something was added to it: it is the caller's to write, once all else is known to be well.
    pub(crate) fn planned(
        &self,
        request: &PackRequest,
        files: &DiskFiles,
    ) -> Result<(Planned, Option<LockFile>), PackError> {
        let key = self.plan_key(request);
        if !request.upgrade
            && let Some(bytes) = self.store.cache_get(PLANS, key.hex())
            && let Ok(record) = serde_json::from_slice::<Record>(&bytes)
            && record.reads.still_hold(files)
            && record.planned.is_whole(self)
        {
            return Ok((record.planned, None));
        }
        let recorder = Recorder::new(files);
        let (planned, lock) = self.plan(request, &recorder, files)?;
        let mut reads = recorder.finish();
        let lock = lock.changed().then_some(lock);
        if let Some(lock) = &lock {
            reads.set_file(crate::lock_file::NAME, lock.text().as_bytes());
        }
        let record = Record { reads, planned };
        if let Ok(bytes) = serde_json::to_vec(&record) {
            self.store
                .cache_put(PLANS, key.hex(), &bytes)
                .map_err(PackError::disk("keeping a plan"))?;
        }
        Ok((record.planned, lock))
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
            &request.wishes,
            (&request.apt, request.auto_apt),
            (&request.build_apt, request.build_network),
            (&request.no_binary, &request.only_binary),
            request.no_bytecode,
        );
        let text = format!(
            "{FORMAT} {} {settings:?} {:?}",
            env!("CARGO_PKG_VERSION"),
            self.index.key()
        );
        Digest::of(text.as_bytes())
    }

    /// Plans afresh; gives the lock with what was added to it.
    fn plan(
        &self,
        request: &PackRequest,
        files: &dyn ProjectFiles,
        disk: &DiskFiles,
    ) -> Result<(Planned, LockFile), PackError> {
        let name = disk.root().display().to_string();
        let wishes = request.wishes.clone();
        let project = Project::load(files, &name, self.variables, &wishes)?;
        let index = self.project_index(&project, files, disk.root())?;
        let packer = Packer {
            index: &index,
            ..*self
        };
        packer.plan_project(request, &project, &wishes, files, disk)
    }

    /// Plans a project with its own indices.
    fn plan_project(
        &self,
        request: &PackRequest,
        project: &Project,
        wishes: &ProjectWishes,
        files: &dyn ProjectFiles,
        disk: &DiskFiles,
    ) -> Result<(Planned, LockFile), PackError> {
        let pyproject = project.pyproject.as_ref();
        let mut request = request.clone();
        request
            .apt
            .extend(pyproject.iter().flat_map(|file| file.coil.apt.iter().cloned()));
        let wanted = pyproject.and_then(|project| project.coil.bytecode);
        let planning = Planning {
            packages_from: found_in(project),
            choice: BaseChoice::of(&request, project)?,
            archive: Archive::new(self.fetcher.clone(), self.store.clone(), (self.sources)())
                .allow_expired(self.allow_expired),
            build: build_settings(
                &request,
                pyproject,
                formats(&request.machine_formats, project, files)?,
            ),
            bytecode: !request.no_bytecode && wanted != Some(false),
            request: &request,
            project,
            wishes,
            files,
            disk,
        };
        let mut lock = LockFile::read(files, request.locked, request.upgrade)?;
        let mut platforms = Vec::new();
        let mut packages = Vec::new();
        let mut local_sources = BTreeMap::new();
        let mut notes = project.notes.clone();
        notes.extend(login_notes(project, files)?);
        for arch in archs_of(&request, pyproject)? {
            let (platform, selected) = self.plan_platform(&planning, arch, &mut lock, &mut notes)?;
            platforms.push(platform);
            local_sources.extend(self.local_sources(&selected, &planning.lock_dir())?);
            packages.extend(selected);
        }
        let installed = match pyproject {
            // Groups alone: the project lies beside them and isn't installed.
            Some(_) if !wishes.only_groups.is_empty() => Vec::new(),
            Some(pyproject) => install_files(pyproject, files, &platforms, &mut notes)?,
            None => Vec::new(),
        };
        let first = platforms.first();
        let planned = Planned {
            name: image_name(pyproject, disk),
            python: Chosen {
                value: first.map_or_else(String::new, |platform| platform.base.python.version.clone()),
                reason: planning.choice.python_reason(),
            },
            base: planning.choice.chosen(),
            packages_from: planning.packages_from,
            platforms,
            installed,
            settings: pyproject.map(settings_of).unwrap_or_default(),
            packages: names_alone(packages),
            local_sources,
            notes,
            variables: self.values_of(project),
        };
        Ok((planned, lock))
    }

    /// Plans one platform; gives it and the packages in it.
    fn plan_platform(
        &self,
        planning: &Planning<'_>,
        arch: Arch,
        lock: &mut LockFile,
        notes: &mut Vec<String>,
    ) -> Result<(PlannedPlatform, Vec<Pinned>), PackError> {
        let Planning {
            request,
            choice,
            archive,
            packages_from,
            ..
        } = planning;
        let (source, target) = self.base_source(request, choice, arch, archive, lock, notes)?;
        let mut selected = match planning.project.packages(&target, planning.wishes)? {
            Packages::Locked(packages) => packages,
            Packages::Unresolved(input) => {
                let input = self.whole_input(*input, planning.project, planning.files)?;
                lock.packages(&target, &input.digest(), packages_from, || {
                    self.resolve_packages(planning, &source, &target, &input, notes)
                })?
            }
        };
        // Whatever is recorded from here on holds no login; requests get theirs from the settings.
        let index = self.index.with_addresses(take_logins(&mut selected));
        let packer = Packer {
            index: &index,
            ..*self
        };
        let lock_dir = planning.lock_dir();
        let parts = planning.parts(&source, &target, &selected, &lock_dir);
        let mut made = packer.platform(request, &parts, lock, notes)?;
        if let Some(importable) = &mut made.importable {
            importable.lock.clone_from(packages_from);
            importable.left_out = import_check::left_out(planning.project, &selected);
        }
        Ok((made, selected))
    }

    /// Asks uv which packages a project without a lock needs on a platform.
    fn resolve_packages(
        &self,
        planning: &Planning<'_>,
        source: &BaseSource,
        target: &Target,
        input: &ResolutionInput,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Pinned>, PackError> {
        let Planning {
            request,
            archive,
            packages_from,
            disk,
            ..
        } = planning;
        let hashes = HashPins::read(input, packages_from);
        let interpreter = self.resolving_interpreter(request, archive, source)?;
        let parts = planning.parts(source, target, &[], disk.root());
        let texts = (input.requirements.as_str(), input.constraints.as_str());
        let warned = Mutex::new(Vec::new());
        let found = self.resolving(request, &parts, texts, &|places, text| {
            let input = ResolutionInput {
                requirements: text.to_owned(),
                ..input.clone()
            };
            let (packages, warnings) =
                self.resolve(&input, packages_from, target, &interpreter, disk, places)?;
            warned
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(warnings);
            Ok(packages)
        });
        notes.extend(warned.into_inner().unwrap_or_else(PoisonError::into_inner));
        let mut found = found?;
        // Before the hashes: a source may be the one file that they allow.
        self.add_sources(&mut found, &planning.build.formats)?;
        hashes.hold(&mut found, target)?;
        Ok(found)
    }

    /// The variables that a project's requirements files name, with their values' digests.
    fn values_of(&self, project: &Project) -> BTreeMap<String, Digest> {
        let named = match &project.lock {
            coil_python::ProjectLock::Requirements(file) => &file.variables,
            _ => return BTreeMap::new(),
        };
        let value = |name: &String| {
            let value = self.variables.get(name)?;
            Some((name.clone(), Digest::of(value.as_bytes())))
        };
        named.iter().filter_map(value).collect()
    }

    pub(crate) fn assemble_options(&self, request: &PackRequest) -> AssembleOptions {
        AssembleOptions {
            epoch: request.epoch,
            threads: self.threads,
        }
    }

    /// What uv asks about Python: an interpreter of this machine's architecture that runs without a container.
    pub(crate) fn resolving_interpreter(
        &self,
        request: &PackRequest,
        archive: &Archive,
        source: &BaseSource,
    ) -> Result<Interpreter, PackError> {
        let for_host = match source {
            BaseSource::Debian(_, for_host) => for_host.clone(),
            // Any version will do: uv is told which one it resolves for.
            BaseSource::Image(base) => {
                let suite = base.suite.as_deref().and_then(Suite::named);
                let suite = suite.or_else(|| Suite::named("trixie"));
                let suite = suite.ok_or_else(|| unknown_base("trixie"))?;
                let pinned = archive.resolve(suite, Arch::host(), &[], self.progress);
                Box::new(pinned.map_err(|error| PackError::Resolve(Box::new(error)))?)
            }
        };
        let host = BaseSource::Debian(for_host.clone(), for_host);
        let base = self.base(request, archive, &host)?;
        let Some(compiler) = &base.compiler else {
            return Err(unknown_base(&base.name));
        };
        self.with_interpreter(compiler, |interpreter| interpreter())
    }

    fn resolve(
        &self,
        input: &ResolutionInput,
        found_in: &str,
        target: &Target,
        interpreter: &Interpreter,
        disk: &DiskFiles,
        places: &[String],
    ) -> Result<(Vec<Pinned>, Vec<String>), PackError> {
        let settings = self.index.with_find_links(places);
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
            libc: target.libc,
            index: &settings,
            uv: &input.uv,
            options: &options,
            environment: self.uv_environment,
            directory: disk.root(),
            offline: self.fetcher.is_offline(),
        };
        let found = resolve(self.store, &program, interpreter, &request).map_err(uv)?;
        let none = (Default::default(), Default::default());
        let mut packages = Pylock::parse("uv's answer", &found.lock)?.select(target, &none.0, &none.1)?;
        // What uv was given with a login it gives back with it.
        take_logins(&mut packages);
        Ok((packages, found.warnings))
    }
}

/// Where the list of packages comes from, for people.
fn found_in(project: &Project) -> String {
    project.lock.found_in().to_owned()
}

/// Packages by their names, each once; nothing but the names is looked at again.
fn names_alone(mut packages: Vec<Pinned>) -> Vec<Pinned> {
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages.dedup_by(|a, b| a.name == b.name);
    for package in &mut packages {
        package.artifacts.clear();
    }
    packages
}

fn archs_of(request: &PackRequest, pyproject: Option<&PyProject>) -> Result<Vec<Arch>, PackError> {
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
