//! Indices and downloads, against servers that behave and servers that don't.

use std::time::Duration;

use coil_fetch::{FetchSettings, Fetcher, NoProgress};
use coil_oci::Digest;
use coil_testkit::index::{Fault, PackageIndex};
use coil_testkit::wheel::WheelBuilder;
use coil_wheel::download::{DownloadError, DownloadOptions, FetchedWheel, WheelRequest, download};
use coil_wheel::index::{Index, IndexClient, IndexError, IndexLayer, IndexSettings};

use crate::support::Scratch;

fn fetcher(offline: bool) -> Fetcher {
    let settings = FetchSettings {
        offline,
        retries: 3,
        ..FetchSettings::default()
    };
    Fetcher::new(settings).with_first_pause(Duration::from_millis(1))
}

fn request(name: &str) -> WheelRequest {
    WheelRequest {
        name: name.into(),
        version: "1.0".into(),
        filename: format!("{name}-1.0-py3-none-any.whl"),
        ..WheelRequest::default()
    }
}

fn settings(index: &PackageIndex) -> IndexSettings {
    IndexSettings::of_url(&index.url())
}

fn get(
    scratch: &Scratch,
    settings: &IndexSettings,
    requests: &[WheelRequest],
    offline: bool,
) -> Result<Vec<FetchedWheel>, DownloadError> {
    let fetcher = fetcher(offline);
    let client = IndexClient::new(&scratch.store, &fetcher, settings);
    let options = DownloadOptions {
        threads: 3,
        verify: false,
    };
    download(&scratch.store, &fetcher, &client, requests, options, &NoProgress)
}

#[test]
fn wheels_are_found_downloaded_once_and_there_offline() {
    let (scratch, index) = (Scratch::new(), PackageIndex::start());
    let digests: Vec<Digest> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| index.add(&WheelBuilder::new(name, "1.0")))
        .collect();
    let requests: Vec<WheelRequest> = ["a", "b", "c", "d"].iter().map(|name| request(name)).collect();
    let found = get(&scratch, &settings(&index), &requests, false).unwrap();
    let got: Vec<Digest> = found.iter().map(|wheel| wheel.sha256.clone()).collect();
    assert_eq!(got, digests);
    // What a lock records is enough for the next time, without a network.
    let locked: Vec<WheelRequest> = found
        .iter()
        .zip(&requests)
        .map(|(wheel, request)| WheelRequest {
            url: wheel.url.clone(),
            sha256: Some(wheel.sha256.clone()),
            size: Some(wheel.size),
            ..request.clone()
        })
        .collect();
    assert_eq!(get(&scratch, &settings(&index), &locked, true).unwrap(), found);
    let missing = WheelRequest {
        sha256: Some(Digest::of(b"")),
        ..request("zz")
    };
    let error = get(&scratch, &settings(&index), &[locked[0].clone(), missing], true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "offline, and not downloaded before: zz-1.0-py3-none-any.whl"
    );
}

#[test]
fn the_first_index_that_knows_the_name_is_the_only_one() {
    let (scratch, main, extra) = (Scratch::new(), PackageIndex::start(), PackageIndex::start());
    main.add(&WheelBuilder::new("a", "1.0"));
    main.add(&WheelBuilder::new("b", "1.0"));
    extra.add(&WheelBuilder::new("a", "2.0"));
    let settings = IndexSettings::of(IndexLayer {
        indexes: vec![Index::at(&extra.url(), ""), Index::default_at(&main.url(), "")],
        ..IndexLayer::default()
    });
    let fetcher = fetcher(false);
    let client = IndexClient::new(&scratch.store, &fetcher, &settings);
    assert!(
        matches!(client.version("a", "1.0"), Err(IndexError::NoVersion { last: Some(last), .. }) if last == "2.0")
    );
    assert_eq!(
        client.version("B", "1").unwrap().index,
        Some(format!("{}/", main.url()))
    );
    let error = client.project("nothing").unwrap_err().to_string();
    assert!(
        error.contains(&extra.url()) && error.contains(&main.url()),
        "{error}"
    );
    // An index that is broken must not give way to another.
    extra.fail("/simple/b/", Fault::Status(403), 100);
    let again = IndexClient::new(&scratch.store, &fetcher, &settings);
    assert!(matches!(again.project("b"), Err(IndexError::Fetch { .. })));
}

#[test]
fn broken_answers_are_noticed() {
    let (scratch, index) = (Scratch::new(), PackageIndex::start());
    let wheel = WheelBuilder::new("a", "1.0").file("a.py", "x = 1\n".repeat(1000));
    let digest = index.add(&wheel);
    index.fail("/files/", Fault::WrongByte, 100);
    let error = get(&scratch, &settings(&index), &[request("a")], false).unwrap_err();
    assert!(matches!(error, DownloadError::Fetch { .. }), "{error}");
    index.heal();
    index.fail("/files/", Fault::Cut(100), 1);
    let found = get(&scratch, &settings(&index), &[request("a")], false).unwrap();
    assert_eq!(found[0].sha256, digest);
    index.fail("/simple/", Fault::Status(404), 100);
    let other = Scratch::new();
    let error = get(&other, &settings(&index), &[request("a")], false).unwrap_err();
    assert!(
        matches!(
            error,
            DownloadError::Index {
                source: IndexError::NoProject { .. },
                ..
            }
        ),
        "{error}"
    );
    let evil = WheelRequest {
        filename: "../a-1.0-py3-none-any.whl".into(),
        ..request("a")
    };
    assert!(matches!(
        get(&other, &settings(&index), &[evil], false),
        Err(DownloadError::Name { .. })
    ));
}

#[test]
fn logins_reach_the_index_and_nothing_else() {
    let (scratch, index) = (Scratch::new(), PackageIndex::start());
    index.add(&WheelBuilder::new("a", "1.0"));
    // "me:s3cret"
    index.require("bWU6czNjcmV0");
    let error = get(&scratch, &settings(&index), &[request("a")], false).unwrap_err();
    assert!(
        matches!(
            error,
            DownloadError::Index {
                source: IndexError::Fetch { .. },
                ..
            }
        ),
        "{error}"
    );
    let url = index.url().replace("://", "://me:s3cret@");
    let settings = IndexSettings::of_url(&url);
    let found = get(&scratch, &settings, &[request("a")], false).unwrap();
    assert!(!found[0].url.as_deref().unwrap().contains("s3cret"));
    let kept = crate::support::tree(scratch.store.root());
    let secret = |(_, content): &(bool, Vec<u8>)| content.windows(6).any(|window| window == b"s3cret");
    assert!(!kept.values().any(secret));
}

#[test]
fn local_places_and_files_serve_too() {
    let scratch = Scratch::new();
    let wheel = WheelBuilder::new("a", "1.0");
    let folder = scratch.folder.path().join("wheels");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(wheel.file_name()), wheel.build()).unwrap();
    let find_links = vec!["/nonexistent/place".into(), folder.to_str().unwrap().to_owned()];
    let settings = IndexSettings::of(IndexLayer {
        find_links,
        no_index: Some(true),
        ..IndexLayer::default()
    });
    let found = get(&scratch, &settings, &[request("a")], false).unwrap();
    assert_eq!(found[0].sha256, Digest::of(&wheel.build()));
    let direct = WheelRequest {
        url: Some(folder.join(wheel.file_name()).to_str().unwrap().to_owned()),
        sha256: Some(Digest::of(b"another")),
        ..request("a")
    };
    assert!(matches!(
        get(&scratch, &settings, &[direct], true),
        Err(DownloadError::Hash { .. })
    ));
}
