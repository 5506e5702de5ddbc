//! The forms that words of instructions come in: JSON lists, names with values, flags.

use crate::instruction::KeyValue;

/// A list in JSON form; none when the text isn't one.
///
/// # Errors
/// A list that holds something else than strings.
pub(crate) fn json(text: &str) -> Result<Option<Vec<String>>, &'static str> {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    let strings: Option<Vec<String>> = values
        .into_iter()
        .map(|value| match value {
            serde_json::Value::String(text) => Some(text),
            _ => None,
        })
        .collect();
    strings
        .map(Some)
        .ok_or("when using JSON array syntax, arrays must be comprised of strings only")
}

/// Whether words of the shell form end here: at blanks of ASCII alone, so a no-break space is a letter.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

/// Words that blanks part.
pub(crate) fn blank_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_blank).filter(|word| !word.is_empty())
}

/// The words of a text, quotes and escapes kept.
pub(crate) fn quoted_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        if c == escape && quote != Some('\'') {
            // An escape at the very end says nothing.
            if let Some(next) = chars.next() {
                word.push(c);
                word.push(next);
            }
            continue;
        }
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Names and values: `A=1 B="2 3"`, or the old form `A the whole rest`.
///
/// # Errors
/// The word that has no `=`, or none when there is but one word.
pub(crate) fn pairs(text: &str, escape: char) -> Result<Vec<KeyValue>, Option<String>> {
    let words = quoted_words(text, escape);
    let Some(first) = words.first() else {
        return Ok(Vec::new());
    };
    if !first.contains('=') {
        let (key, value) = text.split_once(is_blank).ok_or(None)?;
        return Ok(vec![KeyValue {
            key: key.to_owned(),
            value: value.trim_start().to_owned(),
            is_old_form: true,
        }]);
    }
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) => Ok(KeyValue {
                key: key.to_owned(),
                value: value.to_owned(),
                is_old_form: false,
            }),
            None => Err(Some(word)),
        })
        .collect()
}

/// The flags at the beginning of a text, and the rest.
pub(crate) fn flags(text: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let mut word = String::new();
        let mut quote: Option<char> = None;
        let mut end = rest.len();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match (quote, c) {
                (None, c) if c.is_whitespace() => {
                    end = at;
                    break;
                }
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                (_, '\\') => word.extend(chars.next().map(|(_, next)| next)),
                _ => word.push(c),
            }
        }
        rest = &rest[end..];
        rest = rest.trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_end_at_the_first_other_word() {
        assert_eq!(
            flags("--a=1 --b='x y' --c c --d"),
            (vec!["--a=1".into(), "--b=x y".into(), "--c".into()], "c --d")
        );
        assert_eq!(flags("a --b"), (vec![], "a --b"));
        assert_eq!(flags("--a\\ b -- --c"), (vec!["--a b".into()], "--c"));
    }

    #[test]
    fn names_and_values() {
        let read = |text| -> Result<Vec<(String, String)>, Option<String>> {
            Ok(pairs(text, '\\')?
                .into_iter()
                .map(|pair| (pair.key, pair.value))
                .collect())
        };
        let own = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        assert_eq!(
            read("A=1 B=\"2 3\" C=4\\ 5"),
            Ok(own(&[("A", "1"), ("B", "\"2 3\""), ("C", "4\\ 5")]))
        );
        assert_eq!(read("A b  c"), Ok(own(&[("A", "b  c")])));
        assert_eq!(read("A"), Err(None));
        assert_eq!(read("A=1 B"), Err(Some("B".into())));
        assert_eq!(read("\"a b\"=c"), Ok(own(&[("\"a b\"", "c")])));
        assert_eq!(read("A='x\\' B=2"), Ok(own(&[("A", "'x\\'"), ("B", "2")])));
    }

    #[test]
    fn lists_in_json() {
        assert_eq!(json("[\"a\", \"b\"]"), Ok(Some(vec!["a".into(), "b".into()])));
        assert_eq!(json("['a']"), Ok(None));
        assert_eq!(json("a"), Ok(None));
        assert_eq!(json("[]"), Ok(Some(vec![])));
        assert!(json("[1]").is_err());
    }
}
