//! A new volume gets what the image has at its place, with owners and modes.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use coil_runtime::View;
use coil_runtime::spec::{ContainerSpec, IdMap};
use rustix::fs::OFlags;

use crate::Engine;
use crate::files::{FileError, Owner, Root, TarReader, transfer};

/// Whether any layer may have something at a path: a link on the way may lead anywhere.
fn may_have(layers: &[PathBuf], path: &Path) -> bool {
    layers.iter().any(|layer| {
        let mut here = layer.clone();
        for part in path.components().skip(1) {
            here.push(part);
            match here.symlink_metadata() {
                Err(_) => return false,
                Ok(data) if data.is_symlink() => return true,
                Ok(_) => {}
            }
        }
        true
    })
}

impl Engine {
    /// The ids of a view: where a user has one id, everything is whose it is that coil runs as.
    pub(crate) fn view_ids(&self) -> IdMap {
        self.id_map(0, 0)
    }

    pub(crate) fn owner(&self) -> Owner {
        if self.owns_ids() {
            Owner::Kept
        } else {
            Owner::Writer
        }
    }

    /// Copies what an image has at `inside` into a folder; nothing where it has none.
    pub(super) fn fill(&self, layers: &[PathBuf], inside: &str, into: &Path) -> Result<(), FileError> {
        let inside = Path::new(inside);
        if !may_have(layers, inside) {
            return Ok(());
        }
        let place = self.store.temp_path().map_err(FileError::at(inside))?;
        let mut spec = ContainerSpec::new("", place.clone(), place.join("run"), layers.to_vec(), Vec::new());
        spec.id_map = self.view_ids();
        let copied = View::open(&self.options.program, &spec)
            .map_err(|failure| FileError::at(inside)(io::Error::other(failure.to_string())))
            .and_then(|view| copy(&view, inside, into, self.owner()));
        let _ = self.store.remove_folder(&place);
        copied
    }
}

fn copy(view: &View, inside: &Path, into: &Path, owner: Owner) -> Result<(), FileError> {
    let root = Root::of_container(view.as_fd());
    let from = match root.open(inside, OFlags::RDONLY | OFlags::DIRECTORY) {
        // Nothing is there, or a file, which fills no folder.
        Err(_) => return Ok(()),
        Ok(from) => from,
    };
    let to = File::open(into).map_err(FileError::at(into))?;
    let sent = transfer(
        |tar| {
            tar.folder_alone(&from, Path::new("."))?;
            tar.content(&from, Path::new(""))
        },
        |stream| TarReader::new(Root::of_folder(to.as_fd()), Path::new(""), owner).run(stream),
    );
    sent.map(drop)
}

/// Whether a folder holds nothing.
pub(super) fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}
