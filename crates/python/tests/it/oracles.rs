//! What must hold for any files of a project; the tests give damaged ones, the fuzzer whatever it finds.

use std::collections::BTreeMap;

use coil_oci::Arch;
use coil_python::{Libc, MemoryFiles, Packages, Project, ProjectWishes, Target};

/// Reads a project in several ways: it ends, with packages or with an error that can be shown.
pub fn read_all(files: &MemoryFiles) {
    let target = Target {
        python: "3.11.2".parse().expect("a version"),
        arch: Arch::Amd64,
        libc: Libc::Glibc(2, 36),
        free_threaded: false,
    };
    let name = |text: &str| [text.parse().expect("a name")].into();
    for wishes in [
        ProjectWishes::default(),
        ProjectWishes {
            all_extras: true,
            all_groups: true,
            ..ProjectWishes::default()
        },
        ProjectWishes {
            only_groups: name("dev"),
            no_lock: true,
            ..ProjectWishes::default()
        },
    ] {
        match Project::load(files, "demo", &BTreeMap::new(), &wishes) {
            Err(error) => drop(error.to_string()),
            Ok(project) => match project.packages(&target, &wishes) {
                Err(error) => drop(error.to_string()),
                Ok(Packages::Unresolved(input)) => drop(input.digest()),
                Ok(Packages::Locked(_)) => {}
            },
        }
    }
}

/// One file by itself, beside a project that asks for something.
pub fn file(path: &str, bytes: &[u8]) {
    let project = "[project]\nname = \"demo\"\nversion = \"1\"\ndependencies = [\"six\"]\n[dependency-groups]\ndev = [\"attrs\"]\n[project.optional-dependencies]\nx = [\"rich\"]\n[tool.poetry.dependencies]\nsix = \"*\"\n[tool.poetry.group.dev.dependencies]\nattrs = \"*\"\n";
    let files = MemoryFiles::new()
        .with("main.py", "")
        .with("pyproject.toml", project);
    read_all(&files.with(path, bytes));
}
