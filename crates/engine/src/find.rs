//! Finding containers, by name, id, or the beginning of an id.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use coil_runtime::state;

use crate::Engine;
use crate::making::{Standing, standing};
use crate::record::{Container, ContainerRecord};

/// From so many containers on their records are read by several threads.
const MANY: usize = 48;
const READERS: usize = 4;

/// The length of a run directory's name: the beginning of the container's id.
const RUN_NAME: usize = 16;

/// Why there is no container to work on.
#[derive(Debug)]
pub enum FindError {
    /// No container has this name, or an id that begins so.
    Missing(String),
    /// Several ids begin so.
    Ambiguous(String),
    /// Nothing was named.
    Empty,
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindError::Missing(text) => write!(f, "No such container: {text}"),
            FindError::Ambiguous(text) => write!(f, "multiple IDs found with provided prefix: {text}"),
            FindError::Empty => f.write_str("invalid container name or ID: value is empty"),
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
            FindError::Empty => "give a container's name or id",
        }
    }
}

impl Engine {
    /// Where a container's live state is. Short, since a socket's path may have 108 bytes only.
    pub(crate) fn run_dir(&self, id: &str) -> PathBuf {
        self.run_root.join(&id[..RUN_NAME.min(id.len())])
    }

    /// Every container that is whole, the newest first. What a killed command left half-made is not shown.
    pub fn containers(&self) -> Vec<Container> {
        let places = self.run_places();
        let folders: Vec<PathBuf> = fs::read_dir(self.store.containers_dir())
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        self.clear_places(places, &folders);
        let load = |folders: &[PathBuf]| -> Vec<Container> {
            folders
                .iter()
                .filter_map(|folder| self.load(folder).ok())
                .collect()
        };
        let mut found = if folders.len() < MANY {
            load(&folders)
        } else {
            std::thread::scope(|scope| {
                let parts = folders.chunks(folders.len().div_ceil(READERS));
                let readers: Vec<_> = parts.map(|part| scope.spawn(move || load(part))).collect();
                let parts = readers.into_iter().map(|reader| {
                    reader
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                });
                parts.flatten().collect()
            })
        };
        found.sort_by_key(|container| std::cmp::Reverse(container.record.created));
        found
    }

    /// The names of the containers' run directories.
    fn run_places(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.run_root).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.len() == RUN_NAME && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .collect()
    }

    /// Removes run directories whose containers were gone when their monitors were killed. `places` were listed before the
    /// containers: each was made after its container.
    fn clear_places(&self, places: Vec<String>, containers: &[PathBuf]) {
        if places.is_empty() {
            return;
        }
        let known: BTreeSet<String> = containers
            .iter()
            .filter_map(|folder| folder.file_name())
            .map(|id| id.to_string_lossy().chars().take(RUN_NAME).collect())
            .collect();
        for place in places.iter().filter(|place| !known.contains(*place)) {
            if let Ok(Some(hold)) = state::Hold::take(&self.run_root.join(place)) {
                hold.end();
            }
        }
    }

    /// Reads a container that has started; one in the making is none yet, and one that a kill left is cleared away.
    fn load(&self, dir: &Path) -> io::Result<Container> {
        let id = dir.file_name().unwrap_or_default().to_string_lossy();
        if standing(dir, &self.run_dir(&id)) != Standing::Made {
            self.clear_abandoned(&id);
            return Err(io::ErrorKind::NotFound.into());
        }
        let bytes = match fs::read(dir.join("config.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Its monitor removes it, or was killed while it did.
                match dir.join("state.json").exists() {
                    true => drop(coil_runtime::sweep_removed(dir, &self.run_dir(&id))),
                    false => drop(fs::remove_dir(dir)),
                }
                return Err(error);
            }
            other => other?,
        };
        let record: ContainerRecord = serde_json::from_slice(&bytes)?;
        let run_dir = self.run_dir(&record.id);
        let state = state::observe(dir, &run_dir)?;
        let is_over = record.auto_remove && state.started_before && !state.status.is_live();
        if is_over && coil_runtime::sweep_removed(dir, &run_dir).unwrap_or(false) {
            return Err(io::ErrorKind::NotFound.into());
        }
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
        if text.trim().is_empty() {
            return Err(FindError::Empty);
        }
        // As `inspect` shows names.
        let text = text.strip_prefix('/').unwrap_or(text);
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
