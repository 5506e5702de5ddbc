//! Stores, wheels on the disk and the machine's own Python.

use std::path::{Path, PathBuf};
use std::process::Command;

use coil_fetch::{FetchSettings, Fetcher, NoProgress};
use coil_oci::Digest;
use coil_store::{Store, StoreOptions};
use coil_wheel::bytecode::Interpreter;
use coil_wheel::environment::Environment;
use coil_wheel::index::{IndexClient, IndexLayer, IndexSettings};
use coil_wheel::layer::{LayerOptions, WheelFile};
use coil_wheel::resolve::{UV_VERSION, find_uv};

/// A store in a folder that goes with the value.
pub struct Scratch {
    pub folder: tempfile::TempDir,
    pub store: Store,
}

impl Scratch {
    pub fn new() -> Scratch {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let store = Store::open(StoreOptions {
            root,
            downloads: None,
            boot_id: "test".into(),
        });
        Scratch { folder, store }
    }

    /// Puts a wheel on the disk.
    pub fn wheel(&self, (filename, bytes): (String, Vec<u8>)) -> WheelFile {
        let path = self.folder.path().join(&filename);
        std::fs::write(&path, &bytes).unwrap();
        WheelFile {
            path,
            filename,
            sha256: Digest::of(&bytes),
            direct_url: None,
        }
    }
}

/// A command's output; it must succeed.
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The machine's `python3` as an interpreter that compiles.
pub fn python() -> Interpreter {
    python_named("python3").expect("python3 is needed to run the tests")
}

pub fn python_named(name: &str) -> Option<Interpreter> {
    let code = "import sys; print('%d.%d.%d' % sys.version_info[:3], sys.executable)";
    let output = Command::new(name)
        .args(["-c", code])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (version, program) = text.trim().split_once(' ')?;
    Some(Interpreter::installed(Path::new(program), version, "test"))
}

pub fn options(interpreter: Interpreter, threads: usize) -> LayerOptions {
    let environment = Environment::standard(&interpreter.version);
    LayerOptions {
        environment,
        interpreter: Some(interpreter),
        epoch: 1_000_000,
        threads,
    }
}

/// The layer unpacked by Python's own gzip and tarfile.
pub fn unpack(layer: &Path, into: &Path) -> Vec<String> {
    let code = "import sys, tarfile\nwith tarfile.open(sys.argv[1], 'r:gz') as archive:\n \
                archive.extractall(sys.argv[2])\n \
                print('\\n'.join(f'{m.name} {m.mode:o} {m.mtime} {m.uid} {m.gid}' for m in archive))";
    let mut command = Command::new("python3");
    command.args(["-c", code]).arg(layer).arg(into);
    output(&mut command).lines().map(str::to_owned).collect()
}

/// Path → executable, content.
pub type Tree = std::collections::BTreeMap<String, (bool, Vec<u8>)>;

/// Every file below a folder with its executable bit and content.
pub fn tree(root: &Path) -> Tree {
    use std::os::unix::fs::PermissionsExt;
    let mut files = Tree::new();
    let mut folders = vec![PathBuf::from(root)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                let executable = metadata.permissions().mode() & 0o111 != 0;
                files.insert(name, (executable, std::fs::read(&path).unwrap()));
            }
        }
    }
    files
}

/// uv, unpacked from the wheel that is pinned for projects without a lock.
pub fn uv(scratch: &Scratch) -> PathBuf {
    let folder = scratch.folder.path().join("uv");
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
    ]);
    output(pip.arg(&folder).arg(format!("uv=={UV_VERSION}")));
    let local = IndexSettings::of(IndexLayer {
        find_links: vec![folder.to_str().unwrap().to_owned()],
        no_index: Some(true),
        ..IndexLayer::default()
    });
    let fetcher = Fetcher::new(FetchSettings::default());
    let client = IndexClient::new(&scratch.store, &fetcher, &local);
    find_uv(&scratch.store, &fetcher, &client, None, &NoProgress).unwrap()
}
