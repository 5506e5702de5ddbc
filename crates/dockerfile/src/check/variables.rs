//! Variables that nothing sets, and working directories that depend on an image.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{Surroundings, Warning};
use crate::fault::Span;
use crate::instruction::Instruction;
use crate::mount::Mount;
use crate::near;
use crate::stage::{Dockerfile, Stage};
use crate::words::Lexer;

/// Arguments that are there without being declared before the first stage.
const PLATFORMS: [&str; 9] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];
/// What the official Python images set.
const PYTHON: [&str; 4] = ["LANG", "GPG_KEY", "PYTHON_VERSION", "PYTHON_SHA256"];

/// What a stage knows at its end.
#[derive(Clone, Default)]
struct Known {
    names: BTreeSet<String>,
    has_workdir: bool,
}

pub(super) fn check(file: &Dockerfile, around: &Surroundings<'_>, found: &mut Vec<Warning>) {
    let lexer = Lexer::new(file.directives.escape);
    let mut globals: BTreeMap<String, String> = PLATFORMS
        .iter()
        .map(|name| ((*name).to_owned(), "x".to_owned()))
        .collect();
    let mut without_value = BTreeSet::new();
    for (name, value) in &file.global_args {
        let own = value
            .as_ref()
            .and_then(|text| lexer.word(text, &|name| globals.get(name).cloned()).ok());
        // What is given to the build doesn't count for the file.
        let default = own.unwrap_or_default();
        if default.is_empty() {
            without_value.insert(name.clone());
        }
        globals.insert(name.clone(), around.args.get(name).cloned().unwrap_or(default));
    }
    let mut stages: Vec<Known> = Vec::new();
    for (index, stage) in file.stages.iter().enumerate() {
        from(stage, &lexer, file, &globals, &without_value, found);
        let base = lexer
            .word(&stage.base, &|name| globals.get(name).cloned())
            .unwrap_or_default();
        let earlier = file.stages[..index]
            .iter()
            .rposition(|other| other.name.is_some() && other.name == Some(base.to_lowercase()));
        let mut known = match earlier {
            Some(earlier) => stages[earlier].clone(),
            None => {
                // A stage that names its platform means it.
                let foreign = match stage.platform {
                    None => (around.foreign_base)(&base),
                    Some(_) => None,
                };
                if let Some((has, wanted)) = foreign {
                    found.push(Warning::new(
                        stage.span,
                        "InvalidBaseImagePlatform",
                        format!("the image {base} is for {has}, and this build is for {wanted}"),
                        format!("pull it for that platform (`coil pull --platform {wanted} {base}`), or build for {has} with --platform"),
                    ));
                }
                Known {
                    names: base_names(&base, around),
                    has_workdir: false,
                }
            }
        };
        instructions(stage, &lexer, &globals, &mut known, found);
        stages.push(known);
    }
}

fn base_names(base: &str, around: &Surroundings<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::from(["PATH".to_owned()]);
    match (around.base_variables)(base) {
        Some(own) => names.extend(own),
        None if base.contains("python") => names.extend(PYTHON.map(str::to_owned)),
        None => {}
    }
    names
}

/// The names that a text asks for and nothing sets.
fn unset(lexer: &Lexer, text: &str, is_known: &dyn Fn(&str) -> bool) -> Vec<String> {
    let missing = RefCell::new(Vec::new());
    let _ = lexer.word(text, &|name| {
        if is_known(name) {
            return Some("x".to_owned());
        }
        if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            missing.borrow_mut().push(name.to_owned());
        }
        None
    });
    missing.into_inner()
}

fn from(
    stage: &Stage,
    lexer: &Lexer,
    file: &Dockerfile,
    globals: &BTreeMap<String, String>,
    without_value: &BTreeSet<String>,
    found: &mut Vec<Warning>,
) {
    let words = std::iter::once(&stage.base).chain(stage.platform.as_ref());
    let declared = || file.global_args.iter().map(|(name, _)| name.as_str());
    let mut missing = Vec::new();
    for word in words {
        missing.extend(unset(lexer, word, &|name| globals.contains_key(name)));
    }
    for name in &missing {
        let help = match near::closest(name, declared().chain(PLATFORMS)) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("write ARG {name}=VALUE before the first FROM"),
        };
        found.push(Warning::new(
            stage.span,
            "UndefinedArgInFrom",
            format!("FROM uses {name}, which no ARG before the first FROM declares"),
            help,
        ));
    }
    if !missing.is_empty() {
        return;
    }
    // With the file's own values alone the image must have a name.
    let asked = RefCell::new(None);
    let own = lexer.word(&stage.base, &|name| {
        if without_value.contains(name) {
            *asked.borrow_mut() = Some(name.to_owned());
            return Some(String::new());
        }
        globals.get(name).cloned()
    });
    if let (Some(name), Ok(own)) = (asked.into_inner(), own)
        && (own.is_empty()
            || own.ends_with([':', '/', '@'])
            || own.starts_with([':', '/', '@'])
            || own.contains("//"))
    {
        found.push(Warning::new(
            stage.span,
            "InvalidDefaultArgInFrom",
            format!("without --build-arg {name}=… this FROM names no image"),
            format!("give it a value: ARG {name}=…, before the first FROM"),
        ));
    }
}

fn instructions(
    stage: &Stage,
    lexer: &Lexer,
    globals: &BTreeMap<String, String>,
    known: &mut Known,
    found: &mut Vec<Warning>,
) {
    // Arguments end with their stage.
    let mut args: BTreeSet<String> = BTreeSet::new();
    for located in &stage.instructions {
        let span = located.span;
        let mut texts: Vec<String> = Vec::new();
        match &located.instruction {
            Instruction::Env(pairs) | Instruction::Label(pairs) => {
                for pair in pairs {
                    texts.extend([pair.key.clone(), pair.value.clone()]);
                }
            }
            Instruction::Copy(copying) | Instruction::Add(copying) => {
                texts.extend(copying.sources.iter().cloned());
                texts.push(copying.destination.clone());
                texts.extend(copying.chown.iter().chain(&copying.chmod).cloned());
                texts.extend(copying.exclude.iter().cloned());
                let expanded = copying.files.iter().filter(|file| file.expand);
                texts.extend(expanded.map(|file| file.text.clone()));
            }
            Instruction::Expose(words) | Instruction::Volume(words) => texts.extend(words.iter().cloned()),
            Instruction::User(text) | Instruction::StopSignal(text) => texts.push(text.clone()),
            Instruction::Workdir(text) => {
                texts.push(text.clone());
                let path = lexer.word(text, &|_| Some("/".into())).unwrap_or_default();
                if path.starts_with('/') {
                    known.has_workdir = true;
                } else if !known.has_workdir {
                    found.push(Warning::new(
                        span,
                        "WorkdirRelativePath",
                        format!("WORKDIR {text} is relative to a folder that the base image chooses"),
                        format!("write WORKDIR /{text}"),
                    ));
                }
            }
            Instruction::Run(run) => {
                for mount in &run.mounts {
                    let _ = Mount::parse(mount, &mut |value| {
                        texts.push(value.to_owned());
                        Ok(value.to_owned())
                    });
                }
            }
            Instruction::Arg(list) => {
                for (name, default) in list {
                    texts.extend(default.iter().cloned());
                    report(lexer, &texts, known, &args, globals, span, found);
                    texts.clear();
                    args.insert(name.clone());
                }
            }
            _ => {}
        }
        report(lexer, &texts, known, &args, globals, span, found);
        if let Instruction::Env(pairs) = &located.instruction {
            known.names.extend(pairs.iter().map(|pair| pair.key.clone()));
        }
    }
}

fn report(
    lexer: &Lexer,
    texts: &[String],
    known: &Known,
    args: &BTreeSet<String>,
    globals: &BTreeMap<String, String>,
    span: Span,
    found: &mut Vec<Warning>,
) {
    let is_known = |name: &str| {
        known.names.contains(name)
            || args.contains(name)
            || PROXIES.contains(&name.to_ascii_lowercase().as_str())
    };
    let mut seen = BTreeSet::new();
    for text in texts {
        for name in unset(lexer, text, &is_known) {
            if !seen.insert(name.clone()) {
                continue;
            }
            let near = known.names.iter().chain(args).map(String::as_str);
            let help = match near::closest(&name, near.filter(|near| *near != "PATH")) {
                _ if globals.contains_key(&name) => {
                    format!("write ARG {name} in this stage: what stands before FROM is unknown in it")
                }
                Some(near) => format!("did you mean ${near}?"),
                None => format!("set it with ARG {name} or ENV {name}=… before this line"),
            };
            found.push(Warning::new(
                span,
                "UndefinedVar",
                format!("nothing sets the variable ${name}"),
                help,
            ));
        }
    }
}
