//! `coil export`: a container's file system as a tar archive.

use std::path::PathBuf;

use clap::Args;

use crate::archive_file::write_archive;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Write to this file in place of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The container's name or id
    container: String,
}

impl Export {
    /// Writes it.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        // Before the file is touched.
        engine.container(&self.container)?;
        write_archive(self.output.as_deref(), "export", |out| {
            engine.export_files(&self.container, out).map_err(Failure::from)
        })?;
        Ok(0)
    }
}
