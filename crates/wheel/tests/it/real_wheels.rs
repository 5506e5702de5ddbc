//! Real wheels, installed by pip and by us: the trees must be the same.

use std::path::Path;
use std::process::Command;

use coil_fetch::NoProgress;
use coil_oci::Digest;
use coil_wheel::layer::{WheelFile, build_layers};

use crate::support::{Scratch, Tree, options, output, python, tree, unpack};

/// Wheels of different kinds: compiled ones, one with thousands of files, ones with scripts, one with headers.
const PROJECTS: [&str; 8] = [
    "pydantic-core",
    "numpy",
    "django",
    "six",
    "uvicorn",
    "jmespath",
    "greenlet",
    "pip",
];

fn pip(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command
        .args(["-m", "pip", "--disable-pip-version-check"])
        .args(arguments);
    command
}

fn download(into: &Path) -> Vec<WheelFile> {
    let mut command = pip(&[
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
    ]);
    output(command.arg(into).args(PROJECTS));
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

#[test]
fn the_tree_is_the_one_that_pip_makes() {
    let scratch = Scratch::new();
    let folder = scratch.folder.path().join("wheels");
    let wheels = download(&folder);
    let options = options(python(), 2);
    let layers = build_layers(
        &scratch.store,
        std::slice::from_ref(&wheels),
        &options,
        &NoProgress,
    )
    .unwrap();
    let out = scratch.folder.path().join("ours");
    unpack(&scratch.store.blob_path(&layers[0].digest), &out);
    let venv = scratch.folder.path().join("theirs");
    output(
        Command::new("python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(&venv),
    );
    let mut install = pip(&["--python"]);
    install
        .arg(venv.join("bin/python"))
        .args(["install", "--quiet", "--no-deps", "--no-index"]);
    output(install.args(wheels.iter().map(|wheel| &wheel.path)));

    let (ours, mut theirs) = (tree(&out.join("opt/venv")), tree(&venv));
    // What belongs to the empty environment is no wheel's.
    theirs.retain(|path, _| {
        path != "pyvenv.cfg" && path != ".gitignore" && !path.to_lowercase().starts_with("bin/activate")
    });
    // pip also compiles scripts that end in .py, which nobody imports; uv doesn't either.
    theirs.retain(|path, _| !path.starts_with("bin/__pycache__/"));
    // They were asked for by their addresses.
    theirs.retain(|path, _| !path.ends_with("/direct_url.json"));
    let only = |one: &Tree, other: &Tree| -> Vec<String> {
        one.keys()
            .filter(|path| !other.contains_key(*path))
            .cloned()
            .collect()
    };
    assert_eq!(
        (only(&ours, &theirs), only(&theirs, &ours)),
        (vec![], vec![]),
        "only ours, only pip's"
    );
    for (path, (executable, content)) in &ours {
        let (their_executable, their_content) = &theirs[path];
        assert_eq!(executable, their_executable, "{path}");
        let differs_by_nature = path.ends_with(".pyc")
            || path.starts_with("bin/")
            || path.ends_with(".dist-info/RECORD")
            || path.ends_with(".dist-info/INSTALLER");
        assert!(differs_by_nature || content == their_content, "{path}");
    }
}
