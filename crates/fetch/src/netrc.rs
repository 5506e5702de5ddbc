//! The `.netrc` file: logins by host name.

/// One login of a netrc file.
#[derive(Clone, PartialEq, Eq)]
pub struct NetrcEntry {
    /// The host; `None` is the file's `default` entry.
    pub machine: Option<String>,
    /// The user name.
    pub login: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for NetrcEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetrcEntry")
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

/// Reads a netrc file's text; what it doesn't understand is passed over, as other clients do.
pub fn parse_netrc(text: &str) -> Vec<NetrcEntry> {
    let mut entries = Vec::new();
    let mut current: Option<NetrcEntry> = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut words = words(line).into_iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "machine" | "default" => {
                    entries.extend(current.take());
                    let machine = if word == "machine" { words.next() } else { None };
                    if word == "default" || machine.is_some() {
                        current = Some(NetrcEntry {
                            machine,
                            login: String::new(),
                            password: String::new(),
                        });
                    }
                }
                "login" => {
                    if let (Some(entry), Some(value)) = (&mut current, words.next()) {
                        entry.login = value;
                    }
                }
                "password" => {
                    if let (Some(entry), Some(value)) = (&mut current, words.next()) {
                        entry.password = value;
                    }
                }
                "account" => {
                    words.next();
                }
                // A macro definition runs to the next empty line.
                "macdef" => {
                    for line in lines.by_ref() {
                        if line.trim().is_empty() {
                            break;
                        }
                    }
                    break;
                }
                word if word.starts_with('#') => break,
                _ => {}
            }
        }
    }
    entries.extend(current);
    entries
}

/// Splits a line at blanks; a word may stand in double quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = String::new();
        let quoted = c == '"';
        if quoted {
            chars.next();
        }
        while let Some(&c) = chars.peek() {
            chars.next();
            match c {
                '\\' => word.extend(chars.next()),
                '"' if quoted => break,
                c if !quoted && c.is_whitespace() => break,
                c => word.push(c),
            }
        }
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_machines_default_and_macros() {
        let text = "# mine\nmachine a.example login joe password \"s p\"\nmacdef init\nmachine evil login x\n\n\
                    machine b.example\n  login ann\n  password p#1\ndefault login anonymous password me@home\n";
        let entries = parse_netrc(text);
        let seen: Vec<_> = entries
            .iter()
            .map(|e| (e.machine.as_deref(), e.login.as_str(), e.password.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                (Some("a.example"), "joe", "s p"),
                (Some("b.example"), "ann", "p#1"),
                (None, "anonymous", "me@home")
            ]
        );
        assert!(!format!("{entries:?}").contains("s p"));
    }
}
