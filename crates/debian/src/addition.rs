//! Packages beyond a base: found at versions that fit together, and pinned.

use coil_fetch::Progress;
use coil_oci::{Arch, Digest};
use serde::{Deserialize, Serialize};

use crate::Archive;
use crate::archive::pin;
use crate::error::ResolveError;
use crate::index::PackageIndex;
use crate::installed::Installed;
use crate::pinned::{PinnedBase, PinnedPackage};
use crate::release::compact_date;
use crate::solve::SolveError;
use crate::solve_over::{solve_over, texts};
use crate::suite::Suite;

/// Raised when the same lists of packages give another choice than before.
const CHOICE: u32 = 1;
const LISTS: &str = "debian-addition-list-v1";
/// How many names that look alike are told.
const MOST_NEAR: usize = 4;

/// Packages to add to what is there, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedAddition {
    /// The suite's codename.
    pub suite: String,
    /// The architecture's Debian name.
    pub arch: String,
    /// The packages that were asked for, in order of name.
    pub names: Vec<String>,
    /// The digest of what they are added to ([`Installed::digest`]).
    pub over: Digest,
    /// When the suite was published (`20260711T101637Z`), the latest of its parts.
    pub date: String,
    /// The digest of the suite's main InRelease file.
    pub release: Digest,
    /// The packages, in order of name; empty when all were there.
    pub packages: Vec<PinnedPackage>,
}

impl PinnedAddition {
    /// The architecture, if it is one that coil knows.
    pub fn architecture(&self) -> Option<Arch> {
        [Arch::Amd64, Arch::Arm64]
            .into_iter()
            .find(|arch| arch.debian() == self.arch)
    }

    /// Names of packages that are there in another version, which these replace.
    pub fn replaced<'a>(&'a self, installed: &'a Installed) -> impl Iterator<Item = &'a str> {
        self.packages
            .iter()
            .filter(|package| installed.package(&package.name).is_some())
            .map(|package| package.name.as_str())
    }

    /// The same list in the form in which packages are fetched.
    pub(crate) fn as_list(&self) -> PinnedBase {
        PinnedBase {
            suite: self.suite.clone(),
            arch: self.arch.clone(),
            python: String::new(),
            date: self.date.clone(),
            release: self.release.clone(),
            packages: self.packages.clone(),
        }
    }
}

impl Archive {
    /// Finds the exact packages that bring `names` with all that they need to what is installed.
    ///
    /// Recommendations aren't followed. What is installed stays, unless something new needs a newer version of it.
    ///
    /// # Errors
    /// When an index can't be fetched or trusted, a name is unknown (the nearest are told), or no set of packages fits.
    pub fn resolve_addition(
        &self,
        installed: &Installed,
        names: &[String],
        progress: &dyn Progress,
    ) -> Result<PinnedAddition, ResolveError> {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        let unfit = |source| ResolveError::Addition {
            suite: installed.suite.clone(),
            source,
        };
        if let Some(name) = names.iter().find(|name| !is_package_name(name)) {
            return Err(unfit(SolveError::NoName { name: name.clone() }));
        }
        let suite = Suite::any(&installed.suite).ok_or_else(|| {
            unfit(SolveError::NoSuite {
                name: installed.suite.clone(),
            })
        })?;
        let mut parts = self.parts(suite, installed.arch, progress)?;
        let mut key = format!("{CHOICE} {} {names:?}\n", installed.digest());
        for part in &parts {
            key.push_str(&format!("{}\n", part.listed.sha256));
        }
        let key = Digest::of(key.as_bytes()).hex().to_string();
        let known = self.store.cache_get(LISTS, &key);
        let known = known.and_then(|bytes| serde_json::from_slice::<Vec<PinnedPackage>>(&bytes).ok());
        let packages = match known {
            Some(packages) => packages,
            None => {
                let index = self.read_all(&parts, progress)?;
                let packages = choose(&index, installed, &names)?;
                let record = serde_json::to_vec(&packages).unwrap_or_default();
                // Without the record the next time is slower, and nothing else.
                let _ = self.store.cache_put(LISTS, &key, &record);
                packages
            }
        };
        let dates = parts.iter().map(|part| part.signed.release.date);
        let date = compact_date(dates.max().unwrap_or(0));
        let main = parts.swap_remove(0);
        Ok(PinnedAddition {
            suite: installed.suite.clone(),
            arch: installed.arch.debian().to_string(),
            names,
            over: installed.digest(),
            date,
            release: main.signed.digest,
            packages,
        })
    }
}

fn choose(
    index: &PackageIndex,
    installed: &Installed,
    names: &[String],
) -> Result<Vec<PinnedPackage>, ResolveError> {
    let texts = texts(index, installed);
    let added = solve_over(index, installed, &texts, names).map_err(|source| ResolveError::Addition {
        suite: installed.suite.clone(),
        source: match source {
            SolveError::NoSuchPackage { name } => SolveError::Unknown {
                near: near(index, &name),
                name,
            },
            other => other,
        },
    })?;
    added.packages.iter().map(pin).collect()
}

/// Whether it is written as a package's name is (Debian Policy, section 5.6.1).
pub(crate) fn is_package_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
}

/// Names that look like one: those that begin with it and add little, then those that a slip or two made of it.
pub(crate) fn near(index: &PackageIndex, name: &str) -> Vec<String> {
    let mut found: Vec<(usize, &str)> = index
        .names()
        .filter_map(|other| {
            let distance = match other.strip_prefix(name) {
                // A library's name goes on with its version: `libyaml-0-2`.
                Some(more)
                    if more
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || b"-.".contains(&byte)) =>
                {
                    1
                }
                Some(more) if (1..=3).contains(&more.len()) => 2,
                _ => distance(name, other)?,
            };
            Some((distance, other))
        })
        .collect();
    found.sort();
    found.dedup();
    found.truncate(MOST_NEAR);
    found.into_iter().map(|(_, name)| name.to_string()).collect()
}

/// How many slips lie between two names; `None` beyond two, or more than a third of the letters.
fn distance(left: &str, right: &str) -> Option<usize> {
    let most = 2.min(left.len() / 3);
    if left.len().abs_diff(right.len()) > most {
        return None;
    }
    Some(coil_oci::near::distance(left, right)).filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike() {
        let mut index = PackageIndex::default();
        let names = [
            "libgl1",
            "libglu1-mesa",
            "libgl2ps1.4",
            "libpq-dev",
            "libpq5",
            "libpq",
            "zlib1g-dev",
        ];
        let text: Vec<_> = names.map(|name| format!("Package: {name}\nVersion: 1")).to_vec();
        index.add("debian", text.join("\n\n").as_bytes()).unwrap();
        assert_eq!(near(&index, "libgl"), ["libgl1"]);
        assert_eq!(near(&index, "libpq-devel"), ["libpq-dev"]);
        assert_eq!(near(&index, "zlib1-dev"), ["zlib1g-dev"]);
        assert!(near(&index, "nope").is_empty());
        assert_eq!(distance("kitten", "sitting"), None);
        assert_eq!(distance("kitten", "mitten"), Some(1));
    }

    #[test]
    fn names_as_the_policy_has_them() {
        for (name, fine) in [
            ("g++", true),
            ("libstdc++6", true),
            ("", false),
            ("libGL.so.1", false),
            ("a=1", false),
            ("-a", false),
        ] {
            assert_eq!(is_package_name(name), fine, "{name}");
        }
    }
}
