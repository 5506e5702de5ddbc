//! Base images from Debian's signed packages, with no registry, no container and no root.
//!
//! Two steps, and what lies between them can be pinned in a lock file:
//! - [`Archive::resolve`]: a suite and an architecture become a [`PinnedBase`], the exact list of packages. The suite's InRelease
//!   file is verified by signature, the index by the digest in it, each package by the digest in that.
//! - [`Archive::assemble`]: a pinned base becomes a [`BaseLayer`], one layer whose bytes depend on nothing else. It looks at no index.
//!
//! The packages are only unpacked: no script of theirs runs. What the scripts would have made and a Python application needs is
//! made here: accounts, links, the certificate bundle, the linker's cache, dpkg's list of what is installed.

mod addition;
mod addition_layer;
mod alternatives;
mod archive;
mod arrivals;
mod assemble;
mod base_view;
mod cached_file;
mod compression;
mod contents;
mod control;
mod error;
mod gzip_members;
mod in_release;
mod index;
mod installed;
mod linker_cache;
mod maintainer_script;
mod package_file;
mod pinned;
mod relation;
mod release;
mod signature;
mod solve;
mod solve_over;
mod sources;
mod spill;
mod suite;
mod system;
mod system_layer;
mod system_unpack;
mod tree;
mod version;

pub use addition::PinnedAddition;
pub use addition_layer::{AdditionLayer, LINKER_FOLDERS, Linked};
pub use archive::Archive;
pub use arrivals::Arrivals;
pub use assemble::{AssembleOptions, BaseLayer};
pub use contents::FoundFile;
pub use error::{AssembleError, ResolveError};
pub use installed::{Installed, InstalledPackage};
pub use pinned::{PinnedBase, PinnedPackage};
pub use release::parse_compact_date;
pub use signature::SignatureFault;
pub use solve::SolveError;
pub use sources::{Mirror, PUBLIC_MIRROR, PUBLIC_SECURITY_MIRROR, SourceFile, SourcesConfig, Trust};
pub use suite::{NoPython, Suite};
pub use system::{PinnedSystem, SYSTEM_SUITES, SystemRequest};
pub use system_layer::{TreeLayer, keep_tree};
pub use system_unpack::{Place, UnpackedPackage};
pub use version::compare as compare_versions;
