//! Containers of an ordinary user: one id, a user namespace, no control groups on a version 1 host.

use crate::container::{Container, default_bits, exe};
use coil_runtime::cgroup::CgroupPlan;
use coil_runtime::network::{NameSettings, NetworkSpec};
use coil_runtime::spec::IdMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A user that no host has.
pub(crate) const USER: u32 = 12345;

/// Gives files to that user.
pub(crate) fn give(path: &Path) {
    std::os::unix::fs::lchown(path, Some(USER), Some(USER)).expect("chown");
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).expect("directory") {
            give(&entry.expect("entry").path());
        }
    }
}

fn container(words: &[&str], inside: u32) -> Container {
    let mut container = Container::new(words);
    make_rootless(&mut container, inside);
    container
}

/// Makes a container one of that user's.
pub(crate) fn make_rootless(container: &mut Container, inside: u32) {
    container.spec.id_map = IdMap::one(inside, inside, USER, USER);
    container.spec.user.uid = inside;
    container.spec.user.gid = inside;
    container.spec.cgroup = CgroupPlan::None {
        reason: "control groups are version 1 here".to_owned(),
    };
    std::fs::create_dir_all(&container.spec.container_dir).expect("directory");
    write_spec(container);
}

pub(crate) fn write_spec(container: &Container) {
    let bytes = serde_json::to_vec(&container.spec).expect("JSON");
    std::fs::write(container.spec.container_dir.join("spec.json"), bytes).expect("spec");
    give(&container.home);
}

pub(crate) fn as_user(container: &Container, role: &str, words: &[&str]) -> Command {
    let mut command = Command::new(exe());
    command
        .args(["internal", role])
        .arg(&container.spec.container_dir)
        .args(words);
    command.uid(USER).gid(USER).stdin(Stdio::null());
    command
}

fn output(container: &Container) -> Output {
    as_user(container, "run", &[]).output().expect("run")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix([' ', ':', '\t']));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

#[test]
fn root_inside_is_the_user_outside() {
    let words = [
        "id",
        "fds",
        "cat",
        "/proc/self/status",
        "calls",
        "write",
        "/file",
        "cat",
        "/proc/self/uid_map",
    ];
    let container = container(&words, 0);
    let output = output(&container);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.lines()
            .next()
            .is_some_and(|l| l.starts_with("uid 0 gid 0 ") && l.ends_with("pid 1")),
        "{text}"
    );
    let bits = default_bits();
    for (name, value) in [
        ("Seccomp", "2"),
        ("NoNewPrivs", "0"),
        ("CapEff", bits.as_str()),
        ("CapBnd", bits.as_str()),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("af_alg", "EPERM"),
        ("af_vsock", "EPERM"),
        ("socketcall", "ENOSYS"),
        ("unshare", "EPERM"),
        ("keyctl", "EPERM"),
        ("bpf", "EPERM"),
        ("clone3", "ENOSYS"),
        ("mount", "EPERM"),
        ("ping", "ok"),
        ("write /file", "ok"),
        ("3", ""),
    ] {
        if name == "3" {
            assert!(
                !text.lines().any(|l| l.starts_with("3 ")),
                "a descriptor is left open: {text}"
            );
        } else {
            assert_eq!(field(&text, name), value, "{name}");
        }
    }
    assert_eq!(
        text.lines()
            .last()
            .expect("map")
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["0", "12345", "1"]
    );
    let file = container.spec.container_dir.join("upper/file");
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(file).expect("file")),
        USER
    );
    container.wait_till_cleared();
}

#[test]
fn another_number_inside_may_be_the_user() {
    let container = container(&["id", "cat", "/proc/self/status", "calls"], 1000);
    let output = output(&container);
    let text = text(&output);
    assert!(text.starts_with("uid 1000 gid 1000"), "{text}");
    for (name, value) in [
        ("Seccomp", "2"),
        ("CapEff", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("ping", "ok"),
    ] {
        assert_eq!(field(&text, name), value, "{name}");
    }
}

#[test]
fn a_host_network_needs_no_namespace() {
    let mut container = container(&["id", "link", "/proc/self/ns/net", "write", "/sys/x"], 0);
    container.spec.network = NetworkSpec::Host(NameSettings::default());
    write_spec(&container);
    let text = text(&output(&container));
    let host = std::fs::read_link("/proc/self/ns/net").expect("link");
    assert!(text.contains(host.to_str().expect("text")), "{text}");
    assert_ne!(field(&text, "write /sys/x"), "ok");
}

#[test]
fn a_user_that_is_not_there_is_told() {
    let mut container = container(&["id"], 0);
    container.spec.user.uid = 33;
    write_spec(&container);
    let output = output(&container);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        text(&output).contains("cannot become user 33"),
        "{}",
        text(&output)
    );
}

#[test]
fn limits_that_cannot_be_kept_are_told() {
    let mut container = container(&["id"], 0);
    container.spec.limits.memory = Some(1 << 20);
    assert_eq!(
        container.spec.notices(),
        ["--memory has no effect: control groups are version 1 here"]
    );
}

#[test]
fn a_command_joins_the_user_namespace() {
    let mut container = container(&["echo", "up", "line"], 0);
    container.spec.stdin_open = true;
    write_spec(&container);
    let mut child = as_user(&container, "run", &[])
        .stdout(Stdio::piped())
        .spawn()
        .expect("run");
    let mut up = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().expect("output"), &mut up).expect("up");
    let output = as_user(
        &container,
        "run-in",
        &["probe", "id", "cat", "/proc/self/status", "fds", "calls"],
    )
    .output()
    .expect("exec");
    let text = text(&output);
    assert!(text.starts_with("uid 0 gid 0"), "{text}");
    let bits = default_bits();
    for (name, value) in [
        ("Seccomp", "2"),
        ("CapEff", bits.as_str()),
        ("CapBnd", bits.as_str()),
        ("af_alg", "EPERM"),
    ] {
        assert_eq!(field(&text, name), value, "{name}");
    }
    container.client().end_input().expect("input");
    child.wait().expect("end");
}

#[test]
fn namespaces_are_its_own() {
    let names = ["ipc", "mnt", "net", "pid", "uts", "user"];
    let paths: Vec<String> = names.iter().map(|n| format!("/proc/self/ns/{n}")).collect();
    let words: Vec<&str> = paths.iter().flat_map(|p| ["link", p]).collect();
    let text = text(&output(&container(&words, 0)));
    assert_eq!(text.lines().count(), names.len(), "{text}");
    for (name, inside) in names.iter().zip(text.lines()) {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("link");
        assert_ne!(host.to_str(), Some(inside), "{name}");
    }
}

#[test]
fn removal_leaves_nothing() {
    let mut container = container(&["write", "/file", "mkdir", "/tmp/x"], 0);
    container.spec.auto_remove = true;
    write_spec(&container);
    assert_eq!(output(&container).status.code(), Some(0));
    container.wait_till_cleared();
    assert!(!container.spec.container_dir.exists());
}
