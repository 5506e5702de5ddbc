//! What can go wrong on the way from a suite to a layer.

use std::fmt;
use std::io;

use coil_fetch::FetchError;

use crate::signature::SignatureFault;
use crate::solve::SolveError;

/// Why the packages of a base could not be found out.
#[derive(Debug)]
#[non_exhaustive]
pub enum ResolveError {
    /// An index could not be fetched.
    Fetch {
        /// What was wanted.
        what: String,
        /// The reason.
        source: FetchError,
    },
    /// A keyring that the configuration names cannot be used.
    Keyring {
        /// Its path, or that it stands in the configuration.
        name: String,
    },
    /// An InRelease file isn't signed as it must be.
    Signature {
        /// Its address.
        url: String,
        /// What is wrong.
        source: SignatureFault,
    },
    /// An InRelease file is too old: newer ones may be withheld.
    Expired {
        /// Its address.
        url: String,
        /// Until when it was good (`20260711T101637Z`).
        valid_until: String,
    },
    /// A signed or checked file isn't understood.
    Malformed {
        /// Its address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no fitting set of packages.
    Solve {
        /// The suite.
        suite: String,
        /// The reason.
        source: SolveError,
    },
    /// There is no fitting set of packages to add.
    Addition {
        /// The suite.
        suite: String,
        /// The reason.
        source: SolveError,
    },
    /// The cache can't be written or read.
    Disk {
        /// The file.
        path: std::path::PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl ResolveError {
    /// What the user can do about it; empty where there is nothing to say.
    pub fn help(&self) -> &'static str {
        match self {
            ResolveError::Fetch { source, .. } => source.help(),
            ResolveError::Keyring { .. } => "mend Signed-By in the apt configuration, or install the keyring",
            ResolveError::Signature {
                source: SignatureFault::UnknownKey { .. },
                ..
            } => "if the mirror signs with a key of its own, name it with Signed-By in the apt configuration",
            ResolveError::Signature { .. } | ResolveError::Malformed { .. } => {
                "don't use this mirror before you know why; the public one is http://deb.debian.org/debian"
            }
            ResolveError::Expired { .. } => {
                "use a mirror that is up to date, or accept the old index: this time with COIL_ALLOW_EXPIRED=1, \
                 for good with `Check-Valid-Until: no` in the apt configuration"
            }
            ResolveError::Solve {
                source: SolveError::NoSuchPackage { .. },
                ..
            } => "check the name with `apt-cache policy`, and that the suite has it",
            ResolveError::Solve {
                source: SolveError::Unknown { .. },
                ..
            } => "give the name as apt has it",
            ResolveError::Addition { source, .. } => match source {
                SolveError::Unknown { .. } | SolveError::NoSuchPackage { .. } => {
                    "look the name up on https://packages.debian.org"
                }
                SolveError::NoName { .. } => {
                    "give names as apt has them, without versions: coil.lock pins those"
                }
                SolveError::NoSuite { .. } => {
                    "packages can be added to bullseye, bookworm, trixie, forky and sid"
                }
                SolveError::Several { .. } => "name one of them",
                SolveError::Unmet { .. } | SolveError::Conflict { .. } => {
                    "leave one of them out; where the base is old, renew it with `coil pack --upgrade`"
                }
            },
            ResolveError::Solve { .. } => "the mirror may be in the middle of an update: try again later",
            ResolveError::Disk { .. } => "check that the data root has room and can be written",
        }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::Fetch { what, .. } => write!(f, "cannot get {what}"),
            ResolveError::Keyring { name } => write!(f, "the keyring {name} has no usable key"),
            ResolveError::Signature { url, .. } => write!(f, "{url} is not trusted"),
            ResolveError::Expired { url, valid_until } => {
                write!(f, "{url} was valid until {valid_until} only")
            }
            ResolveError::Malformed { url, reason } => write!(f, "{url} is broken: {reason}"),
            ResolveError::Solve { suite, .. } => write!(f, "no base can be made of Debian {suite}"),
            ResolveError::Addition { suite, .. } => {
                write!(f, "packages cannot be added from Debian {suite}")
            }
            ResolveError::Disk { path, .. } => write!(f, "cannot use {}", path.display()),
        }
    }
}

impl std::error::Error for ResolveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ResolveError::Fetch { source, .. } => Some(source),
            ResolveError::Signature { source, .. } => Some(source),
            ResolveError::Solve { source, .. } => Some(source),
            ResolveError::Addition { source, .. } => Some(source),
            ResolveError::Disk { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why pinned packages could not be made a layer.
#[derive(Debug)]
#[non_exhaustive]
pub enum AssembleError {
    /// The architecture isn't one that coil knows.
    UnknownArch {
        /// Its name.
        arch: String,
    },
    /// A package could not be fetched.
    Fetch {
        /// Its name and version.
        package: String,
        /// The reason.
        source: FetchError,
    },
    /// The mirror and the archive of old packages no longer have it.
    Gone {
        /// Its name and version.
        package: String,
        /// Where it was looked for.
        tried: Vec<String>,
    },
    /// A package isn't built as a package must be.
    Malformed {
        /// Its name and version.
        package: String,
        /// What is wrong.
        reason: String,
    },
    /// Something that every base has is missing from the pinned list.
    Incomplete {
        /// What is missing.
        what: String,
    },
    /// The store can't be written.
    Store {
        /// The reason.
        source: io::Error,
    },
}

impl AssembleError {
    /// What the user can do about it; empty where there is nothing to say.
    pub fn help(&self) -> &'static str {
        match self {
            AssembleError::UnknownArch { .. } => "coil knows amd64 and arm64",
            AssembleError::Fetch { source, .. } => source.help(),
            AssembleError::Gone { .. } | AssembleError::Incomplete { .. } => {
                "renew the list of packages with `coil pack --upgrade`"
            }
            AssembleError::Malformed { .. } => {
                "the file is what the list pins: report it, or pin another version"
            }
            AssembleError::Store { source } if source.kind() == io::ErrorKind::StorageFull => {
                "make room on the disk, for example with `coil system prune`"
            }
            AssembleError::Store { .. } => "check that the data root can be written",
        }
    }
}

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AssembleError::UnknownArch { arch } => {
                write!(f, "there is no base for the architecture `{arch}`")
            }
            AssembleError::Fetch { package, .. } => write!(f, "cannot get the Debian package {package}"),
            AssembleError::Gone { package, tried } => {
                write!(
                    f,
                    "the Debian package {package} is nowhere any more: tried {}",
                    tried.join(" and ")
                )
            }
            AssembleError::Malformed { package, reason } => {
                write!(f, "the Debian package {package} is broken: {reason}")
            }
            AssembleError::Incomplete { what } => write!(f, "the pinned base has no {what}"),
            AssembleError::Store { .. } => write!(f, "cannot write the base layer"),
        }
    }
}

impl std::error::Error for AssembleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AssembleError::Fetch { source, .. } => Some(source),
            AssembleError::Store { source } => Some(source),
            _ => None,
        }
    }
}
