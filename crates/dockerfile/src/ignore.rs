//! `.dockerignore` and `--exclude`: which paths a list of patterns takes away, as BuildKit's pattern matcher has it.

use std::fmt;

use crate::glob;

/// What is known of a folder when its entries are looked at.
#[derive(Debug, Clone, Default)]
pub struct Above {
    matched: Vec<bool>,
}

/// A list of patterns; the last that fits decides.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    exception: bool,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// One letter.
    Letter(char),
    /// `?` or a class.
    One(Vec<char>),
    /// `*`: no slash.
    Part,
    /// `**/`: any folders, or none.
    Folders,
    /// `**` at the end.
    All,
}

/// A pattern that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "illegal exclusion pattern: {:?}", self.pattern)
    }
}

impl std::error::Error for PatternError {}

/// The patterns of an ignore file.
pub fn patterns(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        let line = line.trim();
        let (sign, pattern) = match line.strip_prefix('!') {
            Some(rest) => ("!", rest.trim()),
            None => ("", line),
        };
        if line.is_empty() {
            continue;
        }
        let cleaned = match pattern {
            "" => String::new(),
            pattern => {
                let cleaned = clean(pattern);
                match cleaned.strip_prefix('/') {
                    Some(rest) if !rest.is_empty() => rest.to_owned(),
                    _ => cleaned,
                }
            }
        };
        found.push(format!("{sign}{cleaned}"));
    }
    found
}

/// A path without `.`, `..`, and slashes that say nothing.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&"..") | None if !rooted => parts.push(".."),
                _ => {
                    parts.pop();
                }
            },
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".into(),
        (false, path) => path,
    }
}

impl Matcher {
    /// Reads patterns.
    ///
    /// # Errors
    /// `!` alone, and classes that don't end.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Matcher, PatternError> {
        let mut found = Vec::new();
        for pattern in patterns {
            let text = pattern.as_ref().trim();
            if text.is_empty() {
                continue;
            }
            let illegal = || PatternError { pattern: text.into() };
            let (exception, bare) = match text.strip_prefix('!') {
                Some("") => return Err(illegal()),
                Some(rest) => (true, clean(rest)),
                None => (false, clean(text)),
            };
            if !glob::is_well_formed(&bare) {
                return Err(illegal());
            }
            found.push(Pattern {
                tokens: tokens(&bare),
                text: text.to_owned(),
                exception,
            });
        }
        Ok(Matcher { patterns: found })
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether something below a folder that is taken away may be kept.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }

    /// Whether an entry is taken away, given what its folder told; the answer for the entries below it, too.
    ///
    /// For entries of the root, `above` is none.
    pub fn check(&self, path: &str, above: Option<&Above>) -> (bool, Above) {
        let mut taken = false;
        let mut matched = vec![false; self.patterns.len()];
        for (at, pattern) in self.patterns.iter().enumerate() {
            let mut fits = above.is_some_and(|above| above.matched.get(at).copied().unwrap_or(false));
            if !fits {
                // It could change nothing.
                if pattern.exception != taken {
                    continue;
                }
                fits = pattern.fits(path);
            }
            matched[at] = fits;
            if fits {
                taken = !pattern.exception;
            }
        }
        (taken, Above { matched })
    }

    /// The pattern that takes a path away, by itself or one of its folders; none when it stays.
    pub fn taken_by(&self, path: &str) -> Option<&str> {
        let mut found = None;
        for pattern in &self.patterns {
            if pattern.exception != found.is_some() {
                continue;
            }
            let mut part = path;
            let fits = loop {
                if pattern.fits(part) {
                    break true;
                }
                match part.rsplit_once('/') {
                    Some((parent, _)) => part = parent,
                    None => break false,
                }
            };
            if fits {
                found = (!pattern.exception).then_some(pattern.text.as_str());
            }
        }
        found
    }
}

impl Pattern {
    fn fits(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        // `**name` fits the end of any path; the pattern matcher has it so.
        if let [Token::Folders, rest @ ..] = self.tokens.as_slice()
            && !rest.is_empty()
            && rest.iter().all(|token| matches!(token, Token::Letter(_)))
            && !self.text.trim_start_matches('!').starts_with("**/")
        {
            let suffix: Vec<char> = rest
                .iter()
                .filter_map(|token| match token {
                    Token::Letter(c) => Some(*c),
                    _ => None,
                })
                .collect();
            return path.ends_with(&suffix);
        }
        fits(&self.tokens, &path)
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        match chars[at] {
            '*' if chars.get(at + 1) == Some(&'*') => {
                at += 2;
                if chars.get(at) == Some(&'/') {
                    at += 1;
                }
                found.push(if at == chars.len() {
                    Token::All
                } else {
                    Token::Folders
                });
            }
            '*' => {
                found.push(Token::Part);
                at += 1;
            }
            '?' => {
                found.push(Token::One(vec!['?']));
                at += 1;
            }
            '[' => {
                let mut end = at + 1;
                if chars.get(end) == Some(&'^') {
                    end += 1;
                }
                end += 1;
                while end < chars.len() && chars[end] != ']' {
                    end += if chars[end] == '\\' { 2 } else { 1 };
                }
                let end = (end + 1).min(chars.len());
                found.push(Token::One(chars[at..end].to_vec()));
                at = end;
            }
            '\\' if at + 1 < chars.len() => {
                found.push(Token::Letter(chars[at + 1]));
                at += 2;
            }
            c => {
                found.push(Token::Letter(c));
                at += 1;
            }
        }
    }
    found
}

/// Whether tokens fit a whole path. Each token and place is tried once, so no pattern takes long.
fn fits(tokens: &[Token], path: &[char]) -> bool {
    // Places in the path that the tokens so far lead to.
    let mut here = vec![false; path.len() + 1];
    here[0] = true;
    for token in tokens {
        let mut next = vec![false; path.len() + 1];
        match token {
            Token::Letter(c) => {
                for at in 0..path.len() {
                    next[at + 1] = here[at] && path[at] == *c;
                }
            }
            Token::One(pattern) => {
                for at in 0..path.len() {
                    next[at + 1] = here[at] && path[at] != '/' && glob::one(pattern, path[at]).is_some();
                }
            }
            Token::Part => {
                let mut open = false;
                for at in 0..=path.len() {
                    open |= here[at];
                    next[at] = open;
                    if path.get(at) == Some(&'/') {
                        open = false;
                    }
                }
            }
            Token::Folders => {
                let mut open = false;
                for at in 0..=path.len() {
                    next[at] = here[at] || (open && at > 0 && path[at - 1] == '/');
                    open |= here[at];
                }
            }
            Token::All => {
                let first = here.iter().position(|is| *is).unwrap_or(path.len() + 1);
                next.iter_mut().skip(first).for_each(|is| *is = true);
            }
        }
        here = next;
    }
    here[path.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(patterns: &[&str], path: &str) -> bool {
        let matcher = Matcher::new(patterns).unwrap();
        let mut above: Option<Above> = None;
        let mut whole = String::new();
        let mut last = false;
        for part in path.split('/') {
            if !whole.is_empty() {
                whole.push('/');
            }
            whole.push_str(part);
            let (taken, next) = matcher.check(&whole, above.as_ref());
            last = taken;
            above = Some(next);
        }
        assert_eq!(matcher.taken_by(path).is_some(), last, "{patterns:?} {path}");
        last
    }

    #[test]
    fn patterns_as_the_pattern_matcher_has_them() {
        for (patterns, path, expected) in [
            (&["**"][..], "file", true),
            (&["**"], "dir/file", true),
            (&["**/"], "dir/file", true),
            (&["**/**"], "dir/file", true),
            (&["dir/**"], "dir/file", true),
            (&["dir/**"], "dir/dir2/file", true),
            (&["**/dir"], "dir/file", true),
            (&["**/dir"], "a/dir/file", true),
            (&["**/dir2/*"], "dir/dir2/file", true),
            (&["**/dir2/*"], "dir/dir2/dir2/file", true),
            (&["**file"], "file", true),
            (&["**file"], "dir/file", true),
            (&["**file"], "dir/myfile", true),
            (&["**/file"], "dir/myfile", false),
            (&["**/file"], "dir/file", true),
            (&["**/file*"], "dir/dir/file.txt", true),
            (&["**/file*txt"], "dir/dir/file.txt", true),
            (&["**/**/*.txt"], "dir/dir/file.txt", true),
            (&["**/**/*.txt2"], "dir/dir/file.txt", false),
            (&["**/*.txt"], "file.txt", true),
            (&["a**/*.txt"], "a/file.txt", true),
            (&["a**/*.txt"], "a/dir/file.txt", true),
            (&["a/*.txt"], "a/dir/file.txt", false),
            (&["a/*.txt"], "a/file.txt", true),
            (&["a[b-d]e"], "ae", false),
            (&["a[b-d]e"], "ace", true),
            (&["a[b-d]e"], "aae", false),
            (&["a[^b-d]e"], "aze", true),
            (&[".*"], ".foo", true),
            (&[".*"], "foo", false),
            (&["abc.def"], "abcZdef", false),
            (&["a\\*b"], "a*b", true),
            (&["a\\*b"], "axb", false),
            (&["foo/bar"], "foo/bar/baz", true),
            (&["foo"], "foobar", false),
            (&["*"], "a/b", true),
            (&["*", "!a"], "a", false),
            (&["*", "!a"], "a/b", false),
            (&["*", "!a/b"], "a/b", false),
            (&["*", "!a/b"], "a/c", true),
            (&["*", "!a", "a/c"], "a/c", true),
            (&["*.md", "!README.md"], "README.md", false),
            (
                &["*.md", "!README*.md", "README-secret.md"],
                "README-secret.md",
                true,
            ),
            (&["!a", "*"], "a", true),
            (&["**/__pycache__"], "a/b/__pycache__/x.pyc", true),
            (&["util/docker/web"], "util/docker/web/foo", true),
            (&["a?c"], "a/c", false),
            (&["/x"], "x", false),
        ] {
            assert_eq!(taken(patterns, path), expected, "{patterns:?} {path}");
        }
    }

    #[test]
    fn ignore_files() {
        let text = "\u{feff}# c\n /a/ \n\n!  b/./c\n  # kept\n/\n../x\n";
        assert_eq!(patterns(text), ["a", "!b/c", "# kept", "/", "../x"]);
        assert!(Matcher::new(["!"]).is_err() && Matcher::new(["[a"]).is_err());
        let evil = "*a".repeat(2000);
        assert!(!Matcher::new([&evil]).unwrap().check(&"b".repeat(2000), None).0);
    }
}
