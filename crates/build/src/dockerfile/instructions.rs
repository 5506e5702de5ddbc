//! Each instruction of a stage: what it changes in the configuration, and the step that it becomes.

use coil_dockerfile::words::Lexer;
use coil_dockerfile::{CommandLine, Copying, Fault, Instruction, KeyValue, Located, Span, ignore};
use coil_plan::VertexId;
use serde_json::json;

use super::copying::{CopyOp, CopySource, From};
use super::debugging::Around;
use super::lowering::{Lowering, Op, Reading};
use super::ownership::Chmod;
use super::stage_state::{StageState, quoted_list};
use super::{BuildError, NamedContext, ports};

impl Lowering<'_> {
    /// Settles one instruction.
    pub(super) fn instruction(&mut self, reading: &mut Reading, located: &Located) -> Result<(), BuildError> {
        let span = located.span;
        let before = reading.state.clone();
        let escape = self.file.directives.escape;
        let word = |text: &str| expanded(escape, span, text, &before);
        let state = &mut reading.state;
        match &located.instruction {
            Instruction::Env(pairs) => {
                let pairs = expanded_pairs(pairs, &word)?;
                pairs.iter().for_each(|(key, value)| state.set_env(key, value));
                state.note(format!("ENV{}", joined(&pairs)));
            }
            Instruction::Label(pairs) => {
                let pairs = expanded_pairs(pairs, &word)?;
                state.note(format!("LABEL{}", joined(&pairs)));
                state.config.config.labels.extend(pairs);
            }
            Instruction::Arg(args) => self.arguments(state, args, span)?,
            Instruction::Maintainer(author) => {
                state.config.author = Some(author.clone());
                state.note(format!("MAINTAINER {author}"));
            }
            Instruction::Expose(words) => self.expose(state, words, span)?,
            Instruction::User(user) => {
                let user = word(user)?;
                state.config.config.user.clone_from(&user);
                state.note(format!("USER {user}"));
            }
            Instruction::Volume(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| word(path)).collect::<Result<_, _>>()?;
                volumes(state, &paths, span)?;
            }
            Instruction::StopSignal(signal) => stop_signal(state, word(signal)?, span)?,
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
            Instruction::Workdir(path) => self.workdir(reading, &word(path)?, span),
            Instruction::Copy(copying) => self.copy(reading, located, copying, false, &word)?,
            Instruction::Add(copying) => self.copy(reading, located, copying, true, &word)?,
            Instruction::Run(run) => self.run(reading, located, run, &word)?,
        }
        Ok(())
    }

    /// `ARG`: each knows those before it in its line.
    fn arguments(
        &mut self,
        state: &mut StageState,
        args: &[(String, Option<String>)],
        span: Span,
    ) -> Result<(), BuildError> {
        let mut text = String::from("ARG");
        for (name, default) in args {
            self.used_args.insert(name.clone());
            let value = match (self.request.args.get(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(expanded(self.file.directives.escape, span, default, state)?),
                (None, None) => self.globals.get(name).cloned(),
            };
            text.push_str(&format!(" {name}"));
            if let Some(value) = &value {
                text.push_str(&format!("={value}"));
                state.set(name, value);
            }
            state.args.push((name.clone(), value));
        }
        state.note(text);
        Ok(())
    }

    /// `EXPOSE`: a variable may hold several ports.
    fn expose(&self, state: &mut StageState, words: &[String], span: Span) -> Result<(), BuildError> {
        let lexer = Lexer::new(self.file.directives.escape);
        let mut all = Vec::new();
        // The words as they are written are what is sorted.
        let mut words: Vec<&String> = words.iter().collect();
        words.sort();
        for text in words {
            let expanded = lexer
                .words(text, &|name: &str| state.get(name))
                .map_err(|error| BuildError::from(Fault::new(span, error.to_string()).at(error.text)))?;
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
        for port in &all {
            state.config.config.exposed_ports.insert(port.clone(), json!({}));
        }
        state.note(format!("EXPOSE [{}]", all.join(" ")));
        Ok(())
    }

    /// `WORKDIR`: an absolute path is kept as it is written.
    fn workdir(&mut self, reading: &mut Reading, written: &str, span: Span) {
        let state = &mut reading.state;
        let path = absolute(state.workdir(), written);
        let kept = match written.starts_with('/') {
            true => written.to_owned(),
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

    pub(super) fn step(
        &mut self,
        reading: &mut Reading,
        text: &str,
        op: Op,
        inputs: &[VertexId],
        span: Span,
    ) {
        reading.step += 1;
        let shown: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let name = format!("{}{}/{}] {shown}", reading.prefix, reading.step, reading.steps);
        let all: Vec<VertexId> = std::iter::once(reading.vertex)
            .chain(inputs.iter().copied())
            .collect();
        reading.vertex = self.add(name, op, &all, span, reading.cached);
        if self.builder.debugger.is_some() {
            let around = Around::of(&reading.state);
            self.around.insert(self.graph.vertices().len(), around);
        }
    }

    /// What a `--from` means: a stage, another context, or an image.
    pub(super) fn from(
        &mut self,
        name: &str,
        reading: &Reading,
        span: Span,
    ) -> Result<FromPlace, BuildError> {
        if name.contains('$') {
            let text = "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround";
            return Err(Fault::new(span, text)
                .at(name)
                .help("write FROM … AS NAME with the variable above this stage, and --from=NAME here")
                .into());
        }
        // A context that is given stands in for a stage of its name.
        let stage = match self.request.contexts.contains_key(&name.to_lowercase()) {
            true => None,
            false => self.file.stage(name),
        };
        match stage {
            Some(index) if index < reading.index => {
                // A trigger of the base may name a stage that nothing else does.
                for needed in self.needed(index) {
                    if !self.stages.contains_key(&needed) {
                        self.stage(needed)?;
                    }
                }
                return Ok(FromPlace::Vertex(self.stages[&index].vertex));
            }
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
        if let Some(NamedContext::Folder(_)) = self.request.contexts.get(&name.to_lowercase()) {
            return Ok(FromPlace::Context(name.to_lowercase()));
        }
        let key = (name.to_owned(), reading.arch);
        if let Some(vertex) = self.images.get(&key) {
            return Ok(FromPlace::Vertex(*vertex));
        }
        let stages = self.file.stages.iter().filter_map(|stage| stage.name.as_deref());
        let near = coil_dockerfile::near::closest(name, stages).map(str::to_owned);
        let found = self.base(name, reading.arch, span).map_err(|error| match near {
            Some(near) => Fault::new(span, format!("there is no stage \"{name}\", and {error}"))
                .at(name)
                .help(format!("did you mean {near}?"))
                .into(),
            None => match error {
                BuildError::Fault(fault) if fault.help.is_none() => fault
                    .at(name)
                    .help(format!(
                        "a stage of that name begins with FROM … AS {name}, above this one"
                    ))
                    .into(),
                // A plain word is more often a stage than an image.
                BuildError::Pull { source, .. } if !name.contains(['/', ':', '@']) => {
                    let text =
                        format!("there is no stage \"{name}\", and the image {name} cannot be had: {source}");
                    Fault::new(span, text)
                        .at(name)
                        .help(format!(
                            "a stage of that name begins with FROM … AS {name}, above this one"
                        ))
                        .into()
                }
                other => other,
            },
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
        reading: &mut Reading,
        located: &Located,
        copying: &Copying,
        is_add: bool,
        word: &dyn Fn(&str) -> Result<String, BuildError>,
    ) -> Result<(), BuildError> {
        let span = located.span;
        let keyword = if is_add { "ADD" } else { "COPY" };
        let optional = |text: &Option<String>| text.as_deref().map(word).transpose();
        let given =
            |text: &Option<String>| Ok::<_, BuildError>(optional(text)?.filter(|text| !text.is_empty()));
        let (chown, chmod) = (given(&copying.chown)?, given(&copying.chmod)?);
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
            if file.name.trim_start_matches('/').contains('/') {
                let text = format!(
                    "open /{}: no such file or directory",
                    file.name.trim_start_matches('/')
                );
                return Err(Fault::new(span, text)
                    .at(file.name.clone())
                    .help("a here-document's name is a file's name, without folders")
                    .into());
            }
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
        let checksum = given(&copying.checksum)?;
        if checksum.is_some() && sources.len() > 1 {
            let text = "checksum can't be specified for multiple sources";
            return Err(Fault::new(span, text).at("--checksum").into());
        }
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
}

/// A word with what variables it holds.
fn expanded(escape: char, span: Span, text: &str, state: &StageState) -> Result<String, BuildError> {
    Lexer::new(escape)
        .word(text, &|name: &str| state.get(name))
        .map_err(|error| Fault::new(span, error.to_string()).at(error.text).into())
}

fn expanded_pairs(
    pairs: &[KeyValue],
    word: &dyn Fn(&str) -> Result<String, BuildError>,
) -> Result<Vec<(String, String)>, BuildError> {
    let pairs = pairs
        .iter()
        .map(|pair| Ok((word(&pair.key)?, word(&pair.value)?)));
    pairs.collect()
}

/// ` A=b C=d`.
fn joined(pairs: &[(String, String)]) -> String {
    pairs
        .iter()
        .map(|(key, value)| format!(" {key}={value}"))
        .collect()
}

fn volumes(state: &mut StageState, paths: &[String], span: Span) -> Result<(), BuildError> {
    if paths.iter().any(String::is_empty) {
        return Err(BuildError::fault(
            span,
            "VOLUME specified can not be an empty string",
        ));
    }
    for path in paths {
        state.config.config.volumes.insert(path.clone(), json!({}));
    }
    state.note(format!("VOLUME [{}]", paths.join(" ")));
    Ok(())
}

fn stop_signal(state: &mut StageState, signal: String, span: Span) -> Result<(), BuildError> {
    if !ports::is_signal(&signal) {
        let text = format!("invalid signal: {signal}");
        return Err(Fault::new(span, text)
            .at(signal)
            .help("a signal is SIGTERM, TERM or 15")
            .into());
    }
    state.config.config.stop_signal.clone_from(&signal);
    state.note(format!("STOPSIGNAL {signal}"));
    Ok(())
}

/// Where a `--from` leads.
pub(super) enum FromPlace {
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
