//! Containers as they stand in the data root.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use coil_oci::{Descriptor, Digest};
use coil_runtime::events::{self, Subject};
use coil_runtime::ports::PortMapping;
use coil_runtime::restart::RestartPolicy;
use coil_runtime::spec::{Limits, Mount};
use coil_runtime::state::State;
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::health::Healthcheck;
use crate::networks::{NameWishes, NetworkWish};
use crate::options::Options;
use crate::volumes::MountPoint;

/// What is known of a container from its making on, enough to start it after a boot; `config.json` in its folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name.
    pub name: String,
    /// The image as the user named it.
    pub image: String,
    /// The digest of the image's configuration.
    pub image_id: Digest,
    /// The layers that it stands on, which a collection keeps.
    pub diff_ids: Vec<Digest>,
    /// The blobs that the layers are made of, should a snapshot be spoilt by a power loss.
    #[serde(default)]
    pub blobs: Vec<Descriptor>,
    /// When it was made: seconds and nanoseconds since 1970.
    pub created: (u64, u32),
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Where the arguments come from: the entry point.
    pub entrypoint: Vec<String>,
    /// Where the arguments come from: the command.
    pub command: Vec<String>,
    /// The environment.
    pub env: Vec<String>,
    /// The folder that it starts in.
    pub cwd: String,
    /// The user as the image or the user said it.
    pub user: String,
    /// The host name.
    pub hostname: String,
    /// The network's mode as Docker names it; `default` when none was asked for.
    pub network: String,
    /// The networks behind bridges that it is in when it runs.
    #[serde(default)]
    pub networks: Vec<NetworkWish>,
    /// How names are resolved in it.
    #[serde(default)]
    pub names: NameWishes,
    /// Published ports as they were asked for.
    pub ports: Vec<PortMapping>,
    /// Ports that the image says the program listens on.
    pub exposed: Vec<String>,
    /// `-v` as it was given, with absolute paths.
    pub binds: Vec<String>,
    /// What is mounted in it and where that comes from.
    #[serde(default)]
    pub points: Vec<MountPoint>,
    /// The mounts themselves.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Labels of the image and the user.
    pub labels: BTreeMap<String, String>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether its input is kept open.
    pub stdin_open: bool,
    /// Which of its input, output and errors somebody was to be connected to when it was made.
    #[serde(default)]
    pub attached: [bool; 3],
    /// Whether it is removed when it ends.
    pub auto_remove: bool,
    /// Whether its root can't be written.
    #[serde(default)]
    pub read_only: bool,
    /// When its program is started again.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Memory, processors and the like.
    #[serde(default)]
    pub limits: Limits,
    /// What concerns the host.
    #[serde(default)]
    pub options: Options,
    /// The health check, of the image with the user's changes.
    #[serde(default)]
    pub health: Option<Healthcheck>,
    /// The image's own shell, for the health check.
    #[serde(default)]
    pub shell: Vec<String>,
    /// The signal that asks it to stop.
    pub stop_signal: i32,
    /// Seconds it is given to stop, negative for ever.
    pub stop_timeout: i64,
}

/// A container and what it does now.
#[derive(Debug, Clone)]
pub struct Container {
    /// What it was made as.
    pub record: ContainerRecord,
    /// What it does.
    pub state: State,
    /// Its folder in the data root.
    pub dir: PathBuf,
    /// Its folder of live state.
    pub run_dir: PathBuf,
}

impl Container {
    /// Whether its program runs, is paused, or is about to run again.
    pub fn is_running(&self) -> bool {
        self.state.status.is_live()
    }
}

impl ContainerRecord {
    /// Writes it whole or not at all. It is synced where it must outlive a power loss: where it is to be started again.
    ///
    /// # Errors
    /// What the disk gives.
    pub(crate) fn save(&self, dir: &Path) -> io::Result<()> {
        let temporary = dir.join("config.json.new");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        if self.restart != RestartPolicy::No {
            file.sync_all()?;
        }
        fs::rename(&temporary, dir.join("config.json"))
    }
}

impl Engine {
    /// Writes down what happened to a container, for `coil events`.
    pub(crate) fn event(&self, record: &ContainerRecord, action: &str, more: &[(&str, String)]) {
        let subject = Subject {
            kind: "container",
            id: &record.id,
            image: &record.image,
            name: &record.name,
            labels: Some(&record.labels),
        };
        self.event_of(&subject, action, more);
    }

    /// Tells what happened to anything; one that can't be written is nobody's failure.
    pub(crate) fn event_of(&self, subject: &Subject<'_>, action: &str, more: &[(&str, String)]) {
        // The folder is made by the first container that starts, or here.
        let written = events::append(&self.run_root, subject, action, more);
        if written.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            && crate::making::private_folder(&self.run_root).is_ok()
        {
            let _ = events::append(&self.run_root, subject, action, more);
        }
    }
}
