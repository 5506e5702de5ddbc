//! The compressions that Debian uses: xz, zstd and gzip.

use std::io::{self, Read};

/// Unpacks an xz file.
///
/// # Errors
/// When it isn't one, or is damaged.
pub fn unxz(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(packed.len() * 5);
    lzma_rust2::XzReader::new(packed, true).read_to_end(&mut out)?;
    Ok(out)
}

/// Unpacks by the ending of a file's name, as members of a .deb file have it.
///
/// # Errors
/// When the ending is unknown, or the content isn't what it says.
pub fn unpack(name: &str, packed: &[u8]) -> io::Result<Vec<u8>> {
    match name.rsplit('.').next() {
        Some("xz") => unxz(packed),
        Some("zst") => zstd::decode_all(packed),
        Some("gz") => {
            let mut out = Vec::new();
            flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut out)?;
            Ok(out)
        }
        Some("tar") => Ok(packed.to_vec()),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("`{name}` has an unknown compression"),
        )),
    }
}
