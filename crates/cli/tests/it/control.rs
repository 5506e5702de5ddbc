//! Changes of containers that run: pause, wait, rename, update, attach, exec, and the file with the id.

use coil_testkit::{Context, wait_until};
use serde_json::Value;

use crate::shared;

fn inspect(context: &Context, name: &str) -> Value {
    context.coil(["inspect", name]).run().success().json()[0].clone()
}

/// A container that prints the time's passing; gives its id.
fn ticker(context: &Context, name: &str, flags: &[&str]) -> String {
    let image = context.python_image();
    let script = "import time\nn = 0\nwhile True:\n  print('tick', n, flush=True); n += 1; time.sleep(.02)";
    let run = context
        .coil(["run", "-d", "--name", name])
        .args(flags)
        .args([image, "python3", "-c", script]);
    run.run().success().word().to_owned()
}

fn lines(context: &Context, name: &str) -> usize {
    context
        .coil(["logs", name])
        .run()
        .success()
        .stdout()
        .lines()
        .count()
}

#[test]
fn a_paused_container_stands_still() {
    let context = shared();
    ticker(&context, "frozen", &[]);
    wait_until("it runs", || lines(&context, "frozen") > 0);
    assert_eq!(context.coil(["pause", "frozen"]).run().success().word(), "frozen");
    assert_eq!(inspect(&context, "frozen")["State"]["Status"], "paused");
    assert_eq!(inspect(&context, "frozen")["State"]["Paused"], true);
    context.coil(["ps"]).run().success().prints("(Paused)");
    let before = lines(&context, "frozen");
    context
        .coil(["pause", "frozen"])
        .run()
        .refusal(&["already paused"]);
    let exec = context.coil(["exec", "frozen", "true"]).run();
    exec.expect_code(1).refusal(&["paused"]);
    context.coil(["start", "frozen"]).run().refusal(&["paused"]);
    context.coil(["attach", "frozen"]).run().refusal(&["paused"]);
    // What takes a while to ask has given it time to print, had it run.
    assert_eq!(lines(&context, "frozen"), before);
    context.coil(["unpause", "frozen"]).run().success();
    wait_until("it goes on", || lines(&context, "frozen") > before);
    context.coil(["unpause", "frozen"]).run().refusal(&["not paused"]);
    // A paused one can be stopped and killed.
    context.coil(["pause", "frozen"]).run().success();
    context.coil(["stop", "-t", "5", "frozen"]).run().success();
    assert_eq!(inspect(&context, "frozen")["State"]["Status"], "exited");
    context.coil(["pause", "frozen"]).run().refusal(&["not running"]);
    context.coil(["start", "frozen"]).run().success();
    context.coil(["pause", "frozen"]).run().success();
    context.coil(["rm", "-f", "frozen"]).run().success();
}

#[test]
fn waiting_gives_the_codes_of_all() {
    let context = shared();
    let image = context.python_image();
    for (name, code) in [("wait-three", "3"), ("wait-none", "0")] {
        let script = format!("read line; exit {code}");
        context
            .coil(["create", "-i", "--name", name, image, "sh", "-c", &script])
            .run()
            .success();
    }
    context.coil(["start", "wait-three", "wait-none"]).run().success();
    let mut wait = context.coil(["wait", "wait-three", "wait-none"]).start();
    assert!(!wait.has_ended());
    for name in ["wait-three", "wait-none"] {
        context.coil(["attach", name]).input("go\n").run();
    }
    assert_eq!(wait.wait().success().stdout(), "3\n0\n");
    // One that has ended is not waited for.
    assert_eq!(context.coil(["wait", "wait-three"]).run().success().word(), "3");
    let missing = context
        .coil(["wait", "missing", "wait-none"])
        .run()
        .expect_code(1);
    assert_eq!(missing.stdout(), "0\n");
}

#[test]
fn attaching_shows_output_and_ends_with_the_container() {
    let context = shared();
    let image = context.python_image();
    let script =
        "import sys\nfor line in sys.stdin: print(line[::-1].strip(), flush=True)\nraise SystemExit(5)";
    context
        .coil(["create", "-i", "--name", "echo", image, "python3", "-c", script])
        .run()
        .success();
    context.coil(["start", "echo"]).run().success();
    let attached = context
        .coil(["attach", "echo"])
        .input("drawer\n")
        .run()
        .expect_code(5);
    assert_eq!(attached.stdout(), "reward\n");
    context
        .coil(["attach", "echo"])
        .run()
        .refusal(&["stopped container"]);
    // Without its input, one that reads none is only looked at.
    ticker(&context, "shown", &[]);
    let mut look = context
        .coil(["attach", "--no-stdin", "--sig-proxy=false", "shown"])
        .start();
    look.wait_for_output("tick");
    look.signal("TERM");
    look.wait();
    assert_eq!(inspect(&context, "shown")["State"]["Running"], true);
    let mut look = context.coil(["attach", "shown"]).start();
    look.wait_for_output("tick");
    look.signal("TERM");
    // Its program takes no signals as process 1, so it goes on.
    assert_eq!(inspect(&context, "shown")["State"]["Running"], true);
    context.coil(["kill", "shown"]).run().success();
    look.wait().expect_code(137);
}

#[test]
fn a_name_is_changed() {
    let context = shared();
    let id = ticker(&context, "old-name", &[]);
    ticker(&context, "other-name", &[]);
    context.coil(["rename", "old-name", "new-name"]).run().success();
    assert_eq!(inspect(&context, "new-name")["Id"], id);
    context.coil(["inspect", "old-name"]).run().refusal(&["old-name"]);
    context
        .coil(["rename", "new-name", "other-name"])
        .run()
        .expect_code(1)
        .refusal(&["already in use"]);
    context.coil(["rename", "new-name", "../x"]).run().expect_code(1);
    context
        .coil(["rename", "missing", "x-name"])
        .run()
        .refusal(&["missing"]);
    // The old name is free.
    ticker(&context, "old-name", &["--rm"]);
    // One that removes itself gives up the name that it has by then.
    context.coil(["rename", "old-name", "last-name"]).run().success();
    context.coil(["kill", "last-name"]).run().success();
    wait_until("it has removed itself", || {
        context.coil(["inspect", "last-name"]).run().code() != 0
    });
    ticker(&context, "last-name", &[]);
}

#[test]
fn limits_change_while_it_runs() {
    let context = shared();
    ticker(&context, "limited", &["--memory", "64m", "--pids-limit", "50"]);
    context
        .coil([
            "update",
            "--memory",
            "96m",
            "--memory-swap",
            "96m",
            "--cpus",
            "0.5",
            "--pids-limit",
            "60",
            "limited",
        ])
        .run()
        .success();
    let facts = inspect(&context, "limited");
    assert_eq!(facts["HostConfig"]["Memory"], 96 << 20);
    let script = "import glob\ndef first(*names):\n  for n in names:\n    for f in glob.glob(n): return open(f).read().split()[0]\n\
        print(first('/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/memory.max'), \
        first('/sys/fs/cgroup/pids/pids.max', '/sys/fs/cgroup/pids.max'))";
    let seen = context
        .coil(["exec", "limited", "python3", "-c", script])
        .run()
        .success();
    assert_eq!(seen.word(), format!("{} 60", 96 << 20));
    context
        .coil(["update", "limited"])
        .run()
        .refusal(&["one or more flags"]);
    context
        .coil(["update", "--restart", "sometimes", "limited"])
        .run()
        .refusal(&["sometimes"]);
    context
        .coil(["update", "--restart", "always", "limited"])
        .run()
        .success();
    assert_eq!(
        inspect(&context, "limited")["HostConfig"]["RestartPolicy"]["Name"],
        "always"
    );
    context
        .coil(["update", "--memory", "1", "limited"])
        .run()
        .refusal(&["6MB"]);
    // The policy of the update holds at the next end.
    context.coil(["exec", "limited", "sh", "-c", "kill -9 1"]).run();
    context.coil(["stop", "-t", "0", "limited"]).run().success();
}

#[test]
fn the_id_is_written_to_a_file_once() {
    let context = shared();
    let image = context.python_image();
    let file = context.path().join("id");
    let flag = format!("--cidfile={}", file.display());
    let id = context
        .coil(["create", &flag, image, "true"])
        .run()
        .success()
        .word()
        .to_owned();
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), id);
    let again = context.coil(["run", "--rm", &flag, image, "true"]).run();
    again.expect_code(125).refusal(&["container ID file found"]);
}

#[test]
fn exec_is_what_it_was_asked_to_be() {
    let context = shared();
    ticker(&context, "inside", &["--cap-drop", "ALL"]);
    let caps = |flags: &[&str]| {
        let exec = context.coil(["exec"]).args(flags);
        let run = exec.args([
            "inside",
            "sh",
            "-c",
            "grep -E 'CapEff|Seccomp:' /proc/self/status",
        ]);
        run.run().success().stdout().to_owned()
    };
    let plain = caps(&["-u", "0"]);
    assert!(
        plain.contains("CapEff:\t0000000000000000") && plain.contains("Seccomp:\t2"),
        "{plain}"
    );
    let all = caps(&["-u", "0", "--privileged"]);
    assert!(
        !all.contains("CapEff:\t0000000000000000") && all.contains("Seccomp:\t0"),
        "{all}"
    );
    let file = context.path().join("variables");
    std::fs::write(&file, "FROM_FILE=1\n").expect("a file");
    let env = context.coil(["exec", "--env-file"]).arg(&file).arg("inside");
    env.args(["sh", "-c", "echo $FROM_FILE"])
        .run()
        .success()
        .prints("1");
    context
        .coil(["exec", "-d", "inside", "sh", "-c", "echo done > /tmp/mark"])
        .run()
        .success();
    wait_until("the command in the background has run", || {
        context
            .coil(["exec", "inside", "cat", "/tmp/mark"])
            .run()
            .stdout()
            == "done\n"
    });
    context
        .coil(["kill", "-s", "NOPE", "inside"])
        .run()
        .refusal(&["invalid signal: NOPE"]);
    // By force what isn't there is as good as removed.
    context
        .coil(["rm", "-f", "missing"])
        .run()
        .expect_code(0)
        .prints("No such container: missing");
}

#[test]
fn logs_are_chosen_by_time() {
    let context = shared();
    let image = context.python_image();
    let script = "import time\nprint('first', flush=True); time.sleep(1.2); print('second', flush=True)";
    context
        .coil(["run", "--name", "times", image, "python3", "-c", script])
        .run()
        .success();
    let stamped = context
        .coil(["logs", "-t", "times"])
        .run()
        .success()
        .stdout()
        .to_owned();
    let stamps: Vec<&str> = stamped
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let logs = |flags: &[&str]| {
        context
            .coil(["logs"])
            .args(flags)
            .arg("times")
            .run()
            .success()
            .stdout()
            .to_owned()
    };
    assert_eq!(logs(&["--since", stamps[1]]), "second\n");
    assert_eq!(logs(&["--until", stamps[0]]), "first\n");
    assert_eq!(logs(&["--since", "1h"]), "first\nsecond\n");
    assert_eq!(logs(&["--until", "1h"]), "");
    assert_eq!(logs(&["-n", "1"]), "second\n");
    assert_eq!(logs(&["-n", "0"]), "");
    context
        .coil(["logs", "--since", "bogus", "times"])
        .run()
        .refusal(&["bogus"]);
    context
        .coil([
            "run",
            "--name",
            "silent",
            "--log-driver",
            "none",
            image,
            "echo",
            "x",
        ])
        .run()
        .success();
    context
        .coil(["logs", "silent"])
        .run()
        .refusal(&["logging driver"]);
}
