//! Image references (OCI distribution specification, "Pulling manifests", and Docker's short names).

use std::fmt;
use std::str::FromStr;

use crate::Digest;

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";

/// The name of an image: registry, repository, and a tag or a digest.
///
/// `python:3.11` is `docker.io/library/python:3.11`, as Docker reads it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferenceError {
    /// Nothing was given.
    Empty,
    /// The repository has upper-case letters.
    UpperCase(String),
    /// The repository has characters that may not be there.
    Repository(String),
    /// The tag is too long or has characters that may not be there.
    Tag(String),
    /// The digest is none.
    Digest(String),
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReferenceError::Empty => f.write_str("invalid reference format: the image name is empty"),
            ReferenceError::UpperCase(text) => {
                write!(
                    f,
                    "invalid reference format: repository name ({text}) must be lowercase"
                )
            }
            ReferenceError::Repository(text) => write!(
                f,
                "invalid reference format: `{}` may hold lower-case letters, digits, and single `.`, `_`, `-` or `/` between them",
                text.escape_debug()
            ),
            ReferenceError::Tag(text) => write!(
                f,
                "invalid reference format: the tag `{}` may hold up to 128 letters, digits, `_`, `.` and `-`, and begins with none of the last two",
                text.escape_debug()
            ),
            ReferenceError::Digest(text) => write!(
                f,
                "invalid reference format: `{}` is not a digest (sha256: and 64 hexadecimal digits)",
                text.escape_debug()
            ),
        }
    }
}

impl std::error::Error for ReferenceError {}

impl Reference {
    /// Reads `[registry/]repository[:tag][@digest]`; without tag and digest the tag is `latest`.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = Digest::parse(digest).map_err(|_| ReferenceError::Digest(digest.into()))?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            Some((before, tag)) if !tag.contains('/') => (before, Some(tag)),
            _ => (name, None),
        };
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first.to_owned(), rest.to_owned())
            }
            _ => (DEFAULT_REGISTRY.to_owned(), name.to_owned()),
        };
        let registry = if registry == "index.docker.io" {
            DEFAULT_REGISTRY.into()
        } else {
            registry
        };
        check_registry(&registry, text)?;
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("{DEFAULT_NAMESPACE}/{path}")
        } else {
            path
        };
        check_repository(&repository, text)?;
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Reference {
            registry,
            repository,
            tag,
            digest,
        })
    }

    /// The registry, `docker.io`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository, `library/python`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The name as Docker shows it, without the default registry and namespace: `python`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return format!("{}/{}", self.registry, self.repository);
        }
        match self.repository.strip_prefix("library/") {
            Some(short) => short.to_owned(),
            None => self.repository.clone(),
        }
    }

    /// The short form with tag and digest: `python:3.11`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// The full form: `docker.io/library/python:3.11`.
    pub fn canonical(&self) -> String {
        self.with_suffix(format!("{}/{}", self.registry, self.repository))
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(&digest.to_string());
        }
        name
    }
}

fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let first = tag
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let rest = tag
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first && rest && tag.len() <= 128 {
        Ok(())
    } else {
        Err(ReferenceError::Tag(tag.into()))
    }
}

fn check_registry(registry: &str, whole: &str) -> Result<(), ReferenceError> {
    let host = registry.rsplit_once(':').map_or(registry, |(host, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() {
            host
        } else {
            ""
        }
    });
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good = match bracketed {
        Some(inner) => inner.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => {
            !host.is_empty()
                && host.split('.').all(|label| {
                    !label.is_empty()
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                })
        }
    };
    if good {
        Ok(())
    } else {
        Err(ReferenceError::Repository(whole.into()))
    }
}

fn check_repository(repository: &str, whole: &str) -> Result<(), ReferenceError> {
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::UpperCase(whole.into()));
    }
    let good = repository.len() <= 255 && repository.split('/').all(component);
    if good {
        Ok(())
    } else {
        Err(ReferenceError::Repository(whole.into()))
    }
}

/// Letters and digits, with one `.`, one or two `_`, or any number of `-` between them.
fn component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    if bytes.is_empty() || !alphanumeric(bytes[0]) || !alphanumeric(bytes[bytes.len() - 1]) {
        return false;
    }
    text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Reference::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_dockers() {
        for (text, canonical, familiar) in [
            ("python", "docker.io/library/python:latest", "python:latest"),
            ("python:3.11", "docker.io/library/python:3.11", "python:3.11"),
            ("me/app", "docker.io/me/app:latest", "me/app:latest"),
            ("localhost/app:1", "localhost/app:1", "localhost/app:1"),
            (
                "127.0.0.1:5000/a/b:x",
                "127.0.0.1:5000/a/b:x",
                "127.0.0.1:5000/a/b:x",
            ),
            ("ghcr.io/o/r", "ghcr.io/o/r:latest", "ghcr.io/o/r:latest"),
            (
                "index.docker.io/library/a",
                "docker.io/library/a:latest",
                "a:latest",
            ),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.canonical(), canonical);
            assert_eq!(reference.familiar(), familiar);
        }
    }

    #[test]
    fn digests_need_no_tag() {
        let text = format!("a@sha256:{}", "0".repeat(64));
        let reference = Reference::parse(&text).unwrap();
        assert_eq!(reference.tag(), None);
        assert_eq!(reference.familiar(), text);
    }

    #[test]
    fn refuses_what_docker_refuses() {
        for text in [
            "",
            "A",
            "a:",
            "a:-x",
            "a@sha256:1",
            "../x",
            "a//b",
            "a/",
            "/a",
            "-a",
            "a__b___c",
            "a..b",
            "a b",
            "host.x:port/a",
            ":tag",
            "a:b/c:",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
