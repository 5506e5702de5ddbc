//! The command line's words: which commands there are, and what a wrong word is told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client_flags::ClientFlags;
use crate::commands;
use crate::environment::Environment;
use crate::report::Failure;
use crate::{one_command, output, wrong_words};

/// Packs, runs and ships Python applications as containers, without a daemon.
#[derive(Debug, Parser)]
#[command(
    name = "coil",
    version,
    disable_help_subcommand = true,
    args_override_self = true,
    subcommand_required = true
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: GlobalFlags,
    /// Whether coil was called as `docker`.
    #[arg(skip)]
    pub as_docker: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// What may stand before every command.
#[derive(Debug, Args)]
pub struct GlobalFlags {
    /// The folder in which coil keeps everything
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    #[command(flatten)]
    pub client: ClientFlags,
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
    /// Connect to the output and input of a container that runs
    Attach(commands::attach::Attach),
    /// Stop containers' processes where they are
    Pause(commands::pause::Pause),
    /// Let paused containers go on
    Unpause(commands::pause::Pause),
    /// Wait for containers to end, and print their exit codes
    Wait(commands::wait::Wait),
    /// Give a container another name
    Rename(commands::rename::Rename),
    /// Change limits and restart policy of containers
    Update(Box<commands::update::Update>),
    /// Do what concerns all of coil on this machine
    System(commands::system::System),
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
    /// Make networks, and put containers into them
    Network(commands::network::Network),
    /// Show where a container's published ports are reached
    Port(commands::port::Port),
    /// Say what this machine can and can't do
    Doctor(commands::doctor::Doctor),
    /// Copy files between a container and this machine
    Cp(commands::cp::Cp),
    /// Show what a container changed of its image's files
    Diff(commands::diff::Diff),
    /// Make an image of a container
    Commit(commands::commit::Commit),
    /// Write a container's file system as a tar archive
    Export(commands::export::Export),
    /// Make an image of a tar archive
    Import(commands::import::Import),
    /// Write images as an archive
    Save(commands::save::Save),
    /// Load images of an archive
    Load(commands::load::Load),
    /// Make volumes, and look after them
    Volume(commands::volume::Volume),
    /// Show the processes of a container
    Top(commands::top::Top),
    /// Show what containers use
    Stats(commands::stats::Stats),
    /// Show what happens to containers, images, networks and volumes
    Events(commands::events::Events),
    /// Show what coil works with on this machine
    Info(commands::info::Info),
    /// The commands about containers
    Container(Box<commands::container::Group>),
    /// The commands about images
    Image(Box<commands::image::Group>),
    /// The commands about building
    Builder(Box<commands::builder::Group>),
    /// The commands about building, by the other name that Docker has for them
    Buildx(Box<commands::builder::Group>),
    /// Show where commands are done: on this machine
    Context(commands::context::Context),
    /// Show the version
    Version(commands::version::Version),
    /// `container prune`, which has no plain name.
    #[command(skip)]
    ContainerPrune(commands::prune::Containers),
    /// `image prune`.
    #[command(skip)]
    ImagePrune(commands::prune::Images),
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
    let as_docker = called == "docker";
    let name = if as_docker { "docker" } else { "coil" };
    let whole = || {
        let command = Arguments::command().bin_name(name);
        match as_docker {
            true => command.name("Docker").version(commands::version::AS_DOCKER),
            false => command,
        }
    };
    if words.len() < 2 {
        output::print(&whole().render_help().to_string());
        output::flush();
        std::process::exit(0);
    }
    let mut rest: Vec<OsString> = words[1..].to_vec();
    match rest[0].to_str() {
        // `coil help run` is `coil run --help`.
        Some("help") => {
            rest.remove(0);
            rest.push("--help".into());
        }
        Some("-v") => rest[0] = "--version".into(),
        _ => {}
    }
    // Help shows the switches plainly.
    let has = |wanted: &str| rest.iter().any(|word| word == wanted);
    // To these `-h` is the host's name.
    let asks_help = has("--help") || has("-h") && !has("run") && !has("create");
    let read = |mut command: clap::Command| {
        let path = wrong_words::path(&command, &rest);
        if !asks_help {
            command = wrong_words::as_docker_reads(command, &path);
        }
        let words = std::iter::once(OsString::from(name)).chain(rest.iter().cloned());
        let parsed = command
            .try_get_matches_from_mut(words)
            .and_then(|mut matches| Arguments::from_arg_matches_mut(&mut matches));
        (parsed, command, path)
    };
    // Most of the time of a short command would go into defining the others. Whatever doesn't fit is read again with all of them.
    let quick = one_command::definition(&rest).filter(|_| !asks_help).map(read);
    let (parsed, command, path) = match quick {
        Some((Ok(arguments), command, path)) => (Ok(arguments), command, path),
        _ => read(whole()),
    };
    let mut arguments = parsed.map_err(|error| match error.kind() {
        // Where a verb is missing, help is no answer to what was asked.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::error_line(error.render().to_string().trim_end());
            output::flush();
            std::process::exit(0)
        }
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output::print(&error.render().to_string());
            output::flush();
            std::process::exit(0)
        }
        _ => {
            let (text, code) = wrong_words::told(&error, &command, name, &path);
            Failure::spoken(text, code)
        }
    })?;
    arguments.as_docker = as_docker;
    arguments.global.client.check(environment, as_docker)?;
    Ok(arguments)
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
            text.starts_with("error: unknown flag: --netwok")
                && text.contains("help: a similar argument exists: '--network'"),
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
        for words in [
            vec!["docker", "-H", "ssh://build", "ps"],
            vec!["docker", "--context", "other", "ps"],
            vec!["docker", "--tlsverify", "ps"],
            vec!["docker", "-l", "loud", "ps"],
        ] {
            assert!(!refused(&words).is_empty(), "{words:?}");
        }
        let words = [
            "docker",
            "-D",
            "-H",
            "unix:///var/run/docker.sock",
            "-c",
            "default",
            "-l",
            "info",
            "ps",
        ];
        assert!(parse(&words.map(OsString::from), &Environment::default()).is_ok());
    }

    #[test]
    fn exit_codes_are_dockers() {
        let code = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            let failure = parse(&words, &Environment::default()).expect_err("it must be refused");
            failure.exit_code()
        };
        for (words, expected) in [
            (vec!["coil", "foo"], 1),
            (vec!["coil", "container", "foo"], 1),
            (vec!["coil", "ps", "--foo"], 125),
            (vec!["coil", "ps", "-x"], 125),
            (vec!["coil", "ps", "extra"], 1),
            (vec!["coil", "run"], 1),
            (vec!["coil", "run", "--foo", "x"], 125),
            (vec!["coil", "ps", "--filter"], 125),
            (vec!["coil", "ps", "-n", "x"], 125),
            (vec!["coil", "images", "a", "b"], 1),
            (vec!["coil", "tag", "a"], 1),
        ] {
            assert_eq!(code(&words), expected, "{words:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_dockers_words() {
        for (words, expected) in [
            (
                vec!["docker", "run", "--no-such-flag", "x"],
                "unknown flag: --no-such-flag",
            ),
            (vec!["docker", "ps", "-xa"], "unknown shorthand flag: 'x' in -x"),
            (
                vec!["docker", "run", "--rm", "--name"],
                "flag needs an argument: --name",
            ),
            (vec!["docker", "run"], "'docker run' requires at least 1 argument"),
            (
                vec!["docker", "rename", "a"],
                "'docker rename' requires 2 arguments",
            ),
            (
                vec!["docker", "container", "ls", "extra"],
                "'docker container ls' accepts no arguments",
            ),
            (
                vec!["docker", "images", "a", "b"],
                "'docker images' requires at most 1 argument",
            ),
            (vec!["docker", "nonsense"], "unknown command: docker nonsense"),
            (
                vec!["docker", "network", "nonsense"],
                "unknown command: docker network nonsense",
            ),
            (
                vec!["docker", "ps", "-n", "x"],
                "invalid argument \"x\" for \"-n, --last\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                vec!["docker", "run", "--rm=maybe", "x"],
                "invalid argument \"maybe\" for \"--rm\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ] {
            let text = refused(&words);
            assert_eq!(
                text.lines().next(),
                Some(format!("error: {expected}").as_str()),
                "{words:?}"
            );
        }
    }

    #[test]
    fn switches_may_have_a_value() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        for (given, expected) in [
            (vec!["--rm=true"], true),
            (vec!["--rm", "--rm=false"], false),
            (vec!["--rm=1"], true),
            (vec![], false),
            (vec!["--rm", "--name", "-odd", "-u", "-1"], true),
        ] {
            let line = [vec!["docker", "run"], given.clone(), vec!["x", "--rm=no"]].concat();
            let Command::Run(run) = parse(&words(&line), &Environment::default())
                .expect("it is right")
                .command
            else {
                panic!("another command");
            };
            assert_eq!(run.container.rm, expected, "{given:?}");
            assert_eq!(run.container.words, ["x", "--rm=no"]);
        }
    }

    #[test]
    fn groups_mean_the_plain_commands() {
        let command = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            parse(&words, &Environment::default())
                .expect("it is right")
                .command
        };
        assert!(matches!(
            command(&["coil", "container", "ls", "-aq"]),
            Command::Container(_)
        ));
        let Command::Container(group) = command(&["coil", "container", "list"]) else {
            panic!("another command");
        };
        assert!(matches!(group.command(), Command::Ps(_)));
        let Command::Image(group) = command(&["coil", "image", "rm", "-f", "x"]) else {
            panic!("another command");
        };
        assert!(matches!(group.command(), Command::Rmi(_)));
    }
}
