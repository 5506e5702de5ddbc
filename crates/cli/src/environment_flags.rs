//! `-e`, `--env-file`, `--label`: names and values from flags, files and coil's own environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::report::Failure;

/// `NAME=value` of all files, then of all flags; a name alone takes its value from the environment, or is left out.
///
/// # Errors
/// When a file can't be read or has a line that is no variable.
pub fn variables(
    files: &[PathBuf],
    flags: &[String],
    environment: &Environment,
) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for path in files {
        found.extend(file(path, environment)?);
    }
    for flag in flags {
        let (name, value) = flag_of(flag)?;
        found.extend(variable(name, value, environment));
    }
    Ok(found)
}

/// The same for a command in a container that has variables of its own: one that isn't set here either is a name alone, and the
/// command is to be without it.
///
/// # Errors
/// As with [`variables`].
pub fn variables_to_set(
    files: &[PathBuf],
    flags: &[String],
    environment: &Environment,
) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for path in files {
        found.extend(file(path, environment)?);
    }
    for flag in flags {
        let (name, value) = flag_of(flag)?;
        found.push(variable(name, value, environment).unwrap_or_else(|| name.to_owned()));
    }
    Ok(found)
}

/// The name and the value of a flag, if it has one.
fn flag_of(flag: &str) -> Result<(&str, Option<&str>), Failure> {
    let (name, value) = flag
        .split_once('=')
        .map_or((flag, None), |(name, value)| (name, Some(value)));
    if name.is_empty() {
        return Err(Failure::new(format!(
            "invalid argument \"{flag}\" for \"-e, --env\" flag: invalid environment variable: {flag}"
        ))
        .help("give -e NAME=VALUE, or -e NAME to pass on your own")
        .code(125));
    }
    Ok((name, value))
}

fn variable(name: &str, value: Option<&str>, environment: &Environment) -> Option<String> {
    match value {
        Some(value) => Some(format!("{name}={value}")),
        None => environment
            .raw(name)
            .map(|value| format!("{name}={}", value.to_string_lossy())),
    }
}

fn file(path: &Path, environment: &Environment) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(format!(
            "open {}: {}\n  --> --env-file",
            path.display(),
            crate::host_path::reason(&error)
        ))
        .help("give a text file with a NAME=VALUE on each line")
        .code(125)
    })?;
    lines(&text, environment).map_err(|(number, reason)| {
        let file = path.display();
        Failure::new(format!(
            "invalid env file ({file}): {reason}\n  --> {file}:{number}"
        ))
        .help("each line is NAME=VALUE, NAME alone, or begins with `#`")
        .code(125)
    })
}

/// Docker's format: everything behind the first `=` is the value, quotes and blanks included.
fn lines(text: &str, environment: &Environment) -> Result<Vec<String>, (usize, String)> {
    let mut found = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line.trim_end(), None),
        };
        if name.is_empty() {
            return Err((number + 1, format!("no variable name on line '{line}'")));
        }
        if name.contains(char::is_whitespace) {
            return Err((number + 1, format!("variable '{name}' contains whitespaces")));
        }
        found.extend(variable(name, value, environment));
    }
    Ok(found)
}

/// Variables as a map, the last value of a name.
pub fn map(variables: Vec<String>) -> BTreeMap<String, String> {
    let pairs = variables.into_iter().filter_map(|entry| {
        let (name, value) = entry.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

/// `KEY=value` or `KEY`, which stands for an empty value.
pub fn labels(flags: &[String]) -> BTreeMap<String, String> {
    let pair = |flag: &String| match flag.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (flag.clone(), String::new()),
    };
    flags.iter().map(pair).collect()
}

/// Labels as a command's `--label` gives them.
///
/// # Errors
/// When one has no name, or blanks in it: 125.
pub fn label_flags(name: &str, flags: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    for flag in flags {
        let key = flag.split_once('=').map_or(flag.as_str(), |(key, _)| key);
        let why = match key.trim_start() {
            "" => format!("invalid label '{flag}': empty name"),
            key if key.contains(char::is_whitespace) => format!("label '{key}' contains whitespaces"),
            _ => continue,
        };
        return Err(
            Failure::new(format!("invalid argument \"{flag}\" for \"{name}\" flag: {why}"))
                .help("give KEY=VALUE, such as --label tier=web")
                .code(125),
        );
    }
    Ok(labels(flags))
}

/// Labels of files, one on each line.
///
/// # Errors
/// When a file can't be read or has a line that is no label.
pub fn label_files(files: &[PathBuf]) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(format!(
                "open {}: {}\n  --> --label-file",
                path.display(),
                crate::host_path::reason(&error)
            ))
            .help("give a text file with a KEY=VALUE on each line")
            .code(125)
        })?;
        for line in text.lines().map(str::trim_start) {
            // As Docker has it: a name alone in a file is no label.
            if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                found.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_dockers() {
        let environment = Environment::of(&[("PASSED", "1"), ("EMPTY", "")]);
        let text = "\u{feff}# a comment\nA=b=c \n  B='x'\n\nPASSED\nEMPTY\nABSENT\nC=\n";
        let found = lines(text, &environment).expect("it is right");
        assert_eq!(found, ["A=b=c ", "B='x'", "PASSED=1", "EMPTY=", "C="]);
        assert_eq!(lines("A=1\nB C=2\n", &environment).expect_err("a blank").0, 2);
        assert!(lines("=x", &environment).is_err());
    }

    #[test]
    fn flags_without_a_value_pass_the_environment_on() {
        let environment = Environment::of(&[("HERE", "x")]);
        let flags = ["HERE", "GONE", "A=b", "E="].map(str::to_owned);
        assert_eq!(
            variables(&[], &flags, &environment).expect("right"),
            ["HERE=x", "A=b", "E="]
        );
        assert_eq!(
            variables_to_set(&[], &flags, &environment).expect("right"),
            ["HERE=x", "GONE", "A=b", "E="]
        );
        assert!(variables(&[], &["=x".to_owned()], &environment).is_err());
    }
}
