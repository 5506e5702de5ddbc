//! A tar stream as files below an open folder; nothing in it leads out, whatever is there already and whoever changes it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{FileError, Root};

/// More entries than any real tree has.
const MOST_ENTRIES: u64 = 5_000_000;

/// Whose the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Whose the stream says; needs root.
    Kept,
    /// Whoever writes them.
    Writer,
}

/// Takes a tar stream apart.
pub(crate) struct TarReader<'a> {
    root: Root<'a>,
    /// Where the entries go, below the root.
    folder: PathBuf,
    owner: Owner,
    /// Folders' owners, modes and times, set last: a folder that can't be written must still be filled.
    late: Vec<(PathBuf, tar::Header)>,
}

impl<'a> TarReader<'a> {
    pub(crate) fn new(root: Root<'a>, folder: &Path, owner: Owner) -> Self {
        Self {
            root,
            folder: folder.to_owned(),
            owner,
            late: Vec::new(),
        }
    }

    /// Makes everything that the stream holds.
    pub(crate) fn run(mut self, stream: impl Read) -> Result<(), FileError> {
        let mut archive = tar::Archive::new(stream);
        let broken = |source| FileError {
            what: "the tar stream cannot be read".into(),
            source,
        };
        for (number, entry) in archive.entries().map_err(broken)?.enumerate() {
            if number as u64 > MOST_ENTRIES {
                return Err(broken(io::Error::other("it has too many entries")));
            }
            self.entry(&mut entry.map_err(broken)?)?;
        }
        for (path, header) in std::mem::take(&mut self.late).into_iter().rev() {
            let folder = self
                .root
                .open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW);
            let finished = folder.and_then(|folder| self.finish(&folder, &header));
            finished.map_err(FileError::at(&path))?;
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), FileError> {
        let name = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let header = entry.header().clone();
        let kind = header.entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let inside = inside(&name).map_err(FileError::at(&name))?;
        let path = self.folder.join(&inside);
        let at = |error: io::Error| FileError::at(&name)(error);
        if inside.as_os_str().is_empty() {
            if kind.is_dir() {
                self.late.push((path, header));
            }
            return Ok(());
        }
        let (Some(parent), Some(last)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let parent = self.root.folder_made(parent).map_err(at)?;
        if kind.is_dir() {
            self.folder(&parent, last).map_err(at)?;
            self.late.push((path, header));
            return Ok(());
        }
        let in_place = self.clear(&parent, last).map_err(at)?;
        self.other(entry, &header, &parent, last, in_place).map_err(at)
    }

    fn folder(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    return Err(io::Error::new(
                        io::ErrorKind::NotADirectory,
                        "cannot overwrite non-directory with directory",
                    ));
                }
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Takes away what an entry replaces; true when that can't go, since something is mounted there.
    fn clear(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<bool> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(false),
            Err(Errno::BUSY) => Ok(true),
            Err(Errno::ISDIR) => Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "cannot overwrite directory with non-directory",
            )),
            Err(error) => Err(error.into()),
        }
    }

    fn other<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
        header: &tar::Header,
        parent: &OwnedFd,
        name: &OsStr,
        in_place: bool,
    ) -> io::Result<()> {
        let kind = header.entry_type();
        if kind.is_symlink() {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            rustix::fs::symlinkat(OsStr::from_bytes(&target), parent, name)?;
            return self.finish_name(parent, name, header);
        }
        if kind.is_hard_link() {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let target = inside(Path::new(OsStr::from_bytes(&target)))?;
            let target = self.folder.join(target);
            let (Some(folder), Some(last)) = (target.parent(), target.file_name()) else {
                return Err(leads_out());
            };
            let folder = self.root.folder(folder)?;
            // A link's target isn't followed: the link itself gets another name.
            return Ok(rustix::fs::linkat(&folder, last, parent, name, AtFlags::empty())?);
        }
        if kind.is_file() || kind.is_gnu_sparse() || kind.is_contiguous() {
            let new = match in_place {
                true => OFlags::TRUNC,
                false => OFlags::CREATE | OFlags::EXCL,
            };
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | new;
            let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?;
            let mut file = File::from(file);
            let size = entry.size();
            let written = io::copy(entry, &mut file).and_then(|copied| {
                if copied != size {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the stream ends in the middle of it",
                    ));
                }
                self.finish(&file, header)?;
                if let Ok(Some(records)) = entry.pax_extensions() {
                    attributes(&file, records, self.owner);
                }
                Ok(())
            });
            if written.is_err() && !in_place {
                // Half a file would look like a whole one.
                let _ = rustix::fs::unlinkat(parent, name, AtFlags::empty());
            }
            return written;
        }
        let file_type = match kind {
            tar::EntryType::Fifo => FileType::Fifo,
            // Without root there are no devices.
            _ if self.owner == Owner::Writer => return Ok(()),
            tar::EntryType::Char => FileType::CharacterDevice,
            tar::EntryType::Block => FileType::BlockDevice,
            _ => return Err(io::Error::other("it is of a kind that can't be made")),
        };
        let number = |value: io::Result<Option<u32>>| value.ok().flatten().unwrap_or(0);
        let device = rustix::fs::makedev(number(header.device_major()), number(header.device_minor()));
        rustix::fs::mknodat(parent, name, file_type, Mode::from_raw_mode(0o600), device)?;
        self.finish_name(parent, name, header)?;
        let mode = Mode::from_raw_mode(header.mode()? & 0o7777);
        let node = rustix::fs::openat(
            parent,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&node));
        Ok(rustix::fs::chmod(path, mode)?)
    }

    /// Owner, mode and time of an open file. Owner before mode: a change of owner takes the set-id bits away.
    fn finish(&self, file: impl AsFd, header: &tar::Header) -> io::Result<()> {
        if self.owner == Owner::Kept {
            let (uid, gid) = owner(header)?;
            rustix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(header.mode()? & 0o7777))?;
        Ok(rustix::fs::futimens(&file, &times(header))?)
    }

    /// Owner and time of what can't be opened.
    fn finish_name(&self, parent: &OwnedFd, name: &OsStr, header: &tar::Header) -> io::Result<()> {
        if self.owner == Owner::Kept {
            let (uid, gid) = owner(header)?;
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(rustix::fs::utimensat(
            parent,
            name,
            &times(header),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

fn attributes(file: &File, records: tar::PaxExtensions<'_>, owner: Owner) {
    for record in records.flatten() {
        let Some(name) = record
            .key()
            .ok()
            .and_then(|key| key.strip_prefix("SCHILY.xattr."))
        else {
            continue;
        };
        let wanted = (name == "security.capability" && owner == Owner::Kept)
            || (name.starts_with("user.") && !name.starts_with("user.overlay."));
        if wanted {
            // A file system may have none.
            let _ = rustix::fs::fsetxattr(file, name, record.value_bytes(), XattrFlags::empty());
        }
    }
}

fn owner(header: &tar::Header) -> io::Result<(Uid, Gid)> {
    let number = |id: u64| {
        u32::try_from(id)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "its owner's number is too large"))
    };
    Ok((
        Uid::from_raw(number(header.uid()?)?),
        Gid::from_raw(number(header.gid()?)?),
    ))
}

fn times(header: &tar::Header) -> Timestamps {
    let time = Timespec {
        tv_sec: i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0),
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn leads_out() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it leads out of the folder")
}

/// An entry's name as a path below the folder.
fn inside(name: &Path) -> io::Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(leads_out()),
        }
    }
    Ok(path)
}
