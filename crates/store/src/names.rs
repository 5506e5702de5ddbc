//! References: one file a name, in `refs-v1`; those of stand-ins in `stand-ins-v1`, a space of their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use coil_oci::{Descriptor, Reference};
use serde::{Deserialize, Serialize};

use crate::{Store, StoreError, layout};

/// What stands in a reference's file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RefRecord {
    pub(crate) name: String,
    pub(crate) descriptor: Descriptor,
    /// The boot in which the image was written without a sync; none once it is known to be on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) boot: Option<String>,
    /// Seconds since 1970 when the name was given.
    pub(crate) tagged: u64,
}

/// A file name for a reference: letters that a path cannot hold are written as `%XX`.
fn file_name(reference: &Reference) -> String {
    let mut out = String::new();
    for byte in reference.canonical().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b':' | b'@' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Store {
    /// Gives an image a name; the name's image before, if any, keeps its other names only.
    ///
    /// `now` is in seconds since 1970. The image's blobs must be there. Atomic; idempotent but for the time.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn set_ref(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        now: u64,
    ) -> Result<(), StoreError> {
        self.set_record(layout::REFS, reference, descriptor, now)
    }

    fn record_path(&self, folder: &str, reference: &Reference) -> PathBuf {
        self.root().join(folder).join(file_name(reference))
    }

    fn set_record(
        &self,
        folder: &str,
        reference: &Reference,
        descriptor: &Descriptor,
        now: u64,
    ) -> Result<(), StoreError> {
        let record = RefRecord {
            name: reference.canonical(),
            descriptor: descriptor.clone(),
            boot: Some(self.boot_id().to_owned()),
            tagged: now,
        };
        self.write_ref(&self.record_path(folder, reference), &record)
    }

    pub(crate) fn write_ref(&self, path: &Path, record: &RefRecord) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(record).map_err(|error| StoreError::Io {
            doing: "writing a reference".into(),
            source: io::Error::other(error),
        })?;
        self.write_atomic(path, &bytes)
            .map_err(StoreError::io(format!("writing {}", path.display())))
    }

    pub(crate) fn read_ref(&self, reference: &Reference) -> Result<Option<(PathBuf, RefRecord)>, StoreError> {
        read_record(self.record_path(layout::REFS, reference))
    }

    pub(crate) fn read_stand_in(
        &self,
        reference: &Reference,
    ) -> Result<Option<(PathBuf, RefRecord)>, StoreError> {
        read_record(self.record_path(layout::STAND_INS, reference))
    }

    /// Lets an image stand in for the one that has this name elsewhere, until that one is here.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn set_stand_in(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        now: u64,
    ) -> Result<(), StoreError> {
        self.set_record(layout::STAND_INS, reference, descriptor, now)
    }

    /// What stands in for a name, if something does.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn get_stand_in(&self, reference: &Reference) -> Result<Option<Descriptor>, StoreError> {
        Ok(self
            .read_stand_in(reference)?
            .map(|(_, record)| record.descriptor))
    }

    /// Takes a stand-in away; false when there was none.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn remove_stand_in(&self, reference: &Reference) -> Result<bool, StoreError> {
        remove_record(&self.record_path(layout::STAND_INS, reference))
    }

    /// What a name stands for, if it is a name here.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn get_ref(&self, reference: &Reference) -> Result<Option<Descriptor>, StoreError> {
        Ok(self.read_ref(reference)?.map(|(_, record)| record.descriptor))
    }

    /// Takes a name away; false when there was none.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn remove_ref(&self, reference: &Reference) -> Result<bool, StoreError> {
        remove_record(&self.record_path(layout::REFS, reference))
    }

    /// Every name, sorted.
    pub(crate) fn all_refs(&self) -> Result<Vec<(Reference, RefRecord)>, StoreError> {
        self.records(layout::REFS)
    }

    /// Every stand-in's name, sorted.
    pub(crate) fn all_stand_ins(&self) -> Result<Vec<(Reference, RefRecord)>, StoreError> {
        self.records(layout::STAND_INS)
    }

    fn records(&self, folder: &str) -> Result<Vec<(Reference, RefRecord)>, StoreError> {
        let folder = self.root().join(folder);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(StoreError::Io {
                    doing: format!("reading {}", folder.display()),
                    source: error,
                });
            }
        };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let Ok(bytes) = fs::read(entry.path()) else {
                continue;
            };
            let Ok(record) = serde_json::from_slice::<RefRecord>(&bytes) else {
                continue;
            };
            if let Ok(reference) = Reference::parse(&record.name) {
                found.push((reference, record));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }
}

fn read_record(path: PathBuf) -> Result<Option<(PathBuf, RefRecord)>, StoreError> {
    match fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Some((path, record))),
            // Cut short by a power loss: the name is gone, the image can be made again.
            Err(_) => Ok(None),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::Io {
            doing: format!("reading {}", path.display()),
            source: error,
        }),
    }
}

fn remove_record(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::Io {
            doing: format!("removing {}", path.display()),
            source: error,
        }),
    }
}
