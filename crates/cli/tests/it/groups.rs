//! Commands by the names that Docker groups them under, and coil called as `docker`.

use std::os::unix::fs::symlink;

use coil_testkit::Context;

use crate::{BINARY, fresh, shared, target};

#[test]
fn groups_have_the_same_commands() {
    let context = shared();
    let image = context.python_image();
    let coil = |words: &[&str]| context.coil(words.iter().copied()).run();
    coil(&[
        "container",
        "run",
        "--name",
        "grouped",
        image,
        "python3",
        "-c",
        "print('hi')",
    ])
    .success()
    .prints("hi");
    for verb in ["ls", "list", "ps"] {
        coil(&["container", verb, "-a"]).success().prints("grouped");
    }
    coil(&["container", "logs", "grouped"]).success().prints("hi");
    assert_eq!(
        coil(&["container", "inspect", "-f", "{{.Name}}", "grouped"])
            .success()
            .word(),
        "/grouped"
    );
    coil(&["container", "inspect", image])
        .expect_code(1)
        .refusal(&["No such container"]);
    coil(&["image", "inspect", "grouped"])
        .expect_code(1)
        .refusal(&["No such image"]);
    coil(&["image", "ls", image]).success().prints("test/python");
    coil(&["image", "history", image]).success().prints("CREATED BY");
    assert_eq!(coil(&["container", "rm", "grouped"]).success().word(), "grouped");
    let help = coil(&["container"]).success();
    for verb in ["ls", "run", "inspect", "stats", "top"] {
        assert!(help.stderr().contains(verb), "no {verb}\n{help}");
    }
    coil(&["container", "lss"])
        .expect_code(1)
        .refusal(&["lss", "'ls'"]);
    coil(&["contaner"])
        .expect_code(1)
        .refusal(&["contaner", "'container'"]);
    coil(&["help", "ps"]).success().prints("--no-trunc");
}

/// The binary under Docker's name.
fn docker(context: &Context) -> Context {
    let link = context.path().join("docker");
    symlink(BINARY, &link).expect("a link to the binary");
    Context::new(&link.to_string_lossy(), &target())
}

#[test]
fn called_as_docker_it_is_docker() {
    let home = fresh();
    let context = docker(&home);
    let run = |words: &[&str]| context.coil(words.iter().copied()).run();
    for flag in ["--version", "-v"] {
        run(&[flag]).success().prints("Docker version 28.");
    }
    run(&["version", "--format", "{{.Server.Version}} {{.Client.Os}}"])
        .success()
        .prints("28.5.2 linux");
    for words in [
        vec!["-D", "ps", "-q"],
        vec!["-l", "debug", "ps", "-q"],
        vec!["--context", "default", "ps", "-q"],
        vec!["-H", "unix:///var/run/docker.sock", "ps", "-q"],
        vec!["--config", "/tmp", "ps", "-q"],
        vec!["info", "--format", "{{.Swarm.LocalNodeState}} {{.OSType}}"],
    ] {
        run(&words).success();
    }
    for (words, code, text) in [
        (vec!["-H", "tcp://build:2375", "ps"], 125, "tcp://build:2375"),
        (vec!["--context", "other", "ps"], 1, "other"),
        (vec!["--tlsverify", "ps"], 125, "--tlsverify"),
        (vec!["-l", "loud", "ps"], 1, "loud"),
        (vec!["foo"], 1, "foo"),
        (vec!["ps", "--foo"], 125, "--foo"),
        (vec!["run"], 1, "requires at least 1 argument"),
    ] {
        run(&words).expect_code(code).prints(text);
    }
    context
        .coil(["ps"])
        .env("DOCKER_HOST", "ssh://build")
        .run()
        .expect_code(125)
        .prints("ssh://build");
}
