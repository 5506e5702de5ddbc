//! The bill of materials of a packed image: from what was put in, kept beside the image.
//!
//! What is below the app is listed once, when it is planned, and kept as a blob that the plan names. A changed app adds its
//! own component to that list; an unchanged image has its bills already. The image's own bytes say nothing of them.

use std::collections::{BTreeMap, BTreeSet};

use coil_debian::{PinnedBase, PinnedPackage};
use coil_oci::{Arch, Descriptor, Digest};
use coil_plan::LayerKind;
use coil_python::requirement::parse_requirement;
use coil_python::{MarkerEnvironment, Target};
use coil_sbom::{
    Bill, Component, Format, Hash, Kind, PackageUrl, Subject, embedded_components, licences_of_metadata,
};
use coil_wheel::download::FetchedWheel;
use coil_wheel::facts::{self, Facts};
use coil_wheel::layer::WheelFile;
use coil_wheel::metadata::Fields;

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

    /// Writes the bills of an image that has none yet, and keeps them with it.
    pub(crate) fn keep_bills(
        &self,
        planned: &Planned,
        platform: &PlannedPlatform,
        app_layer: &Digest,
        image: &Descriptor,
        created: &str,
    ) -> Result<(), PackError> {
        let known = self.store.referrers(&image.digest);
        let has = |format: &Format| {
            let kind = Some(format.media_type());
            known.iter().any(|one| one.artifact_type.as_deref() == kind)
        };
        if Format::ALL.iter().all(has) {
            return Ok(());
        }
        let reading = PackError::disk("reading the list of components");
        let bytes = self.store.read_blob(&platform.components).map_err(reading)?;
        let mut components: Vec<Component> = serde_json::from_slice(&bytes).unwrap_or_default();
        components.insert(0, app(planned, platform.arch, app_layer, &components));
        let bill = Bill {
            subject: Subject {
                name: planned.name.clone(),
                manifest: image.digest.clone(),
                architecture: platform.arch.name().into(),
                created: created.to_owned(),
                tool_version: env!("CARGO_PKG_VERSION").into(),
            },
            components,
        };
        let documents = Format::ALL.map(|format| (format.media_type(), bill.write(format)));
        let documents: Vec<(&str, &[u8])> = documents
            .iter()
            .map(|(kind, bytes)| (*kind, bytes.as_slice()))
            .collect();
        self.store
            .put_referrers(image, &documents)
            .map_err(PackError::disk("keeping the bills of materials"))
    }
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

/// The project itself: what it says of itself if it is installed, its name if it isn't.
fn app(planned: &Planned, arch: Arch, layer: &Digest, others: &[Component]) -> Component {
    let metadata = planned
        .installed
        .iter()
        .find(|file| file.path.ends_with(".dist-info/METADATA"))
        .map(|file| Fields::parse(&file.bytes))
        .unwrap_or_default();
    let text = |name: &str| metadata.first(name).map(str::to_owned);
    let name = text("Name").unwrap_or_else(|| planned.name.clone());
    let version = text("Version");
    let classifiers: Vec<String> = metadata.all("Classifier").map(str::to_owned).collect();
    let installed = |component: &&Component| {
        component
            .file_name
            .as_deref()
            .is_some_and(|f| f.ends_with(".whl"))
    };
    let needed: BTreeSet<&String> = others
        .iter()
        .flat_map(|component| component.depends_on.iter())
        .collect();
    // What nothing else asks for, the app does; and so it does for what it says itself.
    let own: BTreeSet<String> = metadata
        .all("Requires-Dist")
        .filter_map(|line| Some(normal(parse_requirement(line).ok()?.name.as_ref())))
        .collect();
    let depends_on = others
        .iter()
        .filter(installed)
        .filter(|component| !needed.contains(&component.id) || own.contains(&normal(&component.name)))
        .map(|component| component.id.clone())
        .collect();
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
        depends_on,
        ..Component::default()
    }
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
