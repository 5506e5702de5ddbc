//! `coil commit`: an image of a container.

use clap::Args;
use coil_engine::commit::{CommitError, CommitRequest};
use coil_oci::Reference;

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil commit`.
#[derive(Debug, Args)]
pub struct Commit {
    /// Who made it
    #[arg(short, long, default_value = "", hide_default_value = true)]
    author: String,
    /// Change its configuration by an instruction of a Dockerfile
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// A remark
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Let the container stand still meanwhile
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true")]
    pause: bool,
    /// The container's name or id
    container: String,
    /// The image's name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        Failure::of(&error).maybe_help(error.help())
    }
}

/// Reads the name of a new image.
///
/// # Errors
/// When it is none.
pub fn reference(name: Option<&str>) -> Result<Option<Reference>, Failure> {
    let read = |name: &str| {
        Reference::parse(name)
            .map_err(|error| Failure::of(&error).help("a name is [REGISTRY/]NAME[:TAG], in small letters"))
    };
    name.map(read).transpose()
}

impl Commit {
    /// Makes it and prints its id.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let request = CommitRequest {
            name: reference(self.name.as_deref())?,
            author: self.author,
            message: self.message,
            changes: self.changes,
            pause: self.pause,
        };
        let id = settings.engine()?.commit(&self.container, &request)?;
        output::line(&id.to_string());
        Ok(0)
    }
}
