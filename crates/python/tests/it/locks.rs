//! Each recorded selection from each lock: the same packages as `uv export` gives (see `fixtures/locks/record.py`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use coil_oci::Arch;
use coil_python::{Direct, Pinned, PyProject, Selection, Target, UvLock};
use serde::Deserialize;

use crate::folder::Folder;

#[derive(Deserialize)]
struct Expected {
    results: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    package: Option<String>,
    #[serde(default)]
    extras: BTreeSet<String>,
    #[serde(default)]
    groups: BTreeSet<String>,
    python: String,
    arch: Arch,
    packages: Vec<String>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/locks")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(fixtures())
        .expect("fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("uv.lock").exists())
        .collect();
    cases.sort();
    assert!(cases.len() >= 6, "the fixtures are there");
    cases
}

fn shown(pinned: &Pinned) -> String {
    match &pinned.direct {
        None => format!(
            "{}=={}",
            pinned.name,
            pinned.version.as_ref().expect("an index gives versions")
        ),
        Some(Direct::Directory { path, .. } | Direct::Path { path }) => format!("path:{path}"),
        Some(Direct::Url { url, .. }) => format!("{} @ {url}", pinned.name),
        Some(Direct::Git {
            url,
            commit,
            subdirectory,
            ..
        }) => {
            let inside = subdirectory
                .as_ref()
                .map(|path| format!("#subdirectory={path}"))
                .unwrap_or_default();
            format!("{} @ git+{url}@{commit}{inside}", pinned.name)
        }
    }
}

fn names(names: &BTreeSet<String>) -> BTreeSet<coil_python::ExtraName> {
    names.iter().map(|name| name.parse().expect("a name")).collect()
}

#[test]
fn the_same_packages_as_uv() {
    let mut compared = 0;
    for case in cases() {
        let lock = UvLock::parse("uv.lock", &read(&case.join("uv.lock"))).expect("a lock");
        let expected: Expected = serde_json::from_str(&read(&case.join("expected.json"))).expect("JSON");
        for result in expected.results {
            let target = Target {
                python: result.python.parse().expect("a version"),
                arch: result.arch,
                libc: coil_python::Libc::Glibc(2, 36),
                free_threaded: false,
            };
            let selection = Selection {
                package: result.package.as_ref().map(|name| name.parse().expect("a name")),
                extras: names(&result.extras),
                groups: names(&result.groups),
                ..Selection::default()
            };
            let chosen = lock
                .select(&selection, &target)
                .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
            let mut ours: Vec<String> = chosen.iter().map(shown).collect();
            ours.sort();
            // uv prints no member that is only the root of the selection, and neither do we.
            assert_eq!(
                ours,
                result.packages,
                "{}: {selection:?} for {target}",
                case.display()
            );
            compared += 1;
        }
    }
    assert!(compared >= 70, "{compared} selections were compared");
}

#[test]
fn fresh_locks_match_their_projects() {
    for case in cases() {
        let lock = UvLock::parse("uv.lock", &read(&case.join("uv.lock"))).expect("a lock");
        let mut projects = vec![case.join("pyproject.toml")];
        if let Ok(members) = std::fs::read_dir(case.join("packages")) {
            projects.extend(members.map(|entry| entry.expect("an entry").path().join("pyproject.toml")));
        }
        for project in projects {
            let pyproject = PyProject::parse("pyproject.toml", &read(&project)).expect("a project");
            if let Err(error) = lock.check(&pyproject) {
                panic!("{}: {error}", project.display());
            }
        }
    }
}

#[test]
fn stale_locks_are_told_and_how() {
    let case = fixtures().join("extras");
    let lock = UvLock::parse("uv.lock", &read(&case.join("uv.lock"))).expect("a lock");
    let text = read(&case.join("pyproject.toml"));
    for (from, to, expected) in [
        (
            "\"httpx[http2]>=0.27\",",
            "\"httpx[http2]>=0.27\", \"attrs>=23\",",
            "  --> uv.lock: `attrs` is missing (pyproject.toml line 6 asks for attrs>=23)\n",
        ),
        (
            "\"httpx[http2]>=0.27\",",
            "\"httpx[http2]>=0.28\",",
            "  --> uv.lock: `httpx` is locked as httpx[http2]>=0.27 and httpx[socks] ; extra == 'socks' (pyproject.toml line 6 asks for httpx[http2]>=0.28)\n",
        ),
        (
            "    \"colorama>=0.4 ; sys_platform == 'win32'\",\n",
            "",
            "  --> uv.lock: `colorama` is locked and pyproject.toml no longer asks for it\n",
        ),
        (
            "\"iniconfig\"]",
            "\"iniconfig>=2\"]",
            "  --> uv.lock: `iniconfig` is locked in group `dev` as iniconfig (pyproject.toml line 19 asks for iniconfig>=2)\nnote: `iniconfig` is locked in group `lint` as iniconfig (pyproject.toml line 19 asks for iniconfig>=2)\n",
        ),
        (
            ">=3.10,<4",
            ">=3.12",
            "it was made for Python >=3.10, <4 (pyproject.toml line 4 asks for >=3.12)",
        ),
        (
            "name = \"extras\"",
            "name = \"other\"",
            "  --> uv.lock: `other` is missing (it is the project itself)\n",
        ),
        (
            "click\"]",
            "click\", \"six\"]",
            "`six` is missing (pyproject.toml line 13 asks for six in extra `cli`)",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let pyproject = PyProject::parse("pyproject.toml", &text.replacen(from, to, 1)).expect("a project");
        let error = lock.check(&pyproject).expect_err(to).to_string();
        assert!(
            error.starts_with("error: the lock file does not match pyproject.toml\n"),
            "{error}"
        );
        assert!(error.contains(expected), "wanted {expected}\ngot {error}");
        assert!(
            error.ends_with("help: run `uv lock`, or `coil pack --no-lock` to resolve afresh"),
            "{error}"
        );
    }
}

#[test]
fn impossible_wishes_are_refused() {
    let target = Target {
        python: "3.11.2".parse().expect("a version"),
        arch: Arch::Amd64,
        libc: coil_python::Libc::Glibc(2, 36),
        free_threaded: false,
    };
    let lock_of =
        |case: &str| UvLock::parse("uv.lock", &read(&fixtures().join(case).join("uv.lock"))).expect("a lock");
    let wish = |extras: &[&str], groups: &[&str]| Selection {
        package: None,
        extras: extras.iter().map(|name| name.parse().expect("a name")).collect(),
        groups: groups.iter().map(|name| name.parse().expect("a name")).collect(),
        ..Selection::default()
    };
    let conflicts = lock_of("conflicts");
    for (selection, part) in [
        (
            wish(&["old", "new"], &[]),
            "extra `new` and extra `old` exclude each other",
        ),
        (
            wish(&[], &["left", "right"]),
            "group `left` and group `right` exclude each other",
        ),
        (wish(&["odl"], &[]), "did you mean `old`?"),
        (wish(&[], &["lef"]), "did you mean `left`?"),
    ] {
        let error = conflicts.select(&selection, &target).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
    let workspace = lock_of("workspace");
    let other = Selection {
        package: Some("shop-apy".parse().expect("a name")),
        ..Selection::default()
    };
    let error = workspace
        .select(&other, &target)
        .expect_err("no such member")
        .to_string();
    assert!(error.contains("did you mean `shop-api`?"), "{error}");
    let old = Target {
        python: "3.9.2".parse().expect("a version"),
        ..target
    };
    let error = workspace
        .select(&Selection::default(), &old)
        .expect_err("too old")
        .to_string();
    assert!(
        error.contains("Python 3.9.2 is outside of what the lock is good for: >=3.11"),
        "{error}"
    );
}

#[test]
fn a_pylock_from_uv() {
    let text = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pylock.toml"));
    let lock = coil_python::Pylock::parse("pylock.toml", &text).expect("a lock");
    let target = Target {
        python: "3.13.5".parse().expect("a version"),
        arch: Arch::Amd64,
        libc: coil_python::Libc::Glibc(2, 41),
        free_threaded: false,
    };
    let packages = lock
        .select(&target, &BTreeSet::new(), &BTreeSet::new())
        .expect("selectable");
    let titles: Vec<String> = packages.iter().map(Pinned::title).collect();
    assert_eq!(titles.len(), text.matches("[[packages]]").count(), "{titles:?}");
    let ranks = target.tag_ranks();
    for package in &packages {
        let choice = coil_python::choose(package, &target, &ranks).unwrap_or_else(|error| panic!("{error}"));
        assert!(
            matches!(choice, coil_python::Choice::Wheel(wheel) if wheel.sha256.is_some()),
            "{}",
            package.title()
        );
    }
}

#[test]
fn the_repositorys_own_examples() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for (name, expected) in [
        ("fastapi", "uvicorn main:app --host 0.0.0.0 --port 8000"),
        ("django", "gunicorn mysite.wsgi:application --bind 0.0.0.0:8000"),
        ("worker", "python main.py"),
    ] {
        let files = Folder(examples.join(name));
        let wishes = coil_python::ProjectWishes::default();
        let project = coil_python::Project::load(&files, name, &std::collections::BTreeMap::new(), &wishes)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let target = Target {
            python: "3.13.5".parse().expect("a version"),
            arch: Arch::Arm64,
            libc: coil_python::Libc::Glibc(2, 41),
            free_threaded: false,
        };
        let packages = project
            .packages(&target, &wishes)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let coil_python::Packages::Locked(packages) = packages else {
            panic!("{name} is locked")
        };
        let ranks = target.tag_ranks();
        for package in &packages {
            let choice =
                coil_python::choose(package, &target, &ranks).unwrap_or_else(|error| panic!("{error}"));
            assert!(
                matches!(choice, coil_python::Choice::Wheel(_)),
                "{name}: {}",
                package.title()
            );
        }
        let start = coil_python::StartSearch::new(&files, project.pyproject.as_ref(), &packages);
        let start = start.find().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(start.argv.join(" ").starts_with(expected), "{name}: {start:?}");
    }
}

/// What uv 0.13.8 writes for each form of `requires-python`; and one that differs.
#[test]
fn forms_of_requires_python() {
    for (asked, locked, same) in [
        ("~=3.11", ">=3.11, <4", true),
        (">=3.11,<3.14", ">=3.11, <3.14", true),
        (">=3.11,!=3.12.*", ">=3.11, !=3.12.*", true),
        (">=3.11.4", ">=3.11.4", true),
        ("<4,>=3.10", ">=3.10, <4", true),
        ("~=3.11.2", ">=3.11.2, <3.12", true),
        (">3.10", ">3.10", true),
        (">=3.11,<=3.13", ">=3.11, <=3.13", true),
        ("==3.13.*", "==3.13.*", true),
        (">=3.12", ">=3.11", false),
    ] {
        let project = format!(
            "[project]\nname = \"x\"\nversion = \"1\"\nrequires-python = \"{asked}\"\ndependencies = [\"tomli; python_version < '3.12'\", \"six; python_version >= '3.10'\", \"colorama ; sys_platform == 'win32' and python_full_version > '3.11.1'\"]\n"
        );
        let lock = format!(
            "version = 1\nrequires-python = \"{locked}\"\n[[package]]\nname = \"x\"\nversion = \"1\"\nsource = {{ virtual = \".\" }}\n[package.metadata]\nrequires-dist = [\n{{ name = \"colorama\", marker = \"python_full_version > '3.11.1' and sys_platform == 'win32'\" }},\n{{ name = \"six\", marker = \"python_full_version >= '3.10'\" }},\n{{ name = \"tomli\", marker = \"python_full_version < '3.12'\" }},\n]\n"
        );
        let lock = UvLock::parse("uv.lock", &lock).expect("a lock");
        let project = PyProject::parse("pyproject.toml", &project).expect("a project");
        let checked = lock.check(&project);
        assert_eq!(checked.is_ok(), same, "{asked} against {locked}: {checked:?}");
    }
}
