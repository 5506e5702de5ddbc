//! Debian's control format: paragraphs of `Field: value` (deb822).

/// One paragraph, borrowed from its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paragraph<'a> {
    text: &'a str,
}

impl<'a> Paragraph<'a> {
    /// A field's value with its continuation lines, trimmed; names are compared without case.
    pub fn get(self, name: &str) -> Option<&'a str> {
        let mut at = 0;
        while at < self.text.len() {
            let end = self.text[at..]
                .find('\n')
                .map_or(self.text.len(), |length| at + length);
            let line = &self.text[at..end];
            let found = line
                .get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name) && line[name.len()..].starts_with(':'));
            if found {
                let start = at + name.len() + 1;
                let mut stop = end;
                while self.text[stop..].starts_with("\n ") || self.text[stop..].starts_with("\n\t") {
                    stop = self.text[stop + 1..]
                        .find('\n')
                        .map_or(self.text.len(), |length| stop + 1 + length);
                }
                return Some(self.text[start..stop].trim());
            }
            at = end + 1;
        }
        None
    }

    /// The words of a field, over all its lines.
    pub fn words(self, name: &str) -> Vec<&'a str> {
        self.get(name)
            .map(|value| value.split_whitespace().collect())
            .unwrap_or_default()
    }
}

/// The paragraphs of a text; empty lines divide them.
pub fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    text.split("\n\n")
        .map(|text| Paragraph {
            text: text.trim_matches('\n'),
        })
        .filter(|paragraph| !paragraph.text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_continuations() {
        let text = "Package: a\nDescription: short\n long\n .\n more\nDepends: b,\n c\n\n\n\nPackage: d\nPackages: no\n";
        let all: Vec<_> = paragraphs(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("package"), Some("a"));
        assert_eq!(all[0].get("Depends"), Some("b,\n c"));
        assert_eq!(all[0].get("Description"), Some("short\n long\n .\n more"));
        assert_eq!(all[1].get("Depends"), None);
        assert_eq!(all[1].words("Packages"), ["no"]);
    }
}
