//! Debian's archives: verified indices, and the packages that a base needs.

use std::collections::BTreeSet;
use std::fs::File;

use coil_fetch::{Download, FetchError, Fetcher, Progress, redact_url};
use coil_oci::{Arch, Digest};
use coil_store::Store;
use serde::{Deserialize, Serialize};

use crate::cached_file;
use crate::compression;
use crate::error::ResolveError;
use crate::in_release::Signed;
use crate::index::{Package, PackageIndex};
use crate::pinned::{PinnedBase, PinnedPackage};
use crate::release::{Listed, compact_date};
use crate::solve::{NOT_FOLLOWED, SolveError, solve};
use crate::sources::{Mirror, SourcesConfig};
use crate::suite::{NoPython, Suite};
use crate::version::upstream;

/// Raised when the same lists of packages give another choice than before.
const CHOICE: u32 = 1;
const LISTS: &str = "debian-list-v1";
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
    pub(crate) now: Option<u64>,
    pub(crate) allow_expired: bool,
}

/// What a choice among packages came to, kept by the digests of all that it was made from.
#[derive(Serialize, Deserialize)]
struct Chosen {
    python: String,
    packages: Vec<PinnedPackage>,
}

/// One suite of those that packages are chosen from.
pub(crate) struct Part {
    archive: &'static str,
    suite: String,
    pub(crate) signed: Signed,
    /// Its list of packages.
    pub(crate) listed: Listed,
    /// Where that is, the best first.
    addresses: Vec<String>,
}

impl Archive {
    /// Names the archives; nothing is fetched yet.
    pub fn new(fetcher: Fetcher, store: Store, sources: SourcesConfig) -> Archive {
        Archive {
            fetcher,
            store,
            sources,
            now: None,
            allow_expired: false,
        }
    }

    /// The same archives at another time, in seconds since 1970: what has expired is judged by it.
    pub fn at_time(mut self, now: u64) -> Archive {
        self.now = Some(now);
        self
    }

    /// The same archives with indices taken even when they have expired, which is noted (`COIL_ALLOW_EXPIRED`).
    ///
    /// Signatures are checked all the same; what is lost is the certainty that nothing newer is withheld.
    pub fn allow_expired(mut self, allow: bool) -> Archive {
        self.allow_expired = allow;
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
        let mut parts = self.parts(suite, arch, progress)?;
        let key = list_key(&parts, suite, arch, extra);
        let known = self.store.cache_get(LISTS, &key);
        let known = known.and_then(|bytes| serde_json::from_slice::<Chosen>(&bytes).ok());
        let chosen = match known {
            Some(chosen) => chosen,
            None => {
                let index = self.read_all(&parts, progress)?;
                let chosen = choose(&index, suite, arch, extra)?;
                let record = serde_json::to_vec(&chosen).unwrap_or_default();
                // Without the record the next time is slower, and nothing else.
                let _ = self.store.cache_put(LISTS, &key, &record);
                chosen
            }
        };
        let dates = parts.iter().map(|part| part.signed.release.date);
        let date = compact_date(dates.max().unwrap_or(0));
        let main = parts.swap_remove(0);
        Ok(PinnedBase {
            suite: suite.name.to_string(),
            arch: arch.debian().to_string(),
            python: chosen.python,
            date,
            release: main.signed.digest,
            packages: chosen.packages,
        })
    }

    /// The verified tables of a suite and of what is added to it, the suite's own first.
    pub(crate) fn parts(
        &self,
        suite: Suite,
        arch: Arch,
        progress: &dyn Progress,
    ) -> Result<Vec<Part>, ResolveError> {
        let mut wanted = vec![("debian", suite.name.to_string())];
        if suite.released {
            for (archive, part) in [("debian-security", "security"), ("debian", "updates")] {
                wanted.push((archive, format!("{}-{part}", suite.name)));
            }
        }
        let mut parts = Vec::with_capacity(wanted.len());
        for (signed, (archive, name)) in self.releases(&wanted, progress).into_iter().zip(wanted) {
            match signed? {
                Some(signed) => parts.push(self.part(archive, name, signed, arch)?),
                // The other archives are additions, and not every mirror has them.
                None if parts.is_empty() => return Err(self.no_suite(suite)),
                None => {}
            }
        }
        Ok(parts)
    }

    /// Asks for all signed tables at once; the answers are in the order of the questions.
    fn releases(
        &self,
        wanted: &[(&'static str, String)],
        progress: &dyn Progress,
    ) -> Vec<Result<Option<Signed>, ResolveError>> {
        std::thread::scope(|scope| {
            let asked: Vec<_> = wanted
                .iter()
                .map(|(archive, suite)| {
                    scope.spawn(move || self.release(self.mirror(archive), suite, progress))
                })
                .collect();
            asked
                .into_iter()
                .map(|answer| {
                    answer
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        })
    }

    fn no_suite(&self, suite: Suite) -> ResolveError {
        let uri = redact_url(&self.sources.main.uri);
        let url = format!("{uri}/dists/{}/InRelease", suite.name);
        ResolveError::Fetch {
            what: format!("Debian's suite {}", suite.name),
            source: FetchError::NotFound { url },
        }
    }

    pub(crate) fn mirror(&self, archive: &str) -> &Mirror {
        if archive == "debian-security" {
            &self.sources.security
        } else {
            &self.sources.main
        }
    }

    /// Finds a suite's list of packages in its signed table.
    fn part(
        &self,
        archive: &'static str,
        suite: String,
        signed: Signed,
        arch: Arch,
    ) -> Result<Part, ResolveError> {
        let folder = format!("main/binary-{}", arch.debian());
        let path = format!("{folder}/Packages.xz");
        let suite_url = format!("{}/dists/{suite}", self.mirror(archive).uri);
        let Some(listed) = signed.release.find(&path) else {
            let reason = format!("it lists no {path}");
            let url = redact_url(&format!("{suite_url}/InRelease"));
            return Err(ResolveError::Malformed { url, reason });
        };
        let mut addresses = vec![format!("{suite_url}/{path}")];
        if signed.release.by_hash {
            let digest = listed.sha256.hex();
            addresses.insert(0, format!("{suite_url}/{folder}/by-hash/SHA256/{digest}"));
        }
        Ok(Part {
            archive,
            suite,
            signed,
            listed,
            addresses,
        })
    }

    /// Reads the suites' packages: all lists are fetched at once, and each is read as soon as those before it are.
    pub(crate) fn read_all(
        &self,
        parts: &[Part],
        progress: &dyn Progress,
    ) -> Result<PackageIndex, ResolveError> {
        std::thread::scope(|scope| {
            let fetched: Vec<_> = parts
                .iter()
                .map(|part| scope.spawn(move || self.listed_file(part, progress)))
                .collect();
            let mut index = PackageIndex::default();
            for (part, packed) in parts.iter().zip(fetched) {
                let packed = packed
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                let added = index.add(part.archive, compression::unxz(packed));
                added.map_err(|_| ResolveError::Malformed {
                    url: redact_url(part.addresses.last().map_or("", String::as_str)),
                    reason: "it cannot be unpacked".into(),
                })?;
            }
            Ok(index)
        })
    }

    /// A suite's list of packages, from the cache or from the first address that has it.
    fn listed_file(&self, part: &Part, progress: &dyn Progress) -> Result<File, ResolveError> {
        let Part { suite, listed, .. } = part;
        let name = format!("{}.xz", listed.sha256.hex());
        let dest = self.store.download_path("indices", &name);
        if let Ok(Some(file)) = cached_file::open(&dest, &listed.sha256) {
            return Ok(file);
        }
        let failed = |source| ResolveError::Fetch {
            what: format!("the index of Debian {suite}"),
            source,
        };
        let mut missing = None;
        for url in &part.addresses {
            let request = Download {
                url: url.clone(),
                dest: dest.clone(),
                id: format!("Debian {suite} packages"),
                size: Some(listed.size),
                sha256: Some(listed.sha256.clone()),
            };
            match self.fetcher.download(&request, progress) {
                Ok(_) => {
                    let opened = File::open(&dest);
                    return opened.map_err(|source| ResolveError::Disk { path: dest, source });
                }
                Err(error @ FetchError::NotFound { .. }) => missing = Some(error),
                Err(source) => return Err(failed(source)),
            }
        }
        Err(failed(
            missing.unwrap_or(FetchError::NotFound { url: String::new() }),
        ))
    }
}

/// The name of the record: a digest of all that decides about the choice.
fn list_key(parts: &[Part], suite: Suite, arch: Arch, extra: &[String]) -> String {
    let extra: BTreeSet<&String> = extra.iter().collect();
    let mut text = format!("{CHOICE} {} {} {arch}\n", suite.name, suite.python);
    text.push_str(&format!(
        "{ALWAYS:?} {LIBRARY_PARTS:?} {NOT_FOLLOWED:?} {extra:?}\n"
    ));
    for part in parts {
        text.push_str(&format!(
            "{} {} {}\n",
            part.archive, part.suite, part.listed.sha256
        ));
    }
    Digest::of(text.as_bytes()).hex().to_string()
}

/// Chooses the packages of a base, and of `extra` packages with all that they need.
fn choose(index: &PackageIndex, suite: Suite, arch: Arch, extra: &[String]) -> Result<Chosen, ResolveError> {
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
    let found = solve(index, &roots, arch.debian()).map_err(failed)?;

    let mut chosen = Chosen {
        python: String::new(),
        packages: Vec::with_capacity(found.len()),
    };
    for package in found {
        if package.name == python {
            chosen.python = upstream(package.version).replace('~', "");
        }
        chosen.packages.push(pin(&package)?);
    }
    Ok(chosen)
}

/// A package as a list holds it.
pub(crate) fn pin(package: &Package<'_>) -> Result<PinnedPackage, ResolveError> {
    let malformed = |reason: &str| ResolveError::Malformed {
        url: format!("the index entry of {}", package.name),
        reason: reason.to_string(),
    };
    let filename = package.field("Filename");
    if !is_plain_path(filename) {
        return Err(malformed("its Filename is not a path below the archive"));
    }
    Ok(PinnedPackage {
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
    })
}

/// Whether a path from an index stays below the archive.
pub(crate) fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['?', '#', '\\', ' '])
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}
