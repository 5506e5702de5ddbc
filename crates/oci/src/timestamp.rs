//! Times as the image specification and Docker write them: RFC 3339, in UTC.

use std::time::Duration;

/// Seconds since 1970 to the second: `1970-01-01T00:00:00Z`.
pub fn seconds(since_1970: u64) -> String {
    format!("{}Z", clock_text(since_1970))
}

/// A time with nine decimals: `1970-01-01T00:00:00.000000007Z`.
pub fn nanoseconds(since_1970: Duration) -> String {
    format!(
        "{}.{:09}Z",
        clock_text(since_1970.as_secs()),
        since_1970.subsec_nanos()
    )
}

/// Reads a time in UTC with any number of decimals; none when it is no such time.
pub fn parse(text: &str) -> Option<Duration> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, decimals) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    let nanos: u32 = format!("{decimals:0<9.9}").parse().ok()?;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = days_of(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Duration::new(seconds, nanos))
}

fn clock_text(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// The year, month and day so many days after 1970-01-01; years are counted from March, so that a leap day is the
/// last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn days_of(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year % 400;
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    year / 400 * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_there_and_back() {
        for (since, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_200, "2024-03-01T00:00:00"),
            (4_102_444_799, "2099-12-31T23:59:59"),
        ] {
            assert_eq!(seconds(since), format!("{text}Z"));
            assert_eq!(nanoseconds(Duration::new(since, 7)), format!("{text}.000000007Z"));
            assert_eq!(
                parse(&format!("{text}.000000007Z")),
                Some(Duration::new(since, 7))
            );
            assert_eq!(parse(&format!("{text}Z")), Some(Duration::from_secs(since)));
        }
        for text in [
            "yesterday",
            "1969-01-01T00:00:00Z",
            "2000-13-01T00:00:00Z",
            "2000-01-01T00:00:00",
        ] {
            assert_eq!(parse(text), None);
        }
    }
}
