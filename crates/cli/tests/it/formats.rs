//! How containers and images are shown: templates, tables, filters and what inspect tells.

use coil_testkit::{Context, Finished};

use crate::{fresh, shared};

/// Two containers that never start, and so stay as they are.
fn made(context: &Context) {
    let image = context.python_image();
    for (name, flags) in [
        ("first", ["--label", "a=1", "--label", "b=x=y"]),
        ("second", ["-p", "127.0.0.1::80", "-v", "/tmp:/data"]),
    ] {
        context
            .coil(["create", "--name", name])
            .args(flags)
            .args([image, "sh", "-c", "echo \"a\"; exit"])
            .run()
            .success();
    }
}

fn ps(context: &Context, flags: &[&str]) -> Finished {
    context.coil(["ps", "-a"]).args(flags).run()
}

#[test]
fn templates_are_dockers() {
    let context = shared();
    made(&context);
    for (template, text) in [
        ("{{.Names}}", "second\nfirst\n"),
        ("{{.Names}} {{.Label \"a\"}}|", "second |\nfirst 1|\n"),
        (
            "{{upper .Names}} {{truncate .Names 3}} {{title .State}}",
            "SECOND sec Created\nFIRST fir Created\n",
        ),
        ("{{if eq .Names \"first\"}}yes{{else}}no{{end}}", "no\nyes\n"),
        (
            "{{range $i, $part := split \"a,b\" \",\"}}{{if $i}};{{end}}{{$part}}{{end}}",
            "a;b\na;b\n",
        ),
        (
            "table {{.Names}}\\t{{.State}}\\t{{.Label \"com.acme.my-label\"}}",
            "NAMES     STATE     my label\nsecond    created   \nfirst     created   \n",
        ),
        (
            "{{json .Names}} {{.Command}}",
            "\"second\" \"sh -c 'echo \\\"a\\\"; ex…\"\n\"first\" \"sh -c 'echo \\\"a\\\"; ex…\"\n",
        ),
        ("{{.Status}} {{.Size}}{{/* a remark */}}", "Created 0B (virtual "),
        ("yaml", "yaml\nyaml\n"),
    ] {
        let shown = ps(&context, &["--format", template]).success();
        assert!(shown.stdout().starts_with(text), "{template}\n{shown}");
    }
    let rows = ps(&context, &["--format", "json"]).success();
    let row: serde_json::Value =
        serde_json::from_str(rows.stdout().lines().last().unwrap_or_default()).expect("a line of JSON");
    assert_eq!(
        (&row["Names"], &row["LocalVolumes"]),
        (&"first".into(), &"0".into())
    );
    for (template, message) in [
        ("{{.ID", "template: :1: unclosed action"),
        ("{{nothing}}", "function \"nothing\" not defined"),
        (
            "{{.Foo}}",
            "can't evaluate field Foo in type *formatter.ContainerContext",
        ),
    ] {
        ps(&context, &["--format", template])
            .expect_code(1)
            .refusal(&[message]);
    }
}

#[test]
fn inspect_has_dockers_shape() {
    let context = shared();
    made(&context);
    let inspect = |flags: &[&str]| context.coil(["inspect"]).args(flags).run();
    for (template, text) in [
        (
            "{{.Name}} {{.State.Status}} {{.State.Running}} {{.RestartCount}}",
            "/second created false 0\n",
        ),
        (
            "{{json .HostConfig.PortBindings}}",
            "{\"80/tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"\"}]}\n",
        ),
        (
            "{{range .Mounts}}{{.Type}}:{{.Source}}:{{.Destination}}:{{.RW}}{{end}}",
            "bind:/tmp:/data:true\n",
        ),
        (
            "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.Memory}} {{.HostConfig.CapAdd}} {{.HostConfig.Privileged}}",
            "no 0 [] false\n",
        ),
        (
            "{{.GraphDriver.Name}} {{len .Config.Cmd}} {{index .Config.Cmd 0}}",
            "overlay2 3 sh\n",
        ),
        (
            "{{index .Config.Labels \"none\"}}|{{if .State.Health}}x{{else}}no health{{end}}",
            "|no health\n",
        ),
        (
            "{{.State.FinishedAt}} {{eq .State.ExitCode 0}}",
            "0001-01-01T00:00:00Z true\n",
        ),
    ] {
        let shown = inspect(&["-f", template, "second"]).success();
        assert_eq!(shown.stdout(), text, "{template}");
    }
    let object = inspect(&["--size", "first"]).success().json()[0].clone();
    assert!(
        object["SizeRootFs"].as_u64().is_some_and(|size| size > 0),
        "{object}"
    );
    assert_eq!(object["Config"]["Labels"]["b"], "x=y");
    inspect(&["-f", "{{.Name}}", "nothing", "first"])
        .expect_code(1)
        .refusal(&["No such object: nothing"])
        .prints("/first");
    assert_eq!(inspect(&["nothing"]).expect_code(1).stdout().trim(), "[]");
    inspect(&["--type", "container", "nothing"])
        .expect_code(1)
        .refusal(&["No such container: nothing"]);
    inspect(&["--type", "image", "first"])
        .expect_code(1)
        .refusal(&["No such image: first"]);
    inspect(&["--type", "thing", "first"])
        .expect_code(1)
        .refusal(&["unknown type"]);
    inspect(&["-f", "{{.Name", "first"])
        .expect_code(64)
        .refusal(&["template parsing error: template: :1: unclosed action"]);
    inspect(&["-f", "{{.State.Foo}}", "first"])
        .expect_code(1)
        .refusal(&["template parsing error: template: :1:8: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\""]);
}

#[test]
fn containers_are_filtered_as_docker_filters_them() {
    let context = shared();
    made(&context);
    let image = context.python_image();
    context
        .coil([
            "run",
            "--name",
            "ended",
            image,
            "python3",
            "-c",
            "raise SystemExit(3)",
        ])
        .run()
        .expect_code(3);
    let names = |flags: &[&str]| {
        let shown = context
            .coil(["ps"])
            .args(flags)
            .args(["--format", "{{.Names}}"])
            .run()
            .success();
        shown
            .stdout()
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let id = context
        .coil(["inspect", "-f", "{{.Id}}", "first"])
        .run()
        .success()
        .word()
        .to_owned();
    for (flags, found) in [
        (vec!["-a"], "ended second first"),
        (vec!["--filter", "status=exited"], "ended"),
        (vec!["--filter", "status=created"], "second first"),
        (vec!["-a", "--filter", "exited=3"], "ended"),
        (vec!["-a", "--filter", "exited=0"], ""),
        (vec!["-a", "--filter", "name=^f"], "first"),
        (
            vec!["-a", "--filter", "name=first", "--filter", "name=second"],
            "second first",
        ),
        (vec!["-a", "--filter", &format!("id={}", &id[..7])], "first"),
        (vec!["-a", "--filter", "label=a"], "first"),
        (
            vec!["-a", "--filter", "label=a=1", "--filter", "label=b"],
            "first",
        ),
        (vec!["-a", "--filter", "label=a=2"], ""),
        (vec!["-a", "--filter", "before=second"], "first"),
        (vec!["-a", "--filter", "since=first"], "ended second"),
        (vec!["-a", "--filter", "volume=/data"], "second"),
        (vec!["-a", "--filter", "volume=/dat"], ""),
        (vec!["-a", "--filter", "expose=80/tcp"], "second"),
        (vec!["-a", "--filter", "network=bridge"], "ended second first"),
        (vec!["-a", "--filter", "network=host"], ""),
        (vec!["-a", "--filter", "health=none"], "ended second first"),
        (
            vec!["-a", "--filter", &format!("ancestor={image}")],
            "ended second first",
        ),
        (vec!["-a", "--filter", "ancestor=nothing"], ""),
        (vec!["-l"], "ended"),
        (vec!["-n", "2"], "ended second"),
        (vec!["-n", "-1"], ""),
    ] {
        assert_eq!(names(&flags), found, "{flags:?}");
    }
    for (filter, code, message) in [
        ("foo=bar", 1, "invalid filter 'foo'"),
        ("status=bad", 1, "must be one of created, running, paused"),
        ("exited=x", 1, "invalid filter 'exited=x'"),
        ("before=nothing", 1, "No such container: nothing"),
        ("is-task=true", 1, "is-task"),
        ("foo", 125, "expected name=value"),
    ] {
        context
            .coil(["ps", "--filter", filter])
            .run()
            .expect_code(code)
            .refusal(&[message]);
    }
}

#[test]
fn images_are_filtered_and_shown_as_docker_does() {
    let context = fresh();
    let image = context.python_image();
    context.coil(["tag", image, "other/name:v1"]).run().success();
    let images = |flags: &[&str]| context.coil(["images"]).args(flags).run();
    let names = |flags: &[&str]| {
        let shown = images(&[flags, &["--format", "{{.Repository}}:{{.Tag}}"]].concat()).success();
        let mut names: Vec<String> = shown.stdout().lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    for (flags, found) in [
        (vec![], "other/name:v1 test/python:latest"),
        (vec!["other/name"], "other/name:v1"),
        (vec!["other/*:v*"], "other/name:v1"),
        (vec!["other/name:v2"], ""),
        (vec!["--filter", "reference=*/python"], "test/python:latest"),
        (vec!["--filter", "dangling=true"], ""),
        (
            vec!["--filter", "dangling=false"],
            "other/name:v1 test/python:latest",
        ),
        (vec!["--filter", "label=no.such"], ""),
    ] {
        assert_eq!(names(&flags), found, "{flags:?}");
    }
    images(&["--format", "table {{.Repository}}\\t{{.ID}}"])
        .success()
        .prints("REPOSITORY    IMAGE ID\n");
    images(&["--digests"]).success().prints("DIGEST");
    images(&["--filter", "bad=1"])
        .expect_code(1)
        .refusal(&["invalid filter 'bad'"]);
    images(&["--filter", "dangling=x"])
        .expect_code(1)
        .refusal(&["invalid filter 'dangling=[x]'"]);
    images(&["--filter", "before=nothing"])
        .expect_code(1)
        .refusal(&["No such image"]);
}
