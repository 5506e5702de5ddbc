//! Samples changed at random, each time alike: nothing that reads a wheel panics or leads outside. The fuzz targets look longer.

use crate::oracles;
use crate::zips::{ZipEntry, zip};

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// What parsers stumble over.
const PIECES: [&[u8]; 24] = [
    b"..",
    b"/",
    b"\\",
    b"\0",
    b"\n",
    b"\r\n",
    b"\"",
    b",",
    b"=",
    b"[",
    b"]",
    b":",
    b"#!python",
    b"sha256=",
    b"-",
    b".data/",
    b".dist-info/",
    b"\xff\xff\xff\xff",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b" ",
    b"\xc3\xbc",
    b"RECORD",
    b"lib64/",
];

fn change(sample: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len() + 1);
        match numbers.below(5) {
            0 if at < bytes.len() => bytes[at] = numbers.below(256) as u8,
            1 => bytes.truncate(at.max(1)),
            2 => {
                let end = (at + numbers.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + numbers.below(40)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = numbers.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            _ => {
                let piece = PIECES[numbers.below(PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

fn many(oracle: fn(&[u8]), samples: &[&[u8]], times: usize) {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for sample in samples {
        oracle(sample);
        for _ in 0..times {
            oracle(&change(sample, &mut numbers));
        }
    }
}

#[test]
fn archives() {
    let wide = ZipEntry::stored("wide", b"content").with(|entry| {
        (entry.size, entry.local_size) = (u32::MAX, u32::MAX);
        let field = [b"\x01\0\x08\0".as_slice(), &7_u64.to_le_bytes()].concat();
        (entry.extra, entry.local_extra) = (field.clone(), field);
    });
    let sample = zip(&[
        ZipEntry::new("a/b.py", b"import os\n"),
        ZipEntry::streamed("c", b"content content content", true),
        ZipEntry::streamed("d", b"x", false),
        ZipEntry::new("folder/", b"").with(|entry| entry.mode = 0o040_755),
        wide,
    ]);
    many(oracles::archive, &[&sample], 4000);
}

#[test]
fn records() {
    let samples: [&[u8]; 3] = [
        b"a.py,sha256=LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE,1\nd-1.dist-info/RECORD,,\n",
        b"\"a,\"\"b\"\".py\",sha512=abc,10\r\n./c,,\r\nfolder/,,\n",
        b"\xef\xbb\xbfa,,\n\n",
    ];
    many(oracles::record, &samples, 4000);
}

#[test]
fn metadata() {
    let sample = b"Metadata-Version: 2.4\nName: a.b\nLicense: MIT\n        and more\n       |last\nClassifier: X\n\nbody";
    many(oracles::metadata, &[sample], 4000);
}

#[test]
fn entry_points() {
    let sample =
        b"[console_scripts]\nrun = a.b:main\n# no\nx = c:D.e [extra1, extra2]\n\n[gui_scripts]\nwin=w:go\n";
    many(oracles::entry_points, &[sample], 8000);
}

#[test]
fn wheel_names() {
    let samples: [&[u8]; 3] = [
        b"Foo_Bar-1.0_2-3b-py2.py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.whl",
        b"a-1!2.0rc1+cpu.1-cp311-abi3-linux_x86_64.whl",
        b"demo-0.2.tar.gz",
    ];
    many(oracles::wheel_name, &samples, 8000);
}

#[test]
fn installs() {
    let samples: [&[u8]; 2] = [
        b"demo/__init__.py\0demo-1.0.data/scripts/tool\0demo-1.0.data/data/lib64/x\0demo-1.0.data/headers/h.h\0\
          Summary: x\n\0Root-Is-Purelib: true\n\0demo-1.0.dist-info/RECORD,,\n\0[console_scripts]\ntool = a:b\n",
        b"demo-1.0.data/purelib/demo.py\0demo-1.0.data/data/bin/run\0demo-1.0.data/data/pyvenv.cfg2\0\0\0\0[gui_scripts]\nx=y:z\n",
    ];
    many(oracles::install, &samples, 1500);
}
