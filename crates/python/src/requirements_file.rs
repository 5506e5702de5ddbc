//! requirements.txt, whole (pip's "Requirements File Format").

use std::collections::{BTreeMap, BTreeSet};

use coil_oci::Digest;
use pep440_rs::Operator;
use pep508_rs::{ExtraName, MarkerTree, PackageName, VersionOrUrl};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, Problem, near_miss};
use crate::pinned::{Direct, Pinned};
use crate::project_files::{ProjectFiles, join, parent};
use crate::requirement::{Requirement, RequirementError, parse_requirement};
use crate::requirements_line::{Logical, is_location, logical_lines, option_of, split_options, unnamed};
use crate::target::Target;
use crate::uv_settings::UvResolution;

/// Files that include each other deeper than this are taken for a mistake.
const DEEPEST: usize = 20;

/// A requirements file with all that it includes.
#[derive(Debug, Clone, Default)]
pub struct RequirementsFile {
    /// The file's path.
    pub file: String,
    /// What is to be installed, in order.
    pub entries: Vec<RequirementEntry>,
    /// What only limits versions (`-c`).
    pub constraints: Vec<RequirementEntry>,
    /// Where packages come from and of what kind.
    pub index: IndexOptions,
    /// All files that were read, the first one first.
    pub files: Vec<String>,
    /// The names of the variables that were put in.
    pub variables: BTreeSet<String>,
    /// Options that have no meaning here and were passed over, with their places.
    pub ignored: Vec<String>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequirementEntry {
    /// What is asked for.
    pub what: Wanted,
    /// The `--hash` options, `sha256:…`.
    pub hashes: Vec<String>,
    /// The file that it stands in.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

/// What an entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A requirement with a name (PEP 508).
    Named(Requirement),
    /// An address or path whose name is not known before it is fetched.
    Unnamed {
        /// The address or path, as written but for included files' paths, which are relative to the project.
        location: String,
        /// The extras wanted.
        extras: Vec<ExtraName>,
        /// When it is needed.
        marker: MarkerTree,
        /// Whether it is `-e`.
        editable: bool,
    },
}

/// The options of a requirements file that say where packages come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IndexOptions {
    /// `--index-url`.
    pub index_url: Option<String>,
    /// `--extra-index-url`.
    pub extra_index_urls: Vec<String>,
    /// `--find-links`.
    pub find_links: Vec<String>,
    /// `--no-index`.
    pub no_index: bool,
    /// `--pre`.
    pub pre: bool,
    /// `--no-binary`: names, `:all:` or `:none:`.
    pub no_binary: Vec<String>,
    /// `--only-binary`.
    pub only_binary: Vec<String>,
    /// `--trusted-host`.
    pub trusted_hosts: Vec<String>,
    /// `--require-hashes`.
    pub require_hashes: bool,
}

/// What `uv pip compile` is given for a project that needs resolving.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ResolutionInput {
    /// The text of the requirements.
    pub requirements: String,
    /// The text of the constraints; empty if there are none.
    pub constraints: String,
    /// Where packages come from.
    pub index: IndexOptions,
    /// What `[tool.uv]` says of the resolution.
    #[serde(skip_serializing_if = "UvResolution::is_empty")]
    pub uv: UvResolution,
}

impl ResolutionInput {
    /// What the resolution depends on, as one hash; two equal inputs have the same resolution recorded in `coil.lock`.
    ///
    /// Logins don't count: whoever may use the index gets the same packages from it.
    pub fn digest(&self) -> Digest {
        let mut bare = self.clone();
        let index = &mut bare.index;
        let places = index.index_url.iter_mut().chain(&mut index.extra_index_urls);
        for place in places.chain(&mut index.find_links) {
            *place = without_credentials(place);
        }
        for text in [&mut bare.requirements, &mut bare.constraints] {
            let words = text.split_inclusive(char::is_whitespace);
            *text = words.map(without_credentials).collect();
        }
        // A derived serializer of strings, booleans and lists can't fail, and keeps the order of the fields.
        Digest::of(&serde_json::to_vec(&bare).unwrap_or_default())
    }
}

impl RequirementsFile {
    /// Reads a file and what it includes.
    ///
    /// `variables` are the values for `${NAME}`; one that is missing is an error, since its text would be a wrong address.
    pub fn read(
        files: &dyn ProjectFiles,
        file: &str,
        variables: &BTreeMap<String, String>,
    ) -> Result<RequirementsFile, Diagnostic> {
        let mut found = RequirementsFile {
            file: file.to_owned(),
            ..RequirementsFile::default()
        };
        let mut reader = Reader {
            files,
            variables,
            found: &mut found,
            trail: Vec::new(),
        };
        reader.file(file, false, None)?;
        Ok(found)
    }

    /// Whether the file says all that is to be installed: each entry is pinned by `==` and has hashes.
    ///
    /// Without hashes nothing tells whether it is complete, so it is resolved: that costs little where all is pinned.
    pub fn needs_resolution(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| pin(entry).is_none() || sha256s(entry).is_empty())
    }

    /// The packages for a target, of a file that needs no resolution, sorted by name.
    ///
    /// They have hashes and no files: the index knows those.
    pub fn select(&self, target: &Target) -> Result<Vec<Pinned>, Diagnostic> {
        let environment = target.marker_environment();
        let mut pinned: BTreeMap<PackageName, Pinned> = BTreeMap::new();
        for entry in &self.entries {
            let (Some(mut new), Wanted::Named(requirement)) = (pin(entry), &entry.what) else {
                return Err(Diagnostic::new(
                    Problem::LockOutOfDate,
                    "this entry is not pinned by `==` and a hash",
                )
                .in_file(&format!("{}:{}", entry.file, entry.line)));
            };
            if !requirement.evaluate_markers(&environment, &[]) {
                continue;
            }
            new.hashes = sha256s(entry);
            new.index = self.index.index_url.as_deref().map(without_credentials);
            if let Some(other) = pinned.get_mut(&new.name) {
                if other.version != new.version {
                    return Err(Diagnostic::new(
                        Problem::Conflict,
                        format!(
                            "two versions of one package are asked for: {} and {}",
                            other.title(),
                            new.title()
                        ),
                    )
                    .in_file(&format!("{}:{}", entry.file, entry.line)));
                }
                other.extras.append(&mut new.extras);
                continue;
            }
            pinned.insert(new.name.clone(), new);
        }
        Ok(pinned.into_values().collect())
    }

    /// What to give to the resolver.
    pub fn resolution_input(&self) -> ResolutionInput {
        let text = |entries: &[RequirementEntry]| {
            entries
                .iter()
                .map(|entry| format!("{}\n", line_of(entry)))
                .collect()
        };
        ResolutionInput {
            requirements: text(&self.entries),
            constraints: text(&self.constraints),
            index: self.index.clone(),
            uv: UvResolution::default(),
        }
    }
}

/// An address without user and password.
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => url.to_owned(),
    }
}

fn pin(entry: &RequirementEntry) -> Option<Pinned> {
    let Wanted::Named(requirement) = &entry.what else {
        return None;
    };
    let Some(VersionOrUrl::VersionSpecifier(specifiers)) = &requirement.version_or_url else {
        return None;
    };
    let mut specifiers = specifiers.iter();
    let (Some(only), None) = (specifiers.next(), specifiers.next()) else {
        return None;
    };
    if !matches!(only.operator(), Operator::Equal | Operator::ExactEqual) {
        return None;
    }
    Some(Pinned {
        name: requirement.name.clone(),
        version: Some(only.version().clone()),
        artifacts: Vec::new(),
        hashes: Vec::new(),
        index: None,
        extras: requirement.extras.iter().cloned().collect(),
        direct: None::<Direct>,
    })
}

fn sha256s(entry: &RequirementEntry) -> Vec<Digest> {
    let mut digests: Vec<Digest> = entry
        .hashes
        .iter()
        .filter_map(|hash| Digest::parse(hash).ok())
        .collect();
    digests.sort();
    digests.dedup();
    digests
}

/// The entry as a line of its own.
fn line_of(entry: &RequirementEntry) -> String {
    let mut line = match &entry.what {
        Wanted::Named(requirement) => requirement.to_string(),
        Wanted::Unnamed {
            location,
            extras,
            marker,
            editable,
        } => {
            let mut text = if *editable {
                format!("-e {location}")
            } else {
                location.clone()
            };
            if !extras.is_empty() {
                let extras: Vec<&str> = extras.iter().map(AsRef::as_ref).collect();
                text.push_str(&format!("[{}]", extras.join(",")));
            }
            if let Some(marker) = marker.contents() {
                text.push_str(&format!(" ; {marker}"));
            }
            text
        }
    };
    for hash in &entry.hashes {
        line.push_str(&format!(" --hash={hash}"));
    }
    line
}

struct Reader<'a> {
    files: &'a dyn ProjectFiles,
    variables: &'a BTreeMap<String, String>,
    found: &'a mut RequirementsFile,
    trail: Vec<String>,
}

impl Reader<'_> {
    fn file(
        &mut self,
        file: &str,
        constraints: bool,
        from: Option<(&str, &Logical)>,
    ) -> Result<(), Diagnostic> {
        let here = |error: Diagnostic| match from {
            Some((file, line)) => error
                .in_file(&format!("{file}:{}", line.number))
                .label(line.text.trim()),
            None => error.in_file(file),
        };
        if file.contains("://") {
            return Err(here(Diagnostic::new(
                Problem::Unsupported,
                format!("{file} is on the network"),
            ))
            .help("download the file and include it by its path"));
        }
        if self.trail.iter().any(|known| known == file) {
            // pip reads such files once more and stops; a circle adds nothing.
            return Ok(());
        }
        if self.trail.len() >= DEEPEST {
            return Err(here(Diagnostic::new(
                Problem::Syntax,
                "requirements files include each other too deeply",
            )));
        }
        let Some(text) = self.files.read_text(file)? else {
            return Err(here(Diagnostic::new(
                Problem::Unreadable,
                format!("there is no file {file}"),
            ))
            .help(
                "paths start from the folder of the file that names them: mend the line, or add the file",
            ));
        };
        self.trail.push(file.to_owned());
        if !self.found.files.iter().any(|known| known == file) {
            self.found.files.push(file.to_owned());
        }
        for line in logical_lines(&text) {
            self.line(file, &line, constraints)?;
        }
        self.trail.pop();
        Ok(())
    }

    fn line(&mut self, file: &str, line: &Logical, constraints: bool) -> Result<(), Diagnostic> {
        let text = self.expand(file, line)?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        if !text.starts_with('-') {
            return self.requirement(file, line, text, false, constraints);
        }
        let (option, value) = option_of(text);
        let wrong = |what: &str| wrong(file, line, what);
        let needed = || {
            value
                .map(str::to_owned)
                .ok_or_else(|| wrong(&format!("`{option}` needs a value")))
        };
        let index = &mut self.found.index;
        match option {
            "-r" | "--requirement" | "-c" | "--constraint" => {
                let path = needed()?;
                let path = if path.contains("://") || path.starts_with('/') {
                    path
                } else {
                    join(parent(file), &path)
                };
                let constraints = constraints || option.starts_with("-c") || option == "--constraint";
                self.file(&path, constraints, Some((file, line)))?;
            }
            "-e" | "--editable" => {
                let value = needed()?;
                self.requirement(file, line, &value, true, constraints)?;
            }
            "-i" | "--index-url" | "--pypi-url" => index.index_url = Some(needed()?),
            "--extra-index-url" => index.extra_index_urls.push(needed()?),
            "-f" | "--find-links" => {
                let link = needed()?;
                let link = if link.contains("://") || link.starts_with('/') {
                    link
                } else {
                    join(parent(file), &link)
                };
                index.find_links.push(link);
            }
            "--no-index" => index.no_index = true,
            "--pre" => index.pre = true,
            "--require-hashes" => index.require_hashes = true,
            "--no-binary" => index
                .no_binary
                .extend(needed()?.split(',').map(|name| name.trim().to_owned())),
            "--only-binary" => index
                .only_binary
                .extend(needed()?.split(',').map(|name| name.trim().to_owned())),
            "--trusted-host" => index.trusted_hosts.push(needed()?),
            "--prefer-binary"
            | "--use-feature"
            | "--no-use-wheel"
            | "--use-wheel"
            | "--global-option"
            | "--config-settings"
            | "--no-build-isolation" => {
                self.found
                    .ignored
                    .push(format!("{file}:{}: {option}", line.number));
            }
            other => {
                let known = [
                    "--requirement",
                    "--constraint",
                    "--editable",
                    "--index-url",
                    "--extra-index-url",
                    "--find-links",
                    "--no-index",
                    "--pre",
                    "--require-hashes",
                    "--no-binary",
                    "--only-binary",
                    "--trusted-host",
                ];
                let error = wrong(&format!("`{other}` is not an option of requirements files"));
                return Err(match near_miss(other, known) {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error,
                });
            }
        }
        Ok(())
    }

    /// Puts in `${NAME}`; only capitals, digits and `_`, as pip has it.
    fn expand(&mut self, file: &str, line: &Logical) -> Result<String, Diagnostic> {
        let mut rest = line.text.as_str();
        let mut expanded = String::new();
        while let Some(start) = rest.find("${") {
            let (before, after) = rest.split_at(start);
            expanded.push_str(before);
            let name = after[2..].split('}').next().unwrap_or_default();
            let is_name = !name.is_empty()
                && after[2 + name.len()..].starts_with('}')
                && name
                    .chars()
                    .all(|c| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit());
            if !is_name {
                expanded.push_str("${");
                rest = &after[2..];
                continue;
            }
            match self.variables.get(name) {
                Some(value) => {
                    expanded.push_str(value);
                    self.found.variables.insert(name.to_owned());
                }
                None => {
                    return Err(wrong(file, line, &format!("the variable {name} is not set"))
                        .help(format!("set {name} in the environment")));
                }
            }
            rest = &after[name.len() + 3..];
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn requirement(
        &mut self,
        file: &str,
        line: &Logical,
        text: &str,
        editable: bool,
        constraints: bool,
    ) -> Result<(), Diagnostic> {
        let (text, options) = split_options(text);
        let mut hashes = Vec::new();
        let mut options = options.split_whitespace();
        while let Some(option) = options.next() {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, options.next()),
            };
            match (name, value) {
                ("--hash", Some(hash)) if hash.contains(':') => hashes.push(hash.to_lowercase()),
                ("--hash", _) => return Err(wrong(file, line, "`--hash` must be like sha256:0123…")),
                ("--global-option" | "--install-option" | "--config-settings" | "--config-setting", _) => {
                    self.found.ignored.push(format!("{file}:{}: {name}", line.number));
                }
                _ => {
                    return Err(wrong(
                        file,
                        line,
                        &format!("`{name}` cannot follow a requirement"),
                    ));
                }
            }
        }
        let known = |hash: &String| Digest::parse(hash).is_ok();
        if hashes
            .iter()
            .any(|hash| hash.starts_with("sha256:") && !known(hash))
        {
            return Err(wrong(file, line, "a sha256 hash has 64 hexadecimal digits"));
        }
        if !hashes.is_empty() && !hashes.iter().any(known) {
            return Err(wrong(
                file,
                line,
                "none of its hashes is a sha256, and only these are checked",
            )
            .help("write them again: `uv pip compile --generate-hashes` has sha256 for all"));
        }
        let what = if editable || is_location(text) {
            unnamed(file, text, editable).map_err(|what| wrong(file, line, &what))?
        } else {
            match parse_requirement(text) {
                Ok(requirement) => Wanted::Named(requirement),
                Err(error) => return Err(self.not_a_requirement(file, line, text, &error)),
            }
        };
        let entry = RequirementEntry {
            what,
            hashes,
            file: file.to_owned(),
            line: line.number,
        };
        if constraints {
            self.found.constraints.push(entry)
        } else {
            self.found.entries.push(entry)
        }
        Ok(())
    }

    fn not_a_requirement(
        &self,
        file: &str,
        line: &Logical,
        text: &str,
        error: &RequirementError,
    ) -> Diagnostic {
        let shown = Diagnostic::new(
            Problem::Syntax,
            format!("`{text}` is not a valid requirement (PEP 508)"),
        );
        // The caret needs the file's own line, which a continued or expanded one isn't.
        let physical = self.files.read_text(file).ok().flatten().unwrap_or_default();
        let start: usize = physical
            .split_inclusive('\n')
            .take(line.number - 1)
            .map(str::len)
            .sum();
        let own = physical[start..].lines().next().unwrap_or_default();
        match own.find(text) {
            Some(at) => {
                let from = start + at + error.start;
                shown
                    .at(file, &physical, from..from + error.len)
                    .label(error.message.as_str())
            }
            None => shown
                .in_file(&format!("{file}:{}", line.number))
                .label(error.message.as_str()),
        }
    }
}

fn wrong(file: &str, line: &Logical, what: &str) -> Diagnostic {
    Diagnostic::new(Problem::Syntax, what)
        .in_file(&format!("{file}:{}", line.number))
        .label(line.text.trim())
}

#[cfg(test)]
#[path = "requirements_file_tests.rs"]
mod tests;
