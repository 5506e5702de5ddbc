//! `[tool.uv]` and `uv.toml`: the parts that decide what is installed and from where.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use pep508_rs::{ExtraName, MarkerTree, PackageName};
use serde::Serialize;
use toml::de::DeValue;

use crate::diagnostic::Diagnostic;
use crate::requirement::{GroupName, parse_marker};
use crate::requirements_file::without_credentials;
use crate::toml_document::{Document, Item, Table};

/// The settings of `[tool.uv]` that coil reads; the rest concerns uv alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UvSettings {
    /// `[[tool.uv.index]]`, in order.
    pub indexes: Vec<UvIndex>,
    /// `[tool.uv.sources]`.
    pub sources: BTreeMap<PackageName, Vec<UvSource>>,
    /// `default-groups`: `None` if not set, which means `dev`.
    pub default_groups: Option<DefaultGroups>,
    /// `package`: whether the project itself is installed.
    pub package: Option<bool>,
    /// `managed`: false where uv is told to keep away.
    pub managed: Option<bool>,
    /// `[tool.uv.workspace] members`; `None` if this is no workspace root.
    pub workspace_members: Option<Vec<String>>,
    /// `find-links`, as written.
    pub find_links: Vec<String>,
    /// `no-index`.
    pub no_index: Option<bool>,
    /// `index-url` and `extra-index-url`, the older way.
    pub index_url: Option<String>,
    /// The same.
    pub extra_index_urls: Vec<String>,
    /// `index-strategy`.
    pub index_strategy: Option<String>,
    /// `exclude-newer`: a date, a time or a span, as written.
    pub exclude_newer: Option<String>,
    /// `exclude-newer-package`; `None` where a package is set free with `false`.
    pub exclude_newer_package: BTreeMap<String, Option<String>>,
    /// `keyring-provider`.
    pub keyring_provider: Option<String>,
    /// `allow-insecure-host`.
    pub insecure_hosts: Vec<String>,
    /// Settings of the resolution itself, which uv is to have as they are written: key and TOML value.
    pub resolution: Vec<(String, String)>,
}

/// What uv is told for a resolution beside requirements and indices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UvResolution {
    /// Settings as in uv.toml: key and TOML value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<(String, String)>,
    /// Packages that come from a named index: the entries of `[tool.uv.sources]`, name and TOML value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<(String, String)>,
    /// The project's indices, with no login.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<String>,
}

impl UvResolution {
    /// Whether uv is told nothing more.
    pub fn is_empty(&self) -> bool {
        *self == UvResolution::default()
    }
}

/// The settings that decide what uv resolves, apart from indices: they are handed on as they are.
const RESOLUTION: [&str; 14] = [
    "constraint-dependencies",
    "dependency-metadata",
    "exclude-dependencies",
    "fork-strategy",
    "no-binary",
    "no-binary-package",
    "no-build",
    "no-build-package",
    "no-sources",
    "no-sources-package",
    "override-dependencies",
    "prerelease",
    "prerelease-package",
    "resolution",
];

/// The groups that are installed when none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultGroups {
    /// `"all"`.
    All,
    /// These.
    These(Vec<GroupName>),
}

/// A package index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UvIndex {
    /// Its name, which sources refer to.
    pub name: Option<String>,
    /// Its address.
    pub url: String,
    /// Whether it stands in for PyPI.
    pub default: bool,
    /// Whether only packages that name it may come from it.
    pub explicit: bool,
    /// Whether it is a flat page or directory of files.
    pub flat: bool,
    /// `authenticate`: `auto`, `always` or `never`.
    pub authenticate: Option<String>,
    /// `ignore-error-codes`: statuses by which it says that it doesn't know a package.
    pub ignore_error_codes: Vec<u16>,
}

/// Where one package comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UvSource {
    /// The name of an index.
    pub index: Option<String>,
    /// A Git repository.
    pub git: Option<String>,
    /// Its `rev`, `tag` or `branch`.
    pub reference: Option<String>,
    /// An archive's address.
    pub url: Option<String>,
    /// A file or directory.
    pub path: Option<String>,
    /// The directory inside.
    pub subdirectory: Option<String>,
    /// Whether a directory is installed as editable.
    pub editable: Option<bool>,
    /// Whether it is a member of the workspace.
    pub workspace: bool,
    /// When this source counts.
    pub marker: Option<MarkerTree>,
    /// For which of the project's extras.
    pub extra: Option<ExtraName>,
    /// For which of the project's groups.
    pub group: Option<GroupName>,
}

/// Reads `[tool.uv]`.
pub(crate) fn read(table: &Table<'_, '_>) -> Result<UvSettings, Diagnostic> {
    let mut settings = UvSettings {
        package: table.boolean("package")?,
        managed: table.boolean("managed")?,
        find_links: table
            .get("find-links")
            .map(|item| item.one_or_more())
            .transpose()?
            .unwrap_or_default(),
        no_index: table.boolean("no-index")?,
        index_strategy: table.string("index-strategy")?,
        exclude_newer: table.string("exclude-newer")?,
        keyring_provider: table.string("keyring-provider")?,
        insecure_hosts: table
            .get("allow-insecure-host")
            .map(|item| item.one_or_more())
            .transpose()?
            .unwrap_or_default(),
        index_url: table.string("index-url")?,
        extra_index_urls: table
            .get("extra-index-url")
            .map(|item| item.one_or_more())
            .transpose()?
            .unwrap_or_default(),
        ..UvSettings::default()
    };
    if let Some(packages) = table.table("exclude-newer-package")? {
        for (key, _, item) in packages.entries() {
            let cutoff = match item.value.get_ref().as_bool() {
                Some(false) => None,
                _ => Some(item.string()?),
            };
            settings.exclude_newer_package.insert(key.to_owned(), cutoff);
        }
    }
    for key in RESOLUTION {
        if let Some(item) = table.get(key) {
            let mut text = String::new();
            write_value(item.value.get_ref(), &mut text);
            settings.resolution.push((key.to_owned(), text));
        }
    }
    if let Some(item) = table.get("index") {
        for item in item.items()? {
            let index = item.table()?;
            let mut ignored = Vec::new();
            if let Some(codes) = index.get("ignore-error-codes") {
                for code in codes.items()? {
                    let number = code.value.get_ref().as_integer();
                    let number = number.and_then(|number| number.as_str().parse().ok());
                    ignored.push(number.ok_or_else(|| code.error("this is no HTTP status"))?);
                }
            }
            let authenticate = index.string("authenticate")?;
            if let Some(other) = &authenticate
                && !["auto", "always", "never"].contains(&other.as_str())
            {
                return Err(item.error("`authenticate` must be \"auto\", \"always\" or \"never\""));
            }
            settings.indexes.push(UvIndex {
                authenticate,
                ignore_error_codes: ignored,
                name: index.string("name")?,
                url: index
                    .string("url")?
                    .ok_or_else(|| item.error("this index has no `url`"))?,
                default: index.boolean("default")?.unwrap_or(false),
                explicit: index.boolean("explicit")?.unwrap_or(false),
                flat: index.string("format")?.as_deref() == Some("flat"),
            });
        }
    }
    if let Some(item) = table.get("default-groups") {
        settings.default_groups = Some(match item.as_str() {
            Some("all") => DefaultGroups::All,
            Some(_) => return Err(item.error("`default-groups` must be \"all\" or an array of names")),
            None => DefaultGroups::These(item.items()?.iter().map(name).collect::<Result<_, _>>()?),
        });
    }
    if let Some(workspace) = table.table("workspace")? {
        settings.workspace_members = Some(workspace.strings("members")?);
    }
    if let Some(sources) = table.table("sources")? {
        for (key, span, item) in sources.entries() {
            let package = PackageName::from_str(key).map_err(|_| {
                item.document
                    .error(span, format!("`{key}` is not a valid package name"))
            })?;
            let list = match item.value.get_ref().as_array() {
                Some(_) => item.items()?,
                None => vec![item],
            };
            let list = list.iter().map(source).collect::<Result<_, _>>()?;
            settings.sources.insert(package, list);
        }
    }
    Ok(settings)
}

/// Reads a `uv.toml`, in which the keys of `[tool.uv]` stand at the top.
pub fn parse_uv_toml(file: &str, text: &str) -> Result<UvSettings, Diagnostic> {
    let document = Document { file, text };
    let parsed = document.parse()?;
    read(&Table {
        document,
        path: String::new(),
        table: parsed.get_ref(),
    })
}

impl UvSettings {
    /// What uv is told to resolve a project with these extras and groups.
    ///
    /// Sources count that name an index, and hold for what is asked: the requirements of extras and groups are given to uv in
    /// one list, so the conditions are settled here.
    pub fn for_resolution(&self, extras: &BTreeSet<ExtraName>, groups: &BTreeSet<GroupName>) -> UvResolution {
        let mut sources = Vec::new();
        for (package, list) in &self.sources {
            let holds = |source: &&UvSource| {
                source.extra.as_ref().is_none_or(|extra| extras.contains(extra))
                    && source.group.as_ref().is_none_or(|group| groups.contains(group))
            };
            let entries: Vec<String> = list
                .iter()
                .filter(holds)
                .filter_map(|source| {
                    let mut entry = format!("{{ index = {}", toml_string(source.index.as_ref()?));
                    if let Some(marker) = source.marker.as_ref().and_then(MarkerTree::contents) {
                        entry.push_str(&format!(", marker = {}", toml_string(&marker.to_string())));
                    }
                    entry.push_str(" }");
                    Some(entry)
                })
                .collect();
            if !entries.is_empty() {
                sources.push((package.to_string(), format!("[{}]", entries.join(", "))));
            }
        }
        let mut settings = self.resolution.clone();
        let mut say = |key: &str, value: &Option<String>| {
            settings.extend(value.as_ref().map(|value| (key.to_owned(), toml_string(value))));
        };
        say("exclude-newer", &self.exclude_newer);
        say("index-strategy", &self.index_strategy);
        for (package, cutoff) in &self.exclude_newer_package {
            let value = cutoff
                .as_ref()
                .map_or_else(|| "false".to_owned(), |text| toml_string(text));
            settings.push((format!("exclude-newer-package.{}", toml_string(package)), value));
        }
        settings.extend(
            self.no_index
                .map(|value| ("no-index".to_owned(), value.to_string())),
        );
        let indexes = self.indexes.iter().map(|index| {
            let UvIndex {
                name,
                default,
                explicit,
                flat,
                ..
            } = index;
            let name = name.as_deref().unwrap_or_default();
            let url = without_credentials(&index.url);
            format!("{name}={url} {default} {explicit} {flat}")
        });
        let older = self
            .index_url
            .iter()
            .map(|url| format!("index-url {}", without_credentials(url)));
        let extra = self.extra_index_urls.iter().chain(&self.find_links);
        UvResolution {
            settings,
            sources,
            indexes: indexes
                .chain(older)
                .chain(extra.map(|place| without_credentials(place)))
                .collect(),
        }
    }
}

/// A TOML basic string.
pub fn toml_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => out.push_str(&format!("\\U{:08X}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Writes a value in one line.
fn write_value(value: &DeValue<'_>, out: &mut String) {
    match value {
        DeValue::String(text) => out.push_str(&toml_string(text)),
        DeValue::Boolean(truth) => out.push_str(&truth.to_string()),
        DeValue::Integer(number) => out.push_str(&number.to_string()),
        DeValue::Float(number) => out.push_str(&number.to_string()),
        DeValue::Datetime(time) => out.push_str(&time.to_string()),
        DeValue::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                out.push_str(if number > 0 { ", " } else { "" });
                write_value(item.get_ref(), out);
            }
            out.push(']');
        }
        DeValue::Table(table) => {
            out.push('{');
            for (number, (key, item)) in table.iter().enumerate() {
                out.push_str(if number > 0 { ", " } else { " " });
                out.push_str(&toml_string(key.get_ref()));
                out.push_str(" = ");
                write_value(item.get_ref(), out);
            }
            out.push_str(" }");
        }
    }
}

fn name(item: &Item<'_, '_>) -> Result<GroupName, Diagnostic> {
    item.string()?
        .parse()
        .map_err(|_| item.error("this is not a valid name"))
}

fn source(item: &Item<'_, '_>) -> Result<UvSource, Diagnostic> {
    let table = item.table()?;
    let marker = match table.get("marker") {
        None => None,
        Some(item) => Some(
            parse_marker(&item.string()?)
                .ok_or_else(|| item.error("this is not a valid environment marker"))?,
        ),
    };
    let mut reference = None;
    for key in ["rev", "tag", "branch"] {
        if let Some(value) = table.string(key)? {
            reference = Some(value);
        }
    }
    Ok(UvSource {
        index: table.string("index")?,
        git: table.string("git")?,
        reference,
        url: table.string("url")?,
        path: table.string("path")?,
        subdirectory: table.string("subdirectory")?,
        editable: table.boolean("editable")?,
        workspace: table.boolean("workspace")?.unwrap_or(false),
        marker,
        extra: table.get("extra").map(|item| name(&item)).transpose()?,
        group: table.get("group").map(|item| name(&item)).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
index-strategy = "unsafe-best-match"
exclude-newer = "2024-03-01"
exclude-newer-package = { numpy = "2025-01-01T00:00:00Z", six = false }
override-dependencies = ["numpy<2", "a \"b\""]
prerelease = "allow"
no-index = true
[[dependency-metadata]]
name = "x"
requires-dist = ["y"]
[[index]]
name = "corp"
url = "https://me:s3cret@corp.example/simple"
explicit = true
authenticate = "always"
ignore-error-codes = [403]
[sources]
torch = [{ index = "corp", extra = "gpu" }, { index = "other", marker = "sys_platform == 'linux'", group = "dev" }]
six = { index = "corp" }
flask = { git = "https://x.example/flask" }
"#;

    fn set<T: FromStr + Ord>(names: &[&str]) -> BTreeSet<T>
    where
        T::Err: std::fmt::Debug,
    {
        names.iter().map(|name| name.parse().expect("a name")).collect()
    }

    #[test]
    fn uv_toml_is_read_and_handed_on() {
        let settings = parse_uv_toml("uv.toml", TEXT).expect("valid");
        assert_eq!(settings.exclude_newer_package["six"], None);
        assert_eq!(settings.indexes[0].ignore_error_codes, [403]);
        let told = settings.for_resolution(&set(&["gpu"]), &set(&[]));
        let sources: Vec<&str> = told.sources.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(sources, ["[{ index = \"corp\" }]", "[{ index = \"corp\" }]"]);
        let told = settings.for_resolution(&set(&[]), &set(&["dev"]));
        assert_eq!(
            told.sources[1],
            (
                "torch".to_owned(),
                "[{ index = \"other\", marker = \"sys_platform == 'linux'\" }]".to_owned()
            )
        );
        let text: String = told
            .settings
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        for line in [
            "dependency-metadata = [{ \"name\" = \"x\", \"requires-dist\" = [\"y\"] }]",
            "override-dependencies = [\"numpy<2\", \"a \\\"b\\\"\"]",
            "prerelease = \"allow\"",
            "exclude-newer = \"2024-03-01\"",
            "exclude-newer-package.\"six\" = false",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert_eq!(
            told.indexes,
            ["corp=https://corp.example/simple false true false"]
        );
    }

    #[test]
    fn what_cannot_be_is_shown() {
        let error = parse_uv_toml("uv.toml", "[[index]]\nurl = \"x\"\nauthenticate = \"maybe\"\n");
        assert!(error.expect_err("no such way").to_string().contains("always"));
    }
}
