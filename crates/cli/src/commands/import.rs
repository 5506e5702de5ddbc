//! `coil import`: an image of a tar archive.

use std::fs::File;
use std::io::{self, Read};

use clap::Args;
use coil_engine::commit::CommitRequest;

use super::commit::reference;
use crate::output;
use crate::platform_flag;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil import`.
#[derive(Debug, Args)]
pub struct Import {
    /// Change its configuration by an instruction of a Dockerfile
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// A remark
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// The image's platform, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// The archive; `-` for standard input
    #[arg(value_name = "FILE|-")]
    file: String,
    /// The image's name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

impl Import {
    /// Makes it and prints its id.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let request = CommitRequest {
            name: reference(self.name.as_deref())?,
            message: self.message,
            changes: self.changes,
            ..CommitRequest::default()
        };
        let architecture = match self
            .platform
            .as_deref()
            .map(|text| text.split('/').collect::<Vec<_>>())
        {
            None => None,
            Some(parts) if parts.len() == 2 && parts[0] == "linux" => Some(parts[1].to_owned()),
            Some(parts) => {
                platform_flag::parse(&parts.join("/"))?;
                return Err(Failure::new(format!(
                    "--platform {}: an image here is for linux",
                    parts.join("/")
                ))
                .help("give linux/amd64 or linux/arm64"));
            }
        };
        if self.file.starts_with("http://") || self.file.starts_with("https://") {
            return Err(Failure::new(format!("{}: an archive is not fetched", self.file))
                .help("fetch it first: `curl -L URL | coil import - NAME`"));
        }
        let stream: Box<dyn Read + Send> = match self.file.as_str() {
            "-" => Box::new(io::stdin()),
            path => Box::new(File::open(path).map_err(|error| {
                Failure::new(format!("open {path}\n  caused by: {error}")).help("give a tar archive, or `-`")
            })?),
        };
        let id = settings.engine()?.import(stream, architecture, &request)?;
        output::line(&id.to_string());
        Ok(0)
    }
}
