//! The few fields of METADATA and WHEEL that an installer needs.

use super::{InstallError, METADATA_LIMIT};
use crate::archive::Archive;

/// A distribution's name and version as METADATA writes them.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) version: String,
}

/// The first field of this name in a block of headers.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .take_while(|line| !line.trim().is_empty())
        .find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim_end().eq_ignore_ascii_case(name).then(|| value.trim())
        })
}

/// Reads METADATA; its long description need not be UTF-8.
pub(super) fn read_metadata(archive: &Archive, dist_info: &str) -> Result<Metadata, InstallError> {
    let entry = archive.find(&format!("{dist_info}/METADATA"));
    let entry = entry.ok_or(InstallError::MissingFile { file: "METADATA" })?;
    let content = archive.read(entry, METADATA_LIMIT)?;
    let text = String::from_utf8_lossy(&content);
    let need = |name: &str| {
        field(&text, name)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    let name = need("Name").ok_or(InstallError::MissingFile {
        file: "METADATA with a Name",
    })?;
    let version = need("Version").ok_or(InstallError::MissingFile {
        file: "METADATA with a Version",
    })?;
    // The name becomes a folder's, so it must be one that the packaging specification allows.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.bytes().all(allowed) || name.starts_with('.') {
        return Err(InstallError::Mismatch {
            what: "name",
            told: "a plain one".into(),
            found: name,
        });
    }
    Ok(Metadata { name, version })
}

/// Checks WHEEL: the format must be 1.x, and it must tell where the root goes.
pub(super) fn check_wheel(text: &str) -> Result<(), InstallError> {
    let version = field(text, "Wheel-Version").unwrap_or("none");
    if version.split('.').next() != Some("1") {
        return Err(InstallError::WheelVersion {
            found: version.to_owned(),
        });
    }
    // Both answers are one folder in a virtual environment, so only the presence of an answer matters.
    match field(text, "Root-Is-Purelib") {
        Some(value) if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") => Ok(()),
        other => Err(InstallError::WheelVersion {
            found: format!("{version}, Root-Is-Purelib {other:?}"),
        }),
    }
}
