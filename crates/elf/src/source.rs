//! Where an ELF file's bytes come from: memory, or a file of which only some parts are read.

use std::io::{self, Read, Seek, SeekFrom};

/// Bytes that can be asked for by their place.
pub trait Source {
    /// The length of the whole in bytes.
    fn length(&self) -> u64;

    /// A part of it; fewer bytes where it ends before.
    ///
    /// # Errors
    /// What the disk gives.
    fn part(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>>;
}

impl Source for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn part(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let start = usize::try_from(offset).map_or(self.len(), |start| start.min(self.len()));
        let end = start.saturating_add(length).min(self.len());
        Ok(self[start..end].to_vec())
    }
}

/// A file that can be read anywhere.
#[derive(Debug)]
pub struct FileSource<F> {
    file: F,
    length: u64,
}

impl<F: Read + Seek> FileSource<F> {
    /// Takes a file.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn new(mut file: F) -> io::Result<FileSource<F>> {
        let length = file.seek(SeekFrom::End(0))?;
        Ok(FileSource { file, length })
    }
}

impl<F: Read + Seek> Source for FileSource<F> {
    fn length(&self) -> u64 {
        self.length
    }

    fn part(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        if offset >= self.length {
            return Ok(Vec::new());
        }
        self.file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        (&mut self.file).take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
