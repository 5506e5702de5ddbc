//! Spans and points of time as Docker's flags take them.

use std::time::Duration;

use crate::report::Failure;

/// Reads a span such as `1m30s`, `500ms` or `1.5h`, as Go writes them; `0` alone needs no unit.
pub fn span(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(behind.len());
        let (unit, next) = behind.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = next;
    }
    let known = !text.is_empty() && (0.0..1e10).contains(&total);
    known.then(|| Duration::from_secs_f64(total))
}

/// The value of a flag that takes a span.
///
/// # Errors
/// When it is none.
pub fn span_flag(name: &str, text: &str) -> Result<Duration, Failure> {
    span(text).ok_or_else(|| {
        let plain = |c: char| c.is_ascii_digit() || c == '.';
        let why = match text {
            _ if text.strip_prefix('-').and_then(span).is_some() => {
                return Failure::new(format!("{name} cannot be negative"))
                    .help("give a time such as 30s, 1m30s or 500ms")
                    .code(125);
            }
            _ if !text.is_empty() && text.chars().all(plain) => "missing unit in",
            _ => "invalid",
        };
        Failure::new(format!(
            "invalid argument \"{text}\" for \"{name}\" flag: time: {why} duration \"{text}\""
        ))
        .help("give a time such as 30s, 1m30s or 500ms")
        .code(125)
    })
}

/// Reads a point in time since 1970: a span back from now, seconds since 1970 with any number of decimals, or a date
/// with a time of the day as far as it is given, in UTC where no zone is.
pub fn point(text: &str, now: Duration) -> Option<Duration> {
    if let Some(back) = span(text).filter(|_| text != "0") {
        return Some(now.saturating_sub(back));
    }
    // Forward from now.
    if let Some(ahead) = text.strip_prefix('-').and_then(span) {
        return Some(now.saturating_add(ahead));
    }
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    if !text.is_empty() && text.chars().all(plain) {
        let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
        let nanos = format!("{decimals:0<9.9}").parse().ok()?;
        return Some(Duration::new(seconds.parse().ok()?, nanos));
    }
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text.trim_end_matches('Z'), ""),
    };
    let (clock, offset) = match time.find(['Z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => (time, "Z"),
    };
    let whole = match clock.split(':').count() {
        _ if clock.is_empty() => "00:00:00".to_owned(),
        1 => format!("{clock}:00:00"),
        2 => format!("{clock}:00"),
        _ => clock.to_owned(),
    };
    let local = coil_oci::timestamp::parse(&format!("{date}T{whole}Z"))?;
    let minutes = |text: &str| -> Option<u64> {
        let (hours, minutes) = text.split_once(':').unwrap_or((text, "0"));
        Some(hours.parse::<u64>().ok()? * 60 + minutes.parse::<u64>().ok()?)
    };
    match offset.split_at(1) {
        ("Z", "") => Some(local),
        ("+", ahead) => Some(local.saturating_sub(Duration::from_secs(minutes(ahead)? * 60))),
        ("-", behind) => Some(local + Duration::from_secs(minutes(behind)? * 60)),
        _ => None,
    }
}

/// The value of `--since` or `--until`.
///
/// # Errors
/// When it is no time.
pub fn point_flag(name: &str, text: &str) -> Result<Duration, Failure> {
    point(text, coil_engine::clock::now()).ok_or_else(|| {
        Failure::new(format!(
            "invalid value for \"{name}\": failed to parse value as time or duration: \"{text}\""
        ))
        .help("give a time such as 10m, 2026-01-31T08:00:00Z, or seconds since 1970")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_gos() {
        for (text, millis) in [
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1.5h", Some(5_400_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("10", None),
            ("s", None),
            ("", None),
            ("1x", None),
            ("-1s", None),
        ] {
            assert_eq!(span(text), millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn points_have_many_spellings() {
        let now = Duration::from_secs(10_000);
        for (text, seconds) in [
            ("10m", Some(9_400)),
            ("1.5", Some(1)),
            ("1970-01-02", Some(86_400)),
            ("1970-01-01T01:00:00Z", Some(3_600)),
            ("1970-01-01T01:00", Some(3_600)),
            ("1970-01-01T01:00:00.5+01:00", Some(0)),
            ("1970-01-01T00:00:00-01:00", Some(3_600)),
            ("1970-01-01T01", Some(3_600)),
            ("bogus", None),
            ("", None),
        ] {
            assert_eq!(point(text, now).map(|time| time.as_secs()), seconds, "{text}");
        }
        assert_eq!(point("1.5", now), Some(Duration::from_millis(1500)));
    }
}
