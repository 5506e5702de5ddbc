//! Relations between packages: `a (>= 1) | b, c` (Debian Policy, chapter 7).

use std::cmp::Ordering;

use crate::version::compare;

/// One package that would do, with the versions that would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Possibility {
    /// The package, real or virtual.
    pub name: String,
    /// The operator (`<<`, `<=`, `=`, `>=`, `>>`) and the version.
    pub version: Option<(String, String)>,
}

impl Possibility {
    /// Whether a version is one of those asked for.
    pub fn accepts(&self, version: &str) -> bool {
        let Some((operator, wanted)) = &self.version else {
            return true;
        };
        let order = compare(version, wanted);
        match operator.as_str() {
            "<<" => order == Ordering::Less,
            "<=" | "<" => order != Ordering::Greater,
            ">=" | ">" => order != Ordering::Less,
            ">>" => order == Ordering::Greater,
            _ => order == Ordering::Equal,
        }
    }

    /// Whether something provided under the name does; `version` is that of the Provides field.
    ///
    /// A versioned relation is only met by a versioned Provides (section 7.5).
    pub fn accepts_provided(&self, version: Option<&str>) -> bool {
        match (&self.version, version) {
            (None, _) => true,
            (Some(_), Some(version)) => self.accepts(version),
            (Some(_), None) => false,
        }
    }
}

impl std::fmt::Display for Possibility {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            Some((operator, version)) => write!(f, "{} ({operator} {version})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Reads a relation field: all of the outer list are wanted, one of each inner list is enough.
///
/// What holds for another architecture only is left out.
pub fn parse(field: &str, arch: &str) -> Vec<Vec<Possibility>> {
    field
        .split(',')
        .map(|group| {
            group
                .split('|')
                .filter_map(|one| possibility(one, arch))
                .collect::<Vec<_>>()
        })
        .filter(|group| !group.is_empty())
        .collect()
}

fn possibility(text: &str, arch: &str) -> Option<Possibility> {
    let text = text.trim();
    let name_end = text
        .find(|c: char| c.is_whitespace() || "([<".contains(c))
        .unwrap_or(text.len());
    let (name, mut rest) = text.split_at(name_end);
    // `:any` and `:amd64` say which architecture's package; only one is in play here.
    let name = name.split(':').next().unwrap_or(name);
    if name.is_empty() {
        return None;
    }
    let mut version = None;
    while let Some(c) = rest.trim_start().chars().next() {
        rest = rest.trim_start();
        let close = match c {
            '(' => ')',
            '[' => ']',
            '<' => '>',
            _ => break,
        };
        let end = rest.find(close)?;
        let inner = rest[1..end].trim();
        match c {
            '(' => {
                let at = inner.find(|c: char| !"<>=".contains(c))?;
                version = Some((inner[..at].to_string(), inner[at..].trim().to_string()));
            }
            '[' => {
                let listed = inner
                    .split_whitespace()
                    .any(|word| word.trim_start_matches('!') == arch);
                if listed == inner.starts_with('!') {
                    return None;
                }
            }
            _ => {}
        }
        rest = &rest[end + 1..];
    }
    Some(Possibility {
        name: name.to_string(),
        version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms() {
        let shown = |field: &str| {
            let groups = parse(field, "amd64");
            let text = |group: &Vec<Possibility>| {
                group
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" | ")
            };
            groups.iter().map(text).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(
            shown("a, b (>= 1.0) | c:any,  d(<<2)"),
            "a, b (>= 1.0) | c, d (<< 2)"
        );
        assert_eq!(
            shown("a [arm64], b [!arm64 !i386], c [amd64] (= 1)"),
            "b, c (= 1)"
        );
        assert_eq!(shown("a <!nocheck>,"), "a");
        assert_eq!(shown(""), "");
    }

    #[test]
    fn versions_asked_for() {
        let one = |text: &str| possibility(text, "amd64").unwrap();
        assert!(one("a (>= 1.2)").accepts("1.10"));
        assert!(!one("a (<< 1.2)").accepts("1.2"));
        assert!(one("a (<= 1.2)").accepts("1.2"));
        assert!(one("a (= 1.2-0)").accepts("1.2"));
        assert!(!one("a (>> 1.2)").accepts("1.2"));
        assert!(one("a").accepts_provided(None));
        assert!(!one("a (>= 1)").accepts_provided(None));
        assert!(one("a (>= 1)").accepts_provided(Some("2")));
    }
}
