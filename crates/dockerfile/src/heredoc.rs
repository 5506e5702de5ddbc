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

    /// Whether a command is the beginning of one, and nothing else.
    pub fn is_whole(text: &str) -> bool {
        text.trim().starts_with("<<") && Heredoc::of_word(text.trim()).is_some()
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
        let mut found = Vec::new();
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            // The shell's `cat << EOF`: the name is the next word.
            let is_bare = word.trim_start_matches(|c: char| c.is_ascii_digit()) == "<<";
            match is_bare.then(|| words.peek()).flatten() {
                Some(name) => found.extend(Heredoc::of_word(&format!("{word} {name}"))),
                None => found.extend(Heredoc::of_word(word)),
            }
        }
        found
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
        let names = |line: &str| -> Vec<(String, bool)> {
            let found = Heredoc::of_line(line);
            found.into_iter().map(|doc| (doc.name, doc.expand)).collect()
        };
        assert_eq!(names("RUN cat << EOF > x"), [("EOF".into(), true)]);
        assert_eq!(names("RUN cat 3<<  'A B'"), [("A B".into(), false)]);
        assert_eq!(names("RUN cat << -A"), [("-A".into(), true)]);
        assert_eq!(names("RUN cat<< A"), []);
        assert_eq!(names("RUN cat <<- A"), []);
        assert_eq!(names("RUN cat \"<<\" A"), []);
    }
}
