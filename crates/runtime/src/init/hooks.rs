//! Programs of a device's vendor that finish the container's root before it is entered (OCI runtime specification,
//! `createContainer`): they run with coil's rights, see the host's files, and are told where the root is.

use crate::failure::{Failure, Stage};
use crate::spec::{ContainerSpec, Hook};
use serde_json::json;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const STAGE: &str = "hooks";

/// Runs them all, one after the other.
pub(super) fn run(spec: &ContainerSpec) -> Result<(), Failure> {
    if spec.hooks.is_empty() {
        return Ok(());
    }
    let bundle = spec.container_dir.join("bundle");
    let root = spec.container_dir.join("rootfs");
    let config = json!({ "ociVersion": "1.2.0", "root": { "path": root }, "hostname": spec.hostname });
    std::fs::create_dir_all(&bundle)
        .and_then(|()| std::fs::write(bundle.join("config.json"), config.to_string()))
        .stage(STAGE, bundle.display())?;
    let state = json!({
        "ociVersion": "1.2.0",
        "id": spec.id,
        "status": "creating",
        "pid": std::process::id(),
        "bundle": bundle,
    });
    let text = state.to_string();
    spec.hooks.iter().try_for_each(|hook| one(hook, &bundle, &text))
}

fn one(hook: &Hook, bundle: &Path, state: &str) -> Result<(), Failure> {
    let what = || format!("the hook {}", hook.path.display());
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        use std::os::unix::process::CommandExt;
        command.arg0(name).args(rest);
    }
    let variables = hook.env.iter().filter_map(|entry| entry.split_once('='));
    let mut child = command
        .env_clear()
        .envs(variables)
        .current_dir(bundle)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .stage(STAGE, format_args!("{} cannot be run", what()))?;
    if let Some(mut input) = child.stdin.take() {
        // One that doesn't read has no need of it.
        let _ = input.write_all(state.as_bytes());
    }
    let began = Instant::now();
    let ended = loop {
        match child.try_wait().stage(STAGE, what())? {
            Some(ended) => break ended,
            None if hook
                .timeout
                .is_some_and(|most| began.elapsed() > Duration::from_secs(most)) =>
            {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure::refused(STAGE, format_args!("{} took too long", what())));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    if ended.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(errors) = child.stderr.take() {
        let _ = errors.take(4096).read_to_string(&mut said);
    }
    let said = said.trim();
    Err(Failure::refused(
        STAGE,
        format_args!("{} failed ({ended}): {said}", what()),
    ))
}
