//! Why a stand-in could not be made.

use std::fmt;
use std::io;

use coil_debian::{AssembleError, ResolveError};
use coil_store::StoreError;
use coil_wheel::archive::ArchiveError;
use coil_wheel::download::DownloadError;
use coil_wheel::index::IndexError;

use super::name::NameError;
use crate::executor::StepError;

/// Why a stand-in could not be made.
#[derive(Debug)]
pub enum StandInError {
    /// There is nothing that the name can be made of.
    Name(NameError),
    /// The packages cannot be found out.
    Resolve(Box<ResolveError>),
    /// The packages cannot be had or unpacked.
    Assemble(Box<AssembleError>),
    /// The package index has no such version of uv, or can't be asked.
    Index(Box<IndexError>),
    /// uv's wheel cannot be had.
    Download(Box<DownloadError>),
    /// uv's wheel cannot be read.
    Wheel(Box<ArchiveError>),
    /// The packages' scripts cannot run here.
    NoContainer {
        /// Why.
        reason: String,
    },
    /// The container of the packages' scripts did not run.
    Step(StepError),
    /// A package's script failed.
    Script {
        /// Which package, or what was being done.
        what: String,
        /// The exit code.
        code: i32,
        /// The last lines that were printed.
        output: Vec<String>,
    },
    /// A package isn't made as coil knows it.
    Unknown {
        /// The file.
        path: String,
        /// What was looked for.
        missing: String,
    },
    /// The store said no.
    Store(StoreError),
    /// The disk said no.
    Disk {
        /// What was being done.
        doing: String,
        /// The system's error.
        source: io::Error,
    },
}

impl StandInError {
    pub(super) fn disk(doing: &str) -> impl FnOnce(io::Error) -> StandInError {
        let doing = doing.to_owned();
        move |source| StandInError::Disk { doing, source }
    }

    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match self {
            StandInError::Name(error) => Some(error.help.clone()),
            StandInError::Resolve(error) => match **error {
                ResolveError::Expired { .. } => {
                    some("use a mirror that is up to date, or take the old index with --allow-expired")
                }
                _ => some(error.help()),
            },
            StandInError::Assemble(error) => match **error {
                AssembleError::Gone { .. } => some("the mirror has newer packages by now: run it again"),
                _ => some(error.help()),
            },
            StandInError::Index(error) => match **error {
                IndexError::NoVersion { .. } => some("name a version that the index has, or none"),
                _ => some(&error.help()),
            },
            StandInError::Download(error) => some(&error.help()),
            StandInError::Wheel(_) => some("run it again; if it stays so, the index has a broken file"),
            StandInError::NoContainer { .. } => Some(
                "run it as root (`sudo coil base …`), or give this user a range of ids, as `coil doctor` says; an image that another machine made can be loaded from an archive"
                    .into(),
            ),
            StandInError::Step(error) => error.help(),
            StandInError::Script { .. } => {
                Some("nothing was kept; where the package is one of your choice, try without it".into())
            }
            StandInError::Unknown { .. } => {
                Some("Debian's package has changed: coil must learn its new form first".into())
            }
            StandInError::Store(error) => error.help(),
            StandInError::Disk { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or choose another place with `--root DIR`".into())
            }
            StandInError::Disk { .. } => None,
        }
    }
}

impl fmt::Display for StandInError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StandInError::Name(error) => f.write_str(&error.message),
            StandInError::Resolve(error) => fmt::Display::fmt(error, f),
            StandInError::Assemble(error) => fmt::Display::fmt(error, f),
            StandInError::Index(error) => fmt::Display::fmt(error, f),
            StandInError::Download(error) => fmt::Display::fmt(error, f),
            StandInError::Wheel(_) => f.write_str("uv's wheel cannot be read"),
            StandInError::NoContainer { reason } => {
                write!(f, "the packages' own scripts cannot run here: {reason}")
            }
            StandInError::Step(error) => fmt::Display::fmt(error, f),
            StandInError::Script { what, code, output } => {
                write!(f, "{what} failed with code {code}")?;
                for line in output {
                    write!(f, "\n  | {line}")?;
                }
                Ok(())
            }
            StandInError::Unknown { path, missing } => {
                write!(f, "{path} is not as expected: it has no `{missing}`")
            }
            StandInError::Store(error) => fmt::Display::fmt(error, f),
            StandInError::Disk { doing, .. } => write!(f, "{doing} failed"),
        }
    }
}

impl std::error::Error for StandInError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StandInError::Resolve(error) => error.source(),
            StandInError::Assemble(error) => error.source(),
            StandInError::Index(error) => error.source(),
            StandInError::Download(error) => error.source(),
            StandInError::Wheel(error) => Some(error),
            StandInError::Step(error) => error.source(),
            StandInError::Store(error) => error.source(),
            StandInError::Disk { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<StoreError> for StandInError {
    fn from(error: StoreError) -> Self {
        StandInError::Store(error)
    }
}
