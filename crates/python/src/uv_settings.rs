//! `[tool.uv]`: the parts that decide what is installed and from where.

use std::collections::BTreeMap;
use std::str::FromStr;

use pep508_rs::{ExtraName, MarkerTree, PackageName};

use crate::diagnostic::Diagnostic;
use crate::requirement::GroupName;
use crate::toml_document::{Item, Table};

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
    pub no_index: bool,
    /// `index-url` and `extra-index-url`, the older way.
    pub index_url: Option<String>,
    /// The same.
    pub extra_index_urls: Vec<String>,
}

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
        no_index: table.boolean("no-index")?.unwrap_or(false),
        index_url: table.string("index-url")?,
        extra_index_urls: table
            .get("extra-index-url")
            .map(|item| item.one_or_more())
            .transpose()?
            .unwrap_or_default(),
        ..UvSettings::default()
    };
    if let Some(item) = table.get("index") {
        for item in item.items()? {
            let index = item.table()?;
            settings.indexes.push(UvIndex {
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
            item.string()?
                .parse()
                .map_err(|_| item.error("this is not a valid environment marker"))?,
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
