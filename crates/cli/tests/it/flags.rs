//! What a container may do on the host: capabilities, devices, namespaces, limits, and what is refused.

use coil_testkit::Context;
use serde_json::Value;

use crate::shared;

fn inside(context: &Context, flags: &[&str], script: &str) -> String {
    let image = context.python_image();
    let run = context
        .coil(["run", "--rm", "--network", "none", "-u", "0"])
        .args(flags)
        .args([image, "sh", "-c", script]);
    run.run().success().stdout().trim().to_owned()
}

#[test]
fn capabilities_are_given_and_taken() {
    let context = shared();
    let caps = |flags: &[&str]| {
        let text = inside(&context, flags, "grep CapEff /proc/self/status");
        u64::from_str_radix(text.split_whitespace().last().expect("a number"), 16).expect("hexadecimal")
    };
    assert_eq!(caps(&["--cap-drop", "ALL"]), 0);
    assert_eq!(caps(&["--cap-drop", "all", "--cap-add", "CAP_CHOWN"]), 1);
    assert_ne!(caps(&["--cap-add", "net_admin"]) & 1 << 12, 0);
    assert!(caps(&["--cap-add", "ALL"]).count_ones() > 30);
}

#[test]
fn a_privileged_container_is_open() {
    let context = shared();
    let mount =
        "python3 -c \"import ctypes; print(ctypes.CDLL(None).mount(b'none', b'/mnt', b'tmpfs', 0, None))\"";
    let script = format!("grep Seccomp: /proc/self/status; {mount}");
    assert_eq!(inside(&context, &["--privileged"], &script), "Seccomp:\t0\n0");
    assert_eq!(inside(&context, &[], &script), "Seccomp:\t2\n-1");
    // The host's devices are there.
    let nodes = |flags: &[&str]| -> u32 {
        inside(&context, flags, "ls /dev | wc -l")
            .parse()
            .expect("a number")
    };
    assert!(nodes(&["--privileged"]) > nodes(&[]));
}

#[test]
fn devices_are_named_one_by_one() {
    let context = shared();
    let write = "echo x > /dev/nothing && stat -c %t:%T /dev/nothing";
    assert_eq!(
        inside(&context, &["--device", "/dev/null:/dev/nothing"], write),
        "1:3"
    );
    let read_only = "(echo x > /dev/five) 2>/dev/null && echo written; head -c 1 /dev/five | wc -c";
    assert_eq!(
        inside(&context, &["--device", "/dev/zero:/dev/five:r"], read_only)
            .lines()
            .last(),
        Some("1")
    );
}

#[test]
fn namespaces_are_shared_when_asked() {
    let context = shared();
    let image = context.python_image();
    context
        .coil([
            "run",
            "-d",
            "--name",
            "donor",
            "--ipc",
            "shareable",
            image,
            "sleep",
            "600",
        ])
        .run()
        .success();
    let seen = inside(
        &context,
        &["--pid", "container:donor"],
        "tr '\\0' ' ' < /proc/1/cmdline",
    );
    assert_eq!(seen, "sleep 600");
    inside(
        &context,
        &["--ipc", "container:donor"],
        "echo shared > /dev/shm/note",
    );
    let note = context
        .coil(["exec", "donor", "cat", "/dev/shm/note"])
        .run()
        .success();
    assert_eq!(note.word(), "shared");
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
    assert_eq!(
        inside(&context, &["--uts", "host"], "cat /proc/sys/kernel/hostname"),
        own.trim()
    );
    let pid = std::process::id().to_string();
    let command = format!("test -d /proc/{pid} && echo seen");
    assert_eq!(inside(&context, &["--pid", "host"], &command), "seen");
    context.coil(["rm", "-f", "donor"]).run().success();
    let gone = context
        .coil(["run", "--rm", "--pid", "container:donor", image, "true"])
        .run();
    gone.refusal(&["donor"]);
}

#[test]
fn limits_hold_by_use() {
    let context = shared();
    let image = context.python_image();
    let eat = "x = bytearray(300 << 20)";
    context
        .coil([
            "run",
            "--name",
            "greedy",
            "--memory",
            "48m",
            "--memory-swap",
            "48m",
            image,
            "python3",
            "-c",
            eat,
        ])
        .run()
        .expect_code(137);
    let facts: Value = context.coil(["inspect", "greedy"]).run().success().json()[0].clone();
    assert_eq!(
        (&facts["State"]["OOMKilled"], &facts["State"]["ExitCode"]),
        (&true.into(), &137.into())
    );
    let limit = inside(
        &context,
        &["--ulimit", "nofile=100:200"],
        "ulimit -Sn; ulimit -Hn",
    );
    assert_eq!(limit, "100\n200");
    assert_eq!(
        inside(
            &context,
            &["--oom-score-adj", "300"],
            "cat /proc/self/oom_score_adj"
        ),
        "300"
    );
    let affinity = "python3 -c 'import os; print(sorted(os.sched_getaffinity(0)))'";
    assert_eq!(inside(&context, &["--cpuset-cpus", "0"], affinity), "[0]");
    assert_eq!(
        inside(
            &context,
            &["--shm-size", "8m"],
            "python3 -c 'import os; s = os.statvfs(\"/dev/shm\"); print(s.f_blocks * s.f_frsize)'"
        ),
        "8388608"
    );
    assert_eq!(
        inside(
            &context,
            &["--sysctl", "kernel.msgmax=4242"],
            "cat /proc/sys/kernel/msgmax"
        ),
        "4242"
    );
    assert!(inside(&context, &["--group-add", "tty", "--group-add", "4242"], "id -G").ends_with("5 4242"));
    assert_eq!(
        inside(
            &context,
            &["--domainname", "example.org"],
            "cat /proc/sys/kernel/domainname"
        ),
        "example.org"
    );
}

#[test]
fn an_init_reaps_and_passes_on() {
    let context = shared();
    let image = context.python_image();
    assert_eq!(
        inside(&context, &["--init"], "cat /proc/1/comm; echo $$"),
        "docker-init\n2"
    );
    let script = "import os, signal, sys, time\nif os.fork() == 0:\n  if os.fork() == 0: time.sleep(.1)\n  os._exit(0)\nos.wait()\n\
        signal.signal(15, lambda *_: sys.exit(9))\nprint('ready', flush=True)\nwhile True: time.sleep(60)";
    let mut run = context
        .coil([
            "run", "--rm", "--init", "--name", "kept", image, "python3", "-c", script,
        ])
        .start();
    run.wait_for_output("ready");
    context.coil(["stop", "-t", "60", "kept"]).run().success();
    run.wait().expect_code(9);
    context
        .coil(["run", "--rm", "--init", image, "no-such-program"])
        .run()
        .expect_code(127);
}

#[test]
fn a_profile_of_ones_own_filters_calls() {
    let context = shared();
    let profile = context.path().join("profile.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":5}]}"#;
    std::fs::write(&profile, text).expect("a file");
    let flag = format!("seccomp={}", profile.display());
    let seen = inside(&context, &["--security-opt", &flag], "mkdir /tmp/x 2>&1; true");
    assert!(seen.contains("Input/output error"), "{seen}");
    let open = inside(
        &context,
        &["--security-opt", "seccomp=unconfined"],
        "grep Seccomp: /proc/self/status",
    );
    assert_eq!(open, "Seccomp:\t0");
    let none = inside(
        &context,
        &["--security-opt", "no-new-privileges"],
        "grep NoNewPrivs /proc/self/status",
    );
    assert_eq!(none, "NoNewPrivs:\t1");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let context = shared();
    let image = context.python_image();
    for (flags, code, word) in [
        (["--cap-add", "FOO"], 125, "CAP_FOO"),
        (["--security-opt", "foo=bar"], 125, "foo=bar"),
        (["--security-opt", "apparmor=mine"], 125, "apparmor"),
        (["--ulimit", "foo=1"], 125, "foo"),
        (["--pid", "nope"], 125, "nope"),
        (["--ipc", "nope"], 125, "nope"),
        (["--uts", "nope"], 125, "nope"),
        (["--device", "/dev/nope"], 127, "/dev/nope"),
        (["--device", "nvidia.com/gpu=none"], 125, "CDI"),
        (["--sysctl", "kernel.panic=1"], 125, "kernel.panic"),
        (["--stop-signal", "NOPE"], 125, "NOPE"),
        (["--cpuset-cpus", "9999"], 125, "9999"),
        (["--log-driver", "syslog"], 125, "syslog"),
        (["--oom-score-adj", "5000"], 125, "5000"),
        (["--pull", "nope"], 125, "nope"),
        (["--platform", "linux/s390x"], 125, "s390x"),
        (["--cgroup-parent", "../up"], 125, "../up"),
        (["--memory-swap", "1g"], 125, "Memory limit"),
        (["--gpus", "all"], 125, "--gpus"),
        (["--gpus", "foo=bar"], 125, "unexpected key 'foo'"),
        (["--runtime", "nope"], 125, "runtime name: nope"),
        (["--isolation", "hyperv"], 125, "hyperv"),
        (["--storage-opt", "size=1G"], 125, "--storage-opt"),
        (["--cpu-count", "1"], 1, "--cpu-count"),
        (["--io-maxiops", "1"], 1, "--io-maxiops"),
        (["--use-api-socket=true", "--rm"], 125, "--use-api-socket"),
        (["--link-local-ip", "169.254.1.1"], 125, "--link-local-ip"),
        (["--blkio-weight", "5"], 125, "10 to 1000"),
        (["--blkio-weight-device", "foo"], 125, "--blkio-weight-device"),
        (["--device-read-bps", "foo"], 125, "bad format: foo"),
        (["--device-write-iops", "/dev/sda:x"], 125, "positive integer"),
        (["--device-read-bps", "/dev/nope:1mb"], 127, "/dev/nope"),
        (["--device-read-bps", "/dev/null:1mb"], 125, "disk"),
        (["--log-opt", "foo=bar"], 125, "unknown log opt 'foo'"),
        (["--log-opt", "max-size=foo"], 125, "invalid size"),
        (["--log-opt", "compress=true"], 125, "max-file"),
        (["--log-opt", "tag={{.Nope}}"], 125, "{{.Nope}}"),
        (["--cgroupns", "nope"], 125, "nope"),
        (["--userns", "nope"], 125, "nope"),
        (["--memory-swappiness", "500"], 125, "0-100"),
    ] {
        let run = context
            .coil(["run", "--rm"])
            .env("COIL_CDI_SPEC_DIRS", "/nowhere")
            .args(flags)
            .args([image, "true"])
            .run();
        run.expect_code(code).prints(word);
    }
    assert_eq!(context.coil(["ps", "-aq"]).run().success().word(), "");
}
