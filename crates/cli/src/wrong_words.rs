//! What a command line that can't be read is told: Docker's words for what is wrong, and what to do next in our own.

use std::ffi::OsString;

use clap::builder::ValueRange;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

/// The words of the command that is meant, such as `container`, `run`.
pub fn path(command: &Command, words: &[OsString]) -> Vec<String> {
    let mut found = Vec::new();
    let mut command = command;
    let mut words = words.iter().filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        if let Some(flag) = word.strip_prefix('-') {
            // What a flag of the client takes is no command.
            let own = command.get_arguments().find(|arg| match flag.strip_prefix('-') {
                Some(long) => arg.get_long() == Some(long),
                None => arg.get_short().map(String::from).as_deref() == Some(flag),
            });
            if own.is_some_and(|arg| arg.get_action().takes_values()) {
                words.next();
            }
            continue;
        }
        match command.find_subcommand(word) {
            Some(inner) => {
                found.push(inner.get_name().to_owned());
                command = inner;
            }
            None => break,
        }
    }
    found
}

/// Reads flags as Docker's client does, in the command that is meant: what is on or off takes `=true` and `=false` too, and a
/// flag's value may begin with `-`.
pub fn as_docker_reads(command: Command, path: &[String]) -> Command {
    let command = command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_parser(truth),
        // Flags alone, where one value must follow.
        ArgAction::Set | ArgAction::Append
            if (arg.get_long().is_some() || arg.get_short().is_some()) && arg.get_num_args().is_none() =>
        {
            arg.allow_hyphen_values(true)
        }
        _ => arg,
    });
    match path.split_first() {
        Some((name, rest)) => command.mut_subcommand(name, |inner| as_docker_reads(inner, rest)),
        None => command,
    }
}

/// The words that Docker's flags know for yes and no.
fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}

/// The failure's text and Docker's exit code for it.
pub fn told(error: &clap::Error, command: &Command, name: &str, path: &[String]) -> (String, i32) {
    let mut inner = command;
    for word in path {
        inner = inner.find_subcommand(word).unwrap_or(inner);
    }
    let full = std::iter::once(name)
        .chain(path.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join(" ");
    let (message, code) = message(error, inner, &full, path.is_empty());
    let mut text = format!("error: {message}");
    let mut helped = false;
    for tip in tips(error) {
        text.push_str(&format!("\nhelp: {tip}"));
        helped = true;
    }
    if !helped {
        text.push_str(&format!("\nhelp: `{full} --help` shows what it takes"));
    }
    (text, code)
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

fn message(error: &clap::Error, command: &Command, full: &str, at_top: bool) -> (String, i32) {
    let argument = context(error, ContextKind::InvalidArg).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            (unknown(full, word), 1)
        }
        ErrorKind::UnknownArgument if argument.starts_with("--") => {
            (format!("unknown flag: {argument}"), 125)
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let letter: String = argument.chars().skip(1).take(1).collect();
            (format!("unknown shorthand flag: '{letter}' in {argument}"), 125)
        }
        ErrorKind::UnknownArgument if at_top => (unknown(full, argument), 1),
        ErrorKind::UnknownArgument
        | ErrorKind::MissingRequiredArgument
        | ErrorKind::TooManyValues
        | ErrorKind::TooFewValues
        | ErrorKind::WrongNumberOfValues => match flag_of(command, argument) {
            Some(flag) => (format!("flag needs an argument: {}", long_name(flag)), 125),
            None => match missing_flag(error, command) {
                Some(flag) => (format!("{flag} must be given"), 1),
                None => (count(command, full), 1),
            },
        },
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
            match flag_of(command, argument) {
                // A flag at the end of the line, with nothing behind it.
                Some(flag) if value.is_empty() && std::error::Error::source(error).is_none() => {
                    (format!("flag needs an argument: {}", long_name(flag)), 125)
                }
                Some(flag) => {
                    let why = why(error, value);
                    (
                        format!(
                            "invalid argument \"{value}\" for \"{}\" flag: {why}",
                            both_names(flag)
                        ),
                        125,
                    )
                }
                None => (
                    format!("invalid argument \"{value}\": {}", why(error, value)),
                    125,
                ),
            }
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            let code = if error.kind() == ErrorKind::MissingSubcommand {
                1
            } else {
                125
            };
            (line.trim_start_matches("error: ").to_owned(), code)
        }
    }
}

/// What is said of a word that is no command: of Docker's own, why there is none here.
fn unknown(full: &str, word: &str) -> String {
    let group = full.split(' ').skip(1).collect::<Vec<_>>().join(" ");
    let why = match (group.as_str(), word) {
        ("", "swarm" | "service" | "stack" | "node" | "secret" | "config") => {
            "it is about swarms, and coil works on one machine"
        }
        ("", "plugin") => "coil takes no plugins",
        ("", "checkpoint") => "coil makes no checkpoints of containers",
        ("", "trust") => "coil signs nothing and looks for no signatures",
        ("", "manifest") => {
            "`coil pack --platform` and `coil build --platform` make indices of several images"
        }
        ("", "bake") => "coil reads no bake files: `coil build` builds one of their targets",
        ("context", "create" | "export" | "import" | "rm" | "update") => {
            "coil works on this machine, in the context `default` alone"
        }
        ("system", "dial-stdio") => "it is about a daemon, and coil has none",
        ("volume", "update") => return "can only update cluster volumes".to_owned(),
        _ => return format!("unknown command: {full} {word}"),
    };
    format!("unknown command: {full} {word}: {why}")
}

/// The flag that the parser names, as `--name <NAME>` or `-n <NAME>`.
fn flag_of<'a>(command: &'a Command, argument: &str) -> Option<&'a Arg> {
    let word = argument.split([' ', '=']).next().unwrap_or_default();
    let word = word.split('[').next().unwrap_or_default();
    command.get_arguments().find(|arg| match word.strip_prefix("--") {
        Some(long) => {
            arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
        }
        None => word
            .strip_prefix('-')
            .is_some_and(|short| arg.get_short().is_some_and(|letter| short == letter.to_string())),
    })
}

/// A flag, not a place, that has to be there.
fn missing_flag(error: &clap::Error, command: &Command) -> Option<String> {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = missing.iter().find_map(|one| flag_of(command, one))?;
    Some(long_name(flag))
}

fn long_name(flag: &Arg) -> String {
    match (flag.get_long(), flag.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => flag.get_id().to_string(),
    }
}

fn both_names(flag: &Arg) -> String {
    match (flag.get_short(), flag.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        _ => long_name(flag),
    }
}

/// Why a value is none, in Docker's words where it is a number.
fn why(error: &clap::Error, value: &str) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    match (source, error.get(ContextKind::ValidValue)) {
        (Some(source), _) if source.contains("invalid digit") => {
            format!("strconv.ParseInt: parsing \"{value}\": invalid syntax")
        }
        (Some(source), _) if source.starts_with("number too ") => {
            format!("strconv.ParseInt: parsing \"{value}\": value out of range")
        }
        (Some(source), _) => source,
        (None, Some(ContextValue::Strings(known))) => format!("it is one of {}", known.join(", ")),
        (None, _) => "it can't be understood".to_owned(),
    }
}

/// How many words a command takes.
fn count(command: &Command, full: &str) -> String {
    let (mut least, mut most) = (0_usize, 0_usize);
    for place in command.get_positionals() {
        let range = place.get_num_args().unwrap_or(ValueRange::SINGLE);
        let endless = matches!(place.get_action(), ArgAction::Append) && range == ValueRange::SINGLE;
        least += if place.is_required_set() {
            range.min_values().max(1)
        } else {
            0
        };
        most = most.saturating_add(if endless { usize::MAX } else { range.max_values() });
    }
    let words = |number: usize| if number == 1 { "argument" } else { "arguments" };
    if command.has_subcommands() {
        format!("'{full}' needs a command")
    } else if most == 0 {
        format!("'{full}' accepts no arguments")
    } else if least == most {
        format!("'{full}' requires {least} {}", words(least))
    } else if most == usize::MAX {
        format!("'{full}' requires at least {least} {}", words(least))
    } else if least == 0 {
        format!("'{full}' requires at most {most} {}", words(most))
    } else {
        format!("'{full}' requires at least {least} and at most {most} arguments")
    }
}

/// The parser's tips, near misses most of all.
fn tips(error: &clap::Error) -> Vec<String> {
    let text = error.render().to_string();
    let tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    // Our own words after the image need no `--`.
    tips.filter(|tip| !tip.starts_with("to pass "))
        .map(str::to_owned)
        .collect()
}
