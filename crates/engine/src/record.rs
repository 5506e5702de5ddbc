//! Containers as they stand in the data root, and how they are found.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use coil_oci::Digest;
use coil_runtime::ports::PortMapping;
use coil_runtime::state::{self, State, Status};
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::making::{Standing, standing};

/// What is known of a container from its making on; `config.json` in its folder.
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
    /// The network's mode as Docker names it.
    pub network: String,
    /// Published ports as they were asked for.
    pub ports: Vec<PortMapping>,
    /// Ports that the image says the program listens on.
    pub exposed: Vec<String>,
    /// `-v` as it was given, with absolute paths.
    pub binds: Vec<String>,
    /// Labels of the image and the user.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether its input is kept open.
    pub stdin_open: bool,
    /// Whether it is removed when it ends.
    pub auto_remove: bool,
    /// Bytes of memory, 0 for no limit.
    pub memory: u64,
    /// Thousandths of a processor, 0 for no limit.
    pub cpus_milli: u64,
    /// The signal that asks it to stop.
    pub stop_signal: i32,
    /// Seconds it is given to stop.
    pub stop_timeout: u64,
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
    /// Whether its program runs.
    pub fn is_running(&self) -> bool {
        self.state.status == Status::Running
    }
}

/// Why there is no container to work on.
#[derive(Debug)]
pub enum FindError {
    /// No container has this name, or an id that begins so.
    Missing(String),
    /// Several ids begin so.
    Ambiguous(String),
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindError::Missing(text) => write!(f, "No such container: {text}"),
            FindError::Ambiguous(text) => write!(f, "several containers' ids begin with {text}"),
        }
    }
}

impl std::error::Error for FindError {}

impl FindError {
    /// What the user can do next.
    pub fn help(&self) -> &'static str {
        match self {
            FindError::Missing(_) => "`coil ps -a` lists all containers",
            FindError::Ambiguous(_) => "give more of the id",
        }
    }
}

impl Engine {
    /// Where a container's live state is. Short, since a socket's path may have 108 bytes only.
    pub(crate) fn run_dir(&self, id: &str) -> PathBuf {
        self.run_root.join(&id[..16.min(id.len())])
    }

    /// Every container that is whole, the newest first. What a killed command left half-made is not shown.
    pub fn containers(&self) -> Vec<Container> {
        let mut found: Vec<Container> = fs::read_dir(self.store.containers_dir())
            .map(|entries| {
                entries
                    .flatten()
                    .filter_map(|entry| self.load(&entry.path()).ok())
                    .collect()
            })
            .unwrap_or_default();
        found.sort_by_key(|container| std::cmp::Reverse(container.record.created));
        found
    }

    /// Reads a container that has started; one in the making is none yet, and one that a kill left is cleared away.
    fn load(&self, dir: &Path) -> io::Result<Container> {
        let id = dir.file_name().unwrap_or_default().to_string_lossy();
        if standing(dir, &self.run_dir(&id)) != Standing::Made {
            self.clear_abandoned(&id);
            return Err(io::ErrorKind::NotFound.into());
        }
        let bytes = fs::read(dir.join("config.json"))?;
        let record: ContainerRecord = serde_json::from_slice(&bytes)?;
        let run_dir = self.run_dir(&record.id);
        let state = state::observe(dir, &run_dir)?;
        Ok(Container {
            record,
            state,
            dir: dir.to_owned(),
            run_dir,
        })
    }

    /// Finds a container by name, id, or the beginning of an id.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn container(&self, text: &str) -> Result<Container, FindError> {
        let missing = || FindError::Missing(text.to_owned());
        let plain = !text.is_empty() && !text.contains('/') && text != "." && text != "..";
        if !plain {
            return Err(missing());
        }
        if let Some(id) = self.store.name_owner(text)
            && let Ok(container) = self.load(&self.store.container_dir(&id))
        {
            return Ok(container);
        }
        if let Ok(container) = self.load(&self.store.container_dir(text)) {
            return Ok(container);
        }
        let mut matching = Vec::new();
        for entry in fs::read_dir(self.store.containers_dir())
            .map_err(|_| missing())?
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with(text)
                && let Ok(container) = self.load(&entry.path())
            {
                matching.push(container);
            }
        }
        match matching.len() {
            0 => Err(missing()),
            1 => Ok(matching.remove(0)),
            _ => Err(FindError::Ambiguous(text.to_owned())),
        }
    }
}
