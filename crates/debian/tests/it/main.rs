//! Bases from a mirror: what is trusted, what is refused, and that the real one gives a Python that works.

#![expect(clippy::unwrap_used, reason = "a test that meets a surprise must stop")]

mod additions;
mod mirror;

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use coil_debian::{
    Archive, AssembleError, AssembleOptions, BaseLayer, PinnedBase, PinnedPackage, ResolveError,
    SignatureFault, SourcesConfig, Suite, Trust,
};
use coil_fetch::{FetchError, FetchSettings, Fetcher, NoProgress, Progress};
use coil_oci::{Arch, Digest};
use coil_store::{Store, StoreOptions};
use mirror::Mirror;

const IN_RELEASE: &str = include_str!("data/InRelease");
const PACKAGES: &[u8] = include_bytes!("data/Packages.xz");
/// Between the fixture's date and the end of its short life; and long after.
const EARLY: u64 = 1_789_200_000;
const LATE: u64 = 1_800_000_000;

fn store(root: &Path, downloads: Option<&Path>) -> Store {
    Store::open(StoreOptions {
        root: root.join("store"),
        downloads: downloads.map(Path::to_path_buf),
        boot_id: "boot".into(),
    })
}

fn fetcher(settings: FetchSettings) -> Fetcher {
    Fetcher::new(FetchSettings {
        retries: 0,
        timeout: Duration::from_secs(60),
        ..settings
    })
}

fn offline() -> FetchSettings {
    FetchSettings {
        offline: true,
        ..FetchSettings::default()
    }
}

/// What was noted.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: &str, _: u64) {}
    fn end(&self, _: &str) {}
    fn note(&self, line: &str) {
        self.0.lock().unwrap().push(line.into());
    }
}

/// A mirror with one good suite, and the archive that trusts it.
struct Case {
    mirror: Mirror,
    folder: tempfile::TempDir,
    sources: SourcesConfig,
}

impl Case {
    fn new() -> Case {
        let (mirror, folder) = (Mirror::start(), tempfile::tempdir().unwrap());
        let key = folder.path().join("trusted.asc");
        std::fs::write(&key, include_bytes!("data/trusted.asc")).unwrap();
        let mut sources = SourcesConfig::default();
        for archive in [&mut sources.main, &mut sources.security] {
            archive.trust = Trust::Files(vec![key.clone()]);
        }
        sources.main.uri = mirror.url("debian");
        sources.security.uri = mirror.url("debian-security");
        mirror.put("debian/dists/trixie/InRelease", IN_RELEASE);
        let by_hash = format!(
            "debian/dists/trixie/main/binary-amd64/by-hash/SHA256/{}",
            Digest::of(PACKAGES).hex()
        );
        mirror.put(&by_hash, PACKAGES);
        Case {
            mirror,
            folder,
            sources,
        }
    }

    fn archive(&self, settings: FetchSettings) -> Archive {
        let store = store(self.folder.path(), None);
        Archive::new(fetcher(settings), store, self.sources.clone()).at_time(EARLY)
    }

    fn resolve_with(&self, settings: FetchSettings) -> Result<PinnedBase, ResolveError> {
        let trixie = Suite::named("trixie").unwrap();
        self.archive(settings)
            .resolve(trixie, Arch::Amd64, &[], &NoProgress)
    }

    fn resolve(&self) -> Result<PinnedBase, ResolveError> {
        self.resolve_with(FetchSettings::default())
    }

    fn fault(&self) -> SignatureFault {
        match self.resolve() {
            Err(ResolveError::Signature { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_suite_becomes_a_list_of_packages() {
    let case = Case::new();
    let pinned = case.resolve().unwrap();
    assert_eq!(
        (pinned.python.as_str(), pinned.glibc()),
        ("3.13.5", Some((2, 41)))
    );
    assert_eq!(pinned.date, "20260912T075541Z");
    assert_eq!(pinned.release, Digest::of(IN_RELEASE.as_bytes()));
    assert!(pinned.package("libffi8").is_some(), "a dependency");
    assert_eq!(pinned.package("libc6").unwrap().filename, "pool/libc6.deb");
    let text = serde_json::to_string(&pinned).unwrap();
    assert_eq!(serde_json::from_str::<PinnedBase>(&text).unwrap(), pinned);

    // The second time only asks whether anything changed, and without the network the cache serves.
    case.mirror.seen();
    assert_eq!(case.resolve().unwrap(), pinned);
    let seen = case.mirror.seen();
    assert!(
        seen.contains(&"304 /debian/dists/trixie/InRelease".into()),
        "{seen:?}"
    );
    assert!(seen.iter().all(|line| line.ends_with("/InRelease")), "{seen:?}");
    // That the mirror lacks the other suites was learnt before.
    assert_eq!(case.resolve_with(offline()).unwrap(), pinned);
    assert_eq!(case.mirror.seen(), Vec::<String>::new());
    // A list that was made for other packages is not taken.
    let trixie = Suite::named("trixie").unwrap();
    let nope = ["nope".to_string()];
    let error = case
        .archive(offline())
        .resolve(trixie, Arch::Amd64, &nope, &NoProgress)
        .unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "there is no package `nope`");
}

#[test]
fn a_suite_that_appears_later_counts_again() {
    let case = Case::new();
    case.resolve().unwrap();
    case.mirror
        .put("debian/dists/trixie-updates/InRelease", IN_RELEASE);
    // It was absent; now it's there, and it isn't what it should be.
    let error = case.resolve().unwrap_err();
    assert!(error.to_string().contains("not of trixie-updates"), "{error}");
    // What was never asked for is unknown without the network.
    let fresh = Case::new();
    assert!(matches!(
        fresh.resolve_with(offline()),
        Err(ResolveError::Fetch {
            source: FetchError::Offline { .. },
            ..
        })
    ));
}

#[test]
fn a_damaged_cache_is_mended() {
    let case = Case::new();
    let pinned = case.resolve().unwrap();
    let store = store(case.folder.path(), None);
    let list = store.download_path("indices", &format!("{}.xz", Digest::of(PACKAGES).hex()));
    assert_eq!(std::fs::read(&list).unwrap(), PACKAGES);
    std::fs::write(&list, vec![0; PACKAGES.len()]).unwrap();
    // The choice that was kept doesn't need it; another one does.
    assert_eq!(case.resolve().unwrap(), pinned);
    let trixie = Suite::named("trixie").unwrap();
    let extra = ["libffi8".to_string()];
    let resolved = case
        .archive(FetchSettings::default())
        .resolve(trixie, Arch::Amd64, &extra, &NoProgress);
    assert_eq!(resolved.unwrap(), pinned);
    assert_eq!(std::fs::read(&list).unwrap(), PACKAGES);
}

#[test]
fn a_mirror_without_files_by_hash_will_do() {
    let case = Case::new();
    let by_hash = format!(
        "debian/dists/trixie/main/binary-amd64/by-hash/SHA256/{}",
        Digest::of(PACKAGES).hex()
    );
    case.mirror.remove(&by_hash);
    case.mirror
        .put("debian/dists/trixie/main/binary-amd64/Packages.xz", PACKAGES);
    case.resolve().unwrap();
}

#[test]
fn a_changed_table_is_refused() {
    let case = Case::new();
    let changed = IN_RELEASE.replace("Origin: Test", "Origin: Evil");
    case.mirror.put("debian/dists/trixie/InRelease", changed);
    assert!(matches!(case.fault(), SignatureFault::Tampered { .. }));
    // Text before or behind the signed part is not part of it.
    case.mirror.put(
        "debian/dists/trixie/InRelease",
        format!("Origin: Evil\n\n{IN_RELEASE}"),
    );
    assert!(matches!(case.fault(), SignatureFault::Malformed { .. }));
    case.mirror.put(
        "debian/dists/trixie/InRelease",
        format!("{IN_RELEASE}\nOrigin: Evil\n"),
    );
    assert!(matches!(case.fault(), SignatureFault::Malformed { .. }));
    case.mirror.put("debian/dists/trixie/InRelease", "Origin: Evil\n");
    assert!(matches!(case.fault(), SignatureFault::Malformed { .. }));
    // And when the mirror is good again, so is the answer.
    case.mirror.put("debian/dists/trixie/InRelease", IN_RELEASE);
    case.resolve().unwrap();
}

#[test]
fn other_keys_are_refused() {
    let mut case = Case::new();
    case.mirror.put(
        "debian/dists/trixie/InRelease",
        include_str!("data/InRelease.other-key"),
    );
    let fault = case.fault();
    assert!(
        matches!(&fault, SignatureFault::UnknownKey { signers } if signers.len() == 1),
        "{fault}"
    );

    case.mirror.put("debian/dists/trixie/InRelease", IN_RELEASE);
    case.sources.main.trust = Trust::Debian;
    assert!(matches!(case.fault(), SignatureFault::UnknownKey { .. }));

    case.mirror.put(
        "debian/dists/trixie/InRelease",
        include_str!("data/InRelease.expired-key"),
    );
    case.sources.main.trust = Trust::Inline(include_str!("data/expired.asc").into());
    assert!(matches!(case.fault(), SignatureFault::KeyNoLongerValid { .. }));

    case.sources.main.trust = Trust::Files(vec!["/nowhere.gpg".into()]);
    let error = case.resolve().unwrap_err();
    assert!(
        matches!(&error, ResolveError::Keyring { name } if name == "/nowhere.gpg"),
        "{error}"
    );
}

#[test]
fn an_old_table_is_refused_unless_that_is_wanted() {
    let mut case = Case::new();
    case.mirror.put(
        "debian/dists/trixie/InRelease",
        include_str!("data/InRelease.short-lived"),
    );
    let trixie = Suite::named("trixie").unwrap();
    let resolve = |case: &Case, now| {
        let archive = case.archive(FetchSettings::default()).at_time(now);
        archive.resolve(trixie, Arch::Amd64, &[], &NoProgress)
    };
    resolve(&case, EARLY).unwrap();
    let error = resolve(&case, LATE).unwrap_err();
    assert!(matches!(&error, ResolveError::Expired { valid_until, .. } if valid_until == "20260913T075541Z"));
    assert!(error.help().contains("COIL_ALLOW_EXPIRED=1"));
    assert!(error.help().contains("Check-Valid-Until: no"));
    let notes = Notes::default();
    let archive = case.archive(FetchSettings::default()).at_time(LATE);
    let accepting = archive.allow_expired(true);
    accepting.resolve(trixie, Arch::Amd64, &[], &notes).unwrap();
    let noted = notes.0.into_inner().unwrap();
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert!(noted[0].contains("/debian/dists/trixie/InRelease was valid until 20260913T075541Z only"));
    // It is no leave for anything else.
    let changed = include_str!("data/InRelease.short-lived").replace("Origin: Test", "Origin: Evil");
    let elsewhere = Case::new();
    elsewhere.mirror.put("debian/dists/trixie/InRelease", changed);
    let archive = elsewhere.archive(FetchSettings::default()).at_time(LATE);
    let error = archive
        .allow_expired(true)
        .resolve(trixie, Arch::Amd64, &[], &NoProgress);
    assert!(matches!(error, Err(ResolveError::Signature { .. })), "{error:?}");
    case.sources.main.check_valid_until = false;
    resolve(&case, LATE).unwrap();
    // A table of another suite, however well signed, is not this one's.
    case.mirror.put(
        "debian/dists/trixie/InRelease",
        include_str!("data/InRelease.bookworm"),
    );
    case.folder
        .path()
        .join("store")
        .exists()
        .then(|| std::fs::remove_dir_all(case.folder.path().join("store")));
    let error = resolve(&case, EARLY).unwrap_err();
    assert!(error.to_string().contains("the index of bookworm"), "{error}");
}

#[test]
fn changed_packages_are_refused() {
    let case = Case::new();
    let by_hash = format!(
        "debian/dists/trixie/main/binary-amd64/by-hash/SHA256/{}",
        Digest::of(PACKAGES).hex()
    );
    let mut changed = PACKAGES.to_vec();
    changed[500] ^= 1;
    case.mirror.put(&by_hash, changed);
    let error = case.resolve().unwrap_err();
    assert!(
        matches!(
            &error,
            ResolveError::Fetch {
                source: FetchError::HashMismatch { .. },
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.source().unwrap().to_string().contains("expected sha256:"));

    let pinned = one_package(b"as it was");
    case.mirror.put("debian/pool/libc6.deb", b"as it is!".as_slice());
    let options = AssembleOptions { epoch: 0, threads: 1 };
    let error = case
        .archive(FetchSettings::default())
        .assemble(&pinned, &options, &NoProgress)
        .unwrap_err();
    assert!(
        matches!(
            &error,
            AssembleError::Fetch {
                source: FetchError::HashMismatch { .. },
                ..
            }
        ),
        "{error:?}"
    );
}

fn one_package(content: &[u8]) -> PinnedBase {
    PinnedBase {
        suite: "trixie".into(),
        arch: "amd64".into(),
        python: "3.13.5".into(),
        date: "20260912T075541Z".into(),
        release: Digest::of(b""),
        packages: vec![PinnedPackage {
            name: "libc6".into(),
            version: "2.41-12".into(),
            arch: "amd64".into(),
            sha256: Digest::of(content),
            size: content.len() as u64,
            filename: "pool/libc6.deb".into(),
            archive: "debian".into(),
        }],
    }
}

#[test]
fn a_package_that_is_gone_is_looked_for_among_the_old_ones() {
    let case = Case::new();
    let proxy = FetchSettings {
        http_proxy: Some(case.mirror.url("")),
        no_proxy: Some("127.0.0.1".into()),
        ..FetchSettings::default()
    };
    let archive = case.archive(proxy);
    let pinned = one_package(b"no deb");
    let options = AssembleOptions { epoch: 0, threads: 1 };
    let error = archive.assemble(&pinned, &options, &NoProgress).unwrap_err();
    let old = "http://snapshot.debian.org/archive/debian/20260914T000000Z/pool/libc6.deb";
    assert!(
        error.to_string().contains("libc6 2.41-12 is nowhere any more") && error.to_string().contains(old),
        "{error}"
    );
    assert!(error.help().contains("coil pack --upgrade"));
    // No index was looked at.
    assert_eq!(
        case.mirror.seen(),
        ["404 /debian/pool/libc6.deb".to_string(), format!("404 {old}")]
    );
    case.mirror
        .files
        .lock()
        .unwrap()
        .insert(old.into(), b"no deb".to_vec());
    let error = archive.assemble(&pinned, &options, &NoProgress).unwrap_err();
    assert!(
        matches!(&error, AssembleError::Malformed { reason, .. } if reason == "it is not a .deb file"),
        "{error}"
    );
}

#[test]
fn a_mirror_that_is_down() {
    let mut case = Case::new();
    case.sources.main.uri = "http://127.0.0.1:9/debian".into();
    let error = case.resolve().unwrap_err();
    assert!(
        matches!(
            &error,
            ResolveError::Fetch {
                source: FetchError::Connect { .. },
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.help().contains("HTTP_PROXY"));
    let case = Case::new();
    case.mirror.remove("debian/dists/trixie/InRelease");
    let error = case.resolve().unwrap_err();
    assert!(error.to_string().contains("Debian's suite trixie"), "{error}");
}

/// The machine's own mirror, both architectures, each twice: into stores that share nothing but the downloads,
/// with another umask and another number of threads.
#[test]
fn the_real_bookworm_is_the_same_each_time_and_its_python_works() {
    let folder = tempfile::tempdir().unwrap();
    let downloads = folder.path().join("downloads");
    let sources = SourcesConfig::from_host(Path::new("/etc/apt"));
    let bookworm = Suite::named("bookworm").unwrap();
    let assemble =
        |name: &str, arch: Arch, umask: u32, threads: usize, offline: bool| -> (Store, BaseLayer) {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
            let store = store(&folder.path().join(name), Some(&downloads));
            let settings = FetchSettings {
                retries: 4,
                offline,
                ..FetchSettings::default()
            };
            let archive = Archive::new(Fetcher::new(settings), store.clone(), sources.clone());
            let pinned = archive.resolve(bookworm, arch, &[], &NoProgress).unwrap();
            let options = AssembleOptions {
                epoch: 1_700_000_000,
                threads,
            };
            let layer = archive.assemble(&pinned, &options, &NoProgress).unwrap();
            assert_eq!(archive.assemble(&pinned, &options, &NoProgress).unwrap(), layer);
            (store, layer)
        };
    for arch in [Arch::Amd64, Arch::Arm64] {
        let (store, layer) = assemble(&format!("a-{arch}"), arch, 0o022, 2, false);
        if arch == Arch::Amd64 {
            assert_little_memory();
        }
        // All that the second needs is kept, so it needs no network.
        let (_, again) = assemble(&format!("b-{arch}"), arch, 0o077, 5, true);
        assert_eq!(layer, again);
        assert_eq!(
            (layer.python.as_str(), layer.glibc, layer.arch),
            ("3.11.2", (2, 36), arch)
        );
        let root = folder.path().join(format!("root-{arch}"));
        unpack(&store, &layer, &root);
        for (link, target) in [
            ("bin", "usr/bin"),
            ("usr/bin/python3", "python3.11"),
            ("etc/os-release", "../usr/lib/os-release"),
        ] {
            assert_eq!(std::fs::read_link(root.join(link)).unwrap(), Path::new(target));
        }
        let status = std::fs::read_to_string(root.join("var/lib/dpkg/status")).unwrap();
        assert_eq!(
            status.matches("Status: install ok installed").count(),
            layer.packages.len()
        );
        assert!(
            std::fs::read_to_string(root.join("etc/passwd"))
                .unwrap()
                .contains("app:x:1000:1000::/home/app:/bin/sh")
        );
        assert!(!root.join("usr/lib/python3.11/EXTERNALLY-MANAGED").exists());
        if arch == Arch::host() {
            run_python(&root, arch);
        }
    }
}

/// Neither the lists nor a base are ever in memory as a whole, which would be 125 MB and 220.
fn assert_little_memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 90_000, "{peak} kB at the most");
}

/// Unpacks with all that a user who isn't root could have, too: times, links and modes.
fn unpack(store: &Store, layer: &BaseLayer, root: &Path) {
    let file = std::fs::File::open(store.blob_path(&layer.blob)).unwrap();
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(std::io::BufReader::new(file)));
    let mut names = Vec::new();
    std::fs::create_dir(root).unwrap();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 1_700_000_000);
        names.push(entry.path().unwrap().into_owned());
        assert!(entry.unpack_in(root).unwrap(), "{names:?}");
    }
    let mut once = names.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), names.len(), "a path stands in the layer twice");
}

/// Runs the interpreter through its own linker, as bytecode is compiled: no container, no root.
fn run_python(root: &Path, arch: Arch) {
    let libraries = root.join("usr/lib").join(arch.triplet());
    let linker = match arch {
        Arch::Amd64 => libraries.join("ld-linux-x86-64.so.2"),
        Arch::Arm64 => libraries.join("ld-linux-aarch64.so.1"),
    };
    let script = "import ssl, sqlite3, ctypes, lzma, bz2, readline, zoneinfo, curses, uuid, decimal, distutils, sys\n\
                  zoneinfo.ZoneInfo('Europe/Berlin'); sqlite3.connect(':memory:').execute('select 1')\n\
                  context = ssl.create_default_context(cafile=sys.argv[1]); assert len(context.get_ca_certs()) > 100\n\
                  print(sys.version.split()[0], sys.prefix)";
    let output = Command::new(linker)
        .arg("--library-path")
        .arg(&libraries)
        .arg(root.join("usr/bin/python3.11"))
        .args(["-W", "ignore", "-B", "-c", script])
        .arg(root.join("etc/ssl/certs/ca-certificates.crt"))
        .env_clear()
        .env("PYTHONTZPATH", root.join("usr/share/zoneinfo"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(said.trim(), format!("3.11.2 {}", root.join("usr").display()));
}
