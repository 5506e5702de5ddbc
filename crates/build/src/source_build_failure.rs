//! Why a wheel could not be built from its source, and what the back end's words say about what is missing.

use std::fmt;
use std::path::PathBuf;

/// How many of the back end's last lines are shown.
const SHOWN: usize = 40;

/// Why a wheel could not be built.
#[derive(Debug)]
pub struct SourceBuildFailure {
    /// The package, `psycopg2 2.9.9`.
    pub package: String,
    /// What went wrong.
    pub reason: Reason,
}

/// What went wrong.
#[derive(Debug)]
pub enum Reason {
    /// No container can run here, or not for this platform.
    NoContainer {
        /// Why.
        why: String,
        /// What to do, where that is known.
        help: Option<String>,
    },
    /// The source is no project, or a dangerous one.
    Source(String),
    /// The program that is needed to have the source is missing, or failed.
    Fetch {
        /// What happened.
        what: String,
        /// What to do.
        help: String,
    },
    /// The back end ended with an error.
    BackEnd {
        /// What it was doing.
        doing: &'static str,
        /// Its exit code.
        code: i32,
        /// Whether memory ran out.
        out_of_memory: bool,
        /// Its last lines.
        tail: Vec<String>,
        /// All that it printed.
        log: Option<PathBuf>,
        /// What to do.
        help: Option<String>,
    },
    /// What came out is not the wheel that was asked for.
    Wheel(String),
    /// Packages need each other to be built.
    Cycle(Vec<String>),
}

impl SourceBuildFailure {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match &self.reason {
            Reason::NoContainer { help, .. } | Reason::BackEnd { help, .. } => help.clone(),
            Reason::Fetch { help, .. } => Some(help.clone()),
            Reason::Cycle(_) => {
                Some("choose a version of one of them that has a wheel, and lock again".into())
            }
            Reason::Source(_) | Reason::Wheel(_) => {
                Some("choose another version, or one that has a wheel, and lock again".into())
            }
        }
    }
}

impl fmt::Display for SourceBuildFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let package = &self.package;
        match &self.reason {
            Reason::NoContainer { why, .. } => {
                write!(f, "{package} has no wheel and cannot be built here: {why}")
            }
            Reason::Source(what) => write!(f, "the source of {package} cannot be used: {what}"),
            Reason::Fetch { what, .. } => write!(f, "the source of {package} cannot be had: {what}"),
            Reason::BackEnd {
                doing,
                code,
                out_of_memory,
                tail,
                log,
                ..
            } => {
                write!(
                    f,
                    "{package} could not be built: its back end ended with code {code} while {doing}"
                )?;
                if *out_of_memory {
                    f.write_str(", for want of memory")?;
                }
                for line in tail {
                    write!(f, "\n  | {line}")?;
                }
                if let Some(log) = log {
                    write!(f, "\n  --> {}", log.display())?;
                }
                Ok(())
            }
            Reason::Wheel(what) => write!(f, "what was built of {package} cannot be used: {what}"),
            Reason::Cycle(names) => write!(
                f,
                "to build {package}, {} must be built first",
                names.join(", then ")
            ),
        }
    }
}

impl std::error::Error for SourceBuildFailure {}

/// The lines that are shown of an output.
pub(crate) fn shown(lines: &[String]) -> Vec<String> {
    let from = lines.len().saturating_sub(SHOWN);
    lines[from..]
        .iter()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// A word of a compiler or a back end, and the Debian package whose lack it tells of.
const FAMOUS: [(&str, &str); 58] = [
    ("libpq-fe.h", "libpq-dev"),
    ("pg_config", "libpq-dev"),
    ("mysql.h", "default-libmysqlclient-dev"),
    ("mysql_config", "default-libmysqlclient-dev"),
    ("mysqlclient", "default-libmysqlclient-dev"),
    ("mariadb_config", "libmariadb-dev"),
    ("cairo.h", "libcairo2-dev"),
    ("cairo", "libcairo2-dev"),
    ("libxml/", "libxml2-dev"),
    ("xml2-config", "libxml2-dev"),
    ("libxml-2.0", "libxml2-dev"),
    ("libxslt/", "libxslt1-dev"),
    ("xslt-config", "libxslt1-dev"),
    ("libxslt", "libxslt1-dev"),
    ("lber.h", "libldap-dev"),
    ("ldap.h", "libldap-dev"),
    ("sasl/sasl.h", "libsasl2-dev"),
    ("sasl.h", "libsasl2-dev"),
    ("ffi.h", "libffi-dev"),
    ("libffi", "libffi-dev"),
    ("openssl/", "libssl-dev"),
    ("openssl", "libssl-dev"),
    ("zlib.h", "zlib1g-dev"),
    ("zlib", "zlib1g-dev"),
    ("jpeglib.h", "libjpeg-dev"),
    ("jpeg", "libjpeg-dev"),
    ("tiff.h", "libtiff-dev"),
    ("png.h", "libpng-dev"),
    ("freetype2", "libfreetype-dev"),
    ("ft2build.h", "libfreetype-dev"),
    ("graphviz/", "libgraphviz-dev"),
    ("libgvc", "libgraphviz-dev"),
    ("sql.h", "unixodbc-dev"),
    ("bzlib.h", "libbz2-dev"),
    ("lzma.h", "liblzma-dev"),
    ("sqlite3.h", "libsqlite3-dev"),
    ("yaml.h", "libyaml-dev"),
    ("gmp.h", "libgmp-dev"),
    ("mpfr.h", "libmpfr-dev"),
    ("mpc.h", "libmpc-dev"),
    ("curl/curl.h", "libcurl4-openssl-dev"),
    ("curl-config", "libcurl4-openssl-dev"),
    ("event.h", "libevent-dev"),
    ("krb5.h", "libkrb5-dev"),
    ("krb5-config", "libkrb5-dev"),
    ("gssapi/", "libkrb5-dev"),
    ("dbus/", "libdbus-1-dev"),
    ("dbus-1", "libdbus-1-dev"),
    ("glib-2.0", "libglib2.0-dev"),
    ("gobject-introspection-1.0", "libgirepository1.0-dev"),
    ("girepository-2.0", "libgirepository-2.0-dev"),
    ("portaudio.h", "portaudio19-dev"),
    ("hdf5.h", "libhdf5-dev"),
    ("gdal-config", "libgdal-dev"),
    ("geos_c.h", "libgeos-dev"),
    ("snappy-c.h", "libsnappy-dev"),
    ("libmemcached/", "libmemcached-dev"),
    ("sodium.h", "libsodium-dev"),
];

/// Programs that back ends call, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 12] = [
    ("cmake", "cmake"),
    ("ninja", "ninja-build"),
    ("cargo", "cargo"),
    ("rustc", "rustc"),
    ("gfortran", "gfortran"),
    ("meson", "meson"),
    ("swig", "swig"),
    ("git", "git"),
    ("autoconf", "autoconf"),
    ("automake", "automake"),
    ("flex", "flex"),
    ("bison", "bison"),
];

/// What a back end's words say is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Missing {
    /// Debian packages by name, where the words name something famous.
    pub(crate) packages: Vec<String>,
    /// Headers, as `#include` has them, that nobody knows yet.
    pub(crate) headers: Vec<String>,
    /// Whether it wanted the network.
    pub(crate) network: bool,
    /// Whether it wanted Rust.
    pub(crate) rust: bool,
}

/// Reads what is missing out of a back end's output.
pub(crate) fn missing(lines: &[String]) -> Missing {
    let mut missing = Missing::default();
    for line in lines {
        if let Some(header) = between(line, "fatal error: ", ": No such file or directory") {
            missing.name(header, true);
        }
        if let Some(library) = line.split("cannot find -l").nth(1) {
            missing.name(first_word(library), false);
        }
        for name in [
            between(line, "No package '", "' found"),
            between(line, "Package '", "', required by"),
            between(line, "Package ", " was not found in the pkg-config search path"),
            between(line, "Dependency \"", "\" not found"),
            between(line, "Dependency lookup for ", " with method"),
        ]
        .into_iter()
        .flatten()
        {
            missing.name(name, false);
        }
        for (program, package) in FAMOUS
            .iter()
            .filter(|(word, _)| word.ends_with("config") || word.ends_with("_config"))
        {
            if line.contains(program)
                && ["not found", "No such file", "is required"]
                    .iter()
                    .any(|sign| line.contains(sign))
            {
                missing.package(package);
            }
        }
        for (program, package) in PROGRAMS {
            let said = [
                format!("{program}: not found"),
                format!("{program}: command not found"),
                format!("No such file or directory: '{program}'"),
                "can't find Rust compiler".to_owned(),
                format!("Unknown compiler(s): [['{program}']"),
                format!("Could not find {program}"),
                format!("Cannot find {program}"),
                format!("{program}, the Rust package manager, is not installed"),
            ];
            if said
                .iter()
                .any(|sign| line.to_lowercase().contains(&sign.to_lowercase()))
            {
                if ["cargo", "rustc"].contains(&program) || line.to_lowercase().contains("rust") {
                    missing.rust = true;
                    ["cargo", "rustc"].iter().for_each(|name| missing.package(name));
                } else {
                    missing.package(package);
                }
            }
        }
        missing.network |= [
            "Temporary failure in name resolution",
            "Could not resolve host",
            "Name or service not known",
            "Network is unreachable",
            "failed to lookup address information",
            "Could not resolve hostname",
        ]
        .iter()
        .any(|sign| line.contains(sign));
    }
    missing
}

impl Missing {
    fn package(&mut self, name: &str) {
        if !self.packages.iter().any(|known| known == name) {
            self.packages.push(name.to_owned());
        }
    }

    fn name(&mut self, text: &str, header: bool) {
        let text = text.trim().trim_matches(['\'', '"', '`']);
        let famous = FAMOUS.iter().find(|(word, _)| match word.strip_suffix('/') {
            Some(folder) => text.starts_with(&format!("{folder}/")),
            None => *word == text || word.rsplit('/').next() == Some(text) && header,
        });
        match famous {
            Some((_, package)) => self.package(package),
            // A linker's `-lpq` is `libpq`'s.
            None if !header => {
                let package = match text {
                    "pq" => "libpq-dev",
                    "z" => "zlib1g-dev",
                    "ssl" | "crypto" => "libssl-dev",
                    "xml2" => "libxml2-dev",
                    "xslt" => "libxslt1-dev",
                    "ffi" => "libffi-dev",
                    "ldap" | "lber" => "libldap-dev",
                    "mysqlclient" | "mariadb" => "default-libmysqlclient-dev",
                    _ => return,
                };
                self.package(package);
            }
            None => {
                if !self.headers.iter().any(|known| known == text) {
                    self.headers.push(text.to_owned());
                }
            }
        }
    }

    /// What to do about it.
    pub(crate) fn help(&self, already: &[String], network: bool) -> Option<String> {
        let new: Vec<&String> = self
            .packages
            .iter()
            .filter(|name| !already.contains(name))
            .collect();
        let mut lines = Vec::new();
        if !new.is_empty() {
            let all: Vec<String> = already
                .iter()
                .chain(new)
                .map(|name| format!("\"{name}\""))
                .collect();
            lines.push(format!(
                "add what it needs to pyproject.toml: [tool.coil] build-apt = [{}]",
                all.join(", ")
            ));
        } else if !self.headers.is_empty() {
            lines.push(format!(
                "find the Debian package that has {} (`apt-file search` or packages.debian.org), and name it in pyproject.toml: \
                 [tool.coil] build-apt = [\"…\"]",
                self.headers.join(", ")
            ));
        }
        if self.network && !network {
            lines.push(
                "a build reaches no network unless it is allowed to: [tool.coil] build-network = true, or --build-network".into(),
            );
        } else if self.rust && !network {
            lines.push(
                "a build with Rust fetches crates: it needs [tool.coil] build-network = true as well".into(),
            );
        }
        (!lines.is_empty()).then(|| lines.join("\n      "))
    }
}

fn between<'a>(line: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let rest = &line[line.find(from)? + from.len()..];
    Some(&rest[..rest.find(to)?])
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| c.is_whitespace() || c == ':')
        .next()
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Missing {
        missing(&[line.to_owned()])
    }

    #[test]
    fn what_is_missing_is_read_from_the_back_ends_words() {
        for (line, package) in [
            (
                "./psycopg/psycopg.h:35:10: fatal error: libpq-fe.h: No such file or directory",
                "libpq-dev",
            ),
            ("Error: pg_config executable not found.", "libpq-dev"),
            (
                "/bin/sh: 1: mysql_config: not found",
                "default-libmysqlclient-dev",
            ),
            (
                "Package 'cairo', required by 'virtual:world', not found",
                "libcairo2-dev",
            ),
            ("No package 'cairo' found", "libcairo2-dev"),
            (
                "../meson.build:31:12: ERROR: Dependency \"cairo\" not found, tried pkgconfig",
                "libcairo2-dev",
            ),
            (
                "Error: Please make sure the libxml2 and libxslt development packages: xslt-config: not found",
                "libxslt1-dev",
            ),
            (
                "/usr/bin/ld: cannot find -lpq: No such file or directory",
                "libpq-dev",
            ),
            (
                "In file: fatal error: openssl/ssl.h: No such file or directory",
                "libssl-dev",
            ),
            (
                "FileNotFoundError: [Errno 2] No such file or directory: 'cmake'",
                "cmake",
            ),
        ] {
            assert!(
                of(line).packages.contains(&package.to_owned()),
                "{line}: {:?}",
                of(line)
            );
        }
        assert_eq!(
            of("x.c:1: fatal error: odd.h: No such file or directory").headers,
            ["odd.h"]
        );
        assert!(of("fatal: unable to access: Could not resolve host: github.com").network);
        assert!(of("error: can't find Rust compiler").rust);
        assert_eq!(of("running build_ext"), Missing::default());
    }

    #[test]
    fn the_remedy_names_what_is_there_already() {
        let found = of("fatal error: libpq-fe.h: No such file or directory");
        let help = found.help(&["libxml2-dev".into()], false).unwrap();
        assert!(
            help.contains("build-apt = [\"libxml2-dev\", \"libpq-dev\"]"),
            "{help}"
        );
        assert_eq!(found.help(&["libpq-dev".into()], false), None);
    }
}
