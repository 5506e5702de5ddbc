//! Where packages come from: flags, variables, files and the project; and that no login is left anywhere.

mod ways;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use coil_testkit::image::Layout;
use coil_testkit::index::PackageIndex;
use coil_testkit::wheel::WheelBuilder;
use coil_testkit::{Context, tree};

use crate::pack::pack;
use crate::{fresh, shared};

/// `me:s3cr/t-pw` in base 64, which the server asks for.
const LOGIN: &str = "bWU6czNjci90LXB3";
const PASSWORD: &str = "s3cr/t-pw";
/// The password in all the forms in which it could slip out.
const SHAPES: &str = "s3cr/t-pw s3cr%2Ft-pw s3cr%2ft-pw bWU6czNjci90LXB3";

/// Takes the machine's own indices away, once uv is there.
fn alone(context: Context) -> Context {
    // Its packages are resolved by uv, which comes from the machine's index.
    let project = context.project(
        "needs-uv",
        &[("main.py", "x = 1\n"), ("requirements.txt", "six\n")],
    );
    pack(&context, &project, &[]);
    context.without_indices()
}

fn wheel(name: &str, version: &str) -> WheelBuilder {
    WheelBuilder::new(name, version).file(&format!("{name}.py"), format!("VERSION = '{version}'\n"))
}

fn project(context: &Context, name: &str, pyproject: &str) -> PathBuf {
    let text =
        format!("[project]\nname = \"app\"\nversion = \"1\"\nrequires-python = \">=3.11\"\n{pyproject}");
    context.project(
        name,
        &[("main.py", "print('hello')\n"), ("pyproject.toml", &text)],
    )
}

/// Says which of these files and folders hold one of the words, packed or not, in their names or contents.
fn holding(places: &[&Path], since: SystemTime, words: &str) -> String {
    let code = r#"
import gzip, os, sys, zipfile, zlib
words = [word.encode() for word in sys.argv[2].split()]
def look(name, data):
    for word in words:
        if word in name.encode() or word in data:
            print(name, word.decode())
def file(path):
    if os.path.islink(path) or os.stat(path).st_mtime < float(sys.argv[1]):
        return
    data = open(path, 'rb').read()
    look(path, data)
    if data[:2] == b'\x1f\x8b':
        look(path + ' (unpacked)', gzip.decompress(data))
for place in sys.argv[3:]:
    if os.path.isfile(place):
        file(place)
    for folder, folders, files in os.walk(place):
        for name in folders + files:
            look(os.path.join(folder, name), b'')
        for name in files:
            file(os.path.join(folder, name))
"#;
    let seconds = since
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let output = Command::new("python3")
        .args(["-c", code, &seconds.to_string(), words])
        .args(places)
        .output()
        .expect("python3");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The uv that coil downloaded.
fn real_uv(context: &Context) -> PathBuf {
    let downloads = context.downloads().join("uv");
    tree::paths(&downloads)
        .into_iter()
        .find(|path| path.components().count() == 2 && path.ends_with("uv"))
        .map(|path| downloads.join(path))
        .expect("uv was downloaded")
}

/// A uv that notes what it was started with, before the real one.
fn watched_uv(context: &mut Context, log: &Path) {
    let real = real_uv(context);
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{0}'\ncat \"$UV_CONFIG_FILE\" >> '{0}'\nexec '{1}' \"$@\"\n",
        log.display(),
        real.display()
    );
    let folder = context.path().join("watched");
    tree::write(&folder, &[("uv", &script)]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.join("uv"), mode).expect("our own file");
    context.set("PATH", format!("{}:/usr/bin:/bin", folder.display()));
}

#[test]
fn logins_are_used_and_left_nowhere() {
    let (mut context, main, corp) = (alone(fresh()), PackageIndex::start(), PackageIndex::start());
    let since = SystemTime::now();
    corp.require(LOGIN);
    let locked = corp.add(&wheel("coil_test_locked", "1.0"));
    for name in ["coil_test_inner", "coil_test_direct"] {
        corp.add(&wheel(name, "1.0"));
        // Whoever mixes indices takes this one.
        main.add(&wheel(name, "9.0"));
    }
    main.add(&wheel("coil_test_outer", "1.0").metadata("Requires-Dist: coil-test-inner"));
    let log = context.path().join("uv.log");
    watched_uv(&mut context, &log);
    context.set("UV_DEFAULT_INDEX", main.url());
    context.set("UV_INDEX_CORP_USERNAME", "me");
    context.set("UV_INDEX_CORP_PASSWORD", PASSWORD);
    context.set("TOKEN", "s3cr%2Ft-pw");

    let in_address = corp.url().replace("://", "://me:s3cr%2Ft-pw@");
    let direct = in_address.replace("/simple", "/files/coil_test_direct-1.0-py3-none-any.whl");
    let named = project(
        &context,
        "named",
        &format!(
            "dependencies = [\"coil-test-outer\", \"coil-test-inner\", \"coil-test-direct @ {direct}\"]\n\
             [tool.uv.sources]\ncoil-test-inner = {{ index = \"corp\" }}\n\
             [[tool.uv.index]]\nname = \"corp\"\nurl = \"{}\"\nexplicit = true\n",
            corp.url()
        ),
    );
    let hashed = context.project(
        "hashed",
        &[
            ("main.py", "print('hello')\n"),
            (
                "requirements.txt",
                &format!(
                    "--extra-index-url {}\ncoil-test-locked==1.0 --hash=sha256:{}\n",
                    in_address.replace("s3cr%2Ft-pw", "${TOKEN}"),
                    locked.hex()
                ),
            ),
        ],
    );
    let mut said = String::new();
    for project in [&named, &hashed] {
        let layout = context.path().join("layout");
        let output = format!("oci:{}", layout.display());
        for flags in [
            &["--output", &output][..],
            &["--explain"],
            &["--format", "json", "-t", "test/logins:latest"],
        ] {
            let finished = context
                .coil(["pack".as_ref(), project.as_os_str()])
                .args(flags)
                .run()
                .success();
            said.push_str(finished.stdout());
            said.push_str(finished.stderr());
        }
        let inspected = context.coil(["inspect", "test/logins:latest"]).run().success();
        said.push_str(inspected.stdout());
        let image = Layout::open(&layout).image();
        let files = image.files();
        let has = |name: &str| files.keys().any(|path| path.ends_with(&format!("/{name}")));
        if project == &named {
            let note = "pyproject.toml holds a login in an address";
            assert!(
                said.contains(note),
                "a login in a file of the project is told: {said}"
            );
            assert!(
                has("coil_test_inner-1.0.dist-info/METADATA"),
                "inner comes from its index"
            );
            assert!(has("coil_test_outer.py") && has("coil_test_direct-1.0.dist-info/METADATA"));
        } else {
            assert!(has("coil_test_locked.py"));
        }
        // The project's own pyproject.toml is the user's to ship or not; nothing of ours may hold the secret.
        std::fs::remove_file(project.join("pyproject.toml")).ok();
        std::fs::remove_file(project.join("requirements.txt")).ok();
        let left = holding(&[project], since, SHAPES);
        assert_eq!(left, "", "in the project");
        let layers: Vec<&Path> = image.layers().iter().map(PathBuf::as_path).collect();
        let (app, below) = layers.split_last().expect("layers");
        let _ = app;
        assert_eq!(holding(below, since, SHAPES), "", "in the image");
        std::fs::remove_dir_all(&layout).expect("our own folder");
    }
    assert!(SHAPES.split(' ').all(|shape| !said.contains(shape)), "{said}");
    let seen = std::fs::read_to_string(&log).expect("uv was started");
    assert!(
        seen.contains("[[index]]") && SHAPES.split(' ').all(|shape| !seen.contains(shape)),
        "{seen}"
    );
    assert_eq!(
        holding(&[context.downloads()], since, SHAPES),
        "",
        "in the downloads"
    );
    let records = context.root().join("cache-v1");
    assert_eq!(holding(&[&records], since, SHAPES), "", "in the store's records");
    // Nobody but its own server got it.
    assert!(
        main.requests()
            .iter()
            .all(|request| !request.headers.contains_key("authorization"))
    );
}

#[test]
fn a_refused_login_is_explained_without_it() {
    let (mut context, corp) = (alone(shared()), PackageIndex::start());
    corp.require(LOGIN);
    let digest = corp.add(&wheel("coil_test_refused", "1.0"));
    let hashed = context.project(
        "refused",
        &[
            ("main.py", "x = 1\n"),
            (
                "requirements.txt",
                &format!("coil-test-refused==1.0 --hash=sha256:{}\n", digest.hex()),
            ),
        ],
    );
    let open = context.project(
        "open",
        &[
            ("main.py", "x = 1\n"),
            ("requirements.txt", "coil-test-refused\n"),
        ],
    );
    context.set("UV_DEFAULT_INDEX", format!("corp={}", corp.url()));
    for project in [&hashed, &open] {
        let none = context.coil(["pack".as_ref(), project.as_os_str()]).run();
        none.refusal(&["401", "help:"]);
    }
    let run = |context: &Context| context.coil(["pack".as_ref(), hashed.as_os_str()]).run();
    run(&context).refusal(&[
        "no login is known for 127.0.0.1",
        "UV_INDEX_CORP_USERNAME",
        ".netrc",
    ]);
    context.set("UV_INDEX_CORP_USERNAME", "me");
    context.set("UV_INDEX_CORP_PASSWORD", "wrong-hunter2");
    for project in [&hashed, &open] {
        let finished = context.coil(["pack".as_ref(), project.as_os_str()]).run();
        assert!(!finished.stderr().contains("hunter2"), "{finished}");
    }
    run(&context)
        .refusal(&["the login of UV_INDEX_CORP_USERNAME and UV_INDEX_CORP_PASSWORD was not accepted"]);
    context.set("UV_INDEX_CORP_PASSWORD", PASSWORD);
    run(&context).success();
    // A keyring is not asked, and that is said where it matters.
    context
        .coil(["pack".as_ref(), hashed.as_os_str()])
        .args(["--keyring-provider", "subprocess"])
        .run()
        .refusal(&["keyring provider `subprocess` is not supported", "netrc"]);
}

#[test]
fn a_login_from_netrc_serves_uv_and_coil() {
    let (mut context, corp) = (alone(shared()), PackageIndex::start());
    corp.require(LOGIN);
    corp.add(&wheel("coil_test_netrc", "1.0"));
    let netrc = context.path().join("netrc");
    std::fs::write(
        &netrc,
        format!("machine 127.0.0.1 login me password {PASSWORD}\n"),
    )
    .expect("our own file");
    context.set("NETRC", &netrc);
    let project = project(&context, "netrc-app", "dependencies = [\"coil-test-netrc\"]\n");
    let flags = ["--default-index", &corp.url()];
    let image = pack(&context, &project, &flags);
    assert!(
        image
            .files()
            .keys()
            .any(|path| path.ends_with("/coil_test_netrc.py"))
    );
    let lock = std::fs::read_to_string(project.join("coil.lock")).expect("a lock");
    assert!(lock.contains("coil_test_netrc-1.0") && !lock.contains(PASSWORD));
}

#[test]
fn what_is_newer_than_a_date_does_not_count() {
    let (mut context, index) = (alone(shared()), PackageIndex::start());
    index.add(&wheel("coil_test_dated", "1.0"));
    index.add(&wheel("coil_test_dated", "2.0"));
    index.add_json_page(
        "coil-test-dated",
        &[
            (
                "coil_test_dated-1.0-py3-none-any.whl",
                r#","upload-time":"2024-03-01T12:00:00Z""#,
            ),
            (
                "coil_test_dated-2.0-py3-none-any.whl",
                r#","upload-time":"2024-03-02T00:30:00Z""#,
            ),
        ],
    );
    context.set("UV_DEFAULT_INDEX", index.url());
    let project = project(&context, "dated", "dependencies = [\"coil-test-dated\"]\n");
    let version = |flags: &[&str]| {
        let files = pack(&context, &project, flags).files();
        let path = files.keys().find(|path| path.ends_with(".dist-info/METADATA"));
        path.cloned().unwrap_or_default()
    };
    assert!(version(&[]).contains("-2.0."));
    // Another date is another question, which the lock doesn't answer.
    assert!(version(&["--exclude-newer", "2024-03-01"]).contains("-1.0."));
    assert!(version(&["--exclude-newer", "2024-03-01", "--locked"]).contains("-1.0."));
    context
        .coil(["pack".as_ref(), project.as_os_str()])
        .arg("--locked")
        .run()
        .refusal(&["--locked", "coil.lock does not hold what pyproject.toml asks for"]);
    context
        .coil(["pack".as_ref(), project.as_os_str()])
        .args(["--exclude-newer", "2024-02-28"])
        .run()
        .refusal(&["cannot be resolved", "exclude-newer"]);
    context
        .coil(["pack".as_ref(), project.as_os_str()])
        .args(["--exclude-newer", "1 month"])
        .run()
        .refusal(&[
            "--exclude-newer: `1 month` counts in months",
            "help: give a date",
            "`30 days`",
        ]);
}

#[test]
fn flags_win_over_the_project_and_places_serve_alone() {
    let (context, in_project, in_flag) = (alone(shared()), PackageIndex::start(), PackageIndex::start());
    in_project.add(&wheel("coil_test_flag", "1.0"));
    in_flag.add(&wheel("coil_test_flag", "2.0"));
    let tables = |url: &str| {
        format!("dependencies = [\"coil-test-flag\"]\n[[tool.uv.index]]\nurl = \"{url}\"\ndefault = true\n")
    };
    let packed = |context: &Context, name: &str, flags: &[&str]| {
        let project = project(context, name, &tables(&in_project.url()));
        let files = pack(context, &project, flags).files();
        let path = files.keys().find(|path| path.ends_with(".dist-info/METADATA"));
        path.cloned().unwrap_or_default()
    };
    assert!(packed(&context, "of-project", &[]).contains("-1.0."));
    assert!(packed(&context, "of-flag", &["--default-index", &in_flag.url()]).contains("-2.0."));
    assert!(packed(&context, "of-extra", &["--index", &in_flag.url()]).contains("-2.0."));
    let folder = context.path().join("wheels");
    let file = wheel("coil_test_flag", "3.0");
    std::fs::create_dir(&folder).expect("our own folder");
    std::fs::write(folder.join(file.file_name()), file.build()).expect("our own file");
    let place = folder.to_string_lossy().into_owned();
    assert!(packed(&context, "of-place", &["--no-index", "--find-links", &place]).contains("-3.0."));
}

#[test]
fn what_was_taken_back_is_packed_with_a_note() {
    let (mut context, index) = (alone(shared()), PackageIndex::start());
    let digest = index.add(&wheel("coil_test_yanked", "1.0"));
    index.add_json_page(
        "coil-test-yanked",
        &[(
            "coil_test_yanked-1.0-py3-none-any.whl",
            r#","yanked":"loses data""#,
        )],
    );
    context.set("UV_DEFAULT_INDEX", index.url());
    for (name, text) in [
        (
            "yanked-hash",
            format!("coil-test-yanked==1.0 --hash=sha256:{}\n", digest.hex()),
        ),
        ("yanked-open", "coil-test-yanked==1.0\n".to_owned()),
    ] {
        let project = context.project(name, &[("main.py", "x = 1\n"), ("requirements.txt", &text)]);
        let finished = context
            .coil(["pack".as_ref(), project.as_os_str()])
            .run()
            .success();
        assert!(
            finished.stderr().contains("note: ") && finished.stderr().contains("loses data"),
            "{finished}"
        );
    }
}
