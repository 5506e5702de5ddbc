//! `coil inspect`: all that is known of containers and images, as Docker's JSON.

use clap::{Args, ValueEnum};
use coil_engine::{Engine, FindError};
use coil_store::StoreError;
use serde_json::Value;

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;
use crate::template::{self, Format};

/// Arguments of `coil inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// json, or a template such as '{{.State.Status}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Look for these alone
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Names or ids of containers and images
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Container,
    Image,
}

impl Inspect {
    /// Prints a list of what was found; tells each name that stands for nothing.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let format = Format::parse(self.format.as_deref())?;
        let engine = settings.engine()?;
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in &self.names {
            match self.look(&engine, name) {
                Ok(object) => found.push(object),
                Err(failure) => failures.push(failure),
            }
        }
        match &format {
            Format::Table => output::json(&found),
            Format::Json => output::line(&Value::Array(found).to_string()),
            Format::Template(pieces) => found
                .iter()
                .for_each(|object| output::line(&template::fill(pieces, object))),
        }
        for failure in &failures {
            failure.show(Some(settings.root()));
        }
        Ok(i32::from(!failures.is_empty()))
    }

    fn look(&self, engine: &Engine, name: &str) -> Result<Value, Failure> {
        if self.kind != Some(Kind::Image) {
            match engine.container(name) {
                Ok(container) => return Ok(engine.inspect_container(&container)),
                Err(FindError::Missing(_)) if self.kind.is_none() => {}
                Err(error) => return Err(error.into()),
            }
        }
        match engine.inspect_image(name) {
            Ok(object) => Ok(object),
            Err(StoreError::NoSuchImage(_)) if self.kind.is_none() => {
                Err(Failure::new(format!("No such object: {name}"))
                    .help("`coil ps -a` lists containers, `coil images` lists images"))
            }
            Err(error) => Err(error.into()),
        }
    }
}
