//! The bill of materials of a packed image: from what was put in, kept beside the image.
//!
//! What is below the app is listed once, when it is planned, and kept as a blob that the plan names. With each image a few
//! words are kept that make its bills of that list: the documents are hundreds of kilobytes, and most images are never asked
//! for theirs. The image's own bytes say nothing of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use coil_debian::{PinnedBase, PinnedPackage};
use coil_oci::{Arch, Descriptor, Digest};
use coil_plan::LayerKind;
use coil_python::requirement::parse_requirement;
use coil_python::{MarkerEnvironment, Target};
use coil_sbom::{
    Bill, Component, Format, Hash, Kind, PackageUrl, Subject, embedded_components, licences_of_metadata,
};
use coil_store::{Store, StoreError};
use coil_wheel::download::FetchedWheel;
use coil_wheel::facts::{self, Facts};
use coil_wheel::layer::WheelFile;
use coil_wheel::metadata::Fields;
use serde::{Deserialize, Serialize};

use crate::base::Base;
use crate::error::PackError;
use crate::planning::{Planned, PlannedLayer, PlannedPlatform};
use crate::request::Packer;
use crate::system_components::system_components;

/// Where Debian's archives are for everybody; a machine's own mirror is its own affair.
const DEBIAN: &str = "http://deb.debian.org";

/// A wheel that is in the image.
pub(crate) struct InstalledWheel {
    /// The wheel.
    pub(crate) wheel: FetchedWheel,
    /// The layer that it went into.
    pub(crate) layer: Option<Digest>,
    /// Whether it was built from source.
    pub(crate) built: bool,
}

impl Packer<'_> {
    /// Lists what is in a platform's layers below the app; gives the blob that holds the list.
    pub(crate) fn keep_components(
        &self,
        base: &Base,
        pinned: Option<&PinnedBase>,
        layers: &[PlannedLayer],
        target: &Target,
        wheels: &[InstalledWheel],
    ) -> Result<Digest, PackError> {
        let below: Vec<&PlannedLayer> = layers
            .iter()
            .filter(|layer| matches!(layer.kind(), LayerKind::Base | LayerKind::Libraries))
            .collect();
        let mut components = system_components(self.store, base, &below)?;
        if let Some(pinned) = pinned {
            tell_origins(&mut components, &pinned.packages);
        }
        components.extend(self.wheels(target, wheels)?);
        let bytes = serde_json::to_vec(&components).unwrap_or_default();
        self.store
            .put_blob(&bytes)
            .map_err(PackError::disk("keeping the list of components"))
    }

    fn wheels(&self, target: &Target, wheels: &[InstalledWheel]) -> Result<Vec<Component>, PackError> {
        let environment = target.marker_environment();
        let mut found = Vec::new();
        for installed in wheels {
            let file = WheelFile {
                path: installed.wheel.path.clone(),
                filename: installed.wheel.filename.clone(),
                sha256: installed.wheel.sha256.clone(),
                direct_url: None,
            };
            let layer = |error| PackError::Layer(Box::new(error));
            let facts = facts::facts(self.store, &file).map_err(layer)?;
            let mut component = component(&facts, installed);
            for sbom in &facts.sboms {
                let bytes = facts::content(&file, sbom).map_err(layer)?;
                match embedded_components(&mut component, sbom, &bytes) {
                    Ok(parts) => component.parts.extend(parts),
                    Err(reason) => {
                        let name = format!("coil:unread:{sbom}");
                        component.properties.insert(name, reason.to_string());
                    }
                }
            }
            let needs = needs(&facts.requires_dist, &environment);
            found.push((component, needs));
        }
        let ids: BTreeMap<String, String> = found
            .iter()
            .map(|(component, _)| (normal(&component.name), component.id.clone()))
            .collect();
        let with_needs = found.into_iter().map(|(mut component, needs)| {
            let needed = needs.iter().filter_map(|name| ids.get(name));
            let mut all: BTreeSet<String> = component.depends_on.iter().cloned().collect();
            all.extend(needed.filter(|id| **id != component.id).cloned());
            component.depends_on = all.into_iter().collect();
            component
        });
        Ok(with_needs.collect())
    }

    /// Keeps with an image what its bills are made from.
    pub(crate) fn keep_bills(
        &self,
        planned: &Planned,
        platform: &PlannedPlatform,
        app_layer: &Digest,
        image: &Descriptor,
        created: &str,
    ) -> Result<(), PackError> {
        if self.store.recipe(&image.digest).is_some() {
            return Ok(());
        }
        let recipe = Recipe {
            name: planned.name.clone(),
            architecture: platform.arch.name().into(),
            created: created.to_owned(),
            tool_version: env!("CARGO_PKG_VERSION").into(),
            components: platform.components.clone(),
            app: app(planned, platform.arch, app_layer),
            app_needs: app_needs(planned),
        };
        let text = serde_json::to_string(&recipe).unwrap_or_default();
        self.store
            .put_recipe(&image.digest, &text, std::slice::from_ref(&platform.components))
            .map_err(PackError::disk("keeping the bill of materials"))
    }
}

/// What the bills of one image are made from, beside the blob that lists what is below its app.
#[derive(Serialize, Deserialize)]
struct Recipe {
    name: String,
    architecture: String,
    created: String,
    tool_version: String,
    /// The blob.
    components: Digest,
    app: Component,
    /// The names that the app itself asks for.
    app_needs: BTreeSet<String>,
}

/// The bill of materials of an image in a format: the one that is kept with it, or one made from what is.
///
/// None for an image with which neither is kept.
///
/// # Errors
/// When what is kept is damaged or cannot be read.
pub fn bill_of(store: &Store, manifest: &Digest, format: Format) -> Result<Option<Vec<u8>>, StoreError> {
    let kept = store.referrer_document(manifest, format.media_type())?;
    if kept.is_some() {
        return Ok(kept);
    }
    Ok(made(store, manifest)?.map(|bill| bill.write(format)))
}

/// Gives an image its bills as artifacts that are about it, for whoever takes it elsewhere; idempotent.
///
/// # Errors
/// When what is kept is damaged, or the store cannot be written.
pub fn attach_bills(store: &Store, image: &Descriptor) -> Result<(), StoreError> {
    let known = store.referrers(&image.digest);
    let has = |format: &Format| {
        let kind = Some(format.media_type());
        known.iter().any(|one| one.artifact_type.as_deref() == kind)
    };
    if Format::ALL.iter().all(has) {
        return Ok(());
    }
    let Some(bill) = made(store, &image.digest)? else {
        return Ok(());
    };
    let documents = Format::ALL.map(|format| (format.media_type(), bill.write(format)));
    let documents: Vec<(&str, &[u8])> = documents
        .iter()
        .map(|(kind, bytes)| (*kind, bytes.as_slice()))
        .collect();
    store
        .put_referrers(image, &documents)
        .map_err(|source| StoreError::Io {
            doing: "keeping bills of materials".into(),
            source,
        })
}

/// The bill that an image's recipe gives.
fn made(store: &Store, manifest: &Digest) -> Result<Option<Bill>, StoreError> {
    let recipe = store
        .recipe(manifest)
        .and_then(|text| serde_json::from_str::<Recipe>(&text).ok());
    let Some(recipe) = recipe else { return Ok(None) };
    let bytes = store
        .read_blob(&recipe.components)
        .map_err(|source| match source.kind() {
            io::ErrorKind::InvalidData => StoreError::Damaged {
                what: format!("the blob {}", recipe.components),
            },
            _ => StoreError::Io {
                doing: format!("reading the blob {}", recipe.components),
                source,
            },
        })?;
    let mut components: Vec<Component> =
        serde_json::from_slice(&bytes).map_err(|source| StoreError::Malformed {
            digest: recipe.components.clone(),
            source,
        })?;
    let mut app = recipe.app;
    app.depends_on = direct(&components, &recipe.app_needs);
    components.insert(0, app);
    Ok(Some(Bill {
        subject: Subject {
            name: recipe.name,
            manifest: manifest.clone(),
            architecture: recipe.architecture,
            created: recipe.created,
            tool_version: recipe.tool_version,
        },
        components,
    }))
}

fn component(facts: &Facts, installed: &InstalledWheel) -> Component {
    let wheel = &installed.wheel;
    let purl = PackageUrl::pypi(&facts.name, &facts.version).to_string();
    let label = |wanted: &[&str]| {
        let urls = facts.project_urls.iter().filter_map(|line| line.split_once(','));
        urls.map(|(label, url)| (label.trim().to_ascii_lowercase(), url.trim()))
            .find(|(label, _)| wanted.contains(&label.as_str()))
            .map(|(_, url)| url.to_owned())
    };
    let mut properties = BTreeMap::new();
    if installed.built {
        properties.insert("coil:built-from-source".to_owned(), "true".to_owned());
    }
    Component {
        id: purl.clone(),
        kind: Kind::Library,
        name: facts.name.clone(),
        version: Some(facts.version.clone()),
        purl: Some(purl),
        file_name: Some(wheel.filename.clone()),
        hashes: vec![Hash::sha256(&wheel.sha256)],
        licences: licences_of_metadata(
            facts.license_expression.as_deref(),
            facts.license.as_deref(),
            &facts.classifiers,
        ),
        author: facts
            .author
            .clone()
            .map(|author| author.split_whitespace().collect::<Vec<_>>().join(" ")),
        summary: facts.summary.clone(),
        download: wheel.url.as_deref().and_then(public_address),
        homepage: facts
            .home_page
            .clone()
            .or_else(|| label(&["homepage", "home", "home page"])),
        source: label(&["source", "source code", "repository", "code", "github"]),
        layer: installed.layer.clone(),
        properties,
        ..Component::default()
    }
}

/// An address that may be told: of the network, and without what stands before its host.
fn public_address(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap_or(host);
    Some(format!("{scheme}://{host}/{path}"))
}

/// The names that requirement lines ask for in this environment, without extras.
fn needs(lines: &[String], environment: &MarkerEnvironment) -> BTreeSet<String> {
    let wanted = lines.iter().filter_map(|line| {
        let requirement = parse_requirement(line).ok()?;
        let asked = requirement.marker.evaluate(environment, &[]);
        asked.then(|| normal(requirement.name.as_ref()))
    });
    wanted.collect()
}

/// A project's name as indices compare it (PEP 503).
fn normal(name: &str) -> String {
    let mut out = String::new();
    for letter in name.to_ascii_lowercase().chars() {
        match letter {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            other => out.push(other),
        }
    }
    out
}

/// Adds digests and addresses to the packages of a base that coil assembled itself.
fn tell_origins(components: &mut [Component], packages: &[PinnedPackage]) {
    let by_name: BTreeMap<(&str, &str), &PinnedPackage> = packages
        .iter()
        .map(|package| ((package.name.as_str(), package.version.as_str()), package))
        .collect();
    for component in components {
        let version = component.version.as_deref().unwrap_or_default();
        let is_deb = component
            .purl
            .as_deref()
            .is_some_and(|purl| purl.starts_with("pkg:deb/"));
        let Some(package) = by_name
            .get(&(component.name.as_str(), version))
            .filter(|_| is_deb)
        else {
            continue;
        };
        component.hashes = vec![Hash::sha256(&package.sha256)];
        component.file_name = package.filename.rsplit('/').next().map(str::to_owned);
        component.download = Some(format!("{DEBIAN}/{}/{}", package.archive, package.filename));
    }
}

fn app_metadata(planned: &Planned) -> Fields {
    let file = planned
        .installed
        .iter()
        .find(|file| file.path.ends_with(".dist-info/METADATA"));
    file.map(|file| Fields::parse(&file.bytes)).unwrap_or_default()
}

/// The project itself: what it says of itself if it is installed, its name if it isn't.
fn app(planned: &Planned, arch: Arch, layer: &Digest) -> Component {
    let metadata = app_metadata(planned);
    let text = |name: &str| metadata.first(name).map(str::to_owned);
    let name = text("Name").unwrap_or_else(|| planned.name.clone());
    let version = text("Version");
    let classifiers: Vec<String> = metadata.all("Classifier").map(str::to_owned).collect();
    let purl = PackageUrl::generic(&name, version.as_deref()).to_string();
    Component {
        // Its name may be a package's of the image too.
        id: format!("app:{name}"),
        kind: Kind::Application,
        name,
        version,
        purl: Some(purl),
        licences: licences_of_metadata(
            metadata.first("License-Expression"),
            metadata.first("License"),
            &classifiers,
        ),
        summary: text("Summary"),
        layer: Some(layer.clone()),
        properties: BTreeMap::from([("coil:platform".to_owned(), format!("linux/{arch}"))]),
        ..Component::default()
    }
}

/// The names of the packages that the project itself asks for, where it says so.
fn app_needs(planned: &Planned) -> BTreeSet<String> {
    app_metadata(planned)
        .all("Requires-Dist")
        .filter_map(|line| Some(normal(parse_requirement(line).ok()?.name.as_ref())))
        .collect()
}

/// What the app uses itself: what it asks for, and the installed wheels that nothing else asks for.
fn direct(components: &[Component], asked: &BTreeSet<String>) -> Vec<String> {
    let needed: BTreeSet<&String> = components.iter().flat_map(|one| &one.depends_on).collect();
    let is_wheel = |one: &&Component| {
        one.file_name
            .as_deref()
            .is_some_and(|file| file.ends_with(".whl"))
    };
    components
        .iter()
        .filter(is_wheel)
        .filter(|one| !needed.contains(&one.id) || asked.contains(&normal(&one.name)))
        .map(|one| one.id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_no_secret() {
        for (url, told) in [
            (
                "https://user:pass@pypi.example/a/b.whl?token=1#sha256=2",
                Some("https://pypi.example/a/b.whl"),
            ),
            ("file:///home/me/b.whl", None),
            ("/home/me/b.whl", None),
        ] {
            assert_eq!(public_address(url).as_deref(), told, "{url}");
        }
    }

    #[test]
    fn names_are_compared_as_indices_do() {
        assert_eq!(normal("Foo__Bar.-baz"), "foo-bar-baz");
    }
}
