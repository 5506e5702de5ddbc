//! Which file a package is taken from: what hashes allow, what is to be built and what never, which commit a name is.

use std::path::PathBuf;
use std::process::Command;

use coil_oci::Digest;
use coil_testkit::index::PackageIndex;
use coil_testkit::wheel::WheelBuilder;
use coil_testkit::{Context, tree};

use crate::shared;
use crate::source_builds::{archive, own_back_end, write};

const ZERO: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn plain_wheel() -> WheelBuilder {
    WheelBuilder::new("plain", "1.0").file("plain.py", "WORD = 'wheel'\n")
}

/// A source distribution in a folder of its own.
fn plain_source(context: &Context, folder: &str) -> PathBuf {
    let source = context.path().join(folder).join("plain-1.0");
    write(&source, &own_back_end("1.0", "source"));
    archive(&source, "plain-1.0.tar.gz")
}

/// An index with a package that has both, and another that has a source alone.
fn index(context: &Context) -> PackageIndex {
    let index = PackageIndex::start();
    index.add(&plain_wheel());
    let source = std::fs::read(plain_source(context, "offered")).expect("our own file");
    index.add_file("plain-1.0.tar.gz", source.clone());
    index.add_file("only-1.0.tar.gz", source);
    index
}

#[test]
fn what_is_built_and_what_is_not() {
    let context = shared();
    let index = index(&context);
    let table = [
        ("plain\n", "", "wheel"),
        ("plain\n", "--no-binary=plain", "source"),
        ("--no-binary Plain\nplain==1.0\n", "", "source"),
        ("--no-binary :all:\nplain\n", "--only-binary=plain", "wheel"),
    ];
    for (number, (requirements, flag, word)) in table.into_iter().enumerate() {
        let name = format!("built-{number}");
        let project = context.project(
            &name,
            &[
                ("requirements.txt", requirements),
                ("main.py", "import plain; print(plain.WORD)\n"),
            ],
        );
        let mut pack = context.coil(["pack".as_ref(), project.as_os_str()]);
        pack = pack.args(["--default-index", &index.url(), "-q", "-t", &name]);
        if !flag.is_empty() {
            pack = pack.arg(flag);
        }
        pack.run().success();
        let run = context.coil(["run", "--rm", &name]).run().success();
        assert_eq!(run.word(), word, "{requirements:?} {flag}");
    }
    let settings = "[project]\nname = \"app\"\nversion = \"1\"\nrequires-python = \">=3.11\"\ndependencies = [\"plain\"]\n\
                    [tool.uv]\nno-binary-package = [\"plain\"]\n";
    let project = context.project(
        "built-by-uv",
        &[
            ("pyproject.toml", settings),
            ("main.py", "import plain; print(plain.WORD)\n"),
        ],
    );
    let pack = context.coil(["pack".as_ref(), project.as_os_str()]);
    pack.args(["--default-index", &index.url(), "-q", "-t", "built-by-uv"])
        .run()
        .success();
    let run = context.coil(["run", "--rm", "built-by-uv"]).run().success();
    assert_eq!(run.word(), "source");

    for (requirements, flag, said) in [
        (
            "--only-binary :all:\nonly\n",
            "-q",
            "--only-binary in requirements.txt",
        ),
        ("only==1.0\n", "--only-binary=only", "--only-binary"),
    ] {
        let project = context.project(
            "forbidden",
            &[("requirements.txt", requirements), ("main.py", "x = 1\n")],
        );
        let pack = context.coil(["pack".as_ref(), project.as_os_str()]);
        let pack = pack
            .args(["--default-index", &index.url(), flag])
            .run()
            .expect_code(1);
        let whole = format!("error: only has no wheel that fits, and must not be built: {said}\n");
        assert!(pack.stderr().contains(&whole), "{pack}");
    }
}

#[test]
fn variables_of_pip_and_uv_say_what_is_built() {
    let context = shared();
    let index = index(&context);
    let packed = |number: usize, requirements: &str, variable: (&str, &str), flag: &str| {
        let name = format!("told-{number}");
        let project = context.project(
            &name,
            &[
                ("requirements.txt", requirements),
                ("main.py", "import plain; print(plain.WORD)\n"),
            ],
        );
        let pack = context.coil(["pack".as_ref(), project.as_os_str()]);
        let pack = pack.args(["--default-index", &index.url(), "-t", &name, flag]);
        (name, pack.env(variable.0, variable.1).run())
    };
    // Flags win over variables; those of uv over files, and files over those of pip.
    for (number, (requirements, variable, flag, word)) in [
        ("plain\n", ("PIP_NO_BINARY", "other,plain"), "-q", "source"),
        (
            "--only-binary plain\nplain\n",
            ("PIP_NO_BINARY", ":all:"),
            "-q",
            "wheel",
        ),
        ("plain\n", ("UV_NO_BINARY_PACKAGE", "plain"), "-q", "source"),
        (
            "--only-binary plain\nplain\n",
            ("UV_NO_BINARY", "true"),
            "-q",
            "source",
        ),
        ("plain\n", ("UV_NO_BINARY", "1"), "--only-binary=plain", "wheel"),
    ]
    .into_iter()
    .enumerate()
    {
        let (name, pack) = packed(number, requirements, variable, flag);
        pack.success();
        let run = context.coil(["run", "--rm", &name]).run().success();
        assert_eq!(run.word(), word, "{requirements:?} {variable:?} {flag}");
    }
    let (_, refused) = packed(9, "only\n", ("UV_NO_BUILD", "1"), "-q");
    refused.refusal(&["only has no wheel that fits, and must not be built: UV_NO_BUILD"]);
    let (_, refused) = packed(9, "only\n", ("UV_NO_BUILD", "maybe"), "-q");
    refused.refusal(&["UV_NO_BUILD is `maybe`", "give 1 or 0"]);
}

#[test]
fn hashes_are_held_wherever_a_package_comes_from() {
    let context = shared();
    let index = index(&context);
    let told_nothing = "<a href=\"/files/bare-1.0-py3-none-any.whl\">bare-1.0-py3-none-any.whl</a>";
    let bare = WheelBuilder::new("bare", "1.0").file("bare.py", "x = 1\n");
    index.add(&bare);
    index.add_html("/simple/bare/", told_nothing);
    let project = context.project("hashed", &[("main.py", "x = 1\n")]);
    let source = plain_source(&context, "beside");
    let wheel = project.join(plain_wheel().file_name());
    let content = plain_wheel().build();
    let right = Digest::of(&content);
    std::fs::write(&wheel, content).expect("our own folder");
    let pack = |requirements: &str| {
        tree::write(&project, &[("requirements.txt", requirements)]);
        let pack = context.coil(["pack".as_ref(), project.as_os_str()]);
        pack.args(["--default-index", &index.url(), "-q"]).run()
    };
    let source = source.display();
    let no_file = "no file of plain 1.0";
    for (requirements, said) in [
        (format!("plain==1.0 --hash={ZERO}\n"), no_file),
        (format!("bare\nplain>=1 --hash={ZERO}\n"), no_file),
        (format!("./plain-1.0-py3-none-any.whl --hash={ZERO}\n"), no_file),
        (
            format!("{source} --hash={ZERO}\n"),
            "plain-1.0.tar.gz has the hash sha256:",
        ),
        (
            format!("plain @ file://{source}#{}\n", ZERO.replace(':', "=")),
            "plain-1.0.tar.gz has the hash sha256:",
        ),
        (
            format!("bare==1.0 --hash={ZERO}\n"),
            "bare-1.0-py3-none-any.whl has the hash sha256:",
        ),
        (
            "plain --hash=sha512:00\n".to_owned(),
            "none of its hashes is a sha256",
        ),
        (
            "--require-hashes\nplain==1.0\n".to_owned(),
            "tells none of plain 1.0",
        ),
    ] {
        let pack = pack(&requirements).expect_code(1);
        assert!(pack.stderr().contains(said), "{requirements}\n{pack}");
        assert!(pack.stderr().contains("help: "), "{requirements}\n{pack}");
        assert!(!project.join("coil.lock").exists(), "{requirements}");
    }
    pack(&format!(
        "./plain-1.0-py3-none-any.whl --hash={ZERO} --hash={right}\nbare\n"
    ))
    .success();
}

#[test]
fn a_branch_is_no_other_that_ends_like_it_and_a_commit_may_be_cut() {
    let context = shared();
    let place = context.path().join("branches");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments);
        let output = git.current_dir(&place).output().expect("git runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    write(&place, &own_back_end("1.0", "first"));
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    let first = git(&["rev-parse", "--short=8", "HEAD"]);
    git(&["checkout", "-q", "-b", "a/main"]);
    tree::write(&place, &[("plain.py", "WORD = 'other'\n")]);
    git(&["commit", "-q", "-a", "-m", "two"]);
    git(&["checkout", "-q", "main"]);
    tree::write(&place, &[("plain.py", "WORD = 'newest'\n")]);
    git(&["commit", "-q", "-a", "-m", "three"]);
    let pack = |name: &str| {
        let line = format!("plain @ git+file://{}@{name}\n", place.display());
        let project = context.project(
            "of-a-branch",
            &[
                ("requirements.txt", &line),
                ("main.py", "import plain; print(plain.WORD)\n"),
            ],
        );
        context
            .coil(["run".as_ref(), "--rm".as_ref(), project.as_os_str()])
            .run()
    };
    for (name, word) in [("main", "newest"), ("a/main", "other"), (first.as_str(), "first")] {
        assert_eq!(pack(name).success().word(), word, "{name}");
    }
    let lost = pack("nowhere").expect_code(125);
    assert!(
        lost.stderr().contains("has no branch, tag or commit `nowhere`"),
        "{lost}"
    );
}

#[test]
fn what_is_pinned_holds_until_it_is_renewed() {
    let context = shared();
    let index = PackageIndex::start();
    let add = |version: &str| {
        let text = format!("WORD = '{version}'\n");
        index.add(&WheelBuilder::new("pinned", version).file("pinned.py", text));
    };
    add("1.0");
    let project = context.project(
        "renewed",
        &[
            ("requirements.txt", "pinned\n"),
            ("main.py", "import pinned; print(pinned.WORD)\n"),
        ],
    );
    let word = |flags: &[&str]| {
        let pack = context.coil(["pack".as_ref(), project.as_os_str()]);
        let pack = pack.args(["--default-index", &index.url(), "-q", "-t", "renewed"]);
        pack.args(flags).run().success();
        let run = context.coil(["run", "--rm", "renewed"]).run().success();
        run.word().to_owned()
    };
    assert_eq!(word(&[]), "1.0");
    add("2.0");
    assert_eq!(word(&[]), "1.0");
    assert_eq!(word(&["--upgrade"]), "2.0");
    assert_eq!(word(&["--locked"]), "2.0");
}
