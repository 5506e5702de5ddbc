//! Version constraints as Poetry writes them (`^1.2`, `~1.2`, `1.*`, `<2 || >=3`), in terms of PEP 440.

use std::str::FromStr;

use pep440_rs::{Operator, Version, VersionSpecifier, VersionSpecifiers};

/// Several ranges of which one must hold a version; each is a list of specifiers that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Constraint(Vec<Vec<VersionSpecifier>>);

impl Constraint {
    /// Reads a constraint; `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Constraint> {
        text.replace("||", "|")
            .split('|')
            .map(range)
            .collect::<Option<_>>()
            .map(Constraint)
    }

    /// A constraint on the Python, where `3.11` means all of 3.11.
    pub(crate) fn parse_python(text: &str) -> Option<Constraint> {
        let bare = text.trim();
        let is_minor = bare.split('.').count() < 3
            && bare
                .split('.')
                .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        match is_minor {
            true => Constraint::parse(&format!("{bare}.*")),
            false => Constraint::parse(text),
        }
    }

    pub(crate) fn contains(&self, version: &Version) -> bool {
        self.0
            .iter()
            .any(|range| range.iter().all(|specifier| specifier.contains(version)))
    }

    /// The same as PEP 440 writes it; `None` where it has several ranges.
    pub(crate) fn specifiers(&self) -> Option<VersionSpecifiers> {
        match &self.0[..] {
            [range] => Some(range.iter().cloned().collect()),
            _ => None,
        }
    }
}

/// One range: comparisons parted by commas or blanks, where a blank may follow an operator too.
fn range(text: &str) -> Option<Vec<VersionSpecifier>> {
    let mut specifiers = Vec::new();
    let mut operator = String::new();
    for word in text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()) {
        let word = word.trim_matches(['(', ')']);
        if word.bytes().all(|b| b"<>=!~^".contains(&b)) {
            operator.push_str(word);
            continue;
        }
        specifiers.extend(comparison(&format!("{operator}{word}"))?);
        operator.clear();
    }
    operator.is_empty().then_some(specifiers)
}

fn comparison(text: &str) -> Option<Vec<VersionSpecifier>> {
    let split = text.find(|c: char| !"<>=!~^".contains(c))?;
    let (operator, version) = text.split_at(split);
    if version == "*" {
        return Some(Vec::new());
    }
    let plain = |operator: &str| {
        VersionSpecifier::from_str(&format!("{operator}{version}"))
            .ok()
            .map(|one| vec![one])
    };
    match operator {
        "^" | "~" => {
            let version = Version::from_str(version).ok()?;
            let release = version.release().to_vec();
            // The number that may not change: for `^` the first that isn't zero, for `~` the second.
            let fixed = match operator {
                "^" => release
                    .iter()
                    .position(|number| *number != 0)
                    .unwrap_or(release.len().saturating_sub(1)),
                _ => usize::from(release.len() > 1),
            };
            let mut next: Vec<u64> = release.get(..=fixed)?.to_vec();
            let last = next.last_mut()?;
            *last = last.checked_add(1)?;
            let next = Version::new(next).with_epoch(version.epoch());
            Some(vec![
                VersionSpecifier::from_version(Operator::GreaterThanEqual, version).ok()?,
                VersionSpecifier::from_version(Operator::LessThan, next).ok()?,
            ])
        }
        "" | "=" => plain("=="),
        "!=" | "==" | "===" | "<" | "<=" | ">" | ">=" | "~=" => {
            // `>=3.*` means `>=3`: only equality knows wildcards in PEP 440.
            match version.strip_suffix(".*") {
                Some(bare) if !matches!(operator, "==" | "!=") => {
                    VersionSpecifier::from_str(&format!("{operator}{bare}"))
                        .ok()
                        .map(|one| vec![one])
                }
                _ => plain(operator),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints() {
        for (text, inside, outside) in [
            ("^1.2.3", vec!["1.2.3", "1.9"], vec!["1.2.2", "2.0"]),
            ("^0.2.3", vec!["0.2.3", "0.2.9"], vec!["0.3", "1.0"]),
            ("^0.0.3", vec!["0.0.3"], vec!["0.0.4"]),
            ("^0", vec!["0.9"], vec!["1.0"]),
            ("~1.2.3", vec!["1.2.9"], vec!["1.3"]),
            ("~1", vec!["1.9"], vec!["2.0"]),
            ("1.2.*", vec!["1.2.9"], vec!["1.3"]),
            ("*", vec!["0", "99"], vec![]),
            ("1.0", vec!["1.0", "1.0+cpu"], vec!["1.0.1"]),
            (">= 1.0, <2.0", vec!["1.5"], vec!["2.0", "0.9"]),
            (">=1.0 <2.0", vec!["1.5"], vec!["2.0"]),
            ("<1 || >=3", vec!["0.5", "3.0"], vec!["1.0", "2"]),
            ("!=3.0.*,!=3.1.*,>=2.7", vec!["2.7", "3.2"], vec!["3.1.4"]),
        ] {
            let constraint = Constraint::parse(text).unwrap_or_else(|| panic!("{text}"));
            for (versions, expected) in [(inside, true), (outside, false)] {
                for version in versions {
                    let version: Version = version.parse().expect("a version");
                    assert_eq!(constraint.contains(&version), expected, "{text} {version}");
                }
            }
        }
        for bad in ["abc", ">=", "^", "^^1", "1.0.x"] {
            assert_eq!(Constraint::parse(bad), None, "{bad}");
        }
        let python = Constraint::parse_python("3.11").expect("valid");
        assert!(python.contains(&"3.11.2".parse().expect("a version")));
    }
}
