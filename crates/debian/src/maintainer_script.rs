//! The one thing that is taken from maintainer scripts without running them: the alternatives that they install.
//!
//! A script is read as far as simple scripts go: words, quotes, variables that are set to fixed text, `for` loops over words.
//! Conditions are not looked at: an alternative whose file is there is meant. What can't be told (the output of a program, a
//! function's arguments) makes a command unknown, and unknown commands are left out.

use std::collections::BTreeMap;

use coil_oci::Arch;

/// More commands than any script has, with its loops unrolled.
const MOST_COMMANDS: usize = 20_000;
const DEEPEST: usize = 16;

/// `update-alternatives --install LINK NAME PATH PRIORITY [--slave LINK NAME PATH]…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The path that stands for whichever is chosen.
    pub link: String,
    /// The name of the group.
    pub name: String,
    /// The file.
    pub path: String,
    /// The highest is chosen.
    pub priority: i64,
    /// What goes with it: link, name, path.
    pub slaves: Vec<(String, String, String)>,
}

/// A piece of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A variable; whether it is quoted, and so stays one word.
    Variable(String, bool),
    Unknown,
}

type Word = Vec<Piece>;

/// The alternatives that a script installs, in order.
pub fn alternatives(script: &str, arch: Arch) -> Vec<Install> {
    let commands = commands(script);
    let triplet = arch.triplet();
    let variables = [
        ("DEB_HOST_MULTIARCH", triplet),
        ("DEB_TARGET_MULTIARCH", triplet),
        ("DPKG_MAINTSCRIPT_ARCH", arch.debian()),
        // The script runs as for a first installation.
        ("1", "configure"),
        ("2", ""),
    ];
    let mut run = Run {
        variables: variables
            .into_iter()
            .map(|(name, value)| (name.to_string(), Some(value.to_string())))
            .collect(),
        left: MOST_COMMANDS,
        found: Vec::new(),
    };
    run.block(&commands, 0);
    run.found
}

/// Cuts a script into commands of words.
fn commands(script: &str) -> Vec<Vec<Word>> {
    let mut all = Vec::new();
    let mut command: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    let text: Vec<char> = script.chars().collect();
    let mut at = 0;
    while at < text.len() {
        let next = text.get(at + 1).copied();
        match text[at] {
            '\\' if next == Some('\n') => at += 1,
            '\\' => {
                push(&mut word, next.unwrap_or('\\'));
                at += 1;
            }
            '#' if word.is_none() => {
                while at + 1 < text.len() && text[at + 1] != '\n' {
                    at += 1;
                }
            }
            ' ' | '\t' | '\r' => command.extend(word.take()),
            '\n' | ';' | '&' | '|' | '(' | ')' | '{' | '}' => {
                command.extend(word.take());
                if !command.is_empty() {
                    all.push(std::mem::take(&mut command));
                }
            }
            '\'' => {
                word.get_or_insert_default();
                at += 1;
                while at < text.len() && text[at] != '\'' {
                    push(&mut word, text[at]);
                    at += 1;
                }
            }
            '"' => {
                word.get_or_insert_default();
                at += 1;
                while at < text.len() && text[at] != '"' {
                    match text[at] {
                        '\\' if at + 1 < text.len() => {
                            at += 1;
                            push(&mut word, text[at]);
                        }
                        '$' => at = variable(&text, at, true, word.get_or_insert_default()),
                        '`' => at = backquoted(&text, at, word.get_or_insert_default()),
                        other => push(&mut word, other),
                    }
                    at += 1;
                }
            }
            '$' => at = variable(&text, at, false, word.get_or_insert_default()),
            '`' => at = backquoted(&text, at, word.get_or_insert_default()),
            other => push(&mut word, other),
        }
        at += 1;
    }
    command.extend(word);
    if !command.is_empty() {
        all.push(command);
    }
    all
}

fn push(word: &mut Option<Word>, c: char) {
    let word = word.get_or_insert_default();
    match word.last_mut() {
        Some(Piece::Text(text)) => text.push(c),
        _ => word.push(Piece::Text(c.to_string())),
    }
}

/// Reads what begins with a dollar sign; gives the place of its last character.
fn variable(text: &[char], at: usize, quoted: bool, word: &mut Word) -> usize {
    match text.get(at + 1) {
        Some('(') => {
            let (mut depth, mut end) = (0, at + 1);
            while end < text.len() {
                match text[end] {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                end += 1;
            }
            let inner: String = text[at + 2..end.min(text.len()).max(at + 2)].iter().collect();
            word.push(
                if inner.contains("dpkg-architecture") && inner.contains("HOST_MULTIARCH") {
                    Piece::Variable("DEB_HOST_MULTIARCH".into(), true)
                } else {
                    Piece::Unknown
                },
            );
            end.min(text.len() - 1)
        }
        Some('{') => {
            let end = (at + 2..text.len()).find(|end| text[*end] == '}');
            let end = end.unwrap_or(text.len() - 1);
            let name: String = text[(at + 2).min(end)..end].iter().collect();
            let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            word.push(if plain {
                Piece::Variable(name, quoted)
            } else {
                Piece::Unknown
            });
            end
        }
        Some(c) if c.is_ascii_digit() => {
            word.push(Piece::Variable(c.to_string(), quoted));
            at + 1
        }
        Some(c) if c.is_ascii_alphabetic() || *c == '_' => {
            let mut end = at + 1;
            while text
                .get(end + 1)
                .is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_')
            {
                end += 1;
            }
            word.push(Piece::Variable(text[at + 1..=end].iter().collect(), quoted));
            end
        }
        Some('@' | '*' | '#' | '?' | '$' | '!' | '-') => {
            word.push(Piece::Unknown);
            at + 1
        }
        _ => {
            word.push(Piece::Text("$".into()));
            at
        }
    }
}

fn backquoted(text: &[char], at: usize, word: &mut Word) -> usize {
    word.push(Piece::Unknown);
    (at + 1..text.len())
        .find(|end| text[*end] == '`')
        .unwrap_or(text.len() - 1)
}

struct Run {
    /// Their values, where those are known.
    variables: BTreeMap<String, Option<String>>,
    left: usize,
    found: Vec<Install>,
}

impl Run {
    fn block(&mut self, commands: &[Vec<Word>], depth: usize) {
        let mut at = 0;
        while at < commands.len() {
            if self.left == 0 || depth > DEEPEST {
                return;
            }
            self.left -= 1;
            let words = skip_keywords(&commands[at]);
            if first(words) == Some("for") && words.len() >= 2 {
                let end = end_of_loop(commands, at);
                self.repeat(words, &commands[at + 1..end], depth);
                at = end + 1;
                continue;
            }
            self.command(words);
            at += 1;
        }
    }

    fn repeat(&mut self, head: &[Word], body: &[Vec<Word>], depth: usize) {
        let [Piece::Text(name)] = head[1].as_slice() else {
            return;
        };
        let mut items = Vec::new();
        for word in head.iter().skip(3) {
            match self.value(word) {
                Some(value)
                    if word
                        .iter()
                        .any(|piece| matches!(piece, Piece::Variable(_, false))) =>
                {
                    items.extend(value.split_whitespace().map(str::to_string));
                }
                Some(value) if !value.contains(['*', '?', '[']) => items.push(value),
                _ => {}
            }
        }
        for item in items {
            self.variables.insert(name.clone(), Some(item));
            self.block(body, depth + 1);
        }
    }

    fn command(&mut self, words: &[Word]) {
        // Assignments come before the command, or stand alone.
        let mut rest = words;
        while let Some((name, value)) = rest.first().and_then(|word| assignment(word)) {
            let value = self.value(&value);
            self.variables.insert(name, value);
            rest = &rest[1..];
        }
        let called = rest.first().and_then(|word| self.value(word));
        if called.is_none_or(|name| name.rsplit('/').next() != Some("update-alternatives")) {
            return;
        }
        let mut words: Vec<Option<String>> = Vec::new();
        for word in &rest[1..] {
            let value = self.value(word);
            let splits = word
                .iter()
                .any(|piece| matches!(piece, Piece::Variable(_, false)));
            match value {
                // A variable that stands for several arguments, or for none.
                Some(value) if splits => {
                    words.extend(value.split_whitespace().map(|part| Some(part.to_string())))
                }
                other => words.push(other),
            }
        }
        self.found.extend(install(&words));
    }

    /// A word's text; `None` where a part of it isn't known.
    fn value(&self, word: &[Piece]) -> Option<String> {
        let mut text = String::new();
        for piece in word {
            match piece {
                Piece::Text(part) => text.push_str(part),
                // What was never set is empty.
                Piece::Variable(name, _) => {
                    if let Some(value) = self.variables.get(name) {
                        text.push_str(value.as_deref()?);
                    }
                }
                Piece::Unknown => return None,
            }
        }
        Some(text)
    }
}

/// Reads the arguments of `update-alternatives`.
fn install(words: &[Option<String>]) -> Option<Install> {
    let at = words
        .iter()
        .position(|word| word.as_deref() == Some("--install"))?;
    let word = |number: usize| words.get(number).cloned().flatten();
    let mut install = Install {
        link: word(at + 1)?,
        name: word(at + 2)?,
        path: word(at + 3)?,
        priority: word(at + 4)?.parse().ok()?,
        slaves: Vec::new(),
    };
    let mut next = at + 5;
    while next < words.len() {
        if word(next).as_deref() == Some("--slave") {
            if let (Some(link), Some(name), Some(path)) = (word(next + 1), word(next + 2), word(next + 3)) {
                install.slaves.push((link, name, path));
            }
            next += 4;
        } else {
            next += 1;
        }
    }
    let fine = |path: &str| path.starts_with('/') && path.len() < 4096 && !path.contains(['\n', '\0']);
    let named = |name: &str| {
        !name.is_empty() && !name.contains(['/', '\n', '\0', ' ']) && name != "." && name != ".."
    };
    install
        .slaves
        .retain(|(link, name, path)| fine(link) && named(name) && fine(path));
    (fine(&install.link) && named(&install.name) && fine(&install.path)).then_some(install)
}

fn first(words: &[Word]) -> Option<&str> {
    match words.first()?.as_slice() {
        [Piece::Text(text)] => Some(text),
        _ => None,
    }
}

/// The command behind words of the shell's own: `then`, `do`, `configure)` ends as a command of its own.
fn skip_keywords(words: &[Word]) -> &[Word] {
    let mut rest = words;
    while matches!(
        first(rest),
        Some("then" | "else" | "do" | "if" | "elif" | "!" | "exec" | "command")
    ) {
        rest = &rest[1..];
    }
    rest
}

/// The place of the `done` that ends the loop that begins at `at`.
fn end_of_loop(commands: &[Vec<Word>], at: usize) -> usize {
    let mut depth = 0;
    for (number, words) in commands.iter().enumerate().skip(at) {
        match first(skip_keywords(words)) {
            Some("for" | "while" | "until" | "select") => depth += 1,
            Some("done") => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return number;
        }
    }
    commands.len()
}

/// `NAME=value` as the name and the value's pieces.
fn assignment(word: &[Piece]) -> Option<(String, Word)> {
    let Some(Piece::Text(text)) = word.first() else {
        return None;
    };
    let (name, value) = text.split_once('=')?;
    let plain = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain.then(|| {
        let mut pieces = vec![Piece::Text(value.to_string())];
        pieces.extend_from_slice(&word[1..]);
        (name.to_string(), pieces)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(script: &str) -> Vec<String> {
        alternatives(script, Arch::Amd64)
            .into_iter()
            .map(|one| {
                let slaves: Vec<_> = one
                    .slaves
                    .iter()
                    .map(|(link, _, path)| format!(" +{link}={path}"))
                    .collect();
                format!(
                    "{} {}={} {}{}",
                    one.name,
                    one.link,
                    one.path,
                    one.priority,
                    slaves.concat()
                )
            })
            .collect()
    }

    #[test]
    fn plain_commands_over_several_lines() {
        let script = "#! /bin/sh -e\nif [ \"$1\" = configure ] || [ \"$1\" = x ]; then\n\
                      update-alternatives --quiet \\\n  --install /usr/bin/cc cc /usr/bin/gcc 20 \\\n  #--slave /a b /c\n\
                      update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5 --slave /usr/bin/nawk nawk /usr/bin/mawk\nfi\n";
        assert_eq!(
            shown(script),
            [
                "cc /usr/bin/cc=/usr/bin/gcc 20",
                "awk /usr/bin/awk=/usr/bin/mawk 5 +/usr/bin/nawk=/usr/bin/mawk"
            ]
        );
    }

    #[test]
    fn variables_and_loops() {
        let script = "prio=10\nlib=/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)\ntools='a b'\n\
                      update-alternatives --install $lib/x.so x \"${lib}/y/x.so\" $prio\n\
                      for tool in $tools c; do\n  update-alternatives --install /usr/bin/$tool $tool /usr/bin/$tool-1 7\ndone\n\
                      case \"$1\" in configure) update-alternatives --install /d d /e 1;; esac\n";
        assert_eq!(
            shown(script),
            [
                "x /usr/lib/x86_64-linux-gnu/x.so=/usr/lib/x86_64-linux-gnu/y/x.so 10",
                "a /usr/bin/a=/usr/bin/a-1 7",
                "b /usr/bin/b=/usr/bin/b-1 7",
                "c /usr/bin/c=/usr/bin/c-1 7",
                "d /d=/e 1",
            ]
        );
    }

    #[test]
    fn what_cannot_be_told_is_left_out() {
        let script = "v=$(uname -r)\nupdate-alternatives --install /a a /b/$v 1\n\
                      update-alternatives --install /a a /b `date`\nupdate-alternatives --install a a b 1\n\
                      update-alternatives --install /a ../a /b 1\nupdate-alternatives --remove a /b\n\
                      echo update-alternatives --install /a a /b 1\nfor x in \"$@\"; do update-alternatives --install /$x x /b 1; done\n\
                      \"unended $";
        assert_eq!(shown(script), Vec::<String>::new());
        for script in [
            "for",
            "for x",
            "for x in a; do",
            "$",
            "${",
            "$(",
            "`",
            "\\",
            "'",
            "done",
            "a=$",
        ] {
            shown(script);
        }
    }
}
