//! What a packed image runs: its configuration and its manifest.

use std::collections::BTreeMap;
use std::io;

use coil_oci::{
    Arch, ContainerConfig, Descriptor, History, ImageConfig, Manifest, Platform, RootFs, media_type,
};
use coil_plan::LayerKind;
use coil_store::Store;
use serde_json::json;

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
    arch: Arch,
    python: &str,
    layers: &[ImageLayer],
    run: &RunSettings,
    created: &str,
) -> io::Result<Descriptor> {
    let mut env: Vec<String> = ENVIRONMENT
        .iter()
        .map(|(name, value)| (*name, *value))
        .chain([("PYTHON_VERSION", python)])
        .filter(|(name, _)| !run.env.contains_key(*name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    env.extend(run.env.iter().map(|(name, value)| format!("{name}={value}")));
    let config = ImageConfig {
        created: Some(created.to_owned()),
        author: None,
        architecture: arch.name().into(),
        variant: None,
        os: "linux".into(),
        config: ContainerConfig {
            user: run.user.clone(),
            exposed_ports: run.ports.iter().map(|port| (port.clone(), json!({}))).collect(),
            env,
            cmd: run.command.clone(),
            working_dir: "/app".into(),
            labels: run.labels.clone(),
            ..ContainerConfig::default()
        },
        rootfs: RootFs {
            kind: "layers".into(),
            diff_ids: layers.iter().map(|layer| layer.layer.diff_id.clone()).collect(),
        },
        history: layers
            .iter()
            .map(|layer| History {
                created: Some(created.to_owned()),
                created_by: Some(format!("coil pack: {}", layer.created_by)),
                ..History::default()
            })
            .collect(),
        other: BTreeMap::new(),
    };
    let bytes = serde_json::to_vec(&config)?;
    let config = Descriptor::new(media_type::CONFIG, store.put_blob(&bytes)?, bytes.len() as u64);
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::MANIFEST.into(),
        config,
        layers: layers
            .iter()
            .map(|layer| {
                Descriptor::new(
                    media_type::LAYER_GZIP,
                    layer.layer.digest.clone(),
                    layer.layer.size,
                )
            })
            .collect(),
        annotations: BTreeMap::new(),
        artifact_type: None,
        subject: None,
    };
    let bytes = serde_json::to_vec(&manifest)?;
    let mut descriptor = Descriptor::new(media_type::MANIFEST, store.put_blob(&bytes)?, bytes.len() as u64);
    descriptor.platform = Some(Platform::linux(arch));
    Ok(descriptor)
}
