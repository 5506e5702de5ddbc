//! `RUN`: a step's container, its mounts, and the layer of what it wrote.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc as Shared;

use coil_dockerfile::ignore::{Matcher, clean};
use coil_dockerfile::{CacheSharing, Fault, Mount, MountKind, Span};
use coil_oci::{Arch, Descriptor, Digest, media_type};

use super::agents::Relay;
use super::copying::{From, Named, gather};
use super::error::FailedStep;
use super::solving::{BuiltLayer, Layers, Solver};
use super::step_failure::help_for;
use super::tree::Tree;
use super::{BuildError, FileTimes};
use crate::executor::{Executor, Step, StepBind, StepDevice, StepError, StepNetwork, StepPrivileges, Tail};

/// How many lines of a failed step are told.
const TAIL: usize = 20;
/// Where a secret without a target stands.
const SECRETS: &str = "/run/secrets";

/// A `RUN`, its words expanded.
#[derive(Debug, Clone)]
pub(crate) struct RunOp {
    pub(crate) argv: Vec<String>,
    /// A here-document that is a program: name and text.
    pub(crate) script: Option<(String, String)>,
    pub(crate) env: BTreeMap<String, String>,
    /// Proxies that were given as arguments: they are part of nothing.
    pub(crate) proxies: BTreeMap<String, String>,
    pub(crate) workdir: String,
    pub(crate) user: String,
    pub(crate) mounts: Vec<StepMount>,
    pub(crate) network: StepNetwork,
    /// Whether it may do all that the host's root may.
    pub(crate) insecure: bool,
    pub(crate) devices: Vec<StepDevice>,
    pub(crate) arch: Arch,
}

/// A mount of a step.
#[derive(Debug, Clone)]
pub(crate) struct StepMount {
    pub(crate) mount: Mount,
    pub(crate) from: From,
    /// Absolute.
    pub(crate) target: Option<String>,
    /// Which of the step's inputs it reads.
    pub(crate) input: Option<usize>,
}

/// What goes when a step is done: folders, files with secrets, and locks.
#[derive(Default)]
pub(super) struct Belongings {
    secrets: Vec<PathBuf>,
    pub(super) relays: Vec<Relay>,
    _locks: Vec<File>,
}

impl Drop for Belongings {
    fn drop(&mut self) {
        for path in &self.secrets {
            let _ = fs::remove_file(path);
        }
    }
}

impl Solver<'_> {
    /// What a step is known by: all that it is made of, without secrets.
    pub(crate) fn run_key(&self, op: &RunOp, inputs: &[Layers], span: Span) -> Result<String, BuildError> {
        let mut text = format!("run {}\n{:?}\n{:?}\n", op.arch, op.argv, op.script);
        for (name, value) in &op.env {
            text.push_str(&format!("{name}={value}\n"));
        }
        text.push_str(&format!("{} {} {:?}\n", op.workdir, op.user, op.network));
        text.push_str(&format!(
            "{:?} {:?} {:?}\n",
            self.request.hosts, self.request.shared_memory, self.request.process_limits
        ));
        if op.insecure {
            text.push_str("insecure\n");
        }
        for device in &op.devices {
            text.push_str(&format!("device {}\n", device.name));
        }
        for layer in inputs.iter().take(1).flat_map(|layers| layers.iter()) {
            text.push_str(&format!("{}\n", layer.diff_id));
        }
        for mount in &op.mounts {
            let about = &mount.mount;
            text.push_str(&format!(
                "{:?} {:?} {:?} {}",
                about.kind, mount.target, about.source, about.read_only
            ));
            text.push_str(&format!(
                " {:?} {:?} {:?} {:?}\n",
                about.id,
                about.env,
                about.mode,
                (about.uid, about.gid)
            ));
            if about.kind == MountKind::Bind {
                text.push_str(&format!("{}\n", self.mounted_digest(mount, inputs, span)?));
            }
        }
        Ok(text)
    }

    fn mount_tree(&self, mount: &StepMount, inputs: &[Layers]) -> Result<Tree, BuildError> {
        match (&mount.from, mount.input.and_then(|at| inputs.get(at))) {
            (From::Input, Some(layers)) => Ok(Tree::layers(self.snapshots(layers)?)),
            (From::Context(name), _) => self.context(name.as_deref()),
            (From::Input, None) => Ok(Tree::Layers(Vec::new())),
        }
    }

    fn mounted_digest(&self, mount: &StepMount, inputs: &[Layers], span: Span) -> Result<Digest, BuildError> {
        let named = self.mounted(mount, inputs, span)?;
        self.content_digest(&[named])
            .map_err(BuildError::io("reading what is mounted"))
    }

    fn mounted(&self, mount: &StepMount, inputs: &[Layers], span: Span) -> Result<Named, BuildError> {
        let tree = self.mount_tree(mount, inputs)?;
        let source = mount.mount.source.as_deref().unwrap_or("/");
        let doing = || BuildError::io(format!("reading {source}"));
        let (real, item) = match tree.resolve(source, true) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => (String::new(), None),
            other => other.map_err(doing())?,
        };
        let Some(item) = item else {
            let path = coil_dockerfile::ignore::clean(&format!("/{source}"));
            let fault = Fault::new(span, format!("\"{path}\": not found")).at(source);
            return Err(match tree.taken_by(path.trim_start_matches('/')) {
                Some(pattern) => {
                    fault.help(format!("{} leaves it out by `{pattern}`", self.request.ignored.1))
                }
                None => {
                    fault.help("the mount's source is looked for in the context, or in what its from names")
                }
            }
            .into());
        };
        Ok(Named {
            name: "mounted".into(),
            parents: Vec::new(),
            entries: gather(&tree, &real, item, &Matcher::default()).map_err(doing())?,
            inline: None,
            is_foreign: tree.is_context(),
            is_unpacked: false,
        })
    }

    /// Runs a step; gives the layers with its own on top.
    pub(crate) fn run(
        &self,
        number: usize,
        name: &str,
        op: &RunOp,
        inputs: &[Layers],
        span: Span,
    ) -> Result<BuiltLayer, BuildError> {
        let executor_failed = |error| BuildError::Executor {
            span,
            command: op.argv.join(" "),
            source: Box::new(error),
        };
        let Some(executor) = self.builder.executor else {
            return Err(executor_failed(StepError::Refused("RUN needs containers".into())));
        };
        let doing = || BuildError::io("preparing a step");
        let below = inputs.first().cloned().unwrap_or_default();
        let upper = self.scratch("upper").map_err(doing())?;
        folder(&upper, 0o755).map_err(doing())?;
        let mut step = Step::new(op.arch, self.snapshots(&below)?, upper.clone(), op.argv.clone());
        step.env.extend(op.env.clone());
        step.workdir.clone_from(&op.workdir);
        step.user.clone_from(&op.user);
        step.network = op.network;
        step.hostname = self.request.args.get("BUILDKIT_SANDBOX_HOSTNAME").cloned();
        if op.insecure {
            step.privileges = StepPrivileges::Everything;
        }
        step.hosts.clone_from(&self.request.hosts);
        step.limits = self.request.limits;
        step.limits.shared_memory = self.request.shared_memory;
        step.group.clone_from(&self.request.group);
        step.devices.clone_from(&op.devices);
        step.process_limits.clone_from(&self.request.process_limits);
        for (variable, value) in op
            .proxies
            .iter()
            .chain(self.builder.host.env.iter().map(|(name, value)| (name, value)))
        {
            step.env.entry(variable.clone()).or_insert_with(|| value.clone());
        }
        step.binds.extend(self.builder.host.binds.iter().cloned());
        let mut belongings = Belongings::default();
        if let Some((name, text)) = &op.script {
            let place = self.scratch("script").map_err(doing())?;
            fs::write(&place, text).map_err(doing())?;
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).map_err(doing())?;
            step.binds.push(StepBind {
                source: place,
                target: format!("/dev/pipes/{name}"),
                read_only: true,
            });
        }
        for mount in &op.mounts {
            self.attach(mount, inputs, span, &mut step, &mut belongings)?;
        }
        // Programs that know it write no time of their own: Python's compiler for one.
        if let Some(epoch) = self.request.epoch
            && self.request.times == FileTimes::Settled
        {
            step.env
                .entry("SOURCE_DATE_EPOCH".into())
                .or_insert_with(|| epoch.to_string());
        }
        let index = self.builder.host.index.as_ref().filter(|_| op.script.is_none());
        let entrance = index.and_then(|index| index.enter(self.builder, &op.env, &mut step));
        self.execute(executor, number, name, &step, span)?;
        drop((belongings, entrance));
        // What the kernel's file systems were mounted on stays, as it does in every image.
        let whole = Tree::layers(
            std::iter::once(upper.clone())
                .chain(step.lower.iter().rev().cloned())
                .rev()
                .collect(),
        );
        for name in ["dev", "proc", "sys"] {
            // A folder that only a mount of the step's own was made in goes with it.
            let below = format!("/{name}/");
            if step
                .binds
                .iter()
                .any(|bind| bind.target.starts_with(&below) && op.script.is_some())
            {
                continue;
            }
            // Where its size is asked for, the shared memory is one of the step's own mounts.
            if name == "dev" && step.limits.shared_memory.is_some() {
                continue;
            }
            if whole.resolve(name, false).map_err(doing())?.1.is_none() {
                folder(&upper.join(name), 0o755).map_err(doing())?;
            }
        }
        let (digest, size) = self.builder.store.keep_writes(&upper, self.latest())?;
        Ok(BuiltLayer {
            blob: Descriptor::new(media_type::LAYER_TAR, digest.clone(), size),
            diff_id: digest,
            created: Some(self.created()),
        })
    }

    fn execute(
        &self,
        executor: &dyn Executor,
        number: usize,
        name: &str,
        step: &Step,
        span: Span,
    ) -> Result<(), BuildError> {
        let tail = Tail::default();
        let end = executor
            .run(step, &mut |printed| {
                tail.push(printed);
                self.builder.events.output(number, printed);
            })
            .map_err(|error| BuildError::Executor {
                span,
                command: step.argv.join(" "),
                source: Box::new(error),
            })?;
        if end.is_success() {
            return Ok(());
        }
        let lines = tail.lines(TAIL);
        let command = step.argv.join(" ");
        let help = help_for(step, &command, &lines, end);
        let failed = FailedStep {
            command,
            code: end.code,
            out_of_memory: end.out_of_memory,
            tail: lines,
            step: name.to_owned(),
            error: None,
        };
        if let Some(debugger) = self.builder.debugger {
            debugger.failed(step, &failed);
        }
        Err(BuildError::Step {
            span,
            step: Box::new(failed),
            help,
        })
    }

    fn attach(
        &self,
        mount: &StepMount,
        inputs: &[Layers],
        span: Span,
        step: &mut Step,
        belongings: &mut Belongings,
    ) -> Result<(), BuildError> {
        let about = &mount.mount;
        let empty_at_first =
            matches!(about.kind, MountKind::Tmpfs | MountKind::Cache) && mount.from == From::Context(None);
        let source = about.source.as_deref().map(|source| clean(&format!("/{source}")));
        if let Some(source) = source.filter(|source| empty_at_first && source != "/") {
            return Err(
                Fault::new(span, format!("open {source}: no such file or directory"))
                    .at("source")
                    .help("this mount is empty at first: name with from= what the source is a part of")
                    .into(),
            );
        }
        match about.kind {
            MountKind::Tmpfs => {
                let target = mount.target.clone().unwrap_or_default();
                step.memory_folders.push((target, about.size));
                Ok(())
            }
            MountKind::Secret => self.attach_secret(mount, span, step, belongings),
            MountKind::Cache => self.attach_cache(mount, inputs, span, step, belongings),
            MountKind::Ssh => self.attach_agent(mount, span, step, belongings),
            MountKind::Bind => {
                let source = self.materialised(mount, inputs, span)?;
                step.binds.push(StepBind {
                    source,
                    target: mount.target.clone().unwrap_or_default(),
                    read_only: about.read_only,
                });
                Ok(())
            }
        }
    }

    /// What a bind mount shows: files of their own, so that nothing that is ignored can be seen and no write is kept.
    fn materialised(&self, mount: &StepMount, inputs: &[Layers], span: Span) -> Result<PathBuf, BuildError> {
        let named = self.mounted(mount, inputs, span)?;
        let doing = || BuildError::io("preparing a mount");
        let single = named.entries.first().filter(|first| !first.item.meta.is_dir());
        if let (Some(only), true, false) = (single, mount.mount.read_only, named.is_foreign) {
            return Ok(only.item.place.clone());
        }
        let digest = self
            .content_digest(std::slice::from_ref(&named))
            .map_err(doing())?;
        let entries = self.tree_entries(&named, span)?;
        let key = format!("{}{digest}", self.times_key());
        let kept = self.remembered("mount", &key, || {
            let (digest, size) = self.write_entries(&entries).map_err(doing())?;
            Ok(BuiltLayer {
                blob: Descriptor::new(media_type::LAYER_TAR, digest.clone(), size),
                diff_id: digest,
                created: None,
            })
        })?;
        let tree = match mount.mount.read_only {
            true => self
                .builder
                .store
                .ensure_snapshot(&kept.diff_id, &kept.blob, self.ownership())?,
            false => {
                let folder_path = self.scratch("mount").map_err(doing())?;
                folder(&folder_path, 0o755).map_err(doing())?;
                let mut file = self.builder.store.open_blob(&kept.blob.digest).map_err(doing())?;
                coil_store::unpack_archive(&mut file, &folder_path, self.ownership())
                    .map_err(|error| BuildError::fault(span, error.to_string()))?;
                folder_path
            }
        };
        Ok(tree.join("mounted"))
    }

    fn attach_secret(
        &self,
        mount: &StepMount,
        span: Span,
        step: &mut Step,
        belongings: &mut Belongings,
    ) -> Result<(), BuildError> {
        let about = &mount.mount;
        let id = about.id.clone().unwrap_or_default();
        let Some(bytes) = self.request.secrets.get(&id) else {
            if !about.required {
                if let Some(name) = &about.env {
                    step.env.insert(name.clone(), String::new());
                }
                return Ok(());
            }
            return Err(Fault::new(span, format!("secret {id}: not found"))
                .at(id.clone())
                .help(format!(
                    "give it with --secret id={id},src=FILE or --secret id={id},env=VARIABLE"
                ))
                .into());
        };
        let doing = || BuildError::io("preparing a secret");
        if let Some(name) = &about.env {
            let value = String::from_utf8(bytes.clone()).map_err(|_| {
                BuildError::fault(span, format!("secret {id} is no text, so it can be no variable"))
            })?;
            step.env.insert(name.clone(), value);
            if about.target.is_none() {
                return Ok(());
            }
        }
        let private = self.builder.private;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(private)
            .map_err(doing())?;
        let place = private.join(format!(".secret-{}.{}.part", self.next(), std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&place)
            .map_err(doing())?;
        belongings.secrets.push(place.clone());
        file.write_all(bytes).map_err(doing())?;
        fs::set_permissions(&place, fs::Permissions::from_mode(about.mode.unwrap_or(0o400)))
            .map_err(doing())?;
        if rustix::process::geteuid().is_root() {
            let owner = (Some(about.uid.unwrap_or(0)), Some(about.gid.unwrap_or(0)));
            std::os::unix::fs::chown(&place, owner.0, owner.1).map_err(doing())?;
        }
        step.binds.push(StepBind {
            source: place,
            target: mount
                .target
                .clone()
                .unwrap_or_else(|| format!("{SECRETS}/{}", id.rsplit('/').next().unwrap_or(&id))),
            read_only: true,
        });
        Ok(())
    }

    fn attach_cache(
        &self,
        mount: &StepMount,
        inputs: &[Layers],
        span: Span,
        step: &mut Step,
        belongings: &mut Belongings,
    ) -> Result<(), BuildError> {
        let about = &mount.mount;
        let target = mount.target.clone().unwrap_or_default();
        let id = about.id.clone().unwrap_or_else(|| target.clone());
        let doing = || BuildError::io("preparing a cache");
        let caches = self.builder.store.step_caches_dir().map_err(doing())?;
        // An id is only ever hashed: it can lead nowhere.
        let first = match &mount.from {
            From::Context(None) => String::new(),
            _ => self.mounted_digest(mount, inputs, span)?.to_string(),
        };
        let key = Digest::of(format!("{id}\n{first}\n{:?}", about.source).as_bytes());
        let mut chosen = None;
        for turn in 0.. {
            let name = match turn {
                0 => key.hex().to_owned(),
                turn => format!("{}-{turn}", key.hex()),
            };
            let lock = fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(caches.join(format!("{name}.lock")))
                .map_err(doing())?;
            let locked = match about.sharing {
                CacheSharing::Shared => lock.lock_shared().map(|()| true),
                CacheSharing::Locked => lock.lock().map(|()| true),
                CacheSharing::Private => Ok(lock.try_lock().is_ok()),
            };
            if locked.map_err(doing())? {
                // By it a pruning knows when the cache was used last.
                let _ = lock.set_modified(std::time::SystemTime::UNIX_EPOCH + self.builder.now);
                chosen = Some((caches.join(name), lock));
                break;
            }
        }
        let Some((place, lock)) = chosen else {
            return Ok(());
        };
        belongings._locks.push(lock);
        if !place.exists() {
            let new = self.scratch("cache").map_err(doing())?;
            match &mount.from {
                From::Context(None) => folder(&new, about.mode.unwrap_or(0o755)).map_err(doing())?,
                _ => {
                    let mut bind = mount.clone();
                    bind.mount.read_only = false;
                    let made = self.materialised(&bind, inputs, span)?;
                    fs::rename(&made, &new).map_err(doing())?;
                }
            }
            if rustix::process::geteuid().is_root() && (about.uid.is_some() || about.gid.is_some()) {
                std::os::unix::fs::chown(&new, about.uid, about.gid).map_err(doing())?;
            }
            fs::write(caches.join(format!("{}.id", key.hex())), &id).map_err(doing())?;
            if let Err(error) = fs::rename(&new, &place)
                && !place.exists()
            {
                return Err(doing()(error));
            }
        }
        step.binds.push(StepBind {
            source: place,
            target,
            read_only: about.read_only,
        });
        Ok(())
    }

    /// The layers' folders, the lowest first; unpacked where they aren't yet.
    pub(crate) fn snapshots(&self, layers: &Layers) -> Result<Vec<PathBuf>, BuildError> {
        layers
            .iter()
            .map(|layer| {
                Ok(self
                    .builder
                    .store
                    .ensure_snapshot(&layer.diff_id, &layer.blob, self.ownership())?)
            })
            .collect()
    }
}

/// A folder with just this mode.
fn folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Layers that are shared between steps.
pub(crate) type SharedLayers = Shared<Vec<BuiltLayer>>;
