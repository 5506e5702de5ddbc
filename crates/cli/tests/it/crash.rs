//! Killed at many moments: the store stays whole, the next run succeeds, nothing is leaked.

use std::time::{Duration, Instant};

use coil_testkit::image::Layout;
use coil_testkit::leftovers::Traces;
use coil_testkit::process::signal;
use coil_testkit::{Context, wait_until};

use crate::bad_input::temporary_files;
use crate::{fresh, shared};

/// Packs the example `flask` and gives the digest.
fn digest(context: &Context) -> String {
    let output = context.path().join("layout");
    if output.exists() {
        std::fs::remove_dir_all(&output).expect("our own directory");
    }
    let project = context.example("flask");
    let target = format!("oci:{}", output.display());
    let arguments = [
        "pack".as_ref(),
        project.as_os_str(),
        "-t".as_ref(),
        "test/crash".as_ref(),
        "--output".as_ref(),
    ];
    context.coil(arguments).arg(&target).run().success();
    Layout::open(&output).image().digest
}

/// Starts a pack into `root` and sends it a signal after `delay`; gives the exit code.
fn interrupted(context: &Context, name: &str, delay: Duration) -> i32 {
    let project = context.example("flask");
    let pack = context
        .coil([
            "pack".as_ref(),
            project.as_os_str(),
            "-t".as_ref(),
            "test/crash".as_ref(),
        ])
        .start();
    // The moment is what this test is about, not a wait for something.
    std::thread::sleep(delay);
    pack.signal(name);
    pack.wait().code()
}

#[test]
fn a_pack_killed_at_many_moments() {
    let reference = fresh();
    let wanted = digest(&reference);
    let started = Instant::now();
    let timed = fresh();
    digest(&timed);
    let whole = started.elapsed();

    let context = fresh();
    // The lock is the project's: all three must pin the same.
    std::fs::copy(
        reference.example("flask").join("coil.lock"),
        context.example("flask").join("coil.lock"),
    )
    .expect("a lock");
    let moments = 12;
    for moment in 0..moments {
        interrupted(&context, "KILL", whole * moment / moments);
        // Each time the store can be read.
        context.coil(["images"]).run().success();
    }
    assert_eq!(digest(&context), wanted, "the next pack gives the same image");
    let left = temporary_files(&context);
    assert!(
        left.is_empty(),
        "what a killed pack left is cleaned up by the next: {left:?}"
    );
    context
        .coil(["run", "--rm", "test/crash", "python3", "-c", "import flask"])
        .run()
        .success();
}

#[test]
fn a_pack_interrupted_at_many_moments() {
    let context = fresh();
    let started = Instant::now();
    digest(&context);
    let whole = started.elapsed();
    let context = fresh();
    for moment in 0..6 {
        let code = interrupted(&context, "INT", whole * moment / 6);
        assert!([0, 130].contains(&code), "Ctrl-C gives 130, not {code}");
        let left = temporary_files(&context);
        assert!(left.is_empty(), "Ctrl-C leaves {left:?}");
    }
    digest(&context);
}

#[test]
fn a_run_killed_at_many_moments() {
    let context = shared();
    let image = context.python_image();
    let paths = [context.path(), context.root()];
    let before = Traces::of(&paths);
    let port = coil_testkit::network::free_port();
    let ports = format!("{port}:8000");
    let arguments = [
        "run",
        "--rm",
        "--name",
        "crash",
        "-p",
        &ports,
        image,
        "python3",
        "-c",
        "print('ran')",
    ];
    let started = Instant::now();
    context.coil(arguments).run().success();
    let whole = started.elapsed();
    for moment in 0..16 {
        let run = context.coil(arguments).start();
        std::thread::sleep(whole * moment / 16);
        run.signal("KILL");
        run.wait();
        // The monitor may have been started: its container ends by itself.
        wait_until("the name is free and the next run succeeds", || {
            context.coil(arguments).run().code() == 0
        });
    }
    wait_until("no container stays", || {
        context.coil(["ps", "-aq"]).run().success().word().is_empty()
    });
    Traces::none_since(&before, &paths);
}

#[test]
fn a_killed_monitor_takes_its_container_along() {
    let context = shared();
    let image = context.python_image();
    let paths = [context.path(), context.root()];
    let before = Traces::of(&paths);
    let script = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(60)";
    context
        .coil(["run", "-d", "--name", "alone", image, "python3", "-c", script])
        .run()
        .success();
    wait_until("the container is ready", || {
        context.coil(["logs", "alone"]).run().stdout().contains("ready")
    });
    let state = || context.coil(["inspect", "alone"]).run().success().json()[0]["State"].clone();
    let pid = u32::try_from(state()["Pid"].as_u64().expect("a process id")).expect("a process id");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .expect("a parent");
    signal(parent.trim().parse().expect("a process id"), "KILL");
    wait_until("the container is known to be dead", || {
        state()["Status"] == "exited"
    });
    context.coil(["rm", "-f", "alone"]).run().success();
    Traces::none_since(&before, &paths);
}
