//! What is asked for when a container is made or started, and what comes back.

use std::collections::BTreeMap;

use coil_runtime::restart::RestartPolicy;
use coil_runtime::spec::Limits;

use crate::Client;
use crate::health::HealthRequest;
use crate::networks::NetworkRequest;
use crate::options::Options;

/// What a container is to be.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// The image, by name or id.
    pub image: String,
    /// What to run in place of the image's command.
    pub command: Vec<String>,
    /// The container's name; one is made up when none is given.
    pub name: Option<String>,
    /// `NAME=value`, in their order; a later one wins.
    pub env: Vec<String>,
    /// `-v` values, with absolute sources where they are paths.
    pub volumes: Vec<String>,
    /// `--mount` values, with absolute sources where they are paths.
    pub mounts: Vec<String>,
    /// `--tmpfs` values.
    pub tmpfs: Vec<String>,
    /// `--volumes-from` values.
    pub volumes_from: Vec<String>,
    /// The driver of volumes that are named by `-v`.
    pub volume_driver: Option<String>,
    /// The folder to start in.
    pub workdir: Option<String>,
    /// User and group, by name or number.
    pub user: Option<String>,
    /// What to run in place of the image's entry point; empty for none.
    pub entrypoint: Option<String>,
    /// `-p` values.
    pub ports: Vec<String>,
    /// Memory, processors and the like.
    pub limits: Limits,
    /// What concerns the host.
    pub options: Options,
    /// The health check.
    pub health: HealthRequest,
    /// Seconds between the request to stop and the kill, negative for ever.
    pub stop_timeout: Option<i64>,
    /// Publish every port that the image or [`RunRequest::expose`] names.
    pub publish_all: bool,
    /// `--expose` values.
    pub expose: Vec<String>,
    /// Networks and names.
    pub network: NetworkRequest,
    /// The host name.
    pub hostname: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// No writes to the root file system.
    pub read_only: bool,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// Give the program a terminal.
    pub terminal: bool,
    /// Keep its input open.
    pub stdin_open: bool,
    /// Which of its input, output and errors somebody is to be connected to.
    pub attached: [bool; 3],
    /// When its program is started again.
    pub restart: RestartPolicy,
}

/// How a container is started.
#[derive(Debug, Clone, Copy, Default)]
pub struct StartRequest {
    /// Rows and columns of the terminal.
    pub terminal_size: Option<(u16, u16)>,
    /// Whether somebody listens to the output from the first byte.
    pub attach: bool,
}

/// A container that was made, and not started.
#[derive(Debug)]
pub struct Created {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What the user should know.
    pub notices: Vec<String>,
}

/// A container that was started.
#[derive(Debug)]
pub struct Started {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What the user should know.
    pub notices: Vec<String>,
    /// Output and input, when it was asked for.
    pub client: Option<Client>,
}
