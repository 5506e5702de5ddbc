//! Bases from elsewhere: images of the store and of a registry, whose Python is found in their files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use coil_oci::Digest;
use coil_testkit::Context;
use coil_testkit::image::Layout;
use coil_testkit::registry::Registry;
use serde_json::{Value, json};

use crate::{fresh, shared, user};

const SHOW: &str = "import fastapi, json, os, sys; print(sys.base_prefix, sys.prefix, os.getuid(), \
    os.path.exists(fastapi.__cached__), os.path.exists(json.__cached__), os.environ['TEAM'], os.environ['PATH'])";

/// A folder tree that a test makes an image of.
struct Root(PathBuf);

impl Root {
    /// The files of coil's own base for bookworm, unpacked.
    fn of_bookworm(context: &Context) -> Root {
        let project = context.project("bare", &[("main.py", "print('bare')\n")]);
        let layout = context.path().join("bookworm");
        context
            .coil(["pack", "--base", "bookworm", "--output"])
            .arg(format!("oci:{}", layout.display()))
            .arg(&project)
            .run()
            .success();
        let root = Root(context.path().join("base-root"));
        fs::create_dir(&root.0).expect("a folder of ours");
        let layer = Layout::open(&layout).image().layers()[0].clone();
        sh(&format!(
            "tar -xf '{}' -C '{}'",
            layer.display(),
            root.0.display()
        ));
        root
    }

    fn sh(&self, script: &str) {
        sh(&format!("cd '{}' && {script}", self.0.display()));
    }

    /// Moves Python to where the official images have it, without bytecode.
    fn as_official(&self) {
        self.sh(
            "mkdir -p usr/local/bin usr/local/lib/python3.11 && cp -a usr/lib/python3.11/. usr/local/lib/python3.11/ && \
             mv usr/bin/python3.11 usr/local/bin/ && rm -rf usr/lib/python3.11 usr/bin/python* && \
             ln -s python3.11 usr/local/bin/python3 && ln -s python3 usr/local/bin/python",
        );
    }

    /// Takes Python away, from the list of packages too.
    fn without_python(&self) {
        self.sh("rm -rf usr/bin/python* usr/lib/python3.11 usr/local/bin/python* usr/local/lib/python3.11");
        let status = self.0.join("var/lib/dpkg/status");
        let text = fs::read_to_string(&status).expect("dpkg's list");
        let others = text
            .split("\n\n")
            .filter(|package| !package.contains("python3") && !package.starts_with("Package: media-types"));
        fs::write(&status, others.collect::<Vec<_>>().join("\n\n")).expect("our own tree");
    }

    /// Puts an image of the tree into a registry; gives its reference.
    fn push(&self, registry: &Registry, name: &str, config: &Value) -> String {
        let tar = self.0.with_extension("tar");
        sh(&format!(
            "tar -c --sort=name --mtime=@0 --numeric-owner --owner=0 --group=0 -f '{}' -C '{}' .",
            tar.display(),
            self.0.display()
        ));
        push(registry, name, &fs::read(&tar).expect("a tar"), config)
    }
}

fn push(registry: &Registry, name: &str, layer: &[u8], config: &Value) -> String {
    let diff_id = Digest::of(layer);
    let config = json!({
        "created": "2024-01-01T00:00:00Z", "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [
            { "created": "2024-01-01T00:00:00Z", "created_by": "ADD rootfs.tar /" },
            { "created": "2024-01-01T00:00:00Z", "created_by": "CMD [\"python3\"]", "empty_layer": true },
        ],
    });
    let config = serde_json::to_vec(&config).expect("JSON");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": Digest::of(&config), "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar", "digest": diff_id, "size": layer.len(),
        }],
    });
    let (repository, tag) = name.rsplit_once(':').expect("a tag");
    registry.put_blob(repository, layer);
    registry.put_blob(repository, &config);
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    registry.put_manifest(
        repository,
        tag,
        media_type,
        &serde_json::to_vec(&manifest).expect("JSON"),
    );
    format!("{}/{name}", registry.address())
}

fn sh(script: &str) {
    let done = Command::new("sh")
        .args(["-ec", script])
        .status()
        .expect("a shell");
    assert!(done.success(), "{script}");
}

fn registry() -> Registry {
    Registry::start().expect("Debian's package docker-registry is installed")
}

fn pack(context: &Context, project: &Path, base: &str, flags: &[&str]) -> coil_testkit::process::Finished {
    context
        .coil(["pack", "--base", base])
        .args(flags)
        .arg(project)
        .run()
}

#[test]
fn an_image_of_a_registry_is_the_base() {
    let (registry, context) = (registry(), fresh());
    let root = Root::of_bookworm(&context);
    root.as_official();
    let config = json!({
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "TEAM=blue", "PYTHONHOME=/nowhere", "PYTHON_VERSION=9"],
        "Entrypoint": ["never"], "Cmd": ["python3"], "WorkingDir": "/srv", "StopSignal": "SIGINT",
        "Labels": { "team": "blue", "org.opencontainers.image.title": "python" },
    });
    let base = root.push(&registry, "python:3.11-slim", &config);
    let project = context.example("fastapi");
    let id = pack(&context, &project, &base, &["-q", "-t", "me/app"])
        .success()
        .word()
        .to_owned();
    let shown = context
        .coil(["run", "--rm", "me/app", "python", "-c", SHOW])
        .run()
        .success();
    assert_eq!(
        shown.word(),
        "/usr/local /opt/venv 1000 True True blue /opt/venv/bin:/usr/local/bin:/usr/bin:/bin"
    );
    let image = &context.coil(["inspect", "me/app"]).run().success().json()[0];
    let config = &image["Config"];
    assert_eq!(config["StopSignal"], "SIGINT");
    assert_eq!(
        config["Labels"],
        json!({ "team": "blue" }),
        "not the labels that say which image it is"
    );
    assert_eq!(config["WorkingDir"], "/app");
    assert!(config["Entrypoint"].as_array().is_none_or(Vec::is_empty));
    let env = config["Env"].to_string();
    assert!(
        env.contains("PYTHON_VERSION=3.11.2") && !env.contains("PYTHONHOME"),
        "{env}"
    );
    context
        .coil(["history", "me/app"])
        .run()
        .success()
        .prints("ADD rootfs.tar /");
    context.coil(["images"]).run().success().prints("python");

    // It is pinned: the tag may move on.
    let lock = fs::read_to_string(project.join("coil.lock")).expect("a lock");
    assert!(lock.contains(&format!("reference = \"{base}\"")), "{lock}");
    push(&registry, "python:3.11-slim", b"another", &json!({}));
    let again = pack(&context, &project, &base, &["-q", "--locked"]).success();
    assert_eq!(again.word(), id, "what is pinned stays");
    let unlocked = context.project(
        "unlocked",
        &[("main.py", "print('x')\n"), ("coil.lock", "version = 1\n")],
    );
    pack(&context, &unlocked, &base, &["--locked"]).refusal(&["--locked", "no digest of the base"]);

    // An ordinary user makes the same image.
    let user = user();
    let mine = user.example("fastapi");
    fs::copy(project.join("coil.lock"), mine.join("coil.lock")).expect("a copy of the lock");
    let theirs = pack(&user, &mine, &base, &["-q"]).success();
    assert_eq!(theirs.word(), id, "whoever packs it, in another data root");
}

#[test]
fn debians_python_is_put_on_a_debian_without_one() {
    let (registry, context) = (registry(), fresh());
    let root = Root::of_bookworm(&context);
    root.without_python();
    let base = root.push(
        &registry,
        "plain:1",
        &json!({ "User": "www-data", "Env": ["TEAM=red"] }),
    );
    let project = context.project("app", &[("main.py", "print('hello')\n")]);
    pack(&context, &project, &base, &["-t", "me/plain"]).success();
    let script = "import os, sqlite3, ssl, sys; print(sys.version_info[:2], os.getuid(), os.environ['TEAM'])";
    let shown = context
        .coil(["run", "--rm", "me/plain", "python", "-c", script])
        .run()
        .success();
    assert_eq!(shown.word(), "(3, 11) 33 red", "the base's own user stays");
    let history = context.coil(["history", "me/plain"]).run().success();
    assert!(
        history.stdout().contains("debian bookworm Python 3.11") && history.stdout().contains("ADD rootfs")
    );
    let id = pack(&context, &project, &base, &["-q"])
        .success()
        .word()
        .to_owned();
    let locked = pack(&context, &project, &base, &["-q", "--locked"]).success();
    assert_eq!(locked.word(), id, "its packages are pinned");

    root.sh(
        "rm -f etc/os-release && printf 'ID=ubuntu\\nPRETTY_NAME=\"Ubuntu 24.04\"\\n' > usr/lib/os-release",
    );
    let ubuntu = root.push(&registry, "ubuntu:1", &json!({}));
    let bare = context.project("bare2", &[("main.py", "print('x')\n")]);
    pack(&context, &bare, &ubuntu, &[]).refusal(&[
        "has no Python, and it is Ubuntu 24.04 with glibc 2.36",
        "take a variant",
    ]);
}

#[test]
fn an_image_of_the_store_is_the_base_and_its_environment_is_hidden() {
    let context = shared();
    let flask = context.example("flask");
    context
        .coil(["pack", "-t", "test/below:1"])
        .arg(&flask)
        .run()
        .success();
    let project = context.project("above", &[("above.py", "print('above')\n")]);
    pack(&context, &project, "test/below:1", &["-t", "test/above"]).success();
    let script = "import importlib.util, json, os; print(importlib.util.find_spec('flask'), os.path.exists(json.__cached__))";
    let shown = context
        .coil(["run", "--rm", "test/above", "python", "-c", script])
        .run()
        .success();
    assert_eq!(shown.word(), "None True");
    let explained = pack(&context, &project, "test/below:1", &["--explain"]).success();
    assert!(
        explained.stdout().contains("what test/below:1 has") && explained.stdout().contains("the base's own"),
        "{}",
        explained.stdout()
    );
}

#[test]
fn a_stand_in_is_a_base_until_its_image_is_here() {
    let (context, name) = (shared(), "python:3.11-slim-bookworm");
    context.coil(["base", name]).run().success();
    let project = context.project(
        "standing",
        &[("standing.py", "import sys; print(sys.base_prefix)\n")],
    );
    let flags = ["-t", "test/standing", "--offline"];
    for _ in 0..2 {
        let said = pack(&context, &project, name, &flags).success();
        let note = format!("note: {name} is a stand-in made by `coil base` from Debian bookworm");
        assert!(said.stderr().contains(&note), "each pack says so: {said}");
    }
    let lock = || fs::read_to_string(project.join("coil.lock")).expect("the base is pinned");
    assert!(lock().contains("stand-in = true"), "{}", lock());
    context
        .coil(["run", "--rm", "test/standing", "python", "standing.py"])
        .run()
        .success()
        .prints("/usr/local");

    context
        .coil(["tag", context.python_image(), name])
        .run()
        .success();
    pack(&context, &project, name, &["--offline", "--locked"]).refusal(&["coil.lock", "pins another image"]);
    let said = pack(&context, &project, name, &flags).success();
    assert!(!said.stderr().contains("stand-in"), "{said}");
    assert!(!lock().contains("stand-in"), "{}", lock());
    context.coil(["rmi", name]).run().success();
}

#[test]
fn what_can_be_no_base_says_why() {
    let (registry, context) = (registry(), fresh());
    let project = context.project("app", &[("main.py", "print('x')\n")]);
    let empty = Root(context.path().join("empty"));
    fs::create_dir_all(empty.0.join("bin")).expect("a folder");
    let scratch = empty.push(&registry, "scratch:1", &json!({}));
    let musl = Root(context.path().join("musl"));
    fs::create_dir_all(musl.0.join("lib")).expect("a folder");
    fs::create_dir_all(musl.0.join("etc")).expect("a folder");
    fs::write(musl.0.join("lib/ld-musl-x86_64.so.1"), b"\x7fELF\x001.2.4\0").expect("a file");
    fs::write(
        musl.0.join("etc/os-release"),
        "ID=alpine\nPRETTY_NAME='Alpine Linux v3.19'\n",
    )
    .expect("a file");
    let alpine = musl.push(&registry, "alpine:3.19", &json!({}));
    let nothing = format!("{}/nothing:1", registry.address());
    for (base, parts) in [
        (
            scratch.as_str(),
            &["neither a Python nor a C library", "take a base with Python"][..],
        ),
        (
            &alpine,
            &[
                "it is Alpine Linux v3.19 with musl 1.2",
                "take a variant of it that has Python",
            ],
        ),
        (
            &nothing,
            &["cannot be had: the store does not have it", "manifest unknown"],
        ),
        ("alpine", &["there is no base `alpine`", "alpine:latest"]),
        ("Wrong:1", &["`Wrong:1` is no base", "lowercase"]),
    ] {
        pack(&context, &project, base, &[]).refusal(parts);
    }
    pack(&context, &project, &alpine, &["--platform", "linux/arm64"])
        .refusal(&["linux/arm64", "linux/amd64"]);
    pack(&context, &project, "registry.invalid/x:1", &["--offline"])
        .refusal(&["the network is switched off", "coil pull registry.invalid/x:1"]);
}

#[test]
fn pull_speaks_as_docker_does() {
    let (registry, context) = (registry(), fresh());
    let base = push(&registry, "team/app:1", b"no tar, and never unpacked", &json!({}));
    let digest = |text: &str| {
        text.lines()
            .find(|line| line.starts_with("Digest: sha256:"))
            .map(str::to_owned)
    };
    let first = context.coil(["pull", &base]).run().success();
    let lines: Vec<&str> = first.stdout().lines().collect();
    assert_eq!(lines[0], "1: Pulling from team/app");
    assert!(lines[1].ends_with(": Pull complete"), "{lines:?}");
    assert_eq!(lines[3], format!("Status: Downloaded newer image for {base}"));
    assert_eq!(lines[4], base);
    let again = context.coil(["pull", &base]).run().success();
    assert!(
        again
            .stdout()
            .contains(&format!("Status: Image is up to date for {base}"))
    );
    assert_eq!(digest(again.stdout()), digest(first.stdout()));
    assert_eq!(context.coil(["pull", "-q", &base]).run().success().word(), base);
    context.coil(["images"]).run().success().prints("team/app");
    let missing = format!("{}/team/app:2", registry.address());
    context
        .coil(["pull", &missing])
        .run()
        .refusal(&["manifest for", "not found: manifest unknown"]);
    let private = Registry::start_protected().expect("Debian's package docker-registry is installed");
    let image = push(&private, "team/secret:1", b"hidden", &json!({}));
    context
        .coil(["pull", &image])
        .run()
        .refusal(&["pull access denied for", "docker login"]);
    let logins = json!({ "auths": { private.address(): { "auth": "bWU6czNjcmV0" } } });
    fs::create_dir_all(context.path().join("home/.docker")).expect("a folder");
    fs::write(
        context.path().join("home/.docker/config.json"),
        logins.to_string(),
    )
    .expect("a file");
    context.coil(["pull", &image]).run().success();
}
