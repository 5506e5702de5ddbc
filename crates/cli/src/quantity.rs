//! Sizes and fractions as people write and read them, in Docker's way.

use crate::report::Failure;
use coil_engine::quantity::bytes;

/// A size for people: three digits, decimal units: `72.8MB`.
pub fn human_size(bytes: u64) -> String {
    decimal_size(bytes, 3)
}

/// The same with four digits, as Docker adds up what lies on the disk: `2.625GB`.
pub fn exact_size(bytes: u64) -> String {
    decimal_size(bytes, 4)
}

fn decimal_size(bytes: u64, digits: usize) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let whole = format!("{value:.0}").len();
    let decimals = if unit == 0 {
        0
    } else {
        digits.saturating_sub(whole)
    };
    let mut text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + UNITS[unit]
}

/// Bytes in binary units with four digits: `444KiB`, `23.54GiB`.
pub fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let whole = format!("{value:.0}").len();
    let decimals = if unit == 0 {
        0
    } else {
        4_usize.saturating_sub(whole)
    };
    let mut text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + UNITS[unit]
}

/// The value of `--memory`.
///
/// # Errors
/// When it is no size, or too little for any program.
pub fn memory_flag(text: &str) -> Result<u64, Failure> {
    const LEAST: u64 = 6 << 20;
    let help = "give a size such as 64m, 512m or 2g";
    match bytes(text) {
        None => Err(Failure::new(format!("invalid size: '{text}'"))
            .help(help)
            .code(125)),
        // None, as with Docker.
        Some(0) => Ok(0),
        Some(bytes) if bytes < LEAST => Err(Failure::new("Minimum memory limit allowed is 6MB")
            .help(help)
            .code(125)
            .of_daemon()),
        Some(bytes) => Ok(bytes),
    }
}

/// The value of `--cpus` in thousandths of a processor.
///
/// # Errors
/// When it is no number from 0.01 up.
pub fn cpus_flag(text: &str) -> Result<u64, Failure> {
    // A fraction too, as `1/2`.
    let (above, below) = text.split_once('/').unwrap_or((text, "1"));
    let help = "give a number from 0.01 up, such as --cpus 1.5";
    let number = match (above.parse::<f64>(), below.parse::<f64>()) {
        (Ok(above), Ok(below)) if (above / below).is_finite() => above / below,
        _ => {
            return Err(Failure::new(format!(
                "invalid argument \"{text}\" for \"--cpus\" flag: failed to parse {text} as a rational number"
            ))
            .help(help)
            .code(125));
        }
    };
    match number {
        // None, as with Docker.
        0.0 => Ok(0),
        0.01..1e6 => Ok((number * 1000.0).round() as u64),
        _ => Err(Failure::new("range of CPUs is from 0.01 to as many as there are")
            .help(help)
            .code(125)
            .of_daemon()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (72_800_000, "72.8MB"),
            (120_400_000, "120MB"),
            (1_020_000_000, "1.02GB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn exact_sizes_have_four_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (35_666, "35.67kB"),
            (95_500_000, "95.5MB"),
            (2_625_123_000, "2.625GB"),
            (130_500_000, "130.5MB"),
        ] {
            assert_eq!(exact_size(bytes), text);
        }
    }

    #[test]
    fn binary_sizes_have_four_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (444 << 10, "444KiB"),
            (1_500_000, "1.431MiB"),
            (25_276_000_000, "23.54GiB"),
        ] {
            assert_eq!(binary_size(bytes), text);
        }
    }

    #[test]
    fn memory_is_binary() {
        for (text, expected) in [
            ("64m", Some(64 << 20)),
            ("1.5G", Some(3 << 29)),
            ("10kb", Some(10 << 10)),
            ("7", Some(7)),
            ("m", None),
            ("1x", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
        assert!(memory_flag("1").is_err() && memory_flag("6m").is_ok());
    }

    #[test]
    fn processors_are_counted_in_thousandths() {
        assert_eq!(cpus_flag("0.5").ok(), Some(500));
        assert_eq!(cpus_flag("1/2").ok(), Some(500));
        assert_eq!(cpus_flag("0").ok(), Some(0));
        for text in ["0.001", "-1", "many", "nan", "inf", "1/0"] {
            assert!(cpus_flag(text).is_err(), "{text}");
        }
    }
}
