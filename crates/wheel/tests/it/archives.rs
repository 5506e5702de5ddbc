//! Archives that two readers could understand differently, or that would write outside, are refused.

use std::io::Write;

use coil_wheel::archive::{Archive, ArchiveError, Inflater, Limits};

use crate::zips::{ZipEntry, zip, zip_with};

fn open_with(bytes: &[u8], limits: &Limits) -> Result<Archive, ArchiveError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Archive::from_file(file, limits)
}

fn open(bytes: &[u8]) -> Result<Archive, ArchiveError> {
    open_with(bytes, &Limits::default())
}

/// Opens the archive and reads every entry.
fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
    let archive = open(bytes)?;
    archive
        .entries()
        .iter()
        .map(|entry| Ok((entry.name.clone(), archive.read(entry, 1 << 20)?)))
        .collect()
}

fn refusal(bytes: &[u8]) -> String {
    match read(bytes) {
        Ok(entries) => panic!(
            "accepted: {:?}",
            entries.iter().map(|(name, _)| name).collect::<Vec<_>>()
        ),
        Err(error) => error.to_string(),
    }
}

#[test]
fn sound_archives_are_read() {
    let large: Vec<u8> = (0..1_000_000_u32)
        .map(|number| (number.wrapping_mul(number) >> 7) as u8)
        .collect();
    let bytes = zip_with(
        &[
            ZipEntry::new("a.py", b"one"),
            ZipEntry::stored("b/c", b"two"),
            ZipEntry::streamed("d", b"three", true),
            ZipEntry::streamed("e", b"", false),
            ZipEntry::new("large", &large),
            ZipEntry::stored("folder/", b"").with(|entry| entry.mode = 0o040_755),
            ZipEntry::new("run", b"#!").with(|entry| entry.mode = 0o100_755),
        ],
        b"",
        b"a comment",
    );
    let archive = open(&bytes).unwrap();
    assert!(archive.find("run").unwrap().executable);
    assert!(archive.find("folder").unwrap().is_dir);
    assert_eq!(
        archive.peek(archive.find("large").unwrap(), 9).unwrap(),
        &large[..9]
    );
    let read = read(&bytes).unwrap();
    assert_eq!(read[0], ("a.py".into(), b"one".to_vec()));
    assert_eq!(read[2], ("d".into(), b"three".to_vec()));
    assert!(read[4].1 == large);
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let cases: [(&str, &str); 12] = [
        ("../a", "'.' or '..'"),
        ("a/../../b", "'.' or '..'"),
        ("./a", "'.' or '..'"),
        ("/etc/passwd", "absolute"),
        ("a\\b", "backslash"),
        ("..\\b", "backslash"),
        ("a\0.py", "NUL"),
        ("a\nb", "control"),
        ("C:a", "drive"),
        ("a//b", "empty part"),
        ("", "empty"),
        ("/", "empty"),
    ];
    for (name, why) in cases {
        let told = refusal(&zip(&[ZipEntry::new(name, b"")]));
        assert!(told.contains(why), "{name:?}: {told}");
    }
    for name in [
        "x".repeat(256),
        "x/".repeat(1600),
        "a\u{7f}".into(),
        "a/.".into(),
        "..".into(),
    ] {
        let told = refusal(&zip(&[ZipEntry::new(&name, b"")]));
        assert!(
            told.contains("too long")
                || told.contains("longer")
                || told.contains("control")
                || told.contains("part"),
            "{told}"
        );
    }
    let entry = ZipEntry::new("x", b"").with(|entry| {
        entry.name = vec![0xff];
        entry.local_name = vec![0xff];
    });
    assert!(refusal(&zip(&[entry])).contains("UTF-8"));
}

#[test]
fn entries_that_are_no_plain_files_are_refused() {
    let with_mode = |mode| zip(&[ZipEntry::new("a", b"/etc/passwd").with(|entry| entry.mode = mode)]);
    assert!(refusal(&with_mode(0o120_777)).contains("symbolic link"));
    for mode in [0o010_644, 0o020_644, 0o060_644, 0o140_644, 0o040_755] {
        assert!(
            refusal(&with_mode(mode)).contains("neither a file nor a directory"),
            "{mode:o}"
        );
    }
    assert!(refusal(&zip(&[ZipEntry::new("a/", b"content")])).contains("directory with content"));
}

#[test]
fn names_that_come_twice_are_refused() {
    let (a, b) = (ZipEntry::new("a", b"1"), ZipEntry::new("a", b"2"));
    assert!(refusal(&zip(&[a.clone(), b])).contains("twice"));
    assert!(refusal(&zip(&[a.clone(), ZipEntry::new("a/b", b"")])).contains("is a file"));
    assert!(refusal(&zip(&[a, ZipEntry::new("a/", b"")])).contains("twice"));
    let renamed = ZipEntry::new("a", b"").with(|entry| {
        entry.extra = [b"\x75\x70\x06\0\x01\0\0\0\0".as_slice(), b"b"].concat();
    });
    assert!(refusal(&zip(&[renamed])).contains("second, different name"));
}

#[test]
fn headers_that_disagree_are_refused() {
    type Change = fn(&mut ZipEntry);
    let cases: [(Change, &str); 6] = [
        (|entry| entry.local_name = b"b".to_vec(), "name"),
        (|entry| entry.local_name = b"longer".to_vec(), "name"),
        (|entry| entry.local_method = 0, "compression"),
        (|entry| entry.local_crc ^= 1, "CRC-32"),
        (|entry| entry.local_size += 1, "size"),
        (
            |entry| entry.descriptor = Some(b"PK\x07\x08\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
            "size",
        ),
    ];
    for (change, field) in cases {
        let told = refusal(&zip(&[ZipEntry::new("a", b"content").with(change)]));
        assert!(
            told.contains("disagree") && told.contains(field),
            "{field}: {told}"
        );
    }
    let mut streamed = ZipEntry::streamed("a", b"content", true);
    streamed.descriptor = Some(b"PK\x07\x08\0\0\0\0\0\0\0\0\0\0\0\0".to_vec());
    assert!(refusal(&zip(&[streamed])).contains("data descriptor"));
}

/// An entry whose size stands in a zip64 field: what the central one tells, and the local one.
fn wide(central: u64, local: u64) -> ZipEntry {
    let field = |size: u64| [b"\x01\0\x08\0".as_slice(), &size.to_le_bytes()].concat();
    ZipEntry::new("a", b"content").with(|entry| {
        (entry.size, entry.local_size) = (u32::MAX, u32::MAX);
        (entry.extra, entry.local_extra) = (field(central), field(local));
    })
}

#[test]
fn zip64_fields_that_lie_are_refused() {
    assert_eq!(read(&zip(&[wide(7, 7)])).unwrap()[0].1, b"content");
    assert!(refusal(&zip(&[wide(7, 8)])).contains("disagree"));
    assert!(refusal(&zip(&[wide(8, 8)])).contains("not the declared one"));
    assert!(refusal(&zip(&[wide(u64::MAX, u64::MAX)])).contains("too many bytes"));
    let twice = wide(7, 7).with(|entry| entry.extra = [entry.extra.as_slice(), &entry.extra].concat());
    assert!(refusal(&zip(&[twice])).contains("two zip64 fields"));
    let short = wide(7, 7).with(|entry| entry.extra = b"\x01\0\x04\0\x07\0\0\0".to_vec());
    assert!(refusal(&zip(&[short])).contains("cut off"));

    // The end: 56 bytes of the wide record, 20 of its locator, then the narrow one that must not say otherwise.
    let plain = zip(&[ZipEntry::new("a", b"content")]);
    let (body, end) = plain.split_at(plain.len() - 22);
    let number = |at: usize| u64::from(u32::from_le_bytes(end[at..at + 4].try_into().unwrap()));
    let (size, start) = (number(12), number(16));
    let ending = |count: u64, size: u64, start: u64, at: u64| {
        let mut bytes = [
            body,
            b"PK\x06\x06".as_slice(),
            &44_u64.to_le_bytes(),
            &[45, 3, 45, 0],
            &[0; 8],
        ]
        .concat();
        for number in [count, count, size, start] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(
            [
                b"PK\x06\x07".as_slice(),
                &[0; 4],
                &at.to_le_bytes(),
                &1_u32.to_le_bytes(),
                end,
            ]
            .concat(),
        );
        bytes
    };
    let at = body.len() as u64;
    assert!(read(&ending(1, size, start, at)).is_ok());
    for lie in [
        ending(2, size, start, at),
        ending(1, size + 1, start, at),
        ending(1, size, start + 1, at),
    ] {
        assert!(refusal(&lie).contains("two end records disagree"));
    }
    assert!(refusal(&ending(1, size, start, at - 1)).contains("not where it should be"));
}

#[test]
fn content_that_is_not_what_is_declared_is_refused() {
    let both = |change: fn(&mut ZipEntry)| zip(&[ZipEntry::new("a", &[7; 50_000]).with(change)]);
    let smaller = both(|entry| (entry.size, entry.local_size) = (49_999, 49_999));
    assert!(refusal(&smaller).contains("more than its declared size"));
    let larger = both(|entry| (entry.size, entry.local_size) = (50_001, 50_001));
    assert!(refusal(&larger).contains("not the declared one"));
    let sum = both(|entry| (entry.crc, entry.local_crc) = (1, 1));
    assert!(refusal(&sum).contains("CRC-32"));
    assert!(refusal(&both(|entry| entry.data.push(0))).contains("bytes follow"));
    assert!(refusal(&both(|entry| entry.data.truncate(20))).contains("ends too early"));
    assert!(refusal(&both(|entry| entry.data[0] = 0xff)).contains("not valid"));
    let stored = ZipEntry::stored("a", b"abc").with(|entry| (entry.size, entry.local_size) = (2, 2));
    assert!(refusal(&zip(&[stored])).contains("two sizes"));
    for (flag, why) in [
        (1, "encrypted"),
        (1 << 6, "encrypted"),
        (1 << 13, "encrypted"),
        (1 << 5, "patch"),
    ] {
        let entry = ZipEntry::new("a", b"").with(|entry| entry.flags = flag);
        assert!(refusal(&zip(&[entry])).contains(why), "{flag}");
    }
    for (number, name) in [
        (9, "deflate64"),
        (12, "bzip2"),
        (14, "LZMA"),
        (93, "zstd"),
        (98, "in a way"),
    ] {
        let method =
            ZipEntry::new("a", b"").with(|entry| (entry.method, entry.local_method) = (number, number));
        let told = refusal(&zip(&[method]));
        assert!(told.contains("compressed") && told.contains(name), "{told}");
    }
}

#[test]
fn bytes_outside_the_structure_are_refused() {
    let entry = ZipEntry::new("a", b"content");
    let plain = zip(std::slice::from_ref(&entry));
    assert!(refusal(&[b"#!/bin/sh\n", plain.as_slice()].concat()).contains("not where its end says"));
    assert!(refusal(&[plain.as_slice(), b"more"].concat()).contains("follow its end"));
    assert!(refusal(&zip_with(std::slice::from_ref(&entry), b"gap", b"")).contains("belong to no entry"));
    assert!(
        refusal(&zip(&[entry.clone().with(|entry| entry.gap = b"gap".to_vec())]))
            .contains("belong to no entry")
    );
    let overlap = ZipEntry::new("b", b"content").with(|entry| entry.offset = Some(0));
    assert!(refusal(&zip(&[entry.clone(), overlap])).contains("overlap"));
    let inner = zip(&[ZipEntry::new("inner", b"")]);
    assert!(
        refusal(&zip_with(&[entry], b"", &inner)).contains("not a sound"),
        "a second end in the comment"
    );
    for length in 0..plain.len() {
        assert!(read(&plain[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn bombs_are_refused() {
    let limits = Limits {
        entries: 3,
        total_size: 1000,
        ratio: 10,
        ratio_from: 500,
    };
    let many: Vec<_> = (0..4)
        .map(|number| ZipEntry::new(&number.to_string(), b""))
        .collect();
    assert!(open_with(&zip(&many), &limits).is_err());
    assert!(open_with(&zip(&[ZipEntry::new("a", &[0; 1001])]), &limits).is_err());
    let limits = Limits {
        entries: 3,
        total_size: 1 << 30,
        ratio: 10,
        ratio_from: 500,
    };
    assert!(open_with(&zip(&[ZipEntry::new("a", &[0; 100_000])]), &limits).is_err());
    let archive = open(&zip(&[ZipEntry::new("a", &[0; 1000])])).unwrap();
    assert!(archive.read(&archive.entries()[0], 999).is_err());
}

#[test]
fn no_changed_byte_makes_it_panic() {
    let bytes = zip(&[
        ZipEntry::new("a/b.py", b"import os\n"),
        ZipEntry::streamed("c", b"content", true),
        ZipEntry::stored("d", b"x"),
    ]);
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff, bytes[at] ^ 0x20] {
            let mut changed = bytes.clone();
            changed[at] = value;
            if let Ok(archive) = open(&changed) {
                for entry in archive.entries() {
                    let _ = archive.peek(entry, 100);
                    let _ = archive.stream(entry, &mut Inflater::new(), &mut |_, _| Ok(()));
                }
            }
        }
    }
}
