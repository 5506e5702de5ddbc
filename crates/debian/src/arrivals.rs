//! Packages on their way: fetched in the order of a list, while what needs the first of them begins already.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use coil_fetch::Progress;
use coil_oci::Digest;

use crate::assemble::CONNECTIONS;
use crate::error::AssembleError;
use crate::pinned::{PinnedBase, PinnedPackage};
use crate::system::PinnedSystem;
use crate::{Archive, cached_file};

/// Packages that are being fetched; who needs one waits for it here.
///
/// They are begun in the list's order. After a failure none is begun any more, and who waits in that order meets the first failure
/// of the list before any other.
pub struct Arrivals<'a> {
    archive: &'a Archive,
    list: PinnedBase,
    progress: &'a dyn Progress,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many of the list were begun.
    begun: usize,
    here: BTreeSet<Digest>,
    /// By their place in the list; nothing once it was told.
    failures: BTreeMap<usize, Option<AssembleError>>,
    /// Nothing more is begun.
    stopped: bool,
}

impl Archive {
    /// Fetches packages of a system, in this order, and does meanwhile what waits for them one by one.
    ///
    /// What `work` didn't wait for is given up once it is done, and its failure isn't told.
    pub fn while_fetching_of<R>(
        &self,
        system: &PinnedSystem,
        packages: &[&PinnedPackage],
        progress: &dyn Progress,
        work: impl FnOnce(&Arrivals<'_>) -> R,
    ) -> R {
        let packages: Vec<_> = packages.iter().map(|package| (*package).clone()).collect();
        self.while_fetching(system.list(&packages), progress, work)
    }

    /// Fetches the packages of a list in their order, and does meanwhile what waits for them one by one.
    pub(crate) fn while_fetching<R>(
        &self,
        mut list: PinnedBase,
        progress: &dyn Progress,
        work: impl FnOnce(&Arrivals<'_>) -> R,
    ) -> R {
        let mut seen = BTreeSet::new();
        list.packages
            .retain(|package| seen.insert(package.sha256.clone()));
        let threads = CONNECTIONS.min(list.packages.len());
        let arrivals = Arrivals {
            archive: self,
            list,
            progress,
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| arrivals.fetch());
            }
            // Also when it panics, as the threads are waited for.
            let _stop = Stop(&arrivals);
            work(&arrivals)
        })
    }
}

/// Begins no more downloads once the work has ended.
struct Stop<'a>(&'a Arrivals<'a>);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.state().stopped = true;
    }
}

impl Arrivals<'_> {
    /// Waits for a package; gives its file.
    ///
    /// # Errors
    /// When it can't be had, or when one before it couldn't.
    pub(crate) fn wait(&self, package: &PinnedPackage) -> Result<PathBuf, AssembleError> {
        let place = self
            .list
            .packages
            .iter()
            .position(|one| one.sha256 == package.sha256);
        let Some(place) = place else {
            // Not on the list: fetched where it is wanted.
            let archive = self.archive;
            let list = PinnedBase {
                packages: vec![package.clone()],
                ..self.list.clone()
            };
            return archive.bring(&list, package, self.progress);
        };
        let mut state = self.state();
        loop {
            if state.here.contains(&package.sha256) {
                return Ok(self.archive.deb_path(package));
            }
            let failure = state.failures.get_mut(&place).map(Option::take);
            if failure.is_some() || (state.stopped && state.begun <= place) {
                return Err(failure.flatten().unwrap_or_else(|| AssembleError::Store {
                    source: io::Error::other("another package could not be fetched"),
                }));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Fetches what comes next until all has been begun.
    fn fetch(&self) {
        loop {
            let mut state = self.state();
            let place = state.begun;
            let package = match self.list.packages.get(place) {
                Some(package) if !state.stopped => package,
                _ => return,
            };
            state.begun += 1;
            drop(state);
            let brought = self.archive.bring(&self.list, package, self.progress);
            let mut state = self.state();
            match brought {
                Ok(_) => {
                    state.here.insert(package.sha256.clone());
                }
                Err(failure) => {
                    state.failures.insert(place, Some(failure));
                    state.stopped = true;
                }
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Archive {
    /// A package's file, from the cache where it is whole there.
    fn bring(
        &self,
        list: &PinnedBase,
        package: &PinnedPackage,
        progress: &dyn Progress,
    ) -> Result<PathBuf, AssembleError> {
        let path = self.deb_path(package);
        let disk = |source| AssembleError::Store { source };
        if std::fs::metadata(&path).is_ok_and(|found| found.len() == package.size)
            && cached_file::open(&path, &package.sha256).map_err(disk)?.is_some()
        {
            return Ok(path);
        }
        // What is damaged on the disk is taken anew: the download takes its place.
        self.fetch(list, package, progress)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::SourcesConfig;
    use coil_fetch::{FetchSettings, Fetcher, NoProgress};
    use coil_store::{Store, StoreOptions};

    fn package(name: &str) -> PinnedPackage {
        PinnedPackage {
            name: name.into(),
            version: "1".into(),
            arch: "amd64".into(),
            sha256: Digest::of(name.as_bytes()),
            size: name.len() as u64,
            filename: format!("pool/{name}.deb"),
            archive: "debian".into(),
        }
    }

    fn system() -> PinnedSystem {
        PinnedSystem {
            suite: "bookworm".into(),
            arch: "amd64".into(),
            date: "20260711T101637Z".into(),
            published: 0,
            release: Digest::of(b""),
            base: Vec::new(),
            added: Vec::new(),
            relocated: Vec::new(),
        }
    }

    /// An archive whose network is switched off, with some packages in its cache.
    fn archive(folder: &std::path::Path, here: &[&PinnedPackage]) -> Archive {
        let store = Store::open(StoreOptions {
            root: folder.join("root"),
            downloads: None,
            boot_id: "boot".into(),
        });
        let settings = FetchSettings {
            offline: true,
            ..FetchSettings::default()
        };
        let archive = Archive::new(Fetcher::new(settings), store, SourcesConfig::default());
        for package in here {
            std::fs::write(archive.deb_path(package), &package.name).unwrap();
        }
        archive
    }

    #[test]
    fn each_is_waited_for_and_the_first_failure_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<PinnedPackage> = (0..40).map(|number| package(&format!("p{number}"))).collect();
        let list: Vec<&PinnedPackage> = all.iter().collect();
        let archive = archive(folder.path(), &list[..20]);
        std::fs::write(archive.deb_path(&all[7]), "p8").unwrap();
        let fetched = archive.while_fetching_of(&system(), &list, &NoProgress, |arrivals| {
            list.iter()
                .map(|package| arrivals.wait(package))
                .collect::<Vec<_>>()
        });
        for (number, result) in fetched.iter().enumerate() {
            match result {
                Ok(path) => assert!(number < 20 && number != 7 && path.is_file()),
                Err(error) if number == 7 => {
                    assert_eq!(error.to_string(), "cannot get the Debian package p7 1");
                }
                // Begun beside the one that failed, or not any more.
                Err(_) => assert!(number > 7),
            }
        }
        assert!(fetched[..7].iter().all(Result::is_ok) && fetched[7].is_err());
    }

    #[test]
    fn what_is_not_on_the_list_is_had_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (package("one"), package("two"));
        let archive = archive(folder.path(), &[&one, &two]);
        let paths = archive.while_fetching_of(&system(), &[&one, &one], &NoProgress, |arrivals| {
            [&one, &two].map(|package| arrivals.wait(package).unwrap())
        });
        assert_eq!(paths, [&one, &two].map(|package| archive.deb_path(package)));
    }
}
