//! How a failure is told: `error:` with what and where, then its causes, then `help:` with what to do next.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::path::Path;

use coil_build::PackError;
use coil_build::stand_in::StandInError;
use coil_engine::bills::BillError;
use coil_engine::container_filter::FilterError;
use coil_engine::image_filter::ImageFilterError;
use coil_engine::images::ImageError;
use coil_engine::networks::NetworksError;
use coil_engine::pull::PullFailure;
use coil_engine::{ContainerError, ExecError, FindError, RunError};
use coil_python::{Diagnostic, Problem};
use coil_store::StoreError;

use crate::output;

/// What went wrong, ready to be printed, and the exit code.
#[derive(Debug)]
pub struct Failure {
    text: String,
    code: i32,
    /// Whether the user should be told where the data root is.
    about_root: bool,
    /// Whether Docker's daemon, and not its client, is who tells it.
    of_daemon: bool,
}

impl Failure {
    /// A failure in one line; exit code 1.
    pub fn new(message: impl Display) -> Self {
        Self {
            text: format!("error: {message}"),
            code: 1,
            about_root: false,
            of_daemon: false,
        }
    }

    /// A text that has its own `error:` and `help:` lines.
    pub fn spoken(text: String, code: i32) -> Self {
        Self {
            text,
            code,
            about_root: false,
            of_daemon: false,
        }
    }

    /// An error with its causes, each on a line of its own.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::new(error);
        let mut cause = Some(error);
        let mut full = false;
        while let Some(error) = cause {
            let system = error.downcast_ref::<io::Error>();
            full |= system.is_some_and(|system| system.kind() == io::ErrorKind::StorageFull);
            cause = error.source();
            if let Some(cause) = cause {
                let text = cause.to_string();
                // Some errors of the system's tell their own cause already.
                if !failure.text.ends_with(&text) {
                    failure.text.push_str("\n  caused by: ");
                    failure.text.push_str(&text);
                }
            }
        }
        failure.about_root = full;
        failure
    }

    /// Adds what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Display) -> Self {
        self.text.push_str(&format!("\nhelp: {help}"));
        self
    }

    /// Adds what to do next, where that is known.
    #[must_use]
    pub fn maybe_help(self, help: Option<impl Display>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// Sets the exit code.
    #[must_use]
    pub fn code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// Marks what Docker's daemon tells and not its client: with `run` that makes no difference.
    #[must_use]
    pub fn of_daemon(mut self) -> Self {
        self.of_daemon = true;
        self
    }

    /// The same with exit code 1 where it is the daemon's: 125 is for a wrong command line, but for `run`.
    #[must_use]
    pub fn plain(mut self) -> Self {
        if self.of_daemon {
            self.code = 1;
        }
        self
    }

    /// The exit code that it leads to.
    #[cfg(test)]
    pub fn exit_code(&self) -> i32 {
        self.code
    }

    /// The text without the data root.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Prints it to standard error and gives the exit code.
    pub fn show(&self, root: Option<&Path>) -> i32 {
        match root.filter(|_| self.about_root) {
            Some(root) => {
                let (body, help) = match self.text.find("\nhelp: ") {
                    Some(at) => self.text.split_at(at),
                    None => (
                        self.text.as_str(),
                        "\nhelp: choose another place with `--root DIR`",
                    ),
                };
                output::error_line(&format!("{body}\n  --> the data root {}{help}", root.display()));
            }
            None => output::error_line(&self.text),
        }
        self.code
    }

    fn of_store(error: &StoreError) -> Self {
        let mut failure = Self::of(error);
        failure.about_root |= matches!(error, StoreError::Io { .. });
        failure.maybe_help(error.help())
    }
}

/// What to do about a problem whose place says all else.
fn diagnostic_help(diagnostic: &Diagnostic) -> Option<&'static str> {
    match diagnostic.problem {
        Problem::Syntax => Some("mend that line, and pack again"),
        Problem::Unreadable => Some("let yourself read it, or leave it out by .dockerignore"),
        Problem::LockOutOfDate => Some("lock the project again"),
        _ => None,
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::of_store(&error)
    }
}

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        match &error {
            PackError::Project(diagnostic) => {
                let failure = Self::spoken(diagnostic.to_string(), 1);
                let help = diagnostic_help(diagnostic);
                failure.maybe_help(help.filter(|_| diagnostic.help.is_none()))
            }
            PackError::Store(error) => Self::of_store(error),
            _ => Self::of(&error).maybe_help(error.help()),
        }
    }
}

impl From<StandInError> for Failure {
    fn from(error: StandInError) -> Self {
        match &error {
            StandInError::Store(error) => Self::of_store(error),
            _ => Self::of(&error).maybe_help(error.help()),
        }
    }
}

impl From<PullFailure> for Failure {
    fn from(error: PullFailure) -> Self {
        match &error {
            PullFailure::Store(error) => Self::of_store(error),
            PullFailure::Pull(_) => Self::of(&error).maybe_help(error.help()),
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        match &error {
            ImageError::Store(error) => Self::of_store(error),
            ImageError::Name(_) => Self::of(&error).help("a name is [REGISTRY/]NAME[:TAG], in small letters"),
            _ => Self::of(&error).maybe_help(error.help()),
        }
    }
}

impl From<BillError> for Failure {
    fn from(error: BillError) -> Self {
        match &error {
            BillError::Store(error) => Self::of_store(error),
            BillError::None { .. } => Self::of(&error).maybe_help(error.help()),
        }
    }
}

impl From<NetworksError> for Failure {
    fn from(error: NetworksError) -> Self {
        Self::of(&error).maybe_help(error.help())
    }
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        Self::of(&error).maybe_help(error.help())
    }
}

impl From<ImageFilterError> for Failure {
    fn from(error: ImageFilterError) -> Self {
        Self::of(&error).maybe_help(error.help())
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        Self::of(&error).help(error.help())
    }
}

impl From<ContainerError> for Failure {
    fn from(error: ContainerError) -> Self {
        Self::of(&error).maybe_help(error.help())
    }
}

impl From<ExecError> for Failure {
    fn from(error: ExecError) -> Self {
        let help = error.help().or_else(|| match &error {
            ExecError::User(_) => {
                Some("give --user NAME, UID or UID:GID; the container's /etc/passwd has the names".into())
            }
            _ => None,
        });
        Self::of(&error).maybe_help(help).code(error.exit_code())
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        // The engine knows no flags: what to do about a wrong one is said here.
        let help = error.help().or_else(|| {
            let text = match &error {
                RunError::BadName(_) => "give a name such as `web-1`, or none and one is made up",
                RunError::Wish(_) => {
                    "`coil run --help` shows what --network, --ip, --dns, --add-host and the like take"
                }
                RunError::Publish(_) => "give -p HOST_PORT:CONTAINER_PORT, such as -p 8000:8000",
                RunError::Mount(_) => "give -v HOST_PATH:CONTAINER_PATH[:ro], such as -v ./data:/data",
                RunError::User(_) => {
                    "give --user NAME, UID or UID:GID; the image's /etc/passwd has the names"
                }
                RunError::Workdir(_) => "give an absolute path, such as -w /app",
                _ => return None,
            };
            Some(text.to_owned())
        });
        match &error {
            RunError::Store(store @ StoreError::Io { .. }) => Self::of_store(store),
            _ => Self::of(&error).maybe_help(help),
        }
        .code(error.exit_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_lines_of_their_own() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let failure = Failure::from(StoreError::Io {
            doing: "locking the store".into(),
            source,
        });
        let lines: Vec<&str> = failure.text().lines().collect();
        assert_eq!(lines[0], "error: locking the store failed");
        assert!(
            lines[1].starts_with("  caused by: ") && lines[2].starts_with("help: "),
            "{lines:?}"
        );
        assert!(failure.about_root);
    }
}
