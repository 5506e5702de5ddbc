//! What a container printed: reading its log, from the end or from the beginning, and following it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::log_files;

/// The time between two looks at a log that is followed.
const LOOK: Duration = Duration::from_millis(20);

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct LogRequest {
    /// Go on until the container ends.
    pub follow: bool,
    /// So many last lines; all when none is given.
    pub tail: Option<usize>,
    /// None before this time since 1970.
    pub since: Option<Duration>,
    /// None after this time since 1970.
    pub until: Option<Duration>,
}

/// One piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// The text, with its line feed when it had one.
    pub log: Cow<'a, str>,
    /// Whether it was printed as an error.
    pub is_error: bool,
    /// When, RFC 3339.
    pub time: Cow<'a, str>,
    /// What else was written beside it.
    pub details: BTreeMap<String, String>,
}

/// A line that wasn't written by a monitor of ours.
#[derive(Debug, Deserialize)]
struct Foreign {
    log: String,
    stream: String,
    time: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// Reads a log and gives each line to `show`; when it follows, until `ended` says so and all was read.
///
/// # Errors
/// What the disk or `show` gives; a log that is not there is an empty one.
pub fn read(
    path: &Path,
    request: &LogRequest,
    ended: &dyn Fn() -> bool,
    show: &mut dyn FnMut(&LogLine<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut pieces = log_files::open(path)?;
    let mut skip = 0;
    if let Some(count) = request.tail {
        let mut missing = count;
        let mut first = pieces.len();
        while first > 0 && (missing > 0 || first == pieces.len()) {
            first -= 1;
            let start = pieces[first].go_to_last(missing)?;
            (skip, missing) = (start.skip, start.missing);
        }
        pieces.drain(..first);
    }
    let Some(newest) = pieces.pop() else {
        return Ok(());
    };
    let mut line = Vec::new();
    for piece in pieces {
        let mut reader = piece.reader();
        while next_of(&mut *reader, &mut line)? {
            if skip > 0 {
                skip -= 1;
            } else if give(&line, request, show)? {
                return Ok(());
            }
        }
    }
    let mut inode = newest.inode();
    let mut reader = newest.live();
    let mut late = false;
    while !late && next(&mut reader, &mut line)? {
        late = give(&line, request, show)?;
    }
    if !request.follow || late {
        return Ok(());
    }
    loop {
        // Asked before reading, so that what was written before the end is read.
        let over = ended();
        let current = log_files::current(path);
        while next(&mut reader, &mut line)? {
            if give(&line, request, show)? {
                return Ok(());
            }
        }
        match current {
            Some((other, _)) if other != inode => {
                // What has come between, and the new one.
                let mut newer = log_files::open(path)?;
                let known = newer.iter().position(|piece| piece.inode() == inode);
                newer.drain(..known.map_or(newer.len().saturating_sub(1), |at| at + 1));
                let Some(newest) = newer.pop() else { continue };
                for piece in newer {
                    let mut reader = piece.reader();
                    while next_of(&mut *reader, &mut line)? {
                        if give(&line, request, show)? {
                            return Ok(());
                        }
                    }
                }
                inode = newest.inode();
                reader = newest.live();
                continue;
            }
            Some((_, length)) if length < reader.stream_position()? => {
                // It was begun anew in its place.
                reader.seek(SeekFrom::Start(0))?;
                continue;
            }
            _ => {}
        }
        let past = request.until.is_some_and(|until| crate::clock::now() > until);
        if over || past {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

/// The next whole line of a file that is complete.
fn next_of(reader: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    reader.read_until(b'\n', line)?;
    Ok(line.last() == Some(&b'\n'))
}

/// Shows a line that is wanted; true when this and all that follow are too late.
fn give(
    line: &[u8],
    request: &LogRequest,
    show: &mut dyn FnMut(&LogLine<'_>) -> io::Result<()>,
) -> io::Result<bool> {
    // A line that a power loss spoiled is passed over.
    let Some(line) = parse(line) else { return Ok(false) };
    if request.since.is_some() || request.until.is_some() {
        let time = coil_oci::timestamp::parse(&line.time).unwrap_or_default();
        if request.until.is_some_and(|until| time > until) {
            return Ok(true);
        }
        if request.since.is_some_and(|since| time < since) {
            return Ok(false);
        }
    }
    show(&line).map(|()| false)
}

/// The next whole line; a piece without its line feed is left for later.
fn next(reader: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = reader.read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        return Ok(true);
    }
    if read > 0 {
        reader.seek_relative(-i64::try_from(read).unwrap_or(0))?;
    }
    Ok(false)
}

const BEGIN: &[u8] = b"{\"log\":\"";
const OUTPUT: &[u8] = b"\",\"stream\":\"stdout\",\"time\":\"";
const ERRORS: &[u8] = b"\",\"stream\":\"stderr\",\"time\":\"";
/// Letters of a time with nine decimals.
const TIME: usize = 30;

/// Reads a line. Those of our monitors have one form, whose parts are found without a look at every letter.
fn parse(line: &[u8]) -> Option<LogLine<'_>> {
    own(line).or_else(|| {
        let line: Foreign = serde_json::from_slice(line).ok()?;
        Some(LogLine {
            log: Cow::Owned(line.log),
            is_error: line.stream == "stderr",
            time: Cow::Owned(line.time),
            details: line.attrs,
        })
    })
}

fn own(line: &[u8]) -> Option<LogLine<'_>> {
    let rest = line.strip_prefix(BEGIN)?.strip_suffix(b"\"}\n")?;
    let (rest, time) = rest.split_at_checked(rest.len().checked_sub(TIME)?)?;
    let (body, is_error) = match rest.strip_suffix(OUTPUT) {
        Some(body) => (body, false),
        None => (rest.strip_suffix(ERRORS)?, true),
    };
    let body = std::str::from_utf8(body).ok()?;
    Some(LogLine {
        log: unescaped(body)?,
        is_error,
        time: Cow::Borrowed(std::str::from_utf8(time).ok()?),
        details: BTreeMap::new(),
    })
}

/// The text that a JSON string stands for; none when it is no such string.
fn unescaped(body: &str) -> Option<Cow<'_, str>> {
    let Some(first) = body.find('\\') else {
        return Some(Cow::Borrowed(body));
    };
    let mut text = String::with_capacity(body.len());
    let mut rest = body;
    let mut at = first;
    loop {
        text.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1)?;
        let plain = match escape {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            // Half of a pair of surrogates is for who knows all of JSON.
            b'u' => char::from_u32(u32::from_str_radix(rest.get(at + 2..at + 6)?, 16).ok()?)?,
            _ => return None,
        };
        text.push(plain);
        rest = &rest[at + if *escape == b'u' { 6 } else { 2 }..];
        match rest.find('\\') {
            Some(next) => at = next,
            None => break,
        }
    }
    text.push_str(rest);
    Some(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEN: &str = "2026-03-01T12:00:00.000000001Z";

    #[test]
    fn lines_are_read_with_and_without_the_short_way() {
        for text in ["plain\n", "a\"b\\c\t<é>\u{1b}[0m\n", "\u{1f600} no end", ""] {
            for escaped in [
                serde_json::to_string(text).unwrap(),
                serde_json::to_string(text).unwrap().replace('<', "\\u003c"),
            ] {
                let ours = format!("{{\"log\":{escaped},\"stream\":\"stderr\",\"time\":\"{WHEN}\"}}\n");
                let line = own(ours.as_bytes()).expect("the short way");
                assert_eq!(
                    (line.log.as_ref(), line.is_error, line.time.as_ref()),
                    (text, true, WHEN)
                );
            }
        }
        let foreign = format!("{{\"stream\":\"stdout\",\"log\":\"\\ud83d\\ude00\",\"time\":\"{WHEN}\"}}\n");
        assert_eq!(parse(foreign.as_bytes()).expect("JSON").log, "\u{1f600}");
        assert!(parse(b"{\"log\":\"half").is_none());
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let path = std::env::temp_dir().join(format!("coil-tail-{}", std::process::id()));
        let lines: Vec<String> = (0..30_000)
            .map(|n| format!("{{\"log\":\"line {n}\\n\",\"stream\":\"stdout\",\"time\":\"{WHEN}\"}}\n"))
            .collect();
        std::fs::write(&path, lines.concat()).unwrap();
        for tail in [0, 1, 7, 20_000, 30_000, 40_000] {
            let request = LogRequest {
                tail: Some(tail),
                ..LogRequest::default()
            };
            let mut seen = Vec::new();
            read(&path, &request, &|| true, &mut |line| {
                seen.push(line.log.to_string());
                Ok(())
            })
            .unwrap();
            assert_eq!(seen.len(), tail.min(30_000));
            if tail > 0 {
                assert_eq!(seen.last().map(String::as_str), Some("line 29999\n"));
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
