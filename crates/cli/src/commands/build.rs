//! `coil build`: an image from a Dockerfile.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use coil_build::Output;
use coil_build::dockerfile::{BuildError, BuildRequest, Builder, Built, NamedContext};
use coil_build::executor::StepNetwork;
use coil_engine::Engine;
use coil_engine::image_build::{BuildTarget, ImageBuildError};
use coil_fetch::{Fetcher, NoProgress, Progress};
use coil_oci::{Arch, Platform, Reference};
use coil_registry::Registries;
use serde_json::json;

use crate::build_context::{self, Context};
use crate::build_progress::{BuildLog, Form};
use crate::host_view;
use crate::output;
use crate::packing;
use crate::progress::Screen;
use crate::registry_settings::RegistryAccess;
use crate::report::Failure;
use crate::settings::Settings;
use crate::sweep::Sweep;

/// Arguments of `coil build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The context: a folder, a tar file, or - for standard input
    #[arg(value_name = "PATH|-")]
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
    /// One more context: NAME=FOLDER or NAME=docker-image://IMAGE
    #[arg(long = "build-context", value_name = "NAME=VALUE")]
    contexts: Vec<String>,
    /// The image's platform, such as linux/amd64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
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
    /// How progress is told
    #[arg(long, value_name = "FORM", default_value = "auto")]
    progress: ProgressForm,
    /// Write what came of it as JSON to a file
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Print the image's id alone
    #[arg(short, long)]
    quiet: bool,
    /// Read the Dockerfile, say what is wrong in it, and build nothing
    #[arg(long)]
    check: bool,
    /// Never use the network, but in steps
    #[arg(long)]
    offline: bool,
}

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProgressForm {
    Auto,
    Plain,
    Json,
    Quiet,
}

/// Where a result goes.
enum Place {
    Store,
    Image(Output),
    Folder(PathBuf),
    Tar(Option<PathBuf>),
}

impl Build {
    /// Builds and says what came of it.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        let places = self.places()?;
        let names: Vec<Reference> = self.tags.iter().map(name).collect::<Result<_, _>>()?;
        let signals = packing::take_signals()?;
        let private = engine.private_folder();
        signals.clean_up(Sweep {
            program: settings.program().to_owned(),
            temporary: engine.store().temp_dir(),
            folders: vec![private.clone()],
        });
        // From here on: an unpacked context is no leftover of a killed process.
        let _lease = engine
            .store()
            .lease()
            .map_err(|error| Failure::new(format!("the data root cannot be used: {error}")))?;
        let context = build_context::find(engine.store(), &self.context, self.file.as_deref())?;
        let request = self.request(settings, &context)?;
        let form = match self.progress {
            _ if self.quiet => Form::Quiet,
            ProgressForm::Auto | ProgressForm::Plain => Form::Plain,
            ProgressForm::Json => Form::Json,
            ProgressForm::Quiet => Form::Quiet,
        };
        let log = BuildLog::new(form);
        let screen = Screen::silent();
        let downloads: &dyn Progress = if form == Form::Plain { &screen } else { &NoProgress };
        let fetcher = Fetcher::new(settings.network(self.offline).fetch);
        let access = RegistryAccess::read(settings.environment());
        let registries = Registries::new(&fetcher, access.settings, &access.credentials);
        let builder = Builder {
            store: engine.store(),
            fetcher: &fetcher,
            registries: Some(&registries).filter(|_| !self.offline),
            executor: Some(&engine),
            downloads,
            events: &log,
            host: host_view::host_view(settings, &private),
            private: &private,
            now: coil_engine::clock::now(),
            threads: std::thread::available_parallelism().map_or(4, |count| usize::from(count).max(4)),
        };
        if self.check {
            builder.check(&request).map_err(|error| told(&error, &context))?;
            output::line("Check complete, no warnings found.");
            return Ok(0);
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
        };
        let built = engine.build_image(&builder, &request, &target);
        screen.clear();
        signals.keep();
        let built = built.map_err(|error| match &error {
            ImageBuildError::Build(error) => told(error, &context),
            ImageBuildError::Export(inner) => Failure::of(&error).maybe_help(inner.help()),
            ImageBuildError::Store(inner) => Failure::of(&error).maybe_help(inner.help()),
        })?;
        self.finish(&engine, &builder, &built, &places, &names, form)?;
        Ok(0)
    }

    fn finish(
        &self,
        engine: &Engine,
        builder: &Builder<'_>,
        built: &Built,
        places: &[Place],
        names: &[Reference],
        form: Form,
    ) -> Result<(), Failure> {
        let failed = |error: BuildError| Failure::of(&error).maybe_help(error.help());
        for place in places {
            match place {
                Place::Store | Place::Image(_) => {}
                Place::Folder(folder) => builder.write_files(&built.descriptor, folder).map_err(failed)?,
                Place::Tar(None) => builder
                    .write_tar(&built.descriptor, &mut io::stdout().lock())
                    .map_err(failed)?,
                Place::Tar(Some(path)) => {
                    let mut file = fs::File::create(path).map_err(|error| {
                        Failure::new(format!("{} cannot be written: {error}", path.display()))
                    })?;
                    builder.write_tar(&built.descriptor, &mut file).map_err(failed)?;
                }
            }
        }
        let write = |path: &Path, text: String| {
            fs::write(path, text)
                .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))
        };
        if let Some(path) = &self.iidfile {
            write(path, built.id.to_string())?;
        }
        if let Some(path) = &self.metadata_file {
            let all: Vec<String> = names.iter().map(Reference::canonical).collect();
            let value = json!({
                "containerimage.config.digest": built.id.to_string(),
                "containerimage.digest": built.descriptor.digest.to_string(),
                "containerimage.descriptor": built.descriptor,
                "image.name": all.join(","),
            });
            write(path, format!("{value:#}\n"))?;
        }
        let _ = engine;
        if self.quiet {
            output::line(&built.id.to_string());
            return Ok(());
        }
        if form == Form::Plain {
            for note in &built.notes {
                output::error_line(&format!("note: {note}"));
            }
            let mut err = io::stderr().lock();
            let number = built.steps.0 + 1;
            let _ = writeln!(err, "#{number} writing image {}", built.id);
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
        let epoch = epoch
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
        let mut secrets = BTreeMap::new();
        for text in &self.secrets {
            let (id, bytes) = secret(text, settings)?;
            secrets.insert(id, bytes);
        }
        Ok(BuildRequest {
            text: context.text.clone(),
            name: context.name.clone(),
            context: context.folder.clone(),
            ignored: context.ignored.clone(),
            contexts: self
                .contexts
                .iter()
                .map(named_context)
                .collect::<Result<_, _>>()?,
            target: self.target.clone().filter(|target| !target.is_empty()),
            args,
            labels,
            secrets,
            arch: self.arch()?,
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
            hosts: self.hosts.iter().map(host).collect::<Result<_, _>>()?,
            shared_memory: self.shm_size.as_deref().map(size).transpose()?,
            process_limits: self.ulimits.iter().map(limit).collect::<Result<_, _>>()?,
            epoch,
        })
    }

    fn arch(&self) -> Result<Arch, Failure> {
        let Some(text) = &self.platform else {
            return Ok(Arch::host());
        };
        let help = "give linux/amd64 or linux/arm64";
        if text.contains(',') {
            return Err(Failure::new("coil build makes one platform at a time")
                .help(help)
                .code(125));
        }
        let platform: Platform = text
            .parse()
            .map_err(|error| Failure::of(&error).help(help).code(125))?;
        platform.arch().ok_or_else(|| {
            Failure::new(format!("no image can be made for {text}"))
                .help(help)
                .code(125)
        })
    }

    fn places(&self) -> Result<Vec<Place>, Failure> {
        if self.outputs.is_empty() {
            return Ok(vec![Place::Store]);
        }
        let mut places: Vec<Place> = self
            .outputs
            .iter()
            .map(|text| place(text))
            .collect::<Result<_, _>>()?;
        if self.load && !places.iter().any(|place| matches!(place, Place::Store)) {
            places.push(Place::Store);
        }
        Ok(places)
    }
}

fn name(text: &String) -> Result<Reference, Failure> {
    Reference::parse(text).map_err(|_| {
        Failure::new(format!("invalid tag \"{text}\": invalid reference format"))
            .help("a name is [REGISTRY/]NAME[:TAG], in small letters")
            .code(125)
    })
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

fn secret(text: &str, settings: &Settings) -> Result<(String, Vec<u8>), Failure> {
    let bad = |why: &str| {
        Failure::new(format!("invalid secret `{text}`: {why}"))
            .help("give --secret id=NAME,src=FILE or --secret id=NAME,env=VARIABLE")
            .code(125)
    };
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(value.to_owned()),
            Some(("env", value)) => variable = Some(value.to_owned()),
            Some(("type", value @ ("file" | "env"))) => kind = Some(value.to_owned()),
            _ => return Err(bad(&format!("unexpected `{field}`"))),
        }
    }
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| bad("it has no id"))?;
    let environment = settings.environment();
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = file.take().or_else(|| Some(id.clone()));
    }
    if file.is_none() && variable.is_none() && kind.is_none() {
        match environment.text(&id) {
            Some(_) => variable = Some(id.clone()),
            None => file = Some(id.clone()),
        }
    }
    let bytes = match (variable, file) {
        (Some(variable), _) => environment
            .text(&variable)
            .ok_or_else(|| bad(&format!("the variable {variable} is not set")))?
            .into_bytes(),
        (None, file) => {
            let file = file.unwrap_or_else(|| id.clone());
            let meta = fs::metadata(&file).map_err(|error| bad(&format!("{file}: {error}")))?;
            if meta.len() > 500 * 1024 {
                return Err(bad(&format!("{file} is larger than 500 KB")));
            }
            fs::read(&file).map_err(|error| bad(&format!("{file}: {error}")))?
        }
    };
    Ok((id, bytes))
}

fn named_context(text: &String) -> Result<(String, NamedContext), Failure> {
    let bad = |why: String| {
        Failure::new(format!("invalid context `{text}`: {why}"))
            .help("give --build-context NAME=FOLDER or NAME=docker-image://IMAGE")
            .code(125)
    };
    let (name, value) = text.split_once('=').ok_or_else(|| bad("it has no `=`".into()))?;
    let context = match value.split_once("://") {
        Some(("docker-image", image)) => NamedContext::Image(image.to_owned()),
        Some((scheme, _)) => return Err(bad(format!("{scheme}:// cannot be honoured yet"))),
        None => {
            let folder = fs::canonicalize(value).map_err(|error| bad(format!("{value}: {error}")))?;
            if !folder.is_dir() {
                return Err(bad(format!("{value} is no folder")));
            }
            NamedContext::Folder(folder)
        }
    };
    Ok((name.to_lowercase(), context))
}

fn host(text: &String) -> Result<(String, IpAddr), Failure> {
    let bad = || {
        Failure::new(format!("bad format for add-host: \"{text}\""))
            .help("give --add-host NAME:ADDRESS")
            .code(125)
    };
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(bad)?;
    let address = match address {
        // Steps share the host's network.
        "host-gateway" => IpAddr::from([127, 0, 0, 1]),
        address => address.trim_matches(['[', ']']).parse().map_err(|_| bad())?,
    };
    Ok((name.to_owned(), address))
}

fn size(text: &str) -> Result<u64, Failure> {
    let bad = || {
        Failure::new(format!("invalid size: '{text}'"))
            .help("give bytes, or 128m, 1g")
            .code(125)
    };
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let number: u64 = lower[..end].parse().map_err(|_| bad())?;
    let shift = match &lower[end..] {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return Err(bad()),
    };
    number.checked_shl(shift).ok_or_else(bad)
}

fn limit(text: &String) -> Result<(String, u64, u64), Failure> {
    let bad = || {
        Failure::new(format!("invalid ulimit argument: {text}"))
            .help("give --ulimit nofile=1024:2048")
            .code(125)
    };
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        text => text.parse::<u64>().map_err(|_| bad()),
    };
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(values)?, number(values)?),
    };
    Ok((name.to_owned(), soft, hard))
}

fn place(text: &str) -> Result<Place, Failure> {
    let bad = |why: &str| {
        Failure::new(format!("invalid output `{text}`: {why}"))
            .help("give type=image, or type=docker, oci, tar or local with dest=PATH")
            .code(125)
    };
    let (mut kind, mut dest, mut tar) = (None, None, true);
    if !text.contains('=') {
        return Ok(match text {
            "-" => Place::Tar(None),
            folder => Place::Folder(folder.into()),
        });
    }
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("type", value)) => kind = Some(value),
            Some(("dest", value)) => dest = Some(value),
            Some(("tar", value)) => tar = value != "false",
            Some(("push", "false")) | Some(("name", _)) => {}
            Some((key, _)) => return Err(bad(&format!("`{key}` cannot be honoured"))),
            None => return Err(bad(&format!("`{field}` has no value"))),
        }
    }
    let need = || dest.map(PathBuf::from).ok_or_else(|| bad("it needs dest=PATH"));
    Ok(match kind {
        Some("image") => Place::Store,
        Some("docker") if dest.is_none() => Place::Store,
        Some("docker") => Place::Image(Output::DockerArchive(need()?)),
        Some("oci") if tar => Place::Image(Output::OciArchive(need()?)),
        Some("oci") => Place::Image(Output::Oci(need()?)),
        Some("local") => Place::Folder(need()?),
        Some("tar") => match dest {
            None | Some("-") => Place::Tar(None),
            Some(path) => Place::Tar(Some(path.into())),
        },
        Some(other) => return Err(bad(&format!("the type {other} is unknown"))),
        None => return Err(bad("it has no type")),
    })
}
