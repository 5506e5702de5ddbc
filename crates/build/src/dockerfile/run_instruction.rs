//! `RUN`: the program of a step, its environment and what is mounted in it.

use std::collections::BTreeMap;

use coil_dockerfile::{Fault, Located, Mount, MountKind, Run, RunNetwork, RunSecurity, Span};
use coil_plan::VertexId;

use super::copying::From;
use super::instructions::{FromPlace, absolute};
use super::lowering::{Lowering, Op, PROXY_ARGS, Reading};
use super::running::{RunOp, StepMount};
use super::stage_state::StageState;
use super::{BuildError, DeviceRight};
use crate::executor::{StepDevice, StepNetwork};

/// Expands a word.
type Expand<'a> = &'a dyn Fn(&str) -> Result<String, BuildError>;

impl Lowering<'_> {
    /// Settles a `RUN`.
    pub(super) fn run(
        &mut self,
        reading: &mut Reading,
        located: &Located,
        run: &Run,
        word: Expand<'_>,
    ) -> Result<(), BuildError> {
        let span = located.span;
        let insecure = self.is_insecure(run, span)?;
        let (mut argv, script) = program(run);
        let state = &reading.state;
        if run.command.shell {
            argv = state.shell().into_iter().chain(argv).collect();
        }
        let mut words = told_arguments(state);
        words.extend(argv.iter().cloned());
        let history = format!("RUN {} # buildkit", words.join(" "));
        let proxies: BTreeMap<String, String> = PROXY_ARGS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.request.args.get(*name)?.clone())))
            .collect();
        let env = environment(state, &proxies);
        let (user, workdir) = (state.config.config.user.clone(), state.workdir().to_owned());
        let devices = self.devices(run, span, word)?;
        let (mounts, inputs) = self.mounts(reading, run, span, &workdir, word)?;
        let op = RunOp {
            argv,
            script,
            env,
            proxies,
            workdir,
            user,
            mounts,
            insecure,
            devices,
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
        Ok(())
    }

    /// What a step may only do where the user allows it.
    fn is_insecure(&self, run: &Run, span: Span) -> Result<bool, BuildError> {
        let insecure = run.security == RunSecurity::Insecure;
        if insecure && !self.request.insecure {
            let text = "RUN --security=insecure is not allowed: it is all that the host's root may";
            return Err(Fault::new(span, text)
                .at("--security=insecure")
                .help("if you trust this Dockerfile with the machine, give --allow security.insecure")
                .into());
        }
        Ok(insecure)
    }

    /// The devices of a step; each only where the user allows it.
    fn devices(&self, run: &Run, span: Span, word: Expand<'_>) -> Result<Vec<StepDevice>, BuildError> {
        let mut all = Vec::new();
        for text in &run.devices {
            let fault = |error: String| Fault::new(span, error).at(text.clone());
            let mut device = StepDevice {
                name: String::new(),
                required: false,
            };
            for field in word(text)?.split(',') {
                match field.split_once('=') {
                    None if field == "required" => device.required = true,
                    Some(("required", value)) => device.required = matches!(value, "true" | "1"),
                    Some(("name", value)) => device.name = value.to_owned(),
                    _ if device.name.is_empty() => device.name = field.to_owned(),
                    _ => return Err(fault(format!("unexpected `{field}` in --device")).into()),
                }
            }
            let kind = device.name.split('=').next().unwrap_or_default();
            if !kind.contains('/') {
                return Err(fault(format!("invalid device name {}", device.name))
                    .help("a device is VENDOR/CLASS=NAME, as a file in /etc/cdi has it")
                    .into());
            }
            let is_allowed = self.request.devices.iter().any(|right| match right {
                DeviceRight::All => true,
                DeviceRight::Named(name) => *name == device.name || name == kind,
            });
            if !is_allowed {
                let text = format!(
                    "device \"{}\" is requested by the build but not allowed",
                    device.name
                );
                return Err(fault(text)
                    .help(format!(
                        "if you trust this Dockerfile with it, give --allow device={}",
                        device.name
                    ))
                    .into());
            }
            all.push(device);
        }
        Ok(all)
    }

    /// The mounts of a step, and the steps that they need.
    fn mounts(
        &mut self,
        reading: &Reading,
        run: &Run,
        span: Span,
        workdir: &str,
        word: Expand<'_>,
    ) -> Result<(Vec<StepMount>, Vec<VertexId>), BuildError> {
        let mut inputs = Vec::new();
        let mut mounts = Vec::new();
        for text in &run.mounts {
            let fault = |error: String| BuildError::from(Fault::new(span, error).at(text.clone()));
            let mut mount = Mount::parse(text, &mut |value| word(value).map_err(|error| error.to_string()))
                .map_err(fault)?;
            let is_known =
                self.file.stage("scratch").is_some() || self.request.contexts.contains_key("scratch");
            if mount.from.as_deref() == Some("scratch") && !is_known {
                // Of nothing there is an empty folder.
                mount.from = None;
                if mount.kind == MountKind::Bind {
                    mount.kind = MountKind::Tmpfs;
                }
            }
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
            let target = mount.target.as_deref().map(|target| absolute(workdir, target));
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
        Ok((mounts, inputs))
    }
}

/// What is run, without the shell, and a script that a here-document brings with its name.
fn program(run: &Run) -> (Vec<String>, Option<(String, String)>) {
    let argv = run.command.words.clone();
    let (Some(first), true) = (run.heredocs.first(), run.command.shell) else {
        return (argv, None);
    };
    let is_alone = run.heredocs.len() == 1
        && argv
            .first()
            .is_some_and(|text| coil_dockerfile::Heredoc::is_whole(text));
    if is_alone && first.content.starts_with("#!") {
        let script = (first.name.clone(), first.text());
        return (vec![format!("/dev/pipes/{}", first.name)], Some(script));
    }
    if is_alone {
        return (vec![first.text()], None);
    }
    let mut full = argv.first().cloned().unwrap_or_default();
    for document in &run.heredocs {
        full.push_str(&format!("\n{}{}", document.content, document.name));
    }
    (vec![full], None)
}

/// The arguments of a stage as a history tells them: `|2 A=1 B=2`, each once.
fn told_arguments(state: &StageState) -> Vec<String> {
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
    words
}

/// The variables of a step; proxies count only where the image has them itself.
fn environment(state: &StageState, proxies: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = state.env.iter().cloned().collect();
    let of_image = &state.config.config.env;
    env.retain(|name, _| {
        let start = format!("{name}=");
        !proxies.contains_key(name) || of_image.iter().any(|entry| entry.starts_with(&start))
    });
    env
}
