//! Why a container or a command in it did not start: what crosses the pipe from the init to the monitor.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// A start that failed, told as the user reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step that failed, such as `mounts`.
    pub stage: String,
    /// What, where and why, in one line.
    pub message: String,
    /// The kernel's error number, 0 when there was none.
    pub errno: i32,
    /// Exit code of `coil run`: 125, 126 (not executable) or 127 (not found).
    pub exit_code: i32,
}

impl Failure {
    /// A failure of a step on something, by the kernel's answer.
    pub fn new(stage: &str, what: impl fmt::Display, error: &io::Error) -> Self {
        Self {
            stage: stage.to_owned(),
            message: format!("{what}: {}", error_text(error)),
            errno: error.raw_os_error().unwrap_or_default(),
            exit_code: 125,
        }
    }

    /// A failure that the kernel knows nothing of.
    pub fn refused(stage: &str, message: impl fmt::Display) -> Self {
        Self {
            stage: stage.to_owned(),
            message: message.to_string(),
            errno: 0,
            exit_code: 125,
        }
    }

    /// The same with another exit code.
    pub fn with_exit_code(self, exit_code: i32) -> Self {
        Self { exit_code, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The kernel's words for an error, as other container engines print them: no number, no capital.
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !text.starts_with("RPC") => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// Says which step an error belongs to.
pub(crate) trait Stage<T> {
    /// The failure of a step on something.
    fn stage(self, stage: &str, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T> Stage<T> for io::Result<T> {
    fn stage(self, stage: &str, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(stage, what, &error))
    }
}
