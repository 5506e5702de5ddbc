//! Package indices as pip is told of them: `pip.conf` and `PIP_*`.
//!
//! Files in pip's order, a later one wins: the machine's, the user's (not with `PIP_CONFIG_FILE`), the virtual
//! environment's, `PIP_CONFIG_FILE`. Variables win over files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use coil_build::FormatWish;
use coil_wheel::index::{Index, IndexLayer};

use crate::environment::Environment;

/// What pip is told.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PipSettings {
    /// The indices.
    pub index: IndexLayer,
    /// A bundle of certificate authorities.
    pub cert: Option<PathBuf>,
    /// Seconds to wait for a server.
    pub timeout: Option<u64>,
    /// Which packages are built from their sources, and which never.
    pub formats: Vec<FormatWish>,
}

/// Reads a file; none where it can't.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> Option<String>;

impl PipSettings {
    /// Reads the files and the variables.
    pub fn read(environment: &Environment, read_file: ReadFile<'_>) -> Self {
        let mut values = BTreeMap::new();
        for path in files(environment, read_file) {
            if let Some(text) = read_file(&path) {
                values.extend(options(&text));
            }
        }
        let pip = |name: &str| {
            let variable = format!("PIP_{}", name.to_ascii_uppercase().replace('-', "_"));
            environment
                .text(&variable)
                .or_else(|| values.get(name).cloned())
                .filter(|value| !value.is_empty())
        };
        let list = |text: Option<String>| -> Vec<String> {
            text.unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect()
        };
        let is_true =
            |text: String| ["1", "true", "yes", "on", "y", "t"].contains(&text.to_ascii_lowercase().as_str());
        let found_in = |name: &str| {
            let variable = format!("PIP_{}", name.to_ascii_uppercase().replace('-', "_"));
            match environment.text(&variable) {
                Some(_) => variable,
                None => "pip.conf".to_owned(),
            }
        };
        let extra = list(pip("extra-index-url"));
        let mut indexes: Vec<Index> = extra
            .iter()
            .map(|url| Index::at(url, &found_in("extra-index-url")))
            .collect();
        indexes.extend(pip("index-url").map(|url| Index::default_at(&url, &found_in("index-url"))));
        // pip's own default asks a keyring only where one is at hand; only a program that is named is a wish.
        let keyring = pip("keyring-provider")
            .filter(|provider| !["auto", "disabled", "import"].contains(&provider.as_str()));
        let wish = |name: &str, wheels: bool| {
            let text = pip(name)?;
            let words = text.split(|c: char| c.is_whitespace() || c == ',');
            let names = words.filter(|word| !word.is_empty()).map(str::to_owned);
            Some(FormatWish {
                wheels,
                names: names.collect(),
                said: found_in(name),
            })
        };
        let formats = [wish("only-binary", true), wish("no-binary", false)];
        Self {
            formats: formats.into_iter().flatten().collect(),
            index: IndexLayer {
                indexes,
                find_links: list(pip("find-links")),
                no_index: pip("no-index").map(is_true),
                keyring,
                insecure_hosts: list(pip("trusted-host")),
                ..IndexLayer::default()
            },
            cert: pip("cert").map(PathBuf::from),
            timeout: pip("timeout")
                .or_else(|| pip("default-timeout"))
                .and_then(|text| text.parse().ok()),
        }
    }
}

/// The files in the order in which they are read.
fn files(environment: &Environment, read_file: ReadFile<'_>) -> Vec<PathBuf> {
    let chosen = environment.path("PIP_CONFIG_FILE");
    if chosen.as_deref() == Some(Path::new("/dev/null")) {
        return Vec::new();
    }
    let machine = environment
        .text("XDG_CONFIG_DIRS")
        .unwrap_or_else(|| "/etc/xdg".into());
    let mut files: Vec<PathBuf> = machine
        .split(':')
        .map(|folder| Path::new(folder).join("pip/pip.conf"))
        .collect();
    files.push("/etc/pip.conf".into());
    if chosen.as_deref().is_none_or(|path| read_file(path).is_none()) {
        let home = environment.home();
        files.extend(home.iter().map(|home| home.join(".pip/pip.conf")));
        let config = environment
            .absolute_path("XDG_CONFIG_HOME")
            .or_else(|| home.map(|home| home.join(".config")));
        files.extend(config.map(|config| config.join("pip/pip.conf")));
    }
    files.extend(environment.path("VIRTUAL_ENV").map(|venv| venv.join("pip.conf")));
    files.extend(chosen);
    files
}

/// The options of a file for `pip install`: those of `[global]`, and over them those of `[install]`.
fn options(text: &str) -> BTreeMap<String, String> {
    let (mut global, mut install) = (BTreeMap::new(), BTreeMap::new());
    let mut section = String::new();
    let mut last: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let table = match section.as_str() {
            "global" => Some(&mut global),
            "install" => Some(&mut install),
            _ => None,
        };
        if line.starts_with([' ', '\t'])
            && let (Some(table), Some(name)) = (table, &last)
        {
            // A line that is indented goes on with the value above.
            let value: &mut String = table.entry(name.clone()).or_default();
            value.push(' ');
            value.push_str(trimmed);
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim().to_owned();
            last = None;
            continue;
        }
        let Some(at) = trimmed.find(['=', ':']) else {
            continue;
        };
        let name = trimmed[..at]
            .trim()
            .trim_start_matches("--")
            .to_ascii_lowercase()
            .replace('_', "-");
        let value = trimmed[at + 1..].trim().to_owned();
        match section.as_str() {
            "global" => drop(global.insert(name.clone(), value)),
            "install" => drop(install.insert(name.clone(), value)),
            _ => {}
        }
        last = Some(name);
    }
    global.extend(install);
    global
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], files: &[(&str, &str)]) -> PipSettings {
        let files: BTreeMap<PathBuf, String> = files
            .iter()
            .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
            .collect();
        PipSettings::read(&Environment::of(variables), &|path| files.get(path).cloned())
    }

    const USER: &str = "/home/me/.config/pip/pip.conf";

    fn main(settings: &PipSettings) -> Option<&str> {
        let index = settings.index.indexes.iter().find(|index| index.default)?;
        Some(index.url.as_str())
    }

    #[test]
    fn nothing_said_is_nothing_set() {
        assert!(read(&[("HOME", "/home/me")], &[]) == PipSettings::default());
    }

    #[test]
    fn files_win_in_pips_order() {
        let files = [
            (
                "/etc/pip.conf",
                "[global]\nindex-url = https://machine/\ncert = /etc/ca.pem\n",
            ),
            ("/home/me/.pip/pip.conf", "[global]\nindex-url = https://old/\n"),
            (
                USER,
                "[global]\nindex_url: https://mine/\n[install]\nfind-links =\n    /a\n    /b\n[list]\nindex-url = x\n",
            ),
            ("/chosen", "[global]\ntimeout = 60\n"),
        ];
        let settings = read(&[("HOME", "/home/me")], &files);
        assert_eq!(main(&settings), Some("https://mine/"));
        assert_eq!(settings.index.find_links, ["/a", "/b"]);
        assert_eq!(settings.cert.as_deref(), Some(Path::new("/etc/ca.pem")));

        // A file that is named takes the user's place, not the machine's.
        let settings = read(&[("HOME", "/home/me"), ("PIP_CONFIG_FILE", "/chosen")], &files);
        assert_eq!(main(&settings), Some("https://machine/"));
        assert_eq!(settings.timeout, Some(60));

        let settings = read(&[("HOME", "/home/me"), ("PIP_CONFIG_FILE", "/dev/null")], &files);
        assert!(settings == PipSettings::default());
    }

    #[test]
    fn variables_win_over_files() {
        let files = [(
            USER,
            "[global]\nextra-index-url = https://file/\nno-index = true\nonly-binary = :all:\nno-binary = x\ntrusted-host = a.example b.example\n",
        )];
        let variables = [
            ("HOME", "/home/me"),
            ("PIP_INDEX_URL", "https://pip/"),
            ("PIP_EXTRA_INDEX_URL", "https://one/ https://two/"),
            ("PIP_NO_INDEX", "0"),
            ("PIP_NO_BINARY", "lxml,numpy"),
            ("PIP_CERT", "/ca.pem"),
            ("PIP_KEYRING_PROVIDER", "subprocess"),
        ];
        let settings = read(&variables, &files);
        assert_eq!(main(&settings), Some("https://pip/"));
        let extra: Vec<&str> = settings.index.indexes[..2]
            .iter()
            .map(|index| index.url.as_str())
            .collect();
        assert_eq!(extra, ["https://one/", "https://two/"]);
        assert_eq!(settings.index.indexes[0].found_in, "PIP_EXTRA_INDEX_URL");
        assert_eq!(settings.index.no_index, Some(false));
        let said: Vec<_> = settings
            .formats
            .iter()
            .map(|wish| (wish.wheels, &wish.names[..], &wish.said[..]))
            .collect();
        let (all, some) = ([":all:".to_owned()], ["lxml".to_owned(), "numpy".to_owned()]);
        assert_eq!(
            said,
            [(true, &all[..], "pip.conf"), (false, &some[..], "PIP_NO_BINARY")]
        );
        assert_eq!(settings.index.keyring.as_deref(), Some("subprocess"));
        assert_eq!(settings.index.insecure_hosts, ["a.example", "b.example"]);
        assert_eq!(settings.cert.as_deref(), Some(Path::new("/ca.pem")));
    }
}
