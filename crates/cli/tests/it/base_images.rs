//! Base images made from Debian's packages: what guides do with them, and what coil says of them.
//!
//! One slim Python is made, in the shared data root, and used by all.

mod mirror;
mod registries;
mod servers;
mod uv;

use std::fs;

use coil_testkit::Context;

use crate::{fresh, shared, user};

const PYTHON: &str = "python:3.11-slim";

/// The shared data root with a Python stand-in in it.
fn with_python() -> Context {
    let context = shared();
    // What an older coil made is made anew.
    context.coil(["base", "-q", "--update", PYTHON]).run().success();
    context
}

/// Runs a shell script in the stand-in; gives what it printed.
fn in_python(context: &Context, script: &str) -> String {
    let run = context
        .coil(["run", "--rm", "--network", "none", PYTHON, "sh", "-ec", script])
        .run()
        .success();
    run.stdout().to_owned()
}

#[test]
fn a_python_stand_in_has_the_official_layout() {
    let context = with_python();
    let paths = in_python(
        &context,
        "python3 -c 'import sys, site, sysconfig; print(sys.prefix, site.getsitepackages()[0], sysconfig.get_path(\"purelib\"))'
         pip --version
         python -c 'import sys; print(sys.path[-1])'
         readlink /usr/local/bin/python3
         python3-config --includes
         find / -xdev -name EXTERNALLY-MANAGED
         echo $LANG $PYTHON_VERSION",
    );
    let lines: Vec<&str> = paths.lines().collect();
    let packages = "/usr/local/lib/python3.11/site-packages";
    assert_eq!(lines[0], format!("/usr/local {packages} {packages}"), "{paths}");
    assert!(
        lines[1].contains(&format!("from {packages}/pip (python 3.11)")),
        "{paths}"
    );
    assert_eq!(
        lines[2..5],
        [
            packages,
            "python3.11",
            "-I/usr/local/include/python3.11 -I/usr/local/include/python3.11"
        ]
    );
    assert!(lines[5].starts_with("C.UTF-8 3.11."), "{paths}");
}

/// In the manner of the tests that the official image has.
#[test]
fn a_python_stand_in_behaves() {
    let context = with_python();
    let printed = in_python(
        &context,
        "python3 - <<'X'
import bz2, ctypes, curses, dbm.gnu, dbm.ndbm, decimal, hashlib, lzma, readline, sqlite3, ssl, time, uuid, zlib, zoneinfo
assert time.tzname == ('UTC', 'UTC'), time.tzname
assert sqlite3.connect(':memory:').execute('select 1 + 1').fetchone() == (2,)
assert len(ssl.create_default_context().get_ca_certs()) > 50
assert zoneinfo.ZoneInfo('Europe/Zurich')
import threading, sys
sys.setrecursionlimit(20_000)
def deep(n):
    return 0 if n == 0 else 1 + deep(n - 1)
print(deep(5_000))
X
         python3 -m venv /tmp/v && /tmp/v/bin/python -c 'import sys; print(sys.prefix)' && /tmp/v/bin/pip --version | cut -d' ' -f1
         python3 -m ensurepip > /dev/null 2>&1 && echo ensured
         find /usr/local/lib -name '*.pyc' | grep -v cpython-311 | wc -l
         python3 -v -c 'import json' 2>&1 | grep -c 'wrote' || true
         useradd --create-home joe && su joe -c 'pip --version > /dev/null && python3 -m site --user-site'
         echo zürich | iconv -f utf-8 -t latin1 | wc -c
         test $(stat -c %a /tmp) = 1777 && test -x /usr/sbin/policy-rc.d && echo whole",
    );
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        [
            "5000",
            "/tmp/v",
            "pip",
            "ensured",
            "0",
            "0",
            "/home/joe/.local/lib/python3.11/site-packages",
            "7",
            "whole"
        ]
    );
}

#[test]
fn a_command_takes_the_place_of_the_interpreter() {
    let context = with_python();
    let quiet = ["run", "--rm", "--network", "none"];
    let echo = context
        .coil(quiet)
        .args([PYTHON, "echo", "hello"])
        .run()
        .success();
    assert_eq!(echo.stdout(), "hello\n");
    let python = context
        .coil(quiet)
        .args(["-i", PYTHON])
        .input("print(6 * 7)\n")
        .run();
    assert_eq!(python.success().stdout(), "42\n");
    // Nobody has a password, and the shell runs nothing that the environment brings.
    let accounts = in_python(
        &context,
        "cut -d: -f2 /etc/shadow | sort -u | tr '\\n' ' '; env x='() { :;}; echo no' bash -c 'echo yes'",
    );
    assert_eq!(accounts, "* yes\n");
}

/// With the machine's network, certificates, index and mirror.
#[test]
fn pip_and_apt_install_inside() {
    let context = with_python();
    let bundle =
        std::env::var("SSL_CERT_FILE").unwrap_or_else(|_| "/etc/ssl/certs/ca-certificates.crt".into());
    let mut run = context
        .coil(["run", "--rm", "--network", "host", "-v"])
        .arg(format!("{bundle}:/etc/ssl/certs/ca-certificates.crt:ro"))
        .args(["-v", "/etc/apt/sources.list.d:/etc/apt/sources.list.d:ro"]);
    for name in [
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_TRUSTED_HOST",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
    ] {
        if std::env::var_os(name).is_some() {
            run = run.args(["-e", name]);
        }
    }
    let script = "useradd --create-home joe
         su joe -c 'PATH=$PATH:/usr/local/bin pip install --quiet --user six && python3 -c \"import six; print(six.__file__)\"'
         python3 -m venv /tmp/v && /tmp/v/bin/pip install --quiet six && /tmp/v/bin/python -c 'import six; print(six.__file__)'
         apt-get update -qq && apt-get install -y -qq --no-install-recommends tini > /dev/null 2>&1 && tini --version";
    let printed = run.args([PYTHON, "sh", "-ec", script]).run().success();
    let lines: Vec<&str> = printed.stdout().lines().collect();
    assert_eq!(
        lines[..2],
        [
            "/home/joe/.local/lib/python3.11/site-packages/six.py",
            "/tmp/v/lib/python3.11/site-packages/six.py"
        ]
    );
    assert!(lines[2].starts_with("tini version"), "{printed}");
}

#[test]
fn dpkg_and_apt_are_whole_and_know_no_mirror_of_this_machine() {
    let context = with_python();
    let printed = in_python(
        &context,
        "dpkg --audit; dpkg --verify | grep -v '/usr/share/\\(doc\\|man\\|locale\\|info\\|lintian\\|groff\\)/' || true
         dpkg-query -W -f '${Status}\\n' | sort -u
         grep -rh URIs /etc/apt | sort -u
         apt-get check -qq && echo checked
         find /var/lib/apt/lists /var/log /var/cache/apt /tmp /var/tmp /run -type f -size +0
         cat /etc/machine-id 2>/dev/null | wc -c",
    );
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        [
            "install ok installed",
            "URIs: http://deb.debian.org/debian",
            "URIs: http://deb.debian.org/debian-security",
            "checked",
            "0"
        ]
    );
}

#[test]
fn a_stand_in_is_never_mistaken_for_the_image() {
    let context = with_python();
    let run = context.coil(["run", "--rm", PYTHON, "true"]).run().success();
    assert!(run.stderr().contains("stand-in made by `coil base`"), "{run}");
    context
        .coil(["images", "python"])
        .run()
        .success()
        .prints("stand-in");
    let facts = context.coil(["inspect", PYTHON]).run().success().json()[0].clone();
    assert_eq!(facts["Config"]["Labels"]["coil.stand-in.for"], PYTHON);
    assert_eq!(facts["Config"]["Cmd"][0], "python3");
    assert!(
        facts["Config"]
            .get("Entrypoint")
            .is_none_or(|value| value.is_null()),
        "{facts}"
    );
    // A name with a digest means a registry's image.
    let digest = facts["Descriptor"]["digest"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(digest.starts_with("sha256:"), "{facts}");
    context
        .coil(["run", "--rm", &format!("python:3.11-slim@{digest}"), "true"])
        .run()
        .refusal(&["python:3.11-slim@"]);

    // An image of that name takes the place of the stand-in, and gives it back.
    let packed = context.python_image();
    context.coil(["tag", packed, PYTHON]).run().success();
    let run = context
        .coil(["run", "--rm", PYTHON, "python3", "-c", ""])
        .run()
        .success();
    assert!(!run.stderr().contains("stand-in"), "{run}");
    context.coil(["rmi", PYTHON]).run().success();
    let run = context.coil(["run", "--rm", PYTHON, "true"]).run().success();
    assert!(run.stderr().contains("stand-in made by `coil base`"), "{run}");
}

#[test]
fn what_is_here_stays_until_it_is_renewed() {
    let context = with_python();
    context
        .coil(["base", "--offline", PYTHON])
        .run()
        .success()
        .prints("is here already, made of Debian bookworm of ");
    context
        .coil(["base", "--update", "--dry-run", PYTHON])
        .run()
        .success()
        .prints("no package changes");
    let id = context
        .coil(["base", "-q", PYTHON])
        .run()
        .success()
        .word()
        .to_owned();
    let again = context
        .coil(["base", "-q", "--update", PYTHON])
        .run()
        .success()
        .word()
        .to_owned();
    assert_eq!(id, again);
}

#[test]
fn the_same_packages_give_the_same_bytes() {
    // Of the first the base is there already, the second makes all.
    let (first, second) = (with_python(), fresh());
    let id = |context: &Context| {
        let made = context.coil(["base", "-q", "tools", "--suite", "bookworm", "--package", "tini"]);
        made.run().success().word().to_owned()
    };
    assert_eq!(id(&first), id(&second));
    first
        .coil(["run", "--rm", "--network", "none", "tools", "tini", "--version"])
        .run()
        .success()
        .prints("tini version");
    // One's own is known by its labels, so its name is enough from now on.
    first
        .coil(["base", "tools"])
        .run()
        .success()
        .prints("is here already");
}

#[test]
fn what_cannot_be_made_is_refused_by_name() {
    let context = fresh();
    for (arguments, words) in [
        (
            &["python:3.12"][..],
            &["python:3.12", "no suite of Debian has Python 3.12", "--nearest"][..],
        ),
        (&["python:3.11-alpine"], &["python:3.11-alpine", "Alpine"]),
        (&["pyhton:3.11"], &["pyhton:3.11", "python"]),
        (&["ubuntu"], &["ubuntu", "--list"]),
        (&["debian:jessie"], &["jessie", "bookworm"]),
        (&[], &["no image was named"]),
        (&["x", "--suite", "jammy"], &["jammy", "bookworm"]),
        (&["python:3.11-slim", "--package", "curl"], &["python:3.11-slim"]),
        (
            &["x", "--suite", "bookworm", "--package", "build-esential"],
            &["build-esential", "build-essential"],
        ),
    ] {
        let mut all = vec!["base"];
        all.extend(arguments);
        context.coil(all).run().refusal(words);
    }
    context
        .coil(["base", "--list"])
        .run()
        .success()
        .prints("python:3.11-slim")
        .prints("postgres:15-alpine, served by Debian");
    let images = context.root().join("stand-ins-v1");
    assert!(fs::read_dir(images).map_or(true, |mut entries| entries.next().is_none()));
}

#[test]
fn an_ordinary_user_is_told_what_to_do() {
    let context = user();
    context
        .coil(["base", "debian:bookworm-slim"])
        .run()
        .refusal(&["ordinary user", "sudo coil base"]);
}
