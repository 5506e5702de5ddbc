//! Commands in a container that runs.

use crate::container::{Container, default_bits};
use coil_runtime::spec::User;

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix([' ', ':', '\t']));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

#[test]
fn a_command_is_as_confined_as_its_container() {
    let container = Container::new(&["pause"]);
    let _started = container.started();
    let spec = container.exec_spec(&["fds", "cat", "/proc/self/status", "calls", "exit", "9"]);
    let (text, code) = container.exec(&spec).expect("exec");
    assert_eq!(code, 9);
    for (name, value) in [
        ("Seccomp", "2"),
        ("NoNewPrivs", "0"),
        ("CapEff", default_bits().as_str()),
        ("CapBnd", default_bits().as_str()),
        ("CapInh", "0000000000000000"),
        ("af_alg", "EPERM"),
        ("clone3", "ENOSYS"),
        ("unshare", "EPERM"),
    ] {
        assert_eq!(field(&text, name), value, "{name}");
    }
    let links = text
        .lines()
        .filter(|l| l.starts_with(|c: char| c.is_ascii_digit()))
        .count();
    assert_eq!(links, 3, "{text}");
    let mut spec = container.exec_spec(&["id", "cwd", "cat", "/proc/self/status"]);
    spec.user = User {
        uid: 1000,
        gid: 1000,
        groups: vec![],
    };
    spec.cwd = "/home/app".to_owned();
    let (text, _) = container.exec(&spec).expect("exec");
    assert!(text.starts_with("uid 1000 gid 1000 groups pid "), "{text}");
    assert_eq!(field(&text, "cwd"), "/home/app");
    assert_eq!(field(&text, "CapEff"), "0000000000000000");
}

#[test]
fn a_command_that_cannot_run_says_why() {
    let container = Container::new(&["pause"]);
    let _started = container.started();
    let mut spec = container.exec_spec(&[]);
    spec.args = vec!["nope".to_owned()];
    let error = container.exec(&spec).expect_err("a failure");
    assert_eq!(
        (error.exit_code(), error.to_string().as_str()),
        (127, "exec: \"nope\": executable file not found in $PATH")
    );
    let mut spec = container.exec_spec(&["cwd"]);
    for number in 0..20 {
        spec.cwd = format!("/proc/self/fd/{number}");
        assert!(container.exec(&spec).is_err(), "{number}");
    }
}

#[test]
fn no_command_in_a_container_that_ended() {
    let container = Container::new(&["echo", "x"]);
    container.run();
    let error = container
        .exec(&container.exec_spec(&["id"]))
        .expect_err("a failure");
    assert_eq!(error.to_string(), "the container is not running");
}

#[test]
fn a_command_may_have_a_terminal() {
    let container = Container::new(&["pause"]);
    let _started = container.started();
    let mut spec = container.exec_spec(&["tty"]);
    spec.terminal = true;
    spec.tty_size = Some((20, 70));
    let (text, code) = container.exec(&spec).expect("exec");
    assert!(text.starts_with("tty 1 1 20 x 70 /dev/pts/"), "{text}");
    assert_eq!(code, 0);
}
