//! Running a command in a container that runs.

use std::fmt;
use std::path::PathBuf;

use coil_runtime::state::Status;
use coil_runtime::user::{self, UserError};
use coil_runtime::{ExecSpec, StartError};

pub use coil_runtime::Stdio3;

use crate::lifecycle::{ContainerError, start_help};
use crate::record::Container;
use crate::{Engine, create, words};

/// What `coil exec` was asked for.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `NAME=value`, over the container's own.
    pub env: Vec<String>,
    /// The folder to start in; the container's own when none is given.
    pub workdir: Option<String>,
    /// User and group; the container's own when none is given.
    pub user: Option<String>,
    /// Give the program a terminal.
    pub terminal: bool,
    /// Rows and columns of the terminal.
    pub terminal_size: Option<(u16, u16)>,
    /// The keys that let go of its terminal.
    pub detach_keys: Vec<u8>,
    /// Let it do all that coil may.
    pub privileged: bool,
    /// A file that is made when the command has begun, for one in the background.
    pub begun: Option<PathBuf>,
}

/// Why a command did not run.
#[derive(Debug)]
pub enum ExecError {
    /// The container is not there, or does not run.
    Container(ContainerError),
    /// The container is paused.
    Paused(String),
    /// The container is about to be started again.
    Restarting(String),
    /// The user cannot be found in the container.
    User(UserError),
    /// The folder to start in is not absolute.
    Folder,
    /// It did not start.
    Start(StartError),
}

impl ExecError {
    /// The exit code that Docker has for it.
    pub fn exit_code(&self) -> i32 {
        match self {
            ExecError::Container(_)
            | ExecError::Paused(_)
            | ExecError::Restarting(_)
            | ExecError::User(_) => 1,
            ExecError::Folder => 128,
            ExecError::Start(error) => error.exit_code(),
        }
    }

    /// Whether Docker tells it where the command's own output would be.
    pub fn is_told_as_output(&self) -> bool {
        matches!(self, ExecError::Folder | ExecError::Start(StartError::Failed(_)))
            && (126..=128).contains(&self.exit_code())
    }

    /// The words that stand in the place of the command's output.
    pub fn as_output(&self) -> String {
        match self {
            ExecError::Folder => format!("OCI runtime exec failed: exec failed: {self}"),
            _ => format!("OCI runtime exec failed: exec failed: unable to start container process: {self}"),
        }
    }

    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            ExecError::Container(error) => error.help(),
            ExecError::User(_) => None,
            ExecError::Folder => Some("give an absolute path, such as -w /app".into()),
            ExecError::Restarting(_) => Some("`coil logs` shows why it ends again and again".into()),
            ExecError::Paused(name) => Some(format!("`coil unpause {name}` lets it go on")),
            ExecError::Start(error) => start_help(error),
        }
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExecError::Container(error) => fmt::Display::fmt(error, f),
            ExecError::Paused(name) => {
                write!(f, "Container {name} is paused, unpause the container before exec")
            }
            ExecError::Restarting(id) => {
                write!(
                    f,
                    "Container {id} is restarting, wait until the container is running"
                )
            }
            ExecError::User(error) => fmt::Display::fmt(error, f),
            ExecError::Folder => f.write_str("Cwd must be an absolute path"),
            ExecError::Start(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for ExecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ExecError::Container(error) => error.source(),
            ExecError::User(error) => error.source(),
            ExecError::Start(error) => error.source(),
            ExecError::Paused(_) | ExecError::Restarting(_) | ExecError::Folder => None,
        }
    }
}

impl Engine {
    /// Runs a command in a container, with the given standard descriptors, and waits for its end; gives its exit code.
    ///
    /// # Errors
    /// When the container does not run, or the command does not start.
    pub fn exec(
        &self,
        container: &Container,
        request: &ExecRequest,
        stdio: Stdio3,
    ) -> Result<i32, ExecError> {
        let record = &container.record;
        if !container.is_running() {
            let error = ContainerError::NotRunning {
                id: record.id.clone(),
                doing: "exec in",
            };
            return Err(ExecError::Container(error));
        }
        match container.state.status {
            Status::Paused => return Err(ExecError::Paused(record.name.clone())),
            Status::Restarting => return Err(ExecError::Restarting(record.id.clone())),
            _ => {}
        }
        if request
            .workdir
            .as_deref()
            .is_some_and(|folder| !folder.is_empty() && !folder.starts_with('/'))
        {
            return Err(ExecError::Folder);
        }
        let given = request.user.as_deref().filter(|user| !user.is_empty());
        let user_text = given.unwrap_or(&record.user);
        let layers: Vec<_> = record
            .diff_ids
            .iter()
            .map(|diff_id| self.store.snapshot_tree(diff_id))
            .collect();
        let account =
            user::resolve(&layers, Some(&container.dir.join("upper")), user_text).map_err(ExecError::User)?;
        let mut env: Vec<(String, String)> = Vec::new();
        for entry in create::variables(record, request.terminal)
            .iter()
            .chain(&request.env)
        {
            match entry.contains('=') {
                true => create::set_variable(&mut env, entry),
                // A name alone that its user doesn't have either: the command has none.
                false => env.retain(|(name, _)| name != entry),
            }
        }
        // Another user has another home.
        if !env.iter().any(|(name, _)| name == "HOME") {
            env.push(("HOME".to_owned(), account.home.clone()));
        }
        let spec = ExecSpec {
            args: request.command.clone(),
            env: env
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            cwd: match request.workdir.as_deref() {
                None | Some("") => record.cwd.clone(),
                Some(folder) => folder.to_owned(),
            },
            user: account.user,
            terminal: request.terminal,
            tty_size: request.terminal_size,
            detach_keys: request.detach_keys.clone(),
            capabilities: None,
            privileged: request.privileged,
            ends_with_parent: false,
            begun: request.begun.clone(),
        };
        let exec_id = words::new_id().unwrap_or_default();
        let command = request.command.join(" ");
        let known = [("execID", exec_id)];
        self.event(record, &format!("exec_create: {command}"), &known);
        self.event(record, &format!("exec_start: {command}"), &known);
        let ended = coil_runtime::exec(
            &self.options.program,
            &container.dir,
            &container.run_dir,
            &spec,
            stdio,
        )
        .map_err(ExecError::Start);
        let [(_, exec_id)] = known;
        let code = ended.as_ref().map_or_else(ExecError::exit_code, |code| *code);
        let more = [("execID", exec_id), ("exitCode", code.to_string())];
        self.event(record, "exec_die", &more);
        ended
    }
}
