//! `coil pack`: an image of a Python project.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use coil_build::{Output, PackRequest, PackedImage};
use coil_engine::pack::{PackResult, PackTarget};
use coil_oci::{Arch, Platform, Reference};
use coil_python::CommandSetting;
use serde_json::json;

use crate::environment_flags as flags;
use crate::output;
use crate::packing::{self, Manner};
use crate::quantity::human_size;
use crate::report::Failure;
use crate::settings::Settings;
use crate::table::short_id;

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
            PackFormat::Json => output::json(&report(&result)),
            PackFormat::Text if self.explain => result.packed.images.iter().for_each(explain),
            PackFormat::Text if self.quiet => output::line(&image_id(&result)),
            PackFormat::Text => summary(&result, &target),
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

/// The id of one image, or the digest of the index of several.
fn image_id(result: &PackResult) -> String {
    match result.packed.images.as_slice() {
        [only] => only.id.to_string(),
        _ => result.packed.descriptor.digest.to_string(),
    }
}

fn report(result: &PackResult) -> serde_json::Value {
    let names: Vec<String> = result.names.iter().map(Reference::familiar).collect();
    json!({
        "names": names,
        "digest": result.packed.descriptor.digest,
        "mediaType": result.packed.descriptor.media_type,
        "unchanged": result.unchanged,
        "images": result.packed.images,
        "notes": result.packed.notes,
    })
}

fn summary(result: &PackResult, target: &PackTarget) {
    for image in &result.packed.images {
        let size = human_size(image.layers.iter().map(|layer| layer.size).sum());
        let id = short_id(image.id.hex());
        output::line(&format!(
            "{}  {id}  {size} in {} layers",
            image.platform,
            image.layers.len()
        ));
    }
    let state = if result.unchanged { "unchanged" } else { "packed" };
    for name in &result.names {
        output::line(&format!("{state} {}", name.familiar()));
    }
    for place in &target.outputs {
        output::line(&format!("wrote {place}"));
    }
}

fn explain(image: &PackedImage) {
    let row = |name: &str, value: &str, reason: &str| {
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!("   ({reason})")
        };
        output::line(&format!("{name:<10}{value}{reason}"));
    };
    row("platform", &image.platform, "");
    row("python", &image.python.value, &image.python.reason);
    row("base", &image.base.value, &image.base.reason);
    row("packages", &image.packages_from, "");
    row("command", &image.command.join(" "), &image.command_found_in);
    row("user", &image.user, "");
    for port in &image.ports {
        row("port", port, "");
    }
    for (name, value) in &image.env {
        row("env", &format!("{name}={value}"), "");
    }
    for (number, layer) in image.layers.iter().enumerate() {
        let (size, unpacked) = (human_size(layer.size), human_size(layer.unpacked));
        let digest = short_id(layer.digest.hex());
        let kind = layer.kind.to_string();
        output::line(&format!(
            "layer {:<4}{kind:<13}{size:>8}, {unpacked:>8} unpacked   {digest}",
            number + 1
        ));
        for line in wrapped(&layer.packages) {
            output::line(&format!("            {line}"));
        }
    }
}

/// Joins words with commas into lines that fit beside an indentation.
fn wrapped(words: &[String]) -> Vec<String> {
    const WIDTH: usize = 96;
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut().filter(|line| line.len() + word.len() < WIDTH) {
            Some(line) => line.extend([", ", word]),
            None => lines.push(word.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_packages_are_wrapped() {
        let words: Vec<String> = (0..20).map(|number| format!("package-{number} 1.0")).collect();
        let lines = wrapped(&words);
        assert!(
            lines.len() > 1 && lines.iter().all(|line| line.len() <= 98),
            "{lines:?}"
        );
        assert_eq!(lines.join(", "), words.join(", "));
    }
}
