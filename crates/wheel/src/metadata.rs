//! Fields of METADATA and WHEEL: headers as e-mail has them (the "Core metadata" specification).

/// The header fields of a METADATA or WHEEL file, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    fields: Vec<(String, String)>,
}

impl Fields {
    /// Reads the headers; they end with the first empty line, or with the first line that is none.
    ///
    /// Bytes that are not UTF-8 are replaced: only descriptions have them. A value that goes on over several lines keeps
    /// its line ends, without the blanks that mark a line as belonging to it.
    pub fn parse(content: &[u8]) -> Fields {
        let text = String::from_utf8_lossy(content);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                break;
            }
            if line.starts_with([' ', '\t']) {
                let Some((_, value)) = fields.last_mut() else {
                    break;
                };
                value.push('\n');
                value.push_str(continued(line));
                continue;
            }
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            fields.push((name.trim_end().to_owned(), value.trim().to_owned()));
        }
        Fields { fields }
    }

    /// The first value of a field, if there is one that isn't empty; the name's case doesn't matter.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.trim().is_empty())
            .map(|(_, value)| value.trim())
    }

    /// Every value of a field that isn't empty.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }
}

/// A further line of a value: the specification's `       |` and setuptools' eight blanks are no part of it.
fn continued(line: &str) -> &str {
    let bare = line.trim_start_matches([' ', '\t']);
    match bare.strip_prefix('|') {
        Some(rest) => rest,
        None => line
            .strip_prefix("        ")
            .or_else(|| line.strip_prefix('\t'))
            .unwrap_or(bare),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_end_with_the_headers() {
        let text = b"Metadata-Version: 2.4\r\nName: a.b\r\nlicense: MIT\r\n        and more\r\n\tlast\r\nClassifier: X\r\n\
                     Classifier: Y\r\nSummary:\r\n\r\nName: not this\r\n";
        let fields = Fields::parse(text);
        assert_eq!(fields.first("name"), Some("a.b"));
        assert_eq!(fields.first("License"), Some("MIT\nand more\nlast"));
        assert_eq!(fields.all("Classifier").collect::<Vec<_>>(), ["X", "Y"]);
        assert_eq!(fields.first("Summary"), None);
    }

    #[test]
    fn anything_is_read_without_harm() {
        for text in [
            &b""[..],
            b"\n",
            b" lost\nName: x",
            b"Name",
            b":",
            b"\xff\xfe: \xff\n \xff",
        ] {
            let _ = Fields::parse(text).first("Name");
        }
        assert_eq!(
            Fields::parse(b"Name: x\nno header\nName: y").all("Name").count(),
            1
        );
    }
}
