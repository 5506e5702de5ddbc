//! Reads the binary files of wheels: while their layers are made, and of the rest from the wheels themselves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use coil_elf::{Elf, ElfError, FileSource};
use coil_oci::Digest;
use coil_store::Store;
use coil_wheel::archive::{Archive, Inflater};
use coil_wheel::download::FetchedWheel;
use coil_wheel::facts;
use coil_wheel::layer::{LayerError, LayerFault, Look, Onlooker, WheelFile};

use crate::error::PackError;
use crate::library_check::{BinaryFile, WheelBinaries};

/// Records of wheels' binary files.
const KIND: &str = "wheel-libraries-v1";
/// A larger file is put on the disk to be read, not into memory.
const LARGE: u64 = 16 << 20;
/// What every ELF file begins with.
const MAGIC: &[u8] = b"\x7fELF";

/// What was seen in one wheel: by entry, none where a file is damaged or could not be kept.
type Seen = BTreeMap<String, Option<BinaryFile>>;

/// Sees the binary files of wheels while their layers are made, so that none is inflated a second time.
pub(crate) struct BinaryReader<'a> {
    store: &'a Store,
    seen: Mutex<BTreeMap<Digest, Seen>>,
}

impl<'a> BinaryReader<'a> {
    /// One that has seen nothing.
    pub(crate) fn new(store: &'a Store) -> BinaryReader<'a> {
        BinaryReader {
            store,
            seen: Mutex::default(),
        }
    }

    /// The binary files of all wheels: as seen, as kept, or read now.
    pub(crate) fn read_all(
        &self,
        wheels: &[FetchedWheel],
        threads: usize,
    ) -> Result<Vec<WheelBinaries>, PackError> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        let work = || {
            while let Some(wheel) = wheels.get(next.fetch_add(1, Ordering::Relaxed)) {
                let read = self.read_one(wheel);
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((wheel.filename.clone(), read));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(wheels.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by(|a, b| a.0.cmp(&b.0));
        done.into_iter()
            .map(|(_, read)| read.map_err(|error| PackError::Layer(Box::new(error))))
            .collect()
    }

    fn read_one(&self, fetched: &FetchedWheel) -> Result<WheelBinaries, LayerError> {
        let wheel = WheelFile {
            path: fetched.path.clone(),
            filename: fetched.filename.clone(),
            sha256: fetched.sha256.clone(),
            direct_url: None,
        };
        let mut parts = fetched.filename.split('-');
        let title = format!(
            "{} {}",
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default()
        );
        let facts = facts::facts(self.store, &wheel)?;
        let modules = facts.modules;
        let key = fetched.sha256.hex();
        let known = self.store.cache_get(KIND, key);
        if let Some(files) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(WheelBinaries {
                title,
                files,
                modules,
            });
        }
        let files = self.files(&wheel, &facts.elf)?;
        if let Ok(record) = serde_json::to_vec(&files) {
            // Without the record the files are only read again.
            let _ = self.store.cache_put(KIND, key, &record);
        }
        Ok(WheelBinaries {
            title,
            files,
            modules,
        })
    }

    /// The binary files of a wheel, of which `names` are the entries.
    fn files(&self, wheel: &WheelFile, names: &[String]) -> Result<Vec<BinaryFile>, LayerError> {
        let mut seen = {
            let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            all.remove(&wheel.sha256).unwrap_or_default()
        };
        let fail = |source| LayerError {
            wheel: Some(wheel.filename.clone()),
            fault: LayerFault::Archive(source),
        };
        let mut opened: Option<(Archive, Inflater)> = None;
        let mut files = Vec::new();
        for name in names {
            if let Some(file) = seen.remove(name) {
                files.extend(file);
                continue;
            }
            let (archive, inflater) = match &mut opened {
                Some(opened) => opened,
                none => none.insert((Archive::open(&wheel.path).map_err(fail)?, Inflater::new())),
            };
            let Some(entry) = archive.find(name) else { continue };
            let mut copy = Copy::new(self.store, entry.size);
            archive
                .stream(entry, inflater, &mut |_, plain| {
                    copy.write(plain);
                    Ok(())
                })
                .map_err(fail)?;
            // A file that is damaged, or can't be put on the disk, is not judged.
            files.extend(copy.read().ok().map(|elf| BinaryFile::new(name, elf)));
        }
        Ok(files)
    }
}

impl Onlooker for BinaryReader<'_> {
    fn look(&self, wheel: &WheelFile, entry: &str, size: u64, start: &[u8]) -> Option<Box<dyn Look + '_>> {
        start.starts_with(MAGIC).then(|| -> Box<dyn Look + '_> {
            Box::new(Looking {
                reader: self,
                wheel: wheel.sha256.clone(),
                entry: entry.to_owned(),
                copy: Copy::new(self.store, size),
            })
        })
    }
}

/// One binary file while it goes into a layer.
struct Looking<'a> {
    reader: &'a BinaryReader<'a>,
    wheel: Digest,
    entry: String,
    copy: Copy,
}

impl Look for Looking<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.copy.write(bytes);
    }

    fn end(self: Box<Self>) {
        let Looking {
            reader,
            wheel,
            entry,
            copy,
        } = *self;
        let file = copy.read().ok().map(|elf| BinaryFile::new(&entry, elf));
        let mut seen = reader.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(wheel).or_default().insert(entry, file);
    }
}

/// A file's bytes while they are looked at.
enum Copy {
    Memory(Vec<u8>),
    Disk(Option<File>),
}

impl Copy {
    fn new(store: &Store, size: u64) -> Copy {
        if size <= LARGE {
            return Copy::Memory(Vec::with_capacity(usize::try_from(size).unwrap_or(0)));
        }
        let file = store.temp_path().and_then(|path| {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).open(&path)?;
            // It goes away with whoever holds it.
            fs::remove_file(&path)?;
            Ok(file)
        });
        Copy::Disk(file.ok())
    }

    fn write(&mut self, bytes: &[u8]) {
        match self {
            Copy::Memory(all) => all.extend_from_slice(bytes),
            Copy::Disk(file) => {
                if file.as_mut().is_some_and(|file| file.write_all(bytes).is_err()) {
                    *file = None;
                }
            }
        }
    }

    fn read(self) -> Result<Elf, ElfError> {
        match self {
            Copy::Memory(bytes) => coil_elf::read(&mut bytes.as_slice()),
            Copy::Disk(Some(file)) => coil_elf::read(&mut FileSource::new(file).map_err(ElfError::Disk)?),
            Copy::Disk(None) => Err(ElfError::Damaged("it could not be kept")),
        }
    }
}
