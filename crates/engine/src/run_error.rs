//! Why a container was not made, or did not start.

use std::fmt;
use std::io;
use std::path::PathBuf;

use coil_runtime::StartError;
use coil_runtime::ports::PublishError;
use coil_runtime::user::UserError;
use coil_store::StoreError;

use crate::lifecycle::{self, ContainerError};
use crate::networks::{NetworksError, WishError};
use crate::volumes::MountWishError;

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
    Mount(MountWishError),
    /// A flag about networks or names cannot be used.
    Wish(WishError),
    /// The network cannot be had.
    Network(Box<NetworksError>),
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
    /// A value can't be used, or the host can't do what was asked for.
    Refused {
        /// What and why.
        message: String,
        /// What to do about it.
        help: Option<String>,
        /// Docker's exit code for it.
        code: i32,
    },
    /// A flag's value is none; with Docker its client sees that, before a daemon is asked.
    Flag {
        /// What and why.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// There is no such container, or it may not be started.
    Container(ContainerError),
}

/// Why a container does not run that was to be made and started.
#[derive(Debug)]
pub struct RunFailure {
    /// Its id, where it was made; it is gone all the same where it was to be removed at its end.
    pub id: Option<String>,
    /// Why.
    pub error: Box<RunError>,
}

impl RunError {
    /// The exit code that Docker has for it.
    pub fn exit_code(&self) -> i32 {
        match self {
            RunError::Start(error) => error.exit_code(),
            RunError::Container(_) => 1,
            RunError::Refused { code, .. } => *code,
            _ => 125,
        }
    }

    /// The exit code that Docker has where a container is only made.
    pub fn create_code(&self) -> i32 {
        match self {
            RunError::Flag { .. } | RunError::Publish(_) => 125,
            RunError::Mount(error) if error.message.starts_with("invalid argument") => 125,
            _ => 1,
        }
    }

    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            RunError::Store(error) => error.help(),
            RunError::NameTaken { name, .. } => Some(format!(
                "`coil rm -f {name}` removes that container, or give this one another name"
            )),
            RunError::Network(error) => error.help(),
            RunError::Mount(error) => Some(error.help.to_owned()),
            RunError::NoCommand => {
                Some("neither the image nor the command line has one: `coil run IMAGE COMMAND`".into())
            }
            RunError::Start(error) => lifecycle::start_help(error),
            RunError::Container(error) => error.help(),
            RunError::Refused { help, .. } => help.clone(),
            RunError::Flag { help, .. } => Some(help.clone()),
            _ => None,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Store(StoreError::NoSuchImage(name)) => {
                // The same words, with what to do.
                fmt::Display::fmt(&StoreError::NoSuchImage(name.clone()), f)
            }
            RunError::Store(error) => fmt::Display::fmt(error, f),
            RunError::BadName(name) => write!(
                f,
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ),
            RunError::NameTaken { name, id } => write!(
                f,
                "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove \
                 (or rename) that container to be able to reuse that name"
            ),
            RunError::Publish(error) => fmt::Display::fmt(error, f),
            RunError::Mount(error) => fmt::Display::fmt(error, f),
            RunError::Wish(error) => fmt::Display::fmt(error, f),
            RunError::Network(error) => fmt::Display::fmt(error, f),
            RunError::NoCommand => f.write_str("no command specified"),
            RunError::User(error) => fmt::Display::fmt(error, f),
            RunError::Workdir(path) => write!(
                f,
                "the working directory '{path}' is invalid, it needs to be an absolute path"
            ),
            RunError::Cgroups(_) => f.write_str("the machine's control groups cannot be read"),
            RunError::Prepare { path, .. } => write!(f, "cannot prepare {}", path.display()),
            RunError::Start(error) => fmt::Display::fmt(error, f),
            RunError::Container(error) => fmt::Display::fmt(error, f),
            RunError::Refused { message, .. } | RunError::Flag { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RunError::Store(error) => error.source(),
            RunError::Start(error) => error.source(),
            RunError::Container(error) => error.source(),
            RunError::Network(error) => error.source(),
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

impl From<NetworksError> for RunError {
    fn from(error: NetworksError) -> Self {
        RunError::Network(Box::new(error))
    }
}

impl From<ContainerError> for RunError {
    fn from(error: ContainerError) -> Self {
        RunError::Container(error)
    }
}
