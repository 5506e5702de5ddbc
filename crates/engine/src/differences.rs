//! `diff`: what a container changed of its image; and which of its writes are only the places of its mounts.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use crate::Engine;
use crate::copy::CopyError;
use crate::mount_points::ALWAYS;
use crate::record::ContainerRecord;

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was there.
    Changed,
    /// It wasn't.
    Added,
    /// It is gone.
    Deleted,
}

impl Change {
    /// Docker's letter.
    pub fn letter(self) -> char {
        match self {
            Change::Changed => 'C',
            Change::Added => 'A',
            Change::Deleted => 'D',
        }
    }
}

/// A container's writes beside its layers.
pub(crate) struct Writes {
    upper: PathBuf,
    layers: Vec<PathBuf>,
    /// Where something is mounted.
    places: BTreeSet<PathBuf>,
}

impl Writes {
    pub(crate) fn new(upper: PathBuf, layers: Vec<PathBuf>, record: &ContainerRecord) -> Writes {
        let plain = |path: &str| -> PathBuf {
            Path::new(path)
                .components()
                .filter(|part| matches!(part, Component::Normal(_)))
                .collect()
        };
        let own = record.points.iter().map(|point| plain(&point.destination));
        Writes {
            upper,
            layers,
            places: ALWAYS.iter().map(PathBuf::from).chain(own).collect(),
        }
    }

    /// What a path is in the layers.
    fn below(&self, path: &Path) -> Option<Metadata> {
        let mut hidden = false;
        for layer in self.layers.iter().rev() {
            let mut here = layer.clone();
            let mut opaque = false;
            let mut found = None;
            let mut parts = path.components().peekable();
            while let Some(part) = parts.next() {
                here.push(part);
                found = here.symlink_metadata().ok();
                match &found {
                    None => break,
                    Some(data) if is_whiteout(data) => return None,
                    Some(data) if data.is_dir() => opaque |= parts.peek().is_some() && is_opaque(&here),
                    // A file or a link hides what lower layers have below that name.
                    Some(_) if parts.peek().is_some() => return None,
                    Some(_) => {}
                }
            }
            if found.is_some() {
                return found;
            }
            hidden |= opaque;
            if hidden {
                return None;
            }
        }
        None
    }

    /// Every change, a folder before what is in it, sorted by path.
    pub(crate) fn changes(&self) -> std::io::Result<Vec<(Change, PathBuf)>> {
        let mut found = Vec::new();
        match self.folder(Path::new(""), &mut found) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
        found.sort_by(|a, b| a.1.cmp(&b.1));
        Ok(found)
    }

    /// The paths in the folder of writes that are nothing but places of mounts.
    pub(crate) fn mount_places(&self) -> BTreeSet<String> {
        let shown: BTreeSet<PathBuf> = self
            .changes()
            .unwrap_or_default()
            .into_iter()
            .map(|(_, path)| path)
            .collect();
        let mut skipped = BTreeSet::new();
        for place in &self.places {
            for path in place.ancestors().filter(|path| !path.as_os_str().is_empty()) {
                if !shown.contains(path) {
                    skipped.extend(path.to_str().map(str::to_owned));
                }
            }
        }
        skipped
    }

    fn folder(&self, folder: &Path, found: &mut Vec<(Change, PathBuf)>) -> std::io::Result<()> {
        for entry in fs::read_dir(self.upper.join(folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let data = entry.metadata()?;
            if is_whiteout(&data) {
                found.push((Change::Deleted, path));
                continue;
            }
            let below = self.below(&path);
            let change = if below.is_some() {
                Change::Changed
            } else {
                Change::Added
            };
            let before = found.len();
            if data.is_dir() {
                if is_opaque(&entry.path()) {
                    self.hidden(&path, found);
                }
                self.folder(&path, found)?;
            }
            let is_place = self.places.iter().any(|place| place.starts_with(&path));
            if is_place && found.len() == before && is_stub(&path, &data, below.as_ref(), &self.places) {
                continue;
            }
            found.push((change, path));
        }
        Ok(())
    }

    /// What an opaque folder hides of the layers and has no more.
    fn hidden(&self, folder: &Path, found: &mut Vec<(Change, PathBuf)>) {
        let mut names = BTreeSet::new();
        for layer in &self.layers {
            for entry in fs::read_dir(layer.join(folder)).into_iter().flatten().flatten() {
                names.insert(entry.file_name());
            }
        }
        for name in names {
            let path = folder.join(name);
            if self.below(&path).is_some() && self.upper.join(&path).symlink_metadata().is_err() {
                found.push((Change::Deleted, path));
            }
        }
    }
}

/// Whether a path says nothing but that something was mounted there or below.
fn is_stub(path: &Path, data: &Metadata, below: Option<&Metadata>, places: &BTreeSet<PathBuf>) -> bool {
    match below {
        // Only copied up.
        Some(below) if data.is_dir() => {
            (data.mode(), data.uid(), data.gid()) == (below.mode(), below.uid(), below.gid())
        }
        Some(_) => false,
        None => data.is_dir() || (places.contains(path) && data.is_file() && data.len() == 0),
    }
}

fn is_whiteout(data: &Metadata) -> bool {
    data.file_type().is_char_device() && data.rdev() == 0
}

fn is_opaque(path: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| {
            let mut value = [0; 2];
            rustix::fs::lgetxattr(path, *name, &mut value[..]).is_ok_and(|length| value[..length] == *b"y")
        })
}

impl Engine {
    /// What a container wrote, beside its layers.
    pub(crate) fn writes(&self, container: &crate::record::Container) -> Result<Writes, CopyError> {
        let layers = self
            .layers(&container.record)
            .map_err(|error| CopyError::Container(Box::new(error)))?;
        Ok(Writes::new(
            container.dir.join("upper"),
            layers,
            &container.record,
        ))
    }

    /// What a container changed of its image, sorted by path.
    ///
    /// # Errors
    /// When there is no such container, or its files can't be read.
    pub fn differences(&self, text: &str) -> Result<Vec<(Change, String)>, CopyError> {
        let container = self.container(text)?;
        let writes = self.writes(&container)?;
        let changes = writes
            .changes()
            .map_err(crate::files::FileError::at(&container.dir))?;
        let shown = |(change, path): (Change, PathBuf)| (change, format!("/{}", path.display()));
        Ok(changes.into_iter().map(shown).collect())
    }
}
