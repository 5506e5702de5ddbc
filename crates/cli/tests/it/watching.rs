//! What containers do and use: top, stats, events.

use coil_testkit::{Context, wait_until};

use crate::shared;

fn sleeper(context: &Context, name: &str) {
    let image = context.python_image();
    context
        .coil([
            "run",
            "-d",
            "--name",
            name,
            image,
            "python3",
            "-c",
            "import time; time.sleep(600)",
        ])
        .run()
        .success();
}

#[test]
fn processes_and_numbers_are_shown() {
    let context = shared();
    sleeper(&context, "busy");
    let top = context.coil(["top", "busy"]).run().success();
    assert!(
        top.stdout().starts_with("UID                 PID ") && top.stdout().contains("time.sleep(600)"),
        "{top}"
    );
    assert_eq!(top.stdout().lines().count(), 2, "{top}");
    context
        .coil(["top", "nothing"])
        .run()
        .expect_code(1)
        .refusal(&["No such container: nothing"]);

    let stats = context.coil(["stats", "--no-stream", "busy"]).run().success();
    for word in ["CONTAINER ID", "MEM USAGE / LIMIT", "BLOCK I/O", "busy", "MiB / "] {
        assert!(stats.stdout().contains(word), "no {word}\n{stats}");
    }
    let line = context
        .coil(["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "busy"])
        .run()
        .success();
    assert_eq!(line.stdout(), "busy 1\n");
    context
        .coil(["stats", "--no-stream", "--format", "{{.Foo}}", "busy"])
        .run()
        .expect_code(1)
        .refusal(&["can't evaluate field Foo in type *container.statsContext"]);
    context
        .coil(["stats", "--no-stream", "nothing"])
        .run()
        .expect_code(1)
        .refusal(&["nothing"]);
    context.coil(["kill", "busy"]).run().success();
    wait_until("it has ended", || {
        context
            .coil(["inspect", "-f", "{{.State.Status}}", "busy"])
            .run()
            .stdout()
            == "exited\n"
    });
    context
        .coil(["top", "busy"])
        .run()
        .expect_code(1)
        .refusal(&["is not running"]);
    context
        .coil(["stats", "--no-stream", "busy"])
        .run()
        .success()
        .prints("0B / 0B");
}

#[test]
fn events_are_told_and_followed() {
    let context = shared();
    let image = context.python_image();
    let mut follow = context
        .coil([
            "events",
            "--filter",
            "container=told",
            "--format",
            "{{.Action}} {{.Actor.Attributes.name}}",
        ])
        .start();
    // It is there once it tells of something.
    let mut number = 0;
    wait_until("the log is followed", || {
        number += 1;
        context.coil(["create", "--name", "told", image]).run().success();
        context.coil(["rm", "told"]).run().success();
        !follow.stdout().is_empty()
    });
    let create = ["create", "--name", "told", image, "python3", "-c", ""];
    let id = context.coil(create).run().success().word().to_owned();
    context.coil(["start", "told"]).run().success();
    follow.wait_for_output("die told");
    follow.signal("INT");
    follow.wait();
    let past = |flags: &[&str]| {
        context
            .coil(["events", "--since", "1h", "--until", "0s", "--filter"])
            .arg(format!("container={id}"))
            .args(flags)
            .run()
    };
    let lines = past(&["--filter", "event=die"]).success();
    assert_eq!(lines.stdout().lines().count(), 1, "{lines}");
    for word in [" container die ", "exitCode=0", "name=told"] {
        assert!(lines.stdout().contains(word), "no {word}\n{lines}");
    }
    let json = past(&["--filter", "event=start", "--format", "json"]).success();
    let event: serde_json::Value = serde_json::from_str(json.word()).expect("a line of JSON");
    assert_eq!(
        (&event["status"], &event["Type"]),
        (&"start".into(), &"container".into())
    );
    past(&["--filter", "foo=bar"])
        .expect_code(1)
        .refusal(&["invalid filter 'foo'"]);
    context
        .coil(["events", "--since", "x"])
        .run()
        .expect_code(1)
        .refusal(&["failed to parse value as time or duration"]);
}
