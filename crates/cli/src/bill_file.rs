//! Files of bills of materials: what their names say, and how they are written.

use std::fs;
use std::path::{Path, PathBuf};

use coil_build::BillFormat;

use crate::report::Failure;

/// The file that stands for standard output.
pub const STDOUT: &str = "-";

/// The format that a file's name tells.
pub fn format_of(path: &Path) -> Option<BillFormat> {
    BillFormat::of_file_name(&path.file_name()?.to_string_lossy())
}

/// Writes a file whole or not at all.
///
/// # Errors
/// When the folder is not there or can't be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        Failure::new(format!("writing {} failed\n  caused by: {error}", path.display()))
            .help("give a file in a folder that is there and that you may write to")
    })
}

/// The file of one platform among several: `app.spdx.json` becomes `app.linux-arm64.spdx.json`.
pub fn of_platform(path: &Path, platform: &str) -> PathBuf {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let platform = platform.replace('/', "-");
    let lower = name.to_ascii_lowercase();
    let ending = [".spdx.json", ".cdx.json", ".json"]
        .into_iter()
        .find(|ending| lower.ends_with(ending) && lower.len() > ending.len());
    let at = name.len() - ending.map_or(0, str::len);
    path.with_file_name(format!("{}.{platform}{}", &name[..at], &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_format_and_hold_the_platform() {
        let path = Path::new("out/app.spdx.json");
        assert_eq!(format_of(path), Some(BillFormat::Spdx));
        assert_eq!(format_of(Path::new("a.CDX.json")), Some(BillFormat::CycloneDx));
        assert_eq!(format_of(Path::new("bom.json")), Some(BillFormat::CycloneDx));
        assert_eq!(format_of(Path::new("a.json")), None);
        assert_eq!(
            of_platform(path, "linux/arm64"),
            Path::new("out/app.linux-arm64.spdx.json")
        );
        assert_eq!(
            of_platform(Path::new("bill"), "linux/amd64"),
            Path::new("bill.linux-amd64")
        );
        assert_eq!(
            of_platform(Path::new("bom.json"), "linux/amd64"),
            Path::new("bom.linux-amd64.json")
        );
    }
}
