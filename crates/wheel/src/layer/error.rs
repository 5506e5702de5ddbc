//! Why no layer came of a wheel.

use std::fmt;

use crate::archive::ArchiveError;
use crate::bytecode::BytecodeError;
use crate::install::InstallError;

/// Why no layer came of a wheel.
#[derive(Debug)]
pub struct LayerError {
    /// The file name of the wheel that it is about.
    pub wheel: Option<String>,
    /// What went wrong.
    pub fault: LayerFault,
}

/// What went wrong.
#[derive(Debug)]
pub enum LayerFault {
    /// The wheel is no sound archive.
    Archive(ArchiveError),
    /// The wheel cannot be installed.
    Install(InstallError),
    /// Its bytecode could not be made.
    Bytecode(BytecodeError),
    /// The store could not be written.
    Store(std::io::Error),
    /// A file's content has another hash than RECORD tells.
    Hash {
        /// The file's path in the image.
        file: String,
    },
    /// Bytecode that was kept in the store is no longer what it was.
    Kept {
        /// The blob that holds it.
        blob: coil_oci::Digest,
        /// What is wrong with it.
        source: ArchiveError,
    },
    /// A path is a file in one wheel and a folder in another.
    FileAndFolder {
        /// The path in the image.
        path: String,
    },
}

impl LayerError {
    /// What can be done about it, in one sentence.
    pub fn help(&self) -> Option<&'static str> {
        match &self.fault {
            LayerFault::Archive(_) | LayerFault::Install(_) | LayerFault::Hash { .. } => {
                Some("the wheel itself is at fault: choose another version of it, or tell its makers")
            }
            LayerFault::FileAndFolder { .. } => {
                Some("these two packages cannot be installed together: drop one")
            }
            LayerFault::Bytecode(_) | LayerFault::Store(_) | LayerFault::Kept { .. } => None,
        }
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(wheel) = &self.wheel {
            write!(f, "{wheel}: ")?;
        }
        match &self.fault {
            LayerFault::Archive(_) => f.write_str("the wheel's archive is refused"),
            LayerFault::Install(_) => f.write_str("the wheel cannot be installed"),
            LayerFault::Bytecode(_) => f.write_str("its bytecode cannot be made"),
            LayerFault::Store(_) => f.write_str("the layer cannot be written to the store"),
            LayerFault::Kept { .. } => f.write_str("its bytecode in the store is damaged"),
            LayerFault::Hash { file } => write!(f, "{file} has another hash than the wheel's RECORD tells"),
            LayerFault::FileAndFolder { path } => {
                write!(f, "{path} is a file in one wheel and a folder in another")
            }
        }
    }
}

impl std::error::Error for LayerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            LayerFault::Archive(source) => Some(source),
            LayerFault::Install(source) => Some(source),
            LayerFault::Bytecode(source) => Some(source),
            LayerFault::Store(source) => Some(source),
            LayerFault::Kept { source, .. } => Some(source),
            LayerFault::Hash { .. } | LayerFault::FileAndFolder { .. } => None,
        }
    }
}
