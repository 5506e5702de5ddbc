//! The container's output as JSON lines, in the format that Docker's `json-file` driver writes; in several files where
//! they are not to grow for ever.

use super::journal::Journal;
use crate::spec::LogSpec;
use crate::timestamp;
use coil_sys::process::Cloned;
use coil_sys::{file, process};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
    file: Option<Rotated>,
    journal: Option<Journal>,
    /// `,"attrs":{…}` of each line, where there are any.
    attributes: String,
    partial: [Vec<u8>; 2],
    lines: Vec<u8>,
}

impl Log {
    pub(super) fn open(spec: &LogSpec) -> io::Result<Self> {
        let attributes = match serde_json::to_string(&spec.attributes) {
            Ok(text) if !spec.attributes.is_empty() => format!(",\"attrs\":{text}"),
            _ => String::new(),
        };
        Ok(Self {
            file: Rotated::open(spec)?,
            journal: spec
                .journal
                .as_ref()
                .and_then(|journal| Journal::open(journal).ok()),
            attributes,
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
        let mut partial = std::mem::take(&mut self.partial[stream as usize]);
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
                self.line(&partial, stream, &time);
                partial.clear();
            }
        }
        self.partial[stream as usize] = partial;
        self.write();
    }

    /// Writes what has no newline yet.
    pub(super) fn finish(&mut self) {
        let time = timestamp::now();
        for stream in [Stream::Output, Stream::Errors] {
            let partial = std::mem::take(&mut self.partial[stream as usize]);
            if !partial.is_empty() {
                self.line(&partial, stream, &time);
            }
        }
        self.write();
        if let Some(file) = &mut self.file {
            file.await_compression();
        }
    }

    /// Takes note of a process that was reaped.
    pub(super) fn reaped(&mut self, pid: i32) {
        if let Some(file) = &mut self.file
            && file.compressing == Some(pid)
        {
            file.compressing = None;
        }
    }

    fn line(&mut self, text: &[u8], stream: Stream, time: &str) {
        line(&mut self.lines, text, stream, &self.attributes, time);
        if let Some(journal) = &self.journal {
            journal.send(text, stream == Stream::Errors);
        }
    }

    fn write(&mut self) {
        if let Some(file) = &mut self.file {
            file.write(&self.lines);
        }
        self.lines.clear();
        self.lines.shrink_to(LONGEST);
    }
}

/// A file that gives way to a new one when it has grown large; the older ones are called `NAME.1`, `NAME.2` and so on.
#[derive(Debug)]
struct Rotated {
    path: PathBuf,
    file: File,
    size: u64,
    most_bytes: u64,
    most_files: u32,
    compress: bool,
    /// The process that compresses the file before.
    compressing: Option<i32>,
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// `NAME.1`, `NAME.1.gz`.
fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

impl Rotated {
    fn open(spec: &LogSpec) -> io::Result<Option<Self>> {
        let Some(path) = &spec.path else { return Ok(None) };
        let file = append(path)?;
        Ok(Some(Self {
            path: path.clone(),
            size: file.metadata()?.len(),
            file,
            most_bytes: spec.most_bytes.unwrap_or(u64::MAX),
            most_files: spec.most_files.max(1),
            compress: spec.compress,
            compressing: None,
        }))
    }

    /// Writes whole lines; a new file begins between two of them.
    fn write(&mut self, mut lines: &[u8]) {
        while !lines.is_empty() {
            if self.size >= self.most_bytes {
                self.rotate();
            }
            let room = self.most_bytes.saturating_sub(self.size).max(1);
            let end = match usize::try_from(room) {
                Ok(room) if room < lines.len() => lines[room - 1..]
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(lines.len(), |at| room + at),
                _ => lines.len(),
            };
            match self.file.write_all(&lines[..end]) {
                Ok(()) => self.size += end as u64,
                // What came through of it would spoil the line that comes next.
                Err(_) => {
                    let _ = self.file.set_len(self.size);
                }
            }
            lines = &lines[end..];
        }
    }

    /// Begins a new file. When that fails the old one goes on.
    fn rotate(&mut self) {
        self.await_compression();
        if self.most_files == 1 {
            if self.file.set_len(0).is_ok() {
                self.size = 0;
            }
            return;
        }
        for number in (1..self.most_files).rev() {
            for ending in ["", ".gz"] {
                let old = named(&self.path, &format!(".{number}{ending}"));
                let _ = match number + 1 == self.most_files {
                    true => std::fs::remove_file(&old),
                    false => std::fs::rename(&old, named(&self.path, &format!(".{}{ending}", number + 1))),
                };
            }
        }
        let first = named(&self.path, ".1");
        if std::fs::rename(&self.path, &first).is_err() {
            return;
        }
        if let Ok(file) = append(&self.path) {
            (self.file, self.size) = (file, 0);
        }
        if self.compress {
            self.begin_compression(&first);
        }
    }

    /// Lets a process of its own compress a file: this one serves the container meanwhile.
    fn begin_compression(&mut self, path: &Path) {
        match process::clone(0) {
            Ok(Cloned::Child) => {
                let _ = process::set_parent_death_signal(libc::SIGKILL);
                let _ = file::close_others(&[0, 1, 2]);
                let done = compress(path);
                process::exit_now(i32::from(done.is_err()))
            }
            Ok(Cloned::Parent { pid, .. }) => self.compressing = Some(pid),
            // It stays as it is, and can be read all the same.
            Err(_) => {}
        }
    }

    fn await_compression(&mut self) {
        if let Some(pid) = self.compressing.take() {
            let _ = process::wait(pid);
        }
    }
}

/// Puts `PATH.gz` in the place of a file.
fn compress(path: &Path) -> io::Result<()> {
    let temporary = named(path, ".gz.new");
    let made = || -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&temporary)?;
        let mut encoder = GzEncoder::new(file, Compression::fast());
        io::copy(&mut File::open(path)?, &mut encoder)?;
        encoder.finish()?;
        std::fs::rename(&temporary, named(path, ".gz"))?;
        std::fs::remove_file(path)
    };
    made().inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

fn line(to: &mut Vec<u8>, text: &[u8], stream: Stream, attributes: &str, time: &str) {
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
    let stream = stream.name();
    to.extend(format!("\",\"stream\":\"{stream}\"{attributes},\"time\":\"{time}\"}}\n").as_bytes());
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
            "",
            "T",
        );
        line(
            &mut out,
            b"\xff\xfe!",
            Stream::Errors,
            ",\"attrs\":{\"a\":\"b\"}",
            "T",
        );
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).expect("JSON"))
            .collect();
        assert_eq!(lines[0]["log"], "a\"b\\c\t<é>\u{1b}[0m\n");
        assert_eq!(lines[0]["stream"], "stdout");
        assert_eq!(lines[1]["log"], "\u{fffd}\u{fffd}!");
        assert_eq!(lines[1]["stream"], "stderr");
        assert_eq!(lines[1]["attrs"]["a"], "b");
    }

    #[test]
    fn a_file_gives_way_between_two_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let open = |most_files, compress| {
            let spec = LogSpec {
                path: Some(path.clone()),
                most_bytes: Some(10),
                most_files,
                compress,
                ..LogSpec::default()
            };
            Rotated::open(&spec).expect("a file").expect("a log")
        };
        let read = |ending: &str| std::fs::read_to_string(named(&path, ending)).unwrap_or_default();
        let mut file = open(3, false);
        file.write(b"one\ntwo\nthree\nfour\nfive\nsix\nseven\n");
        assert_eq!(read(""), "six\nseven\n");
        assert_eq!(read(".1"), "four\nfive\n");
        assert_eq!(read(".2"), "one\ntwo\nthree\n");
        file.write(b"eight and more\nnine\n");
        assert_eq!(read(""), "nine\n");
        assert_eq!(read(".1"), "eight and more\n");
        assert_eq!(read(".2"), "six\nseven\n");
        assert!(!named(&path, ".3").exists());
        let mut alone = open(1, false);
        alone.write(b"ten\neleven\ntwelve\n");
        assert_eq!(read(""), "twelve\n");
    }
}
