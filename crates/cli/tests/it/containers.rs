//! Containers from start to removal: ps, logs, stop, kill, rm, exec, inspect.

use coil_testkit::network::free_port;
use coil_testkit::{Context, Finished, wait_until};

use crate::shared;

const SLEEPER: &str = "import signal, sys, time\n\
    signal.signal(signal.SIGTERM, lambda *_: (print('stopping', flush=True), sys.exit(0)))\n\
    print('ready', flush=True)\nwhile True: time.sleep(60)";

/// Starts a container in the background that runs until it is told to stop, and waits until it is ready.
fn sleeper(context: &Context, name: &str, flags: &[&str]) -> String {
    let image = context.python_image();
    let run = context
        .coil(["run", "-d", "--name", name])
        .args(flags)
        .args([image, "python3", "-c", SLEEPER]);
    let id = run.run().success().word().to_owned();
    assert_eq!(id.len(), 64, "the id is printed in full: {id}");
    wait_until("the container is ready", || {
        context.coil(["logs", name]).run().stdout().contains("ready")
    });
    id
}

fn inspect(context: &Context, name: &str) -> serde_json::Value {
    context.coil(["inspect", name]).run().success().json()[0].clone()
}

fn ps(context: &Context, flags: &[&str]) -> Finished {
    context.coil(["ps"]).args(flags).run().success()
}

#[test]
fn a_containers_life() {
    let context = shared();
    let id = sleeper(&context, "life", &[]);
    let listed = ps(&context, &[]);
    for word in [
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
        &id[..12],
        "life",
        "Up ",
    ] {
        assert!(listed.stdout().contains(word), "no {word}\n{listed}");
    }
    assert_eq!(ps(&context, &["-q"]).word(), &id[..12]);
    assert_eq!(ps(&context, &["-q", "--no-trunc"]).word(), id);
    let state = inspect(&context, "life");
    assert_eq!(
        (&state["Id"], &state["Name"]),
        (&id.clone().into(), &"/life".into())
    );
    assert_eq!(
        (&state["State"]["Status"], &state["State"]["Running"]),
        (&"running".into(), &true.into())
    );

    context.coil(["rm", "life"]).run().refusal(&["running"]);
    assert_eq!(context.coil(["stop", "life"]).run().success().word(), "life");
    let state = inspect(&context, "life");
    assert_eq!(
        (&state["State"]["Status"], &state["State"]["ExitCode"]),
        (&"exited".into(), &0.into())
    );
    assert_eq!(
        context.coil(["logs", "life"]).run().success().stdout(),
        "ready\nstopping\n"
    );
    assert_eq!(ps(&context, &["-q"]).word(), "");
    ps(&context, &["-a"]).prints("Exited (0)");
    // Stopped twice is stopped.
    context.coil(["stop", "life"]).run().success();
    assert_eq!(context.coil(["rm", &id[..12]]).run().success().word(), &id[..12]);
    assert_eq!(ps(&context, &["-aq"]).word(), "");
    context.coil(["inspect", "life"]).run().refusal(&["life"]);
}

#[test]
fn kill_is_137_and_other_signals_are_passed() {
    let context = shared();
    sleeper(&context, "killed", &[]);
    context.coil(["kill", "killed"]).run().success();
    wait_until("the container is dead", || {
        inspect(&context, "killed")["State"]["Status"] == "exited"
    });
    assert_eq!(inspect(&context, "killed")["State"]["ExitCode"], 137);
    sleeper(&context, "asked", &[]);
    context
        .coil(["kill", "--signal", "TERM", "asked"])
        .run()
        .success();
    wait_until("the container is dead", || {
        inspect(&context, "asked")["State"]["Status"] == "exited"
    });
    assert_eq!(inspect(&context, "asked")["State"]["ExitCode"], 0);
    context.coil(["kill", "asked"]).run().refusal(&["not running"]);
}

#[test]
fn a_deaf_program_is_killed_after_the_time_to_stop() {
    let context = shared();
    let image = context.python_image();
    let script = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('ready', flush=True)\nwhile True: time.sleep(60)";
    context
        .coil(["run", "-d", "--name", "deaf", image, "python3", "-c", script])
        .run()
        .success();
    wait_until("the container is ready", || {
        context.coil(["logs", "deaf"]).run().stdout().contains("ready")
    });
    context.coil(["stop", "-t", "1", "deaf"]).run().success();
    assert_eq!(inspect(&context, "deaf")["State"]["ExitCode"], 137);
}

#[test]
fn logs_follow_until_the_end() {
    let context = shared();
    sleeper(&context, "told", &[]);
    let mut follow = context.coil(["logs", "-f", "told"]).start();
    follow.wait_for_output("ready");
    context.coil(["stop", "told"]).run().success();
    assert_eq!(follow.wait().success().stdout(), "ready\nstopping\n");
}

#[test]
fn logs_are_chosen_and_stamped() {
    let context = shared();
    let image = context.python_image();
    let script = "import sys\nprint('error', file=sys.stderr)\nfor i in range(5): print('line', i)";
    context
        .coil(["run", "--name", "lines", image, "python3", "-c", script])
        .run()
        .success();
    let logs = context.coil(["logs", "lines"]).run().success();
    assert_eq!((logs.stdout().lines().count(), logs.stderr()), (5, "error\n"));
    // The lines of the two streams may meet in any order; these are of one.
    let last = context.coil(["logs", "--tail", "1", "lines"]).run().success();
    assert!(
        last.stdout() == "line 4\n" || last.stderr() == "error\n",
        "{last}"
    );
    let stamped = context.coil(["logs", "--timestamps", "lines"]).run().success();
    assert!(
        stamped
            .stdout()
            .lines()
            .all(|line| line.contains('T') && line.contains("Z line ")),
        "{stamped}"
    );
}

#[test]
fn exec_runs_beside() {
    let context = shared();
    sleeper(&context, "host", &["-e", "GIVEN=1"]);
    let exec = |flags: &[&str], script: &str| {
        context
            .coil(["exec"])
            .args(flags)
            .args(["host", "python3", "-c", script])
    };
    exec(&[], "raise SystemExit(7)").run().expect_code(7);
    let facts = "import os; print(os.environ['GIVEN'], os.environ.get('MORE'), os.getcwd(), os.getuid(), os.getpid() > 1)";
    let shown = exec(&["-e", "MORE=2", "-w", "/tmp", "-u", "0"], facts)
        .run()
        .success();
    assert_eq!(shown.word(), "1 2 /tmp 0 True");
    let echo = exec(&["-i"], "print(input()[::-1])")
        .input("drawer\n")
        .run()
        .success();
    assert_eq!(echo.word(), "reward");
    context
        .coil(["exec", "host", "no-such-program"])
        .run()
        .expect_code(127);
    context
        .coil(["exec", "host", "/etc/passwd"])
        .run()
        .expect_code(126);
    context
        .coil(["exec", "no-such-container", "true"])
        .run()
        .refusal(&["no-such-container"]);
    let seen = "print('ready' in open('/proc/1/cmdline').read())";
    exec(&[], seen).run().success().prints("True");
    context.coil(["stop", "host"]).run().success();
    context
        .coil(["exec", "host", "true"])
        .run()
        .refusal(&["not running"]);
}

#[test]
fn a_name_is_taken_once() {
    let context = shared();
    let image = context.python_image();
    sleeper(&context, "unique", &[]);
    let again = context
        .coil(["run", "-d", "--name", "unique", image, "true"])
        .run();
    again.expect_code(125).refusal(&["unique", "in use"]);
    context.coil(["rm", "-f", "unique"]).run().success();
    context
        .coil(["run", "--rm", "--name", "unique", image, "true"])
        .run()
        .success();
    let bad = context
        .coil(["run", "--rm", "--name", "../evil", image, "true"])
        .run();
    bad.expect_code(125).refusal(&["../evil"]);
}

#[test]
fn containers_are_found_by_a_piece_of_their_id() {
    let context = shared();
    let id = sleeper(&context, "piece", &[]);
    for length in [64, 12, 8] {
        assert_eq!(inspect(&context, &id[..length])["Name"], "/piece");
    }
}

#[test]
fn a_detached_container_goes_on_and_removes_itself() {
    let context = shared();
    let image = context.python_image();
    let paths = [context.path(), context.root()];
    let before = coil_testkit::leftovers::Traces::of(&paths);
    let port = free_port();
    let flags = [
        "run",
        "-d",
        "--rm",
        "--name",
        "server",
        "-p",
        &format!("{port}:8000"),
        image,
    ];
    context
        .coil(flags)
        .args(["python3", "-m", "http.server", "8000"])
        .run()
        .success();
    coil_testkit::network::wait_for_http(port, "/");
    ps(&context, &[]).prints(&format!("{port}->8000/tcp"));
    context.coil(["stop", "-t", "0", "server"]).run().success();
    wait_until("it removes itself", || ps(&context, &["-aq"]).word().is_empty());
    coil_testkit::leftovers::Traces::none_since(&before, &paths);
}

#[test]
fn rm_takes_many_and_reports_each() {
    let context = shared();
    sleeper(&context, "one", &[]);
    sleeper(&context, "two", &[]);
    let removed = context.coil(["rm", "-f", "one", "missing", "two"]).run();
    assert_eq!(removed.stdout(), "one\ntwo\n");
    removed.prints("missing");
    context.coil(["rm", "missing"]).run().refusal(&["missing"]);
    assert_eq!(ps(&context, &["-aq"]).word(), "");
}
