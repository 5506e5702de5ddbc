//! A container in the making: hidden until it is made (or started, where both were asked for), and gone if its maker was
//! killed on the way.
//!
//! The folder appears under its name with a locked file in it, `making`. While its maker lives the lock is held; a
//! free lock without a state is what a kill left, and whoever meets it clears it away.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use coil_store::Store;

use crate::Engine;
use crate::record::ContainerRecord;

const MARK: &str = "making";

/// Held by the maker; dropped after [`Making::done`] or not, it lets go of the lock.
#[derive(Debug)]
pub(crate) struct Making {
    mark: PathBuf,
    _lock: File,
}

/// What a container's folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A container.
    Made,
    /// One whose maker is at work.
    BeingMade,
    /// One whose maker was killed.
    Abandoned,
}

impl Making {
    /// Makes a container's folder, locked.
    pub(crate) fn begin(store: &Store, dir: &Path) -> io::Result<Making> {
        let temporary = store.temp_path()?;
        fs::create_dir(&temporary)?;
        let made = (|| {
            let lock = File::create_new(temporary.join(MARK))?;
            lock.lock()?;
            let containers = store.containers_dir();
            if !containers.is_dir() {
                fs::create_dir_all(&containers)?;
            }
            fs::rename(&temporary, dir)?;
            Ok(Making {
                mark: dir.join(MARK),
                _lock: lock,
            })
        })();
        if made.is_err() {
            let _ = fs::remove_dir_all(&temporary);
        }
        made
    }

    /// The container is made.
    pub(crate) fn done(self) {
        // One that removes itself may be gone already.
        let _ = fs::remove_file(&self.mark);
    }
}

/// Makes a folder that its owner alone may enter.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// What a container's folder is; says `Made` where its maker was killed after the start.
pub(crate) fn standing(dir: &Path, run_dir: &Path) -> Standing {
    let Ok(mark) = File::open(dir.join(MARK)) else {
        return Standing::Made;
    };
    if mark.try_lock().is_err() {
        return Standing::BeingMade;
    }
    if dir.join("state.json").exists() || coil_runtime::state::is_alive(run_dir) {
        let _ = fs::remove_file(dir.join(MARK));
        return Standing::Made;
    }
    Standing::Abandoned
}

impl Engine {
    /// Clears away what a killed maker left; true when there was something.
    pub(crate) fn clear_abandoned(&self, id: &str) -> bool {
        let (dir, run_dir) = (self.store.container_dir(id), self.run_dir(id));
        if standing(&dir, &run_dir) != Standing::Abandoned {
            return false;
        }
        // Its monitor may have been started, and on its way to this.
        let Ok(Some(hold)) = coil_runtime::state::Hold::take(&run_dir) else {
            return false;
        };
        if !dir.join(MARK).exists() || dir.join("state.json").exists() {
            hold.end();
            return false;
        }
        let record = fs::read(dir.join("config.json"));
        let record = record.and_then(|bytes| Ok(serde_json::from_slice::<ContainerRecord>(&bytes)?));
        let removed = self.store.remove_folder(&dir).is_ok();
        hold.end();
        if let Ok(record) = record {
            self.drop_anonymous(&record);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coil_store::StoreOptions;

    #[test]
    fn a_folder_is_its_makers_until_it_started_or_the_maker_is_gone() {
        let root = std::env::temp_dir().join(format!("coil-making-{}", std::process::id()));
        let store = Store::open(StoreOptions {
            root: root.clone(),
            downloads: None,
            boot_id: "one".into(),
        });
        let dir = store.container_dir("aa");
        let run_dir = root.join("run");
        let making = Making::begin(&store, &dir).unwrap();
        assert_eq!(standing(&dir, &run_dir), Standing::BeingMade);
        drop(making);
        assert_eq!(standing(&dir, &run_dir), Standing::Abandoned);
        fs::write(dir.join("state.json"), "{}").unwrap();
        assert_eq!(standing(&dir, &run_dir), Standing::Made);
        fs::remove_dir_all(&root).unwrap();
    }
}
