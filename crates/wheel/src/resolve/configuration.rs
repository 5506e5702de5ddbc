//! What uv is told: its configuration file, a project file where packages name their index, and variables with the logins.
//!
//! No login stands in a file or among the arguments: uv takes them from variables by the index's name, so every index gets one.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use coil_python::uv_settings::{UvResolution, toml_string};

use crate::index::{Authenticate, Index, IndexSettings, login_of, without_login};

/// The name of the project that uv is shown; no distribution can have it.
const PROJECT: &str = "coil--project";

/// Settings that coil has merged from all layers and writes itself.
const OURS: [&str; 3] = ["exclude-newer", "index-strategy", "no-index"];

/// What uv is told.
pub(super) struct Configuration {
    /// The text of uv.toml.
    pub(super) settings: String,
    /// The text of pyproject.toml, where packages name their index.
    pub(super) project: Option<String>,
    /// Variables.
    pub(super) environment: Vec<(String, String)>,
}

impl Configuration {
    /// What uv is told of these indices for these requirements.
    pub(super) fn new(index: &IndexSettings, uv: &UvResolution, requirements: &str) -> Configuration {
        let mut settings = String::new();
        for (key, value) in &uv.settings {
            let first = key.split('.').next().unwrap_or(key);
            if !OURS.contains(&first) && first != "exclude-newer-package" {
                let _ = writeln!(settings, "{key} = {value}");
            }
        }
        let (general, packages) = index.cutoffs();
        if let Some(cutoff) = general {
            let _ = writeln!(settings, "exclude-newer = {}", toml_string(&cutoff.to_string()));
        }
        if !packages.is_empty() {
            let entries: Vec<String> = packages
                .iter()
                .map(|(name, cutoff)| {
                    let value = cutoff
                        .as_ref()
                        .map_or_else(|| "false".to_owned(), |cutoff| toml_string(&cutoff.to_string()));
                    format!("{} = {value}", toml_string(name))
                })
                .collect();
            let _ = writeln!(settings, "exclude-newer-package = {{ {} }}", entries.join(", "));
        }
        let _ = writeln!(
            settings,
            "index-strategy = {}",
            toml_string(index.strategy().name())
        );
        if index.no_index() {
            settings.push_str("no-index = true\n");
        }
        let mut environment = Vec::new();
        let mut tables = String::new();
        for (number, index) in index
            .all()
            .iter()
            .filter(|index| !index.flat || index.explicit)
            .enumerate()
        {
            let mut index = index.clone();
            index.name.get_or_insert_with(|| format!("coil-{number}"));
            table(&mut tables, &index);
            environment.extend(login(&index));
        }
        settings.push_str(&tables.replace("[[index]]", "\n[[index]]"));
        // A folder that isn't there is an error to uv, and nothing to pip.
        let there = |place: &String| {
            let path = place.strip_prefix("file://").unwrap_or(place);
            path.contains("://") || Path::new(path).exists()
        };
        let places: Vec<String> = index
            .find_links()
            .into_iter()
            .filter(there)
            .map(|place| index.with_login(&place))
            .collect();
        if !places.is_empty() {
            environment.push(("UV_FIND_LINKS".to_owned(), places.join(",")));
        }
        let project = (!uv.sources.is_empty()).then(|| project(uv, requirements, &tables));
        Configuration {
            settings,
            project,
            environment,
        }
    }
}

/// The project file: the requirements, and which of them come from which index.
fn project(uv: &UvResolution, requirements: &str, indexes: &str) -> String {
    let mut text = format!(
        "[project]\nname = {}\nversion = \"0\"\ndependencies = [\n",
        toml_string(PROJECT)
    );
    for line in requirements.lines().filter(|line| !line.trim().is_empty()) {
        let _ = writeln!(text, "    {},", toml_string(line.trim()));
    }
    text.push_str("]\n\n[tool.uv.sources]\n");
    for (name, value) in &uv.sources {
        let _ = writeln!(text, "{} = {value}", toml_string(name));
    }
    text.push_str(&indexes.replace("[[index]]", "\n[[tool.uv.index]]"));
    text
}

fn table(text: &mut String, index: &Index) {
    text.push_str("[[index]]\n");
    let name = index.name.as_deref().unwrap_or_default();
    let _ = writeln!(text, "name = {}", toml_string(name));
    let _ = writeln!(text, "url = {}", toml_string(&without_login(&index.url)));
    for (key, is_set) in [("default", index.default), ("explicit", index.explicit)] {
        if is_set {
            let _ = writeln!(text, "{key} = true");
        }
    }
    if index.flat {
        text.push_str("format = \"flat\"\n");
    }
    match index.authenticate {
        Authenticate::Auto => {}
        Authenticate::Always => text.push_str("authenticate = \"always\"\n"),
        Authenticate::Never => text.push_str("authenticate = \"never\"\n"),
    }
    if !index.ignore_error_codes.is_empty() {
        let _ = writeln!(text, "ignore-error-codes = {:?}", index.ignore_error_codes);
    }
}

/// The variables from which uv takes an index's login.
fn login(index: &Index) -> Vec<(String, String)> {
    let Some(((user, password), variable)) = login_of(&index.url).zip(index.password_variable()) else {
        return Vec::new();
    };
    if index.authenticate == Authenticate::Never {
        return Vec::new();
    }
    vec![
        (variable.replace("_PASSWORD", "_USERNAME"), user),
        (variable, password),
    ]
}

/// uv's words without its own prefix, and without the logins that the settings hold.
pub(super) fn tidy(words: &str, index: &IndexSettings) -> String {
    let mut words = words.trim().to_owned();
    let mut secrets = BTreeSet::new();
    for place in index.places() {
        let Some((_, rest)) = place.split_once("://") else {
            continue;
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let Some((login, _)) = authority.rsplit_once('@') else {
            continue;
        };
        words = words.replace(&format!("{login}@"), "");
        secrets.extend(login.split_once(':').map(|(_, password)| password.to_owned()));
        secrets.extend(login_of(&place).map(|(_, password)| password));
    }
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        words = words.replace(secret.as_str(), "****");
    }
    words.strip_prefix("error: ").map(str::to_owned).unwrap_or(words)
}

/// The warnings among uv's words, such as one about a version that was taken back.
pub(super) fn warnings(words: &str, index: &IndexSettings) -> Vec<String> {
    let warning = |line: &str| line.strip_prefix("warning: ").map(|text| tidy(text, index));
    words.lines().filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Cutoff, IndexLayer};

    #[test]
    fn logins_go_through_variables_alone() {
        let settings = IndexSettings::of(IndexLayer {
            indexes: vec![
                Index {
                    name: Some("my.corp".into()),
                    explicit: true,
                    ignore_error_codes: vec![403],
                    ..Index::at("https://me:s3cr%21t@corp.example/simple", "")
                },
                Index::default_at("https://you:hunter2@main.example/simple", ""),
            ],
            exclude_newer: Cutoff::parse("2024-03-01", 0).ok(),
            ..IndexLayer::default()
        });
        let uv = UvResolution {
            settings: vec![
                ("exclude-newer".into(), "\"as the project wrote it\"".into()),
                ("prerelease".into(), "\"allow\"".into()),
            ],
            sources: vec![("six".into(), "[{ index = \"my.corp\" }]".into())],
            indexes: Vec::new(),
        };
        let made = Configuration::new(&settings, &uv, "six>=1 ; python_version > \"3\"\n");
        let project = made.project.as_deref().unwrap_or_default();
        let files = format!("{}{project}", made.settings);
        assert!(!files.contains("s3cr") && !files.contains("hunter2"), "{files}");
        assert!(
            made.settings
                .contains("exclude-newer = \"2024-03-02T00:00:00Z\"\n")
                && made.settings.contains("prerelease = \"allow\"\n")
                && !made.settings.contains("as the project"),
            "{}",
            made.settings
        );
        assert!(
            project.contains("    \"six>=1 ; python_version > \\\"3\\\"\",\n"),
            "{project}"
        );
        assert!(
            project.contains("[[tool.uv.index]]\nname = \"my.corp\"\n"),
            "{project}"
        );
        let find = |name: &str| {
            made.environment
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(find("UV_INDEX_MY_CORP_USERNAME"), Some("me"));
        assert_eq!(find("UV_INDEX_MY_CORP_PASSWORD"), Some("s3cr!t"));
        assert_eq!(find("UV_INDEX_COIL_1_PASSWORD"), Some("hunter2"));
    }

    #[test]
    fn words_hold_no_login() {
        let index = IndexSettings::of_url("https://me:s3cr%21t@a.example/simple");
        let words = tidy(
            "error: no answer from https://me:s3cr%21t@a.example/simple/x/ (s3cr!t)\n",
            &index,
        );
        assert_eq!(words, "no answer from https://a.example/simple/x/ (****)");
        assert_eq!(
            warnings("Resolved 1 package\nwarning: `x==1` is yanked (s3cr!t)\n", &index),
            ["`x==1` is yanked (****)"]
        );
    }
}
