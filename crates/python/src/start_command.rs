//! How an application starts: as it is told, or as its files show.

use std::collections::{BTreeMap, BTreeSet};

use pep508_rs::PackageName;
use serde::Serialize;

use crate::coil_settings::CommandSetting;
use crate::diagnostic::{Diagnostic, Problem};
use crate::pinned::Pinned;
use crate::project_files::ProjectFiles;
use crate::pyproject::{PyProject, ScriptEntry};
use crate::shell_words::{self, LineError};
use crate::web_start;

/// The port that an application gets where nothing says another.
pub const DEFAULT_PORT: u16 = 8000;

/// A start command, ready for an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StartCommand {
    /// The program and its arguments; looked up in PATH, the working directory is the project's.
    pub argv: Vec<String>,
    /// The TCP port that the application listens on, where it can be told.
    pub port: Option<u16>,
    /// Variables that the command needs, `PORT`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where the command was found: `main.py:12: app = FastAPI()`.
    pub found_in: String,
    /// What the user should know about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What the search looks at.
pub struct StartSearch<'a> {
    /// The project's files.
    pub files: &'a dyn ProjectFiles,
    /// Its `pyproject.toml`, if it has one.
    pub pyproject: Option<&'a PyProject>,
    /// A command that was given (`--command`), with where: it wins over all.
    pub given: Option<(CommandSetting, String)>,
    /// The packages that will be installed: they decide which server runs the application.
    pub packages: BTreeSet<PackageName>,
    /// The port that was asked for.
    pub port: Option<u16>,
}

impl<'a> StartSearch<'a> {
    /// A search with nothing given; the port comes from `[tool.coil]`, if it names one.
    pub fn new(files: &'a dyn ProjectFiles, pyproject: Option<&'a PyProject>, packages: &[Pinned]) -> Self {
        let port = pyproject.and_then(|file| {
            file.coil
                .ports
                .iter()
                .find(|port| !port.udp)
                .map(|port| port.port)
        });
        StartSearch {
            files,
            pyproject,
            given: None,
            packages: packages.iter().map(|package| package.name.clone()).collect(),
            port,
        }
    }

    /// Whether a package will be installed.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package.as_ref() == name)
    }

    /// The port to listen on.
    pub(crate) fn listen_port(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }

    /// Finds the command.
    ///
    /// The order: what is given, `[tool.coil] command`, `Procfile`'s `web`, `[project.scripts]`, Django, an ASGI or WSGI
    /// application, `python -m`, a script. The error lists the ways to give one.
    pub fn find(&self) -> Result<StartCommand, Diagnostic> {
        if let Some((command, found_in)) = &self.given {
            return self.told(command, found_in);
        }
        if let Some(pyproject) = self.pyproject
            && let Some(command) = &pyproject.coil.command
        {
            let found_in = pyproject
                .coil
                .command_found_in
                .clone()
                .unwrap_or_else(|| pyproject.file.clone());
            return self.told(command, &found_in);
        }
        if let Some((line, number)) = self.procfile()? {
            return self.told(&CommandSetting::Line(line), &format!("Procfile:{number}"));
        }
        let mut hints = Vec::new();
        if let Some(command) = self.script(&mut hints) {
            return Ok(command);
        }
        if let Some(command) = web_start::find(self, &mut hints)? {
            return Ok(command);
        }
        Err(self.nothing(hints))
    }

    fn told(&self, command: &CommandSetting, found_in: &str) -> Result<StartCommand, Diagnostic> {
        let mut notes = Vec::new();
        let (argv, words) = match command {
            CommandSetting::Exec(argv) if argv.first().is_some_and(|first| !first.is_empty()) => {
                (argv.clone(), argv.clone())
            }
            CommandSetting::Exec(_) => {
                return Err(
                    Diagnostic::new(Problem::NoCommand, "the start command is empty").in_file(found_in)
                );
            }
            CommandSetting::Line(line) => match shell_words::split(line) {
                Ok(split) => {
                    if split.shell_stays {
                        notes.push(
                            "a shell stays in front of the application and keeps its signals: put `exec` before the last command"
                                .to_owned(),
                        );
                    }
                    (split.argv, split.words)
                }
                Err(why) => {
                    let why = match why {
                        LineError::OpenQuote => "a quote in it never closes",
                        LineError::Empty => "it is empty",
                    };
                    return Err(Diagnostic::new(
                        Problem::Syntax,
                        format!("the start command cannot be taken apart: {why}"),
                    )
                    .in_file(found_in)
                    .label(line.as_str()));
                }
            },
        };
        notes.extend(loopback_note(&words));
        let mut env = BTreeMap::new();
        let wants_port = argv
            .iter()
            .any(|word| word.contains("$PORT") || word.contains("${PORT"));
        if wants_port {
            env.insert("PORT".to_owned(), self.listen_port().to_string());
        }
        let port = self.port.or_else(|| {
            if wants_port {
                Some(DEFAULT_PORT)
            } else {
                port_of(&words)
            }
        });
        Ok(StartCommand {
            argv,
            port,
            env,
            found_in: found_in.to_owned(),
            notes,
        })
    }

    /// The `web` line of a Procfile, with its number.
    fn procfile(&self) -> Result<Option<(String, usize)>, Diagnostic> {
        let Some(text) = self.files.read_text("Procfile")? else {
            return Ok(None);
        };
        Ok(text.lines().enumerate().find_map(|(number, line)| {
            let command = line.strip_prefix("web:")?.trim();
            (!command.is_empty()).then(|| (command.to_owned(), number + 1))
        }))
    }

    fn script(&self, hints: &mut Vec<String>) -> Option<StartCommand> {
        let pyproject = self.pyproject?;
        let project = pyproject.project.as_ref()?;
        let chosen: &ScriptEntry = match &project.scripts[..] {
            [] => return None,
            [only] => only,
            several => {
                let same = |name: &str| name.parse::<PackageName>().is_ok_and(|name| name == project.name);
                match several.iter().find(|script| same(&script.name)) {
                    Some(script) => script,
                    None => {
                        let names: Vec<&str> = several.iter().map(|script| script.name.as_str()).collect();
                        hints.push(format!(
                            "[project.scripts] has several, and none has the project's name: {}",
                            names.join(", ")
                        ));
                        return None;
                    }
                }
            }
        };
        if pyproject.uv.package == Some(false) {
            hints.push(format!(
                "the script `{}` is not installed: `tool.uv.package` is false",
                chosen.name
            ));
            return None;
        }
        Some(StartCommand {
            argv: vec![chosen.name.clone()],
            port: self.port,
            env: BTreeMap::new(),
            found_in: format!(
                "{}:{}: {} = \"{}:{}\"",
                pyproject.file, chosen.line, chosen.name, chosen.module, chosen.attribute
            ),
            notes: Vec::new(),
        })
    }

    fn nothing(&self, hints: Vec<String>) -> Diagnostic {
        let mut error = Diagnostic::new(Problem::NoCommand, "no start command was found");
        error.notes = hints;
        error.help(
            "give one of these:\n  \
             coil pack --command \"python -m mypackage\"\n  \
             [tool.coil] command = \"uvicorn main:app --host 0.0.0.0\" in pyproject.toml\n  \
             [project.scripts] NAME = \"module:function\" in pyproject.toml\n  \
             web: COMMAND in a Procfile\n  \
             main.py, app.py or PACKAGE/__main__.py, or a FastAPI, Flask, Django, ASGI or WSGI application with its server among the dependencies",
        )
    }
}

/// The TCP port in a command's words, where an option says it.
pub(crate) fn port_of(words: &[String]) -> Option<u16> {
    let number = |text: &str| {
        text.rsplit(':')
            .next()?
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) if option.starts_with('-') => (option, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        let is_port = matches!(
            option,
            "--port"
                | "-p"
                | "-b"
                | "--bind"
                | "--listen"
                | "--server.port"
                | "--http"
                | "--http-socket"
                | "-l"
        );
        if is_port {
            let value = value.or_else(|| words.clone().next().cloned());
            if let Some(port) = value.as_deref().and_then(number) {
                return Some(port);
            }
        } else if option == "runserver" {
            return words.clone().find_map(|word| number(word)).or(Some(DEFAULT_PORT));
        } else if value.is_none()
            && option.starts_with("-b")
            && let Some(port) = number(&option[2..])
        {
            return Some(port);
        }
    }
    None
}

/// A warning for a server that only the container itself could reach.
fn loopback_note(words: &[String]) -> Option<String> {
    let program = words.first()?.rsplit('/').next()?;
    let says = |text: &str| {
        words
            .iter()
            .any(|word| word == text || word.starts_with(&format!("{text}=")))
    };
    let loopback = words.iter().find(|word| {
        let host = word.rsplit('=').next().unwrap_or(word);
        host == "127.0.0.1"
            || host == "localhost"
            || host.starts_with("127.0.0.1:")
            || host.starts_with("localhost:")
    });
    if let Some(word) = loopback {
        return Some(format!(
            "`{word}` is the container itself: no published port reaches it; use 0.0.0.0"
        ));
    }
    let option = match program {
        "uvicorn" | "granian" => "--host",
        "gunicorn" if !says("-b") && !says("-c") && !says("--config") => "--bind",
        "hypercorn" if !says("-b") && !says("-c") && !says("--config") => "--bind",
        "flask" if words.iter().any(|word| word == "run") && !says("-h") => "--host",
        _ => return None,
    };
    let bundled = words.iter().any(|word| word.starts_with("-b") && word.len() > 2);
    if says(option) || bundled || says("--uds") || says("--fd") {
        return None;
    }
    let address = if option == "--bind" {
        "0.0.0.0:8000"
    } else {
        "0.0.0.0"
    };
    Some(format!(
        "{program} listens on 127.0.0.1 unless told otherwise, where no published port reaches it; add `{option} {address}`"
    ))
}

#[cfg(test)]
#[path = "start_command_tests.rs"]
mod tests;
