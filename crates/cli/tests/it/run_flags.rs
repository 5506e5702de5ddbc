//! What a run is asked for, by use: logs in several files, disks' limits, devices by their vendors' names.

use coil_testkit::Context;
use serde_json::Value;

use crate::shared;

fn inspect(context: &Context, name: &str) -> Value {
    context.coil(["inspect", name]).run().success().json()[0].clone()
}

fn run(context: &Context, name: &str, flags: &[&str], script: &str) {
    let image = context.python_image();
    let run = context
        .coil(["run", "--network", "none", "--name", name])
        .args(flags);
    run.args([image, "sh", "-c", script]).run().success();
}

fn logs(context: &Context, flags: &[&str], name: &str) -> Vec<String> {
    let read = context.coil(["logs"]).args(flags).arg(name).run().success();
    read.stdout().lines().map(str::to_owned).collect()
}

/// The container's log and the older ones beside it, by their endings.
fn files(context: &Context, name: &str) -> Vec<String> {
    let path = inspect(context, name)["LogPath"]
        .as_str()
        .expect("a path")
        .to_owned();
    let (folder, file) = path.rsplit_once('/').expect("a path");
    let mut endings: Vec<String> = std::fs::read_dir(folder)
        .expect("the container's folder")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_prefix(file)?.to_owned()))
        .collect();
    endings.sort();
    endings
}

#[test]
fn a_log_is_kept_in_as_many_files_as_asked() {
    let context = shared();
    let flags = ["--log-opt", "max-size=2k", "--log-opt", "max-file=3"];
    run(
        &context,
        "rotated",
        &flags,
        "for n in $(seq 500); do echo line $n; done",
    );
    assert_eq!(files(&context, "rotated"), ["", ".1", ".2"]);
    let all = logs(&context, &[], "rotated");
    assert!((40..200).contains(&all.len()), "{} lines", all.len());
    assert_eq!(all.last().map(String::as_str), Some("line 500"));
    let first: usize = all[0]
        .strip_prefix("line ")
        .and_then(|n| n.parse().ok())
        .expect("a number");
    let expected: Vec<String> = (first..=500).map(|n| format!("line {n}")).collect();
    assert_eq!(all, expected, "none is missing between files");
    // The last lines are found across files.
    let count = all.len() - 3;
    assert_eq!(logs(&context, &["-n", &count.to_string()], "rotated"), all[3..]);
    assert_eq!(logs(&context, &["-n", "1"], "rotated"), ["line 500"]);
    // One file alone is begun anew.
    let flags = ["--log-opt", "max-size=2k", "--log-opt", "max-file=1"];
    run(
        &context,
        "one-file",
        &flags,
        "for n in $(seq 500); do echo line $n; done",
    );
    assert_eq!(files(&context, "one-file"), [""]);
    assert_eq!(logs(&context, &["-n", "1"], "one-file"), ["line 500"]);
}

#[test]
fn older_files_of_a_log_may_be_compressed() {
    let context = shared();
    let flags = [
        "--log-driver",
        "local",
        "--log-opt",
        "max-size=2k",
        "--log-opt",
        "max-file=4",
    ];
    run(
        &context,
        "packed",
        &flags,
        "for n in $(seq 500); do echo line $n; done",
    );
    assert_eq!(files(&context, "packed"), ["", ".1.gz", ".2.gz", ".3.gz"]);
    let all = logs(&context, &[], "packed");
    let first: usize = all[0]
        .strip_prefix("line ")
        .and_then(|n| n.parse().ok())
        .expect("a number");
    let expected: Vec<String> = (first..=500).map(|n| format!("line {n}")).collect();
    assert_eq!(all, expected);
    let count = all.len() - 3;
    assert_eq!(logs(&context, &["-n", &count.to_string()], "packed"), all[3..]);
    let facts = inspect(&context, "packed");
    assert_eq!(facts["HostConfig"]["LogConfig"]["Type"], "local");
    assert_eq!(facts["HostConfig"]["LogConfig"]["Config"]["max-file"], "4");
}

#[test]
fn a_log_that_is_begun_anew_is_followed() {
    let context = shared();
    let image = context.python_image();
    let flags = ["--log-opt", "max-size=2k", "--log-opt", "max-file=3"];
    let script = "read go; for n in $(seq 60); do echo line $n; done; read end";
    let create = context
        .coil(["create", "-i", "--network", "none", "--name", "followed"])
        .args(flags);
    create.args([image, "sh", "-c", script]).run().success();
    context.coil(["start", "followed"]).run().success();
    let mut follow = context.coil(["logs", "-f", "followed"]).start();
    let mut input = context.coil(["attach", "followed"]).input("go\n").start();
    follow.wait_for_output("line 60\n");
    let seen = follow.stdout();
    let lines: Vec<&str> = seen.lines().collect();
    let expected: Vec<String> = (1..=60).map(|n| format!("line {n}")).collect();
    assert_eq!(lines, expected);
    context.coil(["rm", "-f", "followed"]).run().success();
    follow.wait();
    input.has_ended();
}

#[test]
fn lines_carry_what_they_were_asked_to() {
    let context = shared();
    let flags = [
        "--label",
        "tier=front",
        "--label",
        "other=no",
        "-e",
        "REGION=north",
        "--log-opt",
        "labels=tier",
        "--log-opt",
        "env-regex=^REG",
        "--log-opt",
        "tag={{.Name}}",
    ];
    run(&context, "detailed", &flags, "echo hello");
    assert_eq!(logs(&context, &[], "detailed"), ["hello"]);
    assert_eq!(
        logs(&context, &["--details"], "detailed"),
        ["REGION=north,tag=detailed,tier=front hello"]
    );
}

#[test]
fn limits_of_disks_are_set_and_told() {
    let context = shared();
    let image = context.python_image();
    // The disk that the tests are on, where it has a node.
    let disk = std::fs::read_to_string("/proc/partitions").expect("the kernel's list");
    let disk = disk
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3))
        .map(|name| format!("/dev/{name}"))
        .find(|path| std::path::Path::new(path).exists() && path.ends_with(|c: char| c.is_ascii_lowercase()));
    let Some(disk) = disk else { return };
    let (bytes, operations) = (format!("{disk}:1mb"), format!("{disk}:100"));
    let flags = ["--device-write-bps", &bytes, "--device-read-iops", &operations];
    let script = "import glob\nfor f in glob.glob('/sys/fs/cgroup/blkio/*throttle*bps_device') + glob.glob('/sys/fs/cgroup/io.max'): \
                  print(open(f).read(), end='')";
    let run = context
        .coil(["run", "--network", "none", "--name", "slow-disk"])
        .args(flags);
    let seen = run.args([image, "python3", "-c", script]).run().success();
    assert!(seen.stdout().contains("1048576"), "{}", seen.stdout());
    let facts = inspect(&context, "slow-disk")["HostConfig"].clone();
    assert_eq!(facts["BlkioDeviceWriteBps"][0]["Rate"], 1_048_576);
    assert_eq!(facts["BlkioDeviceReadIOps"][0]["Path"], disk);
}

#[test]
fn devices_have_names_of_their_vendors() {
    let context = shared();
    let image = context.python_image();
    let folder = context.project(
        "devices",
        &[(
            "gpu.yaml",
            "cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ncontainerEdits:\n  env: [DRIVER=there]\n  mounts:\n    - {hostPath: \
             /etc/hostname, containerPath: /opt/driver, options: [ro, nosuid]}\n  hooks:\n    - hookName: createContainer\n      \
             path: /bin/sh\n      args: [sh, -c, 'root=$(sed \"s/.*path\\\":\\\"//; s/\\\".*//\" config.json); echo done > \
             $root/opt/hook']\n      env: [PATH=/usr/bin:/bin]\ndevices:\n  - name: '0'\n    containerEdits: &first\n      \
             deviceNodes: [{path: /dev/gpu0, hostPath: /dev/null}]\n  - name: all\n    containerEdits: *first\n  - name: odd\n    \
             containerEdits: {intelRdt: {closID: a}}\n",
        )],
    );
    let coil = |flags: &[&str], script: &str| {
        let run = context
            .coil(["run", "--rm", "--network", "none", "-u", "0"])
            .args(flags);
        run.args([image, "sh", "-c", script])
            .env("COIL_CDI_SPEC_DIRS", &folder)
            .run()
    };
    let look = "stat -c %t:%T /dev/gpu0; echo x > /dev/gpu0 && echo $DRIVER; cat /opt/hook; touch /opt/driver 2>/dev/null || echo kept";
    for flags in [
        &["--gpus", "all"][..],
        &["--gpus", "device=0"],
        &["--device", "nvidia.com/gpu=0"],
    ] {
        assert_eq!(
            coil(flags, look).success().stdout(),
            "1:3\nthere\ndone\nkept\n",
            "{flags:?}"
        );
    }
    coil(&["--gpus", "device=7"], "true")
        .expect_code(125)
        .refusal(&["nvidia.com/gpu=7"]);
    coil(&["--device", "nvidia.com/gpu=odd"], "true")
        .expect_code(125)
        .refusal(&["intelRdt"]);
    coil(&["--device", "vendor.com/net=a"], "true")
        .expect_code(125)
        .refusal(&["vendor.com/net"]);
}
