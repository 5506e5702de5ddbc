//! The packages of one platform: which file each is taken from, and the layers that they become.

use std::collections::BTreeMap;
use std::path::Path;

use coil_oci::Digest;
use coil_plan::LayerKind;
use coil_python::{
    Artifact, ArtifactKind, Choice, Diagnostic, Direct, Pinned, Problem, Target, choose, without_credentials,
};
use coil_wheel::download::{DownloadOptions, FetchedWheel, WheelRequest, download};
use coil_wheel::environment::Environment;
use coil_wheel::filename::DistributionName;
use coil_wheel::grouping;
use coil_wheel::index::{FileHash, IndexClient};
use coil_wheel::layer::{LayerBlob, LayerOptions, WheelFile, build_layers_before};
use serde_json::json;

use crate::base::Base;
use crate::error::PackError;
use crate::formats::Formats;
use crate::hash_pins;
use crate::layer_writer::Layer;
use crate::planning::PlannedLayer;
use crate::request::Packer;
use crate::wheel_binaries::BinaryReader;

const CONNECTIONS: usize = 8;

/// Where the packages of a platform come from.
#[derive(Debug, Default)]
pub(crate) struct PackageSources {
    /// Wheels that are fetched.
    pub(crate) wheels: Vec<WheelRequest>,
    /// Packages of which a wheel must be built.
    pub(crate) builds: Vec<(Pinned, BuildSource)>,
    /// Packages of which only files with certain hashes may be taken, by their wheel's file name.
    hashed: BTreeMap<String, Pinned>,
}

/// What a wheel is built from.
#[derive(Debug, Clone)]
pub(crate) enum BuildSource {
    /// A source distribution.
    Archive(Artifact),
    /// A source tree or a repository, as the package's direct reference says.
    Tree,
}

impl Packer<'_> {
    /// The packages with their files: those of which a lock knows hashes alone are looked up, and so are the sources of those
    /// that are to be built.
    pub(crate) fn with_files(
        &self,
        selected: &[Pinned],
        formats: &Formats,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Pinned>, PackError> {
        let client = IndexClient::new(self.store, self.fetcher, self.index);
        let mut filled = selected.to_vec();
        for package in filled
            .iter_mut()
            .filter(|p| p.artifacts.is_empty() && p.direct.is_none())
        {
            let version = package
                .version
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let found = client
                .version_at(package.name.as_ref(), &version, package.index.as_deref())
                .map_err(|error| PackError::Index(Box::new(error)))?;
            let allowed = |digest: &Option<Digest>| {
                package.hashes.is_empty()
                    || digest
                        .as_ref()
                        .is_none_or(|digest| package.hashes.contains(digest))
            };
            let files = found.files.into_iter().filter(|file| allowed(&file.sha256));
            package.artifacts = files
                .map(|file| Artifact {
                    url: Some(file.url),
                    sha256: file.sha256,
                    size: file.size,
                    other_hash: file.hashes.first().map(ToString::to_string),
                    ..Artifact::named(&file.filename)
                })
                .collect();
            if package.artifacts.is_empty() && !package.hashes.is_empty() {
                let hashes: Vec<String> = package.hashes.iter().map(ToString::to_string).collect();
                let message = format!(
                    "no file of {} on the index has a hash that the lock allows",
                    package.title()
                );
                let error = Diagnostic::new(Problem::LockOutOfDate, message)
                    .note(format!("the lock allows {}", hashes.join(", ")))
                    .help("lock again, if the change was meant");
                return Err(error.into());
            }
        }
        notes.extend(client.notes());
        self.add_sources(&mut filled, formats)?;
        Ok(filled)
    }

    /// Looks up the source distributions of packages that are to be built, where only wheels are known: uv tells no others.
    pub(crate) fn add_sources(&self, packages: &mut [Pinned], formats: &Formats) -> Result<(), PackError> {
        let client = IndexClient::new(self.store, self.fetcher, self.index);
        let is_source = |artifact: &Artifact| artifact.kind == ArtifactKind::Sdist;
        for package in packages {
            let forced = package.direct.is_none() && formats.builds(package.name.as_ref());
            let Some(version) = package.version.as_ref().filter(|_| forced) else {
                continue;
            };
            if package.artifacts.iter().any(is_source) {
                continue;
            }
            let found = client
                .version_at(
                    package.name.as_ref(),
                    &version.to_string(),
                    package.index.as_deref(),
                )
                .map_err(|error| PackError::Index(Box::new(error)))?;
            let mut sources: Vec<Artifact> = found
                .files
                .into_iter()
                .map(|file| Artifact {
                    url: Some(file.url),
                    sha256: file.sha256,
                    size: file.size,
                    ..Artifact::named(&file.filename)
                })
                .filter(is_source)
                .collect();
            // The usual format first, as installers have it.
            sources.sort_by_key(|source| !source.filename.ends_with(".tar.gz"));
            let fits = |digest: &Digest| package.hashes.is_empty() || package.hashes.contains(digest);
            sources.retain(|source| source.sha256.as_ref().is_none_or(fits));
            let source = sources.into_iter().next().ok_or_else(|| PackError::Setting {
                message: format!(
                    "{} is to be built, and has no source distribution that may be taken",
                    package.title()
                ),
                help: Some(
                    "leave it out of --no-binary (or no-binary of [tool.uv]), or choose another version"
                        .into(),
                ),
            })?;
            package.artifacts.push(source);
        }
        Ok(())
    }

    pub(crate) fn fetch(&self, sources: &PackageSources) -> Result<Vec<FetchedWheel>, PackError> {
        let wanted = &sources.wheels;
        let client = IndexClient::new(self.store, self.fetcher, self.index);
        let options = DownloadOptions {
            threads: CONNECTIONS,
            verify: false,
        };
        let fetched = download(self.store, self.fetcher, &client, wanted, options, self.progress)
            .map_err(|error| PackError::Download(Box::new(error)))?;
        client.notes().iter().for_each(|note| self.progress.note(note));
        for wheel in &fetched {
            if let Some(package) = sources.hashed.get(&wheel.filename) {
                hash_pins::check(package, &wheel.filename, &wheel.sha256)?;
            }
        }
        Ok(fetched)
    }

    pub(crate) fn package_layers(
        &self,
        fetched: &[FetchedWheel],
        base: &Base,
        environment: &Environment,
        (epoch, direct_urls): (u64, &BTreeMap<String, String>),
        reader: &BinaryReader<'_>,
    ) -> Result<Vec<LayerBlob>, PackError> {
        let sizes: Vec<(String, u64)> = fetched
            .iter()
            .map(|wheel| {
                (
                    wheel
                        .filename
                        .split('-')
                        .next()
                        .unwrap_or_default()
                        .to_ascii_lowercase(),
                    wheel.size,
                )
            })
            .collect();
        let groups: Vec<Vec<WheelFile>> = grouping::group(&sizes)
            .into_iter()
            .map(|group| {
                let wheels = group.into_iter().map(|at| wheel_file(&fetched[at], direct_urls));
                wheels.collect()
            })
            .collect();
        let build = |interpreter| {
            let options = LayerOptions {
                environment: environment.clone(),
                interpreter,
                epoch,
                threads: self.threads,
            };
            build_layers_before(self.store, &groups, &options, self.progress, reader)
                .map_err(|error| PackError::Layer(Box::new(error)))
        };
        match &base.compiler {
            Some(compiler) => self.with_interpreter(compiler, |interpreter| build(Some(interpreter()?))),
            None => build(None),
        }
    }
}

fn wheel_file(fetched: &FetchedWheel, direct_urls: &BTreeMap<String, String>) -> WheelFile {
    let name = DistributionName::wheel(&fetched.filename).map(|name| name.name);
    WheelFile {
        path: fetched.path.clone(),
        filename: fetched.filename.clone(),
        sha256: fetched.sha256.clone(),
        direct_url: name.and_then(|name| direct_urls.get(&name).cloned()),
    }
}

pub(crate) fn package_layer(made: LayerBlob) -> PlannedLayer {
    let packages: Vec<String> = made
        .packages
        .iter()
        .map(|package| format!("{} {}", package.name, package.version))
        .collect();
    PlannedLayer {
        kind: LayerKind::Packages.to_string(),
        layer: Layer {
            digest: made.digest,
            size: made.size,
            diff_id: made.diff_id,
            unpacked: made.uncompressed_size,
        },
        created_by: format!("packages {}", packages.join(", ")),
        packages,
    }
}

/// `direct_url.json` of each package that doesn't come from an index, by its normalised name (PEP 610).
///
/// A folder of this machine is named as it is in the image: the same project is the same image wherever it is packed.
pub(crate) fn direct_urls(selected: &[Pinned]) -> BTreeMap<String, String> {
    let text = |package: &Pinned| -> Option<String> {
        let with_subdirectory = |mut value: serde_json::Value, subdirectory: &Option<String>| {
            if let Some(subdirectory) = subdirectory {
                value["subdirectory"] = subdirectory.clone().into();
            }
            value
        };
        let value = match package.direct.as_ref()? {
            Direct::Url { url, subdirectory } => {
                let hash = package
                    .artifacts
                    .iter()
                    .find_map(|artifact| artifact.sha256.as_ref());
                let info = match hash {
                    Some(hash) => {
                        json!({"hash": format!("sha256={}", hash.hex()), "hashes": {"sha256": hash.hex()}})
                    }
                    None => json!({}),
                };
                let value = json!({"url": without_credentials(url), "archive_info": info});
                with_subdirectory(value, subdirectory)
            }
            Direct::Git {
                url,
                commit,
                requested,
                subdirectory,
            } => {
                let mut info = json!({"vcs": "git", "commit_id": commit});
                if let Some(requested) = requested {
                    info["requested_revision"] = requested.clone().into();
                }
                let plain = without_credentials(url);
                let plain = plain.strip_prefix("git+").unwrap_or(&plain);
                with_subdirectory(json!({"url": plain, "vcs_info": info}), subdirectory)
            }
            Direct::Path { path } => json!({"url": in_image(path), "archive_info": {}}),
            Direct::Directory { path, .. } => json!({"url": in_image(path), "dir_info": {}}),
        };
        Some(value.to_string())
    };
    selected
        .iter()
        .filter_map(|package| Some((package.name.to_string(), text(package)?)))
        .collect()
}

fn in_image(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
    format!(
        "file:///{}/{}",
        crate::app_layer::APP_FOLDER,
        parts.collect::<Vec<_>>().join("/")
    )
}

/// A member of a workspace that is no package itself: only what it depends on is installed.
fn is_virtual(package: &Pinned) -> bool {
    matches!(&package.direct, Some(Direct::Directory { is_virtual: true, .. }))
}

/// The wheel of each package, or the source that one is built from.
pub(crate) fn sources_of(
    selected: &[Pinned],
    target: &Target,
    lock_dir: &Path,
    formats: &Formats,
) -> Result<PackageSources, PackError> {
    let ranks = target.tag_ranks();
    let mut sources = PackageSources::default();
    for package in selected {
        if is_virtual(package) {
            continue;
        }
        let forced = formats.builds(package.name.as_ref());
        let sdist = package
            .artifacts
            .iter()
            .find(|artifact| artifact.kind == ArtifactKind::Sdist);
        if let (true, Some(artifact)) = (forced, sdist) {
            let source = BuildSource::Archive(artifact.clone());
            sources.builds.push((package.clone(), source));
            continue;
        }
        let artifact = match choose(package, target, &ranks)? {
            Choice::Wheel(artifact) => artifact,
            Choice::Sdist(artifact) => {
                formats.may_build(package.name.as_ref())?;
                let source = BuildSource::Archive(artifact.clone());
                sources.builds.push((package.clone(), source));
                continue;
            }
            Choice::Source => {
                sources.builds.push((package.clone(), BuildSource::Tree));
                continue;
            }
        };
        if !package.hashes.is_empty() {
            let known = package.clone();
            sources.hashed.insert(artifact.filename.clone(), known);
        }
        let local = artifact
            .path
            .as_ref()
            .map(|path| lock_dir.join(path).display().to_string());
        sources.wheels.push(WheelRequest {
            name: package.name.to_string(),
            version: package
                .version
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            filename: artifact.filename.clone(),
            url: artifact.url.clone().or(local),
            sha256: artifact.sha256.clone(),
            size: artifact.size,
            hashes: artifact
                .other_hash
                .as_deref()
                .and_then(FileHash::parse)
                .into_iter()
                .collect(),
            index: package.index.clone(),
        });
    }
    Ok(sources)
}
