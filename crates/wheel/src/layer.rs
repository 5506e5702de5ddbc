//! Wheels become layers: one deterministic gzip blob for each group, with the wheels' own deflate streams in it.
//!
//! Each file is spliced or compressed again by one rule that only the file decides: a deflate stream of 8 KiB and more is
//! taken as it is; whatever is smaller goes, with the tar headers, into members compressed here. Large files, which are
//! nearly all of the bytes, so cost no compression, and thousands of tiny ones don't pay for a header member each
//! (spliced throughout, Django's layer would be 60 % larger).

mod conflicts;
mod error;
mod onlooker;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use coil_fetch::Progress;
use coil_oci::{Digest, Hasher};
use coil_store::Store;
use serde::{Deserialize, Serialize};

use crate::archive::Archive;
use crate::bytecode::{Compiler, Interpreter};
use crate::environment::Environment;
use crate::facts;
use crate::install::{self, InstallPlan};
use crate::pyc_set::{self, Compiled, GroupError, PycSet};

pub use error::{LayerError, LayerFault};
pub use onlooker::{Look, Onlooker};

/// The folder of records in the store's cache.
const KIND: &str = "wheel-layer-v2";
/// Changes whenever the same wheels would give another layer.
const FORMAT: &str = "2";

/// A wheel on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its file name, which tells name and version.
    pub filename: String,
    /// Its digest, known or verified by whoever fetched it.
    pub sha256: Digest,
    /// The text of direct_url.json, where the wheel was asked for by its address (PEP 610).
    pub direct_url: Option<String>,
}

/// How layers are made.
#[derive(Debug, Clone)]
pub struct LayerOptions {
    /// Where the wheels go.
    pub environment: Environment,
    /// What compiles bytecode; none leaves it out.
    pub interpreter: Option<Interpreter>,
    /// The time of every file, in seconds since 1970.
    pub epoch: u64,
    /// How many threads work, each with an interpreter of its own.
    pub threads: usize,
}

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBlob {
    /// The compressed blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of the tar archive in it.
    pub diff_id: Digest,
    /// The size of the tar archive in bytes.
    pub uncompressed_size: u64,
    /// What it holds, in the order given.
    pub packages: Vec<LayerPackage>,
    /// How many files it holds.
    pub files: u64,
    /// Files that two wheels of the image bring with different content, and what is odd about a wheel: one sentence each.
    pub conflicts: Vec<String>,
}

/// A distribution in a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPackage {
    /// Its name as its metadata writes it.
    pub name: String,
    /// Its version as its metadata writes it.
    pub version: String,
    /// The wheel's file name.
    pub filename: String,
    /// The wheel's digest.
    pub sha256: Digest,
    /// How many files it brings, bytecode included.
    pub files: u64,
    /// The size of these files in bytes.
    pub size: u64,
    /// How many bytecode files were made.
    pub bytecode: u64,
    /// The beginnings of its paths: only packages that share one can bring the same file.
    pub claims: Vec<String>,
}

/// Makes one layer of each group of wheels, or finds it in the cache.
///
/// The same wheels, environment, interpreter and epoch give the same bytes, whatever `threads` is. Where two wheels bring a
/// file with different content, the later layer's stands in the image, and that layer's `conflicts` say so.
pub fn build_layers(
    store: &Store,
    groups: &[Vec<WheelFile>],
    options: &LayerOptions,
    progress: &dyn Progress,
) -> Result<Vec<LayerBlob>, LayerError> {
    build_layers_before(store, groups, options, progress, &())
}

/// Makes layers as [`build_layers`] does, and shows what goes into new ones to an onlooker.
pub fn build_layers_before(
    store: &Store,
    groups: &[Vec<WheelFile>],
    options: &LayerOptions,
    progress: &dyn Progress,
    onlooker: &dyn Onlooker,
) -> Result<Vec<LayerBlob>, LayerError> {
    let keys: Vec<String> = groups.iter().map(|group| key(group, options)).collect();
    let mut layers: Vec<Option<LayerBlob>> = keys.iter().map(|key| load(store, key)).collect();
    let missing: Vec<usize> = (0..groups.len())
        .filter(|index| layers[*index].is_none())
        .collect();
    if !missing.is_empty() {
        let total = missing.len() as u64;
        progress.begin("layers", Some(total));
        let mut result = build_missing(store, groups, &missing, options, progress, onlooker);
        // A crash of the machine can leave kept bytecode damaged: it goes, and is made again, once for each wheel.
        for _ in groups.iter().flatten() {
            let Err(LayerError {
                fault: LayerFault::Kept { blob, .. },
                ..
            }) = &result
            else {
                break;
            };
            if std::fs::remove_file(store.blob_path(blob)).is_err() {
                break;
            }
            result = build_missing(store, groups, &missing, options, progress, onlooker);
        }
        progress.end("layers");
        for (index, layer) in missing.into_iter().zip(result?) {
            let fail = |source| LayerError {
                wheel: None,
                fault: LayerFault::Store(source),
            };
            let record = serde_json::to_vec(&layer)
                .map_err(std::io::Error::other)
                .map_err(fail)?;
            store.cache_put(KIND, &keys[index], &record).map_err(fail)?;
            layers[index] = Some(layer);
        }
    }
    let mut layers: Vec<LayerBlob> = layers.into_iter().flatten().collect();
    conflicts::between(store, groups, &keys, &mut layers, options)?;
    Ok(layers)
}

fn load(store: &Store, key: &str) -> Option<LayerBlob> {
    let layer: LayerBlob = serde_json::from_slice(&store.cache_get(KIND, key)?).ok()?;
    store.has_blob(&layer.digest).then_some(layer)
}

/// Where a group's layer is found in the cache.
fn key(group: &[WheelFile], options: &LayerOptions) -> String {
    let mut hasher = Hasher::new();
    let mut part = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    part(FORMAT);
    part(&options.environment.prefix);
    part(&options.environment.python);
    part(&options.epoch.to_string());
    match &options.interpreter {
        Some(interpreter) => {
            part(&interpreter.version);
            part(&interpreter.identity);
        }
        None => part("no bytecode"),
    }
    for wheel in group {
        part(wheel.sha256.hex());
        part(&wheel.filename);
        part(wheel.direct_url.as_deref().unwrap_or_default());
    }
    hasher.finish().hex().to_owned()
}

/// A wheel opened, checked and planned.
struct Opened<'a> {
    wheel: &'a WheelFile,
    archive: Archive,
    plan: InstallPlan,
}

fn build_missing(
    store: &Store,
    groups: &[Vec<WheelFile>],
    missing: &[usize],
    options: &LayerOptions,
    progress: &dyn Progress,
    onlooker: &dyn Onlooker,
) -> Result<Vec<LayerBlob>, LayerError> {
    let wheels: Vec<&WheelFile> = missing.iter().flat_map(|index| &groups[*index]).collect();
    let opened = parallel(
        options.threads,
        wheels.len(),
        || (),
        |(), index| open(store, wheels[index], options),
    )?;
    let sets = match &options.interpreter {
        Some(interpreter) => compile(store, &opened, options, interpreter)?
            .into_iter()
            .map(Some)
            .collect(),
        None => vec![None; opened.len()],
    };
    // The largest layers begin first, so that no thread is left alone with one at the end.
    let mut jobs = Vec::new();
    let mut start = 0;
    for (place, index) in missing.iter().enumerate() {
        let range = start..start + groups[*index].len();
        start = range.end;
        let bytes: u64 = opened[range.clone()]
            .iter()
            .flat_map(|wheel| wheel.archive.entries())
            .map(|e| e.size)
            .sum();
        jobs.push((std::cmp::Reverse(bytes), place, range));
    }
    jobs.sort_by_key(|(bytes, place, _)| (*bytes, *place));
    let built = parallel(
        options.threads,
        jobs.len(),
        || (),
        |(), job| {
            let (_, place, range) = &jobs[job];
            let (wheels, sets) = (&opened[range.clone()], &sets[range.clone()]);
            let layer = write::layer(store, wheels, sets, options, onlooker)?;
            progress.advance("layers", 1);
            Ok((*place, layer))
        },
    )?;
    let built: BTreeMap<usize, LayerBlob> = built.into_iter().collect();
    Ok(built.into_values().collect())
}

fn open<'a>(store: &Store, wheel: &'a WheelFile, options: &LayerOptions) -> Result<Opened<'a>, LayerError> {
    let fail = |fault| LayerError {
        wheel: Some(wheel.filename.clone()),
        fault,
    };
    let archive = Archive::open(&wheel.path).map_err(|source| fail(LayerFault::Archive(source)))?;
    let plan = install::plan(
        &archive,
        &wheel.filename,
        &options.environment,
        wheel.direct_url.as_deref(),
    )
    .map_err(|source| fail(LayerFault::Install(source)))?;
    // They are asked for soon, and the directory has just been read.
    facts::of_opened(store, wheel, &archive)?;
    Ok(Opened { wheel, archive, plan })
}

/// What is known of a wheel's bytecode while its groups are compiled.
struct Pending {
    left: usize,
    skipped: u64,
    compiled: Vec<Compiled>,
    set: Option<PycSet>,
}

/// Finds or makes the bytecode of every wheel.
fn compile(
    store: &Store,
    opened: &[Opened<'_>],
    options: &LayerOptions,
    interpreter: &Interpreter,
) -> Result<Vec<PycSet>, LayerError> {
    let keys: Vec<String> = opened
        .iter()
        .map(|wheel| pyc_set::key(&wheel.wheel.sha256, interpreter, &options.environment))
        .collect();
    let fail = |wheel: usize, fault| LayerError {
        wheel: Some(opened[wheel].wheel.filename.clone()),
        fault,
    };
    let mut jobs = Vec::new();
    let mut pending = Vec::with_capacity(opened.len());
    for (wheel, key) in keys.iter().enumerate() {
        let mut state = Pending {
            left: 0,
            skipped: 0,
            compiled: Vec::new(),
            set: pyc_set::load(store, key),
        };
        if state.set.is_none() {
            let groups = pyc_set::groups(&opened[wheel].archive, &opened[wheel].plan);
            state.left = groups.len();
            if groups.is_empty() {
                let set = pyc_set::keep(store, key, Vec::new(), 0);
                state.set = Some(set.map_err(|source| fail(wheel, LayerFault::Store(source)))?);
            }
            jobs.extend(groups.into_iter().map(|group| (wheel, group)));
        }
        pending.push(Mutex::new(state));
    }
    parallel(
        options.threads,
        jobs.len(),
        || None,
        |compiler: &mut Option<Compiler>, job| {
            let (wheel, group) = &jobs[job];
            let fail = |fault| fail(*wheel, fault);
            let compiler = match compiler {
                Some(compiler) => compiler,
                none => none.insert(
                    Compiler::start(interpreter).map_err(|source| fail(LayerFault::Bytecode(source)))?,
                ),
            };
            let result =
                pyc_set::compile_group(&opened[*wheel].archive, &options.environment, compiler, group);
            let (compiled, skipped) = result.map_err(|error| {
                fail(match error {
                    GroupError::Archive(source) => LayerFault::Archive(source),
                    GroupError::Bytecode(source) => LayerFault::Bytecode(source),
                    GroupError::Compress(source) => LayerFault::Store(source),
                })
            })?;
            let mut state = pending[*wheel]
                .lock()
                .expect("no thread panics while it holds a wheel's state");
            state.compiled.extend(compiled);
            state.skipped += skipped;
            state.left -= 1;
            if state.left == 0 {
                let compiled = std::mem::take(&mut state.compiled);
                let set = pyc_set::keep(store, &keys[*wheel], compiled, state.skipped);
                state.set = Some(set.map_err(|source| fail(LayerFault::Store(source)))?);
            }
            Ok(())
        },
    )?;
    let finished = pending.into_iter().map(|state| {
        let state = state
            .into_inner()
            .expect("no thread panics while it holds a wheel's state");
        state.set.expect("every group of the wheel was compiled")
    });
    Ok(finished.collect())
}

/// Does `count` jobs on up to `threads` threads; the results are in the jobs' order, the first failed job's error wins.
///
/// `prepare` makes what a thread keeps from job to job.
pub(crate) fn parallel<State, T: Send, E: Send>(
    threads: usize,
    count: usize,
    prepare: impl Fn() -> State + Sync,
    work: impl Fn(&mut State, usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let run = || {
        let mut state = prepare();
        let mut done = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            let result = work(&mut state, index);
            if result.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            done.push((index, result));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        for thread in others {
            match thread.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
