//! A suite's signed table of contents, the InRelease file.

use coil_oci::Digest;

use crate::control::paragraphs;

/// What a verified InRelease file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `Date`, in seconds since 1970.
    pub date: u64,
    /// `Valid-Until`, in seconds since 1970; absent for stable suites.
    pub valid_until: Option<u64>,
    /// Whether indices can be asked for by their digest.
    pub by_hash: bool,
    /// The codename.
    pub codename: String,
    text: String,
}

/// One file that the table lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its digest.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl Release {
    /// Reads the text that was signed; `None` where a needed field is missing.
    pub fn parse(text: &str) -> Option<Release> {
        let paragraph = paragraphs(text).next()?;
        let valid_until = match paragraph.get("Valid-Until") {
            Some(date) => Some(parse_date(date)?),
            None => None,
        };
        Some(Release {
            date: parse_date(paragraph.get("Date")?)?,
            valid_until,
            by_hash: paragraph.get("Acquire-By-Hash") == Some("yes"),
            codename: paragraph.get("Codename").or(paragraph.get("Suite"))?.to_string(),
            text: paragraph.get("SHA256")?.to_string(),
        })
    }

    /// The digest and the size of a file, by its path below the suite.
    pub fn find(&self, path: &str) -> Option<Listed> {
        self.text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let (digest, size, name) = (words.next()?, words.next()?, words.next()?);
            if name != path {
                return None;
            }
            Some(Listed {
                sha256: Digest::from_hex(digest).ok()?,
                size: size.parse().ok()?,
            })
        })
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Reads `Sat, 11 Jul 2026 10:16:37 UTC` as seconds since 1970.
pub fn parse_date(text: &str) -> Option<u64> {
    let rest = text.split_once(',').map_or(text, |(_, rest)| rest);
    let mut words = rest.split_whitespace();
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !matches!(words.next(), None | Some("UTC" | "GMT" | "+0000" | "Z"))
        || !(1..=31).contains(&day)
        || year < 1970
    {
        return None;
    }
    Some(days_since_1970(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970, counted in a calendar whose years begin in March, so that the leap day is the last.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400;
    (days + (153 * month + 2) / 5 + day.checked_sub(1)?).checked_sub(719_468)
}

/// Reads what [`compact_date`] writes.
pub fn parse_compact_date(text: &str) -> Option<u64> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let days = days_since_1970(
        part(0, 4)?,
        part(4, 6).filter(|month| (1..=12).contains(month))?,
        part(6, 8)?,
    )?;
    Some(days * 86_400 + part(9, 11)? * 3600 + part(11, 13)? * 60 + part(13, 15)?)
}

/// Writes seconds since 1970 as `20260711T101637Z`.
pub fn compact_date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..=9 => (era * 400 + year_of_era, month + 3),
        _ => (era * 400 + year_of_era + 1, month - 9),
    };
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_there_and_back() {
        for (text, seconds, compact) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0, "19700101T000000Z"),
            ("Sat, 11 Jul 2026 10:16:37 UTC", 1_783_764_997, "20260711T101637Z"),
            ("Thu, 29 Feb 2024 23:59:59 UTC", 1_709_251_199, "20240229T235959Z"),
            ("Fri, 1 Mar 2024 0:00:00 +0000", 1_709_251_200, "20240301T000000Z"),
        ] {
            assert_eq!(parse_date(text), Some(seconds), "{text}");
            assert_eq!(compact_date(seconds), compact);
            assert_eq!(parse_compact_date(compact), Some(seconds));
        }
        for bad in [
            "",
            "Sat, 11 Foo 2026 10:16:37 UTC",
            "Sat, 11 Jul 2026 10:16:37 PST",
            "x",
        ] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn files_by_path() {
        let hex = "ab".repeat(32);
        let text = format!(
            "Codename: sid\nDate: Thu, 01 Jan 1970 00:00:09 UTC\nAcquire-By-Hash: yes\nMD5Sum:\n 00 5 main/x\nSHA256:\n {hex} 7 main/x\n"
        );
        let release = Release::parse(&text).unwrap();
        assert_eq!(
            (release.date, release.by_hash, release.codename.as_str()),
            (9, true, "sid")
        );
        assert_eq!(release.find("main/x").unwrap().size, 7);
        assert_eq!(release.find("x"), None);
    }
}
