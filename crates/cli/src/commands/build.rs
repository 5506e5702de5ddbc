//! `coil build`: an image from a Dockerfile.

mod delivery;
mod inputs;

use delivery::Delivery;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use coil_build::dockerfile::{BuildError, BuildRequest, Builder, Checked, Debugger};
use coil_engine::Engine;
use coil_engine::image_build::{BuildTarget, ImageBuildError};
use coil_fetch::{Fetcher, NoProgress, Progress};
use coil_oci::Reference;
use coil_registry::Registries;
use coil_sys::{file, terminal};

use crate::build_attestations;
use crate::build_call::{self, Method};
use crate::build_context::{self, Context, Sources};
use crate::build_debug::Shells;
use crate::build_flags::{self, Place};
use crate::build_limits::LimitsOfSteps;
use crate::build_more_flags::MoreFlags;
use crate::build_progress::{BuildLog, Form};
use crate::commands::builder::check_builder;
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
    /// One more context: NAME=FOLDER, NAME=docker-image://IMAGE, NAME=oci-layout://FOLDER[:TAG], or NAME=ADDRESS of a tar or git repository
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
    #[command(flatten)]
    limits: LimitsOfSteps,
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
    None,
}

/// What came of looking at the Dockerfile.
enum Looked {
    /// That was all that was wanted; the exit code.
    Ended(i32),
    /// What is to be mended in it.
    Checked(Checked),
}

impl Build {
    /// Builds and says what came of it.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        check_builder(self.more.builder(), settings)?;
        let more = self.more.read()?;
        let told_of_metadata = build_attestations::of_metadata(settings.environment())?;
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
            program: Settings::own_program().to_owned(),
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
        let sources = Sources {
            store: engine.store(),
            fetcher: &fetcher,
            progress: downloads,
            git: git.clone(),
            keeps_git: self
                .args
                .iter()
                .any(|arg| arg == "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"),
        };
        let context = build_context::find(&sources, &self.context, self.file.as_deref())?;
        let mut request = self.request(settings, &context)?;
        request.secrets = secrets;
        request.agents.clone_from(&agents.sockets);
        self.complete(&mut request, &more, &destinations);
        // Unpacked ones are there as long as this is held.
        let _unpacked = self.take_contexts(&mut request, &engine, &sources)?;
        // What is looked at before the build is looked at for the first of its platforms.
        request.arch = self.arches(settings)?[0];
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
            return self.debug_stage(&engine, &builder, &request, &context, &shells, &log);
        }
        let checked = match self.look(&builder, &request, &context, &log)? {
            Looked::Ended(code) => return Ok(code),
            Looked::Checked(checked) => checked,
        };
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
            attestations: more.attestations,
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
        let delivery = Delivery {
            builder: &builder,
            requests: &requests,
            target: &target,
            told_of_metadata,
        };
        self.deliver(&delivery, &built, &places, form)?;
        for folder in &more.cache_to.folders {
            builder
                .write_cache(&built.images, folder)
                .map_err(|error| Failure::of(&error).maybe_help(error.help()))?;
        }
        log.end();
        let notes = [&more.cache_from.notes, &more.cache_to.notes];
        for note in notes.into_iter().flatten() {
            output::error_line(&format!("note: {note}"));
        }
        if matches!(form, Form::Plain | Form::Live { .. }) {
            build_call::tell(&checked);
        }
        if self.quiet || form == Form::Quiet {
            output::line(&delivery::id(&built));
        }
        Ok(0)
    }

    /// What is wrong with the Dockerfile, or what the user wants to know of it without a build.
    fn look(
        &self,
        builder: &Builder<'_>,
        request: &BuildRequest,
        context: &Context,
        log: &BuildLog,
    ) -> Result<Looked, Failure> {
        let failed = |error: BuildError| {
            log.end();
            told(&error, context)
        };
        let (method, is_json) = match (&self.call, self.check) {
            (_, true) => (Method::Check, false),
            (Some(text), _) => build_call::method(text)?,
            _ => (Method::Build, false),
        };
        if matches!(method, Method::Targets | Method::Outline) {
            let outline = builder.outline(request).map_err(failed)?;
            log.end();
            build_call::print_outline(&outline, method, is_json);
            return Ok(Looked::Ended(0));
        }
        let checked = builder.check(request).map_err(failed)?;
        if method == Method::Check {
            log.end();
            return Ok(Looked::Ended(build_call::print_check(&checked, context, is_json)));
        }
        if checked.is_error && checked.of_builds().next().is_some() {
            log.end();
            return Err(build_call::failure(&checked, context));
        }
        Ok(Looked::Checked(checked))
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
                .help("it is auto, tty, plain, json, rawjson, quiet or none")
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
            ProgressForm::None => Form::Silent,
        })
    }
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
