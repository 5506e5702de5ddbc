//! Containers that are made, started, ended and started again: create, start, restart.

use std::path::Path;

use coil_testkit::process::signal;
use coil_testkit::{Context, wait_until};
use serde_json::Value;

use crate::shared;

fn state(context: &Context, name: &str) -> Value {
    context.coil(["inspect", name]).run().success().json()[0]["State"].clone()
}

fn create(context: &Context, flags: &[&str], script: &str) -> String {
    let image = context.python_image();
    let made = context
        .coil(["create"])
        .args(flags)
        .args([image, "python3", "-c", script]);
    made.run().success().word().to_owned()
}

/// Prints its number of starts, which it keeps in its own file system.
const COUNTER: &str = "import os\nn = int(open('/tmp/n').read()) + 1 if os.path.exists('/tmp/n') else 1\n\
    open('/tmp/n', 'w').write(str(n)); print('start', n)\nraise SystemExit(n)";

#[test]
fn a_container_is_made_and_started_later() {
    let context = shared();
    let id = create(&context, &["--name", "later", "-e", "A=1"], COUNTER);
    assert_eq!(id.len(), 64);
    assert_eq!(state(&context, "later")["Status"], "created");
    let listed = context.coil(["ps", "-a"]).run().success();
    listed.prints("Created");
    assert_eq!(context.coil(["ps", "-q"]).run().success().word(), "");
    assert_eq!(context.coil(["start", "later"]).run().success().word(), "later");
    wait_until("it has ended", || state(&context, "later")["Status"] == "exited");
    assert_eq!(state(&context, "later")["ExitCode"], 1);
    // The same file system, the same id.
    let again = context.coil(["start", "-a", "later"]).run().expect_code(2);
    assert_eq!(again.stdout(), "start 2\n");
    assert_eq!(
        context.coil(["inspect", "later"]).run().success().json()[0]["Id"],
        id
    );
    assert_eq!(
        context.coil(["logs", "later"]).run().success().stdout(),
        "start 1\nstart 2\n"
    );
    context.coil(["rm", "later"]).run().success();
}

#[test]
fn input_goes_to_a_container_that_is_started_with_it() {
    let context = shared();
    create(&context, &["-i", "--name", "reader"], "print(input()[::-1])");
    let run = context.coil(["start", "-ai", "reader"]).input("drawer\n").run();
    assert_eq!(run.success().stdout(), "reward\n");
}

#[test]
fn a_container_that_cannot_start_stays_made() {
    let context = shared();
    let image = context.python_image();
    context
        .coil(["run", "--name", "stays", image, "no-such-program"])
        .run()
        .expect_code(127);
    let state = state(&context, "stays");
    assert_eq!(
        (&state["Status"], &state["ExitCode"]),
        (&"created".into(), &127.into())
    );
    assert!(
        state["Error"]
            .as_str()
            .is_some_and(|text| text.contains("no-such-program")),
        "{state}"
    );
    context.coil(["rm", "stays"]).run().success();
    context
        .coil(["run", "--rm", "--name", "stays", image, "no-such-program"])
        .run()
        .expect_code(127);
    assert_eq!(context.coil(["ps", "-aq"]).run().success().word(), "");
}

#[test]
fn started_twice_is_started_once() {
    let context = shared();
    let script = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(60)";
    create(&context, &["--name", "twice"], script);
    context.coil(["start", "twice", "twice"]).run().success();
    let first = state(&context, "twice");
    context.coil(["start", "twice"]).run().success();
    assert_eq!(state(&context, "twice")["Pid"], first["Pid"]);
    // Several at once: one starts it, the others find it running.
    context.coil(["stop", "-t", "0", "twice"]).run().success();
    let starts: Vec<_> = (0..4).map(|_| context.coil(["start", "twice"]).start()).collect();
    for start in starts {
        start.wait().success();
    }
    assert_eq!(state(&context, "twice")["Running"], true);
    context
        .coil(["start", "missing"])
        .run()
        .refusal(&["No such container: missing"]);
}

#[test]
fn restart_gives_a_new_process_in_the_same_container() {
    let context = shared();
    let script = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\nprint('ready', flush=True)\n\
        while True: time.sleep(60)";
    create(&context, &["--name", "again"], script);
    let ready = |times: usize| {
        wait_until("it is ready", || {
            context
                .coil(["logs", "again"])
                .run()
                .stdout()
                .matches("ready")
                .count()
                == times
        });
    };
    // One that doesn't run is just started.
    context.coil(["restart", "again"]).run().success();
    ready(1);
    let first = state(&context, "again");
    assert_eq!(
        context
            .coil(["restart", "-t", "60", "again"])
            .run()
            .success()
            .word(),
        "again"
    );
    ready(2);
    let second = state(&context, "again");
    assert_eq!(second["Running"], true);
    assert_ne!(first["Pid"], second["Pid"]);
    assert_ne!(first["StartedAt"], second["StartedAt"]);
}

/// What a boot does: every process of the containers ends at once, and the folder of live state is empty.
pub(crate) fn boot(context: &Context, running: &[&str]) {
    for name in running {
        let pid = state(context, name)["Pid"].as_u64().expect("a process id");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let parent = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))
            .expect("a parent");
        signal(parent.trim().parse().expect("a process id"), "KILL");
        wait_until("it is dead", || state(context, name)["Running"] == false);
    }
    let root = context.root().canonicalize().expect("the data root");
    let digest = coil_oci::Digest::of(root.as_os_str().as_encoded_bytes());
    let run = Path::new("/run/coil").join(&digest.hex()[..8]);
    std::fs::remove_dir_all(run).expect("the folder of live state");
}

#[test]
fn what_was_made_outlives_a_boot() {
    let context = shared();
    let script = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(60)";
    create(&context, &["--name", "boot-made"], COUNTER);
    create(&context, &["--name", "boot-ended"], COUNTER);
    context.coil(["start", "-a", "boot-ended"]).run().expect_code(1);
    create(&context, &["--name", "boot-ran"], script);
    context.coil(["start", "boot-ran"]).run().success();
    boot(&context, &["boot-ran"]);
    assert_eq!(state(&context, "boot-made")["Status"], "created");
    assert_eq!(state(&context, "boot-ended")["Status"], "exited");
    assert_eq!(state(&context, "boot-ran")["Status"], "exited");
    context.coil(["start", "-a", "boot-made"]).run().expect_code(1);
    context.coil(["start", "-a", "boot-ended"]).run().expect_code(2);
    context.coil(["start", "boot-ran"]).run().success();
    context
        .coil(["rm", "-f", "boot-made", "boot-ended", "boot-ran"])
        .run()
        .success();
}
