//! `.dockerignore`: Docker's patterns, as BuildKit applies them to a build's context.

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// `!`: takes a file back in.
    pub negated: bool,
    /// The pattern, cleaned.
    pub text: String,
    tokens: Vec<Token>,
    /// A quick way to the same answer, for the shapes that nearly all patterns have.
    shape: Option<Shape>,
    /// How many path components it has; a parent directory of that depth is tried too.
    depth: usize,
}

/// Patterns that need no search.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// `**/name`, `**/pre*suf`: some component of the path.
    AnyComponent { prefix: String, suffix: Option<String> },
    /// `name`, `pre*suf`: the first component.
    FirstComponent { prefix: String, suffix: Option<String> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This character.
    Literal(char),
    /// `?`: one character, no slash.
    One,
    /// `*`: any characters, no slash.
    Some,
    /// `**` at the end: anything.
    All,
    /// `**/`: any number of whole directories, none too.
    Directories,
    /// `[a-z]`, `[^a-z]`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Reads the lines of a `.dockerignore` (Dockerfile reference, ".dockerignore file").
pub(crate) fn parse(text: &str) -> Vec<Pattern> {
    text.trim_start_matches('\u{feff}')
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| pattern(line.trim()))
        .collect()
}

/// Makes one pattern; `None` for an empty one.
pub(crate) fn pattern(line: &str) -> Option<Pattern> {
    let (negated, rest) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    let text = clean(rest);
    if text.is_empty() || text == "." {
        return None;
    }
    let tokens = tokens(&text);
    let shape = shape(&tokens);
    Some(Pattern {
        negated,
        shape,
        tokens,
        depth: text.split('/').count(),
        text,
    })
}

fn shape(tokens: &[Token]) -> Option<Shape> {
    let (any, rest) = match tokens {
        [Token::Directories, rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (mut prefix, mut suffix) = (String::new(), None::<String>);
    for token in rest {
        match (token, &mut suffix) {
            (Token::Literal('/'), _) => return None,
            (Token::Literal(c), None) => prefix.push(*c),
            (Token::Literal(c), Some(suffix)) => suffix.push(*c),
            (Token::Some, None) => suffix = Some(String::new()),
            _ => return None,
        }
    }
    Some(if any {
        Shape::AnyComponent { prefix, suffix }
    } else {
        Shape::FirstComponent { prefix, suffix }
    })
}

fn component_fits(part: &str, prefix: &str, suffix: Option<&str>) -> bool {
    match suffix {
        None => part == prefix,
        Some(suffix) => {
            part.len() >= prefix.len() + suffix.len() && part.starts_with(prefix) && part.ends_with(suffix)
        }
    }
}

/// Cleans a path as Go's `filepath.Clean` does, and drops a leading slash.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.last().is_some_and(|last| *last != "..") {
                    parts.pop();
                } else if !path.starts_with('/') {
                    parts.push("..");
                }
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                }
                tokens.push(if chars.peek().is_none() {
                    Token::All
                } else {
                    Token::Directories
                });
            }
            '*' => tokens.push(Token::Some),
            '?' => tokens.push(Token::One),
            '\\' => tokens.push(Token::Literal(chars.next().unwrap_or('\\'))),
            '[' => {
                let rest: String = chars.clone().collect();
                match class(&rest) {
                    Some((token, used)) => {
                        tokens.push(token);
                        for _ in 0..used {
                            chars.next();
                        }
                    }
                    None => tokens.push(Token::Literal('[')),
                }
            }
            other => tokens.push(Token::Literal(other)),
        }
    }
    tokens
}

/// Reads a class after its `[`; gives the token and how many characters it took.
fn class(rest: &str) -> Option<(Token, usize)> {
    let chars: Vec<char> = rest.chars().collect();
    let negated = chars.first() == Some(&'^');
    let mut at = usize::from(negated);
    let mut ranges = Vec::new();
    while *chars.get(at)? != ']' || ranges.is_empty() {
        let mut low = *chars.get(at)?;
        if low == '\\' {
            at += 1;
            low = *chars.get(at)?;
        }
        at += 1;
        let mut high = low;
        if chars.get(at) == Some(&'-') && chars.get(at + 1).is_some_and(|c| *c != ']') {
            high = chars[at + 1];
            at += 2;
        }
        ranges.push((low, high));
    }
    Some((Token::Class { negated, ranges }, at + 1))
}

impl Pattern {
    /// Whether the path itself, or the directory above it that is as deep as the pattern, matches.
    pub fn matches(&self, path: &str) -> bool {
        match &self.shape {
            Some(Shape::AnyComponent { prefix, suffix }) => path
                .split('/')
                .any(|part| component_fits(part, prefix, suffix.as_deref())),
            Some(Shape::FirstComponent { prefix, suffix }) => {
                let first = path.split('/').next().unwrap_or(path);
                component_fits(first, prefix, suffix.as_deref())
            }
            None => self.search(path),
        }
    }

    fn search(&self, path: &str) -> bool {
        if self.matches_path(path) {
            return true;
        }
        let parts: Vec<&str> = path.split('/').collect();
        // `**` has no fixed depth: any directory above may be meant.
        let many = self
            .tokens
            .iter()
            .any(|token| matches!(token, Token::Directories | Token::All));
        (1..parts.len())
            .filter(|depth| many || *depth == self.depth)
            .any(|depth| self.matches_path(&parts[..depth].join("/")))
    }

    fn matches_path(&self, path: &str) -> bool {
        let chars: Vec<char> = path.chars().collect();
        // Positions that the tokens so far can have reached; never more than the path is long, so no pattern is slow.
        let mut reached = vec![false; chars.len() + 1];
        reached[0] = true;
        for token in &self.tokens {
            let mut next = vec![false; chars.len() + 1];
            for (at, _) in reached.iter().enumerate().filter(|(_, reached)| **reached) {
                let one = chars.get(at).copied();
                match token {
                    Token::Literal(c) => {
                        if one == Some(*c) {
                            next[at + 1] = true;
                        }
                    }
                    Token::One => {
                        if one.is_some_and(|c| c != '/') {
                            next[at + 1] = true;
                        }
                    }
                    Token::Class { negated, ranges } => {
                        if one.is_some_and(|c| {
                            ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
                        }) {
                            next[at + 1] = true;
                        }
                    }
                    Token::Some => {
                        let end = chars[at..]
                            .iter()
                            .position(|c| *c == '/')
                            .map_or(chars.len(), |slash| at + slash);
                        next[at..=end].fill(true);
                    }
                    Token::All => next[at..].fill(true),
                    Token::Directories => {
                        next[at] = true;
                        for (slash, _) in chars.iter().enumerate().skip(at).filter(|(_, c)| **c == '/') {
                            next[slash + 1] = true;
                        }
                    }
                }
            }
            reached = next;
        }
        reached[chars.len()]
    }

    /// Whether something below a directory could match.
    pub fn may_match_below(&self, directory: &str) -> bool {
        let mut pattern = self.text.split('/');
        for part in directory.split('/') {
            match pattern.next() {
                // The pattern is the directory itself, or above it.
                None => return true,
                Some(glob) if glob.contains(['*', '?', '[', '\\']) => {
                    if glob.contains("**") {
                        return true;
                    }
                    if !self::pattern(glob).is_some_and(|glob| glob.matches_path(part)) {
                        return false;
                    }
                }
                Some(literal) if literal == part => {}
                Some(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (line, path, expected) in [
            ("*.pyc", "a.pyc", true),
            ("*.pyc", "a/b.pyc", false),
            ("**/*.pyc", "a.pyc", true),
            ("**/*.pyc", "a/b/c.pyc", true),
            ("/build", "build", true),
            ("build", "build/x/y", true),
            ("build", "a/build", false),
            ("build/", "build/x", true),
            ("**/build", "a/build/x", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**", "x", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c].txt", "b.txt", true),
            ("[^a-c].txt", "b.txt", false),
            ("[", "[", true),
            ("\\*.txt", "*.txt", true),
            ("\\*.txt", "a.txt", false),
            ("README.md", "readme.md", false),
            ("./x/../y", "y", true),
            ("*/temp*", "some/temporary.txt", true),
            ("*/*/temp*", "a/b/temp", true),
            ("a.c", "abc", false),
        ] {
            let pattern = pattern(line).expect(line);
            assert_eq!(pattern.matches(path), expected, "{line} on {path}");
            assert_eq!(pattern.search(path), expected, "{line} on {path}, the long way");
        }
        assert!(pattern("").is_none());
        assert!(pattern(".").is_none());
        assert_eq!(parse("# c\n\n !keep \n  # d\n").len(), 2);
    }

    #[test]
    fn what_may_come_below() {
        for (line, directory, expected) in [
            ("build/keep.txt", "build", true),
            ("build/keep.txt", "src", false),
            ("**/keep.txt", "build/x", true),
            ("*.md", "docs", false),
            ("*/x", "docs", true),
            ("docs", "docs/a", true),
        ] {
            assert_eq!(
                pattern(line).expect(line).may_match_below(directory),
                expected,
                "{line} below {directory}"
            );
        }
    }
}
