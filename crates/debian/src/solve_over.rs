//! Which packages must be added to those that are there.

use std::collections::{BTreeMap, BTreeSet};

use crate::control::paragraphs;
use crate::index::{Package, PackageIndex};
use crate::installed::Installed;
use crate::relation::Possibility;
use crate::solve::{NOT_FOLLOWED, SolveError, find};

/// More rounds than any closure takes; a set that goes on changing has no end.
const MOST_ROUNDS: usize = 10_000;

/// What came of it.
#[derive(Debug)]
pub struct Added<'a> {
    /// The packages to add, in order of name; some may take the place of older ones.
    pub packages: Vec<Package<'a>>,
}

/// Finds what must be added to `installed` so that `roots` are there with all that they need.
///
/// What is there stays as it is, unless something new needs another version of it: then it is replaced, together with the
/// packages that have the same version, which are built from one source and belong together. Recommendations aren't
/// followed. A root may be a virtual name where one package alone provides it.
///
/// # Errors
/// When something isn't there, or when two packages exclude each other.
pub fn solve_over<'a>(
    index: &'a PackageIndex,
    installed: &'a Installed,
    texts: &'a [String],
    roots: &[String],
) -> Result<Added<'a>, SolveError> {
    let arch = installed.arch.debian();
    let mut state = State {
        index,
        arch,
        chosen: BTreeMap::new(),
        queue: Vec::new(),
        named: roots.iter().map(String::as_str).collect(),
        has_python: installed.packages.iter().any(|package| {
            package.name.starts_with("python3.")
                || package.name == "python3"
                || package.name == "python3-minimal"
        }),
    };
    for text in texts {
        if let Some(package) = paragraphs(text).next().and_then(Package::of) {
            state.chosen.insert(package.name, (package, true));
        }
    }
    for root in roots {
        if !state.chosen.contains_key(root.as_str()) {
            let package = root_package(index, root, &state)?;
            state.queue.extend(package);
        }
    }
    state.close()?;
    let packages = state.chosen.into_values();
    Ok(Added {
        packages: packages
            .filter(|(_, before)| !before)
            .map(|(package, _)| package)
            .collect(),
    })
}

/// What stands for the packages that are there: their entries of the index where it has them, else what is known of them.
pub fn texts(index: &PackageIndex, installed: &Installed) -> Vec<String> {
    installed
        .packages
        .iter()
        .map(|package| {
            let indexed = index
                .best(&package.name, |version| version == package.version)
                .or_else(|| index.best(&package.name, |_| true));
            let provides = match (&package.provides, &indexed) {
                (Some(known), _) => known.clone(),
                (None, Some(indexed)) => indexed.field("Provides").to_string(),
                (None, None) => String::new(),
            };
            format!(
                "Package: {}\nVersion: {}\nProvides: {provides}\n",
                package.name, package.version
            )
        })
        .collect()
}

fn root_package<'a>(
    index: &'a PackageIndex,
    root: &str,
    state: &State<'a, '_>,
) -> Result<Option<Package<'a>>, SolveError> {
    if let Some(package) = index.best(root, |_| true) {
        return Ok(Some(package));
    }
    let wanted = Possibility {
        name: root.to_string(),
        version: None,
    };
    if state.is_met(&wanted) {
        return Ok(None);
    }
    let mut providers = index.providers(&wanted);
    providers.dedup_by(|a, b| a.name == b.name);
    match providers.len() {
        0 => Err(SolveError::NoSuchPackage {
            name: root.to_string(),
        }),
        1 => Ok(providers.pop()),
        _ => Err(SolveError::Several {
            name: root.to_string(),
            providers: providers.iter().map(|package| package.name.to_string()).collect(),
        }),
    }
}

struct State<'a, 'n> {
    index: &'a PackageIndex,
    arch: &'a str,
    /// By name; whether it was there before.
    chosen: BTreeMap<&'a str, (Package<'a>, bool)>,
    queue: Vec<Package<'a>>,
    named: BTreeSet<&'n str>,
    has_python: bool,
}

impl<'a> State<'a, '_> {
    fn is_met(&self, one: &Possibility) -> bool {
        self.chosen.values().any(|(package, _)| package.meets(one))
    }

    /// What only maintainer scripts need, which never run; and Debian's name for the Python that is there.
    fn is_left_alone(&self, package: &str, one: &Possibility) -> bool {
        if self.named.contains(one.name.as_str()) {
            return false;
        }
        let python = one.name.starts_with("python3") || one.name == "libpython3-stdlib";
        (NOT_FOLLOWED.contains(&one.name.as_str()) && (self.has_python || !python))
            || (package == "ca-certificates" && one.name == "openssl")
    }

    fn close(&mut self) -> Result<(), SolveError> {
        let mut single: Vec<(String, Possibility)> = Vec::new();
        let mut several: Vec<(String, Vec<Possibility>)> = Vec::new();
        for _ in 0..MOST_ROUNDS {
            while let Some(package) = self.queue.pop() {
                if self
                    .chosen
                    .get(package.name)
                    .is_some_and(|(there, _)| there.version == package.version)
                {
                    continue;
                }
                for mut group in package.needs(self.arch) {
                    if group.iter().any(|one| self.is_left_alone(package.name, one)) {
                        continue;
                    }
                    match (group.len(), group.pop()) {
                        (1, Some(one)) => single.push((package.name.to_string(), one)),
                        (_, Some(last)) => {
                            group.push(last);
                            several.push((package.name.to_string(), group));
                        }
                        (_, None) => {}
                    }
                }
                self.put(package);
            }
            if let Some((by, one)) = single.pop() {
                if !self.is_met(&one) {
                    self.meet(by, std::slice::from_ref(&one))?;
                }
            } else if let Some((by, group)) = several.pop() {
                if !group.iter().any(|one| self.is_met(one)) {
                    self.meet(by, &group)?;
                }
            } else if !self.replace_excluded()? {
                return Ok(());
            }
        }
        Err(SolveError::Unmet {
            package: self.queue.pop().map_or("?", |package| package.name).to_string(),
            needs: "ever other versions of the same packages".into(),
        })
    }

    /// Puts a package in; those that belong to one that it replaces are replaced next.
    fn put(&mut self, package: Package<'a>) {
        let name = package.name;
        let new_version = package.version;
        let Some((old, true)) = self.chosen.insert(name, (package, false)) else {
            return;
        };
        let companions: Vec<&str> = self
            .chosen
            .values()
            .filter(|(other, before)| *before && other.version == old.version)
            .map(|(other, _)| other.name)
            .collect();
        for companion in companions {
            let newer = self.index.best(companion, |version| version == new_version);
            self.queue.extend(newer);
        }
    }

    fn meet(&mut self, by: String, group: &[Possibility]) -> Result<(), SolveError> {
        let found = find(self.index, group).ok_or_else(|| SolveError::Unmet {
            package: by.clone(),
            needs: group
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" or "),
        })?;
        match self.chosen.get(found.name) {
            // One version is new already, and another is wanted.
            Some((there, false)) if there.version != found.version => Err(SolveError::Conflict {
                package: by,
                other: format!("{} {}", there.name, there.version),
            }),
            _ => {
                self.queue.push(found);
                Ok(())
            }
        }
    }

    /// Looks whether something new excludes something; what was there before is replaced by a version that may stay.
    fn replace_excluded(&mut self) -> Result<bool, SolveError> {
        let mut replacements = Vec::new();
        for (package, before) in self.chosen.values() {
            if *before {
                continue;
            }
            for excluded in package.excludes(self.arch) {
                let others = self.chosen.values();
                let mut others =
                    others.filter(|(other, _)| other.name != package.name && other.meets(&excluded));
                let Some((other, before)) = others.next() else {
                    continue;
                };
                let allowed = |version: &str| !(other.name == excluded.name && excluded.accepts(version));
                let newer = self
                    .index
                    .best(other.name, allowed)
                    .filter(|newer| *before && newer.version != other.version && !newer.meets(&excluded));
                match newer {
                    Some(newer) => replacements.push(newer),
                    None => {
                        return Err(SolveError::Conflict {
                            package: package.name.to_string(),
                            other: other.name.to_string(),
                        });
                    }
                }
            }
        }
        let any = !replacements.is_empty();
        self.queue.extend(replacements);
        Ok(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coil_oci::Arch;

    fn solved(packages: &[&str], status: &str, roots: &[&str]) -> Result<String, SolveError> {
        let mut index = PackageIndex::default();
        index.add("debian", packages.join("\n\n").as_bytes()).unwrap();
        let roots: Vec<_> = roots.iter().map(ToString::to_string).collect();
        let installed = Installed::from_status("trixie", Arch::Amd64, status);
        let texts = texts(&index, &installed);
        let added = solve_over(&index, &installed, &texts, &roots)?;
        let names: Vec<_> = added
            .packages
            .iter()
            .map(|package| format!("{} {}", package.name, package.version))
            .collect();
        Ok(names.join(", "))
    }

    #[test]
    fn what_is_there_stays() {
        let packages = [
            "Package: a\nVersion: 2\nDepends: b, c (>= 1), virtual",
            "Package: b\nVersion: 9",
            "Package: c\nVersion: 9",
            "Package: p\nVersion: 1\nProvides: virtual",
        ];
        let status = "Package: b\nVersion: 1\n\nPackage: p\nVersion: 1\nProvides: virtual\n";
        assert_eq!(solved(&packages, status, &["a"]).unwrap(), "a 2, c 9");
        assert_eq!(solved(&packages, status, &["b", "virtual"]).unwrap(), "");
        assert_eq!(solved(&packages, "", &["virtual"]).unwrap(), "p 1");
    }

    #[test]
    fn an_older_base_is_brought_up_with_what_belongs_together() {
        let packages = [
            "Package: libc6-dev\nVersion: 2.2\nDepends: libc6 (= 2.2)",
            "Package: libc6\nVersion: 2.2\nDepends: libgcc\nBreaks: old (<< 5)",
            "Package: libc-bin\nVersion: 2.2\nDepends: libc6 (>> 2.2)\nPre-Depends: x",
            "Package: x\nVersion: 1",
            "Package: old\nVersion: 5",
            "Package: libgcc\nVersion: 1",
        ];
        let status = "Package: libc6\nVersion: 2.1\n\nPackage: libc-bin\nVersion: 2.1\n\nPackage: old\nVersion: 4\n\nPackage: libgcc\nVersion: 0\n";
        let error = solved(&packages, status, &["libc6-dev"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`libc-bin` needs libc6 (>> 2.2), which is not there"
        );
        let mut packages = packages.map(str::to_string);
        packages[2] = packages[2].replace(">> 2.2", ">> 2.1");
        let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
        assert_eq!(
            solved(&packages, status, &["libc6-dev"]).unwrap(),
            "libc-bin 2.2, libc6 2.2, libc6-dev 2.2, old 5, x 1"
        );
    }

    #[test]
    fn conflicts_and_choices_are_said() {
        let packages = [
            "Package: a\nVersion: 1\nConflicts: b",
            "Package: b\nVersion: 1\nProvides: v",
            "Package: c\nVersion: 1\nProvides: v",
            "Package: python3-x\nVersion: 1\nDepends: python3 (>= 3.13), debconf",
            "Package: python3\nVersion: 3.13\nDepends: c",
        ];
        let error = solved(&packages, "Package: b\nVersion: 1\n", &["a"]).unwrap_err();
        assert_eq!(error.to_string(), "`a` cannot be together with `b`");
        let error = solved(&packages, "", &["v"]).unwrap_err();
        assert_eq!(error.to_string(), "`v` is provided by several packages: b, c");
        assert!(matches!(
            solved(&packages, "", &["nope"]),
            Err(SolveError::NoSuchPackage { .. })
        ));
        // The base's own Python stands for Debian's package of that name; elsewhere it is added.
        let base = "Package: python3.13\nVersion: 3.13\n";
        assert_eq!(solved(&packages, base, &["python3-x"]).unwrap(), "python3-x 1");
        assert_eq!(
            solved(&packages, "", &["python3-x"]).unwrap(),
            "c 1, python3 3.13, python3-x 1"
        );
    }
}
