//! What stages say: names, platforms, commands, keys and values, ports, what is copied.

use std::collections::BTreeMap;

use super::{Surroundings, Warning};
use crate::fault::Span;
use crate::ignore::{Matcher, clean};
use crate::instruction::{Copying, Instruction, KeyValue};
use crate::stage::{Dockerfile, Stage};

/// Words in a name that tell of a secret.
const SECRETS: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

pub(super) fn check(file: &Dockerfile, around: &Surroundings<'_>, found: &mut Vec<Warning>) {
    let ignored = Matcher::new(around.ignored).unwrap_or_default();
    for (index, stage) in file.stages.iter().enumerate() {
        if let Some(name) = &stage.name
            && file.stages[..index]
                .iter()
                .any(|other| other.name.as_ref() == Some(name))
        {
            found.push(Warning::new(
                stage.span,
                "DuplicateStageName",
                format!("there are two stages with the name `{name}`"),
                "give each stage a name of its own: the later one hides the earlier one",
            ));
        }
        platform(stage, found);
        instructions(file, index, &ignored, found);
    }
}

fn platform(stage: &Stage, found: &mut Vec<Warning>) {
    let Some(platform) = &stage.platform else { return };
    let bare = platform.trim_matches('"');
    if ["$TARGETPLATFORM", "${TARGETPLATFORM}"].contains(&bare) {
        found.push(Warning::new(
            stage.span,
            "RedundantTargetPlatform",
            format!("--platform={platform} is what a stage has anyway"),
            "leave the flag away",
        ));
    } else if !bare.contains('$') {
        // A stage that is named for its platform means it.
        let name = stage.name.as_deref().unwrap_or("");
        let is_meant = bare
            .split('/')
            .any(|part| !part.is_empty() && name.contains(part));
        if !is_meant {
            found.push(Warning::new(
                stage.span,
                "FromPlatformFlagConstDisallowed",
                format!("--platform={platform} holds the stage to one platform, whatever is built"),
                "leave the flag away, or write $BUILDPLATFORM or $TARGETPLATFORM",
            ));
        }
    }
}

fn instructions(file: &Dockerfile, index: usize, ignored: &Matcher, found: &mut Vec<Warning>) {
    let stage = &file.stages[index];
    let mut has_shell = false;
    let mut last: BTreeMap<&str, Span> = BTreeMap::new();
    for located in &stage.instructions {
        let span = located.span;
        let word = located.text.split_whitespace().next().unwrap_or("");
        match &located.instruction {
            Instruction::Shell(_) => has_shell = true,
            Instruction::Cmd(command) | Instruction::Entrypoint(command) if command.shell && !has_shell => {
                found.push(Warning::new(
                    span,
                    "JSONArgsRecommended",
                    format!(
                        "{word} is run by a shell, which passes no signals on: the program can't end in order"
                    ),
                    exec_form(word, &command.words),
                ));
            }
            Instruction::Env(pairs) => key_values("ENV", span, pairs, found),
            Instruction::Label(pairs) if pairs.iter().any(|pair| pair.is_old_form) => {
                old_form("LABEL", span, pairs, found);
            }
            Instruction::Arg(args) => {
                for (name, _) in args {
                    secret_name("ARG", name, span, found);
                }
            }
            Instruction::Expose(ports) => ports.iter().for_each(|port| expose(port, span, found)),
            Instruction::Copy(copying) | Instruction::Add(copying) => {
                copied(word, copying, span, ignored, found)
            }
            _ => {}
        }
        let kind = match &located.instruction {
            Instruction::Cmd(_) => "CMD",
            Instruction::Entrypoint(_) => "ENTRYPOINT",
            Instruction::Healthcheck(_) => "HEALTHCHECK",
            _ => continue,
        };
        if let Some(earlier) = last.insert(kind, span) {
            found.push(Warning::new(
                earlier,
                "MultipleInstructionsDisallowed",
                format!("the stage has several {kind}, and only the last one counts"),
                "remove all but the last one",
            ));
        }
    }
}

/// A shell line as its exec form, where that is easily told.
fn exec_form(word: &str, words: &[String]) -> String {
    let line = words.first().map_or("", String::as_str);
    let is_plain = line
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || " -_./:=@,+".contains(c));
    match is_plain && !line.is_empty() {
        true => {
            let list: Vec<String> = line
                .split_whitespace()
                .map(|part| format!("\"{part}\""))
                .collect();
            format!("write {word} [{}]", list.join(", "))
        }
        false => {
            format!("write {word} [\"sh\", \"-c\", \"exec …\"], so that the program takes the shell's place")
        }
    }
}

fn key_values(word: &str, span: Span, pairs: &[KeyValue], found: &mut Vec<Warning>) {
    if pairs.iter().any(|pair| pair.is_old_form) {
        old_form(word, span, pairs, found);
    }
    for pair in pairs {
        secret_name(word, &pair.key, span, found);
    }
}

fn old_form(word: &str, span: Span, pairs: &[KeyValue], found: &mut Vec<Warning>) {
    let Some(pair) = pairs.first() else { return };
    let value = pair.value.trim_matches('"');
    let value = match value.contains(char::is_whitespace) {
        true => format!("\"{value}\""),
        false => value.to_owned(),
    };
    found.push(Warning::new(
        span,
        "LegacyKeyValueFormat",
        format!("{word} key value is the old way to write it"),
        format!("write {word} {}={value}", pair.key),
    ));
}

fn secret_name(word: &str, name: &str, span: Span, found: &mut Vec<Warning>) {
    let lower = name.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('_').collect();
    if parts.iter().any(|part| SECRETS.contains(part)) && !parts.contains(&"public") {
        found.push(Warning::new(
            span,
            "SecretsUsedInArgOrEnv",
            format!("{word} \"{name}\" puts what looks like a secret into the image, for all to read"),
            format!(
                "give it to the step alone: RUN --mount=type=secret,id={name} …, and --secret id={name}; at run time -e {name}"
            ),
        ));
    }
}

fn expose(port: &str, span: Span, found: &mut Vec<Warning>) {
    if port.contains('$') {
        return;
    }
    let (number, protocol) = port.split_once('/').unwrap_or((port, ""));
    if protocol.chars().any(|c| c.is_ascii_uppercase()) {
        found.push(Warning::new(
            span,
            "ExposeProtoCasing",
            format!("the protocol of `{port}` has capital letters"),
            format!("write {number}/{}", protocol.to_ascii_lowercase()),
        ));
    }
    if number.contains(':') {
        let own = number.rsplit(':').next().unwrap_or(number);
        found.push(Warning::new(
            span,
            "ExposeInvalidFormat",
            format!("`{port}` names an address or a port of the host, which EXPOSE knows nothing of"),
            format!("write EXPOSE {own}, and publish it with -p {number}"),
        ));
    }
}

fn copied(word: &str, copying: &Copying, span: Span, ignored: &Matcher, found: &mut Vec<Warning>) {
    if copying.from.is_some() {
        return;
    }
    for source in &copying.sources {
        let is_elsewhere = source.contains("://") || source.starts_with("git@") || source.contains('$');
        let path = clean(&format!("/{source}"));
        let path = path.trim_start_matches('/');
        if is_elsewhere || path.is_empty() || crate::glob::has_wildcards(path) {
            continue;
        }
        if let Some(pattern) = ignored.taken_by(path)
            && !ignored.has_exceptions()
        {
            found.push(Warning::new(
                span,
                "CopyIgnoredFile",
                format!("{word} of `{source}`, which the ignore file leaves out by `{pattern}`"),
                format!("copy something else, or write `!{path}` below `{pattern}`"),
            ));
        }
    }
}
