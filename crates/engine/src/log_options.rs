//! Where a container's output is kept, as `--log-driver` and `--log-opt` say it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use coil_runtime::spec::{ContainerSpec, JournalSpec, LogSpec};
use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::quantity::bytes;
use crate::record::ContainerRecord;
use crate::run_error::RunError;

/// Where systemd's journal takes entries.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// What `local` keeps where nothing else is said, as Docker has it.
const LOCAL_BYTES: u64 = 20 << 20;
const LOCAL_FILES: u32 = 5;

/// Options that say what is written beside each line.
const DETAILS: [&str; 5] = ["env", "env-regex", "labels", "labels-regex", "tag"];

/// The driver and its options, as they were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// `json-file`, `local`, `journald` or `none`; nothing for the first.
    pub driver: String,
    /// `KEY=VALUE` pairs.
    pub options: BTreeMap<String, String>,
}

fn refused(message: String, help: &str) -> RunError {
    RunError::Refused {
        message,
        help: Some(help.to_owned()),
        code: 125,
    }
}

/// Docker's words for yes and no.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

impl LogOptions {
    /// The driver, with the name of the usual one.
    pub fn driver(&self) -> &str {
        match self.driver.as_str() {
            "" => "json-file",
            driver => driver,
        }
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Looks at what can be seen to be wrong.
    pub(crate) fn check(&self) -> Result<(), RunError> {
        let driver = self.driver();
        let help = "give json-file, local, journald or none";
        let known: &[&str] = match driver {
            "json-file" => &["max-size", "max-file", "compress"],
            "local" => &["max-size", "max-file", "compress"],
            "journald" => &[],
            "none" if self.options.is_empty() => return Ok(()),
            "none" => {
                return Err(refused(
                    "invalid logging opts for driver none".to_owned(),
                    "leave --log-opt out: nothing is kept",
                ));
            }
            _ => {
                return Err(refused(
                    format!("--log-driver {driver}: coil has no such log driver"),
                    help,
                ));
            }
        };
        let details = driver != "local";
        for name in self.options.keys().map(String::as_str) {
            let shared = ["mode", "max-buffer-size"].contains(&name) || details && DETAILS.contains(&name);
            if !shared && !known.contains(&name) {
                let mut all = known.to_vec();
                all.extend(DETAILS.iter().filter(|_| details));
                return Err(refused(
                    format!("unknown log opt '{name}' for {driver} log driver"),
                    &format!("there are {}", all.join(", ")),
                ));
            }
        }
        if let Some(mode) = self
            .option("mode")
            .filter(|mode| !["", "blocking", "non-blocking"].contains(mode))
        {
            return Err(refused(
                format!("logger: log mode {mode:?} is not valid"),
                "give mode=blocking or mode=non-blocking",
            ));
        }
        if let Some(text) = self.option("max-buffer-size")
            && (self.option("mode") != Some("non-blocking") || bytes(text).is_none())
        {
            return Err(refused(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking', and is a size"
                    .into(),
                "a container never waits for coil's log: leave it out",
            ));
        }
        for name in ["env-regex", "labels-regex"] {
            if let Some(Err(error)) = self.option(name).map(Regex::new) {
                return Err(refused(
                    format!("--log-opt {name}: {error}"),
                    "give a regular expression",
                ));
            }
        }
        if let Some(text) = self.option("tag") {
            filled(text, &|_| None).map_err(|word| {
                refused(
                    format!("--log-opt tag: `{word}` is not known"),
                    "there are {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageName}}, {{.ImageID}}, {{.ImageFullID}} and \
                     {{.DaemonName}}",
                )
            })?;
        }
        if driver == "journald" && !Path::new(JOURNAL).exists() {
            return Err(refused(
                "failed to initialize logging driver: journald is not enabled on this host".to_owned(),
                "there is no /run/systemd/journal/socket: give json-file or local",
            ));
        }
        self.files().map(|_| ())
    }

    /// Bytes of a file, how many files, and whether older ones are compressed.
    fn files(&self) -> Result<(Option<u64>, u32, bool), RunError> {
        let wrong =
            |text: String, help: &str| refused(format!("failed to initialize logging driver: {text}"), help);
        let local = self.driver() != "json-file";
        let most_bytes = match self.option("max-size").filter(|text| *text != "-1") {
            None => local.then_some(LOCAL_BYTES),
            Some(text) => match bytes(text) {
                None => {
                    return Err(wrong(
                        format!("invalid size: '{text}'"),
                        "give a size such as 10m",
                    ));
                }
                Some(0) => {
                    return Err(wrong(
                        "max-size must be a positive number".into(),
                        "give a size such as 10m",
                    ));
                }
                size => size,
            },
        };
        let most_files = match self.option("max-file") {
            None => {
                if local {
                    LOCAL_FILES
                } else {
                    1
                }
            }
            Some(text) => match text.parse::<u32>() {
                Ok(number @ 1..) => number,
                _ => {
                    return Err(wrong(
                        "max-file cannot be less than 1".into(),
                        "give a number such as 3",
                    ));
                }
            },
        };
        let compress = match self.option("compress") {
            None => local && most_files > 1,
            Some(text) => truth(text).ok_or_else(|| {
                wrong(
                    format!("compress: `{text}` is neither true nor false"),
                    "give true or false",
                )
            })?,
        };
        if compress && (most_files < 2 || most_bytes.is_none()) {
            return Err(wrong(
                "compress cannot be true when max-file is less than 2 or max-size is not set".into(),
                "give max-size and max-file too",
            ));
        }
        if most_files > 1 && most_bytes.is_none() && self.option("max-file").is_some() {
            // As with Docker: without a size there is only ever one file.
            return Ok((None, 1, false));
        }
        Ok((most_bytes, most_files, compress))
    }

    /// What the monitor is told.
    pub(crate) fn spec(&self, record: &ContainerRecord, spec: &ContainerSpec) -> Result<LogSpec, RunError> {
        if self.driver() == "none" {
            return Ok(LogSpec::default());
        }
        let (most_bytes, most_files, compress) = self.files()?;
        let mut attributes = self.attributes(record);
        let full = record.id.clone();
        let short: String = full.chars().take(12).collect();
        let image = record.image_id.to_string();
        let word = |word: &str| match word {
            "ID" => Some(short.clone()),
            "FullID" => Some(full.clone()),
            "Name" => Some(record.name.clone()),
            "ImageName" => Some(record.image.clone()),
            "ImageFullID" => Some(image.clone()),
            "ImageID" => Some(image.chars().take(12).collect()),
            "DaemonName" => Some("coil".to_owned()),
            _ => None,
        };
        let tag = self
            .option("tag")
            .map(|text| filled(text, &word).unwrap_or_default());
        let mut journal = None;
        if self.driver() == "journald" {
            let tag = tag.filter(|tag| !tag.is_empty()).unwrap_or_else(|| short.clone());
            let mut fields: BTreeMap<String, String> = attributes
                .iter()
                .map(|(name, value)| (field_name(name), value.clone()))
                .collect();
            for (name, value) in [
                ("CONTAINER_ID", short.clone()),
                ("CONTAINER_ID_FULL", full.clone()),
                ("CONTAINER_NAME", record.name.clone()),
                ("CONTAINER_TAG", tag.clone()),
                ("IMAGE_NAME", record.image.clone()),
                ("SYSLOG_IDENTIFIER", tag),
            ] {
                fields.insert(name.to_owned(), value);
            }
            journal = Some(JournalSpec {
                socket: PathBuf::from(JOURNAL),
                fields,
            });
        } else if let Some(tag) = tag.filter(|tag| !tag.is_empty()) {
            attributes.insert("tag".to_owned(), tag);
        }
        Ok(LogSpec {
            path: spec.log.path.clone(),
            most_bytes,
            most_files,
            compress,
            attributes,
            journal,
        })
    }

    /// Labels and variables that are written beside each line.
    fn attributes(&self, record: &ContainerRecord) -> BTreeMap<String, String> {
        let list = |name: &str| -> Vec<&str> {
            let words = self.option(name).unwrap_or_default().split(',');
            words.filter(|word| !word.is_empty()).collect()
        };
        let pattern = |name: &str| self.option(name).and_then(|text| Regex::new(text).ok());
        let mut found = BTreeMap::new();
        let (names, expression) = (list("labels"), pattern("labels-regex"));
        let wanted = |name: &str| {
            names.contains(&name)
                || expression
                    .as_ref()
                    .is_some_and(|expression| expression.is_match(name))
        };
        let labels = record.labels.iter().filter(|(name, _)| wanted(name));
        found.extend(labels.map(|(name, value)| (name.clone(), value.clone())));
        let (names, expression) = (list("env"), pattern("env-regex"));
        let wanted = |name: &str| {
            names.contains(&name)
                || expression
                    .as_ref()
                    .is_some_and(|expression| expression.is_match(name))
        };
        let variables = record.env.iter().filter_map(|entry| entry.split_once('='));
        let variables = variables.filter(|(name, _)| wanted(name));
        found.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        found
    }
}

/// Fills `{{.Word}}`; the word that is none.
fn filled(text: &str, word: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    const WORDS: [&str; 7] = [
        "ID",
        "FullID",
        "Name",
        "ImageName",
        "ImageID",
        "ImageFullID",
        "DaemonName",
    ];
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (inner, after) = behind.split_once("}}").ok_or_else(|| format!("{{{{{behind}"))?;
        let name = inner.trim().strip_prefix('.').unwrap_or_default();
        if !WORDS.contains(&name) {
            return Err(format!("{{{{{inner}}}}}"));
        }
        result.push_str(before);
        result.push_str(&word(name).unwrap_or_default());
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

/// A name as the journal takes it: capitals, digits and underscores, no underscore first.
fn field_name(name: &str) -> String {
    let plain = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter.to_ascii_uppercase(),
        false => '_',
    };
    name.chars()
        .map(plain)
        .collect::<String>()
        .trim_start_matches('_')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(driver: &str, pairs: &[(&str, &str)]) -> LogOptions {
        LogOptions {
            driver: driver.to_owned(),
            options: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn options_are_dockers() {
        let files = |driver, pairs: &[_]| options(driver, pairs).files().map_err(|error| error.to_string());
        assert_eq!(files("", &[]), Ok((None, 1, false)));
        assert_eq!(files("local", &[]), Ok((Some(20 << 20), 5, true)));
        assert_eq!(
            files("", &[("max-size", "10k"), ("max-file", "3")]),
            Ok((Some(10 << 10), 3, false))
        );
        assert_eq!(files("", &[("max-file", "3")]), Ok((None, 1, false)));
        assert_eq!(
            files("local", &[("max-size", "-1"), ("compress", "false")]),
            Ok((Some(20 << 20), 5, false))
        );
        for (driver, pairs) in [
            ("", vec![("max-size", "foo")]),
            ("", vec![("max-size", "0")]),
            ("", vec![("max-file", "0")]),
            ("", vec![("compress", "true")]),
            ("", vec![("compress", "maybe")]),
            ("local", vec![("max-file", "1"), ("compress", "true")]),
            ("", vec![("foo", "bar")]),
            ("local", vec![("labels", "a")]),
            ("none", vec![("a", "b")]),
            ("syslog", vec![]),
            ("", vec![("mode", "fast")]),
            ("", vec![("max-buffer-size", "4m")]),
            ("", vec![("labels-regex", "(")]),
            ("", vec![("tag", "{{.Nope}}")]),
        ] {
            assert!(options(driver, &pairs).check().is_err(), "{driver} {pairs:?}");
        }
        let plain = [
            ("mode", "non-blocking"),
            ("max-buffer-size", "4m"),
            ("tag", "{{.Name}}/{{ .ID }}"),
        ];
        assert!(options("json-file", &plain).check().is_ok());
    }

    #[test]
    fn tags_are_filled() {
        let word = |word: &str| Some(word.to_lowercase());
        assert_eq!(filled("a {{.Name}}-{{ .ID }}", &word), Ok("a name-id".to_owned()));
        assert!(filled("{{.Foo}}", &word).is_err() && filled("{{.ID", &word).is_err());
        assert_eq!(field_name("_com.example.x"), "COM_EXAMPLE_X");
    }
}
