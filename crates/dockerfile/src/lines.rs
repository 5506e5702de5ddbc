//! Text to nodes: comments, continuations, here-documents; one node an instruction.

use crate::directive::Directives;
use crate::fault::{Fault, Span};
use crate::forms::is_blank;
use crate::heredoc::Heredoc;

/// One instruction, its words not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its first word, as it is written.
    pub(crate) keyword: String,
    /// What follows, continued lines joined.
    pub(crate) rest: String,
    /// Where it is.
    pub(crate) span: Span,
    /// The same with the blanks at its end.
    pub(crate) original: String,
    /// Its here-documents.
    pub(crate) heredocs: Vec<Heredoc>,
}

/// How many bytes a line may have.
const LONGEST_LINE: usize = 65_535;

/// Splits a text into instructions.
pub(crate) fn nodes(text: &str, directives: &Directives) -> Result<Vec<Node>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let too_long = |line: &&str| line.strip_suffix('\n').unwrap_or(line).len() > LONGEST_LINE;
    if let Some(at) = lines.iter().position(too_long) {
        let text = format!("dockerfile line greater than max allowed size of {LONGEST_LINE}");
        return Err(
            Fault::new(Span::new(at + 1, at + 1), text).help("break the line with an escape at its end")
        );
    }
    let mut at = 0;
    let mut found = Vec::new();
    while at < lines.len() {
        let first = without_end(lines[at]).trim_start();
        at += 1;
        if first.is_empty() || first.starts_with('#') {
            continue;
        }
        let start = at;
        let (mut line, mut ended) = continuation(first, directives.escape);
        if ended && line.is_empty() {
            continue;
        }
        while !ended && at < lines.len() {
            let next = without_end(lines[at]);
            at += 1;
            if next.trim_start().starts_with('#') || next.trim().is_empty() {
                continue;
            }
            let (part, end) = continuation(next, directives.escape);
            line.push_str(&part);
            ended = end;
        }
        let mut node = node(&line, Span::new(start, at));
        if may_have_heredocs(&node) {
            for mut heredoc in Heredoc::of_line(&line) {
                loop {
                    let Some(next) = lines.get(at) else {
                        let text = "unterminated heredoc";
                        return Err(Fault::new(Span::new(start, at), text)
                            .at(format!(
                                "<<{}{}",
                                if heredoc.chomp { "-" } else { "" },
                                heredoc.name
                            ))
                            .help(format!("end it with a line that holds {} alone", heredoc.name)));
                    };
                    at += 1;
                    let plain = without_end(next);
                    let plain = match heredoc.chomp {
                        true => plain.trim_start_matches('\t'),
                        false => plain,
                    };
                    if plain == heredoc.name {
                        break;
                    }
                    heredoc.content.push_str(next);
                }
                node.heredocs.push(heredoc);
            }
        }
        node.span.end_line = at;
        found.push(node);
    }
    Ok(found)
}

fn without_end(line: &str) -> &str {
    line.trim_end_matches(['\n', '\r'])
}

/// A line without the escape at its end, and whether it is the last of its instruction.
fn continuation(line: &str, escape: char) -> (String, bool) {
    let bare = line.trim_end_matches([' ', '\t']);
    match bare.strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest.to_owned(), false),
        _ => (line.to_owned(), true),
    }
}

fn node(line: &str, span: Span) -> Node {
    let line = line.trim_start();
    let (keyword, rest) = match line.find(is_blank) {
        Some(at) => (&line[..at], line[at..].trim_start()),
        None => (line, ""),
    };
    Node {
        keyword: keyword.to_owned(),
        rest: rest.trim_end().to_owned(),
        original: rest.to_owned(),
        span,
        heredocs: Vec::new(),
    }
}

fn may_have_heredocs(node: &Node) -> bool {
    let (keyword, rest) = match node.keyword.eq_ignore_ascii_case("onbuild") {
        true => match node.rest.split_once(char::is_whitespace) {
            Some((keyword, rest)) => (keyword, rest),
            None => return false,
        },
        false => (node.keyword.as_str(), node.rest.as_str()),
    };
    let known = ["run", "copy", "add"].contains(&keyword.to_ascii_lowercase().as_str());
    known && !(rest.starts_with('[') && serde_json::from_str::<Vec<String>>(rest).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(String, String, usize, usize)> {
        let directives = Directives::read(text).unwrap();
        nodes(text, &directives)
            .unwrap()
            .into_iter()
            .map(|node| (node.keyword, node.rest, node.span.line, node.span.end_line))
            .collect()
    }

    #[test]
    fn comments_and_continuations() {
        let one = |keyword: &str, rest: &str, line, end| (keyword.to_owned(), rest.to_owned(), line, end);
        assert_eq!(
            lines("# c\n\n  FROM a\r\nRUN a \\\n # c\n\n  b \\  \n && c\n"),
            [one("FROM", "a", 3, 3), one("RUN", "a   b  && c", 4, 8)]
        );
        assert_eq!(
            lines("RUN a \\\\\nCMD b"),
            [one("RUN", "a \\\\", 1, 1), one("CMD", "b", 2, 2)]
        );
        assert_eq!(lines("# escape=`\nRUN a `\n b\\\n"), [one("RUN", "a  b\\", 2, 3)]);
        assert_eq!(lines("\u{feff}FROM a"), [one("FROM", "a", 1, 1)]);
        assert_eq!(lines("RUN a \\\n"), [one("RUN", "a", 1, 1)]);
        assert_eq!(
            lines("RUN echo # no comment"),
            [one("RUN", "echo # no comment", 1, 1)]
        );
    }

    #[test]
    fn heredocs_follow_their_line() {
        let text = "RUN <<A cat <<-'B'\n# kept\nA\n\tx\n\tB\nCOPY <<E /x\nE\nRUN [\"a\", \"<<E\"]\nCMD <<E\n";
        let found = nodes(text, &Directives::default()).unwrap();
        let docs: Vec<Vec<&str>> = found
            .iter()
            .map(|node| node.heredocs.iter().map(|doc| doc.content.as_str()).collect())
            .collect();
        assert_eq!(docs, [vec!["# kept\n", "\tx\n"], vec![""], vec![], vec![]]);
        assert_eq!(found[0].span, Span::new(1, 5));
        let fault = nodes("RUN <<EOF\nx\n", &Directives::default()).unwrap_err();
        assert_eq!(
            (fault.message.as_str(), fault.span.line),
            ("unterminated heredoc", 1)
        );
    }
}
