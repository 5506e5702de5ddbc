//! Builds at the same time, and builds that are ended in the middle.

use std::fs;
use std::path::Path;

use coil_testkit::{Context, wait_until};

use crate::shared;

const PYTHON: &str = "python:3.11-slim";

fn with_python() -> Context {
    let context = shared();
    context.coil(["base", PYTHON]).run().success();
    context
}

/// What a process left in the store's folder of temporary files.
fn left(context: &Context, pid: u32) -> Vec<String> {
    let own = format!("{pid}-");
    let mut names = context.unfinished();
    names.retain(|name| name.starts_with(&own));
    names
}

/// Whether a program with this word on its command line runs.
fn runs(word: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("/proc can be read").flatten();
    processes.into_iter().any(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|own| own == word)
    })
}

fn unique(folder: &Path) -> String {
    folder
        .display()
        .to_string()
        .replace(|c: char| !c.is_alphanumeric(), "-")
}

/// Each build clears up what killed ones left, while others begin their steps.
#[test]
fn no_build_sweeps_away_the_steps_of_another() {
    let context = with_python();
    let folder = context.project(
        "sweeping",
        &[(
            "Dockerfile",
            "FROM python:3.11-slim\nRUN true\nRUN true # again\nRUN true # and again\n",
        )],
    );
    for _ in 0..3 {
        let builds: Vec<_> = (0..5)
            .map(|_| context.coil(["build", "-q", "--no-cache"]).arg(&folder).start())
            .collect();
        for build in builds {
            build.wait().success();
        }
    }
}

#[test]
fn a_step_that_two_builds_need_is_made_once() {
    let context = with_python();
    let folder = context.project("together", &[("Dockerfile", "")]);
    let mark = unique(&folder);
    // The time that a step writes tells which run of it is kept.
    let text = format!(
        "FROM python:3.11-slim\nRUN echo {mark}; sleep 1; date +%s%N > /when\nRUN cat /when > /then; cp /when /again\n"
    );
    fs::write(folder.join("Dockerfile"), text).unwrap();
    let builds: Vec<_> = (0..3)
        .map(|_| context.coil(["build", "-q"]).arg(&folder).start())
        .collect();
    let ids: Vec<String> = builds
        .into_iter()
        .map(|build| build.wait().success().word().to_owned())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let again = context
        .coil(["build", "--progress", "plain"])
        .arg(&folder)
        .run()
        .success();
    assert_eq!(again.stderr().matches(" CACHED").count(), 2, "{}", again.stderr());
}

#[test]
fn a_build_that_is_ended_leaves_nothing_and_the_next_one_goes_on() {
    let context = with_python();
    for signal in ["INT", "TERM", "KILL"] {
        let name = format!("ended-{signal}");
        let folder = context.project(&name, &[("Dockerfile", ""), ("file", "x")]);
        let mark = format!("{}-{signal}", unique(&folder));
        let text = format!(
            "FROM python:3.11-slim\nCOPY file /file\nRUN --mount=type=secret,id=s --mount=type=bind,target=/ctx,rw \\\n  \
             test -e /go || (echo begun; exec -a {mark} sleep 1000)\n"
        );
        let text = text.replace(
            "RUN --mount=type=secret",
            "SHELL [\"/bin/bash\", \"-c\"]\nRUN --mount=type=secret",
        );
        fs::write(folder.join("Dockerfile"), text).unwrap();
        let mut build = context
            .coil(["build", "--progress", "plain", "--secret", "id=s,env=S"])
            .arg(&folder)
            .env("S", "ended-secret")
            .start();
        let pid = build.pid();
        build.wait_for_output(" begun");
        build.signal(signal);
        let code = build.wait().code();
        let expected = match signal {
            "INT" => 130,
            "TERM" => 143,
            _ => 137,
        };
        assert_eq!(code, expected, "{signal}");
        wait_until("the step's program to be gone", || !runs(&mark));
        // What a killed process left goes with the next command that writes.
        let text = fs::read_to_string(folder.join("Dockerfile")).unwrap();
        fs::write(
            folder.join("Dockerfile"),
            text.replace("test -e /go ||", "true ||"),
        )
        .unwrap();
        context
            .coil(["build", "-q", "--secret", "id=s,env=S"])
            .arg(&folder)
            .env("S", "ended-secret")
            .run()
            .success();
        assert_eq!(left(&context, pid), Vec::<String>::new(), "{signal}");
    }
}
