//! Deterministic tar writing (POSIX.1-2017 ustar, with pax records where ustar has no room).
//!
//! The same entries give the same bytes: nothing is read from the machine, and an entry's header can be
//! made alone, so that a body compressed elsewhere can be placed behind it.

use std::io::{self, Write};

/// The unit of a tar file in bytes.
pub const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file of a size in bytes; its data follow the header.
    File {
        /// The size in bytes.
        size: u64,
    },
    /// A folder.
    Directory,
    /// A symbolic link to a target, taken as it is.
    Symlink {
        /// The target.
        target: String,
    },
    /// Another name of an entry that came before.
    Hardlink {
        /// The other entry's path.
        target: String,
    },
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path without a leading slash; a folder's has no trailing slash either.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with set-id and sticky bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u64,
}

impl Entry {
    /// A file owned by root.
    pub fn file(path: impl Into<String>, size: u64, mode: u32, mtime: u64) -> Entry {
        Entry {
            path: path.into(),
            kind: Kind::File { size },
            mode,
            uid: 0,
            gid: 0,
            mtime,
        }
    }

    /// A folder owned by root, mode 0755.
    pub fn directory(path: impl Into<String>, mtime: u64) -> Entry {
        Entry {
            path: path.into(),
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime,
        }
    }

    /// A symbolic link owned by root.
    pub fn symlink(path: impl Into<String>, target: impl Into<String>, mtime: u64) -> Entry {
        let kind = Kind::Symlink {
            target: target.into(),
        };
        Entry {
            path: path.into(),
            kind,
            mode: 0o777,
            uid: 0,
            gid: 0,
            mtime,
        }
    }

    /// The same entry with another owner.
    pub fn owned_by(mut self, uid: u32, gid: u32) -> Entry {
        self.uid = uid;
        self.gid = gid;
        self
    }
}

/// How many zero bytes follow a body of this size.
pub fn padding(size: u64) -> usize {
    ((BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64) as usize
}

/// The header blocks of an entry: a ustar header, behind a pax header where that has no room.
///
/// The length is a multiple of [`BLOCK`].
pub fn header(entry: &Entry) -> Vec<u8> {
    let mut path = entry.path.clone();
    let (flag, size, target) = match &entry.kind {
        Kind::File { size } => (b'0', *size, ""),
        Kind::Directory => {
            path.push('/');
            (b'5', 0, "")
        }
        Kind::Symlink { target } => (b'2', 0, target.as_str()),
        Kind::Hardlink { target } => (b'1', 0, target.as_str()),
    };
    let mut records = Vec::new();
    let split = split_path(&path);
    if split.is_none() || !path.is_ascii() {
        pax_record(&mut records, "path", &path);
    }
    if target.len() > 100 || !target.is_ascii() {
        pax_record(&mut records, "linkpath", target);
    }
    if size >= 1 << 33 {
        pax_record(&mut records, "size", &size.to_string());
    }
    let mut out = Vec::with_capacity(BLOCK * 3);
    if !records.is_empty() {
        let fields = Fields {
            flag: b'x',
            size: records.len() as u64,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: entry.mtime,
        };
        out.extend_from_slice(&ustar("", "PaxHeaders/entry", "", &fields));
        out.extend_from_slice(&records);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    let (prefix, name) = split.unwrap_or(("", &path));
    let fields = Fields {
        flag,
        size: if size >= 1 << 33 { 0 } else { size },
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
    };
    out.extend_from_slice(&ustar(prefix, name, target, &fields));
    out
}

struct Fields {
    flag: u8,
    size: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: u64,
}

/// Splits a path into ustar's prefix (155 bytes) and name (100 bytes).
fn split_path(path: &str) -> Option<(&str, &str)> {
    if path.len() <= 100 {
        return Some(("", path));
    }
    let bytes = path.as_bytes();
    let from = bytes.len().saturating_sub(101);
    (from..bytes.len().min(156))
        .find(|&at| bytes[at] == b'/' && at > 0 && at + 1 < bytes.len())
        .map(|at| (&path[..at], &path[at + 1..]))
}

fn pax_record(out: &mut Vec<u8>, key: &str, value: &str) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
}

fn ustar(prefix: &str, name: &str, target: &str, fields: &Fields) -> [u8; BLOCK] {
    let mut block = [0u8; BLOCK];
    text(&mut block[0..100], name);
    octal(&mut block[100..108], u64::from(fields.mode & 0o7777));
    octal(&mut block[108..116], u64::from(fields.uid));
    octal(&mut block[116..124], u64::from(fields.gid));
    octal(&mut block[124..136], fields.size);
    octal(&mut block[136..148], fields.mtime);
    block[148..156].copy_from_slice(b"        ");
    block[156] = fields.flag;
    text(&mut block[157..257], target);
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], 0);
    octal(&mut block[337..345], 0);
    text(&mut block[345..500], prefix);
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    let digits = format!("{sum:06o}\0 ");
    block[148..156].copy_from_slice(digits.as_bytes());
    block
}

fn text(field: &mut [u8], value: &str) {
    let bytes = value.as_bytes();
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Octal digits with a closing NUL; a number too large is written in base 256, as GNU and star do.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    if value < 1 << (3 * digits).min(63) {
        let written = format!("{value:0digits$o}");
        field[..digits].copy_from_slice(written.as_bytes());
        return;
    }
    let bytes = value.to_be_bytes();
    let start = field.len().saturating_sub(8);
    let from = bytes.len() - (field.len() - start);
    field[start..].copy_from_slice(&bytes[from..]);
    field[0] |= 0x80;
}

/// Writes entries and their bodies, one after the other.
pub struct TarWriter<W> {
    out: W,
    left: u64,
    pad: usize,
}

impl<W: Write> TarWriter<W> {
    /// A tar stream into `out`.
    pub fn new(out: W) -> TarWriter<W> {
        TarWriter { out, left: 0, pad: 0 }
    }

    /// Begins an entry; a file's data must follow by [`TarWriter::data`].
    ///
    /// # Errors
    /// `InvalidData` when the entry before is not complete; else what `out` gives.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.close_entry()?;
        self.out.write_all(&header(entry))?;
        if let Kind::File { size } = entry.kind {
            self.left = size;
            self.pad = padding(size);
        }
        Ok(())
    }

    /// Adds to the body of the entry.
    ///
    /// # Errors
    /// `InvalidData` when this is more than the entry's size; else what `out` gives.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "a tar entry is longer than its header says",
            )
        })?;
        self.out.write_all(bytes)
    }

    /// A whole file.
    ///
    /// # Errors
    /// As [`TarWriter::entry`] and [`TarWriter::data`].
    pub fn file(&mut self, entry: &Entry, bytes: &[u8]) -> io::Result<()> {
        self.entry(entry)?;
        self.data(bytes)
    }

    fn close_entry(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a tar entry is shorter than its header says",
            ));
        }
        let pad = std::mem::take(&mut self.pad);
        self.out.write_all(&[0u8; BLOCK][..pad])
    }

    /// Closes the last entry, pads it, and leaves the stream open for raw bytes.
    ///
    /// # Errors
    /// As [`TarWriter::entry`].
    pub fn finish_entry(&mut self) -> io::Result<()> {
        self.close_entry()
    }

    /// Writes the end mark of two zero blocks and gives `out` back.
    ///
    /// # Errors
    /// As [`TarWriter::entry`].
    pub fn finish(mut self) -> io::Result<W> {
        self.close_entry()?;
        self.out.write_all(&[0u8; BLOCK * 2])?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_use_the_prefix_and_then_pax() {
        let middle = format!("{}/{}", "a".repeat(90), "b".repeat(60));
        assert_eq!(header(&Entry::file(middle, 0, 0o644, 0)).len(), BLOCK);
        let long = "c".repeat(300);
        assert_eq!(header(&Entry::file(long, 0, 0o644, 0)).len(), BLOCK * 3);
    }

    #[test]
    fn pax_record_counts_itself() {
        for length in [
            1, 5, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 985, 986, 990, 995,
        ] {
            let mut out = Vec::new();
            pax_record(&mut out, "path", &"x".repeat(length));
            let said: usize = std::str::from_utf8(&out)
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(said, out.len());
        }
    }

    #[test]
    fn a_wrong_size_is_an_error() {
        let mut writer = TarWriter::new(Vec::new());
        writer.entry(&Entry::file("a", 3, 0o644, 0)).unwrap();
        assert!(writer.data(b"abcd").is_err());
        let mut writer = TarWriter::new(Vec::new());
        writer.entry(&Entry::file("a", 3, 0o644, 0)).unwrap();
        assert!(writer.finish().is_err());
    }
}
