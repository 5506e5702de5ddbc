//! A throwaway container for the tests: a root file system of one static program, a spec, and what came out.

use coil_runtime::capabilities;
use coil_runtime::cgroup::{self, Facts};
use coil_runtime::control::{Client, Exit};
use coil_runtime::spec::ContainerSpec;
use coil_runtime::state::{self, State};
use coil_runtime::{ExecSpec, StartError, Started, Stdio3};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Our monitor and exec helper.
pub(crate) fn exe() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_runtime-shim"))
}

/// The probe, compiled once in a test process.
pub(crate) fn probe() -> &'static [u8] {
    static PROBE: OnceLock<Vec<u8>> = OnceLock::new();
    PROBE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/probe/probe.c");
        let kept = std::env::temp_dir().join(format!("coil-probe-{}", std::process::id()));
        let status = Command::new("cc")
            .args(["-static", "-O1", "-w", "-o"])
            .arg(&kept)
            .arg(source)
            .status();
        assert!(
            status.expect("cc runs").success(),
            "the probe must compile: a C compiler with libc.a is needed"
        );
        let bytes = std::fs::read(&kept).expect("the probe");
        std::fs::remove_file(&kept).expect("the probe");
        bytes
    })
}

/// A container's directories; killed, swept and removed at the end.
pub(crate) struct Container {
    pub home: PathBuf,
    pub spec: ContainerSpec,
}

/// What a container said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub output: String,
    pub errors: String,
    pub exit: Exit,
}

impl Outcome {
    /// The rest of the line that begins with a word.
    pub(crate) fn field(&self, name: &str) -> &str {
        let line = self
            .output
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix([' ', ':', '\t']));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.output))
            .trim()
    }
}

impl Container {
    pub(crate) fn new(words: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("test{}x{number}", std::process::id());
        let home = std::env::temp_dir().join(format!("coil-{id}"));
        let layer = home.join("layer");
        for directory in ["bin", "etc", "tmp", "home/app"] {
            std::fs::create_dir_all(layer.join(directory)).expect("layer");
        }
        std::fs::write(layer.join("bin/probe"), probe()).expect("probe");
        std::fs::write(layer.join("bin/data"), "not a program\n").expect("data");
        let mode = |path: &str, mode| {
            std::fs::set_permissions(layer.join(path), PermissionsExt::from_mode(mode)).expect("mode");
        };
        mode("bin/probe", 0o755);
        mode("bin/data", 0o644);
        mode("tmp", 0o1777);
        std::fs::write(
            layer.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
        )
        .expect("passwd");
        let args = std::iter::once("probe")
            .chain(words.iter().copied())
            .map(str::to_owned)
            .collect();
        let run_dir = home.join("run").join(&id);
        let mut spec = ContainerSpec::new(&id, home.join("container"), run_dir, vec![layer], args);
        spec.cgroup = cgroup::plan(&Facts::read().expect("facts"), &id);
        Self { home, spec }
    }

    pub(crate) fn start(&self) -> Result<Started, StartError> {
        coil_runtime::start(&exe(), &self.spec, true)
    }

    pub(crate) fn started(&self) -> Started {
        self.start()
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
    }

    pub(crate) fn run(&self) -> Outcome {
        let started = self.started();
        collect(&started.client.expect("attached"))
    }

    /// Runs to the end of the clearing up.
    pub(crate) fn run_and_leave(&self) -> Outcome {
        let outcome = self.run();
        self.wait_till_gone();
        outcome
    }

    /// Waits for the monitor to be gone; the end of the program is told before.
    pub(crate) fn wait_till_gone(&self) {
        // What a process that was killed left is for `sweep`.
        while state::is_alive(&self.spec.run_dir) {
            std::thread::yield_now();
        }
    }

    /// Waits for the monitor's own last step, which comes after its lock is gone: the folder of live state.
    pub(crate) fn wait_till_cleared(&self) {
        self.wait_till_gone();
        let begun = std::time::Instant::now();
        while self.spec.run_dir.exists() {
            assert!(
                begun.elapsed().as_secs() < 30,
                "{} stays",
                self.spec.run_dir.display()
            );
            std::thread::yield_now();
        }
    }

    pub(crate) fn state(&self) -> State {
        State::load(&self.spec.container_dir).expect("state")
    }

    /// The state as a listing finds it; none when there is no file of it.
    pub(crate) fn try_state(&self) -> Option<State> {
        let bytes = std::fs::read(self.spec.container_dir.join("state.json")).ok()?;
        Some(serde_json::from_slice(&bytes).expect("a whole state"))
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.spec.run_dir).expect("connect")
    }

    pub(crate) fn exec_spec(&self, words: &[&str]) -> ExecSpec {
        ExecSpec {
            args: std::iter::once("probe")
                .chain(words.iter().copied())
                .map(str::to_owned)
                .collect(),
            env: self.spec.env.clone(),
            cwd: "/".to_owned(),
            user: self.spec.user.clone(),
            terminal: false,
            tty_size: None,
            detach_keys: Vec::new(),
            capabilities: None,
            privileged: false,
            ends_with_parent: false,
            begun: None,
        }
    }

    /// Runs a command inside; what it printed and its exit code.
    pub(crate) fn exec(&self, spec: &ExecSpec) -> Result<(String, i32), StartError> {
        let path = self.home.join("exec-output");
        let output = std::fs::File::create(&path).expect("file");
        let stdio = Stdio3 {
            input: Stdio::null(),
            output: output.into(),
            errors: Stdio::null(),
        };
        let code = coil_runtime::exec(&exe(), &self.spec.container_dir, &self.spec.run_dir, spec, stdio)?;
        Ok((std::fs::read_to_string(path).expect("output"), code))
    }
}

pub(crate) fn collect(client: &Client) -> Outcome {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let exit = client.copy_output(&mut output, &mut errors).expect("an end");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome {
        output: text(output),
        errors: text(errors),
        exit,
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Ok(client) = Client::connect(&self.spec.run_dir) {
            let _ = client.signal(libc::SIGKILL);
        }
        self.wait_till_gone();
        let _ = coil_runtime::sweep(&self.spec.container_dir, &self.spec.run_dir);
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// The bits of the default capabilities, as `/proc` prints them.
pub(crate) fn default_bits() -> String {
    format!(
        "{:016x}",
        capabilities::CapabilitySet::of(&capabilities::DEFAULT).bits()
    )
}
