//! What a container is to be, as `run` and `create` take it.

use std::path::PathBuf;

use clap::Args;
use coil_engine::{Engine, RestartPolicy, RunRequest};

use crate::disk_flags::DiskFlags;
use crate::environment_flags as flags;
use crate::host_flags::HostFlags;
use crate::image_fetch;
use crate::limit_flags::LimitFlags;
use crate::network_flags::NetworkFlags;
use crate::report::Failure;
use crate::settings::Settings;
use crate::volume_flags::VolumeFlags;

/// The flags that `run` and `create` have in common, and the words behind them.
#[derive(Debug, Args)]
pub struct ContainerFlags {
    #[command(flatten)]
    network: NetworkFlags,
    /// Set a variable; a name alone passes on your own
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    #[command(flatten)]
    volumes: VolumeFlags,
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
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    disks: DiskFlags,
    #[command(flatten)]
    host: HostFlags,
    /// Write its id to a file, which must not be there
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Get the image from its registry: always, missing or never
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pull: String,
    /// The image's platform, such as linux/amd64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Say nothing while the image is fetched
    #[arg(short, long)]
    quiet: bool,
    /// What is fetched is known by its digest, and no signature is looked for
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<bool>,
    /// Its host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Set a label
    #[arg(long = "label", short, value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Allow no writes to the image's files
    #[arg(long)]
    read_only: bool,
    /// The image or the project's folder, then what to run in place of the image's command
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_name = "IMAGE|DIR")]
    pub words: Vec<String>,
}

/// Whether the machine has so many processors.
fn check_processors(wanted: Option<u64>) -> Result<(), Failure> {
    let there = std::fs::read_to_string("/sys/devices/system/cpu/online");
    let there: u64 = there.map_or(0, |text| processors(text.trim()));
    match wanted {
        Some(wanted) if there > 0 && wanted > there * 1000 => Err(Failure::new(format!(
            "range of CPUs is from 0.01 to {there}.00, as there are only {there} CPUs available"
        ))
        .help("give --cpus a number up to that, or leave it out")
        .code(125)
        .of_daemon()),
        _ => Ok(()),
    }
}

/// How many a list such as `0-3,8` names.
fn processors(list: &str) -> u64 {
    let count = |part: &str| -> Option<u64> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(last.parse::<u64>().ok()? + 1 - first.parse::<u64>().ok()?)
    };
    list.split(',').filter_map(count).sum()
}

impl ContainerFlags {
    /// Sees to it that the image is there, and that the file for the id is not.
    ///
    /// # Errors
    /// When the image can't be had, or the file is there.
    pub fn prepare(&self, settings: &Settings, engine: &Engine, image: &str) -> Result<(), Failure> {
        if let Some(path) = self.cidfile.as_ref().filter(|path| path.exists()) {
            return Err(Failure::new(format!(
                "container ID file found, make sure the other container isn't running or delete {}",
                path.display()
            ))
            .help("give another file, or remove that one")
            .code(125));
        }
        // Seen before the container is made, which nobody would know by its id then.
        if let Some(path) = &self.cidfile
            && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
            && !folder.is_dir()
        {
            return Err(Failure::new(format!(
                "failed to create the container ID file: open {}: no such file or directory",
                path.display()
            ))
            .help("make that folder first")
            .code(127));
        }
        let when = image_fetch::When::parse(&self.pull)?;
        image_fetch::ensure(
            settings,
            engine,
            image,
            when,
            self.platform.as_deref(),
            self.quiet,
        )
    }

    /// Writes the id to the file that was asked for.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_id(&self, id: &str) -> Result<(), Failure> {
        let Some(path) = &self.cidfile else { return Ok(()) };
        std::fs::write(path, id).map_err(|error| {
            Failure::new(format!(
                "failed to create the container ID file {}\n  caused by: {error}",
                path.display()
            ))
            .code(125)
        })
    }

    /// What the engine is asked for.
    ///
    /// # Errors
    /// When a value can't be understood.
    pub fn request(&self, settings: &Settings, attached: [bool; 3]) -> Result<RunRequest, Failure> {
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
        if self.disable_content_trust == Some(false) {
            return Err(
                Failure::new("--disable-content-trust=false: coil looks for no signatures")
                    .help("leave it out, and name the image by its digest if it must be the same")
                    .code(125),
            );
        }
        if self.rm && restart != RestartPolicy::No {
            return Err(
                Failure::new("conflicting options: cannot specify both --restart and --rm")
                    .help("a container that is removed at its end can't be started again: leave one of them out")
                    .code(125),
            );
        }
        if self.hostname.is_some() && self.host.shares_host_name() {
            return Err(Failure::new("conflicting options: hostname and the UTS mode")
                .help("leave one of --uts host and --hostname out")
                .code(125)
                .of_daemon());
        }
        let mut limits = self.limits.limits()?;
        self.host.limit(&mut limits)?;
        check_processors(limits.cpus_milli)?;
        self.disks.limit(&mut limits.disk)?;
        let mut labels = flags::label_files(&self.label_file)?;
        labels.extend(flags::label_flags("-l, --label", &self.labels)?);
        Ok(RunRequest {
            image: image.clone(),
            command: command.to_vec(),
            // As `inspect` shows it.
            name: self
                .name
                .as_deref()
                .map(|name| name.strip_prefix('/').unwrap_or(name).to_owned())
                .filter(|name| !name.is_empty()),
            env: flags::variables_to_set(&self.env_file, &self.env, settings.environment())?,
            volumes: self.volumes.volumes(),
            mounts: self.volumes.mounts(),
            tmpfs: self.volumes.tmpfs.clone(),
            volumes_from: self.volumes.volumes_from.clone(),
            volume_driver: self.volumes.volume_driver.clone(),
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            entrypoint: self.entrypoint.clone(),
            ports: self.network.publish.clone(),
            publish_all: self.network.publish_all,
            expose: self.network.expose.clone(),
            limits,
            options: self.host.options()?,
            health: self.host.health()?,
            stop_timeout: self.host.stop_timeout,
            network: self.network.request(),
            hostname: self.hostname.clone(),
            labels,
            read_only: self.read_only,
            auto_remove: self.rm,
            terminal: self.tty,
            stdin_open: self.interactive,
            attached,
            restart,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted() {
        for (list, count) in [("0", 1), ("0-1", 2), ("0-3,8", 5), ("0,2-3", 3), ("", 0)] {
            assert_eq!(processors(list), count, "{list}");
        }
        let failure = check_processors(Some(1_000_000_000)).expect_err("nobody has so many");
        assert!(
            failure.text().contains("range of CPUs is from 0.01 to "),
            "{}",
            failure.text()
        );
        assert!(check_processors(Some(10)).is_ok() && check_processors(None).is_ok());
    }
}
