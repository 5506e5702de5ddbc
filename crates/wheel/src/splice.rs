//! A gzip stream of many members, in which deflate streams from elsewhere stand as they are (RFC 1952, section 2.2).

use std::io::{self, Write};

use coil_oci::{Digest, Hasher};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// A member's header: deflate, no name, no time, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Writes gzip members: its own, compressed here, and spliced ones; hashes all that they hold.
pub struct GzipSplicer<W> {
    out: W,
    engine: Compress,
    buffer: Vec<u8>,
    crc: Crc,
    open: bool,
    hasher: Hasher,
    plain: u64,
}

/// What a finished stream holds.
#[derive(Debug)]
pub struct Spliced {
    /// The digest of the inflated bytes.
    pub diff_id: Digest,
    /// The number of inflated bytes.
    pub uncompressed_size: u64,
}

impl<W: Write> GzipSplicer<W> {
    /// An empty stream.
    pub fn new(out: W) -> GzipSplicer<W> {
        GzipSplicer {
            out,
            engine: Compress::new(Compression::new(6), false),
            buffer: vec![0; 64 * 1024],
            crc: Crc::new(),
            open: false,
            hasher: Hasher::new(),
            plain: 0,
        }
    }

    /// Adds bytes that are compressed here.
    pub fn own(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if !self.open {
            self.out.write_all(&HEADER)?;
            self.engine.reset();
            self.crc.reset();
            self.open = true;
        }
        self.plain(bytes);
        self.crc.update(bytes);
        let start = self.engine.total_in();
        loop {
            let used = (self.engine.total_in() - start) as usize;
            if used == bytes.len() {
                return Ok(());
            }
            self.step(&bytes[used..], FlushCompress::None)?;
        }
    }

    fn step(&mut self, bytes: &[u8], flush: FlushCompress) -> io::Result<Status> {
        let before = self.engine.total_out();
        let status = self
            .engine
            .compress(bytes, &mut self.buffer, flush)
            .map_err(io::Error::other)?;
        self.out
            .write_all(&self.buffer[..(self.engine.total_out() - before) as usize])?;
        Ok(status)
    }

    fn close(&mut self) -> io::Result<()> {
        if self.open {
            while self.step(&[], FlushCompress::Finish)? != Status::StreamEnd {}
            self.trailer(self.crc.sum(), self.engine.total_in())?;
            self.open = false;
        }
        Ok(())
    }

    fn trailer(&mut self, crc: u32, size: u64) -> io::Result<()> {
        self.out.write_all(&crc.to_le_bytes())?;
        self.out.write_all(&(size as u32).to_le_bytes())
    }

    /// Begins a member whose deflate stream comes from elsewhere.
    pub fn begin_splice(&mut self) -> io::Result<()> {
        self.close()?;
        self.out.write_all(&HEADER)
    }

    /// Adds bytes of the deflate stream.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Takes in bytes that the deflate stream inflates to.
    pub fn plain(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.plain += bytes.len() as u64;
    }

    /// Ends the spliced member; both values were checked while inflating.
    pub fn end_splice(&mut self, crc: u32, size: u64) -> io::Result<()> {
        self.trailer(crc, size)
    }

    /// Ends the stream.
    pub fn finish(mut self) -> io::Result<(W, Spliced)> {
        self.close()?;
        let spliced = Spliced {
            diff_id: self.hasher.finish(),
            uncompressed_size: self.plain,
        };
        Ok((self.out, spliced))
    }
}

/// Compresses a whole buffer to one raw deflate stream.
pub fn deflate(engine: &mut Compress, bytes: &[u8]) -> io::Result<Vec<u8>> {
    engine.reset();
    let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
    loop {
        let used = engine.total_in() as usize;
        out.reserve(bytes.len() / 4 + 64);
        let status = engine
            .compress_vec(&bytes[used..], &mut out, FlushCompress::Finish)
            .map_err(io::Error::other)?;
        if status == Status::StreamEnd {
            return Ok(out);
        }
    }
}
