//! Corners of the language that BuildKit has a mind about; `scripts/compare-builds` has all of them, a docker beside it.

use std::fs;
use std::path::PathBuf;

use coil_testkit::Context;

use crate::fresh;

/// Builds a Dockerfile with a few files and gives the folder of the image's files.
fn files(context: &Context, name: &str, dockerfile: &str, more: &[(&str, &str)]) -> PathBuf {
    let project = context.project(name, more);
    fs::write(project.join("Dockerfile"), dockerfile).expect("a Dockerfile");
    let out = context.path().join(format!("out-{name}"));
    let dest = format!("type=local,dest={}", out.display());
    context
        .coil(["build", "-q", "--offline", "-o", &dest])
        .arg(&project)
        .run()
        .success();
    out
}

fn refused(context: &Context, name: &str, dockerfile: &[u8], more: &[(&str, &str)]) -> String {
    let project = context.project(name, more);
    fs::write(project.join("Dockerfile"), dockerfile).expect("a Dockerfile");
    let failed = context
        .coil(["build", "--offline"])
        .arg(&project)
        .run()
        .expect_code(1);
    failed.stderr().to_owned()
}

#[test]
fn a_wildcard_goes_through_no_link_and_a_name_does() {
    let context = fresh();
    let project = context.project("links", &[("real/f", "x")]);
    std::os::unix::fs::symlink("real", project.join("link")).expect("a link");
    fs::write(
        project.join("Dockerfile"),
        "FROM scratch\nCOPY link/f /named\nCOPY lin*/f /wild/\nCOPY re*l/* /real/\n",
    )
    .expect("a Dockerfile");
    let out = context.path().join("out");
    let dest = format!("type=local,dest={}", out.display());
    context
        .coil(["build", "-q", "--offline", "-o", &dest])
        .arg(&project)
        .run()
        .success();
    assert!(out.join("named").is_file() && out.join("real/f").is_file());
    assert!(!out.join("wild").exists());
}

#[test]
fn files_are_read_as_they_are_and_lines_have_an_end() {
    let context = fresh();
    let no_text = b"# \xff\xfe\nFROM scratch\nCOPY a /\n";
    let project = context.project("no-text", &[("a", "x"), (".dockerignore/kept", "")]);
    fs::write(project.join("dockerfile"), no_text).expect("a Dockerfile");
    context
        .coil(["build", "-q", "--offline"])
        .arg(&project)
        .run()
        .success();
    let long = format!("FROM scratch\n# {}\nCOPY a /\n", "x".repeat(70_000));
    let said = refused(&context, "long", long.as_bytes(), &[("a", "x")]);
    assert!(
        said.contains("line greater than max allowed size of 65535"),
        "{said}"
    );
    for (patterns, part) in [
        ("[z-a]\n".to_owned(), "syntax error in pattern"),
        (format!("{}\n", "x".repeat(70_000)), "token too long"),
    ] {
        let files = [("a", "x"), (".dockerignore", patterns.as_str())];
        let said = refused(&context, "patterns", b"FROM scratch\nCOPY a /\n", &files);
        assert!(said.contains(part), "{said}");
    }
    // A no-break space is a letter.
    let said = refused(
        &context,
        "blank",
        "FROM scratch\nCOPY a\u{a0}/\n".as_bytes(),
        &[("a", "x")],
    );
    assert!(said.contains("COPY requires at least two arguments"), "{said}");
}

#[test]
fn an_empty_context_is_there_and_another_one_is_a_base() {
    let context = fresh();
    let out = context.path().join("empty");
    let dest = format!("type=local,dest={}", out.display());
    context
        .coil(["build", "-q", "--offline", "-o", &dest, "-"])
        .input("FROM scratch\nCOPY . /x/\n")
        .run()
        .success();
    assert!(fs::read_dir(out.join("x")).expect("a folder").next().is_none());
    let other = context.project("other", &[("own", "of the folder\n")]);
    let base = format!("base={}", other.display());
    let project = context.project("based", &[("Dockerfile", "FROM base\nCOPY a /\n"), ("a", "x")]);
    let out = context.path().join("based-out");
    let dest = format!("type=local,dest={}", out.display());
    context
        .coil(["build", "-q", "--offline", "-o", &dest, "--build-context", &base])
        .arg(&project)
        .run()
        .success();
    assert!(out.join("own").is_file() && out.join("a").is_file());
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_words_that_users_search() {
    let context = fresh();
    for (at, (dockerfile, part)) in [
        (
            "FROM scratch AS a\nCOPY a /\nFROM scratch\nARG N=a\nCOPY --from=$N /a /\n",
            "variable expansion is not supported for --from",
        ),
        (
            "FROM $NONE AS unused\nFROM scratch\nCOPY a /\n",
            "base name ($NONE) should not be blank",
        ),
        (
            "FROM scratch\nHEALTHCHECK --interval=soon CMD x\n",
            "time: invalid duration \"soon\"",
        ),
        (
            "FROM scratch\nHEALTHCHECK --interval=5 CMD x\n",
            "time: missing unit in duration \"5\"",
        ),
        (
            "FROM scratch\nEXPOSE 1-3:8-9\n",
            "invalid ranges specified for container and host Ports",
        ),
        ("FROM scratch\nLABEL a=${:-x}\n", "syntax error: bad substitution"),
        (
            "FROM scratch\nCOPY <<a/b /x\ntext\na/b\n",
            "open /a/b: no such file or directory",
        ),
    ]
    .iter()
    .enumerate()
    {
        let said = refused(
            &context,
            &format!("case-{at}"),
            dockerfile.as_bytes(),
            &[("a", "x")],
        );
        assert!(said.contains(part), "{dockerfile}\n{said}");
    }
    let project = context.project("empty-key", &[("Dockerfile", "FROM scratch\nLABEL a=b\n")]);
    for words in [
        &["--build-arg", "=x"][..],
        &["--no-cache", "--no-cache-filter", "a"],
    ] {
        context
            .coil(["build"])
            .args(words)
            .arg(&project)
            .run()
            .expect_code(1);
    }
}

#[test]
fn an_archive_follows_the_folders_of_its_base() {
    let context = fresh();
    let project = context.project("archive", &[("base/dir/there", "x")]);
    std::os::unix::fs::symlink("dir", project.join("base/link")).expect("a link");
    fs::create_dir(project.join("tree")).expect("a folder");
    fs::create_dir(project.join("tree/link")).expect("a folder");
    fs::write(project.join("tree/link/new"), "y").expect("a file");
    let tar = std::process::Command::new("tar")
        .args(["-C", "tree", "-cf", "a.tar", "link/new"])
        .current_dir(&project)
        .status()
        .expect("tar is there");
    assert!(tar.success());
    fs::write(
        project.join("Dockerfile"),
        "FROM scratch\nCOPY base /\nADD a.tar /\n",
    )
    .expect("a Dockerfile");
    let out = context.path().join("out");
    let dest = format!("type=local,dest={}", out.display());
    context
        .coil(["build", "-q", "--offline", "-o", &dest])
        .arg(&project)
        .run()
        .success();
    assert!(out.join("dir/new").is_file());
    assert!(
        out.join("link")
            .symlink_metadata()
            .expect("the link")
            .is_symlink()
    );
}

#[test]
fn here_documents_and_empty_flags() {
    let context = fresh();
    let out = files(
        &context,
        "heredocs",
        "FROM scratch\nCOPY --from= <<'E' a /x/\n$A\nE\n",
        &[("a", "x")],
    );
    assert_eq!(fs::read_to_string(out.join("x/E")).expect("a file"), "$A\n");
    assert!(out.join("x/a").is_file());
}
