//! The container's root by descriptor: every path is resolved inside it by the kernel, whatever links it holds.

use coil_sys::file::{self, resolve};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Links inside are followed as the container would see them, never `/proc/PID/fd` and the like.
const INSIDE: u64 = resolve::IN_ROOT | resolve::NO_MAGIC_LINKS;

/// Links followed before a path is given up.
const MOST_LINKS: usize = 40;

/// An open root directory.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Root {
    /// The root that a descriptor names.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Names what a path leads to inside, without opening it (`O_PATH`).
    pub(crate) fn name(&self, path: &Path) -> io::Result<OwnedFd> {
        file::open_below(&self.fd, path, libc::O_PATH, 0, INSIDE)
    }

    /// The same, but no link is followed on the way.
    pub(crate) fn name_without_links(&self, path: &Path) -> io::Result<OwnedFd> {
        let resolve = resolve::IN_ROOT | resolve::NO_SYMLINKS;
        file::open_below(&self.fd, path, libc::O_PATH | libc::O_NOFOLLOW, 0, resolve)
    }

    /// The directory at a path that holds no links; made, with those above it, where it is missing.
    pub(crate) fn plain_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.directory_by(path, 0o755, &|path| self.name_without_links(path), 0)
    }

    /// The directory that a path leads to; made, with those above it, where it is missing.
    pub(crate) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.directory_by(path, 0o755, &|path| self.name(path), MOST_LINKS)
    }

    fn directory_by(
        &self,
        path: &Path,
        mode: u32,
        name: &dyn Fn(&Path) -> io::Result<OwnedFd>,
        links: usize,
    ) -> io::Result<OwnedFd> {
        match name(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found.and_then(directory_only),
        }
        let mut at = PathBuf::from("/");
        let mut here = name(&at)?;
        for part in path.components() {
            let Component::Normal(part) = part else {
                at.push(part);
                continue;
            };
            let parent = at.clone();
            at.push(part);
            here = match name(&at) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match file::mkdir_at(&here, Path::new(part), mode) {
                        Ok(()) => name(&at)?,
                        // A link to what is missing: make what it leads to.
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && links > 0 => {
                            let target = parent.join(file::read_link_at(&here, Path::new(part))?);
                            self.directory_by(&target, mode, name, links - 1)?
                        }
                        Err(error) => return Err(error),
                    }
                }
                found => found?,
            };
        }
        directory_only(here)
    }

    /// The file that a path leads to; made empty where it is missing.
    pub(crate) fn file(&self, path: &Path) -> io::Result<OwnedFd> {
        self.file_by(path, MOST_LINKS)
    }

    fn file_by(&self, path: &Path, links: usize) -> io::Result<OwnedFd> {
        match self.name(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let (Some(parent), Some(last)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let directory = self.directory(parent)?;
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_NOFOLLOW;
        match file::open_at(&directory, Path::new(last), flags, 0o644) {
            Ok(_) => self.name(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && links > 0 => {
                let target = parent.join(file::read_link_at(&directory, Path::new(last))?);
                self.file_by(&target, links - 1)
            }
            Err(error) => Err(error),
        }
    }
}

fn directory_only(fd: OwnedFd) -> io::Result<OwnedFd> {
    match file::status(&fd)?.kind() {
        libc::S_IFDIR => Ok(fd),
        libc::S_IFLNK => Err(io::Error::from_raw_os_error(libc::ELOOP)),
        _ => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
    }
}
