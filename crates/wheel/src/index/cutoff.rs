//! `--exclude-newer`: a moment after which what was uploaded doesn't count.
//!
//! Dates, times and spans are read as uv reads them, but for one thing: a plain date is a day in UTC and not in the machine's
//! time zone, so that a project gets the same packages everywhere.

use std::fmt;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A moment after which what was uploaded doesn't count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cutoff {
    text: String,
    /// Microseconds since 1970.
    at: i64,
}

impl Cutoff {
    /// What can be given, for whoever gave something else.
    pub const HELP: &'static str = "give a date (2024-01-31), a time (2024-01-31T12:00:00Z) or a span in days or hours (`30 days`, PT12H)";

    /// Reads a date (`2024-01-31`, the whole day counts), a time (RFC 3339), or a span back from `now`, in seconds since 1970:
    /// `3 days`, `24h`, `P1W`, `PT12H`.
    ///
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &str, now: u64) -> Result<Cutoff, String> {
        let text = text.trim();
        let at = match (date(text), moment(text)) {
            (Some(day), _) => (day + 1) * DAY * 1_000_000,
            (None, Some(at)) => at,
            (None, None) => {
                let seconds = span(text)?;
                i64::try_from(now)
                    .unwrap_or(i64::MAX)
                    .saturating_sub(seconds)
                    .saturating_mul(1_000_000)
            }
        };
        Ok(Cutoff {
            text: text.to_owned(),
            at,
        })
    }

    /// The text as it was given: what a lock's inputs name, since a span's moment moves on.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a file of this upload time (RFC 3339) counts; one whose time isn't known doesn't, as uv has it.
    pub fn allows(&self, upload_time: Option<&str>) -> bool {
        upload_time.and_then(moment).is_some_and(|time| time < self.at)
    }
}

/// The moment in UTC (RFC 3339), to the second.
impl fmt::Display for Cutoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at.div_euclid(1_000_000);
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (rest / HOUR, rest % HOUR / MINUTE, rest % MINUTE);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

/// Days since 1970 of `YYYY-MM-DD`.
fn date(text: &str) -> Option<i64> {
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
        part.parse().ok()
    };
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let days = days_of(year, month, day);
    // A day that the month doesn't have would come out as another one.
    (civil(days) == (year, month, day)).then_some(days)
}

/// Microseconds since 1970 of an RFC 3339 time; a missing offset means UTC, as indices write it.
fn moment(text: &str) -> Option<i64> {
    let day = date(text.get(..10)?)?;
    let rest = text.get(10..)?.strip_prefix(['T', 't', ' '])?;
    let clock_end = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, offset) = rest.split_at(clock_end);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let numbers: Vec<i64> = clock.split(':').map(two_digits).collect::<Option<_>>()?;
    let (hour, minute, second) = match numbers[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 60 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let offset = match offset {
        "" | "Z" | "z" => 0,
        other => {
            let sign = if other.starts_with('-') { -1 } else { 1 };
            let digits: String = other[1..].chars().filter(|c| *c != ':').collect();
            let (hours, minutes) = (two_digits(digits.get(..2)?)?, digits.get(2..).unwrap_or_default());
            let minutes = if minutes.is_empty() {
                0
            } else {
                two_digits(minutes)?
            };
            sign * (hours * HOUR + minutes * MINUTE)
        }
    };
    let seconds = day * DAY + hour * HOUR + minute * MINUTE + second - offset;
    Some(seconds * 1_000_000 + micros)
}

fn two_digits(text: &str) -> Option<i64> {
    (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// Seconds of `3 days`, `1 week 2 hours`, `24h`, `P1DT2H`.
fn span(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no date, no time and no span");
    let lower = text.to_ascii_lowercase();
    // ISO 8601 has the same units by their first letters, and M before T would be months.
    let body = match lower.strip_prefix('p') {
        Some(iso) => {
            let (days, clock) = iso.split_once('t').unwrap_or((iso, ""));
            if days.contains('m') {
                return Err(calendar(text));
            }
            format!("{days} {clock}")
        }
        None => lower.trim_end_matches(" ago").to_owned(),
    };
    let (mut total, mut rest, mut parts) = (0i64, body.trim(), 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        let after = rest[digits..].trim_start();
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let unit = match &after[..letters] {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => MINUTE,
            "h" | "hr" | "hrs" | "hour" | "hours" => HOUR,
            "d" | "day" | "days" => DAY,
            "w" | "wk" | "wks" | "week" | "weeks" => 7 * DAY,
            "mo" | "mos" | "month" | "months" | "y" | "yr" | "yrs" | "year" | "years" => {
                return Err(calendar(text));
            }
            _ => return Err(wrong()),
        };
        total = number
            .checked_mul(unit)
            .and_then(|seconds| total.checked_add(seconds))
            .ok_or_else(wrong)?;
        rest = after[letters..].trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        parts += 1;
    }
    if parts == 0 {
        return Err(wrong());
    }
    Ok(total)
}

fn calendar(text: &str) -> String {
    format!("`{text}` counts in months or years, whose lengths differ")
}

/// Days since 1970 of a date of the Gregorian calendar.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last one.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-03-10T00:00:00Z.
    const NOW: u64 = 1_710_028_800;

    #[test]
    fn dates_times_and_spans() {
        for (text, expected) in [
            ("2024-03-01", "2024-03-02T00:00:00Z"),
            ("2024-02-28", "2024-02-29T00:00:00Z"),
            ("2023-12-31", "2024-01-01T00:00:00Z"),
            ("2024-03-02T00:00:00Z", "2024-03-02T00:00:00Z"),
            ("2024-03-02T00:00:00.75+02:00", "2024-03-01T22:00:00Z"),
            ("2024-03-02 10:30:00-0130", "2024-03-02T12:00:00Z"),
            ("3 days", "2024-03-07T00:00:00Z"),
            ("1 week, 2 hours ago", "2024-03-02T22:00:00Z"),
            ("24h", "2024-03-09T00:00:00Z"),
            ("P3D", "2024-03-07T00:00:00Z"),
            ("P1W", "2024-03-03T00:00:00Z"),
            ("P1DT90M", "2024-03-08T22:30:00Z"),
        ] {
            let cutoff = Cutoff::parse(text, NOW).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(cutoff.to_string(), expected, "{text}");
            assert_eq!(cutoff.text(), text);
        }
        for text in [
            "",
            "12:00",
            "2024-03",
            "2024-02-30",
            "1 month",
            "P1Y",
            "P2M",
            "three days",
            "5",
            "P",
            "-3 days",
            "99999999999999999999 days",
            "é",
        ] {
            assert!(Cutoff::parse(text, NOW).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_was_uploaded_before_counts() {
        let cutoff = Cutoff::parse("2024-03-01", NOW).expect("a date");
        assert!(cutoff.allows(Some("2024-03-01T23:59:59.999999Z")));
        assert!(!cutoff.allows(Some("2024-03-02T00:00:00Z")));
        assert!(cutoff.allows(Some("2024-03-02T01:00:00+02:00")));
        assert!(!cutoff.allows(None));
        assert!(!cutoff.allows(Some("yesterday")));
    }
}
