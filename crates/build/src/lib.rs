//! Makes images: runs plan graphs, keeps what was made, writes it out.

pub mod app_layer;
pub mod app_tree;
pub mod base;
mod contained_compiler;
mod debian_base;
pub mod disk_files;
pub mod error;
pub mod executor;
pub mod export;
pub mod image_config;
mod image_tree;
pub mod layer_writer;
mod library_bytecode;
mod lock_file;
mod pack;
mod package_layers;
mod planning;
mod platform_layers;
mod project_package;
mod recorder;
pub mod request;
pub mod solver;

pub use disk_files::DiskFiles;
pub use error::PackError;
pub use export::{ExportError, Output, OutputError, export};
pub use request::{Chosen, LayerReport, PackRequest, Packed, PackedImage, Packer};
