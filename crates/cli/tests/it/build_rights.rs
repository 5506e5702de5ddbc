//! What steps may use: devices by name, memory, processors, groups; and flags of the classic builder.

use std::fs;

use crate::{fresh, shared};

const PYTHON: &str = "python:3.11-slim";

#[test]
fn a_device_is_given_where_the_user_allows_it() {
    let mut context = shared();
    context.coil(["base", PYTHON]).run().success();
    let files = context.path().join("devices");
    fs::create_dir_all(&files).unwrap();
    fs::write(
        files.join("vendor.json"),
        r#"{"cdiVersion": "0.6.0", "kind": "vendor.test/thing", "devices": [
            {"name": "one", "containerEdits": {"env": ["THING=one"], "deviceNodes": [{"path": "/dev/thing", "hostPath": "/dev/null"}]}}]}"#,
    )
    .unwrap();
    context.set("COIL_CDI_SPEC_DIRS", &files);
    let build = |line: &str, flags: &[&str]| {
        let text = format!("FROM {PYTHON}\nRUN {line}\n");
        let folder = context.project("devices-project", &[("Dockerfile", text.as_str())]);
        context
            .coil(["build", "--progress", "plain"])
            .args(flags)
            .arg(&folder)
            .run()
    };
    let asks = "--device=vendor.test/thing=one,required test -c /dev/thing && echo \"it is $THING\"";
    build(asks, &[]).refusal(&[
        "Dockerfile:2",
        "not allowed",
        "--allow device=vendor.test/thing=one",
    ]);
    for right in [
        "device",
        "device=vendor.test/thing",
        "device=vendor.test/thing=one",
    ] {
        let built = build(asks, &["--no-cache", "--allow", right]).success();
        assert!(built.stderr().contains("it is one"), "{}", built.stderr());
    }
    let all = build(
        "--device=vendor.test/thing=* test -c /dev/thing",
        &["--allow", "device"],
    );
    all.success();
    build(
        "--device=vendor.test/thing=two,required true",
        &["--allow", "device"],
    )
    .refusal(&["vendor.test/thing=two", "vendor.test/thing=one"]);
    // What isn't required is left out where it isn't there.
    build(
        "--device=vendor.test/thing=two test ! -e /dev/thing",
        &["--allow", "device"],
    )
    .success();
    build("--device=thing true", &["--allow", "device"]).refusal(&["invalid device name thing"]);
}

#[test]
fn a_step_that_takes_more_memory_than_it_may_says_so() {
    let context = shared();
    context.coil(["base", PYTHON]).run().success();
    let folder = context.project(
        "hungry",
        &[(
            "Dockerfile",
            "FROM python:3.11-slim\nRUN python3 -c 'x = bytearray(400 << 20)'\n",
        )],
    );
    context
        .coil(["build", "--no-cache", "--memory", "64m", "--memory-swap", "64m"])
        .arg(&folder)
        .run()
        .expect_code(1)
        .refusal(&["Dockerfile:2", "ran out of memory", "--memory 64m"]);
    let killed = context.project(
        "killed",
        &[(
            "Dockerfile",
            "FROM python:3.11-slim\nRUN echo before; sh -c 'kill -9 $$'; exit $?\n",
        )],
    );
    context.coil(["build"]).arg(&killed).run().refusal(&[
        "Dockerfile:2",
        "exit code: 137",
        "| before",
        "SIGKILL",
    ]);
}

#[test]
fn flags_of_the_classic_builder_are_honoured_or_refused_by_name() {
    let context = fresh();
    let folder = context.project("classic", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    context
        .coil([
            "build",
            "-q",
            "--rm",
            "--rm=false",
            "--force-rm",
            "--compress",
            "--memory",
            "1g",
            "-c",
            "512",
            "--cpu-period",
            "100000",
            "--cpu-quota",
            "50000",
            "--cpuset-cpus",
            "0",
            "--disable-content-trust",
            "--isolation",
            "default",
            "--allow",
            "network.host",
            "-D",
            "--progress",
            "none",
        ])
        .arg(&folder)
        .run()
        .success();
    for (flags, part) in [
        (
            &["--security-opt", "seccomp=unconfined"][..],
            "--security-opt seccomp=unconfined",
        ),
        (&["--isolation", "hyperv"], "--isolation hyperv"),
        (&["--squash"], "--squash"),
        (&["--policy", "x"], "--policy x"),
        (
            &["--disable-content-trust=false"],
            "--disable-content-trust=false",
        ),
        (&["--memory-swap", "1g"], "set the Memory limit"),
        (&["--memory", "lots"], "lots"),
        (&["--cpuset-cpus", "x"], "invalid value x for --cpuset-cpus"),
        (&["--cgroup-parent", "../x"], "may not lead upwards"),
        (&["--allow", "fs.read=/"], "--allow fs.read=/"),
        (&["--push"], "--push"),
    ] {
        context
            .coil(["build"])
            .args(flags)
            .arg(&folder)
            .run()
            .refusal(&[part]);
    }
}
