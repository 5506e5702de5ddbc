//! The keys that let go of a container's terminal, `ctrl-p,ctrl-q` as a rule.

use crate::report::Failure;
use crate::settings::Settings;

/// Docker's default.
pub const USUAL: &str = "ctrl-p,ctrl-q";

/// The keys of a flag, else those that the user chose once for all (`detachKeys`), else the usual ones.
///
/// # Errors
/// When a key is unknown.
pub fn wanted(flag: Option<&str>, settings: &Settings) -> Result<Vec<u8>, Failure> {
    match flag.filter(|text| !text.is_empty()) {
        Some(text) => parse(text),
        None => parse(&settings.chosen("detachKeys").unwrap_or_else(|| USUAL.to_owned())),
    }
}

/// Reads a list of keys: a character, or `ctrl-` with a letter or one of `@ [ \ ] ^ _`.
///
/// # Errors
/// When a key is unknown.
pub fn parse(text: &str) -> Result<Vec<u8>, Failure> {
    let key = |word: &str| match (word.as_bytes(), word.strip_prefix("ctrl-").map(str::as_bytes)) {
        ([byte], _) if byte.is_ascii() => Some(*byte),
        (_, Some([letter])) if letter.is_ascii_alphabetic() => Some(letter.to_ascii_lowercase() - b'a' + 1),
        (_, Some([sign])) => b"@".iter().position(|s| s == sign).map(|_| 0).or_else(|| {
            let at = b"[\\]^_".iter().position(|s| s == sign)?;
            u8::try_from(27 + at).ok()
        }),
        _ => None,
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(key)
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| {
            Failure::new(format!(
                "Invalid escape keys ({text}) provided: not a list of keys"
            ))
            .help("give keys such as ctrl-p,ctrl-q or ctrl-x,d")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_names() {
        assert_eq!(parse(USUAL).expect("keys"), [16, 17]);
        assert_eq!(parse("a,ctrl-[,ctrl-@").expect("keys"), [b'a', 27, 0]);
        for wrong in ["ctrl-", "ctrl-1", "ab", "a,,b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
