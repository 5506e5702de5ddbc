//! The newest version that the indices offer of a project, for what is wanted without a lock.

use std::str::FromStr;

use pep440_rs::Version;

use super::{IndexClient, IndexError, IndexFile, belongs};
use crate::filename::normalise;

/// The newest version of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// The version, as its files' names say it.
    pub version: String,
    /// Its files that weren't taken back.
    pub files: Vec<IndexFile>,
}

impl IndexClient<'_> {
    /// The newest version of a project, but no preview, and of files that were taken back or are too new for the user none.
    ///
    /// With `numbers` (`0.9`, `0.9.5`) the newest whose own begin with these.
    ///
    /// # Errors
    /// `NoVersion` where none fits, and whatever asking the indices gives.
    pub fn newest(&self, name: &str, numbers: Option<&str>) -> Result<Newest, IndexError> {
        let name = normalise(name);
        let cutoff = self.settings.cutoff(&name);
        let numbers = numbers.and_then(|text| Version::from_str(text).ok());
        let found = self.project(&name)?;
        let mut best: Option<(Version, Newest)> = None;
        for file in found.files {
            let Some(told) = belongs(&file.filename, &name) else {
                continue;
            };
            let Ok(version) = Version::from_str(&told.version) else {
                continue;
            };
            let begins = numbers
                .as_ref()
                .is_none_or(|numbers| version.release().starts_with(numbers.release()));
            let in_time = cutoff
                .as_ref()
                .is_none_or(|cutoff| cutoff.allows(file.upload_time.as_deref()));
            if !begins || !in_time || version.any_prerelease() || file.yanked.is_some() {
                continue;
            }
            match &mut best {
                Some((known, newest)) if *known == version => newest.files.push(file),
                Some((known, _)) if *known > version => {}
                _ => {
                    let newest = Newest {
                        version: told.version,
                        files: vec![file],
                    };
                    best = Some((version, newest));
                }
            }
        }
        let missing = || IndexError::NoVersion {
            name,
            version: numbers
                .as_ref()
                .map_or_else(|| "at all".to_owned(), ToString::to_string),
            index: found.index,
            last: None,
        };
        best.map(|(_, newest)| newest).ok_or_else(missing)
    }
}
