//! `coil rm`: removes containers.

use clap::Args;
use coil_engine::{ContainerError, FindError};

use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Kill those that run
    #[arg(short, long)]
    force: bool,
    /// Remove its volumes without a name too
    #[arg(short, long)]
    volumes: bool,
    /// Remove a link of Docker's first days; coil has none that could be removed
    #[arg(short, long, hide = true)]
    link: bool,
    /// The containers' names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Rm {
    /// Removes each and prints the name.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        Ok(super::each_maybe(&self.containers, settings, |name| {
            if self.link {
                engine.container(name.split('/').next().unwrap_or(name))?;
                return Err(Failure::new(format!(
                    "conflict, cannot remove the default link name of the container: {name}"
                ))
                .help("leave --link out to remove the container itself"));
            }
            match engine.remove_with(name, self.force, self.volumes) {
                // As Docker has it: what is to be gone by force and is gone is told, and no failure.
                Err(error @ ContainerError::Find(FindError::Missing(_))) if self.force => {
                    Failure::from(error).show(None);
                    Ok(None)
                }
                other => other.map(|()| Some(name.to_owned())).map_err(Failure::from),
            }
        }))
    }
}
