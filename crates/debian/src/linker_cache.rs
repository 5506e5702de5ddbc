//! The dynamic linker's cache, `/etc/ld.so.cache`, in glibc's format `glibc-ld.so.cache1.1`.
//!
//! The linker finds libraries in its default folders without it; what needs it are `ctypes.util.find_library`, which asks
//! `ldconfig -p`, and folders that a package adds in `/etc/ld.so.conf.d`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use coil_oci::Arch;

/// One library that the cache knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The name under which it is needed.
    pub name: String,
    /// Its path.
    pub path: String,
    /// For which programs it is: the format's own flags.
    flags: u32,
    /// What the processor must be able to do, in the format's own bits.
    capabilities: u64,
}

impl Library {
    /// A library for an architecture's own programs, on every processor.
    pub fn new(arch: Arch, name: String, path: String) -> Library {
        Library {
            name,
            path,
            flags: flags(arch),
            capabilities: 0,
        }
    }
}

/// FLAG_ELF_LIBC6 with the architecture's own bit field (glibc's ldconfig).
fn flags(arch: Arch) -> u32 {
    match arch {
        Arch::Amd64 => 0x0303,
        Arch::Arm64 => 0x0a03,
    }
}

/// The folders in which the linker looks: those of the texts, one a line, then its own.
pub fn folders<'a>(texts: impl Iterator<Item = &'a str>, arch: Arch) -> Vec<String> {
    let mut folders = Vec::new();
    for text in texts {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        folders.extend(lines.filter(|line| line.starts_with('/')).map(str::to_string));
    }
    let triplet = arch.triplet();
    folders.extend([
        format!("/lib/{triplet}"),
        format!("/usr/lib/{triplet}"),
        "/lib".into(),
        "/usr/lib".into(),
    ]);
    folders
}

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// Makes the cache from library names and their paths.
pub fn write(arch: Arch, libraries: &BTreeMap<String, String>) -> Vec<u8> {
    let entries = libraries.iter();
    write_all(
        entries
            .map(|(name, path)| Library::new(arch, name.clone(), path.clone()))
            .collect(),
    )
}

/// Makes the cache of libraries.
pub fn write_all(mut entries: Vec<Library>) -> Vec<u8> {
    // The linker searches by halves in falling order.
    entries.sort_by(|a, b| {
        order(b.name.as_bytes(), a.name.as_bytes())
            .then(a.flags.cmp(&b.flags))
            .then(b.capabilities.cmp(&a.capabilities))
    });
    let mut strings = Vec::new();
    let mut table = Vec::new();
    let start = HEADER + ENTRY * entries.len();
    let place = |text: &str, strings: &mut Vec<u8>| {
        let at = start + strings.len();
        strings.extend_from_slice(text.as_bytes());
        strings.push(0);
        at as u32
    };
    for library in &entries {
        let (key, value) = (
            place(&library.name, &mut strings),
            place(&library.path, &mut strings),
        );
        for word in [library.flags, key, value, 0] {
            table.extend_from_slice(&word.to_le_bytes());
        }
        table.extend_from_slice(&library.capabilities.to_le_bytes());
    }
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    out.extend_from_slice(&(strings.len() as u32).to_le_bytes());
    // Little-endian; then padding, no extensions, and unused words.
    out.extend_from_slice(&[2, 0, 0, 0]);
    out.resize(HEADER, 0);
    out.extend_from_slice(&table);
    out.extend_from_slice(&strings);
    out
}

/// Reads a cache that ldconfig made, or [`write`]; what isn't understood is left out.
///
/// Entries for processors that are named in an extension (`glibc-hwcaps`) are left out too: the plain ones stand for them.
pub fn parse(bytes: &[u8]) -> Vec<Library> {
    // The format of old may come first; the new one begins where eight divides after it.
    let start = bytes.windows(MAGIC.len()).position(|window| window == MAGIC);
    let Some(cache) = start.and_then(|start| bytes.get(start..)) else {
        return Vec::new();
    };
    let word = |at: usize| -> Option<u32> {
        let field = cache.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(field.try_into().ok()?))
    };
    let text = |at: u32| -> Option<String> {
        let rest = cache.get(at as usize..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        String::from_utf8(rest[..end].to_vec()).ok()
    };
    let count = word(20).unwrap_or(0) as usize;
    let mut found = Vec::new();
    for number in 0..count.min(cache.len() / ENTRY) {
        let at = HEADER + number * ENTRY;
        let read = || {
            let (low, high) = (word(at + 16)?, word(at + 20)?);
            Some(Library {
                flags: word(at)?,
                name: text(word(at + 4)?)?,
                path: text(word(at + 8)?)?,
                capabilities: u64::from(high) << 32 | u64::from(low),
            })
        };
        found.extend(read().filter(|library| library.capabilities >> 62 & 1 == 0));
    }
    found
}

/// The order of names: as bytes, but runs of digits by their number, and digits after all else.
fn order(mut left: &[u8], mut right: &[u8]) -> Ordering {
    loop {
        match (left.first(), right.first()) {
            (Some(a), Some(b)) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let (a, left_rest) = number(left);
                let (b, right_rest) = number(right);
                if a != b {
                    return a.cmp(&b);
                }
                (left, right) = (left_rest, right_rest);
            }
            (Some(a), _) if a.is_ascii_digit() => return Ordering::Greater,
            (Some(_), Some(b)) if b.is_ascii_digit() => return Ordering::Less,
            (Some(a), Some(b)) if a == b => (left, right) = (&left[1..], &right[1..]),
            (a, b) => return a.copied().unwrap_or(0).cmp(&b.copied().unwrap_or(0)),
        }
    }
}

fn number(bytes: &[u8]) -> (i32, &[u8]) {
    let length = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(length);
    let value = digits.iter().fold(0i32, |sum, digit| {
        sum.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'))
    });
    (value, rest)
}

/// The name under which a shared library is linked (`DT_SONAME`); `None` where it is no 64-bit little-endian ELF library.
pub fn soname(file: &[u8]) -> Option<String> {
    let field = |at: usize, length: usize| -> Option<u64> {
        let bytes = file.get(at..at.checked_add(length)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    };
    // 64-bit, little-endian, ET_DYN.
    if file.get(..6)? != b"\x7fELF\x02\x01" || field(16, 2)? != 3 {
        return None;
    }
    let (table, size, count) = (
        field(32, 8)? as usize,
        field(54, 2)? as usize,
        field(56, 2)? as usize,
    );
    let segment = |number: usize| -> Option<(u64, u64, u64, u64)> {
        let at = table.checked_add(number.checked_mul(size)?)?;
        Some((
            field(at, 4)?,
            field(at + 8, 8)?,
            field(at + 16, 8)?,
            field(at + 32, 8)?,
        ))
    };
    let segments: Vec<_> = (0..count).map_while(segment).collect();
    let (_, dynamic, _, length) = *segments.iter().find(|(kind, ..)| *kind == 2)?;
    let (mut name, mut strings) = (None, None);
    let mut at = dynamic as usize;
    while at < dynamic.checked_add(length)? as usize {
        match (field(at, 8)?, field(at + 8, 8)?) {
            (0, _) => break,
            (14, value) => name = Some(value),
            (5, value) => strings = Some(value),
            _ => {}
        }
        at += 16;
    }
    let strings = strings?;
    // The table is given by its address in memory; the segment that holds it tells the place in the file.
    let (_, offset, address, _) = *segments
        .iter()
        .find(|(kind, _, address, size)| *kind == 1 && strings >= *address && strings - address < *size)?;
    let start = usize::try_from(strings - address + offset + name?).ok()?;
    let text = file.get(start..)?;
    let end = text.iter().position(|byte| *byte == 0)?;
    String::from_utf8(text[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linkers_order() {
        for (left, right) in [
            ("liba.so.2", "liba.so.10"),
            ("liba.so", "libb.so"),
            ("liba", "liba.so"),
            ("lib-a", "lib1"),
        ] {
            assert_eq!(
                order(left.as_bytes(), right.as_bytes()),
                Ordering::Less,
                "{left} {right}"
            );
            assert_eq!(
                order(right.as_bytes(), left.as_bytes()),
                Ordering::Greater,
                "{left} {right}"
            );
        }
    }

    #[test]
    fn the_layout() {
        let libraries = BTreeMap::from([
            ("liba.so.2".to_string(), "/lib/liba.so.2".to_string()),
            ("liba.so.10".to_string(), "/lib/liba.so.10".to_string()),
        ]);
        let cache = write(Arch::Amd64, &libraries);
        assert_eq!(&cache[..20], b"glibc-ld.so.cache1.1");
        let word = |at: usize| u32::from_le_bytes(cache[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!((word(20), word(48)), (2, 0x303));
        let text = |at: usize| cache[at..].split(|byte| *byte == 0).next().unwrap();
        assert_eq!(text(word(52)), b"liba.so.10");
        assert_eq!(text(word(56)), b"/lib/liba.so.10");
        assert_eq!(text(word(76)), b"liba.so.2");
        assert_eq!(cache.len(), 96 + word(24));
        let read = parse(&cache);
        assert_eq!(read.len(), 2);
        assert_eq!(
            (read[0].name.as_str(), read[0].path.as_str()),
            ("liba.so.10", "/lib/liba.so.10")
        );
        assert_eq!(write_all(read), cache);
        // With the format of old before it, as ldconfig can write.
        let both = [b"ld.so-1.7.0\0\0\0\0\0".as_slice(), &cache].concat();
        assert_eq!(parse(&both).len(), 2);
        for length in 0..cache.len() {
            parse(&cache[..length]);
        }
    }

    #[test]
    fn rubbish_has_no_name() {
        assert_eq!(soname(b""), None);
        assert_eq!(soname(b"\x7fELF\x02\x01 and nothing more that makes sense"), None);
        assert_eq!(soname(&[0xff; 200]), None);
    }
}
