//! `--output`: what other tools will read, read here by none of coil's own code.

use coil_testkit::image::{Layout, docker_archive};

use crate::shared;

#[test]
fn layout_and_archives_hold_the_same_valid_image() {
    let context = shared();
    let project = context.example("flask");
    let layout = context.path().join("layout");
    let archive = context.path().join("image.tar");
    let docker = context.path().join("docker.tar");
    for target in [
        format!("oci:{}", layout.display()),
        format!("oci-archive:{}", archive.display()),
        format!("docker-archive:{}", docker.display()),
    ] {
        let arguments = [
            "pack".as_ref(),
            project.as_os_str(),
            "-t".as_ref(),
            "test/outputs:1".as_ref(),
        ];
        context
            .coil(arguments)
            .args(["--output", &target])
            .run()
            .success();
    }
    let from_layout = Layout::open(&layout);
    let one = from_layout.image();
    let two = Layout::unpack(&archive, &context.path().join("unpacked")).image();
    assert_eq!(one.digest, two.digest);
    let (three, names) = docker_archive(&docker, &context.path().join("docker"));
    assert_eq!(one.config, three.config);
    assert!(
        names.iter().any(|name| name.contains("test/outputs:1")),
        "{names:?}"
    );
    assert_eq!(one.files(), three.files());
    let index = from_layout.index();
    let annotations = &index["manifests"][0]["annotations"];
    assert!(
        annotations["org.opencontainers.image.ref.name"].is_string(),
        "the layout names its image: {index}"
    );
}

#[test]
fn two_platforms_are_one_index() {
    let context = shared();
    let project = context.project(
        "native",
        &[
            (
                "main.py",
                "import markupsafe._speedups\nprint(markupsafe.__version__)\n",
            ),
            ("requirements.txt", "markupsafe==3.0.4\n"),
        ],
    );
    let layout = context.path().join("layout");
    let target = format!("oci:{}", layout.display());
    let arguments = [
        "pack".as_ref(),
        project.as_os_str(),
        "--output".as_ref(),
        target.as_ref(),
    ];
    context
        .coil(arguments)
        .args(["--platform", "linux/amd64,linux/arm64"])
        .run()
        .success();
    let images = Layout::open(&layout).images();
    let architectures: Vec<_> = images
        .iter()
        .map(|image| image.config["architecture"].clone())
        .collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    for (image, machine) in images.iter().zip(["x86_64", "aarch64"]) {
        let files = image.files();
        let extension = files
            .keys()
            .find(|path| path.contains("markupsafe/_speedups") && path.ends_with(".so"));
        assert!(
            extension.is_some_and(|path| path.contains(machine)),
            "{machine}: {extension:?}"
        );
    }
}
