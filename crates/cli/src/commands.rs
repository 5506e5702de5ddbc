//! The commands, one file each: arguments and a call into the engine.

pub mod base;
pub mod build;
pub mod create;
pub mod doctor;
pub mod exec;
pub mod history;
pub mod images;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod pack;
pub mod ps;
pub mod pull;
pub mod restart;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod sbom;
pub mod start;
pub mod stop;
pub mod tag;
pub mod version;

use crate::arguments::Command;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Runs a command; gives the exit code.
///
/// # Errors
/// What the user must be told.
pub fn run(command: Command, settings: &Settings) -> Result<i32, Failure> {
    match command {
        Command::Pack(pack) => pack.run(settings),
        Command::Build(build) => build.run(settings),
        Command::Base(base) => base.run(settings),
        Command::Pull(pull) => pull.run(settings),
        Command::Run(run) => run.run(settings),
        Command::Create(create) => create.run(settings),
        Command::Start(start) => start.run(settings),
        Command::Restart(restart) => restart.run(settings),
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
        Command::Doctor(doctor) => doctor.run(settings),
        Command::Version(version) => version.run(),
    }
}

/// Does something with each name: prints what comes of it, tells each failure and goes on; 1 when one failed.
fn each(
    names: &[String],
    settings: &Settings,
    mut action: impl FnMut(&str) -> Result<String, Failure>,
) -> i32 {
    let mut code = 0;
    for name in names {
        match action(name) {
            Ok(text) => output::line(&text),
            Err(failure) => {
                failure.show(Some(settings.root()));
                code = 1;
            }
        }
    }
    code
}
