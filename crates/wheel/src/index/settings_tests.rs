//! Tables of layers, and of which login goes where.

use super::*;

fn layer(indexes: Vec<Index>) -> IndexLayer {
    IndexLayer {
        indexes,
        ..IndexLayer::default()
    }
}

#[test]
fn the_default_index_is_asked_last_and_no_index_means_none() {
    let settings = IndexSettings::of(layer(vec![Index::at("https://a.example/simple", "")]));
    assert_eq!(settings.indices(), ["https://a.example/simple/", DEFAULT_INDEX]);
    let none = IndexSettings::of(IndexLayer {
        no_index: Some(true),
        ..layer(vec![Index::at("https://a.example/simple", "")])
    });
    assert!(none.indices().is_empty());
    // A stronger "no" is one.
    let weaker = IndexLayer {
        no_index: Some(true),
        ..IndexLayer::default()
    };
    let stronger = IndexLayer {
        no_index: Some(false),
        ..IndexLayer::default()
    };
    assert!(!IndexSettings::new(vec![stronger, weaker], Vec::new(), Vec::new()).no_index());
}

#[test]
fn layers_add_up_and_the_strongest_default_counts() {
    let settings = IndexSettings::new(
        vec![layer(vec![
            Index::default_at("https://flag.example/", "--default-index"),
            Index::from_flag("inner=https://flag-inner.example/", "--index"),
        ])],
        vec![layer(vec![
            Index::at("https://pip.example/", "pip.conf"),
            Index::default_at("https://pip-main.example/", "pip.conf"),
        ])],
        Vec::new(),
    );
    let project = layer(vec![
        Index {
            explicit: true,
            name: Some("torch".into()),
            ..Index::at("https://torch.example/", "pyproject.toml")
        },
        Index {
            name: Some("inner".into()),
            ..Index::at("https://project-inner.example/", "pyproject.toml")
        },
        Index {
            flat: true,
            ..Index::at("https://flat.example/list.html", "pyproject.toml")
        },
        Index {
            name: Some("main".into()),
            ..Index::default_at("https://project-main.example/", "pyproject.toml")
        },
    ]);
    let both = settings.with_project(vec![project]);
    assert_eq!(
        both.indices(),
        [
            "https://flag-inner.example/",
            "https://pip.example/",
            "https://flag.example/"
        ]
    );
    assert_eq!(both.find_links(), ["https://flat.example/list.html"]);
    // What is not searched can still be named.
    for name in ["torch", "main"] {
        let found = both
            .all()
            .iter()
            .find(|index| index.name.as_deref() == Some(name));
        assert!(found.is_some_and(|index| index.explicit), "{name}");
    }
    assert_eq!(
        settings.indices(),
        [
            "https://flag-inner.example/",
            "https://pip.example/",
            "https://flag.example/"
        ]
    );
}

#[test]
fn flags_may_name_an_index() {
    let name = |text: &str| Index::from_flag(text, "").name;
    assert_eq!(name("corp=https://a.example/?x=y").as_deref(), Some("corp"));
    assert_eq!(name("https://a.example/?x=y"), None);
    assert_eq!(name("./wheels=old"), None);
}

#[test]
fn logins_stay_with_their_server_and_out_of_records() {
    let settings = IndexSettings::of_url("https://u:p@a.example:8443/simple");
    for (url, expected) in [
        (
            "https://a.example:8443/f/x.whl",
            "https://u:p@a.example:8443/f/x.whl",
        ),
        (
            "https://A.example:8443/f/x.whl",
            "https://u:p@A.example:8443/f/x.whl",
        ),
        ("https://b.example/f/x.whl", "https://b.example/f/x.whl"),
        ("https://a.example/f/x.whl", "https://a.example/f/x.whl"),
        ("http://a.example:8443/x", "http://a.example:8443/x"),
        (
            "https://a.example.evil.example:8443/x",
            "https://a.example.evil.example:8443/x",
        ),
        (
            "https://me:own@a.example:8443/x",
            "https://me:own@a.example:8443/x",
        ),
    ] {
        assert_eq!(settings.with_login(url), expected);
    }
    assert_eq!(
        without_login("https://u:p@a.example/x@y"),
        "https://a.example/x@y"
    );
    let shown = format!("{settings:?} {}", settings.key());
    assert!(!shown.contains("u:p"), "{shown}");
}

#[test]
fn the_nearest_address_gives_the_login() {
    let settings = IndexSettings::of(layer(vec![
        Index::at("https://one:1@a.example/team/one/simple", ""),
        Index::at("https://two:2@a.example:443/team/two/simple", ""),
        Index {
            authenticate: Authenticate::Never,
            ..Index::at("https://a.example/open", "")
        },
    ]));
    for (url, expected) in [
        (
            "https://a.example/team/one/simple/x/",
            "https://one:1@a.example/team/one/simple/x/",
        ),
        (
            "https://a.example/team/two/simple/x/",
            "https://two:2@a.example/team/two/simple/x/",
        ),
        (
            "https://a.example/files/x.whl",
            "https://one:1@a.example/files/x.whl",
        ),
        ("https://a.example/open/x/", "https://a.example/open/x/"),
    ] {
        assert_eq!(settings.with_login(url), expected);
    }
}

#[test]
fn variables_log_in_to_an_index_by_its_name() {
    let login = NamedLogin {
        index: "MY_CORP".into(),
        user: "me@corp".into(),
        password: "p/w".into(),
    };
    let settings = IndexSettings::new(Vec::new(), Vec::new(), vec![login]);
    let project = layer(vec![Index {
        name: Some("my.corp".into()),
        ..Index::at("https://old:login@corp.example/simple", "pyproject.toml")
    }]);
    let settings = settings.with_project(vec![project]);
    assert_eq!(
        settings.indices()[0],
        "https://me%40corp:p%2Fw@corp.example/simple/"
    );
    let found = settings.login_found_in("https://corp.example/simple/x/");
    assert_eq!(
        found.as_deref(),
        Some("UV_INDEX_MY_CORP_USERNAME and UV_INDEX_MY_CORP_PASSWORD")
    );
}

#[test]
fn cutoffs_of_packages_win_over_the_general_one() {
    let cutoff = |text: &str| Cutoff::parse(text, 0).expect("a date");
    let settings = IndexSettings::of(IndexLayer {
        exclude_newer: Some(cutoff("2024-01-01")),
        exclude_newer_package: BTreeMap::from([
            ("six".to_owned(), None),
            ("numpy".to_owned(), Some(cutoff("2025-01-01"))),
        ]),
        ..IndexLayer::default()
    });
    assert!(settings.cutoff("six").is_none());
    assert_eq!(settings.cutoff("numpy").map(Cutoff::text), Some("2025-01-01"));
    assert_eq!(settings.cutoff("flask").map(Cutoff::text), Some("2024-01-01"));
    assert_eq!(settings.resolution_inputs().len(), 3);
}
