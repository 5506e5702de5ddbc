//! What is installed below: the packages over which others are added.

use coil_oci::{Arch, Digest};

use crate::control::paragraphs;
use crate::pinned::PinnedBase;

/// One package that is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstalledPackage {
    /// Its name.
    pub name: String,
    /// Its version, as Debian writes it.
    pub version: String,
    /// `amd64`, `arm64` or `all`.
    pub arch: String,
    /// The source package, where dpkg's list names another than its own name.
    pub source: Option<String>,
    /// What else it stands for, as dpkg's list has it; `None` where that isn't known and the archive is asked.
    pub provides: Option<String>,
}

/// All packages that are there, and what they are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Debian's suite, by its codename.
    pub suite: String,
    /// The architecture.
    pub arch: Arch,
    /// The packages, in order of name.
    pub packages: Vec<InstalledPackage>,
}

impl Installed {
    /// What a pinned base has; `None` for an architecture that coil doesn't know.
    pub fn of_base(base: &PinnedBase) -> Option<Installed> {
        let package = |package: &crate::PinnedPackage| InstalledPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            arch: package.arch.clone(),
            source: None,
            provides: None,
        };
        Some(Installed::new(
            &base.suite,
            base.architecture()?,
            base.packages.iter().map(package).collect(),
        ))
    }

    /// What dpkg's list says (`/var/lib/dpkg/status`, or the files of `status.d` one after another).
    pub fn from_status(suite: &str, arch: Arch, status: &str) -> Installed {
        let packages = paragraphs(status).filter_map(|paragraph| {
            // What was removed but for its configuration is not there.
            let there = paragraph
                .get("Status")
                .is_none_or(|status| status.ends_with(" installed"));
            there.then_some(InstalledPackage {
                name: paragraph.get("Package")?.to_string(),
                version: paragraph.get("Version")?.to_string(),
                arch: paragraph.get("Architecture").unwrap_or("all").to_string(),
                source: paragraph.get("Source").map(str::to_string),
                provides: Some(paragraph.get("Provides").unwrap_or_default().to_string()),
            })
        });
        Installed::new(suite, arch, packages.collect())
    }

    fn new(suite: &str, arch: Arch, mut packages: Vec<InstalledPackage>) -> Installed {
        packages.sort();
        Installed {
            suite: suite.to_string(),
            arch,
            packages,
        }
    }

    /// A package by name.
    pub fn package(&self, name: &str) -> Option<&InstalledPackage> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// A digest of the names and versions: what is added holds for these alone.
    pub fn digest(&self) -> Digest {
        let mut text = format!("{} {}\n", self.suite, self.arch);
        for package in &self.packages {
            text.push_str(&format!("{} {}\n", package.name, package.version));
        }
        Digest::of(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_dpkgs_list() {
        let text = "Package: b\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nProvides: v (= 2)\nSource: s (1)\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: a\nVersion: 2\nArchitecture: all\n";
        let installed = Installed::from_status("trixie", Arch::Amd64, text);
        let names: Vec<_> = installed.packages.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let b = installed.package("b").unwrap();
        assert_eq!(
            (b.provides.as_deref(), b.source.as_deref()),
            (Some("v (= 2)"), Some("s (1)"))
        );
        let other = Installed::from_status("trixie", Arch::Amd64, &text.replace("Version: 2", "Version: 3"));
        assert_ne!(installed.digest(), other.digest());
    }
}
