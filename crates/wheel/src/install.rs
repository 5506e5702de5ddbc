//! What a wheel puts where (the "Binary distribution format" specification), worked out before anything is written.

mod error;
mod metadata;

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::{Archive, ArchiveEntry};
use crate::entry_points;
use crate::environment::Environment;
use crate::filename::{DistributionName, normalise, same_version};
use crate::record::{self, RecordHash, RecordLine};

pub use error::InstallError;

/// The most that is read of a metadata file, in bytes.
const METADATA_LIMIT: u64 = 64 << 20;
/// The longest script whose first line is rewritten, in bytes.
const SCRIPT_LIMIT: u64 = 32 << 20;
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
    /// Python sources that bytecode is made from: path in the image, index of the archive's entry.
    pub sources: BTreeMap<String, usize>,
    /// Where RECORD goes.
    pub record_path: String,
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
/// RECORD must list every file with its hash and size and none that is missing. Hashes are not computed here; whoever
/// writes the files compares them with [`PlannedFile::line`].
/// `direct_url` is the text of direct_url.json, for a wheel that was asked for by its address (PEP 610).
pub fn plan(
    archive: &Archive,
    filename: &str,
    environment: &Environment,
    direct_url: Option<&str>,
) -> Result<InstallPlan, InstallError> {
    let told = DistributionName::wheel(filename).ok_or(InstallError::FileName)?;
    let dist_info = find_dist_info(archive, &told.name)?;
    let text = |name: &str| -> Result<Option<String>, InstallError> {
        let Some(entry) = archive.find(&format!("{dist_info}/{name}")) else {
            return Ok(None);
        };
        let content = archive.read(entry, METADATA_LIMIT)?;
        String::from_utf8(content)
            .map(Some)
            .map_err(|_| InstallError::NotText {
                file: entry.name.clone(),
            })
    };
    let need = |name: &'static str| text(name)?.ok_or(InstallError::MissingFile { file: name });
    metadata::check_wheel(&need("WHEEL")?)?;
    let metadata = metadata::read_metadata(archive, &dist_info)?;
    if normalise(&metadata.name) != told.name {
        return Err(InstallError::Mismatch {
            what: "name",
            told: told.name,
            found: metadata.name,
        });
    }
    if !same_version(&metadata.version, &told.version) {
        return Err(InstallError::Mismatch {
            what: "version",
            told: told.version,
            found: metadata.version,
        });
    }
    let lines = record::parse(&need("RECORD")?)?;
    check_record(archive, &lines, &dist_info)?;
    let mut builder = Builder {
        archive,
        environment,
        dist_info: &dist_info,
        data: format!("{}.data", dist_info.trim_end_matches(".dist-info")),
        site: environment.site_packages(),
        name: &metadata.name,
        lines: &lines,
        files: BTreeMap::new(),
        sources: BTreeMap::new(),
    };
    for (index, entry) in archive.entries().iter().enumerate() {
        if !entry.is_dir {
            builder.place(index, entry)?;
        }
    }
    if let Some(text) = text("entry_points.txt")? {
        builder.scripts(&text)?;
    }
    let site = builder.site.clone();
    let made = |name: &str| format!("{site}/{dist_info}/{name}");
    builder
        .files
        .insert(made("INSTALLER"), PlannedFile::made(b"coil\n".to_vec(), 0o644));
    if let Some(direct_url) = direct_url {
        let file = PlannedFile::made(direct_url.as_bytes().to_vec(), 0o644);
        builder.files.insert(made("direct_url.json"), file);
    }
    Ok(InstallPlan {
        name: metadata.name.clone(),
        version: metadata.version.clone(),
        record_path: made("RECORD"),
        sources: builder.sources,
        files: builder.files,
        environment: environment.clone(),
    })
}

impl InstallPlan {
    /// The RECORD of the installed tree; `bytecode` are the paths in the image of the bytecode files that were made.
    ///
    /// Bytecode is listed without hash and size, as other installers do.
    pub fn record(&self, bytecode: &BTreeSet<String>) -> Vec<u8> {
        let site = self.environment.site_packages();
        let mut lines: BTreeMap<String, RecordLine> = BTreeMap::new();
        for (path, file) in &self.files {
            lines.insert(relative(path, &site, &self.environment.prefix), file.line.clone());
        }
        for path in bytecode.iter().chain([&self.record_path]) {
            lines.insert(
                relative(path, &site, &self.environment.prefix),
                RecordLine {
                    hash: None,
                    size: None,
                },
            );
        }
        record::write(&lines)
    }
}

/// A path as RECORD writes it: relative to the folder of packages.
fn relative(path: &str, site: &str, prefix: &str) -> String {
    match path.strip_prefix(site).and_then(|rest| rest.strip_prefix('/')) {
        Some(below) => below.to_owned(),
        None => {
            let below = path
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('/'))
                .unwrap_or(path);
            format!("../../../{below}")
        }
    }
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

/// RECORD and the archive must tell of the same files.
fn check_record(
    archive: &Archive,
    lines: &BTreeMap<String, RecordLine>,
    dist_info: &str,
) -> Result<(), InstallError> {
    let unlisted = [
        format!("{dist_info}/RECORD"),
        format!("{dist_info}/RECORD.jws"),
        format!("{dist_info}/RECORD.p7s"),
    ];
    let mut present = BTreeSet::new();
    for entry in archive.entries().iter().filter(|entry| !entry.is_dir) {
        present.insert(entry.name.as_str());
        if unlisted.contains(&entry.name) {
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
    match lines
        .keys()
        .find(|name| !present.contains(name.as_str()) && !unlisted.contains(name))
    {
        Some(name) => Err(InstallError::Record {
            file: name.clone(),
            what: "is listed in RECORD but missing",
        }),
        None => Ok(()),
    }
}

struct Builder<'a> {
    archive: &'a Archive,
    environment: &'a Environment,
    dist_info: &'a str,
    data: String,
    site: String,
    name: &'a str,
    lines: &'a BTreeMap<String, RecordLine>,
    files: BTreeMap<String, PlannedFile>,
    sources: BTreeMap<String, usize>,
}

impl Builder<'_> {
    /// Puts one entry of the archive where it belongs.
    fn place(&mut self, index: usize, entry: &ArchiveEntry) -> Result<(), InstallError> {
        let in_dist_info = entry
            .name
            .strip_prefix(self.dist_info)
            .and_then(|rest| rest.strip_prefix('/'));
        if matches!(in_dist_info, Some("RECORD" | "INSTALLER")) {
            return Ok(());
        }
        let in_data = entry
            .name
            .strip_prefix(&self.data)
            .and_then(|rest| rest.strip_prefix('/'));
        let Some((scheme, rest)) = in_data.map(|rest| rest.split_once('/').unwrap_or((rest, ""))) else {
            let path = format!("{}/{}", self.site, entry.name);
            return self.library(path, index, entry);
        };
        if rest.is_empty() {
            return Err(InstallError::DataFolder {
                file: entry.name.clone(),
            });
        }
        match scheme {
            "purelib" | "platlib" => self.library(format!("{}/{rest}", self.site), index, entry),
            "scripts" => self.script(rest, index, entry),
            "headers" => {
                let path = format!("{}/{rest}", self.environment.headers(self.name));
                self.insert(path, self.entry_file(index, entry, None), entry)
            }
            "data" => {
                // lib64 is a link to lib in the environment, so both are one place.
                let below = match rest.strip_prefix("lib64/") {
                    Some(rest) => format!("lib/{rest}"),
                    None => rest.to_owned(),
                };
                if self.environment.is_reserved(&below) {
                    return Err(InstallError::Reserved {
                        file: entry.name.clone(),
                    });
                }
                let path = format!("{}/{below}", self.environment.prefix);
                self.insert(path, self.entry_file(index, entry, None), entry)
            }
            _ => Err(InstallError::DataFolder {
                file: entry.name.clone(),
            }),
        }
    }

    fn entry_file(&self, index: usize, entry: &ArchiveEntry, mode: Option<u32>) -> PlannedFile {
        let mode = mode.unwrap_or(if entry.executable { 0o755 } else { 0o644 });
        let hash = self.lines.get(&entry.name).and_then(|line| line.hash.clone());
        PlannedFile {
            mode,
            source: FileSource::Entry(index),
            line: RecordLine {
                hash,
                size: Some(entry.size),
            },
        }
    }

    fn library(&mut self, path: String, index: usize, entry: &ArchiveEntry) -> Result<(), InstallError> {
        if path.ends_with(".py") && entry.size <= SOURCE_LIMIT {
            self.sources.insert(path.clone(), index);
        }
        self.insert(path, self.entry_file(index, entry, None), entry)
    }

    /// Installs a file of the scripts folder, with the interpreter's path in place of `#!python`.
    fn script(&mut self, rest: &str, index: usize, entry: &ArchiveEntry) -> Result<(), InstallError> {
        const PLACE: &[u8] = b"#!python";
        if self.environment.is_reserved(&format!("bin/{rest}")) {
            return Err(InstallError::Reserved {
                file: entry.name.clone(),
            });
        }
        let path = format!("{}/{rest}", self.environment.scripts());
        if self.archive.peek(entry, PLACE.len())? != PLACE {
            return self.insert(path, self.entry_file(index, entry, Some(0o755)), entry);
        }
        let content = self.archive.read(entry, SCRIPT_LIMIT)?;
        let told = self.lines.get(&entry.name).and_then(|line| line.hash.as_ref());
        if let Some(told) = told {
            let mut hasher = record::RecordHasher::new(told.algorithm);
            hasher.update(&content);
            if hasher.finish() != *told {
                return Err(InstallError::Record {
                    file: entry.name.clone(),
                    what: "has another hash than RECORD tells",
                });
            }
        }
        let mut rest = &content[PLACE.len()..];
        rest = rest.strip_prefix(b"w").unwrap_or(rest);
        let mut new = entry_points::shebang(&self.environment.interpreter()).into_bytes();
        new.extend_from_slice(rest);
        self.insert(path, PlannedFile::made(new, 0o755), entry)
    }

    fn insert(&mut self, path: String, file: PlannedFile, entry: &ArchiveEntry) -> Result<(), InstallError> {
        match self.files.insert(path, file) {
            None => Ok(()),
            Some(_) => Err(InstallError::TwoAtOnePlace {
                file: entry.name.clone(),
            }),
        }
    }

    fn scripts(&mut self, text: &str) -> Result<(), InstallError> {
        let python = self.environment.interpreter();
        let mut scripts = entry_points::scripts(text)?;
        // pip has one script named after the interpreter; its wheel cannot know which, so installers make it.
        if normalise(self.name) == "pip"
            && let Some(pip) = scripts.iter().find(|script| script.name == "pip").cloned()
        {
            scripts.retain(|script| !script.name.starts_with("pip3."));
            scripts.push(entry_points::Script {
                name: format!("pip{}", self.environment.minor()),
                ..pip
            });
        }
        for script in scripts {
            if self.environment.is_reserved(&format!("bin/{}", script.name)) {
                return Err(InstallError::Reserved {
                    file: format!("the script {}", script.name),
                });
            }
            let path = format!("{}/{}", self.environment.scripts(), script.name);
            let body = entry_points::body(&script, &python);
            self.files.insert(path, PlannedFile::made(body, 0o755));
        }
        Ok(())
    }
}
