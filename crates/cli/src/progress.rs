//! What a pack is doing: a line that changes on a terminal, plain lines in a log.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coil_fetch::Progress;
use coil_sys::{file, terminal};

use crate::quantity::human_size;
use crate::signals::terminal_size;
use crate::table::shorten;

/// No more than so often is the line drawn.
const PAUSE: Duration = Duration::from_millis(60);
/// Counted in pieces, not in bytes.
const LAYERS: &str = "layers";

/// Shows progress on standard error.
pub struct Screen {
    is_terminal: bool,
    /// Whether a log gets a line for what begins.
    tells_log: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: BTreeMap<String, Item>,
    /// What is being done besides downloads.
    doing: String,
    drawn: Option<Instant>,
    /// Whether there is a line that must be wiped away.
    dirty: bool,
}

struct Item {
    total: Option<u64>,
    done: u64,
}

impl Screen {
    /// On a terminal or in a log, as standard error is.
    pub fn new() -> Self {
        let is_terminal = file::standard(2).is_some_and(terminal::is_terminal);
        Self {
            is_terminal,
            tells_log: true,
            state: Mutex::default(),
        }
    }

    /// One that shows its line on a terminal, and writes nothing into a log.
    pub fn silent() -> Self {
        let mut screen = Self::new();
        screen.tells_log = false;
        screen
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, state: &mut State, now: bool) {
        if !self.is_terminal || (!now && state.drawn.is_some_and(|drawn| drawn.elapsed() < PAUSE)) {
            return;
        }
        let columns = terminal_size().map_or(0, |(_, columns)| usize::from(columns));
        let width = if columns == 0 { 80 } else { columns.max(20) };
        let text = shorten(&state.line(), width - 1);
        let mut err = io::stderr().lock();
        let _ = write!(err, "\r\x1b[2K{text}").and_then(|()| err.flush());
        state.drawn = Some(Instant::now());
        state.dirty = !text.is_empty();
    }

    /// Wipes the line away; what is printed next stands at the left.
    pub fn clear(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.dirty) {
            let mut err = io::stderr().lock();
            let _ = write!(err, "\r\x1b[2K").and_then(|()| err.flush());
        }
    }
}

impl State {
    /// `3 downloads  12.3MB of 45.6MB  numpy-2.1.0-….whl`.
    fn line(&self) -> String {
        let downloads: Vec<(&String, &Item)> = self.items.iter().filter(|(id, _)| *id != LAYERS).collect();
        if let Some((first, _)) = downloads.first() {
            let done: u64 = downloads.iter().map(|(_, item)| item.done).sum();
            let total: Option<u64> = downloads.iter().map(|(_, item)| item.total).sum();
            let amount = match total {
                Some(total) => format!(
                    "{} {} of {}",
                    bar(done, total),
                    human_size(done),
                    human_size(total)
                ),
                None => human_size(done),
            };
            return match downloads.len() {
                1 => format!("downloading {first}  {amount}"),
                count => format!("{count} downloads  {amount}  {first}"),
            };
        }
        if let Some(item) = self.items.get(LAYERS) {
            let total = item.total.unwrap_or(item.done);
            return format!(
                "making layers  {} {} of {total}",
                bar(item.done, total),
                item.done
            );
        }
        self.doing.clone()
    }
}

fn bar(done: u64, total: u64) -> String {
    const WIDTH: u64 = 20;
    let filled = (done * WIDTH).checked_div(total).unwrap_or(0).min(WIDTH) as usize;
    format!("[{}{}]", "=".repeat(filled), " ".repeat(WIDTH as usize - filled))
}

impl Progress for Screen {
    fn begin(&self, id: &str, total: Option<u64>) {
        let mut state = self.state();
        if !self.is_terminal && self.tells_log && id != LAYERS {
            let size = total
                .map(|total| format!(" ({})", human_size(total)))
                .unwrap_or_default();
            let _ = writeln!(io::stderr().lock(), "downloading {id}{size}");
        }
        state.items.insert(id.to_owned(), Item { total, done: 0 });
        self.draw(&mut state, false);
    }

    fn advance(&self, id: &str, bytes: u64) {
        let mut state = self.state();
        if let Some(item) = state.items.get_mut(id) {
            item.done += bytes;
        }
        self.draw(&mut state, false);
    }

    fn end(&self, id: &str) {
        let mut state = self.state();
        state.items.remove(id);
        let now = state.items.is_empty();
        self.draw(&mut state, now);
    }

    fn note(&self, line: &str) {
        let mut state = self.state();
        if self.is_terminal {
            line.clone_into(&mut state.doing);
            self.draw(&mut state, true);
        } else if self.tells_log {
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_and_how_much() {
        let mut state = State {
            doing: "resolving".into(),
            ..State::default()
        };
        assert_eq!(state.line(), "resolving");
        state.items.insert(
            "a.whl".into(),
            Item {
                total: Some(2_000_000),
                done: 1_000_000,
            },
        );
        assert_eq!(
            state.line(),
            "downloading a.whl  [==========          ] 1MB of 2MB"
        );
        state.items.insert("b.whl".into(), Item { total: None, done: 0 });
        assert_eq!(state.line(), "2 downloads  1MB  a.whl");
    }
}
