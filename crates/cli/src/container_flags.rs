//! What a container is to be, as `run` and `create` take it.

use std::path::PathBuf;

use clap::Args;
use coil_engine::{RestartPolicy, RunRequest};

use crate::environment_flags as flags;
use crate::host_path::absolute_source;
use crate::quantity;
use crate::report::Failure;
use crate::settings::Settings;

/// The flags that `run` and `create` have in common, and the words behind them.
#[derive(Debug, Args)]
pub struct ContainerFlags {
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
    /// Start it again when it ends: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Remove the container when it ends
    #[arg(long)]
    pub rm: bool,
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
    /// The image or the project's folder, then what to run in place of the image's command
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_name = "IMAGE|DIR")]
    pub words: Vec<String>,
}

impl ContainerFlags {
    /// What the engine is asked for.
    ///
    /// # Errors
    /// When a value can't be understood.
    pub fn request(&self, settings: &Settings) -> Result<RunRequest, Failure> {
        let (image, command) = self
            .words
            .split_first()
            .ok_or_else(|| Failure::new("no image was given").code(125))?;
        let restart = self.restart.as_deref().unwrap_or("no");
        let restart = RestartPolicy::parse(restart).map_err(|text| {
            Failure::new(text)
                .help("give no, on-failure[:N], always or unless-stopped")
                .code(125)
        })?;
        if self.rm && restart != RestartPolicy::No {
            return Err(
                Failure::new("conflicting options: cannot specify both --restart and --rm")
                    .help("a container that is removed at its end can't be started again: leave one of them out")
                    .code(125),
            );
        }
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
            restart,
        })
    }
}
