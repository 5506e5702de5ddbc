//! Blobs: files named by the sha256 of their bytes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use coil_oci::{Digest, Hasher};

use crate::{Store, layout};

impl Store {
    /// Where a blob is, whether it is there or not.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join(layout::BLOBS).join(digest.hex())
    }

    /// Whether a blob is there.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Keeps bytes as a blob; idempotent and atomic, not synced.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn put_blob(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(&digest);
        // A blob cut short by a power loss has another size, and is written again.
        if fs::metadata(&path).is_ok_and(|meta| meta.len() == bytes.len() as u64) {
            return Ok(digest);
        }
        self.write_atomic(&path, bytes)?;
        Ok(digest)
    }

    /// Makes a file that was written and checked elsewhere a blob; the file is gone then. Idempotent and atomic.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn adopt_blob(&self, file: &Path, digest: &Digest) -> io::Result<()> {
        let path = self.blob_path(digest);
        match self.rename_into(file, &path) {
            // Downloads may be kept on another disk.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let mut writer = self.blob_writer()?;
                io::copy(&mut File::open(file)?, &mut writer)?;
                writer.finish_as(digest)?;
                fs::remove_file(file)
            }
            other => other,
        }
    }

    /// A small blob's bytes, checked against its digest.
    ///
    /// # Errors
    /// `NotFound`, `InvalidData` when the bytes are not the digest's, and what the disk gives.
    pub fn read_blob(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        let bytes = fs::read(self.blob_path(digest))?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{digest} was damaged on disk"),
            ))
        }
    }

    /// A blob's bytes as a stream, not checked.
    ///
    /// # Errors
    /// `NotFound`, and what the disk gives.
    pub fn open_blob(&self, digest: &Digest) -> io::Result<File> {
        File::open(self.blob_path(digest))
    }

    /// Whether a blob's bytes are its digest's.
    ///
    /// # Errors
    /// `NotFound`, and what the disk gives.
    pub fn verify_blob(&self, digest: &Digest) -> io::Result<bool> {
        let mut file = self.open_blob(digest)?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(hasher.finish() == *digest);
            }
            hasher.update(&buffer[..read]);
        }
    }

    /// A blob that is written piece by piece and named when it is finished.
    ///
    /// # Errors
    /// When no temporary file can be made.
    pub fn blob_writer(&self) -> io::Result<BlobWriter> {
        let temporary = self.temp_path()?;
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        Ok(BlobWriter {
            store: self.clone(),
            file,
            temporary,
            hasher: Hasher::new(),
            size: 0,
        })
    }
}

/// A blob in the making; dropped before [`BlobWriter::finish`], it leaves nothing.
pub struct BlobWriter {
    store: Store,
    file: File,
    temporary: PathBuf,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter {
    /// Names the blob; gives its digest and its size in bytes.
    ///
    /// # Errors
    /// What the disk gives; nothing is left then.
    pub fn finish(self) -> io::Result<(Digest, u64)> {
        let digest = self.hasher.clone().finish();
        let path = self.store.blob_path(&digest);
        if !fs::metadata(&path).is_ok_and(|meta| meta.len() == self.size) {
            self.store.rename_into(&self.temporary, &path)?;
        }
        Ok((digest, self.size))
    }

    /// Like [`BlobWriter::finish`] for bytes that must have a digest.
    ///
    /// # Errors
    /// `InvalidData` when they have another one; what the disk gives.
    pub fn finish_as(self, expected: &Digest) -> io::Result<u64> {
        let found = self.hasher.clone().finish();
        if found != *expected {
            let text = format!("expected {expected}, found {found}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(self.finish()?.1)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}
