//! Expansion of words: `$NAME`, `${NAME}` with its modifiers, quotes and escapes (Dockerfile reference, "Environment
//! replacement").

use std::fmt;

use crate::glob;

/// What a name stands for; none where it isn't set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How words are read.
#[derive(Debug, Clone, Copy)]
pub struct Lexer {
    /// The escape character of the file.
    pub escape: char,
    /// Whether quotes stay in the result.
    pub raw_quotes: bool,
    /// Whether escapes stay in the result.
    pub raw_escapes: bool,
    /// Whether quotes are letters like all others.
    pub skip_quotes: bool,
    /// Whether what isn't set stays as it is written.
    pub skip_unset: bool,
}

impl Lexer {
    /// The usual way, with a file's escape character.
    pub fn new(escape: char) -> Lexer {
        Lexer {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            skip_quotes: false,
            skip_unset: false,
        }
    }

    /// Expands one word.
    ///
    /// # Errors
    /// See [`WordError`].
    pub fn word(&self, text: &str, lookup: Lookup<'_>) -> Result<String, WordError> {
        Ok(self.run(text, lookup)?.0)
    }

    /// Expands a text and splits what comes of it at blanks that weren't quoted.
    ///
    /// # Errors
    /// See [`WordError`].
    pub fn words(&self, text: &str, lookup: Lookup<'_>) -> Result<Vec<String>, WordError> {
        Ok(self.run(text, lookup)?.1)
    }

    fn run(&self, text: &str, lookup: Lookup<'_>) -> Result<(String, Vec<String>), WordError> {
        let mut scan = Scan {
            lexer: *self,
            chars: text.chars().collect(),
            at: 0,
            lookup,
            depth: 0,
        };
        let (result, words) = scan.until(None, false).map_err(|message| WordError {
            text: text.to_owned(),
            message,
        })?;
        Ok((result, words.finish()))
    }
}

/// A word that can't be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordError {
    /// The word.
    pub text: String,
    /// Why.
    pub message: String,
}

impl fmt::Display for WordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to process \"{}\": {}", self.text, self.message)
    }
}

impl std::error::Error for WordError {}

/// How deep expansions may stand in each other.
const MOST_DEPTH: usize = 100;

#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
    inside: bool,
}

impl Words {
    fn plain(&mut self, c: char) {
        if c.is_whitespace() {
            if self.inside && !self.word.is_empty() {
                self.done.push(std::mem::take(&mut self.word));
            }
            self.inside = false;
        } else {
            self.raw(c);
        }
    }

    fn raw(&mut self, c: char) {
        self.word.push(c);
        self.inside = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

struct Scan<'a> {
    lexer: Lexer,
    chars: Vec<char>,
    at: usize,
    lookup: Lookup<'a>,
    depth: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Words), String> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err("too many substitutions inside each other".into());
        }
        let before = self.lexer.raw_escapes;
        self.lexer.raw_escapes |= raw_escapes;
        let result = self.until_stop(stop);
        self.lexer.raw_escapes = before;
        self.depth -= 1;
        result
    }

    fn until_stop(&mut self, stop: Option<char>) -> Result<(String, Words), String> {
        let mut out = String::new();
        let mut words = Words::default();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.at += 1;
                return Ok((out, words));
            }
            match c {
                '\'' | '"' if !self.lexer.skip_quotes => {
                    let text = if c == '"' { self.double()? } else { self.single()? };
                    out.push_str(&text);
                    words.word.push_str(&text);
                    words.inside = true;
                }
                '$' => {
                    let text = self.dollar()?;
                    out.push_str(&text);
                    text.chars().for_each(|c| words.plain(c));
                }
                _ => {
                    self.at += 1;
                    if c != self.lexer.escape {
                        words.plain(c);
                        out.push(c);
                        continue;
                    }
                    if self.lexer.raw_escapes {
                        words.raw(c);
                        out.push(c);
                    }
                    let Some(next) = self.next() else {
                        break;
                    };
                    words.raw(next);
                    out.push(next);
                }
            }
        }
        match stop {
            Some(stop) => Err(format!(
                "unexpected end of statement while looking for matching {stop}"
            )),
            None => Ok((out, words)),
        }
    }

    fn single(&mut self) -> Result<String, String> {
        let mut out = String::new();
        self.at += 1;
        if self.lexer.raw_quotes {
            out.push('\'');
        }
        loop {
            match self.next() {
                None => {
                    return Err("unexpected end of statement while looking for matching single-quote".into());
                }
                Some('\'') => break,
                Some(c) => out.push(c),
            }
        }
        if self.lexer.raw_quotes {
            out.push('\'');
        }
        Ok(out)
    }

    fn double(&mut self) -> Result<String, String> {
        let mut out = String::new();
        self.at += 1;
        if self.lexer.raw_quotes {
            out.push('"');
        }
        loop {
            match self.peek() {
                None => {
                    return Err("unexpected end of statement while looking for matching double-quote".into());
                }
                Some('"') => {
                    self.at += 1;
                    break;
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(c) => {
                    self.at += 1;
                    if c != self.lexer.escape {
                        out.push(c);
                        continue;
                    }
                    let special = |next: char| next == '"' || next == '$' || next == self.lexer.escape;
                    match self.peek() {
                        None => {}
                        Some(next) if special(next) => {
                            if self.lexer.raw_escapes {
                                out.push(c);
                            }
                            self.at += 1;
                            out.push(next);
                        }
                        Some(_) => out.push(c),
                    }
                }
            }
        }
        if self.lexer.raw_quotes {
            out.push('"');
        }
        Ok(out)
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if name.is_empty() && c.is_ascii_digit() {
                while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
                    name.push(digit);
                    self.at += 1;
                }
                break;
            }
            if name.is_empty() && "@*#?-$!".contains(c) {
                self.at += 1;
                return c.to_string();
            }
            if !c.is_alphanumeric() && c != '_' {
                break;
            }
            name.push(c);
            self.at += 1;
        }
        name
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".into());
            }
            return Ok(match (self.lookup)(&name) {
                Some(value) => value,
                None if self.lexer.skip_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.at += 1;
        if matches!(self.peek(), Some('{' | '}' | ':')) {
            return Err("syntax error: bad substitution".into());
        }
        let name = self.name();
        let missing = || "syntax error: missing '}'".to_owned();
        let Some(mut operator) = self.next() else {
            return Err(missing());
        };
        let mut null_is_unset = false;
        let mut written = operator.to_string();
        match operator {
            '}' => {
                return Ok(match (self.lookup)(&name) {
                    Some(value) => value,
                    None if self.lexer.skip_unset => format!("${{{name}}}"),
                    None => String::new(),
                });
            }
            '/' => return self.replaced(&name),
            ':' => {
                null_is_unset = true;
                operator = self.next().ok_or_else(missing)?;
                written.push(operator);
            }
            _ => {}
        }
        let trims = matches!(operator, '#' | '%');
        if !matches!(operator, '+' | '-' | '?' | '#' | '%') || (null_is_unset && trims) {
            return Err(format!("unsupported modifier ({written}) in substitution"));
        }
        let (word, _) = self
            .until(Some('}'), trims)
            .map_err(|error| if self.peek().is_none() { missing() } else { error })?;
        let found = (self.lookup)(&name);
        if found.is_none() && self.lexer.skip_unset {
            return Ok(format!("${{{name}{written}{word}}}"));
        }
        let is_unset = found.is_none() || (null_is_unset && found.as_deref() == Some(""));
        let value = found.clone().unwrap_or_default();
        match operator {
            '-' if is_unset => Ok(word),
            '+' if is_unset => Ok(String::new()),
            '+' => Ok(word),
            '?' if is_unset => {
                let usual = if found.is_none() { "unset" } else { "empty" };
                let message = if word.is_empty() {
                    format!("is not allowed to be {usual}")
                } else {
                    word
                };
                Err(format!("{name}: {message}"))
            }
            '-' | '?' => Ok(value),
            _ => {
                let greedy = word.starts_with(operator);
                let pattern = if greedy { &word[1..] } else { &word };
                Ok(trimmed(&value, pattern, operator == '%', greedy))
            }
        }
    }

    /// `${NAME/pattern/replacement}` and `${NAME//pattern/replacement}`, behind the first slash.
    fn replaced(&mut self, name: &str) -> Result<String, String> {
        let all = self.peek() == Some('/');
        self.at += usize::from(all);
        let (pattern, _) = self
            .until(Some('/'), true)
            .map_err(|_| format!("syntax error: missing '/' in ${{{name}/"))?;
        let (replacement, _) = self
            .until(Some('}'), true)
            .map_err(|_| "syntax error: missing '}'".to_owned())?;
        let Some(value) = (self.lookup)(name) else {
            return Ok(match self.lexer.skip_unset {
                true => format!("${{{name}/{pattern}/{replacement}}}"),
                false => String::new(),
            });
        };
        let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), value.chars().collect());
        let mut out = String::new();
        let mut at = 0;
        let mut done = false;
        while at < text.len() {
            match glob::prefix(&pattern, &text[at..], true).filter(|length| *length > 0 && (all || !done)) {
                Some(length) => {
                    out.push_str(&replacement);
                    at += length;
                    done = true;
                }
                None => {
                    out.push(text[at]);
                    at += 1;
                }
            }
        }
        Ok(out)
    }
}

/// Takes the part away that fits a pattern: at the end, or at the beginning.
fn trimmed(value: &str, pattern: &str, at_end: bool, greedy: bool) -> String {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), value.chars().collect());
    if !at_end {
        let cut = glob::prefix(&pattern, &text, greedy).unwrap_or(0);
        return text[cut..].iter().collect();
    }
    let mut lengths: Vec<usize> = (0..=text.len()).collect();
    if greedy {
        lengths.reverse();
    }
    let cut = lengths
        .into_iter()
        .find(|length| glob::shell(&pattern, &text[text.len() - length..]))
        .unwrap_or(0);
    text[..text.len() - cut].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        Some(match name {
            "A" => "one".to_owned(),
            "EMPTY" => String::new(),
            "P" => "/usr/local/bin/python3.11".to_owned(),
            "W" => "two words".to_owned(),
            "S" => "a*b*c".to_owned(),
            _ => return None,
        })
    }

    #[test]
    fn every_modifier() {
        for (text, expected) in [
            ("$A", "one"),
            ("${A}", "one"),
            ("x${A}y$A", "xoneyone"),
            ("$NONE", ""),
            ("$", "$"),
            ("a$", "a$"),
            ("$.", "$."),
            ("\\$A", "$A"),
            ("'$A'", "$A"),
            ("\"$A\"", "one"),
            ("\"\\$A\"", "$A"),
            ("\"a\\b\"", "a\\b"),
            ("a\\b", "ab"),
            ("\"\\\"\"", "\""),
            ("'a\\'", "a\\"),
            ("${NONE:-d}", "d"),
            ("${NONE-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${A:-d}", "one"),
            ("${NONE:+d}", ""),
            ("${EMPTY:+d}", ""),
            ("${EMPTY+d}", "d"),
            ("${A:+d}", "d"),
            ("${A:?no}", "one"),
            ("${EMPTY?no}", ""),
            ("${NONE:-${A}}", "one"),
            ("${NONE:-a b}", "a b"),
            ("${P#*/}", "usr/local/bin/python3.11"),
            ("${P##*/}", "python3.11"),
            ("${P%/*}", "/usr/local/bin"),
            ("${P%%/*}", ""),
            ("${P%.*}", "/usr/local/bin/python3"),
            ("${P/local/x}", "/usr/x/bin/python3.11"),
            ("${P//\\//-}", "-usr-local-bin-python3.11"),
            ("${P/b*n/X}", "/usr/local/X3.11"),
            ("${S//\\*/x}", "axbxc"),
            ("${S#a\\*}", "b*c"),
            ("${A//z/y}", "one"),
            ("$1", ""),
            ("${1:-x}", "x"),
        ] {
            assert_eq!(
                Lexer::new('\\').word(text, &lookup).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_expanded() {
        for (text, part) in [
            ("${A", "missing"),
            ("${", "missing"),
            ("${}", "bad substitution"),
            ("${A:x}", "unsupported modifier (:x)"),
            ("${A:#x}", "unsupported modifier (:#)"),
            ("${A!x}", "unsupported modifier (!)"),
            ("${NONE:?it must be}", "NONE: it must be"),
            ("${NONE?}", "NONE: is not allowed to be unset"),
            ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
            ("'a", "single-quote"),
            ("\"a", "double-quote"),
            ("${A/x}", "missing '/'"),
            ("${A:-x", "missing '}'"),
        ] {
            let error = Lexer::new('\\').word(text, &lookup).unwrap_err();
            assert!(error.message.contains(part), "{text}: {error}");
        }
        let deep = "${X:-".repeat(5000);
        assert!(Lexer::new('\\').word(&deep, &lookup).is_err());
    }

    #[test]
    fn words_are_split_where_nothing_is_quoted() {
        for (text, expected) in [
            ("a b", vec!["a", "b"]),
            ("$W", vec!["two", "words"]),
            ("\"$W\" x", vec!["two words", "x"]),
            ("a\\ b", vec!["a b"]),
            ("  ", vec![]),
            ("$NONE a", vec!["a"]),
        ] {
            assert_eq!(Lexer::new('\\').words(text, &lookup).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_backtick_can_escape() {
        let lexer = Lexer::new('`');
        assert_eq!(lexer.word("C:\\$A`$A", &lookup).unwrap(), "C:\\one$A");
    }
}
