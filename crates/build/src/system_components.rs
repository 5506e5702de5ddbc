//! What a base and the libraries over it bring: the distribution, its packages, and Python packages outside our environment.
//!
//! Read from the unpacked layers themselves, so that it is what is there, whoever put it there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use coil_oci::Digest;
use coil_sbom::{
    Component, Kind, Licence, PackageUrl, licences_of_copyright_file, licences_of_metadata,
    licences_of_short_name,
};
use coil_store::Store;
use coil_wheel::metadata::Fields;

use crate::base::Base;
use crate::error::PackError;
use crate::image_tree::{ImageTree, Node};
use crate::planning::PlannedLayer;

/// Records of what layers bring. The number changes whenever the same layers would be told otherwise.
const RECORDS: &str = "system-components-v1";
/// The most that is read of one file, in bytes.
const MOST: u64 = 64 << 20;

/// The components of a platform's system layers, the lowest first; read once for each stack of layers.
pub(crate) fn system_components(
    store: &Store,
    base: &Base,
    layers: &[&PlannedLayer],
) -> Result<Vec<Component>, PackError> {
    let ids: Vec<Digest> = layers.iter().map(|layer| layer.layer.diff_id.clone()).collect();
    let what = format!("{} {ids:?} {:?}", env!("CARGO_PKG_VERSION"), base.python);
    let key = Digest::of(what.as_bytes());
    if let Some(bytes) = store.cache_get(RECORDS, key.hex())
        && let Ok(known) = serde_json::from_slice(&bytes)
    {
        return Ok(known);
    }
    let mut places = Vec::new();
    for layer in layers {
        let blob = coil_oci::Descriptor::new(
            crate::base::layer_type(store, &layer.layer.digest),
            layer.layer.digest.clone(),
            layer.layer.size,
        );
        let tree = store.ensure_snapshot(&layer.layer.diff_id, &blob, crate::base::ownership())?;
        places.push((tree, layer.layer.diff_id.clone()));
    }
    let system = System {
        tree: ImageTree::new(places.iter().map(|(tree, _)| tree.clone()).collect()),
        places,
    };
    let components = system.components(base);
    if let Ok(bytes) = serde_json::to_vec(&components) {
        store
            .cache_put(RECORDS, key.hex(), &bytes)
            .map_err(PackError::disk("keeping a list of components"))?;
    }
    Ok(components)
}

/// What an image's unpacked layers bring, the lowest first, whoever made them: the distribution, its packages, and every
/// Python package that is installed anywhere; with the interpreter, where the image says which one it has itself.
pub(crate) fn image_components(places: Vec<(PathBuf, Digest)>, python: Option<&str>) -> Vec<Component> {
    let system = System {
        tree: ImageTree::new(places.iter().map(|(tree, _)| tree.clone()).collect()),
        places,
    };
    let release = system.release();
    let mut out: Vec<Component> = system.distribution(&release).into_iter().collect();
    out.extend(system.debian_packages(&release));
    out.extend(system.alpine_packages(&release));
    out.extend(
        system
            .metadata_files()
            .iter()
            .filter_map(|file| system.python_package(file)),
    );
    let program = "/usr/local/bin/python3";
    if let Some(version) = python.filter(|_| system.tree.file(program).is_some()) {
        out.push(system.python(version, program));
    }
    let mut seen = BTreeSet::new();
    out.retain(|component| seen.insert(component.id.clone()));
    out
}

/// Layers unpacked, and which layer each folder is.
struct System {
    tree: ImageTree,
    places: Vec<(PathBuf, Digest)>,
}

/// What `os-release` says.
#[derive(Default)]
struct Release {
    id: String,
    version: String,
    title: String,
}

impl Release {
    /// The `distro` of a package URL: `debian-12`.
    fn distro(&self) -> String {
        match self.version.as_str() {
            "" => self.id.clone(),
            version => format!("{}-{version}", self.id),
        }
    }
}

impl System {
    fn components(&self, base: &Base) -> Vec<Component> {
        let release = self.release();
        let mut out: Vec<Component> = self.distribution(&release).into_iter().collect();
        out.extend(self.debian_packages(&release));
        out.extend(self.alpine_packages(&release));
        out.extend(self.python_packages(base));
        out.extend(self.interpreter(base));
        // One package may be known twice, as when its list stands in two folders.
        let mut seen = BTreeSet::new();
        out.retain(|component| seen.insert(component.id.clone()));
        out
    }

    fn distribution(&self, release: &Release) -> Option<Component> {
        (!release.id.is_empty()).then(|| Component {
            id: format!("system:{}", release.distro()),
            kind: Kind::OperatingSystem,
            name: release.id.clone(),
            version: Some(release.version.clone()).filter(|version| !version.is_empty()),
            summary: Some(release.title.clone()).filter(|title| !title.is_empty()),
            layer: self.layer_of("/etc/os-release"),
            ..Component::default()
        })
    }

    /// The files in which installed Python packages tell of themselves, wherever they are.
    fn metadata_files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (root, _) in &self.places {
            let mut folders = vec![String::new()];
            while let Some(folder) = folders.pop() {
                let entries = std::fs::read_dir(root.join(folder.trim_start_matches('/')));
                for entry in entries.into_iter().flatten().flatten() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        continue;
                    }
                    let path = format!("{folder}/{name}");
                    let file = match name.rsplit_once('.') {
                        Some((_, "dist-info")) => format!("{path}/METADATA"),
                        Some((_, "egg-info")) => format!("{path}/PKG-INFO"),
                        _ => {
                            folders.push(path);
                            continue;
                        }
                    };
                    // What a layer above removed is not there.
                    if self.tree.file(&file).is_some() {
                        found.insert(file);
                    }
                }
            }
        }
        found
    }

    /// The layer that a path comes from.
    fn layer_of(&self, path: &str) -> Option<Digest> {
        let (_, place) = self.tree.file(path)?;
        self.layer_at(&place)
    }

    fn layer_at(&self, place: &Path) -> Option<Digest> {
        let found = self.places.iter().find(|(tree, _)| place.starts_with(tree));
        found.map(|(_, diff_id)| diff_id.clone())
    }

    fn release(&self) -> Release {
        let text = ["/etc/os-release", "/usr/lib/os-release"]
            .into_iter()
            .find_map(|path| self.tree.text(path, MOST))
            .unwrap_or_default();
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default()
                .trim()
                .trim_matches(['"', '\''])
                .to_owned()
        };
        let mut release = Release {
            id: field("ID").to_ascii_lowercase(),
            version: field("VERSION_ID"),
            title: field("PRETTY_NAME"),
        };
        if release.version.is_empty() {
            release.version = field("VERSION_CODENAME");
        }
        release
    }

    fn debian_packages(&self, release: &Release) -> Vec<Component> {
        let mut status = self.tree.text("/var/lib/dpkg/status", MOST).unwrap_or_default();
        // Images without a package manager keep one file a package.
        let folder = "/var/lib/dpkg/status.d";
        for name in self.tree.list(folder).unwrap_or_default().into_keys() {
            if !name.ends_with(".md5sums") {
                let more = self.tree.text(&format!("{folder}/{name}"), MOST);
                status.push_str("\n\n");
                status.push_str(&more.unwrap_or_default());
            }
        }
        let vendor = if release.id.is_empty() {
            "debian"
        } else {
            &release.id
        };
        let mut found = Vec::new();
        let mut provided: BTreeMap<String, String> = BTreeMap::new();
        for stanza in status.split("\n\n") {
            let fields = Fields::parse(stanza.trim_start().as_bytes());
            let (Some(name), Some(version)) = (fields.first("Package"), fields.first("Version")) else {
                continue;
            };
            let there = fields
                .first("Status")
                .is_none_or(|status| status.ends_with(" installed"));
            if !there {
                continue;
            }
            let component = self.debian_package(&fields, name, version, vendor, release);
            for alias in names_of(fields.first("Provides").unwrap_or_default()) {
                provided
                    .entry(alias.into())
                    .or_insert_with(|| component.id.clone());
            }
            provided.insert(name.into(), component.id.clone());
            let needs: Vec<String> = ["Pre-Depends", "Depends"]
                .into_iter()
                .filter_map(|field| fields.first(field))
                .map(str::to_owned)
                .collect();
            found.push((component, needs.join(",")));
        }
        found
            .into_iter()
            .map(|(mut component, needs)| {
                let mut needed = BTreeSet::new();
                for choice in needs.split(',') {
                    // The first of the alternatives that is there is the one that it uses.
                    let there = names_of(&choice.replace('|', ",")).find_map(|name| provided.get(name));
                    needed.extend(there.filter(|id| **id != component.id).cloned());
                }
                component.depends_on = needed.into_iter().collect();
                component
            })
            .collect()
    }

    fn debian_package(
        &self,
        fields: &Fields,
        name: &str,
        version: &str,
        vendor: &str,
        release: &Release,
    ) -> Component {
        let arch = fields.first("Architecture").unwrap_or_default();
        // `Source: gcc-12 (12.2.0-14)`: the version is told where it is another one.
        let upstream = fields
            .first("Source")
            .map(|source| match source.split_once(" (") {
                Some((source, version)) => format!("{source}@{}", version.trim_end_matches(')')),
                None => source.to_owned(),
            });
        let purl = PackageUrl::deb(vendor, name, version)
            .with("arch", arch)
            .with("distro", &release.distro())
            .with("upstream", upstream.as_deref().unwrap_or_default())
            .to_string();
        let copyright = self.tree.text(&format!("/usr/share/doc/{name}/copyright"), MOST);
        let lists = [
            format!("/var/lib/dpkg/info/{name}.list"),
            format!("/var/lib/dpkg/info/{name}:{arch}.list"),
            format!("/var/lib/dpkg/status.d/{name}"),
        ];
        let layer = lists.iter().find_map(|list| self.layer_of(list));
        Component {
            id: purl.clone(),
            kind: Kind::Library,
            name: name.to_owned(),
            version: Some(version.to_owned()),
            purl: Some(purl),
            licences: copyright
                .map(|text| licences_of_copyright_file(&text))
                .unwrap_or_default(),
            supplier: fields.first("Maintainer").map(without_address),
            summary: fields
                .first("Description")
                .and_then(|text| text.lines().next())
                .map(str::to_owned),
            homepage: fields.first("Homepage").map(str::to_owned),
            layer: layer.or_else(|| self.layer_of("/var/lib/dpkg/status")),
            ..Component::default()
        }
    }

    fn alpine_packages(&self, release: &Release) -> Vec<Component> {
        let path = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"]
            .into_iter()
            .find(|path| self.tree.file(path).is_some());
        let Some(path) = path else { return Vec::new() };
        let text = self.tree.text(path, MOST).unwrap_or_default();
        let vendor = if release.id.is_empty() {
            "alpine"
        } else {
            &release.id
        };
        let package = |stanza: &str| {
            let field = |letter: &str| {
                let line = stanza.lines().find_map(|line| line.strip_prefix(letter));
                line.map(|value| value.trim().to_owned())
            };
            let (name, version) = (field("P:")?, field("V:")?);
            let purl = PackageUrl::apk(vendor, &name, &version)
                .with("arch", &field("A:").unwrap_or_default())
                .with("distro", &release.distro())
                .with(
                    "upstream",
                    &field("o:").filter(|origin| *origin != name).unwrap_or_default(),
                )
                .to_string();
            Some(Component {
                id: purl.clone(),
                name,
                version: Some(version),
                purl: Some(purl),
                licences: field("L:")
                    .map(|text| licences_of_short_name(&text))
                    .unwrap_or_default(),
                supplier: field("m:").map(|text| without_address(&text)),
                summary: field("T:"),
                homepage: field("U:"),
                layer: self.layer_of(path),
                ..Component::default()
            })
        };
        text.split("\n\n").filter_map(package).collect()
    }

    /// Python packages of the base itself, such as an official image's pip.
    fn python_packages(&self, base: &Base) -> Vec<Component> {
        let minor = base.python.version.rsplitn(2, '.').last().unwrap_or_default();
        let mut folders: BTreeSet<String> = base
            .python
            .libraries
            .iter()
            .flat_map(|library| [library.clone(), format!("{library}/site-packages")])
            .collect();
        for prefix in ["/usr/local/lib", "/usr/lib"] {
            for name in ["site-packages", "dist-packages"] {
                folders.insert(format!("{prefix}/python{minor}/{name}"));
            }
        }
        folders.insert("/usr/lib/python3/dist-packages".into());
        let mut found = Vec::new();
        for folder in folders {
            for (name, node) in self.tree.list(&folder).unwrap_or_default() {
                let file = match (&node, name.rsplit_once('.')) {
                    (Node::Folder(_), Some((_, "dist-info"))) => format!("{folder}/{name}/METADATA"),
                    (Node::Folder(_), Some((_, "egg-info"))) => format!("{folder}/{name}/PKG-INFO"),
                    (Node::File(_), Some((_, "egg-info"))) => format!("{folder}/{name}"),
                    _ => continue,
                };
                found.extend(self.python_package(&file));
            }
        }
        found
    }

    fn python_package(&self, file: &str) -> Option<Component> {
        let fields = Fields::parse(&self.tree.read(file, MOST)?);
        let (name, version) = (fields.first("Name")?, fields.first("Version")?);
        let purl = PackageUrl::pypi(name, version).to_string();
        let classifiers: Vec<String> = fields.all("Classifier").map(str::to_owned).collect();
        let layer = self.layer_of(file);
        Some(Component {
            // The same package may stand in the environment too.
            id: format!(
                "{purl}#{}",
                file.rsplit_once('/').map_or(file, |(folder, _)| folder)
            ),
            name: name.to_owned(),
            version: Some(version.to_owned()),
            purl: Some(purl),
            licences: licences_of_metadata(
                fields.first("License-Expression"),
                fields.first("License"),
                &classifiers,
            ),
            author: fields.first("Author").map(str::to_owned),
            summary: fields.first("Summary").map(str::to_owned),
            homepage: fields.first("Home-page").map(str::to_owned),
            layer,
            properties: BTreeMap::from([("coil:path".to_owned(), file.to_owned())]),
            ..Component::default()
        })
    }

    /// The interpreter, where no package of the distribution brings it.
    fn interpreter(&self, base: &Base) -> Option<Component> {
        if base.python.program.starts_with("/usr/bin/") {
            return None;
        }
        Some(self.python(&base.python.version, &base.python.program))
    }

    fn python(&self, version: &str, program: &str) -> Component {
        let purl = PackageUrl::generic("python", Some(version)).to_string();
        Component {
            id: purl.clone(),
            kind: Kind::Platform,
            name: "python".into(),
            version: Some(version.to_owned()),
            purl: Some(purl),
            licences: vec![Licence::Expression("PSF-2.0".into())],
            summary: Some("the Python interpreter".into()),
            homepage: Some("https://www.python.org/".into()),
            layer: self.layer_of(program),
            properties: BTreeMap::from([("coil:path".to_owned(), program.to_owned())]),
            ..Component::default()
        }
    }
}

/// Package names of a relation field, without versions and architectures.
fn names_of(relations: &str) -> impl Iterator<Item = &str> {
    relations.split(',').filter_map(|one| {
        let name = one.trim().split([' ', '(', ':', '[']).next()?;
        (!name.is_empty()).then_some(name)
    })
}

/// `Somebody <address>` without the address.
fn without_address(text: &str) -> String {
    match text.split_once(" <") {
        Some((name, _)) => name.trim_matches(['"', ' ']).to_owned(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn packages_are_read_from_layers() {
        let folder = tempfile::tempdir().unwrap();
        let (lower, upper) = (folder.path().join("lower"), folder.path().join("upper"));
        write(
            &lower,
            "etc/os-release",
            "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n",
        );
        write(&lower, "var/lib/dpkg/info/libc6:amd64.list", "/.\n");
        write(
            &lower,
            "usr/share/doc/libc6/copyright",
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: LGPL-2.1+\n",
        );
        write(&upper, "var/lib/dpkg/info/libgl1.list", "/.\n");
        write(
            &upper,
            "var/lib/dpkg/status",
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc\nVersion: 2.36-9+deb12u10\n\
             Maintainer: GNU Libc Maintainers <a@b>\nDescription: GNU C Library\n Longer text\n\n\
             Package: libgl1\nStatus: install ok installed\nArchitecture: amd64\nSource: libglvnd (1.6.0-1)\n\
             Version: 1.6.0-1+b1\nDepends: libx11-6 | libc6 (>= 2.34), libc6\n\n\
             Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
        );
        write(
            &lower,
            "usr/local/lib/python3.12/site-packages/pip-24.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: pip\nVersion: 24.0\nLicense: MIT\n",
        );
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let system = System {
            tree: ImageTree::new(vec![lower.clone(), upper.clone()]),
            places: vec![(lower, one.clone()), (upper, two.clone())],
        };
        let release = system.release();
        let found = system.debian_packages(&release);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0].purl.as_deref(),
            Some("pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12&upstream=glibc")
        );
        assert_eq!(
            found[0].licences,
            [Licence::Expression("LGPL-2.1-or-later".into())]
        );
        assert_eq!(found[0].supplier.as_deref(), Some("GNU Libc Maintainers"));
        assert_eq!((&found[0].layer, &found[1].layer), (&Some(one), &Some(two)));
        assert_eq!(found[1].depends_on, [found[0].id.clone()]);
        assert!(
            found[1].id.ends_with("&upstream=libglvnd%401.6.0-1"),
            "{}",
            found[1].id
        );
        let pip = system
            .python_package("/usr/local/lib/python3.12/site-packages/pip-24.0.dist-info/METADATA")
            .unwrap();
        assert_eq!(pip.purl.as_deref(), Some("pkg:pypi/pip@24.0"));
    }
}
