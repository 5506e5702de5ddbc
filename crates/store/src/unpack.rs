//! Layer tar streams unpacked into a folder (OCI image specification, "Image Layer Filesystem Changeset").
//!
//! The folder is fresh and nobody else writes to it, so a path is safe once each of its parents was seen to be
//! a real folder inside. A parent that is a symbolic link is followed inside the folder only.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use coil_oci::{Digest, Hasher, media_type};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
/// More entries than any real layer has.
const MOST_ENTRIES: u64 = 2_000_000;
/// How many symbolic links a path's parents may hold.
const MOST_LINKS: usize = 40;

/// Whom unpacked files belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Whom the layer says; needs root.
    Layer,
    /// The same in a user namespace that has these owners, with overlayfs's marks as they are read there.
    Mapped,
    /// Whoever unpacks: for a user namespace that maps one id.
    Unpacker,
}

/// Why a layer could not be unpacked.
#[derive(Debug)]
pub enum UnpackError {
    /// A name, or a hard link's target, leads out of the layer.
    Escape(String),
    /// An entry is of a kind that a layer may not hold.
    Kind(String),
    /// There are too many entries.
    TooMany,
    /// The bytes are not those of the diff id.
    WrongDigest {
        /// What they are.
        found: Digest,
    },
    /// The media type is unknown.
    MediaType(String),
    /// An entry could not be made.
    Entry {
        /// Its path.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The stream is no tar, or is cut short.
    Stream(io::Error),
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnpackError::Escape(path) => write!(f, "`{}` leads out of the layer", path.escape_debug()),
            UnpackError::Kind(path) => write!(
                f,
                "`{}` is of a kind that a layer may not hold",
                path.escape_debug()
            ),
            UnpackError::TooMany => write!(f, "it has more than {MOST_ENTRIES} entries"),
            UnpackError::WrongDigest { found } => write!(f, "its bytes have the digest {found}"),
            UnpackError::MediaType(kind) => write!(f, "its type `{}` is unknown", kind.escape_debug()),
            UnpackError::Entry { path, .. } => write!(f, "`{}` could not be made", path.escape_debug()),
            UnpackError::Stream(_) => f.write_str("its tar stream is broken"),
        }
    }
}

impl std::error::Error for UnpackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            UnpackError::Entry { source, .. } | UnpackError::Stream(source) => Some(source),
            _ => None,
        }
    }
}

/// What was unpacked.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

impl crate::Store {
    /// The size of a layer's tar stream in bytes; reads it all.
    ///
    /// # Errors
    /// When the blob is missing or no stream of that type.
    pub fn unpacked_size(&self, blob: &Digest, media_type: &str) -> io::Result<u64> {
        let mut stream = open_stream(self.open_blob(blob)?, media_type).map_err(io::Error::other)?;
        io::copy(&mut stream, &mut io::sink())
    }
}

pub(crate) fn open_stream(source: File, kind: &str) -> Result<Box<dyn Read>, UnpackError> {
    let buffered = io::BufReader::with_capacity(128 * 1024, source);
    Ok(match kind {
        media_type::LAYER_TAR | "application/vnd.docker.image.rootfs.diff.tar" => Box::new(buffered),
        media_type::LAYER_GZIP | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            Box::new(flate2::bufread::MultiGzDecoder::new(buffered))
        }
        media_type::LAYER_ZSTD => {
            Box::new(zstd::stream::read::Decoder::with_buffer(buffered).map_err(UnpackError::Stream)?)
        }
        other => return Err(UnpackError::MediaType(other.to_owned())),
    })
}

/// Unpacks a layer blob into an empty folder; gives what is there then and the stream's own digest.
pub(crate) fn unpack_layer(
    source: File,
    kind: &str,
    folder: &Path,
    ownership: Ownership,
) -> Result<(Count, Digest), UnpackError> {
    let stream = open_stream(source, kind)?;
    let mut reader = HashingReader {
        inner: stream,
        hasher: Hasher::new(),
    };
    Unpacker {
        folder,
        ownership,
        folders: BTreeSet::new(),
        late: Vec::new(),
    }
    .run(&mut reader)?;
    io::copy(&mut reader, &mut io::sink()).map_err(UnpackError::Stream)?;
    // Counted from the disk, as it will be compared later: an entry may have replaced another.
    let (entries, bytes) = count_tree(folder).map_err(UnpackError::Stream)?;
    Ok((Count { entries, bytes }, reader.hasher.finish()))
}

/// The tar stream in a file, whether it is plain or compressed with gzip, zstd, xz or bzip2; none when there is none.
///
/// # Errors
/// What the disk gives.
pub fn archive_stream(path: &Path) -> io::Result<Option<Box<dyn Read>>> {
    let open = || -> io::Result<Option<Box<dyn Read>>> {
        let mut start = [0; 6];
        let mut file = File::open(path)?;
        let mut length = 0;
        while length < start.len() {
            match file.read(&mut start[length..])? {
                0 => break,
                read => length += read,
            }
        }
        let buffered = io::BufReader::with_capacity(128 * 1024, File::open(path)?);
        Ok(match &start[..length] {
            [0x1f, 0x8b, ..] => Some(Box::new(flate2::bufread::MultiGzDecoder::new(buffered))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                Some(Box::new(zstd::stream::read::Decoder::with_buffer(buffered)?))
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Some(Box::new(lzma_rust2::XzReader::new(buffered, true))),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Box::new(bzip2_rs::DecoderReader::new(buffered))),
            _ => Some(Box::new(buffered)),
        })
    };
    let Some(mut stream) = open()? else {
        return Ok(None);
    };
    let mut block = [0; 512];
    // Whatever can't be decompressed is a file like all others.
    if stream.read_exact(&mut block).is_err() {
        return Ok(None);
    }
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    let told = tar::Header::from_byte_slice(&block).cksum();
    if block[0] != 0 && told.is_ok_and(|told| told == sum) {
        open()
    } else {
        Ok(None)
    }
}

/// Unpacks a tar stream that is no layer into a folder: nothing leads out of it.
///
/// # Errors
/// See [`UnpackError`].
pub fn unpack_archive(stream: &mut dyn Read, folder: &Path, ownership: Ownership) -> Result<(), UnpackError> {
    unpack_archive_folders(stream, folder, ownership).map(drop)
}

/// The same; gives the folders that the archive has itself, not those that were made for what is in them.
///
/// # Errors
/// See [`UnpackError`].
pub fn unpack_archive_folders(
    stream: &mut dyn Read,
    folder: &Path,
    ownership: Ownership,
) -> Result<BTreeSet<PathBuf>, UnpackError> {
    let mut unpacker = Unpacker {
        folder,
        ownership,
        folders: BTreeSet::new(),
        late: Vec::new(),
    };
    unpacker.run(stream)?;
    let own = unpacker.late.iter();
    Ok(own
        .filter_map(|(path, ..)| path.strip_prefix(folder).ok().map(Path::to_owned))
        .collect())
}

struct Unpacker<'a> {
    folder: &'a Path,
    ownership: Ownership,
    /// Parents already seen to be real folders inside.
    folders: BTreeSet<PathBuf>,
    /// Folders' modes and times, set last: a read-only folder must still be filled.
    late: Vec<(PathBuf, u32, u64)>,
}

impl Unpacker<'_> {
    fn run(&mut self, reader: &mut dyn Read) -> Result<(), UnpackError> {
        let mut archive = tar::Archive::new(reader);
        let mut entries = 0u64;
        for entry in archive.entries().map_err(UnpackError::Stream)? {
            let mut entry = entry.map_err(UnpackError::Stream)?;
            entries += 1;
            if entries > MOST_ENTRIES {
                return Err(UnpackError::TooMany);
            }
            self.unpack(&mut entry)?;
        }
        for (path, mode, mtime) in self.late.iter().rev() {
            let failed = |source| UnpackError::Entry {
                path: path.display().to_string(),
                source,
            };
            fs::set_permissions(path, Permissions::from_mode(*mode)).map_err(failed)?;
            set_time(path, *mtime).map_err(failed)?;
        }
        Ok(())
    }

    fn unpack(&mut self, entry: &mut tar::Entry<'_, &mut dyn Read>) -> Result<(), UnpackError> {
        let raw = entry.path_bytes().into_owned();
        let name = String::from_utf8(raw).map_err(|e| UnpackError::Escape(e.to_string()))?;
        let relative = clean(&name).ok_or_else(|| UnpackError::Escape(name.clone()))?;
        let header = entry.header();
        let kind = header.entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let failed = |source| UnpackError::Entry {
            path: name.clone(),
            source,
        };
        let mode = header.mode().map_err(failed)? & 0o7777;
        let owner = (header.uid().map_err(failed)?, header.gid().map_err(failed)?);
        let mtime = header.mtime().unwrap_or(0);
        let Some(last) = relative
            .file_name()
            .and_then(|last| last.to_str())
            .map(str::to_owned)
        else {
            // The root folder itself.
            if kind.is_dir() {
                self.late.push((self.folder.to_owned(), mode, mtime));
                self.own(self.folder, owner).map_err(failed)?;
            }
            return Ok(());
        };
        let parent = self.parent(relative.parent().unwrap_or(Path::new("")), &name)?;
        if last == OPAQUE {
            return self.mark_opaque(&parent).map_err(failed);
        }
        if let Some(hidden) = last.strip_prefix(WHITEOUT) {
            if hidden.is_empty() || hidden == "." || hidden == ".." {
                return Err(UnpackError::Escape(name));
            }
            let path = parent.join(hidden);
            self.clear(&path).map_err(failed)?;
            return make_node(&path, FileType::CharacterDevice, 0, 0).map_err(failed);
        }
        let path = parent.join(&last);
        if kind.is_dir() {
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => {
                    self.clear(&path).map_err(failed)?;
                    fs::create_dir(&path).map_err(failed)?;
                }
                Err(_) => fs::create_dir(&path).map_err(failed)?,
            }
            self.folders.insert(path.clone());
            self.own(&path, owner).map_err(failed)?;
            self.xattrs(entry, &path).map_err(failed)?;
            self.late.push((path, mode, mtime));
            return Ok(());
        }
        self.clear(&path).map_err(failed)?;
        if kind.is_symlink() {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let target = String::from_utf8(target).map_err(|e| UnpackError::Escape(e.to_string()))?;
            symlink(&target, &path).map_err(failed)?;
            self.own(&path, owner).map_err(failed)?;
            return set_time(&path, mtime).map_err(failed);
        }
        if kind.is_hard_link() {
            return self.hard_link(entry, &path, &name);
        }
        if kind.is_file() || kind.is_gnu_sparse() || kind.is_contiguous() {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(failed)?;
            io::copy(entry, &mut file).map_err(failed)?;
        } else if self.ownership == Ownership::Unpacker && !kind.is_fifo() {
            // Without root there are no devices; a container has its own in /dev.
            return Ok(());
        } else {
            let device = (
                header_number(entry.header().device_major()),
                header_number(entry.header().device_minor()),
            );
            let file_type = match kind {
                tar::EntryType::Fifo => FileType::Fifo,
                tar::EntryType::Char => FileType::CharacterDevice,
                tar::EntryType::Block => FileType::BlockDevice,
                _ => return Err(UnpackError::Kind(name)),
            };
            match make_node(&path, file_type, device.0, device.1) {
                // Root of a user namespace has no devices either.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !kind.is_fifo() => {
                    return Ok(());
                }
                made => made.map_err(failed)?,
            }
        }
        // Owner before mode: a change of owner takes the set-id bits away.
        self.own(&path, owner).map_err(failed)?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(failed)?;
        self.xattrs(entry, &path).map_err(failed)?;
        set_time(&path, mtime).map_err(failed)
    }

    fn hard_link(
        &mut self,
        entry: &tar::Entry<'_, &mut dyn Read>,
        path: &Path,
        name: &str,
    ) -> Result<(), UnpackError> {
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        let target = String::from_utf8(target).map_err(|e| UnpackError::Escape(e.to_string()))?;
        let relative = clean(&target).ok_or_else(|| UnpackError::Escape(target.clone()))?;
        let last = relative
            .file_name()
            .ok_or_else(|| UnpackError::Escape(target.clone()))?;
        let from = self
            .parent(relative.parent().unwrap_or(Path::new("")), name)?
            .join(last);
        // link(2) does not follow a symbolic link: the link itself gets another name.
        fs::hard_link(&from, path).map_err(|source| UnpackError::Entry {
            path: name.to_owned(),
            source,
        })
    }

    /// The real folder inside that a relative parent path leads to; missing ones are made.
    fn parent(&mut self, relative: &Path, name: &str) -> Result<PathBuf, UnpackError> {
        let direct = self.folder.join(relative);
        if relative.as_os_str().is_empty() || self.folders.contains(&direct) {
            return Ok(direct);
        }
        let failed = |source| UnpackError::Entry {
            path: name.to_owned(),
            source,
        };
        let mut todo: Vec<PathBuf> = vec![relative.to_owned()];
        let mut here = PathBuf::new();
        let mut links = 0;
        while let Some(next) = todo.pop() {
            let mut components = next.components();
            let Some(component) = components.next() else {
                continue;
            };
            let rest = components.as_path().to_owned();
            if !rest.as_os_str().is_empty() {
                todo.push(rest);
            }
            match component {
                Component::RootDir => here = PathBuf::new(),
                Component::ParentDir => {
                    here.pop();
                }
                Component::CurDir | Component::Prefix(_) => {}
                Component::Normal(part) => {
                    let step = self.folder.join(&here).join(part);
                    match fs::symlink_metadata(&step) {
                        Ok(meta) if meta.is_dir() => here.push(part),
                        Ok(meta) if meta.is_symlink() => {
                            links += 1;
                            if links > MOST_LINKS {
                                return Err(UnpackError::Escape(name.to_owned()));
                            }
                            todo.push(fs::read_link(&step).map_err(failed)?);
                        }
                        Ok(_) => return Err(failed(io::Error::from(io::ErrorKind::NotADirectory))),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            fs::create_dir(&step).map_err(failed)?;
                            fs::set_permissions(&step, Permissions::from_mode(0o755)).map_err(failed)?;
                            here.push(part);
                        }
                        Err(error) => return Err(failed(error)),
                    }
                }
            }
        }
        let found = self.folder.join(&here);
        if found == direct {
            self.folders.insert(direct);
        }
        Ok(found)
    }

    /// Makes room for an entry: what an earlier entry of the same path left goes away.
    fn clear(&mut self, path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => {
                self.folders.retain(|folder| !folder.starts_with(path));
                self.late.retain(|(folder, ..)| !folder.starts_with(path));
                crate::collect::remove_tree(path)
            }
            Ok(_) => fs::remove_file(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn own(&self, path: &Path, (uid, gid): (u64, u64)) -> io::Result<()> {
        if self.ownership == Ownership::Unpacker {
            return Ok(());
        }
        let (Ok(uid), Ok(gid)) = (u32::try_from(uid), u32::try_from(gid)) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its owner's number is too large",
            ));
        };
        // Files made by root are root's already.
        if uid == 0 && gid == 0 {
            return Ok(());
        }
        match std::os::unix::fs::lchown(path, Some(uid), Some(gid)) {
            // The kernel's word for an id that isn't mapped.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!(
                        "its owner is {uid}:{gid}, which this user's ranges in /etc/subuid and /etc/subgid don't reach"
                    ),
                ))
            }
            other => other,
        }
    }

    /// overlayfs's own mark that what lies below a folder is hidden.
    fn mark_opaque(&self, folder: &Path) -> io::Result<()> {
        let name = match self.ownership {
            Ownership::Layer => "trusted.overlay.opaque",
            Ownership::Mapped | Ownership::Unpacker => "user.overlay.opaque",
        };
        Ok(rustix::fs::lsetxattr(
            folder,
            name,
            b"y",
            rustix::fs::XattrFlags::empty(),
        )?)
    }

    /// Extended attributes that a layer may bring: file capabilities and `user.*`, never overlayfs's own.
    fn xattrs(&self, entry: &mut tar::Entry<'_, &mut dyn Read>, path: &Path) -> io::Result<()> {
        let Ok(Some(records)) = entry.pax_extensions() else {
            return Ok(());
        };
        for record in records.flatten() {
            let Some(name) = record
                .key()
                .ok()
                .and_then(|key| key.strip_prefix("SCHILY.xattr."))
            else {
                continue;
            };
            let wanted = (name == "security.capability" && self.ownership != Ownership::Unpacker)
                || (name.starts_with("user.") && !name.starts_with("user.overlay."));
            if wanted {
                rustix::fs::lsetxattr(path, name, record.value_bytes(), rustix::fs::XattrFlags::empty())?;
            }
        }
        Ok(())
    }
}

/// Entries below a folder, and the bytes of its files.
pub(crate) fn count_tree(folder: &Path) -> io::Result<(u64, u64)> {
    let mut total = (0, 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        total.0 += 1;
        if meta.is_dir() {
            let below = count_tree(&entry.path())?;
            total = (total.0 + below.0, total.1 + below.1);
        } else if meta.is_file() {
            total.1 += meta.len();
        }
    }
    Ok(total)
}

fn header_number(value: io::Result<Option<u32>>) -> u32 {
    value.ok().flatten().unwrap_or(0)
}

fn make_node(path: &Path, kind: FileType, major: u32, minor: u32) -> io::Result<()> {
    let device = rustix::fs::makedev(major, minor);
    Ok(rustix::fs::mknodat(CWD, path, kind, Mode::empty(), device)?)
}

fn set_time(path: &Path, mtime: u64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: i64::try_from(mtime).unwrap_or(0),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// A tar name as a relative path without `.` and `..`; none when it leads out.
fn clean(name: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    if name.contains('\0') { None } else { Some(path) }
}
