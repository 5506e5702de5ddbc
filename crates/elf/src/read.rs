//! Reading the header, the program headers and the dynamic section (System V ABI, chapters 4 and 5; LSB for versions).

use crate::{Elf, ElfError, Kind, Machine, Source, VersionNeed};

/// More than any file has; what says more is damaged.
const MOST_SEGMENTS: u64 = 512;
const MOST_DYNAMIC: u64 = 1 << 16;
const MOST_STRINGS: u64 = 64 << 20;
const MOST_VERSIONS: usize = 1 << 16;
const LONGEST_NAME: usize = 4096;

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;

const NULL: u64 = 0;
const NEEDED: u64 = 1;
const STRING_TABLE: u64 = 5;
const STRING_SIZE: u64 = 10;
const SONAME: u64 = 14;
const RPATH: u64 = 15;
const RUNPATH: u64 = 29;
const VERDEF: u64 = 0x6fff_fffc;
const VERDEF_COUNT: u64 = 0x6fff_fffd;
const VERNEED: u64 = 0x6fff_fffe;
const VERNEED_COUNT: u64 = 0x6fff_ffff;

/// How a file writes numbers.
#[derive(Clone, Copy)]
struct Form {
    wide: bool,
    little: bool,
}

impl Form {
    fn number(self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let field = bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.little {
            field.iter().rev().fold(0, add)
        } else {
            field.iter().fold(0, add)
        })
    }

    fn half(self, bytes: &[u8], at: usize) -> Option<u64> {
        self.number(bytes, at, 2)
    }

    fn word(self, bytes: &[u8], at: usize) -> Option<u64> {
        self.number(bytes, at, 4)
    }

    /// A number of the file's own width, given its place in narrow and in wide files.
    fn address(self, bytes: &[u8], narrow: usize, wide: usize) -> Option<u64> {
        if self.wide {
            self.number(bytes, wide, 8)
        } else {
            self.number(bytes, narrow, 4)
        }
    }
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

/// Reads what a file tells the dynamic linker.
///
/// # Errors
/// When it's no ELF file or a damaged one, and what the source gives.
pub fn read(source: &mut dyn Source) -> Result<Elf, ElfError> {
    let header = part(source, 0, 64)?;
    if header.get(..4) != Some(b"\x7fELF") {
        return Err(ElfError::NotElf);
    }
    let cut = || ElfError::Damaged("its header is cut off");
    let form = match (header.get(4), header.get(5)) {
        (Some(class @ (1 | 2)), Some(order @ (1 | 2))) => Form {
            wide: *class == 2,
            little: *order == 1,
        },
        _ => return Err(ElfError::Damaged("its class or its byte order is unknown")),
    };
    let kind = match form.half(&header, 16).ok_or_else(cut)? {
        1 => Kind::Object,
        2 => Kind::Program,
        3 => Kind::Shared,
        _ => Kind::Other,
    };
    let mut elf = Elf {
        bits: if form.wide { 64 } else { 32 },
        little_endian: form.little,
        machine: Machine(form.half(&header, 18).ok_or_else(cut)? as u16),
        kind,
        dynamic: false,
        soname: None,
        needed: Vec::new(),
        rpath: Vec::new(),
        runpath: Vec::new(),
        needs: Vec::new(),
        defines: Vec::new(),
        interpreter: None,
    };
    if !matches!(kind, Kind::Program | Kind::Shared) {
        return Ok(elf);
    }
    let segments = segments(source, form, &header)?;
    for segment in &segments {
        match segment.kind {
            INTERPRETER => {
                let bytes = part(source, segment.offset, (segment.size as usize).min(LONGEST_NAME))?;
                elf.interpreter = text(&bytes, 0);
            }
            DYNAMIC if !elf.dynamic => {
                elf.dynamic = true;
                dynamic(source, form, &segments, segment, &mut elf)?;
            }
            _ => {}
        }
    }
    Ok(elf)
}

fn part(source: &mut dyn Source, offset: u64, length: usize) -> Result<Vec<u8>, ElfError> {
    source.part(offset, length).map_err(ElfError::Disk)
}

fn segments(source: &mut dyn Source, form: Form, header: &[u8]) -> Result<Vec<Segment>, ElfError> {
    let cut = || ElfError::Damaged("its header is cut off");
    let table = form.address(header, 28, 32).ok_or_else(cut)?;
    let (size, count) = if form.wide {
        (form.half(header, 54), form.half(header, 56))
    } else {
        (form.half(header, 42), form.half(header, 44))
    };
    let (size, count) = (size.ok_or_else(cut)?, count.ok_or_else(cut)?);
    if count == 0 {
        return Ok(Vec::new());
    }
    let least = if form.wide { 56 } else { 32 };
    if count > MOST_SEGMENTS || !(least..=1024).contains(&size) {
        return Err(ElfError::Damaged("its table of segments is impossible"));
    }
    let bytes = part(source, table, (size * count) as usize)?;
    let mut found = Vec::new();
    for entry in bytes.chunks(size as usize) {
        let read = || {
            Some(Segment {
                kind: form.word(entry, 0)? as u32,
                offset: form.address(entry, 4, 8)?,
                address: form.address(entry, 8, 16)?,
                size: form.address(entry, 16, 32)?,
            })
        };
        found.push(read().ok_or(ElfError::Damaged("its table of segments is cut off"))?);
    }
    Ok(found)
}

fn dynamic(
    source: &mut dyn Source,
    form: Form,
    segments: &[Segment],
    segment: &Segment,
    elf: &mut Elf,
) -> Result<(), ElfError> {
    let width: usize = if form.wide { 16 } else { 8 };
    let length = segment.size.min(MOST_DYNAMIC * width as u64) as usize;
    let bytes = part(source, segment.offset, length)?;
    let (mut names, mut soname, mut rpath, mut runpath) = (Vec::new(), None, None, None);
    let (mut table, mut table_size) = (None, None);
    let (mut need, mut needs, mut definition, mut definitions) = (None, 0, None, 0);
    for entry in bytes.chunks_exact(width) {
        let (Some(tag), Some(value)) = (form.address(entry, 0, 0), form.address(entry, 4, 8)) else {
            break;
        };
        match tag {
            NULL => break,
            NEEDED => names.push(value),
            STRING_TABLE => table = Some(value),
            STRING_SIZE => table_size = Some(value),
            SONAME => soname = Some(value),
            RPATH => rpath = Some(value),
            RUNPATH => runpath = Some(value),
            VERNEED => need = Some(value),
            VERNEED_COUNT => needs = value,
            VERDEF => definition = Some(value),
            VERDEF_COUNT => definitions = value,
            _ => {}
        }
    }
    let Some(table) = table else {
        return Ok(());
    };
    let size = table_size.unwrap_or(0);
    if size > MOST_STRINGS {
        return Err(ElfError::Damaged("its table of strings is impossible"));
    }
    let place = place(segments, table).ok_or(ElfError::Damaged("its table of strings is nowhere"))?;
    let strings = part(source, place, size as usize)?;
    let string = |at: u64| {
        let at = usize::try_from(at).ok()?;
        text(&strings, at)
    };
    elf.needed = names.into_iter().filter_map(string).collect();
    elf.soname = soname.and_then(string).filter(|name| !name.is_empty());
    let paths = |at: Option<u64>| -> Vec<String> {
        let all = at.and_then(string).unwrap_or_default();
        all.split(':')
            .filter(|path| !path.is_empty())
            .map(str::to_string)
            .collect()
    };
    elf.rpath = paths(rpath);
    elf.runpath = paths(runpath);
    if let Some(at) = need.and_then(|address| crate::read::place(segments, address)) {
        elf.needs = version_needs(source, form, at, needs, &string)?;
    }
    if let Some(at) = definition.and_then(|address| crate::read::place(segments, address)) {
        elf.defines = version_definitions(source, form, at, definitions, &string)?;
    }
    Ok(())
}

/// Where in the file an address in memory is.
fn place(segments: &[Segment], address: u64) -> Option<u64> {
    let inside = |segment: &&Segment| {
        segment.kind == LOAD && address >= segment.address && address - segment.address < segment.size
    };
    let segment = segments.iter().find(inside)?;
    (address - segment.address).checked_add(segment.offset)
}

/// A string of a table; `None` where it isn't one, or too long for a name.
fn text(bytes: &[u8], at: usize) -> Option<String> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().take(LONGEST_NAME).position(|byte| *byte == 0)?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

type Strings<'a> = &'a dyn Fn(u64) -> Option<String>;

/// `Verneed` and `Vernaux`: lists in which each entry says how far the next one is.
fn version_needs(
    source: &mut dyn Source,
    form: Form,
    mut at: u64,
    count: u64,
    string: Strings<'_>,
) -> Result<Vec<VersionNeed>, ElfError> {
    let mut found = Vec::new();
    let mut left = MOST_VERSIONS;
    for _ in 0..count {
        let bytes = part(source, at, 16)?;
        let (Some(auxiliaries), Some(file), Some(first), Some(next)) = (
            form.half(&bytes, 2),
            form.word(&bytes, 4),
            form.word(&bytes, 8),
            form.word(&bytes, 12),
        ) else {
            return Err(ElfError::Damaged("its table of versions is cut off"));
        };
        let mut versions = Vec::new();
        let mut inner = at.saturating_add(first);
        for _ in 0..auxiliaries {
            left = left
                .checked_sub(1)
                .ok_or(ElfError::Damaged("its table of versions is impossible"))?;
            let bytes = part(source, inner, 16)?;
            let (Some(name), Some(next)) = (form.word(&bytes, 8), form.word(&bytes, 12)) else {
                return Err(ElfError::Damaged("its table of versions is cut off"));
            };
            versions.extend(string(name));
            if next == 0 {
                break;
            }
            inner = inner.saturating_add(next);
        }
        if let Some(library) = string(file) {
            found.push(VersionNeed { library, versions });
        }
        left = left
            .checked_sub(1)
            .ok_or(ElfError::Damaged("its table of versions is impossible"))?;
        if next == 0 {
            break;
        }
        at = at.saturating_add(next);
    }
    Ok(found)
}

/// `Verdef` and `Verdaux`; the base definition, which is the file's own name, is left out.
fn version_definitions(
    source: &mut dyn Source,
    form: Form,
    mut at: u64,
    count: u64,
    string: Strings<'_>,
) -> Result<Vec<String>, ElfError> {
    const BASE: u64 = 1;
    let mut found = Vec::new();
    for _ in 0..count.min(MOST_VERSIONS as u64) {
        let bytes = part(source, at, 20)?;
        let (Some(flags), Some(first), Some(next)) =
            (form.half(&bytes, 2), form.word(&bytes, 12), form.word(&bytes, 16))
        else {
            return Err(ElfError::Damaged("its table of versions is cut off"));
        };
        let name = part(source, at.saturating_add(first), 8)?;
        if flags & BASE == 0 {
            found.extend(form.word(&name, 0).and_then(string));
        }
        if next == 0 {
            break;
        }
        at = at.saturating_add(next);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small library for x86_64, made by hand: one segment that holds all, and a dynamic section.
    pub fn library() -> Vec<u8> {
        let strings =
            b"\0libx.so.1\0libc.so.6\0libm.so.6\0GLIBC_2.34\0GLIBC_2.2.5\0$ORIGIN/../lib:/opt/x\0X_1\0";
        let find = |text: &str| {
            strings
                .windows(text.len())
                .position(|w| w == text.as_bytes())
                .unwrap() as u64
        };
        let mut file = vec![0; 64 + 2 * 56];
        file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        file[16] = 3;
        file[18] = 62;
        file[32] = 64;
        file[54] = 56;
        file[56] = 2;
        let string_table = file.len() as u64;
        file.extend_from_slice(strings);
        let version_table = file.len() as u64;
        let put = |file: &mut Vec<u8>, numbers: &[(u64, usize)]| {
            for (number, width) in numbers {
                file.extend_from_slice(&number.to_le_bytes()[..*width]);
            }
        };
        put(&mut file, &[(1, 2), (2, 2), (find("libc"), 4), (16, 4), (0, 4)]);
        put(
            &mut file,
            &[(0, 4), (0, 2), (2, 2), (find("GLIBC_2.34"), 4), (16, 4)],
        );
        put(
            &mut file,
            &[(0, 4), (0, 2), (3, 2), (find("GLIBC_2.2.5"), 4), (0, 4)],
        );
        let definition_table = file.len() as u64;
        put(
            &mut file,
            &[(1, 2), (1, 2), (1, 2), (1, 2), (0, 4), (20, 4), (28, 4)],
        );
        put(&mut file, &[(find("libx"), 4), (0, 4)]);
        put(
            &mut file,
            &[(1, 2), (0, 2), (2, 2), (1, 2), (0, 4), (20, 4), (0, 4)],
        );
        put(&mut file, &[(find("X_1"), 4), (0, 4)]);
        let dynamic = file.len() as u64;
        // Addresses are a page further than places.
        let page = 0x1000;
        for (tag, value) in [
            (SONAME, find("libx")),
            (NEEDED, find("libc")),
            (NEEDED, find("libm")),
            (RUNPATH, find("$ORIGIN")),
            (STRING_TABLE, string_table + page),
            (STRING_SIZE, strings.len() as u64),
            (VERNEED, version_table + page),
            (VERNEED_COUNT, 1),
            (VERDEF, definition_table + page),
            (VERDEF_COUNT, 2),
            (NULL, 0),
        ] {
            put(&mut file, &[(tag, 8), (value, 8)]);
        }
        let length = file.len() as u64;
        let mut segment = |number: usize, kind: u32, offset: u64, size: u64| {
            let at = 64 + number * 56;
            file[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            file[at + 8..at + 16].copy_from_slice(&offset.to_le_bytes());
            file[at + 16..at + 24].copy_from_slice(&(offset + page).to_le_bytes());
            file[at + 32..at + 40].copy_from_slice(&size.to_le_bytes());
        };
        segment(0, LOAD, 0, length);
        segment(1, DYNAMIC, dynamic, length - dynamic);
        file
    }

    #[test]
    fn all_that_the_linker_is_told() {
        let file = library();
        let elf = read(&mut file.as_slice()).unwrap();
        assert_eq!(
            (elf.bits, elf.machine, elf.kind),
            (64, Machine::X86_64, Kind::Shared)
        );
        assert_eq!(elf.soname.as_deref(), Some("libx.so.1"));
        assert_eq!(elf.needed, ["libc.so.6", "libm.so.6"]);
        assert_eq!(elf.runpath, ["$ORIGIN/../lib", "/opt/x"]);
        assert!(elf.rpath.is_empty());
        assert_eq!(elf.needs[0].library, "libc.so.6");
        assert_eq!(elf.needs[0].versions, ["GLIBC_2.34", "GLIBC_2.2.5"]);
        assert_eq!(elf.defines, ["X_1"]);
        assert_eq!(elf.highest("GLIBC_"), Some((2, 34)));
        assert_eq!(elf.highest("CXXABI_"), None);
        let mut source = crate::FileSource::new(std::io::Cursor::new(file)).unwrap();
        assert_eq!(read(&mut source).unwrap(), elf);
    }

    /// The program that runs this test is a real one.
    #[test]
    fn a_real_program() {
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let elf = read(&mut crate::FileSource::new(file).unwrap()).unwrap();
        assert!(elf.needed.iter().any(|name| name == "libc.so.6"));
        assert!(elf.highest("GLIBC_").unwrap() >= (2, 2));
        assert!(elf.interpreter.unwrap().starts_with("/lib"));
    }

    #[test]
    fn rubbish_never_panics() {
        assert!(matches!(read(&mut &b""[..]), Err(ElfError::NotElf)));
        assert!(matches!(read(&mut &b"\x7fELF"[..]), Err(ElfError::Damaged(_))));
        let whole = library();
        for length in 0..whole.len() {
            let _ = read(&mut &whole[..length]);
        }
        // Every byte is every extreme once, and some in between.
        for at in 0..whole.len() {
            for value in [0, 1, 2, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = read(&mut changed.as_slice());
            }
        }
        for at in 0..whole.len() - 8 {
            let mut changed = whole.clone();
            changed[at..at + 8].fill(0xff);
            let _ = read(&mut changed.as_slice());
        }
    }
}
