//! Why a build failed.

use std::fmt;
use std::io;

use coil_dockerfile::{Fault, Span};
use coil_registry::PullError;
use coil_store::StoreError;

use crate::executor::StepError;

/// A step whose program did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedStep {
    /// What was run.
    pub command: String,
    /// Its exit code.
    pub code: i32,
    /// Whether the kernel ended it for its use of memory.
    pub out_of_memory: bool,
    /// The last lines that it printed.
    pub tail: Vec<String>,
    /// The step's name.
    pub step: String,
    /// Why, where no program was run to its end.
    pub error: Option<String>,
}

/// Why an image was not built.
#[derive(Debug)]
pub enum BuildError {
    /// Something in the Dockerfile is wrong.
    Fault(Box<Fault>),
    /// A step's program did not end well.
    Step {
        /// Its lines.
        span: Span,
        /// The step.
        step: Box<FailedStep>,
        /// What to do about it.
        help: Option<String>,
    },
    /// A step could not be run.
    Executor {
        /// Its lines.
        span: Span,
        /// What was to be run.
        command: String,
        /// Why.
        source: Box<StepError>,
    },
    /// An image can't be had.
    Pull {
        /// The line that asks for it.
        span: Span,
        /// The image.
        name: String,
        /// Why.
        source: Box<PullError>,
    },
    /// The store did not do its part.
    Store(Box<StoreError>),
    /// The disk said no.
    Io {
        /// What was being done.
        doing: String,
        /// The system's error.
        source: io::Error,
    },
}

impl BuildError {
    pub(crate) fn fault(span: Span, message: impl Into<String>) -> BuildError {
        BuildError::Fault(Box::new(Fault::new(span, message)))
    }

    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> BuildError {
        let doing = doing.into();
        move |source| BuildError::Io { doing, source }
    }

    /// The lines of the Dockerfile that it is about.
    pub fn span(&self) -> Option<Span> {
        match self {
            BuildError::Fault(fault) => Some(fault.span),
            BuildError::Step { span, .. }
            | BuildError::Executor { span, .. }
            | BuildError::Pull { span, .. } => Some(*span),
            BuildError::Store(_) | BuildError::Io { .. } => None,
        }
    }

    /// Where it is, with the lines of the Dockerfile.
    pub fn excerpt(&self, text: &str, name: &str) -> Option<String> {
        match self {
            BuildError::Fault(fault) => Some(fault.excerpt(text, name)),
            _ => Some(Fault::new(self.span()?, "").excerpt(text, name)),
        }
    }

    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            BuildError::Fault(fault) => fault.help.clone(),
            BuildError::Step { help, .. } => help.clone(),
            BuildError::Executor { source, .. } => source.help().or_else(|| {
                let is_missing = source.to_string().contains("executable file not found");
                is_missing
                    .then(|| "the image has no such program: install it in a step before this one".into())
            }),
            BuildError::Pull { source, .. } => source.help(),
            BuildError::Store(error) => error.help(),
            BuildError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or choose another place with `--root DIR`".into())
            }
            BuildError::Io { .. } => None,
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Fault(fault) => write!(f, "{fault}"),
            BuildError::Step { step, .. } if step.out_of_memory => {
                write!(f, "process \"{}\" ran out of memory and was killed", step.command)
            }
            BuildError::Step { step, .. } => write!(
                f,
                "process \"{}\" did not complete successfully: exit code: {}",
                step.command, step.code
            ),
            BuildError::Executor { command, .. } => {
                write!(f, "process \"{command}\" did not complete successfully")
            }
            BuildError::Pull { name, .. } => write!(f, "the image {name} cannot be had"),
            BuildError::Store(_) => f.write_str("the store cannot be used"),
            BuildError::Io { doing, .. } => write!(f, "{doing} failed"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BuildError::Fault(_) | BuildError::Step { .. } => None,
            BuildError::Executor { source, .. } => Some(source),
            BuildError::Pull { source, .. } => Some(source),
            BuildError::Store(source) => Some(source),
            BuildError::Io { source, .. } => Some(source),
        }
    }
}

impl From<StoreError> for BuildError {
    fn from(error: StoreError) -> BuildError {
        BuildError::Store(Box::new(error))
    }
}

impl From<Fault> for BuildError {
    fn from(fault: Fault) -> BuildError {
        BuildError::Fault(Box::new(fault))
    }
}
