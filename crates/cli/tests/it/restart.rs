//! Restart policies: what is started again, when not, and what a boot brings back.

use coil_testkit::{Context, wait_until};
use serde_json::Value;

use crate::lifecycle::boot;
use crate::shared;

fn inspect(context: &Context, name: &str) -> Value {
    context.coil(["inspect", name]).run().success().json()[0].clone()
}

fn status(context: &Context, name: &str) -> String {
    let status = &inspect(context, name)["State"]["Status"];
    status.as_str().expect("a status").to_owned()
}

fn run(context: &Context, flags: &[&str], script: &str) {
    let image = context.python_image();
    context
        .coil(["run", "-d"])
        .args(flags)
        .args([image, "sh", "-c", script])
        .run()
        .success();
}

#[test]
fn failures_are_tried_again_so_often() {
    let context = shared();
    run(
        &context,
        &["--name", "tries", "--restart", "on-failure:2"],
        "echo tried; exit 3",
    );
    wait_until("it has given up", || status(&context, "tries") == "exited");
    let facts = inspect(&context, "tries");
    assert_eq!(
        (&facts["RestartCount"], &facts["State"]["ExitCode"]),
        (&2.into(), &3.into())
    );
    assert_eq!(
        facts["HostConfig"]["RestartPolicy"],
        serde_json::json!({ "Name": "on-failure", "MaximumRetryCount": 2 })
    );
    assert_eq!(
        context.coil(["logs", "tries"]).run().success().stdout(),
        "tried\ntried\ntried\n"
    );
    // Success is the end.
    run(
        &context,
        &["--name", "once", "--restart", "on-failure"],
        "echo tried",
    );
    wait_until("it has ended", || status(&context, "once") == "exited");
    assert_eq!(inspect(&context, "once")["RestartCount"], 0);
}

#[test]
fn what_runs_always_runs_again_until_it_is_stopped() {
    let context = shared();
    // The first time it ends at once, then it stays.
    let script = "if [ -e /tmp/second ]; then echo stays; exec sleep 600; fi; touch /tmp/second; echo first";
    run(&context, &["--name", "always", "--restart", "always"], script);
    wait_until("it runs for the second time", || {
        context.coil(["logs", "always"]).run().stdout() == "first\nstays\n"
    });
    let facts = inspect(&context, "always");
    assert_eq!(
        (&facts["RestartCount"], &facts["State"]["Running"]),
        (&1.into(), &true.into())
    );
    context.coil(["stop", "-t", "0", "always"]).run().success();
    assert_eq!(status(&context, "always"), "exited");
    // Started by hand its restarts are counted anew.
    context.coil(["start", "always"]).run().success();
    assert_eq!(inspect(&context, "always")["RestartCount"], 0);
    context.coil(["kill", "always"]).run().success();
    wait_until("it is dead", || status(&context, "always") == "exited");
}

#[test]
fn a_container_between_two_starts_is_stopped_and_removed_like_any_other() {
    let context = shared();
    for name in ["stopped", "removed"] {
        run(&context, &["--name", name, "--restart", "always"], "exit 7");
    }
    wait_until("both wait for their next start", || {
        ["stopped", "removed"].iter().all(|name| {
            let facts = inspect(&context, name);
            facts["RestartCount"].as_u64() >= Some(3) && facts["State"]["Status"] == "restarting"
        })
    });
    context.coil(["ps"]).run().success().prints("Restarting (7)");
    context
        .coil(["exec", "stopped", "true"])
        .run()
        .expect_code(1)
        .refusal(&["restarting"]);
    assert_eq!(
        context.coil(["stop", "stopped"]).run().success().word(),
        "stopped"
    );
    assert_eq!(status(&context, "stopped"), "exited");
    assert_eq!(inspect(&context, "stopped")["State"]["ExitCode"], 7);
    context.coil(["rm", "-f", "removed"]).run().success();
    context.coil(["inspect", "removed"]).run().refusal(&["removed"]);
}

#[test]
fn a_wrong_policy_is_refused() {
    let context = shared();
    let image = context.python_image();
    for policy in ["sometimes", "always:3", "on-failure:x"] {
        let run = context.coil(["run", "--restart", policy, image, "true"]).run();
        run.expect_code(125).refusal(&["restart policy"]);
    }
    let run = context
        .coil(["run", "--rm", "--restart", "always", image, "true"])
        .run();
    run.expect_code(125).refusal(&["--restart and --rm"]);
}

#[test]
fn a_boot_starts_what_is_to_run() {
    let context = shared();
    let sleeps = "exec sleep 600";
    for (name, policy) in [
        ("b-always", "always"),
        ("b-unless", "unless-stopped"),
        ("b-halted", "unless-stopped"),
        ("b-failure", "on-failure"),
        ("b-never", "no"),
    ] {
        run(&context, &["--name", name, "--restart", policy], sleeps);
    }
    let image = context.python_image();
    context
        .coil(["create", "--name", "b-made", "--restart", "always", image, "true"])
        .run()
        .success();
    context.coil(["stop", "-t", "0", "b-halted"]).run().success();
    boot(&context, &["b-always", "b-unless", "b-failure", "b-never"]);
    let started = context.coil(["system", "boot"]).run().success();
    assert_eq!(started.stdout(), "b-always\nb-unless\nb-failure\n");
    for (name, expected) in [
        ("b-always", "running"),
        ("b-unless", "running"),
        ("b-halted", "exited"),
        ("b-failure", "running"),
        ("b-never", "exited"),
        ("b-made", "created"),
    ] {
        assert_eq!(status(&context, name), expected, "{name}");
    }
    assert_eq!(context.coil(["system", "boot"]).run().success().stdout(), "");
    let unit = context.coil(["system", "boot", "--unit"]).run().success();
    for line in ["[Service]", "Type=oneshot", "system boot", "[Install]"] {
        assert!(unit.stdout().contains(line), "no {line}\n{unit}");
    }
}
