//! SPDX 2.3 in JSON (ISO/IEC 5962 and its later edition).

use std::collections::{BTreeMap, BTreeSet};

use coil_oci::Digest;
use serde_json::{Map, Value, json};

use crate::bill::Bill;
use crate::component::{Component, Kind, Licence};
use crate::cyclonedx::address;
use crate::identifier::{spdx_letters, uuid_of};
use crate::package_url::PackageUrl;

const NOTHING_SAID: &str = "NOASSERTION";
const ROOT: &str = "SPDXRef-Image";

/// Algorithms by CycloneDX's names and by SPDX's.
const ALGORITHMS: [(&str, &str); 10] = [
    ("MD5", "MD5"),
    ("SHA-1", "SHA1"),
    ("SHA-256", "SHA256"),
    ("SHA-384", "SHA384"),
    ("SHA-512", "SHA512"),
    ("SHA3-256", "SHA3-256"),
    ("SHA3-384", "SHA3-384"),
    ("SHA3-512", "SHA3-512"),
    ("BLAKE2b-256", "BLAKE2b-256"),
    ("BLAKE3", "BLAKE3"),
];

pub(crate) fn document(bill: &Bill) -> Value {
    let subject = &bill.subject;
    let ids = ids(bill);
    let mut texts = BTreeMap::new();
    let purl =
        PackageUrl::oci(&subject.name, &subject.manifest.to_string()).with("arch", &subject.architecture);
    let mut packages = vec![json!({
        "SPDXID": ROOT,
        "name": subject.name,
        "versionInfo": subject.manifest,
        "supplier": NOTHING_SAID,
        "downloadLocation": NOTHING_SAID,
        "filesAnalyzed": false,
        "checksums": [{ "algorithm": "SHA256", "checksumValue": subject.manifest.hex() }],
        "licenseConcluded": NOTHING_SAID,
        "licenseDeclared": NOTHING_SAID,
        "copyrightText": NOTHING_SAID,
        "externalRefs": [purl_reference(&purl.to_string())],
        "primaryPackagePurpose": "CONTAINER",
    })];
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", ROOT)];
    for component in &bill.components {
        relations.push(relation(ROOT, "CONTAINS", &ids[component.id.as_str()]));
    }
    bill.walk(&mut |component| {
        let id = &ids[component.id.as_str()];
        packages.push(package(component, id, &mut texts));
        for part in &component.parts {
            relations.push(relation(id, "CONTAINS", &ids[part.id.as_str()]));
        }
        let needed = component
            .depends_on
            .iter()
            .filter_map(|needed| ids.get(needed.as_str()));
        relations.extend(needed.map(|needed| relation(id, "DEPENDS_ON", needed)));
    });
    let extracted: Vec<Value> = texts
        .into_iter()
        .map(|(id, (name, text))| json!({ "licenseId": id, "name": name, "extractedText": text }))
        .collect();
    let mut body = json!({
        "creationInfo": {
            "created": subject.created,
            "creators": [format!("Tool: coil-{}", subject.tool_version)],
        },
        "packages": packages,
        "relationships": relations,
    });
    if let (false, Value::Object(body)) = (extracted.is_empty(), &mut body) {
        body.insert("hasExtractedLicensingInfos".into(), extracted.into());
    }
    let uuid = uuid_of(body.to_string().as_bytes());
    let mut document = Map::new();
    document.insert("spdxVersion".into(), "SPDX-2.3".into());
    document.insert("dataLicense".into(), "CC0-1.0".into());
    document.insert("SPDXID".into(), "SPDXRef-DOCUMENT".into());
    document.insert("name".into(), subject.name.clone().into());
    // The address that the specification gives to those who have none of their own; nothing need be found there.
    let namespace = format!("https://spdx.org/spdxdocs/{}-{uuid}", spdx_letters(&subject.name));
    document.insert("documentNamespace".into(), namespace.into());
    if let Value::Object(body) = body {
        document.extend(body);
    }
    Value::Object(document)
}

/// An identifier of SPDX's letters for each component, unique in the document.
fn ids(bill: &Bill) -> BTreeMap<&str, String> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut ids = BTreeMap::new();
    bill.walk(&mut |component| {
        let kind = match (&component.purl, component.kind) {
            (Some(purl), _) => purl
                .trim_start_matches("pkg:")
                .split('/')
                .next()
                .unwrap_or_default(),
            (None, Kind::Application) => "application",
            (None, Kind::OperatingSystem) => "system",
            (None, _) => "part",
        };
        let plain = spdx_letters(&format!("{kind}-{}", component.name));
        let mut id = format!("SPDXRef-{plain}");
        if !taken.insert(id.clone()) {
            id = format!(
                "SPDXRef-{plain}-{}",
                &Digest::of(component.id.as_bytes()).hex()[..12]
            );
            taken.insert(id.clone());
        }
        ids.insert(component.id.as_str(), id);
    });
    ids
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn purl_reference(purl: &str) -> Value {
    json!({
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl,
    })
}

fn package(component: &Component, id: &str, texts: &mut BTreeMap<String, (String, String)>) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| drop(out.insert(name.into(), value));
    put("SPDXID", id.into());
    put("name", component.name.clone().into());
    if let Some(version) = &component.version {
        put("versionInfo", version.clone().into());
    }
    if let Some(file) = &component.file_name {
        put("packageFileName", file.clone().into());
    }
    let person = |kind: &str, name: &Option<String>| match name {
        Some(name) => format!("{kind}: {}", one_line(name)),
        None => NOTHING_SAID.into(),
    };
    put("supplier", person("Organization", &component.supplier).into());
    if component.author.is_some() {
        put("originator", person("Person", &component.author).into());
    }
    let download = component.download.as_deref().and_then(location);
    put(
        "downloadLocation",
        download.unwrap_or_else(|| NOTHING_SAID.into()).into(),
    );
    put("filesAnalyzed", false.into());
    let checksums: Vec<Value> = component
        .hashes
        .iter()
        .filter_map(|hash| {
            let (_, name) = ALGORITHMS.iter().find(|(theirs, _)| *theirs == hash.algorithm)?;
            Some(json!({ "algorithm": name, "checksumValue": hash.value }))
        })
        .collect();
    if !checksums.is_empty() {
        put("checksums", checksums.into());
    }
    if let Some(homepage) = component.homepage.as_deref().and_then(location) {
        put("homepage", homepage.into());
    }
    put("licenseConcluded", NOTHING_SAID.into());
    put("licenseDeclared", declared(&component.licences, texts).into());
    put("copyrightText", NOTHING_SAID.into());
    if let Some(summary) = &component.summary {
        put("summary", summary.clone().into());
    }
    if let Some(purl) = &component.purl {
        put("externalRefs", json!([purl_reference(purl)]));
    }
    put(
        "primaryPackagePurpose",
        match component.kind {
            Kind::Application => "APPLICATION",
            Kind::Library => "LIBRARY",
            Kind::OperatingSystem => "OPERATING-SYSTEM",
            Kind::Platform => "FRAMEWORK",
            Kind::File => "FILE",
        }
        .into(),
    );
    if let Some(layer) = &component.layer {
        put("sourceInfo", format!("in the layer with diff id {layer}").into());
    }
    let comments: Vec<String> = component
        .properties
        .iter()
        .map(|(name, value)| format!("{name}={}", one_line(value)))
        .collect();
    if !comments.is_empty() {
        put("comment", comments.join("\n").into());
    }
    Value::Object(out)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What may stand as a place: an address of the web or of a version control system.
fn location(url: &str) -> Option<String> {
    let url = address(url)?;
    let known = [
        "https://", "http://", "ftp://", "git://", "ssh://", "git+", "hg+", "bzr+", "svn+",
    ];
    known.iter().any(|start| url.starts_with(start)).then_some(url)
}

/// All licences in one expression; names become references, whose texts are told at the document's end.
fn declared(licences: &[Licence], texts: &mut BTreeMap<String, (String, String)>) -> String {
    if licences.is_empty() {
        return NOTHING_SAID.into();
    }
    let several = licences.len() > 1;
    let terms: Vec<String> = licences
        .iter()
        .map(|licence| match licence {
            Licence::Expression(text) if several && text.contains(' ') => format!("({text})"),
            Licence::Expression(text) => text.clone(),
            Licence::Named { name, text } => {
                let text = text.clone().unwrap_or_else(|| {
                    format!("The component names its licence `{name}`, and gives no text in its metadata.")
                });
                let letters: String = spdx_letters(name).chars().take(40).collect();
                let digest = Digest::of(format!("{name}\n{text}").as_bytes());
                let id = format!("LicenseRef-{}-{}", letters.trim_matches('-'), &digest.hex()[..8]);
                texts.insert(id.clone(), (name.clone(), text));
                id
            }
        })
        .collect();
    terms.join(" AND ")
}
