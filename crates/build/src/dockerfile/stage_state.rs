//! What a stage is so far: its configuration, its environment, its history, as BuildKit writes them.

use std::collections::BTreeMap;

use coil_dockerfile::Healthcheck;
use coil_oci::{Arch, ContainerConfig, History, ImageConfig, RootFs};
use serde_json::{Value, json};

/// The search path of an image that says none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage in the making.
#[derive(Debug, Clone)]
pub(crate) struct StageState {
    pub(crate) config: ImageConfig,
    /// Variables of steps and expansions: the image's, and arguments.
    pub(crate) env: Vec<(String, String)>,
    /// Arguments in the order of their instructions.
    pub(crate) args: Vec<(String, Option<String>)>,
    /// What this build adds: what was done, and whether it made a layer.
    pub(crate) history: Vec<(String, bool)>,
    pub(crate) has_command: bool,
}

impl StageState {
    /// A stage from scratch.
    pub(crate) fn empty(arch: Arch) -> StageState {
        let mut state = StageState::of(ImageConfig {
            created: None,
            author: None,
            architecture: arch.name().into(),
            variant: None,
            os: "linux".into(),
            config: ContainerConfig {
                env: vec![format!("PATH={PATH}")],
                working_dir: "/".into(),
                ..ContainerConfig::default()
            },
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: Vec::new(),
            },
            history: Vec::new(),
            other: BTreeMap::new(),
        });
        state.history.clear();
        state
    }

    /// A stage on an image.
    pub(crate) fn of(config: ImageConfig) -> StageState {
        let env = config.config.env.iter().map(|entry| match entry.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (entry.clone(), String::new()),
        });
        let mut state = StageState {
            env: env.collect(),
            config,
            args: Vec::new(),
            history: Vec::new(),
            has_command: false,
        };
        if state.get("PATH").is_none() {
            state.set("PATH", PATH);
        }
        state
    }

    /// A stage on another one: its arguments are known as well.
    pub(crate) fn child(&self) -> StageState {
        StageState {
            has_command: false,
            ..self.clone()
        }
    }

    /// A variable of steps and expansions.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let mut found = self.env.iter().rev().filter(|(other, _)| other == name);
        found.next().map(|(_, value)| value.clone())
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.retain(|(other, _)| other != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// A variable of the image.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.set(name, value);
        let entry = format!("{name}={value}");
        let env = &mut self.config.config.env;
        let same = |other: &&mut String| other.split('=').next() == Some(name);
        match env.iter_mut().find(same) {
            Some(other) => *other = entry,
            None => env.push(entry),
        }
    }

    pub(crate) fn workdir(&self) -> &str {
        match self.config.config.working_dir.as_str() {
            "" => "/",
            path => path,
        }
    }

    /// The shell that lines are read by.
    pub(crate) fn shell(&self) -> Vec<String> {
        let own = self.config.config.other.get("Shell");
        let own: Option<Vec<String>> = own.and_then(|value| serde_json::from_value(value.clone()).ok());
        own.filter(|shell| !shell.is_empty())
            .unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()])
    }

    pub(crate) fn put(&mut self, key: &str, value: Value) {
        self.config.config.other.insert(key.into(), value);
    }

    /// Instructions that wait in the image; they are taken out.
    pub(crate) fn take_triggers(&mut self) -> Vec<String> {
        let waiting = self.config.config.other.remove("OnBuild");
        waiting
            .and_then(|value| serde_json::from_value(value).ok())
            .unwrap_or_default()
    }

    pub(crate) fn add_trigger(&mut self, text: &str) {
        let mut all: Vec<String> = self
            .config
            .config
            .other
            .get("OnBuild")
            .and_then(|value| serde_json::from_value(value.clone()).ok())
            .unwrap_or_default();
        all.push(text.to_owned());
        self.put("OnBuild", json!(all));
    }

    /// Notes what an instruction did that made no layer.
    pub(crate) fn note(&mut self, text: String) {
        self.history.push((text, false));
    }

    /// `HEALTHCHECK`, as Docker keeps it.
    pub(crate) fn set_healthcheck(&mut self, check: &Healthcheck) {
        let mut value = serde_json::Map::new();
        value.insert("Test".into(), json!(check.test));
        for (name, number) in [
            ("Interval", check.interval),
            ("Timeout", check.timeout),
            ("StartPeriod", check.start_period),
            ("StartInterval", check.start_interval),
            ("Retries", check.retries),
        ] {
            if number != 0 {
                value.insert(name.into(), json!(number));
            }
        }
        self.put("Healthcheck", Value::Object(value));
        let times = [
            check.interval,
            check.timeout,
            check.start_period,
            check.start_interval,
        ];
        let times: Vec<String> = times.iter().map(|time| quoted(&duration(*time))).collect();
        self.note(format!(
            "HEALTHCHECK &{{{} {} {}}}",
            quoted_list(&check.test),
            times.join(" "),
            quoted_character(check.retries)
        ));
    }

    /// The history with times: a step's layer has its own, all else the time of the layer before.
    pub(crate) fn finished_history(&self, created: &[Option<String>], now: &str) -> Vec<History> {
        let mut times = created.iter();
        let mut entries: Vec<History> = self
            .history
            .iter()
            .map(|(text, has_layer)| History {
                created: if *has_layer {
                    times.next().cloned().flatten()
                } else {
                    None
                },
                created_by: Some(text.clone()),
                comment: Some("buildkit.dockerfile.v0".into()),
                empty_layer: !has_layer,
            })
            .collect();
        let first = entries.iter().find_map(|entry| entry.created.clone());
        let below = self
            .config
            .history
            .iter()
            .rev()
            .find_map(|entry| entry.created.clone());
        let mut last = first.or(below).unwrap_or_else(|| now.to_owned());
        for entry in &mut entries {
            match &entry.created {
                Some(time) => last.clone_from(time),
                None => entry.created = Some(last.clone()),
            }
        }
        self.config.history.iter().cloned().chain(entries).collect()
    }
}

/// A text as Go quotes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list of texts as Go quotes it.
pub(crate) fn quoted_list(list: &[String]) -> String {
    let words: Vec<String> = list.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(" "))
}

/// A number as Go quotes a character.
fn quoted_character(number: i64) -> String {
    let number = u32::try_from(number).unwrap_or(0xfffd);
    match char::from_u32(number) {
        Some('\u{7}') => "'\\a'".into(),
        Some('\u{8}') => "'\\b'".into(),
        Some('\t') => "'\\t'".into(),
        Some('\n') => "'\\n'".into(),
        Some('\u{b}') => "'\\v'".into(),
        Some('\u{c}') => "'\\f'".into(),
        Some('\r') => "'\\r'".into(),
        Some('\'') => "'\\''".into(),
        Some('\\') => "'\\\\'".into(),
        Some(c) if number < 0x20 || number == 0x7f => format!("'\\x{:02x}'", c as u32),
        Some(c) => format!("'{c}'"),
        None => "'\u{fffd}'".into(),
    }
}

/// Nanoseconds as Go prints a length of time.
fn duration(nanoseconds: i64) -> String {
    let total = nanoseconds.unsigned_abs();
    if total == 0 {
        return "0s".into();
    }
    let fraction = |value: u64, unit: u64| {
        let whole = value / unit;
        let width = unit.to_string().len() - 1;
        let rest = format!("{:0width$}", value % unit);
        match rest.trim_end_matches('0') {
            "" => whole.to_string(),
            rest => format!("{whole}.{rest}"),
        }
    };
    if total < 1_000 {
        return format!("{total}ns");
    }
    if total < 1_000_000 {
        return format!("{}µs", fraction(total, 1_000));
    }
    if total < 1_000_000_000 {
        return format!("{}ms", fraction(total, 1_000_000));
    }
    let (hours, rest) = (total / 3_600_000_000_000, total % 3_600_000_000_000);
    let (minutes, rest) = (rest / 60_000_000_000, rest % 60_000_000_000);
    let seconds = fraction(rest, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_written_as_go_does() {
        assert_eq!(
            quoted_list(&["a".into(), "b \"c\"".into()]),
            "[\"a\" \"b \\\"c\\\"\"]"
        );
        assert_eq!(duration(300_000_000_000), "5m0s");
        assert_eq!(duration(3_500_000_000), "3.5s");
        assert_eq!(duration(1_500_000), "1.5ms");
        assert_eq!(duration(0), "0s");
        assert_eq!(quoted_character(2), "'\\x02'");
        assert_eq!(quoted_character(10), "'\\n'");
        assert_eq!(quoted_character(65), "'A'");
    }

    #[test]
    fn variables_keep_their_place_and_arguments_stay_out() {
        let mut state = StageState::empty(Arch::Amd64);
        state.set_env("A", "1");
        state.set_env("B", "2");
        state.set("A", "argument");
        state.set_env("A", "3");
        assert_eq!(state.config.config.env[1..], ["A=3", "B=2"]);
        assert_eq!(state.get("A").as_deref(), Some("3"));
        assert_eq!(state.child().get("B").as_deref(), Some("2"));
    }
}
