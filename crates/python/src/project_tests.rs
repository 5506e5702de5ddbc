//! Tables for what a directory is.

use super::*;
use crate::project_files::MemoryFiles;
use coil_oci::Arch;

fn load(list: &[(&str, &str)], wishes: &ProjectWishes) -> Result<Project, Diagnostic> {
    let files = list
        .iter()
        .fold(MemoryFiles::new(), |files, (path, text)| files.with(path, *text));
    Project::load(&files, "./demo", &BTreeMap::new(), wishes)
}

fn target() -> Target {
    Target {
        python: "3.13.5".parse().expect("version"),
        arch: Arch::Amd64,
        libc: crate::Libc::Glibc(2, 41),
        free_threaded: false,
    }
}

const HEAD: &str = "[project]\nname = \"web\"\nversion = \"1\"\nrequires-python = \">=3.11\"\n";
const LOCK: &str = "version = 1\nrequires-python = \">=3.11\"\n[[package]]\nname = \"six\"\nversion = \"1.0\"\nsource = { registry = \"https://pypi.org/simple\" }\n[[package]]\nname = \"web\"\nversion = \"1\"\nsource = { virtual = \".\" }\ndependencies = [{ name = \"six\" }]\n[package.metadata]\nrequires-dist = [{ name = \"six\" }]\n";

fn kind(project: &Project) -> &'static str {
    match project.lock {
        ProjectLock::Uv(_) => "uv",
        ProjectLock::Pylock(_) => "pylock",
        ProjectLock::Requirements(_) => "requirements",
        ProjectLock::Unlocked => "unlocked",
        ProjectLock::NoPackages => "none",
        ProjectLock::Poetry(_) => "poetry",
        ProjectLock::Pdm(_) => "pdm",
        ProjectLock::Pipfile(_) => "pipfile",
    }
}

#[test]
fn kinds() {
    let six = format!("{HEAD}dependencies = [\"six\"]\n");
    let hashed = format!("six==1 --hash=sha256:{}\n", "a".repeat(64));
    for (list, expected) in [
        (
            vec![
                ("pyproject.toml", six.as_str()),
                ("uv.lock", LOCK),
                ("requirements.txt", "x"),
            ],
            "uv",
        ),
        (
            vec![
                ("pyproject.toml", six.as_str()),
                ("pylock.toml", "lock-version = \"1.0\"\n"),
            ],
            "pylock",
        ),
        (vec![("pyproject.toml", six.as_str())], "unlocked"),
        (
            vec![("pyproject.toml", six.as_str()), ("requirements.txt", "six\n")],
            "unlocked",
        ),
        (
            vec![
                ("pyproject.toml", six.as_str()),
                ("requirements.txt", hashed.as_str()),
            ],
            "requirements",
        ),
        (
            vec![("pyproject.toml", HEAD), ("requirements.txt", "six\n")],
            "requirements",
        ),
        (vec![("requirements.txt", "six\n")], "requirements"),
        (vec![("requirements.txt", "\n"), ("main.py", "")], "none"),
        (vec![("main.py", "")], "none"),
        (vec![("pyproject.toml", HEAD)], "none"),
        (
            vec![
                ("../uv.lock", LOCK.replace("virtual", "editable").as_str()),
                ("main.py", ""),
            ],
            "none",
        ),
    ] {
        let project =
            load(&list, &ProjectWishes::default()).unwrap_or_else(|error| panic!("{list:?}: {error}"));
        assert_eq!(kind(&project), expected, "{list:?}");
    }
    let no_lock = ProjectWishes {
        no_lock: true,
        ..ProjectWishes::default()
    };
    let project = load(&[("pyproject.toml", &six), ("uv.lock", LOCK)], &no_lock).expect("a project");
    assert_eq!(kind(&project), "unlocked");
}

#[test]
fn a_member_finds_its_workspace() {
    let lock = LOCK
        .replace(
            "[[package]]\nname = \"six\"",
            "[manifest]\nmembers = [\"web\", \"other\"]\n[[package]]\nname = \"six\"",
        )
        .replace("virtual = \".\"", "editable = \"packages/web\"");
    let six = format!("{HEAD}dependencies = [\"six\"]\n");
    let project = load(
        &[("pyproject.toml", &six), ("../../uv.lock", &lock)],
        &ProjectWishes::default(),
    );
    let project = project.expect("a member");
    assert_eq!((kind(&project), project.lock_dir.as_str()), ("uv", "../.."));
    let Packages::Locked(packages) = project
        .packages(&target(), &ProjectWishes::default())
        .expect("locked")
    else {
        panic!("a lock needs no resolving");
    };
    assert_eq!(
        packages.iter().map(Pinned::title).collect::<Vec<_>>(),
        ["six 1.0"]
    );
}

#[test]
fn resolution_inputs() {
    let text = format!(
        "{HEAD}dependencies = [\"flask>=3\"]\n[project.optional-dependencies]\na = [\"six\", \"web[b]\"]\nb = [\"click\"]\n[dependency-groups]\nprod = [\"gunicorn\"]\n[tool.coil]\ngroups = [\"prod\"]\n[[tool.uv.index]]\nurl = \"https://i.org/simple\"\ndefault = true\n"
    );
    let wishes = ProjectWishes {
        extras: BTreeSet::from(["a".parse().expect("name")]),
        ..ProjectWishes::default()
    };
    let project = load(&[("pyproject.toml", &text)], &wishes).expect("a project");
    let Packages::Unresolved(input) = project.packages(&target(), &wishes).expect("an input") else {
        panic!("there is no lock");
    };
    assert_eq!(input.requirements, "flask>=3\nsix\nclick\ngunicorn\n");
    assert_eq!(input.uv.indexes, ["=https://i.org/simple true false false"]);
    let same = input.clone();
    assert_eq!(input.digest(), same.digest());
    let other = ResolutionInput {
        requirements: "flask>=3\n".to_owned(),
        ..*input.clone()
    };
    assert_ne!(input.digest(), other.digest());
}

#[test]
fn refusals() {
    let source = format!(
        "{HEAD}dependencies = [\"six\"]\n[tool.uv.sources]\nsix = {{ git = \"https://x.org/six\" }}\n"
    );
    let stale = format!("{HEAD}dependencies = [\"six\", \"httpx>=0.27\"]\n");
    for (list, expected) in [
        (
            vec![("README.md", "")],
            "error: there is no Python project in ./demo\nnote: looked for pyproject.toml, a lock, requirements.txt and Python files\nhelp: name the project's directory: `coil pack DIR`",
        ),
        (
            vec![("backend/pyproject.toml", "")],
            "help: did you mean ./demo/backend?",
        ),
        (
            vec![("Dockerfile", "")],
            "help: it has a Dockerfile: `coil build` builds it",
        ),
        (
            vec![(
                "pyproject.toml",
                "[tool.poetry]\nname = \"x\"\n[tool.poetry.dependencies]\nsix = {git = \"https://x.org/six\"}\n",
            )],
            "error: `six` is asked for in a way that only Poetry's own lock can follow\n  --> pyproject.toml\nhelp: run `poetry lock`",
        ),
        (
            vec![("Pipfile", "[packages]\nsix = \"*\"\n"), ("main.py", "")],
            "error: the dependencies are written for pipenv alone, and there is no Pipfile.lock",
        ),
        (
            vec![("pyproject.toml", source.as_str())],
            "`six` has a source of its own in [tool.uv.sources]",
        ),
        (
            vec![("pyproject.toml", stale.as_str()), ("uv.lock", LOCK)],
            "error: the lock file does not match pyproject.toml\n  --> uv.lock: `httpx` is missing (pyproject.toml line 5 asks for httpx>=0.27)\nhelp: run `uv lock`, or `coil pack --no-lock` to resolve afresh",
        ),
    ] {
        let wishes = ProjectWishes::default();
        let error = load(&list, &wishes)
            .and_then(|project| project.packages(&target(), &wishes))
            .expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn wishes_for_a_python() {
    let text = format!("{HEAD}[tool.coil]\npython = \"3.14\"\n");
    let project = load(
        &[("pyproject.toml", &text), (".python-version", "3.11\n")],
        &ProjectWishes::default(),
    );
    let wishes = project.expect("a project").python_wishes(None);
    let choice = crate::choose_python(&crate::debian_pythons(), &wishes).expect("one fits");
    assert_eq!(
        (choice.minor.as_str(), choice.reason.as_str()),
        ("3.14", "pyproject.toml:6 asks for 3.14")
    );
}

#[test]
fn several_locks() {
    let six = format!("{HEAD}dependencies = [\"six\"]\n");
    let pylock = "lock-version = \"1.0\"\n";
    let named = ProjectWishes {
        lock: Some("pylock.prod.toml".to_owned()),
        ..ProjectWishes::default()
    };
    let plain = ProjectWishes::default();
    for (others, wishes, expected) in [
        (
            vec![
                ("uv.lock", LOCK),
                ("poetry.lock", ""),
                ("requirements.txt", "six"),
            ],
            &plain,
            (
                "uv",
                vec!["the packages are those of uv.lock; passed over: poetry.lock, requirements.txt"],
            ),
        ),
        (
            vec![("pylock.prod.toml", pylock), ("pdm.lock", "")],
            &plain,
            (
                "pylock",
                vec!["the packages are those of pylock.prod.toml; passed over: pdm.lock"],
            ),
        ),
        (
            vec![
                ("pylock.prod.toml", pylock),
                ("pylock.dev.toml", pylock),
                ("uv.lock", LOCK),
            ],
            &plain,
            (
                "uv",
                vec!["the packages are those of uv.lock; passed over: pylock.dev.toml, pylock.prod.toml"],
            ),
        ),
        (
            vec![
                ("pylock.prod.toml", pylock),
                ("pylock.dev.toml", pylock),
                ("uv.lock", LOCK),
            ],
            &named,
            ("pylock", vec![]),
        ),
        (vec![("pylock.toml", pylock)], &plain, ("pylock", vec![])),
    ] {
        let mut list = vec![("pyproject.toml", six.as_str())];
        list.extend(others);
        let project = load(&list, wishes).unwrap_or_else(|error| panic!("{list:?}: {error}"));
        let notes: Vec<&str> = project.notes.iter().map(String::as_str).collect();
        assert_eq!((kind(&project), notes), expected, "{list:?}");
    }
    let two = [
        ("pyproject.toml", six.as_str()),
        ("pylock.prod.toml", pylock),
        ("pylock.dev.toml", pylock),
    ];
    let error = load(&two, &plain).expect_err("which one?").to_string();
    assert_eq!(
        error,
        "error: there are several locks: pylock.dev.toml, pylock.prod.toml\nhelp: choose one: `coil pack --lock pylock.dev.toml`"
    );
    let missing = ProjectWishes {
        lock: Some("requirements/prod.txt".to_owned()),
        ..ProjectWishes::default()
    };
    let error = load(&two, &missing).expect_err("not there").to_string();
    assert!(
        error.contains("there is no file requirements/prod.txt"),
        "{error}"
    );
}

#[test]
fn what_poetry_asks_for_is_resolved_without_a_lock() {
    let text = "[tool.poetry]\nname = \"x\"\n[tool.poetry.dependencies]\npython = \"^3.11\"\nflask = \"^3.0\"\nrich = {version = \"~13.1\", optional = true}\ntomli = {version = \"*\", python = \"<3.11\"}\n[tool.poetry.extras]\ncli = [\"rich\"]\n[tool.poetry.group.prod.dependencies]\ngunicorn = {version = \">=20\", extras = [\"gevent\"], markers = \"sys_platform == 'linux'\"}\n[tool.coil]\ngroups = [\"prod\"]\n";
    let wishes = ProjectWishes {
        extras: BTreeSet::from(["cli".parse().expect("name")]),
        ..ProjectWishes::default()
    };
    let project = load(&[("pyproject.toml", text)], &wishes).expect("a project");
    let Packages::Unresolved(input) = project.packages(&target(), &wishes).expect("an input") else {
        panic!("there is no lock");
    };
    assert_eq!(
        input.requirements,
        "flask>=3.0,<4\nrich>=13.1,<13.2\ntomli ; python_full_version < '3.11'\ngunicorn[gevent]>=20 ; (sys_platform == 'linux')\n"
    );
    let choice =
        crate::choose_python(&crate::debian_pythons(), &project.python_wishes(None)).expect("one fits");
    assert!(choice.reason.contains("pyproject.toml"), "{}", choice.reason);
}

#[test]
fn groups_stay_out_unless_asked_for() {
    let text = format!(
        "{HEAD}dependencies = [\"six\"]\n[dependency-groups]\ndev = [\"pytest\"]\nprod = [\"gunicorn\"]\n[tool.uv]\ndefault-groups = \"all\"\n[tool.coil]\ngroups = [\"prod\"]\n"
    );
    let set = |names: &[&str]| names.iter().map(|name| name.parse().expect("a name")).collect();
    let plain = ProjectWishes::default;
    for (wishes, expected) in [
        (plain(), "six gunicorn"),
        (
            ProjectWishes {
                no_default_groups: true,
                ..plain()
            },
            "six",
        ),
        (
            ProjectWishes {
                all_groups: true,
                ..plain()
            },
            "six pytest gunicorn",
        ),
        (
            ProjectWishes {
                all_groups: true,
                no_groups: set(&["dev"]),
                ..plain()
            },
            "six gunicorn",
        ),
        (
            ProjectWishes {
                groups: set(&["dev"]),
                ..plain()
            },
            "six pytest gunicorn",
        ),
        (
            ProjectWishes {
                only_groups: set(&["dev"]),
                ..plain()
            },
            "pytest",
        ),
        (
            ProjectWishes {
                no_groups: set(&["prod"]),
                ..plain()
            },
            "six",
        ),
    ] {
        let project = load(&[("pyproject.toml", &text)], &wishes).expect("a project");
        let Packages::Unresolved(input) = project.packages(&target(), &wishes).expect("an input") else {
            panic!("there is no lock");
        };
        assert_eq!(
            input.requirements.replace('\n', " ").trim(),
            expected,
            "{wishes:?}"
        );
    }
}
