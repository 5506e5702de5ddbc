//! Contexts that are elsewhere: git repositories, tars and Dockerfiles at addresses; and `ADD` of repositories.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use coil_testkit::Context;
use coil_testkit::index::PackageIndex;

use crate::fresh;

fn git(folder: &Path, words: &[&str]) -> String {
    let run = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args([
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@x",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(["-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"])
        .args(words)
        .output()
        .expect("git runs");
    assert!(
        run.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    String::from_utf8(run.stdout).expect("git runs").trim().to_owned()
}

/// A repository with two commits, the first one tagged; gives its folder and the commits.
fn repository(context: &Context) -> (PathBuf, String, String) {
    let folder = context.project(
        "repository",
        &[
            ("Dockerfile", "FROM scratch\nCOPY . /all/\n"),
            ("file", "first\n"),
            (".dockerignore", "ignored\n"),
            ("ignored", "x"),
            ("sub/Dockerfile", "FROM scratch\nCOPY own /own\n"),
            ("sub/own", "in the folder\n"),
        ],
    );
    git(&folder, &["init", "-q"]);
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "-q", "-m", "one"]);
    git(&folder, &["tag", "-a", "v1", "-m", "v1"]);
    let first = git(&folder, &["rev-parse", "HEAD"]);
    fs::write(folder.join("file"), "second\n").expect("files can be written");
    std::os::unix::fs::symlink("/etc", folder.join("outside")).expect("files can be written");
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "-q", "-m", "two"]);
    let second = git(&folder, &["rev-parse", "HEAD"]);
    (folder, first, second)
}

/// Builds, and gives the folder with the image's files.
fn files(context: &Context, name: &str, place: &str, more: &[&str]) -> PathBuf {
    let out = context.path().join(name);
    let dest = format!("type=local,dest={}", out.display());
    context
        .coil(["build", "-q", "-o", &dest])
        .args(more)
        .arg(place)
        .run()
        .success();
    out
}

#[test]
fn a_git_repository_is_a_context() {
    let context = fresh();
    let (folder, first, second) = repository(&context);
    let url = format!("file://{}", folder.display());
    let read = |out: &Path, name: &str| fs::read_to_string(out.join(name)).unwrap();
    let newest = files(&context, "newest", &url, &[]);
    assert_eq!(read(&newest, "all/file"), "second\n");
    // An ignore file counts for folders alone, as in BuildKit.
    assert!(newest.join("all/ignored").exists() && !newest.join("all/.git").exists());
    for (name, place) in [("tag", "v1"), ("commit", first.as_str()), ("short", &first[..10])] {
        let out = files(&context, name, &format!("{url}#{place}"), &[]);
        assert_eq!(read(&out, "all/file"), "first\n", "{name}");
    }
    let sub = files(&context, "sub", &format!("{url}#main:sub"), &[]);
    assert_eq!(read(&sub, "own"), "in the folder\n");
    let sub = files(
        &context,
        "query",
        &format!("{url}?branch=main&subdir=sub&checksum={second}"),
        &[],
    );
    assert_eq!(read(&sub, "own"), "in the folder\n");
    let kept = files(
        &context,
        "kept",
        &url,
        &["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"],
    );
    assert!(kept.join("all/.git/HEAD").is_file());
    for (place, words) in [
        (format!("{url}#no-such"), ["no branch, tag or commit", "no-such"]),
        (format!("{url}#main:nowhere"), ["no folder", "nowhere"]),
        (format!("{url}#main:outside"), ["outside", "leads out"]),
        (
            format!("{url}?checksum={first}&ref=main"),
            ["expected checksum", &first],
        ),
        (format!("{url}-missing"), ["cannot be fetched", "git:"]),
        (format!("{url}#--upload-pack=x"), ["no branch", "--upload-pack"]),
        ("ftp://host/x".to_owned(), ["ftp://", "unknown"]),
    ] {
        context.coil(["build"]).arg(&place).run().refusal(&words);
    }
    let without = context
        .coil(["build"])
        .arg(&url)
        .env("PATH", "/nowhere")
        .run()
        .refusal(&["git is not installed"]);
    drop(without);
    assert_eq!(context.unfinished(), Vec::<String>::new());
}

#[test]
fn a_repository_is_added_and_named() {
    let context = fresh();
    let (folder, first, second) = repository(&context);
    let url = format!("file://{}", folder.display());
    let text = format!(
        "FROM scratch\nADD {url}#v1 /old/\nADD --keep-git-dir=true --checksum={second} {url}#main /new/\n\
         ADD --chown=1:2 {url}#main:sub /sub/\nCOPY --from=repo file /named\n"
    );
    let project = context.project("adds", &[("Dockerfile", &text)]);
    let named = format!("repo={url}#{first}");
    let archive = context.path().join("adds.tar");
    let output = format!("type=oci,dest={}", archive.display());
    context
        .coil(["build", "-q", "--build-context", &named, "-o", &output])
        .arg(&project)
        .run()
        .success();
    let image = coil_testkit::image::Layout::unpack(&archive, &context.path().join("adds-layout")).image();
    let text = |path: &str| String::from_utf8(image.file(path).unwrap()).unwrap();
    assert_eq!(
        (text("old/file"), text("new/file"), text("named")),
        ("first\n".into(), "second\n".into(), "first\n".into())
    );
    let files = image.files();
    assert!(files.contains_key("new/.git/HEAD") && !files.contains_key("old/.git"));
    assert_eq!(
        (files["sub/own"].uid, files["sub/own"].gid, files["old/file"].uid),
        (1, 2, 0)
    );
    fs::write(
        project.join("Dockerfile"),
        format!("FROM scratch\nADD --checksum={first} {url}#main /new/\n"),
    )
    .unwrap();
    context
        .coil(["build"])
        .arg(&project)
        .run()
        .refusal(&["expected checksum to match", "Dockerfile:2"]);
}

#[test]
fn a_tar_and_a_dockerfile_at_an_address_are_contexts() {
    let context = fresh();
    let index = PackageIndex::start();
    let folder = context.project(
        "packed",
        &[
            ("Dockerfile", "FROM scratch\nCOPY a /b\n"),
            ("a", "packed\n"),
            ("Other", "FROM scratch\nCOPY a /c\n"),
        ],
    );
    let tar = Command::new("tar")
        .args(["-C", folder.to_str().unwrap(), "-czf", "-", "."])
        .output()
        .unwrap();
    index.add_path("/context.tar.gz", tar.stdout);
    index.add_path(
        "/Dockerfile.txt",
        b"FROM scratch\nCOPY --from=more a /only\n".to_vec(),
    );
    index.add_path("/junk", vec![0xff, 0xfe, 0]);
    let address = |path: &str| format!("http://127.0.0.1:{}{path}", index.port());
    let out = files(&context, "tarred", &address("/context.tar.gz"), &[]);
    assert_eq!(fs::read_to_string(out.join("b")).unwrap(), "packed\n");
    let out = files(&context, "other", &address("/context.tar.gz"), &["-f", "Other"]);
    assert!(out.join("c").is_file());
    let more = format!("more={}", address("/context.tar.gz"));
    let out = files(
        &context,
        "text",
        &address("/Dockerfile.txt"),
        &["--build-context", &more],
    );
    assert!(out.join("only").is_file());
    context
        .coil(["build"])
        .arg(address("/junk"))
        .run()
        .refusal(&["neither a Dockerfile nor a tar"]);
    context
        .coil(["build"])
        .arg(address("/none"))
        .run()
        .refusal(&["/none"]);
    assert_eq!(context.unfinished(), Vec::<String>::new());
}

#[test]
fn no_repository_leads_to_files_or_programs_of_this_machine() {
    let context = fresh();
    let treasure = context.project("treasure", &[("gold", "not yours\n")]);
    git(&treasure, &["init", "-q"]);
    git(&treasure, &["add", "."]);
    git(&treasure, &["commit", "-q", "-m", "one"]);
    let evil = context.project(
        "evil",
        &[("Dockerfile", "FROM scratch\nCOPY . /\n"), ("sub/f", "x")],
    );
    std::os::unix::fs::symlink("/etc", evil.join("out")).expect("files can be written");
    git(&evil, &["init", "-q"]);
    git(&evil, &["add", "."]);
    git(&evil, &["commit", "-q", "-m", "one"]);
    let url = format!("file://{}", evil.display());
    let pwned = context.path().join("pwned");
    let touch = format!("touch {}", pwned.display());
    for (place, words) in [
        (format!("{url}#:../.."), ["../..", "leads out"]),
        (format!("{url}#main:sub/../../.."), ["sub/../../..", "leads out"]),
        (format!("{url}?subdir=..%2F.."), ["../..", "leads out"]),
        (format!("{url}#main:/out"), ["/out", "leads out"]),
        (
            format!("{url}#--upload-pack={touch}"),
            ["no branch", "--upload-pack"],
        ),
        (
            format!("{url}?ref=--upload-pack={touch}"),
            ["no branch", "--upload-pack"],
        ),
        (format!("{url}#+refs/heads/*:refs/heads/*"), ["+refs", "help:"]),
        (
            format!("ssh://-oProxyCommand={touch}/x"),
            ["cannot be fetched", "help:"],
        ),
    ] {
        context.coil(["build"]).arg(&place).run().refusal(&words);
        let text = format!("FROM scratch\nADD {} /x\n", place.replace(' ', "%20"));
        let adds = context.project("evil-adds", &[("Dockerfile", text.as_str())]);
        context
            .coil(["build"])
            .arg(&adds)
            .run()
            .refusal(&["Dockerfile:2"]);
    }
    // Submodules may be of the network alone, whatever the user's own settings are.
    for address in [
        format!("file://{}", treasure.display()),
        treasure.display().to_string(),
        format!("ext::sh -c {}", touch.replace(' ', "%20")),
    ] {
        let modules = format!("[submodule \"mod\"]\n\tpath = mod\n\turl = {address}\n\tupdate = checkout\n");
        fs::write(evil.join(".gitmodules"), modules).expect("files can be written");
        let commit = git(&treasure, &["rev-parse", "HEAD"]);
        git(&evil, &["add", ".gitmodules"]);
        git(
            &evil,
            &[
                "update-index",
                "--add",
                "--cacheinfo",
                &format!("160000,{commit},mod"),
            ],
        );
        git(&evil, &["commit", "-q", "-m", "two"]);
        context
            .coil(["build"])
            .arg(&url)
            .env("GIT_ALLOW_PROTOCOL", "file:ext")
            .run()
            .refusal(&["not allowed", "submodules=false"]);
        let out = files(&context, "left-out", &format!("{url}?submodules=false"), &[]);
        assert!(out.join("sub/f").is_file() && !out.join("mod/gold").exists());
        fs::remove_dir_all(&out).expect("files can be removed");
    }
    assert!(!pwned.exists());
    assert_eq!(context.unfinished(), Vec::<String>::new());
}

#[test]
fn an_image_of_a_layout_is_a_context() {
    let context = fresh();
    let inner = context.project(
        "inner",
        &[(
            "Dockerfile",
            "FROM scratch\nCOPY Dockerfile /inner\nENV INNER=1\n",
        )],
    );
    let layout = context.path().join("a-layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    for name in ["inner:one", "inner:two"] {
        context
            .coil(["build", "-q", "-t", name, "--label", name, "-o", &output])
            .arg(&inner)
            .run()
            .success();
    }
    let outer = context.project(
        "outer",
        &[(
            "Dockerfile",
            "FROM base\nCOPY --from=base /inner /again\nCOPY --from=whole /inner /third\n",
        )],
    );
    let place = layout.display();
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).expect("a layout")).expect("JSON");
    let digest = index["manifests"][0]["digest"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let build = |base: String| {
        let whole = format!("whole=oci-layout://{place}@{digest}");
        context
            .coil([
                "build",
                "--offline",
                "-t",
                "outer",
                "--build-context",
                &format!("base={base}"),
            ])
            .args(["--build-context", whole.as_str()])
            .arg(&outer)
            .run()
    };
    build(format!("oci-layout://{place}:two")).success();
    let told = context
        .coil(["inspect", "-f", "{{.Config.Env}} {{.Config.Labels}}", "outer"])
        .run()
        .success();
    assert!(
        told.stdout().contains("INNER=1") && told.stdout().contains("inner:two"),
        "{}",
        told.stdout()
    );
    build(format!("oci-layout://{place}:three")).refusal(&["has no image :three", "one, two"]);
    build("oci-layout:///no/such/place".into()).refusal(&["/no/such/place", "help:"]);
    build("target:other".into()).refusal(&["target:other", "bake"]);
    // A blob that is not what its name says is not taken.
    let other = fresh();
    for entry in fs::read_dir(layout.join("blobs/sha256"))
        .expect("a layout")
        .flatten()
    {
        fs::write(entry.path(), "spoilt").expect("files can be written");
    }
    other
        .coil([
            "build",
            "--offline",
            "--build-context",
            &format!("base=oci-layout://{place}:two"),
        ])
        .args(["--build-context", &format!("whole=oci-layout://{place}:two")])
        .arg(&outer)
        .run()
        .refusal(&["blobs/sha256/"]);
}

#[test]
fn an_end_by_ctrl_c_while_a_server_is_silent_leaves_nothing() {
    let context = fresh();
    for kind in ["a.tar", "a.git", "ADD a", "ADD a.git"] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let place = match kind.strip_prefix("ADD ") {
            None => format!("http://127.0.0.1:{port}/{kind}"),
            Some(name) => {
                let text = format!("FROM scratch\nADD http://127.0.0.1:{port}/{name} /x\n");
                let folder = context.project("silent", &[("Dockerfile", text.as_str())]);
                folder.display().to_string()
            }
        };
        let build = context.coil(["build"]).arg(&place).start();
        let (mut connection, _) = listener.accept().expect("a connection");
        build.signal("INT");
        build.wait().expect_code(130);
        // Whoever had the connection is gone: git's helper too.
        let mut said = Vec::new();
        let _ = connection.read_to_end(&mut said);
        assert_eq!(context.unfinished(), Vec::<String>::new(), "{place}");
    }
}
