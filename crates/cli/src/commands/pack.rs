//! `coil pack`: an image of a Python project.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use coil_build::{BillFormat, Output, PackRequest};
use coil_engine::Engine;
use coil_engine::pack::{PackResult, PackTarget};
use coil_oci::{Arch, Platform, Reference};
use coil_python::CommandSetting;

use crate::bill_file;
use crate::environment_flags as flags;
use crate::index_settings::IndexFlags;
use crate::output;
use crate::pack_report;
use crate::packing::{self, Manner};
use crate::report::Failure;
use crate::selection_flags::SelectionFlags;
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
    /// The base: bookworm, trixie, sid, or an image that has a Python, such as python:3.13-slim
    #[arg(long, value_name = "BASE")]
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
    /// With --explain: compare with this image; without it, with the one that shares most
    #[arg(long, value_name = "IMAGE", requires = "explain")]
    against: Option<String>,
    /// Write the bill of materials to a file, by its name as .spdx.json or .cdx.json; - is standard output
    #[arg(long, value_name = "FILE", conflicts_with = "explain")]
    sbom: Option<PathBuf>,
    /// The format of --sbom where the name doesn't tell
    #[arg(long, value_name = "FORMAT", requires = "sbom")]
    sbom_format: Option<SbomFormat>,
    /// Debian packages to add to the base, such as libgl1
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',')]
    apt: Vec<String>,
    /// Add the Debian packages of libraries that the wheels lack
    #[arg(long)]
    auto_apt: bool,
    /// Debian packages to build source distributions with, such as libpq-dev
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',')]
    build_apt: Vec<String>,
    /// Let builds of source distributions use the network
    #[arg(long)]
    build_network: bool,
    /// Build these packages from their sources even where a wheel fits, or :all:
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',')]
    no_binary: Vec<String>,
    /// Never build these packages, but take wheels alone, or :all:
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',')]
    only_binary: Vec<String>,
    #[command(flatten)]
    selection: SelectionFlags,
    /// Ship no bytecode: a smaller image that is packed sooner and starts later
    #[arg(long)]
    no_bytecode: bool,
    /// Fail when coil.lock is missing or doesn't fit
    #[arg(long)]
    locked: bool,
    /// Find the base and the packages afresh, and pin them anew in coil.lock
    #[arg(long, conflicts_with_all = ["locked", "offline"])]
    upgrade: bool,
    /// Never use the network
    #[arg(long)]
    offline: bool,
    /// Print the image's id alone
    #[arg(short, long)]
    quiet: bool,
    /// How the result is shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: PackFormat,
    #[command(flatten)]
    index: IndexFlags,
}

/// How the result is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PackFormat {
    Text,
    Json,
}

/// The format of a bill of materials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SbomFormat {
    Spdx,
    Cyclonedx,
}

impl Pack {
    /// Packs and says what came of it.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let (request, target) = (self.request(settings)?, self.target()?);
        let bill = self.bill(request.platforms.len())?;
        let engine = settings.engine()?;
        let signals = packing::take_signals()?;
        let quiet = self.quiet || self.format == PackFormat::Json;
        let alone = bill
            .as_ref()
            .is_some_and(|(file, _)| file.as_os_str() == bill_file::STDOUT);
        let manner = Manner {
            offline: self.offline,
            quiet,
            index: self.index.clone(),
        };
        let result = packing::pack(settings, &engine, &signals, &request, &target, manner)?;
        let bills = match &bill {
            Some((file, format)) => write_bills(&engine, &result, file, *format)?,
            None => Vec::new(),
        };
        match self.format {
            _ if alone => {}
            PackFormat::Json => output::json(&pack_report::object(&result)),
            PackFormat::Text if self.explain => pack_report::explain_all(&result),
            PackFormat::Text if self.quiet => output::line(&pack_report::image_id(&result)),
            PackFormat::Text => pack_report::summary(&result, &target, &bills),
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
            apt: self.apt.clone(),
            auto_apt: self.auto_apt,
            build_apt: self.build_apt.clone(),
            build_network: self.build_network,
            no_binary: self.no_binary.clone(),
            only_binary: self.only_binary.clone(),
            machine_formats: Vec::new(),
            variable_formats: Vec::new(),
            no_bytecode: self.no_bytecode,
            wishes: self.selection.wishes()?,
            locked: self.locked,
            upgrade: self.upgrade,
            epoch: settings.epoch()?,
        })
    }

    /// Where the bill of materials goes, and in which format.
    fn bill(&self, platforms: usize) -> Result<Option<(PathBuf, BillFormat)>, Failure> {
        let Some(file) = &self.sbom else {
            return Ok(None);
        };
        let format = match self.sbom_format {
            Some(SbomFormat::Spdx) => BillFormat::Spdx,
            Some(SbomFormat::Cyclonedx) => BillFormat::CycloneDx,
            None => bill_file::format_of(file).ok_or_else(|| {
                Failure::new(format!(
                    "the name {} tells no format of a bill of materials",
                    file.display()
                ))
                .help("end it in .spdx.json or .cdx.json, or give --sbom-format spdx or cyclonedx")
                .code(125)
            })?,
        };
        if file.as_os_str() == bill_file::STDOUT {
            let taken = match (self.format, platforms) {
                (PackFormat::Json, _) => Some("--format json goes to standard output too"),
                (_, 2..) => Some("each platform has a bill of its own"),
                _ => None,
            };
            if let Some(reason) = taken {
                return Err(Failure::new(format!("--sbom - can't be: {reason}"))
                    .help("give --sbom a file")
                    .code(125));
            }
        }
        Ok(Some((file.clone(), format)))
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
            against: self.against.clone(),
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

/// Writes the bill of each image; several platforms have a file each, named by the platform.
fn write_bills(
    engine: &Engine,
    result: &PackResult,
    file: &Path,
    format: BillFormat,
) -> Result<Vec<PathBuf>, Failure> {
    let mut written = Vec::new();
    let several = result.packed.images.len() > 1;
    for image in &result.packed.images {
        let bytes = engine.bill_of(&image.manifest, format)?;
        if file.as_os_str() == bill_file::STDOUT {
            output::print(&String::from_utf8_lossy(&bytes));
            continue;
        }
        let path = match several {
            true => bill_file::of_platform(file, &image.platform),
            false => file.to_owned(),
        };
        bill_file::write(&path, &bytes)?;
        written.push(path);
    }
    Ok(written)
}
