//! The container's output as JSON lines, in the format that Docker's `json-file` driver writes.

use crate::timestamp;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A line longer than this is written in parts, as Docker does; only the last ends with a newline.
const LONGEST: usize = 16 << 10;

/// Which of the program's streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Output,
    Errors,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Output => "stdout",
            Stream::Errors => "stderr",
        }
    }
}

/// The log, with what came of the last lines so far.
#[derive(Debug)]
pub(super) struct Log {
    file: Option<File>,
    partial: [Vec<u8>; 2],
    lines: Vec<u8>,
}

impl Log {
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let open = |path| {
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o640)
                .open(path)
        };
        Ok(Self {
            file: path.map(open).transpose()?,
            partial: [Vec::new(), Vec::new()],
            lines: Vec::new(),
        })
    }

    /// Takes bytes; whole lines are written at once. A disk that is full costs lines, never the container.
    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8]) {
        if self.file.is_none() {
            return;
        }
        let time = timestamp::now();
        let partial = &mut self.partial[stream as usize];
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = LONGEST - partial.len();
            let end = rest
                .iter()
                .take(room)
                .position(|b| *b == b'\n')
                .map_or(room.min(rest.len()), |at| at + 1);
            partial.extend(&rest[..end]);
            rest = &rest[end..];
            if partial.last() == Some(&b'\n') || partial.len() >= LONGEST {
                line(&mut self.lines, partial, stream, &time);
                partial.clear();
            }
        }
        self.write();
    }

    /// Writes what has no newline yet.
    pub(super) fn finish(&mut self) {
        let time = timestamp::now();
        for stream in [Stream::Output, Stream::Errors] {
            let partial = std::mem::take(&mut self.partial[stream as usize]);
            if !partial.is_empty() {
                line(&mut self.lines, &partial, stream, &time);
            }
        }
        self.write();
    }

    fn write(&mut self) {
        if let Some(file) = &mut self.file
            && !self.lines.is_empty()
        {
            let _ = file.write_all(&self.lines);
        }
        self.lines.clear();
        self.lines.shrink_to(LONGEST);
    }
}

fn line(to: &mut Vec<u8>, text: &[u8], stream: Stream, time: &str) {
    to.extend(b"{\"log\":\"");
    for part in text.utf8_chunks() {
        for letter in part.valid().chars() {
            match letter {
                '"' => to.extend(b"\\\""),
                '\\' => to.extend(b"\\\\"),
                '\n' => to.extend(b"\\n"),
                '\r' => to.extend(b"\\r"),
                '\t' => to.extend(b"\\t"),
                '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
                    to.extend(format!("\\u{:04x}", u32::from(letter)).as_bytes());
                }
                _ => to.extend(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !part.invalid().is_empty() {
            to.extend(b"\\ufffd");
        }
    }
    to.extend(format!("\",\"stream\":\"{}\",\"time\":\"{time}\"}}\n", stream.name()).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_whatever_they_hold() {
        let mut out = Vec::new();
        line(
            &mut out,
            "a\"b\\c\t<é>\u{1b}[0m\n".as_bytes(),
            Stream::Output,
            "T",
        );
        line(&mut out, b"\xff\xfe!", Stream::Errors, "T");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).expect("JSON"))
            .collect();
        assert_eq!(lines[0]["log"], "a\"b\\c\t<é>\u{1b}[0m\n");
        assert_eq!(lines[0]["stream"], "stdout");
        assert_eq!(lines[1]["log"], "\u{fffd}\u{fffd}!");
        assert_eq!(lines[1]["stream"], "stderr");
    }
}
