//! The environment variables, taken once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The variables that coil was started with.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// Those of this process.
    pub fn of_this_process() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
        }
    }

    /// Those of a list, for tests.
    #[cfg(test)]
    pub fn of(list: &[(&str, &str)]) -> Self {
        Self {
            variables: list
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }

    /// Sets a variable, as a flag that stands for it does.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.insert(name.into(), value.into());
    }

    /// All variables, for a program that is started with them.
    pub fn all(&self) -> Vec<(OsString, OsString)> {
        let pairs = self.variables.iter();
        pairs.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// A variable's value as it is, empty or not.
    pub fn raw(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// A variable's value; an empty one counts as none, as most programs have it.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// A variable's value as text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| value.to_string_lossy().into_owned())
    }

    /// All variables that are set, as text.
    pub fn texts(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let text = |value: &OsString| value.to_string_lossy().into_owned();
        self.variables
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(move |(name, value)| (text(name), text(value)))
    }

    /// The first of these variables that is set.
    pub fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.text(name))
    }

    /// A variable that names a file or folder.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// A variable that names an absolute path; another one is passed over, as the XDG specification wants it.
    pub fn absolute_path(&self, name: &str) -> Option<PathBuf> {
        self.path(name).filter(|path| path.is_absolute())
    }

    /// The user's home.
    pub fn home(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    /// A program's path, where it is installed.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let mut places = self.search_path().into_iter().map(|folder| folder.join(name));
        places.find(|place| place.is_file())
    }

    /// Where programs are looked for.
    pub fn search_path(&self) -> Vec<PathBuf> {
        let folders = self
            .get("PATH")
            .map(|path| std::env::split_paths(path).collect::<Vec<_>>());
        folders
            .unwrap_or_default()
            .into_iter()
            .filter(|folder| folder.is_absolute())
            .collect()
    }
}
