//! What a container may do with disks: its share of them, and the most bytes and operations in a second.

use crate::cgroup::CgroupError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Limits of disks; what is empty is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskLimits {
    /// The share of every disk, 10 to 1000; 0 for the usual one.
    pub weight: u16,
    /// The share of single disks.
    pub weights: Vec<DeviceLimit>,
    /// Most bytes read in a second.
    pub read_bytes: Vec<DeviceLimit>,
    /// Most bytes written in a second.
    pub write_bytes: Vec<DeviceLimit>,
    /// Most reads in a second.
    pub read_operations: Vec<DeviceLimit>,
    /// Most writes in a second.
    pub write_operations: Vec<DeviceLimit>,
}

/// A limit of one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLimit {
    /// The disk's node on the host.
    pub device: PathBuf,
    /// The number.
    pub value: u64,
}

/// `MAJOR:MINOR` of the disk behind a node.
fn number(device: &Path) -> Result<String, CgroupError> {
    let failed = |error| CgroupError {
        path: device.to_owned(),
        value: None,
        error,
    };
    let data = std::fs::metadata(device).map_err(failed)?;
    if !data.file_type().is_block_device() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is not a disk's node");
        return Err(failed(error));
    }
    let device = data.rdev();
    Ok(format!("{}:{}", libc::major(device), libc::minor(device)))
}

impl DiskLimits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The most of single disks, in the kernel's words of version 1 and of version 2.
    fn throttles(&self) -> [(&'static str, &'static str, &[DeviceLimit]); 4] {
        [
            ("read_bps_device", "rbps", &self.read_bytes),
            ("write_bps_device", "wbps", &self.write_bytes),
            ("read_iops_device", "riops", &self.read_operations),
            ("write_iops_device", "wiops", &self.write_operations),
        ]
    }

    /// Every node that is named.
    pub fn devices(&self) -> impl Iterator<Item = &Path> {
        let throttles = self.throttles().map(|(_, _, limits)| limits);
        let lists = throttles.into_iter().chain([self.weights.as_slice()]);
        lists.flatten().map(|limit| limit.device.as_path())
    }

    /// The files of a version 1 group, each with a line that is written to it.
    pub(crate) fn version1(&self, group: &Path) -> Result<Vec<(PathBuf, String)>, CgroupError> {
        let mut lines = Vec::new();
        for (name, _, limits) in self.throttles() {
            for limit in limits {
                let line = format!("{} {}", number(&limit.device)?, limit.value);
                lines.push((group.join(format!("blkio.throttle.{name}")), line));
            }
        }
        let all = ["blkio.weight", "blkio.bfq.weight"];
        if let Some(file) = Self::weight_file(group, &all).filter(|_| self.weight > 0) {
            lines.push((file, self.weight.to_string()));
        }
        let each = ["blkio.weight_device", "blkio.bfq.weight_device"];
        if let Some(file) = Self::weight_file(group, &each) {
            for limit in &self.weights {
                lines.push((
                    file.clone(),
                    format!("{} {}", number(&limit.device)?, limit.value),
                ));
            }
        }
        Ok(lines)
    }

    /// The files of a version 2 group, each with a line that is written to it.
    pub(crate) fn version2(&self, group: &Path) -> Result<Vec<(PathBuf, String)>, CgroupError> {
        let mut most: BTreeMap<String, String> = BTreeMap::new();
        for (_, name, limits) in self.throttles() {
            for limit in limits {
                let value = match limit.value {
                    0 => "max".to_owned(),
                    value => value.to_string(),
                };
                let line = most.entry(number(&limit.device)?).or_default();
                *line = format!("{line} {name}={value}");
            }
        }
        let mut lines: Vec<(PathBuf, String)> = most
            .into_iter()
            .map(|(device, line)| (group.join("io.max"), format!("{device}{line}")))
            .collect();
        if let Some(file) = Self::weight_file(group, &["io.weight", "io.bfq.weight"]) {
            // The one goes to 10000, the other's numbers are those of version 1.
            let scaled = |weight: u64| match file.ends_with("io.weight") {
                true => 1 + weight.saturating_sub(10) * 9999 / 990,
                false => weight,
            };
            if self.weight > 0 {
                lines.push((
                    file.clone(),
                    format!("default {}", scaled(u64::from(self.weight))),
                ));
            }
            for limit in &self.weights {
                let line = format!("{} {}", number(&limit.device)?, scaled(limit.value));
                lines.push((file.clone(), line));
            }
        }
        Ok(lines)
    }

    fn weight_file(group: &Path, names: &[&str]) -> Option<PathBuf> {
        names
            .iter()
            .map(|name| group.join(name))
            .find(|file| file.exists())
    }

    /// Whether shares are asked for that a group which exists can't be given: the disks' scheduler knows none.
    pub(crate) fn lacks_weight(&self, group: &Path) -> bool {
        let names = ["blkio.weight", "blkio.bfq.weight", "io.weight", "io.bfq.weight"];
        let asked = self.weight > 0 || !self.weights.is_empty();
        asked && group.is_dir() && Self::weight_file(group, &names).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_lines_of_both_versions() {
        let disk = std::fs::read_dir("/dev")
            .expect("/dev")
            .flatten()
            .map(|entry| entry.path())
            .find(|path| number(path).is_ok());
        // A machine without a disk's node has nothing to limit.
        let Some(disk) = disk else { return };
        let limit = |value| {
            vec![DeviceLimit {
                device: disk.clone(),
                value,
            }]
        };
        let limits = DiskLimits {
            read_bytes: limit(1024),
            write_operations: limit(0),
            ..DiskLimits::default()
        };
        let number = number(&disk).expect("its number");
        let group = Path::new("/nowhere");
        assert_eq!(
            limits.version1(group).expect("lines"),
            [
                (
                    group.join("blkio.throttle.read_bps_device"),
                    format!("{number} 1024")
                ),
                (
                    group.join("blkio.throttle.write_iops_device"),
                    format!("{number} 0")
                ),
            ]
        );
        assert_eq!(
            limits.version2(group).expect("lines"),
            [(group.join("io.max"), format!("{number} rbps=1024 wiops=max"))]
        );
        assert_eq!(limits.devices().count(), 2);
        let wrong = DiskLimits {
            read_bytes: vec![DeviceLimit {
                device: "/dev/null".into(),
                value: 1,
            }],
            ..DiskLimits::default()
        };
        assert!(wrong.version2(group).is_err(), "no disk");
    }
}
