//! Resolution where a package has no wheel to read its requirements from: it is built first, and offered to uv.

use std::collections::BTreeMap;
use std::fs;
use std::str::FromStr;

use coil_oci::Digest;
use coil_python::uv_settings::UvResolution;
use coil_python::{
    Artifact, ArtifactKind, PackageName, Pinned, Pylock, Target, Version, VersionOrUrl, VersionSpecifiers,
    WheelName, parse_requirement,
};
use coil_wheel::bytecode::Interpreter;
use coil_wheel::download::FetchedWheel;
use coil_wheel::filename::DistributionName;
use coil_wheel::index::IndexClient;
use coil_wheel::resolve::{ResolveError, ResolveRequest, find_uv, resolve};

use crate::error::PackError;
use crate::hash_pins::{hashes_of, refusal, without_hashes};
use crate::package_layers::BuildSource;
use crate::source_build::Builder;

/// How many packages a resolution may have to build.
const MOST: usize = 24;
/// How uv tells of a package that has no wheel.
const HINT: &str = "Wheels are required for `";

impl Builder<'_> {
    /// Resolves; what fails for want of a wheel is built and offered, and it is tried again.
    ///
    /// What the lines name by its place is built before. `attempt` resolves lines with these folders of wheels besides.
    pub(crate) fn resolving(
        &self,
        asked: &Asked<'_>,
        stack: &mut Vec<String>,
        attempt: &Attempt<'_>,
    ) -> Result<Vec<Pinned>, PackError> {
        let mut built: BTreeMap<PackageName, (Pinned, FetchedWheel)> = BTreeMap::new();
        let offered = Offered::new(self)?;
        let direct = self.direct_lines(asked.requirements, &offered, stack)?;
        let requirements = direct.lines.as_slice();
        let text: String = requirements.iter().map(|line| format!("{line}\n")).collect();
        let mut places: Vec<String> = Vec::new();
        loop {
            let error = match attempt(&places, &text) {
                Ok(found) => {
                    let found = found.into_iter().map(|package| as_source(package, &built));
                    return Ok(found.map(|package| direct.restore(package)).collect());
                }
                Err(error) => error,
            };
            let PackError::Uv(uv) = &error else {
                return Err(error);
            };
            let ResolveError::Failed { words } = uv.as_ref() else {
                return Err(error);
            };
            let mut progress = false;
            for name in named(words) {
                if built.contains_key(&name) || built.len() >= MOST {
                    continue;
                }
                self.parts.build.formats.may_build(name.as_ref())?;
                let lines: Vec<&str> = asked.lines().collect();
                let Some(package) = self.newest_source(&name, &lines, words)? else {
                    continue;
                };
                let Some(artifact) = package.artifacts.first().cloned() else {
                    continue;
                };
                let wheel = self.wheel(&package, &BuildSource::Archive(artifact), stack)?;
                offered.add(&wheel)?;
                places = vec![offered.place()];
                built.insert(name, (package, wheel));
                progress = true;
            }
            if !progress {
                return Err(error);
            }
        }
    }

    /// The exact packages that a back end's requirements come to.
    pub(crate) fn resolve_requirements(
        &self,
        requires: &[String],
        target: &Target,
        stack: &mut Vec<String>,
    ) -> Result<Vec<Pinned>, PackError> {
        let packer = self.packer;
        let interpreter = packer.resolving_interpreter(self.request, self.parts.archive, self.parts.base)?;
        let asked = Asked {
            requirements: requires,
            constraints: "",
        };
        self.resolving(&asked, stack, &|places, text| {
            self.uv(text, target, &interpreter, places)
        })
    }

    fn uv(
        &self,
        requirements: &str,
        target: &Target,
        interpreter: &Interpreter,
        places: &[String],
    ) -> Result<Vec<Pinned>, PackError> {
        let packer = self.packer;
        let uv = |error| PackError::Uv(Box::new(error));
        let client = IndexClient::new(packer.store, packer.fetcher, packer.index);
        let program =
            find_uv(packer.store, packer.fetcher, &client, packer.uv, packer.progress).map_err(uv)?;
        let settings = packer.index.with_find_links(places);
        let python = target.python.to_string();
        let directory = packer.store.temp_dir();
        let request = ResolveRequest {
            requirements,
            constraints: "",
            python: &python,
            arch: target.arch,
            libc: target.libc,
            index: &settings,
            uv: &UvResolution::default(),
            options: &[],
            environment: packer.uv_environment,
            directory: &directory,
            offline: packer.fetcher.is_offline(),
        };
        let answer = resolve(packer.store, &program, interpreter, &request).map_err(uv)?;
        let none = (Default::default(), Default::default());
        Ok(Pylock::parse("uv's answer", &answer.lock)?.select(target, &none.0, &none.1)?)
    }

    /// The newest version that fits and has a source but no wheel; none where wheels are not what is missing.
    fn newest_source(
        &self,
        name: &PackageName,
        lines: &[&str],
        words: &str,
    ) -> Result<Option<Pinned>, PackError> {
        let packer = self.packer;
        let target = self.parts.target;
        let client = IndexClient::new(packer.store, packer.fetcher, packer.index);
        let found = client
            .project(name.as_ref())
            .map_err(|error| PackError::Index(Box::new(error)))?;
        let ranks = target.tag_ranks();
        let python = target.python.to_pep440();
        let (direct, hashes) = told_by(name, lines);
        let mut refused = false;
        let mut versions: BTreeMap<Version, (Option<Artifact>, bool)> = BTreeMap::new();
        for file in found.files.iter().filter(|file| file.yanked.is_none()) {
            let fits = file
                .requires_python
                .as_deref()
                .and_then(|text| VersionSpecifiers::from_str(text).ok())
                .is_none_or(|wanted| wanted.contains(&python));
            if !fits {
                continue;
            }
            let artifact = Artifact {
                url: Some(file.url.clone()),
                sha256: file.sha256.clone(),
                size: file.size,
                ..Artifact::named(&file.filename)
            };
            let told = match artifact.kind {
                ArtifactKind::Wheel => DistributionName::wheel(&file.filename),
                ArtifactKind::Sdist => DistributionName::source(&file.filename, name.as_ref()),
            };
            let Some(version) = told.and_then(|told| Version::from_str(&told.version).ok()) else {
                continue;
            };
            let entry = versions.entry(version).or_insert((None, false));
            match artifact.kind {
                ArtifactKind::Wheel => {
                    let fits =
                        WheelName::parse(&file.filename).is_ok_and(|wheel| wheel.rank(&ranks).is_some());
                    entry.1 |= fits;
                }
                // A hash that the index doesn't tell is compared when the file is there.
                ArtifactKind::Sdist
                    if !hashes.is_empty()
                        && file.sha256.as_ref().is_some_and(|hash| !hashes.contains(hash)) =>
                {
                    refused = true;
                }
                // The usual format first, as installers have it.
                ArtifactKind::Sdist if entry.0.is_none() || file.filename.ends_with(".tar.gz") => {
                    entry.0 = Some(artifact);
                }
                ArtifactKind::Sdist => {}
            }
        }
        let mut all = direct.clone();
        all.extend(told(name, words));
        let newest = |wanted: &[VersionSpecifiers], pre: bool| {
            let usable = |source: &Option<Artifact>| hashes.is_empty() || source.is_some();
            let mut usable = versions.iter().rev().filter(|(_, (source, _))| usable(source));
            usable.find(|(version, _)| {
                (pre || !version.any_prerelease()) && wanted.iter().all(|wanted| wanted.contains(version))
            })
        };
        let best = newest(&all, false)
            .or_else(|| newest(&direct, false))
            .or_else(|| newest(&direct, true));
        if best.is_none() && refused {
            let message = format!("no source distribution of {name} has a hash that the requirements allow");
            return Err(refusal(
                message,
                "write the hashes again, if the change was meant",
            ));
        }
        Ok(match best {
            Some((version, (Some(artifact), false))) => Some(Pinned {
                name: name.clone(),
                version: Some(version.clone()),
                artifacts: vec![artifact.clone()],
                hashes,
                index: None,
                extras: Default::default(),
                direct: None,
            }),
            _ => None,
        })
    }
}

/// What is to be resolved.
pub(crate) struct Asked<'a> {
    /// Lines of requirements.
    pub(crate) requirements: &'a [String],
    /// Lines that only limit versions.
    pub(crate) constraints: &'a str,
}

impl Asked<'_> {
    fn lines(&self) -> impl Iterator<Item = &str> {
        self.requirements
            .iter()
            .map(String::as_str)
            .chain(self.constraints.lines().map(str::trim))
    }
}

/// Resolves lines with folders of wheels besides.
pub(crate) type Attempt<'a> = dyn Fn(&[String], &str) -> Result<Vec<Pinned>, PackError> + 'a;

/// A folder of wheels that uv may take; removed when it is dropped.
pub(crate) struct Offered<'a> {
    builder: &'a Builder<'a>,
    folder: std::path::PathBuf,
}

impl<'a> Offered<'a> {
    fn new(builder: &'a Builder<'a>) -> Result<Offered<'a>, PackError> {
        let doing = || PackError::disk("offering a wheel");
        let folder = builder.packer.store.temp_path().map_err(doing())?;
        fs::create_dir(&folder).map_err(doing())?;
        Ok(Offered { builder, folder })
    }

    fn place(&self) -> String {
        self.folder.display().to_string()
    }

    /// Where a wheel is offered.
    pub(crate) fn path(&self, wheel: &FetchedWheel) -> String {
        self.folder.join(&wheel.filename).display().to_string()
    }

    /// Offers a wheel.
    pub(crate) fn add(&self, wheel: &FetchedWheel) -> Result<(), PackError> {
        let to = self.folder.join(&wheel.filename);
        fs::hard_link(&wheel.path, &to)
            .or_else(|_| fs::copy(&wheel.path, &to).map(|_| ()))
            .map_err(PackError::disk("offering a wheel"))
    }
}

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        let _ = self.builder.packer.store.remove_folder(&self.folder);
    }
}

/// What was taken from our folder is pinned by the source that it was built from.
fn as_source(mut package: Pinned, built: &BTreeMap<PackageName, (Pinned, FetchedWheel)>) -> Pinned {
    if let Some((source, wheel)) = built.get(&package.name) {
        let ours = package
            .artifacts
            .iter()
            .any(|artifact| artifact.filename == wheel.filename);
        if ours && package.version == source.version {
            package.artifacts.clone_from(&source.artifacts);
            package.index = None;
            package.direct = None;
        }
    }
    package
}

/// Whether uv found no answer for want of a wheel.
pub(crate) fn needs_build(error: &PackError) -> bool {
    let PackError::Uv(uv) = error else { return false };
    matches!(uv.as_ref(), ResolveError::Failed { words } if !named(words).is_empty())
}

/// The packages of which uv says that they have no wheel.
fn named(words: &str) -> Vec<PackageName> {
    let mut names = Vec::new();
    // Line ends may stand anywhere in uv's sentences.
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in words.split(HINT).skip(1) {
        let name = part
            .split('`')
            .next()
            .and_then(|name| PackageName::from_str(name).ok());
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

/// What the requirements and constraints themselves say of a package's version, and the hashes that they allow.
fn told_by(name: &PackageName, lines: &[&str]) -> (Vec<VersionSpecifiers>, Vec<Digest>) {
    let (mut versions, mut hashes) = (Vec::new(), Vec::new());
    for line in lines {
        let Ok(requirement) = parse_requirement(without_hashes(line)) else {
            continue;
        };
        if requirement.name == *name {
            if let Some(VersionOrUrl::VersionSpecifier(wanted)) = requirement.version_or_url {
                versions.push(wanted);
            }
            hashes.extend(hashes_of(line));
        }
    }
    (versions, hashes)
}

/// What uv says that others ask of a package's version: `depends on NAME>=1,<2`.
fn told(name: &PackageName, words: &str) -> Vec<VersionSpecifiers> {
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    words
        .split("depends on ")
        .skip(1)
        .filter_map(|part| {
            let text = part.split([' ', '(']).next()?.trim_end_matches([',', '.']);
            let text = text.strip_prefix(name.as_ref())?;
            VersionSpecifiers::from_str(text).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "No solution found\n  cause: Because mysqlclient>=2.2.0 has no usable wheels and flask-mysqldb>=2.0.0 \
        depends on\n mysqlclient>=2.2.0, we can conclude that all versions of flask-mysqldb cannot be used.\n\nhint: Wheels are \
        required for `flask-mysqldb` because building from source is disabled\n\nhint: Wheels are required for\n `mysqlclient` because";

    #[test]
    fn uvs_words_tell_what_must_be_built() {
        let names: Vec<String> = named(WORDS).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["flask-mysqldb", "mysqlclient"]);
        let name = PackageName::from_str("mysqlclient").unwrap();
        let told = told(&name, WORDS);
        assert_eq!(
            told.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [">=2.2.0"]
        );
        let hash = format!("sha256:{}", "1".repeat(64));
        let line = format!("mysqlclient<2 ; python_version > '3' --hash={hash}");
        let (versions, hashes) = told_by(&name, &[&line, "other==1"]);
        assert_eq!((versions.len(), hashes.len()), (1, 1));
    }
}
