//! What can go wrong when an image is read from the store.

use std::fmt;
use std::io;

use coil_oci::{Digest, Platform, Reference};

/// Why an image could not be read or kept.
#[derive(Debug)]
pub enum StoreError {
    /// No image has this name, or an id that begins so.
    NoSuchImage(String),
    /// Several images' ids begin so.
    Ambiguous(String),
    /// The index has no image for the platform; it has these.
    NoPlatform {
        /// The image's name.
        name: String,
        /// The platform asked for.
        wanted: Platform,
        /// Those that there are.
        found: Vec<String>,
    },
    /// A blob that the image needs is not there.
    MissingBlob(Digest),
    /// A blob's bytes are not what its digest says.
    Damaged {
        /// The image or the blob.
        what: String,
    },
    /// A blob is no manifest, index or configuration.
    Malformed {
        /// Which blob.
        digest: Digest,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A layer could not be unpacked.
    Unpack {
        /// The layer's diff id.
        diff_id: Digest,
        /// Why.
        source: crate::UnpackError,
    },
    /// The disk said no.
    Io {
        /// What was being done.
        doing: String,
        /// The system's error.
        source: io::Error,
    },
}

impl StoreError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> StoreError {
        let doing = doing.into();
        move |source| StoreError::Io { doing, source }
    }

    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            StoreError::NoSuchImage(_) => {
                Some("`coil images` lists what is here; `coil pack` makes one".into())
            }
            StoreError::Ambiguous(_) => Some("give more of the id".into()),
            StoreError::NoPlatform { .. } => Some("pack it again with `--platform`".into()),
            StoreError::MissingBlob(_) | StoreError::Damaged { .. } | StoreError::Malformed { .. } => {
                Some("remove the image with `coil rmi` and pack it again".into())
            }
            StoreError::Unpack { .. } => None,
            StoreError::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => {
                    Some("free some space, or choose another place with `--root DIR`".into())
                }
                io::ErrorKind::PermissionDenied => {
                    Some("choose a place that you may write to with `--root DIR`".into())
                }
                _ => None,
            },
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::NoSuchImage(name) => {
                // A name without a tag means this one.
                let latest = match Reference::parse(name) {
                    Ok(_) if name.starts_with("sha256:") => "",
                    Ok(reference)
                        if reference.digest().is_none()
                            && !name.rsplit('/').next().is_some_and(|last| last.contains(':')) =>
                    {
                        ":latest"
                    }
                    _ => "",
                };
                write!(f, "No such image: {name}{latest}")
            }
            StoreError::Ambiguous(name) => write!(f, "several images' ids begin with {name}"),
            StoreError::NoPlatform { name, wanted, found } => {
                write!(f, "{name} has no image for {wanted}; it has {}", found.join(", "))
            }
            StoreError::MissingBlob(digest) => write!(f, "the blob {digest} is missing from the store"),
            StoreError::Damaged { what } => write!(f, "{what} was damaged on disk"),
            StoreError::Malformed { digest, .. } => write!(f, "the blob {digest} cannot be read"),
            StoreError::Unpack { diff_id, .. } => write!(f, "the layer {diff_id} cannot be unpacked"),
            StoreError::Io { doing, .. } => write!(f, "{doing} failed"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Malformed { source, .. } => Some(source),
            StoreError::Unpack { source, .. } => Some(source),
            StoreError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
