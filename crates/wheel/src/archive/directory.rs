//! The zip structure: end record, central directory, local headers (PKWARE APPNOTE 6.3, sections 4.3 to 4.5).

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::names;
use super::{ArchiveEntry, ArchiveError, Limits, Method};

const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const FULL32: u64 = 0xffff_ffff;
const ENCRYPTED: u16 = 1;
const STREAMED: u16 = 1 << 3;
const PATCHED: u16 = 1 << 5;
const STRONG: u16 = 1 << 6;
const MASKED: u16 = 1 << 13;
/// Central directories are read whole; this bounds the memory that takes.
const DIRECTORY_LIMIT: u64 = 64 << 20;

/// Little-endian fields taken from a slice, none past its end.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ArchiveError> {
        if count > self.0.len() {
            return Err(ArchiveError::Structure("a record is cut off"));
        }
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self, count: usize) -> Result<u64, ArchiveError> {
        Ok(self
            .take(count)?
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn u16(&mut self) -> Result<u16, ArchiveError> {
        Ok(self.number(2)? as u16)
    }

    fn u32(&mut self) -> Result<u32, ArchiveError> {
        Ok(self.number(4)? as u32)
    }
}

/// Where the central directory lies.
struct Ending {
    offset: u64,
    size: u64,
    count: u64,
}

/// One central record, with what its local header must confirm.
struct Central {
    entry: ArchiveEntry,
    raw_name: Vec<u8>,
    flags: u16,
    method: u16,
    header: u64,
}

/// Reads every entry and holds each local header against it.
pub(super) fn read(file: &File, limits: &Limits) -> Result<Vec<ArchiveEntry>, ArchiveError> {
    let length = file.metadata().map_err(ArchiveError::Read)?.len();
    let ending = find_ending(file, length)?;
    if ending.count > limits.entries {
        return Err(ArchiveError::Bomb("it has too many entries"));
    }
    if ending.size > DIRECTORY_LIMIT {
        return Err(ArchiveError::Bomb("its directory is too large"));
    }
    let mut directory = vec![0; ending.size as usize];
    file.read_exact_at(&mut directory, ending.offset)
        .map_err(ArchiveError::Read)?;
    let mut fields = Fields(&directory);
    let mut records = Vec::new();
    for _ in 0..ending.count {
        records.push(central(&mut fields)?);
    }
    if !fields.0.is_empty() {
        return Err(ArchiveError::Structure("its directory holds more than it counts"));
    }
    let total = records
        .iter()
        .try_fold(0_u64, |sum, record| sum.checked_add(record.entry.size));
    match total {
        Some(total) if total <= limits.total_size => {
            if total > limits.ratio_from && total / length.max(1) > limits.ratio {
                return Err(ArchiveError::Bomb("it would inflate beyond all proportion"));
            }
        }
        _ => return Err(ArchiveError::Bomb("it would inflate to too many bytes")),
    }
    check_locals(file, &mut records, ending.offset)?;
    let entries: Vec<ArchiveEntry> = records.into_iter().map(|record| record.entry).collect();
    let entries = without_repetitions(file, entries)?;
    names::check_together(&entries)?;
    Ok(entries)
}

/// Leaves out entries that repeat an earlier one byte for byte: a few builders write a file twice.
///
/// Those that differ stay, to be refused.
fn without_repetitions(file: &File, entries: Vec<ArchiveEntry>) -> Result<Vec<ArchiveEntry>, ArchiveError> {
    let mut first: HashMap<String, usize> = HashMap::with_capacity(entries.len());
    let mut kept: Vec<ArchiveEntry> = Vec::with_capacity(entries.len());
    for entry in entries {
        match first.get(&entry.name) {
            Some(place) if repeats(file, &kept[*place], &entry)? => {}
            Some(_) => kept.push(entry),
            None => {
                first.insert(entry.name.clone(), kept.len());
                kept.push(entry);
            }
        }
    }
    Ok(kept)
}

fn repeats(file: &File, first: &ArchiveEntry, second: &ArchiveEntry) -> Result<bool, ArchiveError> {
    let facts = |entry: &ArchiveEntry| {
        let ArchiveEntry {
            is_dir,
            method,
            compressed,
            size,
            crc32,
            executable,
            ..
        } = entry;
        (*is_dir, *method, *compressed, *size, *crc32, *executable)
    };
    if facts(first) != facts(second) {
        return Ok(false);
    }
    let mut done = 0;
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    while done < first.compressed {
        let length = (first.compressed - done).min(left.len() as u64) as usize;
        file.read_exact_at(&mut left[..length], first.offset + done)
            .map_err(ArchiveError::Read)?;
        file.read_exact_at(&mut right[..length], second.offset + done)
            .map_err(ArchiveError::Read)?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
        done += length as u64;
    }
    Ok(true)
}

/// Finds the end record, whose comment must reach the file's last byte, and the zip64 one before it.
fn find_ending(file: &File, length: u64) -> Result<Ending, ArchiveError> {
    const NONE: ArchiveError = ArchiveError::Structure("it does not end as one");
    if length < 22 {
        return Err(NONE);
    }
    let window = length.min(22 + 0xffff);
    let mut tail = vec![0; window as usize];
    file.read_exact_at(&mut tail, length - window)
        .map_err(ArchiveError::Read)?;
    let signature = END.to_le_bytes();
    let mut found = None;
    for at in (0..=tail.len() - 22).rev() {
        if tail[at..at + 4] == signature {
            let comment = usize::from(u16::from_le_bytes([tail[at + 20], tail[at + 21]]));
            if at + 22 + comment == tail.len() {
                found = Some(at);
                break;
            }
            return Err(ArchiveError::Structure(
                "bytes follow its end, or its comment holds another end",
            ));
        }
    }
    let at = found.ok_or(NONE)?;
    let end_offset = length - window + at as u64;
    let mut fields = Fields(&tail[at + 4..at + 22]);
    let (disk, start_disk) = (fields.u16()?, fields.u16()?);
    let (here, count) = (u64::from(fields.u16()?), u64::from(fields.u16()?));
    let (size, offset) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    let wide = count == 0xffff || size == FULL32 || offset == FULL32;
    let mut ending = Ending { offset, size, count };
    let mut directory_end = end_offset;
    let mut locator = [0; 20];
    let has_locator = end_offset >= 20 && {
        file.read_exact_at(&mut locator, end_offset - 20)
            .map_err(ArchiveError::Read)?;
        locator[..4] == LOCATOR64.to_le_bytes()
    };
    if has_locator {
        let mut fields = Fields(&locator[4..]);
        let (_disk, at64) = (fields.u32()?, fields.number(8)?);
        if at64.checked_add(56 + 20) != Some(end_offset) {
            return Err(ArchiveError::Structure(
                "its zip64 end record is not where it should be",
            ));
        }
        let mut record = [0; 56];
        file.read_exact_at(&mut record, at64)
            .map_err(ArchiveError::Read)?;
        let mut fields = Fields(&record);
        if fields.u32()? != END64 || fields.number(8)? != 44 {
            return Err(ArchiveError::Structure("its zip64 end record is broken"));
        }
        fields.take(4)?;
        if fields.u32()? != 0 || fields.u32()? != 0 {
            return Err(ArchiveError::Structure("it is one part of several"));
        }
        let (here64, count64) = (fields.number(8)?, fields.number(8)?);
        let (size64, offset64) = (fields.number(8)?, fields.number(8)?);
        let same = |narrow: u64, full: u64, wide: u64| narrow == full || narrow == wide;
        if here64 != count64
            || !same(count, 0xffff, count64)
            || !same(size, FULL32, size64)
            || !same(offset, FULL32, offset64)
        {
            return Err(ArchiveError::Structure("its two end records disagree"));
        }
        ending = Ending {
            offset: offset64,
            size: size64,
            count: count64,
        };
        directory_end = at64;
    } else if wide && count != 0xffff {
        return Err(ArchiveError::Structure("its zip64 end record is missing"));
    } else if disk != 0 || start_disk != 0 || here != count {
        return Err(ArchiveError::Structure("it is one part of several"));
    }
    if ending.offset.checked_add(ending.size) != Some(directory_end) {
        return Err(ArchiveError::Structure("its directory is not where its end says"));
    }
    Ok(ending)
}

fn central(fields: &mut Fields<'_>) -> Result<Central, ArchiveError> {
    if fields.u32()? != CENTRAL {
        return Err(ArchiveError::Structure("its directory has a broken record"));
    }
    fields.take(4)?;
    let flags = fields.u16()?;
    let method_number = fields.u16()?;
    fields.take(4)?;
    let crc32 = fields.u32()?;
    let (compressed, size) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    let (name_length, extra_length, comment_length) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let disk = fields.u16()?;
    fields.take(2)?;
    let attributes = fields.u32()?;
    let header = u64::from(fields.u32()?);
    let raw_name = fields.take(usize::from(name_length))?.to_vec();
    let extra = fields.take(usize::from(extra_length))?;
    fields.take(usize::from(comment_length))?;
    let (name, is_dir) = names::check(&raw_name)?;
    let unsupported = |what| {
        Err(ArchiveError::Unsupported {
            name: name.clone(),
            what,
        })
    };
    if flags & (ENCRYPTED | STRONG | MASKED) != 0 {
        return unsupported("is encrypted");
    }
    if flags & PATCHED != 0 {
        return unsupported("is a patch");
    }
    let method = match method_number {
        0 => Method::Stored,
        8 => Method::Deflated,
        9 => return unsupported("is compressed with deflate64, which wheels do not use"),
        12 => return unsupported("is compressed with bzip2, which wheels do not use"),
        14 => return unsupported("is compressed with LZMA, which wheels do not use"),
        20 | 93 => return unsupported("is compressed with zstd, which wheels do not use"),
        95 => return unsupported("is compressed with xz, which wheels do not use"),
        _ => return unsupported("is compressed in a way that wheels do not use"),
    };
    let wide = extra_fields(extra, &raw_name, &[size, compressed, header])?;
    let (size, compressed, header) = (wide[0], wide[1], wide[2]);
    if disk != 0 && disk != 0xffff {
        return unsupported("lies on another disk");
    }
    let mode = attributes >> 16;
    match mode & 0o170_000 {
        0 | 0o100_000 => {}
        0o040_000 if is_dir => {}
        0o120_000 => return unsupported("is a symbolic link"),
        _ => return unsupported("is neither a file nor a directory"),
    }
    if is_dir && size != 0 {
        return unsupported("is a directory with content");
    }
    if method == Method::Stored && size != compressed {
        return Err(ArchiveError::Damaged {
            name,
            what: "it is stored as it is, yet has two sizes",
        });
    }
    // Whatever system the archive says it was made on: some tools write the bits and no kind.
    let executable = !is_dir && mode & 0o111 != 0;
    let entry = ArchiveEntry {
        name,
        is_dir,
        method,
        compressed,
        size,
        crc32,
        executable,
        offset: 0,
    };
    Ok(Central {
        entry,
        raw_name,
        flags,
        method: method_number,
        header,
    })
}

/// Widens the values that are full from the zip64 field (0x0001), and refuses a second name (0x7075).
fn extra_fields(extra: &[u8], name: &[u8], values: &[u64]) -> Result<Vec<u64>, ArchiveError> {
    let mut values = values.to_vec();
    let mut fields = Fields(extra);
    let mut widened = false;
    while fields.0.len() >= 4 {
        let (kind, length) = (fields.u16()?, fields.u16()?);
        let content = fields.take(usize::from(length))?;
        match kind {
            0x0001 if widened => return Err(ArchiveError::Structure("an entry has two zip64 fields")),
            0x0001 => {
                widened = true;
                let mut content = Fields(content);
                for value in &mut values {
                    if *value == FULL32 {
                        *value = content.number(8)?;
                    }
                }
            }
            0x7075 if content.get(5..) != Some(name) => {
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(ArchiveError::Name {
                    name,
                    what: "it carries a second, different name",
                });
            }
            _ => {}
        }
    }
    Ok(values)
}

/// Holds each local header against its central record, and leaves no byte that belongs to nothing.
fn check_locals(file: &File, records: &mut [Central], directory: u64) -> Result<(), ArchiveError> {
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_key(|index| records[*index].header);
    let mut position = 0;
    for index in order {
        let record = &mut records[index];
        if record.header != position {
            let what = match record.header < position {
                true => "two of its entries overlap",
                false => "it holds bytes that belong to no entry",
            };
            return Err(ArchiveError::Structure(what));
        }
        position = local(file, record, directory)?;
        if position > directory {
            return Err(ArchiveError::Structure("an entry reaches into its directory"));
        }
    }
    match position == directory {
        true => Ok(()),
        false => Err(ArchiveError::Structure("it holds bytes that belong to no entry")),
    }
}

/// Checks one local header; gives the position behind the entry.
fn local(file: &File, record: &mut Central, directory: u64) -> Result<u64, ArchiveError> {
    let entry = &mut record.entry;
    let disagree = |name: &str, field| ArchiveError::Disagree {
        name: name.to_owned(),
        field,
    };
    let room = directory.saturating_sub(record.header);
    let mut buffer = vec![0; (30 + record.raw_name.len() as u64 + 64).min(room) as usize];
    file.read_exact_at(&mut buffer, record.header)
        .map_err(ArchiveError::Read)?;
    let mut fields = Fields(&buffer);
    if fields.u32()? != LOCAL {
        return Err(ArchiveError::Structure("an entry has no local header"));
    }
    fields.take(2)?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.take(4)?;
    let crc32 = fields.u32()?;
    let (compressed, size) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    let (name_length, extra_length) = (usize::from(fields.u16()?), usize::from(fields.u16()?));
    if name_length != record.raw_name.len() || fields.take(name_length)? != record.raw_name {
        return Err(disagree(&entry.name, "name"));
    }
    if method != record.method {
        return Err(disagree(&entry.name, "compression"));
    }
    if (flags ^ record.flags) & (ENCRYPTED | STREAMED | STRONG | MASKED) != 0 {
        return Err(disagree(&entry.name, "flags"));
    }
    let start = record.header + 30 + (name_length + extra_length) as u64;
    let mut whole = Vec::new();
    let extra = match fields.0.get(..extra_length) {
        Some(extra) => extra,
        None if start <= directory => {
            whole.resize(extra_length, 0);
            file.read_exact_at(&mut whole, start - extra_length as u64)
                .map_err(ArchiveError::Read)?;
            &whole
        }
        None => return Err(ArchiveError::Structure("a record is cut off")),
    };
    let wide = extra_fields(extra, &record.raw_name, &[size, compressed])?;
    let (size, compressed) = (wide[0], wide[1]);
    let streamed = flags & STREAMED != 0;
    let blank = streamed && crc32 == 0 && size == 0 && compressed == 0;
    if !blank {
        if crc32 != entry.crc32 {
            return Err(disagree(&entry.name, "CRC-32"));
        }
        if size != entry.size || compressed != entry.compressed {
            return Err(disagree(&entry.name, "size"));
        }
    }
    entry.offset = start;
    let end = start
        .checked_add(entry.compressed)
        .filter(|end| *end <= directory);
    let end = end.ok_or(ArchiveError::Structure("an entry reaches into its directory"))?;
    match streamed {
        true => descriptor(file, entry, end, directory),
        false => Ok(end),
    }
}

/// Reads the data descriptor that follows a streamed entry, in any of its four forms (APPNOTE 4.3.9).
fn descriptor(file: &File, entry: &ArchiveEntry, at: u64, directory: u64) -> Result<u64, ArchiveError> {
    let mut buffer = vec![0; (directory - at).min(24) as usize];
    file.read_exact_at(&mut buffer, at).map_err(ArchiveError::Read)?;
    for (signed, width) in [(true, 4), (true, 8), (false, 4), (false, 8)] {
        let mut fields = Fields(&buffer);
        let length = if signed { 8 } else { 4 } + 2 * width;
        if buffer.len() < length || (signed && fields.u32()? != DESCRIPTOR) {
            continue;
        }
        let told = (fields.u32()?, fields.number(width)?, fields.number(width)?);
        // Behind the right form stands the next header or the directory, whose first two bytes are always "PK".
        let next = buffer.get(length..length + 2).is_none_or(|next| next == b"PK");
        if told == (entry.crc32, entry.compressed, entry.size) && next {
            return Ok(at + length as u64);
        }
    }
    Err(ArchiveError::Disagree {
        name: entry.name.clone(),
        field: "data descriptor",
    })
}
