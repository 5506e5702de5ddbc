//! Indices and downloads, against servers that behave and servers that don't.

use std::time::Duration;

use coil_fetch::{FetchSettings, Fetcher, NoProgress};
use coil_oci::Digest;
use coil_testkit::index::{Fault, PackageIndex};
use coil_testkit::wheel::WheelBuilder;
use coil_wheel::download::{DownloadError, DownloadOptions, FetchedWheel, WheelRequest, download};
use coil_wheel::index::{
    Authenticate, Cutoff, Index, IndexClient, IndexError, IndexLayer, IndexSettings, IndexStrategy,
    NamedLogin,
};

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
        matches!(&error, DownloadError::Index { source, .. } if matches!(**source, IndexError::NoProject { .. })),
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
        matches!(&error, DownloadError::Index { source, .. } if matches!(**source, IndexError::Fetch { .. })),
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

fn layer(indexes: Vec<Index>) -> IndexLayer {
    IndexLayer {
        indexes,
        ..IndexLayer::default()
    }
}

#[test]
fn what_a_lock_names_comes_from_there_or_not_at_all() {
    let (scratch, main, corp) = (Scratch::new(), PackageIndex::start(), PackageIndex::start());
    let wheel = WheelBuilder::new("a", "1.0").file("a.py", "x = 'main'\n");
    main.add(&wheel);
    let inner = corp.add(&WheelBuilder::new("a", "1.0").file("a.py", "x = 'corp'\n"));
    main.add(&WheelBuilder::new("b", "1.0"));
    let settings = settings(&main);
    let from_corp = |name: &str| WheelRequest {
        index: Some(corp.url()),
        ..request(name)
    };
    let found = get(&scratch, &settings, &[from_corp("a")], false).unwrap();
    assert_eq!(found[0].sha256, inner);
    assert!(!main.requests().iter().any(|request| request.path.contains("/a/")));
    let error = get(&scratch, &settings, &[from_corp("b")], false).unwrap_err();
    let DownloadError::Index { source, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        source.to_string(),
        format!(
            "no project `b` at {}, the index that it must come from",
            corp.url()
        )
    );
    assert!(
        source.help().contains("no other index is asked"),
        "{}",
        source.help()
    );
    assert!(
        main.requests()
            .iter()
            .all(|request| !request.path.contains("/b/"))
    );
    // PyPI's address stands for whatever is set in its place.
    let pypi = WheelRequest {
        index: Some("https://pypi.org/simple".into()),
        ..request("b")
    };
    get(&scratch, &settings, &[pypi], false).unwrap();
}

#[test]
fn explicit_indices_are_asked_only_by_name_and_flat_ones_are_places() {
    let (scratch, main, other) = (Scratch::new(), PackageIndex::start(), PackageIndex::start());
    main.add(&WheelBuilder::new("a", "1.0"));
    other.add(&WheelBuilder::new("a", "2.0"));
    let flat = WheelBuilder::new("c", "1.0");
    other.add_path("/f/c-1.0-py3-none-any.whl", flat.build());
    other.add_html("/list", "<a href=/f/c-1.0-py3-none-any.whl>c</a>");
    let settings = IndexSettings::of(layer(vec![
        Index {
            name: Some("other".into()),
            explicit: true,
            ..Index::at(&other.url(), "")
        },
        Index {
            flat: true,
            ..Index::at(&other.url().replace("/simple", "/list"), "")
        },
        Index::default_at(&main.url(), ""),
    ]));
    let fetcher = fetcher(false);
    let client = IndexClient::new(&scratch.store, &fetcher, &settings);
    client.version("a", "1.0").unwrap();
    client.version_at("a", "2.0", Some(&other.url())).unwrap();
    let found = get(&scratch, &settings, &[request("c")], false).unwrap();
    assert_eq!(found[0].sha256, Digest::of(&flat.build()));
}

#[test]
fn strategies_that_mix_must_be_asked_for() {
    let (scratch, main, extra) = (Scratch::new(), PackageIndex::start(), PackageIndex::start());
    main.add(&WheelBuilder::new("a", "1.0"));
    extra.add(&WheelBuilder::new("a", "2.0"));
    for (strategy, finds) in [
        (None, false),
        (Some(IndexStrategy::UnsafeFirstMatch), true),
        (Some(IndexStrategy::UnsafeBestMatch), true),
    ] {
        let settings = IndexSettings::of(IndexLayer {
            strategy,
            ..layer(vec![
                Index::at(&extra.url(), ""),
                Index::default_at(&main.url(), ""),
            ])
        });
        let fetcher = fetcher(false);
        let client = IndexClient::new(&scratch.store, &fetcher, &settings);
        assert_eq!(client.version("a", "1.0").is_ok(), finds, "{strategy:?}");
    }
}

#[test]
fn an_index_may_say_otherwise_that_it_does_not_know_a_project() {
    let (scratch, main, extra) = (Scratch::new(), PackageIndex::start(), PackageIndex::start());
    main.add(&WheelBuilder::new("a", "1.0"));
    extra.fail("/simple/a/", Fault::Status(403), 100);
    let settings = IndexSettings::of(layer(vec![
        Index {
            ignore_error_codes: vec![403],
            ..Index::at(&extra.url(), "")
        },
        Index::default_at(&main.url(), ""),
    ]));
    get(&scratch, &settings, &[request("a")], false).unwrap();
}

#[test]
fn what_was_uploaded_later_or_nobody_knows_when_does_not_count() {
    let (scratch, index) = (Scratch::new(), PackageIndex::start());
    for name in ["a", "b"] {
        index.add(&WheelBuilder::new(name, "1.0"));
    }
    index.add_json_page(
        "a",
        &[(
            "a-1.0-py3-none-any.whl",
            r#","upload-time":"2024-03-01T12:00:00.5Z""#,
        )],
    );
    let at = |date: &str| {
        IndexSettings::of(IndexLayer {
            exclude_newer: Cutoff::parse(date, 0).ok(),
            ..layer(vec![Index::default_at(&index.url(), "")])
        })
    };
    let fetcher = fetcher(false);
    let (early, late) = (at("2024-02-29"), at("2024-03-01"));
    let client = IndexClient::new(&scratch.store, &fetcher, &late);
    client.version("a", "1.0").unwrap();
    let unknown = client.version("b", "1.0").unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "the index does not say when `b` 1.0 was uploaded, and only what came before 2024-03-02T00:00:00Z counts \
         (exclude-newer)"
    );
    let client = IndexClient::new(&scratch.store, &fetcher, &early);
    let error = client.version("a", "1.0").unwrap_err();
    assert!(
        matches!(
            &error,
            IndexError::TooNew {
                uploaded: Some(_),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn what_was_taken_back_is_told() {
    let (scratch, index) = (Scratch::new(), PackageIndex::start());
    index.add(&WheelBuilder::new("a", "1.0"));
    index.add_json_page("a", &[("a-1.0-py3-none-any.whl", r#","yanked":"loses data""#)]);
    let (settings, fetcher) = (settings(&index), fetcher(false));
    let client = IndexClient::new(&scratch.store, &fetcher, &settings);
    client.version("a", "1.0").unwrap();
    assert_eq!(
        client.notes(),
        ["a 1.0 was taken back from the index (yanked): loses data"]
    );
}

#[test]
fn other_hashes_are_checked_and_the_usual_one_is_recorded() {
    let (scratch, index) = (Scratch::new(), PackageIndex::start());
    let wheel = WheelBuilder::new("a", "1.0");
    let bytes = wheel.build();
    let md5 = "900150983cd24fb0d6963f7d28e17f72";
    index.add_path(&format!("/files/{}", wheel.file_name()), bytes.clone());
    let page = |hash: &str| {
        let link = format!("<a href=\"/files/{}#{hash}\">a</a>", wheel.file_name());
        index.add_html("/simple/a/", &link);
    };
    page(&format!("md5={md5}"));
    let error = get(&scratch, &settings(&index), &[request("a")], false).unwrap_err();
    assert!(
        matches!(&error, DownloadError::OtherHash { .. })
            && error.to_string().ends_with(&format!("not md5:{md5}")),
        "{error}"
    );
    let text = crate::support::output(
        std::process::Command::new("python3")
            .args([
                "-c",
                "import hashlib,sys; print(hashlib.sha512(open(sys.argv[1],'rb').read()).hexdigest())",
            ])
            .arg(scratch.wheel((wheel.file_name(), bytes.clone())).path),
    );
    page(&format!("sha512={}", text.trim()));
    let other = Scratch::new();
    let found = get(&other, &settings(&index), &[request("a")], false).unwrap();
    assert_eq!(found[0].sha256, Digest::of(&bytes));
}

#[test]
fn metadata_is_had_without_the_wheel_and_checked() {
    let (scratch, index) = (Scratch::new(), PackageIndex::start());
    index.add(&WheelBuilder::new("a", "1.0"));
    let text = b"Metadata-Version: 2.1\nName: a\nVersion: 1.0\n";
    index.add_path("/files/a-1.0-py3-none-any.whl.metadata", text.to_vec());
    let (settings, fetcher) = (settings(&index), fetcher(false));
    for (digest, good) in [(Digest::of(text), true), (Digest::of(b"another"), false)] {
        let more = format!(r#","core-metadata":{{"sha256":"{}"}}"#, digest.hex());
        index.add_json_page("a", &[("a-1.0-py3-none-any.whl", &more)]);
        let client = IndexClient::new(&scratch.store, &fetcher, &settings);
        let files = client.version("a", "1.0").unwrap().files;
        match client.metadata(&files[0]) {
            Ok(found) => assert!(good && found.as_deref() == Some(&text[..])),
            Err(error) => assert!(!good, "{error}"),
        }
    }
}

#[test]
fn a_login_that_is_refused_is_told_by_where_it_came_from() {
    let (scratch, index) = (Scratch::new(), PackageIndex::start());
    index.add(&WheelBuilder::new("a", "1.0"));
    index.require("bWU6czNjcmV0");
    let named = Index {
        name: Some("corp".into()),
        ..Index::default_at(&index.url(), "pyproject.toml")
    };
    let login = NamedLogin {
        index: "CORP".into(),
        user: "me".into(),
        password: "hunter2".into(),
    };
    let wrong = Index::default_at(&index.url().replace("://", "://me:hunter2@"), "UV_DEFAULT_INDEX");
    let never = Index {
        authenticate: Authenticate::Never,
        ..wrong.clone()
    };
    let always = Index {
        authenticate: Authenticate::Always,
        ..named.clone()
    };
    for (index, logins, part) in [
        (named.clone(), vec![], "no login is known for 127.0.0.1"),
        (
            named,
            vec![login],
            "the login of UV_INDEX_CORP_USERNAME and UV_INDEX_CORP_PASSWORD was not accepted",
        ),
        (
            wrong,
            vec![],
            "the login of the index's address in UV_DEFAULT_INDEX was not accepted",
        ),
        (never, vec![], "set to get no login"),
        (
            always,
            vec![],
            "set UV_INDEX_CORP_USERNAME and UV_INDEX_CORP_PASSWORD",
        ),
    ] {
        let settings = IndexSettings::new(vec![layer(vec![index])], Vec::new(), logins);
        let fetcher = fetcher(false);
        let client = IndexClient::new(&scratch.store, &fetcher, &settings);
        let error = client.project("a").unwrap_err();
        let shown = format!("{error} {error:?} {}", error.help());
        assert!(
            shown.contains(part) && !shown.contains("hunter2"),
            "{part}: {shown}"
        );
    }
}

#[test]
fn a_login_goes_neither_to_another_host_nor_to_where_a_file_is_sent() {
    let (scratch, index, files) = (Scratch::new(), PackageIndex::start(), PackageIndex::start());
    let wheel = WheelBuilder::new("a", "1.0");
    files.add(&wheel);
    index.require("bWU6czNjcmV0");
    let name = wheel.file_name();
    let elsewhere = format!("http://127.0.0.1:{}/files/{name}", files.port());
    index.add_html("/simple/a/", &format!("<a href=\"/go/{name}\">a</a>"));
    index.redirect(&format!("/go/{name}"), &elsewhere);
    index.add_html(
        "/simple/b/",
        &format!("<a href=\"{}\">b</a>", elsewhere.replace("/a-", "/b-")),
    );
    files.add(&WheelBuilder::new("b", "1.0"));
    let settings = IndexSettings::of_url(&index.url().replace("://", "://me:s3cret@"));
    get(&scratch, &settings, &[request("a"), request("b")], false).unwrap();
    let seen = files.requests();
    assert!(
        seen.len() == 2
            && seen
                .iter()
                .all(|request| !request.headers.contains_key("authorization"))
    );
    // What wants a login there says so, and who.
    files.require("eDp5");
    let other = Scratch::new();
    let error = get(&other, &settings, &[request("a")], false).unwrap_err();
    assert!(error.help().contains("led on to"), "{}", error.help());
}

#[test]
fn a_page_for_people_is_no_index_page() {
    let (scratch, index) = (Scratch::new(), PackageIndex::start());
    index.redirect("/simple/a/", "/login?next=secret");
    index.add_html(
        "/login?next=secret",
        "<html><form><input type=password></form></html>",
    );
    let settings = settings(&index);
    let fetcher = fetcher(false);
    let error = IndexClient::new(&scratch.store, &fetcher, &settings)
        .project("a")
        .unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.contains("/login?\u{2026} cannot be understood: it is a web page with a form"),
        "{shown}"
    );
    assert!(error.help().contains("wants a login"), "{}", error.help());
}

#[test]
fn an_index_on_the_disk_and_a_near_name() {
    let scratch = Scratch::new();
    let folder = scratch.folder.path().join("index/my-thing");
    std::fs::create_dir_all(&folder).unwrap();
    let wheel = WheelBuilder::new("my_thing", "1.0");
    std::fs::write(folder.join(wheel.file_name()), wheel.build()).unwrap();
    let index = folder.parent().unwrap().to_str().unwrap();
    let request = WheelRequest {
        name: "my-thing".into(),
        filename: wheel.file_name(),
        ..request("my_thing")
    };
    let found = get(
        &scratch,
        &IndexSettings::of_url(&format!("file://{index}")),
        &[request],
        false,
    )
    .unwrap();
    assert_eq!(found[0].sha256, Digest::of(&wheel.build()));
    let settings = IndexSettings::of(IndexLayer {
        find_links: vec![folder.to_str().unwrap().to_owned()],
        no_index: Some(true),
        ..IndexLayer::default()
    });
    let fetcher = fetcher(false);
    let error = IndexClient::new(&scratch.store, &fetcher, &settings)
        .project("my-thnig")
        .unwrap_err();
    assert_eq!(error.help(), "did you mean `my-thing`?");
}
