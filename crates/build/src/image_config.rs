//! What a packed image runs: its configuration and its manifest.

use std::collections::BTreeMap;
use std::io;

use coil_oci::{ContainerConfig, Descriptor, History, ImageConfig, Platform, RootFs};
use coil_plan::LayerKind;
use coil_store::Store;
use serde_json::json;

use crate::base::{Base, layer_type};
use crate::layer_writer::Layer;

/// What a container of the image starts with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSettings {
    /// The start command, in exec form.
    pub command: Vec<String>,
    /// The environment, by name.
    pub env: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// User and group.
    pub user: String,
    /// Why it is that one, in a few words; empty for the usual one.
    pub user_reason: String,
    /// Ports the program listens on: `8000/tcp`.
    pub ports: Vec<String>,
}

/// A layer, what it holds, and how it came to be.
#[derive(Debug, Clone)]
pub struct ImageLayer {
    /// What it holds.
    pub kind: LayerKind,
    /// The blob.
    pub layer: Layer,
    /// How it came to be, for `coil history`.
    pub created_by: String,
}

/// What every packed image has in its environment, with the reason.
///
/// - `PATH`: the virtual environment's programs first.
/// - `VIRTUAL_ENV`: tools that look for an environment find it.
/// - `LANG`: text is UTF-8 whatever the host says.
/// - `PYTHONUNBUFFERED`: a log line is out when it is printed, not when a buffer is full.
/// - `PYTHONDONTWRITEBYTECODE`: the bytecode is in the image already; nothing is written into a mounted source folder.
const ENVIRONMENT: [(&str, &str); 5] = [
    (
        "PATH",
        "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("VIRTUAL_ENV", "/opt/venv"),
    ("LANG", "C.UTF-8"),
    ("PYTHONUNBUFFERED", "1"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
];

/// Writes configuration and manifest into the store; gives the manifest's descriptor.
///
/// # Errors
/// When the store cannot be written.
pub fn write_image(
    store: &Store,
    base: &Base,
    layers: &[ImageLayer],
    run: &RunSettings,
    created: &str,
) -> io::Result<Descriptor> {
    let mut labels = inherited_labels(&base.config);
    labels.extend(run.labels.clone());
    let mut exposed_ports = base.config.exposed_ports.clone();
    exposed_ports.extend(run.ports.iter().map(|port| (port.clone(), json!({}))));
    let config = ImageConfig {
        created: Some(created.to_owned()),
        author: None,
        architecture: base.arch.name().into(),
        variant: None,
        os: "linux".into(),
        config: ContainerConfig {
            user: run.user.clone(),
            exposed_ports,
            env: environment(base, run),
            cmd: run.command.clone(),
            working_dir: "/app".into(),
            labels,
            volumes: base.config.volumes.clone(),
            stop_signal: base.config.stop_signal.clone(),
            ..ContainerConfig::default()
        },
        rootfs: RootFs {
            kind: "layers".into(),
            diff_ids: layers.iter().map(|layer| layer.layer.diff_id.clone()).collect(),
        },
        history: history(base, layers, created),
        other: BTreeMap::new(),
    };
    let blobs = layers
        .iter()
        .map(|layer| {
            Descriptor::new(
                layer_type(store, &layer.layer.digest),
                layer.layer.digest.clone(),
                layer.layer.size,
            )
        })
        .collect();
    let (mut descriptor, _) = store.put_image(&config, blobs, BTreeMap::new())?;
    descriptor.platform = Some(Platform::linux(base.arch));
    for layer in layers {
        store.note_layer_size(&layer.layer.diff_id, layer.layer.unpacked)?;
    }
    Ok(descriptor)
}

/// The environment: the base's own, ours, then the user's. A later one wins and keeps the first one's place.
///
/// Ours sets what is about Python and the environment in `/opt/venv`; a language or a time zone of a base from elsewhere is
/// its own business.
fn environment(base: &Base, run: &RunSettings) -> Vec<String> {
    let mut merged: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: String| match merged.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => merged.push((name.to_owned(), value)),
    };
    let inherited: BTreeMap<&str, &str> = base
        .config
        .env
        .iter()
        .filter_map(|entry| entry.split_once('='))
        // They would lead the interpreter out of the environment.
        .filter(|(name, _)| !matches!(*name, "PYTHONHOME" | "PYTHONPATH" | "__PYVENV_LAUNCHER__"))
        .collect();
    for (name, value) in ENVIRONMENT {
        let theirs = inherited.get(name);
        let value = match (name, theirs) {
            ("PATH", Some(path)) => with_environment(path),
            ("LANG", Some(theirs)) => (*theirs).to_owned(),
            _ => value.to_owned(),
        };
        set(name, value);
    }
    set("PYTHON_VERSION", base.python.version.clone());
    for entry in &base.config.env {
        let (name, _) = entry.split_once('=').unwrap_or((entry, ""));
        if let Some(value) = inherited.get(name)
            && name != "PYTHON_VERSION"
            && !ENVIRONMENT.iter().any(|(known, _)| *known == name)
        {
            set(name, (*value).to_owned());
        }
    }
    for name in run.env.keys() {
        merged.retain(|(known, _)| known != name);
    }
    let own = run.env.iter().map(|(name, value)| format!("{name}={value}"));
    merged
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .chain(own)
        .collect()
}

/// A base's search path with the environment's programs first, and no second time.
fn with_environment(path: &str) -> String {
    let rest = path.split(':').filter(|folder| *folder != "/opt/venv/bin");
    std::iter::once("/opt/venv/bin")
        .chain(rest)
        .collect::<Vec<_>>()
        .join(":")
}

/// A base's labels but those that say which image it is: they would be wrong of ours.
fn inherited_labels(config: &ContainerConfig) -> BTreeMap<String, String> {
    const IDENTITY: [&str; 3] = ["org.opencontainers.image.", "org.label-schema.", "io.buildah."];
    let about_itself = |name: &str| IDENTITY.iter().any(|prefix| name.starts_with(prefix));
    let kept = config.labels.iter().filter(|(name, _)| !about_itself(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// How the layers came to be: a base's history as it came, and a line for each of ours.
fn history(base: &Base, layers: &[ImageLayer], created: &str) -> Vec<History> {
    let told = base.history.iter().filter(|step| !step.empty_layer).count();
    // A history that tells of more or fewer layers than there are would put ours beside the wrong ones.
    let mut steps = match told == base.layers.len() {
        true => base.history.clone(),
        false => Vec::new(),
    };
    let from = if steps.is_empty() { 0 } else { told };
    steps.extend(layers.iter().skip(from).map(|layer| History {
        created: Some(created.to_owned()),
        created_by: Some(format!("coil pack: {}", layer.created_by)),
        ..History::default()
    }));
    steps
}
