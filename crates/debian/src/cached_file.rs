//! Files of the cache, which are looked at only when they are what they should be.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use coil_oci::{Digest, Hasher};

/// Opens a file whose bytes have a digest; `None` where they don't, or where it isn't there.
///
/// The cache isn't synced: after a crash a file may have its size but not its content.
///
/// # Errors
/// What the disk gives.
pub fn open(path: &Path, digest: &Digest) -> io::Result<Option<File>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    if hasher.finish() != *digest {
        return Ok(None);
    }
    file.rewind()?;
    Ok(Some(file))
}
