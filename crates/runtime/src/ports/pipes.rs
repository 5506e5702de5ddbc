//! The pipes that bytes pass on their way from socket to socket.

use std::io;
use std::sync::Arc;

use coil_sys::splice::Pipe;

/// The empty pipes of each width that are kept for the next need.
const SPARE: usize = 4;

/// The wide pipes that there are at most: what waits in them is memory of the kernel's, a MiB each.
const WIDE: usize = 32;

/// A pipe that somebody has.
#[derive(Debug)]
pub(super) struct HeldPipe {
    pub(super) pipe: Pipe,
    /// Counted as one of the wide ones while it lives.
    wide: Option<Arc<()>>,
}

/// Pipes that no connection needs at the moment.
#[derive(Debug, Default)]
pub(super) struct PipePool {
    narrow: Vec<HeldPipe>,
    wide: Vec<HeldPipe>,
    count: Arc<()>,
}

impl PipePool {
    /// An empty pipe; a wide one for who moves much, as long as there are any. Wide pipes need a fraction of the calls.
    pub(super) fn take(&mut self, wide: bool) -> io::Result<HeldPipe> {
        if wide && let Some(held) = self.wide.pop() {
            return Ok(held);
        }
        // The pool holds one of them itself.
        let makes = wide && Arc::strong_count(&self.count) <= WIDE;
        if !makes && let Some(held) = self.narrow.pop() {
            return Ok(held);
        }
        let mut pipe = Pipe::new()?;
        let widened = makes && pipe.widen().is_ok();
        Ok(HeldPipe {
            pipe,
            wide: widened.then(|| Arc::clone(&self.count)),
        })
    }

    /// Takes a pipe back; one that still holds something goes with it.
    pub(super) fn give(&mut self, held: HeldPipe) {
        let spare = match held.wide {
            Some(_) => &mut self.wide,
            None => &mut self.narrow,
        };
        if held.pipe.held() == 0 && spare.len() < SPARE {
            spare.push(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_pipes_are_few_and_come_back() {
        let mut pool = PipePool::default();
        let mut held: Vec<HeldPipe> = (0..WIDE + 3).map(|_| pool.take(true).expect("a pipe")).collect();
        let wide = |held: &[HeldPipe]| held.iter().filter(|held| held.wide.is_some()).count();
        assert!(wide(&held) <= WIDE);
        assert!(held[WIDE..].iter().all(|held| held.wide.is_none()));
        // One that is dropped on the way makes room for another, one that comes back is given out again.
        held.clear();
        let first = pool.take(true).expect("a pipe");
        pool.give(first);
        assert!(
            pool.take(false).expect("a pipe").wide.is_none(),
            "they are kept for who needs them"
        );
    }
}
