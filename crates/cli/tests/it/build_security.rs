//! Attacks on a build from its Dockerfile, its context and its steps: each is played, and comes to nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use coil_testkit::Context;

use crate::shared;

const PYTHON: &str = "python:3.11-slim";
/// What no build may ever see or remove.
const TREASURE: &str = "dHJlYXN1cmUgb2YgdGhlIGhvc3Q";

/// The shared data root with a Python stand-in in it.
fn with_python() -> Context {
    let context = shared();
    context.coil(["base", PYTHON]).run().success();
    context
}

/// A folder of the host that a build has no right to: a file, an empty file and an empty folder.
fn treasury(context: &Context, name: &str) -> PathBuf {
    let folder = context.path().join(format!("host-{name}"));
    fs::create_dir_all(folder.join("stub-folder")).expect("a folder");
    fs::write(folder.join("treasure"), TREASURE).expect("a file");
    fs::write(folder.join("stub"), "").expect("a file");
    folder
}

fn is_whole(treasury: &Path) {
    assert_eq!(
        fs::read_to_string(treasury.join("treasure")).expect("it is there"),
        TREASURE
    );
    assert_eq!(fs::metadata(treasury.join("stub")).expect("it is there").len(), 0);
    assert!(treasury.join("stub-folder").is_dir());
    assert_eq!(fs::read_dir(treasury).expect("it is there").count(), 3);
}

fn build(context: &Context, project: &Path, more: &[&str]) -> String {
    let built = context
        .coil(["build", "--progress", "plain"])
        .args(more)
        .arg(project)
        .run();
    built.success().stderr().to_owned()
}

#[test]
fn what_a_step_leaves_at_mount_points_is_cleared_inside_alone() {
    let context = with_python();
    let host = treasury(&context, "stubs");
    let place = host.display();
    let project = context.project(
        "stubs",
        &[(
            "Dockerfile",
            &format!(
                "FROM {PYTHON}
RUN --mount=type=tmpfs,target=/a/b/stub-folder mv /a /gone && mkdir /a && ln -s {place} /a/b
RUN --mount=type=secret,id=s,target=/c/d/stub mv /c /gone-too && mkdir /c && ln -s {place} /c/d
RUN --mount=type=cache,target=/e/stub-folder mv /e /gone-as-well && ln -s {place} /e
"
            ),
        )],
    );
    fs::write(context.path().join("s"), "hush").unwrap();
    let secret = format!("id=s,src={}", context.path().join("s").display());
    build(&context, &project, &["--no-cache", "-q", "--secret", &secret]);
    is_whole(&host);
}

#[test]
fn sources_of_mounts_lead_nowhere_outside() {
    let context = with_python();
    let host = treasury(&context, "sources");
    let place = host.display().to_string();
    let project = context.project(
        "sources",
        &[
            ("a", "1"),
            (
                "Dockerfile",
                &format!(
                    "FROM {PYTHON} AS one
RUN ln -s / /evil && ln -s ../../../../../../../../.. /up && ln -s {place} /straight
FROM {PYTHON}
RUN --mount=type=bind,from=one,source=/evil,target=/m,rw test ! -e /m{place}/treasure && touch /m/written
RUN --mount=type=bind,from=one,source=/up,target=/m,rw test ! -e /m{place}/treasure && test ! -e /m/written
RUN --mount=type=cache,id=sub-PID,target=/c ln -s {place} /c/sub
RUN --mount=type=cache,id=../../../../../../../../../../..{place},target=/c test ! -e /c/treasure && touch /c/written
"
                )
                .replace("PID", &std::process::id().to_string()),
            ),
        ],
    );
    build(&context, &project, &["--no-cache", "-q"]);
    is_whole(&host);
    for name in ["evil", "straight"] {
        let target = if name == "evil" { "/" } else { &place };
        symlink(target, project.join(name)).unwrap();
    }
    for (line, said) in [
        (
            "RUN --mount=type=bind,from=one,source=/straight,target=/m ls /m",
            "not found",
        ),
        (
            "RUN --mount=type=bind,source=straight,target=/m ls /m",
            "not found",
        ),
        // A part of a cache would be what an earlier step made of it.
        (
            &format!(
                "RUN --mount=type=cache,id=sub-{},source=sub,target=/d ls /d",
                std::process::id()
            ),
            "no such file or directory",
        ),
        (
            &format!(
                "RUN --mount=type=cache,id=new-{},from=one,source=/straight,target=/d ls /d",
                std::process::id()
            ),
            "not found",
        ),
        (
            &format!("RUN --mount=type=bind,source=evil{place}/treasure,target=/m cat /m"),
            "not found",
        ),
        (
            "RUN --mount=type=bind,target=/m,bind-propagation=rshared ls",
            "unexpected key",
        ),
        ("RUN --security=insecure ls", "not allowed"),
    ] {
        let text = format!("FROM {PYTHON} AS one\nRUN ln -s {place} /straight\nFROM {PYTHON}\n{line}\n");
        fs::write(project.join("Dockerfile"), text).unwrap();
        let failed = context.coil(["build"]).arg(&project).run().expect_code(1);
        assert!(failed.stderr().contains(said), "{line}: {}", failed.stderr());
        assert!(!failed.stderr().contains(TREASURE), "{line}");
    }
    is_whole(&host);
}

const ARCHIVES: &str = "import io, sys, tarfile
host = sys.argv[1]
def entry(tar, name, data=b'', **more):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))
with tarfile.open('hard.tar', 'w') as tar:
    entry(tar, 'l', type=tarfile.SYMTYPE, linkname=host)
    entry(tar, 'h', type=tarfile.LNKTYPE, linkname='l/treasure')
with tarfile.open('straight.tar', 'w') as tar:
    entry(tar, 'h', type=tarfile.LNKTYPE, linkname=host + '/treasure')
with tarfile.open('up.tar', 'w') as tar:
    entry(tar, 'h', type=tarfile.LNKTYPE, linkname='../' * 20 + host + '/treasure')
with tarfile.open('through.tar', 'w') as tar:
    entry(tar, 'l', type=tarfile.SYMTYPE, linkname=host)
    entry(tar, 'l/stub', b'written')
with tarfile.open('context.tar', 'w') as tar:
    entry(tar, 'Dockerfile', type=tarfile.SYMTYPE, linkname=host + '/treasure')
with tarfile.open('ignore.tar', 'w') as tar:
    entry(tar, 'Dockerfile', b'FROM scratch\\nCOPY . /\\n')
    entry(tar, '.dockerignore', type=tarfile.SYMTYPE, linkname=host + '/treasure')
    entry(tar, 'l', type=tarfile.SYMTYPE, linkname=host)
";

#[test]
fn copies_and_archives_never_pass_through_links_to_the_host() {
    let context = with_python();
    let host = treasury(&context, "archives");
    let project = context.project("archives-project", &[("a", "1"), ("folder/stub", "written")]);
    let python = Command::new("python3")
        .args(["-c", ARCHIVES])
        .arg(&host)
        .current_dir(&project)
        .status();
    assert!(python.unwrap().success());
    let place = host.display();
    // A link of the stage stands for a path of the stage, as a source and as a destination.
    for text in [
        "FROM scratch AS one\nADD through.tar /\n".to_owned(),
        "FROM scratch\nADD hard.tar /\n".to_owned(),
        "FROM scratch\nADD straight.tar /\n".to_owned(),
        "FROM scratch\nADD up.tar /\n".to_owned(),
    ] {
        fs::write(project.join("Dockerfile"), &text).unwrap();
        let out = context.path().join("out");
        let dest = format!("type=tar,dest={}", out.display());
        let built = context.coil(["build", "-o", &dest]).arg(&project).run();
        assert!(!built.stderr().contains(TREASURE), "{text}");
        if out.exists() {
            let bytes = fs::read(&out).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(TREASURE), "{text}");
            fs::remove_file(out).unwrap();
        }
        is_whole(&host);
    }
    symlink(&host, project.join("link")).unwrap();
    for line in ["COPY link/treasure /x", "ADD link/treasure /x", "COPY link/* /x/"] {
        fs::write(project.join("Dockerfile"), format!("FROM scratch\n{line}\n")).unwrap();
        let failed = context.coil(["build"]).arg(&project).run().expect_code(1);
        assert!(!failed.stderr().contains(TREASURE), "{line}");
    }
    // A link of a stage is one of its image, as a destination too.
    let inside =
        format!("FROM {PYTHON}\nRUN ln -s {place} /link\nCOPY folder/stub /link/stub\nCOPY folder /link/\n");
    fs::write(project.join("Dockerfile"), inside).unwrap();
    build(&context, &project, &["-q"]);
    is_whole(&host);
    for name in ["context.tar", "ignore.tar"] {
        let bytes = fs::read(project.join(name)).unwrap();
        let built = context.coil(["build", "-"]).input(bytes).run();
        assert!(
            !built.stderr().contains(TREASURE) && !built.stdout().contains(TREASURE),
            "{name}: {}",
            built.stderr()
        );
    }
    is_whole(&host);
}

#[test]
fn no_other_step_stands_in_for_one() {
    let context = with_python();
    let dockerfile =
        |head: &str| format!("FROM {PYTHON}\n{head}\nRUN echo \"$A $(id -u) $0 $PWD\" > /tmp/told\n");
    let heads = [
        "ENV A=1",
        "ENV A=2",
        "ENV A=1\nUSER 5",
        "ENV A=1\nWORKDIR /tmp",
        "ENV A=1\nSHELL [\"/bin/bash\", \"-c\"]",
        "ARG A=3",
    ];
    let mut seen = Vec::new();
    for head in heads {
        let project = context.project("poison", &[("Dockerfile", &dockerfile(head))]);
        build(&context, &project, &["-t", "test/poison"]);
        let run = context
            .coil(["run", "--rm", "test/poison", "cat", "/tmp/told"])
            .run();
        let told = run.success().stdout().to_owned();
        assert!(!seen.contains(&told), "{head}: {told}");
        seen.push(told);
    }
    // An image that only says that it was built so is not what is built.
    let project = context.project(
        "claims",
        &[
            ("a", "true"),
            ("Dockerfile", "FROM scratch\nCOPY a /\nHEALTHCHECK CMD x\n"),
        ],
    );
    let first = context
        .coil(["build", "-q"])
        .arg(&project)
        .run()
        .success()
        .word()
        .to_owned();
    let honest = context.project(
        "honest",
        &[
            ("a", "true"),
            ("Dockerfile", "FROM scratch\nCOPY a /\nONBUILD RUN x\n"),
        ],
    );
    let second = context
        .coil(["build", "-q"])
        .arg(&honest)
        .run()
        .success()
        .word()
        .to_owned();
    let config = |id: &str| context.coil(["inspect", id]).run().success().json()[0]["Config"].clone();
    assert!(
        config(&first)
            .get("OnBuild")
            .is_none_or(serde_json::Value::is_null)
    );
    assert!(
        config(&second)
            .get("Healthcheck")
            .is_none_or(serde_json::Value::is_null)
    );
}

/// The arguments and environments of every process that can be seen.
fn processes() -> String {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").expect("it is there").flatten() {
        let _ = fs::File::open(entry.path().join("cmdline")).and_then(|mut file| file.read_to_end(&mut all));
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn secrets_are_in_no_argument_log_record_or_image() {
    let context = with_python();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Another suite may look for its own at the same moment, in arguments of programs.
    let hidden = ["Zmlyc3Q", "c2Vjb25k", "cHJveHk"].map(|word| format!("{word}x{}", std::process::id()));
    let project = context.project(
        "arguments",
        &[(
            "Dockerfile",
            &format!(
                "FROM {PYTHON}
RUN --network=host --mount=type=secret,id=one --mount=type=secret,id=two,env=TWO \\
    python3 -c \"import socket; socket.create_connection(('127.0.0.1', {port})).recv(1)\"
RUN test -z \"$TWO\" && test ! -e /run/secrets/one && test -z \"$HOST_TOKEN\" && ! env | grep -q TOKEN
"
            ),
        )],
    );
    fs::write(context.path().join("one"), &hidden[0]).unwrap();
    let one = format!("id=one,src={}", context.path().join("one").display());
    let proxy = format!("FTP_PROXY=http://me:{}@127.0.0.1:1", hidden[2]);
    let facts = context.path().join("facts.json");
    let saved = context.path().join("saved.tar");
    let seen = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let seen = processes();
            let _ = stream.write_all(b"x");
            seen
        });
        let built = context
            .coil([
                "build",
                "--no-cache",
                "--progress",
                "json",
                "-t",
                "test/arguments",
            ])
            .args(["--secret", &one, "--secret", "id=two,env=HOST_TOKEN"])
            .args(["--build-arg", "FTP_PROXY", "--metadata-file"])
            .arg(&facts)
            .arg(&project)
            .env("HOST_TOKEN", &hidden[1])
            .env("FTP_PROXY", proxy.split_once('=').unwrap().1)
            .run();
        // Where the step never came, nobody waits for it.
        let _ = TcpStream::connect(("127.0.0.1", port));
        let built = built.success();
        let said = format!("{}{}", built.stdout(), built.stderr());
        format!("{}{said}", waiting.join().unwrap())
    });
    context
        .coil(["save", "-o"])
        .arg(&saved)
        .arg("test/arguments")
        .run()
        .success();
    let told = [
        seen,
        context
            .coil(["history", "--no-trunc", "test/arguments"])
            .run()
            .success()
            .stdout()
            .to_owned(),
        context
            .coil(["inspect", "test/arguments"])
            .run()
            .success()
            .stdout()
            .to_owned(),
        fs::read_to_string(&facts).unwrap(),
        String::from_utf8_lossy(&fs::read(&saved).unwrap()).into_owned(),
    ];
    for text in hidden.each_ref().map(String::as_str) {
        for (at, told) in told.iter().enumerate() {
            let around = told
                .find(text)
                .map(|at| told[..at].chars().rev().take(300).collect::<String>());
            let around = around.map(|text| text.chars().rev().collect::<String>());
            assert!(around.is_none(), "{text} is in text {at}, after {around:?}");
        }
    }
    // What the data root has got since.
    let found = Command::new("find")
        .arg(context.root())
        .args(["-type", "f", "-newer"])
        .arg(context.path().join("one"))
        .args([
            "-exec", "grep", "-lF", "-e", &hidden[0], "-e", &hidden[1], "-e", &hidden[2], "{}", "+",
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}
