//! Builds small wheels, byte for byte under the test's control.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// A wheel in the making.
pub struct WheelBuilder {
    name: String,
    version: String,
    tag: String,
    metadata: Vec<String>,
    entry_points: Option<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl WheelBuilder {
    /// A pure wheel (`py3-none-any`) with no files yet. `name` is in its normalised form, with underscores.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            tag: "py3-none-any".to_owned(),
            metadata: Vec::new(),
            entry_points: None,
            files: Vec::new(),
        }
    }

    /// Another compatibility tag.
    pub fn tag(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.tag);
        self
    }

    /// Adds a file.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), content.into()));
        self
    }

    /// Adds a line of metadata, such as `Requires-Dist: idna`.
    pub fn metadata(mut self, line: &str) -> Self {
        self.metadata.push(line.to_owned());
        self
    }

    /// Sets `entry_points.txt`.
    pub fn entry_points(mut self, text: &str) -> Self {
        self.entry_points = Some(text.to_owned());
        self
    }

    /// The file name, as an index lists it.
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}.whl", self.name, self.version, self.tag)
    }

    /// The wheel's bytes.
    pub fn build(&self) -> Vec<u8> {
        let info = format!("{}-{}.dist-info", self.name, self.version);
        let mut files = self.files.clone();
        let mut metadata = format!(
            "Metadata-Version: 2.1\nName: {}\nVersion: {}\n",
            self.name.replace('_', "-"),
            self.version
        );
        for line in &self.metadata {
            metadata.push_str(line);
            metadata.push('\n');
        }
        files.push((format!("{info}/METADATA"), metadata.into_bytes()));
        let pure = self.tag.ends_with("-none-any");
        let wheel = format!(
            "Wheel-Version: 1.0\nGenerator: testkit\nRoot-Is-Purelib: {pure}\nTag: {}\n",
            self.tag
        );
        files.push((format!("{info}/WHEEL"), wheel.into_bytes()));
        if let Some(text) = &self.entry_points {
            files.push((format!("{info}/entry_points.txt"), text.clone().into_bytes()));
        }
        let mut record = String::new();
        for (path, content) in &files {
            let hash = url_safe(coil_oci::Digest::of(content).hex());
            record.push_str(&format!("{path},sha256={hash},{}\n", content.len()));
        }
        record.push_str(&format!("{info}/RECORD,,\n"));
        files.push((format!("{info}/RECORD"), record.into_bytes()));
        zip(&files)
    }
}

/// A zip archive of deflated files, in order.
pub fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (path, content) in files {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).expect("a vector takes all");
        let packed = encoder.finish().expect("a vector takes all");
        let mut crc = flate2::Crc::new();
        crc.update(content);

        // What the local and the central header share: version, flags, deflate, 1980-01-01, sizes, name length, no extra.
        let mut shared = Vec::new();
        for field in [20_u16, 0x0800, 8, 0, 0x21] {
            shared.extend(field.to_le_bytes());
        }
        for field in [crc.sum(), length(&packed), length(content)] {
            shared.extend(field.to_le_bytes());
        }
        shared.extend(u16::try_from(path.len()).expect("a short path").to_le_bytes());
        shared.extend([0, 0]);

        let offset = length(&bytes);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&shared);
        bytes.extend(path.as_bytes());
        bytes.extend(packed);

        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&shared);
        directory.extend([0; 6]);
        directory.extend((0o100_644_u32 << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(path.as_bytes());
    }
    let count = u16::try_from(files.len()).expect("few files").to_le_bytes();
    let (size, start) = (length(&directory), length(&bytes));
    bytes.extend(directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count);
    bytes.extend(count);
    bytes.extend(size.to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a small archive")
}

/// A digest in the URL-safe base 64 without padding that RECORD wants.
fn url_safe(hex: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let nibbles: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let bits: Vec<u32> = nibbles
        .iter()
        .flat_map(|nibble| (0..4).rev().map(move |bit| nibble >> bit & 1))
        .collect();
    let sextet = |chunk: &[u32]| {
        let value = chunk.iter().fold(0, |sum, bit| sum * 2 + bit) << (6 - chunk.len());
        char::from(LETTERS[value as usize])
    };
    bits.chunks(6).map(sextet).collect()
}

#[cfg(test)]
mod tests {
    use super::{WheelBuilder, url_safe};

    #[test]
    fn base64_is_url_safe_and_unpadded() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(url_safe(empty), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    }

    #[test]
    fn python_reads_what_we_build() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let wheel = WheelBuilder::new("a_b", "1.0").file("a_b/__init__.py", "x = 1\n");
        let path = folder.path().join(wheel.file_name());
        std::fs::write(&path, wheel.build()).expect("a file");
        let script =
            "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(z.testzip(), len(z.namelist()))";
        let output = std::process::Command::new("python3")
            .arg("-c")
            .arg(script)
            .arg(&path)
            .output();
        let output = output.expect("python3 is installed");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "None 4");
    }
}
