//! `coil pack`: an image of a Python project.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use coil_build::{Output, PackRequest};
use coil_engine::pack::PackTarget;
use coil_oci::{Arch, Platform, Reference};
use coil_python::CommandSetting;

use crate::environment_flags as flags;
use crate::output;
use crate::pack_report;
use crate::packing::{self, Manner};
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil pack`.
#[derive(Debug, Args)]
pub struct Pack {
    /// The project's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Name the image NAME[:TAG]; several times for several names
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<String>,
    /// Make it for these platforms, such as linux/amd64,linux/arm64
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<String>,
    /// The Debian suite of the base: bookworm, trixie or sid
    #[arg(long, value_name = "SUITE")]
    base: Option<String>,
    /// The Python, such as 3.13
    #[arg(long, value_name = "VERSION")]
    python: Option<String>,
    /// Set a variable in the image
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Set a label
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Run as this user and group, by number
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    /// What the image starts, as on a command line
    #[arg(long, value_name = "STRING")]
    command: Option<String>,
    /// A port that the program listens on
    #[arg(short, long = "port", value_name = "PORT[/udp]", value_delimiter = ',')]
    ports: Vec<String>,
    /// Write the image to oci:DIR, oci-archive:FILE or docker-archive:FILE
    #[arg(short, long = "output", value_name = "KIND:PATH")]
    outputs: Vec<String>,
    /// Show the whole plan, and name nothing
    #[arg(long)]
    explain: bool,
    /// Fail when coil.lock is missing or doesn't fit
    #[arg(long)]
    locked: bool,
    /// Never use the network
    #[arg(long)]
    offline: bool,
    /// Print the image's id alone
    #[arg(short, long)]
    quiet: bool,
    /// How the result is shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: PackFormat,
}

/// How the result is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PackFormat {
    Text,
    Json,
}

impl Pack {
    /// Packs and says what came of it.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let (request, target) = (self.request(settings)?, self.target()?);
        let engine = settings.engine()?;
        let signals = packing::take_signals()?;
        let quiet = self.quiet || self.format == PackFormat::Json;
        let manner = Manner {
            offline: self.offline,
            quiet,
        };
        let result = packing::pack(settings, &engine, &signals, &request, &target, manner)?;
        match self.format {
            PackFormat::Json => output::json(&pack_report::object(&result)),
            PackFormat::Text if self.explain => result.packed.images.iter().for_each(pack_report::explain),
            PackFormat::Text if self.quiet => output::line(&pack_report::image_id(&result)),
            PackFormat::Text => pack_report::summary(&result, &target),
        }
        Ok(0)
    }

    fn request(&self, settings: &Settings) -> Result<PackRequest, Failure> {
        Ok(PackRequest {
            dir: std::path::absolute(&self.dir).unwrap_or_else(|_| self.dir.clone()),
            platforms: self
                .platforms
                .iter()
                .map(|text| arch(text))
                .collect::<Result<_, _>>()?,
            base: self.base.clone(),
            python: self.python.clone(),
            env: flags::map(flags::variables(&[], &self.env, settings.environment())?),
            labels: flags::labels(&self.labels),
            user: self.user.clone(),
            command: self.command.clone().map(CommandSetting::Line),
            ports: self.ports.clone(),
            locked: self.locked,
            epoch: settings.epoch()?,
        })
    }

    fn target(&self) -> Result<PackTarget, Failure> {
        let name = |text: &String| {
            let help = "a name is [REGISTRY/]NAME[:TAG], in small letters";
            Reference::parse(text).map_err(|error| Failure::of(&error).help(help).code(125))
        };
        let output = |text: &String| {
            let help = "for example --output oci-archive:image.tar";
            Output::from_str(text).map_err(|error| Failure::of(&error).help(help).code(125))
        };
        Ok(PackTarget {
            names: self.tags.iter().map(name).collect::<Result<_, _>>()?,
            outputs: self.outputs.iter().map(output).collect::<Result<_, _>>()?,
            explain: self.explain,
        })
    }
}

fn arch(text: &str) -> Result<Arch, Failure> {
    let help = "give linux/amd64, linux/arm64, or both with a comma";
    let platform = Platform::from_str(text).map_err(|error| Failure::of(&error).help(help).code(125))?;
    platform.arch().ok_or_else(|| {
        Failure::new(format!("no image can be made for {text}"))
            .help(help)
            .code(125)
    })
}
