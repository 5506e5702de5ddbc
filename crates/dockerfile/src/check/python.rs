//! Mistakes that guides to Python in containers make: what is slow, unsafe, or doesn't run.

use std::collections::BTreeSet;

use super::{Surroundings, Warning};
use crate::instruction::{Instruction, Located, Run};
use crate::stage::{Dockerfile, Stage};

/// Files that hold secrets, by the end of their path.
const SECRET_FILES: [&str; 12] = [
    ".env",
    ".netrc",
    ".pypirc",
    ".npmrc",
    ".git-credentials",
    ".docker/config.json",
    ".aws",
    ".aws/credentials",
    ".ssh",
    "id_rsa",
    "id_ed25519",
    "kubeconfig",
];
/// Modules that every Python has.
const STANDARD: [&str; 24] = [
    "argparse",
    "asyncio",
    "base64",
    "contextlib",
    "datetime",
    "functools",
    "http",
    "io",
    "json",
    "logging",
    "os",
    "pathlib",
    "re",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "string",
    "subprocess",
    "sys",
    "time",
    "types",
    "typing",
    "urllib",
];

pub(super) fn check(file: &Dockerfile, around: &Surroundings<'_>, found: &mut Vec<Warning>) {
    for (index, stage) in file.stages.iter().enumerate() {
        latest(file, index, found);
        pip_cache(stage, found);
        cache_order(stage, found);
        copied_secrets(stage, found);
    }
    no_ignore_file(file, around, found);
    let Some(last) = file.stages.get(around.target) else {
        return;
    };
    runs_as_root(file, around.target, found);
    left_behind(file, around.target, found);
    health_check(file, last, around, found);
}

/// What a step runs, as text.
fn command(run: &Run) -> String {
    let mut text = run.command.words.join(" ");
    for heredoc in &run.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
    }
    text
}

fn installs(text: &str) -> bool {
    [
        "pip install",
        "pip3 install",
        "pipx install",
        "poetry install",
        "pipenv install",
        "uv sync",
        "uv pip install",
        "pdm install",
    ]
    .iter()
    .any(|words| text.contains(words))
}

fn uses_pip(text: &str) -> bool {
    (text.contains("pip install") || text.contains("pip3 install")) && !text.contains("uv pip")
}

fn runs(stage: &Stage) -> impl Iterator<Item = (&Located, &Run)> {
    stage
        .instructions
        .iter()
        .filter_map(|located| match &located.instruction {
            Instruction::Run(run) => Some((located, run)),
            _ => None,
        })
}

fn env_of(stage: &Stage) -> impl Iterator<Item = (&str, &str)> {
    stage
        .instructions
        .iter()
        .flat_map(|located| match &located.instruction {
            Instruction::Env(pairs) => pairs
                .iter()
                .map(|pair| (pair.key.as_str(), pair.value.as_str()))
                .collect::<Vec<_>>(),
            _ => Vec::new(),
        })
}

/// The stage that a stage is made from, where it is one.
fn parent(file: &Dockerfile, index: usize) -> Option<usize> {
    let base = file.stages[index].base.to_lowercase();
    file.stages[..index]
        .iter()
        .rposition(|stage| stage.name.as_deref() == Some(base.as_str()))
}

/// A stage and those that it is made from, the nearest first.
fn line_of(file: &Dockerfile, index: usize) -> Vec<usize> {
    let mut all = vec![index];
    while let Some(above) = parent(file, all[all.len() - 1]) {
        all.push(above);
    }
    all
}

fn latest(file: &Dockerfile, index: usize, found: &mut Vec<Warning>) {
    let stage = &file.stages[index];
    let base = stage.base.as_str();
    if base == "scratch" || base.contains(['$', '@']) || parent(file, index).is_some() {
        return;
    }
    let name = base.rsplit('/').next().unwrap_or(base);
    let tag = name.split_once(':').map(|(_, tag)| tag);
    if matches!(tag, None | Some("latest")) {
        let bare = base.strip_suffix(":latest").unwrap_or(base);
        let example = match name.starts_with("python") {
            true => "3.13-slim",
            false => "VERSION",
        };
        found.push(Warning::new(
            stage.span,
            "LatestTag",
            format!("FROM {base} is another image each time that `latest` moves"),
            format!("name a version: FROM {bare}:{example}"),
        ));
    }
}

fn pip_cache(stage: &Stage, found: &mut Vec<Warning>) {
    if env_of(stage).any(|(key, value)| key == "PIP_NO_CACHE_DIR" && !["0", "false", "off"].contains(&value))
    {
        return;
    }
    for (located, run) in runs(stage) {
        let text = command(run);
        let has_mount = run.mounts.iter().any(|mount| mount.contains("cache"));
        if uses_pip(&text)
            && !text.contains("--no-cache-dir")
            && !text.contains("rm -rf /root/.cache")
            && !has_mount
        {
            found.push(Warning::new(
                located.span,
                "PipCacheKept",
                "pip keeps what it downloads in this layer, where nothing uses it again",
                "write RUN --mount=type=cache,target=/root/.cache/pip pip install …, or pip install --no-cache-dir",
            ));
        }
    }
}

/// All files before the packages: every edit installs them anew.
fn cache_order(stage: &Stage, found: &mut Vec<Warning>) {
    let mut everything: Option<&Located> = None;
    for located in &stage.instructions {
        match &located.instruction {
            Instruction::Copy(copying) | Instruction::Add(copying)
                if copying.from.is_none()
                    && copying
                        .sources
                        .iter()
                        .any(|source| matches!(source.as_str(), "." | "./" | "*" | "/")) =>
            {
                everything.get_or_insert(located);
            }
            Instruction::Run(run) => {
                let text = command(run);
                let names_a_file = [
                    "-r ",
                    "--requirement",
                    "uv sync",
                    "poetry install",
                    "pipenv install",
                    "pdm install",
                ]
                .iter()
                .any(|words| text.contains(words));
                if let Some(copy) = everything
                    && installs(&text)
                    && names_a_file
                {
                    found.push(Warning::new(
                        copy.span,
                        "CacheOrder",
                        format!("everything is copied before packages are installed (line {}): each edit installs them anew", located.span.line),
                        "copy the requirements or lock file alone first, install, and copy the rest after that",
                    ));
                    return;
                }
            }
            _ => {}
        }
    }
}

fn copied_secrets(stage: &Stage, found: &mut Vec<Warning>) {
    for located in &stage.instructions {
        let (Instruction::Copy(copying) | Instruction::Add(copying)) = &located.instruction else {
            continue;
        };
        if copying.from.is_some() {
            continue;
        }
        let secret = copying.sources.iter().find(|source| {
            let path = source.trim_end_matches('/');
            SECRET_FILES
                .iter()
                .any(|name| path == *name || path.ends_with(&format!("/{name}")))
                || path.ends_with(".pem")
                || path.ends_with(".key")
        });
        if let Some(secret) = secret {
            found.push(Warning::new(
                located.span,
                "SecretFileCopied",
                format!("`{secret}` looks like a file with secrets, and stays in the image even if a later step removes it"),
                format!("give it to a step alone: RUN --mount=type=secret,id=x …, and --secret id=x,src={secret}; at run time --env-file or -v"),
            ));
        }
    }
}

fn no_ignore_file(file: &Dockerfile, around: &Surroundings<'_>, found: &mut Vec<Warning>) {
    if around.has_ignore_file != Some(false) {
        return;
    }
    let copies_all = file.stages.iter().flat_map(|stage| &stage.instructions).find(|located| {
        matches!(&located.instruction, Instruction::Copy(copying) | Instruction::Add(copying)
            if copying.from.is_none() && copying.sources.iter().any(|source| matches!(source.as_str(), "." | "./" | "/")))
    });
    if let Some(located) = copies_all {
        found.push(Warning::new(
            located.span,
            "NoIgnoreFile",
            "everything in the folder is copied, and there is no .dockerignore: .git, .venv, .env and caches too",
            "write a .dockerignore with .git, .venv, .env, __pycache__ and *.pyc in it",
        ));
    }
}

fn runs_as_root(file: &Dockerfile, target: usize, found: &mut Vec<Warning>) {
    let mut user = None;
    for index in line_of(file, target) {
        let named =
            file.stages[index]
                .instructions
                .iter()
                .rev()
                .find_map(|located| match &located.instruction {
                    Instruction::User(user) => Some(user.clone()),
                    _ => None,
                });
        user = user.or(named);
    }
    let stage = &file.stages[target];
    let starts = |index: &usize| {
        file.stages[*index].instructions.iter().any(|located| {
            matches!(
                located.instruction,
                Instruction::Cmd(_) | Instruction::Entrypoint(_)
            )
        })
    };
    let is_root = match user.as_deref() {
        None => true,
        Some(user) => matches!(user.split(':').next(), Some("0" | "root")),
    };
    if is_root && line_of(file, target).iter().any(starts) {
        found.push(Warning::new(
            stage.span,
            "RunsAsRoot",
            "the image's program runs as root",
            "add RUN useradd --create-home app and USER app at the end of the last stage",
        ));
    }
}

/// Where a step's packages go.
fn install_place(stage: &Stage, text: &str) -> Option<String> {
    let after = |flag: &str| {
        let rest = &text[text.find(flag)? + flag.len()..];
        let word = rest.trim_start_matches(['=', ' ']).split_whitespace().next()?;
        Some(word.trim_matches('"').to_owned())
    };
    if let Some(place) = after("--prefix")
        .or_else(|| after("--target"))
        .or_else(|| after("--root "))
    {
        return Some(place);
    }
    if text.contains(" wheel ") || text.contains(" download ") || text.contains("--dry-run") {
        return None;
    }
    if text.contains("--user") || env_of(stage).any(|(key, _)| key == "PIP_USER") {
        return Some("/root/.local".into());
    }
    // A program that is named with its folder installs beside itself.
    if let Some(at) = text.find("/bin/pip").or_else(|| text.find("/bin/python")) {
        let start = text[..at].rfind(char::is_whitespace).map_or(0, |at| at + 1);
        return Some(text[start..at].trim_matches('"').to_owned());
    }
    if text.contains("activate") || text.contains("venv") {
        return None;
    }
    let path = env_of(stage).filter(|(key, _)| *key == "PATH").last();
    if let Some((_, path)) = path {
        let first = path.split(':').next().unwrap_or("");
        return first
            .strip_suffix("/bin")
            .filter(|_| !first.contains('$'))
            .map(str::to_owned);
    }
    if env_of(stage).any(|(key, _)| key == "VIRTUAL_ENV" || key == "UV_PROJECT_ENVIRONMENT") {
        return None;
    }
    uses_pip(text).then(|| "/usr/local/lib/python".into())
}

/// Packages of an earlier stage, of which the last one takes something else.
fn left_behind(file: &Dockerfile, target: usize, found: &mut Vec<Warning>) {
    let own = line_of(file, target);
    let last = &file.stages[target];
    let has_own = own
        .iter()
        .any(|index| runs(&file.stages[*index]).any(|(_, run)| installs(&command(run))));
    if has_own || last.base == "scratch" {
        return;
    }
    let mut taken: Vec<(usize, String)> = Vec::new();
    for located in own.iter().flat_map(|index| &file.stages[*index].instructions) {
        if let Instruction::Copy(copying) = &located.instruction
            && let Some(from) = copying.from.as_ref().and_then(|name| file.stage(name))
        {
            taken.extend(copying.sources.iter().map(|source| (from, source.clone())));
        }
    }
    let from: BTreeSet<usize> = taken.iter().map(|(index, _)| *index).collect();
    for index in from {
        let line = line_of(file, index);
        let mut places = Vec::new();
        for at in &line {
            for (located, run) in runs(&file.stages[*at]) {
                let text = command(run);
                if !installs(&text) {
                    continue;
                }
                match install_place(&file.stages[*at], &text) {
                    Some(place) => places.push((located, place)),
                    // It can't be told, so nothing is said.
                    None => return,
                }
            }
        }
        let reaches = |place: &str| {
            taken.iter().any(|(from, source)| {
                let source = source.trim_end_matches('/');
                *from == index
                    && (source.is_empty()
                        || source.contains(['$', '*'])
                        || place.starts_with(source)
                        || source.starts_with(place))
            })
        };
        if !places.is_empty() && !places.iter().any(|(_, place)| reaches(place)) {
            let (located, place) = places[0].clone();
            let shown = match place.as_str() {
                "/usr/local/lib/python" => "/usr/local/lib/python3.X/site-packages",
                place => place,
            };
            let name = file.stages[index]
                .name
                .clone()
                .unwrap_or_else(|| index.to_string());
            found.push(Warning::new(
                located.span,
                "PackagesLeftBehind",
                format!("the packages that are installed here, in {shown}, never reach the last stage"),
                format!("add COPY --from={name} {shown} {shown} to the last stage, with {shown}'s programs on PATH; or install into a virtual environment and copy that"),
            ));
        }
    }
}

fn health_check(file: &Dockerfile, last: &Stage, around: &Surroundings<'_>, found: &mut Vec<Warning>) {
    let check = last
        .instructions
        .iter()
        .rev()
        .find_map(|located| match &located.instruction {
            Instruction::Healthcheck(check) => Some((located, check.test.join(" "))),
            _ => None,
        });
    let Some((located, test)) = check else { return };
    let line = line_of(file, around.target);
    let commands: String = line
        .iter()
        .flat_map(|index| runs(&file.stages[*index]))
        .map(|(_, run)| format!("{}\n", command(run)))
        .collect();
    let base = &file.stages[line[line.len() - 1]].base;
    for program in ["curl", "wget"] {
        let asks = test
            .split(|c: char| !c.is_alphanumeric() && c != '-')
            .any(|word| word == program);
        let is_slim = base.contains("slim") || base.contains("alpine") && program == "curl";
        if asks && is_slim && !commands.contains(program) {
            found.push(Warning::new(
                located.span,
                "HealthcheckNeedsProgram",
                format!("the health check runs {program}, which {base} has not: the container would never be healthy"),
                "ask with Python: HEALTHCHECK CMD [\"python\", \"-c\", \"import urllib.request as u; u.urlopen('http://127.0.0.1:8000/')\"]",
            ));
        }
    }
    let mut rest = test.as_str();
    while let Some(at) = rest.find("import ") {
        let is_word = rest[..at]
            .chars()
            .next_back()
            .is_none_or(|c| !c.is_alphanumeric() && c != '_');
        rest = &rest[at + "import ".len()..];
        let module: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        if !is_word || module.is_empty() || STANDARD.contains(&module.as_str()) {
            continue;
        }
        let named = |text: &str| {
            text.to_lowercase()
                .replace('-', "_")
                .contains(&module.to_lowercase())
        };
        let files = [
            "requirements.txt",
            "pyproject.toml",
            "uv.lock",
            "poetry.lock",
            "Pipfile",
            "Pipfile.lock",
            "setup.py",
        ];
        let texts: Vec<String> = files.iter().filter_map(|name| (around.read)(name)).collect();
        let is_own = (around.read)(&format!("{module}.py")).is_some()
            || (around.read)(&format!("{module}/__init__.py")).is_some();
        if !named(&commands) && !texts.iter().any(|text| named(text)) && !is_own && !texts.is_empty() {
            found.push(Warning::new(
                located.span,
                "HealthcheckNeedsPackage",
                format!("the health check imports {module}, which nothing installs: the container would never be healthy"),
                format!("install {module}, or ask with urllib.request, which Python brings"),
            ));
        }
    }
}
