//! Wheel file names, and the wheel of several that fits a target best.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use pep440_rs::Version;
use pep508_rs::PackageName;

use crate::diagnostic::{Diagnostic, Problem};
use crate::pinned::{Artifact, ArtifactKind, Pinned};
use crate::target::{Libc, Tag, TagRanks, Target};

/// A wheel's file name, taken apart (PEP 427, "File name convention").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelName {
    /// The distribution, normalised.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The build tag: a number and the rest; the higher one wins between equals.
    pub build: Option<(u64, String)>,
    /// The interpreters, `py2.py3` as two.
    pub pythons: Vec<String>,
    /// The binary interfaces.
    pub abis: Vec<String>,
    /// The platforms.
    pub platforms: Vec<String>,
}

/// A file name that is no wheel's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelNameError {
    filename: String,
    reason: &'static str,
}

impl fmt::Display for WheelNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a wheel's file name: {}",
            self.filename, self.reason
        )
    }
}

impl std::error::Error for WheelNameError {}

/// Why a target refuses a wheel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Made for another C library: musl instead of glibc, or the other way round.
    OtherLibc,
    /// Asks for a newer C library than the base has.
    NewerLibc,
    /// Made for another processor.
    OtherArchitecture,
    /// Made for the free-threaded Python.
    FreeThreaded,
    /// Made for another minor version of Python.
    OtherPython,
    /// Made for PyPy or another interpreter.
    OtherInterpreter,
    /// Made for macOS, Windows or another system.
    OtherSystem,
    /// None of these.
    Other,
}

impl WheelName {
    /// Takes a file name apart.
    pub fn parse(filename: &str) -> Result<WheelName, WheelNameError> {
        let fail = |reason| WheelNameError {
            filename: filename.to_owned(),
            reason,
        };
        let stem = filename
            .strip_suffix(".whl")
            .ok_or_else(|| fail("it does not end in .whl"))?;
        let parts: Vec<&str> = stem.split('-').collect();
        let (name, version, build, tags) = match parts[..] {
            [name, version, python, abi, platform] => (name, version, None, [python, abi, platform]),
            [name, version, build, python, abi, platform] => {
                (name, version, Some(build), [python, abi, platform])
            }
            _ => return Err(fail("it has not five or six parts between dashes")),
        };
        let build = match build {
            None => None,
            Some(text) => {
                let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
                let number = text[..digits]
                    .parse()
                    .map_err(|_| fail("its build tag does not begin with a number"))?;
                Some((number, text[digits..].to_owned()))
            }
        };
        let split = |text: &str| -> Result<Vec<String>, WheelNameError> {
            let parts: Vec<String> = text.split('.').map(str::to_ascii_lowercase).collect();
            if parts.iter().any(String::is_empty) {
                return Err(fail("a tag is empty"));
            }
            Ok(parts)
        };
        Ok(WheelName {
            name: PackageName::from_str(name).map_err(|_| fail("its name is not valid"))?,
            // Dashes of a version are written as `_` (PEP 427, "Escaping and Unicode").
            version: Version::from_str(&version.replace('_', "-"))
                .or_else(|_| Version::from_str(&version.replace('_', "+")))
                .map_err(|_| fail("its version is not valid"))?,
            build,
            pythons: split(tags[0])?,
            abis: split(tags[1])?,
            platforms: split(tags[2])?,
        })
    }

    /// All tags that the name stands for.
    pub fn tags(&self) -> impl Iterator<Item = Tag> + '_ {
        self.pythons.iter().flat_map(move |python| {
            self.abis.iter().flat_map(move |abi| {
                self.platforms.iter().map(move |platform| Tag {
                    python: python.clone(),
                    abi: abi.clone(),
                    platform: platform.clone(),
                })
            })
        })
    }

    /// The best rank that a target gives to one of the tags.
    pub fn rank(&self, ranks: &TagRanks) -> Option<usize> {
        self.tags().filter_map(|tag| ranks.rank(&tag)).min()
    }

    /// Says why a target refuses this wheel; `None` if it doesn't.
    pub fn refusal(&self, target: &Target) -> Option<Refusal> {
        if self.rank(&target.tag_ranks()).is_some() {
            return None;
        }
        let machine = target.arch.machine();
        let any = |test: &dyn Fn(&str) -> bool| self.platforms.iter().any(|platform| test(platform));
        let linux =
            |p: &str| p.starts_with("manylinux") || p.starts_with("linux_") || p.starts_with("musllinux");
        if !any(&|p| p == "any" || linux(p)) {
            return Some(Refusal::OtherSystem);
        }
        if !any(&|p| p == "any" || (linux(p) && p.ends_with(machine))) {
            return Some(Refusal::OtherArchitecture);
        }
        let foreign = match target.libc {
            Libc::Glibc(..) => "musllinux",
            Libc::Musl(..) => "manylinux",
        };
        if !any(&|p| p == "any" || !p.starts_with(foreign)) {
            return Some(Refusal::OtherLibc);
        }
        if self
            .pythons
            .iter()
            .all(|p| !p.starts_with("cp") && !p.starts_with("py"))
        {
            return Some(Refusal::OtherInterpreter);
        }
        let threaded = |abi: &String| abi.starts_with("cp") && abi.ends_with('t');
        if !target.free_threaded && self.abis.iter().all(threaded) {
            return Some(Refusal::FreeThreaded);
        }
        let ranks = target.tag_ranks();
        let python_fits = self.pythons.iter().any(|python| {
            self.abis.iter().any(|abi| {
                let on = |platform: &str| {
                    ranks
                        .rank(&Tag {
                            python: python.clone(),
                            abi: abi.clone(),
                            platform: platform.to_owned(),
                        })
                        .is_some()
                };
                on("any") || on(&format!("linux_{machine}"))
            })
        });
        if !python_fits {
            return Some(Refusal::OtherPython);
        }
        let native = match target.libc {
            Libc::Glibc(..) => "manylinux_",
            Libc::Musl(..) => "musllinux_",
        };
        if any(&|p| p.starts_with(native) && p.ends_with(machine)) {
            return Some(Refusal::NewerLibc);
        }
        Some(Refusal::Other)
    }
}

/// Finds the wheel that fits best: the best tag, then the highest build tag, then the file name.
///
/// Returns its place in `filenames`. Names that are no wheels are passed over.
pub fn best_wheel<'a>(filenames: impl IntoIterator<Item = &'a str>, ranks: &TagRanks) -> Option<usize> {
    filenames
        .into_iter()
        .enumerate()
        .filter_map(|(place, filename)| {
            let name = WheelName::parse(filename).ok()?;
            let rank = name.rank(ranks)?;
            Some((rank, std::cmp::Reverse(name.build), filename, place))
        })
        .min()
        .map(|(.., place)| place)
}

/// What a target takes of a pinned package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// A wheel that fits.
    Wheel(&'a Artifact),
    /// No wheel fits, and a source distribution is there to build.
    Sdist(&'a Artifact),
    /// A directory or repository: to be built, or part of the project.
    Source,
}

/// Chooses the file of a package for a target.
///
/// Fails with the list of what exists where neither a wheel fits nor a source distribution is there. A caller that
/// can't build turns `Choice::Sdist` into the same error by [`no_wheel`].
pub fn choose<'a>(package: &'a Pinned, target: &Target, ranks: &TagRanks) -> Result<Choice<'a>, Diagnostic> {
    let wheels: Vec<&Artifact> = package
        .artifacts
        .iter()
        .filter(|artifact| artifact.kind == ArtifactKind::Wheel)
        .collect();
    if let Some(place) = best_wheel(wheels.iter().map(|wheel| wheel.filename.as_str()), ranks) {
        return Ok(Choice::Wheel(wheels[place]));
    }
    if let Some(sdist) = package
        .artifacts
        .iter()
        .find(|artifact| artifact.kind == ArtifactKind::Sdist)
    {
        return Ok(Choice::Sdist(sdist));
    }
    if wheels.is_empty() && package.direct.is_some() {
        return Ok(Choice::Source);
    }
    Err(no_wheel(package, target))
}

/// The error for a package without a wheel for the target: lists what exists and why each is refused.
pub fn no_wheel(package: &Pinned, target: &Target) -> Diagnostic {
    let mut refused: BTreeMap<Refusal, Vec<String>> = BTreeMap::new();
    let mut sdist = None;
    for artifact in &package.artifacts {
        match artifact.kind {
            ArtifactKind::Sdist => sdist = Some(&artifact.filename),
            ArtifactKind::Wheel => {
                let why = WheelName::parse(&artifact.filename)
                    .ok()
                    .and_then(|name| name.refusal(target))
                    .unwrap_or(Refusal::Other);
                refused.entry(why).or_default().push(artifact.filename.clone());
            }
        }
    }
    let mut error = Diagnostic::new(
        Problem::NoWheel,
        format!("no wheel of {} fits {target}", package.title()),
    );
    for (why, mut names) in refused {
        names.sort();
        let reason = match why {
            Refusal::OtherLibc => match target.libc {
                Libc::Glibc(..) => "for musl, and the base has glibc".to_owned(),
                Libc::Musl(..) => "for glibc, and the base has musl".to_owned(),
            },
            Refusal::NewerLibc => format!(
                "for a newer {} than {}",
                target.libc.name(),
                target
                    .libc
                    .to_string()
                    .trim_start_matches(|c: char| !c.is_ascii_digit())
            ),
            Refusal::OtherArchitecture => format!("for another processor than {}", target.arch.machine()),
            Refusal::FreeThreaded => "for the free-threaded Python".to_owned(),
            Refusal::OtherPython => format!("for another Python than {}", target.python.minor_text()),
            Refusal::OtherInterpreter => "for another interpreter than CPython".to_owned(),
            Refusal::OtherSystem => "for another system than Linux".to_owned(),
            Refusal::Other => "not accepted".to_owned(),
        };
        // A long list helps nobody.
        let shown = 4;
        let more = names.len().saturating_sub(shown);
        names.truncate(shown);
        let mut line = format!("{reason}: {}", names.join(", "));
        if more > 0 {
            line.push_str(&format!(" and {more} more"));
        }
        error = error.note(line);
    }
    if package.artifacts.is_empty() {
        error = error.note("the lock names no file of it at all");
    }
    match sdist {
        Some(sdist) => {
            error.note(format!("a source distribution exists: {sdist}")).help(
                "choose another Python with --python, another version of the package, or build the source distribution into a wheel",
            )
        }
        None => error.help("choose another Python with --python, or another version of the package"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coil_oci::Arch;

    fn target() -> Target {
        Target {
            python: "3.11.2".parse().expect("version"),
            arch: Arch::Amd64,
            libc: Libc::Glibc(2, 36),
            free_threaded: false,
        }
    }

    #[test]
    fn names_are_taken_apart() {
        let name =
            WheelName::parse("Foo_Bar-1.0_2-3b-py2.py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.whl");
        let name = name.expect("valid");
        assert_eq!(name.name.to_string(), "foo-bar");
        assert_eq!(name.build, Some((3, "b".to_owned())));
        assert_eq!(name.tags().count(), 4);
        for bad in [
            "x.whl",
            "a-1-py3-none.whl",
            "a-1-py3-none-any.zip",
            "a-x!-py3-none-any.whl",
            "a-1-b-py3-none-any.whl",
            "a-1-py3..py2-none-any.whl",
        ] {
            assert!(WheelName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            WheelName::parse("torch-2.1.0_cpu-cp311-cp311-linux_x86_64.whl")
                .expect("valid")
                .version
                .to_string(),
            "2.1.0+cpu"
        );
        assert_eq!(
            WheelName::parse("torch-2.1.0+cpu-cp311-cp311-linux_x86_64.whl")
                .expect("valid")
                .version
                .to_string(),
            "2.1.0+cpu"
        );
    }

    #[test]
    fn the_best_wheel_wins() {
        let ranks = target().tag_ranks();
        for (names, best) in [
            (
                vec![
                    "a-1-py3-none-any.whl",
                    "a-1-cp311-cp311-manylinux_2_17_x86_64.whl",
                ],
                Some(1),
            ),
            (
                vec![
                    "a-1-cp311-cp311-manylinux2014_x86_64.whl",
                    "a-1-cp311-cp311-manylinux_2_28_x86_64.whl",
                ],
                Some(1),
            ),
            (
                vec![
                    "a-1-cp39-abi3-manylinux_2_17_x86_64.whl",
                    "a-1-cp310-abi3-manylinux_2_17_x86_64.whl",
                ],
                Some(1),
            ),
            (
                vec![
                    "a-1-1-py3-none-any.whl",
                    "a-1-2-py3-none-any.whl",
                    "a-1-py3-none-any.whl",
                ],
                Some(1),
            ),
            (
                vec![
                    "a-1-cp312-cp312-manylinux_2_17_x86_64.whl",
                    "a-1-cp311-cp311-musllinux_1_2_x86_64.whl",
                ],
                None,
            ),
            (
                vec![
                    "a-1-cp311-cp311-manylinux_2_39_x86_64.whl",
                    "a-1-cp311-cp311-linux_x86_64.whl",
                ],
                Some(1),
            ),
            (vec!["nonsense", "a-1-py2.py3-none-any.whl"], Some(1)),
        ] {
            assert_eq!(best_wheel(names.iter().copied(), &ranks), best, "{names:?}");
        }
    }

    #[test]
    fn refusals_say_why() {
        for (name, why) in [
            (
                "a-1-cp311-cp311-musllinux_1_2_x86_64.whl",
                Some(Refusal::OtherLibc),
            ),
            (
                "a-1-cp311-cp311-manylinux_2_17_aarch64.whl",
                Some(Refusal::OtherArchitecture),
            ),
            (
                "a-1-cp312-cp312-manylinux_2_17_x86_64.whl",
                Some(Refusal::OtherPython),
            ),
            (
                "a-1-cp313-abi3-manylinux_2_17_x86_64.whl",
                Some(Refusal::OtherPython),
            ),
            (
                "a-1-cp311-cp311-manylinux_2_39_x86_64.whl",
                Some(Refusal::NewerLibc),
            ),
            (
                "a-1-cp313-cp313t-manylinux_2_17_x86_64.whl",
                Some(Refusal::FreeThreaded),
            ),
            (
                "a-1-pp311-pypy311_pp73-manylinux_2_17_x86_64.whl",
                Some(Refusal::OtherInterpreter),
            ),
            ("a-1-cp311-cp311-win_amd64.whl", Some(Refusal::OtherSystem)),
            (
                "a-1-cp311-cp311-macosx_11_0_arm64.whl",
                Some(Refusal::OtherSystem),
            ),
            ("a-1-py2-none-any.whl", Some(Refusal::OtherPython)),
            ("a-1-py3-none-any.whl", None),
        ] {
            assert_eq!(
                WheelName::parse(name).expect(name).refusal(&target()),
                why,
                "{name}"
            );
        }
    }

    #[test]
    fn the_error_lists_what_exists() {
        let mut package = Pinned::new("demo", "1.0");
        for name in [
            "demo-1.0-cp311-cp311-musllinux_1_2_x86_64.whl",
            "demo-1.0-cp313-cp313-manylinux_2_17_x86_64.whl",
            "demo-1.0-cp311-cp311-win_amd64.whl",
            "demo-1.0-cp312-cp312-win_amd64.whl",
        ] {
            package.artifacts.push(Artifact::wheel(name));
        }
        let target = target();
        let error = choose(&package, &target, &target.tag_ranks()).expect_err("nothing fits");
        assert_eq!(
            error.to_string(),
            "error: no wheel of demo 1.0 fits Python 3.11 on linux/amd64 (glibc 2.36)\n\
             note: for musl, and the base has glibc: demo-1.0-cp311-cp311-musllinux_1_2_x86_64.whl\n\
             note: for another Python than 3.11: demo-1.0-cp313-cp313-manylinux_2_17_x86_64.whl\n\
             note: for another system than Linux: demo-1.0-cp311-cp311-win_amd64.whl, demo-1.0-cp312-cp312-win_amd64.whl\n\
             help: choose another Python with --python, or another version of the package"
        );
    }
}
