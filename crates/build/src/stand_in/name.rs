//! The names that stand-ins are asked for by, and what each is made of.

use std::collections::BTreeMap;

use coil_debian::{SYSTEM_SUITES, Suite};
use coil_oci::Reference;

/// What a stand-in is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// What it holds.
    pub kind: Kind,
    /// The suite.
    pub suite: Suite,
    /// Whether documentation and translations are left out.
    pub slim: bool,
    /// A package and the version that it must have, where one was asked for: `3.11.2`.
    pub exactly: Option<(String, String)>,
    /// What was taken in place of what was asked for.
    pub nearest: Vec<String>,
}

/// What a stand-in holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Debian alone.
    Debian,
    /// Python in `/usr/local`.
    Python,
    /// The PostgreSQL server of this major version.
    Postgres(String),
    /// The Redis server.
    Redis,
    /// The nginx server.
    Nginx,
    /// Debian with packages of the user's choice.
    Own(Vec<String>),
}

/// A name that no stand-in can be made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// A line of `coil base --list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The name.
    pub name: String,
    /// Other names for the same.
    pub also: String,
    /// What it holds.
    pub holds: String,
    /// The suite.
    pub suite: &'static str,
}

/// The suite of Debian that is called stable.
const STABLE: &str = "trixie";
/// The suites' numbers.
const NUMBERS: [(&str, &str); 3] = [("11", "bullseye"), ("12", "bookworm"), ("13", "trixie")];
/// The suites that a server's version is in.
const POSTGRES: [(&str, &str); 4] = [
    ("13", "bullseye"),
    ("15", "bookworm"),
    ("17", "trixie"),
    ("18", "sid"),
];
const REDIS: [(&str, &str); 3] = [("6", "bullseye"), ("7", "bookworm"), ("8", "trixie")];
const NGINX: [(&str, &str); 3] = [("1.18", "bullseye"), ("1.22", "bookworm"), ("1.26", "trixie")];
/// Pythons whose parts Debian ships in a way that the official layout can be made of.
const PYTHONS: [(&str, &str); 4] = [
    ("3.9", "bullseye"),
    ("3.11", "bookworm"),
    ("3.13", "trixie"),
    ("3.14", "sid"),
];
const REPOSITORIES: [&str; 5] = ["debian", "python", "postgres", "redis", "nginx"];

impl Recipe {
    /// What an image of the user's own was made of, by its labels; none for any other.
    pub fn of_labels(labels: &BTreeMap<String, String>) -> Option<Recipe> {
        let mut words = labels.get(super::label::RECIPE)?.split(' ').map(str::to_owned);
        Some(Recipe {
            suite: suite(&words.next()?).ok()?,
            kind: Kind::Own(words.collect()),
            slim: true,
            exactly: None,
            nearest: Vec::new(),
        })
    }
}

/// The suite of a codename.
///
/// # Errors
/// When there is none of that name.
pub fn suite(name: &str) -> Result<Suite, NameError> {
    let found = SYSTEM_SUITES.into_iter().find(|suite| suite.name == name);
    found.ok_or_else(|| NameError {
        message: format!("there is no suite `{name}` to make a base of"),
        help: format!("give one of {}", suites()),
    })
}

fn suites() -> String {
    let names: Vec<_> = SYSTEM_SUITES.iter().map(|suite| suite.name).collect();
    names.join(", ")
}

/// What a name asks for; with `nearest` the closest that Debian has where it hasn't just that.
///
/// # Errors
/// When no stand-in can be made for it.
pub fn recipe(name: &Reference, nearest: bool) -> Result<Recipe, NameError> {
    let repository = name.repository().strip_prefix("library/");
    let official = (name.registry() == "docker.io").then_some(repository).flatten();
    let Some(repository) = official.filter(|name| REPOSITORIES.contains(name)) else {
        let near = official
            .or(repository)
            .and_then(|given| REPOSITORIES.into_iter().find(|known| is_near(given, known)));
        return Err(NameError {
            message: format!("no stand-in can be made for {}", name.familiar()),
            help: match near {
                Some(near) => format!("did you mean {near}? `coil base --list` shows all"),
                None => "`coil base --list` shows what there is; --suite S --package P makes one of your own"
                    .into(),
            },
        });
    };
    if name.digest().is_some() {
        return Err(NameError {
            message: format!("{} names exact bytes, which only a registry has", name.familiar()),
            help: "leave the digest away".into(),
        });
    }
    let tag = name.tag().unwrap_or("latest");
    Asked {
        repository,
        tag,
        nearest,
        notes: Vec::new(),
    }
    .recipe()
}

/// Two names with a slip or two between them; short ones with one.
fn is_near(a: &str, b: &str) -> bool {
    let most = (b.len() / 3).clamp(1, 2);
    a.len() < 64 && coil_oci::near::distance(a, b) <= most
}

struct Asked<'a> {
    repository: &'a str,
    tag: &'a str,
    nearest: bool,
    notes: Vec<String>,
}

impl Asked<'_> {
    fn error(&self, reason: &str, help: String) -> NameError {
        NameError {
            message: format!(
                "no stand-in can be made for {}:{}: {reason}",
                self.repository, self.tag
            ),
            help,
        }
    }

    fn recipe(self) -> Result<Recipe, NameError> {
        let mut version = None;
        let mut named_suite = None;
        let mut slim = false;
        let mut alpine = false;
        for word in self.tag.split('-') {
            let digits = word.starts_with(|c: char| c.is_ascii_digit());
            if SYSTEM_SUITES.iter().any(|suite| suite.name == word) {
                named_suite = Some(word.to_owned());
            } else if word == "slim" {
                slim = true;
            } else if word.starts_with("alpine") {
                alpine = true;
            } else if ["latest", "stable", "mainline"].contains(&word) {
            } else if digits && version.is_none() && !alpine {
                version = Some(word.to_owned());
            } else {
                let known = format!("`coil base --list` shows the tags; suites are {}", suites());
                return Err(self.error(&format!("`{word}` is no part of a tag that is known"), known));
            }
        }
        match self.repository {
            "debian" => self.debian(version, named_suite, slim, alpine),
            "python" => self.python(version, named_suite, slim, alpine),
            "postgres" => self.server(version, named_suite, alpine, &POSTGRES, "17", "PostgreSQL"),
            "redis" => self.server(version, named_suite, alpine, &REDIS, "8", "Redis"),
            _ => self.server(version, named_suite, alpine, &NGINX, "1.26", "nginx"),
        }
    }

    fn debian(
        self,
        version: Option<String>,
        named: Option<String>,
        slim: bool,
        alpine: bool,
    ) -> Result<Recipe, NameError> {
        if alpine {
            return Err(self.error("Debian is not Alpine", "leave `-alpine` away".into()));
        }
        let by_number = match &version {
            None => None,
            Some(number) => {
                let found = NUMBERS.iter().find(|(known, _)| known == number);
                Some(found.ok_or_else(|| {
                    let help = "the numbers are 11, 12 and 13; a point release cannot be chosen".to_owned();
                    self.error(&format!("there is no suite {number}"), help)
                })?)
            }
        };
        let name = named.as_deref().or(by_number.map(|(_, name)| *name));
        Ok(Recipe {
            kind: Kind::Debian,
            suite: suite(name.unwrap_or(STABLE))?,
            slim,
            exactly: None,
            nearest: self.notes,
        })
    }

    fn python(
        mut self,
        version: Option<String>,
        named: Option<String>,
        slim: bool,
        alpine: bool,
    ) -> Result<Recipe, NameError> {
        let offers = || {
            let all: Vec<_> = PYTHONS
                .iter()
                .map(|(python, suite)| format!("{python} ({suite})"))
                .collect();
            format!("Debian has {}", all.join(", "))
        };
        let nearest_help = "--nearest takes the closest that there is".to_owned();
        if alpine {
            if !self.nearest {
                let reason = "Alpine has another C library than Debian, for which other wheels are built";
                return Err(self.error(reason, nearest_help));
            }
            self.notes.push("Debian in place of Alpine".into());
        }
        let version = version.filter(|version| version != "3");
        let minor: Option<String> = version
            .as_ref()
            .map(|version| version.splitn(3, '.').take(2).collect::<Vec<_>>().join("."));
        let by_suite = PYTHONS.iter().find(|(_, suite)| Some(*suite) == named.as_deref());
        let found = match (&minor, &named) {
            (None, None) => PYTHONS.iter().find(|(_, suite)| *suite == STABLE),
            (None, Some(_)) => by_suite,
            (Some(minor), None) => PYTHONS.iter().find(|(known, _)| known == minor),
            (Some(minor), Some(_)) => by_suite.filter(|(known, _)| known == minor),
        };
        let found = match found {
            Some(found) => *found,
            None if self.nearest => {
                let closest = by_suite
                    .copied()
                    .unwrap_or_else(|| nearest_python(minor.as_deref()));
                let wanted = minor.clone().unwrap_or_default();
                self.notes
                    .push(format!("Python {} in place of {wanted}", closest.0));
                closest
            }
            None => {
                let reason = match (&minor, &named) {
                    (Some(minor), Some(suite)) => format!("Debian {suite} has no Python {minor}"),
                    (Some(minor), None) => format!("no suite of Debian has Python {minor}"),
                    _ => "its suite has no Python in the official layout".to_owned(),
                };
                return Err(self.error(&reason, format!("{}; {nearest_help}", offers())));
            }
        };
        let is_patch = version
            .as_deref()
            .is_some_and(|text| text.matches('.').count() >= 2);
        let exactly = version
            .filter(|_| is_patch && minor.as_deref() == Some(found.0))
            .map(|version| (format!("python{}-minimal", found.0), version));
        Ok(Recipe {
            kind: Kind::Python,
            suite: suite(found.1)?,
            slim: slim || alpine,
            exactly,
            nearest: self.notes,
        })
    }

    fn server(
        mut self,
        version: Option<String>,
        named: Option<String>,
        alpine: bool,
        table: &[(&'static str, &'static str)],
        newest: &str,
        title: &str,
    ) -> Result<Recipe, NameError> {
        let fits = |known: &str, wanted: &str| {
            wanted == known
                || wanted
                    .strip_prefix(known)
                    .is_some_and(|rest| rest.starts_with('.'))
                || known
                    .strip_prefix(wanted)
                    .is_some_and(|rest| rest.starts_with('.'))
        };
        let found = table.iter().rev().find(|(known, suite)| {
            let version_fits = match (&version, &named) {
                (Some(wanted), _) => fits(known, wanted),
                (None, Some(_)) => true,
                (None, None) => *known == newest,
            };
            version_fits && named.as_deref().is_none_or(|named| named == *suite)
        });
        let wanted = version.clone().unwrap_or_default();
        let found = match found {
            Some(found) => *found,
            None if self.nearest => {
                let closest = table.iter().find(|(known, _)| number(known) >= number(&wanted));
                let closest = closest.or(table.last()).copied().unwrap_or(("", STABLE));
                self.notes
                    .push(format!("{title} {} in place of {wanted}", closest.0));
                closest
            }
            None => {
                let all: Vec<_> = table
                    .iter()
                    .map(|(known, suite)| format!("{known} ({suite})"))
                    .collect();
                let where_from =
                    named.map_or("no suite of Debian".to_owned(), |suite| format!("Debian {suite}"));
                let reason = format!("{where_from} has {title} {wanted}");
                let help = format!(
                    "Debian has {}; --nearest takes the closest that there is",
                    all.join(", ")
                );
                let reason = match where_from.starts_with("no ") {
                    true => reason,
                    false => format!("{where_from} does not have {title} {wanted}"),
                };
                return Err(self.error(reason.trim_end(), help));
            }
        };
        let (kind, package) = match self.repository {
            "postgres" => (Kind::Postgres(found.0.into()), format!("postgresql-{}", found.0)),
            "redis" => (Kind::Redis, "redis-server".to_owned()),
            _ => (Kind::Nginx, "nginx".to_owned()),
        };
        if alpine {
            self.notes.push("Debian in place of Alpine".into());
        }
        let exactly = version
            .filter(|version| fits(found.0, version) && version.len() > found.0.len())
            .map(|version| (package, version));
        Ok(Recipe {
            kind,
            suite: suite(found.1)?,
            slim: true,
            exactly,
            nearest: self.notes,
        })
    }
}

/// A version as a number that can be compared.
fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn nearest_python(minor: Option<&str>) -> (&'static str, &'static str) {
    let wanted = number(minor.unwrap_or_default());
    let newer = PYTHONS.into_iter().find(|(known, _)| number(known) >= wanted);
    newer.unwrap_or(PYTHONS[PYTHONS.len() - 1])
}

/// All names that stand-ins are made for.
pub fn offers() -> Vec<Offer> {
    let mut all = Vec::new();
    let offer = |name: String, also: &str, holds: String, suite: &'static str| Offer {
        name,
        also: also.to_owned(),
        holds,
        suite,
    };
    for suite in SYSTEM_SUITES {
        let number = NUMBERS.iter().find(|(_, name)| *name == suite.name);
        let also = number.map_or(String::new(), |(number, _)| format!("debian:{number}"));
        let holds = "Debian's required packages and apt".to_owned();
        all.push(offer(
            format!("debian:{}", suite.name),
            &also,
            holds.clone(),
            suite.name,
        ));
        let also = number.map_or(String::new(), |(number, _)| format!("debian:{number}-slim"));
        let holds = format!("{holds}, without manuals and translations");
        all.push(offer(
            format!("debian:{}-slim", suite.name),
            &also,
            holds,
            suite.name,
        ));
    }
    for (python, suite) in PYTHONS {
        let holds = format!("Python {python} in /usr/local, pip, compilers, common libraries' headers");
        let also = format!("python:{python}-{suite}");
        all.push(offer(format!("python:{python}"), &also, holds, suite));
        let holds = format!("Python {python} in /usr/local, pip");
        let also = format!("python:{python}-slim-{suite}");
        all.push(offer(format!("python:{python}-slim"), &also, holds, suite));
    }
    let servers = [
        ("postgres", "PostgreSQL", &POSTGRES[1..]),
        ("redis", "Redis", &REDIS[1..]),
        ("nginx", "nginx", &NGINX[1..]),
    ];
    for (name, title, table) in servers {
        for (version, suite) in table {
            let also = format!("{name}:{version}-alpine, served by Debian");
            all.push(offer(
                format!("{name}:{version}"),
                &also,
                format!("{title} {version}"),
                suite,
            ));
        }
    }
    all.push(offer(
        "ghcr.io/astral-sh/uv".into(),
        "ghcr.io/astral-sh/uv:VERSION, astral/uv",
        "uv alone, of the package index's wheel".into(),
        "",
    ));
    for (python, suite) in PYTHONS {
        all.push(offer(
            format!("ghcr.io/astral-sh/uv:python{python}-{suite}-slim"),
            "",
            format!("uv on python:{python}-slim"),
            suite,
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, nearest: bool) -> String {
        let reference = Reference::parse(name).unwrap();
        match recipe(&reference, nearest) {
            Ok(recipe) => {
                let exactly = recipe.exactly.map_or(String::new(), |(package, version)| {
                    format!(" {package}={version}")
                });
                let notes = recipe.nearest.join(", ");
                let slim = if recipe.slim { " slim" } else { "" };
                format!("{:?} {}{slim}{exactly} {notes}", recipe.kind, recipe.suite.name)
                    .trim()
                    .to_owned()
            }
            Err(error) => error.message,
        }
    }

    #[test]
    fn official_names() {
        for (name, expected) in [
            ("debian:bookworm-slim", "Debian bookworm slim"),
            ("debian:12", "Debian bookworm"),
            ("debian", "Debian trixie"),
            ("debian:stable-slim", "Debian trixie slim"),
            ("python:3.11-slim", "Python bookworm slim"),
            (
                "docker.io/library/python:3.11-slim-bookworm",
                "Python bookworm slim",
            ),
            ("python:3.13", "Python trixie"),
            ("python:3", "Python trixie"),
            ("python:slim", "Python trixie slim"),
            ("python:3.14-sid", "Python sid"),
            ("python:3.9-slim", "Python bullseye slim"),
            (
                "python:3.11.2-slim",
                "Python bookworm slim python3.11-minimal=3.11.2",
            ),
            ("postgres:15", "Postgres(\"15\") bookworm slim"),
            (
                "postgres:15-alpine",
                "Postgres(\"15\") bookworm slim Debian in place of Alpine",
            ),
            (
                "postgres:15.4",
                "Postgres(\"15\") bookworm slim postgresql-15=15.4",
            ),
            ("postgres", "Postgres(\"17\") trixie slim"),
            (
                "redis:7-alpine3.20",
                "Redis bookworm slim Debian in place of Alpine",
            ),
            ("nginx", "Nginx trixie slim"),
            ("nginx:1", "Nginx trixie slim"),
        ] {
            assert_eq!(asked(name, false), expected, "{name}");
        }
    }

    #[test]
    fn what_debian_lacks_is_refused_by_name() {
        for (name, part) in [
            ("python:3.12", "no suite of Debian has Python 3.12"),
            ("python:3.11-slim-trixie", "Debian trixie has no Python 3.11"),
            ("python:3.11-alpine", "Alpine has another C library"),
            ("python:3.11-nanoserver", "`nanoserver` is no part"),
            ("postgres:16", "no suite of Debian has PostgreSQL 16"),
            ("postgres:15-trixie", "Debian trixie does not have PostgreSQL 15"),
            ("debian:10", "there is no suite 10"),
            ("ubuntu:22.04", "no stand-in can be made for ubuntu:22.04"),
            ("quay.io/x/python:3.11", "no stand-in can be made for"),
        ] {
            let message = asked(name, false);
            assert!(message.contains(part), "{name}: {message}");
        }
        let digest = format!("python@sha256:{}", "0".repeat(64));
        assert!(asked(&digest, true).contains("exact bytes"));
    }

    #[test]
    fn the_nearest_is_said() {
        assert_eq!(
            asked("python:3.12", true),
            "Python trixie Python 3.13 in place of 3.12"
        );
        assert_eq!(
            asked("python:3.8-slim", true),
            "Python bullseye slim Python 3.9 in place of 3.8"
        );
        assert_eq!(
            asked("python:3.12-alpine", true),
            "Python trixie slim Debian in place of Alpine, Python 3.13 in place of 3.12"
        );
        assert_eq!(
            asked("postgres:16", true),
            "Postgres(\"17\") trixie slim PostgreSQL 17 in place of 16"
        );
        assert!(is_near("pyhton", "python") && is_near("postgre", "postgres") && !is_near("ruby", "redis"));
    }
}
