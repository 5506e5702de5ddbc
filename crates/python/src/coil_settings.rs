//! `[tool.coil]`: what a project says about its own image.

use std::collections::BTreeMap;

use pep508_rs::{ExtraName, PackageName};
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::requirement::GroupName;
use crate::toml_document::{Item, Table};

/// The keys of `[tool.coil]`.
pub const KEYS: &[&str] = &[
    "command",
    "base",
    "python",
    "env",
    "labels",
    "user",
    "port",
    "ports",
    "platforms",
    "apt",
    "build-apt",
    "build-network",
    "bytecode",
    "include",
    "exclude",
    "extras",
    "groups",
    "package",
    "lock",
];

/// The settings of `[tool.coil]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CoilSettings {
    /// `command`: how the application starts.
    pub command: Option<CommandSetting>,
    /// Where `command` stands, `pyproject.toml:12`.
    pub command_found_in: Option<String>,
    /// `base`: `bookworm`, `trixie`, `sid` or an image's reference.
    pub base: Option<String>,
    /// `python`: `3.13`.
    pub python: Option<String>,
    /// Where `python` stands.
    pub python_found_in: Option<String>,
    /// `env`: the container's environment.
    pub env: BTreeMap<String, String>,
    /// `labels`: the image's labels.
    pub labels: BTreeMap<String, String>,
    /// `user`: `1000`, `1000:1000` or a name.
    pub user: Option<String>,
    /// `port` and `ports`: what the application listens on, `8000/tcp`.
    pub ports: Vec<PortSetting>,
    /// `platforms`: `linux/amd64`.
    pub platforms: Vec<String>,
    /// `apt`: Debian packages to add to the base.
    pub apt: Vec<String>,
    /// `build-apt`: Debian packages to build source distributions with.
    pub build_apt: Vec<String>,
    /// `build-network`: whether builds of source distributions reach the network.
    pub build_network: bool,
    /// `bytecode`: whether bytecode is shipped; it is, unless the project says no.
    pub bytecode: Option<bool>,
    /// `include`: patterns of files to ship although they would be left out.
    pub include: Vec<String>,
    /// `exclude`: patterns of files to leave out.
    pub exclude: Vec<String>,
    /// `extras`: the project's own extras to install.
    pub extras: Vec<ExtraName>,
    /// `groups`: dependency groups to install.
    pub groups: Vec<GroupName>,
    /// `package`: the member of the workspace that is packed.
    pub package: Option<PackageName>,
    /// `lock`: the file that locks the packages.
    pub lock: Option<String>,
}

/// A start command as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CommandSetting {
    /// One string, as on a command line.
    Line(String),
    /// The arguments, one by one.
    Exec(Vec<String>),
}

/// A port that the application listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PortSetting {
    /// Its number.
    pub port: u16,
    /// Whether it is UDP; else TCP.
    pub udp: bool,
}

impl std::fmt::Display for PortSetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, if self.udp { "udp" } else { "tcp" })
    }
}

/// Reads the table; an unknown key is an error.
pub(crate) fn read(table: &Table<'_, '_>) -> Result<CoilSettings, Diagnostic> {
    table.only(KEYS)?;
    let mut ports = Vec::new();
    if let Some(item) = table.get("port") {
        ports.push(port(&item)?);
    }
    if let Some(item) = table.get("ports") {
        for item in item.items()? {
            ports.push(port(&item)?);
        }
    }
    ports.dedup();
    let found_in = |item: &Item<'_, '_>| {
        let document = item.document;
        format!(
            "{}:{}",
            document.file,
            crate::diagnostic::line_of(document.text, item.span().start)
        )
    };
    Ok(CoilSettings {
        command: table.get("command").map(|item| command(&item)).transpose()?,
        command_found_in: table.get("command").map(|item| found_in(&item)),
        base: table.string("base")?,
        python: table.get("python").map(|item| python(&item)).transpose()?,
        python_found_in: table.get("python").map(|item| found_in(&item)),
        env: map(table, "env")?,
        labels: map(table, "labels")?,
        user: table.get("user").map(|item| user(&item)).transpose()?,
        ports,
        platforms: table
            .get("platforms")
            .map(|item| item.one_or_more())
            .transpose()?
            .unwrap_or_default(),
        apt: table.strings("apt")?,
        build_apt: table.strings("build-apt")?,
        build_network: table.boolean("build-network")?.unwrap_or(false),
        bytecode: table.boolean("bytecode")?,
        include: table.strings("include")?,
        exclude: table.strings("exclude")?,
        extras: names(table, "extras")?,
        groups: names(table, "groups")?,
        package: match table.get("package") {
            None => None,
            Some(item) => {
                let name = item.string()?.parse();
                Some(name.map_err(|_| item.error("this is not a valid name"))?)
            }
        },
        lock: table.string("lock")?,
    })
}

fn map(table: &Table<'_, '_>, key: &str) -> Result<BTreeMap<String, String>, Diagnostic> {
    let Some(inner) = table.table(key)? else {
        return Ok(BTreeMap::new());
    };
    inner
        .entries()
        .map(|(name, span, item)| {
            if name.is_empty() || (key == "env" && name.contains(['=', '\0'])) {
                return Err(item
                    .document
                    .error(span, format!("`{name}` cannot be a name in [{}]", inner.path)));
            }
            Ok((name.to_owned(), scalar(&item)?))
        })
        .collect()
}

/// A string; a number or a boolean is taken as its text, since that is what people mean by `PORT = 8000`.
fn scalar(item: &Item<'_, '_>) -> Result<String, Diagnostic> {
    use toml::de::DeValue;
    match item.value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        _ => item.string(),
    }
}

fn command(item: &Item<'_, '_>) -> Result<CommandSetting, Diagnostic> {
    let setting =
        match item.as_str() {
            Some(line) => CommandSetting::Line(line.to_owned()),
            None => CommandSetting::Exec(item.strings().map_err(|error| {
                error.help("write `command = \"uvicorn main:app\"` or an array of strings")
            })?),
        };
    let empty = match &setting {
        CommandSetting::Line(line) => line.trim().is_empty(),
        CommandSetting::Exec(words) => words.first().is_none_or(String::is_empty),
    };
    if empty {
        return Err(item.error("`tool.coil.command` is empty"));
    }
    Ok(setting)
}

fn python(item: &Item<'_, '_>) -> Result<String, Diagnostic> {
    item.string()
        .map_err(|error| error.help("write it in quotes: `python = \"3.13\"`"))
}

fn user(item: &Item<'_, '_>) -> Result<String, Diagnostic> {
    scalar(item)
}

fn port(item: &Item<'_, '_>) -> Result<PortSetting, Diagnostic> {
    if let Some((number, protocol)) = item.as_str().and_then(|text| text.split_once('/')) {
        let udp = match protocol {
            "tcp" => false,
            "udp" => true,
            _ => return Err(item.error(format!("`{protocol}` is not a protocol: it is tcp or udp"))),
        };
        return match number.parse::<u16>() {
            Ok(port) if port > 0 => Ok(PortSetting { port, udp }),
            _ => Err(item.error(format!("`{number}` is not a port from 1 to 65535"))),
        };
    }
    Ok(PortSetting {
        port: item.port()?,
        udp: false,
    })
}

fn names(table: &Table<'_, '_>, key: &str) -> Result<Vec<ExtraName>, Diagnostic> {
    let Some(item) = table.get(key) else {
        return Ok(Vec::new());
    };
    item.items()?
        .iter()
        .map(|item| {
            item.string()?
                .parse()
                .map_err(|_| item.error("this is not a valid name"))
        })
        .collect()
}
