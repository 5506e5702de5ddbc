//! Writes one compressed layer into the store, entry by entry.

use std::io::{self, Write};

use coil_oci::tar::{Entry, TarWriter};
use coil_oci::{Digest, Hasher};
use coil_store::{BlobWriter, Store};
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

/// zlib's usual level: part of what makes the bytes, so it is one for all.
const LEVEL: u32 = 6;

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The compressed blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of the tar stream in it.
    pub diff_id: Digest,
    /// The size of the tar stream in bytes.
    pub unpacked: u64,
}

struct Tee {
    hasher: Hasher,
    unpacked: u64,
    out: GzEncoder<BlobWriter>,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.unpacked += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A layer in the making; dropped unfinished, it leaves nothing.
pub struct LayerWriter {
    tar: TarWriter<Tee>,
}

impl LayerWriter {
    /// An empty layer.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn new(store: &Store) -> io::Result<LayerWriter> {
        let out = GzEncoder::new(store.blob_writer()?, flate2::Compression::new(LEVEL));
        Ok(LayerWriter {
            tar: TarWriter::new(Tee {
                hasher: Hasher::new(),
                unpacked: 0,
                out,
            }),
        })
    }

    /// An entry without content.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.tar.entry(entry)
    }

    /// A part of the content of the file whose entry came last.
    ///
    /// # Errors
    /// When the store cannot be written, or it is more than the entry says.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tar.data(bytes)
    }

    /// A file with its content.
    ///
    /// # Errors
    /// When the store cannot be written, or the content is not as long as the entry says.
    pub fn file(&mut self, entry: &Entry, bytes: &[u8]) -> io::Result<()> {
        self.tar.file(entry, bytes)
    }

    /// Names the blob.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn finish(self) -> io::Result<Layer> {
        let tee = self.tar.finish()?;
        let (digest, size) = tee.out.finish()?.finish()?;
        Ok(Layer {
            digest,
            size,
            diff_id: tee.hasher.finish(),
            unpacked: tee.unpacked,
        })
    }
}
