//! A tree of files as a tar stream.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};

use super::FileError;

/// File systems of the kernel's own, which hold no files of anybody: proc, sysfs and the two of control groups.
const OF_THE_KERNEL: [i64; 4] = [0x9fa0, 0x6265_6572, 0x27_e0eb, 0x6367_7270];

/// A tar stream in the making.
pub(crate) struct TarWriter<W: Write> {
    tar: tar::Builder<W>,
    /// The first path of each file that has several names.
    names: HashMap<(u64, u64), PathBuf>,
    /// Whether what is mounted below is left out.
    pub(crate) one_mount: bool,
    /// Bytes of files so far.
    pub(crate) bytes: u64,
}

/// Exactly so many bytes of a file that may change meanwhile.
struct Exactly<'a> {
    file: &'a mut File,
    left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it became shorter while it was read",
            ));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            tar: tar::Builder::new(out),
            names: HashMap::new(),
            one_mount: false,
            bytes: 0,
        }
    }

    /// Ends the stream.
    pub(crate) fn finish(self) -> io::Result<W> {
        self.tar.into_inner()
    }

    /// What a folder holds, as entries below `path`.
    pub(crate) fn content(&mut self, folder: &OwnedFd, path: &Path) -> Result<(), FileError> {
        if OF_THE_KERNEL.contains(&(rustix::fs::fstatfs(folder).map_err(FileError::at(path))?.f_type)) {
            return Ok(());
        }
        let mut names: Vec<OsString> = Vec::new();
        for entry in rustix::fs::Dir::read_from(folder).map_err(FileError::at(path))? {
            let entry = entry.map_err(FileError::at(path))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        names.sort();
        names
            .iter()
            .try_for_each(|name| self.entry(folder, name, &path.join(name)))
    }

    /// A file, link or folder with all that it holds, as `path`; what is gone by now is left out.
    pub(crate) fn entry(&mut self, parent: impl AsFd, name: &OsStr, path: &Path) -> Result<(), FileError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        if self.one_mount {
            resolve |= ResolveFlags::NO_XDEV;
        }
        let fd = match rustix::fs::openat2(&parent, name, flags, Mode::empty(), resolve) {
            // A link itself is opened by its name alone.
            Err(rustix::io::Errno::LOOP) => {
                rustix::fs::openat(&parent, name, flags, Mode::empty()).map_err(FileError::at(path))?
            }
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(rustix::io::Errno::XDEV) => return self.mount_point(parent, name, path),
            other => other.map_err(FileError::at(path))?,
        };
        let stat = rustix::fs::fstat(&fd).map_err(FileError::at(path))?;
        self.opened(&fd, &stat, parent.as_fd(), name, path)
    }

    /// A folder itself as `path`, without what it holds.
    pub(crate) fn folder_alone(&mut self, folder: &OwnedFd, path: &Path) -> Result<(), FileError> {
        let stat = rustix::fs::fstat(folder).map_err(FileError::at(path))?;
        let mut header = header(&stat);
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        let mut name = path.as_os_str().to_owned();
        name.push("/");
        self.tar
            .append_data(&mut header, Path::new(&name), io::empty())
            .map_err(FileError::at(path))
    }

    /// Where something is mounted that is left out: the place alone.
    fn mount_point(&mut self, parent: impl AsFd, name: &OsStr, path: &Path) -> Result<(), FileError> {
        let stat =
            rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(FileError::at(path))?;
        let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        header.set_entry_type(match folder {
            true => tar::EntryType::Directory,
            false => tar::EntryType::Regular,
        });
        let mut name = path.as_os_str().to_owned();
        if folder {
            name.push("/");
        }
        self.tar
            .append_data(&mut header, Path::new(&name), io::empty())
            .map_err(FileError::at(path))
    }

    fn opened(
        &mut self,
        fd: &OwnedFd,
        stat: &Stat,
        parent: impl AsFd,
        name: &OsStr,
        path: &Path,
    ) -> Result<(), FileError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut header = header(stat);
        if kind == FileType::Directory {
            let folder = rustix::fs::openat(
                fd,
                ".",
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            );
            let folder = folder.map_err(FileError::at(path))?;
            self.attributes(&folder, path)?;
            self.folder_alone(&folder, path)?;
            return self.content(&folder, path);
        }
        header.set_size(0);
        if stat.st_nlink > 1 {
            let first = self
                .names
                .entry((stat.st_dev, stat.st_ino))
                .or_insert_with(|| path.to_owned());
            if first != path {
                let first = first.clone();
                header.set_entry_type(tar::EntryType::Link);
                return self
                    .tar
                    .append_link(&mut header, path, &first)
                    .map_err(FileError::at(path));
            }
        }
        match kind {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(fd, "", Vec::new()).map_err(FileError::at(path))?;
                header.set_entry_type(tar::EntryType::Symlink);
                let target = OsStr::from_bytes(target.as_bytes());
                self.tar
                    .append_link(&mut header, path, Path::new(target))
                    .map_err(FileError::at(path))
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file =
                    rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(FileError::at(path))?;
                let stat = rustix::fs::fstat(&file).map_err(FileError::at(path))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    let text = "it became something else while it was read";
                    return Err(FileError::at(path)(io::Error::other(text)));
                }
                self.attributes(&file, path)?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(size);
                self.bytes += size;
                let content = Exactly {
                    file: &mut File::from(file),
                    left: size,
                };
                self.tar
                    .append_data(&mut header, path, content)
                    .map_err(FileError::at(path))
            }
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                header.set_entry_type(match kind {
                    FileType::CharacterDevice => tar::EntryType::Char,
                    FileType::BlockDevice => tar::EntryType::Block,
                    _ => tar::EntryType::Fifo,
                });
                let mut number = |number| header_number(&mut header, number);
                number(stat.st_rdev).map_err(FileError::at(path))?;
                self.tar
                    .append_data(&mut header, path, io::empty())
                    .map_err(FileError::at(path))
            }
            // A socket is nothing without who listens.
            _ => Ok(()),
        }
    }

    /// Extended attributes that are a file's own: capabilities and the user's.
    fn attributes(&mut self, file: &OwnedFd, path: &Path) -> Result<(), FileError> {
        let mut names = vec![0; 64 * 1024];
        let Ok(length) = rustix::fs::flistxattr(file, &mut names[..]) else {
            return Ok(());
        };
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for name in names[..length].split(|byte| *byte == 0) {
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            let own = name == "security.capability"
                || (name.starts_with("user.") && !name.starts_with("user.overlay."));
            let mut value = vec![0; 64 * 1024];
            if own && let Ok(length) = rustix::fs::fgetxattr(file, name, &mut value[..]) {
                found.push((format!("SCHILY.xattr.{name}"), value[..length].to_vec()));
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        found.sort();
        let records = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()));
        self.tar
            .append_pax_extensions(records)
            .map_err(FileError::at(path))
    }
}

fn header(stat: &Stat) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(u64::from(stat.st_uid));
    header.set_gid(u64::from(stat.st_gid));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header
}

fn header_number(header: &mut tar::Header, device: u64) -> io::Result<()> {
    header.set_device_major(rustix::fs::major(device))?;
    header.set_device_minor(rustix::fs::minor(device))
}
