//! What a wheel puts where (the "Binary distribution format" specification), worked out before anything is written.
//!
//! The tree is the one that uv makes of the same wheel. Where the specification leaves a choice, or is silent, its answer
//! was found by installing wheels made for the question: docs/design/wheels.md lists them.

mod error;
mod identity;
mod placing;

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::{Archive, ArchiveEntry};
use crate::environment::Environment;
use crate::record::{self, RecordHash, RecordLine};

pub use error::InstallError;
pub(crate) use identity::identify;
pub(crate) use placing::destination;

/// The most that is read of a metadata file, in bytes.
const METADATA_LIMIT: u64 = 64 << 20;
/// Source files above this size get no bytecode, in bytes.
const SOURCE_LIMIT: u64 = 32 << 20;

/// A wheel's installed tree.
#[derive(Debug)]
pub struct InstallPlan {
    /// The distribution's name as its metadata writes it.
    pub name: String,
    /// Its version as its metadata writes it.
    pub version: String,
    /// Its files by their path in the image, without a leading slash; RECORD is not among them.
    pub files: BTreeMap<String, PlannedFile>,
    /// Folders that the wheel names as such, empty ones too, by their path in the image.
    pub folders: BTreeSet<String>,
    /// Python sources that bytecode is made from: path in the image, index of the archive's entry.
    pub sources: BTreeMap<String, usize>,
    /// Where RECORD goes.
    pub record_path: String,
    /// RECORD's mode, which is that of the wheel's own.
    pub record_mode: u32,
    /// What is odd about the wheel and does no harm, one sentence each.
    pub remarks: Vec<String>,
    /// RECORD's lines but for bytecode and RECORD itself, by the path as RECORD writes it.
    lines: BTreeMap<String, RecordLine>,
    environment: Environment,
}

/// One file to be installed.
#[derive(Debug, Clone)]
pub struct PlannedFile {
    /// 0o644 or 0o755.
    pub mode: u32,
    /// Where its bytes come from.
    pub source: FileSource,
    /// The hash and the size it has.
    pub line: RecordLine,
}

/// Where an installed file's bytes come from.
#[derive(Debug, Clone)]
pub enum FileSource {
    /// The archive's entry of this index, unchanged.
    Entry(usize),
    /// Made here.
    Bytes(Vec<u8>),
}

impl PlannedFile {
    fn made(content: Vec<u8>, mode: u32) -> PlannedFile {
        let line = RecordLine {
            hash: Some(RecordHash::of(&content)),
            size: Some(content.len() as u64),
        };
        PlannedFile {
            mode,
            source: FileSource::Bytes(content),
            line,
        }
    }
}

/// Works out what the wheel named `filename` installs into `environment`.
///
/// RECORD must list every file with its hash. Hashes are not computed here; whoever writes the files compares them with
/// [`PlannedFile::line`]. A line for a file that isn't there is left out and remarked on.
/// `direct_url` is the text of direct_url.json, for a wheel that was asked for by its address (PEP 610).
pub fn plan(
    archive: &Archive,
    filename: &str,
    environment: &Environment,
    direct_url: Option<&str>,
) -> Result<InstallPlan, InstallError> {
    let (dist_info, metadata) = identify(archive, filename)?;
    let text = |name: &'static str| read_text(archive, &dist_info, name);
    let need = |name: &'static str| text(name)?.ok_or(InstallError::MissingFile { file: name });
    identity::check_wheel(&need("WHEEL")?)?;
    let lines = record::parse(&need("RECORD")?)?;
    let entry_points = text("entry_points.txt")?;
    let mut plan = InstallPlan {
        name: metadata.first("Name").unwrap_or_default().to_owned(),
        version: metadata.first("Version").unwrap_or_default().to_owned(),
        files: BTreeMap::new(),
        folders: BTreeSet::new(),
        sources: BTreeMap::new(),
        record_path: format!("{}/{dist_info}/RECORD", environment.site_packages()),
        record_mode: archive
            .find(&format!("{dist_info}/RECORD"))
            .map_or(0o644, ArchiveEntry::mode),
        remarks: check_record(archive, &lines, &dist_info)?,
        lines: BTreeMap::new(),
        environment: environment.clone(),
    };
    placing::place(
        &mut plan,
        archive,
        &dist_info,
        &lines,
        entry_points.as_deref(),
        direct_url,
    )?;
    Ok(plan)
}

fn read_text(archive: &Archive, dist_info: &str, name: &str) -> Result<Option<String>, InstallError> {
    let Some(entry) = archive.find(&format!("{dist_info}/{name}")) else {
        return Ok(None);
    };
    let content = archive.read(entry, METADATA_LIMIT)?;
    String::from_utf8(content)
        .map(Some)
        .map_err(|_| InstallError::NotText {
            file: entry.name.clone(),
        })
}

impl InstallPlan {
    /// The RECORD of the installed tree; `bytecode` are the paths in the image of the bytecode files that were made.
    ///
    /// Bytecode is listed without hash and size, as other installers do.
    pub fn record(&self, bytecode: &BTreeSet<String>) -> Vec<u8> {
        let mut lines = self.lines.clone();
        for path in bytecode.iter().chain([&self.record_path]) {
            let blank = RecordLine {
                hash: None,
                size: None,
            };
            lines.insert(self.environment.record_name(path), blank);
        }
        record::write(&lines)
    }
}

/// Whether an entry is one of those that RECORD needn't list: itself and its signatures.
fn is_unlisted(entry: &ArchiveEntry, dist_info: &str) -> bool {
    entry
        .name
        .strip_prefix(dist_info)
        .is_some_and(|rest| matches!(rest, "/RECORD" | "/RECORD.jws" | "/RECORD.p7s"))
}

/// Holds RECORD against the archive; gives remarks on lines of files that aren't there.
fn check_record(
    archive: &Archive,
    lines: &BTreeMap<String, RecordLine>,
    dist_info: &str,
) -> Result<Vec<String>, InstallError> {
    let mut present = BTreeSet::new();
    for entry in archive.entries().iter().filter(|entry| !entry.is_dir) {
        present.insert(entry.name.as_str());
        if is_unlisted(entry, dist_info) {
            continue;
        }
        let fail = |what| InstallError::Record {
            file: entry.name.clone(),
            what,
        };
        let line = lines
            .get(&entry.name)
            .ok_or_else(|| fail("is not listed in RECORD"))?;
        if line.hash.is_none() {
            return Err(fail("has no hash in RECORD"));
        }
        if line.size.is_some_and(|size| size != entry.size) {
            return Err(fail("has another size than RECORD tells"));
        }
    }
    let own = format!("{dist_info}/RECORD");
    let lost: Vec<&String> = lines
        .keys()
        .filter(|name| !present.contains(name.as_str()) && !name.starts_with(&own))
        .collect();
    Ok(match lost[..] {
        [] => Vec::new(),
        [name] => vec![format!("its RECORD lists {name:?}, which is not in the wheel")],
        [name, ..] => vec![format!(
            "its RECORD lists {} files that are not in the wheel, {name:?} among them",
            lost.len()
        )],
    })
}
