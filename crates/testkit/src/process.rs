//! Running the binary under test: what it printed, how it ended, and signals on the way.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::waiting::wait_until;

/// A run that takes longer than this hangs: it is killed and the test fails with what it printed.
const HANGS_AFTER: Duration = Duration::from_secs(600);

/// A program to run in a cleared environment.
pub struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
    command: Command,
    input: Option<Vec<u8>>,
    lenient: bool,
}

impl Invocation {
    /// A program with an empty environment, no input, in `directory`.
    pub fn new(program: &Path, directory: &Path) -> Self {
        let mut command = Command::new(program);
        command.env_clear().current_dir(directory);
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            command,
            input: None,
            lenient: false,
        }
    }

    /// Whether [`Finished::refusal`] looks at the exit code alone: another program's words are its own.
    pub fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes an environment variable away.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs in another directory.
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Feeds `input` to standard input and closes it.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Runs as this user and group, without supplementary groups.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.command.uid(uid).gid(gid);
        self
    }

    /// Runs to the end.
    ///
    /// Waits for the end of the output too: a child left behind with the output open is a fault that users see as
    /// `$(coil run -d …)` hanging.
    ///
    /// # Panics
    /// When the program doesn't start, or hangs.
    pub fn run(self) -> Finished {
        self.start().wait()
    }

    /// Starts in the background.
    ///
    /// # Panics
    /// When the program doesn't start.
    pub fn start(mut self) -> Running {
        let line = self.line();
        let stdin = if self.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        self.command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("{line}: doesn't start: {error}"));
        if let (Some(input), Some(mut pipe)) = (self.input.take(), child.stdin.take()) {
            std::thread::spawn(move || pipe.write_all(&input));
        }
        let stdout = Stream::follow(child.stdout.take().expect("stdout is piped"));
        let stderr = Stream::follow(child.stderr.take().expect("stderr is piped"));
        Running {
            line,
            child,
            stdout,
            stderr,
            reaped: false,
            lenient: self.lenient,
        }
    }

    fn line(&self) -> String {
        let words = self
            .arguments
            .iter()
            .map(|word| word.to_string_lossy().into_owned());
        let name = self
            .program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
    }
}

#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Captured>>);

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    closed: bool,
}

impl Stream {
    fn follow(mut pipe: impl Read + Send + 'static) -> Self {
        let stream = Self::default();
        let shared = stream.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let count = match pipe.read(&mut buffer) {
                    Ok(count) => count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(_) => 0,
                };
                let mut captured = shared.0.lock().expect("the reader never panics");
                if count == 0 {
                    captured.closed = true;
                    return;
                }
                captured.bytes.extend_from_slice(&buffer[..count]);
            }
        });
        stream
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the reader never panics").bytes).into_owned()
    }

    fn closed(&self) -> bool {
        self.0.lock().expect("the reader never panics").closed
    }
}

/// A program that runs; killed when dropped before its end.
pub struct Running {
    line: String,
    child: Child,
    stdout: Stream,
    stderr: Stream,
    reaped: bool,
    lenient: bool,
}

impl Running {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed on standard output until now.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it printed on standard error until now.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until `text` stands in its standard output or error.
    ///
    /// # Panics
    /// When it ends or too much time passes before that.
    pub fn wait_for_output(&mut self, text: &str) {
        let what = format!("`{text}` in the output of `{}`", self.line);
        wait_until(&what, || {
            let ended =
                matches!(self.child.try_wait(), Ok(Some(_))) && self.stdout.closed() && self.stderr.closed();
            if self.stdout().contains(text) || self.stderr().contains(text) {
                return true;
            }
            assert!(
                !ended,
                "`{}` ended without printing `{text}`\n{}\n{}",
                self.line,
                self.stdout(),
                self.stderr()
            );
            false
        });
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for its end and the end of its output.
    ///
    /// # Panics
    /// When it hangs.
    pub fn wait(mut self) -> Finished {
        let deadline = Instant::now() + HANGS_AFTER;
        let status = loop {
            match self.child.try_wait().expect("the child is ours") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    panic!("`{}` hangs\n{}\n{}", self.line, self.stdout(), self.stderr())
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        self.reaped = true;
        wait_until(
            &format!("`{}` ended, but something holds its output open", self.line),
            || self.stdout.closed() && self.stderr.closed(),
        );
        Finished {
            line: self.line.clone(),
            status,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            lenient: self.lenient,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            // It may have ended by itself: then there is nothing to kill or reap.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal by name to a process; a process that is gone already is no fault.
pub fn signal(pid: u32, name: &str) {
    let script = format!("kill -{name} {pid} 2>/dev/null");
    Command::new("/bin/sh")
        .arg("-c")
        .arg(script)
        .status()
        .expect("/bin/sh runs");
}

/// How a program ended, and what it printed.
pub struct Finished {
    line: String,
    status: ExitStatus,
    stdout: String,
    stderr: String,
    lenient: bool,
}

impl Finished {
    /// The exit code; 128 + n when signal n ended it, as a shell counts.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Standard output.
    pub fn stdout(&self) -> &str {
        &self.stdout
    }

    /// Standard error.
    pub fn stderr(&self) -> &str {
        &self.stderr
    }

    /// Standard output without the white space around it.
    pub fn word(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON: {error}\n{self}"))
    }

    /// Expects exit code 0.
    ///
    /// # Panics
    /// When it is another, with all that was printed.
    #[track_caller]
    pub fn success(self) -> Self {
        self.expect_code(0)
    }

    /// Expects this exit code.
    ///
    /// # Panics
    /// When it is another, with all that was printed.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "wrong exit code\n{self}");
        self
    }

    /// Expects a refusal in the house's voice: a non-zero exit, `error:` that contains all `parts`, and what to do next.
    ///
    /// # Panics
    /// When something of it is missing.
    #[track_caller]
    pub fn refusal(self, parts: &[&str]) -> Self {
        assert_ne!(self.code(), 0, "it should have failed\n{self}");
        if self.lenient {
            return self;
        }
        assert!(self.stderr.contains("error: "), "no `error: ` line\n{self}");
        assert!(
            self.stderr.contains("help: "),
            "no `help: ` line: what shall the user do next?\n{self}"
        );
        assert!(!self.stderr.contains("panicked"), "it panicked\n{self}");
        for part in parts {
            assert!(self.stderr.contains(part), "the message lacks `{part}`\n{self}");
        }
        self
    }

    /// Expects `text` in standard output or error.
    ///
    /// # Panics
    /// When it is in neither.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "it doesn't print `{text}`\n{self}"
        );
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "--- {} (exit {})\n--- stdout\n{}\n--- stderr\n{}",
            self.line,
            self.code(),
            self.stdout,
            self.stderr
        )
    }
}
