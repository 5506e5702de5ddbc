//! Which distribution a wheel is: its file name, its one `.dist-info` folder and its METADATA must agree.

use std::collections::BTreeSet;

use super::{InstallError, METADATA_LIMIT};
use crate::archive::Archive;
use crate::filename::{DistributionName, normalise, same_version};
use crate::metadata::Fields;

/// Finds a wheel's metadata folder and reads METADATA; both must be of the distribution that the file name tells.
pub(crate) fn identify(archive: &Archive, filename: &str) -> Result<(String, Fields), InstallError> {
    let told = DistributionName::wheel(filename).ok_or(InstallError::FileName)?;
    let dist_info = find_dist_info(archive, &told.name)?;
    let entry = archive.find(&format!("{dist_info}/METADATA"));
    let entry = entry.ok_or(InstallError::MissingFile { file: "METADATA" })?;
    let fields = Fields::parse(&archive.read(entry, METADATA_LIMIT)?);
    let need = |field, file| fields.first(field).ok_or(InstallError::MissingFile { file });
    let name = need("Name", "METADATA with a Name")?;
    let version = need("Version", "METADATA with a Version")?;
    let mismatch = |what, told: &str, found: &str| {
        Err(InstallError::Mismatch {
            what,
            told: told.to_owned(),
            found: found.to_owned(),
        })
    };
    // The name becomes a folder's, so it must be one that the packaging specification allows.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.bytes().all(allowed) || name.starts_with('.') {
        return mismatch("name", "a plain one", name);
    }
    if normalise(name) != told.name {
        return mismatch("name", &told.name, name);
    }
    // A builder that adds a local version to the file name alone is let through, as uv does.
    let public = told.version.split(['+', '_']).next().unwrap_or(&told.version);
    if !same_version(version, &told.version) && !same_version(version, public) {
        return mismatch("version", &told.version, version);
    }
    Ok((dist_info, fields))
}

/// The one top folder that holds the metadata of the project `name`.
fn find_dist_info(archive: &Archive, name: &str) -> Result<String, InstallError> {
    let mut found = BTreeSet::new();
    for entry in archive.entries() {
        let top = entry.name.split('/').next().unwrap_or_default();
        if top.ends_with(".dist-info") && (entry.is_dir || top.len() < entry.name.len()) {
            found.insert(top.to_owned());
        }
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(only), None) => {
            let stem = only.trim_end_matches(".dist-info");
            let of = stem.split_once('-').map_or(stem, |(name, _)| name);
            // A few older wheels have dashes in the name's part as well.
            match normalise(of) == name || normalise(stem).starts_with(&format!("{name}-")) {
                true => Ok(only),
                false => Err(InstallError::Mismatch {
                    what: "name",
                    told: name.to_owned(),
                    found: of.to_owned(),
                }),
            }
        }
        (None, _) => Err(InstallError::MissingFile { file: "*.dist-info" }),
        (Some(_), Some(_)) => Err(InstallError::TwoDistInfos),
    }
}

/// Checks WHEEL: the format must be 1.x.
///
/// Whether the root is purelib or platlib doesn't matter: both are one folder in a virtual environment.
pub(super) fn check_wheel(text: &str) -> Result<(), InstallError> {
    let fields = Fields::parse(text.as_bytes());
    let version = fields.first("Wheel-Version").unwrap_or("none");
    match version.split('.').next() {
        Some("1") => Ok(()),
        _ => Err(InstallError::WheelVersion {
            found: version.to_owned(),
        }),
    }
}
