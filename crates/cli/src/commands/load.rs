//! `coil load`: images of an archive.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::Args;
use coil_engine::load::{LoadError, Loaded};
use coil_oci::Arch;
use coil_sys::{file, terminal};

use crate::output;
use crate::platform_flag;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil load`.
#[derive(Debug, Args)]
pub struct Load {
    /// Read this file in place of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Show no progress; there is none
    #[arg(short, long)]
    quiet: bool,
    /// The platform of what is loaded: this machine's, or none
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Failure::of(&error).maybe_help(error.help())
    }
}

impl Load {
    /// Loads them and prints each one's name.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        if let Some(text) = &self.platform {
            let (system, processor) = platform_flag::parse(text)?;
            if (system.as_str(), processor.as_str()) != ("linux", Arch::host().name()) {
                return Err(Failure::new(format!(
                    "--platform {text}: an archive is loaded whole, and nothing of it for another machine alone"
                ))
                .help("leave it out"));
            }
        }
        let stream: Box<dyn Read + Send> = match &self.input {
            Some(path) => Box::new(File::open(path).map_err(|error| {
                Failure::new(format!("open {}\n  caused by: {error}", path.display()))
                    .help("give an archive that `coil save` or `docker save` wrote")
            })?),
            None if file::standard(0).is_some_and(terminal::is_terminal) => {
                return Err(Failure::new("requested load from stdin, but stdin is empty")
                    .help("coil load -i FILE, or coil load < FILE"));
            }
            None => Box::new(io::stdin()),
        };
        for loaded in settings.engine()?.load_images(stream)? {
            output::line(&match loaded {
                Loaded::Name(name) => format!("Loaded image: {}", name.familiar()),
                Loaded::Id(id) => format!("Loaded image ID: {id}"),
            });
        }
        Ok(0)
    }
}
