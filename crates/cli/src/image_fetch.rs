//! The image of a container that is to be made: taken from the store, or fetched from its registry first.

use std::str::FromStr;

use coil_engine::Engine;
use coil_fetch::{Fetcher, NoProgress, Progress};
use coil_oci::{Arch, Platform, Reference};
use coil_registry::{PullRequest, Quiet, Registries};
use coil_store::StoreError;

use crate::output;
use crate::progress::Screen;
use crate::registry_settings::RegistryAccess;
use crate::report::Failure;
use crate::settings::Settings;

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Each time.
    Always,
    /// When it isn't there.
    Missing,
    /// Never.
    Never,
}

impl When {
    /// Reads the value of `--pull`.
    ///
    /// # Errors
    /// When it is another word.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "always" => Ok(When::Always),
            "missing" | "" => Ok(When::Missing),
            "never" => Ok(When::Never),
            other => Err(Failure::new(format!(
                "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
            ))
            .help("give --pull missing, or leave it out")
            .code(125)),
        }
    }
}

/// Sees to it that an image is there, for the platform of this machine.
///
/// # Errors
/// When it can't be fetched, or is for another machine.
pub fn ensure(
    settings: &Settings,
    engine: &Engine,
    image: &str,
    when: When,
    platform: Option<&str>,
    quiet: bool,
) -> Result<(), Failure> {
    let host = Platform::linux(Arch::host());
    let platform = match platform {
        None | Some("" | "linux") => host.clone(),
        Some(text) => Platform::from_str(text).map_err(|error| Failure::new(error.to_string()).code(125))?,
    };
    if platform.architecture != host.architecture || platform.os != host.os {
        return Err(Failure::new(format!(
            "--platform {}/{}: this machine runs programs for {} alone",
            platform.os,
            platform.architecture,
            Arch::host()
        ))
        .help("leave it out; `coil pack --platform` makes images for other machines")
        .code(125)
        .of_daemon());
    }
    let missing = || matches!(engine.store().find(image), Err(StoreError::NoSuchImage(_)));
    let fetch = match when {
        When::Never => false,
        When::Always => true,
        When::Missing => missing(),
    };
    // What can't be a name is told by who looks for it.
    let reference = match Reference::parse(image) {
        Ok(reference) => reference,
        Err(error) if missing() => {
            return Err(Failure::new(error.to_string())
                .help("a name is [REGISTRY/]NAME[:TAG], in small letters")
                .code(125));
        }
        Err(_) => return Ok(()),
    };
    if !fetch {
        return Ok(());
    }
    if !quiet && missing() {
        output::error_line(&format!(
            "Unable to find image '{}' locally",
            reference.familiar()
        ));
    }
    let access = RegistryAccess::read(settings.environment());
    let fetcher = Fetcher::new(settings.network(false).fetch);
    let registries = Registries::new(&fetcher, access.settings, &access.credentials);
    let screen = Screen::new();
    let progress: &dyn Progress = if quiet { &NoProgress } else { &screen };
    let request = PullRequest {
        reference: reference.clone(),
        digest: None,
        platforms: vec![platform],
        strict: false,
    };
    let pulled = engine.pull(&registries, &request, progress, &Quiet);
    screen.clear();
    let outcome = pulled.map_err(|error| Failure::from(error).code(125).of_daemon())?;
    if !quiet {
        let what = match outcome.is_new {
            true => "Downloaded newer image",
            false => "Image is up to date",
        };
        output::error_line(&format!("Status: {what} for {}", reference.familiar()));
    }
    Ok(())
}
