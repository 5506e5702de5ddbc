//! SPDX licence expressions (SPDX 2.3, annex D): read, checked against the list of identifiers, written in canonical form.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Identifiers of SPDX's list of licences 3.28.
const LICENCES: &str = include_str!("licence_identifiers.txt");
/// Identifiers of SPDX's list of exceptions.
const EXCEPTIONS: &str = include_str!("exception_identifiers.txt");

fn lower_to_id(text: &'static str) -> BTreeMap<String, &'static str> {
    text.split_whitespace()
        .map(|id| (id.to_ascii_lowercase(), id))
        .collect()
}

/// The identifier of a licence as SPDX writes it, whatever the case it is given in.
pub(crate) fn licence_id(text: &str) -> Option<&'static str> {
    static IDS: OnceLock<BTreeMap<String, &'static str>> = OnceLock::new();
    let ids = IDS.get_or_init(|| lower_to_id(LICENCES));
    ids.get(&text.to_ascii_lowercase()).copied()
}

fn exception_id(text: &str) -> Option<&'static str> {
    static IDS: OnceLock<BTreeMap<String, &'static str>> = OnceLock::new();
    let ids = IDS.get_or_init(|| lower_to_id(EXCEPTIONS));
    ids.get(&text.to_ascii_lowercase()).copied()
}

/// How deep parentheses may be nested.
const DEEPEST: usize = 32;
/// How many words an expression may have.
const LONGEST: usize = 1000;

/// A valid expression in canonical form; none where it is no expression or names an unknown licence.
///
/// `LicenseRef-…` is refused: its text would have to come with it.
pub fn canonical_expression(text: &str) -> Option<String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    if words.is_empty() || words.len() > LONGEST {
        return None;
    }
    let mut reader = Reader {
        words: &words,
        at: 0,
        out: String::new(),
    };
    reader.alternatives(0)?;
    (reader.at == words.len()).then_some(reader.out)
}

struct Reader<'a> {
    words: &'a [&'a str],
    at: usize,
    out: String,
}

impl Reader<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let found = self
            .words
            .get(self.at)
            .is_some_and(|next| next.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    /// `a OR b`, which binds least.
    fn alternatives(&mut self, depth: usize) -> Option<()> {
        self.all(depth)?;
        while self.next_is("OR") {
            self.out.push_str(" OR ");
            self.all(depth)?;
        }
        Some(())
    }

    fn all(&mut self, depth: usize) -> Option<()> {
        self.one(depth)?;
        while self.next_is("AND") {
            self.out.push_str(" AND ");
            self.one(depth)?;
        }
        Some(())
    }

    fn one(&mut self, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        if self.next_is("(") {
            self.out.push('(');
            self.alternatives(depth + 1)?;
            self.out.push(')');
            return self.next_is(")").then_some(());
        }
        let word = *self.words.get(self.at)?;
        self.at += 1;
        match (licence_id(word), word.strip_suffix('+').and_then(licence_id)) {
            (Some(id), _) => self.out.push_str(id),
            (None, Some(id)) => {
                self.out.push_str(id);
                self.out.push('+');
            }
            (None, None) => return None,
        }
        if self.next_is("WITH") {
            let exception = exception_id(self.words.get(self.at)?)?;
            self.at += 1;
            self.out.push_str(" WITH ");
            self.out.push_str(exception);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        for (text, wanted) in [
            ("MIT", Some("MIT")),
            ("mit or apache-2.0", Some("MIT OR Apache-2.0")),
            (
                "(BSD-3-Clause AND(MIT OR ISC))",
                Some("(BSD-3-Clause AND (MIT OR ISC))"),
            ),
            (
                "GPL-2.0-or-later WITH classpath-exception-2.0",
                Some("GPL-2.0-or-later WITH Classpath-exception-2.0"),
            ),
            ("MPL-1.1+", Some("MPL-1.1+")),
            ("GPL-2.0+", Some("GPL-2.0+")),
            ("MIT License", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT)", None),
            ("MIT WITH nothing", None),
            ("LicenseRef-own", None),
            ("", None),
            ("AND", None),
        ] {
            assert_eq!(canonical_expression(text).as_deref(), wanted, "{text}");
        }
        assert_eq!(canonical_expression(&"(".repeat(900)), None);
    }
}
