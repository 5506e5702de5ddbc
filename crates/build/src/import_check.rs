//! Whether what the app imports is in the image: by parsing its files, and what its packages' wheels say they bring.
//!
//! It is a warning, never an error, and made to be right where it speaks: see `docs/design/libraries.md`. Each file's imports
//! are kept by its digest, so an edit parses one file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use coil_oci::Digest;
use coil_python::import_names::{distribution, is_standard, removed_in};
use coil_python::import_scan::{Import, imports};
use coil_python::{Pinned, Project, ProjectLock};
use coil_store::Store;
use serde::{Deserialize, Serialize};

use crate::app_tree::{AppKind, AppTree};

/// Records of imports, one for each project's folder.
const KIND: &str = "app-imports-v1";
/// A larger file is no module that a person wrote.
const LARGEST: u64 = 4 << 20;
/// How many modules are told.
const MOST_TOLD: usize = 10;
/// Folders whose files don't run in the image, as a rule.
const ASIDE: [&str; 16] = [
    "tests",
    "test",
    "testing",
    "docs",
    "doc",
    "examples",
    "example",
    "benchmarks",
    "benchmark",
    "bench",
    "scripts",
    "tools",
    "notebooks",
    "fixtures",
    "templates",
    "node_modules",
];
/// Files that don't either.
const ASIDE_FILES: [&str; 6] = [
    "conftest.py",
    "setup.py",
    "noxfile.py",
    "tasks.py",
    "fabfile.py",
    "dodo.py",
];

/// What the image has for imports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Importable {
    /// What its packages bring: modules, and below namespaces the first one that is whole.
    pub(crate) modules: BTreeSet<String>,
    /// The minor version of its Python.
    pub(crate) minor: u32,
    /// Packages that the lock names, and the image leaves out.
    pub(crate) left_out: BTreeSet<String>,
    /// The lock.
    pub(crate) lock: String,
}

/// Imports by the digest of the file that they are in.
type Known = BTreeMap<String, Vec<Import>>;

/// Says which modules the app imports that nothing in the image brings, one line each.
pub(crate) fn check(store: &Store, tree: &AppTree, importable: &Importable) -> Vec<String> {
    let key = Digest::of(tree.root.as_os_str().as_encoded_bytes());
    let known = store.cache_get(KIND, key.hex());
    let known: Known = known
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let mut now = Known::new();
    let mut changed = false;
    let mut own: BTreeSet<&str> = BTreeSet::new();
    let mut files = Vec::new();
    for entry in &tree.entries {
        let name = entry.path.rsplit('/').next().unwrap_or(&entry.path);
        match &entry.kind {
            AppKind::File { size, digest, .. } => {
                // Whatever the app has somewhere may be on its path.
                own.extend(name.split('.').next().filter(|_| is_module_file(name)));
                if name.ends_with(".py") && *size <= LARGEST && !is_aside(&entry.path, name) {
                    files.push((entry.path.as_str(), digest));
                }
            }
            AppKind::Directory | AppKind::Symlink(_) => {
                own.insert(name);
            }
        }
    }
    for (path, digest) in &files {
        let hex = digest.hex();
        if now.contains_key(hex) {
            continue;
        }
        let found = known.get(hex).cloned().or_else(|| {
            changed = true;
            let bytes = fs::read(tree.root.join(path)).ok()?;
            // One that changed since it was listed is looked at the next time.
            (Digest::of(&bytes) == **digest).then(|| imports(&String::from_utf8_lossy(&bytes)))
        });
        now.extend(found.map(|found| (hex.to_owned(), found)));
    }
    if (changed || now.len() != known.len())
        && let Ok(record) = serde_json::to_vec(&now)
    {
        // Without the record the files are only parsed again.
        let _ = store.cache_put(KIND, key.hex(), &record);
    }
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for (path, digest) in files {
        for import in now.get(digest.hex()).into_iter().flatten() {
            let top = import.module.split('.').next().unwrap_or_default();
            if own.contains(top) || is_standard(top, importable.minor) || importable.has(import) {
                continue;
            }
            let module = if importable.is_shared(top) {
                import.module.as_str()
            } else {
                top
            };
            told.entry(module.to_owned())
                .or_insert_with(|| importable.tell(path, import, module));
        }
    }
    let more = told.len().saturating_sub(MOST_TOLD);
    let mut notes: Vec<String> = told.into_values().take(MOST_TOLD).collect();
    if more > 0 {
        notes.push(format!("{more} more modules are imported that no package brings"));
    }
    notes
}

impl Importable {
    /// Whether a package brings a module, or a part of it, or what it is a part of.
    fn has(&self, import: &Import) -> bool {
        let below = |name: &str, above: &str| {
            name.strip_prefix(above)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let brought = |name: &str| {
            self.modules
                .iter()
                .any(|module| below(module, name) || below(name, module))
        };
        // setuptools stands in for what the standard library had.
        let shimmed = below(&import.module, "distutils") && self.modules.contains("setuptools");
        shimmed
            || brought(&import.module)
            || import
                .names
                .iter()
                .any(|name| brought(&format!("{}.{name}", import.module)))
    }

    /// Whether several packages share a name, so that the top alone says too little.
    fn is_shared(&self, top: &str) -> bool {
        matches!(top, "google" | "azure" | "zope")
            || self
                .modules
                .iter()
                .any(|module| module.strip_prefix(top).is_some_and(|rest| rest.starts_with('.')))
    }

    fn tell(&self, path: &str, import: &Import, module: &str) -> String {
        let package = distribution(module);
        let start = format!("{path}:{} imports `{}`, ", import.line, import.module);
        if self.left_out.contains(&package) {
            return format!(
                "{start}and {package} is in {} only for a group or an extra that the image leaves out",
                self.lock
            );
        }
        match removed_in(module) {
            Some(minor) => format!(
                "{start}which Python 3.{minor} and later have no more: add `{package}`, or take an older Python"
            ),
            None => format!(
                "{start}and no package of {} brings it: add `{package}`",
                self.lock
            ),
        }
    }
}

/// Packages that the lock names for another group, extra or target.
pub(crate) fn left_out(project: &Project, selected: &[Pinned]) -> BTreeSet<String> {
    let ProjectLock::Uv(lock) = &project.lock else {
        return BTreeSet::new();
    };
    let names = lock.packages.iter().map(|package| &package.name);
    names
        .filter(|name| !selected.iter().any(|package| package.name == **name))
        .map(ToString::to_string)
        .collect()
}

fn is_module_file(name: &str) -> bool {
    name.ends_with(".py") || name.ends_with(".so") || name.ends_with(".pyc") || name.ends_with(".pyx")
}

fn is_aside(path: &str, name: &str) -> bool {
    let mut folders = path.split('/');
    folders.next_back();
    ASIDE_FILES.contains(&name)
        || name.starts_with("test_")
        || name.ends_with("_test.py")
        || folders.any(|folder| ASIDE.contains(&folder) || folder.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coil_store::StoreOptions;

    #[test]
    fn told_once_and_only_what_is_certain() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            root: folder.path().join("store"),
            downloads: None,
            boot_id: "boot".into(),
        });
        let root = folder.path().join("app");
        let files = [
            (
                "main.py",
                "import os\nimport yaml\nimport helper, requests\nfrom google.cloud import storage, bigquery\nimport telnetlib\nimport pytest\n",
            ),
            (
                "lib/helper.py",
                "from yaml import x\nimport sklearn.svm\nfrom google.oauth2 import y\n",
            ),
            ("tests/conftest.py", "import nothing\n"),
            ("docs/conf.py", "import sphinx\n"),
        ];
        let mut tree = AppTree {
            root: root.clone(),
            entries: Vec::new(),
            digest: Digest::of(b""),
            notes: Vec::new(),
        };
        for (path, text) in files {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
            tree.entries.push(crate::app_tree::AppEntry {
                path: path.into(),
                kind: AppKind::File {
                    size: text.len() as u64,
                    executable: false,
                    digest: Digest::of(text.as_bytes()),
                },
            });
        }
        let importable = Importable {
            modules: ["requests", "google.cloud.storage"].map(str::to_owned).into(),
            minor: 13,
            left_out: ["pytest".to_owned()].into(),
            lock: "uv.lock".into(),
        };
        let expected = [
            "lib/helper.py:3 imports `google.oauth2`, and no package of uv.lock brings it: add `google-oauth2`",
            "main.py:6 imports `pytest`, and pytest is in uv.lock only for a group or an extra that the image leaves out",
            "lib/helper.py:2 imports `sklearn.svm`, and no package of uv.lock brings it: add `scikit-learn`",
            "main.py:5 imports `telnetlib`, which Python 3.13 and later have no more: add `standard-telnetlib`, or take an older Python",
            "main.py:2 imports `yaml`, and no package of uv.lock brings it: add `pyyaml`",
        ];
        assert_eq!(check(&store, &tree, &importable), expected);
        // The second time nothing is parsed: the files could be gone.
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(check(&store, &tree, &importable), expected);
    }
}
