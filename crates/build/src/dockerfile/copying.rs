//! `COPY` and `ADD`: what is copied, where to, and the layer of it. Nothing is written into a file system on the way: a
//! layer is made of names and contents, so no link of a base can lead a write astray.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use coil_dockerfile::ignore::{Above, Matcher, clean};
use coil_dockerfile::{Fault, Span, glob};
use coil_oci::{Digest, Hasher};
use coil_store::{Ownership, kept_xattrs};

use super::BuildError;
use super::git::is_git;
use super::ownership::Chmod;
use super::solving::Solver;
use super::tree::{Item, Tree, join};

/// What is copied.
#[derive(Debug, Clone)]
pub(crate) enum CopySource {
    /// A path, perhaps with wildcards.
    Path(String),
    /// An HTTP address.
    Address(String),
    /// A git repository.
    Git(String),
    /// A text in the Dockerfile.
    Inline {
        /// The file's name.
        name: String,
        /// Its text.
        text: String,
    },
}

impl CopySource {
    /// Reads a source; addresses count for `ADD` alone.
    pub(crate) fn read(text: String, is_add: bool) -> CopySource {
        let is_http = text.starts_with("http://") || text.starts_with("https://");
        if is_add && is_git(&text) {
            return CopySource::Git(text);
        }
        if is_add && is_http {
            return CopySource::Address(text);
        }
        CopySource::Path(text)
    }
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    /// The context, or another one by name.
    Context(Option<String>),
    /// A stage or an image.
    Input,
}

/// A `COPY` or `ADD`, its words expanded.
#[derive(Debug, Clone)]
pub(crate) struct CopyOp {
    pub(crate) sources: Vec<CopySource>,
    pub(crate) from: From,
    /// Absolute; a slash at its end says that it is a folder.
    pub(crate) destination: String,
    pub(crate) chown: Option<String>,
    pub(crate) chmod: Option<Chmod>,
    pub(crate) link: bool,
    pub(crate) parents: bool,
    pub(crate) exclude: Vec<String>,
    pub(crate) checksum: Option<String>,
    /// `--keep-git-dir`.
    pub(crate) keeps_git: Option<bool>,
    /// Whether archives are unpacked; local ones are where nothing is said.
    pub(crate) unpack: Option<bool>,
}

/// An entry that is copied.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Its path below what was named; empty for that itself.
    pub(crate) path: String,
    pub(crate) item: Item,
    /// A folder that an archive has only because of what is in it.
    pub(crate) implied: bool,
}

/// One thing that was named, and all of it.
#[derive(Debug)]
pub(crate) struct Named {
    /// The last name of the path as it was written.
    pub(crate) name: String,
    /// For `--parents`: the folders from the pivot on, each with its data.
    pub(crate) parents: Vec<(String, Option<Item>)>,
    pub(crate) entries: Vec<Found>,
    /// A text of the Dockerfile or of an address: content, time and mode.
    pub(crate) inline: Option<Inline>,
    /// Whether it came from outside, so that its owners don't count.
    pub(crate) is_foreign: bool,
    /// Whether it was in an archive.
    pub(crate) is_unpacked: bool,
}

/// A file that is no file of a tree.
#[derive(Debug)]
pub(crate) struct Inline {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mtime: Option<u64>,
    pub(crate) mode: u32,
}

impl Named {
    pub(super) fn is_folder(&self) -> bool {
        self.inline.is_none() && self.entries.first().is_some_and(|first| first.item.meta.is_dir())
    }
}

/// What a walk is told.
struct Walk<'a> {
    tree: &'a Tree,
    exclude: &'a Matcher,
    found: Vec<Found>,
}

impl Walk<'_> {
    /// All that is below a folder; true when there was something.
    fn folder(
        &mut self,
        real: &str,
        path: &str,
        above: Option<&Above>,
        excluded: Option<&Above>,
    ) -> io::Result<bool> {
        let mut any = false;
        for child in self.tree.children(real, above)? {
            let (real, path) = (join(real, &child.name), join(path, &child.name));
            let (left_out, exclude_above) = self.exclude.check(&path, excluded);
            let is_folder = child.item.meta.is_dir();
            let gone = child.taken || left_out;
            let may_hold =
                (!child.taken || self.tree.has_exceptions()) && (!left_out || self.exclude.has_exceptions());
            if gone && !(is_folder && may_hold) {
                continue;
            }
            let at = self.found.len();
            self.found.push(Found {
                path: path.clone(),
                item: child.item,
                implied: false,
            });
            let holds = is_folder && self.folder(&real, &path, Some(&child.above), Some(&exclude_above))?;
            if gone && !holds {
                self.found.truncate(at);
                continue;
            }
            any = true;
        }
        Ok(any)
    }
}

/// Everything of a real path in a tree.
pub(crate) fn gather(tree: &Tree, real: &str, item: Item, exclude: &Matcher) -> io::Result<Vec<Found>> {
    let is_folder = item.meta.is_dir();
    let mut walk = Walk {
        tree,
        exclude,
        found: vec![Found {
            path: String::new(),
            item,
            implied: false,
        }],
    };
    if is_folder {
        let above = tree.above(real);
        walk.folder(real, "", above.as_ref(), None)?;
    }
    Ok(walk.found)
}

/// The paths that a pattern means, sorted; links in folders followed.
///
/// `**` is any number of folders where `deep` says so, else what `*` is.
fn matching(tree: &Tree, pattern: &str, deep: bool) -> io::Result<Vec<String>> {
    let mut here: Vec<String> = vec![String::new()];
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    let first_wild = parts
        .iter()
        .position(|part| glob::has_wildcards(part))
        .unwrap_or(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let mut next = Vec::new();
        for folder in here {
            // What a wildcard found is no way through a link.
            let (real, item) = tree.resolve(&folder, at <= first_wild || deep)?;
            if !item.is_some_and(|item| item.meta.is_dir()) {
                continue;
            }
            if *part == "**" && deep {
                let mut todo = vec![folder.clone()];
                while let Some(folder) = todo.pop() {
                    let real = tree.resolve(&folder, true)?.0;
                    for child in tree.children(&real, tree.above(&real).as_ref())? {
                        if child.item.meta.is_dir() {
                            todo.push(join(&folder, &child.name));
                        } else if at + 1 == parts.len() && !child.taken {
                            next.push(join(&folder, &child.name));
                        }
                    }
                    if at + 1 < parts.len() {
                        next.push(folder);
                    }
                }
                continue;
            }
            if !glob::has_wildcards(part) {
                next.push(join(&folder, part));
                continue;
            }
            for child in tree.children(&real, tree.above(&real).as_ref())? {
                if !child.taken && glob::matches(part, &child.name) {
                    next.push(join(&folder, &child.name));
                }
            }
        }
        here = next;
    }
    let mut found = Vec::with_capacity(here.len());
    for path in here {
        if tree.resolve(&path, true)?.1.is_some() || tree.resolve(&path, false)?.1.is_some() {
            found.push(path);
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The folder that a pattern's matches are below: what stands before its first wildcard.
fn fixed_part(pattern: &str) -> &str {
    let wild = pattern.find(['*', '?', '[', '\\']).unwrap_or(pattern.len());
    pattern[..wild].rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Solver<'_> {
    /// All that a `COPY` or `ADD` of paths and texts names.
    pub(crate) fn named(&self, op: &CopyOp, tree: &Tree, span: Span) -> Result<Vec<Named>, BuildError> {
        let doing = || BuildError::io("reading what is copied");
        let exclude =
            Matcher::new(&op.exclude).map_err(|error| BuildError::fault(span, error.to_string()))?;
        let mut all = Vec::new();
        for source in &op.sources {
            match source {
                CopySource::Inline { name, text } => all.push(Named {
                    name: name.clone(),
                    parents: Vec::new(),
                    entries: Vec::new(),
                    inline: Some(Inline {
                        bytes: text.clone().into_bytes(),
                        mtime: None,
                        mode: 0o644,
                    }),
                    is_foreign: true,
                    is_unpacked: false,
                }),
                CopySource::Address(url) => all.push(self.address(op, url, span)?),
                CopySource::Git(url) => all.push(self.repository(op, url, &exclude, span)?),
                CopySource::Path(path) => self.paths(op, tree, path, &exclude, span, &mut all)?,
            }
        }
        if op.unpack != Some(false) {
            self.unpack(op, &mut all, span).map_err(|error| match error {
                UnpackFailure::Io(error) => doing()(error),
                UnpackFailure::Archive(text) => BuildError::fault(span, text),
            })?;
        }
        Ok(all)
    }

    fn paths(
        &self,
        op: &CopyOp,
        tree: &Tree,
        path: &str,
        exclude: &Matcher,
        span: Span,
        all: &mut Vec<Named>,
    ) -> Result<(), BuildError> {
        let doing = || BuildError::io(format!("reading {path}"));
        let pivot = if op.parents {
            path.find("/./").map(|at| clean(&format!("/{}", &path[..at])))
        } else {
            None
        };
        let pattern = clean(&format!("/{path}"));
        let pattern = pattern.trim_start_matches('/');
        if !glob::is_well_formed(pattern) {
            let text = format!("the pattern {path} cannot be read: syntax error in pattern");
            return Err(Fault::new(span, text)
                .at(path)
                .help(match path.starts_with('[') && op.destination.ends_with(']') {
                    true => "a list needs double quotes: [\"FROM\", \"TO\"]",
                    false => "`[` begins a set of characters: write [[] for the character itself",
                })
                .into());
        }
        let matches = match glob::has_wildcards(pattern) {
            true => matching(tree, pattern, op.parents).map_err(doing())?,
            false => vec![pattern.to_owned()],
        };
        if matches.is_empty()
            && tree.is_context()
            && matching(tree, pattern, true).map_err(doing())?.is_empty()
            && !self.is_sent(tree, fixed_part(pattern)).map_err(doing())?
        {
            return Err(Fault::new(span, format!("nothing matches {path}"))
                .at(path)
                .help("a pattern without a match is no fault only where something of its folder is copied")
                .into());
        }
        for path in matches {
            let (real, item) = match tree.resolve(&path, !op.parents) {
                Ok((real, item)) => (real, item),
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => (path.clone(), None),
                Err(error) => return Err(doing()(error)),
            };
            let Some(item) = item else {
                return Err(self.missing(op, tree, &path, span));
            };
            let name = path.rsplit('/').next().unwrap_or("").to_owned();
            let mut parents = Vec::new();
            if op.parents {
                let pivot = pivot.as_deref().unwrap_or("/").trim_matches('/');
                let below = path.strip_prefix(pivot).unwrap_or(&path).trim_start_matches('/');
                let mut whole = pivot.to_owned();
                let mut short = String::new();
                let names: Vec<&str> = below.split('/').filter(|name| !name.is_empty()).collect();
                for part in names.iter().take(names.len().saturating_sub(1)) {
                    whole = join(&whole, part);
                    short = join(&short, part);
                    parents.push((short.clone(), tree.resolve(&whole, true).map_err(doing())?.1));
                }
            }
            all.push(Named {
                name,
                parents,
                entries: gather(tree, &real, item, exclude).map_err(doing())?,
                inline: None,
                is_foreign: tree.is_context(),
                is_unpacked: false,
            });
        }
        Ok(())
    }

    /// Whether BuildKit would have sent a folder of the context: all of it, or something in it, is copied somewhere.
    fn is_sent(&self, tree: &Tree, folder: &str) -> io::Result<bool> {
        if folder.is_empty() {
            return Ok(true);
        }
        for path in &self.of_context {
            let paths = match glob::has_wildcards(path) {
                true => matching(tree, path, false)?,
                false => vec![path.clone()],
            };
            let below = |inner: &str, outer: &str| {
                outer.is_empty()
                    || inner
                        .strip_prefix(outer)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if paths
                .iter()
                .any(|path| below(folder, path) || below(path, folder))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn missing(&self, op: &CopyOp, tree: &Tree, path: &str, span: Span) -> BuildError {
        let written = op.sources.iter().find_map(|source| match source {
            CopySource::Path(text) if clean(&format!("/{text}")).trim_start_matches('/') == path => {
                Some(text.clone())
            }
            _ => None,
        });
        let mut fault = Fault::new(span, format!("\"/{path}\": not found"));
        fault.word = written;
        if let Some(pattern) = tree.taken_by(path) {
            return fault
                .help(format!("{} leaves it out by `{pattern}`", self.request.ignored.1))
                .into();
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let names: Vec<String> = tree
            .resolve(folder, true)
            .and_then(|(real, _)| tree.children(&real, None))
            .unwrap_or_default()
            .into_iter()
            .filter(|child| !child.taken)
            .map(|child| child.name)
            .collect();
        if let Some(near) = coil_dockerfile::near::closest(name, names.iter().map(String::as_str)) {
            return fault.help(format!("did you mean {}?", join(folder, near))).into();
        }
        let place = match (&op.from, tree.is_context()) {
            (From::Context(None), _) if self.request.context.is_none() => {
                "the build has no context".to_owned()
            }
            (From::Context(_), _) => {
                "paths are looked for in the build's context, the folder that the build was given".to_owned()
            }
            _ => "the stage or image that --from names has no such path".to_owned(),
        };
        fault.help(place).into()
    }

    /// Archives become the files in them.
    fn unpack(&self, op: &CopyOp, all: &mut [Named], span: Span) -> Result<(), UnpackFailure> {
        for named in all.iter_mut() {
            let file = match (&named.inline, named.entries.as_slice()) {
                (Some(inline), _) if op.unpack == Some(true) => {
                    let place = self.scratch("archive").map_err(UnpackFailure::Io)?;
                    fs::write(&place, &inline.bytes).map_err(UnpackFailure::Io)?;
                    place
                }
                (None, [only]) if only.item.meta.is_file() => only.item.place.clone(),
                _ => continue,
            };
            let Some(mut stream) = coil_store::archive_stream(&file).map_err(UnpackFailure::Io)? else {
                continue;
            };
            let folder = self.scratch("unpacked").map_err(UnpackFailure::Io)?;
            fs::create_dir(&folder).map_err(UnpackFailure::Io)?;
            let unpacked = coil_store::unpack_archive_folders(&mut stream, &folder, self.ownership());
            let own = unpacked.map_err(|error| {
                UnpackFailure::Archive(format!("the archive {} cannot be unpacked: {error}", named.name))
            })?;
            let tree = Tree::Layers(vec![folder]);
            let (_, item) = tree.resolve("", true).map_err(UnpackFailure::Io)?;
            let none = Matcher::default();
            if let Some(item) = item {
                named.entries = gather(&tree, "", item, &none).map_err(UnpackFailure::Io)?;
                for found in named.entries.iter_mut().skip(1) {
                    found.implied = found.item.meta.is_dir() && !own.contains(Path::new(&found.path));
                }
            }
            named.inline = None;
            named.is_foreign = false;
            named.is_unpacked = true;
            let _ = span;
        }
        Ok(())
    }

    pub(crate) fn ownership(&self) -> Ownership {
        crate::base::ownership()
    }

    /// A digest of names, modes, owners and contents; times don't count.
    pub(crate) fn content_digest(&self, all: &[Named]) -> io::Result<Digest> {
        let mut hasher = Hasher::new();
        for named in all {
            hasher.update(format!("named {}\0{}\n", named.name, named.is_foreign).as_bytes());
            for (path, _) in &named.parents {
                hasher.update(format!("parent {path}\0").as_bytes());
            }
            if let Some(inline) = &named.inline {
                hasher.update(Digest::of(&inline.bytes).hex().as_bytes());
            }
            for found in &named.entries {
                let meta = &found.item.meta;
                let owner = if named.is_foreign {
                    (0, 0)
                } else {
                    (meta.uid(), meta.gid())
                };
                hasher.update(
                    format!("{}\0{:o} {} {}\0", found.path, meta.mode(), owner.0, owner.1).as_bytes(),
                );
                if found.implied {
                    hasher.update(b"implied");
                }
                if meta.is_file() {
                    hasher.update(self.files.of(&found.item)?.hex().as_bytes());
                } else if meta.is_symlink() {
                    hasher.update(fs::read_link(&found.item.place)?.as_os_str().as_encoded_bytes());
                }
                let xattrs = match named.is_foreign {
                    true => Vec::new(),
                    false => kept_xattrs(&found.item.place),
                };
                for (name, value) in xattrs {
                    hasher.update(name.as_bytes());
                    hasher.update(&value);
                }
            }
        }
        Ok(hasher.finish())
    }
}

enum UnpackFailure {
    Io(io::Error),
    Archive(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_paths_and_addresses() {
        assert!(matches!(
            CopySource::read("https://x/a.tar".into(), true),
            CopySource::Address(_)
        ));
        assert!(matches!(
            CopySource::read("https://x/a.git#main".into(), true),
            CopySource::Git(_)
        ));
        assert!(matches!(
            CopySource::read("https://x/a.tar".into(), false),
            CopySource::Path(_)
        ));
    }
}
