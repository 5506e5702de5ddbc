//! Libraries of the system: what wheels need and the base has not, Debian's packages above it; and imports that nothing brings.

use std::path::{Path, PathBuf};

use coil_oci::Digest;
use coil_testkit::Context;
use coil_testkit::image::Layout;
use coil_testkit::index::PackageIndex;
use coil_testkit::process::Finished;
use coil_testkit::wheel::WheelBuilder;

use crate::shared;

/// A library by its dynamic section alone, for whoever looks at what it needs.
fn library(needed: &[&str], machine: u8, glibc: &str) -> Vec<u8> {
    let mut strings = b"\0".to_vec();
    let mut place = |text: &str| {
        let at = strings.len() as u64;
        strings.extend_from_slice(text.as_bytes());
        strings.push(0);
        at
    };
    let mut dynamic: Vec<(u64, u64)> = needed.iter().map(|name| (1, place(name))).collect();
    let (libc, version) = (place("libc.so.6"), place(glibc));
    let mut file = vec![0; 64 + 2 * 56];
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    (file[16], file[18], file[32], file[54], file[56]) = (3, machine, 64, 56, 2);
    let table = file.len() as u64;
    file.extend_from_slice(&strings);
    let needs = file.len() as u64;
    for (number, width) in [
        (1, 2),
        (1, 2),
        (libc, 4),
        (16, 4),
        (0, 4), // the library
        (0, 4),
        (0, 2),
        (2, 2),
        (version, 4),
        (0, 4), // its version
    ] {
        file.extend_from_slice(&u64::to_le_bytes(number)[..width]);
    }
    dynamic.extend([
        (5, table),
        (10, strings.len() as u64),
        (0x6fff_fffe, needs),
        (0x6fff_ffff, 1),
        (0, 0),
    ]);
    let start = file.len() as u64;
    for (tag, value) in dynamic {
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&value.to_le_bytes());
    }
    let length = file.len() as u64;
    for (number, kind, offset, size) in [(0, 1, 0, length), (1, 2, start, length - start)] {
        let at = 64 + number * 56;
        file[at] = kind;
        for (field, value) in [(8, offset), (16, offset), (32, size)] {
            file[at + field..at + field + 8].copy_from_slice(&u64::to_le_bytes(value));
        }
    }
    file
}

struct Case {
    context: Context,
    index: PackageIndex,
}

impl Case {
    fn new() -> Case {
        let index = PackageIndex::start();
        Case {
            context: shared().with_index(&index),
            index,
        }
    }

    /// A project of Python 3.11 that installs a wheel with one extension module.
    fn project(&self, name: &str, module: Vec<u8>, settings: &str, main: &str) -> PathBuf {
        let file = "thing/_speed.cpython-311-x86_64-linux-gnu.so";
        let wheel = WheelBuilder::new(name, "1.0")
            .tag("cp311-cp311-manylinux_2_17_x86_64")
            .file("thing/__init__.py", format!("name = '{name}'\n"))
            .file(file, module);
        let digest: Digest = self.index.add(&wheel);
        let requirements = format!("{}==1.0 --hash=sha256:{}\n", name.replace('_', "-"), digest.hex());
        let pyproject = format!(
            "[project]\nname = \"{}\"\nversion = \"1\"\nrequires-python = \"==3.11.*\"\ndynamic = [\"dependencies\"]\n\
             [tool.coil]\ncommand = \"python main.py\"\nplatforms = [\"linux/amd64\"]\n{settings}\n",
            name.replace('_', "-")
        );
        self.context.project(
            name,
            &[
                ("pyproject.toml", &pyproject),
                ("requirements.txt", &requirements),
                ("main.py", main),
            ],
        )
    }

    fn pack(&self, project: &Path, flags: &[&str]) -> Finished {
        let output = self.context.path().join("layout");
        if output.exists() {
            std::fs::remove_dir_all(&output).expect("our own directory");
        }
        self.context
            .coil(["pack".as_ref(), project.as_os_str()])
            .args(["--output", &format!("oci:{}", output.display())])
            .args(flags)
            .run()
    }

    fn paths(&self) -> Vec<String> {
        let image = Layout::open(&self.context.path().join("layout")).image();
        image.files().into_keys().collect()
    }
}

const LIBRARY: &str = "usr/lib/x86_64-linux-gnu/libyaml-0.so.2";

#[test]
fn a_missing_library_is_named_with_its_package_and_added_when_asked_for() {
    let case = Case::new();
    let module = library(
        &["libyaml-0.so.2", "libc.so.6", "libnowhere.so.9"],
        62,
        "GLIBC_2.17",
    );
    let project = case.project("needs_yaml", module, "", "import thing\n");
    let said = case.pack(&project, &[]).success();
    let told = said.stderr();
    assert!(
        told.contains("needs_yaml 1.0 needs libnowhere.so.9 (thing/_speed.cpython-311-x86_64-linux-gnu.so), libyaml-0.so.2"),
        "{told}"
    );
    assert!(
        told.contains("add `apt = [\"libyaml-0-2\"]` to [tool.coil], or pack with --auto-apt"),
        "{told}"
    );
    assert!(!case.paths().iter().any(|path| path == LIBRARY));
    // It is said each time.
    let again = case.pack(&project, &[]).success();
    assert!(
        again.stderr().contains("note: needs_yaml 1.0 needs "),
        "{}",
        again.stderr()
    );

    let said = case.pack(&project, &["--auto-apt"]).success();
    assert!(
        said.stderr()
            .contains("added for the wheels, and pinned in coil.lock: libyaml-0-2"),
        "{}",
        said.stderr()
    );
    assert!(
        said.stderr().contains("needs libnowhere.so.9"),
        "{}",
        said.stderr()
    );
    assert!(!said.stderr().contains("needs libyaml"), "{}", said.stderr());
    assert!(case.paths().iter().any(|path| path == LIBRARY));
    let lock = std::fs::read_to_string(project.join("coil.lock")).expect("what was added is pinned");
    assert!(
        lock.contains("[[addition]]") && lock.contains("names = [\"libyaml-0-2\"]"),
        "{lock}"
    );

    // By name it is the same, and the lock that is there is enough.
    let said = case
        .pack(&project, &["--apt", "libyaml-0-2", "--locked"])
        .success();
    assert!(!said.stderr().contains("needs libyaml"), "{}", said.stderr());
    let paths = case.paths();
    for path in [
        LIBRARY,
        "usr/share/doc/libyaml-0-2/copyright",
        "var/lib/dpkg/status",
        "etc/ld.so.cache",
    ] {
        assert!(paths.iter().any(|one| one == path), "{path} is in the image");
    }
    case.pack(&project, &["--apt", "libyaml-0-2,libsodium23", "--locked"])
        .refusal(&["--locked", "libsodium23"]);
    case.pack(&project, &["--apt", "libyaml"])
        .refusal(&["there is no package `libyaml`", "libyaml-"]);
}

#[test]
fn a_wheel_that_cannot_work_is_refused() {
    let case = Case::new();
    let project = case.project(
        "other_machine",
        library(&["libc.so.6"], 183, "GLIBC_2.17"),
        "",
        "",
    );
    case.pack(&project, &[])
        .refusal(&["other_machine 1.0", "aarch64", "x86_64", "--no-binary"]);
    let project = case.project("newer_libc", library(&["libc.so.6"], 62, "GLIBC_2.39"), "", "");
    case.pack(&project, &[])
        .refusal(&["newer_libc 1.0", "glibc 2.39", "2.36", "--base trixie"]);
}

#[test]
fn imports_that_nothing_brings_are_told() {
    let case = Case::new();
    let main =
        "import os, thing\nimport yaml\ntry:\n    import orjson\nexcept ImportError:\n    orjson = None\n";
    let project = case.project(
        "imports_things",
        library(&["libc.so.6"], 62, "GLIBC_2.17"),
        "",
        main,
    );
    let said = case.pack(&project, &[]).success();
    let notes: Vec<&str> = said
        .stderr()
        .lines()
        .filter(|line| line.contains("imports `"))
        .collect();
    assert_eq!(
        notes,
        ["note: main.py:2 imports `yaml`, and no package of requirements.txt brings it: add `pyyaml`"]
    );
    std::fs::write(project.join("main.py"), "import thing\n").expect("our own file");
    let said = case.pack(&project, &[]).success();
    assert!(!said.stderr().contains("imports `"), "{}", said.stderr());
}
