//! The compressions that Debian uses, as streams: xz, zstd and gzip.

use std::io::{self, BufReader, Read};

/// How much is read from a file at once.
const BUFFER: usize = 1 << 16;

/// Unpacks an xz file as it is read.
pub fn unxz<'a>(packed: impl Read + 'a) -> Box<dyn Read + 'a> {
    let whole = WholeReads(BufReader::with_capacity(BUFFER, packed));
    Box::new(lzma_rust2::XzReader::new(whole, true))
}

/// Unpacks by the ending of a file's name, as members of a .deb file have it.
///
/// # Errors
/// When the ending is unknown; that the content isn't what the ending says shows when it is read.
pub fn unpack<'a>(name: &str, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    match name.rsplit('.').next() {
        Some("xz") => Ok(unxz(packed)),
        Some("zst") => Ok(Box::new(zstd::Decoder::new(packed)?)),
        Some("gz") => {
            let buffered = BufReader::with_capacity(BUFFER, packed);
            Ok(Box::new(flate2::bufread::MultiGzDecoder::new(buffered)))
        }
        Some("tar") => Ok(Box::new(packed)),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("`{name}` has an unknown compression"),
        )),
    }
}

/// Reads as much as is asked for, unless the end comes: the xz decoder takes less for a damaged file.
struct WholeReads<R>(R);

impl<R: Read> Read for WholeReads<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
