//! What stands on the screen while something is built: steps with their times, downloads, the last lines of what runs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::quantity::human_size;
use crate::table::shorten;

/// How many lines of a running step's output are shown.
const TAIL: usize = 6;
/// Fewer columns than these make no picture.
const NARROW: usize = 30;

/// The steps of a build as far as they are known; times count from its beginning.
#[derive(Debug, Default)]
pub struct View {
    rows: Vec<Row>,
    places: BTreeMap<usize, usize>,
    total: usize,
    downloads: Vec<Download>,
}

#[derive(Debug)]
struct Row {
    name: String,
    since: Duration,
    state: State,
    tail: VecDeque<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Cached,
    Done(Duration),
    Failed(Duration),
}

#[derive(Debug)]
struct Download {
    id: String,
    since: Duration,
    bytes: u64,
    total: Option<u64>,
}

/// How a line is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Not at all.
    Plain,
    /// What is done.
    Done,
    /// What failed.
    Failed,
    /// What a program prints.
    Quiet,
}

/// How a build stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It goes on.
    Running,
    /// All is built.
    Finished,
    /// A step failed.
    Failed,
}

impl View {
    /// How many steps there will be.
    pub fn expect(&mut self, total: usize) {
        self.total = total;
    }

    fn row(&mut self, step: usize, name: &str, now: Duration) -> &mut Row {
        let place = *self.places.entry(step).or_insert_with(|| {
            self.rows.push(Row {
                name: visible(name),
                since: now,
                state: State::Running,
                tail: VecDeque::new(),
            });
            self.rows.len() - 1
        });
        &mut self.rows[place]
    }

    /// A step begins.
    pub fn begin(&mut self, step: usize, name: &str, now: Duration) {
        self.row(step, name, now);
    }

    /// A step was found.
    pub fn cached(&mut self, step: usize, name: &str, now: Duration) {
        let is_base = crate::build_progress::is_base(name);
        let row = self.row(step, name, now);
        row.state = if is_base {
            State::Done(Duration::ZERO)
        } else {
            State::Cached
        };
    }

    /// A step prints a line.
    pub fn line(&mut self, step: usize, text: &str) {
        if let Some(row) = self.places.get(&step).map(|place| &mut self.rows[*place]) {
            row.tail.push_back(visible(text));
            if row.tail.len() > TAIL {
                row.tail.pop_front();
            }
        }
    }

    fn end(&mut self, step: usize, state: impl FnOnce(Duration) -> State, now: Duration) {
        if let Some(row) = self.places.get(&step).map(|place| &mut self.rows[*place]) {
            row.state = state(now.saturating_sub(row.since));
            row.tail.clear();
        }
    }

    /// A step is done.
    pub fn done(&mut self, step: usize, now: Duration) {
        self.end(step, State::Done, now);
    }

    /// A step failed.
    pub fn failed(&mut self, step: usize, now: Duration) {
        self.end(step, State::Failed, now);
    }

    /// A download begins.
    pub fn download(&mut self, id: &str, total: Option<u64>, now: Duration) {
        self.downloads.retain(|download| download.id != id);
        self.downloads.push(Download {
            id: id.to_owned(),
            since: now,
            bytes: 0,
            total,
        });
    }

    /// More of a download is here.
    pub fn advance(&mut self, id: &str, bytes: u64) {
        if let Some(download) = self.downloads.iter_mut().find(|download| download.id == id) {
            download.bytes += bytes;
        }
    }

    /// A download is whole.
    pub fn downloaded(&mut self, id: &str) {
        self.downloads.retain(|download| download.id != id);
    }

    /// The picture, not wider than `width`; not higher than `height` while the build goes on, and whole at its end.
    pub fn frame(
        &self,
        now: Duration,
        width: usize,
        height: usize,
        standing: Standing,
    ) -> Vec<(String, Paint)> {
        let width = width.max(NARROW);
        let over = self.rows.iter().filter(|row| row.state != State::Running).count();
        let total = self.total.max(self.rows.len());
        let word = match standing {
            Standing::Running => "",
            Standing::Finished => " FINISHED",
            Standing::Failed => " FAILED",
        };
        let head = format!("[+] Building {:.1}s ({over}/{total}){word}", now.as_secs_f64());
        let paint = match standing {
            Standing::Running => Paint::Plain,
            Standing::Finished => Paint::Done,
            Standing::Failed => Paint::Failed,
        };
        let mut lines = vec![(shorten(&head, width), paint)];
        let room = height.saturating_sub(1).max(4);
        let is_live = standing == Standing::Running;
        let running = self.rows.iter().filter(|row| row.state == State::Running).count();
        // What runs goes before what is done, and both before what is printed.
        let needed = self.rows.len() + self.downloads.len();
        let hidden = match is_live {
            true => needed.saturating_sub(room).min(over),
            false => 0,
        };
        let free = room.saturating_sub(needed - hidden);
        let tail = match is_live && running > 0 {
            true => (free / running).min(TAIL),
            false => 0,
        };
        let mut to_hide = hidden;
        for row in &self.rows {
            if to_hide > 0 && row.state != State::Running {
                to_hide -= 1;
                continue;
            }
            let took = match row.state {
                State::Running => now.saturating_sub(row.since),
                State::Cached => Duration::ZERO,
                State::Done(took) | State::Failed(took) => took,
            };
            let (mark, paint) = match row.state {
                State::Running if is_live => ("", Paint::Plain),
                State::Running => ("CANCELED ", Paint::Quiet),
                State::Cached => ("CACHED ", Paint::Done),
                State::Done(_) => ("", Paint::Done),
                State::Failed(_) => ("ERROR ", Paint::Failed),
            };
            lines.push((timed(&format!(" => {mark}{}", row.name), took, width), paint));
            if row.state == State::Running {
                let skipped = row.tail.len().saturating_sub(tail);
                for text in row.tail.iter().skip(skipped) {
                    lines.push((shorten(&format!(" => => # {text}"), width), Paint::Quiet));
                }
            }
        }
        if is_live {
            for download in &self.downloads {
                let amount = match download.total {
                    Some(total) => format!("{} / {}", human_size(download.bytes), human_size(total)),
                    None => human_size(download.bytes),
                };
                let text = format!(" => => downloading {}  {amount}", visible(&download.id));
                lines.push((
                    timed(&text, now.saturating_sub(download.since), width),
                    Paint::Plain,
                ));
            }
            lines.truncate(room + 1);
        }
        lines
    }
}

/// A text with a time at the right.
fn timed(text: &str, took: Duration, width: usize) -> String {
    let time = format!("{:.1}s", took.as_secs_f64());
    let room = width.saturating_sub(time.len() + 1).max(8);
    format!("{:room$} {time}", shorten(text, room))
}

/// What of a line can be seen: no control characters and no sequences that move the cursor.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // A control sequence ends with a letter, a title with a bell.
                Some('[') => {
                    for c in chars.by_ref() {
                        if ('@'..='~').contains(&c) {
                            break;
                        }
                    }
                }
                Some(']') => {
                    for c in chars.by_ref() {
                        if c == '\u{7}' || c == '\\' {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn text(view: &View, now: u64, height: usize, standing: Standing) -> Vec<String> {
        let frame = view.frame(seconds(now), 40, height, standing);
        frame.into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn steps_stand_with_their_times_and_the_last_lines_of_what_runs() {
        let mut view = View::default();
        view.expect(4);
        view.cached(1, "[1/3] FROM docker.io/library/x", seconds(0));
        view.cached(2, "[2/3] COPY a b", seconds(0));
        view.begin(3, "[3/3] RUN make", seconds(1));
        for number in 0..9 {
            view.line(3, &format!("line \u{1b}[31m{number}\u{1b}[0m\t\u{7}x"));
        }
        view.download("sha256:1", Some(2_000_000), seconds(2));
        view.advance("sha256:1", 1_000_000);
        assert_eq!(
            text(&view, 4, 24, Standing::Running),
            [
                "[+] Building 4.0s (2/4)",
                " => [1/3] FROM docker.io/library/x  0.0s",
                " => CACHED [2/3] COPY a b           0.0s",
                " => [3/3] RUN make                  3.0s",
                " => => # line 3 x",
                " => => # line 4 x",
                " => => # line 5 x",
                " => => # line 6 x",
                " => => # line 7 x",
                " => => # line 8 x",
                " => => downloading sha256:1  1MB /… 2.0s",
            ]
        );
        view.downloaded("sha256:1");
        // On a small screen what is done goes first.
        assert_eq!(
            text(&view, 4, 6, Standing::Running),
            [
                "[+] Building 4.0s (2/4)",
                " => [1/3] FROM docker.io/library/x  0.0s",
                " => CACHED [2/3] COPY a b           0.0s",
                " => [3/3] RUN make                  3.0s",
                " => => # line 7 x",
                " => => # line 8 x",
            ]
        );
        view.failed(3, seconds(5));
        assert_eq!(
            text(&view, 5, 3, Standing::Failed),
            [
                "[+] Building 5.0s (3/4) FAILED",
                " => [1/3] FROM docker.io/library/x  0.0s",
                " => CACHED [2/3] COPY a b           0.0s",
                " => ERROR [3/3] RUN make            4.0s",
            ]
        );
    }

    #[test]
    fn the_picture_is_never_higher_than_the_screen() {
        let mut view = View::default();
        for step in 1..40 {
            view.begin(step, "[1/9] RUN x", seconds(0));
            view.line(step, "text");
            if step % 2 == 0 {
                view.done(step, seconds(1));
            }
        }
        for height in [5, 10, 24, 50, 100] {
            assert!(
                text(&view, 2, height, Standing::Running).len() <= height,
                "{height}"
            );
        }
        assert_eq!(text(&view, 2, 5, Standing::Finished).len(), 40);
    }
}
