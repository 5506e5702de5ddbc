//! Instructions become a graph of steps; all that needs no files is settled here.

use std::collections::{BTreeMap, BTreeSet};

use coil_dockerfile::words::Lexer;
use coil_dockerfile::{Dockerfile, Fault, Instruction, Located, Mount, Span, Stage, parse_trigger};
use coil_oci::{Arch, Platform};
use coil_plan::{Graph, VertexId};

use super::bases::Base;
use super::copying::{CopyOp, CopySource, From};
use super::debugging::Around;
use super::provenance::Used;
use super::running::RunOp;
use super::solving::BuiltLayer;
use super::stage_state::StageState;
use super::{BuildError, BuildRequest, Builder, NamedContext};

/// Arguments that every step may have without `ARG`, and that are part of nothing.
pub(crate) const PROXY_ARGS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// A step.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Nothing.
    Scratch,
    /// An image's layers.
    Image(Vec<BuiltLayer>),
    /// A program in a container.
    Run(Box<RunOp>),
    /// Files.
    Copy(Box<CopyOp>),
    /// A folder.
    Folder {
        /// Its absolute path.
        path: String,
        /// Whose it is.
        owner: String,
    },
}

/// A step with its place in the Dockerfile.
#[derive(Debug, Clone)]
pub(crate) struct PlannedStep {
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) span: Span,
    pub(crate) op: Op,
    /// Whether it may be found in the cache.
    pub(crate) cached: bool,
}

/// A stage that is settled.
pub(crate) struct Lowered {
    pub(crate) state: StageState,
    pub(crate) vertex: VertexId,
}

/// Makes the graph of a Dockerfile.
pub(crate) struct Lowering<'a> {
    pub(crate) builder: &'a Builder<'a>,
    pub(crate) request: &'a BuildRequest,
    pub(crate) file: &'a Dockerfile,
    pub(crate) graph: Graph<PlannedStep>,
    pub(crate) stages: BTreeMap<usize, Lowered>,
    /// The values of arguments before the first stage, and of the platforms.
    pub(crate) globals: BTreeMap<String, String>,
    pub(crate) used_args: BTreeSet<String>,
    pub(crate) images: BTreeMap<(String, Arch), VertexId>,
    /// The images that it rests on.
    pub(crate) used: Used,
    /// What a shell beside each step has, by the step's number; kept where somebody may open one.
    pub(crate) around: BTreeMap<usize, Around>,
}

/// A stage while its instructions are read.
pub(super) struct Reading {
    pub(super) index: usize,
    pub(super) state: StageState,
    pub(super) vertex: VertexId,
    pub(super) arch: Arch,
    /// `[builder` of the step's name.
    pub(super) prefix: String,
    pub(super) step: usize,
    pub(super) steps: usize,
    pub(super) cached: bool,
}

impl<'a> Lowering<'a> {
    /// Reads the arguments before the first stage.
    pub(crate) fn new(
        builder: &'a Builder<'a>,
        request: &'a BuildRequest,
        file: &'a Dockerfile,
        target: usize,
    ) -> Result<Lowering<'a>, BuildError> {
        let mut globals = BTreeMap::new();
        let host = Platform::linux(Arch::host());
        let wanted = Platform::linux(request.arch);
        for (prefix, platform) in [("BUILD", host), ("TARGET", wanted)] {
            globals.insert(format!("{prefix}PLATFORM"), platform.to_string());
            globals.insert(format!("{prefix}OS"), platform.os.clone());
            globals.insert(format!("{prefix}ARCH"), platform.architecture.clone());
            globals.insert(
                format!("{prefix}VARIANT"),
                platform.variant.clone().unwrap_or_default(),
            );
        }
        let name = file.stages[target].name.clone();
        globals.insert("TARGETSTAGE".into(), name.unwrap_or_else(|| "default".into()));
        let mut lowering = Lowering {
            builder,
            request,
            file,
            graph: Graph::new(),
            stages: BTreeMap::new(),
            globals,
            used_args: BTreeSet::new(),
            images: BTreeMap::new(),
            used: Used::default(),
            around: BTreeMap::new(),
        };
        let lexer = Lexer::new(file.directives.escape);
        for (name, value) in &file.global_args {
            lowering.used_args.insert(name.clone());
            let value = match (request.args.get(name), value) {
                (Some(given), _) => given.clone(),
                (None, Some(text)) => lexer
                    .word(text, &|name| lowering.globals.get(name).cloned())
                    .map_err(|error| BuildError::fault(Span::new(1, 1), error.to_string()))?,
                (None, None) => continue,
            };
            lowering.globals.insert(name.clone(), value);
        }
        for stage in &file.stages {
            if lowering
                .expand_global(&stage.base)
                .is_ok_and(|base| base.is_empty())
            {
                return Err(lowering.blank_base(stage));
            }
        }
        Ok(lowering)
    }

    /// The stages that a stage needs, itself included, in their order.
    pub(crate) fn needed(&self, target: usize) -> Vec<usize> {
        let mut needed = BTreeSet::from([target]);
        for index in (0..=target).rev() {
            if !needed.contains(&index) {
                continue;
            }
            let stage = &self.file.stages[index];
            let base = self.expand_global(&stage.base).unwrap_or_default();
            needed.extend(self.earlier(&base, index));
            for located in &stage.instructions {
                let from: Vec<String> = match &located.instruction {
                    Instruction::Copy(copying) => copying.from.iter().cloned().collect(),
                    Instruction::Run(run) => run
                        .mounts
                        .iter()
                        .filter_map(|text| Mount::parse(text, &mut |value| Ok(value.into())).ok()?.from)
                        .collect(),
                    _ => Vec::new(),
                };
                needed.extend(
                    from.iter()
                        .filter(|from| !self.request.contexts.contains_key(&from.to_lowercase()))
                        .filter_map(|from| self.file.stage(from))
                        .filter(|at| *at < index),
                );
            }
        }
        needed.into_iter().collect()
    }

    fn expand_global(&self, text: &str) -> Result<String, String> {
        Lexer::new(self.file.directives.escape)
            .word(text, &|name| self.globals.get(name).cloned())
            .map_err(|error| error.to_string())
    }

    /// The stage of a name that stands before another.
    fn earlier(&self, name: &str, index: usize) -> Option<usize> {
        let lower = name.to_lowercase();
        if self.request.contexts.contains_key(&lower) {
            return None;
        }
        let before = &self.file.stages[..index];
        before
            .iter()
            .rposition(|stage| stage.name.as_deref() == Some(lower.as_str()))
    }

    /// Settles one stage; those that it needs are settled before.
    pub(crate) fn stage(&mut self, index: usize) -> Result<(), BuildError> {
        let file = self.file;
        let stage = &file.stages[index];
        let fault = |text: String, word: &str| BuildError::from(Fault::new(stage.span, text).at(word));
        let base = self
            .expand_global(&stage.base)
            .map_err(|error| fault(error, &stage.base))?;
        if base.is_empty() {
            return Err(self.blank_base(stage));
        }
        let arch = self.stage_arch(stage)?;
        let prefix = match &stage.name {
            Some(name) => format!("{name} "),
            None if file.stages.len() > 1 => format!("stage-{index} "),
            None => String::new(),
        };
        let makes_step = |located: &&Located| {
            matches!(
                located.instruction,
                Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_)
            )
        };
        let steps = 1 + stage.instructions.iter().filter(makes_step).count();
        let platform = match arch == self.request.arch {
            true => String::new(),
            false => format!("linux/{arch} "),
        };
        let prefix = format!("[{platform}{prefix}");
        let (state, vertex) = match self.earlier(&base, index) {
            Some(earlier) => {
                let lowered = &self.stages[&earlier];
                (lowered.state.child(), lowered.vertex)
            }
            None => self
                .begin(&base, arch, stage, &format!("{prefix}1/{steps}]"))
                .map_err(|error| self.stands_below(error, &base, index))?,
        };
        let no_cache = self.request.no_cache
            || self
                .request
                .no_cache_stages
                .iter()
                .any(|name| Some(name.to_lowercase()) == stage.name || name.parse() == Ok(index));
        let mut reading = Reading {
            index,
            state,
            vertex,
            arch,
            prefix,
            step: 1,
            steps,
            cached: !no_cache,
        };
        for trigger in reading.state.take_triggers() {
            let located = parse_trigger(&trigger).map_err(|error| {
                fault(
                    format!("the image's ONBUILD `{trigger}` cannot be read: {error}"),
                    &stage.base,
                )
            })?;
            let located = Located {
                span: stage.span,
                ..located
            };
            self.instruction(&mut reading, &located)?;
        }
        for located in &stage.instructions {
            self.instruction(&mut reading, located)?;
        }
        self.stages.insert(
            index,
            Lowered {
                state: reading.state,
                vertex: reading.vertex,
            },
        );
        Ok(())
    }

    /// An image that can't be had may be a stage that comes too late.
    fn stands_below(&self, error: BuildError, base: &str, index: usize) -> BuildError {
        let lower = base.to_lowercase();
        let mut later = self.file.stages[index..].iter();
        let Some(other) = later.find(|stage| stage.name.as_deref() == Some(lower.as_str())) else {
            return error;
        };
        let stage = &self.file.stages[index];
        let needs = stage
            .name
            .as_deref()
            .is_some_and(|name| other.base.eq_ignore_ascii_case(name));
        let line = other.span.line;
        let text = format!(
            "the stage {base} is not there yet: it begins in line {line}, and no image has that name"
        );
        Fault::new(stage.span, text)
            .at(stage.base.clone())
            .help(match needs || std::ptr::eq(stage, other) {
                true => format!("a stage cannot rest on itself: give the one in line {line} another base"),
                false => format!("move the stage {base} above this one"),
            })
            .into()
    }

    fn blank_base(&self, stage: &Stage) -> BuildError {
        let text = format!("base name ({}) should not be blank", stage.base);
        let fault = Fault::new(stage.span, text).at(stage.base.clone());
        let name: String = stage
            .base
            .chars()
            .skip_while(|c| !c.is_alphabetic() && *c != '_')
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let is_later = self.file.stages.iter().any(|stage| {
            stage.instructions.iter().any(|located| {
                matches!(&located.instruction, Instruction::Arg(args) if args.iter().any(|(arg, _)| *arg == name))
            })
        });
        let known = self.file.global_args.iter().map(|(name, _)| name.as_str());
        let fault = match coil_dockerfile::near::closest(&name, known) {
            Some(near) if near != name => fault.help(format!("the argument {name} isn't set; did you mean {near}?")),
            _ if is_later => fault.help(format!(
                "an ARG inside a stage is unknown to FROM: write ARG {name}=… before the first FROM"
            )),
            _ => fault.help(format!(
                "write ARG {name}=VALUE before the first FROM, or give --build-arg {name}=VALUE with ARG {name} there"
            )),
        };
        fault.into()
    }

    fn stage_arch(&self, stage: &Stage) -> Result<Arch, BuildError> {
        let Some(text) = &stage.platform else {
            return Ok(self.request.arch);
        };
        let fault = |message: String| BuildError::from(Fault::new(stage.span, message).at(text.clone()));
        if text.is_empty() {
            return Ok(self.request.arch);
        }
        let platform = self.expand_global(text).map_err(fault)?;
        // A system alone is this machine's.
        if platform == "linux" {
            return Ok(Arch::host());
        }
        if platform.is_empty() {
            return Err(fault(format!("empty platform value from expression {text}")));
        }
        platform
            .parse::<Platform>()
            .ok()
            .and_then(|platform| platform.arch())
            .ok_or_else(|| {
                Fault::new(stage.span, format!("failed to parse platform {platform}"))
                    .at(text.clone())
                    .help("coil builds for linux/amd64 and linux/arm64")
                    .into()
            })
    }

    /// A stage on an image, a context or nothing.
    fn begin(
        &mut self,
        base: &str,
        arch: Arch,
        stage: &Stage,
        prefix: &str,
    ) -> Result<(StageState, VertexId), BuildError> {
        let context = self.request.contexts.get(&base.to_lowercase());
        match context.filter(|_| base != "scratch") {
            Some(NamedContext::Image(_) | NamedContext::Kept(..)) => {}
            Some(NamedContext::Folder(_)) => return Ok(self.folder_as_base(base, stage.span, prefix)),
            None if base == "scratch" => {
                let vertex = self.add(
                    format!("{prefix} FROM scratch"),
                    Op::Scratch,
                    &[],
                    stage.span,
                    true,
                );
                // Nothing has no platform of its own.
                return Ok((StageState::empty(self.request.arch), vertex));
            }
            None => {}
        }
        let found = self.base(base, arch, stage.span)?;
        let name = format!("{prefix} FROM {}", found.name);
        let vertex = self.add(name, Op::Image(found.layers), &[], stage.span, true);
        let mut state = StageState::of(found.config);
        state.config.created = None;
        Ok((state, vertex))
    }

    /// A stage on a folder's files, with an empty configuration.
    fn folder_as_base(&mut self, name: &str, span: Span, prefix: &str) -> (StageState, VertexId) {
        let nothing = self.add(format!("{prefix} FROM {name}"), Op::Scratch, &[], span, true);
        let op = CopyOp {
            sources: vec![CopySource::Path("/".into())],
            from: From::Context(Some(name.to_lowercase())),
            destination: "/".into(),
            chown: None,
            chmod: None,
            link: false,
            parents: false,
            exclude: Vec::new(),
            checksum: None,
            keeps_git: None,
            unpack: Some(false),
        };
        let op = Op::Copy(Box::new(op));
        let vertex = self.add(format!("{prefix} the context {name}"), op, &[nothing], span, true);
        (StageState::empty(self.request.arch), vertex)
    }

    /// An image, noted as something that this build rests on; a context of its name stands in for it.
    pub(super) fn base(&mut self, name: &str, arch: Arch, span: Span) -> Result<Base, BuildError> {
        let pull = self.request.pull;
        let found = match self.request.contexts.get(&name.to_lowercase()) {
            Some(NamedContext::Kept(place, descriptor)) => {
                self.builder.kept(place, descriptor, arch, span)?
            }
            Some(NamedContext::Image(image)) => self.builder.base(image, arch, span, pull)?,
            _ => self.builder.base(name, arch, span, pull)?,
        };
        self.used.materials.insert(found.material.clone());
        if found.stands_in {
            self.used.stand_ins.insert(found.name.clone());
        }
        Ok(found)
    }

    pub(super) fn add(
        &mut self,
        name: String,
        op: Op,
        inputs: &[VertexId],
        span: Span,
        cached: bool,
    ) -> VertexId {
        let number = self.graph.vertices().len() + 1;
        let step = PlannedStep {
            number,
            span,
            op,
            cached,
        };
        self.graph.add(name, step, inputs)
    }
}
