//! Containers as root: what a program sees, what it may do, and how it ends.

use crate::container::{Container, collect, default_bits};
use coil_runtime::spec::{Mount, MountKind, Rlimit, User};
use coil_runtime::state::{Hold, Status, is_alive};

#[test]
fn a_program_runs_confined_as_process_one() {
    let outcome = Container::new(&["id", "cat", "/proc/self/status", "calls"]).run();
    assert_eq!(outcome.exit.code, 0, "{outcome:?}");
    assert!(
        outcome.output.starts_with("uid 0 gid 0 groups pid 1\n"),
        "{}",
        outcome.output
    );
    for (name, value) in [
        ("Seccomp", "2"),
        ("NoNewPrivs", "0"),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("CapEff", default_bits().as_str()),
        ("CapPrm", default_bits().as_str()),
        ("CapBnd", default_bits().as_str()),
        ("af_inet", "ok"),
        ("af_alg", "EPERM"),
        ("af_vsock", "EPERM"),
        ("socketcall", "ENOSYS"),
        ("unshare", "EPERM"),
        ("clone_newuser", "EPERM"),
        ("clone3", "ENOSYS"),
        ("keyctl", "EPERM"),
        ("bpf", "EPERM"),
        ("io_uring", "EPERM"),
        ("mount", "EPERM"),
        ("mknod", "EPERM"),
        ("raw", "EPERM"),
        ("ping", "ok"),
        ("personality", "EPERM"),
    ] {
        assert_eq!(outcome.field(name), value, "{name}");
    }
}

#[test]
fn an_ordinary_user_inside_has_nothing() {
    let mut container = Container::new(&["id", "cat", "/proc/self/status", "calls", "open", "/dev/stdout"]);
    container.spec.user = User {
        uid: 1000,
        gid: 1000,
        groups: vec![27, 100],
    };
    let outcome = container.run();
    assert!(
        outcome
            .output
            .starts_with("uid 1000 gid 1000 groups 27 100 pid 1\n"),
        "{}",
        outcome.output
    );
    for (name, value) in [
        ("Seccomp", "2"),
        ("NoNewPrivs", "0"),
        ("CapEff", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapInh", "0000000000000000"),
        ("CapBnd", default_bits().as_str()),
        ("af_alg", "EPERM"),
        ("open /dev/stdout", "ok"),
    ] {
        assert_eq!(outcome.field(name), value, "{name}");
    }
}

#[test]
fn nothing_of_the_host_is_left_open() {
    let outcome = Container::new(&["fds", "ignored"]).run();
    let lines: Vec<&str> = outcome.output.lines().collect();
    assert_eq!(lines.len(), 3, "{}", outcome.output);
    assert_eq!(lines[0], "0 /dev/null");
    assert!(
        lines[1].starts_with("1 pipe:") && lines[2].starts_with("2 pipe:"),
        "{}",
        outcome.output
    );
}

#[test]
fn namespaces_are_its_own() {
    let names = ["ipc", "mnt", "net", "pid", "uts", "cgroup"];
    let paths: Vec<String> = names.iter().map(|n| format!("/proc/self/ns/{n}")).collect();
    let words: Vec<&str> = paths.iter().flat_map(|p| ["link", p]).collect();
    let outcome = Container::new(&words).run();
    for (name, inside) in names.iter().zip(outcome.output.lines()) {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("link");
        assert_ne!(host.to_str(), Some(inside), "{name}");
    }
}

#[test]
fn output_code_and_log_are_kept() {
    let container = Container::new(&["echo", "hello", "err", "oh", "exit", "42"]);
    let outcome = container.run_and_leave();
    assert_eq!(
        (outcome.output.as_str(), outcome.errors.as_str()),
        ("hello\n", "oh\n")
    );
    assert_eq!(outcome.exit.code, 42);
    let state = container.state();
    assert_eq!(
        (state.status, state.exit_code, state.pid),
        (Status::Exited, 42, 0)
    );
    assert!(state.started_at < state.finished_at);
    container.wait_till_cleared();
    let log = std::fs::read_to_string(container.spec.container_dir.join("log.jsonl")).expect("log");
    let mut lines: Vec<(String, String)> = log
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON"))
        .map(|v| {
            (
                v["stream"].as_str().expect("stream").to_owned(),
                v["log"].as_str().expect("log").to_owned(),
            )
        })
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            ("stderr".into(), "oh\n".into()),
            ("stdout".into(), "hello\n".into())
        ]
    );
    for directory in container.spec.cgroup.directories() {
        assert!(!directory.exists(), "{}", directory.display());
    }
}

#[test]
fn what_cannot_run_says_why_as_docker_does() {
    for (program, message, code) in [
        ("nope", "exec: \"nope\": executable file not found in $PATH", 127),
        (
            "/nope",
            "exec: \"/nope\": stat /nope: no such file or directory",
            127,
        ),
        ("/bin/data", "exec: \"/bin/data\": permission denied", 126),
        ("/tmp", "exec: \"/tmp\": is a directory", 126),
        ("", "exec: \"\": executable file not found in $PATH", 127),
    ] {
        let mut container = Container::new(&[]);
        container.spec.args = vec![program.to_owned()];
        let error = container.start().expect_err("a failure");
        assert_eq!((error.to_string().as_str(), error.exit_code()), (message, code));
        assert_eq!(container.state().exit_code, code);
        assert!(!is_alive(&container.spec.run_dir));
    }
    let mut container = Container::new(&[]);
    container.spec.cwd = "/bin/data".to_owned();
    let error = container.start().expect_err("a failure");
    assert_eq!(error.to_string(), "chdir to cwd (\"/bin/data\"): not a directory");
}

#[test]
fn the_working_directory_is_made_and_never_the_hosts() {
    let mut container = Container::new(&["cwd"]);
    container.spec.cwd = "/new/deep".to_owned();
    assert_eq!(container.run().output, "cwd /new/deep\n");
    for number in 0..20 {
        container.spec.cwd = format!("/proc/self/fd/{number}");
        match container.start() {
            Err(error) => assert!(error.to_string().contains("chdir to cwd"), "{error}"),
            Ok(_) => panic!("{number} was taken"),
        }
    }
}

#[test]
fn hidden_and_protected_paths_hold() {
    let outcome = Container::new(&[
        "cat",
        "/proc/keys",
        "cat",
        "/proc/timer_list",
        "cat",
        "/proc/interrupts",
        "list",
        "/sys/firmware",
        "open",
        "/proc/sysrq-trigger",
        "open",
        "/proc/sys/kernel/hostname",
        "mkdir",
        "/sys/fs/cgroup/memory/x",
        "open",
        "/sys/kernel/uevent_helper",
        "cat",
        "/proc/sys/net/ipv4/ping_group_range",
        "write",
        "/root-file",
    ])
    .run();
    assert_ne!(outcome.field("open /proc/sysrq-trigger"), "ok");
    assert_eq!(outcome.field("open /proc/sys/kernel/hostname"), "EROFS");
    assert!(!outcome.field("mkdir /sys/fs/cgroup/memory/x").contains("ok"));
    assert!(!outcome.field("open /sys/kernel/uevent_helper").contains("ok"));
    assert!(outcome.output.contains("0\t2147483647\n"), "{}", outcome.output);
    assert_eq!(outcome.field("write /root-file"), "ok");
}

#[test]
fn a_read_only_root_and_mounts_of_the_user() {
    let mut container = Container::new(&[
        "write", "/x", "write", "/data/a", "write", "/ro/a", "write", "/mem/a", "cat", "/one", "mode", "/mem",
    ]);
    let data = container.home.join("data");
    std::fs::create_dir_all(&data).expect("data");
    std::fs::write(container.home.join("one"), "the file\n").expect("one");
    let bind = |source: std::path::PathBuf, destination: &str, read_only| Mount {
        kind: MountKind::Bind { source },
        destination: destination.to_owned(),
        read_only,
        options: Vec::new(),
    };
    container.spec.mounts = vec![
        bind(data.clone(), "/data", false),
        bind(data.clone(), "/ro", true),
        bind(container.home.join("one"), "/one", true),
        Mount {
            kind: MountKind::Tmpfs {
                size: Some(1 << 20),
                mode: 0o1777,
            },
            destination: "/mem".to_owned(),
            read_only: false,
            options: Vec::new(),
        },
    ];
    container.spec.read_only = true;
    let outcome = container.run();
    for (what, result) in [
        ("write /x", "EROFS"),
        ("write /data/a", "ok"),
        ("write /ro/a", "EROFS"),
        ("write /mem/a", "ok"),
    ] {
        assert_eq!(outcome.field(what), result, "{what}");
    }
    assert!(
        outcome.output.contains("the file\n") && outcome.output.contains("/mem 41777 0:0"),
        "{}",
        outcome.output
    );
    assert!(data.join("a").exists());
}

#[test]
fn limits_hold() {
    let mut container = Container::new(&["eat", "200"]);
    container.spec.limits.memory = Some(64 << 20);
    container.spec.limits.memory_swap = Some(64 << 20);
    let outcome = container.run();
    assert_eq!(
        (outcome.exit.code, outcome.exit.oom_killed),
        (137, true),
        "{outcome:?}"
    );
    assert!(container.state().oom_killed);

    let mut container = Container::new(&["fork", "50"]);
    container.spec.limits.pids = Some(10);
    assert_eq!(container.run().field("forked"), "9");

    let mut container = Container::new(&[
        "cat",
        "/proc/self/limits",
        "cat",
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    ]);
    container.spec.limits.cpus_milli = Some(500);
    container.spec.rlimits = vec![
        Rlimit {
            name: "nofile".to_owned(),
            soft: 1 << 20,
            hard: 1 << 20,
        },
        Rlimit {
            name: "core".to_owned(),
            soft: 0,
            hard: 0,
        },
    ];
    let outcome = container.run();
    assert!(
        outcome
            .field("Max open files")
            .starts_with(|c: char| c.is_ascii_digit()),
        "{}",
        outcome.output
    );
    assert!(outcome.field("Max core file size").starts_with('0'));
    assert!(outcome.output.ends_with("50000\n"), "{}", outcome.output);
}

#[test]
fn signals_and_waiting_go_through_the_monitor() {
    let container = Container::new(&["trap-term"]);
    let started = container.started();
    let client = started.client.expect("attached");
    let first = client.next().expect("output");
    assert_eq!(
        first,
        Some(coil_runtime::control::Message::Output(b"ready\n".to_vec()))
    );
    assert!(is_alive(&container.spec.run_dir));
    let waiting = container.client();
    container.client().signal(libc::SIGTERM).expect("signal");
    assert_eq!(waiting.wait().expect("end").code, 7);
    assert_eq!(collect(&client).output, "got 15\n");
    container.wait_till_cleared();
}

#[test]
fn input_goes_in_and_ends() {
    let mut container = Container::new(&["copy"]);
    container.spec.stdin_open = true;
    let started = container.started();
    let client = started.client.expect("attached");
    let feeder = client.try_clone().expect("clone");
    let text = "0123456789abcdef".repeat(1 << 16);
    let copy = text.clone();
    let thread = std::thread::spawn(move || feeder.feed(copy.as_bytes()));
    let outcome = collect(&client);
    thread.join().expect("thread").expect("fed");
    assert_eq!(outcome.output.len(), text.len() + "end\n".len());
    assert!(outcome.output.starts_with(&text) && outcome.output.ends_with("end\n"));
}

#[test]
fn a_terminal_is_a_terminal() {
    let mut container = Container::new(&["tty", "line"]);
    container.spec.terminal = true;
    container.spec.stdin_open = true;
    container.spec.init_tty_size = Some((33, 101));
    let client = container.started().client.expect("attached");
    client.input(b"typed\n").expect("input");
    let outcome = collect(&client);
    assert!(
        outcome.output.contains("tty 1 1 33 x 101 /dev/pts/0"),
        "{}",
        outcome.output
    );
    assert_eq!(outcome.field("/dev/tty"), "ok");
    assert_eq!(outcome.field("console"), "ok");
    assert!(outcome.output.contains("line typed"), "{}", outcome.output);
}

#[test]
fn a_killed_monitor_takes_its_container_along() {
    let container = Container::new(&["daemon", "echo", "up", "pause"]);
    let started = container.started();
    let client = started.client.expect("attached");
    client.next().expect("output");
    let status = std::fs::read_to_string(format!("/proc/{}/status", started.init_pid)).expect("status");
    let monitor: i32 = status
        .lines()
        .find_map(|l| l.strip_prefix("PPid:"))
        .expect("parent")
        .trim()
        .parse()
        .expect("number");
    let init = coil_sys::process::pidfd_open(started.init_pid).expect("init");
    coil_sys::process::kill(monitor, libc::SIGKILL).expect("kill");
    let poll = coil_sys::event::Poll::new().expect("poll");
    poll.add(&init, coil_sys::event::ready::READ, 1).expect("poll");
    assert_eq!(poll.wait(-1).expect("the end").len(), 1);
    assert!(coil_runtime::sweep(&container.spec.container_dir, &container.spec.run_dir).expect("swept"));
    let state = container.state();
    assert_eq!((state.status, state.exit_code), (Status::Exited, 137));
    let (directory, run_dir) = (&container.spec.container_dir, &container.spec.run_dir);
    assert_eq!(
        coil_runtime::state::observe(directory, run_dir).expect("state"),
        state
    );
    for directory in container.spec.cgroup.directories() {
        assert!(!directory.exists(), "{}", directory.display());
    }
}

#[test]
fn removal_leaves_nothing_and_frees_the_name_first() {
    let mut container = Container::new(&["echo", "x"]);
    let (own, taken) = (container.home.join("own-name"), container.home.join("taken-name"));
    std::fs::write(&own, &container.spec.id).expect("name");
    std::fs::write(&taken, "another").expect("name");
    container.spec.auto_remove = true;
    container.spec.release = vec![own.clone(), taken.clone()];
    container.run();
    assert!(!own.exists(), "the next container may be called so at once");
    container.wait_till_cleared();
    assert!(!container.spec.container_dir.exists());
    assert_eq!(std::fs::read_to_string(taken).expect("name"), "another");
    for directory in container.spec.cgroup.directories() {
        assert!(!directory.exists(), "{}", directory.display());
    }
}

#[test]
fn an_end_that_was_told_is_never_seen_as_running() {
    let mut container = Container::new(&["echo", "x"]);
    container.spec.auto_remove = true;
    let watched = container.spec.container_dir.clone();
    let outcome = container.run();
    assert_eq!(outcome.exit.code, 0);
    // From now on a listing sees that it has ended, or nothing of it.
    while watched.join("spec.json").exists() {
        match container.try_state() {
            Some(state) => assert_eq!(state.status, Status::Exited),
            None => assert!(!watched.join("spec.json").exists()),
        }
    }
}

#[test]
fn a_container_starts_again_while_its_last_monitor_clears_up() {
    let container = Container::new(&["echo", "x"]);
    for _ in 0..5 {
        assert_eq!(container.run().output, "x\n");
        assert_eq!(container.state().status, Status::Exited);
    }
    container.wait_till_cleared();
}

#[test]
fn a_slow_reader_slows_the_program_and_loses_nothing() {
    let container = Container::new(&["flood", "8"]);
    let outcome = container.run();
    assert_eq!(outcome.output.len(), 8 << 20);
}

#[test]
fn a_command_that_is_killed_while_it_starts_leaves_nothing() {
    use std::io::Read;
    let places = ["", "run", "run/lock", "container/hosts", "container/state.json"];
    for place in places {
        let mut container = Container::new(&["echo", "x"]);
        container.spec.auto_remove = true;
        std::fs::create_dir_all(&container.spec.container_dir).expect("directory");
        let bytes = serde_json::to_vec(&container.spec).expect("JSON");
        std::fs::write(container.spec.container_dir.join("spec.json"), bytes).expect("spec");
        // Descriptor 9 is the monitor's too: its end tells that nobody is left.
        let mut command = std::process::Command::new("sh")
            .args(["-c", "exec \"$0\" internal run \"$1\" 9>&1 >/dev/null"])
            .args([&crate::container::exe(), &container.spec.container_dir])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("shell");
        let watched = match place.split_once('/') {
            Some(("run", file)) => container.spec.run_dir.join(file),
            Some((_, file)) => container.spec.container_dir.join(file),
            None if place.is_empty() => container.home.clone(),
            None => container.spec.run_dir.clone(),
        };
        // A step that is over already will do as well: the end is what is looked at.
        while !watched.exists() && command.try_wait().expect("command").is_none() {
            std::hint::spin_loop();
        }
        command.kill().expect("kill");
        let mut rest = Vec::new();
        command
            .stdout
            .take()
            .expect("output")
            .read_to_end(&mut rest)
            .expect("the end");
        command.wait().expect("command");
        coil_runtime::sweep(&container.spec.container_dir, &container.spec.run_dir).expect("swept");
        assert!(!container.spec.run_dir.exists(), "{place}");
        assert!(
            place.is_empty() || !container.spec.container_dir.exists(),
            "{place}"
        );
        for directory in container.spec.cgroup.directories() {
            assert!(!directory.exists(), "{}", directory.display());
        }
    }
}

#[test]
fn a_monitor_that_comes_when_its_container_is_gone_starts_nothing() {
    let container = Container::new(&["pause"]);
    let (dir, run_dir) = (&container.spec.container_dir, &container.spec.run_dir);
    let hold = Hold::take(run_dir).expect("a lock").expect("nobody has it");
    assert!(Hold::take(run_dir).expect("a lock").is_none());
    std::thread::scope(|scope| {
        let started = scope.spawn(|| container.start().map(drop));
        // The monitor is on its way, and waits for its place at the latest.
        while !dir.join("spec.json").exists() {
            std::thread::yield_now();
        }
        std::fs::rename(dir, dir.with_extension("gone")).expect("renamed");
        hold.end();
        started.join().expect("no panic").expect_err("nothing is started");
    });
    assert!(!run_dir.exists());
    assert!(container.spec.cgroup.processes().is_empty());
    std::fs::rename(dir.with_extension("gone"), dir).expect("renamed back");
}
