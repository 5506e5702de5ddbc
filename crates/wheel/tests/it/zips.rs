//! Zip archives made byte by byte, so that each byte can be wrong.

use std::io::Write;

/// One entry, with what its headers tell.
#[derive(Clone)]
pub struct ZipEntry {
    pub name: Vec<u8>,
    pub local_name: Vec<u8>,
    pub method: u16,
    pub local_method: u16,
    pub flags: u16,
    pub crc: u32,
    pub local_crc: u32,
    pub size: u32,
    pub local_size: u32,
    pub mode: u32,
    pub data: Vec<u8>,
    pub extra: Vec<u8>,
    pub local_extra: Vec<u8>,
    pub descriptor: Option<Vec<u8>>,
    pub gap: Vec<u8>,
    pub offset: Option<u32>,
}

impl ZipEntry {
    pub fn new(name: &str, content: &[u8]) -> ZipEntry {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(content).unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(content);
        ZipEntry {
            name: name.into(),
            local_name: name.into(),
            method: 8,
            local_method: 8,
            flags: 0,
            crc: crc.sum(),
            local_crc: crc.sum(),
            size: content.len() as u32,
            local_size: content.len() as u32,
            mode: 0o100_644,
            data: encoder.finish().unwrap(),
            extra: Vec::new(),
            local_extra: Vec::new(),
            descriptor: None,
            gap: Vec::new(),
            offset: None,
        }
    }

    /// The same entry with a change.
    pub fn with(mut self, change: impl FnOnce(&mut ZipEntry)) -> ZipEntry {
        change(&mut self);
        self
    }

    pub fn stored(name: &str, content: &[u8]) -> ZipEntry {
        ZipEntry::new(name, content).with(|entry| {
            entry.method = 0;
            entry.local_method = 0;
            entry.data = content.to_vec();
        })
    }

    /// Its sizes and checksum stand behind its data, as from a writer that cannot seek.
    pub fn streamed(name: &str, content: &[u8], signed: bool) -> ZipEntry {
        ZipEntry::new(name, content).with(|entry| {
            let mut descriptor = if signed {
                b"PK\x07\x08".to_vec()
            } else {
                Vec::new()
            };
            for number in [entry.crc, entry.data.len() as u32, entry.size] {
                descriptor.extend_from_slice(&number.to_le_bytes());
            }
            entry.flags = 8;
            (entry.local_crc, entry.local_size) = (0, 0);
            entry.descriptor = Some(descriptor);
        })
    }
}

pub fn zip(entries: &[ZipEntry]) -> Vec<u8> {
    zip_with(entries, &[], b"")
}

/// An archive with bytes between its last entry and its directory, and with a comment.
pub fn zip_with(entries: &[ZipEntry], before_directory: &[u8], comment: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        out.extend_from_slice(&entry.gap);
        let offset = entry.offset.unwrap_or(out.len() as u32);
        let local_packed = if entry.descriptor.is_some() {
            0
        } else {
            entry.data.len() as u32
        };
        let header = |out: &mut Vec<u8>, central: bool| {
            let put16 =
                |out: &mut Vec<u8>, number: usize| out.extend_from_slice(&(number as u16).to_le_bytes());
            let put32 = |out: &mut Vec<u8>, number: u32| out.extend_from_slice(&number.to_le_bytes());
            let (name, extra) = if central {
                (&entry.name, &entry.extra)
            } else {
                (&entry.local_name, &entry.local_extra)
            };
            put32(out, if central { 0x0201_4b50 } else { 0x0403_4b50 });
            if central {
                put16(out, 0x0314);
            }
            put16(out, 20);
            put16(out, usize::from(entry.flags));
            put16(
                out,
                usize::from(if central { entry.method } else { entry.local_method }),
            );
            put32(out, 0x0021_0000);
            put32(out, if central { entry.crc } else { entry.local_crc });
            put32(
                out,
                if central {
                    entry.data.len() as u32
                } else {
                    local_packed
                },
            );
            put32(out, if central { entry.size } else { entry.local_size });
            put16(out, name.len());
            put16(out, extra.len());
            if central {
                put16(out, 0);
                put16(out, 0);
                put16(out, 0);
                put32(out, entry.mode << 16);
                put32(out, offset);
            }
            out.extend_from_slice(name);
            out.extend_from_slice(extra);
        };
        header(&mut directory, true);
        if entry.offset.is_none() {
            header(&mut out, false);
            out.extend_from_slice(&entry.data);
            out.extend_from_slice(entry.descriptor.as_deref().unwrap_or_default());
        }
    }
    out.extend_from_slice(before_directory);
    let start = out.len() as u32;
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    for _ in 0..2 {
        out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    }
    out.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&(comment.len() as u16).to_le_bytes());
    out.extend_from_slice(comment);
    out
}

/// A wheel's file name and bytes, with WHEEL, METADATA and a true RECORD added.
pub fn wheel(name: &str, version: &str, entries: Vec<ZipEntry>) -> (String, Vec<u8>) {
    let entries = with_metadata(name, version, entries);
    (format!("{name}-{version}-py3-none-any.whl"), zip(&entries))
}

/// A wheel's entries with METADATA, WHEEL and RECORD behind them.
pub fn with_metadata(name: &str, version: &str, mut entries: Vec<ZipEntry>) -> Vec<ZipEntry> {
    let info = format!("{name}-{version}.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
    entries.push(ZipEntry::new(&format!("{info}/METADATA"), metadata.as_bytes()));
    let text = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    entries.push(ZipEntry::new(&format!("{info}/WHEEL"), text));
    let mut record = String::new();
    for entry in entries.iter().filter(|entry| !entry.name.ends_with(b"/")) {
        let mut content = Vec::new();
        match entry.method {
            0 => content.clone_from(&entry.data),
            _ => {
                let mut decoder = flate2::write::DeflateDecoder::new(&mut content);
                decoder.write_all(&entry.data).unwrap();
                decoder.finish().unwrap();
            }
        }
        let hash = coil_wheel::record::RecordHash::of(&content);
        record += &format!(
            "{},{hash},{}\n",
            String::from_utf8_lossy(&entry.name),
            content.len()
        );
    }
    record += &format!("{info}/RECORD,,\n");
    entries.push(ZipEntry::new(&format!("{info}/RECORD"), record.as_bytes()));
    entries
}
