//! Files between containers and the host: cp, diff, export; nothing of a container's leads out of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use coil_testkit::Context;

use crate::shared;

/// A container that was made and not started, whose program waits.
fn create(context: &Context, name: &str, script: &str) {
    let image = context.python_image();
    let words = ["create", "--name", name, "--user", "0", image, "sh", "-c", script];
    context.coil(words).run().success();
}

fn cp(
    context: &Context,
    source: impl AsRef<Path>,
    destination: impl AsRef<Path>,
) -> coil_testkit::process::Finished {
    let cp = context
        .coil(["cp"])
        .arg(source.as_ref())
        .arg(destination.as_ref());
    cp.directory(context.path()).run()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

#[test]
fn sources_and_destinations_are_combined_as_docker_does() {
    let context = shared();
    let here = context.path();
    fs::create_dir_all(here.join("d/s")).unwrap();
    fs::write(here.join("f"), "file\n").unwrap();
    fs::write(here.join("d/s/y"), "deep\n").unwrap();
    symlink("f", here.join("lf")).unwrap();
    create(&context, "table", "true");
    for (source, destination) in [
        ("f", "table:/root/f1"),
        ("f", "table:/root"),
        ("f", "table:/root/f1"),
        ("d", "table:/root/"),
        ("d", "table:/root/new"),
        ("d/.", "table:/root/new2/"),
        ("d/.", "table:/root/new"),
        ("lf", "table:/root/"),
    ] {
        // What is told of it is for terminals.
        let done = cp(&context, source, destination).success();
        assert_eq!((done.stdout(), done.stderr()), ("", ""));
    }
    let words = ["cp", "-qL", "lf", "table:/root/lf2"];
    let quiet = context.coil(words).directory(here).run().success();
    assert_eq!(quiet.stderr(), "");
    for (source, destination, text) in [
        ("d", "table:/root/f1", "cannot copy directory"),
        ("f", "table:/nope/", "no such directory"),
        (
            "f",
            "table:/nope/x",
            "Could not find the file /nope in container table",
        ),
        ("f", "table:/root/f1/", "must be a directory"),
        ("nofile", "table:/", "nofile"),
        (
            "table:/none",
            "here",
            "Could not find the file /none in container table",
        ),
        (
            "table:/root",
            "table:/x",
            "copying between containers is not supported",
        ),
        ("f", "d", "must specify at least one container source"),
        ("f", "nobody:/", "No such container: nobody"),
        ("table:/etc", "f", "cannot copy directory"),
    ] {
        let refused = cp(&context, source, destination).expect_code(1);
        assert!(
            refused.stderr().contains(text),
            "{source} {destination}: {refused}"
        );
    }
    cp(&context, "table:/root", "out").success();
    for (path, text) in [
        ("f1", "file\n"),
        ("f", "file\n"),
        ("d/s/y", "deep\n"),
        ("new/s/y", "deep\n"),
        ("new2/s/y", "deep\n"),
        ("lf2", "file\n"),
    ] {
        assert_eq!(read(here.join("out").join(path)), text, "{path}");
    }
    assert_eq!(fs::read_link(here.join("out/lf")).unwrap(), Path::new("f"));
    assert!(!here.join("out/new/d").exists());
    cp(&context, "table:/root/f1", "d/").success();
    cp(&context, "table:/root/.", "d").success();
    assert_eq!(
        read(here.join("d/f1")) + &read(here.join("d/new/s/y")),
        "file\ndeep\n"
    );
    context.coil(["rm", "table"]).run().success();
}

#[test]
fn tar_streams_go_in_and_out() {
    let context = shared();
    create(&context, "streams", "true");
    fs::create_dir_all(context.path().join("src/sub")).unwrap();
    fs::write(context.path().join("src/sub/f"), "streamed\n").unwrap();
    let script = "tar c -C src . | coil cp - streams:/srv && coil cp streams:/srv - | tar xO srv/sub/f";
    assert_eq!(
        context
            .shell(script)
            .directory(context.path())
            .run()
            .success()
            .stdout(),
        "streamed\n"
    );
    // A compressed one too; and what is cut short is told.
    let script = "tar cz -C src . | coil cp - streams:/opt; echo $?; tar c -C src . | head -c 1600 | coil cp - streams:/tmp; echo $?";
    let ran = context.shell(script).directory(context.path()).run();
    assert_eq!(ran.stdout(), "0\n1\n", "{ran}");
    let script = "tar c -C src . | coil cp - streams:/none";
    let refused = context
        .shell(script)
        .directory(context.path())
        .run()
        .expect_code(1);
    assert!(
        refused
            .stderr()
            .contains("destination \"streams:/none\" must be a directory"),
        "{refused}"
    );
    context.coil(["rm", "streams"]).run().success();
}

#[test]
fn a_running_containers_mounts_are_seen_and_its_changes_told() {
    let context = shared();
    let script = "mkdir /srv/d; echo hi > /srv/d/f; rm /etc/debian_version; echo in > /vol/v; exec sleep 600";
    let image = context.python_image();
    let words = [
        "run",
        "-d",
        "--name",
        "runs",
        "--user",
        "0",
        "-v",
        "c-runs:/vol",
        "--tmpfs",
        "/mem",
    ];
    context
        .coil(words)
        .args([image, "sh", "-c", script])
        .run()
        .success();
    coil_testkit::wait_until("it has written", || {
        context
            .coil(["exec", "runs", "test", "-e", "/vol/v"])
            .run()
            .code()
            == 0
    });
    fs::write(context.path().join("f"), "host\n").unwrap();
    cp(&context, "f", "runs:/vol/w").success();
    cp(&context, "f", "runs:/mem/m").success();
    let seen = context
        .coil(["exec", "runs", "cat", "/vol/w", "/mem/m"])
        .run()
        .success();
    assert_eq!(seen.stdout(), "host\nhost\n");
    cp(&context, "runs:/vol/v", "v").success();
    assert_eq!(read(context.path().join("v")), "in\n");
    let told = context.coil(["diff", "runs"]).run().success();
    assert_eq!(
        told.stdout(),
        "C /etc\nD /etc/debian_version\nC /srv\nA /srv/d\nA /srv/d/f\n"
    );
    let script = "coil export runs | tar t | grep -E '^(srv/d/f|vol/.+|etc/debian_version|proc/.+|dev/.+)$'; coil export -o e.tar runs; tar tf e.tar | grep -c ^srv/d/f$";
    let listed = context.shell(script).directory(context.path()).run().success();
    assert_eq!(listed.stdout(), "srv/d/f\n1\n");
    context.coil(["rm", "-f", "runs"]).run().success();
    context.coil(["volume", "rm", "c-runs"]).run().success();
    context
        .coil(["diff", "runs"])
        .run()
        .refusal(&["No such container: runs"]);
}

#[test]
fn no_link_of_a_container_leads_out_of_it() {
    let context = shared();
    let outside = context.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("key"), "secret").unwrap();
    let place = outside.display();
    let script = format!(
        "ln -s {place} /srv/out; ln -s {place}/key /srv/key; ln -s ../../../../../../../..{place}/key /srv/up; \
         ln -s /proc/1/root{place} /srv/magic; mkdir /real; ln -s /real /srv/in; echo ok > /srv/done; exec sleep 600"
    );
    let image = context.python_image();
    let words = [
        "run", "-d", "--name", "hostile", "--user", "0", image, "sh", "-c", &script,
    ];
    context.coil(words).run().success();
    coil_testkit::wait_until("it has written", || {
        context
            .coil(["exec", "hostile", "test", "-e", "/srv/done"])
            .run()
            .code()
            == 0
    });
    fs::write(context.path().join("f"), "host\n").unwrap();
    for running in [true, false] {
        for source in ["/srv/out/key", "/srv/magic/key"] {
            cp(&context, format!("hostile:{source}"), "got").expect_code(1);
        }
        for source in ["/srv/key", "/srv/up"] {
            let words = ["cp", "-L", &format!("hostile:{source}"), "got"];
            context.coil(words).directory(context.path()).run().expect_code(1);
        }
        assert!(!context.path().join("got").exists());
        cp(&context, "f", "hostile:/srv/out/new");
        cp(&context, "f", "hostile:/srv/out");
        assert!(
            fs::read_dir(&outside).unwrap().count() == 1,
            "nothing was written outside"
        );
        // Inside, links lead where they lead.
        cp(&context, "f", "hostile:/srv/in/x").success();
        cp(&context, "hostile:/real/x", "inside").success();
        if running {
            context.coil(["kill", "hostile"]).run().success();
            context.coil(["wait", "hostile"]).run().success();
        }
    }
    // What comes out leads nowhere either: a link first, then a file through it.
    let script = format!(
        "mkdir t && cd t && ln -s {place} l && tar cf ../a.tar l && rm l && mkdir l && echo bad > l/key && tar rf ../a.tar l/key && cd .. && \
         coil cp - hostile:/srv < a.tar; cat {place}/key"
    );
    let ran = context.shell(&script).directory(context.path()).run();
    assert_eq!(ran.stdout(), "secret", "{ran}");
    let script = "coil cp - hostile:/srv <<EOF\nno tar\nEOF\n";
    context.shell(script).run().expect_code(1);
    context.coil(["rm", "-f", "hostile"]).run().success();
}
