//! `coil run`: a container from an image, or from a project's folder, which is packed first.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use coil_build::PackRequest;
use coil_engine::pack::PackTarget;
use coil_engine::{Created, Engine, RunRequest, parse_publish};
use coil_oci::Arch;
use coil_store::StoreError;

use crate::attach::{self, Attachment, Ending};
use crate::environment_flags as flags;
use crate::packing::{self, Manner};
use crate::report::Failure;
use crate::settings::Settings;
use crate::signals::{SignalThread, terminal_size};
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
        let folder = project_folder(&request.image, &engine, settings)?;
        let signals = match folder.is_some() || !self.detach {
            true => Some(packing::take_signals()?),
            false => None,
        };
        if let (Some(folder), Some(signals)) = (folder, &signals) {
            request.image = self.pack(settings, &engine, signals, folder, &request)?;
        }
        let created = engine.run(&request)?;
        for notice in &created.notices {
            output::error_line(&format!("note: {notice}"));
        }
        match (&signals, &created.client) {
            (Some(signals), Some(_)) => self.follow(&engine, signals, &created, attachment),
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

    /// Packs the project for this machine; gives the image's name.
    fn pack(
        &self,
        settings: &Settings,
        engine: &Engine,
        signals: &SignalThread,
        dir: PathBuf,
        request: &RunRequest,
    ) -> Result<String, Failure> {
        let pack = PackRequest {
            dir,
            platforms: vec![Arch::host()],
            epoch: settings.epoch()?,
            ..PackRequest::default()
        };
        let manner = Manner {
            offline: false,
            quiet: false,
        };
        let result = packing::pack(settings, engine, signals, &pack, &PackTarget::default(), manner)
            .map_err(|failure| failure.code(125))?;
        let ports = result.packed.images.iter().flat_map(|image| &image.ports);
        let bare = matches!(request.network.as_deref(), Some("host" | "none"));
        for port in ports.filter(|port| !bare && !is_published(port, &request.ports)) {
            let plain = port.strip_suffix("/tcp").unwrap_or(port);
            let number = port.split('/').next().unwrap_or(port);
            output::error_line(&format!(
                "hint: the app listens on port {plain}, which is not published: add `-p {number}:{plain}`"
            ));
        }
        Ok(result
            .names
            .first()
            .map_or_else(|| result.packed.default_name.familiar(), |name| name.familiar()))
    }

    fn follow(
        &self,
        engine: &Engine,
        signals: &SignalThread,
        created: &Created,
        attachment: Attachment,
    ) -> Result<i32, Failure> {
        let Some(client) = &created.client else {
            return Ok(0);
        };
        let lost = |error: std::io::Error| {
            Failure::new(format!(
                "the container's monitor cannot be reached\n  caused by: {error}"
            ))
            .code(125)
        };
        signals.forward(client.try_clone().map_err(lost)?, attachment.terminal);
        match attach::follow(client, attachment).map_err(lost)? {
            Ending::Exited(code) => Ok(code),
            Ending::NobodyReads => {
                // Nobody would ever end or see it again. Its monitor waits for a reader, so what comes is read.
                if self.rm {
                    if let Ok(rest) = client.try_clone() {
                        std::thread::spawn(move || while let Ok(Some(_)) = rest.next() {});
                    }
                    let _ = engine.remove(&created.id, true);
                }
                Ok(output::NOBODY_READS)
            }
            Ending::Lost => Err(Failure::new(
                "the container's monitor was killed, and the container with it",
            )
            .help("`coil ps -a` shows what is left of it")
            .code(137)),
        }
    }
}

/// The folder that a word means, when it is one: by its look, or because no image has this name.
fn project_folder(word: &str, engine: &Engine, settings: &Settings) -> Result<Option<PathBuf>, Failure> {
    let home = settings.environment().home();
    let path = match (word.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => PathBuf::from(word),
    };
    let looks_so = [".", "..", "~"].contains(&word)
        || ["./", "../", "/", "~/"]
            .iter()
            .any(|begin| word.starts_with(begin));
    if looks_so || (path.is_dir() && matches!(engine.store().find(word), Err(StoreError::NoSuchImage(_)))) {
        return Ok(Some(std::path::absolute(&path).unwrap_or(path)));
    }
    Ok(None)
}

/// `./data:/data` with the folder's whole path.
fn absolute_source(volume: &str) -> String {
    match volume.split_once(':') {
        Some((source, rest))
            if source == "." || source == ".." || source.starts_with("./") || source.starts_with("../") =>
        {
            let path = std::path::absolute(source).unwrap_or_else(|_| PathBuf::from(source));
            format!("{}:{rest}", path.display())
        }
        _ => volume.to_owned(),
    }
}

/// Whether one of the `-p` flags names a container port such as `8000/tcp`.
fn is_published(port: &str, flags: &[String]) -> bool {
    let mappings = flags
        .iter()
        .flat_map(|flag| parse_publish(flag).unwrap_or_default());
    mappings
        .into_iter()
        .any(|mapping| format!("{}/{}", mapping.container_port, mapping.protocol) == port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_beside_us_become_absolute() {
        let here = std::env::current_dir().expect("a folder");
        assert_eq!(
            absolute_source("./data:/data:ro"),
            format!("{}/data:/data:ro", here.display())
        );
        for volume in ["/a:/b", "name:/b", "/a"] {
            assert_eq!(absolute_source(volume), volume);
        }
    }

    #[test]
    fn published_ports_are_recognised() {
        let flags = ["80:8000".to_owned(), "127.0.0.1:53:53/udp".to_owned()];
        assert!(is_published("8000/tcp", &flags) && is_published("53/udp", &flags));
        assert!(!is_published("80/tcp", &flags) && !is_published("53/tcp", &flags));
    }
}
