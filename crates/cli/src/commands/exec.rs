//! `coil exec`: a command in a container that runs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use coil_engine::{ContainerError, ExecError, ExecRequest, Status, Stdio3};

use crate::attach::{self, Attachment};
use crate::detach_keys;
use crate::environment_flags as flags;
use crate::report::Failure;
use crate::settings::Settings;
use crate::signals::terminal_size;

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
    #[arg(long, value_name = "KEYS", default_value = detach_keys::USUAL)]
    detach_keys: String,
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
        let keys = detach_keys::parse(&self.detach_keys)?;
        let env = flags::variables(&self.env_file, &self.env, settings.environment())?;
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
                _ => return self.detached(settings, &env),
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
        };
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
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
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
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let spawned = command.spawn();
        spawned.map_err(|error| {
            Failure::new(format!("coil cannot run itself\n  caused by: {error}")).code(126)
        })?;
        Ok(0)
    }
}
