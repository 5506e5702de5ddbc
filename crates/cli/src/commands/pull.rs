//! `coil pull`: an image from a registry.

use std::str::FromStr;
use std::sync::Mutex;

use clap::Args;
use coil_engine::pull::PullOutcome;
use coil_fetch::{Fetcher, NoProgress, Progress};
use coil_oci::{Arch, Digest, Platform, Reference};
use coil_registry::{LayerState, PullEvents, PullRequest, Quiet, Registries};

use crate::output;
use crate::progress::Screen;
use crate::registry_settings::RegistryAccess;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    image: String,
    /// The platform, such as linux/arm64; this machine's when none is given
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print the image's name alone
    #[arg(short, long)]
    quiet: bool,
    /// Refused: coil pulls what one name means
    #[arg(short, long, hide = true)]
    all_tags: bool,
    /// What is pulled is known by its digest, and no signature is looked for
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<bool>,
    /// Never use the network
    #[arg(long)]
    offline: bool,
}

/// A line for each layer, as Docker prints them where there is no terminal.
struct Lines<'a> {
    screen: &'a Screen,
    /// One line after the other.
    turn: Mutex<()>,
}

impl PullEvents for Lines<'_> {
    fn layer(&self, digest: &Digest, state: LayerState) {
        let words = match state {
            LayerState::Exists => "Already exists",
            LayerState::Complete => "Pull complete",
        };
        let _turn = self.turn.lock();
        self.screen.clear();
        output::line(&format!("{}: {words}", digest.short()));
    }
}

impl Pull {
    /// Pulls, and says what came of it in Docker's words.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let bad = |error: &dyn std::fmt::Display| Failure::new(error.to_string()).code(1);
        let reference = Reference::parse(&self.image).map_err(|error| bad(&error))?;
        if self.all_tags {
            let message = match reference.tag().is_some_and(|_| names_tag(&self.image))
                || reference.digest().is_some()
            {
                true => "tag can't be used with --all-tags/-a",
                false => "--all-tags: coil pulls what one name means",
            };
            return Err(Failure::new(message).help("name each tag: coil pull NAME:TAG"));
        }
        if self.disable_content_trust == Some(false) {
            return Err(
                Failure::new("--disable-content-trust=false: coil looks for no signatures")
                    .help("leave it out, and pull by digest what must be the same"),
            );
        }
        let platform = match &self.platform {
            Some(text) => Platform::from_str(text).map_err(|error| bad(&error))?,
            None => Platform::linux(Arch::host()),
        };
        let engine = settings.engine()?;
        let access = RegistryAccess::read(settings.environment());
        let fetcher = Fetcher::new(settings.network(self.offline).fetch);
        let registries = Registries::new(&fetcher, access.settings, &access.credentials);
        let screen = Screen::silent();
        let lines = Lines {
            screen: &screen,
            turn: Mutex::default(),
        };
        if !self.quiet {
            if !names_tag(&self.image) {
                output::line("Using default tag: latest");
            }
            let tag = reference.tag().map(str::to_owned);
            let tag = tag.or_else(|| reference.digest().map(ToString::to_string));
            output::line(&format!(
                "{}: Pulling from {}",
                tag.unwrap_or_default(),
                reference.repository()
            ));
        }
        let request = PullRequest {
            reference: reference.clone(),
            digest: None,
            platforms: vec![platform],
            strict: self.platform.is_some(),
        };
        let (progress, events): (&dyn Progress, &dyn PullEvents) = match self.quiet {
            true => (&NoProgress, &Quiet),
            false => (&screen, &lines),
        };
        let PullOutcome { digest, is_new } = engine.pull(&registries, &request, progress, events)?;
        screen.clear();
        if !self.quiet {
            let what = match is_new {
                true => "Downloaded newer image",
                false => "Image is up to date",
            };
            output::line(&format!("Digest: {digest}"));
            output::line(&format!("Status: {what} for {}", reference.familiar()));
        }
        output::line(&reference.canonical());
        Ok(0)
    }
}

/// Whether a name has a tag or a digest.
fn names_tag(image: &str) -> bool {
    image
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains([':', '@']))
}
