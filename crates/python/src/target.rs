//! The machine an image is made for: its Python, its wheel tags and its marker environment.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use coil_oci::Arch;
use pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder};
use serde::{Deserialize, Serialize};

/// An exact CPython version, `3.11.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PythonVersion {
    /// The first number: 3.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub micro: u32,
}

impl PythonVersion {
    /// Makes a version of its three numbers.
    pub fn new(major: u32, minor: u32, micro: u32) -> Self {
        PythonVersion { major, minor, micro }
    }

    /// The first two numbers, `3.11`.
    pub fn minor_text(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// The same as a PEP 440 version.
    pub fn to_pep440(self) -> Version {
        Version::new([
            u64::from(self.major),
            u64::from(self.minor),
            u64::from(self.micro),
        ])
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// A text that is no exact Python version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonVersionError(String);

impl fmt::Display for PythonVersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an exact Python version such as 3.13.5", self.0)
    }
}

impl std::error::Error for PythonVersionError {}

impl FromStr for PythonVersion {
    type Err = PythonVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || PythonVersionError(text.to_owned());
        let numbers: Vec<u32> = text
            .split('.')
            .map(|part| part.parse().map_err(|_| fail()))
            .collect::<Result<_, _>>()?;
        match numbers[..] {
            [major, minor, micro] => Ok(PythonVersion { major, minor, micro }),
            _ => Err(fail()),
        }
    }
}

impl Serialize for PythonVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PythonVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The C library that compiled wheels are linked against, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Libc {
    /// GNU's, `2.36`: it takes manylinux wheels.
    Glibc(u32, u32),
    /// musl, `1.2`: it takes musllinux wheels.
    Musl(u32, u32),
}

impl Libc {
    /// GNU's version, where it is that one.
    pub fn glibc(self) -> Option<(u32, u32)> {
        match self {
            Libc::Glibc(major, minor) => Some((major, minor)),
            Libc::Musl(..) => None,
        }
    }

    /// The name alone: `glibc`, `musl`.
    pub fn name(self) -> &'static str {
        match self {
            Libc::Glibc(..) => "glibc",
            Libc::Musl(..) => "musl",
        }
    }
}

impl fmt::Display for Libc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Libc::Glibc(major, minor) | Libc::Musl(major, minor)) = self;
        write!(f, "{} {major}.{minor}", self.name())
    }
}

/// What packages are chosen for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The exact interpreter.
    pub python: PythonVersion,
    /// The processor.
    pub arch: Arch,
    /// The C library.
    pub libc: Libc,
    /// Whether the interpreter is built without the global lock (PEP 703): its ABI is `cp313t`.
    pub free_threaded: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Python {} on linux/{} ({})",
            self.python.minor_text(),
            self.arch,
            self.libc
        )
    }
}

/// One wheel tag: `cp311-cp311-manylinux_2_17_x86_64` (PEP 425).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// The interpreter, `cp311` or `py3`.
    pub python: String,
    /// The binary interface, `cp311`, `abi3` or `none`.
    pub abi: String,
    /// The platform, or `any`.
    pub platform: String,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.python, self.abi, self.platform)
    }
}

/// The tags that a target accepts, with their rank: 0 is the best.
#[derive(Debug, Clone)]
pub struct TagRanks {
    ranks: HashMap<Tag, usize>,
}

impl TagRanks {
    /// The rank of a tag, or `None` if the target doesn't accept it.
    pub fn rank(&self, tag: &Tag) -> Option<usize> {
        self.ranks.get(tag).copied()
    }
}

impl Target {
    /// The platform tags, the best first (PEP 600, with the older names of PEP 513, 571 and 599).
    ///
    /// `linux_x86_64` comes last, as pip has it.
    pub fn platform_tags(&self) -> Vec<String> {
        let machine = self.arch.machine();
        // No x86-64 wheel asks for less than CentOS 5's 2.5, and 64-bit ARM began with 2.17.
        let oldest = match self.arch {
            Arch::Amd64 => 5,
            Arch::Arm64 => 17,
        };
        let mut tags = Vec::new();
        if let Libc::Musl(major, newest) = self.libc {
            // PEP 656.
            tags.extend(
                (0..=newest)
                    .rev()
                    .map(|minor| format!("musllinux_{major}_{minor}_{machine}")),
            );
        }
        if let Libc::Glibc(2, newest) = self.libc {
            for minor in (oldest..=newest).rev() {
                tags.push(format!("manylinux_2_{minor}_{machine}"));
                let older = match minor {
                    17 => Some("manylinux2014"),
                    12 => Some("manylinux2010"),
                    5 => Some("manylinux1"),
                    _ => None,
                };
                tags.extend(older.map(|name| format!("{name}_{machine}")));
            }
        }
        tags.push(format!("linux_{machine}"));
        tags
    }

    /// All tags that fit, the best first (PEP 425, in the order that pip uses).
    pub fn tags(&self) -> Vec<Tag> {
        let platforms = self.platform_tags();
        let PythonVersion { major, minor, .. } = self.python;
        let cpython = format!("cp{major}{minor}");
        let mut tags = Vec::with_capacity(platforms.len() * (minor as usize * 2 + 6));
        let mut push_all = |python: &str, abi: &str| {
            tags.extend(platforms.iter().map(|platform| Tag {
                python: python.to_owned(),
                abi: abi.to_owned(),
                platform: platform.clone(),
            }));
        };
        if self.free_threaded {
            push_all(&cpython, &format!("{cpython}t"));
            push_all(&cpython, "none");
        } else {
            push_all(&cpython, &cpython);
            push_all(&cpython, "abi3");
            push_all(&cpython, "none");
            for older in (2..minor).rev() {
                push_all(&format!("cp{major}{older}"), "abi3");
            }
        }
        let generic: Vec<String> = std::iter::once(format!("py{major}{minor}"))
            .chain(std::iter::once(format!("py{major}")))
            .chain((0..minor).rev().map(|older| format!("py{major}{older}")))
            .collect();
        for python in &generic {
            push_all(python, "none");
        }
        for python in std::iter::once(&cpython).chain(&generic) {
            tags.push(Tag {
                python: python.clone(),
                abi: "none".to_owned(),
                platform: "any".to_owned(),
            });
        }
        tags
    }

    /// The tags as a table to look up ranks in; make it once for many wheels.
    pub fn tag_ranks(&self) -> TagRanks {
        TagRanks {
            ranks: self
                .tags()
                .into_iter()
                .enumerate()
                .map(|(rank, tag)| (tag, rank))
                .collect(),
        }
    }

    /// The values of all PEP 508 variables.
    ///
    /// `platform_release` and `platform_version` are empty: the kernel that will run the image is not known.
    pub fn marker_environment(&self) -> MarkerEnvironment {
        let full = self.python.to_string();
        let minor = self.python.minor_text();
        MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
            implementation_name: "cpython",
            implementation_version: &full,
            os_name: "posix",
            platform_machine: self.arch.machine(),
            platform_python_implementation: "CPython",
            platform_release: "",
            platform_system: "Linux",
            platform_version: "",
            python_full_version: &full,
            python_version: &minor,
            sys_platform: "linux",
        })
        .expect("three numbers are always a PEP 440 version")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(python: &str, arch: Arch, glibc: (u32, u32)) -> Target {
        Target {
            python: python.parse().expect("version"),
            arch,
            libc: Libc::Glibc(glibc.0, glibc.1),
            free_threaded: false,
        }
    }

    /// The lists in `fixtures/tags` were written by PyPA's `packaging` (see the README there).
    #[test]
    fn tags_are_those_of_packaging_in_the_same_order() {
        for (target, expected) in [
            (
                target("3.11.2", Arch::Amd64, (2, 36)),
                include_str!("../tests/fixtures/tags/cp311-glibc236-x86_64.txt"),
            ),
            (
                target("3.14.1", Arch::Arm64, (2, 41)),
                include_str!("../tests/fixtures/tags/cp314-glibc241-aarch64.txt"),
            ),
        ] {
            let ours: Vec<String> = target.tags().iter().map(Tag::to_string).collect();
            let theirs: Vec<&str> = expected.lines().collect();
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn musl_and_free_threading_have_tags_of_their_own() {
        let musl = Target {
            libc: Libc::Musl(1, 2),
            ..target("3.12.1", Arch::Amd64, (2, 36))
        };
        assert_eq!(
            musl.platform_tags(),
            [
                "musllinux_1_2_x86_64",
                "musllinux_1_1_x86_64",
                "musllinux_1_0_x86_64",
                "linux_x86_64"
            ]
        );
        assert_eq!(musl.to_string(), "Python 3.12 on linux/amd64 (musl 1.2)");
        let threaded = Target {
            free_threaded: true,
            ..target("3.13.1", Arch::Amd64, (2, 36))
        };
        let tags: Vec<String> = threaded.tags().iter().map(Tag::to_string).collect();
        assert_eq!(tags[0], "cp313-cp313t-manylinux_2_36_x86_64");
        assert!(!tags.iter().any(|tag| tag.contains("abi3")));
        assert!(tags.contains(&"cp313-none-any".to_owned()));
    }

    #[test]
    fn versions() {
        assert_eq!(
            "3.11.2".parse::<PythonVersion>().expect("exact").to_string(),
            "3.11.2"
        );
        for bad in ["3.11", "3", "", "3.x.1", "3.11.2.1", "3.11.2-6"] {
            assert!(bad.parse::<PythonVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn markers_see_the_target_and_not_this_machine() {
        let environment = target("3.13.5", Arch::Arm64, (2, 41)).marker_environment();
        for (marker, expected) in [
            ("sys_platform == 'linux' and platform_machine == 'aarch64'", true),
            ("python_version < '3.13'", false),
            ("python_full_version >= '3.13.5'", true),
            ("os_name == 'nt' or platform_system == 'Windows'", false),
            (
                "implementation_name == 'cpython' and platform_python_implementation != 'PyPy'",
                true,
            ),
        ] {
            let tree: pep508_rs::MarkerTree = marker.parse().expect("a marker");
            assert_eq!(tree.evaluate(&environment, &[]), expected, "{marker}");
        }
    }
}
