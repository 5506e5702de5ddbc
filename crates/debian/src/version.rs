//! Debian's order of versions (Debian Policy, section 5.6.12).

use std::cmp::Ordering;

/// Compares two version strings.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left_rest) = epoch(left);
    let (right_epoch, right_rest) = epoch(right);
    let (left_upstream, left_revision) = revision(left_rest);
    let (right_upstream, right_revision) = revision(right_rest);
    number(left_epoch, right_epoch)
        .then_with(|| part(left_upstream.as_bytes(), right_upstream.as_bytes()))
        .then_with(|| part(left_revision.as_bytes(), right_revision.as_bytes()))
}

/// The upstream part: without epoch and revision.
pub fn upstream(version: &str) -> &str {
    revision(epoch(version).1).0
}

fn epoch(version: &str) -> (&str, &str) {
    version.split_once(':').unwrap_or(("0", version))
}

/// An absent revision sorts as `0`, which the order of empty and `0` already gives.
fn revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// Compares two runs of digits of any length.
fn number(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// Compares runs of non-digits and runs of digits by turns.
fn part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (left_run, left_rest) = split(left, |byte| !byte.is_ascii_digit());
        let (right_run, right_rest) = split(right, |byte| !byte.is_ascii_digit());
        for at in 0..left_run.len().max(right_run.len()) {
            let order = weight(left_run.get(at)).cmp(&weight(right_run.get(at)));
            if order.is_ne() {
                return order;
            }
        }
        let (left_digits, left_rest) = split(left_rest, |byte| byte.is_ascii_digit());
        let (right_digits, right_rest) = split(right_rest, |byte| byte.is_ascii_digit());
        let text = |digits| std::str::from_utf8(digits).unwrap_or_default();
        let order = number(text(left_digits), text(right_digits));
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

fn split(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(
        bytes
            .iter()
            .position(|byte| !belongs(byte))
            .unwrap_or(bytes.len()),
    )
}

/// A tilde sorts before the end, letters before all else.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_policy() {
        // Policy's own example first: parts in sorted order.
        let tilde = ["~~", "~~a", "~", "", "a"];
        for pair in tilde.windows(2) {
            assert_eq!(
                part(pair[0].as_bytes(), pair[1].as_bytes()),
                Ordering::Less,
                "{pair:?}"
            );
        }
        for (left, right) in [
            ("1.0", "1.1"),
            ("1.2", "1.10"),
            ("1.0~rc1", "1.0"),
            ("1.0~rc1-1", "1.0-0.1"),
            ("9:1", "10:0"),
            ("2.0", "1:1.0"),
            ("1.0-1", "1.0-1+b1"),
            ("1.0-1+b1", "1.0-2"),
            ("1.0a", "1.0+"),
            ("1.0-1", "1.0.1-1"),
            ("3.11.2-6", "3.11.2-6+deb12u1"),
            ("3.11.2-6+deb12u9", "3.11.2-6+deb12u10"),
            ("2.36-9+deb12u10~bpo11", "2.36-9+deb12u10"),
            ("1.1.1alpha+20120614", "1.1.1alpha+20120615"),
            ("0", "00000000000000000000000000000000000001"),
            ("1-1-1", "1-1-2"),
            ("1-1", "1-1-0"),
        ] {
            assert_eq!(compare(left, right), Ordering::Less, "{left} < {right}");
            assert_eq!(compare(right, left), Ordering::Greater, "{right} > {left}");
        }
        for (left, right) in [
            ("1.0", "1.0"),
            ("0:1.0", "1.0"),
            ("1.0-0", "1.0"),
            ("1.01", "1.1"),
            ("", "0"),
        ] {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} = {right}");
        }
        assert_eq!(upstream("1:3.11.2-6+deb12u1"), "3.11.2");
    }
}
