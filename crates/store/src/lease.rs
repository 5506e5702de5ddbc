//! Leases: whoever reads or makes objects holds the lease file together with others; a collection holds it alone.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{FlockOperation, flock};

use crate::{Store, layout};

/// A lock on the store's objects; dropped, it is given back.
#[derive(Debug)]
pub struct Lease {
    _file: File,
}

impl Store {
    fn lease_file(&self) -> io::Result<File> {
        let path = self.root().join(layout::LEASE);
        let open = || {
            fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
        };
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                layout::make_folder(self.root())?;
                open()
            }
            other => other,
        }
    }

    /// Takes a lease for reading and making objects; waits while a collection runs.
    ///
    /// The first one in, finding itself alone, removes what a killed process left half-written.
    ///
    /// # Errors
    /// When the data root cannot be made or written.
    pub fn lease(&self) -> io::Result<Lease> {
        let file = self.lease_file()?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            self.clear_temporary();
        }
        flock(&file, FlockOperation::LockShared)?;
        Ok(Lease { _file: file })
    }

    /// Takes the lease alone, for a collection; `None` when others hold it.
    pub(crate) fn lease_alone(&self) -> io::Result<Option<Lease>> {
        let file = self.lease_file()?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lease { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn clear_temporary(&self) {
        let Ok(entries) = fs::read_dir(self.temp_dir()) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let _ = crate::collect::remove_tree(&path);
            } else {
                let _ = fs::remove_file(&path);
            }
        }
    }
}
