//! Package URLs, `pkg:TYPE/NAMESPACE/NAME@VERSION?QUALIFIERS` (the purl specification).

use std::collections::BTreeMap;
use std::fmt;

/// A package URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageUrl {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
    version: Option<String>,
    qualifiers: BTreeMap<&'static str, String>,
}

impl PackageUrl {
    /// A package of a Python package index.
    pub fn pypi(name: &str, version: &str) -> PackageUrl {
        PackageUrl {
            kind: "pypi",
            name: name.to_ascii_lowercase().replace('_', "-"),
            version: Some(version.to_owned()),
            ..PackageUrl::default()
        }
    }

    /// A package of Alpine or what is made of it, whose name `os-release` has.
    pub fn apk(vendor: &str, name: &str, version: &str) -> PackageUrl {
        PackageUrl {
            kind: "apk",
            ..PackageUrl::deb(vendor, name, version)
        }
    }

    /// A Debian package; `vendor` is `debian` or what else `os-release` names.
    pub fn deb(vendor: &str, name: &str, version: &str) -> PackageUrl {
        PackageUrl {
            kind: "deb",
            namespace: Some(vendor.to_ascii_lowercase()),
            name: name.to_ascii_lowercase(),
            version: Some(version.to_owned()),
            ..PackageUrl::default()
        }
    }

    /// An image by its digest.
    pub fn oci(name: &str, digest: &str) -> PackageUrl {
        PackageUrl {
            kind: "oci",
            name: name.to_ascii_lowercase(),
            version: Some(digest.to_owned()),
            ..PackageUrl::default()
        }
    }

    /// What is of no registry's kind.
    pub fn generic(name: &str, version: Option<&str>) -> PackageUrl {
        PackageUrl {
            kind: "generic",
            name: name.to_owned(),
            version: version.map(str::to_owned),
            ..PackageUrl::default()
        }
    }

    /// Adds a qualifier, unless it is empty.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> PackageUrl {
        if !value.is_empty() {
            self.qualifiers.insert(name, value.to_owned());
        }
        self
    }
}

/// Percent-encodes all but unreserved letters, the colon, and the letters of `also`.
fn encode(text: &str, also: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in text.bytes() {
        let letter = char::from(byte);
        if byte.is_ascii_alphanumeric() || "-._~:".contains(letter) || also.contains(letter) {
            write!(f, "{letter}")?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

impl fmt::Display for PackageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkg:{}/", self.kind)?;
        if let Some(namespace) = &self.namespace {
            encode(namespace, "/", f)?;
            f.write_str("/")?;
        }
        encode(&self.name, "", f)?;
        if let Some(version) = &self.version {
            f.write_str("@")?;
            encode(version, "", f)?;
        }
        for (number, (name, value)) in self.qualifiers.iter().enumerate() {
            write!(f, "{}{name}=", if number == 0 { '?' } else { '&' })?;
            encode(value, "/", f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_written_in_canonical_form() {
        assert_eq!(
            PackageUrl::pypi("Flask_SQLAlchemy", "3.1.1+local").to_string(),
            "pkg:pypi/flask-sqlalchemy@3.1.1%2Blocal"
        );
        let deb = PackageUrl::deb("debian", "libstdc++6", "1:12.2.0-14+deb12u1");
        assert_eq!(
            deb.with("arch", "amd64")
                .with("distro", "debian-12")
                .with("upstream", "gcc-12@12.2.0-14")
                .with("epoch", "")
                .to_string(),
            "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=gcc-12%4012.2.0-14"
        );
        assert_eq!(
            PackageUrl::oci("Shop", "sha256:ab")
                .with("arch", "arm64")
                .to_string(),
            "pkg:oci/shop@sha256:ab?arch=arm64"
        );
        assert_eq!(
            PackageUrl::generic("an app", None).to_string(),
            "pkg:generic/an%20app"
        );
    }
}
