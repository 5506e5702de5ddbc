//! A command line in one string, taken apart as a POSIX shell would (XCU 2.2), or left to a shell where it must be.

/// Why a line can't be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineError {
    /// A quote that never closes.
    OpenQuote,
    /// No words at all.
    Empty,
}

/// A line as arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The arguments, `sh -c …` where a shell is needed.
    pub argv: Vec<String>,
    /// The words as far as they can be told, to look for ports and the like.
    pub words: Vec<String>,
    /// Whether a shell stays between the application and its signals.
    pub shell_stays: bool,
}

/// Takes a line apart.
///
/// A plain line becomes its words. One that needs a shell for its variables becomes `sh -c 'exec …'`, so that the
/// application gets the signals; one with several commands stays as it is in `sh -c`.
pub(crate) fn split(line: &str) -> Result<Line, LineError> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let (mut expands, mut compound) = (false, false);
    let mut chars = line.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err(LineError::OpenQuote),
                        Some('\'') => break,
                        Some(c) => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err(LineError::OpenQuote),
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            None => return Err(LineError::OpenQuote),
                            Some('\n') => {}
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                        },
                        Some(c) => {
                            expands |= c == '$' || c == '`';
                            word.push(c);
                        }
                    }
                }
            }
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some(c) => word.get_or_insert_default().push(c),
            },
            '\n' => {
                words.extend(word.take());
                compound = true;
            }
            c if c.is_whitespace() => words.extend(word.take()),
            ';' | '&' | '|' | '(' | ')' => {
                compound = true;
                words.extend(word.take());
            }
            '$' | '`' | '*' | '?' | '[' | '<' | '>' => {
                expands = true;
                word.get_or_insert_default().push(c);
            }
            '~' | '#' if word.is_none() => {
                expands = true;
                word.get_or_insert_default().push(c);
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word.take());
    let Some(first) = words.first() else {
        return Err(LineError::Empty);
    };
    let assigns = first.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
    });
    let shell = |script: String| vec!["sh".to_owned(), "-c".to_owned(), script];
    let line = line.trim();
    let argv = if compound {
        shell(line.to_owned())
    } else if assigns {
        shell(format!("exec env {line}"))
    } else if expands {
        match line.strip_prefix("exec ") {
            Some(_) => shell(line.to_owned()),
            None => shell(format!("exec {line}")),
        }
    } else if first == "exec" {
        words[1..].to_vec()
    } else {
        words.clone()
    };
    if argv.is_empty() {
        return Err(LineError::Empty);
    }
    Ok(Line {
        argv,
        words,
        shell_stays: compound && !line.contains("exec "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (line, argv) in [
            (
                "uvicorn main:app --port 8000",
                vec!["uvicorn", "main:app", "--port", "8000"],
            ),
            (
                "python -c 'print(1)' \"a b\"c",
                vec!["python", "-c", "print(1)", "a bc"],
            ),
            (
                "gunicorn main:app -b :$PORT",
                vec!["sh", "-c", "exec gunicorn main:app -b :$PORT"],
            ),
            ("a && b", vec!["sh", "-c", "a && b"]),
            (
                "LEVEL=1 python x.py",
                vec!["sh", "-c", "exec env LEVEL=1 python x.py"],
            ),
            ("exec python x.py", vec!["python", "x.py"]),
            ("python x\\ y.py ''", vec!["python", "x y.py", ""]),
            ("echo '$HOME'", vec!["echo", "$HOME"]),
            (
                "gunicorn 'main:create_app()'",
                vec!["gunicorn", "main:create_app()"],
            ),
        ] {
            assert_eq!(split(line).expect(line).argv, argv, "{line}");
        }
        assert_eq!(split("a 'b"), Err(LineError::OpenQuote));
        assert_eq!(split("a \"b"), Err(LineError::OpenQuote));
        assert_eq!(split("  "), Err(LineError::Empty));
        assert_eq!(split("exec"), Err(LineError::Empty));
        assert!(split("a; b").expect("valid").shell_stays);
        assert!(!split("a; exec b").expect("valid").shell_stays);
    }
}
