//! Who wins: flags, variables, uv's files, pip's files.

use std::collections::BTreeMap;

use clap::{Args as _, Command, FromArgMatches};

use super::*;

fn settings(
    flags: &[&str],
    variables: &[(&str, &str)],
    files: &[(&str, &str)],
) -> Result<IndexSettings, Failure> {
    let files: BTreeMap<PathBuf, String> = files
        .iter()
        .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
        .collect();
    let command = IndexFlags::augment_args(Command::new("pack"));
    let matches = command.get_matches_from(["pack"].iter().chain(flags));
    let flags = IndexFlags::from_arg_matches(&matches).expect("flags");
    let mut all = vec![("HOME", "/home/me")];
    all.extend(variables);
    let sources = Sources {
        environment: &Environment::of(&all),
        directory: Path::new("/work"),
        now: 1_710_028_800,
        read_file: &|path| files.get(path).cloned(),
    };
    read(&flags, &sources)
}

fn indices(flags: &[&str], variables: &[(&str, &str)], files: &[(&str, &str)]) -> Vec<String> {
    settings(flags, variables, files).expect("settings").indices()
}

const USER: &str = "/home/me/.config/uv/uv.toml";
const PIP: &str = "/home/me/.config/pip/pip.conf";

#[test]
fn every_source_counts_in_its_place() {
    let files = [
        (
            USER,
            "[[index]]\nurl = \"https://user-uv/\"\n[[index]]\nurl = \"https://user-main/\"\ndefault = true\n",
        ),
        (
            "/etc/uv/uv.toml",
            "extra-index-url = [\"https://machine-uv/\"]\nindex-url = \"https://machine-main/\"\n",
        ),
        (
            PIP,
            "[global]\nindex-url = https://pip-main/\nextra-index-url = https://pip-extra/\n",
        ),
    ];
    let below = [
        "https://user-uv/",
        "https://machine-uv/",
        "https://pip-extra/",
        "https://user-main/",
    ];
    assert_eq!(indices(&[], &[], &files), below);
    let variables = [
        ("UV_INDEX", "inner=https://inner/?x=y https://plain/"),
        ("UV_EXTRA_INDEX_URL", "https://old/"),
        ("UV_INDEX_URL", "https://old-main/"),
        ("UV_DEFAULT_INDEX", "main=https://env-main/"),
    ];
    let mut expected = vec!["https://inner/?x=y/", "https://plain/", "https://old/"];
    expected.extend(&below[..3]);
    expected.push("https://env-main/");
    assert_eq!(indices(&[], &variables, &files), expected);
    let flags = ["--index", "https://flag/", "--index-url", "https://flag-main/"];
    expected.insert(0, "https://flag/");
    expected.pop();
    expected.push("https://flag-main/");
    assert_eq!(indices(&flags, &variables, &files), expected);
    assert_eq!(
        indices(&[], &[("PIP_INDEX_URL", "https://pip-env/")], &[files[2]]),
        ["https://pip-extra/", "https://pip-env/"]
    );
}

#[test]
fn a_file_that_is_named_stands_for_all_of_uvs() {
    let files = [
        (USER, "index-url = \"https://user/\""),
        ("/work/ci.toml", "index-url = \"https://ci/\""),
    ];
    assert_eq!(
        indices(&[], &[("UV_CONFIG_FILE", "ci.toml")], &files),
        ["https://ci/"]
    );
    assert_eq!(
        indices(&[], &[("UV_NO_CONFIG", "1")], &files),
        ["https://pypi.org/simple/"]
    );
    let missing = settings(&[], &[("UV_CONFIG_FILE", "/none.toml")], &files).expect_err("no file");
    assert!(
        missing.text().contains("/none.toml cannot be read"),
        "{}",
        missing.text()
    );
}

#[test]
fn paths_start_where_they_were_written() {
    let files = [(USER, "find-links = [\"wheels\", \"https://list/\"]")];
    let found = settings(
        &["--find-links", "dist", "--no-index"],
        &[("UV_FIND_LINKS", "a,/b")],
        &files,
    )
    .expect("settings");
    assert_eq!(
        found.find_links(),
        [
            "/work/dist",
            "/work/a",
            "/b",
            "/home/me/.config/uv/wheels",
            "https://list/"
        ]
    );
    assert!(found.no_index());
}

#[test]
fn logins_come_from_variables_by_the_indexs_name() {
    let variables = [
        ("UV_INDEX", "my-corp=https://corp.example/simple"),
        ("UV_INDEX_MY_CORP_USERNAME", "me"),
        ("UV_INDEX_MY_CORP_PASSWORD", "s3cret"),
        ("UV_INDEX_STRATEGY", "unsafe-best-match"),
    ];
    let found = settings(&[], &variables, &[]).expect("settings");
    assert_eq!(found.indices()[0], "https://me:s3cret@corp.example/simple/");
    assert_eq!(found.strategy(), IndexStrategy::UnsafeBestMatch);
    assert!(!format!("{found:?}").contains("s3cret"));
}

#[test]
fn dates_and_refusals() {
    let text = |flags: &[&str], variables: &[(&str, &str)]| {
        let found = settings(flags, variables, &[]).expect("settings");
        found.cutoff("six").map(ToString::to_string)
    };
    let variable = [("UV_EXCLUDE_NEWER", "2024-01-01")];
    assert_eq!(text(&[], &variable).as_deref(), Some("2024-01-02T00:00:00Z"));
    assert_eq!(
        text(&["--exclude-newer", "1 day"], &variable).as_deref(),
        Some("2024-03-09T00:00:00Z")
    );
    for (flags, part) in [
        (["--exclude-newer", "soon"], "--exclude-newer: `soon` is no date"),
        (["--index-strategy", "any"], "no index strategy `any`"),
        (
            ["--keyring-provider", "subprocess"],
            "keyring provider `subprocess` is not supported",
        ),
    ] {
        let failure = settings(&flags, &[], &[]).expect_err(part);
        assert!(failure.text().contains(part), "{}", failure.text());
    }
    let broken = settings(&[], &[], &[(USER, "index = 3\n")]).expect_err("no list");
    assert!(broken.text().contains("uv.toml:1"), "{}", broken.text());
}
