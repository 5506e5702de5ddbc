//! `coil cp`: files between a container and the host.

use std::io;
use std::path::Path;

use clap::Args;
use coil_engine::copy::{CopyError, CopyOptions};
use coil_sys::{file, terminal};

use crate::output;
use crate::quantity::human_size;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil cp`.
#[derive(Debug, Args)]
#[command(
    override_usage = "coil cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n       coil cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH"
)]
pub struct Cp {
    /// Keep owners and groups
    #[arg(short, long)]
    archive: bool,
    /// Follow a link that is to be copied
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Don't tell what was copied
    #[arg(short, long)]
    quiet: bool,
    /// What is copied; `-` for a tar stream
    #[arg(value_name = "SRC")]
    source: String,
    /// Where to; `-` for a tar stream
    #[arg(value_name = "DEST")]
    destination: String,
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        Failure::of(&error).maybe_help(error.help())
    }
}

/// `CONTAINER:PATH`; what begins as a path is one.
fn inside(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['/', '.']) {
        return None;
    }
    text.split_once(':')
        .filter(|(container, _)| !container.contains('/'))
}

impl Cp {
    /// Copies, and tells how much.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let options = CopyOptions {
            follow: self.follow_link,
            keep_owner: self.archive,
        };
        let help = "give CONTAINER:PATH once, such as `coil cp web:/app/log.txt .`";
        let (bytes, place) = match (inside(&self.source), inside(&self.destination)) {
            (Some(_), Some(_)) => {
                return Err(Failure::new("copying between containers is not supported")
                    .help("copy to the host, and from there"));
            }
            (None, None) => {
                return Err(Failure::new("must specify at least one container source").help(help));
            }
            (Some((container, path)), None) => {
                let engine = settings.engine()?;
                if self.destination == "-" {
                    if file::standard(1).is_some_and(terminal::is_terminal) {
                        return Err(Failure::new("a tar stream is nothing for a terminal")
                            .help("redirect the output, or give a path"));
                    }
                    let mut out = io::stdout().lock();
                    engine.copy_from_as_tar(container, path, &options, &mut out)?;
                    return Ok(0);
                }
                let bytes = engine.copy_from(container, path, Path::new(&self.destination), &options)?;
                (bytes, self.destination.clone())
            }
            (None, Some((container, path))) => {
                let engine = settings.engine()?;
                if self.source == "-" {
                    engine.copy_to_from_tar(container, io::stdin(), path)?;
                    return Ok(0);
                }
                let bytes = engine.copy_to(container, &self.source, path, &options)?;
                (bytes, self.destination.clone())
            }
        };
        // For people alone, as with Docker.
        if !self.quiet && file::standard(1).is_some_and(terminal::is_terminal) {
            output::error_line(&format!("Successfully copied {} to {place}", human_size(bytes)));
        }
        Ok(0)
    }
}
