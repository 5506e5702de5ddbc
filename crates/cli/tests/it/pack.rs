//! `coil pack`: from a project to an image, and what goes into it.

use coil_testkit::image::{Image, Layout};
use coil_testkit::{Context, tree};
use std::path::Path;

use crate::{fresh, shared};

/// Packs into an OCI layout and reads it back.
pub(crate) fn pack(context: &Context, project: &Path, flags: &[&str]) -> Image {
    let output = context.path().join("layout");
    if output.exists() {
        std::fs::remove_dir_all(&output).expect("our own directory");
    }
    let target = format!("oci:{}", output.display());
    context
        .coil(["pack".as_ref(), project.as_os_str()])
        .args(["--output", &target])
        .args(flags)
        .run()
        .success();
    Layout::open(&output).image()
}

fn texts(value: &serde_json::Value) -> Vec<String> {
    value
        .as_array()
        .map(|list| {
            list.iter()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect()
        })
        .unwrap_or_default()
}

#[test]
fn a_script_without_dependencies_is_a_project() {
    let context = shared();
    let image = pack(&context, &context.example("worker"), &[]);
    let files = image.files();
    assert!(
        files.keys().any(|path| path.ends_with("/main.py")),
        "the script is in the image"
    );
    assert_eq!(image.config["os"], "linux");
    let user = image.config["config"]["User"].as_str().unwrap_or_default();
    assert!(
        user.starts_with("1000"),
        "packed images run as user 1000, not {user:?}"
    );
    assert!(
        !texts(&image.config["config"]["Cmd"]).is_empty(),
        "a start command was found"
    );
}

#[test]
fn wheels_lie_in_one_environment_with_bytecode() {
    let context = shared();
    let image = pack(&context, &context.example("flask"), &[]);
    let files = image.files();
    let inside = |part: &str| {
        files
            .keys()
            .any(|path| path.starts_with("opt/venv/") && path.contains(part))
    };
    assert!(inside("/site-packages/flask/__init__.py"), "flask is installed");
    assert!(
        inside("/site-packages/flask/__pycache__/__init__.cpython-"),
        "its bytecode ships"
    );
    assert!(inside("bin/flask"), "its command is there");
    for (path, entry) in &files {
        if entry.kind == "file" && path.starts_with("opt/venv/") {
            assert_eq!(
                entry.mode & 0o7022,
                0,
                "{path} is writable for others or set-id: {entry:?}"
            );
        }
    }
    assert!(image.layers().len() < 100, "{} layers", image.layers().len());
}

#[test]
fn an_edited_line_changes_the_last_layer_alone() {
    let context = shared();
    let project = context.example("flask");
    let before = pack(&context, &project, &[]);
    let script = project.join("app.py");
    let text = std::fs::read_to_string(&script).expect("the example");
    std::fs::write(&script, text.replace("world", "planet")).expect("our own copy");
    let after = pack(&context, &project, &[]);
    let digests = |image: &Image| -> Vec<String> {
        let layers = image.manifest["layers"].as_array().expect("layers").iter();
        layers.map(|layer| layer["digest"].to_string()).collect()
    };
    let (before, after) = (digests(&before), digests(&after));
    assert_eq!(before.len(), after.len());
    let last = before.len() - 1;
    assert_eq!(
        before[..last],
        after[..last],
        "only the app's own layer may change"
    );
    assert_ne!(before[last], after[last], "the edit is in the image");
}

#[test]
fn secrets_and_caches_stay_out() {
    let context = shared();
    let project = context.project(
        "secrets",
        &[
            ("main.py", "print('hello')\n"),
            ("data/table.csv", "a,b\n"),
            (".git/config", "[core]\n"),
            (".venv/bin/python", "-> /usr/bin/python3"),
            (".venv/pyvenv.cfg", "home = /usr/bin\n"),
            ("env/pyvenv.cfg", "home = /usr/bin\n"),
            ("__pycache__/main.cpython-311.pyc", "x"),
            (".pytest_cache/README.md", "x"),
            (".mypy_cache/x.json", "{}"),
            (".env", "PASSWORD=hunter2\n"),
            (".env.production", "PASSWORD=hunter2\n"),
            ("id_rsa", "-----BEGIN OPENSSH PRIVATE KEY-----\n"),
            ("tls/server.key", "-----BEGIN PRIVATE KEY-----\n"),
        ],
    );
    let image = pack(&context, &project, &[]);
    let files = image.files();
    let has = |ending: &str| files.keys().any(|path| path.ends_with(ending));
    assert!(
        has("/main.py") && has("/data/table.csv"),
        "the project itself is there"
    );
    for out in [
        ".git/config",
        ".venv/pyvenv.cfg",
        "env/pyvenv.cfg",
        "main.cpython-311.pyc",
        ".pytest_cache/README.md",
        ".mypy_cache/x.json",
        "/.env",
        "/.env.production",
        "id_rsa",
        "server.key",
    ] {
        let ours = files
            .keys()
            .filter(|path| !path.starts_with("opt/venv") && !path.starts_with("usr/"))
            .cloned();
        let found: Vec<_> = ours.filter(|path| path.ends_with(out)).collect();
        assert!(found.is_empty(), "{out} went into the image: {found:?}");
    }
}

#[test]
fn dockerignore_is_honoured() {
    let context = shared();
    let project = context.project(
        "ignoring",
        &[
            ("main.py", "print('hello')\n"),
            (".dockerignore", "# logs\n*.log\n!keep.log\n**/*.tmp\nscratch\n"),
            ("a.log", "x"),
            ("keep.log", "x"),
            ("deep/er/b.tmp", "x"),
            ("deep/er/c.txt", "x"),
            ("scratch/d.txt", "x"),
        ],
    );
    let files = pack(&context, &project, &[]).files();
    let has = |ending: &str| files.keys().any(|path| path.ends_with(ending));
    for (path, inside) in [
        ("/main.py", true),
        ("/keep.log", true),
        ("/deep/er/c.txt", true),
        ("/a.log", false),
        ("/deep/er/b.tmp", false),
        ("/scratch/d.txt", false),
    ] {
        assert_eq!(has(path), inside, "{path}");
    }
}

#[test]
fn links_are_kept_and_never_followed_outside() {
    let context = shared();
    let outside = context.path().join("outside.txt");
    std::fs::write(&outside, "not yours").expect("our own directory");
    let link = format!("-> {}", outside.display());
    let project = context.project(
        "links",
        &[
            ("main.py", "pass\n"),
            ("alias.py", "-> main.py"),
            ("out.txt", &link),
        ],
    );
    let files = pack(&context, &project, &["--command", "python main.py"]).files();
    let kind = |ending: &str| {
        files
            .iter()
            .find(|(path, _)| path.ends_with(ending))
            .map(|(_, entry)| entry.kind.clone())
    };
    assert_eq!(kind("/alias.py").as_deref(), Some("link → main.py"));
    let target = kind("/out.txt");
    assert!(
        target.is_none_or(|kind| kind.starts_with("link")),
        "a file from outside of the project went in"
    );
}

#[test]
fn flags_set_the_configuration() {
    let context = shared();
    let project = context.example("worker");
    let image = pack(
        &context,
        &project,
        &[
            "--env",
            "COLOUR=blue",
            "--label",
            "org.example.team=red",
            "--user",
            "4321",
            "--port",
            "9000",
            "--command",
            "python main.py",
        ],
    );
    let config = &image.config["config"];
    assert!(
        texts(&config["Env"]).contains(&"COLOUR=blue".to_owned()),
        "{config}"
    );
    assert_eq!(config["Labels"]["org.example.team"], "red");
    assert!(
        config["User"]
            .as_str()
            .is_some_and(|user| user.starts_with("4321")),
        "{config}"
    );
    assert!(config["ExposedPorts"].get("9000/tcp").is_some(), "{config}");
    assert!(config.to_string().contains("main.py"), "{config}");
}

#[test]
fn the_project_file_sets_the_same() {
    let context = shared();
    let project = context.project(
        "settings",
        &[
            ("pyproject.toml", concat!(
                "[project]\nname = \"settings\"\nversion = \"1\"\nrequires-python = \">=3.11\"\n\n",
                "[tool.coil]\ncommand = \"python start.py\"\nuser = \"4321\"\nport = 9000\n\n",
                "[tool.coil.env]\nCOLOUR = \"blue\"\n\n[tool.coil.labels]\n\"org.example.team\" = \"red\"\n",
            )),
            ("start.py", "print('started')\n"),
        ],
    );
    let config = &pack(&context, &project, &[]).config["config"];
    assert!(
        texts(&config["Env"]).contains(&"COLOUR=blue".to_owned()),
        "{config}"
    );
    assert_eq!(config["Labels"]["org.example.team"], "red");
    assert!(
        config["User"]
            .as_str()
            .is_some_and(|user| user.starts_with("4321")),
        "{config}"
    );
    assert!(config["ExposedPorts"].get("9000/tcp").is_some(), "{config}");
    assert!(config.to_string().contains("start.py"), "{config}");
}

#[test]
fn python_and_base_are_chosen() {
    let context = shared();
    let project = context.example("worker");
    let image = pack(&context, &project, &["--python", "3.13"]);
    let files = image.files();
    assert!(
        files.keys().any(|path| path.contains("python3.13")),
        "trixie's interpreter"
    );
    assert!(!files.keys().any(|path| path.starts_with("usr/bin/python3.11")));
    let image = pack(&context, &project, &["--base", "bookworm"]);
    assert!(
        image.files().keys().any(|path| path.contains("python3.11")),
        "bookworm's interpreter"
    );
}

#[test]
fn explain_shows_the_plan_and_makes_nothing() {
    let context = fresh();
    let project = context.example("fastapi");
    let explained = context
        .coil(["pack".as_ref(), project.as_os_str(), "--explain".as_ref()])
        .run()
        .success();
    for word in [
        "python", "base", "fastapi", "pydantic", "uvicorn", "command", "main:app", "uv.lock",
    ] {
        assert!(
            explained.stdout().to_lowercase().contains(word),
            "nothing about {word}\n{explained}"
        );
    }
    let arguments = [
        "pack".as_ref(),
        project.as_os_str(),
        "--explain".as_ref(),
        "--format".as_ref(),
        "json".as_ref(),
    ];
    let plan = context.coil(arguments).run().success().json();
    assert!(plan.to_string().contains("uvicorn"), "{plan}");
    let images = context.coil(["images", "--quiet"]).run().success();
    assert_eq!(images.word(), "", "an explanation makes no image");
}

#[test]
fn offline_works_from_the_cache_and_says_what_is_missing() {
    let context = shared();
    let project = context.example("flask");
    let online = pack(&context, &project, &[]);
    let offline = pack(&context, &project, &["--offline"]);
    assert_eq!(online.digest, offline.digest);
    let context = fresh().without_downloads();
    let project = context.example("flask");
    context
        .coil(["pack".as_ref(), project.as_os_str(), "--offline".as_ref()])
        .run()
        .refusal(&["offline"]);
}

#[test]
fn locked_needs_a_lock_that_fits() {
    let context = shared();
    let project = context.project(
        "locking",
        &[
            ("main.py", "import idna\nprint(idna.__version__)\n"),
            ("requirements.txt", "idna\n"),
        ],
    );
    let locked = || {
        context
            .coil(["pack".as_ref(), project.as_os_str(), "--locked".as_ref()])
            .run()
    };
    locked().refusal(&["coil.lock"]);
    let first = pack(&context, &project, &[]);
    let lock = std::fs::read_to_string(project.join("coil.lock")).expect("the first pack writes coil.lock");
    assert!(lock.contains("sha256"), "the lock pins by hash\n{lock}");
    assert!(lock.contains("idna"), "the lock pins what was resolved\n{lock}");
    locked().success();
    assert_eq!(first.digest, pack(&context, &project, &["--locked"]).digest);
    std::fs::write(project.join("requirements.txt"), "idna\nblinker\n").expect("our own project");
    locked().refusal(&["coil.lock"]);
    let kept = std::fs::read_to_string(project.join("coil.lock")).expect("it is still there");
    assert_eq!(kept, lock, "--locked writes no lock");
}

#[test]
fn json_tells_the_digest() {
    let context = shared();
    let project = context.example("worker");
    let image = pack(&context, &project, &[]);
    let arguments = [
        "pack".as_ref(),
        project.as_os_str(),
        "-t".as_ref(),
        "test/json".as_ref(),
    ];
    let report = context.coil(arguments).args(["--format", "json"]).run().success();
    assert!(
        report.json().to_string().contains(&image.digest),
        "the manifest is {}\n{report}",
        image.digest
    );
}

#[test]
fn an_unchanged_project_is_left_alone() {
    let context = shared();
    let project = context.example("flask");
    let first = pack(&context, &project, &[]);
    let before = tree::digest(&project);
    assert_eq!(first.digest, pack(&context, &project, &[]).digest);
    assert_eq!(
        before,
        tree::digest(&project),
        "a second pack changes nothing in the project"
    );
}

#[test]
fn two_packs_at_once_share_a_store() {
    let context = fresh();
    let projects = [context.example("worker"), context.example("flask")];
    let start = |number: usize, name: &str| {
        context
            .coil(["pack".as_ref(), projects[number].as_os_str()])
            .args(["-t", name])
            .start()
    };
    let packs = [start(0, "both:a"), start(1, "both:b"), start(1, "both:c")];
    for pack in packs {
        pack.wait().success();
    }
    let id = |name: &str| context.coil(["inspect", name]).run().success().json()[0]["Id"].to_string();
    assert_eq!(id("both:b"), id("both:c"));
    assert_ne!(id("both:a"), id("both:b"));
}
