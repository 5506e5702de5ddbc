//! Images by name: images, tag, rmi, inspect, history.

use crate::{fresh, shared};

#[test]
fn images_are_listed_named_and_removed() {
    let context = fresh();
    let image = context.python_image();
    let listed = context.coil(["images"]).run().success();
    for word in [
        "REPOSITORY",
        "TAG",
        "IMAGE ID",
        "CREATED",
        "SIZE",
        "test/python",
        "latest",
    ] {
        assert!(listed.stdout().contains(word), "no {word}\n{listed}");
    }
    let id = context.coil(["images", "-q"]).run().success().word().to_owned();
    assert_eq!(id.len(), 12, "a short id: {id}");

    context.coil(["tag", image, "test/other:v2"]).run().success();
    context.coil(["images"]).run().success().prints("v2");
    let ids = context.coil(["images", "-q"]).run().success();
    assert!(
        ids.stdout().lines().all(|line| line == id),
        "one image, two names\n{ids}"
    );
    context
        .coil(["run", "--rm", "test/other:v2", "python3", "-c", ""])
        .run()
        .success();
    context
        .coil(["rmi", "test/python:latest"])
        .run()
        .success()
        .prints("Untagged: ");
    context
        .coil(["run", "--rm", &id, "python3", "-c", ""])
        .run()
        .success();
    context
        .coil(["rmi", "test/other:v2"])
        .run()
        .success()
        .prints("Deleted: ");
    assert_eq!(context.coil(["images", "-q"]).run().success().word(), "");
    context
        .coil(["rmi", "test/other:v2"])
        .run()
        .refusal(&["test/other:v2"]);
    context
        .coil(["tag", "test/other:v2", "x:y"])
        .run()
        .refusal(&["test/other:v2"]);
}

#[test]
fn an_image_in_use_stays() {
    let context = fresh();
    let image = context.python_image();
    context
        .coil(["run", "--name", "user", image, "python3", "-c", ""])
        .run()
        .success();
    context.coil(["rmi", image]).run().refusal(&["user"]);
    context.coil(["rm", "user"]).run().success();
    context.coil(["rmi", image]).run().success();
}

#[test]
fn inspect_and_history_tell_what_is_inside() {
    let context = shared();
    let image = context.python_image();
    let facts = context.coil(["inspect", image]).run().success().json()[0].clone();
    assert!(
        facts["Id"]
            .as_str()
            .is_some_and(|id| id.starts_with("sha256:") && id.len() == 71),
        "{facts}"
    );
    assert_eq!(facts["Os"], "linux");
    let names = facts["RepoTags"].as_array().cloned().unwrap_or_default();
    assert!(names.contains(&"test/python:latest".into()), "{facts}");
    assert!(
        facts["RootFS"]["Layers"]
            .as_array()
            .is_some_and(|layers| !layers.is_empty()),
        "{facts}"
    );
    assert!(
        facts["Config"]["Cmd"].is_array() || facts["Config"]["Entrypoint"].is_array(),
        "{facts}"
    );
    let history = context.coil(["history", image]).run().success();
    for word in ["IMAGE", "CREATED", "CREATED BY", "SIZE"] {
        assert!(history.stdout().contains(word), "no {word}\n{history}");
    }
}
