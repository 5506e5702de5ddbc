//! Debian's archives: verified indices, and the packages that a base needs.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use coil_fetch::{Download, FetchError, Fetcher, Progress, redact_url};
use coil_oci::{Arch, Digest};
use coil_store::Store;
use serde::{Deserialize, Serialize};

use crate::compression;
use crate::error::ResolveError;
use crate::index::PackageIndex;
use crate::pinned::{PinnedBase, PinnedPackage};
use crate::release::{Listed, Release, compact_date};
use crate::signature::Keyring;
use crate::solve::{SolveError, solve};
use crate::sources::{DEBIAN_KEYRINGS, Mirror, SourcesConfig, Trust};
use crate::suite::{NoPython, Suite};
use crate::version::upstream;

/// What every base has beside the interpreter.
const ALWAYS: [&str; 15] = [
    "base-files",
    "base-passwd",
    "ca-certificates",
    "coreutils",
    "dash",
    "grep",
    "libc-bin",
    "libc6",
    "libgcc-s1",
    "libgomp1",
    "libstdc++6",
    "media-types",
    "netbase",
    "sed",
    "tzdata",
];

/// Parts of the standard library that Debian ships as packages of their own in some suites.
const LIBRARY_PARTS: [&str; 2] = ["python3-distutils", "python3-lib2to3"];

/// The archives of one configuration.
#[derive(Clone)]
pub struct Archive {
    pub(crate) fetcher: Fetcher,
    pub(crate) store: Store,
    pub(crate) sources: SourcesConfig,
    now: Option<u64>,
}

#[derive(Serialize, Deserialize, Default)]
struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

/// One signed table of contents, checked.
struct Signed {
    release: Release,
    digest: Digest,
}

impl Archive {
    /// Names the archives; nothing is fetched yet.
    pub fn new(fetcher: Fetcher, store: Store, sources: SourcesConfig) -> Archive {
        Archive {
            fetcher,
            store,
            sources,
            now: None,
        }
    }

    /// The same archives at another time, in seconds since 1970: what has expired is judged by it.
    pub fn at_time(mut self, now: u64) -> Archive {
        self.now = Some(now);
        self
    }

    /// The suite whose Python is accepted, the current stable one first.
    ///
    /// # Errors
    /// When none is; `wanted` is what the error calls it.
    pub fn suite_for(&self, wanted: &str, accepts: &dyn Fn(&str) -> bool) -> Result<Suite, NoPython> {
        Suite::for_python(wanted, accepts)
    }

    /// Finds the exact packages of a base, and of `extra` packages with all that they need.
    ///
    /// Indices are asked for anew each time, and taken from the cache where they didn't change. With the network switched
    /// off the cached ones serve, however old.
    ///
    /// # Errors
    /// When an index can't be fetched or trusted, or no set of packages fits.
    pub fn resolve(
        &self,
        suite: Suite,
        arch: Arch,
        extra: &[String],
        progress: &dyn Progress,
    ) -> Result<PinnedBase, ResolveError> {
        let mut index = PackageIndex::default();
        let main = self.read(&mut index, "debian", suite.name, arch, progress)?;
        let Some(main) = main else {
            let url = format!(
                "{}/dists/{}/InRelease",
                redact_url(&self.sources.main.uri),
                suite.name
            );
            let source = FetchError::NotFound { url };
            return Err(ResolveError::Fetch {
                what: format!("Debian's suite {}", suite.name),
                source,
            });
        };
        let mut date = main.release.date;
        if suite.released {
            let parts = [("debian-security", "security"), ("debian", "updates")];
            for (archive, part) in parts {
                let name = format!("{}-{part}", suite.name);
                if let Some(signed) = self.read(&mut index, archive, &name, arch, progress)? {
                    date = date.max(signed.release.date);
                }
            }
        }

        let python = format!("python{}", suite.python);
        let mut roots: Vec<String> = ALWAYS.iter().map(ToString::to_string).collect();
        roots.push(python.clone());
        // These follow the suite's Python in their version; a part of another Python would be of no use.
        let fits = |version: &str| version.starts_with(&format!("{}.", suite.python));
        roots.extend(
            LIBRARY_PARTS
                .iter()
                .filter(|name| index.best(name, fits).is_some())
                .map(ToString::to_string),
        );
        roots.extend(extra.iter().cloned());
        let failed = |source: SolveError| ResolveError::Solve {
            suite: suite.name.to_string(),
            source,
        };
        let chosen = solve(&index, &roots, arch.debian()).map_err(failed)?;

        let mut pinned = PinnedBase {
            suite: suite.name.to_string(),
            arch: arch.debian().to_string(),
            python: String::new(),
            date: compact_date(date),
            release: main.digest,
            packages: Vec::with_capacity(chosen.len()),
        };
        for package in chosen {
            if package.name == python {
                pinned.python = upstream(package.version).replace('~', "");
            }
            let malformed = |reason: &str| ResolveError::Malformed {
                url: format!("the index entry of {}", package.name),
                reason: reason.to_string(),
            };
            let filename = package.field("Filename");
            if !is_plain_path(filename) {
                return Err(malformed("its Filename is not a path below the archive"));
            }
            pinned.packages.push(PinnedPackage {
                name: package.name.to_string(),
                version: package.version.to_string(),
                arch: package.field("Architecture").to_string(),
                sha256: package.sha256().ok_or_else(|| malformed("it has no SHA256"))?,
                size: package
                    .field("Size")
                    .parse()
                    .map_err(|_| malformed("it has no Size"))?,
                filename: filename.to_string(),
                archive: package.archive.to_string(),
            });
        }
        Ok(pinned)
    }

    pub(crate) fn mirror(&self, archive: &str) -> &Mirror {
        if archive == "debian-security" {
            &self.sources.security
        } else {
            &self.sources.main
        }
    }

    /// Reads a suite's packages into the index; `None` where the archive has no such suite.
    fn read(
        &self,
        index: &mut PackageIndex,
        archive: &'static str,
        suite: &str,
        arch: Arch,
        progress: &dyn Progress,
    ) -> Result<Option<Signed>, ResolveError> {
        let mirror = self.mirror(archive);
        let Some(signed) = self.release(mirror, suite)? else {
            return Ok(None);
        };
        let folder = format!("main/binary-{}", arch.debian());
        let path = format!("{folder}/Packages.xz");
        let suite_url = format!("{}/dists/{suite}", mirror.uri);
        let shown = redact_url(&format!("{suite_url}/{path}"));
        let Some(listed) = signed.release.find(&path) else {
            let reason = format!("it lists no {path}");
            let url = redact_url(&format!("{suite_url}/InRelease"));
            return Err(ResolveError::Malformed { url, reason });
        };
        let by_hash = format!("{suite_url}/{folder}/by-hash/SHA256/{}", listed.sha256.hex());
        let plain = format!("{suite_url}/{path}");
        let addresses = if signed.release.by_hash {
            vec![by_hash, plain]
        } else {
            vec![plain]
        };
        let packed = self.listed_file(&addresses, &listed, suite, progress)?;
        let unpacked = compression::unxz(&packed);
        let text = unpacked.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let broken = || ResolveError::Malformed {
            url: shown,
            reason: "it cannot be unpacked".into(),
        };
        index.add(archive, text.ok_or_else(broken)?);
        Ok(Some(signed))
    }

    /// A file that a signed table lists, from the cache or from the first address that has it.
    fn listed_file(
        &self,
        addresses: &[String],
        listed: &Listed,
        suite: &str,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, ResolveError> {
        let dest = self
            .store
            .download_path("indices", &format!("{}.xz", listed.sha256.hex()));
        if let Ok(bytes) = std::fs::read(&dest)
            && Digest::of(&bytes) == listed.sha256
        {
            return Ok(bytes);
        }
        let mut missing = None;
        for url in addresses {
            let request = Download {
                url: url.clone(),
                dest: dest.clone(),
                id: format!("Debian {suite} packages"),
                size: Some(listed.size),
                sha256: Some(listed.sha256.clone()),
            };
            match self.fetcher.download(&request, progress) {
                Ok(_) => {
                    return std::fs::read(&dest).map_err(|source| ResolveError::Disk { path: dest, source });
                }
                Err(error @ FetchError::NotFound { .. }) => missing = Some(error),
                Err(source) => {
                    return Err(ResolveError::Fetch {
                        what: format!("the index of Debian {suite}"),
                        source,
                    });
                }
            }
        }
        let source = missing.unwrap_or(FetchError::NotFound { url: String::new() });
        Err(ResolveError::Fetch {
            what: format!("the index of Debian {suite}"),
            source,
        })
    }

    /// Fetches and verifies an InRelease file; `None` where the suite doesn't exist.
    fn release(&self, mirror: &Mirror, suite: &str) -> Result<Option<Signed>, ResolveError> {
        let url = format!("{}/dists/{suite}/InRelease", mirror.uri);
        let shown = redact_url(&url);
        let key = Digest::of(shown.as_bytes());
        let dest = self
            .store
            .download_path("indices", &format!("{suite}-{}.InRelease", key.short()));
        let notes = dest.with_extension("validators");
        let kept = std::fs::read(&dest).ok();
        let offline = self.fetcher.is_offline();
        let bytes = match kept {
            Some(bytes) if offline => bytes,
            kept => {
                let known: Validators = kept
                    .as_ref()
                    .and_then(|_| serde_json::from_slice(&std::fs::read(&notes).ok()?).ok())
                    .unwrap_or_default();
                let answer = self.fetcher.get_if_changed(
                    &url,
                    None,
                    known.etag.as_deref(),
                    known.last_modified.as_deref(),
                );
                match (answer, kept) {
                    (Ok(None), Some(bytes)) => bytes,
                    (Ok(Some(page)), _) => {
                        let validators = Validators {
                            etag: page.etag,
                            last_modified: page.last_modified,
                        };
                        let text = serde_json::to_vec(&validators).unwrap_or_default();
                        // The body goes first: notes of a body that isn't there are not looked at.
                        replace(&dest, &page.body)?;
                        replace(&notes, &text)?;
                        page.body
                    }
                    (Err(FetchError::NotFound { .. }) | Ok(None), _) => return Ok(None),
                    (Err(source), _) => {
                        return Err(ResolveError::Fetch {
                            what: format!("the index of Debian {suite}"),
                            source,
                        });
                    }
                }
            }
        };
        let now = self.now.unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
        });
        let text = String::from_utf8_lossy(&bytes);
        let checked = self.keyring(&mirror.trust)?.verify(&text, now);
        let signed_text = match checked {
            Ok(text) => text,
            Err(source) => {
                // What is not trusted is not kept either, or it would be found unchanged for ever.
                let _ = std::fs::remove_file(&dest);
                return Err(ResolveError::Signature { url: shown, source });
            }
        };
        let malformed = || ResolveError::Malformed {
            url: shown.clone(),
            reason: "a field is missing".into(),
        };
        let release = Release::parse(&signed_text).ok_or_else(malformed)?;
        if release.codename != suite {
            let reason = format!("it is the index of {}, not of {suite}", release.codename);
            return Err(ResolveError::Malformed { url: shown, reason });
        }
        match release.valid_until {
            Some(until) if until < now && mirror.check_valid_until && !offline => {
                Err(ResolveError::Expired {
                    url: shown,
                    valid_until: compact_date(until),
                })
            }
            _ => Ok(Some(Signed {
                release,
                digest: Digest::of(&bytes),
            })),
        }
    }

    fn keyring(&self, trust: &Trust) -> Result<Keyring, ResolveError> {
        match trust {
            Trust::Debian => {
                let mut keyring = Keyring::debian();
                let host = DEBIAN_KEYRINGS
                    .iter()
                    .filter_map(|path| Keyring::parse(&std::fs::read(path).ok()?));
                host.for_each(|found| keyring.join(found));
                Ok(keyring)
            }
            Trust::Inline(text) => {
                let name = || "in the apt configuration (Signed-By)".to_string();
                Keyring::parse(text.as_bytes()).ok_or_else(|| ResolveError::Keyring { name: name() })
            }
            Trust::Files(paths) => {
                let mut all: Option<Keyring> = None;
                for path in paths {
                    let found = std::fs::read(path).ok().and_then(|bytes| Keyring::parse(&bytes));
                    let failed = || ResolveError::Keyring {
                        name: path.display().to_string(),
                    };
                    let found = found.ok_or_else(failed)?;
                    match &mut all {
                        Some(all) => all.join(found),
                        None => all = Some(found),
                    }
                }
                all.ok_or_else(|| ResolveError::Keyring {
                    name: "(none named)".into(),
                })
            }
        }
    }
}

/// Whether a path from an index stays below the archive.
pub(crate) fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['?', '#', '\\', ' '])
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

/// Writes a file that takes its name when it is whole.
fn replace(path: &PathBuf, bytes: &[u8]) -> Result<(), ResolveError> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let written = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|source| ResolveError::Disk {
        path: path.clone(),
        source,
    })
}
