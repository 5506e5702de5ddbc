//! The links of an HTML page, as far as an index page needs them.

/// One start tag with its attributes, names in lower case, values decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
}

impl Tag {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The start tags of a page, comments, scripts and styles left out.
pub(super) fn tags(text: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        if !rest.starts_with(|first: char| first.is_ascii_alphabetic()) {
            continue;
        }
        let (tag, after) = tag(rest);
        rest = after;
        if matches!(tag.name.as_str(), "script" | "style") {
            let close = format!("</{}", tag.name);
            let end = rest
                .as_bytes()
                .windows(close.len())
                .position(|w| w.eq_ignore_ascii_case(close.as_bytes()));
            rest = end.map_or("", |end| &rest[end..]);
        }
        tags.push(tag);
    }
    tags
}

/// Reads a tag from behind its `<`; gives what follows its `>`.
fn tag(text: &str) -> (Tag, &str) {
    let end = text
        .find(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/'))
        .unwrap_or(text.len());
    let name = text[..end].to_ascii_lowercase();
    let mut rest = &text[end..];
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(after) = rest.strip_prefix('>') {
            return (Tag { name, attributes }, after);
        }
        if rest.is_empty() {
            return (Tag { name, attributes }, rest);
        }
        let end = rest
            .char_indices()
            .skip(1)
            .find(|(_, c)| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/'))
            .map_or(rest.len(), |(end, _)| end);
        let key = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let Some(value) = rest.strip_prefix('=') else {
            attributes.push((key, String::new()));
            continue;
        };
        let value = value.trim_start();
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => match value[1..].find(quote) {
                Some(end) => (&value[1..=end], &value[end + 2..]),
                None => (&value[1..], ""),
            },
            _ => {
                let end = value
                    .find(|c: char| c.is_ascii_whitespace() || c == '>')
                    .unwrap_or(value.len());
                value.split_at(end)
            }
        };
        attributes.push((key, decode(value)));
        rest = after;
    }
}

/// Replaces the character references that occur in attributes.
fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let reference = rest
            .find(';')
            .filter(|end| *end <= 10)
            .map(|end| (&rest[1..end], &rest[end + 1..]));
        let decoded = reference.and_then(|(name, after)| {
            let character = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => {
                    let digits = name.strip_prefix('#')?;
                    let code = match digits.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16),
                        None => digits.parse(),
                    };
                    char::from_u32(code.ok()?)?
                }
            };
            Some((character, after))
        });
        match decoded {
            Some((character, after)) => {
                out.push(character);
                rest = after;
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_spellings_are_read() {
        let page = "<!DOCTYPE html><!-- <a href=no> --><script>'<a href=no>'</SCRIPT><A\n HREF = 'x?a=1&amp;b=2' \
                    data-yanked data-requires-python=\"&gt;=3.8\">x</A><a href=plain.whl>y</a><a href=\"cut";
        let tags: Vec<Tag> = tags(page).into_iter().filter(|tag| tag.name == "a").collect();
        assert_eq!(tags.len(), 3);
        assert_eq!(tags[0].attribute("href"), Some("x?a=1&b=2"));
        assert_eq!(tags[0].attribute("data-yanked"), Some(""));
        assert_eq!(tags[0].attribute("data-requires-python"), Some(">=3.8"));
        assert_eq!(tags[1].attribute("href"), Some("plain.whl"));
    }

    #[test]
    fn nothing_makes_it_panic() {
        for text in [
            "<",
            "<a",
            "<a ",
            "<a =",
            "<a é=é",
            "<a é",
            "<a x='",
            "<é>",
            "<a /é>",
            "<!--",
            "<script",
            "<a h=&#x110000;>",
        ] {
            tags(text);
        }
    }
}
