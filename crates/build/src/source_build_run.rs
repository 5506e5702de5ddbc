//! One build's container: its folders, what a back end finds around it, and the driver's tasks and answers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use coil_python::{Pinned, PyProject};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::PackError;
use crate::executor::{Step, StepBind, StepError, StepNetwork, Tail};
use crate::request::Packer;
use crate::source_build::Builder;
use crate::source_build_failure::{Reason, missing, shown};
use crate::source_build_source::{Place, Source, failure};

/// The program that calls the back end.
const DRIVER: &str = include_str!("source_build_driver.py");
/// Where everything of a build stands inside its container.
pub(crate) const FOLDER: &str = "/build";
/// Whom a back end runs as, where coil may give files away.
const USER: u32 = 1000;
/// The earliest time that a zip archive can tell: 1980-01-01.
const EARLIEST: u64 = 315_532_800;
/// How large an answer of the driver may be.
const MOST_ANSWER: u64 = 1 << 20;
/// What a project without `[build-system]` is built with (PEP 517, "Source trees").
pub(crate) const LEGACY: (&str, &str) = ("setuptools", "setuptools.build_meta:__legacy__");

/// What the driver found in a source.
#[derive(Debug, Deserialize)]
pub(crate) struct Unpacked {
    /// The project's folder inside the container.
    pub(crate) root: String,
    found: BTreeMap<String, bool>,
    system: Option<System>,
    unread: bool,
}

/// `[build-system]`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct System {
    /// `requires`.
    pub(crate) requires: Vec<String>,
    /// `build-backend`; the old way of setuptools where none is named.
    pub(crate) backend: Option<String>,
    /// `backend-path`.
    pub(crate) backend_path: Vec<String>,
}

/// The folders of one build; removed with it.
pub(crate) struct Room<'a> {
    pub(crate) packer: &'a Packer<'a>,
    folder: PathBuf,
    pub(crate) upper: PathBuf,
    pub(crate) log: PathBuf,
}

impl<'a> Room<'a> {
    pub(crate) fn new(packer: &'a Packer<'a>) -> Result<Room<'a>, PackError> {
        let doing = || PackError::disk("making a build's folders");
        let folder = packer.store.temp_path().map_err(doing())?;
        let upper = folder.join("upper");
        let number = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let log = packer
            .store
            .download_path("build-logs", &format!("{}.log", number.unwrap_or_default()));
        let room = Room {
            packer,
            folder,
            upper,
            log,
        };
        let mut plain = fs::DirBuilder::new();
        plain.recursive(true).mode(0o755);
        for below in ["upper/build/src", "upper/build/out", "upper/build/home"] {
            plain.create(room.folder.join(below)).map_err(doing())?;
        }
        for below in ["upper", "upper/build"] {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(room.folder.join(below), mode).map_err(doing())?;
        }
        if ownership_is_ours() {
            for below in ["src", "out", "home"] {
                let place = room.upper.join("build").join(below);
                std::os::unix::fs::chown(place, Some(USER), Some(USER)).map_err(doing())?;
            }
        }
        room.file("driver.py", DRIVER.as_bytes()).map_err(doing())?;
        Ok(room)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.upper.join("build").join(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&path)?;
        file.write_all(bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let _ = self.packer.store.remove_folder(&self.folder);
    }
}

/// Whether coil may give files to other users: then a back end needn't be root.
pub(crate) fn ownership_is_ours() -> bool {
    rustix::process::geteuid().is_root()
}

/// One package's way through the driver.
pub(crate) struct Run<'a> {
    pub(crate) builder: &'a Builder<'a>,
    pub(crate) package: &'a Pinned,
    pub(crate) source: &'a Source,
    pub(crate) room: &'a Room<'a>,
}

impl Run<'_> {
    pub(crate) fn unpacking(&self) -> Value {
        let (archive, tree, left_out) = match &self.source.place {
            Place::Archive(path) => (self.archive_inside(path), String::new(), Vec::new()),
            Place::Tree(_, left_out) => (String::new(), format!("{FOLDER}/tree"), left_out.clone()),
        };
        let owner = ownership_is_ours().then_some([USER, USER]);
        json!({
            "do": "unpack",
            "folder": format!("{FOLDER}/src"),
            "archive": archive,
            "tree": tree,
            "left_out": left_out,
            "subdirectory": self.source.subdirectory,
            "owner": owner,
        })
    }

    fn archive_inside(&self, path: &Path) -> String {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        format!("{FOLDER}/archive/{}", name.unwrap_or_default())
    }

    /// Runs the driver for one task; gives its answer.
    pub(crate) fn step(
        &self,
        system: &[PathBuf],
        environment: &[PathBuf],
        mut task: Value,
    ) -> Result<Value, PackError> {
        let doing = match task["do"].as_str() {
            Some("unpack") => "its source was unpacked",
            Some("requires") => "it was asked for its requirements",
            _ => "it made the wheel",
        };
        let packer = self.builder.packer;
        let (Some(executor), Some(python)) = (packer.executor, self.python(environment)) else {
            return Err(self.failed("containers can't be made here"));
        };
        let written = || PackError::disk("writing a build's task");
        task["answer"] = json!(format!("{FOLDER}/out/answer.json"));
        self.room
            .file("task.json", task.to_string().as_bytes())
            .map_err(written())?;
        let unpacks = task["do"] == "unpack";
        let mut step = Step::new(
            self.builder.base.arch,
            system.iter().chain(environment).cloned().collect(),
            self.room.upper.clone(),
            vec![
                python,
                format!("{FOLDER}/driver.py"),
                format!("{FOLDER}/task.json"),
            ],
        );
        step.workdir = FOLDER.into();
        if ownership_is_ours() && !unpacks {
            step.user = format!("{USER}:{USER}");
        }
        self.surround(&mut step);
        if unpacks {
            let (source, target) = match &self.source.place {
                Place::Archive(path) => (path, self.archive_inside(path)),
                Place::Tree(path, _) => (path, format!("{FOLDER}/tree")),
            };
            step.binds.push(StepBind {
                source: source.clone(),
                target,
                read_only: true,
            });
        } else if self.builder.parts.build.network {
            step.network = StepNetwork::Host;
        }
        let tail = Tail::default();
        let mut log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.room.log)
            .ok();
        let end = executor.run(&step, &mut |printed| {
            tail.push(printed);
            // A log that can't be kept is no reason to fail.
            if let Some(file) = &mut log {
                let _ = file.write_all(printed);
            }
        });
        let end = end.map_err(|error| self.step_failed(error))?;
        if !end.is_success() {
            return Err(self.back_end_failed(doing, end.code, end.out_of_memory, &tail));
        }
        self.answer()
    }

    fn python(&self, environment: &[PathBuf]) -> Option<String> {
        let base = &self.builder.base;
        Some(match environment.is_empty() {
            true => base.python.program.clone(),
            false => format!("/{}", base.environment().interpreter().trim_start_matches('/')),
        })
    }

    /// What a back end finds around it.
    fn surround(&self, step: &mut Step) {
        let base = &self.builder.base;
        let environment = base.environment();
        let prefix = format!("/{}", environment.prefix.trim_start_matches('/'));
        let path = step.env.get("PATH").cloned().unwrap_or_default();
        let inherited = base.config.env.iter().filter_map(|entry| entry.split_once('='));
        step.env
            .extend(inherited.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let path = step.env.get("PATH").cloned().unwrap_or(path);
        let epoch = self.builder.request.epoch.max(EARLIEST).to_string();
        let jobs = self.builder.packer.threads.to_string();
        for (name, value) in [
            ("PATH", format!("{prefix}/bin:{path}")),
            ("VIRTUAL_ENV", prefix),
            ("LANG", "C.UTF-8".into()),
            ("LC_ALL", "C.UTF-8".into()),
            ("TZ", "UTC".into()),
            ("HOME", format!("{FOLDER}/home")),
            ("SOURCE_DATE_EPOCH", epoch),
            ("PYTHONHASHSEED", "0".into()),
            ("PYTHONDONTWRITEBYTECODE", "1".into()),
            ("PYTHONUNBUFFERED", "1".into()),
            ("PYTHONNOUSERSITE", "1".into()),
            ("PIP_NO_INPUT", "1".into()),
            ("MAKEFLAGS", format!("-j{jobs}")),
            ("CMAKE_BUILD_PARALLEL_LEVEL", jobs),
            ("GIT_CONFIG_COUNT", "1".into()),
            ("GIT_CONFIG_KEY_0", "safe.directory".into()),
            ("GIT_CONFIG_VALUE_0", "*".into()),
            ("CARGO_HOME", format!("{FOLDER}/home/cargo")),
        ] {
            step.env.insert(name.into(), value);
        }
    }

    /// What the driver wrote. The back end could have written it too, so it is read without trust.
    fn answer(&self) -> Result<Value, PackError> {
        let path = self.room.upper.join("build/out/answer.json");
        let lost = || self.failed("the back end left no answer");
        let is_plain = path
            .symlink_metadata()
            .is_ok_and(|data| data.is_file() && data.len() <= MOST_ANSWER);
        if !is_plain {
            return Err(lost());
        }
        let mut text = String::new();
        let file = fs::File::open(&path).map_err(PackError::disk("reading a build's answer"))?;
        file.take(MOST_ANSWER)
            .read_to_string(&mut text)
            .map_err(|_| lost())?;
        let _ = fs::remove_file(&path);
        serde_json::from_str(&text).map_err(|_| lost())
    }

    pub(crate) fn parsed<T: serde::de::DeserializeOwned>(&self, answer: Value) -> Result<T, PackError> {
        serde_json::from_value(answer).map_err(|_| self.failed("the back end left no answer"))
    }

    /// Requirements, back end and its paths, as `[build-system]` has them.
    pub(crate) fn build_system(&self, unpacked: &Unpacked) -> Result<System, PackError> {
        let has = |name: &str| unpacked.found.get(name).copied().unwrap_or(false);
        if !has("pyproject.toml") && !has("setup.py") && !has("setup.cfg") {
            let what = "it has neither pyproject.toml nor setup.py";
            return Err(failure(self.package, Reason::Source(what.into())));
        }
        let system = match unpacked.unread {
            false => unpacked.system.clone(),
            // A Python without a reader of TOML.
            true => {
                let below = unpacked.root.trim_start_matches('/');
                let path = self.room.upper.join(below).join("pyproject.toml");
                let plain = path.symlink_metadata().is_ok_and(|data| data.is_file());
                let text = plain.then(|| fs::read_to_string(&path).ok()).flatten();
                let pyproject = PyProject::parse("pyproject.toml", &text.unwrap_or_default())?;
                pyproject.build_system.map(|system| System {
                    requires: system.requires,
                    backend: system.backend,
                    backend_path: system.backend_path,
                })
            }
        };
        Ok(system.unwrap_or_else(|| System {
            requires: vec![LEGACY.0.to_owned()],
            backend: None,
            backend_path: Vec::new(),
        }))
    }

    fn failed(&self, what: &str) -> PackError {
        failure(self.package, Reason::Wheel(what.to_owned()))
    }

    fn step_failed(&self, error: StepError) -> PackError {
        match error {
            StepError::Prepare { source, .. } => PackError::disk("preparing a build's container")(source),
            other => {
                let (why, help) = (other.to_string(), other.help());
                failure(self.package, Reason::NoContainer { why, help })
            }
        }
    }

    fn back_end_failed(&self, doing: &'static str, code: i32, out_of_memory: bool, tail: &Tail) -> PackError {
        let lines = tail.lines(400);
        let last = lines.last().map(String::as_str).unwrap_or_default();
        if let Some(what) = last.strip_prefix("coil: ") {
            return failure(self.package, Reason::Source(what.to_owned()));
        }
        let build = &self.builder.parts.build;
        let help = missing(&lines).help(&build.apt, build.network);
        failure(
            self.package,
            Reason::BackEnd {
                doing,
                code,
                out_of_memory,
                tail: shown(&lines),
                log: self.room.log.is_file().then(|| self.room.log.clone()),
                help,
            },
        )
    }
}
