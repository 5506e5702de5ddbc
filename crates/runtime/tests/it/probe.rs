//! What `coil doctor` is told about this machine, and that asking leaves nothing behind.

use coil_runtime::probe::{Answer, Fact, ProbeSettings, facts};
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

#[test]
fn root_is_told_what_works_here() {
    let scratch = tempfile::tempdir().unwrap();
    let state = || {
        let links = Command::new("ip")
            .args(["-j", "link"])
            .output()
            .expect("install the package iproute2")
            .stdout;
        (links, std::fs::read_to_string("/proc/self/mountinfo").unwrap())
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
