//! Debian's packages above the base: those that the project asks for, and those that its wheels lack, where that is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use coil_debian::{
    AdditionLayer, Archive, Installed, InstalledPackage, LINKER_FOLDERS, Linked, PinnedAddition,
};
use coil_oci::Digest;
use coil_plan::LayerKind;
use coil_python::Libc;
use coil_store::Store;
use coil_wheel::download::FetchedWheel;

use crate::base::Base;
use crate::error::PackError;
use crate::image_tree::{ImageTree, Node};
use crate::layer_writer::Layer;
use crate::library_check::{Below, Missing, check_machine, missing, tell};
use crate::lock_file::LockFile;
use crate::planning::PlannedLayer;
use crate::request::{PackRequest, Packer};
use crate::wheel_binaries::BinaryReader;

/// How often what was added is looked at again: a package's own needs come with it, so once is nearly always enough.
const ROUNDS: usize = 4;

/// More than a linker's cache has.
const LONGEST_CACHE: u64 = 64 << 20;

/// What the linker has in a base that is unpacked.
fn linked<'a>(store: &Store, layers: impl Iterator<Item = &'a Digest>) -> Option<Linked> {
    let trees = layers.map(|diff_id| store.whole_snapshot(diff_id));
    let tree = ImageTree::new(trees.collect::<Option<_>>()?);
    let mut linked = Linked {
        files: BTreeSet::new(),
        cache: tree.read("/etc/ld.so.cache", LONGEST_CACHE),
    };
    for above in ["", "usr", "local", "usr/local"] {
        for folder in LINKER_FOLDERS {
            for (name, node) in tree.list(&format!("/{above}/{folder}")).ok()? {
                if name.contains(".so") && !matches!(node, Node::Folder(_)) {
                    linked.files.insert(name);
                }
            }
        }
    }
    Some(linked)
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Libraries {
    /// The layer, where anything was added.
    pub(crate) layers: Vec<PlannedLayer>,
    /// What the user should know.
    pub(crate) notes: Vec<String>,
    /// The modules that the wheels bring.
    pub(crate) modules: BTreeSet<String>,
}

impl Packer<'_> {
    /// Adds Debian's packages to a base, after looking at what the wheels need.
    pub(crate) fn libraries(
        &self,
        request: &PackRequest,
        archive: &Archive,
        base: &Base,
        (wheels, reader): (&[FetchedWheel], &BinaryReader<'_>),
        lock: &Mutex<&mut LockFile>,
    ) -> Result<Libraries, PackError> {
        let binaries = reader.read_all(wheels, self.threads)?;
        let mut notes = Vec::new();
        let glibc = match base.libc {
            Libc::Glibc(major, minor) => Some((major, minor)),
            _ => None,
        };
        let layers: Vec<Digest> = base
            .layers
            .iter()
            .map(|layer| layer.layer.digest.clone())
            .collect();
        let has_binaries = binaries.iter().any(|wheel| !wheel.files.is_empty());
        let mut below = Below {
            arch: base.arch,
            glibc,
            libraries: BTreeSet::new(),
        };
        if has_binaries {
            check_machine(&binaries, &below, &mut notes)?;
            below.libraries = archive
                .libraries_below(&layers, || {
                    linked(self.store, base.layers.iter().map(|layer| &layer.layer.diff_id))
                })
                .map_err(PackError::disk("reading the base"))?;
        }
        let installed = installed_of(base);
        let mut names: Vec<String> = request.apt.clone();
        names.sort();
        names.dedup();
        let refuse = || PackError::Setting {
            message: format!(
                "Debian's packages ({}) cannot be added to the base {}, which is {}",
                names.join(", "),
                base.name,
                base.system
            ),
            help: Some("take a base of Debian, or one that has them".into()),
        };
        let mut added: Option<AdditionLayer> = None;
        if !names.is_empty() {
            let installed = installed.as_ref().ok_or_else(refuse)?;
            added = Some(self.addition(request, archive, installed, &layers, &names, lock)?);
        }
        let mut left = Vec::new();
        let mut packages = BTreeMap::new();
        for _ in 0..ROUNDS {
            let mut there = below.clone();
            there
                .libraries
                .extend(added.iter().flat_map(|layer| layer.libraries.iter().cloned()));
            left = missing(&binaries, &there);
            let (Some(installed), false) = (&installed, left.is_empty()) else {
                break;
            };
            packages = self.packages_of(archive, installed, &left, &mut notes);
            let more: Vec<String> = packages
                .values()
                .filter(|name| !names.contains(name))
                .cloned()
                .collect();
            if !request.auto_apt || more.is_empty() {
                break;
            }
            names.extend(more);
            names.sort();
            names.dedup();
            let layer = self.addition(request, archive, installed, &layers, &names, lock)?;
            added = Some(layer);
        }
        if request.auto_apt {
            let found: Vec<&str> = names
                .iter()
                .filter(|name| !request.apt.contains(name))
                .map(String::as_str)
                .collect();
            if !found.is_empty() {
                notes.push(format!(
                    "added for the wheels, and pinned in coil.lock: {}",
                    found.join(", ")
                ));
            }
        }
        notes.extend(tell(&left, &packages, installed.is_some()));
        let layers = added.filter(|layer| !layer.packages.is_empty()).map(planned);
        Ok(Libraries {
            layers: layers.into_iter().collect(),
            notes,
            modules: binaries.into_iter().flat_map(|wheel| wheel.modules).collect(),
        })
    }

    /// The Debian packages of what is missing; that they can't be looked up is no reason to fail.
    fn packages_of(
        &self,
        archive: &Archive,
        installed: &Installed,
        left: &[Missing],
        notes: &mut Vec<String>,
    ) -> BTreeMap<String, String> {
        let wanted: BTreeSet<String> = left
            .iter()
            .flat_map(|wheel| wheel.libraries.keys().cloned())
            .collect();
        let wanted: Vec<String> = wanted.into_iter().collect();
        self.progress.note("looking up the packages of missing libraries");
        match archive.find_libraries(&installed.suite, installed.arch, &wanted, self.progress) {
            Ok(packages) => packages,
            Err(error) => {
                let note = format!(
                    "which Debian packages have the missing libraries could not be looked up: {error}"
                );
                if !notes.contains(&note) {
                    notes.push(note);
                }
                BTreeMap::new()
            }
        }
    }

    fn addition(
        &self,
        request: &PackRequest,
        archive: &Archive,
        installed: &Installed,
        below: &[Digest],
        names: &[String],
        lock: &Mutex<&mut LockFile>,
    ) -> Result<AdditionLayer, PackError> {
        let pinned = {
            let mut lock = lock.lock().unwrap_or_else(PoisonError::into_inner);
            lock.addition(installed, names, || {
                let what = match names {
                    [_, _, _, _, _, ..] => format!("{} packages", names.len()),
                    few => few.join(", "),
                };
                self.progress
                    .note(&format!("looking up {what} of Debian {}", installed.suite));
                archive
                    .resolve_addition(installed, names, self.progress)
                    .map_err(|error| PackError::Resolve(Box::new(error)))
            })?
        };
        keep_interpreter(&pinned, installed)?;
        archive
            .assemble_addition(below, &pinned, &self.assemble_options(request), self.progress)
            .map_err(|error| PackError::Assemble(Box::new(error)))
    }
}

/// The interpreter's bytecode and its standard library lie above: they must be of the base's own interpreter.
fn keep_interpreter(pinned: &PinnedAddition, installed: &Installed) -> Result<(), PackError> {
    let replaced = pinned
        .replaced(installed)
        .find(|name| name.starts_with("python3.") || name.starts_with("libpython3."));
    match replaced {
        None => Ok(()),
        Some(name) => Err(PackError::Setting {
            message: format!(
                "{} needs a newer {name} than the base has",
                pinned.names.join(", ")
            ),
            help: Some("renew the base: `coil pack --upgrade`".into()),
        }),
    }
}

/// What is installed in a base of Debian; `None` in any other.
pub(crate) fn installed_of(base: &Base) -> Option<Installed> {
    let mut packages: Vec<InstalledPackage> = base
        .packages
        .iter()
        .map(|package| InstalledPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            arch: package.arch.clone(),
            source: package.source.clone(),
            provides: None,
        })
        .collect();
    packages.sort();
    Some(Installed {
        suite: base.suite.clone()?,
        arch: base.arch,
        packages,
    })
}

fn planned(layer: AdditionLayer) -> PlannedLayer {
    PlannedLayer {
        kind: LayerKind::Libraries.to_string(),
        created_by: format!("debian packages {}", layer.names.join(", ")),
        layer: Layer {
            digest: layer.blob,
            size: layer.size,
            diff_id: layer.diff_id,
            unpacked: layer.unpacked_size,
        },
        packages: layer
            .packages
            .iter()
            .map(|package| format!("{} {}", package.name, package.version))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use coil_fetch::{FetchSettings, Fetcher};
    use coil_oci::tar::Entry;
    use coil_oci::{Descriptor, media_type};
    use coil_store::{Ownership, StoreOptions};

    use super::*;
    use crate::layer_writer::LayerWriter;

    #[test]
    fn unpacked_layers_and_their_blobs_tell_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions {
            root: folder.path().join("store"),
            downloads: None,
            boot_id: "test".into(),
        });
        let layer = |entries: &[Entry]| {
            let mut writer = LayerWriter::new(&store).unwrap();
            for entry in entries {
                match entry.path.contains(".so") {
                    true => writer.file(entry, b"").unwrap(),
                    false => writer.entry(entry).unwrap(),
                }
            }
            writer.finish().unwrap()
        };
        let library = |path: &str| Entry::file(path, 0, 0o644, 0);
        let layers = [
            layer(&[
                Entry::symlink("lib", "usr/lib", 0),
                library("usr/lib/libold.so.1"),
                library("usr/lib/x86_64-linux-gnu/libc.so.6"),
                Entry::symlink("usr/lib/x86_64-linux-gnu/libx.so", "libx.so.1", 0),
                library("opt/libelsewhere.so.1"),
            ]),
            layer(&[
                library("usr/lib/.wh.libold.so.1"),
                library("usr/local/lib/libown.so"),
                Entry::directory("usr/lib/x.so.d", 0),
            ]),
        ];
        let digests: Vec<Digest> = layers.iter().map(|layer| layer.digest.clone()).collect();
        let ids = || layers.iter().map(|layer| &layer.diff_id);
        assert_eq!(linked(&store, ids()), None, "nothing is unpacked yet");
        let fetcher = Fetcher::new(FetchSettings::default());
        let archive = Archive::new(fetcher, store.clone(), coil_debian::SourcesConfig::default());
        let from_blobs = archive.libraries_below(&digests, || None).unwrap();
        for layer in &layers {
            let blob = Descriptor::new(media_type::LAYER_GZIP, layer.digest.clone(), layer.size);
            store
                .ensure_snapshot(&layer.diff_id, &blob, Ownership::Unpacker)
                .unwrap();
        }
        let names: Vec<String> = from_blobs.into_iter().collect();
        assert_eq!(names, ["libc.so.6", "libown.so", "libx.so"]);
        let unpacked: Vec<String> = linked(&store, ids()).unwrap().files.into_iter().collect();
        assert_eq!(unpacked, names);
    }
}
