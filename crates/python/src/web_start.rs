//! The start command that a project's files show: Django, ASGI and WSGI applications, modules and scripts.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::django_start;
use crate::project_files::join;
use crate::source_scan::{self, Application, Interface, Scan};
use crate::start_command::{StartCommand, StartSearch};

/// Names of files that hold an application, the likeliest first.
const STEMS: &[&str] = &[
    "main",
    "app",
    "application",
    "wsgi",
    "asgi",
    "api",
    "server",
    "web",
    "run",
    "index",
];

/// Directories that hold an application besides those named as the project.
const DIRECTORIES: &[&str] = &["app", "api", "backend", "server", "web"];

/// Files that are never what a project is about.
const NEVER: &[&str] = &[
    "setup.py",
    "conftest.py",
    "noxfile.py",
    "tasks.py",
    "fabfile.py",
    "gunicorn.conf.py",
    "__init__.py",
];

/// Longest file that is parsed; generated ones are longer.
const LONGEST: usize = 1 << 20;

/// A Python file with what it shows and how it is imported.
struct Candidate {
    path: String,
    /// The directory that must be on the import path: `""` for the project's own.
    root: String,
    module: String,
    scan: Scan,
}

/// Searches; `hints` collects what was seen and couldn't be used.
pub(crate) fn find(
    search: &StartSearch<'_>,
    hints: &mut Vec<String>,
) -> Result<Option<StartCommand>, Diagnostic> {
    if let Some(command) = django_start::find(search)? {
        return Ok(Some(command));
    }
    let candidates = candidates(search)?;
    for candidate in &candidates {
        if candidate.scan.uses_streamlit && search.has("streamlit") {
            return Ok(Some(streamlit(search, candidate)));
        }
        let Some(application) = best(candidate) else {
            continue;
        };
        match serve(search, candidate, &application) {
            Some(command) => return Ok(Some(command)),
            None if candidate.scan.main_block.is_some() => return Ok(Some(script(search, candidate))),
            None => hints.push(no_server(search, candidate, &application)),
        }
    }
    if !hints.is_empty() && candidates.iter().any(|candidate| best(candidate).is_some()) {
        // An application without a server is what this project is about; running some other file would hide it.
        return Ok(None);
    }
    if let Some(command) = module(search)? {
        return Ok(Some(command));
    }
    let mut scripts = candidates.iter().filter(|candidate| {
        !candidate.path.contains('/')
            && (candidate.scan.main_block.is_some() || candidate.scan.has_statements)
    });
    let named = scripts.clone().find(|candidate| {
        STEMS.iter().any(|stem| candidate.path == format!("{stem}.py"))
            || search
                .pyproject
                .and_then(|file| file.name())
                .is_some_and(|name| candidate.path == format!("{}.py", name.as_dist_info_name()))
    });
    if let Some(candidate) = named {
        return Ok(Some(script(search, candidate)));
    }
    if let (Some(only), None) = (scripts.next(), scripts.next()) {
        return Ok(Some(script(search, only)));
    }
    let several: Vec<&str> = candidates
        .iter()
        .map(|candidate| candidate.path.as_str())
        .take(8)
        .collect();
    if several.len() > 1 {
        hints.push(format!("several files could be meant: {}", several.join(", ")));
    }
    Ok(None)
}

/// All files worth a look, in a stable order.
fn candidates(search: &StartSearch<'_>) -> Result<Vec<Candidate>, Diagnostic> {
    let mut paths: Vec<(String, String)> = STEMS
        .iter()
        .map(|stem| (String::new(), format!("{stem}.py")))
        .collect();
    let mut directories: Vec<(String, String)> = Vec::new();
    if let Some(name) = search.pyproject.and_then(|file| file.name()) {
        let package = name.as_dist_info_name().into_owned();
        directories.push((String::new(), package.clone()));
        directories.push(("src".to_owned(), format!("src/{package}")));
    }
    directories.extend(DIRECTORIES.iter().map(|name| (String::new(), (*name).to_owned())));
    for entry in search.files.list_dir("src")? {
        if entry.is_dir && plain_name(&entry.name) {
            directories.push(("src".to_owned(), format!("src/{}", entry.name)));
        }
    }
    paths.extend(
        STEMS
            .iter()
            .map(|stem| ("src".to_owned(), format!("src/{stem}.py"))),
    );
    let top = search.files.list_dir("")?;
    for entry in &top {
        if entry.is_dir
            && plain_name(&entry.name)
            && search.files.is_file(&format!("{}/__init__.py", entry.name))
        {
            directories.push((String::new(), entry.name.clone()));
        }
    }
    for (root, directory) in directories {
        for stem in STEMS.iter().chain(&["__init__"]) {
            paths.push((root.clone(), format!("{directory}/{stem}.py")));
        }
    }
    for entry in &top {
        if !entry.is_dir && entry.name.ends_with(".py") && plain_name(&entry.name) {
            paths.push((String::new(), entry.name.clone()));
        }
    }
    let mut found: Vec<Candidate> = Vec::new();
    for (root, path) in paths {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let skipped = NEVER.contains(&name) && !(name == "__init__.py" && path.contains('/'));
        if skipped || found.iter().any(|known| known.path == path) || !search.files.is_file(&path) {
            continue;
        }
        // A file that isn't text is Python's to complain about, not ours.
        let Ok(Some(source)) = search.files.read_text(&path) else {
            continue;
        };
        if source.len() > LONGEST {
            continue;
        }
        let scan = source_scan::scan(&source);
        let (root, module) = import_place(search, root, &path, &scan);
        found.push(Candidate {
            path,
            root,
            module,
            scan,
        });
    }
    Ok(found)
}

pub(crate) fn plain_name(name: &str) -> bool {
    let lower = name.to_lowercase();
    let stem = lower.strip_suffix(".py").unwrap_or(&lower);
    let test =
        stem.starts_with("test_") || stem.ends_with("_test") || matches!(stem, "test" | "tests" | "testing");
    let other = matches!(
        stem,
        "docs" | "examples" | "scripts" | "migrations" | "benchmarks" | "venv" | "env" | "build" | "dist"
    );
    !test && !other && !stem.starts_with('.') && !NEVER.contains(&lower.as_str())
}

/// The import path's directory and the module's name of a file.
fn import_place(search: &StartSearch<'_>, root: String, path: &str, scan: &Scan) -> (String, String) {
    let relative = path
        .strip_prefix(&format!("{root}/"))
        .filter(|_| !root.is_empty())
        .unwrap_or(path);
    let stem = relative.strip_suffix(".py").unwrap_or(relative);
    let stem = stem.strip_suffix("/__init__").unwrap_or(stem);
    // A directory that is no package, and whose file imports its neighbours by bare name, is run from inside.
    if let Some((directory, name)) = path.rsplit_once('/') {
        let is_package = search.files.is_file(&format!("{directory}/__init__.py"));
        let neighbours = scan
            .modules
            .iter()
            .any(|module| search.files.is_file(&format!("{directory}/{module}.py")));
        if !is_package && neighbours {
            return (
                directory.to_owned(),
                name.strip_suffix(".py").unwrap_or(name).to_owned(),
            );
        }
    }
    (root, stem.replace('/', "."))
}

/// The application of a file that is most likely meant.
fn best(candidate: &Candidate) -> Option<Application> {
    let rank = |name: &str| {
        ["app", "application", "api", "asgi", "wsgi", "server"]
            .iter()
            .position(|known| *known == name)
            .unwrap_or(9)
    };
    let found = candidate
        .scan
        .applications
        .iter()
        .min_by_key(|application| (application.is_factory, rank(&application.name), application.line));
    if let Some(application) = found {
        return Some(application.clone());
    }
    // `wsgi.py` and `asgi.py` often only import what another file makes.
    let interface = match candidate.path.rsplit('/').next() {
        Some("wsgi.py") => Interface::Wsgi,
        Some("asgi.py") => Interface::Asgi,
        _ => return None,
    };
    ["application", "app"].iter().find_map(|name| {
        let line = *candidate.scan.imported_names.get(*name)?;
        Some(Application {
            name: (*name).to_owned(),
            interface,
            is_factory: false,
            line,
            text: format!("imports {name}"),
        })
    })
}

fn resolved(search: &StartSearch<'_>, interface: Interface) -> Interface {
    if interface != Interface::Unknown {
        return interface;
    }
    if search.has("fastapi") {
        Interface::FastApi
    } else if search.has("flask") {
        Interface::Flask
    } else if ["starlette", "litestar", "quart", "blacksheep"]
        .iter()
        .any(|name| search.has(name))
    {
        Interface::Asgi
    } else {
        Interface::Wsgi
    }
}

/// The command that serves an application with a server that is installed.
fn serve(search: &StartSearch<'_>, candidate: &Candidate, application: &Application) -> Option<StartCommand> {
    let interface = resolved(search, application.interface);
    let object = format!("{}:{}", candidate.module, application.name);
    let found_in = format!("{}:{}: {}", candidate.path, application.line, application.text);
    let place = Place {
        object: &object,
        root: &candidate.root,
        is_factory: application.is_factory,
    };
    let argv = match interface {
        Interface::FastApi | Interface::Asgi => asgi(search, &place).or_else(|| {
            let simple =
                interface == Interface::FastApi && search.has("fastapi-cli") && !application.is_factory;
            simple.then(|| {
                let port = search.listen_port().to_string();
                words(&[
                    "fastapi",
                    "run",
                    &candidate.path,
                    "--app",
                    &application.name,
                    "--host",
                    "0.0.0.0",
                    "--port",
                    &port,
                ])
            })
        }),
        Interface::Flask | Interface::Wsgi | Interface::Unknown => wsgi(search, &place),
    };
    let mut notes = Vec::new();
    let argv = match argv {
        Some(argv) => argv,
        None if interface == Interface::Flask => {
            notes.push("Flask's own server is for development: add gunicorn to the dependencies".to_owned());
            let port = search.listen_port().to_string();
            let target = if candidate.root.is_empty() {
                object.clone()
            } else {
                format!("{}/{object}", candidate.root)
            };
            words(&[
                "flask", "--app", &target, "run", "--host", "0.0.0.0", "--port", &port,
            ])
        }
        None => return None,
    };
    Some(StartCommand {
        argv,
        port: Some(search.listen_port()),
        env: BTreeMap::new(),
        found_in,
        notes,
    })
}

/// An object to serve and where it is imported from.
pub(crate) struct Place<'a> {
    pub object: &'a str,
    pub root: &'a str,
    pub is_factory: bool,
}

pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub(crate) fn asgi(search: &StartSearch<'_>, place: &Place<'_>) -> Option<Vec<String>> {
    let port = search.listen_port().to_string();
    let bind = format!("0.0.0.0:{port}");
    let called = if place.is_factory {
        format!("{}()", place.object)
    } else {
        place.object.to_owned()
    };
    let mut argv;
    if search.has("uvicorn") {
        argv = words(&["uvicorn", place.object, "--host", "0.0.0.0", "--port", &port]);
        if place.is_factory {
            argv.push("--factory".to_owned());
        }
        if !place.root.is_empty() {
            argv.extend(words(&["--app-dir", place.root]));
        }
    } else if search.has("granian") {
        argv = granian("asgi", place, &port);
    } else if search.has("hypercorn") && place.root.is_empty() {
        argv = words(&["hypercorn", &called, "--bind", &bind]);
    } else if search.has("daphne") && place.root.is_empty() && !place.is_factory {
        argv = words(&["daphne", "-b", "0.0.0.0", "-p", &port, place.object]);
    } else {
        return None;
    }
    Some(argv)
}

pub(crate) fn wsgi(search: &StartSearch<'_>, place: &Place<'_>) -> Option<Vec<String>> {
    let port = search.listen_port().to_string();
    let bind = format!("0.0.0.0:{port}");
    let called = if place.is_factory {
        format!("{}()", place.object)
    } else {
        place.object.to_owned()
    };
    let mut argv;
    if search.has("gunicorn") {
        argv = words(&["gunicorn", &called, "--bind", &bind]);
        if !place.root.is_empty() {
            argv.extend(words(&["--pythonpath", place.root]));
        }
    } else if search.has("granian") {
        argv = granian("wsgi", place, &port);
    } else if search.has("waitress") && place.root.is_empty() {
        argv = words(&["waitress-serve", "--host", "0.0.0.0", "--port", &port]);
        if place.is_factory {
            argv.push("--call".to_owned());
        }
        argv.push(place.object.to_owned());
    } else if search.has("uwsgi") || search.has("pyuwsgi") {
        let mut found = words(&[
            "uwsgi",
            "--master",
            "--die-on-term",
            "--http",
            &bind,
            "--module",
            &called,
        ]);
        if !place.root.is_empty() {
            found.extend(words(&["--pythonpath", place.root]));
        }
        argv = found;
    } else {
        return None;
    }
    Some(argv)
}

fn granian(interface: &str, place: &Place<'_>, port: &str) -> Vec<String> {
    let mut argv = words(&[
        "granian",
        "--interface",
        interface,
        "--host",
        "0.0.0.0",
        "--port",
        port,
    ]);
    if place.is_factory {
        argv.push("--factory".to_owned());
    }
    if !place.root.is_empty() {
        argv.extend(words(&["--working-dir", place.root]));
    }
    argv.push(place.object.to_owned());
    argv
}

fn no_server(search: &StartSearch<'_>, candidate: &Candidate, application: &Application) -> String {
    let (kind, server) = match resolved(search, application.interface) {
        Interface::FastApi | Interface::Asgi => ("an ASGI", "uvicorn"),
        _ => ("a WSGI", "gunicorn"),
    };
    format!(
        "{}:{}: {} is {kind} application, and no server for it is among the dependencies: add {server}",
        candidate.path, application.line, application.name
    )
}

fn streamlit(search: &StartSearch<'_>, candidate: &Candidate) -> StartCommand {
    let port = search.port.unwrap_or(8501);
    StartCommand {
        argv: words(&[
            "streamlit",
            "run",
            &candidate.path,
            "--server.address",
            "0.0.0.0",
            "--server.port",
            &port.to_string(),
            "--server.headless",
            "true",
        ]),
        port: Some(port),
        env: BTreeMap::new(),
        found_in: format!("{}: imports streamlit", candidate.path),
        notes: Vec::new(),
    }
}

fn script(search: &StartSearch<'_>, candidate: &Candidate) -> StartCommand {
    let found_in = match candidate.scan.main_block {
        Some(line) => format!("{}:{line}: if __name__ == \"__main__\"", candidate.path),
        None => candidate.path.clone(),
    };
    StartCommand {
        argv: words(&["python", &candidate.path]),
        port: search.port,
        env: BTreeMap::new(),
        found_in,
        notes: Vec::new(),
    }
}

/// `python -m PACKAGE`, for the package named as the project, or the only one that can be run.
fn module(search: &StartSearch<'_>) -> Result<Option<StartCommand>, Diagnostic> {
    let mut runnable: Vec<(String, String)> = Vec::new();
    for root in ["", "src"] {
        for entry in search.files.list_dir(root)? {
            let main = join(root, &format!("{}/__main__.py", entry.name));
            if entry.is_dir && plain_name(&entry.name) && search.files.is_file(&main) {
                runnable.push((root.to_owned(), entry.name));
            }
        }
    }
    let own = search
        .pyproject
        .and_then(|file| file.name())
        .map(|name| name.as_dist_info_name().into_owned());
    let chosen = match (&runnable[..], own) {
        (list, Some(own)) if list.iter().any(|(_, name)| *name == own) => {
            list.iter().find(|(_, name)| *name == own).cloned()
        }
        ([only], _) => Some(only.clone()),
        _ => None,
    };
    if let Some((root, name)) = chosen {
        let installed = search.pyproject.is_some_and(|file| file.is_package());
        let env = if root.is_empty() || installed {
            BTreeMap::new()
        } else {
            BTreeMap::from([("PYTHONPATH".to_owned(), "src".to_owned())])
        };
        return Ok(Some(StartCommand {
            argv: words(&["python", "-m", &name]),
            port: search.port,
            env,
            found_in: join(&root, &format!("{name}/__main__.py")),
            notes: Vec::new(),
        }));
    }
    if search.files.is_file("__main__.py") {
        return Ok(Some(StartCommand {
            argv: words(&["python", "__main__.py"]),
            port: search.port,
            env: BTreeMap::new(),
            found_in: "__main__.py".to_owned(),
            notes: Vec::new(),
        }));
    }
    Ok(None)
}
