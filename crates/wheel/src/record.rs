//! RECORD: the list of a wheel's files with their hashes (the "Recording installed projects" specification).

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// A hash as RECORD writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHash {
    /// The algorithm: sha256, sha384 or sha512.
    pub algorithm: Algorithm,
    /// The digest in URL-safe base64 without padding.
    pub value: String,
}

/// A hash algorithm that RECORD may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256, what nearly every wheel has.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        }
    }
}

impl fmt::Display for RecordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.algorithm.name(), self.value)
    }
}

impl RecordHash {
    /// The SHA-256 of `content`.
    pub fn of(content: &[u8]) -> RecordHash {
        let mut hasher = RecordHasher::new(Algorithm::Sha256);
        hasher.update(content);
        hasher.finish()
    }

    fn parse(text: &str) -> Result<RecordHash, &'static str> {
        let (name, value) = text.split_once('=').ok_or("its hash has no algorithm")?;
        let algorithm = match name.to_ascii_lowercase().as_str() {
            "sha256" => Algorithm::Sha256,
            "sha384" => Algorithm::Sha384,
            "sha512" => Algorithm::Sha512,
            _ => return Err("its hash is neither sha256 nor stronger"),
        };
        Ok(RecordHash {
            algorithm,
            value: value.trim_end_matches('=').to_owned(),
        })
    }
}

/// Computes a hash as RECORD writes it.
#[derive(Debug)]
pub enum RecordHasher {
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-384.
    Sha384(Sha384),
    /// SHA-512.
    Sha512(Sha512),
}

impl RecordHasher {
    /// A hasher that has seen nothing.
    pub fn new(algorithm: Algorithm) -> RecordHasher {
        match algorithm {
            Algorithm::Sha256 => RecordHasher::Sha256(Sha256::new()),
            Algorithm::Sha384 => RecordHasher::Sha384(Sha384::new()),
            Algorithm::Sha512 => RecordHasher::Sha512(Sha512::new()),
        }
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            RecordHasher::Sha256(hasher) => hasher.update(bytes),
            RecordHasher::Sha384(hasher) => hasher.update(bytes),
            RecordHasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The hash of all that was taken in.
    pub fn finish(self) -> RecordHash {
        match self {
            RecordHasher::Sha256(hasher) => RecordHash {
                algorithm: Algorithm::Sha256,
                value: base64(&hasher.finalize()),
            },
            RecordHasher::Sha384(hasher) => RecordHash {
                algorithm: Algorithm::Sha384,
                value: base64(&hasher.finalize()),
            },
            RecordHasher::Sha512(hasher) => RecordHash {
                algorithm: Algorithm::Sha512,
                value: base64(&hasher.finalize()),
            },
        }
    }
}

/// URL-safe base64 without padding (RFC 4648, section 5).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for index in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * index)) as usize & 63]));
        }
    }
    text
}

/// One line of RECORD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordLine {
    /// The hash; none for RECORD itself and for bytecode.
    pub hash: Option<RecordHash>,
    /// The size in bytes.
    pub size: Option<u64>,
}

/// A RECORD that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of RECORD: {}", self.line, self.what)
    }
}

impl std::error::Error for RecordError {}

/// Reads RECORD; lines of directories are left out, lines that come twice must be the same.
pub fn parse(text: &str) -> Result<BTreeMap<String, RecordLine>, RecordError> {
    let mut lines = BTreeMap::new();
    for (line, row) in rows(text)? {
        let fail = |what| RecordError { line, what };
        if row.len() == 1 && row[0].is_empty() {
            continue;
        }
        if row.len() > 3 {
            return Err(fail("it has more than three fields"));
        }
        let path = row[0].trim_start_matches("./").to_owned();
        if path.ends_with('/') {
            continue;
        }
        let field = |index: usize| {
            row.get(index)
                .map(|field| field.trim())
                .filter(|field| !field.is_empty())
        };
        let hash = field(1).map(RecordHash::parse).transpose().map_err(fail)?;
        let size = field(2)
            .map(str::parse)
            .transpose()
            .map_err(|_| fail("its size is not a number"))?;
        let new = RecordLine { hash, size };
        if lines.get(&path).is_some_and(|old| *old != new) {
            return Err(fail("it names a file again, with another hash or size"));
        }
        lines.insert(path, new);
    }
    Ok(lines)
}

/// Splits comma-separated rows (RFC 4180), each with the line it begins on.
fn rows(text: &str) -> Result<Vec<(usize, Vec<String>)>, RecordError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rows = Vec::new();
    let (mut row, mut field) = (Vec::new(), String::new());
    let (mut line, mut start, mut quoted) = (1, 1, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted && characters.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push((start, std::mem::take(&mut row)));
                line += 1;
                start = line;
            }
            _ => {
                line += usize::from(character == '\n');
                field.push(character);
            }
        }
    }
    if quoted {
        return Err(RecordError {
            line: start,
            what: "a quotation mark is not closed",
        });
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push((start, row));
    }
    Ok(rows)
}

/// Writes RECORD, sorted by path.
pub fn write(lines: &BTreeMap<String, RecordLine>) -> Vec<u8> {
    let mut text = String::new();
    for (path, line) in lines {
        if path.contains([',', '"', '\n', '\r', '\u{feff}']) {
            text.push('"');
            text.push_str(&path.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(path);
        }
        text.push(',');
        if let Some(hash) = &line.hash {
            text.push_str(&hash.to_string());
        }
        text.push(',');
        if let Some(size) = line.size {
            text.push_str(&size.to_string());
        }
        text.push('\n');
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_url_safe_and_unpadded() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg");
        assert_eq!(base64(b"fo"), "Zm8");
        assert_eq!(base64(b"foob"), "Zm9vYg");
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "-__-");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut lines = BTreeMap::new();
        let line = RecordLine {
            hash: Some(RecordHash::of(b"x")),
            size: Some(1),
        };
        lines.insert("a,\"b\".py".to_owned(), line);
        lines.insert(
            "z-1.dist-info/RECORD".to_owned(),
            RecordLine {
                hash: None,
                size: None,
            },
        );
        let text = String::from_utf8(write(&lines)).expect("text");
        assert_eq!(parse(&text).expect("record"), lines);
        assert!(
            text.starts_with("\"a,\"\"b\"\".py\",sha256=LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE,1\n")
        );
    }

    #[test]
    fn dots_in_front_are_no_part_of_a_path() {
        let lines = parse("././a,,1\n./b/,,\n").expect("record");
        assert_eq!(lines.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn faults_are_named_with_their_line() {
        let cases = [
            ("a,md5=x,1\n", 1, "its hash is neither sha256 nor stronger"),
            ("a,,\nb,sha256=x,many\n", 2, "its size is not a number"),
            (
                "a,,1\na,,2\n",
                2,
                "it names a file again, with another hash or size",
            ),
            ("\"a,,\n", 1, "a quotation mark is not closed"),
            ("a,b=c,d,e\n", 1, "it has more than three fields"),
        ];
        for (text, line, what) in cases {
            assert_eq!(parse(text), Err(RecordError { line, what }), "{text}");
        }
    }
}
