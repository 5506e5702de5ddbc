//! Images for several platforms from one Dockerfile.

use coil_testkit::image::Layout;

use crate::fresh;

#[test]
fn several_platforms_become_one_index() {
    let context = fresh();
    let folder = context.project(
        "both",
        &[
            (
                "Dockerfile",
                "FROM --platform=$BUILDPLATFORM scratch AS build\nARG TARGETARCH\nCOPY for-$TARGETARCH /out\n\
             FROM scratch\nCOPY --from=build /out /program\nCMD [\"/program\"]\n",
            ),
            ("for-amd64", "one"),
            ("for-arm64", "two"),
        ],
    );
    let archive = context.path().join("both.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let files = format!("type=local,dest={}", context.path().join("files").display());
    let metadata = context.path().join("metadata.json");
    context
        .coil([
            "build",
            "-t",
            "both:1",
            "--load",
            "--platform",
            "linux/amd64,linux/arm64",
        ])
        .args(["--annotation", "index:of=both", "--metadata-file"])
        .arg(&metadata)
        .args(["-o", &output, "-o", &files])
        .arg(&folder)
        .run()
        .success();
    let layout = Layout::unpack(&archive, &context.path().join("both-layout"));
    let images = layout.images();
    let architectures: Vec<_> = images
        .iter()
        .map(|image| image.config["architecture"].clone())
        .collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    for (image, content) in images.iter().zip(["one", "two"]) {
        assert_eq!(image.file("program").unwrap(), content.as_bytes());
    }
    for (platform, content) in [("linux_amd64", "one"), ("linux_arm64", "two")] {
        let file = context.path().join("files").join(platform).join("program");
        assert_eq!(std::fs::read_to_string(file).unwrap(), content);
    }
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
    assert_eq!(
        told["containerimage.descriptor"]["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    context
        .coil(["build", "--platform", "linux/amd64,linux/arm64", "-o", "-"])
        .arg(&folder)
        .run()
        .refusal(&["one platform"]);
    context
        .coil(["build", "--platform", "linux/s390x"])
        .arg(&folder)
        .run()
        .refusal(&["linux/s390x", "linux/arm64"]);
}

#[test]
fn a_step_of_another_machine_is_refused_where_nothing_runs_it() {
    let context = fresh();
    let foreign = match std::env::consts::ARCH {
        "x86_64" => "arm64",
        _ => "amd64",
    };
    let folder = context.project(
        "foreign",
        &[("Dockerfile", "FROM scratch\nRUN [\"/bin/true\"]\n")],
    );
    let run = context
        .coil(["build", "--platform", &format!("linux/{foreign}")])
        .arg(&folder)
        .run();
    // An emulator that the machine has may run it, and finds no program.
    run.refusal(&["Dockerfile:2"]);
}
