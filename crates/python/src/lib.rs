//! Python projects, read without Python: project files and locks become a list of packages for one target.
//!
//! Pure: files come in through [`ProjectFiles`], and what goes out are values and [`Diagnostic`]s. Nothing here
//! reads the environment, the clock, the disk or the network, and no code of a project is ever imported.

pub mod coil_lock;
mod coil_lock_text;
pub mod coil_settings;
mod content_hash;
pub mod diagnostic;
mod django_start;
pub mod ignore_rules;
pub mod import_names;
pub mod import_scan;
mod lock_check;
mod lock_choice;
pub mod pdm_lock;
pub mod pinned;
pub mod pipfile_lock;
mod poetry_constraint;
mod poetry_dependency;
pub mod poetry_lock;
mod poetry_selection;
pub mod project;
pub mod project_files;
pub mod project_install;
pub mod pylock;
pub mod pyproject;
pub mod python_choice;
pub mod requirement;
pub mod requirements_file;
mod requirements_line;
pub mod selection;
mod shell_words;
mod source_scan;
pub mod start_command;
mod system_pins;
pub mod target;
mod toml_document;
pub mod tool_sources;
pub mod uv_lock;
mod uv_selection;
pub mod uv_settings;
mod web_start;
pub mod wheel_name;

pub use coil_lock::{BasePackage, BasePins, CoilLock, Resolution};
pub use coil_settings::{CoilSettings, CommandSetting, PortSetting};
pub use diagnostic::{Diagnostic, Location, Problem};
pub use ignore_rules::{IgnoreRules, Verdict, secret_like};
pub use pdm_lock::PdmLock;
pub use pep440_rs::{Version, VersionSpecifiers};
pub use pep508_rs::{ExtraName, MarkerEnvironment, MarkerTree, PackageName, VersionOrUrl};
pub use pinned::{Artifact, ArtifactKind, Direct, Pinned};
pub use pipfile_lock::PipfileLock;
pub use poetry_lock::PoetryLock;
pub use project::{Packages, Project, ProjectLock, ProjectWishes};
pub use project_files::{DirEntry, FileError, MemoryFiles, ProjectFiles};
pub use project_install::ProjectInstall;
pub use pylock::Pylock;
pub use pyproject::{Asked, PyProject, ScriptEntry};
pub use python_choice::{
    AvailablePython, PythonChoice, PythonWish, choose_python, debian_pythons, python_version_file,
};
pub use requirement::{GroupName, Requirement, parse_marker, parse_requirement};
pub use requirements_file::{
    IndexOptions, RequirementEntry, RequirementsFile, ResolutionInput, Wanted, without_credentials,
};
pub use selection::Selection;
pub use start_command::{DEFAULT_PORT, StartCommand, StartSearch};
pub use system_pins::SystemPins;
pub use target::{Libc, PythonVersion, Tag, TagRanks, Target};
pub use uv_lock::{LockedPackage, LockedSource, UvLock};
pub use wheel_name::{Choice, Refusal, WheelName, best_wheel, choose, no_wheel};
