//! What is wrong in a Dockerfile, where, and what to do about it.

use std::fmt;

/// Lines of a Dockerfile, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first line.
    pub line: usize,
    /// The last line.
    pub end_line: usize,
}

impl Span {
    /// Lines from one to another.
    pub fn new(line: usize, end_line: usize) -> Span {
        Span { line, end_line }
    }
}

/// A fault in a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// The word that is wrong, as it stands in the text.
    pub word: Option<String>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Fault {
    /// A fault of an instruction.
    pub fn new(span: Span, message: impl Into<String>) -> Fault {
        Fault {
            message: message.into(),
            span,
            word: None,
            help: None,
        }
    }

    /// The same fault of one word.
    #[must_use]
    pub fn at(mut self, word: impl Into<String>) -> Fault {
        self.word = Some(word.into());
        self
    }

    /// The same fault with a way on.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }

    /// Line, first and last column (counted from 1) of the word that is wrong.
    pub fn columns(&self, text: &str) -> Option<(usize, usize, usize)> {
        let word = self.word.as_deref().filter(|word| !word.is_empty())?;
        let from = self.span.line.saturating_sub(1);
        let count = self.span.end_line.saturating_sub(from);
        text.lines()
            .enumerate()
            .skip(from)
            .take(count)
            .find_map(|(at, line)| {
                let column = line[..line.find(word)?].chars().count() + 1;
                Some((at + 1, column, column + word.chars().count() - 1))
            })
    }

    /// Where it is, with the lines around it: the failing ones are marked, the wrong word has a caret.
    ///
    /// The first line is `  --> NAME:LINE:COLUMN`.
    pub fn excerpt(&self, text: &str, name: &str) -> String {
        excerpt(text, name, self.span, self.columns(text))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// How many lines an excerpt shows of a long instruction.
const MOST_LINES: usize = 12;

/// The lines of a span, marked, with one line before and after.
pub(crate) fn excerpt(text: &str, name: &str, span: Span, columns: Option<(usize, usize, usize)>) -> String {
    let place = match columns {
        Some((line, column, _)) => format!("{name}:{line}:{column}"),
        None => format!("{name}:{}", span.line),
    };
    let lines: Vec<&str> = text.lines().collect();
    let last = span.end_line.min(lines.len());
    let width = (last + 1).to_string().len();
    let mut out = format!("{:width$}--> {place}\n", "");
    let first = span.line.saturating_sub(1).max(1);
    for number in first..=(last + 1).min(lines.len()) {
        let line = lines[number - 1].trim_end();
        let inside = (span.line..=span.end_line).contains(&number);
        let skipped = number >= span.line + MOST_LINES && number + 1 < span.end_line;
        if skipped {
            if number == span.line + MOST_LINES {
                out.push_str(&format!("{:width$}   | ...\n", ""));
            }
            continue;
        }
        let mark = if inside { '>' } else { ' ' };
        out.push_str(format!("{number:>width$} {mark} | {line}").trim_end());
        out.push('\n');
        if let Some((at, from, to)) = columns
            && at == number
        {
            let before: String = line
                .chars()
                .take(from - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            out.push_str(&format!(
                "{:width$}   | {before}{}\n",
                "",
                "^".repeat(to + 1 - from)
            ));
        }
    }
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_shown_with_its_lines_and_a_caret() {
        let text = "FROM scratch\nCOPYY a b\nCMD x\n";
        let fault = Fault::new(Span::new(2, 2), "no").at("COPYY");
        assert_eq!(
            fault.excerpt(text, "Dockerfile"),
            " --> Dockerfile:2:1\n1   | FROM scratch\n2 > | COPYY a b\n    | ^^^^^\n3   | CMD x"
        );
    }
}
