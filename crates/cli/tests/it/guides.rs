//! The Dockerfiles of guides (tests/guides/README.md) build as they stand, and what comes of them runs.
//!
//! Each test takes two guides at a time: they wait for an index, a mirror and the disk more than for each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use coil_testkit::Context;

use crate::shared;

/// On the Python that most tests use.
const PLAIN: &[&str] = &[
    "bash-and-cleanup",
    "env-and-arg",
    "find-in-site-packages",
    "flask-requirements",
    "non-root-app",
    "numpy-script",
    "secret-mount",
    "useradd",
    "wait-for",
];
/// Several stages, or other tools than pip.
const STAGES: &[&str] = &[
    "hatch",
    "pip-tools",
    "pip-user-between-stages",
    "pipenv",
    "poetry",
    "site-packages-between-stages",
    "test-stage",
    "uv-copied-from-its-image",
    "uv-pip-system",
    "venv-between-stages",
    "wheels-between-stages",
    "wheels-no-index",
];
/// With packages of Debian's, or servers.
const SYSTEM: &[&str] = &[
    "apt-packages",
    "compiler-removed-again",
    "django-collectstatic",
    "entrypoint-script",
    "healthcheck",
    "heredoc",
    "locales",
    "tini",
];
/// On other bases.
const OTHER_BASES: &[&str] = &[
    "full-image-builder",
    "postgres-with-schema",
    "debian-python",
    "nginx-static",
    "pip-target",
    "adduser",
    "constraints",
    "fastapi-cache-mount",
    "pip-install-project",
    "procfile",
    "uv-sync",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guides")
}

/// Does the work for each, two at a time, in their order.
fn two_at_a_time(names: &[&str], work: impl Fn(&str) + Sync) {
    let queue = Mutex::new(names.iter());
    let next = || queue.lock().expect("no work panics while it chooses").next();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(name) = next() {
                    work(name);
                }
            });
        }
    });
}

/// The images that guides begin with or copy from.
fn bases(guides: &[&str]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for guide in guides {
        let text = fs::read_to_string(folder().join(guide).join("Dockerfile")).expect("a guide's Dockerfile");
        let (mut stages, mut version) = (BTreeSet::new(), "");
        for line in text.lines() {
            if let Some(given) = line
                .strip_prefix("ARG PYTHON_VERSION=")
                .or(line.strip_prefix("ARG PYTHON="))
            {
                version = given;
            }
            let mut words = line.split_whitespace();
            if words.next() == Some("FROM") {
                let base = words.next().unwrap_or_default();
                stages.extend(words.nth(1).map(str::to_owned));
                if !stages.contains(base) {
                    found.insert(
                        base.replace("${PYTHON_VERSION}", version)
                            .replace("${PYTHON}", version),
                    );
                }
            }
        }
        found.extend(
            text.contains("--from=ghcr.io/astral-sh/uv")
                .then(|| "ghcr.io/astral-sh/uv".to_owned()),
        );
    }
    found.into_iter().collect()
}

/// Builds a guide and runs it: it prints what it should, or answers its check.
fn build_and_run(context: &Context, guide: &str) {
    let folder = folder().join(guide);
    let name = format!("guide/{guide}");
    context.coil(["build", "-t", &name]).arg(&folder).run().success();
    let expected = fs::read_to_string(folder.join("expected.txt")).expect("what it prints");
    let check = folder.join("check.sh");
    if !check.exists() {
        let printed = context.coil(["run", "--rm", &name]).run().success();
        assert_eq!(printed.stdout().trim(), expected.trim(), "{guide}");
        return;
    }
    let id = context
        .coil(["run", "-d", &name])
        .run()
        .success()
        .word()
        .to_owned();
    let printed = context
        .coil(["exec", "-i", &id, "sh", "-es"])
        .input(fs::read(check).expect("a check"))
        .run();
    if printed.code() != 0 {
        let logs = context.coil(["logs", &id]).run();
        panic!(
            "{guide}: {}\n{}{}",
            printed.stderr(),
            logs.stdout(),
            logs.stderr()
        );
    }
    assert_eq!(printed.stdout().trim(), expected.trim(), "{guide}");
    context.coil(["rm", "-f", &id]).run().success();
}

fn all_work(guides: &[&str]) {
    let context = shared();
    let bases = bases(guides);
    let bases: Vec<&str> = bases.iter().map(String::as_str).collect();
    two_at_a_time(&bases, |base| {
        context.coil(["base", "-q", base]).run().success();
    });
    two_at_a_time(guides, |guide| build_and_run(&context, guide));
}

#[test]
fn plain_ones_work() {
    all_work(PLAIN);
}

#[test]
fn those_with_stages_and_tools_work() {
    all_work(STAGES);
}

#[test]
fn those_with_packages_of_the_system_work() {
    all_work(SYSTEM);
}

#[test]
fn those_on_other_bases_work() {
    all_work(OTHER_BASES);
}

#[test]
fn none_is_left_out() {
    let there: BTreeSet<String> = fs::read_dir(folder())
        .expect("the guides")
        .map(|entry| entry.expect("a guide").path())
        .filter(|path| path.is_dir())
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    let groups = [PLAIN, STAGES, SYSTEM, OTHER_BASES];
    let tried: BTreeSet<String> = groups
        .iter()
        .flat_map(|group| group.iter())
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(there, tried);
}

/// What Debian hasn't is named, with what there is.
#[test]
fn a_base_that_cannot_be_made_is_told_with_those_that_can() {
    let context = shared();
    for (base, parts) in [
        (
            "python:3.12-slim",
            &[
                "no suite of Debian has Python 3.12",
                "3.11 (bookworm), 3.13 (trixie)",
                "--nearest",
            ][..],
        ),
        (
            "continuumio/miniconda3",
            &["the image continuumio/miniconda3 cannot be had"],
        ),
    ] {
        let project = context.project("no-base", &[("Dockerfile", &format!("FROM {base}\nRUN true\n"))]);
        let failed = context.coil(["build"]).arg(&project).run().expect_code(1);
        for part in parts.iter().chain(&["Dockerfile:1", "FROM"]) {
            assert!(failed.stderr().contains(part), "{part}\n{}", failed.stderr());
        }
    }
}
