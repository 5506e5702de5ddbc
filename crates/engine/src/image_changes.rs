//! Instructions that change an image's configuration alone: `commit --change`, `import --change`.

use std::fmt;

use coil_dockerfile::words::Lexer;
use coil_dockerfile::{CommandLine, Instruction, parse_trigger};
use coil_oci::{ContainerConfig, ImageConfig};
use coil_runtime::ports::parse_expose;
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
        "give CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR, as in a Dockerfile"
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
    let mut commanded = false;
    for change in changes {
        let word = change.split_whitespace().next().unwrap_or_default();
        if word.is_empty() {
            return Err(ChangeError("file with no instructions".into()));
        }
        if word.eq_ignore_ascii_case("from") {
            return Err(ChangeError("FROM is not a valid change command".into()));
        }
        let located = parse_trigger(change).map_err(|fault| ChangeError(format!("{change}: {fault}")))?;
        commanded |= matches!(located.instruction, Instruction::Cmd(_));
        // Another entry point has other arguments.
        if matches!(located.instruction, Instruction::Entrypoint(_)) && !commanded {
            image.config.cmd.clear();
        }
        one(&mut image.config, change, located.instruction)?;
    }
    Ok(())
}

/// A word with the image's own variables in it.
fn expanded(word: &str, config: &ContainerConfig) -> Result<String, ChangeError> {
    let lookup = |name: &str| {
        config.env.iter().find_map(|entry| {
            let (known, value) = entry.split_once('=')?;
            (known == name).then(|| value.to_owned())
        })
    };
    Lexer::new('\\')
        .word(word, &lookup)
        .map_err(|error| ChangeError(format!("{word}: {error}")))
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
                let entry = format!("{start}{}", expanded(&pair.value, config)?);
                match config.env.iter_mut().find(|known| known.starts_with(&start)) {
                    Some(known) => *known = entry,
                    None => config.env.push(entry),
                }
            }
        }
        Instruction::Label(pairs) => {
            for pair in pairs {
                let (key, value) = (expanded(&pair.key, config)?, expanded(&pair.value, config)?);
                config.labels.insert(key, value);
            }
        }
        Instruction::Expose(ports) => {
            for text in ports {
                let text = expanded(&text, config)?;
                for port in parse_expose(&text).map_err(|error| ChangeError(error.to_string()))? {
                    let name = format!("{}/{}", port.container_port, port.protocol);
                    config.exposed_ports.insert(name, json!({}));
                }
            }
        }
        Instruction::Volume(paths) => config
            .volumes
            .extend(paths.into_iter().map(|path| (path, json!({})))),
        Instruction::User(user) => config.user = expanded(&user, config)?,
        Instruction::Workdir(path) => {
            let path = expanded(&path, config)?;
            config.working_dir = match path.starts_with('/') {
                true => path,
                false => format!("{}/{path}", config.working_dir.trim_end_matches('/')),
            };
        }
        Instruction::StopSignal(signal) => config.stop_signal = signal,
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
        | Instruction::Shell(_)
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
            "ENV C=$A/c",
            "CMD [\"a\", \"b\"]",
            "ENTRYPOINT run this",
            "LABEL k=v",
            "EXPOSE 80 90-91/udp",
            "WORKDIR app",
            "USER 5",
            "VOLUME /data",
            "STOPSIGNAL SIGINT",
        ]
        .map(str::to_owned);
        apply(&mut image, &changes).expect("all are good");
        let config = image.config;
        assert_eq!(config.env, ["A=2", "B=x y", "C=2/c"]);
        assert_eq!(config.cmd, ["a", "b"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "run this"]);
        assert_eq!(
            (config.working_dir.as_str(), config.user.as_str()),
            ("/srv/app", "5")
        );
        assert!(config.exposed_ports.contains_key("91/udp"));
        assert!(config.exposed_ports.contains_key("80/tcp") && config.volumes.contains_key("/data"));
        assert_eq!(config.labels["k"], "v");
    }

    #[test]
    fn another_entry_point_drops_the_command() {
        let mut image = config();
        image.config.cmd = vec!["old".into()];
        apply(&mut image, &["ENTRYPOINT [\"x\"]".to_owned()]).expect("it is good");
        assert!(image.config.cmd.is_empty());
        let both = ["CMD [\"y\"]", "ENTRYPOINT [\"x\"]"].map(str::to_owned);
        apply(&mut image, &both).expect("they are good");
        assert_eq!(image.config.cmd, ["y"]);
    }

    #[test]
    fn what_would_have_to_run_is_refused() {
        for (text, said) in [
            ("RUN x", "RUN is not a valid change command"),
            ("FROM x", "FROM is not a valid change command"),
            ("SHELL [\"sh\"]", "SHELL is not a valid change command"),
            ("EXPOSE many", "invalid containerPort: many"),
            ("", "file with no instructions"),
            ("WAT 1", "WAT"),
        ] {
            let error = apply(&mut config(), &[text.to_owned()]).expect_err("refused");
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
