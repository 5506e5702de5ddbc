//! Identifiers that come from content alone, so that the same content has the same ones.

use coil_oci::Digest;

/// A UUID made of a SHA-256 (RFC 9562, version 8: what is inside is the maker's own affair).
pub(crate) fn uuid_of(bytes: &[u8]) -> String {
    let digest = Digest::of(bytes);
    let hex = digest.hex();
    // The variant's two bits are 10.
    let variant = match hex.as_bytes().get(16) {
        Some(b'0' | b'4' | b'8' | b'c') => '8',
        Some(b'1' | b'5' | b'9' | b'd') => '9',
        Some(b'2' | b'6' | b'a' | b'e') => 'a',
        _ => 'b',
    };
    format!(
        "{}-{}-8{}-{variant}{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}

/// A text in the letters of an SPDX identifier: letters, digits, `.` and `-`.
pub(crate) fn spdx_letters(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() || letter == '.' {
            out.push(letter);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_their_shape() {
        for text in ["", "a", "b", "c", "d"] {
            let uuid = uuid_of(text.as_bytes());
            let parts: Vec<&str> = uuid.split('-').collect();
            let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12]);
            assert!(
                parts[2].starts_with('8') && parts[3].starts_with(['8', '9', 'a', 'b']),
                "{uuid}"
            );
        }
        assert_ne!(uuid_of(b"a"), uuid_of(b"b"));
    }

    #[test]
    fn letters_are_spdx_s() {
        assert_eq!(spdx_letters("libstdc++6 (amd64)"), "libstdc-6-amd64");
    }
}
