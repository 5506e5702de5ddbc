//! Health checks: states, what counts, what is kept.

use coil_testkit::{Context, wait_until};
use serde_json::Value;

use crate::shared;

fn health(context: &Context, name: &str) -> Value {
    context.coil(["inspect", name]).run().success().json()[0]["State"]["Health"].clone()
}

fn run(context: &Context, name: &str, flags: &[&str]) {
    let image = context.python_image();
    context
        .coil(["run", "-d", "--name", name])
        .args(flags)
        .args([image, "sleep", "600"])
        .run()
        .success();
}

#[test]
fn a_container_becomes_healthy_and_unhealthy() {
    let context = shared();
    run(
        &context,
        "well",
        &[
            "--health-cmd",
            "test ! -e /tmp/ill && echo fine",
            "--health-interval",
            "100ms",
            "--health-retries",
            "2",
        ],
    );
    wait_until("it is healthy", || {
        health(&context, "well")["Status"] == "healthy"
    });
    context.coil(["ps"]).run().success().prints("(healthy)");
    let results = health(&context, "well")["Log"].clone();
    assert_eq!(
        (&results[0]["ExitCode"], &results[0]["Output"]),
        (&0.into(), &"fine\n".into())
    );
    context
        .coil(["exec", "well", "touch", "/tmp/ill"])
        .run()
        .success();
    wait_until("it is unhealthy", || {
        health(&context, "well")["Status"] == "unhealthy"
    });
    let state = health(&context, "well");
    assert!(state["FailingStreak"].as_u64() >= Some(2), "{state}");
    assert!(
        state["Log"].as_array().is_some_and(|log| log.len() <= 5),
        "{state}"
    );
    context.coil(["exec", "well", "rm", "/tmp/ill"]).run().success();
    wait_until("it is healthy again", || {
        health(&context, "well")["Status"] == "healthy"
    });
    assert_eq!(health(&context, "well")["FailingStreak"], 0);
}

#[test]
fn failures_at_the_start_do_not_count() {
    let context = shared();
    run(
        &context,
        "young",
        &[
            "--health-cmd",
            "exit 1",
            "--health-interval",
            "1h",
            "--health-retries",
            "1",
            "--health-start-period",
            "1h",
            "--health-start-interval",
            "50ms",
        ],
    );
    wait_until("several probes failed", || {
        health(&context, "young")["Log"]
            .as_array()
            .is_some_and(|log| log.len() == 5)
    });
    let state = health(&context, "young");
    assert_eq!(
        (&state["Status"], &state["FailingStreak"]),
        (&"starting".into(), &0.into())
    );
    context.coil(["ps"]).run().success().prints("(health: starting)");
}

#[test]
fn a_probe_that_takes_too_long_or_prints_too_much() {
    let context = shared();
    run(
        &context,
        "slow",
        &[
            "--health-cmd",
            "sleep 600",
            "--health-interval",
            "50ms",
            "--health-timeout",
            "200ms",
            "--health-retries",
            "1",
        ],
    );
    wait_until("it is unhealthy", || {
        health(&context, "slow")["Status"] == "unhealthy"
    });
    let results = health(&context, "slow")["Log"].clone();
    assert_eq!(results[0]["ExitCode"], -1);
    let text = results[0]["Output"].as_str().expect("text");
    assert!(text.contains("exceeded timeout (200ms)"), "{text}");
    run(
        &context,
        "loud",
        &[
            "--health-cmd",
            "python3 -c \"print('x' * 100000)\"",
            "--health-interval",
            "50ms",
        ],
    );
    wait_until("it is healthy", || {
        health(&context, "loud")["Status"] == "healthy"
    });
    let results = health(&context, "loud")["Log"].clone();
    let text = results[0]["Output"].as_str().expect("text");
    assert_eq!(text.len(), 4096 + 3, "the rest is cut");
    // What the probes started is gone with them.
    context.coil(["rm", "-f", "slow", "loud"]).run().success();
}

#[test]
fn no_check_is_no_health() {
    let context = shared();
    run(&context, "plain", &["--no-healthcheck"]);
    assert_eq!(health(&context, "plain"), Value::Null);
    let image = context.python_image();
    let refused = context.coil([
        "run",
        "--health-cmd",
        "true",
        "--health-interval",
        "1us",
        image,
        "true",
    ]);
    refused.run().expect_code(125).refusal(&["1ms"]);
}
