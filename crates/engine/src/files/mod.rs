//! Files that others may change while they are copied: every path is resolved by the kernel below one open folder, so that
//! no link leads out of it, whoever puts one there and whenever.

mod tar_in;
mod tar_out;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

pub(crate) use tar_in::{Owner, TarReader};
pub(crate) use tar_out::TarWriter;

/// Links followed before a path is given up, as in the kernel.
const MOST_LINKS: usize = 40;

/// Why a file could not be copied.
#[derive(Debug)]
pub struct FileError {
    /// Which, or what was being done.
    pub what: String,
    /// Why.
    pub source: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl FileError {
    pub(crate) fn at<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> FileError {
        let what = path.display().to_string();
        move |source| FileError {
            what,
            source: source.into(),
        }
    }
}

/// An open folder, and how links below it are taken.
#[derive(Debug)]
pub(crate) struct Root<'a> {
    fd: BorrowedFd<'a>,
    resolve: ResolveFlags,
}

impl<'a> Root<'a> {
    /// The root of a container: links mean what they mean inside.
    pub(crate) fn of_container(fd: BorrowedFd<'a>) -> Root<'a> {
        Root {
            fd,
            resolve: ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        }
    }

    /// A folder of the host: links that lead out of it are refused.
    pub(crate) fn of_folder(fd: BorrowedFd<'a>) -> Root<'a> {
        Root {
            fd,
            resolve: ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        }
    }

    /// Opens what a path leads to.
    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        for _ in 0..64 {
            let opened = rustix::fs::openat2(
                self.fd,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                self.resolve,
            );
            match opened {
                // A rename raced with it.
                Err(rustix::io::Errno::AGAIN) => {}
                other => return Ok(other?),
            }
        }
        Err(rustix::io::Errno::AGAIN.into())
    }

    /// The folder that a path leads to, readable.
    pub(crate) fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// The folder that a path leads to; missing ones are made on the way, open to all.
    pub(crate) fn folder_made(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut here = match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.folder(Path::new(""))?,
            other => return other,
        };
        let mut at = PathBuf::new();
        for part in path.components() {
            let Component::Normal(part) = part else { continue };
            at.push(part);
            here = match self.folder(&at) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    rustix::fs::mkdirat(&here, part, Mode::from_raw_mode(0o755))?;
                    // Whatever the caller's mask is.
                    let made = self.folder(&at)?;
                    rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
                    made
                }
                other => other?,
            };
        }
        Ok(here)
    }

    /// A path without links, relative to the root; its last part may be missing, or be a link when that isn't followed.
    ///
    /// It is only a name: whoever uses it has it resolved below the root again.
    pub(crate) fn without_links(&self, path: &Path, follow_last: bool) -> io::Result<PathBuf> {
        let mut todo: Vec<OsString> = parts(path);
        let mut found = PathBuf::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                found.pop();
                continue;
            }
            let next = found.join(&part);
            if todo.is_empty() && !follow_last {
                return Ok(next);
            }
            let fd = match self.open(&next, OFlags::PATH | OFlags::NOFOLLOW) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && todo.is_empty() => return Ok(next),
                other => other?,
            };
            let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
            if kind != rustix::fs::FileType::Symlink {
                found = next;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let target = rustix::fs::readlinkat(&fd, "", Vec::new())?;
            let target = PathBuf::from(<OsString as std::os::unix::ffi::OsStringExt>::from_vec(
                target.into_bytes(),
            ));
            if target.is_absolute() {
                found = PathBuf::new();
            }
            todo.extend(parts(&target));
        }
        Ok(found)
    }
}

impl AsFd for Root<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}

/// A path's parts, the last first, without `/` and `.`.
fn parts(path: &Path) -> Vec<OsString> {
    let wanted = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    });
    let mut all: Vec<OsString> = wanted.collect();
    all.reverse();
    all
}

/// A path as parent and last part.
pub(crate) fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

/// The bytes of the files below a folder, each counted once whatever names it has; what can't be read counts nothing.
pub(crate) fn bytes_below(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fn add(folder: &Path, seen: &mut std::collections::BTreeSet<u64>) -> u64 {
        let mut sum = 0;
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() {
                sum += add(&entry.path(), seen);
            } else if data.is_file() && (data.nlink() == 1 || seen.insert(data.ino())) {
                sum += data.len();
            }
        }
        sum
    }
    add(folder, &mut std::collections::BTreeSet::new())
}

/// Sends a tree through a pipe to who takes it apart; gives the bytes of files.
pub(crate) fn transfer(
    send: impl FnOnce(&mut TarWriter<io::BufWriter<io::PipeWriter>>) -> Result<(), FileError> + Send,
    receive: impl FnOnce(io::BufReader<io::PipeReader>) -> Result<(), FileError>,
) -> Result<u64, FileError> {
    const ROOM: usize = 128 * 1024;
    let pipe = |error| FileError {
        what: "a pipe".into(),
        source: error,
    };
    let (reader, writer) = io::pipe().map_err(pipe)?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut tar = TarWriter::new(io::BufWriter::with_capacity(ROOM, writer));
            send(&mut tar)?;
            let bytes = tar.bytes;
            let out = tar.finish().map_err(pipe)?;
            out.into_inner().map_err(|error| pipe(error.into_error()))?;
            Ok(bytes)
        });
        let received = receive(io::BufReader::with_capacity(ROOM, reader));
        let sent: Result<u64, FileError> = sender
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (received, sent) {
            // Whoever stopped reading knows better why.
            (Err(error), Err(sent)) if sent.source.kind() == io::ErrorKind::BrokenPipe => Err(error),
            (_, Err(sent)) => Err(sent),
            (received, Ok(bytes)) => received.map(|()| bytes),
        }
    })
}
