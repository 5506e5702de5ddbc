//! Here-documents: `<<EOF`, `<<-EOF`, `<<"EOF"`, `3<<EOF` (Dockerfile reference, "Here-Documents").

use crate::words::Lexer;

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it.
    pub name: String,
    /// Its text, with the end of its last line.
    pub content: String,
    /// Whether variables in it are expanded: its word has no quotes.
    pub expand: bool,
    /// Whether tabs at the beginning of lines go away (`<<-`).
    pub chomp: bool,
}

impl Heredoc {
    /// Reads one word; none when it is no here-document.
    pub(crate) fn of_word(word: &str) -> Option<Heredoc> {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let rest = rest.strip_prefix("<<")?;
        let (chomp, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if rest.is_empty() || rest.contains('<') {
            return None;
        }
        let mut lexer = Lexer::new('\\');
        lexer.skip_unset = true;
        let plain = lexer.words(rest, &|_| None).ok()?;
        lexer.raw_quotes = true;
        let quoted = lexer.words(rest, &|_| None).ok()?;
        let [name] = plain.as_slice() else {
            return None;
        };
        Some(Heredoc {
            expand: quoted.first() == Some(name),
            name: name.clone(),
            content: String::new(),
            chomp,
        })
    }

    /// Those that a line begins, in their order.
    pub(crate) fn of_line(line: &str) -> Vec<Heredoc> {
        if !line.contains("<<") {
            return Vec::new();
        }
        let mut lexer = Lexer::new('\\');
        lexer.raw_quotes = true;
        lexer.raw_escapes = true;
        lexer.skip_unset = true;
        let words = lexer.words(line, &|_| None).unwrap_or_default();
        words.iter().filter_map(|word| Heredoc::of_word(word)).collect()
    }

    /// The text as it is used.
    pub fn text(&self) -> String {
        match self.chomp {
            true => chomped(&self.content),
            false => self.content.clone(),
        }
    }
}

fn chomped(content: &str) -> String {
    content
        .split_inclusive('\n')
        .map(|line| line.trim_start_matches('\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_begin_one() {
        let found = |word: &str| Heredoc::of_word(word).map(|doc| (doc.name, doc.expand, doc.chomp));
        assert_eq!(found("<<EOF"), Some(("EOF".into(), true, false)));
        assert_eq!(found("<<-EOF"), Some(("EOF".into(), true, true)));
        assert_eq!(found("<<'EOF'"), Some(("EOF".into(), false, false)));
        assert_eq!(found("<<\"EO F\""), Some(("EO F".into(), false, false)));
        assert_eq!(found("3<<EOF"), Some(("EOF".into(), true, false)));
        assert_eq!(found("<<<EOF"), None);
        assert_eq!(found("<<"), None);
        assert_eq!(Heredoc::of_line("RUN cat <<A > x && cat <<-'B'").len(), 2);
        assert_eq!(Heredoc::of_line("RUN echo \"<<A\"").len(), 0);
    }
}
