//! A wheel's bytecode, kept in the store, so that no other project and no other grouping compiles it again.
//!
//! The files lie one after another in one blob, with a record that tells where. Large ones are deflated, ready to be
//! spliced into a layer; small ones are kept as they are, because a layer compresses those together with its headers.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;

use coil_oci::{Digest, Hasher};
use coil_store::Store;
use flate2::{Compress, Compression, Crc};
use serde::{Deserialize, Serialize};

use crate::archive::{Archive, ArchiveError, Method};
use crate::bytecode::{BytecodeError, Compiler, Interpreter, PycMode, SourceFile};
use crate::environment::Environment;
use crate::install::InstallPlan;
use crate::splice::deflate;

/// The folder of records in the store's cache.
const KIND: &str = "wheel-bytecode-v1";
/// Changes whenever the same sources would give other bytes.
const FORMAT: &str = "2";
/// Bytecode of this size in bytes and more is deflated on its own.
const DEFLATE_FROM: usize = 24 * 1024;
/// A group of sources ends when it has so many bytes, or so many files.
const GROUP_BYTES: u64 = 384 * 1024;
const GROUP_FILES: usize = 64;

/// The bytecode files of one wheel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PycSet {
    /// The blob that holds them.
    pub(crate) blob: Digest,
    /// The files, sorted by path.
    pub(crate) files: Vec<PycFile>,
    /// How many sources are no valid Python for this interpreter.
    pub(crate) skipped: u64,
}

/// One bytecode file in a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PycFile {
    pub(crate) path: String,
    pub(crate) offset: u64,
    pub(crate) compressed: u64,
    pub(crate) size: u64,
    pub(crate) crc32: u32,
    pub(crate) deflated: bool,
}

impl PycFile {
    pub(crate) fn method(&self) -> Method {
        if self.deflated {
            Method::Deflated
        } else {
            Method::Stored
        }
    }
}

impl PycSet {
    pub(crate) fn paths(&self) -> BTreeSet<String> {
        self.files.iter().map(|file| file.path.clone()).collect()
    }

    pub(crate) fn open(&self, store: &Store) -> std::io::Result<File> {
        File::open(store.blob_path(&self.blob))
    }
}

/// One compiled file before it has its place in the blob.
pub(crate) struct Compiled {
    path: String,
    bytes: Vec<u8>,
    size: u64,
    crc32: u32,
    deflated: bool,
}

/// Where a wheel's set is found in the cache.
pub(crate) fn key(wheel: &Digest, interpreter: &Interpreter, environment: &Environment) -> String {
    let mut hasher = Hasher::new();
    let site = environment.site_packages();
    for part in [
        FORMAT,
        wheel.hex(),
        &interpreter.version,
        &interpreter.identity,
        &site,
    ] {
        hasher.update(part.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finish().hex().to_owned()
}

/// The kept set, if its blob is there too.
pub(crate) fn load(store: &Store, key: &str) -> Option<PycSet> {
    let set: PycSet = serde_json::from_slice(&store.cache_get(KIND, key)?).ok()?;
    store.has_blob(&set.blob).then_some(set)
}

/// Keeps the compiled groups of a wheel.
pub(crate) fn keep(
    store: &Store,
    key: &str,
    mut compiled: Vec<Compiled>,
    skipped: u64,
) -> std::io::Result<PycSet> {
    compiled.sort_by(|left, right| left.path.cmp(&right.path));
    let mut writer = std::io::BufWriter::with_capacity(256 * 1024, store.blob_writer()?);
    let (mut files, mut offset) = (Vec::with_capacity(compiled.len()), 0);
    for Compiled {
        path,
        bytes,
        size,
        crc32,
        deflated,
    } in compiled
    {
        writer.write_all(&bytes)?;
        let compressed = bytes.len() as u64;
        files.push(PycFile {
            path,
            offset,
            compressed,
            size,
            crc32,
            deflated,
        });
        offset += compressed;
    }
    let (blob, _) = writer
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?
        .finish()?;
    let set = PycSet { blob, files, skipped };
    store.cache_put(
        KIND,
        key,
        &serde_json::to_vec(&set).map_err(std::io::Error::other)?,
    )?;
    Ok(set)
}

/// Cuts a wheel's sources into groups: runs of the sorted list, a rule that only the wheel decides.
pub(crate) fn groups(archive: &Archive, plan: &InstallPlan) -> Vec<Vec<(String, usize)>> {
    let mut groups = Vec::new();
    let (mut group, mut bytes) = (Vec::new(), 0);
    for (path, index) in &plan.sources {
        let size = archive.entries()[*index].size;
        if !group.is_empty() && (bytes + size > GROUP_BYTES || group.len() >= GROUP_FILES) {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes += size;
        group.push((path.clone(), *index));
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

/// Why a group could not be compiled.
#[derive(Debug)]
pub(crate) enum GroupError {
    Archive(ArchiveError),
    Bytecode(BytecodeError),
    Compress(std::io::Error),
}

/// Compiles one group; gives the files and how many were skipped.
pub(crate) fn compile_group(
    archive: &Archive,
    environment: &Environment,
    compiler: &mut Compiler,
    group: &[(String, usize)],
) -> Result<(Vec<Compiled>, u64), GroupError> {
    let mut files = Vec::with_capacity(group.len());
    for (path, index) in group {
        let entry = &archive.entries()[*index];
        let source = archive.read(entry, entry.size).map_err(GroupError::Archive)?;
        files.push(SourceFile {
            path: format!("/{path}"),
            source,
        });
    }
    let answers = compiler
        .compile(&files, PycMode::UncheckedHash)
        .map_err(GroupError::Bytecode)?;
    let mut engine = Compress::new(Compression::new(6), false);
    let (mut compiled, mut skipped) = (Vec::with_capacity(group.len()), 0);
    for ((source, _), answer) in group.iter().zip(answers) {
        let (Some(code), Some(path)) = (answer, environment.bytecode_path(source)) else {
            skipped += 1;
            continue;
        };
        let mut crc = Crc::new();
        crc.update(&code);
        let (size, deflated) = (code.len() as u64, code.len() >= DEFLATE_FROM);
        let bytes = match deflated {
            true => deflate(&mut engine, &code).map_err(GroupError::Compress)?,
            false => code,
        };
        compiled.push(Compiled {
            path,
            bytes,
            size,
            crc32: crc.sum(),
            deflated,
        });
    }
    Ok((compiled, skipped))
}
