//! Makes images: runs plan graphs, keeps what was made, writes it out.

pub mod app_tree;
pub mod disk_files;
pub mod export;
pub mod solver;

pub use disk_files::DiskFiles;
pub use export::{ExportError, Output, OutputError, export};
