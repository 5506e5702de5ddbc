//! Puts each file of a wheel where it belongs.
//!
//! The order is that of uv: the root's files, then start scripts, then what the `.data` folder brings, which replaces what
//! is there. Two different files of the `.data` folder at one place are refused: there uv's answer is chance.

use std::collections::BTreeMap;

use super::{FileSource, InstallError, InstallPlan, PlannedFile, SOURCE_LIMIT, is_unlisted};
use crate::archive::{Archive, ArchiveEntry};
use crate::entry_points;
use crate::environment::Environment;
use crate::filename::normalise;
use crate::record::{RecordHasher, RecordLine};

/// The longest script whose first line is rewritten, in bytes.
const SCRIPT_LIMIT: u64 = 32 << 20;
/// What a script's first line begins with where the interpreter's path is wanted in its place.
const PLACEHOLDER: &[u8] = b"#!python";

/// Where an entry of the archive goes.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    /// Below the folder of packages.
    Root(&'a str),
    /// A folder of `.data` and the path in it.
    Data(&'a str, &'a str),
}

fn locate<'a>(dist_info: &str, entry: &'a str) -> Place<'a> {
    let data = format!("{}.data", dist_info.trim_end_matches(".dist-info"));
    match entry.strip_prefix(&data).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) => {
            let (scheme, rest) = rest.split_once('/').unwrap_or((rest, ""));
            Place::Data(scheme, rest)
        }
        None if entry == data => Place::Data("", ""),
        None => Place::Root(entry),
    }
}

/// The folder of the image that a folder of `.data` stands for.
fn data_folder(environment: &Environment, scheme: &str, name: &str) -> Option<String> {
    match scheme {
        "purelib" | "platlib" => Some(environment.site_packages()),
        "scripts" => Some(environment.scripts()),
        "headers" => Some(environment.headers(&normalise(name))),
        "data" => Some(environment.prefix.clone()),
        _ => None,
    }
}

/// Where an entry of the archive is installed, without a leading slash; none for what isn't.
pub(crate) fn destination(
    environment: &Environment,
    dist_info: &str,
    name: &str,
    entry: &str,
) -> Result<Option<String>, InstallError> {
    match locate(dist_info, entry) {
        Place::Root(path) if path == format!("{dist_info}/RECORD") => Ok(None),
        Place::Root(path) => Ok(Some(format!("{}/{path}", environment.site_packages()))),
        Place::Data(scheme, rest) => match data_folder(environment, scheme, name) {
            Some(folder) if !rest.is_empty() => Ok(Some(environment.real_path(&format!("{folder}/{rest}")))),
            _ => Err(InstallError::DataFolder {
                file: entry.to_owned(),
            }),
        },
    }
}

/// Places all of a wheel's files, its start scripts and what an installer adds.
pub(super) fn place(
    plan: &mut InstallPlan,
    archive: &Archive,
    dist_info: &str,
    lines: &BTreeMap<String, RecordLine>,
    entry_points: Option<&str>,
    direct_url: Option<&str>,
) -> Result<(), InstallError> {
    let environment = plan.environment.clone();
    let info = format!("{}/{dist_info}", environment.site_packages());
    let mut placer = Placer {
        plan,
        archive,
        environment,
        dist_info,
        lines,
        scripts: Vec::new(),
        from_data: Vec::new(),
    };
    for (index, entry) in archive.entries().iter().enumerate() {
        if let Place::Root(path) = locate(dist_info, &entry.name) {
            placer.root(path, index, entry);
        }
    }
    if let Some(text) = entry_points {
        placer.start_scripts(text)?;
    }
    for (index, entry) in archive.entries().iter().enumerate() {
        if let Place::Data(scheme, rest) = locate(dist_info, &entry.name) {
            placer.data(scheme, rest, index, entry)?;
        }
    }
    placer.made(format!("{info}/INSTALLER"), b"coil\n".to_vec(), 0o644);
    // As uv does for every package, so that a wheel's layer doesn't depend on who asked for it.
    placer.made(format!("{info}/REQUESTED"), Vec::new(), 0o644);
    if let Some(direct_url) = direct_url {
        placer.made(
            format!("{info}/direct_url.json"),
            direct_url.as_bytes().to_vec(),
            0o644,
        );
    }
    check_folders(plan)
}

/// Refuses what is a file and a folder at once: the archive's own names were looked at, what comes together from its parts wasn't.
fn check_folders(plan: &mut InstallPlan) -> Result<(), InstallError> {
    let is_file = |path: &str| plan.files.contains_key(path) || path == plan.record_path;
    for path in plan.files.keys().chain(&plan.folders) {
        let mut above = path.as_str();
        let is_folder = plan.folders.contains(above);
        let mut clash = is_folder && is_file(above);
        while let Some(cut) = above.rfind('/').filter(|_| !clash) {
            above = &above[..cut];
            clash = is_file(above);
        }
        if clash {
            return Err(InstallError::TwoAtOnePlace { file: path.clone() });
        }
    }
    // Where a file has the name of bytecode's folder there is no room for it.
    let has_room = |source: &str| {
        let folder = source.rsplit_once('/').map_or("", |(folder, _)| folder);
        !is_file(&format!("{folder}/__pycache__"))
    };
    let crowded: Vec<String> = plan
        .sources
        .keys()
        .filter(|path| !has_room(path))
        .cloned()
        .collect();
    for path in crowded {
        plan.sources.remove(&path);
    }
    Ok(())
}

struct Placer<'a> {
    plan: &'a mut InstallPlan,
    archive: &'a Archive,
    environment: Environment,
    dist_info: &'a str,
    lines: &'a BTreeMap<String, RecordLine>,
    /// Names of start scripts.
    scripts: Vec<String>,
    /// Paths that the `.data` folder brought.
    from_data: Vec<String>,
}

impl Placer<'_> {
    fn root(&mut self, path: &str, index: usize, entry: &ArchiveEntry) {
        let place = format!("{}/{path}", self.environment.site_packages());
        if entry.is_dir {
            self.plan.folders.insert(place);
        } else if place != self.plan.record_path {
            let file = self.entry_file(index, entry, false);
            // A signature of RECORD is listed if the wheel's own RECORD does so.
            if !is_unlisted(entry, self.dist_info) || self.lines.contains_key(&entry.name) {
                self.list(&place, &file);
            }
            self.source(&place, index, entry);
            self.plan.files.insert(place, file);
        }
    }

    fn data(
        &mut self,
        scheme: &str,
        rest: &str,
        index: usize,
        entry: &ArchiveEntry,
    ) -> Result<(), InstallError> {
        let unknown = || InstallError::DataFolder {
            file: entry.name.clone(),
        };
        if scheme.is_empty() && entry.is_dir {
            return Ok(());
        }
        let folder = data_folder(&self.environment, scheme, &self.plan.name).ok_or_else(unknown)?;
        if rest.is_empty() {
            return if entry.is_dir { Ok(()) } else { Err(unknown()) };
        }
        let written = format!("{folder}/{rest}");
        let place = self.environment.real_path(&written);
        if entry.is_dir {
            // Folders of the environment itself may be named.
            let below = place.strip_prefix(&format!("{}/", self.environment.prefix));
            if below.is_some_and(|below| !self.environment.is_reserved(below)) {
                self.plan.folders.insert(place);
            }
            return Ok(());
        }
        let below = place
            .strip_prefix(&format!("{}/", self.environment.prefix))
            .unwrap_or(&place);
        if self.environment.is_reserved(below) {
            return Err(InstallError::Reserved {
                file: entry.name.clone(),
            });
        }
        let file = match scheme {
            "scripts" if self.is_start_script(rest) => return Ok(()),
            "scripts" => self.script(index, entry)?,
            _ => self.entry_file(index, entry, false),
        };
        let metadata = format!("{}/{}/", self.environment.site_packages(), self.dist_info);
        if let Some(old) = self.plan.files.get(&place)
            && old.line != file.line
            && (self.from_data.contains(&place) || place.starts_with(&metadata))
        {
            return Err(InstallError::TwoAtOnePlace {
                file: entry.name.clone(),
            });
        }
        if place == self.plan.record_path {
            return Err(InstallError::TwoAtOnePlace {
                file: entry.name.clone(),
            });
        }
        self.plan.sources.remove(&place);
        self.list(&written, &file);
        self.source(&place, index, entry);
        self.from_data.push(place.clone());
        self.plan.files.insert(place, file);
        Ok(())
    }

    /// Whether a file of the scripts folder is an older way to start what an entry point starts.
    fn is_start_script(&self, rest: &str) -> bool {
        let name = [".exe", "-script.py", ".pya"]
            .into_iter()
            .find_map(|ending| rest.strip_suffix(ending))
            .unwrap_or(rest);
        self.scripts.iter().any(|script| script == name)
    }

    fn entry_file(&self, index: usize, entry: &ArchiveEntry, executable: bool) -> PlannedFile {
        PlannedFile {
            mode: if executable { 0o755 } else { entry.mode() },
            source: FileSource::Entry(index),
            line: RecordLine {
                hash: self.lines.get(&entry.name).and_then(|line| line.hash.clone()),
                size: Some(entry.size),
            },
        }
    }

    /// A file of the scripts folder, with the interpreter's path in place of a first line `#!python…`.
    fn script(&self, index: usize, entry: &ArchiveEntry) -> Result<PlannedFile, InstallError> {
        if self.archive.peek(entry, PLACEHOLDER.len())? != PLACEHOLDER {
            return Ok(self.entry_file(index, entry, true));
        }
        let content = self.archive.read(entry, SCRIPT_LIMIT)?;
        let told = self.lines.get(&entry.name).and_then(|line| line.hash.as_ref());
        if let Some(told) = told {
            let mut hasher = RecordHasher::new(told.algorithm);
            hasher.update(&content);
            if hasher.finish() != *told {
                return Err(InstallError::Record {
                    file: entry.name.clone(),
                    what: "has another hash than RECORD tells",
                });
            }
        }
        let end = content.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let rest = content.get(end.unwrap_or(content.len())..).unwrap_or_default();
        let rest = rest
            .strip_prefix(b"\r\n")
            .or_else(|| rest.get(1..))
            .unwrap_or_default();
        let mut new = entry_points::shebang(&self.environment.interpreter()).into_bytes();
        new.push(b'\n');
        new.extend_from_slice(rest);
        Ok(PlannedFile::made(new, 0o755))
    }

    /// Notes a Python source that bytecode is made from.
    fn source(&mut self, place: &str, index: usize, entry: &ArchiveEntry) {
        let site = format!("{}/", self.environment.site_packages());
        if place.starts_with(&site) && place.ends_with(".py") && entry.size <= SOURCE_LIMIT {
            self.plan.sources.insert(place.to_owned(), index);
        }
    }

    fn list(&mut self, place: &str, file: &PlannedFile) {
        let name = self.environment.record_name(place);
        self.plan.lines.insert(name, file.line.clone());
    }

    fn made(&mut self, place: String, content: Vec<u8>, mode: u32) {
        let file = PlannedFile::made(content, mode);
        self.list(&place, &file);
        self.plan.files.insert(place, file);
    }

    fn start_scripts(&mut self, text: &str) -> Result<(), InstallError> {
        let python = self.environment.interpreter();
        let mut scripts = entry_points::scripts(text)?;
        // pip has one script named after the interpreter; its wheel cannot know which, so installers make it.
        if normalise(&self.plan.name) == "pip"
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
            let place = format!("{}/{}", self.environment.scripts(), script.name);
            self.made(place, entry_points::body(&script, &python), 0o755);
            self.scripts.push(script.name);
        }
        Ok(())
    }
}
