//! What nobody uses goes: containers, images, the build cache, all together; and what there is of each.
//!
//! Images of a file alone are enough here: no program has to run in them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use coil_testkit::{Context, Finished};

use crate::{fresh, shared};

/// Builds an image of one file with this text; gives its id.
fn build(context: &Context, name: Option<&str>, text: &str) -> String {
    let folder = context.project(
        &format!("of-{text}"),
        &[
            ("Dockerfile", "FROM scratch\nCOPY file /file\nLABEL kind=test\n"),
            ("file", text),
        ],
    );
    let mut words = vec!["build", "-q"];
    words.extend(name.into_iter().flat_map(|name| ["-t", name]));
    let built = context.coil(words).arg(folder).run().success();
    built.word().to_owned()
}

fn coil(context: &Context, words: &[&str]) -> Finished {
    context.coil(words.iter().copied()).run()
}

/// The names of files in a folder of the data root.
fn listed(context: &Context, folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(context.root().join(folder)).into_iter().flatten();
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.collect()
}

/// Makes all that builds keep as old as two days.
fn age(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path: PathBuf = entry.path();
        if path.is_dir() {
            age(&path);
        } else {
            let time = SystemTime::now() - Duration::from_secs(48 * 3600);
            let file = File::open(&path).expect("a file of the cache");
            file.set_modified(time).expect("it is ours");
        }
    }
}

#[test]
fn stopped_containers_go_and_those_that_run_stay() {
    let context = shared();
    let image = context.python_image();
    let run = |name: &str, more: &[&str], command: &[&str]| {
        let mut words = vec!["run", "--name", name, "--label", "prune=it"];
        words.extend(more);
        words.push(image);
        words.extend(command);
        coil(&context, &words).success();
    };
    run("pruned-ended", &[], &["sh", "-c", "echo 12345 > /tmp/f"]);
    run("pruned-kept", &["--label", "keep"], &["true"]);
    run("pruned-running", &["-d"], &["sleep", "600"]);
    let id = coil(&context, &["inspect", "-f", "{{.Id}}", "pruned-ended"]).success();

    let asked = context.coil(["container", "prune"]).input("n\n").run().success();
    assert_eq!(
        asked.stdout(),
        "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] "
    );
    let filters = ["--filter", "label=prune=it", "--filter", "label!=keep"];
    let late = [
        &["container", "prune", "-f", "--filter", "until=24h"],
        &filters[..],
    ]
    .concat();
    assert_eq!(
        coil(&context, &late).success().stdout(),
        "Total reclaimed space: 0B\n"
    );
    let pruned = coil(&context, &[&["container", "prune", "-f"], &filters[..]].concat()).success();
    assert_eq!(
        pruned.stdout(),
        format!(
            "Deleted Containers:\n{}\n\nTotal reclaimed space: 6B\n",
            id.word()
        )
    );
    let left = coil(
        &context,
        &["ps", "-a", "--filter", "label=prune=it", "--format", "{{.Names}}"],
    )
    .success();
    let left: BTreeSet<&str> = left.stdout().lines().collect();
    assert_eq!(left, BTreeSet::from(["pruned-kept", "pruned-running"]));
    coil(&context, &["rm", "-f", "pruned-kept", "pruned-running"]).success();
}

#[test]
fn wrong_filters_have_dockers_words() {
    let context = fresh();
    for verb in ["container", "image", "network", "volume", "system"] {
        coil(&context, &[verb, "prune", "-f", "--filter", "foo=1"])
            .expect_code(1)
            .refusal(&["invalid filter 'foo'", "the filters are label="]);
        coil(&context, &[verb, "prune", "-f", "--filter", "label"])
            .expect_code(125)
            .refusal(&["\"--filter\" flag: bad format of filter (expected name=value)"]);
    }
    for verb in ["container", "image", "network", "system"] {
        coil(&context, &[verb, "prune", "-f", "--filter", "until=x"])
            .expect_code(1)
            .refusal(&["failed to parse value as time or duration: \"x\""]);
    }
    coil(&context, &["volume", "prune", "-f", "--filter", "until=24h"])
        .expect_code(1)
        .refusal(&["invalid filter 'until'"]);
    coil(
        &context,
        &["system", "prune", "-f", "--volumes", "--filter", "until=24h"],
    )
    .expect_code(1)
    .refusal(&["The \"until\" filter is not supported with \"--volumes\""]);
    coil(&context, &["image", "prune", "-f", "--filter", "dangling=maybe"])
        .expect_code(1)
        .refusal(&["invalid filter 'dangling=maybe'"]);
}

#[test]
fn images_without_a_name_go_and_so_do_their_files() {
    let context = fresh();
    let kept = build(&context, Some("kept"), "one");
    let nameless = build(&context, None, "two");
    let listed_images = coil(
        &context,
        &["images", "--no-trunc", "--format", "{{.Repository}} {{.ID}}"],
    )
    .success();
    let lines: BTreeSet<&str> = listed_images.stdout().lines().collect();
    let (named, none) = (format!("kept {kept}"), format!("<none> {nameless}"));
    assert_eq!(lines, BTreeSet::from([named.as_str(), none.as_str()]));
    let dangling = coil(
        &context,
        &["images", "-q", "--no-trunc", "--filter", "dangling=true"],
    )
    .success();
    assert_eq!(dangling.word(), nameless);

    let asked = context.coil(["image", "prune"]).input("\n").run().success();
    assert!(
        asked
            .stdout()
            .starts_with("WARNING! This will remove all dangling images.\n"),
        "{asked}"
    );
    let pruned = coil(&context, &["image", "prune", "-f"]).success();
    assert!(
        pruned.stdout().starts_with(&format!(
            "Deleted Images:\ndeleted: {nameless}\n\nTotal reclaimed space: "
        )),
        "{pruned}"
    );
    assert_eq!(
        coil(&context, &["images", "-q", "--no-trunc"]).success().word(),
        kept
    );
    assert!(!listed(&context, "blobs/sha256").contains(&nameless["sha256:".len()..]));
    coil(&context, &["image", "inspect", "kept"]).success();

    // An image whose name went to another is told too.
    build(&context, Some("kept"), "three");
    let pruned = coil(&context, &["image", "prune", "-f"]).success();
    assert!(
        pruned
            .stdout()
            .starts_with(&format!("Deleted Images:\ndeleted: {kept}\n")),
        "{pruned}"
    );
    assert_eq!(
        coil(&context, &["image", "prune", "-f"]).success().stdout(),
        "Total reclaimed space: 0B\n"
    );
}

#[test]
fn images_that_containers_have_stay_with_all_their_files() {
    let context = fresh();
    build(&context, Some("used"), "one");
    let unused = build(&context, Some("unused:1"), "two");
    coil(&context, &["tag", "unused:1", "unused:2"]).success();
    coil(&context, &["create", "--name", "holder", "used", "/file"]).success();
    let pruned = coil(&context, &["image", "prune", "-af", "--filter", "until=24h"]).success();
    assert_eq!(pruned.stdout(), "Total reclaimed space: 0B\n", "they are young");
    let pruned = coil(&context, &["image", "prune", "-af", "--filter", "label!=kind"]).success();
    assert_eq!(
        pruned.stdout(),
        "Total reclaimed space: 0B\n",
        "they have the label"
    );
    let pruned = coil(
        &context,
        &["image", "prune", "-af", "--filter", "label=kind=test"],
    )
    .success();
    assert!(
        pruned.stdout().starts_with(&format!(
            "Deleted Images:\nuntagged: unused:1\nuntagged: unused:2\ndeleted: {unused}\n\n"
        )),
        "{pruned}"
    );
    // Without its name, and without all that builds keep, the container has what it stands on.
    coil(&context, &["rmi", "-f", "used"]).success();
    coil(&context, &["system", "prune", "-af", "--filter", "label=no-such"]).success();
    coil(&context, &["builder", "prune", "-af"]).success();
    let copy = context.path().join("copy");
    context.coil(["cp", "holder:/file"]).arg(&copy).run().success();
    assert_eq!(fs::read_to_string(&copy).unwrap(), "one");

    coil(&context, &["rm", "holder"]).success();
    let pruned = coil(&context, &["image", "prune", "-f"]).success();
    assert!(!pruned.stdout().contains("space: 0B"), "{pruned}");
    for folder in ["blobs/sha256", "snapshots-v1", "temp-v1"] {
        assert_eq!(listed(&context, folder), BTreeSet::new(), "{folder}");
    }
}

#[test]
fn builds_find_what_a_pruning_left_them() {
    let context = fresh();
    build(&context, Some("app"), "one");
    let used = coil(&context, &["builder", "du"]).success();
    assert!(used.stdout().starts_with("ID "), "{used}");
    assert!(
        used.stdout().contains("true ") && used.stdout().contains("Shared:\t\t"),
        "{used}"
    );
    let verbose = coil(
        &context,
        &["buildx", "du", "--verbose", "--filter", "type=regular"],
    )
    .success();
    for words in ["COPY file /file", "Type:         regular", "Shared:       true"] {
        assert!(verbose.stdout().contains(words), "no {words}\n{verbose}");
    }
    let row = coil(&context, &["builder", "du", "--format", "json"]).success();
    let first: serde_json::Value = serde_json::from_str(row.stdout().lines().next().unwrap()).unwrap();
    assert_eq!(
        (first["Reclaimable"].clone(), first["Mutable"].clone()),
        (true.into(), false.into())
    );

    let asked = context.coil(["builder", "prune"]).input("n\n").run().success();
    assert_eq!(
        asked.stdout(),
        "WARNING! This will remove all dangling build cache. Are you sure you want to continue? [y/N] "
    );
    // The image has the same layer: nothing would be free.
    assert_eq!(
        coil(&context, &["builder", "prune", "-f"]).success().stdout(),
        "Total:\t0B\n"
    );
    coil(&context, &["rmi", "app"]).success();
    let kept = coil(&context, &["builder", "prune", "-f", "--max-used-space", "1gb"]).success();
    assert_eq!(kept.stdout(), "Total:\t0B\n");
    let log = |name: &str| {
        let folder = context.path().join("of-one");
        let built = context
            .coil(["build", "--progress", "plain", "-t", name])
            .arg(folder)
            .run()
            .success();
        built.stderr().contains("CACHED")
    };
    assert!(log("app"), "the step is found again");
    coil(&context, &["rmi", "app"]).success();
    let pruned = coil(&context, &["buildx", "prune", "-f"]).success();
    assert!(
        pruned.stdout().starts_with("ID ") && !pruned.stdout().contains("Total:\t0B"),
        "{pruned}"
    );
    assert!(!log("app"), "the step is made again");
    coil(&context, &["builder", "prune", "-f", "--max-used-space", "x"])
        .expect_code(125)
        .refusal(&["invalid argument \"x\" for \"--max-used-space\" flag"]);
    coil(&context, &["builder", "prune", "-f", "--filter", "until=x"])
        .expect_code(1)
        .refusal(&["\"until\" filter expects a duration"]);
}

#[test]
fn the_cache_is_kept_within_a_limit() {
    let context = fresh();
    let old = build(&context, None, "old");
    coil(&context, &["rmi", &old]).success();
    age(&context.root().join("cache-v1"));
    let left = |context: &Context| {
        let shown = coil(
            context,
            &[
                "builder",
                "du",
                "--filter",
                "until=24h",
                "--filter",
                "type=regular",
            ],
        );
        shown
            .success()
            .stdout()
            .lines()
            .filter(|line| line.contains("true"))
            .count()
    };
    assert!(left(&context) > 0);
    let younger = context.project(
        "young",
        &[("Dockerfile", "FROM scratch\nCOPY f /\n"), ("f", "young")],
    );
    let with_limit = |limit: &str| {
        context
            .coil(["build", "-q"])
            .arg(&younger)
            .env("COIL_CACHE_LIMIT", limit)
            .run()
    };
    with_limit("off").success();
    with_limit("1gb").success();
    assert!(left(&context) > 0, "it is far below the limit");
    with_limit("1").success();
    assert_eq!(left(&context), 0);
    let again = context
        .coil(["build", "--progress", "plain"])
        .arg(&younger)
        .run()
        .success();
    assert!(
        again.stderr().contains("CACHED"),
        "what the last build used stays\n{again}"
    );
    with_limit("much")
        .expect_code(1)
        .refusal(&["COIL_CACHE_LIMIT is `much`"]);
}

#[test]
fn a_pruning_beside_a_build_takes_nothing_from_it() {
    let context = fresh();
    let id = build(&context, None, "one");
    // What a build at work holds.
    let lease = File::open(context.root().join("lease-v1")).unwrap();
    lease.lock_shared().unwrap();
    let before = listed(&context, "blobs/sha256");
    let pruned = coil(&context, &["image", "prune", "-f"]).success();
    assert!(pruned.stderr().contains("other commands are at work"), "{pruned}");
    coil(&context, &["builder", "prune", "-f"])
        .success()
        .prints("Total:\t0B");
    assert_eq!(listed(&context, "blobs/sha256"), before);
    drop(lease);
    // The next build that ends does what was put off.
    build(&context, Some("other"), "two");
    assert!(!listed(&context, "blobs/sha256").contains(&id["sha256:".len()..]));
}

#[test]
fn everything_goes_at_once() {
    let context = fresh();
    let id = build(&context, Some("app"), "one");
    let container = coil(&context, &["create", "app", "/file"]).success();
    coil(&context, &["volume", "create", "named"]).success();
    let volume = coil(&context, &["volume", "create"]).success();
    let asked = context
        .coil(["system", "prune", "-a", "--volumes", "--filter", "label=x"])
        .input("n\n")
        .run()
        .success();
    assert_eq!(
        asked.stdout(),
        "WARNING! This will remove:
  - all stopped containers
  - all networks not used by at least one container
  - all anonymous volumes not used by at least one container
  - all images without at least one container associated to them
  - all build cache

  Items to be pruned will be filtered with:
  - label=x

Are you sure you want to continue? [y/N] "
    );
    let df = coil(
        &context,
        &[
            "system",
            "df",
            "--format",
            "{{.Type}} {{.TotalCount}} {{.Active}}",
        ],
    )
    .success();
    let lines: Vec<&str> = df.stdout().lines().collect();
    assert_eq!(lines[..3], ["Images 1 1", "Containers 1 0", "Local Volumes 2 0"]);
    assert!(lines[3].starts_with("Build Cache "), "{df}");
    let df = coil(&context, &["system", "df"]).success();
    assert!(
        df.stdout()
            .starts_with("TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n"),
        "{df}"
    );
    let df = coil(&context, &["system", "df", "-v"]).success();
    for title in [
        "Images space usage:",
        "Containers space usage:",
        "Local Volumes space usage:",
        "Build cache usage: ",
        "UNIQUE SIZE",
        "CACHE TYPE",
    ] {
        assert!(df.stdout().contains(title), "no {title}\n{df}");
    }
    let df = coil(&context, &["system", "df", "-v", "--format", "json"])
        .success()
        .json();
    assert_eq!(df["Images"][0]["Containers"], "1");
    assert_eq!(df["Volumes"].as_array().unwrap().len(), 2);

    let pruned = coil(&context, &["system", "prune", "-af", "--volumes"]).success();
    let (container, volume) = (container.word(), volume.word());
    for part in [
        format!("Deleted Containers:\n{container}\n\n"),
        format!("Deleted Volumes:\n{volume}\n\n"),
        format!("Deleted Images:\nuntagged: app:latest\ndeleted: {id}\n\n"),
        "Deleted build cache objects:\n".to_owned(),
        "\nTotal reclaimed space: ".to_owned(),
    ] {
        assert!(pruned.stdout().contains(&part), "no {part}\n{pruned}");
    }
    assert_eq!(coil(&context, &["volume", "ls", "-q"]).success().word(), "named");
    for folder in ["blobs/sha256", "snapshots-v1", "containers-v1"] {
        assert_eq!(listed(&context, folder), BTreeSet::new(), "{folder}");
    }
    assert_eq!(
        coil(&context, &["system", "prune", "-f"]).success().stdout(),
        "Total reclaimed space: 0B\n"
    );
}
