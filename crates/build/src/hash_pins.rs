//! Hashes that requirements tell: what is resolved from them must have one of these, whatever index or place it comes from.
//!
//! uv resolves without looking at hashes, so they are held afterwards: a package's files that have another hash are left out,
//! and a file whose hash nobody tells is compared when it is there.

use std::str::FromStr;

use coil_oci::Digest;
use coil_python::{
    Diagnostic, Direct, MarkerTree, PackageName, Pinned, Problem, ResolutionInput, Target, parse_marker,
    parse_requirement,
};
use coil_wheel::filename::DistributionName;

use crate::error::PackError;
use crate::source_build_source::title;

/// How a requirement's line tells a hash.
const OPTION: &str = " --hash=";

/// The hashes of a project's requirements and constraints.
#[derive(Debug)]
pub(crate) struct HashPins {
    pins: Vec<Pin>,
    found_in: String,
    /// `--require-hashes`: nothing is taken that has none.
    all: bool,
}

#[derive(Debug)]
struct Pin {
    what: What,
    marker: MarkerTree,
    digests: Vec<Digest>,
}

#[derive(Debug)]
enum What {
    Name(PackageName),
    /// A file's path or address, without a fragment.
    Place(String),
}

/// The hashes that a line tells, by `--hash` and by an address's fragment.
pub(crate) fn hashes_of(line: &str) -> Vec<Digest> {
    let mut parts = line.split(OPTION);
    let what = parts.next().unwrap_or_default();
    let fragment = what.split_once('#').map_or("", |(_, fragment)| fragment);
    let fragment = fragment.split_whitespace().next().unwrap_or_default();
    let told = fragment
        .split('&')
        .filter_map(|part| part.strip_prefix("sha256="))
        .map(|hash| format!("sha256:{}", hash.to_ascii_lowercase()));
    let mut digests: Vec<Digest> = parts
        .map(|part| part.trim().to_owned())
        .chain(told)
        .filter_map(|hash| Digest::parse(&hash).ok())
        .collect();
    digests.sort();
    digests.dedup();
    digests
}

/// A line without its hashes.
pub(crate) fn without_hashes(line: &str) -> &str {
    line.split(OPTION).next().unwrap_or(line).trim()
}

impl Pin {
    fn read(line: &str) -> Option<Pin> {
        let digests = hashes_of(line);
        if digests.is_empty() {
            return None;
        }
        let text = without_hashes(line);
        if let Ok(requirement) = parse_requirement(text) {
            return Some(Pin {
                what: What::Name(requirement.name),
                marker: requirement.marker,
                digests,
            });
        }
        let (place, marker) = text.split_once(" ; ").unwrap_or((text, ""));
        let place = place.trim_start_matches("-e ").trim();
        let place = place.split('#').next().unwrap_or(place);
        let place = match place.rfind('[') {
            Some(at) if place.ends_with(']') => &place[..at],
            _ => place,
        };
        let file = place.rsplit('/').next().unwrap_or(place);
        // A wheel tells its name, and what comes of it needn't tell its place.
        let named = DistributionName::wheel(file);
        let named = named.and_then(|found| PackageName::from_str(&found.name).ok());
        Some(Pin {
            what: named.map_or_else(|| What::Place(bare(place).to_owned()), What::Name),
            marker: parse_marker(marker.trim()).unwrap_or(MarkerTree::TRUE),
            digests,
        })
    }

    fn is_of(&self, package: &Pinned) -> bool {
        match (&self.what, &package.direct) {
            (What::Name(name), _) => *name == package.name,
            (What::Place(place), Some(Direct::Url { url: found, .. } | Direct::Path { path: found })) => {
                bare(found) == place
            }
            (What::Place(place), Some(Direct::Directory { path, .. })) => {
                bare(path) == place.trim_end_matches('/')
            }
            (What::Place(place), Some(Direct::Git { url, .. })) => place
                .strip_prefix("git+")
                .is_some_and(|place| place.starts_with(url.as_str())),
            (What::Place(_), None) => false,
        }
    }
}

fn bare(place: &str) -> &str {
    place.strip_prefix("file://").unwrap_or(place)
}

impl HashPins {
    /// Reads what a resolution is given.
    pub(crate) fn read(input: &ResolutionInput, found_in: &str) -> HashPins {
        let lines = input.requirements.lines().chain(input.constraints.lines());
        HashPins {
            pins: lines.filter_map(Pin::read).collect(),
            found_in: found_in.to_owned(),
            all: input.index.require_hashes,
        }
    }

    /// Lets packages have only the files that have one of their hashes.
    ///
    /// # Errors
    /// Where no file is left, and where something has no hash that could be held.
    pub(crate) fn hold(&self, packages: &mut [Pinned], target: &Target) -> Result<(), PackError> {
        let environment = target.marker_environment();
        for package in packages {
            for pin in &self.pins {
                if pin.is_of(package) && pin.marker.evaluate(&environment, &[]) {
                    narrow(&mut package.hashes, &pin.digests);
                    if package.hashes.is_empty() {
                        let what = format!("{} allows no hash of {} twice", self.found_in, package.title());
                        return Err(refusal(
                            what,
                            "the same file must be allowed wherever it has hashes",
                        ));
                    }
                }
            }
            self.hold_one(package)?;
        }
        Ok(())
    }

    fn hold_one(&self, package: &mut Pinned) -> Result<(), PackError> {
        let title = package.title();
        let is_tree = matches!(
            &package.direct,
            Some(Direct::Git { .. } | Direct::Directory { .. })
        );
        if package.hashes.is_empty() {
            return match self.all {
                true => Err(refusal(
                    format!(
                        "{} has --require-hashes, and tells none of {title}",
                        self.found_in
                    ),
                    "write the hashes of everything, what others depend on as well: `uv pip compile --generate-hashes` does",
                )),
                false => Ok(()),
            };
        }
        if is_tree {
            return Err(refusal(
                format!(
                    "{} tells a hash of {title}, which is a folder or a repository",
                    self.found_in
                ),
                "only a file has a hash: leave it out, and name a whole commit",
            ));
        }
        let allowed = package.hashes.clone();
        let had_files = !package.artifacts.is_empty();
        let fits = |digest: &Option<Digest>| digest.as_ref().is_none_or(|digest| allowed.contains(digest));
        package.artifacts.retain(|artifact| fits(&artifact.sha256));
        if had_files && package.artifacts.is_empty() {
            return Err(refusal(
                format!("no file of {title} has a hash that {} allows", self.found_in),
                "write the hashes again, if the change was meant",
            ));
        }
        Ok(())
    }
}

/// What both allow; what the second allows where the first says nothing.
fn narrow(hashes: &mut Vec<Digest>, more: &[Digest]) {
    match hashes.is_empty() {
        true => hashes.extend(more.iter().cloned()),
        false => hashes.retain(|digest| more.contains(digest)),
    }
}

pub(crate) fn refusal(message: String, help: &str) -> PackError {
    Diagnostic::new(Problem::Conflict, message).help(help).into()
}

/// Whether a file may be taken for a package.
///
/// # Errors
/// When its hash is none of those that are allowed.
pub(crate) fn check(package: &Pinned, filename: &str, found: &Digest) -> Result<(), PackError> {
    if package.hashes.is_empty() || package.hashes.contains(found) {
        return Ok(());
    }
    let allowed: Vec<String> = package.hashes.iter().map(ToString::to_string).collect();
    let message = format!(
        "{filename} has the hash {found}, which is not allowed for {}",
        title(package)
    );
    let error = Diagnostic::new(Problem::Conflict, message)
        .note(format!("allowed is {}", allowed.join(", ")))
        .help("don't use the file before you know why it differs; write its hash if the change was meant");
    Err(error.into())
}

#[cfg(test)]
mod tests {
    use coil_oci::Arch;
    use coil_python::{Artifact, Libc, PythonVersion};

    use super::*;

    const ONE: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
    const TWO: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

    fn target() -> Target {
        Target {
            python: PythonVersion::new(3, 13, 5),
            arch: Arch::Amd64,
            libc: Libc::Glibc(2, 41),
            free_threaded: false,
        }
    }

    fn held(requirements: &str, package: Pinned) -> Result<Pinned, String> {
        let input = ResolutionInput {
            requirements: requirements.to_owned(),
            ..ResolutionInput::default()
        };
        let mut packages = [package];
        HashPins::read(&input, "requirements.txt")
            .hold(&mut packages, &target())
            .map_err(|error| error.to_string())?;
        let [package] = packages;
        Ok(package)
    }

    fn with_files(hashes: &[&str]) -> Pinned {
        let mut package = Pinned::new("idna", "3.10");
        for (number, hash) in hashes.iter().enumerate() {
            let file = Artifact::wheel(&format!("idna-3.10-{number}-py3-none-any.whl"));
            package.artifacts.push(file.with_hash(Some((*hash).to_owned())));
        }
        package
    }

    #[test]
    fn files_with_other_hashes_are_left_out() {
        let line = |hash: &str| format!("click\nidna==3.10 --hash={hash}\n");
        let one = held(&line(ONE), with_files(&[ONE, TWO])).unwrap();
        assert_eq!((one.artifacts.len(), one.hashes.len()), (1, 1));
        let none = held(&line(ONE), with_files(&[TWO])).unwrap_err();
        assert!(
            none.contains("no file of idna 3.10 has a hash that requirements.txt allows"),
            "{none}"
        );
        let elsewhere = format!("idna ; sys_platform == 'win32' --hash={ONE}\n");
        assert_eq!(held(&elsewhere, with_files(&[TWO])).unwrap().hashes, []);
        let twice = format!("{}{}", line(ONE), line(TWO));
        assert!(
            held(&twice, with_files(&[ONE, TWO]))
                .unwrap_err()
                .contains("twice")
        );
    }

    #[test]
    fn what_comes_by_its_place_is_held_too() {
        let wanted = [Digest::parse(ONE).unwrap()];
        let direct = |direct| Pinned {
            direct: Some(direct),
            ..Pinned::new("idna", "3.10")
        };
        let path = |path: &str| direct(Direct::Path { path: path.into() });
        let url = "https://h.example/idna-3.10.tar.gz";
        for (line, package) in [
            (
                format!("./x/idna-3.10-py3-none-any.whl --hash={ONE}"),
                path("./x/idna-3.10-py3-none-any.whl"),
            ),
            (
                format!("idna @ file:///x/idna.zip#sha256={}", &ONE[7..]),
                path("/x/idna.zip"),
            ),
            (
                format!("./idna.zip[a] ; python_version > '3' --hash={ONE} --hash=sha512:00"),
                path("./idna.zip"),
            ),
            (
                format!("{url}#egg=idna&sha256={}", &ONE[7..]),
                direct(Direct::Url {
                    url: url.into(),
                    subdirectory: None,
                }),
            ),
        ] {
            assert_eq!(held(&line, package).unwrap().hashes, wanted, "{line}");
        }
        let tree = direct(Direct::Directory {
            path: "./idna".into(),
            editable: false,
            is_virtual: false,
        });
        let error = held(&format!("./idna/ --hash={ONE}"), tree).unwrap_err();
        assert!(error.contains("a folder or a repository"), "{error}");
    }

    #[test]
    fn all_hashes_can_be_demanded() {
        let mut input = ResolutionInput {
            requirements: format!("idna --hash={ONE}\n"),
            ..ResolutionInput::default()
        };
        input.index.require_hashes = true;
        let pins = HashPins::read(&input, "requirements.txt");
        pins.hold(&mut [with_files(&[ONE])], &target()).unwrap();
        let other = pins.hold(&mut [Pinned::new("click", "8.1")], &target());
        assert!(other.unwrap_err().to_string().contains("tells none of click 8.1"));
    }

    #[test]
    fn a_file_of_which_nobody_told_the_hash_is_compared() {
        let mut package = Pinned::new("idna", "3.10");
        let found = Digest::parse(TWO).unwrap();
        assert!(check(&package, "a.whl", &found).is_ok());
        package.hashes.push(Digest::parse(ONE).unwrap());
        let error = check(&package, "a.whl", &found).unwrap_err().to_string();
        assert!(
            error.contains("a.whl has the hash sha256:2222") && error.contains("allowed is sha256:1111"),
            "{error}"
        );
    }
}
