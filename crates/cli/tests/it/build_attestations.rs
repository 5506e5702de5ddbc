//! What a build tells of its image beside it: how it was made and what is in it, as BuildKit keeps them.

use std::fs;
use std::path::Path;

use coil_testkit::Context;
use serde_json::Value;

use crate::{fresh, shared};

const PYTHON: &str = "python:3.11-slim";
const V02: &str = "https://slsa.dev/provenance/v0.2";

fn blob(layout: &Path, digest: &Value) -> Value {
    let hex = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    let path = layout.join("blobs/sha256").join(hex.expect("a digest"));
    serde_json::from_slice(&fs::read(path).expect("a blob")).expect("JSON")
}

/// The image of a layout, and the statements about it by their kind.
fn told(layout: &Path) -> (Value, Vec<(String, Value)>) {
    let top: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).expect("a layout with what is told"))
            .expect("a layout with what is told");
    let index = blob(layout, &top["manifests"][0]["digest"]);
    let entries = index["manifests"]
        .as_array()
        .expect("an index of the image and what is told");
    let [image, about] = entries.as_slice() else {
        panic!("{index}");
    };
    assert_eq!(about["platform"]["architecture"], "unknown");
    assert_eq!(
        about["annotations"]["vnd.docker.reference.type"],
        "attestation-manifest"
    );
    assert_eq!(
        about["annotations"]["vnd.docker.reference.digest"],
        image["digest"]
    );
    let manifest = blob(layout, &about["digest"]);
    let statements = manifest["layers"]
        .as_array()
        .expect("a layout with what is told")
        .iter()
        .map(|layer| {
            assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
            let kind = layer["annotations"]["in-toto.io/predicate-type"]
                .as_str()
                .expect("a layout with what is told");
            let statement = blob(layout, &layer["digest"]);
            assert_eq!(statement["predicateType"], kind);
            let subject = &statement["subject"][0]["digest"]["sha256"];
            assert!(
                image["digest"]
                    .as_str()
                    .expect("a layout with what is told")
                    .ends_with(subject.as_str().expect("a layout with what is told"))
            );
            (kind.to_owned(), statement)
        });
    (image.clone(), statements.collect())
}

fn project(context: &Context) -> std::path::PathBuf {
    context.project(
        "told",
        &[
            ("f", "hi\n"),
            (
                "Dockerfile",
                "FROM scratch\nARG TOKEN\nARG HTTP_PROXY\nCOPY f /app/f\nLABEL x=y\n",
            ),
        ],
    )
}

#[test]
fn provenance_stands_beside_the_image_and_tells_arguments_only_where_all_is_asked() {
    let context = fresh();
    let folder = project(&context);
    let layout = |name: &str, flags: &[&str]| {
        let place = context.path().join(name);
        let output = format!("type=oci,tar=false,dest={}", place.display());
        context
            .coil([
                "build",
                "-t",
                "told:1",
                "--build-arg",
                "TOKEN=word",
                "--label",
                "a=b",
                "-o",
                &output,
            ])
            .args(["--build-arg", "HTTP_PROXY=http://me:pass@proxy:1"])
            .args(flags)
            .arg(&folder)
            .run()
            .success();
        place
    };
    // Nothing is told unless it is asked for.
    let plain = layout("plain", &[]);
    let top: Value = serde_json::from_slice(&fs::read(plain.join("index.json")).unwrap()).unwrap();
    assert_eq!(
        top["manifests"][0]["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    let (image, least) = told(&layout("least", &["--provenance=true"]));
    assert_eq!(image["digest"], top["manifests"][0]["digest"]);
    assert_eq!(least.len(), 1);
    let (kind, statement) = &least[0];
    assert_eq!(kind, V02);
    assert_eq!(
        statement["subject"][0]["name"],
        "pkg:docker/told@1?platform=linux%2Famd64"
    );
    let predicate = &statement["predicate"];
    assert_eq!(predicate["buildType"], "https://mobyproject.org/buildkit@v1");
    assert_eq!(
        predicate["invocation"]["configSource"]["entryPoint"],
        "Dockerfile"
    );
    assert_eq!(predicate["metadata"]["completeness"]["parameters"], false);
    let text = statement.to_string();
    assert!(
        !text.contains("TOKEN") && !text.contains("pass") && !text.contains("buildConfig"),
        "{text}"
    );
    let (_, most) = told(&layout(
        "most",
        &["--attest", "type=provenance,mode=max,builder-id=https://ci/1"],
    ));
    let predicate = &most[0].1["predicate"];
    assert_eq!(predicate["builder"]["id"], "https://ci/1");
    assert_eq!(
        predicate["invocation"]["parameters"]["args"]["build-arg:TOKEN"],
        "word"
    );
    assert_eq!(predicate["invocation"]["parameters"]["args"]["label:a"], "b");
    let steps = predicate["buildConfig"]["llbDefinition"].as_array().unwrap();
    assert!(
        steps
            .iter()
            .any(|step| step.to_string().contains("\"dest\":\"/app/f\"")),
        "{predicate}"
    );
    let about = &predicate["metadata"]["https://mobyproject.org/buildkit@v1#metadata"];
    assert_eq!(about["source"]["infos"][0]["filename"], "Dockerfile");
    assert!(!most[0].1.to_string().contains("pass"), "a proxy's login is told");
    let (_, one) = told(&layout("one", &["--attest", "type=provenance,version=v1"]));
    assert_eq!(one[0].0, "https://slsa.dev/provenance/v1");
    assert_eq!(
        one[0].1["predicate"]["buildDefinition"]["externalParameters"]["configSource"]["path"],
        "Dockerfile"
    );
    // What was written is read again: what is told of an image is no image.
    let archive = context.path().join("told.tar");
    let output = format!("type=oci,dest={}", archive.display());
    context
        .coil([
            "build",
            "-q",
            "-t",
            "told:2",
            "--provenance=mode=max",
            "-o",
            &output,
        ])
        .arg(&folder)
        .run()
        .success();
    let other = fresh();
    other
        .coil(["load", "-i"])
        .arg(&archive)
        .run()
        .success()
        .prints("told:2");
    let listed = other.coil(["images", "-q", "told"]).run().success();
    assert_eq!(listed.stdout().lines().count(), 1, "{}", listed.stdout());
    for (flags, why) in [
        (["--sbom=generator=a/b"], "runs no generator a/b"),
        (["--provenance=mode=all"], "invalid mode \"all\""),
        (["--attest=type=other"], "attestation type \"other\" is unknown"),
    ] {
        context
            .coil(["build"])
            .args(flags)
            .arg(&folder)
            .run()
            .refusal(&[why]);
    }
}

#[test]
fn files_that_are_written_out_have_it_beside_them_and_the_metadata_tells_it() {
    let context = fresh();
    let folder = project(&context);
    let out = context.path().join("out");
    let output = format!("type=local,dest={}", out.display());
    let metadata = context.path().join("metadata.json");
    context
        .coil([
            "build",
            "--provenance=true",
            "--sbom=true",
            "--build-arg",
            "TOKEN=7",
            "-o",
            &output,
        ])
        .arg("--metadata-file")
        .arg(&metadata)
        .arg(&folder)
        .run()
        .success();
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let statement = read(&out.join("provenance.json"));
    assert_eq!(statement["predicateType"], V02);
    assert_eq!(statement["subject"][0]["name"], "app/f");
    assert_eq!(
        statement["subject"][0]["digest"]["sha256"],
        coil_oci::Digest::of(b"hi\n").hex()
    );
    assert_eq!(
        read(&out.join("sbom.spdx.json"))["predicateType"],
        "https://spdx.dev/Document"
    );
    let made = read(&metadata);
    let provenance = &made["buildx.build.provenance"];
    assert_eq!(
        provenance["invocation"]["parameters"]["args"]["build-arg:TOKEN"],
        "7"
    );
    assert!(provenance.get("metadata").is_none() && provenance.get("buildConfig").is_none());
    // A tar has them among its files; only those that stay with an image have none.
    let tar = context.path().join("out.tar");
    let output = format!("type=tar,dest={}", tar.display());
    let build = |provenance: &str| {
        context
            .coil(["build", "-q", provenance, "-o", &output])
            .env("BUILDX_METADATA_PROVENANCE", "disabled")
            .arg("--metadata-file")
            .arg(&metadata)
            .arg(&folder)
            .run()
            .success();
        String::from_utf8_lossy(&fs::read(&tar).unwrap()).contains("provenance.json")
    };
    assert!(build("--provenance=true"));
    assert!(!build("--provenance=mode=min,inline-only=true"));
    assert!(read(&metadata).get("buildx.build.provenance").is_none());
}

#[test]
fn materials_say_where_a_base_only_stands_in_and_no_secret_is_told() {
    let context = shared();
    context.coil(["base", PYTHON]).run().success();
    let folder = context.project(
        "materials",
        &[(
            "Dockerfile",
            "FROM python:3.11-slim\nRUN --mount=type=secret,id=key,env=KEY \\\n  mkdir -p /opt/a/one-1.0.dist-info && printf 'Metadata-Version: 2.1\\nName: one\\nVersion: 1.0\\n' > /opt/a/one-1.0.dist-info/METADATA\n",
        )],
    );
    let layout = context.path().join("materials-layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    context
        .coil([
            "build",
            "--provenance=mode=max",
            "--sbom=true",
            "--secret",
            "id=key,env=KEY",
            "-o",
            &output,
        ])
        .env("KEY", "hunter-two")
        .arg(&folder)
        .run()
        .success();
    let (_, statements) = told(&layout);
    let of = |kind: &str| {
        &statements
            .iter()
            .find(|(known, _)| known.contains(kind))
            .expect(kind)
            .1
    };
    let provenance = of("slsa");
    let material = &provenance["predicate"]["materials"][0];
    assert_eq!(
        material["uri"],
        "pkg:docker/coil.local/stand-in/python@3.11-slim?platform=linux%2Famd64"
    );
    assert_eq!(material["digest"]["sha256"].as_str().map(str::len), Some(64));
    let about = &provenance["predicate"]["metadata"]["https://mobyproject.org/buildkit@v1#metadata"];
    assert_eq!(
        about["coil:stand-ins"][0]["for"],
        "docker.io/library/python:3.11-slim"
    );
    let text = provenance.to_string();
    assert!(
        text.contains("\"id\":\"key\"") && !text.contains("hunter-two"),
        "{text}"
    );
    let packages = of("spdx")["predicate"]["packages"].to_string();
    for name in ["\"libc6\"", "\"pip\"", "\"one\""] {
        assert!(packages.contains(name), "{name} is missing");
    }
}
