//! Making a container of an image and starting it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use coil_oci::{ContainerConfig, Descriptor, Digest};
use coil_runtime::cgroup;
use coil_runtime::network::{BridgeSpec, NameSettings, NetworkSpec};
use coil_runtime::ports::{PortMapping, PublishError, parse_publish};
use coil_runtime::spec::{ContainerSpec, IdMap, Limits, MountKind};
use coil_runtime::user::{self, UserError};
use coil_runtime::{StartError, start};
use coil_store::{Image, Ownership, Store, StoreError};

use crate::making::Making;
use crate::mount_flag::{self, MountFlagError};
use crate::record::ContainerRecord;
use crate::{Client, Engine, clock, lifecycle, words};

/// The time between the request to stop and the kill, as Docker's.
const STOP_TIMEOUT: u64 = 10;
const SIGTERM: i32 = 15;
/// What an ordinary user's container has less than root's, said when no network was asked for.
const NO_WAY_OUT: &str = "the container reaches no other machine, since an ordinary user can make no bridge; \
    --network host gives it the host's network";

/// What `coil run` was asked for.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// The image, by name or id.
    pub image: String,
    /// What to run in place of the image's command.
    pub command: Vec<String>,
    /// The container's name; one is made up when none is given.
    pub name: Option<String>,
    /// `NAME=value`, in their order; a later one wins.
    pub env: Vec<String>,
    /// `SOURCE:DESTINATION[:OPTIONS]` with absolute sources.
    pub volumes: Vec<String>,
    /// The folder to start in.
    pub workdir: Option<String>,
    /// User and group, by name or number.
    pub user: Option<String>,
    /// What to run in place of the image's entry point; empty for none.
    pub entrypoint: Option<String>,
    /// `-p` values.
    pub ports: Vec<String>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpus_milli: Option<u64>,
    /// `none`, `host` or `bridge`.
    pub network: Option<String>,
    /// The host name.
    pub hostname: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// No writes to the root file system.
    pub read_only: bool,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// Give the program a terminal.
    pub terminal: bool,
    /// Keep its input open.
    pub stdin_open: bool,
    /// Rows and columns of the terminal.
    pub terminal_size: Option<(u16, u16)>,
    /// Whether somebody listens to the output from the first byte.
    pub attach: bool,
}

/// A container that was started.
#[derive(Debug)]
pub struct Created {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What the user should know.
    pub notices: Vec<String>,
    /// Output and input, when it was asked for.
    pub client: Option<Client>,
}

/// Why a container did not start.
#[derive(Debug)]
pub enum RunError {
    /// The image cannot be had.
    Store(StoreError),
    /// The name has characters that may not be there.
    BadName(String),
    /// Another container has the name.
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        id: String,
    },
    /// A `-p` cannot be used.
    Publish(PublishError),
    /// A `-v` cannot be used.
    Mount(MountFlagError),
    /// The network is unknown.
    Network(String),
    /// Neither the image nor the user says what to run.
    NoCommand,
    /// The user cannot be found in the image.
    User(UserError),
    /// The folder to start in is not absolute.
    Workdir(String),
    /// The host's control groups cannot be read.
    Cgroups(io::Error),
    /// Folders cannot be made.
    Prepare {
        /// Where.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It did not start.
    Start(StartError),
}

impl RunError {
    /// The exit code that Docker has for it.
    pub fn exit_code(&self) -> i32 {
        match self {
            RunError::Start(error) => error.exit_code(),
            _ => 125,
        }
    }

    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            RunError::Store(error) => error.help(),
            RunError::NameTaken { name, .. } => Some(format!(
                "`coil rm -f {name}` removes that container, or give this one another name"
            )),
            RunError::Network(_) => Some("give --network bridge, host or none".into()),
            RunError::NoCommand => Some("give one behind the image: `coil run IMAGE COMMAND`".into()),
            RunError::Start(error) => lifecycle::start_help(error),
            _ => None,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Store(StoreError::NoSuchImage(name)) => {
                write!(f, "Unable to find image '{name}' locally: no such image")
            }
            RunError::Store(error) => fmt::Display::fmt(error, f),
            RunError::BadName(name) => write!(
                f,
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ),
            RunError::NameTaken { name, id } => write!(
                f,
                "Conflict. The container name \"/{name}\" is already in use by container \"{id}\""
            ),
            RunError::Publish(error) => fmt::Display::fmt(error, f),
            RunError::Mount(error) => fmt::Display::fmt(error, f),
            RunError::Network(name) => write!(f, "network {name} not found"),
            RunError::NoCommand => {
                f.write_str("no command specified: neither the image nor the command line has one")
            }
            RunError::User(error) => fmt::Display::fmt(error, f),
            RunError::Workdir(path) => write!(
                f,
                "the working directory '{path}' is invalid, it needs to be an absolute path"
            ),
            RunError::Cgroups(_) => f.write_str("the machine's control groups cannot be read"),
            RunError::Prepare { path, .. } => write!(f, "cannot prepare {}", path.display()),
            RunError::Start(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RunError::Store(error) => error.source(),
            RunError::Start(error) => error.source(),
            RunError::Cgroups(source) | RunError::Prepare { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        RunError::Store(error)
    }
}

/// Unpacks an image's layers, several at a time; gives their folders, the lowest first.
pub(crate) fn unpack(store: &Store, image: &Image, ownership: Ownership) -> Result<Vec<PathBuf>, StoreError> {
    let pairs: Vec<(&Digest, &Descriptor)> = image
        .config
        .rootfs
        .diff_ids
        .iter()
        .zip(&image.manifest.layers)
        .collect();
    let missing: Vec<_> = pairs
        .iter()
        .filter(|(diff_id, _)| !store.snapshot_tree(diff_id).is_dir())
        .collect();
    if missing.len() > 1 {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = || -> Result<(), StoreError> {
            loop {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some((diff_id, blob)) = missing.get(at) else {
                    return Ok(());
                };
                store.ensure_snapshot(diff_id, blob, ownership)?;
            }
        };
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(missing.len());
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let first = work();
            others.into_iter().fold(first, |result, thread| {
                result.and(
                    thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                )
            })
        })?;
    }
    pairs
        .into_iter()
        .map(|(diff_id, blob)| store.ensure_snapshot(diff_id, blob, ownership))
        .collect()
}

impl Engine {
    /// Makes a container and starts it.
    ///
    /// # Errors
    /// See [`RunError`]; nothing is left of the container then.
    pub fn run(&self, request: &RunRequest) -> Result<Created, RunError> {
        let lease = self.store.lease().map_err(crate::store_io("locking the store"))?;
        let (named, image) = self.image(&request.image)?;
        let ownership = if self.is_root() {
            Ownership::Layer
        } else {
            Ownership::Unpacker
        };
        let layers = unpack(&self.store, &image, ownership)?;
        let id = words::new_id().map_err(crate::store_io("making an id"))?;
        let (record, mut spec) = self.plan(request, &image, &id, layers)?;
        // The folder comes before the name, so that a name never stands for a container that isn't there.
        let making = Making::begin(&self.store, &spec.container_dir).map_err(|source| RunError::Prepare {
            path: spec.container_dir.clone(),
            source,
        })?;
        let name = self.claim_name(request.name.as_deref(), &id).inspect_err(|_| {
            let _ = self.store.remove_folder(&spec.container_dir);
        })?;
        let record = ContainerRecord {
            name: name.clone(),
            ..record
        };
        spec.release.push(self.store.name_path(&name));
        let started = self
            .make(&record, &mut spec)
            .and_then(|()| start(&self.options.program, &spec, request.attach).map_err(RunError::Start));
        drop(lease);
        match started {
            Ok(started) => {
                making.done();
                let mut notices = started.notices;
                notices.extend(crate::base_images::notice(&named, &image));
                if request.network.is_none() && matches!(spec.network, NetworkSpec::Isolated(_)) {
                    notices.push(NO_WAY_OUT.to_owned());
                }
                Ok(Created {
                    id,
                    name,
                    notices,
                    client: started.client,
                })
            }
            Err(error) => {
                self.discard(&record.id, &name, &spec);
                Err(error)
            }
        }
    }

    /// Removes what a container that did not start left behind.
    fn discard(&self, id: &str, name: &str, spec: &ContainerSpec) {
        let _ = self.store.remove_folder(&spec.container_dir);
        let _ = fs::remove_dir_all(&spec.run_dir);
        self.store.release_name(name, id);
    }

    fn claim_name(&self, wanted: Option<&str>, id: &str) -> Result<String, RunError> {
        let claim = |name: &str| {
            self.store
                .claim_name(name, id)
                .map_err(crate::store_io("claiming a name"))
        };
        if let Some(name) = wanted {
            if !is_name(name) {
                return Err(RunError::BadName(name.to_owned()));
            }
            if claim(name)? {
                return Ok(name.to_owned());
            }
            let id = self.store.name_owner(name).unwrap_or_default();
            if self.clear_abandoned(&id) && claim(name)? {
                return Ok(name.to_owned());
            }
            return Err(RunError::NameTaken {
                name: name.to_owned(),
                id,
            });
        }
        for attempt in 0.. {
            let name = words::new_name(attempt).map_err(crate::store_io("making a name"))?;
            if claim(&name)? {
                return Ok(name);
            }
        }
        Err(RunError::NoCommand)
    }

    /// Writes the container's record, and makes the folders of the host that it mounts.
    fn make(&self, record: &ContainerRecord, spec: &mut ContainerSpec) -> Result<(), RunError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Prepare { path, source }
        };
        for mount in &spec.mounts {
            if let MountKind::Bind { source } = &mount.kind
                && !source.exists()
            {
                // As Docker does: a folder that is not there is made.
                fs::create_dir_all(source).map_err(failed(source))?;
            }
        }
        let path = spec.container_dir.join("config.json");
        let bytes = serde_json::to_vec(record)
            .map_err(io::Error::from)
            .map_err(failed(&path))?;
        let temporary = spec.container_dir.join("config.json.new");
        fs::write(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(failed(&path))
    }

    fn plan(
        &self,
        request: &RunRequest,
        image: &Image,
        id: &str,
        layers: Vec<PathBuf>,
    ) -> Result<(ContainerRecord, ContainerSpec), RunError> {
        let config = &image.config.config;
        let (entrypoint, command) = program(request, config);
        let args: Vec<String> = entrypoint.iter().chain(&command).cloned().collect();
        if args.is_empty() {
            return Err(RunError::NoCommand);
        }
        let cwd = request
            .workdir
            .clone()
            .unwrap_or_else(|| config.working_dir.clone());
        let cwd = if cwd.is_empty() { "/".to_owned() } else { cwd };
        if !cwd.starts_with('/') {
            return Err(RunError::Workdir(cwd));
        }
        let user_text = request.user.clone().unwrap_or_else(|| config.user.clone());
        let account = user::resolve(&layers, None, &user_text).map_err(RunError::User)?;
        let hostname = request.hostname.clone().unwrap_or_else(|| id[..12].to_owned());
        let mut ports: Vec<PortMapping> = Vec::new();
        for text in &request.ports {
            ports.extend(parse_publish(text).map_err(RunError::Publish)?);
        }
        let mounts = request
            .volumes
            .iter()
            .map(|flag| mount_flag::parse(flag))
            .collect::<Result<Vec<_>, _>>()
            .map_err(RunError::Mount)?;
        let (network_name, network) = self.network(request)?;
        let mut env = merged_env(config, request, &hostname);
        if !env.iter().any(|entry| entry.starts_with("HOME=")) {
            env.push(format!("HOME={}", account.home));
        }
        let (dir, run_dir) = (self.store.container_dir(id), self.run_dir(id));
        let mut spec = ContainerSpec::new(id, dir, run_dir, layers, args.clone());
        let limits = Limits {
            memory: request.memory,
            cpus_milli: request.cpus_milli,
            ..Limits::default()
        };
        let facts = cgroup::Facts::read().map_err(RunError::Cgroups)?;
        if !self.is_root() {
            let (uid, gid) = self.options.ids;
            spec.id_map = IdMap::one(account.user.uid, account.user.gid, uid, gid);
        }
        spec.cgroup = cgroup::plan(&facts, id);
        spec.hostname.clone_from(&hostname);
        spec.read_only = request.read_only;
        spec.env.clone_from(&env);
        spec.cwd.clone_from(&cwd);
        spec.user = account.user;
        spec.mounts = mounts;
        spec.terminal = request.terminal;
        spec.stdin_open = request.stdin_open;
        spec.init_tty_size = request.terminal_size;
        spec.limits = limits;
        spec.network = network;
        spec.ports.clone_from(&ports);
        spec.auto_remove = request.auto_remove;
        spec.stop_signal = lifecycle::signal_number(&config.stop_signal).unwrap_or(SIGTERM);
        let mut labels = config.labels.clone();
        labels.extend(request.labels.clone());
        spec.labels.clone_from(&labels);
        if !spec.network.has_namespace() {
            // The host's settings are the host's.
            spec.sysctls.clear();
        }
        let created = clock::now();
        let record = ContainerRecord {
            id: id.to_owned(),
            name: String::new(),
            image: request.image.clone(),
            image_id: image.id().clone(),
            diff_ids: image.config.rootfs.diff_ids.clone(),
            created: (created.as_secs(), created.subsec_nanos()),
            args,
            entrypoint,
            command,
            env,
            cwd,
            user: user_text,
            hostname,
            network: network_name,
            ports,
            exposed: config.exposed_ports.keys().cloned().collect(),
            binds: request.volumes.clone(),
            labels,
            terminal: request.terminal,
            stdin_open: request.stdin_open,
            auto_remove: request.auto_remove,
            memory: request.memory.unwrap_or(0),
            cpus_milli: request.cpus_milli.unwrap_or(0),
            stop_signal: spec.stop_signal,
            stop_timeout: STOP_TIMEOUT,
        };
        Ok((record, spec))
    }

    fn network(&self, request: &RunRequest) -> Result<(String, NetworkSpec), RunError> {
        let names = NameSettings {
            host_resolv_conf: self.options.resolv_conf.clone(),
            host_hosts: self.options.hosts.clone(),
            ..NameSettings::default()
        };
        let asked = request.network.as_deref().unwrap_or("bridge");
        let spec = match asked {
            "none" => NetworkSpec::None,
            "host" => NetworkSpec::Host(names),
            "bridge" | "default" if self.is_root() => {
                NetworkSpec::Bridge(BridgeSpec::default_network(self.options.default_root, names))
            }
            "bridge" | "default" => NetworkSpec::Isolated(names),
            other => return Err(RunError::Network(other.to_owned())),
        };
        Ok((asked.to_owned(), spec))
    }
}

/// The program: the user's words take the place of the image's, and an entry point of the user's drops the image's command.
fn program(request: &RunRequest, config: &ContainerConfig) -> (Vec<String>, Vec<String>) {
    match &request.entrypoint {
        Some(entrypoint) if entrypoint.is_empty() => (Vec::new(), request.command.clone()),
        Some(entrypoint) => (vec![entrypoint.clone()], request.command.clone()),
        None if request.command.is_empty() => (config.entrypoint.clone(), config.cmd.clone()),
        None => (config.entrypoint.clone(), request.command.clone()),
    }
}

/// Image, then host name and terminal, then the user's own; a later one wins and keeps the first one's place.
fn merged_env(config: &ContainerConfig, request: &RunRequest, hostname: &str) -> Vec<String> {
    let mut merged: Vec<(String, String)> = Vec::new();
    let mut set = |entry: &str| set_variable(&mut merged, entry);
    set("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    set(&format!("HOSTNAME={hostname}"));
    if request.terminal {
        set("TERM=xterm");
    }
    config.env.iter().chain(&request.env).for_each(|entry| set(entry));
    merged
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// Sets a variable in its first place, or at the end.
pub(crate) fn set_variable(env: &mut Vec<(String, String)>, entry: &str) {
    let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => env.push((name.to_owned(), value.to_owned())),
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first
        && name.len() > 1
        && name.len() <= 128
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
