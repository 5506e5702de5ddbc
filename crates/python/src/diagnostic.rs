//! What a user reads when a project can't be packed: what, where, and what next.

use std::fmt;
use std::ops::Range;

use coil_oci::near::distance;

use crate::project_files::FileError;

/// The kind of a problem, for callers that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The directory holds no Python project.
    NoProject,
    /// A file can't be read.
    Unreadable,
    /// A file is not what its format says (TOML, a requirement, a key).
    Syntax,
    /// The lock doesn't match the project.
    LockOutOfDate,
    /// No wheel of a package fits the target.
    NoWheel,
    /// No Python that the project allows is to be had.
    NoPython,
    /// No start command was found.
    NoCommand,
    /// An extra, group or package that was asked for does not exist.
    Unknown,
    /// Things asked for together that exclude each other.
    Conflict,
    /// Something valid that coil does not do.
    Unsupported,
}

/// One problem, with its place and its remedy.
///
/// `Display` gives the whole text without colour and without a final newline, beginning with `error: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The kind of the problem.
    pub problem: Problem,
    /// One line: what is wrong.
    pub message: String,
    /// Where it is.
    pub location: Option<Box<Location>>,
    /// More facts, one line each.
    pub notes: Vec<String>,
    /// What to do about it.
    pub help: Option<String>,
}

/// A place in a file of the project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    /// The file's path, relative to the project.
    pub file: String,
    /// Line and column, both from 1; the column counts characters.
    pub position: Option<(usize, usize)>,
    /// The text of that line.
    pub source_line: Option<String>,
    /// How many characters the caret underlines.
    pub width: usize,
    /// A remark on the place.
    pub label: Option<String>,
}

impl Location {
    /// Finds the place of a byte range in a file's text.
    pub fn of(file: &str, text: &str, span: Range<usize>) -> Location {
        let start = floor(text, span.start);
        let end = floor(text, span.end.max(span.start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line = text[..start].matches('\n').count() + 1;
        Location {
            file: file.to_owned(),
            position: Some((line, text[line_start..start].chars().count() + 1)),
            source_line: Some(text[line_start..line_end].trim_end_matches('\r').to_owned()),
            width: text[start..end.min(line_end).max(start)].chars().count().max(1),
            label: None,
        }
    }
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The line number, from 1, of a byte offset.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

impl Diagnostic {
    /// Makes a diagnostic with no place yet.
    pub fn new(problem: Problem, message: impl Into<String>) -> Self {
        Diagnostic {
            problem,
            message: message.into(),
            location: None,
            notes: Vec::new(),
            help: None,
        }
    }

    /// Points at a byte range of a file.
    #[must_use]
    pub fn at(mut self, file: &str, text: &str, span: Range<usize>) -> Self {
        self.location = Some(Box::new(Location::of(file, text, span)));
        self
    }

    /// Points at a file as a whole.
    #[must_use]
    pub fn in_file(mut self, file: &str) -> Self {
        self.location = Some(Box::new(Location {
            file: file.to_owned(),
            ..Location::default()
        }));
        self
    }

    /// Adds a remark to the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        if let Some(location) = &mut self.location {
            location.label = Some(label.into());
        }
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<FileError> for Diagnostic {
    fn from(error: FileError) -> Self {
        Diagnostic::new(Problem::Unreadable, format!("cannot read {}", error.path))
            .in_file(&error.path)
            .label(error.reason)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(location) = &self.location {
            write!(f, "\n{location}")?;
        }
        for note in &self.notes {
            write!(f, "\nnote: {note}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\nhelp: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  --> {}", self.file)?;
        let Some((line, column)) = self.position else {
            if let Some(label) = &self.label {
                write!(f, ": {label}")?;
            }
            return Ok(());
        };
        write!(f, ":{line}:{column}")?;
        if let Some(source) = &self.source_line {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            // Tabs stay tabs in the caret line, so that both lines are indented alike in any terminal.
            let indent: String = source
                .chars()
                .take(column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(
                f,
                "\n {margin} |\n {number} | {source}\n {margin} | {indent}{}",
                "^".repeat(self.width.max(1))
            )?;
        }
        if let Some(label) = &self.label {
            write!(f, " {label}")?;
        }
        Ok(())
    }
}

/// The known word nearest to what was written, if one is near enough to suggest.
pub fn near_miss<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lowered = written.to_lowercase().replace('_', "-");
    let length = lowered.chars().count();
    let limit = (length / 3).clamp(1, 3);
    known
        .into_iter()
        // A word of quite another length is never near, and comparing it with a huge one takes long.
        .filter(|word| word.chars().count().abs_diff(length) <= limit)
        .map(|word| (distance(&lowered, &word.to_lowercase().replace('_', "-")), word))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, word)| word)
}

/// The known words, those nearest to what was written first.
pub fn by_nearness<'a>(written: &str, known: &[&'a str]) -> Vec<&'a str> {
    // What is longer than any name is compared by its beginning.
    let key = |word: &str| -> String {
        let begin: String = word.chars().take(100).collect();
        begin.to_lowercase().replace('_', "-")
    };
    let mut sorted: Vec<&str> = known.to_vec();
    sorted.sort_by_key(|word| (distance(&key(written), &key(word)), *word));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_shows_its_line_and_a_caret() {
        let text = "[project]\nname = \"x\"\nverzion = 1\n";
        let shown = Diagnostic::new(Problem::Syntax, "unknown key `verzion`")
            .at("pyproject.toml", text, 21..28)
            .label("here")
            .note("a fact")
            .help("did you mean `version`?")
            .to_string();
        assert_eq!(
            shown,
            "error: unknown key `verzion`\n  --> pyproject.toml:3:1\n   |\n 3 | verzion = 1\n   | ^^^^^^^ here\nnote: a fact\nhelp: did you mean `version`?"
        );
    }

    #[test]
    fn odd_spans_do_not_panic() {
        let text = "é = 1";
        for span in [0..1, 1..2, 4..99, 99..100] {
            let _ = Diagnostic::new(Problem::Syntax, "x")
                .at("f", text, span)
                .to_string();
        }
    }

    #[test]
    fn near_misses() {
        let known = ["command", "base", "python", "labels"];
        for (written, expected) in [
            ("comand", Some("command")),
            ("commnad", Some("command")),
            ("label", Some("labels")),
            ("pyhton", Some("python")),
            ("zebra", None),
        ] {
            assert_eq!(near_miss(written, known), expected, "{written}");
        }
    }
}
