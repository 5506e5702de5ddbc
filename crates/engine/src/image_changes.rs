//! Instructions that change an image's configuration alone: `commit --change`, `import --change`.

use std::fmt;

use coil_dockerfile::{CommandLine, Instruction, parse_trigger};
use coil_oci::{ContainerConfig, ImageConfig};
use serde_json::{Value, json};

/// An instruction that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeError(String);

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ChangeError {}

impl ChangeError {
    /// What the user can do next.
    pub fn help(&self) -> String {
        "give CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME or WORKDIR, as in a Dockerfile"
            .into()
    }
}

/// Whether an image already carries the shell of its own for command lines.
fn words(line: &CommandLine, config: &ContainerConfig) -> Vec<String> {
    if !line.shell {
        return line.words.clone();
    }
    let shell = config
        .other
        .get("Shell")
        .and_then(|value| serde_json::from_value(value.clone()).ok());
    let mut words: Vec<String> = shell.unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
    words.extend(line.words.iter().cloned());
    words
}

/// Makes the changes, one after the other.
///
/// # Errors
/// When one is no instruction, or one that would have to run.
pub fn apply(image: &mut ImageConfig, changes: &[String]) -> Result<(), ChangeError> {
    for change in changes {
        let located = parse_trigger(change).map_err(|fault| ChangeError(format!("{change}: {fault}")))?;
        one(&mut image.config, change, located.instruction)?;
    }
    Ok(())
}

fn one(config: &mut ContainerConfig, text: &str, instruction: Instruction) -> Result<(), ChangeError> {
    match instruction {
        Instruction::Cmd(line) => config.cmd = words(&line, config),
        Instruction::Entrypoint(line) => {
            config.entrypoint = words(&line, config);
        }
        Instruction::Env(pairs) => {
            for pair in pairs {
                let start = format!("{}=", pair.key);
                let entry = format!("{start}{}", plain(&pair.value));
                match config.env.iter_mut().find(|known| known.starts_with(&start)) {
                    Some(known) => *known = entry,
                    None => config.env.push(entry),
                }
            }
        }
        Instruction::Label(pairs) => {
            let pairs = pairs
                .into_iter()
                .map(|pair| (plain(&pair.key), plain(&pair.value)));
            config.labels.extend(pairs);
        }
        Instruction::Expose(ports) => {
            for port in ports {
                let port = if port.contains('/') {
                    port
                } else {
                    format!("{port}/tcp")
                };
                config.exposed_ports.insert(port, json!({}));
            }
        }
        Instruction::Volume(paths) => config
            .volumes
            .extend(paths.into_iter().map(|path| (path, json!({})))),
        Instruction::User(user) => config.user = user,
        Instruction::Workdir(path) => {
            config.working_dir = match path.starts_with('/') {
                true => path,
                false => format!("{}/{path}", config.working_dir.trim_end_matches('/')),
            };
        }
        Instruction::StopSignal(signal) => config.stop_signal = signal,
        Instruction::Shell(words) => {
            config.other.insert("Shell".into(), json!(words));
        }
        Instruction::OnBuild(trigger) => {
            let list = config.other.entry("OnBuild".into()).or_insert_with(|| json!([]));
            match list {
                Value::Array(list) => list.push(json!(trigger)),
                other => *other = json!([trigger]),
            }
        }
        Instruction::Healthcheck(check) => {
            let mut value = json!({ "Test": check.test });
            for (name, number) in [
                ("Interval", check.interval),
                ("Timeout", check.timeout),
                ("StartPeriod", check.start_period),
                ("StartInterval", check.start_interval),
                ("Retries", check.retries),
            ] {
                if number != 0 {
                    value[name] = json!(number);
                }
            }
            config.other.insert("Healthcheck".into(), value);
        }
        Instruction::Add(_)
        | Instruction::Arg(_)
        | Instruction::Copy(_)
        | Instruction::Maintainer(_)
        | Instruction::Run(_) => {
            let word = text.split_whitespace().next().unwrap_or_default();
            return Err(ChangeError(format!(
                "{} is not a valid change command",
                word.to_ascii_uppercase()
            )));
        }
    }
    Ok(())
}

/// A word without the quotes that hold it together.
fn plain(word: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = word.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner.to_owned();
        }
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ImageConfig {
        serde_json::from_value(json!({
            "architecture": "amd64", "os": "linux", "config": { "Env": ["A=1"], "WorkingDir": "/srv" },
            "rootfs": { "type": "layers", "diff_ids": [] },
        }))
        .expect("a configuration")
    }

    #[test]
    fn instructions_change_the_configuration() {
        let mut image = config();
        let changes = [
            "ENV A=2 B=\"x y\"",
            "CMD [\"a\", \"b\"]",
            "ENTRYPOINT run this",
            "LABEL k=v",
            "EXPOSE 80",
            "WORKDIR app",
            "USER 5",
            "VOLUME /data",
            "STOPSIGNAL SIGINT",
        ]
        .map(str::to_owned);
        apply(&mut image, &changes).expect("all are good");
        let config = image.config;
        assert_eq!(config.env, ["A=2", "B=x y"]);
        assert_eq!(config.cmd, ["a", "b"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "run this"]);
        assert_eq!(
            (config.working_dir.as_str(), config.user.as_str()),
            ("/srv/app", "5")
        );
        assert!(config.exposed_ports.contains_key("80/tcp") && config.volumes.contains_key("/data"));
        assert_eq!(config.labels["k"], "v");
    }

    #[test]
    fn what_would_have_to_run_is_refused() {
        for (text, said) in [("RUN x", "RUN is not a valid change command"), ("WAT 1", "WAT")] {
            let error = apply(&mut config(), &[text.to_owned()]).expect_err("refused");
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
