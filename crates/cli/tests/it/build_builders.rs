//! The commands about builders: scripts that make one before they build run as they are, and are told what it is.

use crate::fresh;

#[test]
fn a_script_of_a_workflow_runs_as_it_is() {
    let context = fresh();
    let project = context.project("ci", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    let coil = |words: &[&str]| context.coil(words).run();
    let made = coil(&[
        "buildx",
        "create",
        "--name",
        "ci",
        "--driver",
        "docker-container",
        "--driver-opt",
        "network=host",
        "--use",
        "--bootstrap",
    ])
    .success();
    assert_eq!(made.stdout(), "ci\n");
    assert!(
        made.stderr()
            .contains("--driver-opt network=host changes nothing"),
        "{}",
        made.stderr()
    );
    coil(&["buildx", "inspect", "--bootstrap"])
        .success()
        .prints("linux/amd64");
    assert!(
        coil(&["buildx", "inspect"])
            .success()
            .stdout()
            .starts_with("Name:          ci\n")
    );
    let listed = coil(&["buildx", "ls"]).success();
    assert!(
        listed.stdout().contains("ci*") && listed.stdout().contains("default"),
        "{}",
        listed.stdout()
    );
    coil(&["buildx", "ls", "--format", "{{.Name}}"])
        .success()
        .prints("ci\ndefault\n");
    context
        .coil(["buildx", "build", "--builder", "ci", "-q", "--load", "-t", "ci:1"])
        .arg(&project)
        .run()
        .success();
    context
        .coil(["buildx", "--builder", "ci", "build", "-q"])
        .arg(&project)
        .run()
        .success();
    context
        .coil(["build", "-q"])
        .env("BUILDX_BUILDER", "ci")
        .arg(&project)
        .run()
        .success();
    coil(&["buildx", "use", "default"]).success();
    coil(&["buildx", "use", "ci"]).success();
    coil(&["buildx", "stop", "ci"]).success();
    coil(&["buildx", "du", "--builder", "ci"]).success();
    coil(&["buildx", "install"]).success();
    coil(&["buildx", "version"]).success().prints("coil");
    coil(&["buildx", "rm", "ci"]).success();
    coil(&["buildx", "use", "ci"]).refusal(&["no builder \"ci\" found", "help:"]);
    context
        .coil(["build", "--builder", "ci"])
        .arg(&project)
        .run()
        .refusal(&["no builder \"ci\" found"]);
    context
        .coil(["build", "-q"])
        .env("BUILDX_BUILDER", "gone")
        .arg(&project)
        .run()
        .refusal(&["no builder \"gone\" found"]);
    let first = coil(&["buildx", "create"]).success().word().to_owned();
    coil(&["buildx", "create", "--name", &first]).refusal(&["existing instance for"]);
}

#[test]
fn what_coil_has_not_is_refused_by_name() {
    let context = fresh();
    for (words, parts) in [
        (
            &["create", "--driver", "kubernetes"][..],
            &["--driver kubernetes"][..],
        ),
        (
            &["create", "--driver", "remote", "tcp://host:1"],
            &["--driver remote"],
        ),
        (&["create", "ssh://host"], &["ssh://host"]),
        (&["create", "--append"], &["--append"]),
        (&["create", "--name", "../x"], &["invalid builder name"]),
        (&["rm", "default"], &["cannot be removed"]),
        (&["bake"], &["buildx bake", "coil build -f FILE"]),
        (&["bake", "-f", "docker-bake.hcl", "--push"], &["buildx bake"]),
        (
            &["imagetools", "create", "-t", "a", "b"],
            &["buildx imagetools create"],
        ),
        (
            &["imagetools", "inspect", "a"],
            &["buildx imagetools inspect", "skopeo inspect"],
        ),
        (&["history", "ls"], &["buildx history ls"]),
        (&["dial-stdio"], &["buildx dial-stdio"]),
    ] {
        context.coil(["buildx"]).args(words).run().refusal(parts);
    }
}
