//! A Debian mirror that lies is not believed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use coil_testkit::index::PackageIndex;
use coil_testkit::{Context, Finished};

use crate::{fresh, shared};

/// Where the main index stands on a mirror.
const MAIN: &str = "/debian/dists/bookworm/InRelease";

/// Who may sign them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The signed indices of bookworm, by their paths on a mirror, as the suite's downloads hold them after a pack.
fn indices() -> (Context, BTreeMap<String, Vec<u8>>) {
    let context = shared();
    let project = context.example("worker");
    context
        .coil(["pack".as_ref(), project.as_os_str()])
        .args(["--base", "bookworm"])
        .run()
        .success();
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(context.downloads().join("indices"))
        .expect("downloads")
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        // `bookworm-…`, `bookworm-updates-…` or `bookworm-security-…`, and the address's digest.
        let Some((suite, _)) = name
            .strip_suffix(".InRelease")
            .and_then(|name| name.rsplit_once('-'))
        else {
            continue;
        };
        let archive = if suite.ends_with("-security") {
            "debian-security"
        } else {
            "debian"
        };
        // Other tests have mirrors of their own, whose indices are kept beside these.
        let honest = context
            .program("/usr/bin/gpg")
            .args([
                "--batch",
                "--no-default-keyring",
                "--keyring",
                KEYRING,
                "--verify",
            ])
            .arg(entry.path())
            .env("GNUPGHOME", context.path())
            .run();
        if suite.starts_with("bookworm") && honest.code() == 0 {
            let bytes = fs::read(entry.path()).expect("a download");
            found.insert(format!("/{archive}/dists/{suite}/InRelease"), bytes);
        }
    }
    assert!(found.contains_key(MAIN), "{:?}", found.keys());
    (context, found)
}

/// `coil pack --base bookworm` on a machine whose apt configuration names our mirror.
fn pack(context: &Context, mirror: &PackageIndex) -> Finished {
    let apt = context.path().join("apt");
    fs::create_dir_all(&apt).expect("our own directory");
    let line = |suite: &str| {
        format!(
            "deb [signed-by={KEYRING}] http://127.0.0.1:{}/{suite} bookworm main\n",
            mirror.port()
        )
    };
    let security = line("debian-security").replace(" bookworm ", " bookworm-security ");
    fs::write(apt.join("sources.list"), line("debian") + &security).expect("our own directory");
    let project = context.example("worker");
    // Its own mount namespace hides the machine's apt configuration from this run alone.
    let script = format!(
        "mount --bind '{}' /etc/apt && exec '{}' pack '{}' --base bookworm -t test/mirror",
        apt.display(),
        context.binary().display(),
        project.display()
    );
    let unshare = context.program("/usr/bin/unshare").args([
        "-m",
        "--propagation",
        "private",
        "/bin/sh",
        "-c",
        &script,
    ]);
    let finished = unshare
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .run();
    let known = context.coil(["inspect", "test/mirror"]).run();
    assert_eq!(
        known.code() == 0,
        finished.code() == 0,
        "an image only where the pack succeeded\n{finished}"
    );
    finished
}

fn copy(from: &Path, to: &Path) {
    if from.exists() {
        coil_testkit::tree::copy(from, to);
    }
}

#[test]
fn a_tampered_index_is_refused_and_not_kept() {
    let (_, indices) = indices();
    let mirror = PackageIndex::start();
    for (path, bytes) in &indices {
        mirror.add_path(path, bytes.clone());
    }
    let honest = &indices[MAIN];
    let text = String::from_utf8(honest.clone()).expect("an index is text");
    mirror.add_path(
        MAIN,
        text.replacen("Origin: Debian", "Origin: Debiam", 1).into_bytes(),
    );
    let context = fresh();
    pack(&context, &mirror).refusal(&["InRelease", "not trusted"]);
    mirror.add_path(MAIN, b"no index at all".to_vec());
    pack(&context, &mirror).refusal(&["InRelease"]);
    // The honest index is believed again: the other one was not kept. The packages come from the downloads.
    mirror.add_path(MAIN, honest.clone());
    pack(&context, &mirror).success();
}

#[test]
fn a_tampered_package_is_refused_and_not_kept() {
    let (honest, indices) = indices();
    let mirror = PackageIndex::start();
    for (path, bytes) in indices {
        mirror.add_path(&path, bytes);
    }
    for archive in ["debian", "debian-security"] {
        mirror.add_path(&format!("/{archive}/pool/"), b"!<arch>\nnot the package".to_vec());
    }
    let context = fresh().without_downloads();
    copy(
        &honest.downloads().join("indices"),
        &context.downloads().join("indices"),
    );
    pack(&context, &mirror).refusal(&[".deb"]);
    copy(
        &honest.downloads().join("debs"),
        &context.downloads().join("debs"),
    );
    pack(&context, &mirror).success();
}

#[test]
fn a_mirror_that_is_down_is_named() {
    let context = fresh().without_downloads();
    let mirror = PackageIndex::start();
    pack(&context, &mirror).refusal(&["bookworm"]);
}
