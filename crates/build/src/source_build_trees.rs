//! The folders that a build from source stands on: its root file system, and the environment with what its back end needs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use coil_debian::{Installed, InstalledPackage};
use coil_oci::{Descriptor, Digest};
use coil_python::Pinned;
use coil_wheel::download::FetchedWheel;

use crate::base::{self, layer_type, ownership};
use crate::error::PackError;
use crate::layer_writer::Layer;
use crate::source_build::Builder;
use crate::source_build_failure::Reason;
use crate::source_build_source::failure;
use crate::wheel_binaries::BinaryReader;

/// Debian's packages that every build has beside the base: compilers, and what any script takes for granted, which
/// Debian counts as essential and a base for Python alone leaves out.
const COMPILERS: [&str; 15] = [
    "bash",
    "debianutils",
    "diffutils",
    "findutils",
    "g++",
    "gcc",
    "gzip",
    "hostname",
    "libc6-dev",
    "make",
    "mawk",
    "patch",
    "perl-base",
    "pkgconf",
    "tar",
];

impl Builder<'_> {
    /// The empty environment and what is installed in it, unpacked.
    pub(crate) fn environment_trees(&self, wheels: &[FetchedWheel]) -> Result<Vec<PathBuf>, PackError> {
        let packer = self.packer;
        let environment = self.base.environment();
        let hides = self.base.has_environment;
        let epoch = self.request.epoch;
        let mut trees = vec![self.tree(&base::environment_layer(
            packer.store,
            &environment,
            hides,
            epoch,
        )?)?];
        if !wheels.is_empty() {
            let reader = BinaryReader::new(packer.store);
            for layer in packer.package_layers(
                wheels,
                &self.base,
                &environment,
                (epoch, &BTreeMap::new()),
                &reader,
            )? {
                let blob = Descriptor::new(layer_type(packer.store, &layer.digest), layer.digest, layer.size);
                trees.push(packer.store.ensure_snapshot(&layer.diff_id, &blob, ownership())?);
            }
        }
        Ok(trees)
    }

    fn tree(&self, layer: &Layer) -> Result<PathBuf, PackError> {
        let store = self.packer.store;
        let blob = Descriptor::new(layer_type(store, &layer.digest), layer.digest.clone(), layer.size);
        Ok(store.ensure_snapshot(&layer.diff_id, &blob, ownership())?)
    }

    /// The root file system of builds: the base with compilers, headers, and what the project names.
    pub(crate) fn builder_trees(&self, package: &Pinned, with_git: bool) -> Result<Vec<PathBuf>, PackError> {
        let packer = self.packer;
        let base = &self.base;
        let mut trees = base.snapshots(packer.store)?;
        let asked = &self.parts.build.apt;
        let Some(suite) = &base.suite else {
            // An image from elsewhere brings its own compiler, or has none.
            if !asked.is_empty() {
                let why = format!(
                    "build-apt adds Debian's packages, and {} is not Debian",
                    base.name
                );
                let help = Some("leave build-apt out, and take a base that has what the build needs".into());
                return Err(failure(package, Reason::NoContainer { why, help }));
            }
            return Ok(trees);
        };
        let packages = base.packages.iter().map(|package| InstalledPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            arch: package.arch.clone(),
            source: package.source.clone(),
            provides: None,
        });
        let mut below = Below {
            installed: Installed {
                suite: suite.clone(),
                arch: base.arch,
                packages: packages.collect(),
            },
            blobs: base
                .layers
                .iter()
                .map(|layer| layer.layer.digest.clone())
                .collect(),
        };
        let mut usual: Vec<String> = COMPILERS.iter().map(ToString::to_string).collect();
        if base.image.is_none() {
            usual.push(format!("python{}-dev", base.environment().minor()));
        }
        let mut own = asked.clone();
        own.extend(with_git.then(|| "git".to_owned()));
        // Two layers, so that projects which ask for more share the compilers.
        for names in [usual, own] {
            if !names.is_empty() {
                trees.push(self.addition(&mut below, &names)?);
            }
        }
        Ok(trees)
    }

    /// Adds packages to what is there; gives the tree of the new layer.
    fn addition(&self, below: &mut Below, names: &[String]) -> Result<PathBuf, PackError> {
        let packer = self.packer;
        let archive = self.parts.archive;
        below.installed.packages.sort();
        let pinned = archive
            .resolve_addition(&below.installed, names, packer.progress)
            .map_err(|error| PackError::Resolve(Box::new(error)))?;
        let options = packer.assemble_options(self.request);
        let layer = archive
            .assemble_addition(&below.blobs, &pinned, &options, packer.progress)
            .map_err(|error| PackError::Assemble(Box::new(error)))?;
        below
            .installed
            .packages
            .retain(|old| pinned.packages.iter().all(|new| new.name != old.name));
        let added = pinned.packages.iter().map(|package| InstalledPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            arch: package.arch.clone(),
            source: None,
            provides: None,
        });
        below.installed.packages.extend(added);
        below.blobs.push(layer.blob.clone());
        let blob = Descriptor::new(layer_type(packer.store, &layer.blob), layer.blob, layer.size);
        Ok(packer.store.ensure_snapshot(&layer.diff_id, &blob, ownership())?)
    }
}

/// What packages are added to.
struct Below {
    installed: Installed,
    blobs: Vec<Digest>,
}
