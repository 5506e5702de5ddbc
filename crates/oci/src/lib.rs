//! The OCI image model: digests, references, platforms, manifests and deterministic tar.
//!
//! Pure: no paths, clock, environment or network. The serde types are written here because the order of
//! every map must be stable for an image to have the same bytes each time.

pub mod config;
pub mod digest;
pub mod manifest;
pub mod near;
pub mod platform;
pub mod reference;
pub mod tar;
pub mod timestamp;

pub use config::{ContainerConfig, History, ImageConfig, RootFs};
pub use digest::{Digest, DigestError, Hasher};
pub use manifest::{Descriptor, Index, Manifest, media_type};
pub use platform::{Arch, Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
