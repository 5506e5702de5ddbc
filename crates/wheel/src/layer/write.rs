//! Writes the layer of one group of wheels.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};

use coil_oci::tar::{BLOCK, Entry, header, padding};
use coil_store::{BlobWriter, Store};

use super::{LayerBlob, LayerError, LayerFault, LayerOptions, LayerPackage, Look, Onlooker, Opened};
use crate::archive::{ArchiveError, Inflater, Method, Span};
use crate::environment::Environment;
use crate::install::{FileSource, PlannedFile};
use crate::pyc_set::{PycFile, PycSet};
use crate::record::{RecordHash, RecordHasher};
use crate::splice::GzipSplicer;

/// Deflate streams of this many bytes and more are spliced.
const SPLICE_FROM: u64 = 8 * 1024;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A file of the layer: which wheel brings it, and from where.
struct Item<'a> {
    wheel: usize,
    source: ItemSource<'a>,
}

enum ItemSource<'a> {
    Planned(&'a PlannedFile),
    Bytecode(&'a PycSet, &'a PycFile),
    Made(Vec<u8>),
}

type Output = GzipSplicer<BufWriter<BlobWriter>>;

/// Writes one layer; `sets` holds the bytecode of each wheel.
pub(super) fn layer(
    store: &Store,
    wheels: &[Opened<'_>],
    sets: &[Option<PycSet>],
    options: &LayerOptions,
    onlooker: &dyn Onlooker,
) -> Result<LayerBlob, LayerError> {
    let store_fault = |source| LayerError {
        wheel: None,
        fault: LayerFault::Store(source),
    };
    let (items, conflicts) = gather(wheels, sets)?;
    let folders = folders(&items, wheels)?;
    let mut bytecode = Vec::with_capacity(sets.len());
    for set in sets {
        bytecode.push(
            set.as_ref()
                .map(|set| set.open(store))
                .transpose()
                .map_err(store_fault)?,
        );
    }
    let writer = BufWriter::with_capacity(256 * 1024, store.blob_writer().map_err(store_fault)?);
    let mut task = Task {
        out: GzipSplicer::new(writer),
        inflater: Inflater::new(),
        epoch: options.epoch,
        onlooker,
    };
    let mut folders = folders.iter().peekable();
    for (path, item) in &items {
        while let Some(folder) = folders.next_if(|folder| folder.as_str() < path.as_str()) {
            task.folder(folder).map_err(store_fault)?;
        }
        let wheel = &wheels[item.wheel];
        task.file(path, item, wheel, bytecode[item.wheel].as_ref())
            .map_err(|fault| LayerError {
                wheel: Some(wheel.wheel.filename.clone()),
                fault,
            })?;
    }
    for folder in folders {
        task.folder(folder).map_err(store_fault)?;
    }
    let (digest, size, spliced) = task.finish().map_err(store_fault)?;
    Ok(LayerBlob {
        digest,
        size,
        diff_id: spliced.diff_id,
        uncompressed_size: spliced.uncompressed_size,
        packages: wheels
            .iter()
            .zip(sets)
            .map(|(wheel, set)| package(wheel, set.as_ref(), &options.environment))
            .collect(),
        files: items.len() as u64,
        conflicts,
    })
}

fn package(opened: &Opened<'_>, set: Option<&PycSet>, environment: &Environment) -> LayerPackage {
    let bytecode = set.map_or(0, |set| set.files.len() as u64);
    let made: u64 = set.map_or(0, |set| set.files.iter().map(|file| file.size).sum());
    let files = &opened.plan.files;
    LayerPackage {
        name: opened.plan.name.clone(),
        version: opened.plan.version.clone(),
        filename: opened.wheel.filename.clone(),
        sha256: opened.wheel.sha256.clone(),
        files: files.len() as u64 + 1 + bytecode,
        size: files.values().filter_map(|file| file.line.size).sum::<u64>() + made,
        bytecode,
        claims: super::conflicts::claims(&opened.plan, environment),
    }
}

/// Brings the wheels' files together; where two bring the same path, the later wheel's stays.
fn gather<'a>(
    wheels: &'a [Opened<'_>],
    sets: &'a [Option<PycSet>],
) -> Result<(BTreeMap<String, Item<'a>>, Vec<String>), LayerError> {
    let mut items: BTreeMap<String, Item<'a>> = BTreeMap::new();
    let mut conflicts: Vec<String> = Vec::new();
    for (wheel, (opened, set)) in wheels.iter().zip(sets).enumerate() {
        let mut compiled = BTreeSet::new();
        if let Some(set) = set {
            compiled = set.paths();
        }
        let record = opened.plan.record(&compiled);
        let remarks = opened.plan.remarks.iter();
        conflicts.extend(remarks.map(|remark| format!("{}: {remark}", opened.plan.name)));
        let mut add = |path: String, source: ItemSource<'a>| {
            let new = Item { wheel, source };
            if let Some(old) = items.get(&path).filter(|old| old.wheel != wheel)
                && !same(old, &new)
            {
                let names = (&wheels[old.wheel].plan.name, &opened.plan.name);
                conflicts.push(super::conflicts::sentence(names.0, names.1, &path));
            }
            items.insert(path, new);
        };
        for (path, file) in &opened.plan.files {
            add(path.clone(), ItemSource::Planned(file));
        }
        if let Some(set) = set {
            for file in &set.files {
                add(file.path.clone(), ItemSource::Bytecode(set, file));
            }
        }
        add(opened.plan.record_path.clone(), ItemSource::Made(record));
    }
    Ok((items, conflicts))
}

/// Whether two wheels' files of one path have the same content, as far as their hashes tell.
fn same(old: &Item<'_>, new: &Item<'_>) -> bool {
    match (&old.source, &new.source) {
        (ItemSource::Planned(old), ItemSource::Planned(new)) => old.line == new.line,
        (ItemSource::Bytecode(_, old), ItemSource::Bytecode(_, new)) => {
            (old.crc32, old.size) == (new.crc32, new.size)
        }
        _ => false,
    }
}

/// Every folder that is named or stands above a file, none of which may be a file itself.
fn folders(
    items: &BTreeMap<String, Item<'_>>,
    wheels: &[Opened<'_>],
) -> Result<BTreeSet<String>, LayerError> {
    let mut folders: BTreeSet<String> = BTreeSet::new();
    let named = wheels.iter().flat_map(|wheel| &wheel.plan.folders);
    for folder in named {
        add_folder(&mut folders, items, folder)?;
    }
    for path in items.keys() {
        if let Some((folder, _)) = path.rsplit_once('/') {
            add_folder(&mut folders, items, folder)?;
        }
    }
    Ok(folders)
}

/// Adds a folder and those above it.
fn add_folder(
    folders: &mut BTreeSet<String>,
    items: &BTreeMap<String, Item<'_>>,
    folder: &str,
) -> Result<(), LayerError> {
    let mut rest = folder;
    while !folders.contains(rest) {
        if items.contains_key(rest) {
            let fault = LayerFault::FileAndFolder {
                path: format!("/{rest}"),
            };
            return Err(LayerError { wheel: None, fault });
        }
        folders.insert(rest.to_owned());
        match rest.rfind('/') {
            Some(cut) => rest = &rest[..cut],
            None => break,
        }
    }
    Ok(())
}

struct Task<'a> {
    out: Output,
    inflater: Inflater,
    epoch: u64,
    onlooker: &'a dyn Onlooker,
}

/// A file of a wheel, as RECORD tells and an onlooker sees it.
struct Told<'a> {
    wheel: &'a Opened<'a>,
    hash: Option<&'a RecordHash>,
}

impl Task<'_> {
    fn folder(&mut self, path: &str) -> std::io::Result<()> {
        self.out.own(&header(&Entry::directory(path, self.epoch)))
    }

    fn file(
        &mut self,
        path: &str,
        item: &Item<'_>,
        wheel: &Opened<'_>,
        bytecode: Option<&File>,
    ) -> Result<(), LayerFault> {
        match &item.source {
            ItemSource::Made(content) => self
                .content(path, wheel.plan.record_mode, content)
                .map_err(LayerFault::Store),
            ItemSource::Bytecode(set, file) => {
                let span = Span {
                    file: bytecode.expect("a wheel with bytecode has the blob that holds it"),
                    name: path,
                    method: file.method(),
                    offset: file.offset,
                    compressed: file.compressed,
                    size: file.size,
                    crc32: file.crc32,
                };
                self.span(path, 0o644, &span, None).map_err(|fault| match fault {
                    LayerFault::Archive(source) => LayerFault::Kept {
                        blob: set.blob.clone(),
                        source,
                    },
                    other => other,
                })
            }
            ItemSource::Planned(file) => match &file.source {
                FileSource::Bytes(content) => {
                    self.content(path, file.mode, content).map_err(LayerFault::Store)
                }
                FileSource::Entry(index) => {
                    let span = wheel.archive.span(&wheel.archive.entries()[*index]);
                    let hash = file.line.hash.as_ref();
                    self.span(path, file.mode, &span, Some(Told { wheel, hash }))
                }
            },
        }
    }

    fn content(&mut self, path: &str, mode: u32, content: &[u8]) -> std::io::Result<()> {
        let size = content.len() as u64;
        self.out
            .own(&header(&Entry::file(path, size, mode, self.epoch)))?;
        self.out.own(content)?;
        self.out.own(&ZEROS[..padding(size)])
    }

    /// Passes stored bytes on, inflating them once for the checksum, RECORD's hash and the layer's own.
    fn span(
        &mut self,
        path: &str,
        mode: u32,
        span: &Span<'_>,
        told: Option<Told<'_>>,
    ) -> Result<(), LayerFault> {
        let entry = Entry::file(path, span.size, mode, self.epoch);
        self.out.own(&header(&entry)).map_err(LayerFault::Store)?;
        let splice = span.method == Method::Deflated && span.compressed >= SPLICE_FROM;
        if splice {
            self.out.begin_splice().map_err(LayerFault::Store)?;
        }
        let hash = told.as_ref().and_then(|told| told.hash);
        let mut hasher = hash.map(|hash| RecordHasher::new(hash.algorithm));
        let (out, onlooker) = (&mut self.out, self.onlooker);
        let mut look: Option<Box<dyn Look + '_>> = None;
        let mut is_first = true;
        let result = self.inflater.run(span, &mut |raw, plain| {
            if let Some(hasher) = &mut hasher {
                hasher.update(plain);
            }
            if is_first && !plain.is_empty() {
                is_first = false;
                if let Some(told) = &told {
                    look = onlooker.look(told.wheel.wheel, span.name, span.size, plain);
                }
            }
            if let Some(look) = &mut look {
                look.bytes(plain);
            }
            if !splice {
                return out.own(plain);
            }
            out.plain(plain);
            out.raw(raw)
        });
        result.map_err(|error| match error {
            ArchiveError::Write(source) => LayerFault::Store(source),
            other => LayerFault::Archive(other),
        })?;
        if splice {
            self.out
                .end_splice(span.crc32, span.size)
                .map_err(LayerFault::Store)?;
        }
        if hasher.map(RecordHasher::finish).as_ref() != hash {
            return Err(LayerFault::Hash {
                file: format!("/{path}"),
            });
        }
        if let Some(look) = look {
            look.end();
        }
        self.out
            .own(&ZEROS[..padding(span.size)])
            .map_err(LayerFault::Store)
    }

    fn finish(mut self) -> std::io::Result<(coil_oci::Digest, u64, crate::splice::Spliced)> {
        self.out.own(&[0; 2 * BLOCK])?;
        let (mut writer, spliced) = self.out.finish()?;
        writer.flush()?;
        let (digest, size) = writer
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?
            .finish()?;
        Ok((digest, size, spliced))
    }
}
