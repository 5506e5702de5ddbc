//! What a container printed: reading its log, from the end or from the beginning, and following it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct LogRequest {
    /// Go on until the container ends.
    pub follow: bool,
    /// So many last lines; all when none is given.
    pub tail: Option<usize>,
}

/// One piece of output.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogLine {
    /// The text, with its line feed when it had one.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// When, RFC 3339.
    pub time: String,
}

/// Reads a log and gives each line to `show`; when it follows, until `ended` says so and all was read.
///
/// # Errors
/// What the disk or `show` gives; a log that is not there is an empty one.
pub fn read(
    path: &Path,
    request: &LogRequest,
    ended: &dyn Fn() -> bool,
    show: &mut dyn FnMut(&LogLine) -> io::Result<()>,
) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut text = String::new();
    let mut last: VecDeque<LogLine> = VecDeque::new();
    while let Some(line) = next(&mut reader, &mut text)? {
        match request.tail {
            Some(count) => {
                last.push_back(line);
                if last.len() > count {
                    last.pop_front();
                }
            }
            None => show(&line)?,
        }
    }
    for line in &last {
        show(line)?;
    }
    if !request.follow {
        return Ok(());
    }
    loop {
        // Asked before reading, so that what was written before the end is read.
        let over = ended();
        while let Some(line) = next(&mut reader, &mut text)? {
            show(&line)?;
        }
        if over {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The next whole line; a piece without its line feed is left for later.
fn next(reader: &mut BufReader<File>, text: &mut String) -> io::Result<Option<LogLine>> {
    loop {
        text.clear();
        let before = reader.stream_position()?;
        let read = reader.read_line(text)?;
        if read == 0 {
            return Ok(None);
        }
        if !text.ends_with('\n') {
            reader.seek(io::SeekFrom::Start(before))?;
            return Ok(None);
        }
        // A line that a power loss spoiled is passed over.
        if let Ok(line) = serde_json::from_str(text) {
            return Ok(Some(line));
        }
    }
}
