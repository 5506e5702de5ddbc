//! Why a wheel cannot be installed.

use std::fmt;

use crate::archive::ArchiveError;
use crate::entry_points::EntryPointError;
use crate::record::RecordError;

/// Why a wheel cannot be installed.
#[derive(Debug)]
pub enum InstallError {
    /// The file is no sound archive.
    Archive(ArchiveError),
    /// The file's name is not a wheel's.
    FileName,
    /// A metadata file is missing.
    MissingFile {
        /// Its name in the `.dist-info` folder.
        file: &'static str,
    },
    /// There are several `.dist-info` folders.
    TwoDistInfos,
    /// A metadata file is not UTF-8.
    NotText {
        /// The file.
        file: String,
    },
    /// WHEEL asks for something that is not known here.
    WheelVersion {
        /// What it asks for.
        found: String,
    },
    /// The file's name and the wheel's metadata tell different things.
    Mismatch {
        /// What differs.
        what: &'static str,
        /// What the file's name tells.
        told: String,
        /// What the metadata tells.
        found: String,
    },
    /// RECORD cannot be read.
    RecordSyntax(RecordError),
    /// RECORD and the archive disagree.
    Record {
        /// The file.
        file: String,
        /// How.
        what: &'static str,
    },
    /// entry_points.txt cannot be used.
    EntryPoints(EntryPointError),
    /// A file in the `.data` folder belongs to no known place.
    DataFolder {
        /// The file.
        file: String,
    },
    /// A file would replace a part of the environment itself.
    Reserved {
        /// The file.
        file: String,
    },
    /// Two files of the wheel would be installed at one place.
    TwoAtOnePlace {
        /// The second of them.
        file: String,
    },
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstallError::Archive(_) => f.write_str("the wheel's archive is refused"),
            InstallError::FileName => f.write_str("its file name is not that of a wheel"),
            InstallError::MissingFile { file } => write!(f, "the wheel has no {file}"),
            InstallError::TwoDistInfos => f.write_str("the wheel has several .dist-info folders"),
            InstallError::NotText { file } => write!(f, "{file} is not UTF-8 text"),
            InstallError::WheelVersion { found } => {
                write!(
                    f,
                    "the wheel is of a format that is not known here: Wheel-Version {found}"
                )
            }
            InstallError::Mismatch { what, told, found } => {
                write!(
                    f,
                    "the wheel's {what} is {found} in its metadata but {told} in its file name"
                )
            }
            InstallError::RecordSyntax(_) => f.write_str("the wheel's RECORD cannot be read"),
            InstallError::Record { file, what } => write!(f, "{file} {what}"),
            InstallError::EntryPoints(_) => f.write_str("the wheel's scripts cannot be made"),
            InstallError::DataFolder { file } => write!(f, "{file} belongs to no known data folder"),
            InstallError::Reserved { file } => {
                write!(f, "{file} would replace a part of the environment itself")
            }
            InstallError::TwoAtOnePlace { file } => {
                write!(f, "{file} would be installed where another file of the wheel is")
            }
        }
    }
}

impl std::error::Error for InstallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InstallError::Archive(source) => Some(source),
            InstallError::RecordSyntax(source) => Some(source),
            InstallError::EntryPoints(source) => Some(source),
            _ => None,
        }
    }
}

impl From<ArchiveError> for InstallError {
    fn from(source: ArchiveError) -> Self {
        InstallError::Archive(source)
    }
}

impl From<RecordError> for InstallError {
    fn from(source: RecordError) -> Self {
        InstallError::RecordSyntax(source)
    }
}

impl From<EntryPointError> for InstallError {
    fn from(source: EntryPointError) -> Self {
        InstallError::EntryPoints(source)
    }
}
