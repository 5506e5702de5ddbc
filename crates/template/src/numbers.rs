//! Numbers as Go writes and reads them.

/// The shortest text that means this number: an exponent below 1e-4 and from 1e21 on.
pub(crate) fn shortest(number: f64) -> String {
    if !number.is_finite() {
        return special(number).to_owned();
    }
    let exponential = format!("{number:e}");
    let exponent: i32 = exponential
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .unwrap_or(0);
    if number != 0.0 && !(-4..21).contains(&exponent) {
        two_digits(&exponential)
    } else {
        format!("{number}")
    }
}

/// `%e` with so many digits behind the point.
pub(crate) fn exponential(number: f64, digits: usize) -> String {
    if number.is_finite() {
        two_digits(&format!("{number:.digits$e}"))
    } else {
        special(number).to_owned()
    }
}

/// `%f` with so many digits behind the point.
pub(crate) fn fixed(number: f64, digits: usize) -> String {
    if number.is_finite() {
        format!("{number:.digits$}")
    } else {
        special(number).to_owned()
    }
}

/// `%g` with at most so many digits.
pub(crate) fn general(number: f64, digits: usize) -> String {
    if !number.is_finite() {
        return special(number).to_owned();
    }
    let digits = digits.max(1);
    let text = format!("{number:.*e}", digits - 1);
    let exponent: i32 = text
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .unwrap_or(0);
    let places = i32::try_from(digits).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= places {
        let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
        return two_digits(&format!("{}e{power}", without_zeros(mantissa)));
    }
    let behind = usize::try_from(places - 1 - exponent).unwrap_or(0);
    without_zeros(&format!("{number:.behind$}")).to_owned()
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

fn special(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    }
}

/// `1e5` as `1e+05`.
fn two_digits(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A number as a template has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Literal {
    Int(i64),
    Float(f64),
}

/// Reads a number: decimal, `0x`, `0o`, `0b`, with `_` between digits, or with a fraction or exponent.
pub(crate) fn parse(text: &str) -> Option<Literal> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let plain = digits.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    let (radix, body) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) => {
            (8, &lower[1..])
        }
        _ => (10, lower.as_str()),
    };
    if body
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric())
        && let Ok(number) = i128::from_str_radix(body, radix)
    {
        let number = if negative { -number } else { number };
        return i64::try_from(number).ok().map(Literal::Int);
    }
    if radix != 10 || !lower.bytes().all(|b| b.is_ascii_digit() || b".e+-".contains(&b)) {
        return None;
    }
    let number: f64 = lower.parse().ok()?;
    Some(Literal::Float(if negative { -number } else { number }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (number, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(shortest(number), text);
        }
        assert_eq!(exponential(12345.678, 2), "1.23e+04");
        assert_eq!(general(0.5, 6), "0.5");
        assert_eq!(general(1_234_567.0, 3), "1.23e+06");
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, number) in [
            ("12", Some(Literal::Int(12))),
            ("-0x1F", Some(Literal::Int(-31))),
            ("010", Some(Literal::Int(8))),
            ("1_000", Some(Literal::Int(1000))),
            ("1e3", Some(Literal::Float(1000.0))),
            (".5", Some(Literal::Float(0.5))),
            ("1x", None),
            ("+", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(parse(text), number, "{text}");
        }
    }
}
