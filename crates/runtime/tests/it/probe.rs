//! What `coil doctor` is told about this machine, and that asking leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "a test that meets a surprise stops there")]

use coil_runtime::probe::{Answer, Fact, ProbeSettings, facts};
use std::os::unix::process::CommandExt;
use std::process::Command;

fn settings(scratch: &std::path::Path) -> ProbeSettings {
    ProbeSettings {
        search_path: vec!["/usr/bin".into()],
        user_name: None,
        data_root: scratch.join("not/yet/made"),
        scratch: scratch.to_owned(),
    }
}

fn find<'a>(facts: &'a [Fact], name: &str) -> &'a Fact {
    facts
        .iter()
        .find(|fact| fact.name == name)
        .unwrap_or_else(|| panic!("{name} is not among {facts:#?}"))
}

/// Runs a test on a thread with mounts and links of its own, so that those of others on this machine don't matter.
fn apart(test: fn()) {
    std::thread::spawn(move || {
        coil_sys::process::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS).unwrap();
        test();
    })
    .join()
    .unwrap();
}

#[test]
fn root_is_told_what_works_here() {
    apart(root_is_told);
}

fn root_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let state = || {
        let links = Command::new("ip")
            .args(["-j", "link"])
            .output()
            .expect("install the package iproute2")
            .stdout;
        (
            links,
            std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap(),
        )
    };
    let before = state();
    let facts = facts(&settings(scratch.path()));
    for name in [
        "kernel",
        "system call filter",
        "process descriptors",
        "safe paths",
        "overlay mounts",
        "bridges",
    ] {
        let fact = find(&facts, name);
        assert_eq!(fact.ok, Answer::Yes, "{fact:?}");
    }
    assert_eq!(find(&facts, "address translation").ok, Answer::Yes);
    assert!(find(&facts, "disk space").detail.contains("free of"));
    for fact in &facts {
        assert!(fact.ok == Answer::Yes || !fact.consequence.is_empty(), "{fact:?}");
    }
    assert_eq!(state(), before);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_user_is_told_what_works_here() {
    let scratch = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(scratch.path(), Some(12345), Some(12345)).unwrap();
    let output = Command::new(crate::container::exe())
        .args(["internal", "facts"])
        .arg(scratch.path())
        .uid(12345)
        .gid(12345)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for name in [
        "kernel",
        "system call filter",
        "user namespaces",
        "overlay mounts",
    ] {
        let line = text.lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|l| l.contains(": Yes ")), "{name} in {text}");
    }
    // What doesn't work has a consequence that is told.
    for line in text.lines() {
        assert!(line.contains(": Yes ") || !line.ends_with("()"), "{line}");
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_firewall_that_drops_what_is_forwarded_is_told_of() {
    apart(|| {
        let scratch = tempfile::tempdir().unwrap();
        let before = facts(&settings(scratch.path()));
        assert_eq!(find(&before, "firewall").ok, Answer::Yes);
        for words in [
            "add table ip filter",
            "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
        ] {
            assert!(Command::new("nft").arg(words).status().unwrap().success());
        }
        let after = facts(&settings(scratch.path()));
        let fact = find(&after, "firewall");
        assert_eq!(fact.ok, Answer::Partly);
        assert!(
            fact.detail.contains("FORWARD of the table filter") && fact.remedy.contains("coil+"),
            "{fact:?}"
        );
    });
}
