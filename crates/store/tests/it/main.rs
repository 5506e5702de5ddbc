//! The store as its users meet it: blobs, names, snapshots of hostile layers, collection, power loss.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use coil_oci::tar::{Entry, Kind, TarWriter};
use coil_oci::{Descriptor, Digest, ImageConfig, Reference, RootFs, media_type};
use coil_store::{Ownership, Store, StoreError, StoreOptions};

fn store_in(root: &Path, boot: &str) -> Store {
    Store::open(StoreOptions {
        root: root.to_owned(),
        downloads: None,
        boot_id: boot.into(),
    })
}

fn layer(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, bytes) in entries {
        writer.file(entry, bytes).unwrap();
    }
    writer.finish().unwrap()
}

fn keep_layer(store: &Store, bytes: &[u8]) -> (Digest, Descriptor) {
    let digest = store.put_blob(bytes).unwrap();
    (
        digest.clone(),
        Descriptor::new(media_type::LAYER_TAR, digest, bytes.len() as u64),
    )
}

fn keep_image(store: &Store, name: &str, bytes: &[u8]) -> (Reference, Descriptor) {
    let (diff_id, layer) = keep_layer(store, bytes);
    let config = ImageConfig {
        created: None,
        author: None,
        architecture: "amd64".into(),
        variant: None,
        os: "linux".into(),
        config: Default::default(),
        rootfs: RootFs {
            kind: "layers".into(),
            diff_ids: vec![diff_id],
        },
        history: vec![],
        other: Default::default(),
    };
    let (mut descriptor, _) = store.put_image(&config, vec![layer], Default::default()).unwrap();
    descriptor.platform = None;
    let reference = Reference::parse(name).unwrap();
    store.set_ref(&reference, &descriptor, 1).unwrap();
    (reference, descriptor)
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"half").unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(store.temp_dir()).unwrap().count(), 0);
}

#[test]
fn images_are_found_by_name_and_by_id() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let (_, descriptor) = keep_image(&store, "app:1", &layer(&[]));
    let id = store.image_of(&descriptor).unwrap().id().hex().to_owned();
    for text in [
        "app:1",
        "docker.io/library/app:1",
        &id,
        &id[..12],
        &format!("sha256:{id}"),
    ] {
        assert_eq!(store.find(text).unwrap().descriptor, descriptor, "{text}");
    }
    assert!(matches!(store.find("app"), Err(StoreError::NoSuchImage(_))));
    assert_eq!(
        store
            .find(&format!("app@{}", descriptor.digest))
            .unwrap()
            .descriptor,
        descriptor
    );
}

#[test]
fn collection_keeps_what_is_named_and_removes_the_rest() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let (reference, descriptor) =
        keep_image(&store, "app:1", &layer(&[(Entry::file("a", 1, 0o644, 0), b"x")]));
    let stray = store.put_blob(b"stray").unwrap();
    let cached = store.put_blob(b"cached").unwrap();
    store
        .cache_put("kind", "key", format!("{{\"blob\":\"{cached}\"}}").as_bytes())
        .unwrap();
    let image = store.image_of(&descriptor).unwrap();
    let tree = store
        .ensure_snapshot(
            &image.config.rootfs.diff_ids[0],
            &image.manifest.layers[0],
            Ownership::Layer,
        )
        .unwrap();

    let lease = store.lease().unwrap();
    assert!(store.collect(false).unwrap().postponed, "a lease holds it off");
    drop(lease);
    store.collect(false).unwrap();
    assert!(!store.has_blob(&stray));
    assert!(store.has_blob(&cached) && tree.is_dir());

    store.remove_ref(&reference).unwrap();
    store.collect(true).unwrap();
    assert!(!store.has_blob(&cached) && !tree.exists() && !store.has_blob(&descriptor.digest));
}

#[test]
fn what_is_about_an_image_lives_as_long_as_it() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let (reference, image) = keep_image(&store, "app:1", &layer(&[]));
    let bytes = fs::read(store.blob_path(&image.digest)).unwrap();
    store
        .put_referrers(&image, &[(media_type::SPDX, b"old")])
        .unwrap();
    let documents: [(&str, &[u8]); 2] = [(media_type::SPDX, b"spdx"), (media_type::CYCLONEDX, b"cdx")];
    store.put_referrers(&image, &documents).unwrap();
    let old = store.put_blob(b"old").unwrap();
    let needed = store.put_blob(b"needed").unwrap();
    let needs = std::slice::from_ref(&needed);
    store.put_recipe(&image.digest, "make it so", needs).unwrap();

    assert!(!store.collect(false).unwrap().postponed);
    assert!(!store.has_blob(&old), "what another document replaced is gone");
    assert!(store.has_blob(&needed));
    assert_eq!(store.recipe(&image.digest).as_deref(), Some("make it so"));
    let referrers = store.referrers(&image.digest);
    assert_eq!(referrers.len(), 2);
    for referrer in &referrers {
        let manifest = store.read_manifest(referrer).unwrap();
        assert_eq!(manifest.artifact_type, referrer.artifact_type);
        assert_eq!(manifest.subject.unwrap().digest, image.digest);
        assert!(store.has_blob(&manifest.config.digest));
    }
    for (kind, bytes) in documents {
        let kept = store.referrer_document(&image.digest, kind).unwrap();
        assert_eq!(kept.as_deref(), Some(bytes));
    }
    assert_eq!(fs::read(store.blob_path(&image.digest)).unwrap(), bytes);
    assert_eq!(store.images().unwrap().len(), 1, "they have no names");

    store.remove_ref(&reference).unwrap();
    store.collect(false).unwrap();
    assert!(store.referrers(&image.digest).is_empty());
    assert_eq!(fs::read_dir(root.path().join("blobs/sha256")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(root.path().join("referrers-v1")).unwrap().count(), 0);
}

#[test]
fn a_damaged_image_of_another_boot_is_said() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let bytes = layer(&[(Entry::file("a", 1, 0o644, 0), b"x")]);
    let (diff_id, _) = keep_layer(&store, &bytes);
    keep_image(&store, "whole:1", &layer(&[]));
    keep_image(&store, "app:1", &bytes);
    fs::write(store.blob_path(&diff_id), b"").unwrap();
    assert!(store.find("app:1").is_ok(), "the same boot trusts what it wrote");
    let later = store_in(root.path(), "two");
    assert!(matches!(later.find("app:1"), Err(StoreError::Damaged { .. })));
    assert!(later.find("whole:1").is_ok());
}

#[test]
fn a_snapshot_that_lost_bytes_with_the_power_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let (diff_id, blob) = keep_layer(&store, &layer(&[(Entry::file("d/a", 3, 0o644, 0), b"abc")]));
    let tree = store.ensure_snapshot(&diff_id, &blob, Ownership::Layer).unwrap();
    fs::write(tree.join("d/a"), b"").unwrap();
    let later = store_in(root.path(), "two");
    later.ensure_snapshot(&diff_id, &blob, Ownership::Layer).unwrap();
    assert_eq!(fs::read(tree.join("d/a")).unwrap(), b"abc");
}

fn unpack(bytes: &[u8]) -> (tempfile::TempDir, Result<std::path::PathBuf, StoreError>) {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let (diff_id, blob) = keep_layer(&store, bytes);
    let tree = store.ensure_snapshot(&diff_id, &blob, Ownership::Layer);
    (root, tree)
}

#[test]
fn names_that_lead_out_are_refused_and_nothing_is_left() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("caught");
    let absolute = outside.path().to_str().unwrap().to_owned();
    let cases: Vec<Vec<(Entry, &[u8])>> = vec![
        vec![(Entry::file("../caught", 1, 0o644, 0), b"x")],
        vec![(Entry::file("a/../../caught", 1, 0o644, 0), b"x")],
        vec![(
            Entry {
                kind: Kind::Hardlink {
                    target: "../../../etc/passwd".into(),
                },
                ..Entry::file("l", 0, 0o644, 0)
            },
            b"",
        )],
        vec![(Entry::file(".wh...", 0, 0o644, 0), b"")],
        vec![(Entry::file("d/.wh.", 0, 0o644, 0), b"")],
    ];
    for case in cases {
        let (root, result) = unpack(&layer(&case));
        assert!(
            matches!(result, Err(StoreError::Unpack { .. })),
            "{:?}",
            case[0].0.path
        );
        assert_eq!(fs::read_dir(root.path().join("temp-v1")).unwrap().count(), 0);
    }
    // A link to the outside is kept as a link, and what is written through it lands inside.
    let through = [
        (Entry::symlink("way", absolute.clone(), 0), &b""[..]),
        (Entry::file("way/caught", 1, 0o644, 0), &b"x"[..]),
    ];
    let (_root, result) = unpack(&layer(&through));
    assert!(!target.exists());
    let tree = result.unwrap();
    assert!(
        tree.join(absolute.trim_start_matches('/'))
            .join("caught")
            .is_file()
    );
}

#[test]
fn links_that_never_end_are_refused() {
    let (_root, result) = unpack(&layer(&[
        (Entry::symlink("a", "b", 0), b""),
        (Entry::symlink("b", "a", 0), b""),
        (Entry::file("a/x", 1, 0o644, 0), b"x"),
    ]));
    assert!(matches!(result, Err(StoreError::Unpack { .. })));
}

#[test]
fn whiteouts_owners_modes_and_times_arrive() {
    let (_root, result) = unpack(&layer(&[
        (
            Entry {
                mode: 0o555,
                ..Entry::directory("d", 7)
            },
            b"",
        ),
        (Entry::file("d/set", 1, 0o4755, 5).owned_by(12, 34), b"x"),
        (Entry::file("d/.wh.gone", 0, 0o644, 0), b""),
        (Entry::file("e/.wh..wh..opq", 0, 0o644, 0), b""),
    ]));
    let tree = result.unwrap();
    let meta = fs::metadata(tree.join("d/set")).unwrap();
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()),
        (0o4755, 12, 34, 5)
    );
    let folder = fs::metadata(tree.join("d")).unwrap();
    assert_eq!((folder.mode() & 0o7777, folder.mtime()), (0o555, 7));
    let gone = fs::symlink_metadata(tree.join("d/gone")).unwrap();
    assert_eq!((gone.mode() & 0o170_000, gone.rdev()), (0o020_000, 0));
}

#[test]
fn a_wrong_digest_and_a_cut_stream_are_refused() {
    let bytes = layer(&[(Entry::file("a", 3, 0o644, 0), b"abc")]);
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let (_, blob) = keep_layer(&store, &bytes);
    let other = Digest::of(b"other");
    assert!(matches!(
        store.ensure_snapshot(&other, &blob, Ownership::Layer),
        Err(StoreError::Unpack { .. })
    ));
    let (_root, result) = unpack(&bytes[..514]);
    assert!(matches!(result, Err(StoreError::Unpack { .. })));
}

#[test]
fn a_name_has_one_container() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    fs::create_dir_all(store.container_dir("aa")).unwrap();
    assert!(store.claim_name("web", "aa").unwrap());
    assert!(!store.claim_name("web", "bb").unwrap());
    fs::remove_dir(store.container_dir("aa")).unwrap();
    assert!(store.claim_name("web", "bb").unwrap(), "its container is gone");
}
