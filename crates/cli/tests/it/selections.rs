//! What of a project's lock is packed: other tools' locks, extras, groups, and one member of a workspace.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use coil_testkit::Context;
use coil_testkit::image::Image;

use crate::pack::pack;
use crate::shared;

/// A project with the lock of one of the fixtures of `coil-python`.
fn project(context: &Context, case: &str, files: &[&str]) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../python/tests/locks")
        .join(case);
    let texts: Vec<(&str, String)> = files
        .iter()
        .map(|name| {
            (
                *name,
                std::fs::read_to_string(fixtures.join(name)).expect("a fixture"),
            )
        })
        .chain([("main.py", "print('hello')\n".to_owned())])
        .collect();
    let list: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    context.project(case, &list)
}

/// The names of the distributions in the environment.
fn installed(image: &Image) -> BTreeSet<String> {
    let files = image.files();
    files
        .keys()
        .filter_map(|path| {
            let (_, inside) = path.split_once("/site-packages/")?;
            let (folder, rest) = inside.split_once('/')?;
            let name = folder.strip_suffix(".dist-info")?.split('-').next()?;
            (rest == "METADATA").then(|| name.to_owned())
        })
        .collect()
}

#[test]
fn locks_of_other_tools_are_packed() {
    let context = shared();
    for (case, files, flags, inside, outside) in [
        (
            "poetry2-pep735",
            ["pyproject.toml", "poetry.lock"],
            vec![],
            "h2",
            "pytest",
        ),
        (
            "poetry2-pep735",
            ["pyproject.toml", "poetry.lock"],
            vec!["--group", "test"],
            "pytest",
            "ruff",
        ),
        (
            "pdm-forks",
            ["pyproject.toml", "pdm.lock"],
            vec![],
            "uvloop",
            "django",
        ),
        (
            "pipenv-categories",
            ["Pipfile", "Pipfile.lock"],
            vec![],
            "requests",
            "mkdocs",
        ),
    ] {
        let folder = project(&context, case, &files);
        let names = installed(&pack(&context, &folder, &flags));
        assert!(names.contains(inside), "{case} {flags:?}: {names:?}");
        assert!(!names.contains(outside), "{case} {flags:?}: {names:?}");
    }
}

#[test]
fn a_member_of_a_workspace_is_the_app() {
    let context = shared();
    let folder = project(
        &context,
        "uv-workspace",
        &[
            "pyproject.toml",
            "uv.lock",
            "packages/core/pyproject.toml",
            "packages/core/core/__init__.py",
            "packages/api/pyproject.toml",
            "packages/worker/pyproject.toml",
        ],
    );
    let flags = ["--package", "core", "--command", "python -c 'import core'"];
    let image = pack(&context, &folder, &flags);
    let files = image.files();
    assert!(files.contains_key("app/core/__init__.py"), "{:?}", files.keys());
    assert!(!files.contains_key("app/packages"), "only the member is the app");
    let names = installed(&image);
    assert!(
        names.contains("pydantic") && !names.contains("sqlalchemy"),
        "{names:?}"
    );
    // The same from the member's own folder, whose lock lies above it.
    let own = pack(&context, &folder.join("packages/core"), &flags[2..]);
    assert_eq!(
        own.config, image.config,
        "packed from either side it is one image"
    );

    let stderr = context
        .coil(["pack".as_ref(), folder.as_os_str()])
        .args(["--package", "cor"])
        .run()
        .expect_code(1)
        .stderr()
        .to_owned();
    assert!(
        stderr.contains("the lock has no project named `cor`")
            && stderr.contains("did you mean `core`? there are core, api, worker"),
        "{stderr}"
    );
    let stderr = context
        .coil(["pack".as_ref(), folder.as_os_str()])
        .run()
        .expect_code(1)
        .stderr()
        .to_owned();
    assert!(
        stderr.contains("choose one with --package: api, core, worker"),
        "{stderr}"
    );
}

#[test]
fn what_a_lock_does_not_have_is_refused() {
    let context = shared();
    let folder = project(&context, "pdm-web", &["pyproject.toml", "pdm.lock"]);
    for (flags, expected) in [
        (
            ["--extra", "clu"],
            "help: did you mean `cli`? there are cli, cache",
        ),
        (
            ["--group", "prod"],
            "there are lint, test; if it is new, run `pdm lock`",
        ),
        (["--group", "!"], "`!` cannot be a name, and --group wants one"),
        (["--lock", "other.lock"], "other.lock is no lock that coil knows"),
    ] {
        let stderr = context
            .coil(["pack".as_ref(), folder.as_os_str()])
            .args(flags)
            .run()
            .stderr()
            .to_owned();
        assert!(stderr.contains(expected), "{flags:?}: {stderr}");
    }
    let text = std::fs::read_to_string(folder.join("pyproject.toml")).expect("ours");
    std::fs::write(
        folder.join("pyproject.toml"),
        text.replace("sqlalchemy", "peewee"),
    )
    .expect("ours");
    let stderr = context
        .coil(["pack".as_ref(), folder.as_os_str()])
        .run()
        .stderr()
        .to_owned();
    assert!(
        stderr.contains("the lock file does not match pyproject.toml\n  --> pdm.lock: ")
            && stderr.contains("run `pdm lock`, or `coil pack --no-lock` to resolve afresh"),
        "{stderr}"
    );
}

/// The address of an index may come from the environment, as pip has it; a change of it is no cached plan.
#[test]
fn variables_in_requirements_have_their_values() {
    let context = shared();
    let folder = context.project(
        "variables",
        &[("main.py", ""), ("requirements.txt", "${LIBRARY}==1.17.0\n")],
    );
    let stderr = context
        .coil(["pack".as_ref(), folder.as_os_str()])
        .run()
        .expect_code(1)
        .stderr()
        .to_owned();
    assert!(stderr.contains("the variable LIBRARY is not set"), "{stderr}");
    let mut context = shared();
    context.set("LIBRARY", "six");
    let folder = context.project(
        "variables",
        &[("main.py", ""), ("requirements.txt", "${LIBRARY}==1.17.0\n")],
    );
    let names = installed(&pack(&context, &folder, &["--command", "python main.py"]));
    assert_eq!(names, BTreeSet::from(["six".to_owned()]));
}
