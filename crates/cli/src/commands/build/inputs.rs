//! What a build is asked for: flags, variables and contexts as the builder wants them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use coil_build::dockerfile::{BuildRequest, FileTimes, Git, NamedContext};
use coil_build::executor::StepNetwork;
use coil_engine::Engine;
use coil_engine::layout_folder::LayoutChoice;
use coil_oci::{Arch, Digest, Platform};

use super::Build;
use crate::build_context::{Context, Sources, Unpacked};
use crate::build_flags::{self, Destination, Place};
use crate::build_more_flags::More;
use crate::report::Failure;
use crate::settings::Settings;

impl Build {
    /// What is asked of the builder, but for what lies in files and with registries.
    pub(super) fn request(&self, settings: &Settings, context: &Context) -> Result<BuildRequest, Failure> {
        let environment = settings.environment();
        if self.no_cache && !self.no_cache_filter.is_empty() {
            let text = "--no-cache and --no-cache-filter cannot currently be used together";
            return Err(Failure::new(text).help("--no-cache alone makes every step anew"));
        }
        let mut args = BTreeMap::new();
        for text in &self.args {
            match text.split_once('=') {
                Some(("", _)) => {
                    return Err(
                        Failure::new(format!("invalid key-value pair {text:?}: empty key")).help(
                            "write --build-arg NAME=VALUE, or --build-arg NAME for the variable's own value",
                        ),
                    );
                }
                Some((name, value)) => {
                    args.insert(name.to_owned(), value.to_owned());
                }
                None => {
                    if let Some(value) = environment.text(text) {
                        args.insert(text.clone(), value);
                    }
                }
            }
        }
        let epoch = args
            .get("SOURCE_DATE_EPOCH")
            .cloned()
            .or_else(|| environment.text("SOURCE_DATE_EPOCH"))
            .filter(|text| !text.trim().is_empty());
        let zero = self.reproducible.then(|| "0".to_owned());
        let epoch = epoch
            .or(zero)
            .map(|text| {
                text.trim().parse::<u64>().map_err(|_| {
                    Failure::new(format!("SOURCE_DATE_EPOCH is `{text}`, which is no time"))
                        .help("give seconds since 1970, such as $(git log -1 --format=%ct)")
                })
            })
            .transpose()?;
        let mut labels = BTreeMap::new();
        for text in &self.labels {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            labels.insert(key.to_owned(), value.to_owned());
        }
        let (limits, group) = self.limits.read()?;
        Ok(BuildRequest {
            text: context.text.clone(),
            name: context.name.clone(),
            context: context.folder.clone(),
            ignored: context.ignored.clone(),
            contexts: BTreeMap::new(),
            target: self.target.clone().filter(|target| !target.is_empty()),
            args,
            labels,
            secrets: BTreeMap::new(),
            agents: BTreeMap::new(),
            arch: Arch::host(),
            annotations: BTreeMap::new(),
            cache_from: Vec::new(),
            cache_images: Vec::new(),
            inline_cache: false,
            insecure: false,
            devices: Vec::new(),
            source: context.source.clone(),
            no_cache: self.no_cache,
            no_cache_stages: self.no_cache_filter.clone(),
            pull: self.pull,
            network: match self.network.as_str() {
                "default" | "host" => StepNetwork::Host,
                "none" => StepNetwork::None,
                other => {
                    return Err(Failure::new(format!(
                        "network mode \"{other}\" not supported by coil build"
                    ))
                    .help("it is default, host or none")
                    .code(125));
                }
            },
            hosts: collected(&self.hosts, build_flags::host)?,
            shared_memory: self.shm_size.as_deref().map(build_flags::size).transpose()?,
            limits,
            group,
            process_limits: collected(&self.ulimits, build_flags::limit)?,
            epoch,
            times: FileTimes::Kept,
        })
    }

    /// Adds what the image's surroundings and places ask for.
    pub(super) fn complete(&self, request: &mut BuildRequest, more: &More, destinations: &[Destination]) {
        request.annotations.clone_from(&more.annotations);
        let own = destinations.iter().flat_map(|one| one.annotations.clone());
        request.annotations.extend(own);
        request.cache_from.clone_from(&more.cache_from.folders);
        request.cache_images.clone_from(&more.cache_from.images);
        let asked = request.args.get("BUILDKIT_INLINE_CACHE").map(String::as_str);
        request.inline_cache = more.cache_to.inline || matches!(asked, Some("1" | "true"));
        request.devices.clone_from(&more.devices);
        request.insecure = more.insecure;
        request.times = match destinations.iter().any(|one| one.rewrites_times) {
            _ if self.reproducible => FileTimes::Settled,
            true if request.epoch.is_some() => FileTimes::NoLater,
            _ => FileTimes::Kept,
        };
    }

    /// Adds the named contexts; what was fetched or unpacked for them lasts as long as what comes back.
    pub(super) fn take_contexts(
        &self,
        request: &mut BuildRequest,
        engine: &Engine,
        sources: &Sources<'_>,
    ) -> Result<Vec<Unpacked>, Failure> {
        let mut unpacked = Vec::new();
        for text in &self.contexts {
            let (name, found, folder) = named_context(text, engine, sources)?;
            request.contexts.insert(name, found);
            unpacked.extend(folder);
        }
        Ok(unpacked)
    }

    /// Git, where it is installed and the network may be used.
    pub(super) fn git(
        &self,
        settings: &Settings,
        secrets: &BTreeMap<String, Vec<u8>>,
        private: &Path,
    ) -> Option<Git> {
        let token = secrets.get("GIT_AUTH_TOKEN");
        let token = token.and_then(|bytes| String::from_utf8(bytes.clone()).ok());
        Some(Git {
            program: settings.environment().program("git")?,
            token: token.map(|token| (token.trim().to_owned(), private.to_owned())),
        })
    }

    /// The platforms, each once.
    pub(super) fn arches(&self, settings: &Settings) -> Result<Vec<Arch>, Failure> {
        let default = settings.environment().text("DOCKER_DEFAULT_PLATFORM");
        let texts = match (self.platforms.is_empty(), default) {
            (true, Some(default)) => vec![default],
            _ => self.platforms.clone(),
        };
        let mut arches = Vec::new();
        for text in &texts {
            let help = "give linux/amd64 or linux/arm64";
            let platform: Platform = text
                .parse()
                .map_err(|error| Failure::of(&error).help(help).code(125))?;
            let arch = platform.arch().ok_or_else(|| {
                Failure::new(format!("no image can be made for {text}"))
                    .help(help)
                    .code(125)
            })?;
            if !arches.contains(&arch) {
                arches.push(arch);
            }
        }
        if arches.is_empty() {
            arches.push(Arch::host());
        }
        Ok(arches)
    }

    /// Where the result goes; the store, where nothing is said.
    pub(super) fn destinations(&self) -> Result<Vec<Destination>, Failure> {
        let mut all = collected(&self.outputs, build_flags::destination)?;
        if all.is_empty() || (self.load && !all.iter().any(|one| one.place == Place::Store)) {
            all.push(build_flags::destination("type=image")?);
        }
        Ok(all)
    }
}

fn collected<T>(texts: &[String], read: fn(&str) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    texts.iter().map(|text| read(text)).collect()
}

/// `PATH`, `PATH:TAG` or `PATH@DIGEST` of an OCI layout.
fn layout(place: &str) -> Result<(&str, LayoutChoice), String> {
    if let Some((path, digest)) = place.rsplit_once('@') {
        let digest = Digest::parse(digest).map_err(|error| error.to_string())?;
        return Ok((path, LayoutChoice::Digest(digest)));
    }
    match place.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => Ok((path, LayoutChoice::Tag(tag.to_owned()))),
        _ => Ok((place, LayoutChoice::Tag("latest".into()))),
    }
}

fn named_context(
    text: &str,
    engine: &Engine,
    sources: &Sources<'_>,
) -> Result<(String, NamedContext, Option<Unpacked>), Failure> {
    let bad = |why: String| {
        Failure::new(format!("invalid context `{text}`: {why}"))
            .help("give --build-context NAME=FOLDER, NAME=docker-image://IMAGE, NAME=oci-layout://FOLDER, or NAME=ADDRESS of a tar or git repository")
            .code(125)
    };
    let (name, value) = text.split_once('=').ok_or_else(|| bad("it has no `=`".into()))?;
    let name = name.to_lowercase();
    if let Some(image) = value.strip_prefix("docker-image://") {
        return Ok((name, NamedContext::Image(image.to_owned()), None));
    }
    if let Some(place) = value.strip_prefix("oci-layout://") {
        let (path, choice) = layout(place).map_err(bad)?;
        let descriptor = engine
            .keep_layout_image(Path::new(path), &choice)
            .map_err(|error| {
                Failure::of(&error)
                    .help("give oci-layout://FOLDER, with :TAG or @DIGEST where it holds several images")
            })?;
        return Ok((name, NamedContext::Kept(value.to_owned(), descriptor), None));
    }
    if let Some(stage) = value.strip_prefix("target:") {
        return Err(bad(format!(
            "target:{stage} is a word of bake files, and cannot be honoured"
        )));
    }
    let (folder, unpacked) = sources.named(value)?;
    let folder = fs::canonicalize(folder).map_err(|error| bad(format!("{value}: {error}")))?;
    if !folder.is_dir() {
        return Err(bad(format!("{value} is no folder")));
    }
    Ok((name, NamedContext::Folder(folder), unpacked))
}
