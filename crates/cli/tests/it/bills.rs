//! Bills of materials: what is in them, that they are kept with the image and go with it; and what images share.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use coil_testkit::Context;
use coil_testkit::image::Layout;
use coil_testkit::index::PackageIndex;
use coil_testkit::wheel::WheelBuilder;
use serde_json::{Value, json};

use crate::{fresh, shared};

/// A context whose package index is ours alone.
fn with_index(context: Context) -> (Context, PackageIndex) {
    let index = PackageIndex::start();
    (context.with_index(&index), index)
}

fn read(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("the document is JSON")
}

/// The components of a CycloneDX document by name.
fn components(document: &Value) -> BTreeMap<String, Value> {
    let list = document["components"].as_array().expect("a list of components");
    list.iter()
        .map(|one| (one["name"].as_str().expect("a name").to_owned(), one.clone()))
        .collect()
}

#[test]
fn a_bill_lists_what_was_put_in_and_is_kept_with_the_image() {
    let context = shared();
    let project = context.example("flask");
    let (file, layout) = (
        context.path().join("flask.spdx.json"),
        context.path().join("layout"),
    );
    let name = "test/bill:1";
    context
        .coil(["pack".as_ref(), project.as_os_str()])
        .args(["-t", name, "--sbom"])
        .arg(&file)
        .args(["--output", &format!("oci:{}", layout.display())])
        .run()
        .success();
    let spdx = read(&file);
    assert_eq!(spdx["spdxVersion"], "SPDX-2.3");
    let packages = spdx["packages"].as_array().expect("packages");
    let named = |name: &str| {
        let found = packages.iter().find(|package| package["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is missing"))
    };
    let flask = named("Flask");
    assert_eq!(flask["licenseDeclared"], "BSD-3-Clause");
    let purl = flask["externalRefs"][0]["referenceLocator"]
        .as_str()
        .unwrap_or_default();
    assert!(purl.starts_with("pkg:pypi/flask@"), "{purl}");
    assert_eq!(
        flask["checksums"][0]["checksumValue"].as_str().map(str::len),
        Some(64)
    );
    let libc = named("libc6");
    let purl = libc["externalRefs"][0]["referenceLocator"]
        .as_str()
        .unwrap_or_default();
    assert!(
        purl.starts_with("pkg:deb/debian/libc6@")
            && purl.contains("arch=")
            && purl.contains("&upstream=glibc"),
        "{purl}"
    );
    assert!(libc["checksums"][0]["checksumValue"].is_string());

    // The same document comes from the store, and the other format has the same packages.
    let kept = context.coil(["sbom", name, "--format", "spdx"]).run().success();
    assert_eq!(kept.stdout(), fs::read_to_string(&file).expect("it was written"));
    let other = context.path().join("flask.cdx.json");
    context.coil(["sbom", name, "-o"]).arg(&other).run().success();
    let cyclonedx = read(&other);
    assert_eq!(cyclonedx["specVersion"], "1.6");
    let all = components(&cyclonedx);
    assert_eq!(
        all.len() + 1,
        packages.len(),
        "the image itself is a package in SPDX alone"
    );
    context.coil(["sbom", name]).run().success().prints("Flask");

    // Beside the image in a layout, and about it.
    let image = Layout::open(&layout).image();
    let index = Layout::open(&layout).index();
    let about: Vec<&Value> = index["manifests"]
        .as_array()
        .expect("manifests")
        .iter()
        .filter(|entry| entry["artifactType"].is_string())
        .collect();
    assert_eq!(about.len(), 2);
    for entry in about {
        let digest = entry["digest"].as_str().expect("a digest").replace(':', "/");
        let manifest = read(&layout.join("blobs").join(digest));
        assert_eq!(manifest["subject"]["digest"], image.digest.as_str());
    }
    let told = cyclonedx["metadata"]["component"]["version"].as_str();
    assert_eq!(
        told,
        Some(image.digest.as_str()),
        "the bill names the image by its digest"
    );
}

#[test]
fn bills_are_the_same_everywhere_and_go_with_their_image() {
    let (one, two) = (fresh(), shared());
    let project = [("main.py", "print('hello')\n")];
    let texts: Vec<String> = [&one, &two]
        .into_iter()
        .map(|context| {
            let folder = context.project("billed", &project);
            let bill = context.path().join("bill.cdx.json");
            context
                .coil(["pack".as_ref(), folder.as_os_str()])
                .args(["--sbom"])
                .arg(&bill)
                .run()
                .success();
            fs::read_to_string(bill).expect("it was written")
        })
        .collect();
    assert!(
        texts[0] == texts[1],
        "the same project has the same bill in every store"
    );
    let document: Value = serde_json::from_str(&texts[0]).expect("JSON");
    assert_eq!(document["metadata"]["timestamp"], "1970-01-01T00:00:00Z");
    let count = || fs::read_dir(one.root().join("referrers-v1")).map_or(0, Iterator::count);
    assert_eq!(count(), 1);
    one.coil(["rmi", "billed"]).run().success();
    assert_eq!(count(), 0, "what was about the image is gone with it");
    one.coil(["sbom", "billed"]).run().refusal(&["error: ", "billed"]);
}

#[test]
fn what_wheels_tell_of_their_own_parts_stands_below_them() {
    let (context, index) = with_index(shared());
    let bill = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.4",
        "components": [{ "bom-ref": "z", "type": "library", "name": "zlib-ng", "version": "2.2",
                         "purl": "pkg:generic/zlib-ng@2.2" }],
    });
    index.add(
        &WheelBuilder::new("coiled_vendor", "1.0")
            .metadata("License-Expression: MIT AND Zlib")
            .file("coiled_vendor.py", "")
            .file("coiled_vendor-1.0.dist-info/sboms/own.cdx.json", bill.to_string())
            .file("coiled_vendor-1.0.dist-info/sboms/broken.json", "no JSON"),
    );
    let project = context.project(
        "vendored",
        &[
            ("main.py", "import coiled_vendor\nprint(coiled_vendor)\n"),
            ("requirements.txt", "coiled-vendor==1.0\n"),
        ],
    );
    let printed = context
        .coil(["pack".as_ref(), project.as_os_str()])
        .args(["-t", "test/vendored", "--sbom", "-", "--sbom-format", "cyclonedx"])
        .run()
        .success();
    let document: Value =
        serde_json::from_str(printed.stdout()).expect("standard output holds the bill alone");
    let all = components(&document);
    let wheel = &all["coiled-vendor"];
    assert_eq!(wheel["licenses"][0]["expression"], "MIT AND Zlib");
    assert_eq!(wheel["components"][0]["purl"], "pkg:generic/zlib-ng@2.2");
    let properties = wheel["properties"].as_array().expect("properties");
    let unread = properties
        .iter()
        .find(|one| one["name"] == "coil:unread:coiled_vendor-1.0.dist-info/sboms/broken.json");
    assert!(unread.is_some(), "what cannot be read is told: {properties:?}");
    let app = &all["vendored"];
    let needs = document["dependencies"]
        .as_array()
        .expect("dependencies")
        .iter()
        .find(|one| one["ref"] == app["bom-ref"])
        .expect("the app is there");
    assert_eq!(needs["dependsOn"], json!([wheel["bom-ref"]]));
}

/// Twenty small packages, of which one comes in two versions.
fn many(index: &PackageIndex) -> (String, String) {
    let mut lines = String::new();
    for number in 0..20_u32 {
        let name = format!("coiled_part{number}");
        let noise: String = (0..20_000_u32)
            .map(|n| format!("x{n} = {}\n", (n ^ (number << 20)).wrapping_mul(0x9e37_79b9)))
            .collect();
        index.add(&WheelBuilder::new(&name, "1.0").file(&format!("{name}.py"), noise));
        lines.push_str(&format!("{}==1.0\n", name.replace('_', "-")));
    }
    index.add(&WheelBuilder::new("coiled_part7", "1.1").file("coiled_part7.py", "x = 1\n"));
    let changed = lines.replace("coiled-part7==1.0", "coiled-part7==1.1");
    (lines, changed)
}

#[test]
fn one_changed_dependency_moves_its_bucket_and_no_other_layer() {
    let (context, index) = with_index(shared());
    let (before, after) = many(&index);
    let project = context.project(
        "parts",
        &[("main.py", "print(1)\n"), ("requirements.txt", &before)],
    );
    let name = "test/parts:1";
    context
        .coil(["pack".as_ref(), project.as_os_str()])
        .args(["-t", name])
        .run()
        .success();
    fs::write(project.join("requirements.txt"), after).expect("our own project");
    let flags = ["--explain", "--against", name];
    let object = context
        .coil(["pack".as_ref(), project.as_os_str()])
        .args(flags)
        .args(["--format", "json"])
        .run()
        .success()
        .json();
    let sharing = &object["sharing"][0];
    assert_eq!(sharing["with"], name);
    assert_eq!(sharing["same"], false);
    let new = sharing["new"].as_array().expect("a list");
    let kinds: Vec<&str> = new.iter().filter_map(|layer| layer["kind"].as_str()).collect();
    assert_eq!(
        kinds,
        ["packages", "app"],
        "requirements.txt is a file of the app: {sharing:#}"
    );
    let changes = new[0]["changes"].as_array().expect("a list");
    assert_eq!(
        changes,
        &[json!({ "name": "coiled-part7", "before": "1.0", "now": "1.1" })],
        "{sharing:#}"
    );
    let number = |value: &Value| value.as_u64().expect("a number");
    let moved: u64 = new.iter().map(|layer| number(&layer["size"])).sum();
    let layers = object["images"][0]["layers"].as_array().expect("layers");
    let packages: u64 = layers
        .iter()
        .filter(|layer| layer["kind"] == "packages")
        .map(|layer| number(&layer["size"]))
        .sum();
    assert!(moved * 3 < packages, "{moved} bytes of {packages} moved");
    assert_eq!(number(&sharing["of_bytes"]), number(&sharing["bytes"]) + moved);
    context
        .coil(["pack".as_ref(), project.as_os_str()])
        .args(flags)
        .run()
        .success()
        .prints("coiled-part7 1.0 → 1.1");
}

#[test]
fn what_cannot_be_said_of_a_bill_is_refused() {
    let context = shared();
    let project = context.project("plain", &[("main.py", "print(1)\n")]);
    let pack = |flags: &[&str]| {
        context
            .coil(["pack".as_ref(), project.as_os_str()])
            .args(flags)
            .run()
    };
    let without = pack(&["--sbom", "bill.json"]);
    without.refusal(&["bill.json", "help: ", "--sbom-format"]);
    let both = pack(&["--sbom", "-", "--sbom-format", "spdx", "--format", "json"]);
    both.refusal(&["--sbom -", "help: "]);
    let nowhere = pack(&["--sbom", "/nowhere/at/all.cdx.json"]);
    nowhere.refusal(&["/nowhere/at/all.cdx.json", "help: "]);
    let missing = pack(&["--explain", "--against", "test/not-there"]);
    missing.refusal(&["test/not-there", "help: "]);
    context
        .coil(["sbom", "test/not-there"])
        .run()
        .refusal(&["test/not-there", "help: "]);
}
