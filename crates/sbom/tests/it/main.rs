//! Whole documents: the rules of both formats that a reader relies on, and what packages bring of their own.

use std::collections::BTreeSet;

use coil_oci::Digest;
use coil_sbom::{
    Bill, Component, EmbeddedError, Format, Hash, Kind, Licence, PackageUrl, Subject, embedded_components,
};
use serde_json::{Value, json};

fn package(name: &str, version: &str) -> Component {
    let purl = PackageUrl::pypi(name, version).to_string();
    Component {
        id: purl.clone(),
        name: name.into(),
        version: Some(version.into()),
        purl: Some(purl),
        ..Component::default()
    }
}

fn bill() -> Bill {
    let mut numpy = package("numpy", "2.3.1");
    numpy.hashes = vec![Hash::sha256(&Digest::of(b"numpy"))];
    numpy.file_name = Some("numpy-2.3.1-cp313-cp313-manylinux_2_28_x86_64.whl".into());
    numpy.download = Some("https://files.pythonhosted.org/numpy.whl".into());
    numpy.homepage = Some("not an address".into());
    numpy.licences = vec![
        Licence::Expression("BSD-3-Clause".into()),
        Licence::Expression("MIT OR Apache-2.0".into()),
        Licence::named("numpy's own"),
    ];
    numpy.layer = Some(Digest::of(b"layer"));
    numpy.parts = vec![Component {
        id: format!("{}#a/0", numpy.id),
        name: "libgfortran".into(),
        licences: vec![Licence::Named {
            name: "GPL with exception".into(),
            text: Some("Copyright\nand more".into()),
        }],
        ..Component::default()
    }];
    let mut pandas = package("pandas", "2.2");
    pandas.depends_on = vec![numpy.id.clone()];
    pandas.licences = vec![Licence::Expression("MIT OR Apache-2.0".into())];
    let app = Component {
        id: "app:numpy".into(),
        kind: Kind::Application,
        name: "numpy".into(),
        depends_on: vec![pandas.id.clone()],
        ..Component::default()
    };
    Bill {
        subject: Subject {
            name: "shop".into(),
            manifest: Digest::of(b"manifest"),
            architecture: "amd64".into(),
            created: "1970-01-01T00:00:00Z".into(),
            tool_version: "1.2.3".into(),
        },
        components: vec![app, numpy, pandas],
    }
}

fn read(format: Format) -> Value {
    serde_json::from_slice(&bill().write(format)).expect("a document is JSON")
}

fn texts<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one[field].as_str())
        .collect()
}

#[test]
fn the_same_bill_has_the_same_bytes_and_another_has_another_identity() {
    let mut other = bill();
    other.components.pop();
    for format in Format::ALL {
        assert_eq!(bill().write(format), bill().write(format));
    }
    let identity = |bill: &Bill, format: Format, field: &str| {
        let document: Value = serde_json::from_slice(&bill.write(format)).unwrap();
        document[field].as_str().unwrap().to_owned()
    };
    for (format, field) in [
        (Format::Spdx, "documentNamespace"),
        (Format::CycloneDx, "serialNumber"),
    ] {
        assert_ne!(identity(&bill(), format, field), identity(&other, format, field));
    }
}

#[test]
fn spdx_holds_together() {
    let document = read(Format::Spdx);
    let ids = texts(&document["packages"], "SPDXID");
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(
        unique.len(),
        ids.len(),
        "every package has an id of its own: {ids:?}"
    );
    for id in &ids {
        let letters = id
            .strip_prefix("SPDXRef-")
            .expect("it begins as the specification says");
        assert!(
            letters
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-'),
            "{id}"
        );
    }
    for relation in document["relationships"].as_array().unwrap() {
        for end in ["spdxElementId", "relatedSpdxElement"] {
            let id = relation[end].as_str().unwrap();
            assert!(id == "SPDXRef-DOCUMENT" || unique.contains(id), "{relation}");
        }
    }
    let by_name = |name: &str, version: &str| {
        let mut all = document["packages"].as_array().unwrap().iter();
        all.find(|one| one["name"] == name && one["versionInfo"].as_str().unwrap_or_default() == version)
            .unwrap_or_else(|| panic!("{name} is missing"))
    };
    let numpy = by_name("numpy", "2.3.1");
    let declared = numpy["licenseDeclared"].as_str().unwrap();
    assert!(
        declared.starts_with("BSD-3-Clause AND (MIT OR Apache-2.0) AND LicenseRef-numpy-s-own-"),
        "{declared}"
    );
    let told = texts(&document["hasExtractedLicensingInfos"], "licenseId");
    let named = declared.rsplit(' ').next().unwrap();
    assert!(told.contains(&named) && told.len() == 2, "{named} in {told:?}");
    assert_eq!(numpy["checksums"][0]["algorithm"], "SHA256");
    assert!(numpy.get("homepage").is_none(), "what is no address is left out");
    assert_eq!(by_name("pandas", "2.2")["licenseDeclared"], "MIT OR Apache-2.0");
    assert_eq!(by_name("numpy", "")["licenseDeclared"], "NOASSERTION");
    let relations = document["relationships"].as_array().unwrap();
    let count = |kind: &str| {
        relations
            .iter()
            .filter(|one| one["relationshipType"] == kind)
            .count()
    };
    assert_eq!(
        (count("DESCRIBES"), count("CONTAINS"), count("DEPENDS_ON")),
        (1, 4, 2)
    );
}

#[test]
fn cyclonedx_holds_together() {
    let document = read(Format::CycloneDx);
    let mut references = vec![document["metadata"]["component"]["bom-ref"].as_str().unwrap()];
    for component in document["components"].as_array().unwrap() {
        references.push(component["bom-ref"].as_str().unwrap());
        references.extend(texts(&component["components"], "bom-ref"));
    }
    let unique: BTreeSet<&str> = references.iter().copied().collect();
    assert_eq!(unique.len(), references.len(), "{references:?}");
    for dependency in document["dependencies"].as_array().unwrap() {
        let needed = dependency["dependsOn"].as_array().into_iter().flatten();
        for reference in needed.chain([&dependency["ref"]]) {
            assert!(unique.contains(reference.as_str().unwrap()), "{reference}");
        }
    }
    let numpy = &document["components"][1];
    // The format takes one expression, or a list of licences, and no mixture.
    assert_eq!(numpy["licenses"][0]["license"]["id"], "BSD-3-Clause");
    assert_eq!(numpy["licenses"][1]["license"]["name"], "MIT OR Apache-2.0");
    assert_eq!(
        document["components"][2]["licenses"],
        json!([{ "expression": "MIT OR Apache-2.0" }])
    );
    assert_eq!(texts(&numpy["externalReferences"], "type"), ["distribution"]);
    assert_eq!(document["metadata"]["component"]["type"], "container");
}

#[test]
fn a_wheels_own_cyclonedx_comes_in_below_it() {
    let document = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.4",
        "metadata": { "component": { "bom-ref": "root", "type": "library", "name": "numpy", "version": "2.3.1" } },
        "components": [
            { "bom-ref": "pkg:pypi/numpy@2.3.1", "type": "library", "name": "NumPy", "version": "2.3.1" },
            { "bom-ref": "a", "type": "library", "name": "libgfortran", "version": "8.5",
              "purl": "pkg:rpm/almalinux/libgfortran@8.5", "licenses": [{ "license": { "id": "gpl-3.0-only" } }],
              "hashes": [{ "alg": "SHA-256", "content": "not one" }],
              "components": [{ "type": "file", "name": "libgfortran.so" }] },
            { "bom-ref": "b", "name": "libquadmath", "licenses": [{ "expression": "nonsense words" }] },
        ],
        "dependencies": [{ "ref": "root", "dependsOn": ["a", "gone"] }, { "ref": "a", "dependsOn": ["b"] }],
    });
    let mut wheel = package("numpy", "2.3.1");
    let file = "numpy-2.3.1.dist-info/sboms/auditwheel.cdx.json";
    let parts = embedded_components(&mut wheel, file, document.to_string().as_bytes()).unwrap();
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(
        names,
        ["libgfortran", "libgfortran.so", "libquadmath"],
        "the wheel itself is left out"
    );
    assert!(
        parts
            .iter()
            .all(|part| part.id.starts_with("pkg:pypi/numpy@2.3.1#"))
    );
    assert_eq!(wheel.depends_on, [parts[0].id.clone()]);
    assert_eq!(parts[0].depends_on, [parts[1].id.clone(), parts[2].id.clone()]);
    assert_eq!(parts[0].licences, [Licence::Expression("GPL-3.0-only".into())]);
    assert!(parts[0].hashes.is_empty(), "what is no digest is none");
    assert_eq!(parts[2].licences, [Licence::named("nonsense words")]);
}

#[test]
fn a_wheels_own_spdx_comes_in_below_it() {
    let document = json!({
        "spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT",
        "packages": [
            { "SPDXID": "SPDXRef-me", "name": "pillow" },
            { "SPDXID": "SPDXRef-jpeg", "name": "libjpeg-turbo", "versionInfo": "3.1",
              "licenseDeclared": "LicenseRef-ijg", "supplier": "Organization: IJG",
              "externalRefs": [{ "referenceType": "purl", "referenceLocator": "pkg:generic/libjpeg-turbo@3.1" }] },
        ],
        "hasExtractedLicensingInfos": [{ "licenseId": "LicenseRef-ijg", "name": "IJG", "extractedText": "text" }],
        "relationships": [
            { "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-me" },
            { "spdxElementId": "SPDXRef-me", "relationshipType": "CONTAINS", "relatedSpdxElement": "SPDXRef-jpeg" },
        ],
    });
    let mut wheel = package("Pillow", "11.0");
    let parts = embedded_components(&mut wheel, "a.spdx.json", document.to_string().as_bytes()).unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].supplier.as_deref(), Some("IJG"));
    assert_eq!(
        parts[0].licences,
        [Licence::Named {
            name: "IJG".into(),
            text: Some("text".into())
        }]
    );
    assert_eq!(wheel.depends_on, [parts[0].id.clone()]);
}

#[test]
fn what_cannot_be_read_says_why() {
    let mut wheel = package("a", "1");
    for (bytes, reason) in [
        (&b"<bom/>"[..], "it is no JSON"),
        (b"{}", "it is neither CycloneDX nor SPDX 2 in JSON"),
        (b"{\"bomFormat\":\"CycloneDX\"}", ""),
    ] {
        match embedded_components(&mut wheel, "x", bytes) {
            Err(error) => assert!(
                !reason.is_empty() && error.to_string().starts_with(reason),
                "{error}"
            ),
            Ok(parts) => assert!(reason.is_empty() && parts.is_empty()),
        }
    }
    let many: Vec<Value> = (0..20_001).map(|_| json!({ "name": "x" })).collect();
    let bytes = json!({ "bomFormat": "CycloneDX", "components": many }).to_string();
    let error = embedded_components(&mut wheel, "x", bytes.as_bytes()).unwrap_err();
    assert_eq!(error, EmbeddedError::TooMany(20_001));
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    assert!(embedded_components(&mut wheel, "x", deep.as_bytes()).is_err());
}
