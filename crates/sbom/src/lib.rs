//! Bills of materials: a neutral list of what is in an image, written as SPDX 2.3 or CycloneDX 1.6.
//!
//! Pure: texts and values in, bytes out. The same list gives the same bytes; times come from the image, identifiers from
//! digests of the content.

mod bill;
mod component;
mod copyright_file;
mod cyclonedx;
mod embedded;
mod expression;
mod identifier;
mod licence_names;
mod package_url;
mod spdx;

pub use bill::{Bill, Format, Subject};
pub use component::{Component, Hash, Kind, Licence};
pub use copyright_file::licences_of_copyright_file;
pub use embedded::{EmbeddedError, embedded_components};
pub use expression::canonical_expression;
pub use licence_names::{licences_of_metadata, licences_of_short_name};
pub use package_url::PackageUrl;
