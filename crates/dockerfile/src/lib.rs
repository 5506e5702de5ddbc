//! The language of Dockerfiles: text to instructions with their places, the expansion of words, and ignore rules.
//!
//! Pure: knows no paths, no environment and no network. It accepts what BuildKit's Dockerfile frontend accepts
//! (Dockerfile reference, syntax 1.20) and refuses what that refuses, each refusal with its place and a way on.

pub mod check;
pub mod directive;
mod duration;
mod fault;
mod forms;
pub mod glob;
mod heredoc;
pub mod ignore;
mod ignore_pattern;
mod instruction;
mod lines;
mod mount;
pub mod near;
mod reading;
mod stage;
pub mod words;

pub use directive::Directives;
pub use fault::{Fault, Span};
pub use heredoc::Heredoc;
pub use instruction::{
    CommandLine, Copying, Healthcheck, InlineFile, Instruction, KeyValue, Located, Run, RunNetwork,
    RunSecurity,
};
pub use mount::{CacheSharing, Mount, MountKind};
pub use stage::{Dockerfile, Stage, parse, parse_trigger};
