//! The base that coil assembles from Debian's packages.

use coil_debian::{Archive, AssembleOptions, BaseLayer, PinnedBase};
use coil_fetch::Progress;
use coil_oci::{ContainerConfig, Descriptor, media_type};
use coil_plan::LayerKind;
use coil_python::Libc;

use crate::base::{Base, BasePackage, BasePython, Compiler, CompilerPlace};
use crate::error::PackError;
use crate::layer_writer::Layer;
use crate::planning::PlannedLayer;

/// What tells one build of the interpreter from another: the versions of its packages.
///
/// The same for all architectures, whose bytecode does not differ, and for all else in a base.
pub(crate) fn interpreter_identity(pinned: &PinnedBase) -> String {
    let minor = pinned.python_minor();
    let version = |name: String| {
        pinned
            .package(&name)
            .map_or("", |package| package.version.as_str())
            .to_owned()
    };
    let parts = [
        format!("python{minor}-minimal"),
        format!("libpython{minor}-minimal"),
        format!("libpython{minor}-stdlib"),
    ];
    let versions = parts.map(version).join(" ");
    // A rebuild of the same source (`+b1`) is the same interpreter.
    let same_source = versions
        .split(' ')
        .map(|version| version.split("+b").next().unwrap_or(version));
    same_source.collect::<Vec<_>>().join(" ")
}

/// Puts a base into the store, with the one of this machine's architecture that compiles for it.
pub(crate) fn prepare(
    archive: &Archive,
    pinned: &PinnedBase,
    for_host: &PinnedBase,
    options: &AssembleOptions,
    progress: &dyn Progress,
) -> Result<Base, PackError> {
    let assemble = |pinned| {
        archive
            .assemble(pinned, options, progress)
            .map_err(|error| PackError::Assemble(Box::new(error)))
    };
    let layer = assemble(pinned)?;
    let host = if for_host.arch == pinned.arch {
        layer.clone()
    } else {
        assemble(for_host)?
    };
    let minor = pinned.python_minor();
    Ok(Base {
        name: format!("debian {}", layer.suite),
        image: None,
        arch: layer.arch,
        python: BasePython {
            version: layer.python.clone(),
            program: format!("/usr/bin/python{minor}"),
            libraries: vec![
                format!("/usr/lib/python{minor}"),
                "/usr/lib/python3/dist-packages".into(),
            ],
        },
        libc: Libc::Glibc(layer.glibc.0, layer.glibc.1),
        system: format!("Debian {}", layer.suite),
        suite: Some(layer.suite.clone()),
        packages: layer
            .packages
            .iter()
            .map(|package| BasePackage {
                name: package.name.clone(),
                version: package.version.clone(),
                arch: package.arch.clone(),
                source: None,
            })
            .collect(),
        config: ContainerConfig::default(),
        history: Vec::new(),
        layers: vec![planned_layer(&layer)],
        compiler: Some(Compiler {
            version: host.python.clone(),
            identity: interpreter_identity(for_host),
            place: CompilerPlace::OwnTree,
            layers: vec![(host.diff_id.clone(), descriptor(&host))],
        }),
        has_environment: false,
        owner: None,
    })
}

fn descriptor(layer: &BaseLayer) -> Descriptor {
    Descriptor::new(media_type::LAYER_GZIP, layer.blob.clone(), layer.size)
}

fn planned_layer(base: &BaseLayer) -> PlannedLayer {
    PlannedLayer {
        kind: LayerKind::Base.to_string(),
        layer: Layer {
            digest: base.blob.clone(),
            size: base.size,
            diff_id: base.diff_id.clone(),
            unpacked: base.unpacked_size,
        },
        created_by: format!("debian {} with Python {}", base.suite, base.python),
        packages: base
            .packages
            .iter()
            .map(|package| format!("{} {}", package.name, package.version))
            .collect(),
    }
}
