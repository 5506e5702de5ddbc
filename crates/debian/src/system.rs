//! Full Debian systems: what every system has, and what is added to it, by exact packages.
//!
//! Unlike a packed application's base, a full system is configured by the packages' own scripts. Here it is found out which
//! packages it takes ([`Archive::resolve_system`]) and they are put into folders ([`Archive::unpack_system`],
//! [`Archive::unpack_files`]); the scripts run elsewhere, in a container; [`keep_tree`](crate::keep_tree) makes a layer of the end.

use std::collections::{BTreeMap, BTreeSet};

use coil_fetch::Progress;
use coil_oci::{Arch, Digest};
use serde::{Deserialize, Serialize};

use crate::addition::near;
use crate::archive::{Part, pin};
use crate::control::paragraphs;
use crate::error::ResolveError;
use crate::index::{Package, PackageIndex};
use crate::pinned::{PinnedBase, PinnedPackage};
use crate::release::compact_date;
use crate::solve::{SolveError, solve_leaving};
use crate::suite::Suite;
use crate::{Archive, relation};

/// Raised when the same lists of packages give another choice than before.
const CHOICE: u32 = 2;
const LISTS: &str = "debian-system-list-v1";
/// What a system has beside what Debian calls required, each where the suite has it: the second is what guides call, and came
/// with apt for long; the third says that `/bin` and its like are links into `/usr`, and else a program would be installed that
/// makes them so.
const BESIDE: [&str; 3] = ["apt", "adduser", "usr-is-merged"];

/// The suites that a full system can be made of, with the Python of each.
pub const SYSTEM_SUITES: [Suite; 4] = [
    Suite {
        name: "bullseye",
        python: "3.9",
        released: true,
    },
    Suite {
        name: "bookworm",
        python: "3.11",
        released: true,
    },
    Suite {
        name: "trixie",
        python: "3.13",
        released: true,
    },
    Suite {
        name: "sid",
        python: "3.14",
        released: false,
    },
];

/// What a system is to hold.
pub struct SystemRequest<'a> {
    /// The suite.
    pub suite: Suite,
    /// The architecture.
    pub arch: Arch,
    /// Packages to install with all that they need.
    pub packages: &'a [String],
    /// Packages whose files are wanted, but elsewhere: what they need is installed, they are not.
    pub relocated: &'a [String],
    /// Which needs (package, what it wants) aren't followed.
    pub leave: &'a dyn Fn(&str, &str) -> bool,
}

/// A full system by its exact packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedSystem {
    /// The suite's codename.
    pub suite: String,
    /// The architecture's Debian name.
    pub arch: String,
    /// When the suite was published (`20260711T101637Z`), the latest of its parts.
    pub date: String,
    /// The same in seconds since 1970.
    pub published: u64,
    /// The digest of the suite's main InRelease file.
    pub release: Digest,
    /// What every system of the suite has, in order of name.
    pub base: Vec<PinnedPackage>,
    /// What is installed on top, in order of name.
    pub added: Vec<PinnedPackage>,
    /// Packages whose files go elsewhere, in order of name.
    pub relocated: Vec<PinnedPackage>,
}

/// The packages of each kind, kept by the digests of all that they were chosen from.
#[derive(Serialize, Deserialize)]
struct Chosen {
    base: Vec<PinnedPackage>,
    added: Vec<PinnedPackage>,
    relocated: Vec<PinnedPackage>,
}

impl PinnedSystem {
    /// Some of its packages as a list that can be fetched.
    pub(crate) fn list(&self, packages: &[PinnedPackage]) -> PinnedBase {
        PinnedBase {
            suite: self.suite.clone(),
            arch: self.arch.clone(),
            python: String::new(),
            date: self.date.clone(),
            release: self.release.clone(),
            packages: packages.to_vec(),
        }
    }

    /// What every system has, in the order in which it is unpacked.
    ///
    /// The first package that brings a folder says its mode; base-files knows best.
    pub fn base_in_order(&self) -> Vec<&PinnedPackage> {
        let mut packages: Vec<&PinnedPackage> = self.base.iter().collect();
        packages.sort_by_key(|package| package.name != "base-files");
        packages
    }

    /// All packages: those installed and those whose files are used.
    pub fn packages(&self) -> impl Iterator<Item = &PinnedPackage> {
        let is_added = |name: &str| self.added.iter().any(|added| added.name == name);
        let elsewhere = self
            .relocated
            .iter()
            .filter(move |package| !is_added(&package.name));
        self.base.iter().chain(&self.added).chain(elsewhere)
    }

    /// A package by name.
    pub fn package(&self, name: &str) -> Option<&PinnedPackage> {
        self.packages().find(|package| package.name == name)
    }
}

impl Archive {
    /// Finds the exact packages of a full system.
    ///
    /// # Errors
    /// As [`Archive::resolve`].
    pub fn resolve_system(
        &self,
        request: &SystemRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<PinnedSystem, ResolveError> {
        let parts = self.parts(request.suite, request.arch, progress)?;
        let key = list_key(&parts, request);
        let known = self.store.cache_get(LISTS, &key);
        let chosen = match known.and_then(|bytes| serde_json::from_slice::<Chosen>(&bytes).ok()) {
            Some(chosen) => chosen,
            None => {
                let index = self.read_all(&parts, progress)?;
                let chosen = choose(&index, request)?;
                let record = serde_json::to_vec(&chosen).unwrap_or_default();
                // Without the record the next time is slower, and nothing else.
                let _ = self.store.cache_put(LISTS, &key, &record);
                chosen
            }
        };
        let published = parts.iter().map(|part| part.signed.release.date).max();
        let published = published.unwrap_or(0);
        let main = parts.into_iter().next().map(|part| part.signed.digest);
        Ok(PinnedSystem {
            suite: request.suite.name.to_string(),
            arch: request.arch.debian().to_string(),
            date: compact_date(published),
            published,
            release: main.unwrap_or_else(|| Digest::of(b"")),
            base: chosen.base,
            added: chosen.added,
            relocated: chosen.relocated,
        })
    }
}

/// The name of the record: a digest of all that decides about the choice.
fn list_key(parts: &[Part], request: &SystemRequest<'_>) -> String {
    let sorted = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    let mut text = format!(
        "{CHOICE} {} {} {BESIDE:?}\n{:?}\n{:?}\n",
        request.suite.name,
        request.arch,
        sorted(request.packages),
        sorted(request.relocated)
    );
    // What is left alone shows only in what it does to the relocated packages' needs.
    let probes = ["python3", "python3.11-tk", "blt", "libexpat1-dev"];
    for probe in probes {
        let left = request
            .relocated
            .iter()
            .any(|package| (request.leave)(package, probe));
        text.push_str(if left { "-" } else { "+" });
    }
    for part in parts {
        text.push_str(&format!(" {}\n", part.listed.sha256));
    }
    Digest::of(text.as_bytes()).hex().to_string()
}

fn choose(index: &PackageIndex, request: &SystemRequest<'_>) -> Result<Chosen, ResolveError> {
    let failed = |source: SolveError| ResolveError::Solve {
        suite: request.suite.name.to_string(),
        source: match source {
            SolveError::NoSuchPackage { name } => SolveError::Unknown {
                near: near(index, &name),
                name,
            },
            other => other,
        },
    };
    let mut roots: Vec<String> = index
        .newest()
        .filter(Package::is_required)
        .map(|package| package.name.to_string())
        .collect();
    let beside = BESIDE.iter().filter(|name| index.best(name, |_| true).is_some());
    roots.extend(beside.map(ToString::to_string));
    let base = solve_leaving(index, &roots, request.arch.debian(), &|_, _| false).map_err(failed)?;
    let names: BTreeSet<&str> = base.iter().map(|package| package.name).collect();

    let mut roots: Vec<String> = names.iter().map(ToString::to_string).collect();
    roots.extend(request.packages.iter().cloned());
    let solve = |roots: &[String], leave: &dyn Fn(&str, &str) -> bool| {
        solve_leaving(index, roots, request.arch.debian(), leave).map_err(failed)
    };
    let installed = solve(&roots, &|_, _| false)?;
    let installed: BTreeSet<&str> = installed.iter().map(|package| package.name).collect();
    roots.extend(installed.iter().map(ToString::to_string));
    roots.extend(request.relocated.iter().cloned());
    // What is installed needs all that it says; only a package that goes elsewhere alone can leave a need out.
    let all = solve(&roots, &|package, wanted| {
        !installed.contains(package) && (request.leave)(package, wanted)
    })?;
    let mut chosen = Chosen {
        base: Vec::new(),
        added: Vec::new(),
        relocated: Vec::new(),
    };
    for package in all {
        let is_relocated = request.relocated.iter().any(|name| name == package.name);
        if is_relocated {
            chosen.relocated.push(pin(&package)?);
        }
        if names.contains(package.name) {
            chosen.base.push(pin(&package)?);
        } else if !is_relocated || installed.contains(package.name) {
            chosen.added.push(pin(&package)?);
        }
    }
    Ok(chosen)
}

/// Which of these packages want others of them configured before they are unpacked (Pre-Depends), by their control files.
pub(crate) fn wants_configured(controls: &[String], arch: &str) -> Vec<bool> {
    let fields: Vec<_> = controls
        .iter()
        .map(|control| paragraphs(control).next())
        .collect();
    let names: BTreeSet<&str> = fields
        .iter()
        .flatten()
        .filter_map(|paragraph| paragraph.get("Package"))
        .collect();
    let wants = |field: &str| {
        let mut possibilities = relation::parse(field, arch).into_iter().flatten();
        possibilities.any(|one| names.contains(one.name.as_str()))
    };
    fields
        .iter()
        .map(|paragraph| {
            paragraph
                .as_ref()
                .and_then(|fields| fields.get("Pre-Depends"))
                .is_some_and(wants)
        })
        .collect()
}

/// Orders packages so that each comes after those that it needs, by the texts of their control files.
///
/// Where packages need each other, the order among them is that of their names.
pub(crate) fn in_order_of_need(controls: &[String], arch: &str) -> Vec<usize> {
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    let mut needs = Vec::with_capacity(controls.len());
    for (number, control) in controls.iter().enumerate() {
        let Some(paragraph) = paragraphs(control).next() else {
            needs.push(Vec::new());
            continue;
        };
        for provided in relation::parse(paragraph.get("Provides").unwrap_or_default(), arch) {
            for one in provided {
                by_name.entry(one.name).or_insert(number);
            }
        }
        by_name.insert(paragraph.get("Package").unwrap_or_default().to_string(), number);
        let mut groups = relation::parse(paragraph.get("Pre-Depends").unwrap_or_default(), arch);
        groups.extend(relation::parse(
            paragraph.get("Depends").unwrap_or_default(),
            arch,
        ));
        needs.push(
            groups
                .into_iter()
                .flatten()
                .map(|one| one.name)
                .collect::<Vec<_>>(),
        );
    }
    let mut order = Vec::with_capacity(controls.len());
    let mut seen = vec![false; controls.len()];
    // (package, which of its needs comes next): a walk without recursion.
    for start in 0..controls.len() {
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        let mut path = vec![(start, 0)];
        while let Some((number, at)) = path.last_mut() {
            match needs[*number].get(*at) {
                Some(name) => {
                    *at += 1;
                    if let Some(&next) = by_name.get(name)
                        && !std::mem::replace(&mut seen[next], true)
                    {
                        path.push((next, 0));
                    }
                }
                None => {
                    order.push(*number);
                    path.pop();
                }
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_first_and_circles_end() {
        let controls = [
            "Package: a\nDepends: b, v",
            "Package: b\nPre-Depends: c",
            "Package: c\nDepends: a",
            "Package: d\nProvides: v (= 1)",
        ]
        .map(str::to_string);
        assert_eq!(in_order_of_need(&controls, "amd64"), [2, 1, 3, 0]);
        assert_eq!(wants_configured(&controls, "amd64"), [false, true, false, false]);
    }

    #[test]
    fn required_packages_and_what_is_added() {
        let text =
            "Package: sh\nVersion: 1\nEssential: yes\nDepends: lib\nSHA256: {}\nSize: 1\nFilename: a\n\n\
                    Package: lib\nVersion: 1\nSHA256: {}\nSize: 1\nFilename: b\n\n\
                    Package: apt\nVersion: 1\nSHA256: {}\nSize: 1\nFilename: c\n\n\
                    Package: py\nVersion: 1\nDepends: ssl, wrapper\nSHA256: {}\nSize: 1\nFilename: d\n\n\
                    Package: ssl\nVersion: 1\nDepends: lib\nSHA256: {}\nSize: 1\nFilename: e\n\n\
                    Package: wrapper\nVersion: 1\nSHA256: {}\nSize: 1\nFilename: f\n\n\
                    Package: tool\nVersion: 1\nDepends: py\nSHA256: {}\nSize: 1\nFilename: g\n"
                .replace("{}", &"0".repeat(64));
        let mut index = PackageIndex::default();
        index.add("debian", text.as_bytes()).unwrap();
        let request = SystemRequest {
            suite: SYSTEM_SUITES[1],
            arch: Arch::Amd64,
            packages: &[],
            relocated: &["py".to_string()],
            leave: &|package, wanted| package == "py" && wanted == "wrapper",
        };
        let chosen = choose(&index, &request).unwrap();
        let names = |packages: &[PinnedPackage]| {
            let names: Vec<_> = packages.iter().map(|package| package.name.clone()).collect();
            names.join(" ")
        };
        assert_eq!(names(&chosen.base), "apt lib sh");
        assert_eq!(
            (names(&chosen.added), names(&chosen.relocated)),
            ("ssl".into(), "py".into())
        );
        // What something installed needs is installed, wherever else its files go.
        let request = SystemRequest {
            packages: &["tool".to_string()],
            ..request
        };
        let chosen = choose(&index, &request).unwrap();
        assert_eq!(
            (names(&chosen.added), names(&chosen.relocated)),
            ("py ssl tool wrapper".into(), "py".into())
        );
    }
}
