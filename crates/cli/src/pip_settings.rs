//! Package indices as pip and uv are told of them: `pip.conf`, `PIP_*`, `UV_*`.
//!
//! Files in pip's order, a later one wins: the machine's, the user's (not with `PIP_CONFIG_FILE`), the virtual
//! environment's, `PIP_CONFIG_FILE`. Variables win over files, and uv's over pip's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use coil_wheel::index::IndexSettings;

use crate::environment::Environment;

/// What pip and uv are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipSettings {
    /// The indices.
    pub index: IndexSettings,
    /// A bundle of certificate authorities.
    pub cert: Option<PathBuf>,
    /// Seconds to wait for a server.
    pub timeout: Option<u64>,
}

/// Reads a file; none where it can't.
type ReadFile<'a> = &'a dyn Fn(&Path) -> Option<String>;

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
        // uv's names for indices (`name=https://…`) say nothing here.
        let without_name = |entry: String| match entry.split_once('=') {
            Some((name, url)) if !name.contains("://") => url.to_owned(),
            _ => entry,
        };
        let uv_main = environment
            .first(&["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
            .map(without_name);
        let mut extra: Vec<String> = list(environment.text("UV_INDEX"))
            .into_iter()
            .map(without_name)
            .collect();
        extra.extend(list(environment.text("UV_EXTRA_INDEX_URL")));
        extra.extend(list(pip("extra-index-url")));
        let mut find_links: Vec<String> = list(pip("find-links"));
        let uv_links = environment.text("UV_FIND_LINKS").unwrap_or_default();
        find_links.extend(
            uv_links
                .split([',', ' '])
                .filter(|link| !link.is_empty())
                .map(str::to_owned),
        );
        let is_true = |text: Option<String>| {
            let text = text.unwrap_or_default().to_ascii_lowercase();
            ["1", "true", "yes", "on", "y", "t"].contains(&text.as_str())
        };
        Self {
            index: IndexSettings {
                index_url: uv_main.or_else(|| pip("index-url")),
                extra,
                find_links,
                no_index: is_true(pip("no-index")) || is_true(environment.text("UV_NO_INDEX")),
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

    #[test]
    fn nothing_said_is_nothing_set() {
        assert_eq!(read(&[("HOME", "/home/me")], &[]), PipSettings::default());
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
        assert_eq!(settings.index.index_url.as_deref(), Some("https://mine/"));
        assert_eq!(settings.index.find_links, ["/a", "/b"]);
        assert_eq!(settings.cert.as_deref(), Some(Path::new("/etc/ca.pem")));

        // A file that is named takes the user's place, not the machine's.
        let settings = read(&[("HOME", "/home/me"), ("PIP_CONFIG_FILE", "/chosen")], &files);
        assert_eq!(settings.index.index_url.as_deref(), Some("https://machine/"));
        assert_eq!(settings.timeout, Some(60));

        let settings = read(&[("HOME", "/home/me"), ("PIP_CONFIG_FILE", "/dev/null")], &files);
        assert_eq!(settings, PipSettings::default());
    }

    #[test]
    fn variables_win_over_files_and_uvs_over_pips() {
        let files = [(
            USER,
            "[global]\nextra-index-url = https://file/\nno-index = true\n",
        )];
        let variables = [
            ("HOME", "/home/me"),
            ("PIP_INDEX_URL", "https://pip/"),
            ("PIP_EXTRA_INDEX_URL", "https://one/ https://two/"),
            ("PIP_NO_INDEX", "0"),
            ("PIP_CERT", "/ca.pem"),
        ];
        let settings = read(&variables, &files);
        assert_eq!(settings.index.index_url.as_deref(), Some("https://pip/"));
        assert_eq!(settings.index.extra, ["https://one/", "https://two/"]);
        assert!(!settings.index.no_index);
        assert_eq!(settings.cert.as_deref(), Some(Path::new("/ca.pem")));

        let uv = [
            ("PIP_INDEX_URL", "https://pip/"),
            ("UV_INDEX_URL", "https://old-uv/"),
            ("UV_DEFAULT_INDEX", "main=https://uv/?a=b"),
            ("UV_INDEX", "inner=https://inner/ https://plain/?x=y"),
        ];
        let settings = read(&uv, &[]);
        assert_eq!(settings.index.index_url.as_deref(), Some("https://uv/?a=b"));
        assert_eq!(settings.index.extra, ["https://inner/", "https://plain/?x=y"]);
    }
}
