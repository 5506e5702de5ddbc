//! Steps of builds, as whatever builds asks for them: by the engine, with coil as the monitor.

use std::path::{Path, PathBuf};

use coil_build::executor::{Executor, Step, StepBind, StepEnd, StepNetwork, StepPrivileges};
use coil_engine::{Engine, EngineOptions};
use coil_oci::Arch;
use coil_store::{Store, StoreOptions};
use coil_testkit::Context;
use coil_testkit::leftovers::Traces;

use crate::{BINARY, shared};

/// An engine over the shared data root, and the unpacked layers of an image with Python.
fn engine(context: &Context) -> (Engine, Vec<PathBuf>) {
    context
        .coil(["run", "--rm", context.python_image(), "true"])
        .run()
        .success();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    let store = Store::open(StoreOptions {
        root: context.root().to_owned(),
        downloads: None,
        boot_id: boot.trim().to_owned(),
    });
    let options = EngineOptions {
        run_root: context.path().join("run"),
        program: BINARY.into(),
        default_root: false,
        resolv_conf: "nameserver 192.0.2.53\n".into(),
        resolved_conf: None,
        hosts: "127.0.0.1 localhost\n".into(),
        ids: (0, 0),
        device_folders: Vec::new(),
        user_ids: coil_engine::UserIds::default(),
        connectors: Vec::new(),
    };
    let engine = Engine::new(store.clone(), options);
    let image = context
        .coil(["inspect", context.python_image()])
        .run()
        .success()
        .json();
    let diff_ids = image[0]["RootFS"]["Layers"].as_array().expect("layers").clone();
    let trees = diff_ids.iter().map(|id| {
        let digest = id.as_str().and_then(|text| text.parse().ok()).expect("a digest");
        store.snapshot_tree(&digest)
    });
    (engine, trees.collect())
}

struct Place<'a> {
    engine: Engine,
    lower: Vec<PathBuf>,
    upper: PathBuf,
    context: &'a Context,
}

impl<'a> Place<'a> {
    fn new(context: &'a Context, name: &str) -> Place<'a> {
        let (engine, lower) = engine(context);
        let upper = context
            .root()
            .join("temp-v1")
            .join(format!("step-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&upper).expect("an upper folder");
        Place {
            engine,
            lower,
            upper,
            context,
        }
    }

    fn step(&self, script: &str) -> Step {
        let argv = ["python3", "-B", "-c", script].map(str::to_owned).to_vec();
        Step::new(Arch::host(), self.lower.clone(), self.upper.clone(), argv)
    }

    fn run(&self, step: &Step) -> (String, StepEnd) {
        let before = Traces::of(&[self.context.path(), self.context.root()]);
        let mut output = Vec::new();
        let end = self.engine.run_step_of(step, &mut output);
        Traces::none_since(&before, &[self.context.path(), self.context.root()]);
        (String::from_utf8_lossy(&output).into_owned(), end)
    }

    fn written(&self) -> Vec<PathBuf> {
        coil_testkit::tree::paths(&self.upper)
            .into_iter()
            .map(|path| path.strip_prefix(&self.upper).map(Path::to_owned).unwrap_or(path))
            .collect()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.upper);
    }
}

/// Runs a step and gathers its output.
trait RunStep {
    fn run_step_of(&self, step: &Step, output: &mut Vec<u8>) -> StepEnd;
}

impl RunStep for Engine {
    fn run_step_of(&self, step: &Step, output: &mut Vec<u8>) -> StepEnd {
        let executor: &dyn Executor = self;
        executor
            .run(step, &mut |bytes| output.extend_from_slice(bytes))
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

#[test]
fn a_step_is_root_as_in_a_docker_build_and_leaves_its_writes_alone() {
    let context = shared();
    let place = Place::new(&context, "root");
    let script = "import os, stat\n\
                  os.makedirs('/made'); open('/made/a', 'w').write('x'); os.chown('/made/a', 12, 34)\n\
                  os.mknod('/made/n', stat.S_IFCHR | 0o600, os.makedev(1, 3)); os.remove('/etc/debian_version')\n\
                  print([l.split()[1] for l in open('/proc/self/status') if l[:6] in ('CapEff', 'Seccom')], sorted(os.listdir('/sys/class/net')))\n\
                  print(open('/proc/sys/kernel/hostname').read().strip(), os.getcwd(), os.environ.get('HOME'))";
    let (text, end) = place.run(&place.step(script));
    assert!(end.is_success(), "{text}");
    // Docker's fourteen.
    assert!(
        text.contains("'00000000a80425fb', '2'") && text.contains("['lo']"),
        "{text}"
    );
    assert!(text.contains("buildkitsandbox / /root"), "{text}");
    let written: Vec<String> = place
        .written()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(
        written,
        ["etc", "etc/debian_version", "made", "made/a", "made/n"],
        "no mount points"
    );
    // The next one sees what the first one wrote.
    let (text, end) = place.run(
        &place.step("import os; print(os.stat('/made/a').st_uid, os.path.exists('/etc/debian_version'))"),
    );
    assert!(end.is_success() && text.trim() == "12 False", "{text}");
}

#[test]
fn codes_signals_binds_and_the_hosts_network() {
    let context = shared();
    let place = Place::new(&context, "kinds");
    assert_eq!(place.run(&place.step("raise SystemExit(7)")).1.code, 7);
    let mut step = place.step("print(open('/in/file').read()); open('/in/file', 'w')");
    let shown = context.path().join("shown");
    coil_testkit::tree::write(&shown, &[("file", "seen")]);
    step.binds.push(StepBind {
        source: shown,
        target: "/in".into(),
        read_only: true,
    });
    let (text, end) = place.run(&step);
    assert!(
        end.code == 1 && text.contains("seen") && text.contains("Read-only file system"),
        "{text}"
    );
    let mut step =
        place.step("import os; print(open('/etc/resolv.conf').read(), len(os.listdir('/sys/class/net')))");
    step.network = StepNetwork::Host;
    let (text, end) = place.run(&step);
    assert!(end.is_success() && text.contains("192.0.2.53"), "{text}");
    let mut step = place.step("import os; print(os.getuid(), [l.split()[1] for l in open('/proc/self/status') if l[:6] == 'CapEff'])");
    step.privileges = StepPrivileges::Nothing;
    step.user = "1000:1000".into();
    assert!(place.run(&step).0.contains("1000 ['0000000000000000']"));
    assert!(place.written().is_empty(), "{:?}", place.written());
}

#[test]
fn what_cannot_run_is_refused_with_a_reason() {
    let context = shared();
    let place = Place::new(&context, "refused");
    let mut step = place.step("");
    step.argv = vec!["no-such-program".into()];
    let error = Executor::run(&place.engine, &step, &mut |_| {}).expect_err("no such program");
    assert!(
        error.to_string().contains("executable file not found in $PATH"),
        "{error}"
    );
    let other = if Arch::host() == Arch::Amd64 {
        Arch::Arm64
    } else {
        Arch::Amd64
    };
    step.arch = other;
    let error = Executor::run(&place.engine, &step, &mut |_| {}).expect_err("another processor");
    assert!(error.to_string().contains(&other.to_string()), "{error}");
}
