//! `coil run`: what a container's process sees, and how its end is told. Words and exit codes are Docker's.

use std::fs;

use coil_testkit::wait_until;

use crate::shared;

/// `coil run --rm FLAGS IMAGE python3 -c SCRIPT`.
fn python(context: &coil_testkit::Context, flags: &[&str], script: &str) -> coil_testkit::Finished {
    let image = context.python_image();
    context
        .coil(["run", "--rm"])
        .args(flags)
        .args([image, "python3", "-c", script])
        .run()
}

#[test]
fn exit_codes_are_the_programs_own() {
    let context = shared();
    for code in [0, 1, 3, 42, 255] {
        python(&context, &[], &format!("raise SystemExit({code})")).expect_code(code);
    }
    let killed = "import os, signal, subprocess, sys; os.kill(os.getpid(), signal.SIGKILL)";
    // The first process of a namespace is immune to its own signals: a child's death is what a shell would tell.
    let child =
        format!("import subprocess; raise SystemExit(128 - subprocess.call(['python3', '-c', {killed:?}]))");
    python(&context, &[], &child).expect_code(137);
}

#[test]
fn what_cant_be_started_has_dockers_codes() {
    let context = shared();
    let image = context.python_image();
    let run = |word: &str| context.coil(["run", "--rm", image, word]).run();
    run("no-such-program")
        .expect_code(127)
        .prints("executable file not found in $PATH");
    run("/no/such/program").expect_code(127);
    run("/etc/passwd").expect_code(126).prints("permission denied");
    run("/etc").expect_code(126);
    context
        .coil(["run", "--rm", "test/no-such-image:1"])
        .run()
        .expect_code(125)
        .refusal(&["no-such-image"]);
    context
        .coil(["run", "--no-such-flag", image])
        .run()
        .expect_code(125);
}

#[test]
fn output_and_errors_are_apart() {
    let context = shared();
    let finished = python(
        &context,
        &[],
        "import sys; print('out'); print('err', file=sys.stderr)",
    )
    .success();
    assert_eq!((finished.stdout(), finished.stderr()), ("out\n", "err\n"));
    let large = python(&context, &[], "import sys; sys.stdout.write('x' * 3_000_000)").success();
    assert_eq!(large.stdout().len(), 3_000_000);
}

#[test]
fn input_is_passed_with_interactive_alone() {
    let context = shared();
    let image = context.python_image();
    let script = "import sys; print(len(sys.stdin.buffer.read()))";
    let run = |flags: &[&str]| {
        let run = context
            .coil(["run", "--rm"])
            .args(flags)
            .args([image, "python3", "-c", script]);
        run.input(vec![b'x'; 1_000_000]).run().success().word().to_owned()
    };
    assert_eq!(run(&["-i"]), "1000000");
    assert_eq!(run(&[]), "0");
}

#[test]
fn the_environment_is_the_images_and_the_flags() {
    let context = shared();
    let file = context.path().join("env.list");
    fs::write(&file, "# a comment\nFROM_FILE=a=b \nBOTH=file\nPASSED\n\n").expect("our own directory");
    let image = context.python_image();
    let script = "import os; print(sorted(os.environ.items()))";
    let run = context.coil([
        "run",
        "--rm",
        "-e",
        "BOTH=flag",
        "-e",
        "PASSED_BY_FLAG",
        "--env=EMPTY=",
        "--env-file",
    ]);
    let run = run.arg(&file).args([image, "python3", "-c", script]);
    let shown = run
        .env("PASSED", "1")
        .env("PASSED_BY_FLAG", "2")
        .env("SECRET", "3")
        .run()
        .success();
    for pair in [
        "('BOTH', 'flag')",
        "('FROM_FILE', 'a=b ')",
        "('PASSED', '1')",
        "('PASSED_BY_FLAG', '2')",
        "('EMPTY', '')",
        "('HOSTNAME', '",
        "('HOME', '",
        "('PATH', '",
    ] {
        assert!(shown.stdout().contains(pair), "{pair} is missing\n{shown}");
    }
    assert!(
        !shown.stdout().contains("SECRET"),
        "the caller's environment leaks\n{shown}"
    );
}

#[test]
fn host_directories_are_bound() {
    let context = shared();
    let folder = context.project("data", &[("in.txt", "from the host")]);
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("our own directory");
    let bind = format!("{}:/data", folder.display());
    let script = "open('/data/out.txt', 'w').write(open('/data/in.txt').read().upper())";
    python(&context, &["-v", &bind], script).success();
    assert_eq!(
        fs::read_to_string(folder.join("out.txt")).expect("written by the container"),
        "FROM THE HOST"
    );

    let read_only = format!("{bind}:ro");
    let refused =
        "import errno\ntry: open('/data/more.txt', 'w')\nexcept OSError as e: raise SystemExit(e.errno)";
    python(&context, &["-v", &read_only], refused).expect_code(30);

    let file = format!("{}:/etc/motd:ro", folder.join("in.txt").display());
    python(&context, &["-v", &file], "print(open('/etc/motd').read())")
        .success()
        .prints("from the host");

    let missing = format!("{}/made/by/run:/data", context.path().display());
    python(
        &context,
        &["-v", &missing],
        "import os; print(os.listdir('/data'))",
    )
    .success()
    .prints("[]");
}

#[test]
fn working_directory_user_and_name_are_set() {
    let context = shared();
    let script = "import os; print(os.getcwd(), os.getuid(), os.getgid(), os.uname().nodename)";
    let shown = python(
        &context,
        &["-w", "/tmp", "-u", "1234:77", "--hostname", "box"],
        script,
    )
    .success();
    assert_eq!(shown.word(), "/tmp 1234 77 box");
    assert_eq!(
        python(&context, &["-u", "0"], "import os; print(os.getuid())")
            .success()
            .word(),
        "0"
    );
    assert_eq!(
        python(&context, &["-u", "root"], "import os; print(os.getuid())")
            .success()
            .word(),
        "0"
    );
    assert_eq!(
        python(&context, &[], "import os; print(os.getuid())")
            .success()
            .word(),
        "1000"
    );
    python(&context, &["-u", "nobody-of-this-name"], "pass")
        .expect_code(125)
        .prints("nobody-of-this-name");
}

#[test]
fn a_working_directory_is_made_when_it_is_missing() {
    let context = shared();
    let shown = python(
        &context,
        &["-w", "/not/there/yet"],
        "import os; print(os.getcwd())",
    )
    .success();
    assert_eq!(shown.word(), "/not/there/yet");
}

#[test]
fn the_entrypoint_is_replaced() {
    let context = shared();
    let image = context.python_image();
    let run = context.coil([
        "run",
        "--rm",
        "--entrypoint",
        "python3",
        image,
        "-c",
        "print(6 * 7)",
    ]);
    assert_eq!(run.run().success().word(), "42");
}

#[test]
fn a_terminal_is_one() {
    let context = shared();
    let image = context.python_image();
    let script = "import os, sys; print(os.isatty(0), os.isatty(1), os.ttyname(1), os.get_terminal_size())";
    let command = format!(
        "stty rows 33 cols 77; exec '{}' run --rm -it {image} python3 -c '{script}'",
        context.binary().display()
    );
    let typescript = context
        .program("/usr/bin/script")
        .args(["-qec", &command, "/dev/null"])
        .env("SHELL", "/bin/sh");
    let shown = typescript.run().success();
    shown.prints("True True /dev/pts/0 os.terminal_size(columns=77, lines=33)");
    // Without a terminal on our side, `-t` is refused as Docker does.
    context
        .coil(["run", "--rm", "-it", image, "true"])
        .run()
        .prints("not a TTY");
}

#[test]
fn more_memory_than_allowed_is_137() {
    let context = shared();
    let script = "b = bytearray(200 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1";
    python(&context, &["--memory", "64m"], script).expect_code(137);
    python(&context, &["--memory", "400m"], script).success();
    let image = context.python_image();
    context
        .coil([
            "run", "--name", "oom", "--memory", "64m", image, "python3", "-c", script,
        ])
        .run()
        .expect_code(137);
    let state = context.coil(["inspect", "oom"]).run().success().json()[0]["State"].clone();
    assert_eq!(
        (&state["OOMKilled"], &state["ExitCode"]),
        (&true.into(), &137.into()),
        "{state}"
    );
    context
        .coil(["run", "--rm", "--memory", "1", image, "true"])
        .run()
        .expect_code(125);
}

#[test]
fn processors_are_rationed() {
    let context = shared();
    // Half a processor: for a second of work two seconds pass at least.
    let script = "import time\nwall, cpu = time.monotonic(), time.process_time()\nwhile time.process_time() - cpu < 1: pass\n\
                  print(time.monotonic() - wall)";
    let seconds: f64 = python(&context, &["--cpus", "0.5"], script)
        .success()
        .word()
        .parse()
        .expect("a number");
    assert!(seconds > 1.7, "{seconds}");
}

#[test]
fn removed_containers_leave_nothing() {
    let context = shared();
    let image = context.python_image();
    let paths = [context.path(), context.root()];
    let before = coil_testkit::leftovers::Traces::of(&paths);
    let containers = || coil_testkit::tree::paths(context.root()).len();
    let files = containers();
    python(
        &context,
        &["-p", &format!("{}:80", coil_testkit::network::free_port())],
        "open('/tmp/x', 'w')",
    )
    .success();
    python(&context, &["--memory", "100m"], "raise SystemExit(5)").expect_code(5);
    context
        .coil(["run", "--rm", image, "no-such-program"])
        .run()
        .expect_code(127);
    coil_testkit::leftovers::Traces::none_since(&before, &paths);
    assert_eq!(files, containers(), "files stay in the data root");
}

#[test]
fn interrupts_and_terminations_reach_the_program() {
    let context = shared();
    let image = context.python_image();
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1), ("USR1", 10)] {
        let script = format!(
            "import signal, sys, time\nsignal.signal({number}, lambda *_: sys.exit({number}))\nprint('ready', flush=True)\n\
             while True: time.sleep(60)"
        );
        let mut run = context
            .coil(["run", "--rm", image, "python3", "-c", &script])
            .start();
        run.wait_for_output("ready");
        run.signal(name);
        run.wait().expect_code(number);
    }
}

#[test]
fn a_program_that_ignores_interrupts_ends_by_the_third() {
    let context = shared();
    let image = context.python_image();
    let script = "import signal, time\nsignal.signal(2, signal.SIG_IGN)\nprint('ready', flush=True)\nwhile True: time.sleep(60)";
    let mut run = context
        .coil(["run", "--rm", image, "python3", "-c", script])
        .start();
    run.wait_for_output("ready");
    wait_until("the run ends after some interrupts", || {
        run.signal("INT");
        std::thread::sleep(std::time::Duration::from_millis(50));
        run.has_ended()
    });
    assert_ne!(run.wait().code(), 0);
}

#[test]
fn orphans_are_reaped_and_end_with_the_container() {
    let context = shared();
    let script = "import subprocess\nsubprocess.Popen(['python3', '-c', 'import time; time.sleep(600)'], \
                  start_new_session=True)\nprint('done')";
    python(&context, &[], script).success().prints("done");
}

#[test]
fn a_directory_runs_as_its_image_does() {
    let context = shared();
    let project = context.example("worker");
    let arguments = [
        "run".as_ref(),
        "--rm".as_ref(),
        "-e".as_ref(),
        "TICKS=2".as_ref(),
        project.as_os_str(),
    ];
    context
        .coil(arguments)
        .env("SECONDS", "0")
        .run()
        .success()
        .prints("worker: done");
    let here = context
        .coil(["run", "--rm", "-e", "TICKS=1", "."])
        .directory(&project);
    here.run().success().prints("worker: done");
}
