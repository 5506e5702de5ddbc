//! Why a pack failed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use coil_debian::{AssembleError, ResolveError};
use coil_python::Diagnostic;
use coil_store::StoreError;
use coil_wheel::bytecode::BytecodeError;
use coil_wheel::download::DownloadError;
use coil_wheel::index::IndexError;
use coil_wheel::layer::LayerError;

use crate::export::ExportError;
use crate::source_build_failure::SourceBuildFailure;

/// Why a pack failed.
#[derive(Debug)]
pub enum PackError {
    /// The project is not as it must be; says it all itself.
    Project(Box<Diagnostic>),
    /// The folder is not there, or is none.
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file of the project cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file went on changing while it was packed.
    Changing(PathBuf),
    /// The base's packages cannot be found out.
    Resolve(Box<ResolveError>),
    /// The base cannot be put together.
    Assemble(Box<AssembleError>),
    /// A package cannot be looked up.
    Index(Box<IndexError>),
    /// A wheel cannot be had.
    Download(Box<DownloadError>),
    /// A wheel cannot become a layer.
    Layer(Box<LayerError>),
    /// A wheel could not be built from its source.
    Build(Box<SourceBuildFailure>),
    /// uv could not resolve the requirements.
    Uv(Box<coil_wheel::resolve::ResolveError>),
    /// No bytecode could be made.
    Bytecode(Box<BytecodeError>),
    /// The image could not be written out.
    Export(Box<ExportError>),
    /// `--locked`, and there is no lock that fits.
    Locked {
        /// What is missing or different.
        reason: String,
    },
    /// The store said no.
    Store(Box<StoreError>),
    /// A setting cannot be used.
    Setting {
        /// What is wrong.
        message: String,
        /// What to do.
        help: Option<String>,
    },
}

impl PackError {
    /// What the user can do next; none where the message says it.
    pub fn help(&self) -> Option<String> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match self {
            PackError::Project(_) => None,
            PackError::Folder { source, .. } | PackError::Read { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    some("you may not read it: change its mode, or leave it out by .dockerignore")
                }
                io::ErrorKind::NotFound => some("give the project's folder: `coil pack DIR`"),
                io::ErrorKind::NotADirectory => {
                    some("give the folder that the project is in, not a file of it")
                }
                _ => None,
            },
            PackError::Changing(_) => {
                some("pack again when nothing writes to it, or leave it out by .dockerignore")
            }
            PackError::Resolve(error) => some(error.help()),
            PackError::Assemble(error) => some(error.help()),
            PackError::Index(error) => some(&error.help()),
            PackError::Download(error) => some(&error.help()),
            PackError::Layer(error) => error.help().map(str::to_owned),
            PackError::Build(failure) => failure.help(),
            PackError::Uv(error) => some(&error.help()),
            PackError::Bytecode(_) => None,
            PackError::Export(error) => error.help(),
            PackError::Locked { .. } => {
                some("run `coil pack` once without --locked, and keep coil.lock beside the project")
            }
            PackError::Store(error) => error.help(),
            PackError::Setting { help, .. } => help.clone(),
        }
    }

    pub(crate) fn disk(doing: &str) -> impl FnOnce(io::Error) -> PackError {
        let doing = doing.to_owned();
        move |source| PackError::Store(Box::new(StoreError::Io { doing, source }))
    }
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PackError::Project(diagnostic) => fmt::Display::fmt(diagnostic, f),
            PackError::Folder { path, .. } => write!(f, "{} cannot be packed", path.display()),
            PackError::Read { path, .. } => write!(f, "{} cannot be read", path.display()),
            PackError::Changing(path) => write!(f, "{} went on changing while it was packed", path.display()),
            PackError::Resolve(error) => fmt::Display::fmt(error, f),
            PackError::Assemble(error) => fmt::Display::fmt(error, f),
            PackError::Index(error) => fmt::Display::fmt(error, f),
            PackError::Download(error) => fmt::Display::fmt(error, f),
            PackError::Layer(error) => fmt::Display::fmt(error, f),
            PackError::Build(failure) => fmt::Display::fmt(failure, f),
            PackError::Uv(error) => fmt::Display::fmt(error, f),
            PackError::Bytecode(error) => fmt::Display::fmt(error, f),
            PackError::Export(error) => fmt::Display::fmt(error, f),
            PackError::Locked { reason } => write!(f, "--locked was given, and {reason}"),
            PackError::Store(error) => fmt::Display::fmt(error, f),
            PackError::Setting { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for PackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PackError::Folder { source, .. } | PackError::Read { source, .. } => Some(source),
            PackError::Resolve(error) => error.source(),
            PackError::Assemble(error) => error.source(),
            PackError::Index(error) => error.source(),
            PackError::Download(error) => error.source(),
            PackError::Layer(error) => error.source(),
            PackError::Uv(error) => error.source(),
            PackError::Bytecode(error) => error.source(),
            PackError::Export(error) => error.source(),
            PackError::Store(error) => error.source(),
            _ => None,
        }
    }
}

impl From<Diagnostic> for PackError {
    fn from(diagnostic: Diagnostic) -> Self {
        PackError::Project(Box::new(diagnostic))
    }
}

impl From<StoreError> for PackError {
    fn from(error: StoreError) -> Self {
        PackError::Store(Box::new(error))
    }
}

impl From<BytecodeError> for PackError {
    fn from(error: BytecodeError) -> Self {
        PackError::Bytecode(Box::new(error))
    }
}
