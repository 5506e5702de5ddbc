//! Projects without a lock: uv from its pinned wheel, resolving against an index of the test's own.

use std::ffi::OsString;

use coil_fetch::{FetchSettings, Fetcher, NoProgress};
use coil_oci::Arch;
use coil_python::uv_settings::UvResolution;
use coil_testkit::index::PackageIndex;
use coil_testkit::wheel::WheelBuilder;
use coil_wheel::index::{IndexClient, IndexLayer, IndexSettings};
use coil_wheel::resolve::{ResolveError, ResolveRequest, find_uv, resolve};

use crate::support::{Scratch, python, uv};

#[test]
fn requirements_are_resolved_for_the_target_without_builds() {
    let scratch = Scratch::new();
    let uv = uv(&scratch);
    // Once fetched it is found with no index at all.
    let nothing = IndexSettings::of(IndexLayer {
        no_index: Some(true),
        ..IndexLayer::default()
    });
    let fetcher = Fetcher::new(FetchSettings::default());
    let client = IndexClient::new(&scratch.store, &fetcher, &nothing);
    assert_eq!(
        find_uv(&scratch.store, &fetcher, &client, None, &NoProgress).unwrap(),
        uv
    );

    let index = PackageIndex::start();
    index.add(&WheelBuilder::new("a", "1.0").metadata("Requires-Dist: b>=1"));
    index.add(
        &WheelBuilder::new("a", "2.0")
            .metadata("Requires-Dist: b>=1")
            .tag("cp313-cp313-musllinux_1_2_x86_64"),
    );
    index.add(&WheelBuilder::new("b", "1.5").tag("cp313-cp313-manylinux_2_28_aarch64"));
    index.add_file("c-1.0.tar.gz", b"no archive".to_vec());
    // "me:s3cret"
    index.require("bWU6czNjcmV0");
    let settings = IndexSettings::of_url(&index.url().replace("://", "://me:s3cret@"));
    let environment = [(OsString::from("HOME"), OsString::from("/nonexistent"))];
    let request = ResolveRequest {
        requirements: "a\n",
        constraints: "b<2\n",
        python: "3.13.5",
        arch: Arch::Arm64,
        libc: coil_python::Libc::Glibc(2, 41),
        index: &settings,
        uv: &UvResolution::default(),
        options: &[],
        environment: &environment,
        directory: scratch.folder.path(),
        offline: false,
    };
    let interpreter = python();
    let lock = resolve(&scratch.store, &uv, &interpreter, &request).unwrap().lock;
    assert!(
        lock.contains("a-1.0-py3-none-any.whl") && lock.contains("b-1.5-cp313"),
        "{lock}"
    );
    assert!(lock.contains("sha256") && !lock.contains("s3cret"), "{lock}");

    let request = ResolveRequest {
        requirements: "c\n",
        constraints: "",
        ..request
    };
    let error = resolve(&scratch.store, &uv, &interpreter, &request).unwrap_err();
    let ResolveError::Failed { words } = &error else {
        panic!("{error}")
    };
    assert!(
        words.contains("no usable wheels") && !words.contains("s3cret"),
        "{words}"
    );
    assert!(error.help().contains("has no wheel"), "{}", error.help());
}
