//! Parser directives: `# syntax=`, `# escape=`, `# check=` before anything else (Dockerfile reference, "Parser directives").

use crate::fault::{Fault, Span};

/// What the first comments of a file say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `syntax`: the front end, and the line that names it.
    pub syntax: Option<(String, usize)>,
    /// `escape`: a backslash or a backtick.
    pub escape: char,
    /// `check`: `skip=…;error=true`.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Directives {
            syntax: None,
            escape: '\\',
            check: None,
        }
    }
}

impl Directives {
    /// Reads the directives at the top of a text.
    ///
    /// # Errors
    /// A directive that stands there twice, and an escape character that can't be one.
    pub(crate) fn read(text: &str) -> Result<Directives, Fault> {
        let mut found = Directives::default();
        let mut seen: Vec<String> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if at == 0 && line.starts_with("#!") {
                continue;
            }
            let Some((name, value)) = directive(line) else {
                break;
            };
            let span = Span::new(at + 1, at + 1);
            if !["syntax", "escape", "check"].contains(&name.as_str()) {
                break;
            }
            if seen.contains(&name) {
                let text = format!("only one {name} parser directive can be used");
                return Err(Fault::new(span, text).help("remove this line"));
            }
            match name.as_str() {
                "syntax" => found.syntax = Some((value, at + 1)),
                "check" => found.check = Some(value),
                _ => match value.as_str() {
                    "\\" => found.escape = '\\',
                    "`" => found.escape = '`',
                    _ => {
                        let text = format!("the escape character `{value}` is neither ` nor \\");
                        return Err(Fault::new(span, text).at(value));
                    }
                },
            }
            seen.push(name);
        }
        Ok(found)
    }
}

/// `# name = value`.
fn directive(line: &str) -> Option<(String, String)> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start();
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let value = rest.trim_start().strip_prefix('=')?.trim();
    (starts_well && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_comments_are_directives() {
        let read = |text| Directives::read(text).unwrap();
        assert_eq!(read("# Syntax = x/y:1\n#escape=`\nFROM a").escape, '`');
        assert_eq!(
            read("#syntax=docker/dockerfile:1").syntax.unwrap().0,
            "docker/dockerfile:1"
        );
        assert_eq!(read("#!/usr/bin/env x\n#escape=`").escape, '`');
        assert_eq!(read("# a comment\n# escape=`").escape, '\\');
        assert_eq!(read("FROM a\n# escape=`").escape, '\\');
        assert_eq!(read("# unknown=1\n# escape=`").escape, '\\');
        assert!(Directives::read("# escape=`\n# escape=`").is_err());
        assert!(Directives::read("# escape=x").is_err());
    }
}
