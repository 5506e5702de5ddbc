//! `cp`: files between a container and the host, both ways, whether it runs or not.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use coil_runtime::spec::ContainerSpec;
use coil_runtime::{Failure, View};
use rustix::fs::{AtFlags, FileType, OFlags};

use crate::Engine;
use crate::files::{FileError, Owner, Root, TarReader, TarWriter, transfer};
use crate::find::FindError;
use crate::record::Container;
use crate::run_error::RunError;
use crate::start::Guard;

/// Why files could not be copied.
#[derive(Debug)]
pub enum CopyError {
    /// There is no such container.
    Find(FindError),
    /// The container has no such file.
    Missing {
        /// The path as it was given.
        path: String,
        /// The container as it was named.
        container: String,
    },
    /// The folder in which the copy is to be isn't there.
    NoFolder(String),
    /// A folder can't take a file's place.
    FolderOverFile(String),
    /// What is to be a folder is none.
    NotFolder(String),
    /// The container's own file system can't be written.
    ReadOnly(String),
    /// A file could not be read or written.
    File(FileError),
    /// The container's files can't be shown.
    View(Box<Failure>),
    /// The container can't be held still.
    Container(Box<RunError>),
}

impl CopyError {
    /// What the user can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            CopyError::Find(error) => Some(error.help().to_owned()),
            CopyError::Missing { container, path } => {
                let folder = Path::new(path).parent().filter(|path| path.is_absolute());
                let folder = folder.unwrap_or(Path::new("/"));
                Some(format!(
                    "`coil exec {container} ls {}` shows what is there, while it runs",
                    folder.display()
                ))
            }
            CopyError::NoFolder(path) => Some(format!("make the folder that is to hold {path} first")),
            CopyError::FolderOverFile(path) => {
                Some(format!("{path} is a file: give the folder another name"))
            }
            CopyError::NotFolder(_) => Some("give a folder, or leave the slash at the end away".into()),
            CopyError::ReadOnly(_) => Some("copy into a volume of it, or make it without --read-only".into()),
            CopyError::File(error) if error.source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space; `coil system df` shows what takes it".into())
            }
            CopyError::Container(error) => error.help(),
            CopyError::File(_) | CopyError::View(_) => None,
        }
    }
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyError::Find(error) => fmt::Display::fmt(error, f),
            CopyError::Missing { path, container } => {
                write!(f, "Could not find the file {path} in container {container}")
            }
            CopyError::NoFolder(path) => write!(f, "{path}: no such directory"),
            CopyError::FolderOverFile(path) => write!(f, "{path}: cannot copy directory"),
            CopyError::NotFolder(path) => write!(f, "destination \"{path}\" must be a directory"),
            CopyError::ReadOnly(_) => f.write_str("container rootfs is marked read-only"),
            CopyError::File(error) => fmt::Display::fmt(error, f),
            CopyError::View(failure) => write!(f, "the container's files cannot be shown: {failure}"),
            CopyError::Container(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for CopyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CopyError::File(error) => Some(&error.source),
            CopyError::Container(error) => std::error::Error::source(&**error),
            _ => None,
        }
    }
}

impl From<FileError> for CopyError {
    fn from(error: FileError) -> Self {
        CopyError::File(error)
    }
}

impl From<FindError> for CopyError {
    fn from(error: FindError) -> Self {
        CopyError::Find(error)
    }
}

/// How files are copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// A source that is a link is followed.
    pub follow: bool,
    /// Owners are kept on the host too, as far as coil may.
    pub keep_owner: bool,
}

/// A container's files, and nobody starting it meanwhile where it doesn't run.
pub(crate) struct Shown {
    pub(crate) view: View,
    _guard: Option<Guard>,
}

impl Engine {
    /// Shows a container's files: as its processes see them, or else as they would.
    pub(crate) fn show(&self, container: &Container, with_mounts: bool) -> Result<Shown, CopyError> {
        let held = |error| CopyError::Container(Box::new(error));
        let state = &container.state;
        if state.status.is_live() && state.pid > 0 {
            let view = View::of_process(state.pid).map_err(|source| {
                CopyError::File(FileError {
                    what: "the container's files cannot be reached".into(),
                    source,
                })
            })?;
            // The number may be another's by now, if the container has ended meanwhile.
            if coil_runtime::state::is_alive(&container.run_dir) {
                return Ok(Shown { view, _guard: None });
            }
        }
        let guard = self.guard(&container.record.id).map_err(held)?;
        let layers = self.layers(&container.record).map_err(held)?;
        let record = &container.record;
        let mut spec = ContainerSpec::new(
            &record.id,
            container.dir.clone(),
            container.run_dir.clone(),
            layers,
            Vec::new(),
        );
        spec.id_map = self.view_ids();
        if with_mounts {
            spec.mounts.clone_from(&record.mounts);
        }
        let view =
            View::open(&self.options.program, &spec).map_err(|error| CopyError::View(Box::new(error)))?;
        Ok(Shown {
            view,
            _guard: Some(guard),
        })
    }

    /// Copies files out of a container into a place of the host; gives the bytes of files.
    ///
    /// # Errors
    /// See [`CopyError`]; a file that was cut short is removed.
    pub fn copy_from(
        &self,
        container: &str,
        source: &str,
        destination: &Path,
        options: &CopyOptions,
    ) -> Result<u64, CopyError> {
        let target = self.container(container)?;
        let shown = self.show(&target, true)?;
        let root = Root::of_container(shown.view.as_fd());
        let from = find(&root, source, options.follow).map_err(|error| missing(error, source, container))?;
        self.event(&target.record, "archive-path", &[]);
        let place = destination_of_host(destination)?;
        let plan = Plan::new(&from, &place, &destination.display().to_string())?;
        let owner = match options.keep_owner {
            true => self.owner(),
            false => Owner::Writer,
        };
        let folder = plan.folder.as_path();
        let to = File::open(folder).map_err(FileError::at(folder))?;
        let bytes = transfer(
            |tar| plan.send(&from, tar),
            |stream| TarReader::new(Root::of_folder(to.as_fd()), Path::new(""), owner).run(stream),
        )?;
        Ok(bytes)
    }

    /// Copies files out of a container as a tar stream.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn copy_from_as_tar(
        &self,
        container: &str,
        source: &str,
        options: &CopyOptions,
        out: &mut dyn Write,
    ) -> Result<u64, CopyError> {
        let target = self.container(container)?;
        let shown = self.show(&target, true)?;
        let root = Root::of_container(shown.view.as_fd());
        let from = find(&root, source, options.follow).map_err(|error| missing(error, source, container))?;
        self.event(&target.record, "archive-path", &[]);
        let mut tar = TarWriter::new(out);
        from.send(&mut tar, &from.name, from.content_alone)?;
        let bytes = tar.bytes;
        tar.finish().map_err(FileError::at(Path::new("the tar stream")))?;
        Ok(bytes)
    }

    /// Copies files of the host into a container; gives the bytes of files.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn copy_to(
        &self,
        container: &str,
        source: &str,
        destination: &str,
        options: &CopyOptions,
    ) -> Result<u64, CopyError> {
        let path = std::path::absolute(source).map_err(FileError::at(Path::new(source)))?;
        let slash = File::open("/").map_err(FileError::at(Path::new("/")))?;
        // The user's own paths: links among them lead where they lead.
        let host = Root::of_container(slash.as_fd());
        let mut text = path.to_string_lossy().into_owned();
        if source.ends_with("/.") || source == "." {
            text.push_str("/.");
        } else if source.ends_with('/') {
            text.push('/');
        }
        let from = find(&host, &text, options.follow).map_err(FileError::at(&path))?;
        let target = self.container(container)?;
        self.check_writable(&target, destination)?;
        let shown = self.show(&target, true)?;
        let root = Root::of_container(shown.view.as_fd());
        let place = destination_inside(&root, container, destination)?;
        let plan = Plan::new(&from, &place, &format!("{container}:{destination}"))?;
        let bytes = transfer(
            |tar| plan.send(&from, tar),
            |stream| {
                TarReader::new(Root::of_container(shown.view.as_fd()), &plan.folder, self.owner()).run(stream)
            },
        );
        let bytes = bytes.map_err(|error| read_only(error, destination))?;
        self.event(&target.record, "extract-to-dir", &[]);
        Ok(bytes)
    }

    /// Unpacks a tar stream, compressed or not, into a folder of a container.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub fn copy_to_from_tar(
        &self,
        container: &str,
        stream: impl Read + Send + 'static,
        destination: &str,
    ) -> Result<(), CopyError> {
        let target = self.container(container)?;
        self.check_writable(&target, destination)?;
        let shown = self.show(&target, true)?;
        let root = Root::of_container(shown.view.as_fd());
        let place = destination_inside(&root, container, destination)?;
        if place.kind != Some(true) {
            return Err(CopyError::NotFolder(format!("{container}:{destination}")));
        }
        let stream = coil_store::decompressed(Box::new(stream));
        let stream = stream.map_err(FileError::at(Path::new("the tar stream")))?;
        let reader = TarReader::new(root, &place.path, self.owner());
        reader
            .run(stream)
            .map_err(|error| read_only(error, destination))?;
        self.event(&target.record, "extract-to-dir", &[]);
        Ok(())
    }

    /// A container that was made read-only takes files in its mounts alone.
    fn check_writable(&self, container: &Container, destination: &str) -> Result<(), CopyError> {
        let record = &container.record;
        let path = Path::new("/").join(destination);
        let mounted = record
            .points
            .iter()
            .any(|point| path.starts_with(&point.destination));
        if record.read_only && !mounted {
            return Err(CopyError::ReadOnly(destination.to_owned()));
        }
        Ok(())
    }
}

fn missing(error: io::Error, path: &str, container: &str) -> CopyError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => CopyError::Missing {
            path: path.to_owned(),
            container: container.to_owned(),
        },
        _ => FileError::at(Path::new(path))(error).into(),
    }
}

fn read_only(error: FileError, destination: &str) -> CopyError {
    match error.source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => CopyError::ReadOnly(destination.to_owned()),
        _ => error.into(),
    }
}

/// What is copied: its folder, open, and its name there.
struct Chosen {
    parent: OwnedFd,
    /// Empty for the root itself.
    name: OsString,
    folder: bool,
    /// Whether only what it holds is meant: the path ends in `/.`, or it is the root.
    content_alone: bool,
}

fn find(root: &Root<'_>, source: &str, follow: bool) -> io::Result<Chosen> {
    let content = source.ends_with("/.") || source == ".";
    let follow = follow || content || source.ends_with('/');
    let path = root.without_links(Path::new(source), follow)?;
    let Some((parent, name)) = crate::files::split(&path) else {
        return Ok(Chosen {
            parent: root.folder(Path::new(""))?,
            name: OsString::new(),
            folder: true,
            content_alone: true,
        });
    };
    let parent = root.folder(parent)?;
    let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if !folder && source.ends_with('/') {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(Chosen {
        name: name.to_owned(),
        parent,
        folder,
        content_alone: content && folder,
    })
}

impl Chosen {
    /// Writes it under a name, or what it holds alone.
    fn send<W: Write>(
        &self,
        tar: &mut TarWriter<W>,
        name: &OsStr,
        content_alone: bool,
    ) -> Result<(), FileError> {
        if !content_alone {
            return tar.entry(&self.parent, &self.name, Path::new(name));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match self.name.is_empty() {
            true => self.parent.try_clone().map_err(FileError::at(Path::new("/")))?,
            false => rustix::fs::openat(&self.parent, &*self.name, flags, rustix::fs::Mode::empty())
                .map_err(FileError::at(Path::new(&self.name)))?,
        };
        tar.content(&folder, Path::new(""))
    }
}

/// Where a copy goes.
struct Place {
    /// Without links.
    path: PathBuf,
    /// Whether it is a folder; none when nothing is there.
    kind: Option<bool>,
    /// Whether the folder that is to hold it is there.
    has_parent: bool,
    /// Whether it was written as a folder.
    slash: bool,
}

fn destination_of_host(path: &Path) -> Result<Place, CopyError> {
    let text = path.to_string_lossy();
    let slash = text.ends_with('/') || text.ends_with("/.");
    let whole = std::path::absolute(path).map_err(FileError::at(path))?;
    let kind = std::fs::metadata(&whole).ok().map(|data| data.is_dir());
    // A link to a file stands for that file.
    let whole = match kind {
        Some(_) => std::fs::canonicalize(&whole).map_err(FileError::at(path))?,
        None => whole,
    };
    Ok(Place {
        kind,
        has_parent: whole.parent().is_some_and(Path::is_dir),
        path: whole,
        slash,
    })
}

fn destination_inside(root: &Root<'_>, container: &str, text: &str) -> Result<Place, CopyError> {
    let slash = text.ends_with('/') || text.ends_with("/.");
    let path = match root.without_links(Path::new(text), true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(match slash {
                true => CopyError::NoFolder(text.to_owned()),
                false => CopyError::Missing {
                    path: Path::new(text)
                        .parent()
                        .unwrap_or(Path::new("/"))
                        .display()
                        .to_string(),
                    container: container.to_owned(),
                },
            });
        }
        other => other.map_err(FileError::at(Path::new(text)))?,
    };
    let is_folder = |path: &Path| {
        root.open(path, OFlags::PATH).and_then(|fd| {
            Ok(FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Directory)
        })
    };
    Ok(Place {
        kind: is_folder(&path).ok(),
        has_parent: path
            .parent()
            .is_none_or(|parent| is_folder(parent).unwrap_or(false)),
        path,
        slash,
    })
}

/// What becomes of a source at a destination, by Docker's table.
struct Plan {
    /// The folder that is written into.
    folder: PathBuf,
    /// The source's name there; none when its content alone goes there.
    name: Option<OsString>,
}

impl Plan {
    fn new(from: &Chosen, place: &Place, shown: &str) -> Result<Plan, CopyError> {
        let beside = || {
            let (parent, name) = crate::files::split(&place.path).unwrap_or((Path::new("/"), OsStr::new("")));
            Plan {
                folder: parent.to_owned(),
                name: Some(name.to_owned()),
            }
        };
        match (from.folder, place.kind) {
            (true, Some(true)) if from.content_alone => Ok(Plan {
                folder: place.path.clone(),
                name: None,
            }),
            (_, Some(true)) => Ok(Plan {
                folder: place.path.clone(),
                name: Some(from.name.clone()),
            }),
            (true, Some(false)) => Err(CopyError::FolderOverFile(shown.to_owned())),
            (false, Some(false)) if place.slash => Err(CopyError::NotFolder(shown.to_owned())),
            (false, Some(false)) => Ok(beside()),
            (false, None) if place.slash => Err(CopyError::NoFolder(shown.to_owned())),
            (_, None) if !place.has_parent => Err(CopyError::NoFolder(shown.to_owned())),
            (_, None) => Ok(beside()),
        }
    }

    fn send<W: Write>(&self, from: &Chosen, tar: &mut TarWriter<W>) -> Result<(), FileError> {
        match &self.name {
            None => from.send(tar, OsStr::new(""), true),
            // The root under another name.
            Some(name) if from.name.is_empty() => {
                tar.folder_alone(&from.parent, Path::new(name))?;
                tar.content(&from.parent, Path::new(name))
            }
            Some(name) => from.send(tar, name, false),
        }
    }
}
