//! `coil save`: images as an archive.

use std::path::PathBuf;

use clap::Args;

use crate::archive_file::write_archive;
use crate::platform_flag;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil save`.
#[derive(Debug, Args)]
pub struct Save {
    /// Write to this file in place of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only an image for this platform, such as linux/amd64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// The images' names or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Save {
    /// Writes them; says nothing, as Docker does.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        // Before the file is touched.
        for image in &self.images {
            platform_flag::check(&engine, image, self.platform.as_deref())?;
        }
        let images = engine.images_to_save(&self.images)?;
        write_archive(self.output.as_deref(), "save", |out| {
            engine.save_images(&images, out).map_err(Failure::from)
        })?;
        Ok(0)
    }
}
