//! CycloneDX 1.6 in JSON (ECMA-424).

use serde_json::{Map, Value, json};

use crate::bill::Bill;
use crate::component::{Component, Kind, Licence};
use crate::expression::licence_id;
use crate::identifier::uuid_of;
use crate::package_url::PackageUrl;

/// Algorithms that the format has names for.
const ALGORITHMS: [&str; 12] = [
    "MD5",
    "SHA-1",
    "SHA-256",
    "SHA-384",
    "SHA-512",
    "SHA3-256",
    "SHA3-384",
    "SHA3-512",
    "BLAKE2b-256",
    "BLAKE2b-384",
    "BLAKE2b-512",
    "BLAKE3",
];

pub(crate) fn document(bill: &Bill) -> Value {
    let subject = &bill.subject;
    let purl =
        PackageUrl::oci(&subject.name, &subject.manifest.to_string()).with("arch", &subject.architecture);
    let root = purl.to_string();
    let mut dependencies = Vec::new();
    let top: Vec<&str> = bill
        .components
        .iter()
        .map(|component| component.id.as_str())
        .collect();
    dependencies.push(json!({ "ref": root, "dependsOn": top }));
    bill.walk(&mut |component| {
        let mut entry = Map::new();
        entry.insert("ref".into(), component.id.clone().into());
        if !component.depends_on.is_empty() {
            entry.insert("dependsOn".into(), json!(component.depends_on));
        }
        dependencies.push(Value::Object(entry));
    });
    let components: Vec<Value> = bill.components.iter().map(component).collect();
    let body = json!({
        "metadata": {
            "timestamp": subject.created,
            "lifecycles": [{ "phase": "build" }],
            "tools": { "components": [{ "type": "application", "name": "coil", "version": subject.tool_version }] },
            "component": {
                "type": "container",
                "bom-ref": root,
                "name": subject.name,
                "version": subject.manifest,
                "hashes": [{ "alg": "SHA-256", "content": subject.manifest.hex() }],
                "purl": root,
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    let serial = uuid_of(body.to_string().as_bytes());
    let mut document = Map::new();
    document.insert(
        "$schema".into(),
        "http://cyclonedx.org/schema/bom-1.6.schema.json".into(),
    );
    document.insert("bomFormat".into(), "CycloneDX".into());
    document.insert("specVersion".into(), "1.6".into());
    document.insert("serialNumber".into(), format!("urn:uuid:{serial}").into());
    document.insert("version".into(), 1.into());
    if let Value::Object(body) = body {
        document.extend(body);
    }
    Value::Object(document)
}

fn component(component: &Component) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| drop(out.insert(name.into(), value));
    put(
        "type",
        match component.kind {
            Kind::Application => "application",
            Kind::Library => "library",
            Kind::OperatingSystem => "operating-system",
            Kind::Platform => "platform",
            Kind::File => "file",
        }
        .into(),
    );
    put("bom-ref", component.id.clone().into());
    if let Some(supplier) = &component.supplier {
        put("supplier", json!({ "name": supplier }));
    }
    if let Some(author) = &component.author {
        put("authors", json!([{ "name": author }]));
    }
    put("name", component.name.clone().into());
    if let Some(version) = &component.version {
        put("version", version.clone().into());
    }
    if let Some(summary) = &component.summary {
        put("description", summary.clone().into());
    }
    let hashes: Vec<Value> = component
        .hashes
        .iter()
        .filter(|hash| ALGORITHMS.contains(&hash.algorithm.as_str()))
        .map(|hash| json!({ "alg": hash.algorithm, "content": hash.value }))
        .collect();
    if !hashes.is_empty() {
        put("hashes", hashes.into());
    }
    if !component.licences.is_empty() {
        put("licenses", licences(&component.licences));
    }
    if let Some(purl) = &component.purl {
        put("purl", purl.clone().into());
    }
    let references: Vec<Value> = [
        ("distribution", &component.download),
        ("website", &component.homepage),
        ("vcs", &component.source),
    ]
    .into_iter()
    .filter_map(|(kind, url)| Some(json!({ "type": kind, "url": address(url.as_deref()?)? })))
    .collect();
    if !references.is_empty() {
        put("externalReferences", references.into());
    }
    let mut properties: Vec<Value> = Vec::new();
    if let Some(layer) = &component.layer {
        properties.push(json!({ "name": "coil:layer:diff-id", "value": layer }));
    }
    if let Some(file) = &component.file_name {
        properties.push(json!({ "name": "coil:file-name", "value": file }));
    }
    for (name, value) in &component.properties {
        properties.push(json!({ "name": name, "value": value }));
    }
    if !properties.is_empty() {
        put("properties", properties.into());
    }
    if !component.parts.is_empty() {
        put(
            "components",
            component.parts.iter().map(self::component).collect(),
        );
    }
    Value::Object(out)
}

/// One expression, or a list of single licences: the format takes no mixture.
fn licences(all: &[Licence]) -> Value {
    if let [Licence::Expression(text)] = all
        && licence_id(text).is_none()
    {
        return json!([{ "expression": text }]);
    }
    let one = |licence: &Licence| match licence {
        Licence::Expression(text) => match licence_id(text) {
            Some(id) => json!({ "license": { "id": id } }),
            None => json!({ "license": { "name": text } }),
        },
        Licence::Named { name, text: None } => json!({ "license": { "name": name } }),
        Licence::Named {
            name,
            text: Some(text),
        } => json!({ "license": { "name": name, "text": { "contentType": "text/plain", "content": text } } }),
    };
    all.iter().map(one).collect()
}

/// An address as an IRI reference may be: no blanks and none of the letters that must be encoded.
pub(crate) fn address(url: &str) -> Option<String> {
    let url = url.trim();
    let wrong =
        |letter: char| letter.is_whitespace() || letter.is_control() || "<>\"{}|\\^`[]".contains(letter);
    (!url.is_empty() && url.contains(':') && !url.contains(wrong)).then(|| url.to_owned())
}
