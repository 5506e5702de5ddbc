//! `coil inspect`: all that is known of containers and images, as Docker's JSON.

use std::str::FromStr;

use clap::Args;
use coil_engine::{Engine, FindError};
use coil_store::StoreError;
use serde_json::Value;

use crate::platform_flag;
use crate::report::Failure;
use crate::settings::Settings;
use crate::template::Format;

/// Arguments of `coil inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// json, or a template such as '{{.State.Status}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Look for these alone
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// What a group of commands is about.
    #[arg(skip)]
    group: Option<Kind>,
    /// Show what a container's files take
    #[arg(short, long)]
    size: bool,
    /// Of images only one for this platform, such as linux/amd64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Names or ids of containers, images, networks and volumes
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "container" => Kind::Container,
            "image" => Kind::Image,
            "network" => Kind::Network,
            "volume" => Kind::Volume,
            _ => {
                return Err(format!(
                    "unknown type: {text:?}: must be one of container, image, network, volume"
                ));
            }
        })
    }
}

fn unknown(text: String) -> Failure {
    Failure::new(text).help("leave --type out to look for all of them")
}

impl Inspect {
    /// The same of one kind alone, as the groups have it.
    #[must_use]
    pub fn only(mut self, kind: Kind) -> Self {
        self.group = Some(kind);
        self
    }

    /// Prints a list of what was found; tells each name that stands for nothing.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let format = Format::of_objects(self.format.as_deref(), "")?;
        let kind = match (self.group, self.kind.as_deref()) {
            (Some(kind), _) => Some(kind),
            (None, Some(text)) if !text.is_empty() => Some(text.parse::<Kind>().map_err(unknown)?),
            (None, _) => None,
        };
        let engine = settings.engine()?;
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in &self.names {
            match self.look(&engine, kind, name) {
                Ok(object) => found.push(object),
                Err(failure) => failures.push(failure),
            }
        }
        format.objects(&found)?;
        for failure in &failures {
            failure.show(Some(settings.root()));
        }
        Ok(i32::from(!failures.is_empty()))
    }

    fn look(&self, engine: &Engine, kind: Option<Kind>, name: &str) -> Result<Value, Failure> {
        match kind {
            Some(Kind::Container) => return self.container(engine, name).map_err(Failure::from),
            Some(Kind::Image) => {
                platform_flag::check(engine, name, self.platform.as_deref())?;
                return engine.inspect_image(name).map_err(Failure::from);
            }
            Some(Kind::Network) => {
                let network = engine.network(name)?;
                return Ok(engine.inspect_network(&network));
            }
            Some(Kind::Volume) => {
                let volume = engine.volume(name)?;
                return Ok(engine.inspect_volume(&volume));
            }
            None => {}
        }
        match self.container(engine, name) {
            Err(FindError::Missing(_)) => {}
            found => return Ok(found?),
        }
        match engine.inspect_image(name) {
            Err(StoreError::NoSuchImage(_)) => {}
            found => return Ok(found?),
        }
        if let Ok(network) = engine.network(name) {
            return Ok(engine.inspect_network(&network));
        }
        if let Ok(volume) = engine.volume(name) {
            return Ok(engine.inspect_volume(&volume));
        }
        Err(Failure::new(format!("No such object: {name}"))
            .help("`coil ps -a` lists containers, `coil images` images, `coil network ls` and `coil volume ls` the rest"))
    }

    fn container(&self, engine: &Engine, name: &str) -> Result<Value, FindError> {
        let container = engine.container(name)?;
        let mut object = engine.inspect_container(&container);
        if self.size {
            let own = container.written_bytes();
            let below: u64 = container.record.blobs.iter().map(|blob| blob.size).sum();
            object["SizeRw"] = own.into();
            object["SizeRootFs"] = (own + below).into();
        }
        Ok(object)
    }
}
