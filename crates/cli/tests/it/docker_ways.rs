//! Where exit codes, streams and small words are Docker's, as scripts that were written for it rely on.

use coil_testkit::Context;

use crate::shared;

const SLEEPER: [&str; 3] = [
    "python3",
    "-c",
    "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); signal.pause()",
];

fn sleeper(context: &Context, name: &str) {
    let image = context.python_image();
    let run = context.coil(["run", "-d", "--network", "none", "--name", name, image]);
    run.args(SLEEPER).run().success();
}

#[test]
fn what_exec_cannot_begin_is_told_in_the_place_of_its_output() {
    let context = shared();
    sleeper(&context, "ways-exec");
    for (flags, word, code, text) in [
        (
            &[][..],
            "no-such-program",
            127,
            "executable file not found in $PATH",
        ),
        (&[], "/etc/passwd", 126, "permission denied"),
        (&["-w", "/none"], "true", 127, "chdir to cwd"),
        (&["-w", "none"], "true", 128, "Cwd must be an absolute path"),
    ] {
        let exec = context.coil(["exec"]).args(flags).args(["ways-exec", word]).run();
        assert_eq!(exec.code(), code, "{flags:?} {word}: {}", exec.stdout());
        let said = exec.stdout();
        assert!(
            said.starts_with("OCI runtime exec failed: exec failed: ") && said.contains(text),
            "{said}"
        );
        assert_eq!(exec.stderr(), "");
    }
    // In the background it is 1, and an error.
    for flags in [&["-d"][..], &["-d", "-w", "/none"], &["-d", "-u", "nobody-here"]] {
        let exec = context.coil(["exec"]).args(flags);
        let exec = exec.args(["ways-exec", "no-such-program"]).run();
        assert_eq!((exec.code(), exec.stdout()), (1, ""), "{flags:?}");
        assert!(exec.stderr().starts_with("error: "), "{}", exec.stderr());
    }
    let begun = context.coil(["exec", "-d", "ways-exec", "sh", "-c", "exit 3"]);
    assert_eq!(begun.run().code(), 0);
    // No sign of it is left.
    context.coil(["rm", "-f", "ways-exec"]).run().success();
}

#[test]
fn a_variable_that_nobody_has_is_none() {
    let context = shared();
    let image = context.python_image();
    let made = context.coil([
        "create",
        "--name",
        "ways-env",
        "-e",
        "ONLY_HERE",
        "-e",
        "A=1",
        image,
    ]);
    made.run().success();
    let env = context
        .coil(["inspect", "-f", "{{json .Config.Env}}", "ways-env"])
        .run();
    assert!(env.stdout().contains("\"A=1\"") && !env.stdout().contains("ONLY_HERE"));
    context.coil(["rm", "ways-env"]).run().success();
}

#[test]
fn a_container_that_did_not_start_is_told_by_its_id() {
    let context = shared();
    let image = context.python_image();
    let file = context.path().join("ways-id");
    let run = context.coil(["run", "-d", "--network", "none", "--name", "ways-id", "--cidfile"]);
    let run = run.arg(&file).args([image, "no-such-program"]).run();
    assert_eq!(run.code(), 127);
    let id = run.stdout().trim().to_owned();
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(std::fs::read_to_string(&file).expect("its id").trim(), id);
    context.coil(["rm", "ways-id"]).run().success();
}

#[test]
fn what_only_docker_s_daemon_sees_is_1_where_nothing_runs() {
    let context = shared();
    let image = context.python_image();
    for (flags, code) in [
        (["-m", "1k"], 1),
        (["-m", "x"], 125),
        (["--cpus", "100000"], 1),
        (["-p", "x:80"], 125),
        (["--security-opt", "nonsense"], 125),
        (["--cap-add", "NONSENSE"], 1),
        (["-l", "=x"], 125),
    ] {
        let made = context.coil(["create"]).args(flags).arg(image).run();
        assert_eq!(made.code(), code, "{flags:?}: {}", made.stderr());
        let run = context
            .coil(["run", "--rm"])
            .args(flags)
            .args([image, "true"])
            .run();
        assert_eq!(run.code(), 125, "{flags:?}: {}", run.stderr());
    }
}

#[test]
fn words_of_docker_s_configuration_hold() {
    let mut context = shared();
    let image = context.python_image();
    let folder = context.path().join("ways-config");
    std::fs::create_dir_all(&folder).expect("a folder");
    let words = r#"{"psFormat": "name={{.Names}}", "detachKeys": "ctrl-x,d", "HttpHeaders": {"A": "b"}}"#;
    std::fs::write(folder.join("config.json"), words).expect("a file");
    context.set("DOCKER_CONFIG", &folder);
    let made = context.coil(["create", "--name", "ways-config", image]).run();
    made.success();
    let list = |flags: &[&str]| {
        let list = context
            .coil(["ps", "-a", "-f", "name=ways-config"])
            .args(flags)
            .run();
        list.success().stdout().trim().to_owned()
    };
    assert_eq!(list(&[]), "name=ways-config");
    assert_eq!(list(&["--format", "{{.State}}"]), "created");
    assert_eq!(list(&["-q"]).len(), 12);
    context.coil(["rm", "ways-config"]).run().success();
}

#[test]
fn a_container_without_shared_memory_has_none() {
    let context = shared();
    let image = context.python_image();
    let count = |mode: &str| {
        let run = context.coil(["run", "--rm", "--network", "none", "--ipc", mode, image]);
        let run = run
            .args(["sh", "-c", "grep -c ' /dev/shm ' /proc/mounts; true"])
            .run();
        run.success().stdout().trim().to_owned()
    };
    assert_eq!((count("none").as_str(), count("private").as_str()), ("0", "1"));
}
