//! What networks leave behind: nothing, however their containers end.

use std::time::Duration;

use coil_testkit::leftovers::Traces;
use coil_testkit::network::free_port;
use coil_testkit::process::signal;
use coil_testkit::{Context, wait_until};

use super::{address, inspect, look_up, networks, sleeper};
use crate::shared;

#[test]
fn killed_monitors_leave_no_devices_addresses_or_rules() {
    let context = shared();
    let paths = [context.path(), context.root()];
    let before = Traces::of(&paths);
    {
        let mut own = networks(&context);
        own.make("frail", &["--ipv6"]);
        let port = free_port();
        sleeper(
            &context,
            "doomed",
            &["--network", "frail", "-p", &format!("{port}:80")],
        );
        sleeper(&context, "witness", &["--network", "frail"]);
        let monitor = monitor_of(&context, "doomed");
        signal(monitor, "KILL");
        wait_until("the container is dead", || {
            inspect(&context, "doomed")["State"]["Status"] == "exited"
        });
        // Before anybody cleared up, its name is gone; after the next start its address is free.
        assert_eq!(look_up(&context, "witness", "doomed"), "not found");
        context.coil(["rm", "-f", "doomed"]).run().success();
        sleeper(
            &context,
            "doomed",
            &["--network", "frail", "-p", &format!("{port}:80")],
        );
        assert_ne!(
            address(&context, "doomed", "frail"),
            address(&context, "witness", "frail")
        );
    }
    Traces::none_since(&before, &paths);
}

/// The process that watches over a container: the parent of its first one.
fn monitor_of(context: &Context, name: &str) -> u32 {
    let pid = inspect(context, name)["State"]["Pid"]
        .as_i64()
        .unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent
        .and_then(|text| text.trim().parse().ok())
        .expect("it has a parent")
}

#[test]
fn run_and_remove_leaves_the_machine_as_it_was() {
    let context = shared();
    let image = context.python_image();
    let paths = [context.path(), context.root()];
    let before = Traces::of(&paths);
    {
        let mut own = networks(&context);
        own.make("brief", &[]);
        for _ in 0..10 {
            context
                .coil([
                    "run",
                    "--rm",
                    "--network",
                    "brief",
                    "--network",
                    "bridge",
                    "-p",
                    "80",
                    image,
                    "true",
                ])
                .run()
                .success();
        }
        // Whoever has ended is out of the network, at once.
        context.coil(["network", "rm", "brief"]).run().success();
    }
    Traces::none_since(&before, &paths);
}

#[test]
fn prune_removes_what_nobody_uses() {
    let context = shared();
    let mut own = networks(&context);
    own.make("used", &[]);
    own.make("unused", &[]);
    own.make("kept", &["--label", "keep"]);
    sleeper(&context, "user", &["--network", "used"]);
    let pruned = context
        .coil(["network", "prune", "-f", "--filter", "label!=keep"])
        .run()
        .success();
    assert!(
        pruned.stdout().starts_with("Deleted Networks:\nunused\n"),
        "{pruned}"
    );
    let left = context
        .coil(["network", "ls", "-f", "type=custom", "--format", "{{.Name}}"])
        .run();
    assert_eq!(left.success().stdout(), "kept\nused\n");
    let asked = context.coil(["network", "prune"]).input("n\n").run().success();
    asked.prints("WARNING!");
}

/// The monitors of this data root's containers of a name: those of others are left alone.
fn monitors(context: &Context, name: &str) -> Vec<u32> {
    let containers = context.root().join("containers-v1").display().to_string();
    let name = format!("\"name\":\"{name}\"");
    std::fs::read_dir("/proc")
        .expect("processes")
        .flatten()
        .filter_map(|entry| {
            let words = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let folder = words.split('\0').find(|word| word.starts_with(&containers))?;
            let spec = std::fs::read_to_string(std::path::Path::new(folder).join("spec.json")).ok()?;
            let ours = words.contains("internal\0monitor") && spec.contains(&name);
            ours.then(|| entry.file_name().to_str()?.parse().ok())?
        })
        .collect()
}

#[test]
fn monitors_killed_at_any_step_leave_nothing() {
    let context = shared();
    let image = context.python_image();
    let paths = [context.path(), context.root()];
    let before = Traces::of(&paths);
    {
        let mut own = networks(&context);
        // One address is left for the container: the next start would miss one that leaked.
        own.make(
            "torn",
            &["--subnet", "198.18.77.0/29", "--ip-range", "198.18.77.2/32"],
        );
        let published = format!("127.0.0.1:{}:80", free_port());
        let flags = ["--network", "torn", "-p", &published, image];
        for moment in 0..10 {
            let start = context
                .coil(["run", "-d", "--name", "torn"])
                .args(flags)
                .args(["sleep", "600"])
                .start();
            // Not a wait for something: each round is cut off at another step.
            std::thread::sleep(Duration::from_millis(20 + 4 * moment));
            for monitor in monitors(&context, "torn") {
                signal(monitor, "KILL");
            }
            start.wait();
            context.coil(["rm", "-f", "torn"]).run().success();
            context
                .coil(["run", "--rm", "--name", "whole"])
                .args(flags)
                .arg("true")
                .run()
                .success();
        }
    }
    Traces::none_since(&before, &paths);
}
