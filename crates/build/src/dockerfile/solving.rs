//! A build from its text to the image: the graph is run, steps are found in the cache or made, the image is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use coil_dockerfile::ignore::{Matcher, clean};
use coil_dockerfile::{Fault, MountKind, Span};
use coil_oci::{Descriptor, Digest, Platform, media_type, timestamp};
use coil_plan::Vertex;
use serde::{Deserialize, Serialize};

use super::cache_files::ImportedCache;
use super::copy_plan::{Planned, shared_names};
use super::copying::{CopyOp, CopySource, From, Named};
use super::debugging::Around;
use super::file_digests::FileDigests;
use super::lowering::{Lowering, Op, PlannedStep};
use super::ownership::{OwnerError, owner};
use super::running::SharedLayers;
use super::tree::Tree;
use super::{
    BuildError, BuildRequest, Builder, Built, FileTimes, Material, NamedContext, Provenance, provenance_steps,
};
use crate::solver::solve;

/// Records of steps; raised when the same step gives other bytes than before.
pub(super) const STEPS: &str = "dockerfile-step-v3";

/// The layers of a step, the lowest first.
pub(crate) type Layers = SharedLayers;

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuiltLayer {
    pub(crate) blob: Descriptor,
    pub(crate) diff_id: Digest,
    /// When it was made, where that is known.
    pub(crate) created: Option<String>,
}

/// Runs one build's graph.
pub(crate) struct Solver<'a> {
    pub(crate) builder: &'a Builder<'a>,
    pub(crate) request: &'a BuildRequest,
    scratch: Scratch<'a>,
    counter: AtomicUsize,
    cached: AtomicUsize,
    pub(super) files: FileDigests<'a>,
    /// Records that others have kept.
    imported: ImportedCache,
    /// The keys of records that this build rests on.
    used: Mutex<BTreeSet<String>>,
    /// What its steps fetched.
    pub(super) downloads: Mutex<BTreeSet<Material>>,
    /// What a shell beside each step has, by the step's number.
    pub(super) around: BTreeMap<usize, Around>,
    /// What the steps ask of the context: paths without a slash at their start, perhaps with wildcards.
    pub(super) of_context: Vec<String>,
}

/// A folder that goes with the build.
struct Scratch<'a> {
    builder: &'a Builder<'a>,
    folder: PathBuf,
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if self.folder.exists() {
            let _ = self.builder.store.remove_folder(&self.folder);
        }
    }
}

impl Builder<'_> {
    /// Builds an image; it has no name yet. The caller holds a lease until it has one.
    ///
    /// # Errors
    /// See [`BuildError`]; what was built till then is found by the next build.
    pub fn build(&self, request: &BuildRequest) -> Result<Built, BuildError> {
        let file = self.parsed(request)?;
        let target = self.target(&file, request)?;
        let mut lowering = Lowering::new(self, request, &file, target)?;
        for index in lowering.needed(target) {
            lowering.stage(index)?;
        }
        let notes = self.unused(request, &lowering);
        let begun = Instant::now();
        let mut provenance = Provenance::begun(request, &lowering, self.now);
        let steps = lowering.graph.vertices().iter();
        self.events
            .planned(steps.filter(|step| !matches!(step.op.op, Op::Scratch)).count());
        let Lowering {
            graph,
            mut stages,
            around,
            ..
        } = lowering;
        let folder = self
            .store
            .temp_path()
            .map_err(BuildError::io("making a temporary folder"))?;
        let solver = Solver {
            builder: self,
            request,
            scratch: Scratch {
                builder: self,
                folder,
            },
            counter: AtomicUsize::new(0),
            cached: AtomicUsize::new(0),
            files: FileDigests::read(self.store, request.context.as_deref(), self.now),
            imported: ImportedCache::read(self, request),
            used: Mutex::default(),
            downloads: Mutex::default(),
            around,
            of_context: graph
                .vertices()
                .iter()
                .flat_map(|vertex| of_context(&vertex.op.op))
                .collect(),
        };
        let results = solve(&graph, self.threads, |vertex, inputs| {
            solver.vertex(vertex, inputs)
        });
        solver.files.keep();
        let results = results?;
        let Some(lowered) = stages.remove(&target) else {
            return Err(BuildError::fault(Span::new(1, 1), "the stage was not built"));
        };
        let layers = results[lowered.vertex.index()].clone();
        let mut state = lowered.state;
        state.config.config.labels.extend(request.labels.clone());
        let now = solver.created();
        let made: Vec<Option<String>> = {
            let below = layers.len()
                - state
                    .history
                    .iter()
                    .filter(|(_, layer)| *layer)
                    .count()
                    .min(layers.len());
            layers[below..]
                .iter()
                .map(|layer| match request.epoch {
                    // A layer of an earlier build has another time.
                    Some(_) => Some(now.clone()),
                    None => layer.created.clone(),
                })
                .collect()
        };
        state.config.history = state.finished_history(&made, &now);
        let last = state
            .config
            .history
            .last()
            .and_then(|entry| entry.created.clone());
        state.config.created = Some(match request.epoch {
            Some(_) => now,
            None => last.unwrap_or(now),
        });
        state.config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let records: Vec<String> = taken(&solver.used).into_iter().collect();
        if request.inline_cache {
            self.keep_inside(&mut state.config, &records);
        }
        let (descriptor, id) = self
            .write_image(&state.config, &layers, request)
            .map_err(BuildError::io("writing the image"))?;
        provenance.steps = provenance_steps::told(graph.vertices(), &results);
        provenance.ended(taken(&solver.downloads), begun.elapsed(), request.epoch);
        Ok(Built {
            descriptor,
            id,
            steps: (graph.vertices().len(), solver.cached.load(Ordering::Relaxed)),
            notes,
            records,
            provenance,
        })
    }

    fn write_image(
        &self,
        config: &coil_oci::ImageConfig,
        layers: &[BuiltLayer],
        request: &BuildRequest,
    ) -> io::Result<(Descriptor, Digest)> {
        let layers = layers.iter().map(|layer| layer.blob.clone()).collect();
        let (mut descriptor, manifest) = self
            .store
            .put_image(config, layers, request.annotations.clone())?;
        descriptor.platform = Some(Platform::linux(request.arch));
        Ok((descriptor, manifest.config.digest))
    }
}

impl Solver<'_> {
    fn vertex(&self, vertex: &Vertex<PlannedStep>, inputs: &[Layers]) -> Result<Layers, BuildError> {
        let step = &vertex.op;
        let below = inputs.first().cloned().unwrap_or_default();
        let events = self.builder.events;
        let made = match &step.op {
            Op::Scratch => return Ok(Layers::default()),
            Op::Image(layers) => {
                events.cached(step.number, &vertex.name);
                self.cached.fetch_add(1, Ordering::Relaxed);
                return Ok(Arc::new(layers.clone()));
            }
            Op::Copy(op) => self.copy_step(vertex, op, inputs),
            Op::Folder { path, owner } => self.folder_step(vertex, path, owner, &below),
            Op::Run(op) => self.run_key(op, inputs, step.span).and_then(|key| {
                self.step(vertex, &key, || {
                    self.run(step.number, &vertex.name, op, inputs, step.span)
                })
            }),
        };
        match made {
            Ok(layer) => {
                let mut layers = below.as_ref().clone();
                layers.push(layer);
                Ok(Arc::new(layers))
            }
            Err(error) => {
                events.failed(step.number, &vertex.name, &error.to_string());
                // A program that failed has been looked into with all its mounts.
                if !matches!(error, BuildError::Step { .. }) {
                    self.look_into(step.number, &vertex.name, &below, &error);
                }
                Err(error)
            }
        }
    }

    /// A step by what it is made of: found, or made and remembered.
    fn step(
        &self,
        vertex: &Vertex<PlannedStep>,
        key: &str,
        make: impl FnOnce() -> Result<BuiltLayer, BuildError>,
    ) -> Result<BuiltLayer, BuildError> {
        let (number, name) = (vertex.op.number, &vertex.name);
        let key = Digest::of(format!("{}{key}", self.times_key()).as_bytes());
        if vertex.op.cached
            && let Some(layer) = self.known(key.hex())
        {
            self.cached.fetch_add(1, Ordering::Relaxed);
            self.builder.events.cached(number, name);
            return Ok(layer);
        }
        self.builder.events.begin(number, name);
        // Two builds at once make the same step one after the other: the second one finds it.
        let turn = match vertex.op.cached {
            true => Some(
                self.turn(key.hex())
                    .map_err(BuildError::io("waiting for another build"))?,
            ),
            false => None,
        };
        if let Some(layer) = turn
            .as_ref()
            .filter(|turn| turn.waited)
            .and_then(|_| self.known(key.hex()))
        {
            self.cached.fetch_add(1, Ordering::Relaxed);
            self.builder.events.done(number);
            return Ok(layer);
        }
        let layer = make()?;
        self.remember(key.hex(), &layer, name)?;
        self.builder.events.done(number);
        Ok(layer)
    }

    fn known(&self, key: &str) -> Option<BuiltLayer> {
        let store = self.builder.store;
        let own = store
            .cache_get(STEPS, key)
            .and_then(|bytes| serde_json::from_slice::<BuiltLayer>(&bytes).ok())
            .filter(|layer| store.has_blob(&layer.blob.digest));
        let found = own.or_else(|| {
            let layer = self.imported.get(store, key)?;
            self.remember(key, &layer, "imported").ok()?;
            Some(layer)
        });
        if found.is_some() {
            self.use_key(key);
        }
        found
    }

    /// Notes what a step fetched.
    pub(super) fn downloaded(&self, material: Material) {
        let mut all = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(material);
    }

    /// A record that this build rests on.
    fn use_key(&self, key: &str) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(key.to_owned());
    }

    /// Keeps a step's layer under its key, with the step's name for lists of the cache.
    fn remember(&self, key: &str, layer: &BuiltLayer, step: &str) -> Result<(), BuildError> {
        let mut record = serde_json::to_value(layer).unwrap_or_default();
        record["step"] = step.into();
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        self.use_key(key);
        self.builder
            .store
            .cache_put(STEPS, key, &bytes)
            .map_err(BuildError::io("keeping a record of a step"))
    }

    /// Something that is made of a key alone: found, or made and remembered.
    pub(crate) fn remembered(
        &self,
        kind: &str,
        key: &str,
        make: impl FnOnce() -> Result<BuiltLayer, BuildError>,
    ) -> Result<BuiltLayer, BuildError> {
        let key = Digest::of(format!("{kind} {key}").as_bytes());
        if let Some(layer) = self.known(key.hex()) {
            return Ok(layer);
        }
        let layer = make()?;
        self.remember(key.hex(), &layer, kind)?;
        Ok(layer)
    }

    fn copy_step(
        &self,
        vertex: &Vertex<PlannedStep>,
        op: &CopyOp,
        inputs: &[Layers],
    ) -> Result<BuiltLayer, BuildError> {
        let step = &vertex.op;
        let below = inputs.first().cloned().unwrap_or_default();
        let mut text = format!("copy {:?} {:?} {:?}", op.destination, op.chown, op.chmod);
        text.push_str(&format!(
            " {} {} {:?} {:?}\n",
            op.link, op.parents, op.exclude, op.unpack
        ));
        let mut named: Option<Vec<Named>> = None;
        match (&op.from, inputs.get(1)) {
            (From::Input, Some(source)) => {
                text.push_str(&format!("{:?}\n", op.sources));
                source
                    .iter()
                    .for_each(|layer| text.push_str(&format!("from {}\n", layer.diff_id)));
            }
            _ => {
                let all = self.copy_named(op, inputs, step.span)?;
                let digest = self
                    .content_digest(&all)
                    .map_err(BuildError::io("reading what is copied"))?;
                text.push_str(&format!("content {digest}\n"));
                named = Some(all);
            }
        }
        let whole: String = below.iter().map(|layer| format!("{}\n", layer.diff_id)).collect();
        self.step(vertex, &format!("{text}below\n{whole}"), || {
            let all = match named {
                Some(all) => all,
                None => self.copy_named(op, inputs, step.span)?,
            };
            let tree = Tree::layers(self.snapshots(&below)?);
            let entries = self.planned(op, &all, &tree, step.span)?;
            // The same files at the same place make the same layer, whatever lies below.
            let content = self
                .content_digest(&all)
                .map_err(BuildError::io("reading what is copied"))?;
            let key = format!("{}{content}\n{}", self.times_key(), identity(&entries));
            let make = || self.layer_of(&entries);
            match step.cached {
                true => self.remembered("copied", &key, make),
                false => make(),
            }
        })
    }

    fn copy_named(&self, op: &CopyOp, inputs: &[Layers], span: Span) -> Result<Vec<Named>, BuildError> {
        let tree = match (&op.from, inputs.get(1)) {
            (From::Input, Some(layers)) if layers.is_empty() => self.nothing()?,
            (From::Input, Some(layers)) => Tree::layers(self.snapshots(layers)?),
            (From::Context(name), _) => self.context(name.as_deref())?,
            (From::Input, None) => self.nothing()?,
        };
        self.named(op, &tree, span)
    }

    /// A stage without layers has a root all the same.
    fn nothing(&self) -> Result<Tree, BuildError> {
        let folder = self
            .scratch("nothing")
            .and_then(|folder| fs::create_dir(&folder).map(|()| folder));
        let folder = folder.map_err(BuildError::io("making an empty folder"))?;
        Ok(Tree::Layers(vec![folder]))
    }

    fn layer_of(&self, entries: &BTreeMap<String, Planned>) -> Result<BuiltLayer, BuildError> {
        let (digest, size) = self
            .write_entries(entries)
            .map_err(BuildError::io("writing a layer"))?;
        Ok(BuiltLayer {
            blob: Descriptor::new(media_type::LAYER_TAR, digest.clone(), size),
            diff_id: digest,
            created: Some(self.created()),
        })
    }

    fn folder_step(
        &self,
        vertex: &Vertex<PlannedStep>,
        path: &str,
        user: &str,
        below: &Layers,
    ) -> Result<BuiltLayer, BuildError> {
        let whole: String = below.iter().map(|layer| format!("{}\n", layer.diff_id)).collect();
        self.step(vertex, &format!("folder {path} {user}\n{whole}"), || {
            let tree = Tree::layers(self.snapshots(below)?);
            let doing = || BuildError::io(format!("making {path}"));
            let (real, item) = match tree.resolve(path, true) {
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    return Err(BuildError::fault(
                        vertex.op.span,
                        format!("mkdir {path}: not a directory: {error}"),
                    ));
                }
                other => other.map_err(doing())?,
            };
            let mut entries = BTreeMap::new();
            match item {
                Some(item) if !item.meta.is_dir() => {
                    let text = format!("mkdir {path}: not a directory");
                    return Err(BuildError::fault(vertex.op.span, text));
                }
                Some(_) => {}
                None => {
                    let ids = owner_of_folder(user, &tree).map_err(|message| {
                        let text = format!("mkdir {path} for {user}: {message} in this stage");
                        Fault::new(vertex.op.span, text).help(
                            "nothing knows names in an empty stage: give USER numbers, such as 1000:1000",
                        )
                    })?;
                    entries = self.folder_entries(&real, &tree, ids).map_err(doing())?;
                }
            }
            self.layer_of(&entries)
        })
    }

    /// A context's files.
    pub(crate) fn context(&self, name: Option<&str>) -> Result<Tree, BuildError> {
        let none = Matcher::default();
        match name {
            Some(name) => match self.request.contexts.get(name) {
                Some(NamedContext::Folder(root)) => Ok(Tree::Folder {
                    root: root.clone(),
                    ignored: none,
                }),
                _ => Ok(Tree::Layers(Vec::new())),
            },
            None => match &self.request.context {
                Some(root) => Ok(Tree::Folder {
                    root: root.clone(),
                    ignored: Matcher::new(&self.request.ignored.0).map_err(|error| {
                        BuildError::from(
                            Fault::new(Span::new(1, 1), format!("{}: {error}", self.request.ignored.1))
                                .help("a pattern is a path with `*`, `?`, `[…]` and `**`; a `!` before one keeps what it fits"),
                        )
                    })?,
                }),
                None => {
                    let doing = || BuildError::io("making an empty context");
                    let root = self.scratch("context").map_err(doing())?;
                    fs::create_dir(&root).map_err(doing())?;
                    Ok(Tree::Folder {
                        root,
                        ignored: none,
                    })
                }
            },
        }
    }

    /// Seconds since 1970 of what is made now.
    pub(crate) fn time(&self) -> u64 {
        self.request.epoch.unwrap_or(self.builder.now.as_secs())
    }

    /// The latest time that a file of a new layer may have.
    pub(crate) fn latest(&self) -> Option<u64> {
        self.request
            .epoch
            .filter(|_| self.request.times != FileTimes::Kept)
    }

    /// What times add to the key of a step.
    pub(crate) fn times_key(&self) -> String {
        match self.latest() {
            Some(epoch) => format!("times {:?} {epoch}\n", self.request.times),
            None => String::new(),
        }
    }

    /// The same as a configuration has it.
    pub(crate) fn created(&self) -> String {
        match self.request.epoch {
            Some(epoch) => timestamp::seconds(epoch),
            None => timestamp::nanoseconds(self.builder.now),
        }
    }

    pub(crate) fn next(&self) -> usize {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// A path in the build's own folder that nothing is at.
    pub(crate) fn scratch(&self, what: &str) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.scratch.folder)?;
        Ok(self.scratch.folder.join(format!("{what}-{}", self.next())))
    }
}

/// All that was noted.
fn taken<T>(noted: &Mutex<BTreeSet<T>>) -> BTreeSet<T> {
    std::mem::take(&mut *noted.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whose a folder of `WORKDIR` is: the user's, where the stage tells who that is.
fn owner_of_folder(user: &str, tree: &Tree) -> Result<(u32, u32), String> {
    match user.is_empty() {
        true => Ok((0, 0)),
        false => match owner(user, tree) {
            Err(OwnerError::Empty(message)) => Err(message),
            other => Ok(other.unwrap_or((0, 0))),
        },
    }
}

/// What a step asks of the context.
fn of_context(op: &Op) -> Vec<String> {
    let relative = |path: &str| clean(&format!("/{path}")).trim_start_matches('/').to_owned();
    match op {
        Op::Copy(op) if op.from == From::Context(None) => {
            let paths = op.sources.iter().filter_map(|source| match source {
                CopySource::Path(path) => Some(relative(path)),
                _ => None,
            });
            paths.collect()
        }
        Op::Run(op) => {
            let mounts = op.mounts.iter().filter(|mount| mount.from == From::Context(None));
            mounts
                .filter(|mount| mount.mount.kind == MountKind::Bind)
                .map(|mount| relative(mount.mount.source.as_deref().unwrap_or("/")))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// What makes a layer's bytes besides the content of its files; times that are now don't count.
fn identity(entries: &BTreeMap<String, Planned>) -> String {
    let mut text = String::new();
    for (path, planned) in entries {
        let entry = &planned.entry;
        text.push_str(&format!(
            "{path}\0{:?} {:o} {} {}\n",
            entry.kind, entry.mode, entry.uid, entry.gid
        ));
    }
    text.push_str(&shared_names(entries));
    text
}
