//! Which packages are needed: the closure of what is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::index::{Package, PackageIndex};
use crate::relation::Possibility;

/// Needed by maintainer scripts alone, which are never run here; or made by coil itself.
pub const NOT_FOLLOWED: [&str; 9] = [
    "debconf",
    "debconf-2.0",
    "cdebconf",
    "awk",
    "dpkg",
    "init-system-helpers",
    "python3",
    "python3-minimal",
    "libpython3-stdlib",
];

/// Whether a need is left alone: nobody asked for the package, and it would serve scripts only.
fn is_left_alone(package: &str, wanted: &str) -> bool {
    // The certificates need OpenSSL's command only to be gathered, which coil does.
    NOT_FOLLOWED.contains(&wanted) || (package == "ca-certificates" && wanted == "openssl")
}

/// Why there is no set of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SolveError {
    /// The user asked for a package that isn't there.
    NoSuchPackage {
        /// The name.
        name: String,
    },
    /// The same, held against all names that there are.
    Unknown {
        /// The name.
        name: String,
        /// Names that look like it.
        near: Vec<String>,
    },
    /// What the user asked for is no package's name.
    NoName {
        /// What was given.
        name: String,
    },
    /// There is no such suite to add from.
    NoSuite {
        /// The name.
        name: String,
    },
    /// A virtual name that stands for more than one package.
    Several {
        /// The name.
        name: String,
        /// The packages.
        providers: Vec<String>,
    },
    /// Something that a package needs isn't there.
    Unmet {
        /// The package.
        package: String,
        /// What it needs.
        needs: String,
    },
    /// Two packages can't be there together.
    Conflict {
        /// One.
        package: String,
        /// The other.
        other: String,
    },
}

impl fmt::Display for SolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SolveError::NoSuchPackage { name } => write!(f, "there is no package `{name}`"),
            SolveError::Unknown { name, near } if near.is_empty() => {
                write!(f, "there is no package `{name}`")
            }
            SolveError::Unknown { name, near } => {
                write!(f, "there is no package `{name}`; near it: {}", near.join(", "))
            }
            SolveError::NoName { name } => write!(f, "`{name}` is no name of a Debian package"),
            SolveError::NoSuite { name } => write!(f, "coil knows no suite `{name}`"),
            SolveError::Several { name, providers } => {
                write!(
                    f,
                    "`{name}` is provided by several packages: {}",
                    providers.join(", ")
                )
            }
            SolveError::Unmet { package, needs } => {
                write!(f, "`{package}` needs {needs}, which is not there")
            }
            SolveError::Conflict { package, other } => {
                write!(f, "`{package}` cannot be together with `{other}`")
            }
        }
    }
}

impl std::error::Error for SolveError {}

/// Finds the packages for `roots` with all that they need, in order of name.
///
/// Needs with one possibility go before needs with several, so that an alternative that is there anyway is taken;
/// else the first that exists is, and of the providers of a virtual package the one of the highest Priority.
///
/// # Errors
/// When something isn't there, or when two packages exclude each other.
pub fn solve<'a>(
    index: &'a PackageIndex,
    roots: &[String],
    arch: &str,
) -> Result<Vec<Package<'a>>, SolveError> {
    solve_leaving(index, roots, arch, &is_left_alone)
}

/// The same, with another rule of which needs (package, what it wants) are left alone.
///
/// # Errors
/// When something isn't there, or when two packages exclude each other.
pub fn solve_leaving<'a>(
    index: &'a PackageIndex,
    roots: &[String],
    arch: &str,
    is_left_alone: &dyn Fn(&str, &str) -> bool,
) -> Result<Vec<Package<'a>>, SolveError> {
    let mut chosen: BTreeMap<&'a str, Package<'a>> = BTreeMap::new();
    let named: BTreeSet<&str> = roots.iter().map(String::as_str).collect();
    let mut single: Vec<(String, Possibility)> = Vec::new();
    let mut several: Vec<(String, Vec<Possibility>)> = Vec::new();

    let mut queue: Vec<Package<'a>> = Vec::new();
    for root in &named {
        let package = index.best(root, |_| true);
        queue.push(package.ok_or_else(|| SolveError::NoSuchPackage {
            name: (*root).to_string(),
        })?);
    }
    loop {
        while let Some(package) = queue.pop() {
            if chosen.contains_key(package.name) {
                continue;
            }
            for mut group in package.needs(arch) {
                let left_alone = |one: &Possibility| {
                    is_left_alone(package.name, &one.name) && !named.contains(one.name.as_str())
                };
                if group.iter().any(left_alone) {
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
            chosen.insert(package.name, package);
        }
        if let Some((by, one)) = single.pop() {
            if !chosen.values().any(|package| package.meets(&one)) {
                let found = find(index, std::slice::from_ref(&one));
                queue.push(found.ok_or(SolveError::Unmet {
                    package: by,
                    needs: one.to_string(),
                })?);
            }
        } else if let Some((by, group)) = several.pop() {
            if !group
                .iter()
                .any(|one| chosen.values().any(|package| package.meets(one)))
            {
                let needs = || {
                    group
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(" or ")
                };
                queue.push(find(index, &group).ok_or_else(|| SolveError::Unmet {
                    package: by,
                    needs: needs(),
                })?);
            }
        } else {
            break;
        }
    }
    for package in chosen.values() {
        for excluded in package.excludes(arch) {
            let mut others = chosen.values().filter(|other| other.name != package.name);
            if let Some(other) = others.find(|other| other.meets(&excluded)) {
                return Err(SolveError::Conflict {
                    package: package.name.into(),
                    other: other.name.into(),
                });
            }
        }
    }
    Ok(chosen.into_values().collect())
}

/// The first possibility that exists under its own name, else the best provider of any.
pub fn find<'a>(index: &'a PackageIndex, group: &[Possibility]) -> Option<Package<'a>> {
    let real = group
        .iter()
        .find_map(|one| index.best(&one.name, |version| one.accepts(version)));
    real.or_else(|| {
        group
            .iter()
            .find_map(|one| index.providers(one).into_iter().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solved(packages: &[&str], roots: &[&str]) -> Result<String, SolveError> {
        let mut index = PackageIndex::default();
        index.add("debian", packages.join("\n\n").as_bytes()).unwrap();
        let roots: Vec<_> = roots.iter().map(ToString::to_string).collect();
        let chosen = solve(&index, &roots, "amd64")?;
        let names: Vec<_> = chosen
            .iter()
            .map(|package| format!("{} {}", package.name, package.version))
            .collect();
        Ok(names.join(", "))
    }

    #[test]
    fn the_closure_takes_the_highest_versions() {
        let packages = [
            "Package: a\nVersion: 1\nDepends: b (>= 2), debconf",
            "Package: b\nVersion: 2\nPre-Depends: a",
            "Package: b\nVersion: 10",
            "Package: c\nVersion: 1",
        ];
        assert_eq!(solved(&packages, &["a"]).unwrap(), "a 1, b 10");
    }

    #[test]
    fn an_alternative_that_is_there_anyway_is_taken() {
        let packages = [
            "Package: a\nVersion: 1\nDepends: x | y, z",
            "Package: x\nVersion: 1",
            "Package: y\nVersion: 1",
            "Package: z\nVersion: 1\nDepends: y",
        ];
        assert_eq!(solved(&packages, &["a"]).unwrap(), "a 1, y 1, z 1");
        assert_eq!(
            solved(&packages[..3], &["a"]).unwrap_err().to_string(),
            "`a` needs z, which is not there"
        );
    }

    #[test]
    fn providers_by_priority_and_version() {
        let packages = [
            "Package: a\nVersion: 1\nDepends: virtual",
            "Package: p1\nVersion: 1\nPriority: optional\nProvides: virtual",
            "Package: p2\nVersion: 1\nPriority: required\nProvides: virtual (= 3), other",
            "Package: b\nVersion: 1\nDepends: virtual (>= 2)",
            "Package: c\nVersion: 1\nDepends: virtual (>= 4)",
        ];
        assert_eq!(solved(&packages, &["a"]).unwrap(), "a 1, p2 1");
        assert_eq!(solved(&packages, &["b"]).unwrap(), "b 1, p2 1");
        assert!(matches!(solved(&packages, &["c"]), Err(SolveError::Unmet { .. })));
        assert!(matches!(
            solved(&packages, &["nope"]),
            Err(SolveError::NoSuchPackage { .. })
        ));
    }

    #[test]
    fn conflicts_are_noticed_but_not_with_oneself() {
        let packages = [
            "Package: a\nVersion: 1\nConflicts: mta\nProvides: mta",
            "Package: b\nVersion: 1\nProvides: mta",
            "Package: c\nVersion: 1\nBreaks: a (<< 1)",
        ];
        assert_eq!(solved(&packages, &["a", "c"]).unwrap(), "a 1, c 1");
        let error = solved(&packages, &["a", "b"]).unwrap_err();
        assert_eq!(error.to_string(), "`a` cannot be together with `b`");
    }
}
