//! The examples: each starts, answers or ends with 0.

use coil_testkit::network::{free_port, http_get, wait_for_http};
use coil_testkit::wait_until;

use crate::shared;

/// Starts an example with a published port, looks at it, and stops it as Ctrl-C does.
fn serves(name: &str, look: impl FnOnce(u16)) {
    let context = shared();
    let project = context.example(name);
    let port = free_port();
    let ports = format!("{port}:8000");
    let arguments = [
        "run".as_ref(),
        "--rm".as_ref(),
        "-p".as_ref(),
        ports.as_ref(),
        project.as_os_str(),
    ];
    let paths = [context.path(), context.root()];
    let before = coil_testkit::leftovers::Traces::of(&paths);
    let mut run = context.coil(arguments).start();
    wait_until("the example answers", || {
        assert!(!run.has_ended(), "it ended:\n{}\n{}", run.stdout(), run.stderr());
        http_get(port, "/").is_ok_and(|answer| answer.status == 200)
    });
    look(port);
    run.signal("INT");
    let finished = run.wait();
    assert!(
        [0, 130].contains(&finished.code()),
        "Ctrl-C stops it cleanly\n{finished}"
    );
    assert!(!finished.stderr().contains("Traceback"), "{finished}");
    coil_testkit::leftovers::Traces::none_since(&before, &paths);
    assert_eq!(
        context.coil(["ps", "-aq"]).run().success().word(),
        "",
        "no container stays"
    );
}

#[test]
fn fastapi_answers() {
    serves("fastapi", |port| {
        let text = wait_for_http(port, "/");
        assert!(text.contains(r#""hello":"world""#), "{text}");
    });
}

#[test]
fn flask_answers() {
    serves("flask", |port| {
        let text = wait_for_http(port, "/?name=you");
        assert!(text.contains(r#""hello":"you""#), "{text}");
    });
}

#[test]
fn django_answers_with_its_static_files() {
    serves("django", |port| {
        assert!(wait_for_http(port, "/").contains("Visits so far"));
        assert!(wait_for_http(port, "/static/notes/site.css").contains("font:"));
    });
}

#[test]
fn science_computes() {
    let context = shared();
    let project = context.example("science");
    let run = context
        .coil(["run".as_ref(), "--rm".as_ref(), project.as_os_str()])
        .run()
        .success();
    for library in ["numpy", "scipy", "pandas"] {
        assert!(
            run.stdout()
                .lines()
                .any(|line| line.starts_with(library) && line.ends_with("3.0001")),
            "{run}"
        );
    }
}

#[test]
fn worker_ends_and_stops() {
    let context = shared();
    let project = context.example("worker");
    let run = |flags: &[&str]| context.coil(["run"]).args(flags).arg(&project);
    let finished = run(&["--rm", "-e", "TICKS=2", "-e", "SECONDS=0"]).run().success();
    assert!(
        finished.stdout().contains("worker: tick 2\nworker: done\n"),
        "{finished}"
    );
    run(&["-d", "--name", "worker"]).run().success();
    wait_until("it ticks", || {
        context.coil(["logs", "worker"]).run().stdout().contains("tick 1")
    });
    context.coil(["stop", "worker"]).run().success();
    context
        .coil(["logs", "worker"])
        .run()
        .success()
        .prints("SIGTERM, stopping");
    let state = context.coil(["inspect", "worker"]).run().success().json()[0]["State"].clone();
    assert_eq!(state["ExitCode"], 0, "{state}");
}
