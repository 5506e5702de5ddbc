//! What goes wrong is told in one voice (what, where, what next), ends with a code, and leaves nothing behind.

use std::ffi::OsStr;
use std::path::Path;

use coil_testkit::index::{Fault, PackageIndex};
use coil_testkit::wheel::WheelBuilder;
use coil_testkit::{Context, Finished, tree};

use crate::{fresh, shared};

/// Packs what must not become an image, and checks that nothing is left of the attempt.
fn refused(context: &Context, project: &Path, flags: &[&str]) -> Finished {
    let name = "test/refused:latest";
    let project_before = tree::contents(project);
    let finished = context
        .coil(["pack".as_ref(), project.as_os_str()])
        .args(["-t", name])
        .args(flags)
        .run();
    assert_ne!(finished.code(), 0, "it should have been refused\n{finished}");
    assert_ne!(
        context.coil(["inspect", name]).run().code(),
        0,
        "an image was left behind"
    );
    assert_eq!(project_before, tree::contents(project), "the project was changed");
    let left: Vec<_> = temporary_files(context);
    assert!(left.is_empty(), "temporary files were left behind: {left:?}");
    finished
}

/// What lies in the data root's temporary folders, and half-finished downloads.
pub(crate) fn temporary_files(context: &Context) -> Vec<String> {
    let names = tree::paths(context.root())
        .into_iter()
        .map(|path| path.to_string_lossy().into_owned());
    let in_root = names.filter(|path| {
        let folder = path.split('/').next().unwrap_or_default();
        (folder.starts_with("tmp") || folder.starts_with("temp")) && path.contains('/')
    });
    in_root.collect()
}

fn project(context: &Context, name: &str, requirements: &str) -> std::path::PathBuf {
    context.project(
        name,
        &[
            ("main.py", "print('hello')\n"),
            ("requirements.txt", requirements),
        ],
    )
}

/// A context whose package index is ours.
fn with_index() -> (Context, PackageIndex) {
    let index = PackageIndex::start();
    (shared().with_index(&index), index)
}

/// A wheel that no download of another run can stand for.
fn wheel(version: &str) -> WheelBuilder {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    let seed = u64::from(now.subsec_nanos()) << 32 | now.as_secs();
    let noise: String = (0..4000_u64)
        .map(|n| format!("x{n} = {}\n", (n + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    WheelBuilder::new("coil_test_thing", version).file("coil_test_thing.py", noise)
}

/// A complete requirements file with hashes: nothing is left to resolve, coil itself asks the index.
fn pinned(version: &str, digest: &coil_oci::Digest) -> String {
    format!("coil-test-thing=={version} --hash=sha256:{}\n", digest.hex())
}

#[test]
fn no_project() {
    let context = shared();
    let empty = context.project("empty", &[("notes/", "")]);
    refused(&context, &empty, &[]).refusal(&["empty", "pyproject.toml", "requirements.txt"]);
    let missing = context.path().join("no-such-directory");
    context
        .coil([OsStr::new("pack"), missing.as_os_str()])
        .run()
        .refusal(&["no-such-directory"]);
    let file = context.path().join("file.txt");
    std::fs::write(&file, "x").expect("our own directory");
    context
        .coil([OsStr::new("pack"), file.as_os_str()])
        .run()
        .refusal(&["file.txt"]);
}

#[test]
fn a_project_file_that_does_not_parse() {
    let context = shared();
    let text = "[project]\nname = \"broken\"\nversion = 1.0.0\n";
    let broken = context.project("broken", &[("pyproject.toml", text), ("main.py", "pass\n")]);
    let finished = refused(&context, &broken, &[]).refusal(&["pyproject.toml", ":3", "version = 1.0.0"]);
    assert!(
        finished
            .stderr()
            .lines()
            .any(|line| line.trim_start_matches(['|', ' ']).starts_with('^')),
        "a caret\n{finished}"
    );
    let wrong = project(&context, "wrong-requirement", "flask\nidna===\n");
    refused(&context, &wrong, &[]).refusal(&["requirements.txt", ":2"]);
}

#[test]
fn a_lock_out_of_date() {
    let context = shared();
    let project = context.example("fastapi");
    let file = project.join("pyproject.toml");
    let text = std::fs::read_to_string(&file).expect("the example");
    std::fs::write(
        &file,
        text.replace("\"uvicorn>=0.34\",", "\"uvicorn>=0.34\",\n    \"httpx>=0.27\","),
    )
    .expect("our copy");
    refused(&context, &project, &[]).refusal(&["uv.lock", "httpx", "uv lock"]);
}

#[test]
fn no_wheel_for_the_target() {
    let (context, index) = with_index();
    let windows = index.add(&wheel("1.1").tag("cp311-cp311-win_amd64"));
    let apple = index.add(&wheel("1.1").tag("cp311-cp311-macosx_11_0_arm64"));
    let requirements = format!(
        "{} --hash=sha256:{}\n",
        pinned("1.1", &windows).trim_end(),
        apple.hex()
    );
    let project = project(&context, "no-wheel", &requirements);
    refused(&context, &project, &[]).refusal(&["coil-test-thing", "1.1", "macosx_11_0_arm64", "win_amd64"]);
}

#[test]
fn no_such_version() {
    let (context, index) = with_index();
    index.add(&wheel("1.2"));
    let other = project(&context, "no-version", "coil-test-thing==9.9\n");
    refused(&context, &other, &[]).refusal(&["coil-test-thing", "9.9"]);
    let unknown = project(&context, "unknown", "coil-test-nothing==1.0\n");
    refused(&context, &unknown, &[]).refusal(&["coil-test-nothing"]);
}

#[test]
fn a_wheel_with_another_hash() {
    let (context, index) = with_index();
    let digest = index.add(&wheel("1.3"));
    index.fail("/files/", Fault::WrongByte, 99);
    let one = project(&context, "wrong-byte", &pinned("1.3", &digest));
    refused(&context, &one, &[]).refusal(&["coil_test_thing-1.3-py3-none-any.whl", "sha256"]);

    let (context, index) = with_index();
    index.add(&wheel("1.4"));
    let zeros = "0".repeat(64);
    let two = project(
        &context,
        "wrong-hash",
        &format!("coil-test-thing==1.4 --hash=sha256:{zeros}\n"),
    );
    refused(&context, &two, &[]).refusal(&["coil-test-thing", &zeros]);
}

#[test]
fn a_cut_download_is_resumed() {
    let (context, index) = with_index();
    let digest = index.add(&wheel("1.5"));
    index.fail(".whl", Fault::Cut(5000), 2);
    let project = project(&context, "cut", &pinned("1.5", &digest));
    context
        .coil(["pack".as_ref(), project.as_os_str()])
        .run()
        .success();
    let requests = index.requests();
    let ranges = requests
        .iter()
        .filter(|request| request.headers.contains_key("range"))
        .count();
    assert!(ranges > 0, "the rest is asked for, not the whole: {requests:?}");
}

#[test]
fn a_server_error_is_tried_again() {
    let (context, index) = with_index();
    let digest = index.add(&wheel("1.6"));
    index.fail("/simple/", Fault::Status(503), 1);
    index.fail(".whl", Fault::HangUp, 1);
    let project = project(&context, "again", &pinned("1.6", &digest));
    context
        .coil(["pack".as_ref(), project.as_os_str()])
        .run()
        .success();
}

#[test]
fn an_index_that_fails() {
    let (context, index) = with_index();
    let digest = index.add(&wheel("1.7"));
    let project = project(&context, "index-fails", &pinned("1.7", &digest));
    for (fault, words) in [
        (Fault::Status(500), &["500"][..]),
        (Fault::Status(401), &["401"]),
        (Fault::Status(403), &["403"]),
        (Fault::Status(404), &["coil-test-thing"]),
    ] {
        index.fail("/simple/", fault, 99);
        refused(&context, &project, &[]).refusal(words);
        index.heal();
    }
}

#[test]
fn credentials_are_used_and_never_shown() {
    let (mut context, index) = with_index();
    let digest = index.add(&wheel("1.8"));
    index.require("bWU6aHVudGVyMg=="); // me:hunter2
    let project = project(&context, "credentials", &pinned("1.8", &digest));
    let anonymous = refused(&context, &project, &[]).refusal(&["401"]);
    assert!(
        anonymous.stderr().contains("netrc") || anonymous.stderr().contains("PIP_INDEX_URL"),
        "{anonymous}"
    );
    let wrong = format!("http://me:wrong-secret@127.0.0.1:{}/simple", index.port());
    context.set("PIP_INDEX_URL", wrong);
    let finished = refused(&context, &project, &[]);
    assert!(
        !finished.stderr().contains("wrong-secret"),
        "the password is shown\n{finished}"
    );
    context.set(
        "PIP_INDEX_URL",
        format!("http://me:hunter2@127.0.0.1:{}/simple", index.port()),
    );
    let layout = context.path().join("layout");
    let target = format!("oci:{}", layout.display());
    let arguments = [
        "pack".as_ref(),
        project.as_os_str(),
        "--output".as_ref(),
        target.as_ref(),
    ];
    let finished = context.coil(arguments).run().success();
    assert!(
        !finished.stderr().contains("hunter2") && !finished.stdout().contains("hunter2"),
        "{finished}"
    );
    let files = tree::paths(&layout)
        .into_iter()
        .chain(tree::paths(&project).into_iter().map(|path| project.join(path)));
    for path in files.map(|path| layout.join(path)).filter(|path| path.is_file()) {
        let bytes = std::fs::read(&path).expect("a file");
        assert!(
            !bytes.windows(7).any(|window| window == b"hunter2"),
            "{} holds the password",
            path.display()
        );
    }
}

#[test]
fn an_index_that_is_down() {
    let (mut context, index) = with_index();
    let port = coil_testkit::network::free_port();
    context.set("PIP_INDEX_URL", format!("http://127.0.0.1:{port}/simple"));
    let one = project(&context, "down", "coil-test-thing==1.9\n");
    refused(&context, &one, &[]).refusal(&[&format!("127.0.0.1:{port}")]);
    context.set(
        "PIP_INDEX_URL",
        format!("https://127.0.0.1:{}/simple", index.port()),
    );
    refused(&context, &one, &[]).refusal(&[&format!("127.0.0.1:{}", index.port())]);
}

#[test]
fn a_python_that_no_suite_has() {
    let context = shared();
    let text = "[project]\nname = \"future\"\nversion = \"1\"\nrequires-python = \">=3.99\"\n";
    let future = context.project("future", &[("pyproject.toml", text), ("main.py", "pass\n")]);
    refused(&context, &future, &[]).refusal(&["3.99", "3.11", "3.13"]);
    let worker = context.example("worker");
    refused(&context, &worker, &["--python", "2.7"]).refusal(&["2.7", "3.11", "3.13"]);
    refused(&context, &worker, &["--base", "no-such-suite"]).refusal(&["no-such-suite", "bookworm"]);
    refused(&context, &worker, &["--platform", "linux/riscv64"]).refusal(&["riscv64", "linux/amd64"]);
}

#[test]
fn no_start_command() {
    let context = shared();
    let project = context.project(
        "library",
        &[
            ("some_library/__init__.py", "x = 1\n"),
            ("requirements.txt", "idna\n"),
        ],
    );
    refused(&context, &project, &[]).refusal(&["command", "[tool.coil]", "--command"]);
}

#[test]
fn a_wrong_name_or_output() {
    let context = shared();
    let worker = context.example("worker");
    let pack = |flags: &[&str]| {
        context
            .coil(["pack".as_ref(), worker.as_os_str()])
            .args(flags)
            .run()
    };
    pack(&["-t", "Not A Name"]).refusal(&["Not A Name"]);
    pack(&["--output", "zip:x"]).refusal(&["zip", "oci-archive"]);
    pack(&["--output", "oci-archive:/no/such/directory/x.tar"]).refusal(&["/no/such/directory"]);
}

#[test]
fn a_full_disk() {
    let context = fresh();
    let worker = context.example("worker");
    let small = context.path().join("small");
    std::fs::create_dir(&small).expect("our own directory");
    let mount = context
        .program("/bin/mount")
        .args(["-t", "tmpfs", "-o", "size=12m", "none"])
        .arg(&small);
    mount.run().success();
    let root = small.join("root");
    let pack = context
        .coil(["pack".as_ref(), worker.as_os_str()])
        .env("COIL_ROOT", &root)
        .run();
    let left = tree::disk_usage(&root);
    context.program("/bin/umount").arg(&small).run().success();
    pack.refusal(&["space", "small"]);
    assert!(left < 12 << 20, "what failed is cleaned up: {left} bytes");
}

#[test]
fn a_data_root_that_can_not_be_made() {
    let context = fresh();
    let worker = context.example("worker");
    let file = context.path().join("file");
    std::fs::write(&file, "x").expect("our own directory");
    let pack = context
        .coil(["pack".as_ref(), worker.as_os_str()])
        .env("COIL_ROOT", file.join("root"))
        .run();
    pack.refusal(&["file/root"]);
}
