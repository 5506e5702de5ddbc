//! The live view on a terminal: drawn over and over at one place, and left whole at the end.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use coil_fetch::Progress;
use coil_sys::{file, terminal};

use crate::build_view::{Paint, Standing, View};

/// How often it is drawn.
const PAUSE: Duration = Duration::from_millis(100);
/// Where the terminal doesn't say.
const USUAL: (usize, usize) = (24, 80);

/// A view on standard error.
pub struct BuildScreen {
    shared: Arc<Shared>,
    ticker: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    over: AtomicBool,
    since: Instant,
    colours: bool,
}

#[derive(Default)]
struct State {
    view: View,
    /// How many lines stand on the screen.
    drawn: usize,
    /// Whether something else has the screen.
    held: bool,
    failed: bool,
}

impl BuildScreen {
    /// A view that is drawn until it is finished.
    pub fn new(colours: bool) -> BuildScreen {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            over: AtomicBool::new(false),
            since: Instant::now(),
            colours,
        });
        let ticking = Arc::clone(&shared);
        let ticker = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
            while !ticking.over.load(Ordering::Acquire) {
                ticking.draw(&mut ticking.state(), Standing::Running);
                std::thread::park_timeout(PAUSE);
            }
        });
        BuildScreen {
            shared,
            // Without a thread the view is drawn at the end alone.
            ticker: Mutex::new(ticker.ok()),
        }
    }

    /// Changes what is seen.
    pub fn change(&self, change: impl FnOnce(&mut View, Duration)) {
        change(&mut self.shared.state().view, self.shared.since.elapsed());
    }

    /// A step failed.
    pub fn failed(&self, step: usize, name: &str) {
        let now = self.shared.since.elapsed();
        let mut state = self.shared.state();
        state.view.begin(step, name, now);
        state.view.failed(step, now);
        state.failed = true;
    }

    /// A line that stays above the view.
    pub fn line(&self, text: &str) {
        let mut state = self.shared.state();
        let mut out = state.wiped();
        out.push_str(text);
        out.push('\n');
        write(&out);
        self.shared.draw(&mut state, Standing::Running);
    }

    /// Leaves the screen to something else, or takes it back.
    pub fn hold(&self, held: bool) {
        let mut state = self.shared.state();
        if held {
            self.shared.draw(&mut state, Standing::Running);
            // What stands there stays.
            state.drawn = 0;
        }
        state.held = held;
    }

    /// Draws it a last time, whole.
    pub fn finish(&self) {
        if self.shared.over.swap(true, Ordering::AcqRel) {
            return;
        }
        let ticker = self.ticker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ticker) = ticker {
            ticker.thread().unpark();
            let _ = ticker.join();
        }
        let mut state = self.shared.state();
        let standing = match state.failed {
            true => Standing::Failed,
            false => Standing::Finished,
        };
        state.held = false;
        self.shared.draw(&mut state, standing);
        state.drawn = 0;
    }
}

impl Drop for BuildScreen {
    fn drop(&mut self) {
        self.finish();
    }
}

impl State {
    /// What wipes the view away.
    fn wiped(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\r\x1b[{lines}A\x1b[0J"),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, state: &mut State, standing: Standing) {
        if state.held {
            return;
        }
        let (rows, columns) = size();
        let frame = state
            .view
            .frame(self.since.elapsed(), columns - 1, rows - 1, standing);
        let up = std::mem::replace(&mut state.drawn, frame.len());
        let mut out = match up {
            0 => String::new(),
            up => format!("\r\x1b[{up}A"),
        };
        for (text, paint) in &frame {
            let colour = match paint {
                _ if !self.colours => "",
                Paint::Plain => "",
                Paint::Done => "\x1b[34m",
                Paint::Failed => "\x1b[31m",
                Paint::Quiet => "\x1b[2m",
            };
            let end = if colour.is_empty() { "" } else { "\x1b[0m" };
            out.push_str(&format!("\x1b[2K{colour}{text}{end}\n"));
        }
        if up > frame.len() {
            out.push_str("\x1b[0J");
        }
        write(&out);
    }
}

fn write(text: &str) {
    let mut err = io::stderr().lock();
    // A terminal that is gone is no reason to fail.
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Rows and columns.
fn size() -> (usize, usize) {
    let told = file::standard(2).and_then(|fd| terminal::size(fd).ok());
    match told {
        Some((rows, columns)) if rows > 0 && columns > 0 => {
            (usize::from(rows).max(6), usize::from(columns).max(32))
        }
        _ => USUAL,
    }
}

impl Progress for BuildScreen {
    fn begin(&self, id: &str, total: Option<u64>) {
        self.change(|view, now| view.download(id, total, now));
    }

    fn advance(&self, id: &str, bytes: u64) {
        self.change(|view, _| view.advance(id, bytes));
    }

    fn end(&self, id: &str) {
        self.change(|view, _| view.downloaded(id));
    }

    fn note(&self, line: &str) {
        self.line(line);
    }
}
