//! Streams by their first bytes: gzip, zstd, or neither.

use std::io::{self, BufRead, BufReader, Read};

/// A stream without its compression, whatever that is; xz and bzip2 are refused by name.
///
/// # Errors
/// What reading gives, and a compression that isn't read here.
pub fn decompressed(stream: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut stream = BufReader::with_capacity(128 * 1024, stream);
    let start = stream.fill_buf()?;
    let refused = |name: &str| {
        let text =
            format!("it is compressed with {name}, which is not read here: give gzip, zstd or a plain tar");
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    };
    match start {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(stream))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Box::new(zstd::stream::read::Decoder::with_buffer(stream)?)),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => refused("xz"),
        [b'B', b'Z', b'h', ..] => refused("bzip2"),
        _ => Ok(Box::new(stream)),
    }
}
