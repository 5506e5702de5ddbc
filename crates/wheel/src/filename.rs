//! Names of wheels and source distributions (the "Binary distribution format" and "Source distribution" specifications).

use std::str::FromStr;

use pep440_rs::Version;

/// What the file name of a distribution tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistributionName {
    /// The project's normalised name.
    pub name: String,
    /// The version as written.
    pub version: String,
    /// Whether it is a wheel.
    pub is_wheel: bool,
}

impl DistributionName {
    /// Reads a wheel's file name: `name-version[-build]-python-abi-platform.whl`.
    pub fn wheel(filename: &str) -> Option<DistributionName> {
        let parts: Vec<&str> = filename.strip_suffix(".whl")?.split('-').collect();
        let sound = matches!(parts.len(), 5 | 6)
            && parts.iter().all(|part| !part.is_empty())
            && (parts.len() == 5 || parts[2].starts_with(|first: char| first.is_ascii_digit()))
            && is_plain(filename);
        sound.then(|| DistributionName {
            name: normalise(parts[0]),
            version: parts[1].to_owned(),
            is_wheel: true,
        })
    }

    /// Reads a source distribution's file name, given the project it should belong to.
    ///
    /// Older names have dashes in the project's part, so only the project tells where the version begins.
    pub fn source(filename: &str, project: &str) -> Option<DistributionName> {
        let stem = [".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz"]
            .into_iter()
            .find_map(|ending| filename.strip_suffix(ending))?;
        let project = normalise(project);
        stem.match_indices('-')
            .map(|(cut, _)| (&stem[..cut], &stem[cut + 1..]))
            .find(|(name, version)| normalise(name) == project && Version::from_str(version).is_ok())
            .filter(|_| is_plain(filename))
            .map(|(_, version)| DistributionName {
                name: project.clone(),
                version: version.to_owned(),
                is_wheel: false,
            })
    }
}

fn is_plain(filename: &str) -> bool {
    !filename.contains(['/', '\\']) && !filename.chars().any(char::is_control)
}

/// A project's name in its normal form: lower case, runs of `-`, `_` and `.` as one `-`.
pub fn normalise(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            other => normal.extend(other.to_lowercase()),
        }
    }
    normal
}

/// Whether two versions are the same, by PEP 440 where both follow it.
pub fn same_version(left: &str, right: &str) -> bool {
    let read = |text: &str| Version::from_str(text).or_else(|_| Version::from_str(&text.replace('_', "-")));
    match (read(left), read(right)) {
        (Ok(left), Ok(right)) => left == right,
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheel_names() {
        let name = DistributionName::wheel("Flask_SQLAlchemy-3.1-1abc-py2.py3-none-any.whl").expect("name");
        assert_eq!(
            (name.name.as_str(), name.version.as_str()),
            ("flask-sqlalchemy", "3.1")
        );
        for bad in [
            "a-1-py3-none.whl",
            "a-1-x-py3-none-any.whl",
            "a-1-py3-none-any.zip",
            "../a-1-py3-none-any.whl",
        ] {
            assert_eq!(DistributionName::wheel(bad), None, "{bad}");
        }
    }

    #[test]
    fn source_names() {
        let name = DistributionName::source("ruamel-yaml-clib-0.2.tar.gz", "ruamel.yaml.clib").expect("name");
        assert_eq!(name.version, "0.2");
        assert_eq!(DistributionName::source("other-0.2.tar.gz", "ruamel"), None);
    }

    #[test]
    fn versions() {
        assert!(same_version("1.0", "1.0.0"));
        assert!(same_version("1.0+cu_118", "1.0+cu-118"));
        assert!(!same_version("1.0", "1.1"));
        assert!(same_version("odd", "odd"));
    }
}
