//! Finding containers, by name, id, or the beginning of an id.

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
            FindError::Ambiguous(text) => write!(f, "multiple IDs found with provided prefix: {text}"),
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
        let folders: Vec<PathBuf> = fs::read_dir(self.store.containers_dir())
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
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
