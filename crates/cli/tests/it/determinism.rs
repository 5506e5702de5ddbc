//! The same project gives the same bytes: whoever packs it, wherever, whenever.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use coil_testkit::image::Layout;
use coil_testkit::tree;

use crate::{USER, fresh, user};

#[test]
fn another_user_directory_umask_zone_language_and_core_count_give_the_same_digests() {
    let root = fresh();
    let output = root.path().join("layout");
    let first = root.example("flask");
    // What the first pack pins, the second one takes with the project, as with a checkout.
    let pack = |context: &coil_testkit::Context, project: &std::path::Path, output: &std::path::Path| {
        let target = format!("oci:{}", output.display());
        let arguments = [
            "pack".as_ref(),
            project.as_os_str(),
            "--output".as_ref(),
            target.as_ref(),
        ];
        context
            .coil(arguments)
            .args(["--platform", "linux/amd64,linux/arm64"])
    };
    pack(&root, &first, &output).run().success();
    let first_images = Layout::open(&output).images();
    assert_eq!(first_images.len(), 2, "an index of two platforms");

    let other = user();
    let second = other.path().join("Another Place").join("app");
    tree::copy(&first, &second);
    for path in tree::paths(&second) {
        let path = second.join(path);
        let private = if path.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(&path, fs::Permissions::from_mode(private)).expect("our own copy");
        let file = fs::File::open(&path).expect("our own copy");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(987_654_321))
            .expect("our own copy");
    }
    tree::give(&other.path().join("Another Place"), USER, USER);
    let output = other.path().join("layout");
    let script = format!(
        "umask 077; exec taskset -c 0 '{}' pack '{}' --output 'oci:{}' --platform linux/arm64,linux/amd64",
        other.binary().display(),
        second.display(),
        output.display(),
    );
    let shell = other.program("/bin/sh").arg("-c").arg(script);
    shell
        .env("TZ", "Asia/Kathmandu")
        .env("LANG", "tr_TR.UTF-8")
        .env("LC_ALL", "C")
        .run()
        .success();
    let second_images = Layout::open(&output).images();

    let digests = |images: &[coil_testkit::image::Image]| {
        let mut digests: Vec<_> = images.iter().map(|image| image.digest.clone()).collect();
        digests.sort();
        digests
    };
    assert_eq!(digests(&first_images), digests(&second_images));
}

#[test]
fn times_come_from_source_date_epoch() {
    let context = crate::shared();
    let project = context.example("worker");
    let pack = |epoch: Option<&str>| {
        let output = context.path().join("layout");
        if output.exists() {
            fs::remove_dir_all(&output).expect("our own directory");
        }
        let target = format!("oci:{}", output.display());
        let mut run = context.coil([
            "pack".as_ref(),
            project.as_os_str(),
            "--output".as_ref(),
            target.as_ref(),
        ]);
        if let Some(epoch) = epoch {
            run = run.env("SOURCE_DATE_EPOCH", epoch);
        }
        run.run().success();
        Layout::open(&output).image()
    };
    let zero = pack(None);
    assert!(
        zero.config["created"]
            .as_str()
            .is_none_or(|time| time.starts_with("1970-01-01T00:00:00"))
    );
    let later = pack(Some("1700000000"));
    assert!(
        later.config["created"]
            .as_str()
            .is_some_and(|time| time.starts_with("2023-11-14T22:13:20"))
    );
    for (path, entry) in later.files() {
        assert!(entry.modified <= 1_700_000_000, "{path} is of {}", entry.modified);
    }
}
