//! From a project's folder to an image, for `pack` and for `run`.

use std::path::PathBuf;
use std::thread;

use coil_build::{Output, PackRequest, Packer};
use coil_debian::SourcesConfig;
use coil_engine::Engine;
use coil_engine::pack::{PackResult, PackTarget};
use coil_fetch::{Fetcher, NoProgress, Progress};

use crate::output;
use crate::progress::Screen;
use crate::report::Failure;
use crate::settings::Settings;
use crate::signals::SignalThread;
use crate::sweep::Sweep;

/// The machine's apt configuration.
const APT: &str = "/etc/apt";

/// How a pack goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Whether the network may not be used.
    pub offline: bool,
    /// Whether nothing but failures is told.
    pub quiet: bool,
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
    signals.clean_up(sweep(settings, engine, request, target));
    let network = settings.network(manner.offline);
    let fetcher = Fetcher::new(network.fetch);
    let screen = Screen::new();
    let progress: &dyn Progress = if manner.quiet { &NoProgress } else { &screen };
    let packer = Packer {
        store: engine.store(),
        fetcher: &fetcher,
        index: &network.index,
        sources: &|| SourcesConfig::from_host(APT.as_ref()),
        allow_expired: settings.allow_expired(),
        uv: network.uv.as_deref(),
        uv_environment: &network.uv_environment,
        progress,
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

fn sweep(settings: &Settings, engine: &Engine, request: &PackRequest, target: &PackTarget) -> Sweep {
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
        program: settings.program().to_owned(),
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
