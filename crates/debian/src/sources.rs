//! Where packages come from: the host's apt configuration, or Debian's public mirror.

use std::path::{Path, PathBuf};

use crate::control::paragraphs;
use crate::suite::{ALL, Suite};

/// The public mirror of the main archive.
pub const PUBLIC_MIRROR: &str = "http://deb.debian.org/debian";
/// The public mirror of the security archive.
pub const PUBLIC_SECURITY_MIRROR: &str = "http://deb.debian.org/debian-security";
/// Where Debian's package of archive keys puts them, by the package's age.
pub const DEBIAN_KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// One file of the apt configuration.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its path; the ending (`.sources` or `.list`) tells the format.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

/// Who may sign an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Debian's archive keys: those that coil brings along, and those that the host has of Debian's package.
    Debian,
    /// The keys of these files.
    Files(Vec<PathBuf>),
    /// An armoured key that stands in the configuration.
    Inline(String),
}

/// An archive's address and who may sign it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The address, without a slash at the end.
    pub uri: String,
    /// Who may sign.
    pub trust: Trust,
    /// Whether an expired index is refused.
    pub check_valid_until: bool,
}

/// The mirrors of Debian's two archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcesConfig {
    /// The main archive (`bookworm`, `bookworm-updates`).
    pub main: Mirror,
    /// The security archive (`bookworm-security`).
    pub security: Mirror,
}

impl Default for SourcesConfig {
    fn default() -> Self {
        let public = |uri: &str| Mirror {
            uri: uri.into(),
            trust: Trust::Debian,
            check_valid_until: true,
        };
        SourcesConfig {
            main: public(PUBLIC_MIRROR),
            security: public(PUBLIC_SECURITY_MIRROR),
        }
    }
}

struct Entry {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    trust: Trust,
    check_valid_until: bool,
}

impl SourcesConfig {
    /// Reads the configuration below a folder, `/etc/apt` as a rule; what is not there counts as empty.
    pub fn from_host(etc_apt: &Path) -> SourcesConfig {
        let mut paths = vec![etc_apt.join("sources.list")];
        if let Ok(folder) = std::fs::read_dir(etc_apt.join("sources.list.d")) {
            let mut listed: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
            listed.sort();
            paths.extend(listed);
        }
        let read = |path: PathBuf| {
            std::fs::read_to_string(&path)
                .ok()
                .map(|text| SourceFile { path, text })
        };
        SourcesConfig::from_files(&paths.into_iter().filter_map(read).collect::<Vec<_>>())
    }

    /// Finds Debian's archives among the files of an apt configuration; what it doesn't name is Debian's public mirror.
    pub fn from_files(files: &[SourceFile]) -> SourcesConfig {
        let mut entries = Vec::new();
        for file in files {
            match file.path.extension().and_then(|ending| ending.to_str()) {
                Some("sources") => entries.extend(deb822(&file.text)),
                Some("list") => entries.extend(file.text.lines().filter_map(one_line)),
                _ => {}
            }
        }
        let mut config = SourcesConfig::default();
        let find = |security: bool| {
            let fits = |entry: &&Entry| {
                let http = entry.uri.starts_with("http://") || entry.uri.starts_with("https://");
                let debian = entry
                    .suites
                    .iter()
                    .any(|suite| is_debian_suite(suite, security, &entry.uri));
                http && debian && entry.components.iter().any(|component| component == "main")
            };
            // Third parties name their suites like Debian's; an address that says `debian` goes first.
            let named = |entry: &&Entry| last_segment(&entry.uri).starts_with("debian");
            let entry = entries
                .iter()
                .filter(fits)
                .find(named)
                .or_else(|| entries.iter().find(fits));
            entry.map(|entry| Mirror {
                uri: entry.uri.clone(),
                trust: entry.trust.clone(),
                check_valid_until: entry.check_valid_until,
            })
        };
        if let Some(mirror) = find(false) {
            config.main = mirror;
        }
        if let Some(mirror) = find(true) {
            config.security = mirror;
        }
        config
    }
}

fn last_segment(uri: &str) -> &str {
    uri.rsplit('/').next().unwrap_or_default()
}

/// Whether a suite's name is one of Debian's, in the security archive or in the main one.
fn is_debian_suite(name: &str, security: bool, uri: &str) -> bool {
    let name = name.trim_end_matches('/');
    let (base, is_security) = match name
        .strip_suffix("-security")
        .or_else(|| name.strip_suffix("/updates"))
    {
        Some(base) => (base, true),
        None => (name.strip_suffix("-updates").unwrap_or(name), false),
    };
    let codename = ALL
        .iter()
        .map(|suite: &Suite| suite.name)
        .chain(["bullseye", "forky"])
        .any(|known| known == base);
    let alias = ["stable", "oldstable", "testing", "unstable"].contains(&base) && uri.contains("debian");
    is_security == security && (codename || alias)
}

fn trust(signed_by: Option<&str>) -> Trust {
    match signed_by.map(str::trim) {
        None | Some("") => Trust::Debian,
        Some(value) if value.contains("-----BEGIN PGP") => {
            // In deb822 an empty line is written as a dot, and each line is indented.
            let lines = value
                .lines()
                .map(str::trim)
                .map(|line| if line == "." { "" } else { line });
            Trust::Inline(lines.collect::<Vec<_>>().join("\n"))
        }
        Some(value) => {
            let words = value
                .split([',', ' ', '\n', '\t'])
                .filter(|word| word.starts_with('/'));
            let files: Vec<PathBuf> = words.map(PathBuf::from).collect();
            // A fingerprint alone names a key of apt's own store; Debian's keys are known here.
            let debian = files
                .iter()
                .all(|file| DEBIAN_KEYRINGS.iter().any(|known| file == Path::new(known)));
            if debian {
                Trust::Debian
            } else {
                Trust::Files(files)
            }
        }
    }
}

fn is_no(value: &str) -> bool {
    ["no", "false", "0", "off", "without", "disable"]
        .iter()
        .any(|no| value.eq_ignore_ascii_case(no))
}

/// The format of `.sources` files (sources.list(5), "deb822-style format").
fn deb822(text: &str) -> Vec<Entry> {
    let text: String =
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .fold(String::new(), |mut all, line| {
                all.push_str(line);
                all.push('\n');
                all
            });
    let mut entries = Vec::new();
    for paragraph in paragraphs(&text) {
        let off = paragraph.get("Enabled").is_some_and(is_no);
        if off || !paragraph.words("Types").contains(&"deb") {
            continue;
        }
        let owned = |name| {
            paragraph
                .words(name)
                .into_iter()
                .map(str::to_string)
                .collect::<Vec<_>>()
        };
        for uri in paragraph.words("URIs") {
            entries.push(Entry {
                uri: uri.trim_end_matches('/').to_string(),
                suites: owned("Suites"),
                components: owned("Components"),
                trust: trust(paragraph.get("Signed-By")),
                check_valid_until: !paragraph.get("Check-Valid-Until").is_some_and(is_no),
            });
        }
    }
    entries
}

/// A line of a `.list` file (sources.list(5), "one-line-style format").
fn one_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let mut signed_by = None;
    let mut check_valid_until = true;
    if let Some(inner) = rest.strip_prefix('[') {
        let (options, after) = inner.split_once(']')?;
        for (key, value) in options
            .split_whitespace()
            .filter_map(|option| option.split_once('='))
        {
            match key.to_ascii_lowercase().as_str() {
                "signed-by" => signed_by = Some(value),
                "check-valid-until" => check_valid_until = !is_no(value),
                _ => {}
            }
        }
        rest = after.trim_start();
    }
    let mut words = rest.split_whitespace();
    let uri = words.next()?.trim_end_matches('/').to_string();
    let suites = vec![words.next()?.to_string()];
    let components = words.map(str::to_string).collect();
    Some(Entry {
        uri,
        suites,
        components,
        trust: trust(signed_by),
        check_valid_until,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn nothing_configured_is_the_public_mirror() {
        let config = SourcesConfig::from_files(&[]);
        assert_eq!(config.main.uri, "http://deb.debian.org/debian");
        assert_eq!(config.security.uri, "http://deb.debian.org/debian-security");
        assert_eq!(config.main.trust, Trust::Debian);
    }

    #[test]
    fn the_new_format() {
        let text = "# a comment\nTypes: deb deb-src\n# http://old.example\nURIs: https://mirror.example/debian/\n\
                    Suites: bookworm bookworm-updates\nComponents: main contrib\n\
                    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                    Types: deb\nURIs: https://mirror.example/sec\nSuites: bookworm-security\nComponents: main\n\
                    Check-Valid-Until: no\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n\n\
                    Types: deb\nURIs: https://third.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n";
        let config = SourcesConfig::from_files(&[file("a/debian.sources", text)]);
        assert_eq!(config.main.uri, "https://mirror.example/debian");
        assert_eq!(config.main.trust, Trust::Debian);
        assert_eq!(config.security.uri, "https://mirror.example/sec");
        assert!(!config.security.check_valid_until);
        assert_eq!(
            config.security.trust,
            Trust::Inline("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==".into())
        );
    }

    #[test]
    fn the_old_format_among_third_parties() {
        let text = "deb https://third.example/stuff bookworm main\n\
                    deb [arch=amd64 signed-by=/k/corp.gpg] http://u:p@corp.example/mirrors/debian trixie main # ours\n\
                    deb-src http://src.example/debian trixie main\n\
                    deb cdrom:[x]/ bookworm main\n\
                    deb http://corp.example/security trixie-security main\n\
                    deb https://grafana.example stable main\n";
        let config =
            SourcesConfig::from_files(&[file("sources.list", text), file("x.list.save", "deb nonsense")]);
        assert_eq!(config.main.uri, "http://u:p@corp.example/mirrors/debian");
        assert_eq!(config.main.trust, Trust::Files(vec!["/k/corp.gpg".into()]));
        assert_eq!(config.security.uri, "http://corp.example/security");
    }
}
