//! Volumes: named, without a name, the image's own, filled at their first use; binds, folders in memory, other containers' mounts.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use coil_testkit::{Context, wait_until};
use serde_json::Value;

use crate::{fresh, shared};

/// Runs a shell command in a container of the suite's image.
fn sh(context: &Context, flags: &[&str], script: &str) -> String {
    let image = context.python_image();
    let run = context
        .coil(["run", "--rm"])
        .args(flags)
        .args([image, "sh", "-c", script]);
    run.run().success().stdout().to_owned()
}

fn volumes(context: &Context) -> Vec<String> {
    let listed = context.coil(["volume", "ls", "-q"]).run().success();
    listed.stdout().lines().map(str::to_owned).collect()
}

fn data(context: &Context, name: &str) -> PathBuf {
    let shown = context
        .coil(["volume", "inspect", "-f", "{{.Mountpoint}}", name])
        .run();
    PathBuf::from(shown.success().word())
}

/// An image that the suite's is changed into, with what `script` does in it.
fn image(context: &Context, name: &str, script: &str, changes: &[&str]) {
    let base = context.python_image();
    let container = format!("making-{}", name.replace([':', '/'], "-"));
    context
        .coil([
            "run", "--user", "0", "--name", &container, base, "sh", "-c", script,
        ])
        .run()
        .success();
    let mut words = vec!["commit"];
    for change in changes {
        words.extend(["-c", change]);
    }
    words.extend([container.as_str(), name]);
    context.coil(words).run().success();
    context.coil(["rm", &container]).run().success();
}

#[test]
fn a_volume_keeps_what_containers_write() {
    let context = shared();
    assert_eq!(
        sh(
            &context,
            &["-v", "v-kept:/data", "--user", "0"],
            "echo one > /data/f; ls /data"
        ),
        "f\n"
    );
    assert_eq!(
        sh(
            &context,
            &["-v", "v-kept:/other:ro"],
            "cat /other/f; echo x > /other/g || echo no"
        ),
        "one\nno\n"
    );
    let inspected = context
        .coil(["volume", "inspect", "v-kept"])
        .run()
        .success()
        .json();
    assert_eq!(inspected[0]["Driver"], "local");
    assert_eq!(inspected[0]["Options"], Value::Null);
    assert_eq!(
        fs::read_to_string(data(&context, "v-kept").join("f")).unwrap(),
        "one\n"
    );
    assert_eq!(
        context.coil(["volume", "rm", "v-kept"]).run().success().word(),
        "v-kept"
    );
    context
        .coil(["volume", "inspect", "v-kept"])
        .run()
        .refusal(&["get v-kept: no such volume"]);
}

#[test]
fn volumes_are_made_listed_and_removed() {
    let context = fresh();
    let name = context
        .coil(["volume", "create"])
        .run()
        .success()
        .word()
        .to_owned();
    assert_eq!(name.len(), 64);
    let words = ["volume", "create", "--label", "a=b", "--label", "c", "one"];
    assert_eq!(context.coil(words).run().success().word(), "one");
    assert_eq!(
        context.coil(["volume", "create", "one"]).run().success().word(),
        "one"
    );
    let listed = context.coil(["volume", "ls"]).run().success();
    assert!(
        listed.stdout().starts_with("DRIVER    VOLUME NAME\nlocal     "),
        "{listed}"
    );
    for (filter, found) in [
        ("label=a", 1),
        ("label=a=b", 1),
        ("label=a=c", 0),
        ("name=on", 1),
        ("dangling=true", 2),
        ("dangling=false", 0),
        ("driver=local", 2),
        ("driver=nfs", 0),
    ] {
        let listed = context
            .coil(["volume", "ls", "-q", "--filter", filter])
            .run()
            .success();
        assert_eq!(listed.stdout().lines().count(), found, "{filter}");
    }
    context
        .coil(["volume", "ls", "--filter", "wat=1"])
        .run()
        .refusal(&["invalid filter 'wat'"]);
    for (words, text) in [
        (
            &["volume", "create", "!x"][..],
            "includes invalid characters for a local volume name",
        ),
        (&["volume", "create", "../x"], "includes invalid characters"),
        (&["volume", "create", "a"], "volume name is too short"),
        (
            &["volume", "create", "-o", "wat=1", "bad"],
            "invalid option: \"wat\"",
        ),
        (
            &["volume", "create", "-o", "type=tmpfs", "bad"],
            "missing required option: \"device\"",
        ),
        (
            &["volume", "create", "-d", "nfs", "bad"],
            "coil has `local` alone",
        ),
        (&["volume", "rm", "nothing"], "get nothing: no such volume"),
    ] {
        context.coil(words).run().refusal(&[text]);
    }
    let inspected = context
        .coil(["volume", "inspect", "nothing"])
        .run()
        .expect_code(1);
    assert_eq!(inspected.stdout(), "[]\n");
    context.coil(["volume", "rm", "-f", "nothing"]).run().success();
    // Without an answer nothing goes; then those without names go, and with --all the others.
    context.coil(["volume", "prune"]).input("n\n").run().success();
    let pruned = context.coil(["volume", "prune"]).input("y\n").run().success();
    assert!(
        pruned.stdout().contains(&format!(
            "Deleted Volumes:\n{name}\n\nTotal reclaimed space: 0B\n"
        )),
        "{pruned}"
    );
    assert_eq!(volumes(&context), ["one"]);
    let words = ["volume", "prune", "-af", "--filter", "label!=a"];
    assert_eq!(
        context.coil(words).run().success().stdout(),
        "Total reclaimed space: 0B\n"
    );
    context
        .coil(["volume", "prune", "-af"])
        .run()
        .success()
        .prints("one");
    assert!(volumes(&context).is_empty());
}

#[test]
fn a_volume_in_use_stays() {
    let context = shared();
    let image = context.python_image();
    context
        .coil(["volume", "create", "--label", "used", "v-used"])
        .run()
        .success();
    let id = context
        .coil(["create", "-v", "v-used:/d", image, "true"])
        .run()
        .success()
        .word()
        .to_owned();
    context
        .coil(["volume", "rm", "v-used"])
        .run()
        .refusal(&[&format!("remove v-used: volume is in use - [{id}]")]);
    let words = ["volume", "prune", "-af", "--filter", "label=used"];
    context.coil(words).run().success();
    assert!(volumes(&context).contains(&"v-used".to_owned()));
    context.coil(["rm", &id]).run().success();
    context.coil(["volume", "rm", "v-used"]).run().success();
}

#[test]
fn volumes_without_a_name_go_with_their_container() {
    let context = fresh();
    let image = shared_image(&context);
    let run = ["run", "--rm", "-v", "/data", "-v", "named:/kept", &image, "true"];
    context.coil(run).run().success();
    wait_until("its monitor has cleared up", || volumes(&context) == ["named"]);
    let create = ["create", "--name", "keeper", "-v", "/data", &image, "true"];
    context.coil(create).run().success();
    context.coil(["rm", "keeper"]).run().success();
    assert_eq!(volumes(&context).len(), 2, "it stays without -v");
    context.coil(["volume", "prune", "-f"]).run().success();
    context.coil(create).run().success();
    context
        .coil([
            "create",
            "--name",
            "sharer",
            "--volumes-from",
            "keeper",
            &image,
            "true",
        ])
        .run()
        .success();
    context.coil(["rm", "-v", "keeper"]).run().success();
    assert_eq!(volumes(&context).len(), 2, "another container has it");
    context.coil(["rm", "-v", "sharer"]).run().success();
    assert_eq!(volumes(&context), ["named"]);
    // What can't start and was to be removed leaves nothing.
    let run = ["run", "--rm", "-v", "/data", &image, "no-such-program"];
    context.coil(run).run().expect_code(127);
    assert_eq!(volumes(&context), ["named"]);
}

/// The suite's image in another data root, by an archive.
fn shared_image(context: &Context) -> String {
    let shared = shared();
    let name = shared.python_image();
    let archive = context.path().join("python.tar");
    shared
        .coil(["save", "-o"])
        .arg(&archive)
        .arg(name)
        .run()
        .success();
    context.coil(["load", "-q", "-i"]).arg(&archive).run().success();
    fs::remove_file(&archive).expect("our own archive");
    name.to_owned()
}

#[test]
fn a_new_volume_is_filled_from_the_image_with_owners_and_modes() {
    let context = shared();
    let script = "mkdir -p /srv/data/sub; echo hi > /srv/data/f; chmod 640 /srv/data/f; chown 33:34 /srv/data/f /srv/data; \
        chmod 750 /srv/data; ln -s f /srv/data/l; ln /srv/data/f /srv/data/h";
    image(&context, "test/filled", script, &["VOLUME /srv/data", "USER 0"]);
    let look = "stat -c '%a %u %g %F' /x /x/f /x/sub /x/l; stat -c %h /x/f";
    let own = look.replace("/x", "/srv/data");
    let run = |flags: &[&str], script: &str| {
        let run = context.coil(["run", "--rm"]).args(flags);
        run.args(["test/filled", "sh", "-c", script])
            .run()
            .success()
            .stdout()
            .to_owned()
    };
    let expected =
        "750 33 34 directory\n640 33 34 regular file\n755 0 0 directory\n777 0 0 symbolic link\n2\n";
    // The image's own volume, and a named one in its place.
    assert_eq!(run(&[], &own), expected);
    assert_eq!(run(&["-v", "v-filled:/srv/data"], &own), expected);
    assert_eq!(run(&["-v", "v-filled:/x"], "rm /x/f; ls /x"), "h\nl\nsub\n");
    // It is filled once.
    assert_eq!(run(&["-v", "v-filled:/srv/data"], "ls /srv/data"), "h\nl\nsub\n");
    assert_eq!(run(&["-v", "v-empty:/srv/data:nocopy"], "ls /srv/data"), "");
    // One that is there and empty is filled too.
    context.coil(["volume", "create", "v-later"]).run().success();
    assert_eq!(run(&["-v", "v-later:/srv/data"], &own), expected);
    for name in ["v-filled", "v-empty", "v-later"] {
        context.coil(["volume", "rm", name]).run().success();
    }
    context.coil(["rmi", "test/filled"]).run().success();
}

#[test]
fn links_in_the_image_lead_no_volume_out_of_it() {
    let context = shared();
    let secret = context.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "host").unwrap();
    let script = format!(
        "ln -s {} /srv/out; mkdir -p /real; echo inside > /real/f; ln -s /real /srv/in; mkdir /srv/d; ln -s /etc/shadow /srv/d/s",
        secret.display()
    );
    image(&context, "test/links", &script, &["USER 0"]);
    let run = |flags: &[&str], script: &str| {
        let run = context.coil(["run", "--rm"]).args(flags);
        run.args(["test/links", "sh", "-c", script])
            .run()
            .success()
            .stdout()
            .to_owned()
    };
    assert_eq!(run(&["-v", "v-out:/srv/out"], "ls -A /srv/out/"), "");
    assert!(fs::read_dir(data(&context, "v-out")).unwrap().next().is_none());
    assert_eq!(
        run(&["-v", "v-in:/srv/in"], "cat /srv/in/f /real/f"),
        "inside\ninside\n"
    );
    run(&["-v", "v-d:/srv/d"], "true");
    let link = data(&context, "v-d").join("s");
    assert!(
        fs::symlink_metadata(&link).unwrap().is_symlink(),
        "a link stays a link"
    );
    // A part of a volume: no link in it leads out.
    let inside = data(&context, "v-in");
    symlink(&secret, inside.join("escape")).unwrap();
    fs::create_dir(inside.join("part")).unwrap();
    fs::write(inside.join("part/p"), "part\n").unwrap();
    let mount = |path: &str| format!("type=volume,src=v-in,dst=/m,volume-subpath={path}");
    assert_eq!(run(&["--mount", &mount("part")], "cat /m/p"), "part\n");
    let refused = context.coil([
        "run",
        "--rm",
        "--mount",
        &mount("escape"),
        "test/links",
        "ls",
        "/m",
    ]);
    refused.run().expect_code(125);
    for name in ["v-out", "v-in", "v-d"] {
        context.coil(["volume", "rm", name]).run().success();
    }
    context.coil(["rmi", "test/links"]).run().success();
}

#[test]
fn every_kind_of_mount_has_its_options() {
    let context = shared();
    let folder = context.path().join("bound");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("f"), "host\n").unwrap();
    let bind = format!(
        "type=bind,src={},dst=/b,readonly,bind-propagation=rslave",
        folder.display()
    );
    let script = "cat /b/f; echo x > /b/g || echo no";
    assert_eq!(
        sh(&context, &["--mount", &bind, "--user", "0"], script),
        "host\nno\n"
    );
    let memory = [
        "--mount",
        "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700",
        "--user",
        "0",
    ];
    assert_eq!(
        sh(&context, &memory, "stat -c %a /t; stat -f -c '%b %S' /t"),
        "700\n256 4096\n"
    );
    let memory = ["--tmpfs", "/run/t:size=64k,mode=750,uid=7", "--user", "0"];
    assert_eq!(
        sh(
            &context,
            &memory,
            "stat -c '%a %u' /run/t; grep -c ' /run/t tmpfs.*noexec' /proc/mounts"
        ),
        "750 7\n1\n"
    );
    // A folder of the host that isn't there: made for -v, refused for --mount.
    let missing = context.path().join("made");
    let flag = format!("{}:/m:z", missing.display());
    sh(&context, &["-v", &flag], "true");
    assert!(missing.is_dir());
    let absent = format!("type=bind,src={}/none,dst=/m", missing.display());
    let image = context.python_image();
    for (flags, text) in [
        (["--mount", &absent], "bind source path does not exist"),
        (["--mount", "foo=bar"], "unexpected key 'foo' in 'foo=bar'"),
        (["-v", "a:b:c:d"], "invalid volume specification: 'a:b:c:d'"),
        (
            ["-v", "sub/dir:/x"],
            "includes invalid characters for a local volume name",
        ),
        (["--volumes-from", "nobody"], "No such container: nobody"),
        (["--tmpfs", "rel"], "mount path must be absolute"),
        (["--volume-driver=nfs", "-vdata:/x"], "coil has `local` alone"),
    ] {
        let refused = context.coil(["run", "--rm"]).args(flags).args([image, "true"]);
        refused.run().expect_code(125).refusal(&[text]);
    }
    let twice = ["run", "--rm", "-v", "aa:/x", "-v", "bb:/x", image, "true"];
    context
        .coil(twice)
        .run()
        .expect_code(125)
        .refusal(&["Duplicate mount point: /x"]);
}

#[test]
fn a_volumes_options_say_what_stands_in_its_place() {
    let context = shared();
    let folder = context.path().join("device");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("f"), "device\n").unwrap();
    let device = format!("device={}", folder.display());
    let words = [
        "volume",
        "create",
        "-o",
        "type=none",
        "-o",
        "o=bind",
        "-o",
        &device,
        "v-bound",
    ];
    context.coil(words).run().success();
    assert_eq!(sh(&context, &["-v", "v-bound:/x"], "cat /x/f"), "device\n");
    let words = [
        "volume",
        "create",
        "-o",
        "type=tmpfs",
        "-o",
        "device=tmpfs",
        "-o",
        "o=size=1m,uid=5",
        "v-memory",
    ];
    context.coil(words).run().success();
    assert_eq!(
        sh(
            &context,
            &["-v", "v-memory:/x"],
            "stat -f -c '%b %S' /x; stat -c %u /x"
        ),
        "256 4096\n5\n"
    );
    for name in ["v-bound", "v-memory"] {
        context.coil(["volume", "rm", name]).run().success();
    }
    assert!(folder.join("f").exists(), "what stood in its place stays");
}

#[test]
fn inspect_tells_of_mounts_as_docker_does() {
    let context = shared();
    let image = context.python_image();
    let create = [
        "create",
        "--name",
        "told",
        "-v",
        "v-told:/d:ro",
        "-v",
        "/an",
        "-v",
        "/tmp:/b",
        image,
        "true",
    ];
    context.coil(create).run().success();
    let shown = context.coil(["inspect", "told"]).run().success().json();
    let mounts = shown[0]["Mounts"].as_array().expect("mounts").clone();
    let by = |place: &str| {
        mounts
            .iter()
            .find(|mount| mount["Destination"] == place)
            .expect("a mount")
            .clone()
    };
    assert_eq!(by("/d")["Type"], "volume");
    assert_eq!(
        (&by("/d")["Name"], &by("/d")["RW"], &by("/d")["Mode"]),
        (&"v-told".into(), &false.into(), &"ro".into())
    );
    assert_eq!(
        (&by("/b")["Type"], &by("/b")["Propagation"]),
        (&"bind".into(), &"rprivate".into())
    );
    assert_eq!(by("/an")["Name"].as_str().map(str::len), Some(64));
    assert_eq!(
        shown[0]["HostConfig"]["Binds"],
        serde_json::json!(["v-told:/d:ro", "/tmp:/b"])
    );
    assert!(fs::metadata(data(&context, "v-told")).unwrap().uid() == 0);
    context.coil(["rm", "-v", "told"]).run().success();
    context.coil(["volume", "rm", "v-told"]).run().success();
}
