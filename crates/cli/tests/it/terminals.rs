//! Terminals: the keys that let go of one, its size, and lines without an end. `script` plays the person in front of it.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use coil_testkit::{Context, wait_until};

use crate::shared;

/// A person at a terminal: what is typed goes in, what is shown is collected in a file.
struct Person {
    child: Child,
    shown: std::path::PathBuf,
}

impl Person {
    /// Sits down and runs a command line, after the terminal has told its name and been given a size.
    fn at(context: &Context, name: &str, command: &str) -> Self {
        let shown = context.path().join(format!("shown-{name}"));
        let line = format!("tty; stty rows 33 cols 101; exec {command}");
        let mut script = Command::new("/usr/bin/script");
        script.args(["-qefc", &line]).arg(&shown);
        script
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("SHELL", "/bin/sh")
            .env("COIL_ROOT", context.root())
            .env("COIL_DOWNLOADS", context.downloads())
            .env("HOME", context.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = script.spawn().expect("script, of bsdutils");
        Self { child, shown }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.shown).unwrap_or_default()).into_owned()
    }

    fn waits_for(&self, text: &str) {
        wait_until(
            &format!("the terminal shows {text:?}, it shows {:?}", self.shown()),
            || self.shown().contains(text),
        );
    }

    fn types(&mut self, keys: &[u8]) {
        let input = self.child.stdin.as_mut().expect("a keyboard");
        input
            .write_all(keys)
            .and_then(|()| input.flush())
            .expect("a terminal");
    }

    /// The terminal's name.
    fn terminal(&self) -> String {
        self.waits_for("/dev/pts/");
        let shown = self.shown();
        let line = shown.lines().find(|line| line.starts_with("/dev/pts/"));
        line.expect("the name").trim().to_owned()
    }

    /// Waits until the command has ended, and gives its exit code.
    fn leaves(mut self) -> i32 {
        let code = self.child.wait().expect("an end").code();
        code.expect("a code")
    }
}

fn running(context: &Context, name: &str) -> bool {
    context.coil(["inspect", name]).run().success().json()[0]["State"]["Running"] == true
}

#[test]
fn the_keys_let_go_of_a_container_that_goes_on() {
    let context = shared();
    let image = context.python_image();
    let binary = context.binary().display();
    let echo = "while read line; do echo \"<$line>\"; done";
    let line = format!("'{binary}' run -it --network none --name held {image} sh -c '{echo}'");
    let mut person = Person::at(&context, "run", &line);
    person.types(b"hello\r");
    person.waits_for("<hello>");
    person.types(b"\x10\x11");
    assert_eq!(person.leaves(), 0);
    assert!(running(&context, "held"));
    // Other keys, chosen for an attach; the usual ones are the program's then.
    let line = format!("'{binary}' attach --detach-keys ctrl-x,d held");
    let mut person = Person::at(&context, "attach", &line);
    person.types(b"again\r");
    person.waits_for("<again>");
    person.types(b"\x18d");
    assert_eq!(person.leaves(), 1, "as Docker has it");
    assert!(running(&context, "held"));
    // A command that is let go of goes on as well.
    let line =
        format!("'{binary}' exec -it --detach-keys ctrl-e held sh -c 'echo started; read line; sleep 600'");
    let mut person = Person::at(&context, "exec", &line);
    person.waits_for("started");
    person.types(b"\x05");
    assert_eq!(person.leaves(), 1, "as Docker has it");
    let top = || {
        context
            .coil(["top", "held", "-eo", "pid,args"])
            .run()
            .success()
            .stdout()
            .to_owned()
    };
    assert!(top().contains("read line; sleep"), "{}", top());
    context.coil(["stop", "-t", "0", "held"]).run().success();
    // One that has ended is started, and let go of, with its terminal.
    let mut person = Person::at(&context, "start", &format!("'{binary}' start -ai held"));
    person.types(b"third\r");
    person.waits_for("<third>");
    person.types(b"\x10\x11");
    assert_eq!(person.leaves(), 0);
    assert!(running(&context, "held"));
    context.coil(["rm", "-f", "held"]).run().success();
}

#[test]
fn a_terminals_size_is_the_callers_and_follows_it() {
    let context = shared();
    let image = context.python_image();
    let binary = context.binary().display();
    let script = "trap \"stty size\" WINCH; stty size; while :; do sleep .05; done";
    let line = format!("'{binary}' run -it --network none --name sized {image} sh -c '{script}'");
    let person = Person::at(&context, "size", &line);
    person.waits_for("33 101");
    let resize = |terminal: &str, rows: &str, columns: &str| {
        let done = Command::new("/usr/bin/stty")
            .args(["-F", terminal, "rows", rows, "cols", columns])
            .status();
        assert!(done.expect("stty").success());
    };
    resize(&person.terminal(), "40", "90");
    person.waits_for("40 90");
    let line = format!("'{binary}' exec -it sized sh -c '{script}'");
    let command = Person::at(&context, "size-exec", &line);
    command.waits_for("33 101");
    resize(&command.terminal(), "20", "70");
    command.waits_for("20 70");
    context.coil(["rm", "-f", "sized"]).run().success();
    assert_eq!(person.leaves(), 137);
    command.leaves();
}

#[test]
fn a_line_of_a_hundred_megabytes_comes_through() {
    let context = shared();
    let image = context.python_image();
    let script = "import sys\npiece = b'x' * (1 << 20)\nfor _ in range(100): sys.stdout.buffer.write(piece)\nprint('', flush=True); print('end')";
    let run = context
        .coil([
            "run",
            "--network",
            "none",
            "--name",
            "long-line",
            image,
            "python3",
            "-c",
            script,
        ])
        .run()
        .success();
    assert_eq!(run.stdout().len(), (100 << 20) + 5);
    let logs = context.coil(["logs", "long-line"]).run().success();
    assert_eq!(logs.stdout().len(), (100 << 20) + 5);
    assert!(logs.stdout().ends_with("x\nend\n"));
    context.coil(["rm", "long-line"]).run().success();
}
