//! The definition of the one command that is meant, without the others: defining all of them costs more than most commands do.

use std::ffi::OsString;

use clap::{Args, Command};

use crate::arguments::GlobalFlags;
use crate::commands::{
    attach, base, build, builder, commit, container, context, cp, create, diff, events, exec, export,
    history, image, images, import, info, inspect, kill, load, logs, network, pack, pause, port, ps, pull,
    rename, restart, rm, rmi, run, save, sbom, start, stats, stop, system, tag, top, update, version, volume,
    wait,
};

/// How many words are looked at: the flags before the command are few.
const FIRST: usize = 8;

/// What the words need; none where no word among the first is a command.
///
/// It takes nothing else than the whole definition does; but whatever it refuses is to be read with that one, which knows all
/// commands and what each is called in messages.
pub fn definition(words: &[OsString]) -> Option<Command> {
    let mut words = words.iter().take(FIRST).filter_map(|word| word.to_str());
    let command = words.find_map(|word| {
        let command = plain(word)?;
        Some((word, command))
    });
    let command = match command? {
        // Of these groups too only what is meant.
        ("container", group) => alone("container", words.next(), &OF_CONTAINERS).unwrap_or(group),
        ("image", group) => alone("image", words.next(), &OF_IMAGES).unwrap_or(group),
        (_, command) => command,
    };
    let top = Command::new("coil")
        .disable_help_subcommand(true)
        .args_override_self(true)
        .subcommand_required(true);
    Some(GlobalFlags::augment_args(top).subcommand(command))
}

/// The verbs that a group has from the plain commands, with the same name and meaning.
const OF_CONTAINERS: [&str; 22] = [
    "attach", "commit", "cp", "create", "diff", "exec", "export", "inspect", "kill", "logs", "pause", "port",
    "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "wait",
];
const OF_IMAGES: [&str; 8] = [
    "build", "history", "import", "inspect", "load", "pull", "save", "tag",
];

/// A group with one verb alone.
fn alone(group: &'static str, verb: Option<&str>, plainly: &[&str]) -> Option<Command> {
    let verb = verb.filter(|verb| plainly.contains(verb))?;
    Some(Command::new(group).subcommand(plain(verb)?))
}

fn of<T: Args>(name: &'static str) -> Option<Command> {
    Some(T::augment_args(Command::new(name)))
}

/// A command by its name. One that is missing here is found all the same, only later.
fn plain(name: &str) -> Option<Command> {
    match name {
        "attach" => of::<attach::Attach>("attach"),
        "base" => of::<base::Base>("base"),
        "build" => of::<build::Build>("build"),
        "builder" => of::<builder::Group>("builder"),
        "buildx" => of::<builder::Group>("buildx"),
        "commit" => of::<commit::Commit>("commit"),
        "container" => of::<container::Group>("container"),
        "context" => of::<context::Context>("context"),
        "cp" => of::<cp::Cp>("cp"),
        "create" => of::<create::Create>("create"),
        "diff" => of::<diff::Diff>("diff"),
        "events" => of::<events::Events>("events"),
        "exec" => of::<exec::Exec>("exec"),
        "export" => of::<export::Export>("export"),
        "history" => of::<history::History>("history"),
        "image" => of::<image::Group>("image"),
        "images" => of::<images::Images>("images"),
        "import" => of::<import::Import>("import"),
        "info" => of::<info::Info>("info"),
        "inspect" => of::<inspect::Inspect>("inspect"),
        "kill" => of::<kill::Kill>("kill"),
        "load" => of::<load::Load>("load"),
        "logs" => of::<logs::Logs>("logs"),
        "network" => of::<network::Network>("network"),
        "pack" => of::<pack::Pack>("pack"),
        "pause" => of::<pause::Pause>("pause"),
        "port" => of::<port::Port>("port"),
        "ps" => of::<ps::Ps>("ps"),
        "pull" => of::<pull::Pull>("pull"),
        "rename" => of::<rename::Rename>("rename"),
        "restart" => of::<restart::Restart>("restart"),
        "rm" => of::<rm::Rm>("rm"),
        "rmi" => of::<rmi::Rmi>("rmi"),
        "run" => of::<run::Run>("run"),
        "save" => of::<save::Save>("save"),
        "sbom" => of::<sbom::Sbom>("sbom"),
        "start" => of::<start::Start>("start"),
        "stats" => of::<stats::Stats>("stats"),
        "stop" => of::<stop::Stop>("stop"),
        "system" => of::<system::System>("system"),
        "tag" => of::<tag::Tag>("tag"),
        "top" => of::<top::Top>("top"),
        "unpause" => of::<pause::Pause>("unpause"),
        "update" => of::<update::Update>("update"),
        "version" => of::<version::Version>("version"),
        "volume" => of::<volume::Volume>("volume"),
        "wait" => of::<wait::Wait>("wait"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::arguments::Arguments;

    fn arguments(command: &Command) -> Vec<String> {
        let mut ids: Vec<String> = command.get_arguments().map(|arg| format!("{arg:?}")).collect();
        ids.sort();
        ids.extend(command.get_subcommands().map(|inner| inner.get_name().to_owned()));
        ids
    }

    #[test]
    fn one_command_is_defined_as_among_all() {
        let whole = Arguments::command();
        let mut found = 0;
        for command in whole.get_subcommands() {
            if let Some(alone) = plain(command.get_name()) {
                assert_eq!(alone.get_name(), command.get_name());
                assert_eq!(arguments(&alone), arguments(command), "{}", command.get_name());
                found += 1;
            }
        }
        assert!(found > 40, "{found}");
        for (group, verbs) in [("container", &OF_CONTAINERS[..]), ("image", &OF_IMAGES[..])] {
            let whole = whole.find_subcommand(group).expect("a group");
            for verb in verbs {
                let verb = whole.find_subcommand(verb).expect("a verb");
                let alone = plain(verb.get_name()).expect("a plain command");
                assert_eq!(arguments(&alone), arguments(verb), "{group} {}", verb.get_name());
            }
        }
    }

    #[test]
    fn the_command_is_found_behind_flags() {
        let definition = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            definition(&words).map(|command| {
                let mut names = Vec::new();
                let mut command = &command;
                while let Some(inner) = command.get_subcommands().next() {
                    names.push(inner.get_name().to_owned());
                    command = inner;
                }
                names.join(" ")
            })
        };
        assert_eq!(
            definition(&["--root", "/x", "-D", "ps", "-a"]).as_deref(),
            Some("ps")
        );
        assert_eq!(
            definition(&["container", "run", "x"]).as_deref(),
            Some("container run")
        );
        assert_eq!(definition(&["contaner"]), None);
        assert_eq!(definition(&[]), None);
    }
}
