//! Stand-ins from a mirror of our own: packages that fail, change or are gone, signatures that aren't right.
//!
//! The mirror has what the shared data root's bookworm was made of, so that nothing but what a test adds is made anew.

use std::fs;
use std::path::{Path, PathBuf};

use coil_oci::Digest;
use coil_testkit::index::PackageIndex;
use coil_testkit::{Context, Finished, tree};

use crate::{fresh, shared};

const SYSTEM: &str = "debian:bookworm-slim";

/// A suite called bookworm, signed by a key of its own.
struct Suite {
    /// Where it is served from, and where this machine's apt configuration for a test stands.
    index: PackageIndex,
    folder: PathBuf,
    /// The packages that every system has.
    base: String,
    /// When the real suite was published, in seconds since 1970.
    published: u64,
    added: String,
}

impl Suite {
    fn start(context: &Context) -> Suite {
        context.coil(["base", "-q", "--update", SYSTEM]).run().success();
        let facts = context.coil(["inspect", SYSTEM]).run().success().json()[0].clone();
        let digest = facts["Descriptor"]["digest"].as_str().expect("a text");
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        let record =
            fs::read(context.root().join("cache-v1/stand-in-system-v1").join(hex)).expect("our own files");
        let record: serde_json::Value = serde_json::from_slice(&record).expect("a record");
        let mut base = String::new();
        for package in record["base"].as_array().expect("a list") {
            let text = |name: &str| package[name].as_str().expect("a text").to_owned();
            let sha256 = text("sha256").replace("sha256:", "");
            let deb = context.downloads().join(format!("debs/{sha256}.deb"));
            let control = context
                .program("/usr/bin/dpkg-deb")
                .arg("-f")
                .arg(deb)
                .run()
                .success();
            base.push_str(&format!(
                "{}\nFilename: {}\nSize: {}\nSHA256: {sha256}\n\n",
                control.stdout().trim_end(),
                text("filename"),
                package["size"]
            ));
        }
        let folder = context.path().join("suite");
        fs::create_dir(&folder).expect("our own files");
        let suite = Suite {
            index: PackageIndex::start(),
            folder,
            base,
            published: record["published"].as_u64().expect("a number"),
            added: String::new(),
        };
        suite.key(context, "own");
        suite.key(context, "other");
        suite.configure("own.pgp");
        suite
    }

    fn key(&self, context: &Context, name: &str) {
        let home = self.folder.join(name);
        let script = format!(
            "mkdir -m 700 '{0}' && cd '{0}' && export GNUPGHOME='{0}' &&
             gpg --batch --quiet --passphrase '' --quick-gen-key {name}@example.org ed25519 sign never &&
             gpg --batch --export > ../{name}.pgp && gpgconf --kill all",
            home.display()
        );
        context.shell(&script).run().success();
    }

    /// This machine's apt configuration: who may sign, by the name of a file.
    fn configure(&self, keyring: &str) {
        let apt = self.folder.join("apt");
        fs::create_dir_all(&apt).expect("our own files");
        let line = format!(
            "deb [signed-by={}/{keyring}] http://127.0.0.1:{}/debian bookworm main\n",
            self.folder.display(),
            self.index.port()
        );
        let security = line.replace("/debian bookworm ", "/debian-security bookworm-security ");
        fs::write(apt.join("sources.list"), line + &security).expect("our own files");
    }

    /// Adds a package whose script runs when it is configured.
    fn add(&mut self, context: &Context, name: &str, version: &str, script: &str) {
        let path = format!("pool/main/{name}_{version}_all.deb");
        let tree = self.folder.join(format!("{name}-{version}"));
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a test\n"
        );
        let script = format!("#!/bin/sh\n{script}\n");
        let said = format!("{name} {version}\n");
        tree::write(
            &tree,
            &[
                ("DEBIAN/control", &control),
                ("DEBIAN/postinst", &script),
                (&format!("usr/share/{name}"), &said),
            ],
        );
        let deb = self.folder.join("package.deb");
        let build = format!(
            "chmod 755 '{0}/DEBIAN/postinst' && dpkg-deb --root-owner-group -Zxz --build '{0}' '{1}' > /dev/null",
            tree.display(),
            deb.display()
        );
        context.shell(&build).run().success();
        let bytes = fs::read(deb).expect("our own files");
        let digest = Digest::of(&bytes);
        self.added.push_str(&format!(
            "{control}Priority: optional\nFilename: {path}\nSize: {}\nSHA256: {}\n\n",
            bytes.len(),
            digest.hex()
        ));
        self.index.add_path(&format!("/debian/{path}"), bytes);
    }

    /// Signs and serves what there is now.
    fn publish(&self, context: &Context, key: &str, valid_until: &str) {
        let packages = self.folder.join("Packages");
        fs::write(&packages, format!("{}{}", self.base, self.added)).expect("our own files");
        context
            .program("/usr/bin/xz")
            .arg("-kf0")
            .arg(&packages)
            .run()
            .success();
        let packed = fs::read(self.folder.join("Packages.xz")).expect("our own files");
        let date = |seconds: u64| {
            let asked = context
                .program("/bin/date")
                .args(["-uR", "-d", &format!("@{seconds}")]);
            asked.run().success().word().replace("+0000", "UTC")
        };
        let mut release = format!(
            "Origin: Debian\nSuite: oldstable\nCodename: bookworm\nDate: {}\n{valid_until}Architectures: amd64 arm64\n\
             Components: main\nSHA256:\n",
            date(self.published),
        );
        for arch in ["amd64", "arm64"] {
            let (hex, length) = (Digest::of(&packed), packed.len());
            release.push_str(&format!(
                " {} {length} main/binary-{arch}/Packages.xz\n",
                hex.hex()
            ));
        }
        fs::write(self.folder.join("Release"), release).expect("our own files");
        let sign = format!(
            "cd '{}' && export GNUPGHOME=\"$PWD/{key}\" && gpg --batch --yes --quiet --clearsign -o InRelease Release && gpgconf --kill all",
            self.folder.display()
        );
        context.shell(&sign).run().success();
        let signed = fs::read(self.folder.join("InRelease")).expect("our own files");
        self.index.add_path("/debian/dists/bookworm/InRelease", signed);
        for arch in ["amd64", "arm64"] {
            let path = format!("/debian/dists/bookworm/main/binary-{arch}/Packages.xz");
            self.index.add_path(&path, packed.clone());
        }
    }

    /// `coil base …` on a machine with that apt configuration: its own mount namespace hides the true one.
    fn base(&self, context: &Context, words: &[&str]) -> Finished {
        let script = "mount --bind \"$1\" /etc/apt && shift && exec \"$@\"";
        context
            .program("/usr/bin/unshare")
            .args(["-m", "--propagation", "private", "/bin/sh", "-c", script, "sh"])
            .arg(self.folder.join("apt"))
            .arg(context.binary())
            .arg("base")
            .args(words)
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1")
            .run()
    }
}

fn own<'a>(name: &'a str, package: &'a str) -> [&'a str; 5] {
    [name, "--suite", "bookworm", "--package", package]
}

#[test]
fn a_script_that_fails_is_shown_and_nothing_is_kept() {
    let context = shared();
    let mut suite = Suite::start(&context);
    suite.add(&context, "unlucky", "1.0", "echo 'it is not my day'; exit 3");
    suite.publish(&context, "own", "");
    let before = context.unfinished();
    let refused = suite.base(&context, &own("test/unlucky", "unlucky"));
    refused.refusal(&[
        "`unlucky`",
        "| it is not my day",
        "exit status 3",
        "nothing was kept",
    ]);
    context
        .coil(["inspect", "test/unlucky"])
        .run()
        .refusal(&["test/unlucky"]);
    assert_eq!(context.unfinished(), before);
    // The file of a package that is listed is gone.
    suite.add(&context, "vanished", "1.0", "true");
    suite.publish(&context, "own", "");
    suite
        .index
        .fail("vanished_1.0", coil_testkit::index::Fault::Status(404), 9);
    let gone = suite.base(&context, &own("test/vanished", "vanished"));
    gone.refusal(&["vanished 1.0", "run it again"]);
    suite
        .base(&context, &own("test/x", "vanishd"))
        .refusal(&["vanishd", "vanished"]);
}

#[test]
fn an_update_says_what_changes_before_it_does() {
    let context = shared();
    let mut suite = Suite::start(&context);
    suite.add(&context, "changing", "1.0", "true");
    suite.publish(&context, "own", "");
    let name = "test/changing";
    let dry = [&own(name, "changing")[..], &["--dry-run"]].concat();
    suite
        .base(&context, &dry)
        .success()
        .prints("packages of Debian bookworm");
    context.coil(["inspect", name]).run().refusal(&[name]);
    suite.base(&context, &own(name, "changing")).success();
    let says = |wanted: &str| {
        let run = context.coil([
            "run",
            "--rm",
            "--network",
            "none",
            name,
            "cat",
            "/usr/share/changing",
        ]);
        assert_eq!(run.run().success().stdout(), wanted);
    };
    says("changing 1.0\n");

    suite.add(&context, "changing", "1.1", "true");
    suite.publish(&context, "own", "");
    suite.base(&context, &[name]).success().prints("is here already");
    let dry = suite.base(&context, &["--update", "--dry-run", name]).success();
    assert!(
        dry.stdout().contains("1 packages change\n  changing 1.0 -> 1.1"),
        "{dry}"
    );
    says("changing 1.0\n");
    suite
        .base(&context, &["--update", name])
        .success()
        .prints("changing 1.0 -> 1.1");
    says("changing 1.1\n");
    context.coil(["rmi", name]).run().success();
}

#[test]
fn what_a_lock_pins_is_made_again() {
    let context = shared();
    let mut suite = Suite::start(&context);
    suite.add(&context, "pinned", "1.0", "true");
    suite.publish(&context, "own", "");
    let name = "test/pinned";
    let lock = context.path().join("coil.lock");
    let lock_path = lock.to_str().expect("UTF-8");
    let own = own(name, "pinned");
    let id = |words: &[&str]| {
        let all = [&["-q", "--lock", lock_path], words].concat();
        suite_base(&context, &suite, &all)
    };
    let first = id(&own);
    let pins = fs::read_to_string(&lock).expect("our own files");
    assert!(
        pins.contains("[[stand-in]]") && pins.contains("name = \"pinned\""),
        "{pins}"
    );
    // The mirror has moved on, and the image is gone.
    suite.added.clear();
    suite.add(&context, "pinned", "1.1", "true");
    suite.publish(&context, "own", "");
    context.coil(["rmi", name]).run().success();
    let id = |words: &[&str]| {
        let all = [&["-q", "--lock", lock_path], words].concat();
        suite_base(&context, &suite, &all)
    };
    assert_eq!(id(&own), first);
    assert_eq!(fs::read_to_string(&lock).expect("our own files"), pins);
    let curl = [
        "--lock",
        lock_path,
        name,
        "--suite",
        "bookworm",
        "--package",
        "curl",
    ];
    suite.base(&context, &curl).refusal(&["curl", "--update"]);
    // Pinned afresh on demand.
    assert_ne!(id(&["--update", name]), first);
    assert!(
        fs::read_to_string(&lock)
            .expect("our own files")
            .contains("version = \"1.1\"")
    );
    fs::write(&lock, "version = 9\n").expect("our own files");
    suite
        .base(&context, &["--lock", lock_path, name])
        .refusal(&["coil.lock", "version 9"]);
    context.coil(["rmi", name]).run().success();
}

fn suite_base(context: &Context, suite: &Suite, words: &[&str]) -> String {
    suite.base(context, words).success().word().to_owned()
}

#[test]
fn who_signed_it_and_until_when_it_is_valid_matters() {
    let shared = shared();
    let mut suite = Suite::start(&shared);
    suite.add(&shared, "calm", "1.0", "true");
    let context = fresh();
    let dry = ["tools", "--suite", "bookworm", "--package", "calm", "--dry-run"];
    suite.publish(&shared, "other", "");
    suite.base(&context, &dry).refusal(&["InRelease", "not trusted"]);
    suite.publish(&shared, "own", "Valid-Until: Sat, 01 Jan 2022 00:00:00 UTC\n");
    suite
        .base(&context, &dry)
        .refusal(&["20220101", "--allow-expired"]);
    let expired = suite
        .base(&context, &[&dry[..], &["--allow-expired"]].concat())
        .success();
    assert!(expired.stderr().contains("was valid until"), "{expired}");
    suite.publish(&shared, "own", "");
    suite.base(&context, &dry).success();
    suite.configure("missing.pgp");
    suite.base(&context, &dry).refusal(&["missing.pgp", "keyring"]);
    fs::write(suite.folder.join("missing.pgp"), "no keys").expect("our own files");
    suite.base(&context, &dry).refusal(&["missing.pgp", "keyring"]);
    // Nobody answers there.
    suite.configure("own.pgp");
    let sources = suite.folder.join("apt/sources.list");
    let nobody = fs::read_to_string(&sources).expect("our own files");
    let nobody = nobody.replace(&format!(":{}/", suite.index.port()), ":1/");
    fs::write(&sources, nobody).expect("our own files");
    let context = fresh().without_downloads();
    suite
        .base(&context, &dry)
        .refusal(&["http://127.0.0.1:1/debian", "bookworm"]);
}

#[test]
fn a_full_disk_is_told_and_left_clean() {
    let context = fresh();
    let small = context.path().join("small");
    fs::create_dir(&small).expect("our own files");
    let mount = context
        .program("/bin/mount")
        .args(["-t", "tmpfs", "-o", "size=40m", "none"]);
    mount.arg(&small).run().success();
    let root = small.join("root");
    let base = context.coil(["base", SYSTEM]).env("COIL_ROOT", &root).run();
    let left = tree::disk_usage(Path::new(&root));
    context.program("/bin/umount").arg(&small).run().success();
    base.refusal(&["No space left", "disk"]);
    assert!(left < 12 << 20, "what failed is cleaned up: {left} bytes");
}
