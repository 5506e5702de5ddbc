//! What can be told of a Dockerfile without building it: what should be mended, its stages, what it takes.

use std::collections::{BTreeMap, BTreeSet};

use coil_dockerfile::check::{BUILDKIT_RULES, Choice, Surroundings, Warning, check};
use coil_dockerfile::ignore::Matcher;
use coil_dockerfile::{Dockerfile, Fault, Instruction, Mount, MountKind, Span, near, parse};
use coil_oci::Platform;
use coil_store::StoreError;

use super::lowering::{Lowering, PROXY_ARGS};
use super::tree::Tree;
use super::{BuildError, BuildRequest, Builder};

/// Files of the context that are looked into are no larger.
const LARGEST: u64 = 4 << 20;
/// The argument that stands in for the directive.
const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What should be mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The first line first.
    pub warnings: Vec<Warning>,
    /// Whether the file wants a build to fail by them.
    pub is_error: bool,
}

impl Checked {
    /// The warnings that every build tells: BuildKit's.
    pub fn of_builds(&self) -> impl Iterator<Item = &Warning> {
        self.warnings
            .iter()
            .filter(|warning| BUILDKIT_RULES.contains(&warning.rule))
    }
}

/// What a Dockerfile has and takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The name of the stage that is meant, where it has one.
    pub target: Option<String>,
    /// All stages.
    pub stages: Vec<OutlineStage>,
    /// The arguments of the target and of what it needs, with what they are.
    pub args: Vec<(String, Option<String>)>,
    /// Ids of secrets.
    pub secrets: Vec<String>,
    /// Ids of agents.
    pub agents: Vec<String>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineStage {
    /// Its name.
    pub name: Option<String>,
    /// What it begins with, as it is written.
    pub base: String,
    /// Whether it is built where none is named.
    pub is_default: bool,
}

impl Builder<'_> {
    /// Reads the Dockerfile and looks for what should be mended.
    ///
    /// # Errors
    /// What is wrong in it.
    pub fn check(&self, request: &BuildRequest) -> Result<Checked, BuildError> {
        let file = self.parsed(request)?;
        let target = self.target(&file, request)?;
        let directive = request.args.get(ARGUMENT).or(file.directives.check.as_ref());
        let choice = match directive {
            Some(text) => Choice::read(text).map_err(|error| {
                Fault::new(Span::new(1, 1), error)
                    .at("check")
                    .help("write # check=skip=RULE,RULE;error=true")
            })?,
            None => Choice::default(),
        };
        let base_variables = |image: &str| {
            let (image, _) = self.image_here(image, request.arch).ok().flatten()?;
            let env = image.config.config.env.iter();
            Some(
                env.map(|entry| entry.split('=').next().unwrap_or(entry).to_owned())
                    .collect(),
            )
        };
        let wanted = Platform::linux(request.arch);
        let foreign_base = |image: &str| {
            let named = self.store.find(image).ok()?;
            let has = match self.store.image(&named, &wanted) {
                Ok(image) => Platform {
                    os: image.config.os,
                    architecture: image.config.architecture,
                    variant: None,
                }
                .to_string(),
                Err(StoreError::NoPlatform { found, .. }) => found.into_iter().next()?,
                Err(_) => return None,
            };
            let is_other = has.split('/').take(2).ne(wanted.to_string().split('/').take(2));
            is_other.then(|| (has, wanted.to_string()))
        };
        let tree = request.context.as_ref().map(|root| Tree::Folder {
            root: root.clone(),
            ignored: Matcher::default(),
        });
        let read = |path: &str| {
            let bytes = tree.as_ref()?.read(path, LARGEST).ok().flatten()?;
            String::from_utf8(bytes).ok()
        };
        let around = Surroundings {
            ignored: &request.ignored.0,
            has_ignore_file: request
                .context
                .as_ref()
                .map(|root| !request.ignored.0.is_empty() || root.join(".dockerignore").exists()),
            args: &request.args,
            base_variables: &base_variables,
            foreign_base: &foreign_base,
            read: &read,
            target,
        };
        Ok(Checked {
            warnings: check(&request.text, &file, &around, &choice),
            is_error: choice.error,
        })
    }

    /// Reads the Dockerfile and tells what it has and takes.
    ///
    /// # Errors
    /// What is wrong in it.
    pub fn outline(&self, request: &BuildRequest) -> Result<Outline, BuildError> {
        let file = self.parsed(request)?;
        let target = self.target(&file, request)?;
        let last = file.stages.len() - 1;
        let mut args: BTreeMap<String, Option<String>> = file.global_args.iter().cloned().collect();
        let (mut secrets, mut agents) = (BTreeSet::new(), BTreeSet::new());
        for stage in &file.stages[..=target] {
            for located in &stage.instructions {
                match &located.instruction {
                    Instruction::Arg(own) => {
                        for (name, value) in own {
                            let known = args.entry(name.clone()).or_default();
                            *known = value.clone().or(known.take());
                        }
                    }
                    Instruction::Run(run) => {
                        for text in &run.mounts {
                            let Ok(mount) = Mount::parse(text, &mut |value| Ok(value.to_owned())) else {
                                continue;
                            };
                            let id = mount.id.clone();
                            match mount.kind {
                                MountKind::Secret => secrets.extend(id),
                                MountKind::Ssh => {
                                    agents.insert(id.unwrap_or_else(|| "default".into()));
                                }
                                _ => {}
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        for (name, value) in &request.args {
            if let Some(known) = args.get_mut(name) {
                *known = Some(value.clone());
            }
        }
        Ok(Outline {
            target: file.stages[target].name.clone(),
            stages: file
                .stages
                .iter()
                .enumerate()
                .map(|(index, stage)| OutlineStage {
                    name: stage.name.clone(),
                    base: stage.base.clone(),
                    is_default: index == last,
                })
                .collect(),
            args: args.into_iter().collect(),
            secrets: secrets.into_iter().collect(),
            agents: agents.into_iter().collect(),
        })
    }

    pub(super) fn parsed(&self, request: &BuildRequest) -> Result<Dockerfile, BuildError> {
        let file = parse(&request.text)?;
        if let Some((syntax, line)) = &file.directives.syntax {
            let name = syntax.split_whitespace().next().unwrap_or_default();
            let bare = name.strip_prefix("docker.io/").unwrap_or(name);
            let known = ["docker/dockerfile", "docker/dockerfile-upstream"];
            if !known.contains(&bare.split([':', '@']).next().unwrap_or_default()) {
                let text = format!("the front end {name} cannot be used: coil reads Dockerfiles itself");
                return Err(Fault::new(Span::new(*line, *line), text)
                    .at(name)
                    .help("write # syntax=docker/dockerfile:1, or leave the line away")
                    .into());
            }
        }
        Ok(file)
    }

    pub(super) fn target(&self, file: &Dockerfile, request: &BuildRequest) -> Result<usize, BuildError> {
        let last = file.stages.len() - 1;
        let Some(name) = &request.target else {
            return Ok(last);
        };
        let lower = name.to_lowercase();
        let by_name = |stage: &coil_dockerfile::Stage| stage.name.as_deref() == Some(lower.as_str());
        file.stages.iter().rposition(by_name).ok_or_else(|| {
            let names: Vec<&str> = file
                .stages
                .iter()
                .filter_map(|stage| stage.name.as_deref())
                .collect();
            let text = format!("target stage \"{name}\" could not be found");
            let span = file.stages[last].span;
            let fault = Fault::new(span, text);
            match near::closest(name, names.iter().copied()) {
                Some(near) => fault.help(format!("did you mean {near}?")),
                None if names.is_empty() => fault.help("no stage has a name: write FROM … AS NAME"),
                None => fault.help(format!("stages are {}", names.join(", "))),
            }
            .into()
        })
    }

    pub(super) fn unused(&self, request: &BuildRequest, lowering: &Lowering<'_>) -> Vec<String> {
        let known = |name: &&String| {
            lowering.used_args.contains(*name)
                || PROXY_ARGS.contains(&name.as_str())
                || name.starts_with("BUILDKIT_")
                || *name == "SOURCE_DATE_EPOCH"
        };
        let unused: Vec<&str> = request
            .args
            .keys()
            .filter(|name| !known(name))
            .map(String::as_str)
            .collect();
        match unused.is_empty() {
            true => Vec::new(),
            false => vec![format!(
                "one or more build-args [{}] were not consumed",
                unused.join(" ")
            )],
        }
    }
}
