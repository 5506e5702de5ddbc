//! Each lock in `tests/locks`: the same packages as the export of the tool that wrote it, for each target
//! (see `tests/locks/regenerate`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use coil_oci::Arch;
use coil_python::{
    Direct, Libc, Packages, PdmLock, Pinned, PipfileLock, PoetryLock, Project, ProjectLock, ProjectWishes,
    Target,
};
use serde::Deserialize;

use crate::folder::Folder;

#[derive(Deserialize)]
struct Expected {
    results: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    ask: Ask,
    /// For each list of targets, the packages.
    packages: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Ask {
    package: Option<String>,
    extras: Vec<String>,
    all_extras: bool,
    groups: Vec<String>,
    all_groups: bool,
    only_groups: Vec<String>,
    no_groups: Vec<String>,
}

/// A case's own description, as far as other files are made from its lock.
#[derive(Deserialize)]
struct Description {
    #[serde(default)]
    also: Vec<Also>,
}

/// A lock or requirements file that the tool exported.
#[derive(Deserialize)]
struct Also {
    file: String,
    /// The place of the selection that it must agree with.
    r#as: usize,
    /// What to ask of the file for it; the export itself has made the rest of the choice.
    wish: Ask,
}

fn locks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/locks")
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(locks())
        .expect("fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("expected.json").exists())
        .collect();
    cases.sort();
    cases
}

fn target(name: &str) -> Target {
    let (python, machine) = name.split_once('-').expect("a target");
    Target {
        python: match python {
            "cp311" => "3.11.2",
            _ => "3.13.5",
        }
        .parse()
        .expect("a version"),
        arch: match machine {
            "x86_64" => Arch::Amd64,
            _ => Arch::Arm64,
        },
        libc: Libc::Glibc(2, 36),
        free_threaded: false,
    }
}

fn path(path: &str) -> String {
    format!("path:{}", coil_python::project_files::join("", path))
}

fn shown(pinned: &Pinned) -> String {
    match &pinned.direct {
        None => format!(
            "{}=={}",
            pinned.name,
            pinned.version.as_ref().expect("an index gives versions")
        ),
        Some(Direct::Directory { path: at, .. } | Direct::Path { path: at }) => path(at),
        Some(Direct::Url { url, .. }) => format!("url:{url}"),
        Some(Direct::Git { url, commit, .. }) => format!("url:git+{url}@{commit}"),
    }
}

fn wishes(ask: &Ask) -> ProjectWishes {
    let names = |names: &[String]| names.iter().map(|name| name.parse().expect("a name")).collect();
    ProjectWishes {
        extras: names(&ask.extras),
        all_extras: ask.all_extras,
        groups: names(&ask.groups),
        all_groups: ask.all_groups,
        no_groups: names(&ask.no_groups),
        only_groups: names(&ask.only_groups),
        package: ask.package.as_ref().map(|name| name.parse().expect("a name")),
        ..ProjectWishes::default()
    }
}

/// The project that an ask is about: a member lies in a directory of its own.
fn load(case: &Path, wishes: &ProjectWishes) -> Project {
    let mut folder = Folder(case.to_owned());
    if let Some(member) = Project::member(&folder, wishes).unwrap_or_else(|error| panic!("{error}")) {
        folder = Folder(case.join(member));
    }
    Project::load(&folder, "demo", &BTreeMap::new(), wishes)
        .unwrap_or_else(|error| panic!("{}: {error}", case.display()))
}

#[test]
fn the_same_packages_as_the_tools_own_export() {
    let mut compared = 0;
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 40, "{} locks are there", cases.len());
    for case in &cases {
        let read = |name: &str| std::fs::read_to_string(case.join(name)).expect("readable");
        let expected: Expected = serde_json::from_str(&read("expected.json")).expect("JSON");
        let description: Description = serde_json::from_str(&read("case.json")).expect("JSON");
        let mut asks: Vec<(String, ProjectWishes, &Case)> = Vec::new();
        for result in &expected.results {
            asks.push((String::new(), wishes(&result.ask), result));
        }
        for also in &description.also {
            let wishes = ProjectWishes {
                lock: Some(also.file.clone()),
                ..wishes(&also.wish)
            };
            asks.push((also.file.clone(), wishes, &expected.results[also.r#as]));
        }
        for (file, wishes, result) in asks {
            let project = load(case, &wishes);
            for (targets, packages) in &result.packages {
                for name in targets.split(' ') {
                    let place = format!(
                        "{} {file} {:?} for {name}",
                        case.file_name().expect("a name").display(),
                        result.ask
                    );
                    compared += 1;
                    let found = match project.packages(&target(name), &wishes) {
                        Ok(Packages::Locked(found)) => found,
                        Ok(Packages::Unresolved(_)) => panic!("{place}: a lock needs no resolving"),
                        // A lock for one Python refuses another, where its tool's export says nothing.
                        Err(error) if error.problem == coil_python::Problem::NoPython => continue,
                        Err(error) => {
                            wrong.push(format!("{place}: {error}"));
                            continue;
                        }
                    };
                    let ours: BTreeSet<String> = found.iter().map(shown).collect();
                    let theirs: BTreeSet<String> = packages.iter().cloned().collect();
                    let missing: Vec<&String> = theirs.difference(&ours).collect();
                    let more: Vec<&String> = ours.difference(&theirs).collect();
                    if !missing.is_empty() || !more.is_empty() {
                        wrong.push(format!("{place}: missing {missing:?}, too many {more:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 400, "{compared} selections were compared");
}

/// A lock that was made of another project file is refused; the fixtures' own are fresh, or the test above fails.
#[test]
fn stale_locks_are_told() {
    for (case, file, lock, from, to) in [
        (
            "poetry2-web",
            "pyproject.toml",
            "poetry.lock",
            "httpx = \"~0.27\"",
            "httpx = \"*\"",
        ),
        (
            "poetry2-project",
            "pyproject.toml",
            "poetry.lock",
            "flask>=3",
            "flask>=2",
        ),
        (
            "poetry2-pep735",
            "pyproject.toml",
            "poetry.lock",
            "pytest>=8",
            "pytest>=7",
        ),
        (
            "poetry18-extras",
            "pyproject.toml",
            "poetry.lock",
            "cli = [\"rich\"",
            "cli = [\"redis\"",
        ),
        ("poetry12-dev", "pyproject.toml", "poetry.lock", "black", "blue"),
        (
            "pdm-web",
            "pyproject.toml",
            "pdm.lock",
            "\"fastapi\"",
            "\"fastapi>=0.1\"",
        ),
        ("pdm-web", "pyproject.toml", "pdm.lock", "\"mypy\"", "\"pyright\""),
        (
            "pdm-dev",
            "pyproject.toml",
            "pdm.lock",
            "pytest-aiohttp",
            "pytest-asyncio",
        ),
        (
            "pipenv-web",
            "Pipfile",
            "Pipfile.lock",
            "flask = \">=3\"",
            "flask = \"*\"",
        ),
        ("pipenv-categories", "Pipfile", "Pipfile.lock", "mkdocs", "sphinx"),
    ] {
        let root = locks().join(case);
        let text = std::fs::read_to_string(root.join(file)).expect("readable");
        assert!(text.contains(from), "{case}: {from}");
        let locked = std::fs::read_to_string(root.join(lock)).expect("readable");
        let changed = text.replacen(from, to, 1);
        let files = coil_python::MemoryFiles::new()
            .with(lock, locked)
            .with(file, changed);
        let error = Project::load(&files, "demo", &BTreeMap::new(), &ProjectWishes::default())
            .expect_err(case)
            .to_string();
        assert!(
            error.starts_with(&format!(
                "error: the lock file does not match {file}\n  --> {lock}: the dependencies in {file} were changed after it was made\nhelp: run `{} lock`, or `coil pack --no-lock` to resolve afresh",
                case.split(['2', '1', '-']).next().expect("a tool")
            )),
            "{error}"
        );
    }
}

#[test]
fn what_is_not_there_is_refused_with_what_is() {
    let ask = |extras: &[&str], groups: &[&str], package: Option<&str>| Ask {
        extras: extras.iter().map(|name| (*name).to_owned()).collect(),
        groups: groups.iter().map(|name| (*name).to_owned()).collect(),
        package: package.map(str::to_owned),
        ..Ask::default()
    };
    for (case, ask, expected) in [
        (
            "uv-science",
            ask(&["laern"], &[], None),
            "the project has no extra `laern`\n  --> uv.lock\nhelp: did you mean `learn`? there are learn, fast",
        ),
        (
            "uv-web",
            ask(&[], &["prod"], None),
            "the project has no dependency group `prod`\n  --> uv.lock\nhelp: there are dev, docs, test; if it is new, run `uv lock`",
        ),
        (
            "poetry2-extras",
            ask(&["cach"], &[], None),
            "help: did you mean `cache`? there are cache, cli",
        ),
        (
            "poetry18-web",
            ask(&[], &["test"], None),
            "the project has no dependency group `test`\n  --> poetry.lock\nhelp: there are dev, docs; if it is new, run `poetry lock`",
        ),
        (
            "pdm-web",
            ask(&["lint"], &[], None),
            "the project has no extra `lint`\n  --> pdm.lock\nhelp: there are cli, cache; if it is new, run `pdm lock`",
        ),
        (
            "pipenv-categories",
            ask(&[], &["doc"], None),
            "help: did you mean `docs`? there are docs, dev",
        ),
    ] {
        let wishes = wishes(&ask);
        let error = load(&locks().join(case), &wishes)
            .packages(&target("cp311-x86_64"), &wishes)
            .expect_err(expected)
            .to_string();
        assert!(error.contains(expected), "{case}: {error}");
    }
    let wishes = wishes(&ask(&[], &[], Some("wroker")));
    let error = Project::member(&Folder(locks().join("uv-workspace")), &wishes).expect_err("no such member");
    assert_eq!(
        error.to_string(),
        "error: the lock has no project named `wroker`\n  --> uv.lock\nhelp: did you mean `worker`? there are worker, core, api"
    );
}

/// Every lock that is read has files or hashes for each package: without them nothing could be fetched or checked.
#[test]
fn packages_have_files_or_hashes() {
    for case in cases() {
        let project = match Project::load(
            &Folder(case.clone()),
            "demo",
            &BTreeMap::new(),
            &ProjectWishes::default(),
        ) {
            Ok(project) => project,
            Err(error) => panic!("{}: {error}", case.display()),
        };
        let packages = match project.packages(&target("cp311-x86_64"), &ProjectWishes::default()) {
            Ok(Packages::Locked(packages)) => packages,
            // A workspace without a root is packed by its members.
            _ => continue,
        };
        for package in packages.iter().filter(|package| package.direct.is_none()) {
            let hashed = package.artifacts.iter().all(|artifact| artifact.sha256.is_some());
            assert!(
                hashed && (!package.artifacts.is_empty() || !package.hashes.is_empty()),
                "{}: {}",
                case.display(),
                package.title()
            );
        }
    }
}

/// The readers of single formats are public too, and agree with the project's reader.
#[test]
fn readers_by_themselves() {
    let read = |case: &str, file: &str| {
        std::fs::read_to_string(locks().join(case).join(file))
            .unwrap_or_else(|error| panic!("{case}: {error}"))
    };
    let pyproject = read("poetry2-web", "pyproject.toml");
    let poetry = PoetryLock::parse(
        "poetry.lock",
        &read("poetry2-web", "poetry.lock"),
        Some(&pyproject),
    );
    let pdm = PdmLock::parse("pdm.lock", &read("pdm-web", "pdm.lock"));
    let pipfile = PipfileLock::parse("Pipfile.lock", &read("pipenv-web", "Pipfile.lock"));
    for (lock, python) in [
        (
            ProjectLock::Poetry(Box::new(poetry.expect("a lock"))),
            ">=3.11, <4",
        ),
        (ProjectLock::Pdm(Box::new(pdm.expect("a lock"))), ">=3.11"),
        (
            ProjectLock::Pipfile(Box::new(pipfile.expect("a lock"))),
            "==3.11.*",
        ),
    ] {
        let requires = lock.requires_python().expect("they say so").to_string();
        assert_eq!(requires, python, "{}", lock.found_in());
    }
}
