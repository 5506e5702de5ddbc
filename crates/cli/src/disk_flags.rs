//! Flags of single disks, as `run` and `create` take them.

use coil_engine::quantity::bytes;
use std::path::PathBuf;

use clap::Args;
use coil_engine::{DeviceLimit, DiskLimits};

use crate::report::Failure;

/// What a container may do with single disks.
#[derive(Debug, Args)]
pub struct DiskFlags {
    /// Its share of a disk: DEVICE:NUMBER, 10 to 1000
    #[arg(long, value_name = "DEVICE:NUMBER")]
    blkio_weight_device: Vec<String>,
    /// The most bytes in a second that it reads: DEVICE:SIZE
    #[arg(long, value_name = "DEVICE:SIZE")]
    device_read_bps: Vec<String>,
    /// The most bytes in a second that it writes: DEVICE:SIZE
    #[arg(long, value_name = "DEVICE:SIZE")]
    device_write_bps: Vec<String>,
    /// The most reads in a second: DEVICE:NUMBER
    #[arg(long, value_name = "DEVICE:NUMBER")]
    device_read_iops: Vec<String>,
    /// The most writes in a second: DEVICE:NUMBER
    #[arg(long, value_name = "DEVICE:NUMBER")]
    device_write_iops: Vec<String>,
}

impl DiskFlags {
    /// Writes them into what a container may do with disks.
    ///
    /// # Errors
    /// When a value can't be understood.
    pub fn limit(&self, limits: &mut DiskLimits) -> Result<(), Failure> {
        limits.weights = read("--blkio-weight-device", &self.blkio_weight_device, Kind::Weight)?;
        limits.read_bytes = read("--device-read-bps", &self.device_read_bps, Kind::Bytes)?;
        limits.write_bytes = read("--device-write-bps", &self.device_write_bps, Kind::Bytes)?;
        limits.read_operations = read("--device-read-iops", &self.device_read_iops, Kind::Operations)?;
        limits.write_operations = read("--device-write-iops", &self.device_write_iops, Kind::Operations)?;
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Weight,
    Bytes,
    Operations,
}

fn read(flag: &str, words: &[String], kind: Kind) -> Result<Vec<DeviceLimit>, Failure> {
    words.iter().map(|word| one(flag, word, kind)).collect()
}

fn one(flag: &str, word: &str, kind: Kind) -> Result<DeviceLimit, Failure> {
    let (unit, example) = match kind {
        Kind::Weight => ("<number>", "100"),
        Kind::Bytes => ("<number>[<unit>]", "1mb"),
        Kind::Operations => ("<number>", "1000"),
    };
    let wrong = |reason: String| {
        Failure::new(format!(
            "invalid argument \"{word}\" for \"{flag}\" flag: {reason}"
        ))
        .help(format!("give DEVICE:VALUE, such as {flag} /dev/sda:{example}"))
        .code(125)
    };
    let (device, value) = match word.rsplit_once(':') {
        Some((device, value)) if !device.is_empty() && !value.is_empty() => (device, value),
        _ => return Err(wrong(format!("bad format: {word}"))),
    };
    if !device.starts_with("/dev/") {
        return Err(wrong(format!("bad format for device path: {word}")));
    }
    let number = match kind {
        Kind::Bytes => bytes(value),
        Kind::Operations => value.parse().ok(),
        Kind::Weight => value
            .parse()
            .ok()
            .filter(|number| *number == 0 || (10..=1000).contains(number)),
    };
    let value = number.ok_or_else(|| match kind {
        Kind::Weight => wrong(format!("invalid weight for device: {word}")),
        _ => wrong(format!(
            "invalid rate for device: {word}. The correct format is <device-path>:{unit}. Number must be a positive integer"
        )),
    })?;
    Ok(DeviceLimit {
        device: PathBuf::from(device),
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_have_rates() {
        let value = |word: &str, kind| one("--flag", word, kind).ok().map(|limit| limit.value);
        assert_eq!(value("/dev/sda:1mb", Kind::Bytes), Some(1 << 20));
        assert_eq!(value("/dev/disk/by-path/a:b:5", Kind::Operations), Some(5));
        assert_eq!(value("/dev/sda:100", Kind::Weight), Some(100));
        for (word, kind) in [
            ("foo", Kind::Bytes),
            ("/dev/sda", Kind::Bytes),
            ("/dev/sda:", Kind::Bytes),
            ("sda:1", Kind::Bytes),
            ("/dev/sda:x", Kind::Operations),
            ("/dev/sda:1m", Kind::Operations),
            ("/dev/sda:5", Kind::Weight),
        ] {
            assert_eq!(value(word, kind), None, "{word}");
        }
    }
}
