//! `coil build`: images from Dockerfiles, what they are, what is found again, and what never gets into them.
//!
//! What needs a Python runs in the shared data root, on the stand-in that is made there once.

use std::fs;
use std::path::Path;
use std::process::Command;

use coil_testkit::Context;

use crate::{fresh, shared};

const PYTHON: &str = "python:3.11-slim";

/// The shared data root with a Python stand-in in it.
fn with_python() -> Context {
    let context = shared();
    context.coil(["base", PYTHON]).run().success();
    context
}

/// Builds a folder under a name; gives what the log says.
fn build(context: &Context, folder: &Path, name: &str, more: &[&str]) -> String {
    let mut words = vec!["build", "-t", name];
    words.extend(more);
    let built = context.coil(words).arg(folder).run().success();
    built.stderr().to_owned()
}

fn config(context: &Context, name: &str) -> serde_json::Value {
    let all = context.coil(["inspect", name]).run().success().json();
    all[0]["Config"].clone()
}

/// The files of an image, as `find` and `cat` tell of them.
fn files(context: &Context, name: &str, folder: &Path) -> std::path::PathBuf {
    let out = context.path().join(format!("files-{name}"));
    let dest = format!("type=local,dest={}", out.display());
    context
        .coil(["build", "-q", "-o", &dest])
        .arg(folder)
        .run()
        .success();
    out
}

#[test]
fn the_configuration_and_the_history_are_buildkits() {
    let context = fresh();
    let project = context.project(
        "all",
        &[
            ("a.txt", "hi\n"),
            (
                "Dockerfile",
                "ARG BASE=scratch
FROM $BASE AS x
MAINTAINER me <me@x>
LABEL a=b \"c d\"=\"e f\"
ARG P=1 Q
ENV FOO=x
ARG FOO=y
ENV BAR=$FOO Z=\"q w\"
COPY a.txt /app/
COPY --chown=1:2 --chmod=644 a.txt /app/b
COPY <<E /app/c
text $BAR
E
WORKDIR /app
WORKDIR sub
EXPOSE 8000 53/udp 9000-9001
VOLUME /data
USER 1000
STOPSIGNAL 9
SHELL [\"/bin/bash\", \"-c\"]
HEALTHCHECK --interval=5m --timeout=3s --retries=2 CMD curl -f http://x
ONBUILD RUN echo x
CMD echo $FOO
ENTRYPOINT [\"a\",\"b c\"]
",
            ),
        ],
    );
    build(&context, &project, "all", &[]);
    let config = config(&context, "all");
    let env = config["Env"].as_array().unwrap();
    assert_eq!(env[1..], ["FOO=x", "BAR=y", "Z=q w"]);
    assert_eq!(config["WorkingDir"], "/app/sub");
    assert_eq!(config["Cmd"], serde_json::json!(["/bin/bash", "-c", "echo $FOO"]));
    assert_eq!(config["Healthcheck"]["Interval"], 300_000_000_000_u64);
    assert_eq!(config["OnBuild"], serde_json::json!(["RUN echo x"]));
    let history = context.coil(["history", "--no-trunc", "all"]).run().success();
    for line in [
        "ENTRYPOINT [\"a\" \"b c\"]",
        "CMD [\"/bin/bash\" \"-c\" \"echo $FOO\"]",
        "HEALTHCHECK &{[\"CMD-SHELL\" \"curl -f http://x\"] \"5m0s\" \"3s\" \"0s\" \"0s\" '\\x02'}",
        "EXPOSE [53/udp 8000/tcp 9000/tcp 9001/tcp]",
        "VOLUME [/data]",
        "COPY --chown=1:2 --chmod=644 a.txt /app/b # buildkit",
        "COPY <<E /app/c # buildkit",
        "ENV BAR=y Z=q w",
        "ARG FOO=y",
        "ARG P=1 Q",
        "MAINTAINER me <me@x>",
    ] {
        assert!(history.stdout().contains(line), "{line}\n{}", history.stdout());
    }
    let files = files(&context, "all", &project);
    assert_eq!(fs::read_to_string(files.join("app/c")).unwrap(), "text y\n");
    assert!(files.join("app/sub").is_dir());
}

#[test]
fn unneeded_stages_never_run_and_stages_are_found_by_name_or_number() {
    let context = fresh();
    let project = context.project(
        "stages",
        &[
            ("a", "1"),
            (
                "Dockerfile",
                "FROM scratch AS one\nCOPY a /one\nFROM no.such.registry/image AS never\nRUN false\nFROM scratch AS Two\nCOPY --from=0 /one /two\nFROM two\nCOPY --from=one /one /three\n",
            ),
        ],
    );
    let log = build(&context, &project, "stages", &[]);
    assert!(!log.contains("never"), "{log}");
    let out = files(&context, "stages", &project);
    assert!(out.join("two").is_file() && out.join("three").is_file() && !out.join("one").exists());
    let target = context
        .coil(["build", "--target", "thw"])
        .arg(&project)
        .run()
        .expect_code(1);
    assert!(
        target
            .stderr()
            .contains("target stage \"thw\" could not be found"),
        "{}",
        target.stderr()
    );
}

#[test]
fn ignored_files_stay_out() {
    let context = fresh();
    let project = context.project(
        "ignored",
        &[
            (
                ".dockerignore",
                "# none\n*.log\n!keep.log\nnode_modules\n**/__pycache__\nsecret/**\n!secret/public\n",
            ),
            ("a.log", ""),
            ("keep.log", ""),
            ("node_modules/x/y", ""),
            ("src/__pycache__/m.pyc", ""),
            ("src/m.py", ""),
            ("secret/key", ""),
            ("secret/public", ""),
            ("Dockerfile", "FROM scratch\nCOPY . /all/\n"),
            ("Other", "FROM scratch\nCOPY . /\n"),
            ("Other.dockerignore", "*\n!a.log\n"),
        ],
    );
    let out = files(&context, "ignored", &project);
    for (path, there) in [
        ("a.log", false),
        ("keep.log", true),
        ("node_modules", false),
        ("src/__pycache__", false),
        ("src/m.py", true),
        ("secret/key", false),
        ("secret/public", true),
    ] {
        assert_eq!(out.join("all").join(path).exists(), there, "{path}");
    }
    let dest = context.path().join("other");
    context
        .coil(["build", "-q", "-f"])
        .arg(project.join("Other"))
        .args(["-o".as_ref(), dest.as_os_str()])
        .arg(&project)
        .run()
        .success();
    let names: Vec<_> = fs::read_dir(&dest)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["a.log"]);
}

#[test]
fn an_unchanged_copy_is_found_whatever_lies_below() {
    let context = fresh();
    let project = context.project(
        "cached",
        &[
            ("base", "1"),
            ("app.py", "x"),
            ("Dockerfile", "FROM scratch\nCOPY base /base\nCOPY app.py /app/\n"),
        ],
    );
    let first = build(&context, &project, "cached", &[]);
    assert!(!first.contains("CACHED"), "{first}");
    let id = |context: &Context| {
        context
            .coil(["inspect", "--format", "{{.Id}}", "cached"])
            .run()
            .success()
            .word()
            .to_owned()
    };
    let before = id(&context);
    let second = build(&context, &project, "cached", &[]);
    assert_eq!(second.matches("CACHED").count(), 2, "{second}");
    assert_eq!(id(&context), before, "the same image");
    // A new time is no change.
    let touched = Command::new("touch")
        .arg(project.join("app.py"))
        .status()
        .unwrap();
    assert!(touched.success());
    assert_eq!(
        build(&context, &project, "cached", &[]).matches("CACHED").count(),
        2
    );
    let layers = |context: &Context| {
        context.coil(["inspect", "cached"]).run().success().json()[0]["RootFS"]["Layers"].clone()
    };
    let app = layers(&context)[1].clone();
    fs::write(project.join("base"), "2").unwrap();
    build(&context, &project, "cached", &[]);
    assert_eq!(layers(&context)[1], app, "the copy's layer is the same one");
    let anew = build(&context, &project, "cached", &["--no-cache"]);
    assert!(!anew.contains("CACHED"), "{anew}");
}

#[test]
fn steps_run_with_mounts_and_nothing_of_the_host_is_kept() {
    let context = with_python();
    let project = context.project(
        "steps",
        &[
            ("tool.sh", "echo from the context > /out\n"),
            (".dockerignore", "hidden\n"),
            ("hidden", "hidden"),
            (
                "Dockerfile",
                &"FROM python:3.11-slim AS made
RUN echo made > /made
FROM python:3.11-slim
ARG WHO=world
RUN --mount=type=bind,target=/ctx --mount=type=bind,from=made,source=/made,target=/m \
    test ! -e /ctx/hidden && sh /ctx/tool.sh && cat /m >> /out && echo hello $WHO >> /out
RUN --mount=type=cache,id=NUMBER,target=/cache echo x >> /cache/count && wc -l < /cache/count >> /out
RUN --mount=type=tmpfs,target=/t echo gone > /t/x && touch /tmp/kept
RUN --network=none <<EOF
python3 - > /py <<PY
print('here')
PY
test -e /nothing || rm -rf /usr/share/doc
EOF
RUN <<EOF
#!/usr/bin/env python3
open('/shebang', 'w').write('ok')
EOF
CMD cat /out /py /shebang
"
                // The data root outlives a run, and with it what a cache holds.
                .replace("NUMBER", &format!("count-{}", std::process::id())),
            ),
        ],
    );
    build(&context, &project, "test/steps", &["--build-arg", "WHO=you"]);
    let printed = context.coil(["run", "--rm", "test/steps"]).run().success();
    assert_eq!(printed.stdout(), "from the context\nmade\nhello you\n1\nhere\nok");
    let left = context
        .coil(["run", "--rm", "test/steps", "sh", "-c"])
        .arg("ls -d /ctx /m /cache /t /usr/share/doc /dev/coil 2>/dev/null; ls /run; ls /tmp")
        .run();
    assert_eq!(left.stdout().lines().collect::<Vec<_>>(), ["lock", "kept"]);
    let tar = context.path().join("image.tar");
    let dest = format!("type=docker,dest={}", tar.display());
    build(
        &context,
        &project,
        "test/steps",
        &["--build-arg", "WHO=you", "-o", &dest],
    );
    assert!(tar.is_file());
}

#[test]
fn secrets_are_in_steps_alone() {
    let context = with_python();
    let project = context.project(
        "secrets",
        &[(
            "Dockerfile",
            "FROM python:3.11-slim
RUN --mount=type=secret,id=file,target=/run/my --mount=type=secret,id=word,env=WORD \
    wc -c < /run/my > /size && echo ${#WORD} >> /size && stat -c %a /run/my >> /size
RUN test ! -e /run/my && test -z \"$WORD\"
CMD cat /size
",
        )],
    );
    let hidden = ["c2VjcmV0LWluLWEtZmlsZQ", "d29yZC1pbi1hLXZhcmlhYmxl"];
    fs::write(context.path().join("key"), hidden[0]).unwrap();
    let key = format!("id=file,src={}", context.path().join("key").display());
    let built = context
        .coil(["build", "--no-cache", "-t", "test/secrets", "--secret", &key])
        .args(["--secret", "id=word,env=TOKEN"])
        .arg(&project)
        .env("TOKEN", hidden[1])
        .run()
        .success();
    let printed = context.coil(["run", "--rm", "test/secrets"]).run().success();
    assert_eq!(printed.stdout(), "22\n24\n400\n");
    for text in hidden {
        assert!(!built.stderr().contains(text) && !built.stdout().contains(text));
        let grep = Command::new("grep")
            .args(["-rqF", "--exclude-dir=snapshots-v1", "-e", text])
            .arg(context.root())
            .status()
            .unwrap();
        assert_ne!(grep.code(), Some(0), "{text} is in the data root");
    }
    let missing = context.project(
        "missing",
        &[(
            "Dockerfile",
            "FROM python:3.11-slim\nRUN --mount=type=secret,id=token,required=true true\n",
        )],
    );
    let failed = context.coil(["build"]).arg(&missing).run().expect_code(1);
    for part in ["secret token: not found", "--secret id=token,src=FILE"] {
        assert!(failed.stderr().contains(part), "{}", failed.stderr());
    }
}

#[test]
fn a_step_that_fails_is_told_with_its_lines_and_its_last_output() {
    let context = with_python();
    let project = context.project(
        "fails",
        &[(
            "Dockerfile",
            "FROM python:3.11-slim\nRUN echo before\nRUN echo out && \\\n    exit 3\n",
        )],
    );
    let failed = context.coil(["build"]).arg(&project).run().expect_code(1);
    for part in [
        "process \"/bin/sh -c echo out &&     exit 3\" did not complete successfully: exit code: 3",
        "Dockerfile:3",
        "3 > | RUN echo out && \\",
        "  | out",
    ] {
        assert!(failed.stderr().contains(part), "{part}\n{}", failed.stderr());
    }
    fs::write(
        project.join("Dockerfile"),
        "FROM python:3.11-slim\nRUN cat <(echo a)\n",
    )
    .unwrap();
    let failed = context.coil(["build"]).arg(&project).run().expect_code(1);
    assert!(
        failed.stderr().contains("help: `<(…)` is bash's"),
        "{}",
        failed.stderr()
    );
}
