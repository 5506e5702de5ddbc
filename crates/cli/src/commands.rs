//! The commands, one file each: arguments and a call into the engine.

pub mod attach;
pub mod base;
pub mod build;
pub mod builder;
pub mod commit;
pub mod container;
pub mod context;
pub mod cp;
pub mod create;
pub mod df;
pub mod diff;
pub mod doctor;
pub mod events;
pub mod exec;
pub mod export;
pub mod history;
pub mod image;
pub mod images;
pub mod import;
pub mod info;
pub mod inspect;
pub mod kill;
pub mod load;
pub mod logs;
pub mod network;
pub mod pack;
pub mod pause;
pub mod port;
pub mod prune;
pub mod ps;
pub mod pull;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod save;
pub mod sbom;
pub mod start;
pub mod stats;
pub mod stop;
pub mod system;
pub mod tag;
pub mod top;
pub mod update;
pub mod version;
pub mod volume;
pub mod wait;

use crate::arguments::Command;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;
use crate::template::Format;

/// Runs a command; gives the exit code.
///
/// # Errors
/// What the user must be told.
pub fn run(command: Command, settings: &Settings) -> Result<i32, Failure> {
    match command {
        Command::Pack(pack) => tidied(settings, || pack.run(settings)),
        Command::Build(build) => tidied(settings, || build.run(settings)),
        Command::Base(base) => base.run(settings),
        Command::Pull(pull) => pull.run(settings),
        Command::Run(run) => run.run(settings),
        Command::Create(create) => create.run(settings),
        Command::Start(start) => start.run(settings),
        Command::Restart(restart) => restart.run(settings),
        Command::Attach(attach) => attach.run(settings),
        Command::Pause(pause) => pause.run(settings, true),
        Command::Unpause(pause) => pause.run(settings, false),
        Command::Wait(wait) => wait.run(settings),
        Command::Rename(rename) => rename.run(settings),
        Command::Update(update) => update.run(settings),
        Command::System(system) => system.run(settings),
        Command::Ps(ps) => ps.run(settings),
        Command::Logs(logs) => logs.run(settings),
        Command::Stop(stop) => stop.run(settings),
        Command::Kill(kill) => kill.run(settings),
        Command::Rm(rm) => rm.run(settings),
        Command::Exec(exec) => exec.run(settings),
        Command::Images(images) => images.run(settings),
        Command::Rmi(rmi) => rmi.run(settings),
        Command::Tag(tag) => tag.run(settings),
        Command::Inspect(inspect) => inspect.run(settings),
        Command::History(history) => history.run(settings),
        Command::Sbom(sbom) => sbom.run(settings),
        Command::Network(network) => network.run(settings),
        Command::Port(port) => port.run(settings),
        Command::Doctor(doctor) => doctor.run(settings),
        Command::Cp(cp) => cp.run(settings),
        Command::Diff(diff) => diff.run(settings),
        Command::Commit(commit) => commit.run(settings),
        Command::Export(export) => export.run(settings),
        Command::Import(import) => import.run(settings),
        Command::Save(save) => save.run(settings),
        Command::Load(load) => load.run(settings),
        Command::Volume(volume) => volume.run(settings),
        Command::Top(top) => top.run(settings),
        Command::Stats(stats) => stats.run(settings),
        Command::Events(events) => events.run(settings),
        Command::Info(info) => info.run(settings),
        Command::Container(group) => run(group.command(), settings),
        Command::Image(group) => run(group.command(), settings),
        Command::Builder(group) | Command::Buildx(group) => group.run(settings),
        Command::Version(version) => version.run(settings),
        Command::Context(context) => context.run(settings),
        Command::ContainerPrune(prune) => prune.run(settings),
        Command::ImagePrune(prune) => prune.run(settings),
    }
}

/// Builds or packs, and then keeps the cache within its limit.
fn tidied(settings: &Settings, make: impl FnOnce() -> Result<i32, Failure>) -> Result<i32, Failure> {
    let since = coil_engine::clock::now();
    // One that means nothing is said before the work, not behind it.
    let limit = settings.cache_limit()?;
    let made = make()?;
    if let Some(limit) = limit {
        output::flush();
        // What was asked for is done: a cache that can't be tidied now is tidied another time.
        let _ = settings.engine()?.tidy_cache(limit.bytes(), since);
    }
    Ok(made)
}

/// Does something with each name: prints what comes of it, tells each failure and goes on; 1 when one failed.
fn each(
    names: &[String],
    settings: &Settings,
    mut action: impl FnMut(&str) -> Result<String, Failure>,
) -> i32 {
    each_maybe(names, settings, |name| action(name).map(Some))
}

/// The same where there may be nothing to print.
fn each_maybe(
    names: &[String],
    settings: &Settings,
    mut action: impl FnMut(&str) -> Result<Option<String>, Failure>,
) -> i32 {
    let mut code = 0;
    for name in names {
        match action(name) {
            Ok(Some(text)) => output::line(&text),
            Ok(None) => {}
            Err(failure) => {
                failure.show(Some(settings.root()));
                code = 1;
            }
        }
    }
    code
}

/// Shows objects by name as JSON or through a template; tells each that isn't there, and gives 1 then.
fn inspect_each(
    format: Option<&str>,
    names: &[String],
    settings: &Settings,
    mut find: impl FnMut(&str) -> Result<serde_json::Value, Failure>,
) -> Result<i32, Failure> {
    let format = Format::of_objects(format, "")?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match find(name) {
            Ok(object) => found.push(object),
            Err(failure) => failures.push(failure),
        }
    }
    format.objects(&found)?;
    for failure in &failures {
        failure.show(Some(settings.root()));
    }
    Ok(i32::from(!failures.is_empty()))
}
