//! `coil base`: base images made from Debian's signed packages, with no registry.

mod pin_file;
mod uv;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use coil_build::Output;
use coil_build::stand_in::{self, Change, Kind, Recipe, StandInMaker, StandInRequest, changes, uv_recipe};
use coil_debian::{Archive, PinnedSystem, SourcesConfig};
use coil_engine::Engine;
use coil_engine::base_images::MadeStandIn;
use coil_fetch::{Fetcher, NoProgress, Progress};
use coil_oci::{Arch, Descriptor, Reference};
use coil_store::Image;
use coil_wheel::index::IndexClient;

use crate::index_settings::IndexFlags;
use crate::output;
use crate::packing;
use crate::progress::Screen;
use crate::quantity::human_size;
use crate::report::Failure;
use crate::settings::Settings;
use crate::sweep::Sweep;
use crate::table;
use pin_file::PinFile;
use uv::{UvImages, UvRequest};

/// The machine's apt configuration.
const APT: &str = "/etc/apt";
/// So many changed packages are told of each image.
const SHOWN: usize = 40;

/// Arguments of `coil base`.
#[derive(Debug, Args)]
pub struct Base {
    /// The images to stand in for, such as python:3.11-slim
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Show which names there are and what each holds
    #[arg(long)]
    list: bool,
    /// Where Debian lacks that very version, take the closest
    #[arg(long)]
    nearest: bool,
    /// Renew those that are here, or the named ones, with Debian's packages of today
    #[arg(long)]
    update: bool,
    /// Take the packages that this file pins (coil.lock), and pin in it what it doesn't say
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Show what would change, and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Make an image of your own: the Debian suite
    #[arg(long, value_name = "SUITE")]
    suite: Option<String>,
    /// Make an image of your own: a package to install; several times for several
    #[arg(long = "package", value_name = "PACKAGE", value_delimiter = ',')]
    packages: Vec<String>,
    /// Take Debian's indices although their time has run out
    #[arg(long)]
    allow_expired: bool,
    /// Write the image to a place as well: oci:DIR, oci-archive:FILE or docker-archive:FILE
    #[arg(short, long = "output", value_name = "KIND:PATH")]
    outputs: Vec<String>,
    /// Never use the network
    #[arg(long)]
    offline: bool,
    /// Print the images' ids alone
    #[arg(short, long)]
    quiet: bool,
}

/// An image that is to be made.
enum Wanted {
    /// Of Debian's packages.
    Debian(Box<StandInRequest>),
    /// Of uv's wheel.
    Uv(Box<UvRequest>),
}

impl Wanted {
    fn name(&self) -> &Reference {
        match self {
            Wanted::Debian(request) => &request.name,
            Wanted::Uv(request) => &request.name,
        }
    }
}

impl Base {
    /// Makes them, one after the other.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        if self.list {
            output::print(&list());
            return Ok(0);
        }
        let outputs = self.places()?;
        let engine = settings.engine()?;
        let requests = self.requests(&engine)?;
        if !outputs.is_empty() && (self.dry_run || requests.len() != 1) {
            return Err(Failure::new("--output writes one image that is made or here")
                .help("name one image, and leave --dry-run away")
                .code(125));
        }
        let signals = packing::take_signals()?;
        signals.clean_up(Sweep {
            program: Settings::own_program().to_owned(),
            temporary: engine.store().temp_dir(),
            folders: Vec::new(),
        });
        let screen = Screen::new();
        let progress: &dyn Progress = if self.quiet { &NoProgress } else { &screen };
        let fetcher = Fetcher::new(settings.network(self.offline).fetch);
        let index = settings.index(&IndexFlags::default())?;
        let uv_images = UvImages {
            base: &self,
            engine: &engine,
            index: &IndexClient::new(engine.store(), &fetcher, &index),
            fetcher: &fetcher,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let sources = SourcesConfig::from_host(Path::new(APT));
        let archive = Archive::new(fetcher.clone(), engine.store().clone(), sources)
            .at_time(now.as_secs())
            .allow_expired(self.allow_expired || settings.allow_expired());
        let maker = StandInMaker {
            store: engine.store(),
            archive: &archive,
            executor: Some(&engine),
            is_root: engine.owns_ids(),
            progress,
            threads: thread::available_parallelism().map_or(1, usize::from),
            epoch: Some(settings.epoch()?).filter(|epoch| *epoch > 0),
            arch: Arch::host(),
        };
        let mut lock = self.lock.as_deref().map(PinFile::read).transpose()?;
        for wanted in requests {
            let name = wanted.name().clone();
            let done = match wanted {
                Wanted::Debian(request) => self.debian(&engine, &maker, *request, lock.as_mut(), &screen),
                Wanted::Uv(request) => uv_images.one(&maker, &request, &screen),
            };
            screen.clear();
            done?;
            for output in &outputs {
                let written = engine.export_stand_in(&name, output);
                written.map_err(|error| {
                    let failure = Failure::of(&error);
                    match error.help() {
                        Some(help) => failure.help(help),
                        None => failure,
                    }
                })?;
            }
        }
        signals.keep();
        Ok(0)
    }

    /// One of Debian's packages, as pinned where there is a lock.
    fn debian(
        &self,
        engine: &Engine,
        maker: &StandInMaker<'_>,
        mut request: StandInRequest,
        lock: Option<&mut PinFile>,
        screen: &Screen,
    ) -> Result<(), Failure> {
        if let Some(lock) = &lock {
            request.pinned = self.pinned(engine, maker, &request, lock)?;
        }
        let made = self.one(engine, maker, &request);
        screen.clear();
        let Some(made) = made? else {
            return Ok(());
        };
        if let Some(lock) = lock {
            lock.pin(&request.name, maker.arch, &made.stand_in.system)?;
        }
        self.tell(engine, &made)
    }

    /// The packages that are pinned for an image, or those of the one that is here.
    fn pinned(
        &self,
        engine: &Engine,
        maker: &StandInMaker<'_>,
        request: &StandInRequest,
        lock: &PinFile,
    ) -> Result<Option<PinnedSystem>, Failure> {
        if self.update {
            return Ok(None);
        }
        let pinned = stand_in::pinned(&lock.lock, &request.name, maker.arch, &request.recipe)
            .map_err(|error| Failure::new(&error.message).help(&error.help))?;
        let here = || {
            let (named, _) = engine.stand_in(&request.name).ok()??;
            maker.packages_of(&named.descriptor)
        };
        Ok(pinned.or_else(here))
    }

    fn places(&self) -> Result<Vec<Output>, Failure> {
        let place = |text: &String| {
            let help = "for example --output docker-archive:image.tar";
            Output::from_str(text).map_err(|error| Failure::of(&error).help(help).code(125))
        };
        self.outputs.iter().map(place).collect()
    }

    fn requests(&self, engine: &Engine) -> Result<Vec<Wanted>, Failure> {
        let name = |text: &String| {
            let help = "a name is [REGISTRY/]NAME[:TAG], in small letters";
            Reference::parse(text).map_err(|error| Failure::of(&error).help(help))
        };
        let mut names: Vec<Reference> = self.names.iter().map(name).collect::<Result<_, _>>()?;
        if self.suite.is_some() || !self.packages.is_empty() {
            return self.own(&names);
        }
        if names.is_empty() && self.update {
            let all = engine.store().images()?;
            let here = all.into_iter().filter(|image| image.stand_in);
            names = here.map(|image| image.reference).collect();
            if names.is_empty() {
                output::error_line("note: there are no stand-ins here to renew");
            }
        } else if names.is_empty() {
            let help = "for example `coil base python:3.11-slim`; `coil base --list` shows all";
            return Err(Failure::new("no image was named").help(help));
        }
        let refused = |error: stand_in::NameError| Failure::new(&error.message).help(&error.help);
        let request = |name: Reference| {
            if let Some(recipe) = uv_recipe(&name, self.nearest) {
                let recipe = recipe.map_err(refused)?;
                return Ok(Wanted::Uv(Box::new(UvRequest { name, recipe })));
            }
            // One of the user's own tells itself what it was made of.
            let before = engine.stand_in(&name)?;
            let own = before.and_then(|(_, image)| Recipe::of_labels(&image.config.config.labels));
            let recipe = match own {
                Some(recipe) => recipe,
                None => stand_in::recipe(&name, self.nearest).map_err(refused)?,
            };
            Ok(Wanted::Debian(Box::new(StandInRequest {
                name,
                recipe,
                pinned: None,
            })))
        };
        names.into_iter().map(request).collect()
    }

    /// An image of the user's own.
    fn own(&self, names: &[Reference]) -> Result<Vec<Wanted>, Failure> {
        let [name] = names else {
            return Err(Failure::new("--suite and --package make one image of your own")
                .help("name it: `coil base tools --suite bookworm --package curl`"));
        };
        let suite = self.suite.as_deref().unwrap_or("trixie");
        let suite = stand_in::suite(suite).map_err(|error| Failure::new(&error.message).help(&error.help))?;
        if stand_in::made_of(name).is_some() {
            let text = format!("{} is the name of another image", name.familiar());
            return Err(Failure::new(text).help("give an image of your own a name of its own"));
        }
        let recipe = Recipe {
            kind: Kind::Own(self.packages.clone()),
            suite,
            slim: true,
            exactly: None,
            nearest: Vec::new(),
        };
        Ok(vec![Wanted::Debian(Box::new(StandInRequest {
            name: name.clone(),
            recipe,
            pinned: None,
        }))])
    }

    /// Makes one, unless it is here and nobody wants another.
    fn one(
        &self,
        engine: &Engine,
        maker: &StandInMaker<'_>,
        request: &StandInRequest,
    ) -> Result<Option<MadeStandIn>, Failure> {
        let before = engine.stand_in(&request.name)?;
        let is_own = self.suite.is_some() || !self.packages.is_empty();
        if let (Some((named, image)), false) = (
            &before,
            self.update || self.dry_run || is_own || self.lock.is_some(),
        ) && maker.is_whole(&named.descriptor)
        {
            self.tell_here(&request.name, image);
            return Ok(None);
        }
        if self.update || self.dry_run {
            let after = match &request.pinned {
                Some(system) => system.clone(),
                None => maker.resolve(&request.recipe)?,
            };
            let known = before.and_then(|(named, _)| maker.packages_of(&named.descriptor));
            match known {
                Some(before) => self.show_changes(&request.name, &changes(&before, &after), &after.date),
                None => output::line(&format!(
                    "{}: {} packages of Debian {} of {}",
                    request.name.familiar(),
                    after.packages().count(),
                    after.suite,
                    day(&after.date)
                )),
            }
        }
        if self.dry_run {
            return Ok(None);
        }
        Ok(Some(engine.make_stand_in(maker, request)?))
    }

    fn tell_here(&self, name: &Reference, image: &Image) {
        if self.quiet {
            output::line(&image.id().to_string());
            return;
        }
        let labels = &image.config.config.labels;
        let made_of = labels.get(stand_in::label::MADE_OF).map_or("", String::as_str);
        output::line(&format!(
            "{} is here already, made of {made_of}; --update renews it",
            name.familiar()
        ));
    }

    fn show_changes(&self, name: &Reference, changes: &[Change], date: &str) {
        if self.quiet {
            return;
        }
        let name = name.familiar();
        if changes.is_empty() {
            output::line(&format!("{name}: no package changes"));
            return;
        }
        output::line(&format!("{name}: {} packages change", changes.len()));
        for change in changes.iter().take(SHOWN) {
            let line = match (&change.before, &change.after) {
                (Some(before), Some(after)) => format!("  {} {before} -> {after}", change.package),
                (None, Some(after)) => format!("  {} {after} is new", change.package),
                (Some(before), None) => format!("  {} {before} goes", change.package),
                (None, None) => continue,
            };
            output::line(&line);
        }
        if changes.len() > SHOWN {
            output::line(&format!("  and {} more of {}", changes.len() - SHOWN, day(date)));
        }
    }

    fn tell(&self, engine: &Engine, made: &MadeStandIn) -> Result<(), Failure> {
        let system = &made.stand_in.system;
        let parts = format!(
            "{} packages of Debian {} of {}",
            system.packages().count(),
            system.suite,
            day(&system.date)
        );
        self.tell_made(
            engine,
            made,
            (&made.stand_in.descriptor, &made.stand_in.nearest),
            &parts,
        )
    }

    /// What was made, and of what.
    fn tell_made<T>(
        &self,
        engine: &Engine,
        made: &MadeStandIn<T>,
        (descriptor, nearest): (&Descriptor, &[String]),
        parts: &str,
    ) -> Result<(), Failure> {
        let image = engine.store().image_of(descriptor)?;
        if self.quiet {
            output::line(&image.id().to_string());
            return Ok(());
        }
        let name = made.name.familiar();
        for note in nearest {
            output::error_line(&format!("note: {name}: {note}"));
        }
        if made.hidden {
            output::error_line(&format!(
                "note: the image {name} that is here keeps the name; remove it with `coil rmi {name}` to use the stand-in"
            ));
        }
        output::line(&format!(
            "{name} stands in for the registry's image: {parts}, {}{}",
            human_size(engine.store().image_size(&image)),
            if made.unchanged { ", unchanged" } else { "" }
        ));
        Ok(())
    }
}

/// `20260711T101637Z` as `2026-07-11`.
fn day(date: &str) -> String {
    match (date.get(..4), date.get(4..6), date.get(6..8)) {
        (Some(year), Some(month), Some(day)) => format!("{year}-{month}-{day}"),
        _ => date.to_owned(),
    }
}

fn list() -> String {
    let rows: Vec<Vec<String>> = stand_in::offers()
        .into_iter()
        .map(|offer| vec![offer.name, offer.suite.to_owned(), offer.holds, offer.also])
        .collect();
    table::render(&["NAME", "SUITE", "HOLDS", "ALSO"], &rows)
}
