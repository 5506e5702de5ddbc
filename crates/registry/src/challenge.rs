//! `WWW-Authenticate`: what a registry wants to see (RFC 9110 section 11.6.1).

/// One way in that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// The scheme in lower case: `bearer`, `basic`.
    pub(crate) scheme: String,
    /// Its parameters, names in lower case.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter's value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads a header field's value, which may hold several challenges.
pub(crate) fn parse(text: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '=' | ','))
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after_blank = after.trim_start();
        if let (Some(value), Some(challenge)) = (after_blank.strip_prefix('='), challenges.last_mut()) {
            let (value, after) = take_value(value.trim_start());
            challenge.parameters.push((word.to_ascii_lowercase(), value));
            rest = after;
        } else {
            if !word.is_empty() {
                challenges.push(Challenge {
                    scheme: word.to_ascii_lowercase(),
                    parameters: Vec::new(),
                });
            }
            // A sign that fits nowhere is passed over, so that each turn gets on.
            rest = after_blank.strip_prefix('=').unwrap_or(after_blank);
        }
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    }
    challenges
}

/// A word or a quoted text, and what comes after it.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| c.is_whitespace() || c == ',')
            .unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_real_registries() {
        let hub = parse(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/a:pull,push""#,
        );
        assert_eq!(hub.len(), 1);
        assert_eq!(hub[0].scheme, "bearer");
        assert_eq!(hub[0].get("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(hub[0].get("scope"), Some("repository:library/a:pull,push"));
        let several = parse(r#"Basic realm="a \"b\"", Bearer realm=x , service="y""#);
        assert_eq!(several.len(), 2);
        assert_eq!(several[0].get("realm"), Some("a \"b\""));
        assert_eq!(
            (several[1].get("realm"), several[1].get("service")),
            (Some("x"), Some("y"))
        );
    }

    #[test]
    fn nonsense_ends() {
        for text in ["", ",", "=", "a==b,,", "Basic realm=\"", "\u{fc}=,\"", "= = ="] {
            parse(text);
        }
    }
}
