//! What the cache holds, how much that is, and what goes first.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use coil_oci::tar::Entry;
use coil_store::{CacheKind, CacheLimits, Ownership, Store};

use crate::{keep_image, keep_layer, layer, store_in};

const NOW: Duration = Duration::ZERO;

/// Makes a file as old as this.
fn age(path: &Path, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// A record that keeps a blob of so many bytes, used so long ago.
fn record(store: &Store, key: &str, size: usize, seconds: u64) -> coil_oci::Digest {
    let blob = store
        .put_blob(
            &key.as_bytes()
                .iter()
                .copied()
                .cycle()
                .take(size)
                .collect::<Vec<u8>>(),
        )
        .unwrap();
    let text = format!("{{\"blob\":\"{blob}\",\"step\":\"RUN {key}\"}}");
    store.cache_put("step-v1", key, text.as_bytes()).unwrap();
    age(&store.root().join("cache-v1/step-v1").join(key), seconds);
    blob
}

#[test]
fn things_are_listed_with_their_size_and_last_use() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let bytes = layer(&[(Entry::file("a", 1, 0o644, 0), b"x")]);
    let (_, image) = keep_image(&store, "app:1", &bytes);
    let (shared, _) = keep_layer(&store, &bytes);
    store
        .cache_put("step-v1", "shared", format!("{shared}").as_bytes())
        .unwrap();
    record(&store, "own", 5000, 100);
    store.cache_put("notes-v1", "one", b"no blob").unwrap();
    let folder = store.step_caches_dir().unwrap().join("abc");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("f"), [0; 300]).unwrap();
    fs::write(folder.with_extension("id"), "pip").unwrap();
    fs::write(folder.with_extension("lock"), "").unwrap();
    fs::write(store.download_path("wheels", "w.whl"), [0; 40]).unwrap();

    let usage = store.cache_usage().unwrap();
    let found = |about: &str| {
        let item = usage.items.iter().find(|item| item.about == about);
        item.unwrap_or_else(|| panic!("no {about} in {:?}", usage.items))
    };
    let own = found("RUN own");
    assert!(own.kind == CacheKind::Layer && !own.shared && own.bytes > 5000);
    assert_eq!(usage.items.last().unwrap().id, own.id, "it was used longest ago");
    assert!(found("step-v1").shared);
    assert_eq!(found("cached mount pip").bytes, 300);
    assert_eq!(found("download wheels/w.whl").bytes, 40);
    assert_eq!(found("notes-v1").kind, CacheKind::Record);
    assert_eq!(usage.shared, bytes.len() as u64);
    assert!((5340..6000).contains(&usage.private), "{}", usage.private);
    assert!(usage.of_images() >= image.size + bytes.len() as u64);
    assert_eq!(usage.of_nobody(), 0);
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let old = record(&store, "old", 1000, 5000);
    let middle = record(&store, "middle", 1000, 4000);
    let new = record(&store, "new", 1000, 3000);
    // Read, so used now.
    assert!(store.cache_get("step-v1", "old").is_some());
    let limits = CacheLimits {
        most: Some(2600),
        ..CacheLimits::default()
    };
    let pruned = store.prune_cache(&limits, &|_| true, NOW).unwrap();
    let names: Vec<&str> = pruned.items.iter().map(|item| item.about.as_str()).collect();
    assert_eq!(names, ["RUN middle"]);
    assert!(store.has_blob(&old) && !store.has_blob(&middle) && store.has_blob(&new));
    assert!(pruned.bytes > 1000 && !pruned.postponed);

    let limits = CacheLimits {
        reserved: 1 << 20,
        ..CacheLimits::default()
    };
    assert!(
        store
            .prune_cache(&limits, &|_| true, NOW)
            .unwrap()
            .items
            .is_empty()
    );
    let limits = CacheLimits {
        least_free: Some(1),
        ..CacheLimits::default()
    };
    assert!(
        store
            .prune_cache(&limits, &|_| true, NOW)
            .unwrap()
            .items
            .is_empty()
    );
    let pruned = store.prune_cache(&CacheLimits::default(), &|item| item.about == "RUN new", NOW);
    assert_eq!(pruned.unwrap().items.len(), 1);
    assert!(store.has_blob(&old) && !store.has_blob(&new));
}

#[test]
fn a_blob_that_somebody_else_has_stays() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let bytes = layer(&[(Entry::file("a", 1, 0o644, 0), b"x")]);
    keep_image(&store, "app:1", &bytes);
    let (of_image, _) = keep_layer(&store, &bytes);
    store
        .cache_put("step-v1", "a", of_image.to_string().as_bytes())
        .unwrap();
    let blob = record(&store, "b", 100, 9);
    store
        .cache_put("plan-v1", "b", blob.to_string().as_bytes())
        .unwrap();
    let pruned = store.prune_cache(&CacheLimits::default(), &|item| item.group == "step-v1", NOW);
    assert_eq!(pruned.unwrap().items.len(), 2);
    assert!(store.has_blob(&of_image), "the image has it");
    assert!(store.has_blob(&blob), "the plan has it");
    let pruned = store
        .prune_cache(&CacheLimits::default(), &|_| true, NOW)
        .unwrap();
    assert!(pruned.bytes >= 100 && !store.has_blob(&blob) && store.has_blob(&of_image));
}

#[test]
fn nothing_is_pruned_while_somebody_is_at_work() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let blob = record(&store, "a", 100, 9);
    let stray = store.put_blob(b"stray").unwrap();
    let lease = store.lease().unwrap();
    let pruned = store
        .prune_cache(&CacheLimits::default(), &|_| true, NOW)
        .unwrap();
    assert!(pruned.postponed && pruned.items.is_empty());
    assert!(store.collect_patiently(NOW).unwrap().postponed);
    assert!(store.has_blob(&blob) && store.has_blob(&stray) && store.is_collection_due());
    drop(lease);
    let collected = store.collect(false).unwrap();
    assert_eq!((collected.blobs, collected.bytes), (1, 5));
    assert!(!store.is_collection_due() && store.has_blob(&blob));
}

#[test]
fn folders_and_downloads_go_whole() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let caches = store.step_caches_dir().unwrap();
    fs::create_dir_all(caches.join("abc/deep")).unwrap();
    for ending in ["id", "lock"] {
        fs::write(caches.join("abc").with_extension(ending), "x").unwrap();
    }
    let wheel = store.download_path("wheels", "hash/w.whl");
    fs::write(&wheel, [0; 40]).unwrap();
    let kept = store.download_path("debs", "d.deb");
    fs::write(&kept, [0; 50]).unwrap();
    let pruned = store
        .prune_cache(&CacheLimits::default(), &|item| item.group != "debs", NOW)
        .unwrap();
    assert_eq!((pruned.items.len(), pruned.bytes), (2, 40));
    assert!(!wheel.exists() && kept.exists());
    assert_eq!(fs::read_dir(&caches).unwrap().count(), 0);
}

#[test]
fn a_collection_tells_which_images_went() {
    let root = tempfile::tempdir().unwrap();
    let store = store_in(root.path(), "one");
    let bytes = layer(&[(Entry::file("a", 2000, 0o644, 0), &[7; 2000])]);
    let (reference, descriptor) = keep_image(&store, "app:1", &bytes);
    let image = store.image_of(&descriptor).unwrap();
    store
        .ensure_snapshot(
            &image.config.rootfs.diff_ids[0],
            &image.manifest.layers[0],
            Ownership::Layer,
        )
        .unwrap();
    store.remove_ref(&reference).unwrap();
    assert!(store.cache_usage().unwrap().of_nobody() > 4000);
    let collected = store.collect(false).unwrap();
    assert_eq!(collected.images, [image.id().clone()]);
    assert!(
        collected.bytes > 4000,
        "the blob and the unpacked file: {}",
        collected.bytes
    );
}
