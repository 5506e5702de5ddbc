//! uv's own images, made of its wheel.

use super::{PYTHON, fresh, with_python};

#[test]
fn uv_alone_and_above_a_python() {
    let context = with_python();
    let alone = "ghcr.io/astral-sh/uv:latest";
    // What an earlier run made is made anew.
    context.coil(["base", "--update", alone]).run().success();
    let version = context.coil(["run", "--rm", alone, "--version"]).run().success();
    let version = version.stdout().split(' ').nth(1).expect("a version").to_owned();
    assert_eq!(
        context
            .coil([
                "inspect",
                "--type",
                "image",
                "-f",
                "{{.Config.Entrypoint}} {{.Config.WorkingDir}}",
                alone
            ])
            .run()
            .success()
            .stdout(),
        "[/uv] /io\n"
    );
    context
        .coil(["base", alone])
        .run()
        .success()
        .prints(&format!("is here already, made of uv {version}"));
    context
        .coil(["base", "--dry-run", alone])
        .run()
        .success()
        .prints(&format!("uv stays at {version}"));

    // Its lower layers are those of the Python that is here.
    let above = format!("ghcr.io/astral-sh/uv:{version}-python3.11-bookworm-slim");
    context
        .coil(["base", "--update", &above])
        .run()
        .success()
        .prints(&format!("uv {version} and "));
    let script = "uv --version; command -v uvx; python --version; echo $UV_TOOL_BIN_DIR";
    let run = context
        .coil(["run", "--rm", "--network", "none", &above, "sh", "-c", script])
        .run()
        .success();
    let lines: Vec<&str> = run.stdout().lines().collect();
    assert!(lines[0].starts_with(&format!("uv {version}")), "{run}");
    assert_eq!(lines[1], "/usr/local/bin/uvx");
    assert!(lines[2].starts_with("Python 3.11."), "{run}");
    assert_eq!(lines[3], "/usr/local/bin");
    let layers = |name: &str| {
        let format = "{{range .RootFS.Layers}}{{println .}}{{end}}";
        let inspect = context
            .coil(["inspect", "--type", "image", "-f", format, name])
            .run();
        inspect.success().stdout().trim().to_owned()
    };
    assert!(layers(&above).starts_with(&layers(PYTHON)));
    context
        .coil(["base", "--list"])
        .run()
        .success()
        .prints("ghcr.io/astral-sh/uv");
}

#[test]
fn an_image_of_uv_that_cannot_be_made() {
    let context = fresh();
    context
        .coil(["base", "ghcr.io/astral-sh/uv:python3.12-bookworm-slim"])
        .run()
        .refusal(&["Debian bookworm has no Python 3.12", "--nearest"]);
    context
        .coil(["base", "ghcr.io/astral-sh/uv:99.1"])
        .run()
        .refusal(&["no version 99.1 of `uv`", "name a version that the index has"]);
    // What can be made is told where an image can't be had.
    let project = context.project(
        "app",
        &[(
            "Dockerfile",
            "FROM scratch\nCOPY --from=ghcr.io/astral-sh/uv:0.9 /uv /\n",
        )],
    );
    context.coil(["build"]).arg(&project).run().refusal(&[
        "`coil base ghcr.io/astral-sh/uv:0.9` makes an image",
        "uv's wheel",
    ]);
}
