//! Making a container of an image: what it is to be is worked out once and kept, and nothing of it runs yet.

use std::fs;
use std::path::PathBuf;

use coil_oci::{ContainerConfig, Descriptor, Digest};
use coil_runtime::ports::{PortMapping, parse_expose, parse_publish};
use coil_runtime::spec::ContainerSpec;
use coil_store::{Image, Ownership, Store, StoreError};

use crate::making::Making;
use crate::record::ContainerRecord;
use crate::request::{Created, RunRequest, StartRequest, Started};
use crate::run_error::{RunError, RunFailure};
use crate::{Engine, clock, health, lifecycle, words};

/// The time between the request to stop and the kill, as Docker's.
const STOP_TIMEOUT: i64 = 10;
const SIGTERM: i32 = 15;

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

/// A container that is made and still its maker's: gone if that one is killed now.
struct Held {
    record: ContainerRecord,
    making: Making,
    layers: Vec<PathBuf>,
    notices: Vec<String>,
}

impl Engine {
    /// Makes a container; [`Engine::start`] starts it.
    ///
    /// # Errors
    /// See [`RunError`]; nothing is left of the container then.
    pub fn create(&self, request: &RunRequest) -> Result<Created, RunError> {
        let held = self.make(request)?;
        held.making.done();
        Ok(Created {
            id: held.record.id,
            name: held.record.name,
            notices: held.notices,
        })
    }

    /// Makes a container and starts it.
    ///
    /// # Errors
    /// See [`RunFailure`]. A container that was made and doesn't start stays, unless it was to be removed at its end.
    pub fn run(&self, request: &RunRequest, start: &StartRequest) -> Result<Started, RunFailure> {
        let held = self.make(request).map_err(|error| RunFailure {
            id: None,
            error: Box::new(error),
        })?;
        let failure = |error| RunFailure {
            id: Some(held.record.id.clone()),
            error: Box::new(error),
        };
        let guard = self.guard(&held.record.id).map_err(&failure)?;
        if start.attach {
            self.event(&held.record, "attach", &[]);
        }
        let started = self.launch(&held.record, held.layers, start);
        drop(guard);
        match started {
            Ok(mut started) => {
                held.making.done();
                started.notices.extend(held.notices);
                Ok(started)
            }
            Err(error) if held.record.auto_remove => {
                self.discard(&held.record);
                Err(failure(error))
            }
            Err(error) => {
                let failure = failure(error);
                held.making.done();
                Err(failure)
            }
        }
    }

    fn make(&self, request: &RunRequest) -> Result<Held, RunError> {
        let lease = self.store.lease().map_err(crate::store_io("locking the store"))?;
        request.options.check(self.is_root(), self.owns_ids())?;
        self.check_devices(request)?;
        let (named, image) = self.image(&request.image)?;
        let layers = unpack(&self.store, &image, self.ownership())?;
        let id = words::new_id().map_err(crate::store_io("making an id"))?;
        let mut record = define(request, &image, &id)?;
        self.settle_networks(&mut record)?;
        let volumes = self.settle_mounts(request, &image, &mut record)?;
        // The folder comes before the name, so that a name never stands for a container that isn't there.
        let dir = self.store.container_dir(&id);
        let making = Making::begin(&self.store, &dir).map_err(|source| RunError::Prepare {
            path: dir.clone(),
            source,
        })?;
        let name = self.claim_name(request.name.as_deref(), &id).inspect_err(|_| {
            let _ = self.store.remove_folder(&dir);
        })?;
        let record = ContainerRecord { name, ..record };
        // The record comes before the volumes, so that nobody takes one away in between.
        let held = self.hold_volumes(&volumes, &record)?;
        let saved = record.save(&dir);
        let made = match saved {
            Ok(()) => self.make_volumes(&volumes, &layers, &record.id),
            Err(source) => Err(RunError::Prepare { path: dir, source }),
        };
        drop(held);
        if let Err(error) = made {
            self.discard(&record);
            return Err(error);
        }
        // From here on the record keeps the layers.
        drop(lease);
        self.event(&record, "create", &[]);
        let mut notices: Vec<String> = crate::base_images::notice(&named, &image).into_iter().collect();
        if record.network == "host" && !record.ports.is_empty() {
            notices.push("Published ports are discarded when using host network mode".to_owned());
        }
        if record.limits.oom_kill_disable && record.limits.memory.is_none() {
            notices.push(
                "OOM killer is disabled for the container, but no memory limit is set, this can result in the system \
                 running out of resources."
                    .to_owned(),
            );
        }
        Ok(Held {
            notices,
            record,
            making,
            layers,
        })
    }

    /// Looks whether the disks that are limited, and the devices that are named, are there.
    fn check_devices(&self, request: &RunRequest) -> Result<(), RunError> {
        for device in request.limits.disk.devices() {
            if let Err(error) = fs::metadata(device) {
                let reason = match error.kind() {
                    std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                    _ => error.to_string(),
                };
                return Err(RunError::Refused {
                    message: format!("stat {}: {reason}", device.display()),
                    help: Some("give the node of a disk, such as /dev/sda".to_owned()),
                    code: 127,
                });
            }
        }
        let nothing = PathBuf::new();
        let mut spec = ContainerSpec::new("", nothing.clone(), nothing, Vec::new(), Vec::new());
        self.named_devices(&request.options, &mut spec)
    }

    /// Whose the files of an unpacked layer are.
    pub(crate) fn ownership(&self) -> Ownership {
        if self.owns_ids() {
            Ownership::Layer
        } else {
            Ownership::Unpacker
        }
    }

    /// Removes a container that did not come about.
    fn discard(&self, record: &ContainerRecord) {
        let (dir, run_dir) = (self.store.container_dir(&record.id), self.run_dir(&record.id));
        // A monitor that ended without a word left what it had made by then.
        let _ = coil_runtime::sweep(&dir, &run_dir);
        let _ = self.store.remove_folder(&dir);
        let _ = fs::remove_dir_all(run_dir);
        self.store.release_name(&record.name, &record.id);
        self.drop_anonymous(record);
    }

    pub(crate) fn claim_name(&self, wanted: Option<&str>, id: &str) -> Result<String, RunError> {
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
}

/// What the container will be, from what was asked for and what the image says.
fn define(request: &RunRequest, image: &Image, id: &str) -> Result<ContainerRecord, RunError> {
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
    let mut ports: Vec<PortMapping> = Vec::new();
    for text in &request.ports {
        ports.extend(parse_publish(text).map_err(RunError::Publish)?);
    }
    let mut exposed = exposed(request, config)?;
    if request.publish_all {
        publish_all(&exposed, &mut ports);
    }
    // What is published is listened on.
    for port in &ports {
        let name = format!("{}/{}", port.container_port, port.protocol);
        if !exposed.contains(&name) {
            exposed.push(name);
        }
    }
    let publishes = !ports.is_empty();
    let shares = request
        .network
        .networks
        .iter()
        .any(|name| name.starts_with("container:"));
    if shares && !publishes && !request.expose.is_empty() {
        let what = "port exposing and the container type network mode";
        return Err(RunError::Wish(crate::networks::WishError::Conflict(what)));
    }
    let wishes = request
        .network
        .read(request.hostname.is_some(), publishes)
        .map_err(RunError::Wish)?;
    let hostname = match (&request.hostname, wishes.mode.as_str()) {
        (Some(name), _) => name.clone(),
        (None, "host") => host_name().unwrap_or_else(|| id[..12].to_owned()),
        (None, _) => id[..12].to_owned(),
    };
    let mut labels = config.labels.clone();
    labels.extend(request.labels.clone());
    let mut options = request.options.clone();
    if options.stop_signal.is_empty() {
        options.stop_signal.clone_from(&config.stop_signal);
    }
    let created = clock::now();
    Ok(ContainerRecord {
        id: id.to_owned(),
        name: String::new(),
        image: request.image.clone(),
        image_id: image.id().clone(),
        diff_ids: image.config.rootfs.diff_ids.clone(),
        blobs: image.manifest.layers.clone(),
        created: (created.as_secs(), created.subsec_nanos()),
        args,
        entrypoint,
        command,
        env: merged_env(config, request),
        cwd,
        user: request.user.clone().unwrap_or_else(|| config.user.clone()),
        hostname,
        network: wishes.mode,
        networks: wishes.networks,
        names: wishes.names,
        ports,
        exposed,
        binds: request.volumes.clone(),
        points: Vec::new(),
        mounts: Vec::new(),
        labels,
        terminal: request.terminal,
        stdin_open: request.stdin_open,
        attached: request.attached,
        read_only: request.read_only,
        auto_remove: request.auto_remove,
        restart: request.restart,
        limits: request.limits.clone(),
        health: health::merged(config, &request.health)?,
        shell: shell(config),
        stop_signal: lifecycle::signal_number(&options.stop_signal).unwrap_or(SIGTERM),
        stop_timeout: request.stop_timeout.unwrap_or(STOP_TIMEOUT),
        options,
    })
}

/// This machine's own name.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The ports that the image or the user names, such as `80/tcp`.
fn exposed(request: &RunRequest, config: &ContainerConfig) -> Result<Vec<String>, RunError> {
    let mut exposed: Vec<String> = config.exposed_ports.keys().cloned().collect();
    for text in &request.expose {
        for port in parse_expose(text).map_err(RunError::Publish)? {
            let name = format!("{}/{}", port.container_port, port.protocol);
            if !exposed.contains(&name) {
                exposed.push(name);
            }
        }
    }
    Ok(exposed)
}

/// Publishes what isn't published yet, on ports of the kernel's choice.
fn publish_all(exposed: &[String], ports: &mut Vec<PortMapping>) {
    for name in exposed {
        // What an image says may be anything: what is no port can't be published.
        for port in parse_expose(name).unwrap_or_default() {
            let same = |other: &PortMapping| {
                (other.container_port, other.protocol) == (port.container_port, port.protocol)
            };
            if !ports.iter().any(same) {
                ports.push(port);
            }
        }
    }
}

/// The shell that an image names for commands without one of their own.
fn shell(config: &ContainerConfig) -> Vec<String> {
    config
        .other
        .get("Shell")
        .and_then(|value| serde_json::from_value(value.clone()).ok())
        .unwrap_or_default()
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

/// The user's own, then what else the image has.
fn merged_env(config: &ContainerConfig, request: &RunRequest) -> Vec<String> {
    let mut merged: Vec<(String, String)> = Vec::new();
    request
        .env
        .iter()
        .filter(|entry| entry.contains('='))
        .for_each(|entry| set_variable(&mut merged, entry));
    // A name alone takes a variable of the image's away.
    let taken: Vec<&String> = request.env.iter().filter(|entry| !entry.contains('=')).collect();
    let own = merged.len();
    for entry in &config.env {
        let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
        if !merged[..own].iter().any(|(known, _)| known == name) && !taken.iter().any(|taken| *taken == name)
        {
            set_variable(&mut merged, entry);
        }
    }
    written(merged)
}

fn written(env: Vec<(String, String)>) -> Vec<String> {
    env.into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// What a process of a container finds: path, host name and terminal, then what the container was made with, which wins.
pub(crate) fn variables(record: &ContainerRecord, terminal: bool) -> Vec<String> {
    let mut merged: Vec<(String, String)> = Vec::new();
    set_variable(
        &mut merged,
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    set_variable(&mut merged, &format!("HOSTNAME={}", record.hostname));
    if terminal {
        set_variable(&mut merged, "TERM=xterm");
    }
    record
        .env
        .iter()
        .for_each(|entry| set_variable(&mut merged, entry));
    written(merged)
}

/// Sets a variable in its first place, or at the end.
pub(crate) fn set_variable(env: &mut Vec<(String, String)>, entry: &str) {
    let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => env.push((name.to_owned(), value.to_owned())),
    }
}

pub(crate) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first
        && name.len() > 1
        && name.len() <= 128
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
