//! Why a container was not made, or did not start.

use std::fmt;
use std::io;
use std::path::PathBuf;

use coil_runtime::StartError;
use coil_runtime::ports::PublishError;
use coil_runtime::user::UserError;
use coil_store::StoreError;

use crate::lifecycle::{self, ContainerError};
use crate::mount_flag::MountFlagError;

/// Why a container was not made, or did not start.
#[derive(Debug)]
pub enum RunError {
    /// The image cannot be had.
    Store(StoreError),
    /// The name has characters that may not be there.
    BadName(String),
    /// Another container has the name.
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        id: String,
    },
    /// A `-p` cannot be used.
    Publish(PublishError),
    /// A `-v` cannot be used.
    Mount(MountFlagError),
    /// The network is unknown.
    Network(String),
    /// Neither the image nor the user says what to run.
    NoCommand,
    /// The user cannot be found in the image.
    User(UserError),
    /// The folder to start in is not absolute.
    Workdir(String),
    /// The host's control groups cannot be read.
    Cgroups(io::Error),
    /// Folders cannot be made.
    Prepare {
        /// Where.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It did not start.
    Start(StartError),
    /// There is no such container, or it may not be started.
    Container(ContainerError),
}

impl RunError {
    /// The exit code that Docker has for it.
    pub fn exit_code(&self) -> i32 {
        match self {
            RunError::Start(error) => error.exit_code(),
            RunError::Container(_) => 1,
            _ => 125,
        }
    }

    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            RunError::Store(error) => error.help(),
            RunError::NameTaken { name, .. } => Some(format!(
                "`coil rm -f {name}` removes that container, or give this one another name"
            )),
            RunError::Network(_) => Some("give --network bridge, host or none".into()),
            RunError::NoCommand => Some("give one behind the image: `coil run IMAGE COMMAND`".into()),
            RunError::Start(error) => lifecycle::start_help(error),
            RunError::Container(error) => error.help(),
            _ => None,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Store(StoreError::NoSuchImage(name)) => {
                write!(f, "Unable to find image '{name}' locally: no such image")
            }
            RunError::Store(error) => fmt::Display::fmt(error, f),
            RunError::BadName(name) => write!(
                f,
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ),
            RunError::NameTaken { name, id } => write!(
                f,
                "Conflict. The container name \"/{name}\" is already in use by container \"{id}\""
            ),
            RunError::Publish(error) => fmt::Display::fmt(error, f),
            RunError::Mount(error) => fmt::Display::fmt(error, f),
            RunError::Network(name) => write!(f, "network {name} not found"),
            RunError::NoCommand => {
                f.write_str("no command specified: neither the image nor the command line has one")
            }
            RunError::User(error) => fmt::Display::fmt(error, f),
            RunError::Workdir(path) => write!(
                f,
                "the working directory '{path}' is invalid, it needs to be an absolute path"
            ),
            RunError::Cgroups(_) => f.write_str("the machine's control groups cannot be read"),
            RunError::Prepare { path, .. } => write!(f, "cannot prepare {}", path.display()),
            RunError::Start(error) => fmt::Display::fmt(error, f),
            RunError::Container(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RunError::Store(error) => error.source(),
            RunError::Start(error) => error.source(),
            RunError::Container(error) => error.source(),
            RunError::Cgroups(source) | RunError::Prepare { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        RunError::Store(error)
    }
}

impl From<ContainerError> for RunError {
    fn from(error: ContainerError) -> Self {
        RunError::Container(error)
    }
}
