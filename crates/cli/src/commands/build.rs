//! `coil build`: an image from a Dockerfile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use coil_build::dockerfile::{BuildError, BuildRequest, Builder, Debugger, FileTimes, Git, NamedContext};
use coil_build::executor::StepNetwork;
use coil_engine::Engine;
use coil_engine::image_build::{BuildTarget, BuiltImages, ImageBuildError};
use coil_fetch::{Fetcher, NoProgress, Progress};
use coil_oci::{Arch, Platform, Reference};
use coil_registry::Registries;
use coil_sys::{file, terminal};
use serde_json::json;

use crate::build_call::{self, Method};
use crate::build_context::{self, Context, Sources, Unpacked};
use crate::build_debug::Shells;
use crate::build_flags::{self, Destination, Place};
use crate::build_more_flags::MoreFlags;
use crate::build_progress::{BuildLog, Form};
use crate::host_view;
use crate::output;
use crate::packing;
use crate::progress::Screen;
use crate::registry_settings::RegistryAccess;
use crate::report::Failure;
use crate::settings::Settings;
use crate::ssh_agents::SshAgents;
use crate::sweep::Sweep;

/// Arguments of `coil build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The context: a folder, a tar file, the address of one or of a git repository, or - for standard input
    #[arg(value_name = "PATH|URL|-")]
    context: String,
    /// The Dockerfile, PATH/Dockerfile by rule; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Name the image NAME[:TAG]; several times for several names
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<String>,
    /// Build this stage in place of the last one
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Give an ARG a value; a name alone passes on your own variable
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    args: Vec<String>,
    /// Let steps read a secret: id=NAME[,src=FILE|,env=VARIABLE]
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// Let steps use the keys of an agent: default, ID=SOCKET or ID=KEY_FILE
    #[arg(long = "ssh", value_name = "AGENT")]
    ssh: Vec<String>,
    /// One more context: NAME=FOLDER, NAME=docker-image://IMAGE, or NAME=ADDRESS of a tar or git repository
    #[arg(long = "build-context", value_name = "NAME=VALUE")]
    contexts: Vec<String>,
    /// The image's platforms, such as linux/amd64,linux/arm64
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<String>,
    /// Take no step from the cache
    #[arg(long)]
    no_cache: bool,
    /// Take no step of these stages from the cache
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Ask registries even for images that are here
    #[arg(long)]
    pull: bool,
    /// Set a label
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// The network of steps: default, host or none
    #[arg(long, value_name = "MODE", default_value = "default")]
    network: String,
    /// One more name that steps know: NAME:ADDRESS
    #[arg(long = "add-host", value_name = "HOST")]
    hosts: Vec<String>,
    /// The size of /dev/shm in steps, such as 128m
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// A limit of steps' processes: NAME=SOFT[:HARD]
    #[arg(long = "ulimit", value_name = "LIMIT")]
    ulimits: Vec<String>,
    /// Where the result goes: type=image|docker|oci|tar|local[,dest=PATH]
    #[arg(short, long = "output", value_name = "OUTPUT")]
    outputs: Vec<String>,
    /// Keep the image in the store, which is what happens anyway
    #[arg(long)]
    load: bool,
    /// How progress is told; BUILDKIT_PROGRESS says it too
    #[arg(long, value_name = "FORM")]
    progress: Option<ProgressForm>,
    /// Open a shell where a step fails, or at the end of STAGE
    #[arg(long, value_name = "STAGE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    debug: Option<String>,
    /// Give the same bytes for the same inputs: all times are SOURCE_DATE_EPOCH, or 1970
    #[arg(long)]
    reproducible: bool,
    /// Write what came of it as JSON to a file
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Print the image's id alone
    #[arg(short, long)]
    quiet: bool,
    /// Say what should be mended in the Dockerfile, and build nothing; the same as --call check
    #[arg(long)]
    check: bool,
    /// Build, or tell of the Dockerfile: build, check, targets or outline, with ,format=json
    #[arg(long, value_name = "METHOD")]
    call: Option<String>,
    #[command(flatten)]
    more: MoreFlags,
    /// Never use the network, but in steps
    #[arg(long)]
    offline: bool,
}

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProgressForm {
    Auto,
    Tty,
    Plain,
    Json,
    Rawjson,
    Quiet,
}

impl Build {
    /// Builds and says what came of it.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        let destinations = self.destinations()?;
        let places: Vec<Place> = destinations.iter().map(|one| one.place.clone()).collect();
        let mut names: Vec<Reference> = Vec::new();
        for text in self
            .tags
            .iter()
            .chain(destinations.iter().flat_map(|one| &one.names))
        {
            names.push(build_flags::name(text)?);
        }
        let signals = packing::take_signals()?;
        let private = engine.private_folder();
        let sweep = Sweep {
            program: settings.program().to_owned(),
            temporary: engine.store().temp_dir(),
            folders: vec![private.clone()],
        };
        signals.clean_up(sweep.clone());
        // From here on: an unpacked context is no leftover of a killed process.
        let _lease = engine
            .store()
            .lease()
            .map_err(|error| Failure::new(format!("the data root cannot be used: {error}")))?;
        let form = self.form(settings)?;
        let log = BuildLog::new(form);
        let screen = Screen::silent();
        let downloads: &dyn Progress = match log.downloads() {
            Some(view) => view,
            None if form == Form::Plain => &screen,
            None => &NoProgress,
        };
        let fetcher = Fetcher::new(settings.network(self.offline).fetch);
        let agents = SshAgents::start(&self.ssh, settings.environment(), &private)?;
        let secrets: BTreeMap<String, Vec<u8>> = self
            .secrets
            .iter()
            .map(|text| build_flags::secret(text, settings))
            .collect::<Result<_, _>>()?;
        let git = self.git(settings, &secrets, &private);
        let keeps_git = self
            .args
            .iter()
            .any(|arg| arg == "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1");
        let sources = Sources {
            store: engine.store(),
            fetcher: &fetcher,
            progress: downloads,
            git: git.clone(),
            keeps_git,
        };
        let context = build_context::find(&sources, &self.context, self.file.as_deref())?;
        let mut request = self.request(settings, &context)?;
        let more = self.more.read()?;
        request.annotations = more.annotations;
        let own = destinations.iter().flat_map(|one| one.annotations.clone());
        request.annotations.extend(own);
        request.cache_from = more.cache_from;
        request.insecure = more.insecure;
        request.secrets = secrets;
        request.agents.clone_from(&agents.sockets);
        let mut unpacked = Vec::new();
        for text in &self.contexts {
            let (name, found, folder) = named_context(text, &sources)?;
            request.contexts.insert(name, found);
            unpacked.extend(folder);
        }
        request.times = match destinations.iter().any(|one| one.rewrites_times) {
            _ if self.reproducible => FileTimes::Settled,
            true if request.epoch.is_some() => FileTimes::NoLater,
            _ => FileTimes::Kept,
        };
        let shells = Shells::new(&engine, &signals, sweep, &log);
        let access = RegistryAccess::read(settings.environment());
        let registries = Registries::new(&fetcher, access.settings, &access.credentials);
        let builder = Builder {
            store: engine.store(),
            fetcher: &fetcher,
            git,
            registries: Some(&registries).filter(|_| !self.offline),
            executor: Some(&engine),
            downloads,
            events: &log,
            debugger: self.debug.as_ref().map(|_| &shells as &dyn Debugger),
            host: host_view::host_view(settings, &private),
            private: &private,
            now: coil_engine::clock::now(),
            threads: std::thread::available_parallelism().map_or(4, |count| usize::from(count).max(4)),
        };
        if let Some(stage) = self.debug.as_deref().filter(|stage| !stage.is_empty()) {
            request.target = Some(stage.to_owned());
            request.arch = self.arches(settings)?[0];
            return self.debug_stage(&engine, &builder, &request, &context, &shells, &log);
        }
        let failed = |error: BuildError| {
            log.end();
            told(&error, &context)
        };
        let (method, is_json) = match (&self.call, self.check) {
            (_, true) => (Method::Check, false),
            (Some(text), _) => build_call::method(text)?,
            _ => (Method::Build, false),
        };
        if matches!(method, Method::Targets | Method::Outline) {
            let outline = builder.outline(&request).map_err(failed)?;
            log.end();
            build_call::print_outline(&outline, method, is_json);
            return Ok(0);
        }
        let checked = builder.check(&request).map_err(failed)?;
        if method == Method::Check {
            log.end();
            return Ok(build_call::print_check(&checked, &context, is_json));
        }
        if checked.is_error && checked.of_builds().next().is_some() {
            log.end();
            return Err(build_call::failure(&checked, &context));
        }
        let target = BuildTarget {
            names: names.clone(),
            outputs: places
                .iter()
                .filter_map(|place| match place {
                    Place::Image(output) => Some(output.clone()),
                    _ => None,
                })
                .collect(),
            keep: places.iter().any(|place| matches!(place, Place::Store)),
            index_annotations: more.index_annotations,
        };
        let requests: Vec<BuildRequest> = self
            .arches(settings)?
            .into_iter()
            .map(|arch| BuildRequest {
                arch,
                ..request.clone()
            })
            .collect();
        if requests.len() > 1 && places.iter().any(|place| matches!(place, Place::Tar(_))) {
            return Err(Failure::new("type=tar has room for one platform alone")
                .help("write folders, one for each: -o type=local,dest=FOLDER")
                .code(125));
        }
        let built = engine.build_images(&builder, &requests, &target);
        screen.clear();
        signals.keep();
        let built = built.map_err(|error| {
            log.end();
            self.image_failure(&error, &context)
        })?;
        self.finish(&builder, &built, &places, &names, request.epoch, form)?;
        for folder in &more.cache_to {
            builder
                .write_cache(&built.images, folder)
                .map_err(|error| Failure::of(&error).maybe_help(error.help()))?;
        }
        log.end();
        if matches!(form, Form::Plain | Form::Live { .. }) {
            build_call::tell(&checked);
        }
        if self.quiet || form == Form::Quiet {
            output::line(&id(&built));
        }
        Ok(0)
    }

    fn image_failure(&self, error: &ImageBuildError, context: &Context) -> Failure {
        match error {
            ImageBuildError::Build(inner) => {
                let failure = told(inner, context);
                let is_bare = matches!(**inner, BuildError::Step { .. }) && inner.help().is_none();
                failure.maybe_help((is_bare && self.debug.is_none()).then_some(
                    "`coil build --debug` with the same flags opens a shell where the step failed",
                ))
            }
            ImageBuildError::Export(inner) => Failure::of(error).maybe_help(inner.help()),
            ImageBuildError::Store(inner) => Failure::of(error).maybe_help(inner.help()),
        }
    }

    /// Builds a stage, and opens a shell in it; what is written there goes away with it.
    fn debug_stage(
        &self,
        engine: &Engine,
        builder: &Builder<'_>,
        request: &BuildRequest,
        context: &Context,
        shells: &Shells<'_>,
        log: &BuildLog,
    ) -> Result<i32, Failure> {
        let built = engine
            .build_images(builder, std::slice::from_ref(request), &BuildTarget::default())
            .map_err(|error| {
                log.end();
                self.image_failure(&error, context)
            })?;
        log.end();
        let failed = |error: io::Error| Failure::new(format!("a temporary folder cannot be made: {error}"));
        let upper = engine.store().temp_path().map_err(failed)?;
        fs::create_dir(&upper).map_err(failed)?;
        let step = builder.inside(request, &built.descriptor, upper.clone());
        let opened = step
            .map_err(|error| Failure::of(&error).maybe_help(error.help()))
            .and_then(|step| shells.open(&step));
        let _ = engine.store().remove_folder(&upper);
        opened
    }

    fn form(&self, settings: &Settings) -> Result<Form, Failure> {
        let environment = settings.environment();
        let progress = match (self.progress, environment.text("BUILDKIT_PROGRESS")) {
            (Some(form), _) => form,
            (None, Some(text)) => ProgressForm::from_str(&text, true).map_err(|_| {
                Failure::new(format!(
                    "BUILDKIT_PROGRESS is `{text}`, which is no form of progress"
                ))
                .help("it is auto, tty, plain, json, rawjson or quiet")
                .code(125)
            })?,
            (None, None) => ProgressForm::Auto,
        };
        let is_terminal = file::standard(2).is_some_and(terminal::is_terminal);
        let is_dumb = environment.text("TERM").as_deref() == Some("dumb");
        let colours = environment.get("NO_COLOR").is_none();
        Ok(match progress {
            _ if self.quiet => Form::Quiet,
            ProgressForm::Tty if !is_terminal => {
                return Err(Failure::new("--progress tty: standard error is no terminal")
                    .help("give --progress plain"));
            }
            ProgressForm::Auto if is_terminal && !is_dumb => Form::Live { colours },
            ProgressForm::Tty => Form::Live { colours },
            ProgressForm::Auto | ProgressForm::Plain => Form::Plain,
            ProgressForm::Json => Form::Json,
            ProgressForm::Rawjson => Form::RawJson,
            ProgressForm::Quiet => Form::Quiet,
        })
    }

    fn finish(
        &self,
        builder: &Builder<'_>,
        built: &BuiltImages,
        places: &[Place],
        names: &[Reference],
        epoch: Option<u64>,
        form: Form,
    ) -> Result<(), Failure> {
        let failed = |error: BuildError| Failure::of(&error).maybe_help(error.help());
        for place in places {
            match place {
                Place::Store | Place::Image(_) | Place::Cache => {}
                Place::Folder(folder) => {
                    for image in &built.images {
                        let platform = image.descriptor.platform.as_ref().map(ToString::to_string);
                        let own = match built.images.len() {
                            1 => folder.clone(),
                            _ => folder.join(platform.unwrap_or_default().replace('/', "_")),
                        };
                        builder
                            .write_files(&image.descriptor, epoch, &own)
                            .map_err(failed)?;
                    }
                }
                Place::Tar(None) => builder
                    .write_tar(&built.descriptor, epoch, &mut io::stdout().lock())
                    .map_err(failed)?,
                Place::Tar(Some(path)) => {
                    let mut file = fs::File::create(path).map_err(|error| {
                        Failure::new(format!("{} cannot be written: {error}", path.display()))
                    })?;
                    builder
                        .write_tar(&built.descriptor, epoch, &mut file)
                        .map_err(failed)?;
                }
            }
        }
        let write = |path: &Path, text: String| {
            fs::write(path, text)
                .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))
        };
        if let Some(path) = &self.iidfile {
            write(path, id(built))?;
        }
        if let Some(path) = &self.metadata_file {
            let all: Vec<String> = names.iter().map(Reference::canonical).collect();
            let mut value = json!({
                "containerimage.digest": built.descriptor.digest.to_string(),
                "containerimage.descriptor": built.descriptor,
                "image.name": all.join(","),
            });
            if let [only] = built.images.as_slice() {
                value["containerimage.config.digest"] = only.id.to_string().into();
            }
            write(path, format!("{value:#}\n"))?;
        }
        if matches!(form, Form::Plain | Form::Live { .. }) {
            let notes = built.images.iter().flat_map(|image| &image.notes);
            notes
                .collect::<BTreeSet<_>>()
                .into_iter()
                .for_each(|note| builder.events.note(note));
        }
        if form == Form::Plain {
            let mut err = io::stderr().lock();
            let number = built.images.iter().map(|image| image.steps.0).sum::<usize>() + 1;
            let _ = writeln!(err, "#{number} writing image {}", id(built));
            for name in names {
                let _ = writeln!(err, "#{number} naming to {}", name.canonical());
            }
            let _ = writeln!(err, "#{number} DONE 0.0s");
        }
        Ok(())
    }

    fn request(&self, settings: &Settings, context: &Context) -> Result<BuildRequest, Failure> {
        let environment = settings.environment();
        let mut args = BTreeMap::new();
        for text in &self.args {
            match text.split_once('=') {
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
            insecure: false,
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
            process_limits: collected(&self.ulimits, build_flags::limit)?,
            epoch,
            times: FileTimes::Kept,
        })
    }

    /// Git, where it is installed and the network may be used.
    fn git(&self, settings: &Settings, secrets: &BTreeMap<String, Vec<u8>>, private: &Path) -> Option<Git> {
        let token = secrets.get("GIT_AUTH_TOKEN");
        let token = token.and_then(|bytes| String::from_utf8(bytes.clone()).ok());
        Some(Git {
            program: settings.environment().program("git")?,
            token: token.map(|token| (token.trim().to_owned(), private.to_owned())),
        })
    }

    /// The platforms, each once.
    fn arches(&self, settings: &Settings) -> Result<Vec<Arch>, Failure> {
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

    fn destinations(&self) -> Result<Vec<Destination>, Failure> {
        let mut all = collected(&self.outputs, build_flags::destination)?;
        if all.is_empty() || (self.load && !all.iter().any(|one| one.place == Place::Store)) {
            all.push(build_flags::destination("type=image")?);
        }
        Ok(all)
    }
}

/// What an image is known by: its configuration, or the index of several.
fn id(built: &BuiltImages) -> String {
    match built.images.as_slice() {
        [only] => only.id.to_string(),
        _ => built.descriptor.digest.to_string(),
    }
}

fn collected<T>(texts: &[String], read: fn(&str) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    texts.iter().map(|text| read(text)).collect()
}

/// A failure with the lines of the Dockerfile, and what the failed step printed last.
fn told(error: &BuildError, context: &Context) -> Failure {
    let mut text = format!("error: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!("\n  caused by: {inner}"));
        cause = inner.source();
    }
    if let Some(excerpt) = error.excerpt(&context.text, &context.name) {
        text.push('\n');
        text.push_str(&excerpt);
    }
    if let BuildError::Step { step, .. } = error
        && !step.tail.is_empty()
    {
        text.push_str(&format!("\nlast output of {}:", step.step));
        for line in &step.tail {
            text.push_str(&format!("\n  | {}", line.trim_end()));
        }
    }
    let failure = Failure::spoken(text, 1);
    failure.maybe_help(error.help())
}

fn named_context(
    text: &str,
    sources: &Sources<'_>,
) -> Result<(String, NamedContext, Option<Unpacked>), Failure> {
    let bad = |why: String| {
        Failure::new(format!("invalid context `{text}`: {why}"))
            .help("give --build-context NAME=FOLDER, NAME=docker-image://IMAGE, or NAME=ADDRESS of a tar or git repository")
            .code(125)
    };
    let (name, value) = text.split_once('=').ok_or_else(|| bad("it has no `=`".into()))?;
    let name = name.to_lowercase();
    if let Some(image) = value.strip_prefix("docker-image://") {
        return Ok((name, NamedContext::Image(image.to_owned()), None));
    }
    if let Some(("oci-layout" | "target", _)) = value.split_once("://").or_else(|| value.split_once(':')) {
        return Err(bad(format!("{value} cannot be honoured")));
    }
    let (folder, unpacked) = sources.named(value)?;
    let folder = fs::canonicalize(folder).map_err(|error| bad(format!("{value}: {error}")))?;
    if !folder.is_dir() {
        return Err(bad(format!("{value} is no folder")));
    }
    Ok((name, NamedContext::Folder(folder), unpacked))
}
