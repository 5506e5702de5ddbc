//! Each instruction of a stage: what it changes in the configuration, and the step that it becomes.

use std::collections::BTreeMap;

use coil_dockerfile::words::Lexer;
use coil_dockerfile::{
    CommandLine, Copying, Fault, Instruction, Located, Mount, Run, RunNetwork, RunSecurity, Span, ignore,
};
use coil_plan::VertexId;
use serde_json::json;

use super::copying::{CopyOp, CopySource, From};
use super::lowering::{Lowering, Op, PROXY_ARGS, Reading};
use super::ownership::Chmod;
use super::running::{RunOp, StepMount};
use super::stage_state::{StageState, quoted_list};
use super::{BuildError, NamedContext, ports};
use crate::executor::StepNetwork;

impl Lowering<'_> {
    /// Settles one instruction.
    pub(super) fn instruction(
        &mut self,
        reading: &mut Reading<'_>,
        located: &Located,
    ) -> Result<(), BuildError> {
        let span = located.span;
        let lexer = Lexer::new(self.file.directives.escape);
        let before = reading.state.clone();
        let lookup = |name: &str| before.get(name);
        let word = |text: &str| -> Result<String, BuildError> {
            lexer
                .word(text, &lookup)
                .map_err(|error| Fault::new(span, error.to_string()).at(error.text).into())
        };
        let state = &mut reading.state;
        match &located.instruction {
            Instruction::Env(pairs) => {
                let mut text = String::from("ENV");
                for pair in pairs {
                    let (key, value) = (word(&pair.key)?, word(&pair.value)?);
                    text.push_str(&format!(" {key}={value}"));
                    state.set_env(&key, &value);
                }
                state.note(text);
            }
            Instruction::Label(pairs) => {
                let mut text = String::from("LABEL");
                for pair in pairs {
                    let (key, value) = (word(&pair.key)?, word(&pair.value)?);
                    text.push_str(&format!(" {key}={value}"));
                    state.config.config.labels.insert(key, value);
                }
                state.note(text);
            }
            Instruction::Arg(args) => {
                let mut text = String::from("ARG");
                for (name, default) in args {
                    let name = word(name)?;
                    self.used_args.insert(name.clone());
                    let value = match (self.request.args.get(&name), default) {
                        (Some(given), _) => Some(given.clone()),
                        (None, Some(default)) => Some(word(default)?),
                        (None, None) => self.globals.get(&name).cloned(),
                    };
                    text.push_str(&format!(" {name}"));
                    if let Some(value) = &value {
                        text.push_str(&format!("={value}"));
                        state.set(&name, value);
                    }
                    state.args.push((name, value));
                }
                state.note(text);
            }
            Instruction::Maintainer(author) => {
                state.config.author = Some(author.clone());
                state.note(format!("MAINTAINER {author}"));
            }
            Instruction::Expose(words) => {
                let mut all = Vec::new();
                for text in words {
                    let expanded = lexer.words(text, &lookup).map_err(|error| {
                        BuildError::from(Fault::new(span, error.to_string()).at(error.text))
                    })?;
                    for port in expanded {
                        let found = ports::exposed(&port).map_err(|error| {
                            BuildError::from(
                                Fault::new(span, error)
                                    .at(text.clone())
                                    .help("a port is 8000, 8000/tcp, 53/udp or 9000-9002"),
                            )
                        })?;
                        all.extend(found);
                    }
                }
                all.sort();
                all.dedup();
                for port in &all {
                    state.config.config.exposed_ports.insert(port.clone(), json!({}));
                }
                state.note(format!("EXPOSE [{}]", all.join(" ")));
            }
            Instruction::User(user) => {
                let user = word(user)?;
                state.config.config.user.clone_from(&user);
                state.note(format!("USER {user}"));
            }
            Instruction::Volume(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| word(path)).collect::<Result<_, _>>()?;
                for path in &paths {
                    if path.is_empty() {
                        let text = "VOLUME specified can not be an empty string";
                        return Err(BuildError::fault(span, text));
                    }
                    state.config.config.volumes.insert(path.clone(), json!({}));
                }
                state.note(format!("VOLUME [{}]", paths.join(" ")));
            }
            Instruction::StopSignal(signal) => {
                let signal = word(signal)?;
                if !ports::is_signal(&signal) {
                    let text = format!("invalid signal: {signal}");
                    return Err(Fault::new(span, text)
                        .at(signal)
                        .help("a signal is SIGTERM, TERM or 15")
                        .into());
                }
                state.config.config.stop_signal.clone_from(&signal);
                state.note(format!("STOPSIGNAL {signal}"));
            }
            Instruction::Shell(words) => {
                state.put("Shell", json!(words));
                state.note(format!("SHELL [{}]", words.join(" ")));
            }
            Instruction::Healthcheck(check) => state.set_healthcheck(check),
            Instruction::OnBuild(text) => state.add_trigger(text),
            Instruction::Cmd(command) => {
                let words = with_shell(state, command);
                state.config.config.cmd.clone_from(&words);
                state.put("ArgsEscaped", json!(true));
                state.has_command = true;
                state.note(format!("CMD {}", quoted_list(&words)));
            }
            Instruction::Entrypoint(command) => {
                let words = with_shell(state, command);
                state.config.config.entrypoint.clone_from(&words);
                if !state.has_command {
                    state.config.config.cmd.clear();
                }
                state.note(format!("ENTRYPOINT {}", quoted_list(&words)));
            }
            Instruction::Workdir(path) => {
                let written = word(path)?;
                let path = absolute(state.workdir(), &written);
                // An absolute path is kept as it is written.
                let kept = match written.starts_with('/') {
                    true => written,
                    false => path.clone(),
                };
                let text = format!("WORKDIR {kept}");
                state.config.config.working_dir = kept;
                let owner = state.config.config.user.clone();
                let makes = path != "/";
                state.history.push((text.clone(), makes));
                if makes {
                    let op = Op::Folder { path, owner };
                    self.step(reading, &text, op, &[], span);
                } else {
                    reading.step += 1;
                }
            }
            Instruction::Copy(copying) => self.copy(reading, located, copying, false, &word)?,
            Instruction::Add(copying) => self.copy(reading, located, copying, true, &word)?,
            Instruction::Run(run) => self.run(reading, located, run, &word)?,
        }
        Ok(())
    }

    fn step(&mut self, reading: &mut Reading<'_>, text: &str, op: Op, inputs: &[VertexId], span: Span) {
        reading.step += 1;
        let shown: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let name = format!("{}{}/{}] {shown}", reading.prefix, reading.step, reading.steps);
        let all: Vec<VertexId> = std::iter::once(reading.vertex)
            .chain(inputs.iter().copied())
            .collect();
        reading.vertex = self.add(name, op, &all, span, reading.cached);
    }

    /// What a `--from` means: a stage, another context, or an image.
    fn from(&mut self, name: &str, reading: &Reading<'_>, span: Span) -> Result<FromPlace, BuildError> {
        match self.file.stage(name) {
            Some(index) if index < reading.index => return Ok(FromPlace::Vertex(self.stages[&index].vertex)),
            Some(index) => {
                let text = match index == reading.index {
                    true => format!("a stage cannot copy from itself: \"{name}\""),
                    false => format!(
                        "cannot copy from stage \"{name}\", it needs to be defined before current stage"
                    ),
                };
                return Err(Fault::new(span, text)
                    .at(name)
                    .help(match index == reading.index {
                        true => "copy within a stage with RUN cp".to_owned(),
                        false => format!("move the stage {name} above this one"),
                    })
                    .into());
            }
            None => {}
        }
        let image = match self.request.contexts.get(&name.to_lowercase()) {
            Some(NamedContext::Folder(_)) => return Ok(FromPlace::Context(name.to_lowercase())),
            Some(NamedContext::Image(image)) => image.clone(),
            None => name.to_owned(),
        };
        let key = (image.clone(), reading.arch);
        if let Some(vertex) = self.images.get(&key) {
            return Ok(FromPlace::Vertex(*vertex));
        }
        let stages = self.file.stages.iter().filter_map(|stage| stage.name.as_deref());
        let near = coil_dockerfile::near::closest(name, stages).map(str::to_owned);
        let found = self
            .builder
            .base(&image, reading.arch, span, self.request.pull)
            .map_err(|error| match near {
                Some(near) => Fault::new(span, format!("there is no stage \"{name}\", and {error}"))
                    .at(name)
                    .help(format!("did you mean {near}?"))
                    .into(),
                None => error,
            })?;
        let vertex = self.add(
            format!("FROM {}", found.name),
            Op::Image(found.layers),
            &[],
            span,
            true,
        );
        self.images.insert(key, vertex);
        Ok(FromPlace::Vertex(vertex))
    }

    fn copy(
        &mut self,
        reading: &mut Reading<'_>,
        located: &Located,
        copying: &Copying,
        is_add: bool,
        word: &dyn Fn(&str) -> Result<String, BuildError>,
    ) -> Result<(), BuildError> {
        let span = located.span;
        let keyword = if is_add { "ADD" } else { "COPY" };
        let optional = |text: &Option<String>| text.as_deref().map(word).transpose();
        let (chown, chmod) = (optional(&copying.chown)?, optional(&copying.chmod)?);
        let destination = word(&copying.destination)?;
        let mut sources = Vec::new();
        let mut history = format!("{keyword}{}", if copying.parents { " --parents" } else { "" });
        for (name, value) in [("chown", &chown), ("chmod", &chmod)] {
            if let Some(value) = value {
                history.push_str(&format!(" --{name}={value}"));
            }
        }
        for source in &copying.sources {
            let source = word(source)?;
            history.push_str(&format!(" {source}"));
            sources.push(CopySource::read(source, is_add));
        }
        for file in &copying.files {
            history.push_str(&format!(" <<{}", file.name));
            let text = match file.expand {
                true => {
                    let mut lexer = Lexer::new('\\');
                    lexer.skip_quotes = true;
                    let state = &reading.state;
                    lexer
                        .word(&file.text, &|name| state.get(name))
                        .map_err(|error| BuildError::fault(span, error.message))?
                }
                false => file.text.clone(),
            };
            sources.push(CopySource::Inline {
                name: file.name.clone(),
                text,
            });
        }
        history.push_str(&format!(" {destination} # buildkit"));
        let checksum = optional(&copying.checksum)?;
        if checksum.is_some()
            && !sources
                .iter()
                .all(|source| matches!(source, CopySource::Address(_) | CopySource::Git(_)))
        {
            let text = "checksum requires HTTP(S) or Git sources";
            return Err(Fault::new(span, text).at("--checksum").into());
        }
        let chmod = match chmod {
            Some(text) => Some(
                Chmod::parse(&text).map_err(|error| BuildError::from(Fault::new(span, error).at(text)))?,
            ),
            None => None,
        };
        let mut inputs = Vec::new();
        let from = match &copying.from {
            None => From::Context(None),
            Some(name) => match self.from(name, reading, span)? {
                FromPlace::Context(name) => From::Context(Some(name)),
                FromPlace::Vertex(vertex) => {
                    inputs.push(vertex);
                    From::Input
                }
            },
        };
        let exclude: Vec<String> = copying
            .exclude
            .iter()
            .map(|text| word(text))
            .collect::<Result<_, _>>()?;
        let whole = absolute_with_slash(reading.state.workdir(), &destination);
        let op = CopyOp {
            sources,
            from,
            destination: whole,
            chown,
            chmod,
            link: copying.link,
            parents: copying.parents,
            exclude: copying.exclude.clone(),
            checksum,
            keeps_git: copying.keep_git_dir,
            unpack: if is_add { copying.unpack } else { Some(false) },
        };
        reading.state.history.push((history, true));
        let text = located.text.clone();
        self.step(reading, &text, Op::Copy(Box::new(op)), &inputs, span);
        Ok(())
    }

    fn run(
        &mut self,
        reading: &mut Reading<'_>,
        located: &Located,
        run: &Run,
        word: &dyn Fn(&str) -> Result<String, BuildError>,
    ) -> Result<(), BuildError> {
        let span = located.span;
        if run.security == RunSecurity::Insecure {
            let text =
                "RUN --security=insecure is not allowed: a step never gets more than a container's rights";
            return Err(Fault::new(span, text).at("--security=insecure").into());
        }
        if let Some(device) = run.devices.first() {
            let text = format!("RUN --device={device} cannot be honoured: steps get no devices");
            return Err(Fault::new(span, text).at("--device").into());
        }
        let mut argv = run.command.words.clone();
        let mut script = None;
        if let (Some(first), true) = (run.heredocs.first(), run.command.shell) {
            let is_alone = run.heredocs.len() == 1
                && argv.first().is_some_and(|text| {
                    text.trim().starts_with("<<") && !text.trim().contains(char::is_whitespace)
                });
            if is_alone && first.content.starts_with("#!") {
                script = Some((first.name.clone(), first.text()));
                argv = vec![format!("/dev/pipes/{}", first.name)];
            } else if is_alone {
                argv = vec![first.text()];
            } else {
                let mut full = argv.first().cloned().unwrap_or_default();
                for document in &run.heredocs {
                    full.push_str(&format!("\n{}{}", document.content, document.name));
                }
                argv = vec![full];
            }
        }
        let state = &reading.state;
        if run.command.shell {
            let mut whole = state.shell();
            whole.append(&mut argv);
            argv = whole;
        }
        let mut words: Vec<String> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for (name, value) in &state.args {
            let value = state.get(name).or_else(|| value.clone()).unwrap_or_default();
            let text = format!("{name}={value}");
            match names.iter().position(|other| other == name) {
                Some(at) => words[at] = text,
                None => {
                    names.push(name);
                    words.push(text);
                }
            }
        }
        if !words.is_empty() {
            words.insert(0, format!("|{}", words.len()));
        }
        words.extend(argv.iter().cloned());
        let history = format!("RUN {} # buildkit", words.join(" "));
        let mut env: BTreeMap<String, String> = state.env.iter().cloned().collect();
        let proxies: BTreeMap<String, String> = PROXY_ARGS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.request.args.get(*name)?.clone())))
            .collect();
        let is_of_image = |name: &String| {
            let start = format!("{name}=");
            state
                .config
                .config
                .env
                .iter()
                .any(|entry| entry.starts_with(&start))
        };
        env.retain(|name, _| !proxies.contains_key(name) || is_of_image(name));
        let (user, workdir) = (state.config.config.user.clone(), state.workdir().to_owned());
        let mut inputs = Vec::new();
        let mut mounts = Vec::new();
        for text in &run.mounts {
            let fault = |error: String| BuildError::from(Fault::new(span, error).at(text.clone()));
            let mount = Mount::parse(text, &mut |value| word(value).map_err(|error| error.to_string()))
                .map_err(fault)?;
            let from = match &mount.from {
                None => From::Context(None),
                Some(name) => match self.from(name, reading, span)? {
                    FromPlace::Context(name) => From::Context(Some(name)),
                    FromPlace::Vertex(vertex) => {
                        inputs.push(vertex);
                        From::Input
                    }
                },
            };
            let target = mount.target.as_deref().map(|target| absolute(&workdir, target));
            if target.as_deref() == Some("/") {
                return Err(fault("invalid mount target \"/\"".into()));
            }
            let input = matches!(from, From::Input).then_some(inputs.len());
            mounts.push(StepMount {
                mount,
                from,
                target,
                input,
            });
        }
        let op = RunOp {
            argv,
            script,
            env,
            proxies,
            workdir,
            user,
            mounts,
            network: match run.network {
                RunNetwork::Default => self.request.network,
                RunNetwork::None => StepNetwork::None,
                RunNetwork::Host => StepNetwork::Host,
            },
            arch: reading.arch,
        };
        reading.state.history.push((history, true));
        let text = located.text.clone();
        self.step(reading, &text, Op::Run(Box::new(op)), &inputs, span);
        let _ = reading.stage;
        Ok(())
    }
}

/// Where a `--from` leads.
enum FromPlace {
    Vertex(VertexId),
    Context(String),
}

fn with_shell(state: &StageState, command: &CommandLine) -> Vec<String> {
    match command.shell {
        false => command.words.clone(),
        true => state
            .shell()
            .into_iter()
            .chain(command.words.iter().cloned())
            .collect(),
    }
}

/// A path, relative ones from a folder.
pub(crate) fn absolute(folder: &str, path: &str) -> String {
    match path.starts_with('/') {
        true => ignore::clean(path),
        false => ignore::clean(&format!("/{}/{path}", folder.trim_matches('/'))),
    }
}

/// The same, and a slash at its end stays: it says that a folder is meant.
fn absolute_with_slash(folder: &str, path: &str) -> String {
    let whole = absolute(folder, path);
    let is_folder = path.ends_with('/') || path == "." || path.ends_with("/.");
    match is_folder && whole != "/" {
        true => format!("{whole}/"),
        false => whole,
    }
}
