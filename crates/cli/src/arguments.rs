//! The command line's words: which commands there are, and what a wrong word is told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands;
use crate::environment::Environment;
use crate::output;
use crate::report::Failure;

/// Packs, runs and ships Python applications as containers, without a daemon.
#[derive(Debug, Parser)]
#[command(
    name = "coil",
    version,
    disable_help_subcommand = true,
    subcommand_required = true
)]
pub struct Arguments {
    /// The folder in which coil keeps everything
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an image of a Python project
    Pack(Box<commands::pack::Pack>),
    /// Make an image from a Dockerfile
    Build(Box<commands::build::Build>),
    /// Make base images from Debian's signed packages, with no registry
    Base(commands::base::Base),
    /// Get an image from a registry
    Pull(commands::pull::Pull),
    /// Start a container from an image or a project's folder
    Run(Box<commands::run::Run>),
    /// Make a container without starting it
    Create(Box<commands::create::Create>),
    /// Start containers that were made, or that have ended
    Start(commands::start::Start),
    /// Stop containers and start them again
    Restart(commands::restart::Restart),
    /// List containers
    Ps(commands::ps::Ps),
    /// Show what a container printed
    Logs(commands::logs::Logs),
    /// Stop containers: ask first, then kill
    Stop(commands::stop::Stop),
    /// Send a signal to containers
    Kill(commands::kill::Kill),
    /// Remove containers
    Rm(commands::rm::Rm),
    /// Run a command in a container that runs
    Exec(commands::exec::Exec),
    /// List images
    Images(commands::images::Images),
    /// Remove images
    Rmi(commands::rmi::Rmi),
    /// Give an image one more name
    Tag(commands::tag::Tag),
    /// Show all that is known of containers and images
    Inspect(commands::inspect::Inspect),
    /// Show how an image was made
    History(commands::history::History),
    /// Show the bill of materials of an image
    Sbom(commands::sbom::Sbom),
    /// Say what this machine can and can't do
    Doctor(commands::doctor::Doctor),
    /// Show the version
    Version(commands::version::Version),
}

/// Reads the command line; help and version are printed here and end the program.
///
/// # Errors
/// A word that doesn't fit, with exit code 125 as Docker has it.
pub fn parse(words: &[OsString], environment: &Environment) -> Result<Arguments, Failure> {
    let called = words
        .first()
        .map(Path::new)
        .and_then(Path::file_name)
        .unwrap_or_default();
    let name = if called == "docker" { "docker" } else { "coil" };
    if name == "docker" {
        refuse_remote_daemon(environment)?;
    }
    let mut command = Arguments::command().bin_name(name);
    if words.len() < 2 {
        output::print(&command.render_help().to_string());
        output::flush();
        std::process::exit(0);
    }
    let words = std::iter::once(OsString::from(name)).chain(words.iter().skip(1).cloned());
    let parsed = command
        .try_get_matches_from_mut(words)
        .and_then(|mut matches| Arguments::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output::print(&error.render().to_string());
            output::flush();
            std::process::exit(0)
        }
        _ => Failure::spoken(in_our_voice(&error.render().to_string(), name), 125),
    })
}

/// There is no daemon to talk to; doing the work here would be a surprise.
fn refuse_remote_daemon(environment: &Environment) -> Result<(), Failure> {
    match environment.text("DOCKER_HOST") {
        Some(host) if !host.starts_with("unix://") => Err(Failure::new(format!(
            "DOCKER_HOST is {host}, and coil reaches no remote daemon"
        ))
        .help("unset DOCKER_HOST to work on this machine")
        .code(125)),
        _ => Ok(()),
    }
}

/// The parser's text with `help:` lines instead of tips and hints.
fn in_our_voice(text: &str, name: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut helps: Vec<String> = Vec::new();
    let mut command = name.to_owned();
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(tip) = trimmed.strip_prefix("tip: ") {
            // Our own words after the image need no `--`.
            if !tip.starts_with("to pass ") {
                helps.push(format!("help: {tip}"));
            }
        } else if let Some(usage) = trimmed.strip_prefix("Usage: ") {
            let words = usage
                .split(' ')
                .take_while(|word| !word.starts_with(['[', '<', '-']));
            command = words.take(2).collect::<Vec<_>>().join(" ");
            lines.push(format!("usage: {usage}"));
        } else if !trimmed.is_empty() && !trimmed.starts_with("For more information") {
            lines.push(line.to_owned());
        }
    }
    if helps.is_empty() {
        helps.push(format!("help: `{command} --help` shows what it takes"));
    }
    lines.extend(helps);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &[&str]) -> String {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        parse(&words, &Environment::default())
            .expect_err("it must be refused")
            .text()
            .to_owned()
    }

    #[test]
    fn the_table_of_commands_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn near_misses_are_named() {
        assert!(refused(&["coil", "rum"]).contains("'run'"));
        let text = refused(&["coil", "run", "--netwok", "host", "x"]);
        assert!(
            text.starts_with("error: ") && text.contains("help: a similar argument exists: '--network'"),
            "{text}"
        );
        let text = refused(&["coil", "run", "--no-such-flag", "x"]);
        assert!(
            text.ends_with("help: `coil run --help` shows what it takes"),
            "{text}"
        );
    }

    #[test]
    fn words_after_the_image_belong_to_the_command() {
        let words = ["coil", "run", "--rm", "-it", "python", "-e", "--help", "--", "x"].map(OsString::from);
        let Command::Run(run) = parse(&words, &Environment::default())
            .expect("it is right")
            .command
        else {
            panic!("another command");
        };
        let flags = run.container;
        assert_eq!(flags.words, ["python", "-e", "--help", "--", "x"]);
        assert!(flags.rm && flags.interactive && flags.tty && flags.env.is_empty());
    }

    #[test]
    fn a_remote_daemon_is_refused_by_name() {
        let environment = Environment::of(&[("DOCKER_HOST", "tcp://build:2375")]);
        let words = ["/usr/bin/docker", "ps"].map(OsString::from);
        let failure = parse(&words, &environment).expect_err("it must be refused");
        assert!(failure.text().contains("tcp://build:2375"));
        assert!(parse(&["coil", "ps"].map(OsString::from), &environment).is_ok());
    }
}
