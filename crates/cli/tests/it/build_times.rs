//! Times in what is built: SOURCE_DATE_EPOCH as BuildKit has it, and the same bytes for the same inputs.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use coil_testkit::Context;

use crate::{fresh, shared};

const PYTHON: &str = "python:3.11-slim";

fn touch(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options()
        .write(true)
        .open(path)
        .expect("a time can be set")
        .set_modified(time)
        .expect("a time can be set");
}

fn seconds(path: &Path) -> u64 {
    let time = fs::symlink_metadata(path)
        .expect("there is a time")
        .modified()
        .expect("there is a time");
    time.duration_since(SystemTime::UNIX_EPOCH)
        .expect("there is a time")
        .as_secs()
}

/// The image's id.
fn build(context: &Context, folder: &Path, more: &[&str]) -> String {
    let run = context
        .coil(["build", "-q"])
        .args(more)
        .arg(folder)
        .run()
        .success();
    run.word().to_owned()
}

#[test]
fn the_epoch_is_the_time_of_the_image_and_of_files_that_are_written_out() {
    let context = fresh();
    let folder = context.project(
        "epoch",
        &[("Dockerfile", "FROM scratch\nCOPY a /x/a\nENV A=1\n"), ("a", "1")],
    );
    touch(&folder.join("a"), 1_600_000_000);
    // Found in the cache with another time.
    build(&context, &folder, &[]);
    let out = context.path().join("out");
    let output = format!("type=local,dest={}", out.display());
    context
        .coil(["build", "-q", "-t", "dated", "-o", &output, "--load"])
        .arg(&folder)
        .env("SOURCE_DATE_EPOCH", "1500000000")
        .run()
        .success();
    let image = context.coil(["inspect", "dated"]).run().success().json();
    assert_eq!(image[0]["Created"], "2017-07-14T02:40:00Z");
    assert_eq!(
        (seconds(&out.join("x/a")), seconds(&out.join("x"))),
        (1_500_000_000, 1_500_000_000)
    );
    let archive = context.path().join("dated.tar");
    for (rewrite, wanted) in [("false", 1_600_000_000), ("true", 1_500_000_000)] {
        let output = format!("type=oci,dest={},rewrite-timestamp={rewrite}", archive.display());
        build(
            &context,
            &folder,
            &["--build-arg", "SOURCE_DATE_EPOCH=1500000000", "-o", &output],
        );
        let unpacked = context.path().join(format!("layout-{rewrite}"));
        let image = coil_testkit::image::Layout::unpack(&archive, &unpacked).image();
        assert_eq!(image.files()["x/a"].modified, wanted, "{rewrite}");
        let history = image.config["history"].as_array().unwrap();
        assert!(
            history
                .iter()
                .all(|entry| entry["created"] == "2017-07-14T02:40:00Z"),
            "{history:?}"
        );
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let context = shared();
    context.coil(["base", PYTHON]).run().success();
    let text = "FROM python:3.11-slim
WORKDIR /same
COPY . .
RUN mkdir made && echo 1 > made/file && ln made/file made/other && python3 -m compileall -q . && date +%N > /dev/null
COPY --from=0 /etc/hostname* /
RUN --mount=type=bind,target=/ctx cp -a /ctx/module.py /copied.py
";
    let folder = context.project("same", &[("module.py", "x = 1\n"), ("Dockerfile", text)]);
    let flags = ["--reproducible", "--no-cache"];
    let dockerfile = text.replace("COPY --from=0 /etc/hostname* /\n", "");
    fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    let first = build(&context, &folder, &flags);
    touch(&folder.join("module.py"), 1_234_567_890);
    touch(&folder.join("Dockerfile"), 1_234_567_891);
    let second = build(&context, &folder, &flags);
    assert_eq!(first, second);
    // Another time is another image.
    let dated = context
        .coil(["build", "-q", "--reproducible"])
        .arg(&folder)
        .env("SOURCE_DATE_EPOCH", "1500000000")
        .run()
        .success();
    assert_ne!(dated.word(), first);
}
