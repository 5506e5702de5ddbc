//! From a project's folder to an image, for `pack` and for `run`.

use std::fs;
use std::path::PathBuf;
use std::thread;

use coil_build::{Output, PackRequest, Packer};
use coil_debian::SourcesConfig;
use coil_engine::pack::{PackResult, PackTarget};
use coil_engine::{Engine, RunRequest, parse_publish};
use coil_fetch::{Fetcher, NoProgress, Progress};
use coil_oci::Arch;
use coil_registry::Registries;

use crate::format_settings;
use crate::index_settings::IndexFlags;
use crate::output;
use crate::pip_settings::PipSettings;
use crate::progress::Screen;
use crate::registry_settings::RegistryAccess;
use crate::report::Failure;
use crate::settings::Settings;
use crate::signals::SignalThread;
use crate::sweep::Sweep;

/// The machine's apt configuration.
const APT: &str = "/etc/apt";

/// How a pack goes about it.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// Whether the network may not be used.
    pub offline: bool,
    /// Whether nothing but failures is told.
    pub quiet: bool,
    /// Flags that say where packages come from.
    pub index: IndexFlags,
}

/// Packs; a signal on the way removes what was half made.
///
/// # Errors
/// What the pack says; the image has no name then.
pub fn pack(
    settings: &Settings,
    engine: &Engine,
    signals: &SignalThread,
    request: &PackRequest,
    target: &PackTarget,
    manner: Manner,
) -> Result<PackResult, Failure> {
    let environment = settings.environment();
    let request = &PackRequest {
        machine_formats: PipSettings::read(environment, &|path| fs::read_to_string(path).ok()).formats,
        variable_formats: format_settings::of_uv(environment)?,
        ..request.clone()
    };
    signals.clean_up(sweep(engine, request, target));
    let index = settings.index(&manner.index)?;
    let network = settings.network(manner.offline);
    let fetcher = Fetcher::new(network.fetch);
    let screen = Screen::new();
    let progress: &dyn Progress = if manner.quiet { &NoProgress } else { &screen };
    let variables = settings.environment().texts().collect();
    let access = RegistryAccess::read(settings.environment());
    let registries = Registries::new(&fetcher, access.settings, &access.credentials);
    let packer = Packer {
        variables: &variables,
        store: engine.store(),
        fetcher: &fetcher,
        index: &index,
        sources: &|| SourcesConfig::from_host(APT.as_ref()),
        allow_expired: settings.allow_expired(),
        uv: network.uv.as_deref(),
        uv_environment: &network.uv_environment,
        registries: Some(&registries),
        now: coil_engine::clock::now().as_secs(),
        progress,
        executor: Some(engine),
        threads: thread::available_parallelism().map_or(1, usize::from),
    };
    let result = engine.pack(&packer, request, target);
    screen.clear();
    signals.keep();
    let result = result?;
    if !manner.quiet {
        for note in &result.packed.notes {
            output::error_line(&format!("note: {note}"));
        }
    }
    Ok(result)
}

/// Packs the project for this machine; gives the image's name.
///
/// # Errors
/// What the pack says, with the exit code of a container that could not be made.
pub fn pack_to_run(
    settings: &Settings,
    engine: &Engine,
    signals: &SignalThread,
    dir: PathBuf,
    run: &RunRequest,
) -> Result<String, Failure> {
    let request = PackRequest {
        dir,
        platforms: vec![Arch::host()],
        epoch: settings.epoch()?,
        ..PackRequest::default()
    };
    let manner = Manner::default();
    let result = pack(
        settings,
        engine,
        signals,
        &request,
        &PackTarget::default(),
        manner,
    )
    .map_err(|failure| failure.code(125))?;
    let bare = matches!(
        run.network.networks.first().map(String::as_str),
        Some("host" | "none")
    );
    let ports = result.packed.images.iter().flat_map(|image| &image.ports);
    for port in ports.filter(|port| !bare && !is_published(port, &run.ports)) {
        let plain = port.strip_suffix("/tcp").unwrap_or(port);
        let number = port.split('/').next().unwrap_or(port);
        output::error_line(&format!(
            "hint: the app listens on port {plain}, which is not published: add `-p {number}:{plain}`"
        ));
    }
    let name = result.names.first().unwrap_or(&result.packed.default_name);
    Ok(name.familiar())
}

/// Whether one of the `-p` flags names a container port such as `8000/tcp`.
fn is_published(port: &str, flags: &[String]) -> bool {
    let mappings = flags
        .iter()
        .flat_map(|flag| parse_publish(flag).unwrap_or_default());
    mappings
        .into_iter()
        .any(|mapping| format!("{}/{}", mapping.container_port, mapping.protocol) == port)
}

fn sweep(engine: &Engine, request: &PackRequest, target: &PackTarget) -> Sweep {
    let mut folders = vec![request.dir.clone()];
    for place in &target.outputs {
        match place {
            Output::Oci(path) => folders.extend([path.clone(), path.join("blobs/sha256")]),
            Output::OciArchive(path) | Output::DockerArchive(path) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                folders.push(folder.map_or_else(|| PathBuf::from("."), PathBuf::from));
            }
        }
    }
    Sweep {
        program: Settings::own_program().to_owned(),
        temporary: engine.store().temp_dir(),
        folders,
    }
}

/// The thread that takes signals.
///
/// # Errors
/// When the system gives none.
pub fn take_signals() -> Result<SignalThread, Failure> {
    SignalThread::start()
        .map_err(|error| Failure::new(format!("signals cannot be taken\n  caused by: {error}")).code(125))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports_are_recognised() {
        let flags = ["80:8000".to_owned(), "127.0.0.1:53:53/udp".to_owned()];
        assert!(is_published("8000/tcp", &flags) && is_published("53/udp", &flags));
        assert!(!is_published("80/tcp", &flags) && !is_published("53/tcp", &flags));
    }
}
