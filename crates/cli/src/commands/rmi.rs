//! `coil rmi`: takes names of images away, and images that have none left.

use clap::Args;
use coil_engine::images::ImageError;
use coil_store::StoreError;

use crate::platform_flag;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil rmi`.
#[derive(Debug, Args)]
pub struct Rmi {
    /// Take all names of an id away, and those of images that stopped containers are made from
    #[arg(short, long)]
    force: bool,
    /// Keep the layers of its parents: here an image has none
    #[arg(long, hide = true)]
    no_prune: bool,
    /// Only an image for this platform, such as linux/amd64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// The images' names or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Rmi {
    /// Removes each and prints what went.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        Ok(super::each_maybe(&self.images, settings, |name| {
            platform_flag::check(&engine, name, self.platform.as_deref())?;
            let removed = match engine.remove_image(name, self.force) {
                // As Docker has it: what is to be gone by force and is gone is told, and no failure.
                Err(error @ ImageError::Store(StoreError::NoSuchImage(_))) if self.force => {
                    Failure::from(error).show(None);
                    return Ok(None);
                }
                other => other?,
            };
            let untagged = removed.untagged.iter().map(|name| format!("Untagged: {name}"));
            let deleted = removed.deleted.iter().map(|id| format!("Deleted: {id}"));
            Ok(Some(untagged.chain(deleted).collect::<Vec<_>>().join("\n")))
        }))
    }
}
