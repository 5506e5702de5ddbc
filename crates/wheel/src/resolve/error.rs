//! Why nothing was resolved.

use std::fmt;
use std::path::PathBuf;

use crate::archive::ArchiveError;
use crate::download::DownloadError;

/// Why nothing was resolved.
#[derive(Debug)]
pub enum ResolveError {
    /// There is no uv for this machine.
    NoUv,
    /// uv could not be downloaded.
    Download {
        /// Why.
        source: Box<DownloadError>,
    },
    /// uv could not be unpacked.
    Unpack {
        /// Why.
        source: ArchiveError,
    },
    /// A temporary file could not be written.
    Disk {
        /// What the system said.
        source: std::io::Error,
    },
    /// uv could not be run.
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// uv found no answer.
    Failed {
        /// Its own words, several lines, without logins.
        words: String,
    },
    /// uv's answer is no text.
    NotText,
}

impl ResolveError {
    /// What can be done about it, in one sentence; empty where there is nothing to say.
    pub fn help(&self) -> String {
        match self {
            ResolveError::NoUv | ResolveError::Download { .. } => {
                "install uv, or commit a lock file (uv.lock, pylock.toml) to the project".to_owned()
            }
            ResolveError::Failed { words } if words.contains("--no-build") => {
                "a package has no wheel for this target: choose a version that has one".to_owned()
            }
            ResolveError::Failed { words }
                if ["401", "403", "credentials"]
                    .iter()
                    .any(|sign| words.contains(sign)) =>
            {
                "give the index a login: https://USER:PASSWORD@HOST/… in its address, or a line in ~/.netrc"
                    .to_owned()
            }
            ResolveError::Failed { .. } => "change the requirements, or lock them with `uv lock`".to_owned(),
            _ => String::new(),
        }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::NoUv => {
                f.write_str("no uv is installed, and its wheels have none for this machine")
            }
            ResolveError::Download { .. } => {
                f.write_str("no uv is installed, and it could not be downloaded to resolve the requirements")
            }
            ResolveError::Unpack { .. } => f.write_str("the downloaded uv cannot be unpacked"),
            ResolveError::Disk { .. } => f.write_str("a temporary file for uv cannot be written"),
            ResolveError::Start { program, .. } => write!(f, "{} cannot be run", program.display()),
            ResolveError::Failed { words } => write!(f, "the requirements cannot be resolved: {words}"),
            ResolveError::NotText => f.write_str("uv gave an answer that is no text"),
        }
    }
}

impl std::error::Error for ResolveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ResolveError::Download { source } => Some(source.as_ref()),
            ResolveError::Unpack { source } => Some(source),
            ResolveError::Disk { source } | ResolveError::Start { source, .. } => Some(source),
            _ => None,
        }
    }
}
