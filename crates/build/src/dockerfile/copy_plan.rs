//! Where copied files come to stand: the entries of a layer, and the layer of them.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use coil_dockerfile::{Fault, Span};
use coil_oci::Digest;
use coil_store::{LayerTar, Store, TarEntry, TarKind, kept_xattrs};

use super::copying::{CopyOp, Named};
use super::ownership::{Chmod, OwnerError, owner};
use super::solving::Solver;
use super::tree::{Item, Tree, join};
use super::{BuildError, FileTimes};

impl Solver<'_> {
    /// The entries of the layer, by path.
    pub(crate) fn planned(
        &self,
        op: &CopyOp,
        all: &[Named],
        below: &Tree,
        span: Span,
    ) -> Result<BTreeMap<String, Planned>, BuildError> {
        let nothing = Tree::Layers(Vec::new());
        let chown = match &op.chown {
            None => None,
            Some(text) => Some(owner(text, below).map_err(|error| owner_fault(error, text, span))?),
        };
        let below = if op.link { &nothing } else { below };
        let mut plan = Plan {
            below,
            chown,
            chmod: op.chmod.as_ref(),
            now: self.time(),
            foreign: self.time_of_contexts(),
            entries: BTreeMap::new(),
            made: Chmod::of_new_folder(op.chmod.as_ref()),
            replaces: false,
            turn: 0,
        };
        for named in all {
            plan.place(op, named).map_err(|error| match error {
                PlaceError::Io(error) => BuildError::io("looking at the destination")(error),
                PlaceError::Text(text) => BuildError::fault(span, text),
            })?;
        }
        self.no_later(&mut plan.entries);
        Ok(plan.entries)
    }

    /// The entries of a tree alone, below the name `mounted`.
    pub(crate) fn tree_entries(
        &self,
        named: &Named,
        span: Span,
    ) -> Result<BTreeMap<String, Planned>, BuildError> {
        let mut entries = plain_entries(named, "mounted", span)?;
        if let Some(time) = self.time_of_contexts().filter(|_| named.is_foreign) {
            entries
                .values_mut()
                .for_each(|planned| planned.entry.mtime = time);
        }
        self.no_later(&mut entries);
        Ok(entries)
    }

    /// The time that files of contexts get.
    fn time_of_contexts(&self) -> Option<u64> {
        self.request
            .epoch
            .filter(|_| self.request.times == FileTimes::Settled)
    }

    fn no_later(&self, entries: &mut BTreeMap<String, Planned>) {
        if let Some(latest) = self.latest() {
            let times = entries.values_mut().map(|planned| &mut planned.entry.mtime);
            times.for_each(|time| *time = latest.min(*time));
        }
    }

    /// The entries of a new folder; those above it as they are.
    pub(crate) fn folder_entries(
        &self,
        path: &str,
        below: &Tree,
        owner: (u32, u32),
    ) -> io::Result<BTreeMap<String, Planned>> {
        let mut plan = Plan {
            below,
            chown: Some(owner),
            chmod: None,
            now: self.time(),
            foreign: None,
            entries: BTreeMap::new(),
            made: 0o755,
            replaces: false,
            turn: 0,
        };
        plan.folder(path).map_err(|error| match error {
            PlaceError::Io(error) => error,
            PlaceError::Text(text) => io::Error::other(text),
        })?;
        self.no_later(&mut plan.entries);
        Ok(plan.entries)
    }

    /// Writes the layer.
    pub(crate) fn write_entries(&self, entries: &BTreeMap<String, Planned>) -> io::Result<(Digest, u64)> {
        write_planned(self.builder.store, entries)
    }
}

/// The entries of a tree as they are, below a name.
pub(crate) fn plain_entries(
    named: &Named,
    name: &str,
    span: Span,
) -> Result<BTreeMap<String, Planned>, BuildError> {
    let nothing = Tree::Layers(Vec::new());
    let mut plan = Plan {
        below: &nothing,
        chown: None,
        chmod: None,
        now: 0,
        foreign: None,
        entries: BTreeMap::new(),
        made: 0o755,
        replaces: false,
        turn: 0,
    };
    for found in &named.entries {
        let placed = plan.entry(&join(name, &found.path), &found.item, named);
        placed.map_err(|error| match error {
            PlaceError::Io(error) => BuildError::io("reading files")(error),
            PlaceError::Text(text) => BuildError::fault(span, text),
        })?;
    }
    Ok(plan.entries)
}

/// Writes entries as a layer.
pub(crate) fn write_planned(store: &Store, entries: &BTreeMap<String, Planned>) -> io::Result<(Digest, u64)> {
    let mut tar: LayerTar = store.layer_tar()?;
    let firsts = first_names(entries);
    for (path, planned) in entries {
        if let Some(first) = planned.shared.and_then(|shared| firsts.get(&shared))
            && *first != path
        {
            let kind = TarKind::HardLink((*first).clone());
            let entry = TarEntry {
                kind,
                ..planned.entry.clone()
            };
            tar.entry(&entry, None)?;
            continue;
        }
        match &planned.content {
            Content::None => tar.entry(&planned.entry, None)?,
            Content::Bytes(bytes) => tar.entry(&planned.entry, Some(&mut bytes.as_slice()))?,
            Content::File(place) => {
                let mut file = File::options()
                    .read(true)
                    .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                    .open(place)?;
                tar.entry(&planned.entry, Some(&mut file as &mut dyn Read))?;
            }
        }
    }
    tar.finish()
}

/// The first name of each file that has several.
pub(crate) fn first_names(entries: &BTreeMap<String, Planned>) -> BTreeMap<(usize, u64, u64), &String> {
    let mut firsts = BTreeMap::new();
    for (path, planned) in entries {
        if let Some(shared) = planned.shared {
            firsts.entry(shared).or_insert(path);
        }
    }
    firsts
}

/// Which names are of one file, as a text.
pub(crate) fn shared_names(entries: &BTreeMap<String, Planned>) -> String {
    let firsts = first_names(entries);
    let mut text = String::new();
    for (path, planned) in entries {
        if let Some(first) = planned.shared.and_then(|shared| firsts.get(&shared))
            && *first != path
        {
            text.push_str(&format!("{path} is {first}\n"));
        }
    }
    text
}

fn owner_fault(error: OwnerError, text: &str, span: Span) -> BuildError {
    match error {
        OwnerError::Io(error) => BuildError::io("reading the stage's users")(error),
        OwnerError::Empty(message) => Fault::new(span, format!("--chown={text}: {message} in this stage"))
            .at(text)
            .help("nothing knows names in an empty stage: give numbers, such as --chown=1000:1000")
            .into(),
    }
}

/// An entry of a layer and where its content is.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) entry: TarEntry,
    content: Content,
    /// What was named, device and inode: files that share them are one file with several names.
    shared: Option<(usize, u64, u64)>,
}

#[derive(Debug)]
enum Content {
    None,
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl Planned {
    /// A file of root's that is no file of a tree.
    pub(super) fn file(path: &str, bytes: &[u8], mtime: u64) -> Planned {
        Planned {
            entry: TarEntry {
                path: path.to_owned(),
                kind: TarKind::File(bytes.len() as u64),
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime,
                xattrs: Vec::new(),
            },
            content: Content::Bytes(bytes.to_vec()),
            shared: None,
        }
    }
}

struct Plan<'a> {
    below: &'a Tree,
    chown: Option<(u32, u32)>,
    chmod: Option<&'a Chmod>,
    now: u64,
    /// The time of what comes from outside, where its own doesn't count.
    foreign: Option<u64>,
    entries: BTreeMap<String, Planned>,
    /// The mode of folders that are made.
    made: u32,
    /// Whether what is there gives way, a folder to a file as well: archives do that.
    replaces: bool,
    /// Which of the named ones it is.
    turn: usize,
}

enum PlaceError {
    Io(io::Error),
    Text(String),
}

impl std::convert::From<io::Error> for PlaceError {
    fn from(error: io::Error) -> PlaceError {
        match error.kind() {
            io::ErrorKind::NotADirectory => {
                PlaceError::Text(format!("cannot copy to non-directory: {error}"))
            }
            _ => PlaceError::Io(error),
        }
    }
}

impl Plan<'_> {
    fn place(&mut self, op: &CopyOp, named: &Named) -> Result<(), PlaceError> {
        let ends_as_folder = op.destination.ends_with('/');
        let (mut target, there) = self.below.resolve(&op.destination, true)?;
        let is_there = there.as_ref().map(|item| item.meta.is_dir());
        let already = self
            .entries
            .get(&target)
            .map(|planned| planned.entry.kind == TarKind::Folder);
        let folder_there = already.or(is_there);
        if named.is_folder() && !op.parents {
            if folder_there == Some(false) {
                return Err(PlaceError::Text(format!(
                    "cannot copy to non-directory: /{target}"
                )));
            }
            self.made = match named.is_unpacked {
                true => 0o755,
                false => Chmod::of_new_folder(self.chmod),
            };
            self.folder(&target)?;
            // Of the folder itself only the time is copied.
            if let (Some(planned), Some(first), false) = (
                self.entries.get_mut(&target),
                named.entries.first(),
                named.is_unpacked,
            ) {
                planned.entry.mtime = time_of(&first.item.meta, self.foreign.filter(|_| named.is_foreign));
            }
        } else if op.parents {
            self.folder(&target)?;
            for (short, item) in &named.parents {
                let path = join(&target, short);
                self.folder_like(&path, item.as_ref(), named.is_foreign)?;
            }
            let last = named.parents.last().map_or("", |(short, _)| short.as_str());
            target = join(&join(&target, last), &named.name);
        } else {
            if ends_as_folder || folder_there == Some(true) || target.is_empty() {
                self.folder(&target)?;
                target = join(&target, &named.name);
                target = self.below.resolve(&target, false)?.0;
            }
            let parent = target.rsplit_once('/').map_or("", |(parent, _)| parent);
            self.folder(parent)?;
        }
        if let Some(inline) = &named.inline {
            self.not_on_folder(&target)?;
            let (uid, gid) = self.chown.unwrap_or((0, 0));
            let entry = TarEntry {
                path: target.clone(),
                kind: TarKind::File(inline.bytes.len() as u64),
                mode: self
                    .chmod
                    .map_or(inline.mode, |chmod| chmod.apply(inline.mode, false)),
                uid,
                gid,
                mtime: inline.mtime.unwrap_or(self.now),
                xattrs: Vec::new(),
            };
            let content = Content::Bytes(inline.bytes.clone());
            self.entries.insert(
                target,
                Planned {
                    entry,
                    content,
                    shared: None,
                },
            );
            return Ok(());
        }
        // What is in an archive keeps its modes.
        let chmod = self.chmod;
        if named.is_unpacked {
            self.chmod = None;
        }
        self.replaces = named.is_unpacked;
        self.turn += 1;
        let placed = self.entries_of(op, named, &target);
        self.chmod = chmod;
        placed
    }

    fn entries_of(&mut self, op: &CopyOp, named: &Named, target: &str) -> Result<(), PlaceError> {
        // Where folders of an archive are that links of the base lead elsewhere.
        let mut moved: BTreeMap<&str, String> = BTreeMap::new();
        for found in &named.entries {
            let (parent, name) = found.path.rsplit_once('/').unwrap_or(("", &found.path));
            let place = match moved.get(parent) {
                Some(real) => join(real, name),
                None => join(target, &found.path),
            };
            let mut real = place.clone();
            if found.implied {
                let (there, item) = self.below.resolve(&place, true)?;
                match item {
                    Some(item) if item.meta.is_dir() => real = there,
                    Some(_) => {
                        return Err(PlaceError::Text(format!(
                            "openat {}: not a directory",
                            found.path
                        )));
                    }
                    None => {}
                }
            }
            if found.item.meta.is_dir() && real != join(target, &found.path) {
                moved.insert(&found.path, real.clone());
            }
            if found.implied {
                self.made = 0o755;
                self.folder(&real)?;
                continue;
            }
            // The folder that is named gives its content; its own mode and time are not copied.
            if found.path.is_empty() && found.item.meta.is_dir() && !op.parents {
                continue;
            }
            self.entry(&place, &found.item, named)?;
        }
        Ok(())
    }

    fn not_on_folder(&self, path: &str) -> Result<(), PlaceError> {
        let (_, item) = self.below.resolve(path, false)?;
        let planned = self
            .entries
            .get(path)
            .map(|planned| planned.entry.kind == TarKind::Folder);
        match planned.unwrap_or_else(|| item.is_some_and(|item| item.meta.is_dir())) {
            true => Err(PlaceError::Text(format!(
                "cannot overwrite directory /{path} with a file"
            ))),
            false => Ok(()),
        }
    }

    fn entry(&mut self, path: &str, item: &Item, named: &Named) -> Result<(), PlaceError> {
        let meta = &item.meta;
        let is_foreign = named.is_foreign;
        let kind = match kind_of(meta, item)? {
            Some(kind) => kind,
            // A socket of a context comes as an empty file, as BuildKit sends it.
            None if is_foreign => TarKind::File(0),
            None => return Ok(()),
        };
        let is_folder = kind == TarKind::Folder;
        match is_folder {
            _ if self.replaces => {}
            true => {
                let planned = self
                    .entries
                    .get(path)
                    .map(|planned| planned.entry.kind != TarKind::Folder);
                let there = self.below.resolve(path, false)?.1.map(|item| !item.meta.is_dir());
                if planned.or(there) == Some(true) {
                    return Err(PlaceError::Text(format!("cannot copy to non-directory: /{path}")));
                }
            }
            false => self.not_on_folder(path)?,
        }
        let own = if is_foreign {
            (0, 0)
        } else {
            (meta.uid(), meta.gid())
        };
        let (uid, gid) = self.chown.unwrap_or(own);
        let mode = meta.mode() & 0o7777;
        let is_link = matches!(kind, TarKind::Link(_));
        let content = match kind {
            TarKind::File(_) if meta.is_file() => Content::File(item.place.clone()),
            _ => Content::None,
        };
        // Nothing of a context's attributes is sent, and of an archive's the capabilities alone.
        let mut xattrs = match is_link || is_foreign {
            true => Vec::new(),
            false => kept_xattrs(&item.place),
        };
        if named.is_unpacked {
            xattrs.retain(|(name, _)| name == "security.capability");
        }
        let entry = TarEntry {
            path: path.to_owned(),
            mode: match self.chmod {
                Some(chmod) if !is_link => chmod.apply(mode, is_folder),
                _ => mode,
            },
            uid,
            gid,
            mtime: time_of(meta, self.foreign.filter(|_| is_foreign)),
            xattrs,
            kind,
        };
        let shared = (meta.is_file() && meta.nlink() > 1).then(|| (self.turn, meta.dev(), meta.ino()));
        let planned = Planned {
            entry,
            content,
            shared,
        };
        self.entries.insert(path.to_owned(), planned);
        Ok(())
    }

    /// A folder and those above it: as they are below, or new.
    fn folder(&mut self, path: &str) -> Result<(), PlaceError> {
        let mut whole = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            whole = join(&whole, part);
            if self.entries.contains_key(&whole) {
                continue;
            }
            let (_, item) = self.below.resolve(&whole, false)?;
            if let Some(item) = item {
                if !item.meta.is_dir() {
                    return Err(PlaceError::Text(format!(
                        "cannot copy to non-directory: /{whole}"
                    )));
                }
                let entry = TarEntry {
                    path: whole.clone(),
                    kind: TarKind::Folder,
                    mode: item.meta.mode() & 0o7777,
                    uid: item.meta.uid(),
                    gid: item.meta.gid(),
                    mtime: u64::try_from(item.meta.mtime()).unwrap_or(0),
                    xattrs: kept_xattrs(&item.place),
                };
                self.entries.insert(
                    whole.clone(),
                    Planned {
                        entry,
                        content: Content::None,
                        shared: None,
                    },
                );
                continue;
            }
            self.new_folder(&whole, self.made, self.chown.unwrap_or((0, 0)), self.now);
        }
        Ok(())
    }

    fn folder_like(&mut self, path: &str, like: Option<&Item>, is_foreign: bool) -> Result<(), PlaceError> {
        let there = self.below.resolve(path, false)?.1.is_some();
        match like {
            Some(like) if !there && !self.entries.contains_key(path) => {
                let own = if is_foreign {
                    (0, 0)
                } else {
                    (like.meta.uid(), like.meta.gid())
                };
                let mtime = time_of(&like.meta, self.foreign.filter(|_| is_foreign));
                let own_mode = like.meta.mode() & 0o7777;
                let mode = self.chmod.map_or(own_mode, |chmod| chmod.apply(own_mode, true));
                self.new_folder(path, mode, self.chown.unwrap_or(own), mtime);
                Ok(())
            }
            _ => self.folder(path),
        }
    }

    fn new_folder(&mut self, path: &str, mode: u32, (uid, gid): (u32, u32), mtime: u64) {
        let entry = TarEntry {
            path: path.to_owned(),
            kind: TarKind::Folder,
            mode,
            uid,
            gid,
            mtime,
            xattrs: Vec::new(),
        };
        self.entries.insert(
            path.to_owned(),
            Planned {
                entry,
                content: Content::None,
                shared: None,
            },
        );
    }
}

/// When something was changed, where no other time is settled.
fn time_of(meta: &Metadata, settled: Option<u64>) -> u64 {
    settled.unwrap_or_else(|| u64::try_from(meta.mtime()).unwrap_or(0))
}

fn kind_of(meta: &Metadata, item: &Item) -> io::Result<Option<TarKind>> {
    let kind = meta.file_type();
    let device = || (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    Ok(Some(if kind.is_dir() {
        TarKind::Folder
    } else if kind.is_symlink() {
        let target = fs::read_link(&item.place)?.into_os_string().into_string();
        TarKind::Link(
            target.map_err(|_| io::Error::other(format!("{} links to no UTF-8", item.place.display())))?,
        )
    } else if kind.is_file() {
        TarKind::File(meta.len())
    } else if kind.is_char_device() {
        TarKind::Character(device().0, device().1)
    } else if kind.is_block_device() {
        TarKind::Block(device().0, device().1)
    } else if kind.is_fifo() {
        TarKind::Fifo
    } else {
        return Ok(None);
    }))
}
