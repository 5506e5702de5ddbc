//! Images that come from containers and archives, and go into archives: commit, import, save, load.

use std::fs;

use coil_testkit::Context;
use serde_json::json;

use crate::{fresh, shared};

/// A container of the suite's image that has ended, after a script.
fn ended(context: &Context, name: &str, flags: &[&str], script: &str) {
    let image = context.python_image();
    let run = context.coil(["run", "--user", "0", "--name", name]).args(flags);
    run.args([image, "sh", "-c", script]).run().success();
}

#[test]
fn a_container_becomes_an_image() {
    let context = shared();
    ended(
        &context,
        "made",
        &["-e", "A=1", "-v", "/vol", "-w", "/srv"],
        "echo hi > f; rm /etc/debian_version; echo x > /vol/v",
    );
    let words = [
        "commit",
        "-m",
        "msg",
        "-a",
        "me",
        "-c",
        "ENV B=2",
        "-c",
        "CMD [\"sh\", \"-c\", \"cat f; echo $A$B; ls /etc/debian_version /vol\"]",
    ];
    let id = context.coil(words).args(["made", "test/made:1"]).run().success();
    assert!(id.word().starts_with("sha256:"));
    let shown = context
        .coil(["image", "inspect", "test/made:1"])
        .run()
        .success()
        .json();
    assert_eq!(
        (&shown[0]["Author"], &shown[0]["Id"]),
        (&json!("me"), &json!(id.word()))
    );
    assert_eq!(shown[0]["Config"]["Volumes"], json!({ "/vol": {} }));
    context
        .coil(["history", "test/made:1"])
        .run()
        .success()
        .prints("msg");
    let ran = context.coil(["run", "--rm", "test/made:1"]).run();
    assert_eq!(ran.stdout(), "hi\n12\n/vol:\n", "{ran}");
    let layers = shown[0]["RootFS"]["Layers"].as_array().map(Vec::len);
    // Without a name it is known by its id.
    let id = context.coil(["commit", "made"]).run().success().word().to_owned();
    let shown = context.coil(["image", "inspect", &id]).run().success().json();
    assert_eq!(shown[0]["RootFS"]["Layers"].as_array().map(Vec::len), layers);
    context.coil(["rmi", &id]).run().success();
    let refused = context.coil(["commit", "-c", "RUN x", "made"]).run();
    refused.refusal(&["RUN is not a valid change command"]);
    context
        .coil(["commit", "nobody"])
        .run()
        .refusal(&["No such container: nobody"]);
    context
        .coil(["commit", "made", "Bad_Name!"])
        .run()
        .refusal(&["invalid reference format"]);
    context.coil(["rm", "-v", "made"]).run().success();
    context.coil(["rmi", "test/made:1"]).run().success();
}

#[test]
fn an_exported_file_system_is_imported() {
    let context = shared();
    ended(&context, "out", &[], "echo exported > /srv/f");
    let script = "coil export out > e.tar; gzip -k e.tar; \
        coil import -c 'CMD [\"cat\", \"/srv/f\"]' -m hello e.tar test/in:1; coil import - test/in:2 < e.tar.gz";
    let made = context.shell(script).directory(context.path()).run().success();
    assert_eq!(made.stdout().matches("sha256:").count(), 2, "{made}");
    let ran = context.coil(["run", "--rm", "test/in:1"]).run().success();
    assert_eq!(ran.stdout(), "exported\n");
    context
        .coil(["history", "test/in:1"])
        .run()
        .success()
        .prints("hello");
    context
        .coil(["run", "--rm", "test/in:2", "cat", "/srv/f"])
        .run()
        .success()
        .prints("exported");
    fs::write(context.path().join("text"), "no archive at all\n".repeat(100)).unwrap();
    for file in ["text", "nothing"] {
        let import = context
            .coil(["import", file, "test/in:3"])
            .directory(context.path());
        import.run().refusal(&[]);
    }
    assert_ne!(context.coil(["inspect", "test/in:3"]).run().code(), 0);
    context.coil(["rm", "out"]).run().success();
    context.coil(["rmi", "test/in:1", "test/in:2"]).run().success();
}

#[test]
fn images_are_saved_and_loaded() {
    let from = shared();
    let to = fresh();
    let name = from.python_image();
    from.coil(["tag", name, "test/again:2"]).run().success();
    let archive = to.path().join("both.tar");
    let words = ["save", name, "test/again:2", "-o"];
    from.coil(words).arg(&archive).run().success();
    let id = from
        .coil(["inspect", "-f", "{{.Id}}", name])
        .run()
        .success()
        .word()
        .to_owned();
    let loaded = to.coil(["load", "-i"]).arg(&archive).run().success();
    assert_eq!(
        loaded.stdout(),
        format!("Loaded image: {name}\nLoaded image: test/again:2\n")
    );
    assert_eq!(
        to.coil(["inspect", "-f", "{{.Id}}", "test/again:2"])
            .run()
            .success()
            .word(),
        id
    );
    to.coil(["run", "--rm", name, "python3", "-c", "print('ran')"])
        .run()
        .success()
        .prints("ran");
    // By its id it has no name; compressed it is the same.
    let gz = to.path().join("one.tar.gz");
    let script = format!("coil save {id} | gzip -1 > {}", gz.display());
    from.shell(&script).run().success();
    let other = fresh();
    let loaded = other.coil(["load", "-q", "-i"]).arg(&gz).run().success();
    assert_eq!(loaded.stdout(), format!("Loaded image ID: {id}\n"));
    // Docker's older form alone, without the layout.
    let script = format!(
        "mkdir x && tar xf {} -C x && rm x/index.json x/oci-layout && tar cf old.tar -C x .",
        archive.display()
    );
    other.shell(&script).directory(other.path()).run().success();
    let loaded = other
        .coil(["load", "-i", "old.tar"])
        .directory(other.path())
        .run()
        .success();
    assert!(
        loaded.stdout().contains(&format!("Loaded image: {name}\n")),
        "{loaded}"
    );
    assert_eq!(
        other
            .coil(["inspect", "-f", "{{.Id}}", name])
            .run()
            .success()
            .word(),
        id
    );

    // What lies is refused, and nothing of it is kept.
    let hostile = fresh();
    let damage = format!(
        "set -e; mkdir x; tar xf {} -C x; cd x; blob=$(ls -S blobs/sha256 | head -1); \
         echo more >> blobs/sha256/$blob; tar cf ../lie.tar .; cd ..; \
         head -c 100000 {} > cut.tar; \
         mkdir e; echo '[]' > e/manifest.json; tar cf up.tar --transform 's,^e/,../,' -P e/manifest.json; \
         ln -s /etc/passwd e/config.json; echo '[{{\"Config\":\"config.json\",\"Layers\":[]}}]' > e/manifest.json; tar cf link.tar -C e .; \
         echo '[{{\"Config\":\"../../etc/passwd\",\"Layers\":[]}}]' > e/manifest.json; rm e/config.json; tar cf path.tar -C e .; \
         echo text > text; : > empty",
        archive.display(),
        archive.display()
    );
    hostile.shell(&damage).directory(hostile.path()).run().success();
    for file in [
        "lie.tar", "cut.tar", "up.tar", "link.tar", "path.tar", "text", "empty", "absent",
    ] {
        let load = hostile.coil(["load", "-i", file]).directory(hostile.path()).run();
        load.refusal(&[]);
        assert_eq!(
            hostile.coil(["images", "-q"]).run().success().word(),
            "",
            "{file}"
        );
        let blobs = fs::read_dir(hostile.root().join("blobs/sha256")).map_or(0, Iterator::count);
        assert_eq!(blobs, 0, "{file} left something");
    }
    from.coil(["rmi", "test/again:2"]).run().success();
    let nothing = to
        .coil(["save", "nothing", "-o", "x.tar"])
        .directory(to.path())
        .run();
    nothing.refusal(&["No such image: nothing"]);
    assert!(!to.path().join("x.tar").exists());
}
