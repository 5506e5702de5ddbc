//! `coil run`: a container from an image, or from a project's folder, which is packed first.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use coil_engine::RunRequest;

use crate::attach::{self, Attachment};
use crate::environment_flags as flags;
use crate::host_path::{absolute_source, project_folder};
use crate::packing;
use crate::report::Failure;
use crate::settings::Settings;
use crate::signals::terminal_size;
use crate::{output, quantity};

/// Arguments of `coil run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "coil run [OPTIONS] IMAGE|DIR [COMMAND] [ARG...]",
    disable_help_flag = true
)]
pub struct Run {
    /// Publish a port: [HOST_IP:][HOST_PORT:]PORT[/udp]
    #[arg(short, long = "publish", value_name = "PORTS")]
    publish: Vec<String>,
    /// Set a variable; a name alone passes on your own
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Bind a file or folder: HOST_PATH:PATH[:ro]
    #[arg(short, long = "volume", value_name = "PATHS")]
    volumes: Vec<String>,
    /// Start in this folder of the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Run as this user: NAME, UID or UID:GID
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// The container's name
    #[arg(long)]
    name: Option<String>,
    /// Remove the container when it ends
    #[arg(long)]
    pub rm: bool,
    /// Run in the background and print the container's id
    #[arg(short, long)]
    detach: bool,
    /// Pass input on
    #[arg(short, long)]
    pub interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Run this in place of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// The most memory it gets, such as 512m
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// The most processors it gets, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Its network: bridge, host or none
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Option<String>,
    /// Its host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Set a label
    #[arg(long = "label", short, value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Allow no writes to the image's files
    #[arg(long)]
    read_only: bool,
    /// Print help; `-h` is the host name, as with Docker
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// The image or the project's folder, then what to run in place of the image's command
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_name = "IMAGE|DIR")]
    pub words: Vec<String>,
}

impl Run {
    /// Starts it, and stays with it unless it is detached.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let attachment = Attachment {
            interactive: self.interactive,
            terminal: self.tty,
        };
        if !self.detach {
            attach::check_terminal(attachment)?;
        }
        let mut request = self.request(settings)?;
        let engine = settings.engine()?;
        let folder = project_folder(&request.image, &engine, settings);
        let signals = match folder.is_some() || !self.detach {
            true => Some(packing::take_signals()?),
            false => None,
        };
        if let (Some(folder), Some(signals)) = (folder, &signals) {
            request.image = packing::pack_to_run(settings, &engine, signals, folder, &request)?;
        }
        let created = engine.run(&request)?;
        for notice in &created.notices {
            output::error_line(&format!("note: {notice}"));
        }
        match (&signals, &created.client) {
            (Some(signals), Some(client)) => {
                signals.forward(client, attachment.terminal)?;
                attach::stay(&engine, &created.id, client, attachment, self.rm)
            }
            _ => {
                output::line(&created.id);
                Ok(0)
            }
        }
    }

    fn request(&self, settings: &Settings) -> Result<RunRequest, Failure> {
        let (image, command) = self
            .words
            .split_first()
            .ok_or_else(|| Failure::new("no image was given").code(125))?;
        Ok(RunRequest {
            image: image.clone(),
            command: command.to_vec(),
            name: self.name.clone(),
            env: flags::variables(&self.env_file, &self.env, settings.environment())?,
            volumes: self
                .volumes
                .iter()
                .map(|volume| absolute_source(volume))
                .collect(),
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            entrypoint: self.entrypoint.clone(),
            ports: self.publish.clone(),
            memory: self.memory.as_deref().map(quantity::memory_flag).transpose()?,
            cpus_milli: self.cpus.as_deref().map(quantity::cpus_flag).transpose()?,
            network: self.network.clone(),
            hostname: self.hostname.clone(),
            labels: flags::labels(&self.labels),
            read_only: self.read_only,
            auto_remove: self.rm,
            terminal: self.tty,
            stdin_open: self.interactive,
            terminal_size: terminal_size().filter(|_| self.tty),
            attach: !self.detach,
        })
    }
}
