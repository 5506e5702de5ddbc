//! What can be wrong with an archive.

use std::fmt;

/// Why an archive was refused or could not be read.
#[derive(Debug)]
pub enum ArchiveError {
    /// The file could not be read.
    Read(std::io::Error),
    /// What was read could not be passed on.
    Write(std::io::Error),
    /// The file is no zip archive, or its structure is broken.
    Structure(&'static str),
    /// An entry has a name that must not be unpacked.
    Name {
        /// The name, escaped.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An entry uses something that a wheel must not.
    Unsupported {
        /// The entry.
        name: String,
        /// What it uses.
        what: &'static str,
    },
    /// The two headers of an entry tell different things.
    Disagree {
        /// The entry.
        name: String,
        /// The field that differs.
        field: &'static str,
    },
    /// An entry's content is not what its headers declare.
    Damaged {
        /// The entry.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// An entry is larger than what its place allows.
    TooLarge {
        /// The entry.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// The most that is allowed, in bytes.
        limit: u64,
    },
    /// The archive holds too much.
    Bomb(&'static str),
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchiveError::Read(_) => f.write_str("the archive cannot be read"),
            ArchiveError::Write(_) => f.write_str("the archive's content cannot be passed on"),
            ArchiveError::Structure(what) => write!(f, "not a sound zip archive: {what}"),
            ArchiveError::Name { name, what } => write!(f, "the archive has an entry named {name:?}: {what}"),
            ArchiveError::Unsupported { name, what } => write!(f, "the entry {name:?} {what}"),
            ArchiveError::Disagree { name, field } => {
                write!(
                    f,
                    "the two headers of the entry {name:?} disagree about its {field}"
                )
            }
            ArchiveError::Damaged { name, what } => write!(f, "the entry {name:?} is damaged: {what}"),
            ArchiveError::TooLarge { name, size, limit } => {
                write!(
                    f,
                    "the entry {name:?} has {size} bytes, more than the {limit} allowed there"
                )
            }
            ArchiveError::Bomb(what) => write!(f, "the archive is refused: {what}"),
        }
    }
}

impl std::error::Error for ArchiveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ArchiveError::Read(source) | ArchiveError::Write(source) => Some(source),
            _ => None,
        }
    }
}
