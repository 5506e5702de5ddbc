//! SPDX 2 documents in JSON.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Found, hash, text};
use crate::component::{Component, Kind, Licence};
use crate::expression::canonical_expression;

pub(super) fn read(document: &Value) -> Found {
    let mut found = Found::default();
    let names: BTreeMap<String, Licence> = document["hasExtractedLicensingInfos"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|info| {
            let id = text(&info["licenseId"])?;
            let licence = Licence::Named {
                name: text(&info["name"]).unwrap_or_else(|| id.clone()),
                text: text(&info["extractedText"]),
            };
            Some((id, licence))
        })
        .collect();
    for described in document["documentDescribes"].as_array().into_iter().flatten() {
        found.roots.extend(text(described));
    }
    for package in document["packages"].as_array().into_iter().flatten() {
        let (Some(id), Some(name)) = (text(&package["SPDXID"]), text(&package["name"])) else {
            continue;
        };
        found.components.push((id, component(package, name, &names)));
    }
    for relation in document["relationships"].as_array().into_iter().flatten() {
        let (Some(from), Some(to)) = (
            text(&relation["spdxElementId"]),
            text(&relation["relatedSpdxElement"]),
        ) else {
            continue;
        };
        match relation["relationshipType"].as_str() {
            Some("DESCRIBES") if from == "SPDXRef-DOCUMENT" => found.roots.push(to),
            Some("DESCRIBED_BY") if to == "SPDXRef-DOCUMENT" => found.roots.push(from),
            Some("CONTAINS" | "DEPENDS_ON" | "STATIC_LINK" | "DYNAMIC_LINK") => found.needs.push((from, to)),
            Some("CONTAINED_BY" | "DEPENDENCY_OF") => found.needs.push((to, from)),
            _ => {}
        }
    }
    found
}

fn told(value: &Value) -> Option<String> {
    text(value).filter(|text| text != "NOASSERTION" && text != "NONE")
}

fn component(package: &Value, name: String, names: &BTreeMap<String, Licence>) -> Component {
    let purl = package["externalRefs"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|reference| reference["referenceType"] == "purl")
        .and_then(|reference| text(&reference["referenceLocator"]));
    let licence = told(&package["licenseDeclared"]).or_else(|| told(&package["licenseConcluded"]));
    let licences = licence.map(
        |licence| match (canonical_expression(&licence), names.get(&licence)) {
            (Some(valid), _) => Licence::Expression(valid),
            (None, Some(named)) => named.clone(),
            (None, None) => Licence::named(licence),
        },
    );
    let spaced = |name: &str| match name {
        "SHA1" => "SHA-1".to_owned(),
        "SHA256" => "SHA-256".to_owned(),
        "SHA384" => "SHA-384".to_owned(),
        "SHA512" => "SHA-512".to_owned(),
        other => other.to_owned(),
    };
    let supplier = told(&package["supplier"]);
    Component {
        kind: match package["primaryPackagePurpose"].as_str() {
            Some("APPLICATION") => Kind::Application,
            Some("OPERATING-SYSTEM") => Kind::OperatingSystem,
            _ => Kind::Library,
        },
        name,
        version: told(&package["versionInfo"]),
        purl: purl.filter(|purl| purl.starts_with("pkg:")),
        hashes: package["checksums"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| hash(&spaced(one["algorithm"].as_str()?), one["checksumValue"].as_str()))
            .collect(),
        licences: licences.into_iter().collect(),
        supplier: supplier.map(|name| match name.split_once(": ") {
            Some((_, name)) => name.to_owned(),
            None => name,
        }),
        summary: told(&package["summary"]),
        download: told(&package["downloadLocation"]),
        homepage: told(&package["homepage"]),
        ..Component::default()
    }
}
