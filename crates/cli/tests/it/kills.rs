//! coil itself killed while it works on a container: what `ps` tells is so, the container can be removed, nothing is left.

use std::time::Instant;

use coil_testkit::leftovers::Traces;
use coil_testkit::process::signal;
use coil_testkit::{Context, wait_until};

use crate::shared;

const MOMENTS: u32 = 5;

/// So many where a monitor is on its way when its starter is killed.
const MANY: u32 = 16;

/// The container that commands are tried on, made and perhaps started.
fn make(context: &Context, runs: bool) {
    let image = context.python_image();
    let how = if runs { &["run", "-d"][..] } else { &["create"] };
    let made = context
        .coil(how)
        .args(["--network", "none", "--name", "worked-on", image, "sleep", "600"]);
    made.run().success();
}

/// The words of a command, and whether its container is made and runs before.
fn commands<'a>(image: &'a str, file: &'a str) -> Vec<(Option<bool>, Vec<&'a str>)> {
    vec![
        (
            None,
            vec![
                "create",
                "--network",
                "none",
                "--name",
                "worked-on",
                image,
                "true",
            ],
        ),
        (
            None,
            vec!["run", "-d", "--name", "worked-on", image, "sleep", "600"],
        ),
        (Some(false), vec!["start", "worked-on"]),
        (Some(true), vec!["exec", "worked-on", "true"]),
        (Some(true), vec!["stop", "-t", "0", "worked-on"]),
        (Some(true), vec!["restart", "-t", "0", "worked-on"]),
        (Some(true), vec!["pause", "worked-on"]),
        (Some(true), vec!["update", "--pids-limit", "50", "worked-on"]),
        (Some(true), vec!["rm", "-f", "worked-on"]),
        (Some(true), vec!["cp", file, "worked-on:/copied"]),
        (Some(true), vec!["commit", "worked-on", "test/worked-on"]),
    ]
}

#[test]
fn a_command_that_is_killed_leaves_a_container_that_can_be_removed() {
    let context = shared();
    let image = context.python_image();
    let file = context.path().join("file");
    std::fs::write(&file, vec![7; 1 << 20]).expect("a file");
    let file = file.display().to_string();
    let paths = [context.path(), context.root()];
    let before = Traces::of(&paths);
    for (container, words) in commands(image, &file) {
        let prepare = || {
            if let Some(runs) = container {
                make(&context, runs);
            }
        };
        prepare();
        let started = Instant::now();
        context.coil(&words).run().success();
        let whole = started.elapsed();
        context.coil(["rm", "-f", "worked-on"]).run().success();
        let moments = match words[0] {
            "start" | "run" => MANY,
            _ => MOMENTS,
        };
        for moment in 0..moments {
            prepare();
            let command = context.coil(&words).start();
            // The moment is what this test is about, not a wait for something.
            std::thread::sleep(whole * moment / moments);
            command.signal("KILL");
            command.wait();
            // What is told to run does run.
            let state = context
                .coil([
                    "inspect",
                    "--format",
                    "{{.State.Status}} {{.State.Pid}}",
                    "worked-on",
                ])
                .run();
            if let Some(pid) = state.word().strip_prefix("running ") {
                let there = std::path::Path::new("/proc").join(pid).exists();
                let again = context
                    .coil([
                        "inspect",
                        "--format",
                        "{{.State.Status}} {{.State.Pid}}",
                        "worked-on",
                    ])
                    .run();
                assert!(there || again.word() != state.word(), "{words:?}: {state}");
            }
            context.coil(["ps", "-a"]).run().success();
            let removed = context.coil(["rm", "-f", "worked-on"]).run();
            assert_eq!(removed.code(), 0, "{words:?} after {moment}/{moments}\n{removed}");
            // A command that still works on it may come after that.
            wait_until("it is gone", || {
                context.coil(["rm", "-f", "worked-on"]).run();
                !context
                    .coil(["ps", "-aq", "-f", "name=worked-on"])
                    .run()
                    .stdout()
                    .contains(char::is_alphanumeric)
            });
        }
    }
    context.coil(["rmi", "-f", "test/worked-on"]).run();
    Traces::none_since(&before, &paths);
}

/// A program that is replaced while it works, as by an upgrade, goes on as what it was.
#[test]
fn a_command_whose_file_is_replaced_starts_what_it_was_asked_to() {
    let context = shared();
    let image = context.python_image();
    let script = "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))\n\
                  print('ready', flush=True)\nwhile True: time.sleep(600)";
    context
        .coil(["run", "-d", "--network", "none", "--name", "upgraded", image])
        .args(["python3", "-c", script])
        .run()
        .success();
    let said = |word: &str| context.coil(["logs", "upgraded"]).run().stdout().contains(word);
    wait_until("it is ready", || said("ready"));
    let program = context.path().join("coil-of-before");
    std::fs::copy(context.binary(), &program).expect("a copy");
    let restart = context
        .program(&program)
        .args(["restart", "-t", "2", "upgraded"])
        .start();
    wait_until("it is asked to end", || said("asked"));
    std::fs::remove_file(&program).expect("removed");
    std::fs::write(&program, "no program").expect("a file");
    let done = restart.wait();
    assert_eq!(done.code(), 0, "{done}");
    let state = context
        .coil(["inspect", "-f", "{{.State.Status}}", "upgraded"])
        .run();
    assert_eq!(state.word(), "running", "{state}");
    context.coil(["rm", "-f", "upgraded"]).run().success();
}

/// Kills the monitor of a container that was told to remove itself, at many moments of its life and end.
#[test]
fn a_container_that_removes_itself_goes_with_its_monitor() {
    let context = shared();
    let image = context.python_image();
    let paths = [context.path(), context.root()];
    let root = context.root().display().to_string();
    let before = Traces::of(&paths);
    for moment in 0..MANY {
        let mut run = context
            .coil([
                "run", "-d", "--rm", "--name", "brief", "-p", "8000", image, "true",
            ])
            .start();
        let monitors = || monitors(&root);
        wait_until("it has a monitor, or had one", || {
            !monitors().is_empty() || run.has_ended()
        });
        // The moment is what this test is about, not a wait for something.
        std::thread::sleep(std::time::Duration::from_millis(6) * moment);
        for monitor in monitors() {
            signal(monitor, "KILL");
        }
        run.wait();
        wait_until("it is gone", || {
            context.coil(["ps", "-aq"]).run().success().word().is_empty()
        });
    }
    Traces::none_since(&before, &paths);
}

/// The monitors of a data root's containers.
fn monitors(root: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("it is there").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|number: &u32| {
            let words = std::fs::read_to_string(format!("/proc/{number}/cmdline")).unwrap_or_default();
            words.contains("internal\0monitor\0") && words.contains(root)
        })
        .collect()
}
