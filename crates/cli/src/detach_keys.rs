//! The keys that let go of a container's terminal, `ctrl-p,ctrl-q` as a rule.

use crate::report::Failure;

/// Docker's default.
pub const USUAL: &str = "ctrl-p,ctrl-q";

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
            Failure::new(format!("invalid detach keys ({text}): not a list of keys"))
                .help("give keys such as ctrl-p,ctrl-q or ctrl-x,d")
                .code(125)
        })
}

/// Looks for the keys in what is typed.
#[derive(Debug)]
pub struct Watch {
    keys: Vec<u8>,
    /// How many of them were typed one after the other.
    typed: usize,
}

impl Watch {
    /// Looks for these.
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, typed: 0 }
    }

    /// What of the input goes to the container, and whether it is let go of now. Keys that may be the first of the
    /// sequence are held back until it is known.
    pub fn pass(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(input.len());
        for byte in input {
            if self.keys.is_empty() {
                passed.push(*byte);
                continue;
            }
            if *byte == self.keys[self.typed] {
                self.typed += 1;
                if self.typed == self.keys.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend(&self.keys[..self.typed]);
            self.typed = usize::from(*byte == self.keys[0]);
            if self.typed == 0 {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
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

    #[test]
    fn a_sequence_is_found_however_it_is_cut() {
        let mut watch = Watch::new(vec![16, 17]);
        assert_eq!(watch.pass(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(watch.pass(b"c\x10\x10"), (b"\x10c\x10".to_vec(), false));
        assert_eq!(watch.pass(b"\x11rest"), (Vec::new(), true));
        let mut none = Watch::new(Vec::new());
        assert_eq!(none.pass(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
