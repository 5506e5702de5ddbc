//! Dockerfiles and contexts that are wrong, or mean harm: each is told with its line, and nothing leads out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use coil_testkit::Context;

use crate::fresh;

/// Builds a Dockerfile that must be refused; gives what was said.
fn refused(context: &Context, name: &str, dockerfile: &str) -> String {
    let files = [("a.txt", "hi"), ("hidden", "x"), (".dockerignore", "hidden\n")];
    let project = context.project(name, &files);
    fs::write(project.join("Dockerfile"), dockerfile).expect("a Dockerfile");
    let failed = context
        .coil(["build", "--offline"])
        .arg(&project)
        .run()
        .expect_code(1);
    failed.stderr().to_owned()
}

const MISTAKES: &[(&str, &[&str])] = &[
    (
        "COPYY a b",
        &[
            "unknown instruction: COPYY",
            "Dockerfile:2:1",
            "^^^^^",
            "did you mean COPY?",
        ],
    ),
    ("COPY.", &["write `COPY . .`"]),
    ("COPY requirements.txt.", &["write `COPY requirements.txt .`"]),
    (
        "COPY --chwon=1 a.txt /",
        &["unknown flag: --chwon", "did you mean --chown?"],
    ),
    ("COPY --chown a.txt /", &["missing a value on flag: --chown"]),
    ("COPY nope /x", &["\"/nope\": not found"]),
    ("COPY a.tx /x", &["did you mean a.txt?"]),
    ("COPY hidden /x", &[".dockerignore leaves it out by `hidden`"]),
    ("COPY ../../etc/passwd /x", &["\"/etc/passwd\": not found"]),
    ("COPY --from=0 a /", &["a stage cannot copy from itself"]),
    ("CMD [1]", &["arrays must be comprised of strings only"]),
    ("SHELL foo", &["SHELL requires the arguments to be in JSON form"]),
    ("ENV A", &["ENV must have two arguments"]),
    ("ENV A=${B:?needed}", &["B: needed"]),
    ("EXPOSE x", &["invalid containerPort: x"]),
    ("STOPSIGNAL foo", &["invalid signal: foo"]),
    ("RUN <<END", &["unterminated heredoc"]),
    (
        "RUN --mount=type=cach,target=/x true",
        &["unsupported mount type \"cach\""],
    ),
    (
        "RUN --mount=from=$STAGE,target=/x true",
        &[
            "'from' doesn't support variable expansion",
            "write FROM … AS NAME",
        ],
    ),
    (
        "RUN --device=a/b=c true",
        &["not allowed", "--allow device=a/b=c"],
    ),
    ("RUN --security=insecure true", &["is not allowed"]),
    ("COPY --chown=joe a.txt /x", &["there is no user `joe`"]),
    ("COPY --chmod=999 a.txt /x", &["invalid chmod parameter: '999'"]),
    (
        "ADD --checksum=sha256:00 a.txt /x",
        &["checksum requires HTTP(S) or Git sources"],
    ),
    (
        "HEALTHCHECK FOO",
        &["Unknown type \"FOO\" in HEALTHCHECK (try CMD)"],
    ),
    ("ONBUILD FROM x", &["FROM isn't allowed as an ONBUILD trigger"]),
];

#[test]
fn each_mistake_has_its_line_and_a_way_on() {
    let context = fresh();
    for (at, (line, parts)) in MISTAKES.iter().enumerate() {
        let said = refused(
            &context,
            &format!("mistake-{at}"),
            &format!("FROM scratch\n{line}\n"),
        );
        for part in *parts {
            assert!(said.contains(part), "{line}: `{part}` is missing in\n{said}");
        }
    }
    for (name, text, parts) in [
        (
            "later",
            "FROM scratch\nCOPY --from=later a /\nFROM scratch AS later\n",
            &["cannot copy from stage \"later\""][..],
        ),
        (
            "front-end",
            "# syntax=evil/front-end:1\nFROM scratch\nCOPY a.txt /\n",
            &["the front end evil/front-end:1 cannot be used"],
        ),
        (
            "blank",
            "ARG TAG=1\nFROM ${TGA}\n",
            &["should not be blank", "did you mean TAG?"],
        ),
        (
            "base",
            "FROM python:3.11-slim\n",
            &["`coil base python:3.11-slim`"],
        ),
        ("nothing", "# only a comment\n", &["file with no instructions"]),
    ] {
        let text = match name {
            "later" => format!("{text}FROM scratch AS last\nCOPY --from=0 /a /\n"),
            _ => text.to_owned(),
        };
        let said = refused(&context, name, &text);
        for part in parts {
            assert!(said.contains(part), "{name}: `{part}` is missing in\n{said}");
        }
    }
}

#[test]
fn links_lead_nowhere_outside() {
    let context = fresh();
    let project = context.project("links", &[("folder/a", "inside")]);
    symlink("/etc/passwd", project.join("file")).unwrap();
    symlink("/etc", project.join("etc")).unwrap();
    symlink("../../../../../../etc", project.join("up")).unwrap();
    for source in ["file", "etc/passwd", "up/passwd"] {
        fs::write(
            project.join("Dockerfile"),
            format!("FROM scratch\nCOPY {source} /x\n"),
        )
        .unwrap();
        let failed = context.coil(["build"]).arg(&project).run().expect_code(1);
        assert!(
            failed.stderr().contains("not found"),
            "{source}: {}",
            failed.stderr()
        );
    }
    fs::remove_file(project.join("Dockerfile")).unwrap();
    fs::write(context.path().join("Outside"), "FROM scratch\nCOPY folder /\n").unwrap();
    symlink(context.path().join("Outside"), project.join("Dockerfile")).unwrap();
    let failed = context.coil(["build"]).arg(&project).run().expect_code(1);
    assert!(
        failed.stderr().contains("leads out of the context"),
        "{}",
        failed.stderr()
    );
}

const ARCHIVES: &str = "import io, tarfile
def entry(tar, name, data=b'', **more):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))
with tarfile.open('out.tar', 'w') as tar:
    entry(tar, '../../../../tmp/coil-escaped', b'x')
with tarfile.open('link.tar', 'w') as tar:
    entry(tar, 'l', type=tarfile.SYMTYPE, linkname='/tmp')
    entry(tar, 'l/coil-escaped', b'x')
with tarfile.open('good.tar.gz', 'w:gz') as tar:
    entry(tar, 'folder/file', b'good', mode=0o600, uid=7, gid=8)
";

#[test]
fn archives_and_destinations_stay_inside() {
    let context = fresh();
    let project = context.project("archives", &[("evil/x", "1")]);
    let made = Command::new("python3")
        .args(["-c", ARCHIVES])
        .current_dir(&project)
        .status()
        .unwrap();
    assert!(made.success());
    let dockerfile = |text: &str| fs::write(project.join("Dockerfile"), text).unwrap();
    dockerfile("FROM scratch\nADD out.tar /\n");
    let failed = context.coil(["build"]).arg(&project).run().expect_code(1);
    assert!(failed.stderr().contains("leads out"), "{}", failed.stderr());
    dockerfile("FROM scratch\nADD good.tar.gz /\nADD --unpack=false good.tar.gz /kept\n");
    let dest = context.path().join("dest");
    context
        .coil([
            "build".as_ref(),
            "-o".as_ref(),
            dest.as_os_str(),
            project.as_os_str(),
        ])
        .run()
        .success();
    assert_eq!(fs::read_to_string(dest.join("folder/file")).unwrap(), "good");
    assert!(dest.join("kept").is_file());
    // A link of the base where files are copied to is one of the image.
    dockerfile("FROM scratch AS one\nADD link.tar /\nFROM one\nCOPY evil/x /l/coil-copied\n");
    context.coil(["build", "-q"]).arg(&project).run().success();
    for name in ["/tmp/coil-escaped", "/tmp/coil-copied"] {
        assert!(!Path::new(name).exists(), "{name}");
    }
}

#[test]
fn contexts_of_other_kinds() {
    let context = fresh();
    let project = context.project("plain", &[("a", "1"), ("Dockerfile", "FROM scratch\nCOPY a /\n")]);
    let by_input = context
        .coil(["build", "-q", "-"])
        .input("FROM scratch\nCOPY <<A /b\nx\nA\n")
        .run()
        .success();
    assert!(by_input.word().starts_with("sha256:"));
    let tar = Command::new("tar")
        .args(["-cz", "-C"])
        .arg(&project)
        .arg(".")
        .output()
        .unwrap();
    context
        .coil(["build", "-q", "-"])
        .input(tar.stdout)
        .run()
        .success();
    let from_input = context
        .coil(["build", "-q", "-f", "-"])
        .arg(&project)
        .input("FROM scratch\nCOPY a /z\n")
        .run()
        .success();
    assert!(from_input.word().starts_with("sha256:"));
    let failed = context.coil(["build", "nowhere"]).run().expect_code(1);
    assert!(failed.stderr().contains("path \"nowhere\" not found"));
    let failed = context
        .coil(["build", "-f", "nope"])
        .arg(&project)
        .run()
        .expect_code(1);
    assert!(
        failed
            .stderr()
            .contains("failed to read dockerfile: open nope: no such file or directory")
    );
    let files = [("id", "--iidfile"), ("meta", "--metadata-file")]
        .map(|(name, flag)| (context.path().join(name), flag));
    let mut build = context.coil(["build", "-q", "-t", "named"]).arg(&project);
    for (path, flag) in &files {
        build = build.arg(flag).arg(path);
    }
    let id = build.run().success().word().to_owned();
    assert_eq!(fs::read_to_string(&files[0].0).unwrap(), id);
    let meta = fs::read_to_string(&files[1].0).unwrap();
    assert!(meta.contains("\"image.name\": \"docker.io/library/named:latest\""));
}
