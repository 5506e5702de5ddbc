//! `coil exec`: a command in a container that runs.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use coil_engine::record::Container;
use coil_engine::{ContainerError, ExecError, ExecRequest, Status, Stdio3};

use crate::attach::{self, Attachment};
use crate::detach_keys;
use crate::environment_flags as flags;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;
use crate::signals::terminal_size;

/// The file that is made when a command in the background has begun; for coil's own use alone.
const BEGUN: &str = "COIL_EXEC_BEGUN";
/// How often it is looked for: a command begins within milliseconds.
const OFTEN: Duration = Duration::from_millis(1);

/// Arguments of `coil exec`.
#[derive(Debug, Args)]
#[command(override_usage = "coil exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
pub struct Exec {
    /// Run it in the background
    #[arg(short, long)]
    detach: bool,
    /// Pass input on
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set a variable; a name alone passes on your own
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Run as this user: NAME, UID or UID:GID
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Start in this folder of the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The keys that let go of its terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Let it do all that coil may
    #[arg(long)]
    privileged: bool,
    /// The container, then the command
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_name = "CONTAINER")]
    words: Vec<String>,
}

impl Exec {
    /// Runs it and gives its exit code.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let Some((name, command)) = self.words.split_first() else {
            return Err(Failure::new("no container was given").code(125));
        };
        if !self.detach {
            attach::check_terminal(&Attachment {
                interactive: self.interactive,
                terminal: self.tty,
                ..Attachment::default()
            })?;
        }
        let keys = detach_keys::wanted(self.detach_keys.as_deref(), settings)?;
        // As Docker has it: a flag that is none is 125, and a file 1.
        let mut env = flags::variables_to_set(&self.env_file, &[], settings.environment())
            .map_err(|failure| failure.code(1))?;
        env.extend(flags::variables_to_set(&[], &self.env, settings.environment())?);
        let engine = settings.engine()?;
        let container = engine.container(name)?;
        if self.detach {
            if !container.is_running() {
                let id = container.record.id;
                return Err(ContainerError::NotRunning { id, doing: "exec in" }.into());
            }
            match container.state.status {
                Status::Paused => return Err(ExecError::Paused(container.record.name).into()),
                Status::Restarting => return Err(ExecError::Restarting(container.record.id).into()),
                _ => return self.detached(settings, &container, &env),
            }
        }
        let request = ExecRequest {
            command: command.to_vec(),
            env,
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            terminal: self.tty,
            terminal_size: terminal_size().filter(|_| self.tty),
            detach_keys: match self.interactive {
                true => keys,
                false => Vec::new(),
            },
            privileged: self.privileged,
            begun: settings.environment().path(BEGUN),
        };
        let in_background = request.begun.is_some();
        let stdio = Stdio3 {
            input: if self.interactive {
                Stdio::inherit()
            } else {
                Stdio::null()
            },
            output: Stdio::inherit(),
            errors: Stdio::inherit(),
        };
        match engine.exec(&container, &request, stdio) {
            Ok(code) => Ok(code),
            // As Docker has it: what could not be begun is told where the command's own output would have been.
            Err(error) if error.is_told_as_output() && !in_background => {
                output::print(&format!("{}\r\n", error.as_output()));
                Ok(error.exit_code())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets another coil wait for it, with no terminal to hold on to, and waits till the command has begun.
    fn detached(&self, settings: &Settings, container: &Container, env: &[String]) -> Result<i32, Failure> {
        let mut command = Command::new(Settings::own_program());
        command.arg("--root").arg(settings.root()).arg("exec");
        // Values go through the environment: everybody on the host may read the arguments.
        let mut names: Vec<OsString> = Vec::new();
        for entry in env {
            let Some((name, value)) = entry.split_once('=') else {
                names.push(format!("--env={entry}").into());
                continue;
            };
            if ["HOME", "PATH", "XDG_RUNTIME_DIR"].contains(&name) {
                names.push(format!("--env={entry}").into());
            } else {
                command.env(name, value);
                names.push(format!("--env={name}").into());
            }
        }
        command.args(names);
        command.args(self.user.iter().map(|user| format!("--user={user}")));
        command.args(self.workdir.iter().map(|folder| format!("--workdir={folder}")));
        command.args(self.privileged.then_some("--privileged"));
        command.args(self.tty.then_some("--tty")).args(&self.words);
        let begun = container
            .run_dir
            .join(format!("exec-{}.begun", std::process::id()));
        let _ = fs::remove_file(&begun);
        command
            .env(BEGUN, &begun)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        let failed = |error: std::io::Error| {
            Failure::new(format!("coil cannot run itself\n  caused by: {error}")).code(126)
        };
        let mut child = command.spawn().map_err(failed)?;
        loop {
            let ended = child.try_wait().map_err(failed)?;
            if has_begun(&begun) {
                return Ok(0);
            }
            if ended.is_some() {
                let mut said = String::new();
                if let Some(mut errors) = child.stderr.take() {
                    let _ = errors.read_to_string(&mut said);
                }
                let said = said.trim_end();
                return match said.is_empty() {
                    true => Err(Failure::new("the command did not begin")),
                    // As Docker has it: 1, whatever the reason.
                    false => Err(Failure::spoken(said.to_owned(), 1)),
                };
            }
            std::thread::sleep(OFTEN);
        }
    }
}

/// Whether the command has begun; the sign of it is taken away.
fn has_begun(path: &Path) -> bool {
    fs::remove_file(path).is_ok()
}
