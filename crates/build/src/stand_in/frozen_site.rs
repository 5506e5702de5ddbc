//! The module `site` taken out of those that an interpreter has inside itself, so that it is read from its file.
//!
//! Since 3.11 an interpreter holds the code of some modules of its start; of these Debian changed one. The table of them is
//! an array of equal entries, each of which begins with the address of a name. The entry of `site` gets the address of the
//! name's second letter: a name that nobody asks for.

const NAME: &[u8] = b"site\0";
/// The names before and behind it in the table.
const NEIGHBOURS: (&[u8], &[u8]) = (b"os", b"stat");
/// An entry's sizes in bytes, by version.
const ENTRY_SIZES: [u64; 3] = [24, 32, 40];

/// A loaded part of a program: where it is in the file and in memory, and its size.
struct Segment {
    offset: u64,
    address: u64,
    size: u64,
}

/// Renames the entry in an interpreter or its library; whether there was one.
///
/// Anything that isn't a 64-bit little-endian ELF file with such a table stays as it is.
pub(super) fn thaw(program: &mut [u8]) -> bool {
    if program.get(..6) != Some(b"\x7fELF\x02\x01") {
        return false;
    }
    let Some(segments) = segments(program) else {
        return false;
    };
    let moved = relocations(program, &segments);
    let mut found = false;
    for name in names(program, &segments) {
        for (offset, address) in places(program, &segments, name, &moved) {
            let is_entry = ENTRY_SIZES.iter().any(|size| {
                let text = |address: Option<u64>| {
                    let value = pointer(program, &segments, &moved, address?)?;
                    text_at(program, &segments, value)
                };
                text(address.checked_sub(*size)) == Some(NEIGHBOURS.0)
                    && text(address.checked_add(*size)) == Some(NEIGHBOURS.1)
            });
            if !is_entry {
                continue;
            }
            found = true;
            put(program, offset, name + 1);
            if let Some((_, _, addend)) = moved.iter().find(|(at, ..)| *at == address) {
                put(program, *addend, name + 1);
            }
        }
    }
    found
}

fn word(program: &[u8], offset: u64) -> Option<u64> {
    let start = usize::try_from(offset).ok()?;
    let bytes = program.get(start..start.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn put(program: &mut [u8], offset: u64, value: u64) {
    let Ok(start) = usize::try_from(offset) else {
        return;
    };
    if let Some(place) = program.get_mut(start..start + 8) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

fn segments(program: &[u8]) -> Option<Vec<Segment>> {
    let (table, count) = (word(program, 32)?, word(program, 56)? & 0xffff);
    let mut found = Vec::new();
    for number in 0..count {
        let at = table.checked_add(number * 56)?;
        // PT_LOAD
        if word(program, at)? & 0xffff_ffff == 1 {
            found.push(Segment {
                offset: word(program, at + 8)?,
                address: word(program, at + 16)?,
                size: word(program, at + 32)?,
            });
        }
    }
    Some(found)
}

fn address_of(segments: &[Segment], offset: u64) -> Option<u64> {
    let inside = segments
        .iter()
        .find(|part| offset >= part.offset && offset - part.offset < part.size)?;
    Some(inside.address + (offset - inside.offset))
}

fn offset_of(segments: &[Segment], address: u64) -> Option<u64> {
    let inside = segments
        .iter()
        .find(|part| address >= part.address && address - part.address < part.size)?;
    Some(inside.offset + (address - inside.address))
}

/// What the loader writes when the program starts: the place, the value, and where in the file the value stands.
fn relocations(program: &[u8], segments: &[Segment]) -> Vec<(u64, u64, u64)> {
    const RELATIVE: [u64; 2] = [8, 1027];
    let (Some(table), Some(count)) = (word(program, 32), word(program, 56)) else {
        return Vec::new();
    };
    let dynamic = (0..count & 0xffff).find_map(|number| {
        let at = table.checked_add(number * 56)?;
        // PT_DYNAMIC
        (word(program, at)? & 0xffff_ffff == 2).then(|| word(program, at + 8))?
    });
    let (mut start, mut size) = (None, 0);
    let mut at = dynamic.unwrap_or(u64::MAX - 16);
    while let (Some(tag), Some(value)) = (word(program, at), word(program, at.saturating_add(8))) {
        match tag {
            0 => break,
            7 => start = offset_of(segments, value),
            8 => size = value,
            _ => {}
        }
        at += 16;
    }
    let mut found = Vec::new();
    let Some(start) = start else { return found };
    for number in 0..size / 24 {
        let at = start + number * 24;
        if let (Some(place), Some(kind), Some(value)) =
            (word(program, at), word(program, at + 8), word(program, at + 16))
            && RELATIVE.contains(&kind)
        {
            found.push((place, value, at + 16));
        }
    }
    found.sort_unstable();
    found
}

/// The address that stands in memory at an address.
fn pointer(program: &[u8], segments: &[Segment], moved: &[(u64, u64, u64)], address: u64) -> Option<u64> {
    match moved.binary_search_by_key(&address, |(place, ..)| *place) {
        Ok(at) => Some(moved[at].1),
        Err(_) => word(program, offset_of(segments, address)?),
    }
}

fn text_at<'a>(program: &'a [u8], segments: &[Segment], address: u64) -> Option<&'a [u8]> {
    let start = usize::try_from(offset_of(segments, address)?).ok()?;
    let rest = program.get(start..)?;
    let end = rest.iter().take(16).position(|byte| *byte == 0)?;
    Some(&rest[..end])
}

/// The addresses at which the name stands, alone or as the end of a longer text.
fn names(program: &[u8], segments: &[Segment]) -> Vec<u64> {
    let offsets = program
        .windows(NAME.len())
        .enumerate()
        .filter(|(_, window)| *window == NAME);
    offsets
        .filter_map(|(offset, _)| address_of(segments, offset as u64))
        .collect()
}

/// Where an address stands: offsets in the file, and addresses.
fn places(program: &[u8], segments: &[Segment], name: u64, moved: &[(u64, u64, u64)]) -> Vec<(u64, u64)> {
    let bytes = name.to_le_bytes();
    let plain = program
        .chunks_exact(8)
        .enumerate()
        .filter(|(_, chunk)| **chunk == bytes);
    let mut found: Vec<(u64, u64)> = plain
        .filter_map(|(number, _)| {
            let offset = number as u64 * 8;
            Some((offset, address_of(segments, offset)?))
        })
        .collect();
    for (place, value, _) in moved {
        if *value == name
            && let Some(offset) = offset_of(segments, *place)
        {
            found.push((offset, *place));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of one segment at 0x400000 with a table of three entries, and another list of names.
    fn program() -> Vec<u8> {
        let mut out = vec![0; 0x200];
        out[..6].copy_from_slice(b"\x7fELF\x02\x01");
        put(&mut out, 32, 64);
        put(&mut out, 56, 1);
        put(&mut out, 64, 1);
        put(&mut out, 64 + 16, 0x40_0000);
        put(&mut out, 64 + 32, 0x200);
        out[0x100..0x10b].copy_from_slice(b"no_site\0os\0");
        out[0x110..0x115].copy_from_slice(b"stat\0");
        for (number, name) in [0x40_0108, 0x40_0103, 0x40_0110].into_iter().enumerate() {
            put(&mut out, 0x140 + number as u64 * 24, name);
        }
        put(&mut out, 0x1c0, 0x40_0103);
        out
    }

    #[test]
    fn only_the_tables_entry_is_renamed() {
        let mut bytes = program();
        assert!(thaw(&mut bytes));
        assert_eq!(word(&bytes, 0x158), Some(0x40_0104));
        assert_eq!(word(&bytes, 0x1c0), Some(0x40_0103));
        assert!(!thaw(&mut bytes), "a second time there is nothing to do");
    }

    #[test]
    fn what_is_no_program_stays_as_it_is() {
        for length in 0..0x1ff {
            let mut bytes = program();
            bytes.truncate(length);
            thaw(&mut bytes);
        }
        assert!(!thaw(&mut b"#!/bin/sh\n".to_vec()));
    }
}
