//! A throwaway environment for the coil binary: its own data root, home and temporary directory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::index::PackageIndex;
use crate::process::Invocation;
use crate::tree;

/// The variables by which a machine tells its package index, proxies and certificate authorities. They pass through; nothing
/// else of the test's own environment does.
const MACHINE: &[&str] = &[
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "PIP_CONFIG_FILE",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_CONFIG_FILE",
    "NETRC",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];

/// Those of them that tell where packages come from, and with which logins.
const INDICES: &[&str] = &[
    "NETRC",
    "PIP_CONFIG_FILE",
    "PIP_EXTRA_INDEX_URL",
    "PIP_INDEX_URL",
    "UV_CONFIG_FILE",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
];

/// Where and as whom coil runs in a test. Dropped, it removes its containers and files.
pub struct Context {
    binary: PathBuf,
    directory: TempDir,
    root: PathBuf,
    downloads: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    user: Option<u32>,
    wrapper: Vec<OsString>,
}

impl Context {
    /// A context with an empty data root, and the suite's downloads.
    ///
    /// `binary` is `env!("CARGO_BIN_EXE_coil")`, `target` is `env!("CARGO_TARGET_TMPDIR")`: wheels and Debian packages are
    /// downloaded once into a directory below it.
    pub fn new(binary: &str, target: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("coil-test-")
            .tempdir()
            .expect("a temporary directory");
        let root = directory.path().join("root");
        Self::at(
            Path::new(binary),
            directory,
            root,
            Path::new(target).join("downloads"),
        )
    }

    /// A context whose data root is shared by all tests of this binary, so that an image is packed once for all.
    ///
    /// Such tests run one after the other; each removes its containers.
    pub fn shared(binary: &str, target: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("coil-test-")
            .tempdir()
            .expect("a temporary directory");
        let root = Path::new(target).join("shared-root");
        Self::at(
            Path::new(binary),
            directory,
            root,
            Path::new(target).join("downloads"),
        )
    }

    /// A context of an ordinary user, with a data root of its own; it may read the suite's downloads.
    pub fn of_user(binary: &str, target: &str, uid: u32) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("coil-test-")
            .tempdir()
            .expect("a temporary directory");
        let path = directory.path().to_owned();
        let shared = Path::new(target).join("downloads");
        let own = path.join("downloads");
        fs::create_dir_all(&shared).expect("a folder for downloads");
        tree::link(&shared, &own);
        // The checkout may stand where the user can't read.
        let program = path.join("coil");
        fs::copy(binary, &program).expect("a copy of the binary");
        let mut context = Self::at(&program, directory, path.join("root"), own);
        context.user = Some(uid);
        tree::give(context.directory.path(), uid, uid);
        context
    }

    /// Whether another program than coil is tried, to prove the tests themselves: its words are its own.
    fn is_reference(&self) -> bool {
        self.binary.file_name() != Some(OsStr::new("coil"))
    }

    fn at(binary: &Path, directory: TempDir, root: PathBuf, downloads: PathBuf) -> Self {
        let home = directory.path().join("home");
        let scratch = directory.path().join("tmp");
        for path in [&home, &scratch, &downloads] {
            fs::create_dir_all(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("our own directory");
        let mut environment = BTreeMap::new();
        for name in MACHINE {
            if let Some(value) = std::env::var_os(name) {
                environment.insert(OsString::from(name), value);
            }
        }
        // The machine's settings may stand in the home that is taken away below.
        if let Some(old) = std::env::var_os("HOME").map(PathBuf::from) {
            for (name, file) in [("PIP_CONFIG_FILE", ".config/pip/pip.conf"), ("NETRC", ".netrc")] {
                if old.join(file).is_file() {
                    environment
                        .entry(name.into())
                        .or_insert_with(|| old.join(file).into());
                }
            }
        }
        let own: [(&str, &OsStr); 5] = [
            (
                "PATH",
                OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ),
            ("HOME", home.as_os_str()),
            ("TMPDIR", scratch.as_os_str()),
            ("COIL_ROOT", root.as_os_str()),
            ("COIL_DOWNLOADS", downloads.as_os_str()),
        ];
        environment.extend(own.map(|(name, value)| (name.into(), value.to_owned())));
        Self {
            binary: binary.to_owned(),
            directory,
            root,
            downloads,
            environment,
            user: None,
            wrapper: Vec::new(),
        }
    }

    /// Runs everything through these words, as root: they are to become the context's user.
    pub fn wrap<S: AsRef<OsStr>>(&mut self, words: &[S]) {
        self.wrapper = words.iter().map(|word| word.as_ref().to_owned()).collect();
    }

    /// The data root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is being written in the store at the moment, or was left there: names in its folder of temporary files.
    ///
    /// Work of any process begins with its number and a dash.
    pub fn unfinished(&self) -> Vec<String> {
        let folder = self.root.join("temp-v1");
        let entries = std::fs::read_dir(&folder).expect("the store has a folder of temporary files");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The folder of downloaded wheels and packages.
    pub fn downloads(&self) -> &Path {
        &self.downloads
    }

    /// The context's own directory, removed at its end.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The binary under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Sets a variable for every run from now on.
    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.environment.insert(name.into(), value.as_ref().to_owned());
    }

    /// Takes a variable away for every run from now on.
    pub fn unset(&mut self, name: &str) {
        self.environment.remove(OsStr::new(name));
    }

    /// Takes the machine's own package indices away; servers on the loopback are reached without its proxy.
    pub fn without_indices(mut self) -> Self {
        for name in INDICES {
            self.unset(name);
        }
        self.set("NO_PROXY", "127.0.0.1");
        self.set("no_proxy", "127.0.0.1");
        self
    }

    /// Asks this package index, and no other.
    pub fn with_index(self, index: &PackageIndex) -> Self {
        let mut context = self.without_indices();
        context.set("PIP_INDEX_URL", index.url());
        context
    }

    /// Uses an empty folder for downloads instead of the suite's.
    pub fn without_downloads(mut self) -> Self {
        self.downloads = self.path().join("no-downloads");
        let downloads = self.downloads.clone();
        self.set("COIL_DOWNLOADS", downloads);
        self
    }

    /// `coil ARGUMENTS` in this environment.
    pub fn coil<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Invocation {
        self.program(&self.binary).args(arguments)
    }

    /// Another program in this environment, as this context's user.
    pub fn program(&self, program: impl AsRef<Path>) -> Invocation {
        let program = program.as_ref();
        let mut invocation = match self.wrapper.split_first() {
            None => Invocation::new(program, self.path()),
            Some((first, rest)) => Invocation::new(Path::new(first), self.path())
                .args(rest)
                .arg(program),
        };
        invocation = invocation.lenient(self.is_reference());
        for (name, value) in &self.environment {
            invocation = invocation.env(name, value);
        }
        match self.user.filter(|_| self.wrapper.is_empty()) {
            Some(uid) => invocation.user(uid, uid),
            None => invocation,
        }
    }

    /// A shell command in this environment, with `coil` on its PATH.
    pub fn shell(&self, script: &str) -> Invocation {
        let script = format!("coil() {{ \"{}\" \"$@\"; }}\n{script}", self.binary.display());
        self.program("/bin/sh").arg("-c").arg(script)
    }

    /// Writes a project: `files` are paths and contents. Paths that end in `/` are empty directories.
    pub fn project(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let project = self.path().join(name);
        tree::write(&project, files);
        self.own(&project);
        project
    }

    /// A copy of one of the examples, so that what coil writes into a project doesn't land in the repository.
    pub fn example(&self, name: &str) -> PathBuf {
        let copy = self.path().join(format!("example-{name}"));
        if !copy.exists() {
            let source = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../examples")
                .join(name);
            tree::copy(&source, &copy);
            self.own(&copy);
        }
        copy
    }

    /// The image `name`, packed from the example `worker` when the data root doesn't hold it yet: Python, and no packages.
    pub fn python_image(&self) -> &'static str {
        let name = "test/python:latest";
        if self.is_reference() {
            return name;
        }
        fs::create_dir_all(self.path()).expect("our own directory");
        let lock = File::create(
            self.path()
                .parent()
                .unwrap_or(Path::new("/tmp"))
                .join("coil-test-image.lock"),
        );
        let lock = lock.expect("a lock file");
        lock.lock().expect("a lock");
        let known = self.coil(["inspect", name]).run().code() == 0;
        // A store of another build of coil is still a store; the image is packed anew when the binary changed.
        let stamp = self.root.join("test-binary");
        let current = binary_stamp(&self.binary);
        if !known || fs::read_to_string(&stamp).unwrap_or_default() != current {
            let project = self.example("worker");
            self.coil(["pack".as_ref(), project.as_os_str(), "-t".as_ref(), name.as_ref()])
                .run()
                .success();
            fs::write(&stamp, current).expect("a note in the data root");
        }
        name
    }

    fn own(&self, path: &Path) {
        if let Some(uid) = self.user {
            tree::give(path, uid, uid);
        }
    }
}

fn binary_stamp(binary: &Path) -> String {
    let facts = fs::metadata(binary).expect("the binary under test");
    format!("{:?} {}", facts.modified().ok(), facts.len())
}

impl Drop for Context {
    fn drop(&mut self) {
        if !self.root.exists() && !self.is_reference() {
            return;
        }
        let all = self.coil(["ps", "--all", "--quiet", "--no-trunc"]).run();
        let ids: Vec<&str> = all.stdout().split_whitespace().collect();
        if all.code() == 0 && !ids.is_empty() {
            self.coil(["rm", "--force"]).args(ids).run();
        }
    }
}
