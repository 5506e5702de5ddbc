//! The command line itself: help, version, every command documented.

use std::fs;
use std::path::Path;

use crate::fresh;

/// The names in the list of commands that `coil --help` prints.
fn commands() -> Vec<String> {
    let help = fresh().coil(["--help"]).run().success();
    let list = help
        .stdout()
        .split("Commands:")
        .nth(1)
        .expect("help lists the commands")
        .to_owned();
    let lines = list.lines().skip(1).take_while(|line| line.starts_with("  "));
    // Two blanks and a letter begin a command; deeper lines go on with its text.
    let heads = lines
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    heads.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_is_documented_and_has_help() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
    let page = fs::read_to_string(page).expect("docs/commands.md");
    let names = commands();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        assert!(
            page.contains(&format!("coil {name}")),
            "docs/commands.md says nothing of `coil {name}`"
        );
        fresh()
            .coil([name.as_str(), "--help"])
            .run()
            .success()
            .prints("Usage:");
    }
}

#[test]
fn the_commands_are_dockers() {
    let names = commands();
    let wanted = [
        "pack", "run", "ps", "logs", "stop", "kill", "rm", "exec", "images", "rmi", "tag", "inspect",
        "history", "doctor",
    ];
    for name in wanted {
        assert!(
            names.iter().any(|known| known == name),
            "no `coil {name}` among {names:?}"
        );
    }
}

#[test]
fn version_is_told() {
    fresh()
        .coil(["--version"])
        .run()
        .success()
        .prints(env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_wrong_command_names_the_near_one() {
    let finished = fresh().coil(["rum"]).run();
    assert_ne!(finished.code(), 0);
    finished.prints("run");
}

#[test]
fn the_data_root_is_a_flag_too() {
    let context = fresh();
    let root = context.path().join("elsewhere");
    let arguments = ["--root".as_ref(), root.as_os_str(), "images".as_ref()];
    context.coil(arguments).env_remove("COIL_ROOT").run().success();
    assert!(!context.root().exists(), "the other root was used");
}

#[test]
fn doctor_says_what_works() {
    let context = fresh();
    let report = context.coil(["doctor"]).run();
    for subject in ["overlay", "control group", "namespace", "pack"] {
        assert!(
            report.stdout().to_lowercase().contains(subject),
            "nothing about {subject}\n{report}"
        );
    }
    report.success();
}
