//! Wheels as large as some are: read in pieces, written once.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use coil_fetch::NoProgress;
use coil_oci::Hasher;
use coil_wheel::layer::{WheelFile, build_layers};
use coil_wheel::record::{Algorithm, RecordHasher};

use crate::support::{Scratch, options, python};

const PIECE: usize = 1 << 20;
const PIECES: usize = 300;

/// Bytes that no one can compress, made anew for each piece.
fn piece(number: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let mut bytes = Vec::with_capacity(PIECE);
    while bytes.len() < PIECE {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// A stored entry's two headers, its sizes in zip64 fields.
fn headers(name: &str, crc: u32, size: u64, offset: u64) -> (Vec<u8>, Vec<u8>) {
    let mut shared = Vec::new();
    for field in [45_u16, 0, 0, 0, 0x21] {
        shared.extend(field.to_le_bytes());
    }
    for field in [crc, u32::MAX, u32::MAX] {
        shared.extend(field.to_le_bytes());
    }
    shared.extend((name.len() as u16).to_le_bytes());
    let mut wide = Vec::new();
    wide.extend(size.to_le_bytes());
    wide.extend(size.to_le_bytes());
    let extra = |values: &[u8]| [&[1, 0, values.len() as u8, 0], values].concat();
    let local = extra(&wide);
    let length = |extra: &[u8]| (extra.len() as u16).to_le_bytes();
    let first = [
        b"PK\x03\x04".as_slice(),
        &shared,
        &length(&local),
        name.as_bytes(),
        &local,
    ]
    .concat();
    wide.extend(offset.to_le_bytes());
    let central = extra(&wide);
    let mut second = [
        b"PK\x01\x02\x2d\x03".as_slice(),
        &shared,
        &length(&central),
        &[0; 6],
    ]
    .concat();
    second.extend((0o100_644_u32 << 16).to_le_bytes());
    second.extend(u32::MAX.to_le_bytes());
    second.extend_from_slice(name.as_bytes());
    second.extend(central);
    (first, second)
}

/// Writes a zip64 wheel with one large file, no piece of it kept in memory.
fn write_wheel(path: &Path) -> WheelFile {
    let (mut crc, mut hasher) = (flate2::Crc::new(), RecordHasher::new(Algorithm::Sha256));
    for number in 0..PIECES {
        let bytes = piece(number);
        crc.update(&bytes);
        hasher.update(&bytes);
    }
    let size = (PIECE * PIECES) as u64;
    let mut record = format!("large/data.bin,{},{size}\n", hasher.finish());
    let mut small: Vec<(String, Vec<u8>)> = vec![
        (
            "large-1.0.dist-info/METADATA".into(),
            b"Metadata-Version: 2.1\nName: large\nVersion: 1.0\n".to_vec(),
        ),
        (
            "large-1.0.dist-info/WHEEL".into(),
            b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n".to_vec(),
        ),
    ];
    for (name, content) in &small {
        let hash = coil_wheel::record::RecordHash::of(content);
        record += &format!("{name},{hash},{}\n", content.len());
    }
    record += "large-1.0.dist-info/RECORD,,\n";
    small.push(("large-1.0.dist-info/RECORD".into(), record.into_bytes()));

    let mut out = Counted {
        out: BufWriter::new(File::create(path).unwrap()),
        hasher: Hasher::new(),
        length: 0,
    };
    let mut directory = Vec::new();
    let (first, second) = headers("large/data.bin", crc.sum(), size, 0);
    directory.extend(second);
    out.put(&first);
    for number in 0..PIECES {
        out.put(&piece(number));
    }
    for (name, content) in &small {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let (first, second) = headers(name, crc.sum(), content.len() as u64, out.length);
        directory.extend(second);
        out.put(&first);
        out.put(content);
    }
    let (start, count) = (out.length, small.len() as u64 + 1);
    out.put(&directory);
    let at = out.length;
    let mut end = [
        b"PK\x06\x06".as_slice(),
        &44_u64.to_le_bytes(),
        &[45, 3, 45, 0],
        &[0; 8],
    ]
    .concat();
    for number in [count, count, directory.len() as u64, start] {
        end.extend(number.to_le_bytes());
    }
    end.extend(
        [
            b"PK\x06\x07".as_slice(),
            &[0; 4],
            &at.to_le_bytes(),
            &1_u32.to_le_bytes(),
        ]
        .concat(),
    );
    end.extend([b"PK\x05\x06".as_slice(), &[0; 4], &[0xff; 12], &[0; 2]].concat());
    out.put(&end);
    out.out.flush().unwrap();
    WheelFile {
        path: path.to_owned(),
        filename: "large-1.0-py3-none-any.whl".into(),
        sha256: out.hasher.finish(),
        direct_url: None,
    }
}

struct Counted {
    out: BufWriter<File>,
    hasher: Hasher,
    length: u64,
}

impl Counted {
    fn put(&mut self, bytes: &[u8]) {
        self.out.write_all(bytes).unwrap();
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
    }
}

/// The size in bytes of all files below a folder; one that goes meanwhile has none.
fn size_below(folder: &Path) -> u64 {
    let Ok(entries) = folder.read_dir() else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// The most memory that this process has had, in KiB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_large_wheel_is_never_whole_in_memory_nor_twice_on_the_disk() {
    let scratch = Scratch::new();
    let wheel = write_wheel(&scratch.folder.path().join("large-1.0-py3-none-any.whl"));
    let mut options = options(python(), 2);
    options.interpreter = None;
    let done = AtomicBool::new(false);
    let root = scratch.store.root().to_owned();
    let (layers, most) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(size_below(&root));
                // Looking takes time from those who work.
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            most.max(size_below(&root))
        });
        let layers = build_layers(&scratch.store, &[vec![wheel]], &options, &NoProgress);
        done.store(true, Ordering::Relaxed);
        (layers.unwrap(), watcher.join().unwrap())
    });
    let size = (PIECE * PIECES) as u64;
    assert!(layers[0].uncompressed_size > size);
    assert!(
        most < layers[0].size + (4 << 20),
        "{most} bytes in the store for a layer of {}",
        layers[0].size
    );
    // nextest gives each test a process of its own.
    assert!(most_memory() < 100 << 10, "{} KiB", most_memory());
    assert!(scratch.store.verify_blob(&layers[0].digest).unwrap());
}
