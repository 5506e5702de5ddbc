//! What a build shows while it goes on and where it fails, and the shell that opens there.

use coil_testkit::Context;

use crate::{fresh, shared};

const PYTHON: &str = "python:3.11-slim";

fn with_python() -> Context {
    let context = shared();
    context.coil(["base", PYTHON]).run().success();
    context
}

/// Runs coil on a terminal; gives what stood on the screen and the exit code.
fn on_a_terminal(context: &Context, line: &str) -> (String, i32) {
    let line = format!("{} {line}", context.binary().display());
    let run = context
        .program("script")
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .run();
    (run.stdout().to_owned(), run.code())
}

#[test]
fn a_terminal_gets_a_view_that_changes_and_stands_whole_at_the_end() {
    let context = with_python();
    let folder = context.project(
        "live",
        &[(
            "Dockerfile",
            "FROM python:3.11-slim\nRUN echo line-one; echo line-two\nWORKDIR /live\n",
        )],
    );
    let line = format!("build --no-cache -t live-view {}", folder.display());
    let (screen, code) = on_a_terminal(&context, &line);
    assert_eq!(code, 0, "{screen}");
    for part in [
        "[+] Building ",
        "(3/3) FINISHED",
        " => [2/3] RUN echo line-one",
        "\x1b[",
        "\x1b[34m",
    ] {
        assert!(screen.contains(part), "{part}: {screen:?}");
    }
    // Found again, and without colours where they aren't wanted.
    let line = line.replace("--no-cache ", "");
    let plain = context
        .program("script")
        .args([
            "-qec",
            &format!("{} {line}", context.binary().display()),
            "/dev/null",
        ])
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .run()
        .success();
    assert!(
        plain.stdout().contains(" => CACHED [2/3] RUN echo line-one"),
        "{}",
        plain.stdout()
    );
    assert!(!plain.stdout().contains("\x1b[34m"));
    // A log is asked for.
    let (log, _) = on_a_terminal(&context, &line.replace("build", "build --progress plain"));
    assert!(log.contains("CACHED") && !log.contains("[+] Building"), "{log}");
    context.coil(["rmi", "live-view"]).run().success();
}

#[test]
fn a_failure_shows_the_lines_the_last_output_and_what_to_do() {
    let context = with_python();
    let folder = context.project(
        "fails",
        &[(
            "Dockerfile",
            "FROM python:3.11-slim\n# why\nRUN echo reason-for-it && \\\n    exit 3\nCMD x\n",
        )],
    );
    let (screen, code) = on_a_terminal(&context, &format!("build {}", folder.display()));
    assert_eq!(code, 1);
    for part in [
        "FAILED",
        " => ERROR [2/2] RUN echo reason-for-it",
        "did not complete successfully: exit code: 3",
        "--> Dockerfile:3",
        "3 > | RUN echo reason-for-it && \\",
        "4 > |     exit 3",
        "  | reason-for-it",
        "help: `coil build --debug`",
    ] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
}

#[test]
fn programs_get_one_object_a_line_and_a_terminal_is_never_made_up() {
    let context = fresh();
    let folder = context.project("raw", &[("Dockerfile", "FROM scratch\nCOPY a /b\n"), ("a", "1")]);
    let raw = context
        .coil(["build", "--progress", "rawjson"])
        .arg(&folder)
        .run()
        .success();
    let lines: Vec<serde_json::Value> = raw
        .stderr()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let copied: Vec<_> = lines
        .iter()
        .filter_map(|line| line["vertexes"].get(0))
        .filter(|vertex| vertex["name"] == "[2/2] COPY a /b")
        .collect();
    assert!(
        copied.iter().any(|vertex| vertex["completed"].is_string()),
        "{lines:?}"
    );
    assert!(
        copied
            .iter()
            .all(|vertex| vertex["digest"] == copied[0]["digest"])
    );
    let quiet = context
        .coil(["build", "--progress", "quiet"])
        .arg(&folder)
        .run()
        .success();
    assert!(quiet.word().starts_with("sha256:") && quiet.stderr().is_empty());
    context
        .coil(["build", "--progress", "tty"])
        .arg(&folder)
        .run()
        .refusal(&["--progress tty", "no terminal", "--progress plain"]);
    context
        .coil(["build"])
        .arg(&folder)
        .env("BUILDKIT_PROGRESS", "colourful")
        .run()
        .refusal(&["BUILDKIT_PROGRESS", "colourful"]);
}

#[test]
fn a_shell_opens_where_a_step_failed_and_at_the_end_of_a_stage() {
    let context = with_python();
    let folder = context.project(
        "debug",
        &[
            ("context-file", "from-the-context\n"),
            (
                "Dockerfile",
                "FROM python:3.11-slim AS first\nENV STAGE=one\nWORKDIR /here\nFROM first AS second\nENV STAGE=two\n\
                 RUN --mount=type=bind,target=/ctx --mount=type=secret,id=token echo half > made; exit 4\n",
            ),
        ],
    );
    let shell = context
        .coil(["build", "--debug", "--secret", "id=token,env=TOKEN"])
        .arg(&folder)
        .env("TOKEN", "told-to-the-step")
        .input("cat made /ctx/context-file /run/secrets/token; echo $STAGE $PWD; exit 9\n")
        .run()
        .expect_code(1);
    for part in ["half\n", "from-the-context\n", "told-to-the-step", "two /here\n"] {
        assert!(
            shell.stdout().contains(part),
            "{part}: {} {}",
            shell.stdout(),
            shell.stderr()
        );
    }
    assert!(shell.stderr().contains("exit code: 4"), "{}", shell.stderr());
    let stage = context
        .coil(["build", "--debug=first"])
        .arg(&folder)
        .input("echo $STAGE $PWD; touch gone; exit 9\n")
        .run()
        .expect_code(9);
    assert_eq!(stage.stdout(), "one /here\n");
    let empty = context.project(
        "no-shell",
        &[("Dockerfile", "FROM scratch AS bare\nCOPY Dockerfile /\n")],
    );
    context
        .coil(["build", "--debug=bare"])
        .arg(&empty)
        .run()
        .refusal(&["no shell"]);
}

#[test]
fn a_shell_opens_in_the_files_that_another_instruction_failed_on() {
    let context = with_python();
    let folder = context.project(
        "debug-copy",
        &[(
            "Dockerfile",
            "FROM python:3.11-slim\nENV STAGE=three\nRUN mkdir /made && echo there > /made/file\nWORKDIR /made\nCOPY missing.txt .\n",
        )],
    );
    let shell = context
        .coil(["build", "--debug"])
        .arg(&folder)
        .input("cat file; echo $STAGE $PWD; exit 0\n")
        .run()
        .expect_code(1);
    assert_eq!(shell.stdout(), "there\nthree /made\n");
    for part in [
        "debug: [4/4] COPY missing.txt . failed: \"/missing.txt\": not found",
        "Dockerfile:5",
    ] {
        assert!(shell.stderr().contains(part), "{part}: {}", shell.stderr());
    }
}
