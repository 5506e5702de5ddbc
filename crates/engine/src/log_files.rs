//! The files of a container's log: the one that is written to, and the older ones beside it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

/// How much is read at once.
pub(crate) const BLOCK: usize = 256 << 10;

/// A file of a log.
pub(crate) struct Piece {
    file: File,
    compressed: bool,
    inode: u64,
}

fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Opens all files of a log, the oldest first. They may move on meanwhile: the newest is opened first, and none twice.
///
/// # Errors
/// What the disk gives; what is not there is no error.
pub(crate) fn open(path: &Path) -> io::Result<Vec<Piece>> {
    let there = |path: &Path| match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let mut pieces: Vec<Piece> = Vec::new();
    for number in 0.. {
        let ending = if number == 0 {
            String::new()
        } else {
            format!(".{number}")
        };
        let found = match there(&named(path, &ending))? {
            Some(file) => Some((file, false)),
            None if number > 0 => there(&named(path, &format!("{ending}.gz")))?.map(|file| (file, true)),
            None => None,
        };
        match found {
            Some((file, compressed)) => {
                let inode = file.metadata()?.ino();
                if pieces.iter().all(|piece| piece.inode != inode) {
                    pieces.push(Piece {
                        file,
                        compressed,
                        inode,
                    });
                }
            }
            // While a new one is begun there is none of the plain name.
            None if number > 0 => break,
            None => {}
        }
    }
    pieces.reverse();
    Ok(pieces)
}

impl Piece {
    /// Its number on the disk.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// Goes to where the last lines begin; gives how many of them must come from an older file.
    ///
    /// # Errors
    /// What the disk gives.
    pub(crate) fn go_to_last(&mut self, count: usize) -> io::Result<Start> {
        if self.compressed {
            let mut lines = 0;
            let mut reader = BufReader::with_capacity(BLOCK, MultiGzDecoder::new(&self.file));
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line)? > 0 {
                lines += 1;
                line.clear();
            }
            self.file.seek(SeekFrom::Start(0))?;
            return Ok(Start {
                skip: lines - count.min(lines),
                missing: count.saturating_sub(lines),
            });
        }
        let (start, missing) = start_of_last(&mut self.file, count)?;
        self.file.seek(SeekFrom::Start(start))?;
        Ok(Start { skip: 0, missing })
    }

    /// A file that is still written to, from where it stands.
    pub(crate) fn live(self) -> BufReader<File> {
        BufReader::with_capacity(BLOCK, self.file)
    }

    /// A file that nobody writes to any more.
    pub(crate) fn reader(self) -> Box<dyn BufRead> {
        match self.compressed {
            true => Box::new(BufReader::with_capacity(BLOCK, MultiGzDecoder::new(self.file))),
            false => Box::new(self.live()),
        }
    }
}

/// Where reading begins.
pub(crate) struct Start {
    /// Lines to pass over.
    pub(crate) skip: usize,
    /// Lines that must come from an older file.
    pub(crate) missing: usize,
}

/// Where the last lines of a file begin, found from its end, and how many there are too few.
fn start_of_last(file: &mut File, count: usize) -> io::Result<(u64, usize)> {
    let length = file.seek(SeekFrom::End(0))?;
    if count == 0 {
        return Ok((length, 0));
    }
    let mut block = vec![0; BLOCK];
    let mut end = length;
    // The line feed at the very end ends a line, and begins none.
    let mut missing = count + 1;
    while end > 0 {
        let size = usize::try_from(end).unwrap_or(BLOCK).min(BLOCK);
        let start = end - size as u64;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..size])?;
        for (at, _) in block[..size]
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            missing -= 1;
            if missing == 0 {
                return Ok((start + at as u64 + 1, 0));
            }
        }
        end = start;
    }
    Ok((0, missing - 1))
}

/// The number on the disk and the length of the file that is written to now.
pub(crate) fn current(path: &Path) -> Option<(u64, u64)> {
    let data = fs::metadata(path).ok()?;
    Some((data.ino(), data.len()))
}
