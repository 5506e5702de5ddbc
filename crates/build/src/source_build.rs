//! Wheels built from source distributions, repositories and folders, by their own back ends (PEP 517), in containers.
//!
//! A build sees the image's base with a compiler added, an environment with the back end's own requirements, its source, and
//! no network. What comes out is kept for good, by what it was made from: the same source for the same Python of the same
//! system is built once, for every project.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use coil_oci::{Arch, Digest};
use coil_python::{Pinned, PyProject, WheelName};
use coil_wheel::download::FetchedWheel;
use coil_wheel::filename::{normalise, same_version};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::Base;
use crate::error::PackError;
use crate::formats::Formats;
use crate::package_layers::{BuildSource, PackageSources, sources_of};
use crate::platform_layers::{BaseSource, PlatformParts};
use crate::request::{PackRequest, Packer};
use crate::source_build_direct::DirectLine;
use crate::source_build_failure::Reason;
use crate::source_build_resolve::{Asked, Attempt, needs_build};
use crate::source_build_run::{FOLDER, LEGACY, Room, Run, Unpacked, ownership_is_ours};
use crate::source_build_source::{Place, Source, failure, file_digest, title};

/// Records of wheels that were built. The number changes whenever the same source would be built otherwise.
const BUILT: &str = "built-wheel-v1";
const FORMAT: u32 = 1;
/// The name of a package whose name only its wheel tells.
pub(crate) const UNNAMED: &str = "not-named-yet";

/// How a project's source distributions are built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildSettings {
    /// Debian packages beside the compilers.
    pub(crate) apt: Vec<String>,
    /// Whether builds reach the network.
    pub(crate) network: bool,
    /// Which packages are built even where a wheel fits, and which never.
    pub(crate) formats: Formats,
}

/// What a request and `[tool.coil]` say about builds.
pub(crate) fn build_settings(
    request: &PackRequest,
    pyproject: Option<&PyProject>,
    mut formats: Formats,
) -> BuildSettings {
    let coil = pyproject.map(|file| &file.coil);
    let mut apt: Vec<String> = coil.map(|coil| coil.build_apt.clone()).unwrap_or_default();
    apt.extend(request.build_apt.iter().cloned());
    apt.sort();
    apt.dedup();
    formats.wishes(&request.variable_formats);
    formats.only_binary(&request.only_binary, "--only-binary");
    formats.no_binary(&request.no_binary);
    BuildSettings {
        apt,
        network: request.build_network || coil.is_some_and(|coil| coil.build_network),
        formats,
    }
}

/// A wheel that was built.
#[derive(Debug, Serialize, Deserialize)]
struct Built {
    filename: String,
    sha256: Digest,
    size: u64,
    /// What the back end needed, `name==version`.
    requires: Vec<String>,
}

/// Builds for one platform.
pub(crate) struct Builder<'a> {
    pub(crate) packer: &'a Packer<'a>,
    pub(crate) request: &'a PackRequest,
    pub(crate) parts: &'a PlatformParts<'a>,
    /// The base of this machine's processor that builds run in.
    pub(crate) base: Base,
}

impl Packer<'_> {
    /// The wheels of the packages that have none.
    pub(crate) fn built_wheels(
        &self,
        request: &PackRequest,
        parts: &PlatformParts<'_>,
        base: &Base,
        sources: &PackageSources,
    ) -> Result<Vec<FetchedWheel>, PackError> {
        let builder = Builder::new(self, request, parts, base)?;
        let build =
            |(package, source): &(Pinned, BuildSource)| builder.wheel(package, source, &mut Vec::new());
        sources.builds.iter().map(build).collect()
    }

    /// Resolves a project; a package whose requirements only its build tells is built first.
    pub(crate) fn resolving(
        &self,
        request: &PackRequest,
        parts: &PlatformParts<'_>,
        (requirements, constraints): (&str, &str),
        attempt: &Attempt<'_>,
    ) -> Result<Vec<Pinned>, PackError> {
        let lines: Vec<String> = requirements.lines().map(|line| line.trim().to_owned()).collect();
        // Nothing is made ready for builds unless one is needed.
        let mut first = None;
        if lines
            .iter()
            .all(|line| DirectLine::read(line, parts.lock_dir).is_none())
        {
            match attempt(&[], requirements) {
                Err(error) if needs_build(&error) => first = Some(error),
                other => return other,
            }
        }
        let base = self.base(request, parts.archive, parts.base)?;
        let builder = Builder::new(self, request, parts, &base)?;
        let first = std::cell::Cell::new(first);
        let asked = Asked {
            requirements: &lines,
            constraints,
        };
        builder.resolving(&asked, &mut Vec::new(), &|places, text| match first.take() {
            Some(error) => Err(error),
            None => attempt(places, text),
        })
    }
}

impl<'a> Builder<'a> {
    /// A builder over a platform's base; of a foreign processor's base it takes this machine's counterpart.
    pub(crate) fn new(
        packer: &'a Packer<'a>,
        request: &'a PackRequest,
        parts: &'a PlatformParts<'a>,
        base: &Base,
    ) -> Result<Builder<'a>, PackError> {
        let base = match parts.base {
            BaseSource::Debian(_, for_host) if base.arch != Arch::host() => {
                let host = BaseSource::Debian(for_host.clone(), for_host.clone());
                packer.base(request, parts.archive, &host)?
            }
            _ => base.clone(),
        };
        Ok(Builder {
            packer,
            request,
            parts,
            base,
        })
    }

    /// The wheel of one package: the one that was built before, or a new one.
    pub(crate) fn wheel(
        &self,
        package: &Pinned,
        source: &BuildSource,
        stack: &mut Vec<String>,
    ) -> Result<FetchedWheel, PackError> {
        let artifact = match source {
            BuildSource::Archive(artifact) => Some(artifact),
            BuildSource::Tree => None,
        };
        let source = self.packer.source(package, artifact, self.parts.lock_dir)?;
        if let Some(ready) = self.ready_wheel(package, &source)? {
            return Ok(ready);
        }
        let key = self.key(&source);
        let fetched = match self.kept(&key) {
            Some(kept) => kept,
            None => {
                if stack.iter().any(|name| *name == *package.name.as_ref()) {
                    stack.push(package.name.to_string());
                    return Err(failure(package, Reason::Cycle(stack.clone())));
                }
                stack.push(package.name.to_string());
                let built = self.build(package, &source, &key, stack)?;
                stack.pop();
                built
            }
        };
        self.fits(package, &fetched)?;
        Ok(fetched)
    }

    /// A direct reference may lead to a wheel.
    fn ready_wheel(&self, package: &Pinned, source: &Source) -> Result<Option<FetchedWheel>, PackError> {
        let Place::Archive(path) = &source.place else {
            return Ok(None);
        };
        let filename = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if !filename.ends_with(".whl") {
            return Ok(None);
        }
        let size = fs::metadata(path)
            .map_err(PackError::disk("reading a wheel"))?
            .len();
        let fetched = FetchedWheel {
            path: path.clone(),
            filename,
            sha256: source.digest.clone(),
            size,
            url: None,
        };
        self.fits(package, &fetched)?;
        Ok(Some(fetched))
    }

    /// Everything that decides what comes out, but for what the world may change under us.
    fn key(&self, source: &Source) -> Digest {
        let base = &self.base;
        let system = match &base.image {
            Some(image) => image.manifest.to_string(),
            None => base.suite.clone().unwrap_or_default(),
        };
        let minor = base.environment().minor();
        let build = &self.parts.build;
        let text = format!(
            "{FORMAT} {} {} {system} {minor} {} {:?} {:?} {} {}",
            source.digest,
            source.subdirectory,
            base.arch,
            base.libc,
            build.apt,
            build.network,
            source.has_git
        );
        Digest::of(text.as_bytes())
    }

    fn kept(&self, key: &Digest) -> Option<FetchedWheel> {
        let store = self.packer.store;
        let built: Built = serde_json::from_slice(&store.cache_get(BUILT, key.hex())?).ok()?;
        let path = store.download_path("built-wheels", &format!("{}/{}", key.hex(), built.filename));
        // Not synced when it was written, so it is looked at.
        if file_digest(&path).ok()? != built.sha256 {
            return None;
        }
        Some(FetchedWheel {
            path,
            filename: built.filename,
            sha256: built.sha256,
            size: built.size,
            url: None,
        })
    }

    /// Whether a wheel is the one that was asked for, and fits the image.
    fn fits(&self, package: &Pinned, wheel: &FetchedWheel) -> Result<(), PackError> {
        let target = self.parts.target;
        let bad = |what: String| failure(package, Reason::Wheel(what));
        let name = WheelName::parse(&wheel.filename).map_err(|error| bad(error.to_string()))?;
        if name.rank(&target.tag_ranks()).is_none() {
            if target.arch != Arch::host() {
                let why = format!(
                    "it is not pure Python ({}), so a wheel for {} must be built on such a machine, and this one is {}",
                    wheel.filename,
                    target.arch,
                    Arch::host()
                );
                let help = format!(
                    "pack on a machine with {}, build the wheel there and depend on it, or choose a version that has a wheel",
                    target.arch
                );
                return Err(failure(
                    package,
                    Reason::NoContainer {
                        why,
                        help: Some(help),
                    },
                ));
            }
            return Err(bad(format!("{} does not fit {target}", wheel.filename)));
        }
        let mut parts = wheel.filename.splitn(3, '-');
        let (found, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if normalise(found) != *package.name.as_ref() && *UNNAMED != *package.name.as_ref() {
            return Err(bad(format!("{} is another package", wheel.filename)));
        }
        match &package.version {
            Some(wanted) if !same_version(version, &wanted.to_string()) && package.direct.is_none() => Err(
                bad(format!("{} has another version than {wanted}", wheel.filename)),
            ),
            _ => Ok(()),
        }
    }

    fn build(
        &self,
        package: &Pinned,
        source: &Source,
        key: &Digest,
        stack: &mut Vec<String>,
    ) -> Result<FetchedWheel, PackError> {
        let packer = self.packer;
        let refused = match packer.executor {
            None => Some("containers can't be made here".to_owned()),
            Some(executor) => executor.refusal(self.base.arch),
        };
        if let Some(why) = refused {
            let help = Some(
                "choose a version that has a wheel, or pack on Linux where containers run (`coil doctor` says what is missing)"
                    .to_owned(),
            );
            return Err(failure(package, Reason::NoContainer { why, help }));
        }
        packer.progress.note(&format!("building {}", title(package)));
        let room = Room::new(packer)?;
        let outcome = self.build_in(&room, package, source, key, stack);
        if outcome.is_ok() {
            let _ = fs::remove_file(&room.log);
        }
        outcome
    }

    fn build_in(
        &self,
        room: &Room<'_>,
        package: &Pinned,
        source: &Source,
        key: &Digest,
        stack: &mut Vec<String>,
    ) -> Result<FetchedWheel, PackError> {
        let run = Run {
            builder: self,
            package,
            source,
            room,
        };
        let mut trees = self.builder_trees(package, source.has_git)?;
        let unpacked: Unpacked = run.parsed(run.step(&trees, &[], run.unpacking())?)?;
        let system = run.build_system(&unpacked)?;
        let backend = system.backend.unwrap_or_else(|| LEGACY.1.to_owned());
        let requires = system.requires;
        let mut wheels = self.requirements(&requires, stack)?;
        let calling = |what: &str| {
            json!({
                "do": what,
                "root": unpacked.root,
                "backend": backend,
                "backend_path": system.backend_path,
                "settings": {},
                "wheels": format!("{FOLDER}/out/wheels"),
            })
        };
        let environment = self.environment_trees(&wheels)?;
        let answer = run.step(&trees, &environment, calling("requires"))?;
        let more = strings(&answer["requires"]);
        let environment = if more.is_empty() {
            environment
        } else {
            let all: Vec<String> = requires.iter().chain(&more).cloned().collect();
            wheels = self.requirements(&all, stack)?;
            self.environment_trees(&wheels)?
        };
        let answer = run.step(&trees, &environment, calling("build"))?;
        trees.clear();
        let filename = answer["wheel"].as_str().unwrap_or_default().to_owned();
        let named = WheelName::parse(&filename);
        if named.is_err() || filename.contains('/') {
            let what = format!("the back end says that it made `{filename}`, which is no wheel's name");
            return Err(failure(package, Reason::Wheel(what)));
        }
        let made = room.upper.join("build/out/wheels").join(&filename);
        if !made.symlink_metadata().is_ok_and(|data| data.is_file()) {
            let what = format!("the back end says that it made {filename}, and there is no such file");
            return Err(failure(package, Reason::Wheel(what)));
        }
        let keeping = || PackError::disk("keeping a wheel");
        let sha256 = file_digest(&made).map_err(keeping())?;
        let size = fs::metadata(&made).map_err(keeping())?.len();
        let path = self
            .packer
            .store
            .download_path("built-wheels", &format!("{}/{filename}", key.hex()));
        fs::set_permissions(&made, fs::Permissions::from_mode(0o644)).map_err(keeping())?;
        if ownership_is_ours() {
            std::os::unix::fs::lchown(&made, Some(0), Some(0)).map_err(keeping())?;
        }
        move_file(&made, &path).map_err(keeping())?;
        let built = Built {
            filename: filename.clone(),
            sha256: sha256.clone(),
            size,
            requires: wheels.iter().map(pin_of).collect(),
        };
        let record = serde_json::to_vec(&built).unwrap_or_default();
        self.packer
            .store
            .cache_put(BUILT, key.hex(), &record)
            .map_err(keeping())?;
        Ok(FetchedWheel {
            path,
            filename,
            sha256,
            size,
            url: None,
        })
    }

    /// The wheels that a back end asks for, those among them that must be built first included.
    fn requirements(
        &self,
        requires: &[String],
        stack: &mut Vec<String>,
    ) -> Result<Vec<FetchedWheel>, PackError> {
        if requires.is_empty() {
            return Ok(Vec::new());
        }
        let target = self.base.target()?;
        let pinned = self.resolve_requirements(requires, &target, stack)?;
        let formats = Formats::default();
        let sources = sources_of(
            &self.packer.with_files(&pinned, &formats, &mut Vec::new())?,
            &target,
            self.parts.lock_dir,
            &formats,
        )?;
        let mut wheels = self.packer.fetch(&sources)?;
        for (package, source) in &sources.builds {
            wheels.push(self.wheel(package, source, stack)?);
        }
        Ok(wheels)
    }
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// `name==version` of a wheel's file name.
fn pin_of(wheel: &FetchedWheel) -> String {
    let mut parts = wheel.filename.splitn(3, '-');
    let (name, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{}=={version}", normalise(name))
}

/// Renames, or copies between file systems; the name appears when the file is whole.
fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    if fs::rename(from, to).is_ok() {
        return Ok(());
    }
    let name = to
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let temporary = to.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let copied = fs::copy(from, &temporary).and_then(|_| fs::rename(&temporary, to));
    if copied.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    copied
}
