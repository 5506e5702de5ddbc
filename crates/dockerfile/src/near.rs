//! Near misses: the word that was probably meant.

use coil_oci::near::distance;

/// The closest of the known words, if it is close enough to be meant.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No known word is longer.
    let key = |word: &str| word.chars().take(64).collect::<String>().to_lowercase();
    let word = key(word);
    let most = if word.chars().count() <= 3 { 1 } else { 2 };
    known
        .into_iter()
        .map(|other| (distance(&word, &key(other)), other))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised() {
        let known = ["RUN", "COPY", "CMD", "ENTRYPOINT"];
        for (word, meant) in [
            ("RUNN", Some("RUN")),
            ("coyp", Some("COPY")),
            ("ENTRYPONT", Some("ENTRYPOINT")),
            ("XYZZY", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known), meant, "{word}");
        }
    }
}
