//! A strict zip reader for wheels: whatever two readers could understand differently is refused.
//!
//! Sizes come from the central directory, are compared with each local header, and are enforced while inflating. Content
//! is read by position in chunks, so a wheel of any size needs little memory and several threads can read one archive.

mod directory;
mod error;
mod names;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::{Decompress, FlushDecompress, Status};

pub use error::ArchiveError;

/// Bytes read from a wheel at a time.
const CHUNK: usize = 128 * 1024;

/// Takes stored and inflated bytes; see [`Archive::stream`].
pub type Sink<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> std::io::Result<()>;

/// How the bytes of an entry are stored (APPNOTE 4.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// As they are.
    Stored,
    /// One raw deflate stream.
    Deflated,
}

/// One file or directory of an archive.
#[derive(Debug, Clone)]
pub struct ArchiveEntry {
    /// Relative path with `/` between its parts, checked; a directory's has no slash at its end.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// How its bytes are stored.
    pub method: Method,
    /// Stored length in bytes.
    pub compressed: u64,
    /// Length in bytes when inflated.
    pub size: u64,
    /// CRC-32 of the inflated bytes.
    pub crc32: u32,
    /// Whether a regular file carries an executable bit.
    pub executable: bool,
    /// Where its stored bytes begin in the archive.
    pub offset: u64,
}

impl ArchiveEntry {
    /// The permission bits that a file has when it is installed.
    pub(crate) fn mode(&self) -> u32 {
        if self.executable { 0o755 } else { 0o644 }
    }
}

/// What an archive may hold at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Number of entries.
    pub entries: u64,
    /// Sum of inflated sizes in bytes.
    pub total_size: u64,
    /// Inflated bytes for each byte of the archive, looked at once the sum passes `ratio_from`.
    pub ratio: u64,
    /// Sum of inflated sizes in bytes from which `ratio` holds.
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            entries: 250_000,
            total_size: 64 << 30,
            ratio: 250,
            ratio_from: 256 << 20,
        }
    }
}

/// An opened and fully checked archive.
#[derive(Debug)]
pub struct Archive {
    file: File,
    entries: Vec<ArchiveEntry>,
}

impl Archive {
    /// Opens the archive at `path` with the default limits.
    pub fn open(path: &Path) -> Result<Archive, ArchiveError> {
        Archive::from_file(File::open(path).map_err(ArchiveError::Read)?, &Limits::default())
    }

    /// Reads and checks the directory of an opened file.
    pub fn from_file(file: File, limits: &Limits) -> Result<Archive, ArchiveError> {
        let entries = directory::read(&file, limits)?;
        Ok(Archive { file, entries })
    }

    /// Its entries in the order of the central directory.
    pub fn entries(&self) -> &[ArchiveEntry] {
        &self.entries
    }

    /// The entry of this name.
    pub fn find(&self, name: &str) -> Option<&ArchiveEntry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The whole content of an entry, refused when it is larger than `limit` bytes.
    pub fn read(&self, entry: &ArchiveEntry, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        if entry.size > limit {
            return Err(ArchiveError::TooLarge {
                name: entry.name.clone(),
                size: entry.size,
                limit,
            });
        }
        let mut content = Vec::with_capacity(entry.size as usize);
        self.stream(entry, &mut Inflater::new(), &mut |_, plain| {
            content.extend_from_slice(plain);
            Ok(())
        })?;
        Ok(content)
    }

    /// The first `count` bytes of an entry, or all of it when it is shorter. No checksum is compared.
    pub fn peek(&self, entry: &ArchiveEntry, count: usize) -> Result<Vec<u8>, ArchiveError> {
        let want = count.min(entry.size as usize);
        let mut raw = vec![0; (entry.compressed as usize).min(count + 4096)];
        self.file
            .read_exact_at(&mut raw, entry.offset)
            .map_err(ArchiveError::Read)?;
        if entry.method == Method::Stored {
            raw.truncate(want);
            return Ok(raw);
        }
        let mut plain = vec![0; want];
        let mut engine = Decompress::new(false);
        let result = engine.decompress(&raw, &mut plain, FlushDecompress::None);
        if result.is_err() {
            return Err(ArchiveError::Damaged {
                name: entry.name.clone(),
                what: "its compressed data is not valid",
            });
        }
        plain.truncate(engine.total_out() as usize);
        Ok(plain)
    }

    /// Passes an entry's stored and inflated bytes to `sink` as they come, and checks size and CRC-32 at the end.
    ///
    /// `sink(raw, plain)` gets each stored byte once and each inflated byte once; either slice may be empty. For a stored
    /// entry both are the same bytes. A deflate stream must end with the entry's last byte, so that it can be spliced.
    pub fn stream(
        &self,
        entry: &ArchiveEntry,
        inflater: &mut Inflater,
        sink: Sink<'_>,
    ) -> Result<(), ArchiveError> {
        inflater.run(&self.span(entry), sink)
    }

    /// Where an entry's stored bytes lie, for [`Inflater::run`].
    pub fn span<'a>(&'a self, entry: &'a ArchiveEntry) -> Span<'a> {
        Span {
            file: &self.file,
            name: &entry.name,
            method: entry.method,
            offset: entry.offset,
            compressed: entry.compressed,
            size: entry.size,
            crc32: entry.crc32,
        }
    }
}

/// A run of stored bytes in a file, with what it must inflate to.
#[derive(Debug)]
pub struct Span<'a> {
    /// The file that holds it.
    pub file: &'a File,
    /// What to call it in errors.
    pub name: &'a str,
    /// How it is stored.
    pub method: Method,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Stored length in bytes.
    pub compressed: u64,
    /// Inflated length in bytes.
    pub size: u64,
    /// CRC-32 of the inflated bytes.
    pub crc32: u32,
}

/// The buffers and the state for reading many entries one after another.
#[derive(Debug)]
pub struct Inflater {
    engine: Decompress,
    raw: Vec<u8>,
    plain: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Inflater::new()
    }
}

impl Inflater {
    /// Fresh buffers.
    pub fn new() -> Inflater {
        Inflater {
            engine: Decompress::new(false),
            raw: vec![0; CHUNK],
            plain: vec![0; 2 * CHUNK],
        }
    }

    /// Reads one span; see [`Archive::stream`].
    pub fn run(&mut self, span: &Span<'_>, sink: Sink<'_>) -> Result<(), ArchiveError> {
        match span.method {
            Method::Stored => self.stored(span, sink),
            Method::Deflated => self.deflated(span, sink),
        }
    }

    fn stored(&mut self, span: &Span<'_>, sink: Sink<'_>) -> Result<(), ArchiveError> {
        let mut crc = flate2::Crc::new();
        let mut done = 0;
        while done < span.compressed {
            let length = (span.compressed - done).min(CHUNK as u64) as usize;
            let raw = &mut self.raw[..length];
            span.file
                .read_exact_at(raw, span.offset + done)
                .map_err(ArchiveError::Read)?;
            crc.update(raw);
            sink(raw, raw).map_err(ArchiveError::Write)?;
            done += length as u64;
        }
        check_sum(span, crc.sum(), done)
    }

    fn deflated(&mut self, span: &Span<'_>, sink: Sink<'_>) -> Result<(), ArchiveError> {
        let damaged = |what| ArchiveError::Damaged {
            name: span.name.to_owned(),
            what,
        };
        self.engine.reset(false);
        let mut crc = flate2::Crc::new();
        let (mut read, mut written, mut ended) = (0, 0, false);
        while read < span.compressed {
            let length = (span.compressed - read).min(CHUNK as u64) as usize;
            let raw = &mut self.raw[..length];
            span.file
                .read_exact_at(raw, span.offset + read)
                .map_err(ArchiveError::Read)?;
            read += length as u64;
            sink(raw, &[]).map_err(ArchiveError::Write)?;
            let mut used = 0;
            loop {
                if ended {
                    return Err(damaged("bytes follow its compressed data"));
                }
                let (before_in, before_out) = (self.engine.total_in(), self.engine.total_out());
                let status = self
                    .engine
                    .decompress(&raw[used..], &mut self.plain, FlushDecompress::None)
                    .map_err(|_| damaged("its compressed data is not valid"))?;
                used += (self.engine.total_in() - before_in) as usize;
                let produced = (self.engine.total_out() - before_out) as usize;
                written += produced as u64;
                if written > span.size {
                    return Err(damaged("it inflates to more than its declared size"));
                }
                if produced > 0 {
                    crc.update(&self.plain[..produced]);
                    sink(&[], &self.plain[..produced]).map_err(ArchiveError::Write)?;
                }
                ended = status == Status::StreamEnd;
                if !ended && used < length && self.engine.total_in() == before_in && produced == 0 {
                    return Err(damaged("its compressed data is not valid"));
                }
                if used == length && (ended || produced < self.plain.len()) {
                    break;
                }
            }
        }
        if !ended {
            return Err(damaged("its compressed data ends too early"));
        }
        check_sum(span, crc.sum(), written)
    }
}

fn check_sum(span: &Span<'_>, crc: u32, size: u64) -> Result<(), ArchiveError> {
    if size != span.size {
        return Err(ArchiveError::Damaged {
            name: span.name.to_owned(),
            what: "its size is not the declared one",
        });
    }
    if crc != span.crc32 {
        return Err(ArchiveError::Damaged {
            name: span.name.to_owned(),
            what: "its CRC-32 does not match",
        });
    }
    Ok(())
}
