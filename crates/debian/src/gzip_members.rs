//! A tar stream packed as gzip members of a fixed length, by several threads and in little memory.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use coil_oci::{Digest, Hasher};

/// How much of the tar goes into one gzip member; fixed, so that the bytes don't depend on the number of threads.
const CHUNK: usize = 1 << 20;
/// More threads would take more memory than they are worth: there are two chunks for each, before or after packing.
const MOST_THREADS: usize = 8;

/// What is packed, and where the result is waited for.
type Job = (Vec<u8>, SyncSender<io::Result<Vec<u8>>>);

/// Packs what `produce` writes into `out`; gives the digest and the size in bytes of what it wrote.
///
/// # Errors
/// Those of `produce` and of `out`.
pub fn compress(
    threads: usize,
    out: &mut dyn Write,
    produce: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<(Digest, u64)> {
    let threads = threads.clamp(1, MOST_THREADS);
    let (jobs, queue) = channel::<Job>();
    let queue = Mutex::new(queue);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&queue));
        }
        let mut chunks = Chunks {
            current: Vec::with_capacity(CHUNK),
            waiting: VecDeque::new(),
            // Chunks take unlike times; with some ahead no thread idles while the oldest is waited for.
            most_waiting: 2 * threads,
            jobs,
            out,
            hasher: Hasher::new(),
            size: 0,
        };
        produce(&mut chunks)?;
        chunks.finish()
    })
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        // The end of the queue: all has been handed out, or the producer gave up.
        let Ok((chunk, answer)) = job else { return };
        // Nobody waits for the answer when the producer gave up.
        let _ = answer.send(pack(&chunk));
    }
}

fn pack(chunk: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::with_capacity(CHUNK / 2), flate2::Compression::new(6));
    encoder.write_all(chunk)?;
    encoder.finish()
}

/// Cuts the stream, hands the pieces out, and writes the results in their order.
struct Chunks<'a> {
    current: Vec<u8>,
    waiting: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    most_waiting: usize,
    jobs: Sender<Job>,
    out: &'a mut dyn Write,
    hasher: Hasher,
    size: u64,
}

impl Chunks<'_> {
    fn hand_out(&mut self, next: Vec<u8>) -> io::Result<()> {
        while self.waiting.len() >= self.most_waiting {
            self.write_oldest()?;
        }
        let chunk = std::mem::replace(&mut self.current, next);
        let (answer, result) = sync_channel(1);
        self.jobs
            .send((chunk, answer))
            .map_err(|_| io::Error::other("no thread is left to compress"))?;
        self.waiting.push_back(result);
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.waiting.pop_front() else {
            return Ok(());
        };
        let packed = oldest
            .recv()
            .map_err(|_| io::Error::other("a thread that compresses has died"))?;
        self.out.write_all(&packed?)
    }

    fn finish(mut self) -> io::Result<(Digest, u64)> {
        if !self.current.is_empty() {
            self.hand_out(Vec::new())?;
        }
        while !self.waiting.is_empty() {
            self.write_oldest()?;
        }
        Ok((self.hasher.finish(), self.size))
    }
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.current.len() == CHUNK {
            self.hand_out(Vec::with_capacity(CHUNK))?;
        }
        let taken = bytes.len().min(CHUNK - self.current.len());
        self.hasher.update(&bytes[..taken]);
        self.current.extend_from_slice(&bytes[..taken]);
        self.size += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(tar: &[u8], threads: usize, piece: usize) -> (Digest, u64, Vec<u8>) {
        let mut out = Vec::new();
        let (digest, size) = compress(threads, &mut out, |writer| {
            tar.chunks(piece).try_for_each(|part| writer.write_all(part))
        })
        .unwrap();
        (digest, size, out)
    }

    #[test]
    fn neither_threads_nor_pieces_change_a_byte() {
        let tar: Vec<u8> = (0..5 * CHUNK + 17).map(|at| (at % 251) as u8).collect();
        let one = packed(&tar, 1, tar.len());
        assert_eq!(one, packed(&tar, 4, 300_001));
        assert_eq!((&one.0, one.1), (&Digest::of(&tar), tar.len() as u64));
        let mut back = Vec::new();
        io::Read::read_to_end(
            &mut flate2::read::MultiGzDecoder::new(one.2.as_slice()),
            &mut back,
        )
        .unwrap();
        assert_eq!(back, tar);
    }

    #[test]
    fn a_stream_that_ends_with_a_chunk_has_no_empty_member() {
        let (_, _, whole) = packed(&vec![7; CHUNK], 2, CHUNK);
        assert_eq!(whole, pack(&vec![7; CHUNK]).unwrap());
        assert_eq!(packed(&[], 2, 1).2, b"");
    }

    #[test]
    fn errors_come_through() {
        let failed = compress(2, &mut Vec::new(), |writer| {
            writer.write_all(&vec![0; 3 * CHUNK])?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        let mut full: &mut [u8] = &mut [0; 10];
        let failed = compress(2, &mut full, |writer| writer.write_all(&vec![0; 9 * CHUNK]));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}
